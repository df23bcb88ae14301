"""What a thousand timers cost: to learn what they promise, to know it again, and to wait."""

import time
from pathlib import Path

from tests.bench import idle, site
from tests.bench.figures import Figure, Results
from tests.bench.site import Daemon
from tests.bench.sizes import Sizes
from tests.nodes import Node

# Each has an expression of its own, and none elapses while one looks.
MAKE = """
import sys, time
hour = time.gmtime().tm_hour + 3
for n in range(int(sys.argv[1])):
    with open(f"/etc/systemd/system/job-{n:05}.timer", "w") as file:
        when = f"*-*-* {(hour + n // 60) % 24:02}:{n % 60:02}:30"
        file.write(f"[Timer]\\nOnCalendar={when}\\nAccuracySec=1s\\n")
"""
KNOWN = """
import sqlite3
db = sqlite3.connect("file:/var/lib/outcomed/ledger.db?mode=ro", uri=True)
print(db.execute("SELECT count(*) FROM job WHERE promises IS NOT NULL").fetchone()[0])
"""


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    count = sizes.many_jobs
    with site.node(deb) as node:
        site.make_jobs(node, count, idle.JOB)
        without = Daemon.restart(node)
        time.sleep(sizes.settle)
        plain = without.memory()
        node.systemctl("stop", "outcomed.service")
        node.run(["python3", "-c", MAKE, str(count)])
        node.systemctl("daemon-reload")
        node.run(f"systemctl start $(seq -f job-%05g.timer 0 {count - 1})", timeout=120)
        daemon = Daemon.restart(node)
        began = time.monotonic()
        node.wait_for(lambda: _known(node) >= count, 300, "what all timers promise")
        learnt = time.monotonic() - began
        results.figures(
            "timers",
            Figure(f"{count:,} timers, all new: until all promises are on record", learnt, "s"),
            Figure("processor time of it, systemd-analyze included", daemon.cgroup_cpu(), "s"),
        )
        daemon = Daemon.restart(node)
        time.sleep(sizes.settle + 10)
        memory = daemon.memory()
        each = (memory.private - plain.private) * 1024 / count
        results.figures(
            "timers",
            Figure("known already: processor time of the start", daemon.cgroup_cpu(), "s"),
            Figure("private memory for each", each, "kB"),
        )
        cpu, switches, span = daemon.cpu(), daemon.switches(), min(sizes.idle, 120)
        time.sleep(span)
        results.figures(
            "timers",
            Figure("idle, ten minutes: processor time", (daemon.cpu() - cpu) * 600 / span, "s"),
            Figure("wake-ups", (daemon.switches() - switches) * 600 / span, ""),
        )
        results.note(f"timers: watched for {span} s and scaled to ten minutes")


def _known(node: Node) -> int:
    return int(node.run(["python3", "-c", KNOWN]).stdout)
