"""The units: what systemd says of them, how shut in they are, what happens when they die."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nodes import Node

BootNode = Callable[..., Node]

# As `systemd-analyze security` counts, times ten: systemd 257 on Debian 13. Root's uid, and the
# files of all others, which a witness has to see, make the first one's twelve.
EXPOSURE = {
    "outcomed.service": 12,
    "outcomed-deliver.service": 12,
    # With the network, and the sight of other processes: commands are used as they are.
    "outcomed-check@job.service": 28,
    "outcomed-alert@job.service.service": 10,
}
UNITS = [*EXPOSURE, "outcome@job.service", "outcomed-deliver.socket"]

FAILS = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
FOR_EVERY_SERVICE = "[Unit]\nOnFailure=outcomed-alert@%n.service\n"


def started(node: Node, pattern: str) -> list[str]:
    """The units that PID 1 began to start, in their order."""
    begun = node.journal("_PID=1", "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5")
    return [entry["UNIT"] for entry in begun if entry["UNIT"].startswith(pattern)]


def test_systemd_has_nothing_against_the_units(boot: BootNode, deb: Path) -> None:
    node = boot("full", deb=deb)  # where it can look for the manual pages too
    result = node.run(["systemd-analyze", "verify", *UNITS], check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_users_and_directories_are_declared_without_complaints(node: Node) -> None:
    for command in ("systemd-sysusers outcomed.conf", "systemd-tmpfiles --create outcomed.conf"):
        result = node.run(command, check=False)
        assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_no_unit_is_more_exposed_than_it_was(node: Node) -> None:
    for unit, bound in EXPOSURE.items():
        node.run(["systemd-analyze", "security", "--no-pager", f"--threshold={bound}", unit])


def test_nobody_outside_may_read_what_is_not_for_everybody(node: Node) -> None:
    for path in ("/var/lib/outcomed/ledger.db", "/var/lib/outcomed/spool/sinks/."):
        assert node.exists(path)
        assert node.run(f"test -r {path}", user="nobody", check=False).returncode == 1


def test_a_daemon_that_cannot_live_ends_failed_and_calls_the_hook_once(
    boot: BootNode, deb: Path
) -> None:
    node = boot(deb=deb)
    node.write(
        "/etc/systemd/system/outcomed.service.d/dies.conf",
        "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=10ms\nRestartMaxDelaySec=20ms\n",
    )
    node.systemctl("daemon-reload")
    node.systemctl("restart", "outcomed.service", check=False)
    assert node.show("outcomed.service", "ActiveState")["ActiveState"] == "failed"
    handler = "outcomed-alert@outcomed.service.service"
    node.wait_for(lambda: handler in started(node, "outcomed-alert@"), what="the hook")
    assert started(node, "outcomed-alert@") == [handler]


def test_a_daemon_that_is_killed_is_back_without_anybody_being_told(
    boot: BootNode, deb: Path
) -> None:
    node = boot(deb=deb)
    before = node.show("outcomed.service", "InvocationID")
    node.systemctl("kill", "--signal=KILL", "outcomed.service")
    node.wait_for(
        lambda: (
            node.show("outcomed.service", "InvocationID") != before
            and node.show("outcomed.service", "ActiveState")["ActiveState"] == "active"
        ),
        timeout=15,
        what="the daemon's return",
    )
    assert started(node, "outcomed-alert@") == []


@pytest.mark.parametrize("file", ["50-outcomed.conf", "10-another-name.conf"])
def test_the_hook_of_every_service_never_calls_itself(boot: BootNode, deb: Path, file: str) -> None:
    node = boot(deb=deb)
    node.write(f"/etc/systemd/system/service.d/{file}", FOR_EVERY_SERVICE)
    # The worst of hooks: it fails, each time.
    node.write(
        "/etc/systemd/system/outcomed-alert@.service.d/fails.conf",
        FAILS.replace("ExecStart=", "ExecStart=\nExecStart=", 1),
    )
    node.units({"job.service": FAILS})
    node.systemctl("start", "job.service", check=False)
    handler = "outcomed-alert@job.service.service"
    node.wait_for(
        lambda: node.show(handler, "ActiveState")["ActiveState"] == "failed", what="the hook's end"
    )
    assert started(node, "outcomed-alert@") == [handler]
    assert node.show(handler, "OnFailure")["OnFailure"] == ""


def test_what_stands_for_the_failure_of_a_job_is_no_failure_of_its_own(node: Node) -> None:
    node.write("/etc/systemd/system/service.d/50-outcomed.conf", FOR_EVERY_SERVICE)
    node.systemctl("daemon-reload")
    for unit in ("outcome@job.service", "outcomed-check@job.service"):
        assert node.show(unit, "OnFailure")["OnFailure"] == ""


def test_names_reach_the_processes_as_they_are(node: Node) -> None:
    for template in ("outcomed-check@", "outcomed-alert@"):
        node.write(
            f"/etc/systemd/system/{template}.service.d/echo.conf",
            '[Service]\nExecStart=\nExecStart=/bin/echo "<%i>"\n',
        )
    node.systemctl("daemon-reload")
    for name in ("job", r"od\x2dd", "a:b_c.d", "-dash", "tem@plate"):
        for unit in (f"outcomed-check@{name}.service", f"outcomed-alert@{name}.service.service"):
            node.systemctl("start", "--", unit)
            said = [e["MESSAGE"] for e in node.journal(f"_SYSTEMD_UNIT={unit}")]
            instance = unit.partition("@")[2].removesuffix(".service")
            assert f"<{instance}>" in said


def test_an_outcome_is_failed_exactly_while_its_flag_is_there(node: Node) -> None:
    name = r"od\x2dd:a_b.c"
    unit = f"outcome@{name}.service"
    assert node.systemctl("start", unit, check=False).returncode == 0
    for _ in range(10):  # no start limit: a job may fail as often as it likes
        node.write(f"/run/outcomed/bad/{name}", "")
        assert node.systemctl("start", unit, check=False).returncode == 1
        node.run(["rm", f"/run/outcomed/bad/{name}"])
        assert node.systemctl("start", unit, check=False).returncode == 0
