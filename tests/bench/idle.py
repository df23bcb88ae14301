"""What the daemon takes when nothing happens: memory, processor time, wake-ups."""

import time
from pathlib import Path

from tests.bench import site
from tests.bench.figures import Figure, Results
from tests.bench.site import Daemon, Memory
from tests.bench.sizes import Sizes
from tests.nodes import Node

JOB = "/bin/sh -c 'echo copied 200 bytes; printf %%0200d 0 > /srv/%p.out'"


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        few, after_runs = _few(node, sizes)
        daemon = _with_jobs(node, sizes.many_jobs)
        time.sleep(sizes.settle)
        many = daemon.memory()
        _watch(daemon, sizes, results)
    each = (many.private - few.private) * 1024 / (sizes.many_jobs - sizes.few_jobs)
    results.figures(
        "memory of the idle daemon",
        Figure(f"private, {sizes.few_jobs} jobs", few.private, "MB", 16),
        Figure(f"proportional, {sizes.few_jobs} jobs", few.pss, "MB", 20),
        Figure(f"Pss_Anon, {sizes.few_jobs} jobs", few.anonymous, "MB"),
        Figure(f"private, {sizes.few_jobs} jobs, each ran once", after_runs.private, "MB", 16),
        Figure(f"proportional, {sizes.few_jobs} jobs, each ran once", after_runs.pss, "MB", 20),
        Figure(f"private, {sizes.many_jobs:,} jobs", many.private, "MB"),
        Figure(f"proportional, {sizes.many_jobs:,} jobs", many.pss, "MB"),
        Figure(f"Pss_Anon, {sizes.many_jobs:,} jobs", many.anonymous, "MB"),
        Figure("each further job, private", each, "kB", 8),
    )
    if many.cgroup is None:
        results.note("memory.current: the node has no memory controller")
    else:
        results.figures(
            "memory of the idle daemon",
            Figure(f"memory.current, {sizes.many_jobs:,} jobs", many.cgroup, "MB"),
        )


def _with_jobs(node: Node, count: int) -> Daemon:
    site.make_jobs(node, count, JOB)
    return Daemon.restart(node)


def _few(node: Node, sizes: Sizes) -> tuple[Memory, Memory]:
    """With a few jobs: just started, and after each of them was judged."""
    daemon = _with_jobs(node, sizes.few_jobs)
    time.sleep(min(sizes.settle, 5))
    fresh = daemon.memory()
    for number in range(sizes.few_jobs):
        node.systemctl("start", f"job-{number:05}.service")
    time.sleep(sizes.settle)
    return fresh, daemon.memory()


def _watch(daemon: Daemon, sizes: Sizes, results: Results) -> None:
    cpu, ticks, group, switches = (
        daemon.cpu(),
        daemon.ticks(),
        daemon.cgroup_cpu(),
        daemon.switches(),
    )
    time.sleep(sizes.idle)
    tenth = 600 / sizes.idle  # to ten minutes
    what = f"{sizes.many_jobs:,} jobs, ten minutes"
    results.figures(
        "idle",
        Figure(f"{what}: processor time", (daemon.cpu() - cpu) * tenth, "s", 0.05),
        Figure(f"{what}: utime + stime", (daemon.ticks() - ticks) * tenth, "s", 0.05),
        Figure(f"{what}: cgroup", (daemon.cgroup_cpu() - group) * tenth, "s"),
        # Ten for the watchdog; each may be preempted once.
        Figure(f"{what}: wake-ups", (daemon.switches() - switches) * tenth, "", 20),
    )
    if sizes.idle != 600:
        results.note(f"idle: watched for {sizes.idle / 60:.1f} minutes and scaled to ten")
