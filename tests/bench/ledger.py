"""A ledger with years in it: its size, `outcomectl status`, and the daemon's start."""

from pathlib import Path

from tests.bench import idle, site, start
from tests.bench.figures import Figure, Results
from tests.bench.samples import Samples
from tests.bench.sizes import Sizes

JOBS = 200


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    # What is measured here is reading; filling it with a disk that syncs would take longer.
    with site.node(deb, durable=False) as node:
        site.make_jobs(node, JOBS, idle.JOB)
        site.Daemon.restart(node)
        node.systemctl("start", "job-00000.service")
        state = "/var/lib/outcomed/state/job-00000.json"
        node.wait_for(lambda: "verified" in node.path(state).read_text())
        node.systemctl("stop", "outcomed.service")
        filled = node.run(
            ["python3", f"{site.ON_NODE}/fill_ledger.py", str(sizes.recorded), str(JOBS)],
            timeout=1800,
        )
        ready = start.ready(node)
        timed = node.run(
            ["python3", f"{site.ON_NODE}/time_command.py", str(sizes.calls), "outcomectl", "status"]
        )
    status = Samples([float(line) for line in timed.stdout.split()])
    results.samples["outcomectl_status_ms"] = status
    results.figures(
        f"{sizes.recorded:,} runs of {JOBS} jobs on record",
        Figure("outcomectl status: p50", status.p50, "ms", 80),
        Figure("outcomectl status: p99", status.p99, "ms"),
        Figure("ledger, a run", float(filled.stdout), "bytes", 400),
        Figure("ready", ready, "s"),
    )
