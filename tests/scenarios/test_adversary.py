"""The world breaks in the middle of things: a full disk, a bus that is gone, a daemon that is
killed again and again. Every run has its one verdict afterwards, and nobody is flooded.
"""

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
