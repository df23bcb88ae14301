"""Everything that has to hold, in one go: `make check`.

Each step is a pytest run: on this host, on a Debian 13 node with Debian's own Python and libraries,
and from this host with nodes. All steps run, whatever the first one says, and the last line counts
all of them.
"""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.nodes.build import CHECKOUT, BuildError, build_deb
from tests.nodes.image import image
from tests.nodes.node import Node
from tests.nodes.root import RootError, root_layers

RESULTS = CHECKOUT / "build" / "results"
ON_NODE = "/src"
MACHINES = "tests/scenarios/test_machine_*.py"
LIMIT = 900  # seconds for one step, on a busy machine: all of them have thirty minutes


@dataclass(frozen=True)
class Counts:
    """What became of the tests of one step."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )


def pytest_on_host(name: str, *arguments: str) -> Counts:
    report = RESULTS / f"{name}.xml"
    code = _run([sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *arguments])
    return _counted(report, code)


def pytest_on_node(name: str, *arguments: str) -> Counts:
    """The same tests where the package will run: Python, libraries and systemd are Debian 13's."""
    report = RESULTS / f"{name}.xml"
    command = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
    }
    with Node("full", binds={CHECKOUT: ON_NODE}) as node:
        argv = [*command, "--junit-xml=/var/tmp/report.xml", *arguments]
        code = _run(node.command_line(argv, env=environment, cwd=ON_NODE))
        if node.exists("/var/tmp/report.xml"):
            report.write_text(node.read("/var/tmp/report.xml"))
    return _counted(report, code)


def campaign() -> Counts:
    """Kills and power cuts, a few of them; all of them are `make campaign`."""
    code = _run([sys.executable, "-m", "tests.campaign", "--short"])
    return Counts(passed=1) if code == 0 else Counts(failed=1)


def _run(argv: Sequence[str]) -> int:
    try:
        return subprocess.run(
            argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, timeout=LIMIT
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"not ended after {LIMIT} s, killed")
        return -signal.SIGKILL


def _counted(report: Path, code: int) -> Counts:
    if not report.exists():
        return Counts(failed=1)  # it did not even begin
    total = Counts()
    for suite in ET.parse(report).iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Counts(max(tests - skipped - failed, 0), failed, skipped)
    # Interrupted, a broken conftest or no test at all: bad, though no test says so.
    said = code == 0 or (code == 1 and total.failed)
    return total if said else total + Counts(failed=1)


def existing(*directories: str) -> Sequence[str]:
    """Of these, the ones that have tests: an absent one is said, not passed over in silence."""
    found = [d for d in directories if any((CHECKOUT / d).glob("**/test_*.py"))]
    for directory in sorted(set(directories) - set(found)):
        print(f"{directory} has no tests")
    return found


def prepare() -> Counts:
    """Roots, package and disk, made before two test processes would wait for each other's."""
    try:
        root_layers("full")
        print(f"package: {build_deb()}")
        print(f"disk of machines: {image(build_deb()).disk}")
    except (BuildError, RootError) as error:
        print(error)
        return Counts(failed=1)
    return Counts()


def main() -> int:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for old in RESULTS.iterdir():
        old.unlink()
    workers = str(min(3, (os.cpu_count() or 1) + 1))  # a booting node waits as much as it works
    steps: dict[str, Callable[[], Counts]] = {
        "roots and package": prepare,
        "unit tests on this host": lambda: pytest_on_host("host", "-n", "2", "tests/unit"),
        "unit tests on Debian 13": lambda: pytest_on_node("node", "-n", "2", "tests/unit"),
        # One after the other: they restart the bus, and vacuum the journal.
        "adapter tests on Debian 13": lambda: pytest_on_node(
            "adapters", *existing("tests/adapters")
        ),
        "scenarios on booted nodes": lambda: pytest_on_host(
            "scenarios", "-n", workers, *existing("tests/scenarios"), f"--ignore-glob={MACHINES}"
        ),
        # Each file has one machine, which takes a while to boot: its tests stay together.
        "scenarios on virtual machines": lambda: pytest_on_host(
            "machines", "-n", "2", "--dist", "loadfile", *map(str, sorted(CHECKOUT.glob(MACHINES)))
        ),
        "kills and power cuts": campaign,
        "the package on booted nodes": lambda: pytest_on_host(
            "package", "-n", workers, *existing("tests/package")
        ),
    }
    total, began = Counts(), time.monotonic()
    for title, step in steps.items():
        start = time.monotonic()
        print(f"\n==> {title}", flush=True)
        total += step()
        print(f"--- {title}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\nall of it: {time.monotonic() - began:.0f} s, {total.skipped} skipped")
    closing = f"{total.passed} passed, {total.failed} failed"
    (RESULTS / "closing-line").write_text(f"{closing}\n")
    print(closing, flush=True)
    return 1 if total.failed else 0
