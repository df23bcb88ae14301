"""What runs on the campaign's node, and what a run of it did in truth."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from tests.nodes import Node

ON_NODE = "/campaign"
DISKS = ("/var/lib/outcomed", "/var/log/journal")
PLAIN = tuple(f"plain-{number}" for number in range(6))
RETRIED = ("retried",)  # systemd tries each of its runs up to three times
HOOKED = ("hooked-0", "hooked-1")  # with our hook under OnFailure=
PATIENT = ("patient",)  # told of after three bad runs
NAMES = (*PLAIN, *RETRIED, *HOOKED, *PATIENT)

CONFIG = """
defaults: {alerts: {to: [ops]}}
sinks:
  ops: {type: webhook, url: "http://127.0.0.1:8080/hook"}
"""
# By the first digit of its invocation id: good, a lie, or a failure.
SCRIPT = """#!/bin/sh
case "$INVOCATION_ID" in
    [0-8]*) echo all done ;;
    [9ab]*) echo ERROR disk full ;;
    *) exit 3 ;;
esac
"""
GOOD, LIE = "012345678", "9ab"
SERVICE = """
[Unit]
StartLimitIntervalSec=0
{unit}
[Service]
Type=oneshot
ExecStart=/usr/local/bin/campaign
{service}
"""
RULE = "outcome: [{journal: {never: ERROR}}]\n"

# systemd starts the daemon again at once, however often; the journal keeps all of it.
DAEMON = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=50ms\nRestartSteps=0\n"
JOURNALD = """
[Journal]
SystemMaxUse=900M
SystemKeepFree=1M
RateLimitIntervalSec=0
"""


@contextmanager
def campaign_node(deb: Path) -> Iterator[Node]:
    here = Path(__file__).parent / "on_node"
    with Node(deb=deb, disks=DISKS, binds={here: ON_NODE}) as node:
        node.receiver(8080)
        node.write("/etc/outcomed/outcomed.yaml", CONFIG)
        node.write("/usr/local/bin/campaign", SCRIPT, mode=0o755)
        node.write("/etc/systemd/journald.conf.d/campaign.conf", JOURNALD)
        drop_in = "/etc/systemd/system/outcomed.service.d/campaign.conf"
        node.write(drop_in, DAEMON)
        for name in NAMES:
            service = SERVICE.format(unit=_unit(name), service=_service(name))
            node.write(f"/etc/systemd/system/{name}.service", dedent(service).lstrip())
            after = "alerts: {after: 3}\n" if name in PATIENT else ""
            node.write(f"/etc/outcomed/jobs.d/{name}.yaml", RULE + after)
        node.run("systemctl daemon-reload; systemctl restart systemd-journald")
        node.systemctl("reload", "outcomed.service")
        yield node


def _unit(name: str) -> str:
    return "OnFailure=outcomed-alert@%n.service" if name in HOOKED else ""


def _service(name: str) -> str:
    return "Restart=on-failure\nRestartSec=30ms" if name in RETRIED else ""


def start_load(node: Node, seed: int) -> None:
    """Runs of all jobs, from now on until `stop_load` or the end of the node."""
    command = ["systemd-run", "--quiet", "--unit=load", "--property=Type=exec"]
    node.run([*command, "python3", f"{ON_NODE}/load.py", ",".join(NAMES), str(seed)])


def stop_load(node: Node) -> None:
    node.run("touch /run/campaign.stop; while systemctl --quiet is-active load; do sleep 0.1; done")


def truth(invocation: str) -> str:
    """What the attempt of this id did."""
    return "good" if invocation[0] in GOOD else "lie" if invocation[0] in LIE else "failed"
