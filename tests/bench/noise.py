"""What the daemon takes while others make noise that is none of its business."""

from pathlib import Path

from tests.bench import idle, site
from tests.bench.figures import Figure, Results
from tests.bench.site import Daemon
from tests.bench.sizes import Sizes
from tests.nodes import Node

MESSAGES = 5000  # a second
STARTS = 500  # and stops


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        site.make_jobs(node, sizes.few_jobs, idle.JOB)
        # Jobs with a past: a daemon that follows their output would be following by now.
        daemon = Daemon.restart(node)
        for number in range(sizes.few_jobs):
            node.systemctl("start", f"job-{number:05}.service")
        messages, their_share = _during(node, daemon, "chatter.py", MESSAGES, sizes.noise)
        node.units({f"foreign-{n}.target": "[Unit]\nStartLimitIntervalSec=0\n" for n in range(50)})
        starts, churn_share = _during(node, daemon, "churn.py", STARTS, sizes.noise)
    results.figures(
        "noise of others",
        Figure(f"{messages:,.0f} messages/s, of a core", their_share, "%", 0.5),
        Figure(f"{starts:,.0f} unit starts and stops/s, of a core", churn_share, "%", 5),
    )


def _during(
    node: Node, daemon: Daemon, script: str, rate: int, seconds: float
) -> tuple[float, float]:
    """The rate that was reached, and the daemon's share of a core meanwhile, in percent."""
    before = daemon.cpu()
    said = node.run(
        ["python3", f"{site.ON_NODE}/{script}", str(rate), str(seconds)], timeout=seconds + 60
    )
    return float(said.stdout), (daemon.cpu() - before) / seconds * 100
