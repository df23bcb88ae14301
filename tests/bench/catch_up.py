"""After a downtime: how fast runs are judged that happened meanwhile, and in how much memory."""

import time
from pathlib import Path

from tests.bench import idle, site
from tests.bench.figures import Figure, Results
from tests.bench.site import Daemon
from tests.bench.sizes import Sizes
from tests.nodes import Node

JOBS = 10
PATIENCE = 900  # seconds
GOAL = 6 / 10_000  # seconds a run

# Real runs, ten at a time. Prints how many seconds it took.
GENERATE = """
began=$(date +%s)
i=0
while [ $i -lt {rounds} ]; do systemctl start {units}; i=$((i + 1)); done
echo $(($(date +%s) - began))
"""


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        names = site.make_jobs(node, JOBS, idle.JOB)
        before = Daemon.restart(node).memory().private
        node.systemctl("stop", "outcomed.service")
        script = GENERATE.format(rounds=sizes.replayed // JOBS, units=" ".join(names))
        seconds = node.run(script, timeout=1200).stdout.strip()
        runs = sizes.replayed // JOBS * JOBS
        began = time.time()
        node.systemctl("start", "--no-block", "outcomed.service")
        peak, last, judged = _watch(node, runs)
    results.note(f"catch-up: {runs:,} real runs of {JOBS} jobs, made in {seconds} s")
    if judged < runs:
        results.note(f"catch-up: {judged:,} of {runs:,} runs were judged within {PATIENCE} s")
    results.figures(
        "catch-up, four rules each, one over output",
        Figure("runs judged a second, start included", judged / (last - began), "/s", 2000, "more"),
        Figure(f"{judged:,} runs, start to last verdict", last - began, "s", judged * GOAL),
        Figure("private memory before the downtime", before, "MB"),
        Figure("private memory, peak", peak, "MB"),
    )


def _watch(node: Node, runs: int) -> tuple[float, float, int]:
    """Peak memory in megabytes, the time of the last verdict, and how many there are."""
    said = node.run(
        ["python3", f"{site.ON_NODE}/await_verdicts.py", str(runs), str(PATIENCE)],
        timeout=PATIENCE + 60,
    )
    peak, last, judged = said.stdout.split()
    return int(peak) / 1024, float(last), int(judged)
