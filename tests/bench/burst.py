"""A thousand jobs that end within ten seconds: how late the verdicts are, and what it costs.

The end is what PID 1 says, by its own clock; the verdict, when journald has it. For the first time,
just after the daemon's start, when nothing is known of any unit; and again.

Then, on another node and at a pace that keeps it far from busy: the same runs while a rule of
another job fails to return, in turns with none that does, since what else the machine does changes
by the minute. Compared are the two turns of one round; said is the median round.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import idle, site
from tests.bench.figures import Figure, Results
from tests.bench.samples import Samples
from tests.bench.site import Daemon
from tests.bench.sizes import Sizes
from tests.nodes import Node

PATIENCE = 300  # seconds
ENDED = "MESSAGE_ID=7ad2d189f7e94e70a38c781354912448"
HUNG = "outcome:\n  - command: {command}\n    timeout: 1h\n"
# What does not return, and what the kernel alone can end.
STUBBORN = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 9; done\n"
HANGING = {
    "hangs": ("hung", "/bin/sleep infinity"),
    "hangs and ignores SIGTERM": ("stubborn", "/usr/local/bin/stubborn"),
}


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        site.make_jobs(node, sizes.burst, idle.JOB)
        daemon = Daemon.restart(node)
        first = _burst(node, daemon, sizes, 1, results, "burst, first runs")
        second = _burst(node, daemon, sizes, 2, results, "burst, second runs")
    results.samples |= {"burst_first_ms": first, "burst_ms": second}
    with site.node(deb) as node:
        _compare(node, sizes, results)


def _compare(node: Node, sizes: Sizes, results: Results) -> None:
    """By turns: nothing that hangs, and each kind of what does."""
    site.make_jobs(node, sizes.steady, idle.JOB)
    node.write("/usr/local/bin/stubborn", STUBBORN, 0o755)
    for job, command in HANGING.values():
        node.write(f"/etc/systemd/system/{job}.service", site.service("/bin/true"))
        node.write(f"/etc/outcomed/jobs.d/{job}.yaml", HUNG.format(command=command))
    node.systemctl("daemon-reload")
    Daemon.restart(node)
    _steady(node, sizes)  # everything is known and in memory from then on
    quiet: list[Samples] = []
    beside: dict[str, list[Samples]] = {kind: [] for kind in HANGING}
    for _ in range(sizes.rounds):
        quiet.append(_steady(node, sizes))
        for kind, (job, _) in HANGING.items():
            with _hanging(node, job):
                beside[kind].append(_steady(node, sizes))
    results.samples["steady_quiet_ms"] = _together(quiet)
    for kind, turns in beside.items():
        results.samples[f"steady_{kind.replace(' ', '_')}_ms"] = _together(turns)
        pairs = list(zip(turns, quiet, strict=True))
        results.figures(
            f"{sizes.steady} runs at {sizes.pace:.0f} a second, while a rule {kind}",
            Figure("exit to verdict, p50", _together(turns).p50, "ms"),
            Figure("p50, with none that does", _together(quiet).p50, "ms"),
            Figure("p50, the difference in the median round", _median(pairs, 50), "ms", 5),
            Figure("p99, the difference in the median round", _median(pairs, 99), "ms", 5),
        )


@contextlib.contextmanager
def _hanging(node: Node, job: str) -> Iterator[None]:
    """Nothing is reloaded for it: that would cost the turn after it something too."""
    check = f"outcomed-check@{job}.service"
    state = node.path(f"/var/lib/outcomed/state/{job}.json")
    before = state.read_text()
    node.systemctl("start", f"{job}.service")

    def is_hanging() -> bool:
        return node.show(check, "ActiveState")["ActiveState"] == "activating"

    node.wait_for(is_hanging, 30, "a rule that hangs")
    yield
    assert is_hanging()
    node.run(f"systemctl kill --signal=KILL {check}")

    def is_judged() -> bool:
        said = json.loads(state.read_text())
        return said["under_way"] is None and said["at"] != json.loads(before)["at"]

    node.wait_for(is_judged, 30, "its verdict")


def _steady(node: Node, sizes: Sizes) -> Samples:
    cursor = node.journal("--lines=1")[-1]["__CURSOR"]
    seconds = sizes.steady / sizes.pace
    script = ["python3", f"{site.ON_NODE}/burst.py", str(sizes.steady), str(seconds)]
    node.run(script, timeout=seconds + PATIENCE)

    def latencies() -> Samples | None:
        found = _latencies(node, cursor)
        return found if len(found.values) == sizes.steady else None

    return node.wait_for(latencies, 30, "all verdicts")


def _together(turns: list[Samples]) -> Samples:
    return Samples([value for turn in turns for value in turn.values])


def _median(pairs: list[tuple[Samples, Samples]], percent: float) -> float:
    return Samples(
        [one.percentile(percent) - other.percentile(percent) for one, other in pairs]
    ).p50


def _burst(
    node: Node, daemon: Daemon, sizes: Sizes, turn: int, results: Results, section: str
) -> Samples:
    cursor = node.journal("--lines=1")[-1]["__CURSOR"]
    cpu, runs = daemon.cpu(), sizes.burst
    script = ["python3", f"{site.ON_NODE}/burst.py", str(runs), str(sizes.burst_seconds)]
    asked = float(node.run(script, timeout=PATIENCE).stdout)
    said: dict[str, Any] = json.loads(
        node.run(
            ["python3", f"{site.ON_NODE}/await_verdicts.py", str(runs * turn), str(PATIENCE)],
            timeout=PATIENCE + 60,
        ).stdout
    )
    cpu = daemon.cpu() - cpu
    latencies = _latencies(node, cursor)
    verified = said["kinds"].get("verified", 0) - runs * (turn - 1)
    results.note(f"{section}: {runs} runs asked for in {asked:.1f} s; {said['kinds']}")
    results.figures(
        section,
        Figure(f"{runs:,} runs: exit to verdict, p50", latencies.p50, "ms"),
        Figure("p99", latencies.p99, "ms"),
        Figure("max", latencies.percentile(100), "ms"),
        Figure("runs that are not verified", runs - verified, "", 0),
        Figure("processor time of the daemon, a run", cpu / runs * 1000, "ms"),
        Figure("private memory, after it", daemon.memory().private, "MB"),
    )
    return latencies


def _latencies(node: Node, cursor: str) -> Samples:
    """From PID 1's word of each end to the verdict's entry."""
    ends = {
        entry["INVOCATION_ID"]: int(entry["_SOURCE_REALTIME_TIMESTAMP"])
        for entry in node.journal(f"--after-cursor={cursor}", "_PID=1", ENDED)
    }
    samples = Samples()
    for entry in node.journal(f"--after-cursor={cursor}", "OUTCOMED_VERDICT=verified"):
        end = ends.get(entry["OBJECT_SYSTEMD_INVOCATION_ID"])
        if end is not None:
            samples.add((int(entry["__REALTIME_TIMESTAMP"]) - end) / 1000)
    return samples
