"""The machines under the scenarios do what the scenarios take for granted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nodes import CommandFailedError, Node, cache_dir

HELLO = """
[Service]
Type=oneshot
ExecStart=echo hello from %H
"""


def processes_below(cgroup: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if cgroup in file.read_text():
                found.append(file.parent.name)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it ended while we looked
    return found


def test_two_nodes_side_by_side_are_two_machines(boot: Callable[..., Node]) -> None:
    one, two = boot(), boot()
    for node in (one, two):
        node.units({"hello.service": HELLO})
        node.systemctl("start", "hello.service")
        messages = [entry["MESSAGE"] for entry in node.journal("--unit=hello.service")]
        assert f"hello from {node.name}" in messages
    assert one.run("cat /etc/machine-id").stdout != two.run("cat /etc/machine-id").stdout
    assert one.systemctl("is-system-running").stdout == "running\n"


def test_receiver_is_on_the_node_and_nowhere_else(boot: Callable[..., Node]) -> None:
    one, two = boot(), boot()
    receiver = one.receiver(8080)
    before = time.time_ns()
    one.run(f"curl --silent --data 'it works' {receiver.url}hook")
    (request,) = receiver.wait_for(1)
    assert (request.method, request.path, request.body) == ("POST", "/hook", b"it works")
    assert before < request.arrived_ns < time.time_ns()
    assert two.run(f"curl --silent {receiver.url}", check=False).returncode == 7


def test_receiver_misbehaves_as_told(boot: Callable[..., Node]) -> None:
    node = boot()
    receiver = node.receiver(8080)
    ask = f"curl --silent --max-time 0.3 --output /dev/null -w '%{{http_code}}' {receiver.url}"
    receiver.answer(503, times=1)
    assert [node.run(ask).stdout for _ in range(2)] == ["503", "200"]
    receiver.hang()
    assert node.run(ask, check=False).returncode == 28
    receiver.down()
    assert node.run(ask, check=False).returncode == 7
    receiver.up()
    receiver.answer(204)
    assert node.run(ask).stdout == "204"
    assert len(receiver.requests) == 4


def test_node_reboots_and_keeps_what_it_had(boot: Callable[..., Node]) -> None:
    node = boot()
    receiver = node.receiver(8080)
    node.write("/etc/kept", "yes\n", mode=0o600)
    node.reboot()
    node.poweroff()
    node.start()
    node.crash()
    node.start()
    assert node.run("stat -c %a /etc/kept && cat /etc/kept").stdout == "600\nyes\n"
    assert len(node.run("journalctl --list-boots --output=json").stdout.split("boot_id")) == 5
    node.run(f"curl --silent --data again {receiver.url}")
    assert len(receiver.wait_for(1)) == 1


def test_user_has_a_manager_of_his_own(boot: Callable[..., Node]) -> None:
    node = boot()
    somebody = node.user("somebody")
    assert node.run("id -un", user="somebody").stdout == "somebody\n"
    node.units({"hello.service": HELLO}, user="somebody")
    node.systemctl("start", "hello.service", user="somebody")
    entries = node.journal("USER_UNIT=hello.service", f"_UID={somebody.uid}")
    assert entries[0]["_SYSTEMD_UNIT"] == f"user@{somebody.uid}.service"


def test_command_that_fails_says_why(boot: Callable[..., Node]) -> None:
    node = boot()
    with pytest.raises(CommandFailedError, match=r"(?s)ended with 3.*no such thing"):
        node.run("echo no such thing >&2; exit 3")
    assert node.run(["env"], env={"A": "b c"}).stdout.splitlines()[-1] == "A=b c"


def test_node_that_is_off_is_a_chroot(boot: Callable[..., Node]) -> None:
    node = boot(boot=False)
    node.write("/etc/before", "the boot\n")
    assert node.read("/etc/before") == "the boot\n"
    node.start()
    assert node.path("/etc/before").read_text() == "the boot\n"


def test_nothing_is_left_of_a_node() -> None:
    with Node() as node:
        directory, name = node.directory, node.directory.name
        assert processes_below(name)
        node.popen(["sleep", "infinity"])
    assert not directory.exists()
    assert not processes_below(name)
    assert name not in Path("/proc/mounts").read_text()


def test_nothing_is_left_running_when_the_test_itself_is_killed() -> None:
    script = (
        "from tests.nodes import Node; import signal\n"
        "with Node() as node: print(node.directory.name, flush=True); signal.pause()"
    )
    checkout = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=checkout
    ) as victim:
        assert victim.stdout is not None
        name = victim.stdout.readline().strip()
        assert name
        assert processes_below(name)
        os.kill(victim.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_below(name) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_below(name)
    with Node():  # the next node sweeps what the killed one left lying about
        assert not (cache_dir() / "nodes" / name).exists()
