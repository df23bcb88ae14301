"""What outcomectl tells a person about slots, on a node: and that what it says to type, helps."""

import json
from typing import Any

import pytest

from tests.scenarios.conftest import Site
from tests.scenarios.test_never_ran import PATIENCE, WAYS, becomes, has_run, timed


def shown(site: Site, *words: str) -> str:
    """Joined to one line: where it was wrapped is another's test."""
    return " ".join(site.node.run(["outcomectl", *words], check=False).stdout.split())


def answer(site: Site, *words: str) -> Any:
    return json.loads(site.node.run(["outcomectl", *words, "--json=short"], check=False).stdout)


def to_type(site: Site, name: str) -> list[str]:
    """What `explain` says to type, as far as it mends anything."""
    text = site.node.run(["outcomectl", "explain", name], check=False).stdout
    lines = [
        line.partition("  # ")[0].strip() for line in text.partition("\nNext\n")[2].split("\n")
    ]
    verbs = ("unmask", "enable", "start", "restart")
    return [
        line for line in lines if line.split()[:1] == ["systemctl"] and line.split()[1] in verbs
    ]


@pytest.mark.parametrize("way", ["disabled", "stopped", "masked", "service-masked"])
def test_what_explain_says_to_type_brings_the_runs_back(site: Site, way: str) -> None:
    name = f"typed-{way}"
    timed(site, name)
    has_run(site, name)
    command, reason, because = (text.format(name) for text in WAYS[way])
    site.node.run(command)
    missed = becomes(site, name, "missed", reason)
    said = shown(site, "explain", name)
    assert f"promised by {name}.timer Awaited: until " in said
    assert f"2s after its slot (by its file) Found: {because} Judged: " in said
    status = shown(site, "status", name)
    assert f"{name}.service is masked" in status if way == "service-masked" else because in status
    row = answer(site, "history", name)[0]
    assert (row["verdict"], row["run"], row["trigger"]) == ("missed", None, f"{name}.timer")
    assert row["slot"] is not None
    commands = to_type(site, name)
    assert len(commands) >= 2
    for command in commands:
        site.node.run(command)
    state = site.node.wait_for(
        lambda: (found := site.state(name))["verdict"] == "verified" and found, PATIENCE, "a run"
    )
    assert state["incident"] is None
    assert state["at"] > missed["at"]
    site.node.wait_for(
        lambda: answer(site, "history", "-n", "1", name)[0]["trigger"] == f"{name}.timer",
        *(PATIENCE, "a run by the timer"),
    )
    assert "missed" in [one["verdict"] for one in answer(site, "history", name)]


def test_timer_that_is_started_just_after_a_reload_is_seen(site: Site) -> None:
    """As `systemctl enable --now` may do it: nothing is signalled then."""
    timed(site, "soon", timer="OnCalendar=*-*-* 02:30:00\n", top="", enable=False)
    site.node.run("systemctl daemon-reload; sleep 0.3; systemctl start soon.timer")
    site.node.wait_for(
        lambda: answer(site, "status", "soon")[0]["next_slot"], PATIENCE, "what it promises"
    )


def test_status_has_the_next_slot_and_its_deadlines(site: Site) -> None:
    timed(site, "nightly", timer="OnCalendar=*-*-* 02:30:00\nAccuracySec=1us\n", top="")
    (job,) = site.node.wait_for(
        lambda: (found := answer(site, "status", "nightly")) and found[0]["next_slot"] and found,
        *(PATIENCE, "the first promise"),
    )
    elapse = site.node.show("nightly.timer", "NextElapseUSecRealtime")["NextElapseUSecRealtime"]
    assert job["next_slot"][11:19] == "02:30:00"
    assert job["begin_by"][11:19] == "02:40:00"
    said = shown(site, "status", "nightly")
    assert f"Next run: {elapse}; " in said
    assert "left (nightly.timer) Begin by: " in said
    assert "10min after its slot (default)" in said
    assert "End by: 1d after its start (default, until 3 good runs" in said
    assert "Proof by: " in said


@pytest.mark.parametrize("seen", ["alive", "dead"])
def test_slots_that_pass_while_a_run_is_under_way_stand_in_the_history(
    site: Site, seen: str
) -> None:
    """Also where the timer was first seen before it was started: from then on its service runs
    whenever it is looked at."""
    name = f"slow-{seen}"
    timed(site, name, f"sleep 8; date > /srv/{name}", enable=seen == "alive")
    if seen == "dead":
        dead = f"{name}.timer is disabled and does not run"
        site.node.wait_for(lambda: dead in shown(site, "explain", name), PATIENCE, dead)
        site.node.systemctl("start", f"{name}.timer")
    found = site.node.wait_for(
        lambda: (
            (rows := answer(site, "history", name))
            and len([one for one in rows if one["verdict"] == "skipped"]) >= 2
            and rows
        ),
        *(PATIENCE, "slots that were skipped"),
    )
    skipped = [one for one in found if one["verdict"] == "skipped"]
    assert {one["reason"] for one in skipped} == {"still-running"}
    assert {one["summary"] for one in skipped} == {"the run before it was still under way"}
    assert "the run before it was still under way" in shown(site, "history", name)
    states = [event["data"]["state"] for event in site.messages(name)]
    # Disabled, it may have missed a slot before it was started.
    assert states == [] or (seen == "dead" and states == ["firing", "resolved"])


def test_job_that_comes_while_others_are_looked_at_is_looked_at_too(own_site: Site) -> None:
    """After a daemon-reload all are looked at, and a dead timer has its calendar asked for."""
    site = own_site
    text = "[Timer]\nOnCalendar=*-*-* 02:30:00\n[Install]\nWantedBy=timers.target\n"
    for number in range(40):
        name = f"old-{number}"
        site.unit(name, "true")
        site.node.write(f"/etc/systemd/system/{name}.timer", text)
        site.job_file(name, "- duration: {at_most: 1min}\n", top="schedule: {start_within: 1h}")
    site.reload()
    site.unit("new", "true")
    site.node.write("/etc/systemd/system/new.timer", text)
    site.job_file("new", "- duration: {at_most: 1min}\n")
    site.node.run(
        "systemctl daemon-reload; systemctl reload outcomed; systemctl enable --now new.timer"
    )
    site.node.wait_for(
        lambda: answer(site, "status", "new")[0]["next_slot"], PATIENCE, "what its timer promises"
    )
