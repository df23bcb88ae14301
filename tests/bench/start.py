"""How long the daemon takes to be ready, by PID 1's clock: from exec to READY=1."""

from pathlib import Path

from tests.bench import site
from tests.bench.figures import Figure, Results
from tests.bench.samples import Samples
from tests.bench.sizes import Sizes
from tests.nodes import Node

GOALS = (0.5, 4)  # seconds


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        for count, goal in zip(sizes.job_files, GOALS, strict=True):
            site.make_jobs(node, count, "/bin/true")
            first = ready(node)
            again = Samples([ready(node) for _ in range(sizes.starts)])
            results.samples[f"ready_{count}_s"] = again
            results.figures(
                "ready",
                Figure(f"{count:,} job files: p50", again.p50, "s", goal),
                Figure(f"{count:,} job files, all of them new", first, "s"),
            )


def ready(node: Node) -> float:
    site.Daemon.restart(node)
    moments = node.show(
        "outcomed.service", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"
    )
    began, ended = (int(moments[name]) for name in sorted(moments, reverse=True))
    return (ended - began) / 1e6
