"""The world breaks in the middle of things: a full disk, a bus that is gone, a daemon that is
killed again and again. Every run has its one verdict afterwards, and nobody is flooded.
"""

import os
import re
from collections.abc import Callable

from tests.scenarios.conftest import Site

LEDGER = "/var/lib/outcomed"


def on_a_small_disk(site: Site) -> None:
    node = site.node
    node.systemctl("stop", "outcomed.service")
    node.run(f"mount -t tmpfs -o size=3M,mode=755 small {LEDGER}")
    node.run("systemd-tmpfiles --create outcomed.conf")
    node.systemctl("start", "outcomed.service")


def test_full_disk_loses_nothing_and_is_said_once(own_site: Site) -> None:
    site, node = own_site, own_site.node
    on_a_small_disk(site)
    node.write("/srv/status", "0\n")
    site.job("full", "exit $(cat /srv/status)")
    before = site.run("full")
    node.run(f"cat /dev/zero > {LEDGER}/filler", check=False)
    for status in (1, 0, 1, 0, 1):
        node.write("/srv/status", f"{status}\n")
        node.systemctl("start", "full.service", check=False)
    refused = ["_SYSTEMD_UNIT=outcomed.service", "--grep=could not be committed"]
    node.wait_for(lambda: node.journal(*refused), 10, "the daemon to notice the full disk")
    node.run("sleep 6")  # more than one more try
    node.run(f"rm {LEDGER}/filler")
    state = site.judged("full", before)
    assert (state["verdict"], state["incident"] is not None) == ("failed", True)
    assert len(node.journal(*refused)) == 1
    assert node.journal("_SYSTEMD_UNIT=outcomed.service", "--grep=written again, after")
    said = [one["OUTCOMED_VERDICT"] for one in site.verdicts("full")]
    assert said == ["unproven", *["failed", "unproven"] * 2, "failed"]
    site.shows_as_failed("full", True)
    told = [message["data"]["state"] for message in site.messages("full")]
    assert told == [*["firing", "resolved"] * 2, "firing"]
    assert node.show("outcomed.service", "NRestarts")["NRestarts"] == "0"


def test_runs_without_entries_are_found_after_the_bus_was_gone(own_site: Site) -> None:
    """LogLevelMax= keeps PID 1's words out of the journal; the unit's properties still tell."""
    site, node = own_site, own_site.node
    site.job("mute", "date > /srv/mute", "- artifact: /srv/mute\n", service="LogLevelMax=notice\n")
    site.job("gone", "exit 1")
    # As long as its timer is there, systemd does not forget the unit.
    node.write("/etc/systemd/system/mute.timer", "[Timer]\nOnCalendar=yearly\n")
    node.systemctl("start", "mute.timer")
    before = site.state("mute")
    node.run("systemctl stop dbus.socket dbus.service; pkill -x dbus-daemon", check=False)
    for unit in ("mute.service", "gone.service"):
        node.systemctl("start", unit, check=False)
    node.systemctl("start", "dbus.socket", "dbus.service")
    state = site.judged("mute", before)
    assert state["verdict"] == "verified"
    node.wait_for(lambda: site.state("gone")["verdict"] == "failed", 20, "a verdict on gone")
    site.shows_as_failed("gone", True)
    assert len(site.verdicts("mute")) == len(site.verdicts("gone")) == 1
    assert node.show("outcomed.service", "NRestarts")["NRestarts"] == "0"


def test_another_unit_brings_no_past_into_the_job(site: Site) -> None:
    site.job("moved", "true", top="unit: moved-from.service", unit="moved-from.service")
    site.run("moved", unit="moved-from.service")
    site.unit("moved", "exit 1", unit="moved-to.service")
    site.node.systemctl("daemon-reload")
    site.node.systemctl("start", "moved-to.service", check=False)
    site.job_file("moved", top="unit: moved-to.service")
    site.reload()
    site.node.systemctl("restart", "outcomed.service")
    state = site.run("moved", unit="moved-to.service", exits=1)
    site.say("moved", state, "failed", "exit-code", unit="moved-to.service")
    assert [one["OUTCOMED_VERDICT"] for one in site.verdicts("moved")] == ["unproven", "failed"]


def test_systemd_reads_its_units_while_a_long_output_is_read(site: Site) -> None:
    rules = "- journal: {expect: the end}\n"
    site.job("long", "seq 4000; echo the end", rules)
    reloads = "for _ in $(seq 40); do systemctl daemon-reload; done"
    storm = site.node.popen(reloads)
    site.say("long", site.run("long", timeout=60), "verified", "held")
    assert storm.wait(120) == 0
    assert site.node.show("outcomed.service", "NRestarts")["NRestarts"] == "0"


def test_daemon_that_is_killed_often_repeats_no_verdict_for_ever(own_site: Site) -> None:
    site, node = own_site, own_site.node
    for name in ("first", "second"):
        site.job(name, "exit 1")
        site.run(name, exits=1)
    for number in ("1", "2", "3"):
        node.systemctl("kill", "--signal=KILL", "outcomed.service")
        node.wait_for(
            lambda number=number: (
                node.show("outcomed.service", "NRestarts", "ActiveState")
                == {"NRestarts": number, "ActiveState": "active"}
            ),
            30,
            "the daemon to be started again",
        )
    # What was said when the ledger could not know it yet is said again once.
    assert len(site.verdicts("first")) == 1
    assert len(site.verdicts("second")) <= 2
    assert len(site.messages("first")) == len(site.messages("second")) == 1


def test_without_journald_the_bus_is_enough(own_site: Site) -> None:
    site, node = own_site, own_site.node
    site.job("unheard", "exit 1")
    before = site.state("unheard")
    units = ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald"]
    node.systemctl("stop", *units)
    node.systemctl("start", "unheard.service", check=False)
    state = site.judged("unheard", before, timeout=60)
    assert state["verdict"] == "failed"
    node.systemctl("start", *units)
    assert len(site.messages("unheard")) == 1
    site.shows_as_failed("unheard", True)
    assert node.show("outcomed.service", "NRestarts")["NRestarts"] == "0"


# --- jobs that say too much ----------------------------------------------------------------------

# One datagram of the journal's native protocol, by descriptor: a field may be as large as it likes.
SEND = """#!/usr/bin/python3
import array, fcntl, os, socket
fields = {fields}
payload = b"".join(
    name + b"\\n" + len(value).to_bytes(8, "little") + value + b"\\n" for name, value in fields
)
descriptor = os.memfd_create("entry", os.MFD_ALLOW_SEALING)
view = memoryview(payload)
while view:
    view = view[os.write(descriptor, view):]
fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 15)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.connect("/run/systemd/journal/socket")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
    sender.sendmsg([b""], [rights])
os.system("echo the end; sleep 0.5")  # journald asks who it was when it reads it
"""
MB = 1 << 20


class Memory:
    """What the daemon has for itself, and the most that it had at any time since."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pid = site.node.show("outcomed.service", "MainPID")["MainPID"]
        site.node.run(f"echo 5 > /proc/{self.pid}/clear_refs")  # the peak counts from here
        self.before = self.private()
        self.resident = self._of("status", "VmRSS")

    def private(self) -> int:
        return self._of("smaps_rollup", "Private_Dirty") + self._of("smaps_rollup", "Private_Clean")

    def peak(self) -> int:
        return self._of("status", "VmHWM")

    def stayed(self, growth: int) -> None:
        assert self.site.node.show("outcomed.service", "MainPID")["MainPID"] == self.pid
        assert self.private() - self.before < growth

    def never_had(self, growth: int) -> None:
        """Mapped windows of the journal count as resident, though they are nobody's memory."""
        assert self.peak() - self.resident < growth + 64 * MB

    def _of(self, file: str, name: str) -> int:
        found = re.search(
            rf"^{name}:\s+(\d+) kB", self.site.node.read(f"/proc/{self.pid}/{file}"), re.MULTILINE
        )
        assert found is not None
        return int(found[1]) * 1024


def delays(site: Site, name: str, until: Callable[[], bool]) -> list[float]:
    """Run a job again and again; how many seconds after its end each of its verdicts came."""
    while True:
        site.run(name, timeout=60)
        if until():
            break
    ends = site.node.journal(f"UNIT={name}.service", "MESSAGE_ID=7ad2d189f7e94e70a38c781354912448")
    said = site.verdicts(name)
    assert len(ends) == len(said)
    return [
        (int(verdict["__REALTIME_TIMESTAMP"]) - int(end["__REALTIME_TIMESTAMP"])) / 1e6
        for end, verdict in zip(ends, said, strict=True)
    ]


def test_a_field_that_no_programme_writes_is_no_number(site: Site) -> None:
    script = SEND.format(fields='[(b"MESSAGE", b"x"), (b"PRIORITY", b"9" * 5000)]')
    site.job("odd", script, "- journal: {expect: the end}\n")
    site.say("odd", site.run("odd"), "verified", "held")


def test_a_line_of_100_megabytes_is_not_read_and_holds_nobody_up(site: Site) -> None:
    script = SEND.format(fields='[(b"MESSAGE", b"x" * 100_000_000)]')
    site.job("giant", script, "- journal: {never: y}\n")
    site.job("beside-giant", "true")
    site.run("beside-giant")
    memory = Memory(site)
    before = site.state("giant")
    site.node.systemctl("start", "giant.service")
    delays(site, "beside-giant", lambda: site.state("giant")["at"] != before["at"])
    said = site.say("giant", site.judged("giant", before), "unknown", "journal")
    assert said == "no line matches y; 1 of its lines are too long to be searched"
    memory.stayed(24 * MB)
    memory.never_had(24 * MB)


def test_100_megabytes_without_a_line_feed_are_read_in_pieces(site: Site) -> None:
    script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end"
    site.job("endless", script, "- journal: {never: 'x(y+)+z'}\n- journal: {expect: the end}\n")
    site.job("beside-endless", "true")
    site.run("beside-endless")
    memory = Memory(site)
    before = site.state("endless")
    site.node.systemctl("start", "endless.service")
    delays(site, "beside-endless", lambda: site.state("endless")["at"] != before["at"])
    site.say("endless", site.judged("endless", before), "verified", "held")
    memory.stayed(24 * MB)
    memory.never_had(24 * MB)


LINES = int(os.environ.get("OUTCOMED_LINES", "100000"))  # a million takes journald a minute or two


def test_a_hundred_thousand_lines_are_read_and_hold_nobody_up(own_site: Site) -> None:
    site, node = own_site, own_site.node
    conf = "[Journal]\nRateLimitBurst=0\nRateLimitIntervalSec=0\n"
    node.write("/etc/systemd/journald.conf.d/50-all.conf", conf)
    node.systemctl("restart", "systemd-journald.service")
    # Never faster than journald: how long it takes to catch up is not ours.
    talk = f"for _ in $(seq {LINES // 20_000}); do seq 20000; journalctl --sync; done; echo the end"
    site.job("talker", talk, "- journal: {expect: the end}\n- journal: {never: x}\n")
    site.job("beside", "true")
    quiet = iter(range(10))
    usual = max(delays(site, "beside", lambda: next(quiet, None) is None))
    number = len(site.verdicts("beside"))
    memory = Memory(site)
    before = site.state("talker")
    node.run("systemctl start talker.service", timeout=400)
    meanwhile = delays(site, "beside", lambda: site.state("talker")["at"] != before["at"])[number:]
    state = site.judged("talker", before, 120)  # journalctl would take longer than the daemon
    assert (state["verdict"], state["reason"]) == ("verified", "held")
    grown = (memory.private() - memory.before) // 1024
    print(
        f"{LINES} lines: {len(meanwhile)} verdicts of another job meanwhile, after "
        f"{sorted(meanwhile)[len(meanwhile) // 2] * 1000:.0f} ms in the median and "
        f"{max(meanwhile) * 1000:.0f} ms at most, else {usual * 1000:.0f} ms at most; "
        f"private memory grew by {grown} kB"
    )
    assert len(meanwhile) > 1, "it was read before anybody could be held up"
    # What a busy host adds is not ours either; a slice of reading is some milliseconds.
    assert max(meanwhile) < usual + 1
    memory.stayed(24 * MB)


def test_an_instance_whose_name_no_job_can_have_ends_nobody(site: Site) -> None:
    node = site.node
    site.unit("many", "true", unit="many@.service")
    site.job_file("many@", "- duration: {at_most: 1h}\n")
    site.reload()
    restarts = node.show("outcomed.service", "NRestarts")
    long = f"many@{'x' * 220}.service"
    node.systemctl("start", long)
    node.wait_for(
        lambda: node.journal("_SYSTEMD_UNIT=outcomed.service", "--grep=too long for a job"),
        what="a word about it",
    )
    site.reload()
    site.say("many@a", site.run("many@a", unit="many@a.service"), "verified", "held")
    assert node.show("outcomed.service", "NRestarts") == restarts
