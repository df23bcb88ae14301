"""The daemon is reloaded, killed and carried through systemd's own changes, and loses no run."""

import json
from typing import Any

import pytest

from tests.scenarios.conftest import Message, Site

GOOD = "- artifact: /srv/{name}\n"


def under_way(site: Site, name: str) -> None:
    """A run that has begun, and ends when something is written to its pipe."""
    site.node.run(["mkfifo", f"/srv/{name}.fifo"])
    script = f"read word < /srv/{name}.fifo; date > /srv/{name}"
    site.job(name, script, GOOD.format(name=name))
    site.node.systemctl("start", "--no-block", f"{name}.service")
    site.node.wait_for(lambda: site.state(name)["under_way"], what="a run under way")


def go_on(site: Site, name: str) -> None:
    site.node.run(f"echo go > /srv/{name}.fifo")


def test_systemd_is_asked_nothing_between_a_runs_end_and_its_verdict(site: Site) -> None:
    node, before = site.node, site.state("unasked")
    node.run(["mkfifo", "/srv/unasked.fifo"])
    script = "read word < /srv/unasked.fifo; date > /srv/unasked"
    site.job("unasked", script, GOOD.format(name="unasked") + "- journal: {never: ERROR}\n")
    node.systemctl("start", "--no-block", "unasked.service")
    node.wait_for(lambda: site.state("unasked")["under_way"], what="a run under way")
    names = {
        one["name"]
        for one in json.loads(node.run("busctl list --json=short").stdout)
        if one["unit"] == "outcomed.service"
    }
    what = "type=method_call,destination=org.freedesktop.systemd1"
    node.popen(f"busctl --json=short '--match={what}' monitor >/run/calls")

    def calls_until(method: str) -> list[dict[str, Any]] | None:
        """What the monitor has shown, once it shows this call of ours too."""
        peer = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer"
        node.run(f"busctl call {peer} {method}")
        whole = node.read("/run/calls").rpartition("\n")[0].splitlines()
        calls = [json.loads(line) for line in whole]
        return calls if method in [call["member"] for call in calls] else None

    earlier = node.wait_for(lambda: calls_until("Ping"), what="a monitor of the bus")
    go_on(site, "unasked")
    assert site.judged("unasked", before)["verdict"] == "verified"
    calls = node.wait_for(lambda: calls_until("GetMachineId"), what="the last call")[len(earlier) :]
    assert names
    assert [call["member"] for call in calls if call["sender"] in names] == []


def test_reload_takes_a_changed_file_and_keeps_the_run_under_way(site: Site) -> None:
    under_way(site, "changed")
    before = site.state("changed")
    site.job_file("changed", "- artifact: /srv/changed\n  min_size: 1M\n")
    site.node.systemctl("reload", "outcomed.service")
    assert site.state("changed")["under_way"] == before["under_way"]
    go_on(site, "changed")
    state = site.judged("changed", before)
    sentence = site.say("changed", state, "silent-failure", "artifact")
    assert "expected at least 1.0M" in sentence
    assert state["run"] == before["under_way"]
    assert len(site.verdicts("changed")) == 1


def test_broken_file_leaves_the_last_good_in_force_and_is_named(site: Site) -> None:
    site.job("steady", "date > /srv/steady", "- artifact: /srv/steady\n  min_size: 1M\n")
    file = "/etc/outcomed/jobs.d/steady.yaml"
    site.node.write(file, "outcome:\n  - artifact: /srv/steady\n    min_size: big\n")
    site.node.systemctl("reload", "outcomed.service")
    (refused,) = [
        entry
        for entry in site.node.journal("_SYSTEMD_UNIT=outcomed.service", f"OUTCOMED_FILE={file}")
        if entry["OUTCOMED_LINE"] == "3"
    ]
    assert refused["OUTCOMED_KEY"] == "outcome[0].artifact.min_size"
    assert f"{file}:3:" in refused["MESSAGE"]
    assert "'big'" in refused["MESSAGE"]
    sentence = site.say("steady", site.run("steady"), "silent-failure", "artifact")
    assert "expected at least 1.0M" in sentence
    site.node.write(file, "outcome:\n  - artifact: /srv/steady\n    min_size: 1\n")
    site.node.systemctl("reload", "outcomed.service")
    site.say("steady", site.run("steady"), "verified", "held")


def test_broken_file_is_told_once_and_when_it_is_sound_again(site: Site) -> None:
    def about_files() -> list[Message]:
        sent = [request.json()["data"] for request in site.receiver.requests]
        return [data for data in sent if data["reason"] in ("configuration", "sound")]

    before = len(about_files())
    file = "/etc/outcomed/jobs.d/told.yaml"
    site.node.write(file, "outcome: [}\n")
    for verb in ("reload", "reload", "restart"):
        site.node.systemctl(verb, "outcomed.service")
    site.node.write(file, "outcome: []\n")
    site.node.systemctl("reload", "outcomed.service")
    site.node.wait_for(lambda: len(about_files()) - before == 2, what="both messages")
    firing, resolved = about_files()[before:]
    assert (firing["state"], resolved["state"]) == ("firing", "resolved")
    assert f"{file}:1:" in firing["summary"]
    assert firing["severity"] == "warning"
    assert firing["alert_id"] == resolved["alert_id"]
    site.node.run(["rm", file])
    site.reload()


def test_broken_file_survives_a_restart_of_the_daemon(site: Site) -> None:
    site.job("kept", "date > /srv/kept", "- artifact: /srv/kept\n  min_size: 1M\n")
    site.node.write("/etc/outcomed/jobs.d/kept.yaml", "outcome: [}\n")
    site.node.systemctl("restart", "outcomed.service")
    sentence = site.say("kept", site.run("kept"), "silent-failure", "artifact")
    assert "expected at least 1.0M" in sentence
    site.node.run("rm /etc/outcomed/jobs.d/kept.yaml")


@pytest.mark.parametrize("end", ["before", "after"])
def test_daemon_that_is_killed_during_a_run_judges_it_afterwards(site: Site, end: str) -> None:
    """The run ends before the daemon is there again, or after."""
    name = f"killed-{end}"
    under_way(site, name)
    before = site.state(name)
    site.node.systemctl("kill", "--signal=KILL", "outcomed.service")
    if end == "before":
        go_on(site, name)
    site.node.wait_for(
        lambda: (
            site.node.show("outcomed.service", "ActiveState")["ActiveState"] == "active"
            and site.node.show("outcomed.service", "NRestarts")["NRestarts"] != "0"
        ),
        20,
        "the daemon to be started again",
    )
    if end == "after":
        go_on(site, name)
    state = site.judged(name, before)
    site.say(name, state, "verified", "held")
    assert state["run"] == before["under_way"]
    assert len(site.verdicts(name)) == 1


@pytest.mark.parametrize("what", ["daemon-reload", "daemon-reexec"])
def test_systemd_reads_its_units_again_during_a_run(site: Site, what: str) -> None:
    name = f"during-{what}"
    under_way(site, name)
    before = site.state(name)
    pid = site.node.show("outcomed.service", "MainPID")
    site.node.systemctl(what)
    site.node.systemctl(what)
    go_on(site, name)
    state = site.judged(name, before)
    site.say(name, state, "verified", "held")
    assert state["run"] == before["under_way"]
    assert len(site.verdicts(name)) == 1
    site.node.systemctl("start", f"{name}.service", "--no-block")
    site.node.wait_for(lambda: site.state(name)["under_way"], what="the next run under way")
    go_on(site, name)
    site.say(name, site.judged(name, state), "verified", "held")
    assert site.node.show("outcomed.service", "MainPID") == pid


def test_job_that_is_removed_closes_its_incident(site: Site) -> None:
    site.job("removed", "true", "- artifact: /srv/never\n")
    state = site.run("removed")
    site.shows_as_failed("removed", True)
    site.node.run("rm /etc/outcomed/jobs.d/removed.yaml")
    site.node.systemctl("reload", "outcomed.service")
    site.shows_as_failed("removed", False)
    fired, resolved = site.messages("removed")
    assert resolved["data"]["state"] == "resolved"
    assert resolved["data"]["reason"] == "removed"
    assert resolved["data"]["alert_id"] == fired["data"]["alert_id"] == state["incident"]
    assert not site.node.exists("/var/lib/outcomed/state/removed.json")
