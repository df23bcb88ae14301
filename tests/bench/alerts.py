"""From a job's exit to the webhook's arrival: ours beside the recipe that everyone uses.

The exit is what the job's last act says (site.JOB); the arrival, when the receiver has the whole
body. Both are CLOCK_REALTIME of one kernel. The kinds take turns, so that whatever else the machine
does meets all of them alike.
"""

from pathlib import Path

from tests.bench import site
from tests.bench.figures import Figure, Results
from tests.bench.samples import Samples
from tests.bench.sizes import Sizes
from tests.nodes import Node, Request

# The recipe, as it stands in a hundred blogs; in Python, as in the other hundred.
CURL = (
    "/usr/bin/curl --silent --show-error --max-time 10 --header 'Content-Type: application/json'"
    """ --data '{"text": "%i failed on %H"}' http://127.0.0.1:8080/curl"""
)
REQUESTS = """#!/usr/bin/python3
import socket
import sys

import requests

text = f"{sys.argv[1]} failed on {socket.gethostname()}"
requests.post("http://127.0.0.1:8080/requests", json={"text": text}, timeout=10).raise_for_status()
"""
VERDICT_BAD = "30dd1502254f46d2b3548ad46b21b959"

OURS = ("cold", "silent", "loud")
KINDS = (*OURS, "curl", "requests")


class Bench:
    """Four jobs on one node. `silent` exits 0 with a bad outcome: nothing but the rules see it."""

    def __init__(self, node: Node, results: Results) -> None:
        self.node = node
        self.receiver = node.receiver(8080)
        self.alerts = {kind: Samples() for kind in KINDS}
        self.verdicts = {kind: Samples() for kind in OURS}
        self._ends: dict[str, tuple[str, float]] = {}  # by invocation: kind and end
        results.samples |= {f"alert_{kind}_ms": each for kind, each in self.alerts.items()}
        results.samples |= {f"verdict_{kind}_ms": each for kind, each in self.verdicts.items()}
        self._install()
        # Starting a unit must not be a process that still ends while the job does.
        self._starter = node.popen(
            'while read -r unit; do systemctl start --no-block "$unit"; done',
            stdin=-1,
        )

    def _install(self) -> None:
        self.node.write("/etc/outcomed/outcomed.yaml", site.SINKS)
        self.node.write("/usr/local/bin/bench-job", site.JOB, 0o755)
        self.node.write("/usr/local/bin/notify-requests", REQUESTS, 0o755)
        units = {
            "notify-curl@.service": site.service(CURL),
            "notify-requests@.service": site.service("/usr/local/bin/notify-requests %i"),
        }
        for name in ("silent", "loud", "curl", "requests"):
            status = "silent" if name == "silent" else "loud"
            handler = f"OnFailure=notify-{name}@%n.service" if name in ("curl", "requests") else ""
            command = f"/usr/local/bin/bench-job {name} {status}"
            units[f"{name}.service"] = site.service(command, handler)
        self.node.units(units)
        for name in ("silent", "loud"):
            self.node.write(f"/etc/outcomed/jobs.d/{name}.yaml", site.RULES)
        self.node.systemctl("restart", "outcomed.service")

    def turn(self) -> None:
        """One alert of each kind."""
        self.node.systemctl("stop", "outcomed-deliver.service")
        self._bad("silent", "cold")
        self._good("silent")
        self._bad("silent", "silent")
        self._good("silent")
        self._bad("loud", "loud")
        self._good("loud")
        self._bad("curl", "curl")
        self._bad("requests", "requests")

    def _bad(self, job: str, kind: str) -> None:
        self.node.path("/run/bench/bad").touch()
        request = self._run(job, "firing")
        invocation, end = _last_end(self.node, job)
        self._ends[invocation] = kind, end
        self.alerts[kind].add(request.arrived_ns / 1e6 - end)

    def _good(self, job: str) -> None:
        self.node.path("/run/bench/bad").unlink()
        self._run(job, "resolved")

    def _run(self, job: str, state: str) -> Request:
        self.receiver.clear()
        assert self._starter.stdin is not None
        self._starter.stdin.write(f"{job}.service\n")
        self._starter.stdin.flush()
        path = "/outcomed" if job in OURS else f"/{job}"

        def is_it(request: Request) -> bool:
            if request.path != path:
                return False
            return path != "/outcomed" or request.json()["data"]["state"] == state

        return self.receiver.wait_for(1, 20, is_it)[0]

    def forget(self) -> None:
        """What was measured so far was to warm up."""
        self._ends.clear()
        for samples in self.alerts.values():
            samples.values.clear()

    def read_verdicts(self) -> None:
        """When journald had each bad verdict: it stamps an entry as it writes it."""
        for entry in self.node.journal(f"MESSAGE_ID={VERDICT_BAD}"):
            found = self._ends.get(entry["OBJECT_SYSTEMD_INVOCATION_ID"])
            if found is not None:
                kind, end = found
                self.verdicts[kind].add(int(entry["__REALTIME_TIMESTAMP"]) / 1000 - end)


def _last_end(node: Node, job: str) -> tuple[str, float]:
    """Invocation and end of the newest run, in milliseconds since the epoch."""
    invocation, end = node.path(f"/run/bench/{job}.ends").read_text().split()[-2:]
    return invocation, float(end) * 1000


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with site.node(deb) as node:
        node.run("mkdir -p /run/bench /srv")
        bench = Bench(node, results)
        bench.turn()  # everybody's files are in the cache now
        bench.forget()
        for _ in range(sizes.alerts):
            bench.turn()
        bench.read_verdicts()
    _report(bench, results)


def _report(bench: Bench, results: Results) -> None:
    alerts, silent, loud = bench.alerts, bench.verdicts["silent"], bench.verdicts["loud"]
    results.figures(
        "exit to verdict in the journal",
        Figure("exit 0, four rules, one broken: p50", silent.p50, "ms", 10),
        Figure("exit 0, four rules, one broken: p99", silent.p99, "ms", 30),
        Figure("exit 1: p50", loud.p50, "ms", 10),
        Figure("exit 1: p99", loud.p99, "ms", 30),
        Figure("exit 0, delivery being started: p50", bench.verdicts["cold"].p50, "ms"),
    )
    results.figures(
        "exit to webhook received",
        Figure("delivery running, exit 0: p50", alerts["silent"].p50, "ms", 12),
        Figure("delivery running, exit 0: p99", alerts["silent"].p99, "ms", 40),
        Figure("delivery running, exit 1: p50", alerts["loud"].p50, "ms", 12),
        Figure("delivery running, exit 1: p99", alerts["loud"].p99, "ms", 40),
        Figure("delivery not running, exit 0: p50", alerts["cold"].p50, "ms", 300),
        Figure("delivery not running, exit 0: p99", alerts["cold"].p99, "ms"),
        Figure("OnFailure= + curl: p50", alerts["curl"].p50, "ms"),
        Figure("OnFailure= + curl: p99", alerts["curl"].p99, "ms"),
        Figure("OnFailure= + Python requests: p50", alerts["requests"].p50, "ms"),
        Figure("OnFailure= + Python requests: p99", alerts["requests"].p99, "ms"),
    )
    curl, requests = alerts["curl"], alerts["requests"]
    results.figures(
        "the same, as ratios of the p50",
        Figure("curl / running, exit 0", curl.p50 / alerts["silent"].p50, "times", 3, "more"),
        Figure("curl / running, exit 1", curl.p50 / alerts["loud"].p50, "times", 3, "more"),
        Figure("not running / requests", alerts["cold"].p50 / requests.p50, "times", 1.3),
        Figure("not running / curl", alerts["cold"].p50 / curl.p50, "times"),
    )
