"""After a downtime: how fast runs are judged that happened meanwhile, and in how much memory."""

import json
import time
from pathlib import Path

from tests.bench import idle, site
from tests.bench.figures import Figure, Results
from tests.bench.site import Daemon
from tests.bench.sizes import Sizes

JOBS = 10
PATIENCE = 900  # seconds
GOAL = 6 / 10_000  # seconds a run
FALSE = ("failed", "silent-failure")  # each of the runs did its work

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
        before = Daemon.restart(node).memory()
        node.systemctl("stop", "outcomed.service")
        script = GENERATE.format(rounds=sizes.replayed // JOBS, units=" ".join(names))
        seconds = node.run(script, timeout=2400).stdout.strip()
        runs = sizes.replayed // JOBS * JOBS
        began = time.time()
        node.systemctl("start", "--no-block", "outcomed.service")
        said = json.loads(
            node.run(
                ["python3", f"{site.ON_NODE}/await_verdicts.py", str(runs), str(PATIENCE)],
                timeout=PATIENCE + 60,
            ).stdout
        )
        cpu = Daemon(node).cpu()
    kinds: dict[str, int] = said["kinds"]
    judged, wall = sum(kinds.values()), said["last"] - began
    alarms = sum(kinds.get(verdict, 0) for verdict in FALSE)
    results.note(f"catch-up: {runs:,} real runs of {JOBS} jobs, made in {seconds} s; {kinds}")
    if said["alarm"]:
        results.note(f"catch-up: a false alarm: {said['alarm']}")
    results.figures(
        "catch-up, four rules each, one over output",
        Figure("runs judged a second, start included", judged / wall, "/s", 2000, "more"),
        Figure(f"{judged:,} runs, start to last verdict", wall, "s", judged * GOAL),
        Figure("processor time of it, a run", cpu / judged * 1000, "ms"),
        Figure("false alarms", alarms, "", 0),
        Figure("private memory before the downtime", before.private, "MB"),
        Figure("private memory, peak", said["peak"] / 1024, "MB"),
        Figure("Pss_Anon before the downtime", before.anonymous, "MB"),
        Figure("Pss_Anon, peak", said["anonymous"] / 1024, "MB"),
    )
