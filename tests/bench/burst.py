"""A thousand jobs that end within ten seconds: how late the verdicts are, and what it costs.

The end is what PID 1 says, by its own clock; the verdict, when journald has it. For the first time,
which has questions to ask about each unit; again; and again while a rule of another job never
returns, which is compared with the second time.
"""

import json
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
HUNG = "outcome:\n  - command: /bin/sleep infinity\n    timeout: 5min\n"
CHECK = "outcomed-check@hung.service"


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        site.make_jobs(node, sizes.burst, idle.JOB)
        node.write("/etc/systemd/system/hung.service", site.service("/bin/true"))
        node.write("/etc/outcomed/jobs.d/hung.yaml", HUNG)
        node.systemctl("daemon-reload")
        daemon = Daemon.restart(node)
        first = _burst(node, daemon, sizes, 1, results, "burst, first runs")
        quiet = _burst(node, daemon, sizes, 2, results, "burst, second runs")
        node.systemctl("start", "hung.service")
        node.wait_for(
            lambda: node.show(CHECK, "ActiveState")["ActiveState"] == "activating",
            what="a rule that hangs",
        )
        beside = _burst(node, daemon, sizes, 3, results, "burst, while a rule hangs")
        assert node.show(CHECK, "ActiveState")["ActiveState"] == "activating"
    results.samples |= {"burst_first_ms": first, "burst_ms": quiet, "burst_beside_ms": beside}
    results.figures(
        "burst, while a rule hangs",
        Figure("p50, against none that hangs", beside.p50 - quiet.p50, "ms", 5),
    )


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
