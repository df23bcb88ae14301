"""Witnesses that fail: what is looked at hangs, dies, eats or vanishes, and the verdict says so.

One node: each job has a witness of another kind, and beside them runs a healthy one, whose verdicts
have to come on time. A failing witness ends as `unknown` with its reason and leaves no process.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.conftest import Site, State

# A file system that never answers, as a dead NFS server does not: nobody reads its requests.
# Mounted by another user, the kernel answers for it: EACCES, also for root.
DEAD_MOUNT = """#!/usr/bin/python3
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id={sys.argv[2]},group_id=0".encode()
if libc.mount(b"dead", sys.argv[1].encode(), b"fuse.dead", 0, options):
    raise OSError(ctypes.get_errno(), "mount")
print("mounted", flush=True)
time.sleep(1000)
"""

# Nobody is left to send it anything but SIGKILL.
STUBBORN = """#!/bin/sh
trap '' TERM HUP INT
setsid setsid sh -c 'trap "" TERM; exec sleep 987' &
sleep 987
"""

CHECKS = "/var/lib/outcomed/checks"


@pytest.fixture(scope="module")
def root() -> str:
    return "full"  # Debian's monitoring plugins


@pytest.fixture
def mounts(site: Site) -> Iterator[None]:
    node = site.node
    node.run("test -e /dev/fuse || mknod /dev/fuse c 10 229")
    node.run("mkdir -p /mnt/dead /mnt/private")
    node.write("/root/dead-mount", DEAD_MOUNT, mode=0o755)
    for place, uid in (("/mnt/dead", "0"), ("/mnt/private", "1000")):
        server = node.popen(["/root/dead-mount", place, uid])
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n"
    yield
    node.run("umount --lazy /mnt/dead /mnt/private")


def healthy(site: Site) -> None:
    site.job("healthy", "date > /srv/healthy", "- artifact: /srv/healthy\n")


def processes(site: Site) -> list[str]:
    """What the check units still have running."""
    pattern = "sleep 987|stubborn|outcomed-check"
    return site.node.run(["pgrep", "--full", pattern], check=False).stdout.split()


def begin(site: Site, name: str) -> State:
    """Start a run and do not wait for its verdict; its state before."""
    before = site.state(name)
    site.node.systemctl("start", f"{name}.service")
    return before


def finding(site: Site, name: str, rule: str) -> dict[str, Any]:
    told = site.node.run(["outcomectl", "explain", name, "--json=short"], check=False).stdout
    found: dict[str, dict[str, Any]] = {one["rule"]: one for one in json.loads(told)["findings"]}
    return found[rule]


def unknown(site: Site, name: str, before: State, rule: str, sentence: str) -> None:
    state = site.judged(name, before, timeout=90)
    assert state["verdict"] == "unknown", state
    told = finding(site, name, rule)
    assert (told["state"], sentence in told["summary"]) == ("unknown", True), told
    assert state["incident"] is None, "one unknown wakes nobody"


@pytest.mark.usefixtures("mounts")
def test_each_failing_witness_ends_as_unknown_beside_a_healthy_job(site: Site) -> None:
    node = site.node
    node.write("/usr/local/bin/stubborn", STUBBORN, mode=0o755)
    site.unit("dead", "true")
    site.job_file("dead", "- artifact: /mnt/dead/backup.gz\n- command: echo the rest is looked at")
    site.unit("private", "true")
    site.job_file("private", "- artifact: /mnt/private/*.gz\n  format: gzip")
    site.unit("hangs", "true")
    site.job_file("hangs", "- command: stubborn\n  timeout: 3s\n- command: echo after it")
    site.unit("killed", "touch /srv/killed")
    site.job_file("killed", "- artifact: /srv/killed\n  format: gzip\n- command: sleep 987")
    site.unit("gone", "true")
    site.job_file(
        "gone", "- command: /nonexistent/check\n- command: echo fine\n  user: nobody-at-all"
    )
    site.unit("greedy", "true")
    site.job_file("greedy", "- command: sh -c 'yes | head -c 50000000'")
    healthy(site)
    befores = {name: begin(site, name) for name in ("dead", "private", "hangs", "killed", "gone")}
    begun = time.monotonic()
    node.wait_for(
        lambda: (
            b"killed" in node.path(f"{CHECKS}/killed.findings").read_bytes()
            if node.path(f"{CHECKS}/killed.findings").exists()
            else False
        ),
        30,
        "the first finding of the check that will be killed",
    )
    node.systemctl("kill", "--signal=KILL", "outcomed-check@killed.service")
    while time.monotonic() < begun + 12:
        assert site.run("healthy", timeout=5)["verdict"] == "verified"
    unknown(site, "hangs", befores["hangs"], "outcome[0].command", "no answer within 3s")
    assert finding(site, "hangs", "outcome[1].command")["summary"] == "it exited with 0: after it"
    unknown(site, "private", befores["private"], "outcome[0].artifact", "Permission denied")
    unknown(site, "gone", befores["gone"], "outcome[0].command", "No such file or directory")
    state = site.judged("killed", befores["killed"])
    assert state["verdict"] == "silent-failure", "what was found before it was killed counts"
    lost = finding(site, "killed", "outcome[1].command")
    assert (lost["state"], "was killed by SIGKILL" in lost["summary"]) == ("unknown", True)
    unknown(site, "dead", befores["dead"], "outcome[0].artifact", "not done within 30s")
    rest = finding(site, "dead", "outcome[1].command")
    assert rest["summary"] == "it exited with 0: the rest is looked at"
    assert site.run("greedy")["verdict"] == "verified"
    node.wait_for(lambda: not processes(site), 15, "every process of the checks to be gone")
    assert not site.messages("dead")


def test_full_disk_at_the_answer_is_the_reason(site: Site) -> None:
    node = site.node
    node.run(f"mount -t tmpfs -o size=64k,mode=700 small {CHECKS}")
    try:
        site.job(
            "fills",
            "true",
            f"- command: echo first\n- command: sh -c 'cat /dev/zero > {CHECKS}/filler; true'\n",
        )
        before = begin(site, "fills")
        unknown(site, "fills", before, "outcome[1].command", "No space left on device")
        # And where not even the question can be written:
        node.run(f"cat /dev/zero > {CHECKS}/filler", check=False)
        before = begin(site, "fills")
        state = site.judged("fills", before)
        assert state["verdict"] == "unknown"
        told = finding(site, "fills", "outcome[0].command")
        assert "could not be started: No space left on device" in told["summary"]
    finally:
        node.run(f"umount --lazy {CHECKS}")


def test_check_outlives_the_daemon_and_is_not_asked_twice(site: Site) -> None:
    node = site.node
    site.job("slow", "true", "- command: sh -c 'echo x >> $TMPDIR/n; sleep 5; cat $TMPDIR/n'\n")
    before = begin(site, "slow")
    running = "outcomed-check@slow.service"
    node.wait_for(lambda: node.show(running, "SubState")["SubState"] == "start", 10, running)
    first = node.show(running, "InvocationID")
    node.systemctl("reload", "outcomed.service")
    node.systemctl("restart", "outcomed.service")
    node.systemctl("kill", "--signal=KILL", "outcomed.service")
    state = site.judged("slow", before, timeout=40)
    assert state["verdict"] == "verified"
    assert finding(site, "slow", "outcome[0].command")["summary"] == "it exited with 0: x"
    entries = node.journal("UNIT=outcomed-check@slow.service", "JOB_TYPE=start")
    assert {entry["INVOCATION_ID"] for entry in entries} == {first["InvocationID"]}
    assert len(site.verdicts("slow")) == 1


def test_next_run_takes_nothing_from_the_one_before(site: Site) -> None:
    """The check of the first run is still on when the second one has emptied its artifact."""
    node = site.node
    node.write("/srv/wait", "0")
    script = """
    : > /srv/taken.gz
    sleep $(cat /srv/wait)
    gzip -c /etc/passwd > /srv/taken.new && mv /srv/taken.new /srv/taken.gz
    """
    rules = """
    - command: sh -c 'while [ -e /srv/hold ]; do sleep 0.1; done'
    - command: test -s /srv/taken.gz
    """
    site.job("taken", script, rules)
    node.write("/srv/hold", "")
    first = begin(site, "taken")
    running = "outcomed-check@taken.service"
    node.wait_for(lambda: node.show(running, "SubState")["SubState"] == "start", 10, running)
    node.write("/srv/wait", "4")
    node.systemctl("start", "--no-block", "taken.service")
    node.wait_for(lambda: not node.path("/srv/taken.gz").stat().st_size, 10, "the second run")
    node.run("rm /srv/hold")
    state = site.judged("taken", first)
    node.wait_for(lambda: site.state("taken")["verdict"] == "verified", 30, "the second verdict")
    first_said, second_said = site.verdicts("taken")
    assert first_said["OUTCOMED_VERDICT"] == "unknown", state
    assert "the next run began before this was looked at" in first_said["MESSAGE"]
    assert second_said["OUTCOMED_VERDICT"] == "verified"
    assert not site.messages("taken")


def test_monitoring_plugins_are_used_as_they_are(site: Site) -> None:
    plugins = "/usr/lib/nagios/plugins"
    rules = f"""
    - artifact: /srv/plugin.gz
    - command: {plugins}/check_disk -w 1%% -c 0%% -p /srv
      protocol: nagios
    - command: {plugins}/check_file_age -w 600 -c 3600 -f {{artifact}}
      protocol: nagios
    - command: {plugins}/check_procs -c 1:1 -C systemd-journal
      protocol: nagios
    - command: {plugins}/check_http -H 127.0.0.1 -p 8080 -e HTTP
      protocol: nagios
      user: nobody
    """
    site.job("plugin", "gzip -c /etc/passwd > /srv/plugin.gz", rules)
    state = site.run("plugin")
    assert state["verdict"] == "verified", site.node.run("outcomectl explain plugin", check=False)
    found = [finding(site, "plugin", f"outcome[{at}].command") for at in (1, 2, 3, 4)]
    assert all(one["evidence"].get("perfdata") for one in found), found
    site.job_file(
        "plugin", f"- command: {plugins}/check_dummy 2 'the replica is behind'\n  protocol: nagios"
    )
    site.reload()
    said = site.say("plugin", site.run("plugin"), "silent-failure", "command")
    assert said == "CRITICAL: the replica is behind"
    site.job_file("plugin", f"- command: {plugins}/check_dummy 3 'no idea'\n  protocol: nagios")
    site.reload()
    assert site.run("plugin")["verdict"] == "unknown"


def test_file_is_read_without_any_right(site: Site) -> None:
    """The artifact is root's alone: opened as root, and parsed by somebody who has nothing."""
    node = site.node
    script = "umask 077; head -c 600M /dev/zero | gzip -1 > /srv/secret.gz"
    site.job("secret", script, "- artifact: /srv/secret.gz\n  format: gzip\n  mode: 0600")
    before = begin(site, "secret")
    reader = ["ps", "-u", "outcomed-check", "-o", "pid="]

    def found() -> str:
        return node.run(reader, check=False).stdout.strip()

    pid = node.wait_for(found, 30, "the reader")
    status = node.run(f"cat /proc/{pid}/status", check=False).stdout
    assert "CapEff:\t0000000000000000" in status
    assert "Groups:\t \n" in status
    assert site.judged("secret", before)["verdict"] == "verified"
