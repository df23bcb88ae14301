"""What did not happen: `never-ran` in each way in which a timer's run does not come, and what must
not be taken for it.

Timers elapse every few seconds here, so that slots pass while one looks.
"""

import json
import time
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from tests.nodes import Node
from tests.scenarios.conftest import Site, State, Story, quiet

SOON = "schedule: {start_within: 2s}"
EVERY_3S = "OnCalendar=*:*:0/3\nAccuracySec=1us\n"
PATIENCE = 30
BERLIN = "Europe/Berlin"


def timed(
    site: Site,
    name: str,
    script: str = "date > /srv/{name}",
    *,
    timer: str = EVERY_3S,
    top: str = SOON,
    service: str = "",
    where: str = "/usr/lib/systemd/system",
    enable: bool = True,
) -> None:
    """A job whose timer runs, as a package would bring it."""
    text = f"[Timer]\n{dedent(timer)}\n[Install]\nWantedBy=timers.target\n"
    site.node.write(f"{where}/{name}.timer", text)
    outcome = f"- artifact: /srv/{name}\n"
    site.job(name, script.format(name=name), outcome, service=service, top=top)
    if enable:
        site.node.systemctl("enable", "--now", f"{name}.timer")


def has_run(site: Site, name: str) -> State:
    return site.node.wait_for(
        lambda: (state := site.state(name))["verdict"] == "verified" and state,
        PATIENCE,
        f"the first run of {name}",
    )


def becomes(site: Site, name: str, verdict: str, reason: str) -> State:
    return site.node.wait_for(
        lambda: (
            (((state := site.state(name))["verdict"], state["reason"]) == (verdict, reason))
            and state
        ),
        PATIENCE,
        f"{name} to be {verdict}: {reason}, not {site.state(name)}",
    )


def slots(site: Site, name: str) -> list[dict[str, Any]]:
    """The slots on record that no run of theirs says everything about, oldest first."""
    program = dedent(f"""
        import json
        from outcomed.ledger import Reader
        from outcomed.paths import PATHS
        with Reader(PATHS.ledger) as reader:
            found = reader.slots("{name}", 0, 1000)
        print(json.dumps([[slot.at, slot.state, slot.reason, slot.run] for slot in found]))
    """)
    answer = json.loads(site.node.run(["python3", "-c", program]).stdout)
    keys = ("at", "state", "reason", "run")
    return [dict(zip(keys, slot, strict=True)) for slot in reversed(answer)]


def history(site: Site, name: str) -> list[dict[str, Any]]:
    """What was judged: neither each slot of a dead timer, nor those that were skipped."""
    text = site.node.run(["outcomectl", "history", "--json=short", "-n", "200", name]).stdout
    found: list[dict[str, Any]] = json.loads(text)
    return [one for one in found if one["judged"] is not None]


# --- never-ran -------------------------------------------------------------------------------

WAYS = {
    "disabled": (
        "systemctl disable --now {0}.timer",
        "timer-disabled",
        "{0}.timer is disabled and does not run",
    ),
    "stopped": ("systemctl stop {0}.timer", "timer-stopped", "{0}.timer was stopped"),
    "masked": ("systemctl mask --now {0}.timer", "timer-masked", "{0}.timer is masked"),
    "removed": (
        "systemctl stop {0}.timer; rm /usr/lib/systemd/system/{0}.timer; systemctl daemon-reload",
        "timer-gone",
        "{0}.timer is gone",
    ),
    "service-masked": (
        (
            "mv /etc/systemd/system/{0}.service /usr/lib/systemd/system; systemctl daemon-reload; "
            "systemctl mask {0}.service"
        ),
        "service-masked",
        "{0}.service is masked",
    ),
    "service-removed": (
        "rm /etc/systemd/system/{0}.service; systemctl daemon-reload",
        "service-gone",
        "{0}.service is gone",
    ),
    "not-loadable": (
        "echo Type=nonsense > /etc/systemd/system/{0}.service; systemctl daemon-reload",
        "service-load-error",
        "{0}.service has a setting that systemd refuses",
    ),
}
BACK = {
    "disabled": "systemctl enable --now {0}.timer",
    "stopped": "systemctl start {0}.timer",
    "masked": "systemctl unmask {0}.timer; systemctl start {0}.timer",
    "service-masked": "systemctl unmask {0}.service; systemctl reset-failed {0}.timer; "
    "systemctl start {0}.timer",
}


@pytest.mark.parametrize("way", WAYS)
def test_never_ran(site: Site, way: str) -> None:
    """Missed at the slot's start deadline, told once, and over with the next good run."""
    name = f"never-{way}"
    timed(site, name)
    has_run(site, name)
    command, reason, because = (text.format(name) for text in WAYS[way])
    site.node.run(command)
    state = becomes(site, name, "missed", reason)
    assert state["incident"] is not None
    sentence = site.say(name, state, "missed", reason)
    assert sentence == f"{name}.timer promised a run, and none began within 2 s: {because}"
    site.shows_as_failed(name, True)
    (fired,) = site.messages(name)
    told = fired["data"]
    assert (told["state"], told["verdict"], told["reason"]) == ("firing", "missed", reason)
    assert told["run"] is None
    assert told["slot"] is not None
    assert because in told["summary"]

    # More slots pass. Each is on record; nobody is told a second time.
    site.node.wait_for(lambda: len(slots(site, name)) >= 4, PATIENCE, "slots of a dead timer")
    found = {(slot["state"], slot["reason"]) for slot in slots(site, name)}
    assert found == {("missed", reason)}
    assert len(site.messages(name)) == 1
    assert len([one for one in history(site, name) if one["verdict"] == "missed"]) == 1

    if way in BACK:
        site.node.run(BACK[way].format(name))
        becomes(site, name, "verified", "held")
        site.shows_as_failed(name, False)
        resolved = site.messages(name)[-1]["data"]
        assert (resolved["state"], resolved["alert_id"]) == ("resolved", told["alert_id"])
        assert len(site.messages(name)) == 2
    site.node.run(f"systemctl stop {name}.timer; rm /etc/outcomed/jobs.d/{name}.yaml")


def test_timer_of_another_name_that_never_ran_is_missed_as_one_of_the_same_name_is(
    site: Site,
) -> None:
    """Disabled before outcomed came: its `Unit=` alone says what it is to start."""
    text = f"[Timer]\n{EVERY_3S}Unit=dump.service\n[Install]\nWantedBy=timers.target\n"
    site.node.write("/usr/lib/systemd/system/at-night.timer", text)
    site.job("dump", "date > /srv/dump", "- artifact: /srv/dump\n", top=SOON)
    state = becomes(site, "dump", "missed", "timer-disabled")
    assert site.say("dump", state, "missed", "timer-disabled") == (
        "at-night.timer promised a run, and none began within 2 s: "
        "at-night.timer is disabled and does not run"
    )
    site.node.systemctl("enable", "--now", "at-night.timer")
    becomes(site, "dump", "verified", "held")
    assert [one["data"]["state"] for one in site.messages("dump")] == ["firing", "resolved"]
    site.node.run("systemctl stop at-night.timer; rm /etc/outcomed/jobs.d/dump.yaml")


def test_timer_that_has_nothing_to_count_from_is_missed(own_site: Site) -> None:
    """After a boot, OnUnitActiveSec= alone never elapses: the timer is active, and dead."""
    site = own_site
    timed(site, "counting", timer="OnUnitActiveSec=4s\nAccuracySec=1us\n")
    site.run("counting")
    site.node.wait_for(lambda: len(history(site, "counting")) >= 3, PATIENCE, "three runs")
    site.node.reboot()
    state = becomes(site, "counting", "missed", "timer-elapsed")
    said = site.say("counting", state, "missed", "timer-elapsed")
    assert said.endswith("counting.timer is active, but will not elapse again")


@pytest.mark.parametrize("persistent", [False, True])
def test_host_was_off_at_the_slot(own_site: Site, persistent: bool) -> None:
    site = own_site
    every = "OnCalendar=*:*:0/10\nAccuracySec=1us\n"
    timed(site, "night", timer=every + ("Persistent=yes\n" if persistent else ""))
    has_run(site, "night")
    site.node.poweroff()
    told = len(site.receiver.requests)
    site.node.run("sleep 13")  # as a chroot: the node is off
    site.node.start()
    if persistent:
        site.node.wait_for(
            lambda: any(slot["reason"] == "caught-up" for slot in slots(site, "night")),
            PATIENCE,
            "the run that makes up for it",
        )
        assert {slot["state"] for slot in slots(site, "night")} <= {"ran", "skipped"}
        assert len(site.receiver.requests) == told
    else:
        site.node.wait_for(
            lambda: any(slot["reason"] == "host-off" for slot in slots(site, "night")),
            PATIENCE,
            "the slot that passed while the host was off",
        )
        (event, *_) = site.messages("night")
        assert (event["data"]["verdict"], event["data"]["reason"]) == ("missed", "host-off")
        assert event["data"]["summary"].endswith("the host was off")


# --- late, overdue, stale --------------------------------------------------------------------


def test_run_that_begins_after_its_deadline_was_missed_is_late_and_then_good(site: Site) -> None:
    site.unit("ahead", "while [ -e /run/hold-late ]; do sleep 0.1; done")
    site.node.run("touch /run/hold-late")
    timed(
        site,
        "late",
        timer="OnCalendar=*:0/1\nAccuracySec=1us\n",
        service="[Unit]\nWants=ahead.service\nAfter=ahead.service\n",
    )
    site.node.wait_for(
        lambda: site.state("late")["verdict"] == "missed", 90, "the slot to be missed"
    )
    site.node.run("rm /run/hold-late")
    becomes(site, "late", "verified", "held")
    states = [(slot["state"], slot["reason"]) for slot in slots(site, "late")]
    assert states == [("late", "late")]
    told = [event["data"]["state"] for event in site.messages("late")]
    assert told == ["firing", "resolved"]
    (run,) = [one for one in history(site, "late") if one["started"] is not None]
    assert (run["verdict"], run["trigger"]) == ("verified", "late.timer")
    site.node.run("systemctl stop late.timer")


def test_hung_halfway(site: Site) -> None:
    """Overdue at the finish deadline, with the last step; and what it comes to in the end."""
    site.node.run("touch /run/hang")
    site.job(
        "hung-halfway",
        "outcomectl step dump\noutcomectl step upload\n"
        "while [ -e /run/hang ]; do sleep 0.1; done\ndate > /srv/hung-halfway\n",
        "- steps: [dump, upload, verify]\n- artifact: /srv/hung-halfway\n",
        top="schedule: {finish_within: 3s}",
    )
    site.node.systemctl("start", "--no-block", "hung-halfway.service")
    state = becomes(site, "hung-halfway", "overdue", "finish_within")
    assert state["under_way"] == state["run"]
    said = site.say("hung-halfway", state, "overdue", "finish_within")
    assert said == "still running after 3 s (finish_within), it has reached upload"
    (fired,) = site.messages("hung-halfway")
    assert fired["data"]["steps"] == ["dump", "upload"]
    assert fired["data"]["finished"] is None
    site.shows_as_failed("hung-halfway", True)

    # The daemon that comes after says nothing twice.
    site.node.systemctl("restart", "outcomed.service")
    site.node.run("rm /run/hang")
    becomes(site, "hung-halfway", "silent-failure", "steps")
    assert len(site.messages("hung-halfway")) == 1
    verdicts = [entry["OUTCOMED_VERDICT"] for entry in site.verdicts("hung-halfway")]
    assert verdicts == ["overdue", "silent-failure"]


def test_overdue_run_that_ends_well_after_all(site: Site, story: Callable[[str], Story]) -> None:
    site.node.run("touch /run/slow")
    site.job(
        "slow",
        "while [ -e /run/slow ]; do sleep 0.1; done\ndate > /srv/slow\n",
        "- artifact: /srv/slow\n",
        top="schedule: {finish_within: 1s}",
    )
    site.node.systemctl("start", "--no-block", "slow.service")
    becomes(site, "slow", "overdue", "finish_within")
    site.node.run("rm /run/slow")
    becomes(site, "slow", "verified", "held")
    assert [event["data"]["state"] for event in site.messages("slow")] == ["firing", "resolved"]
    story("slow").stays_quiet()


def test_job_that_is_never_good_is_stale(site: Site) -> None:
    """A condition that is false every night is no failure, and no backup either."""
    timed(
        site,
        "stale",
        top="schedule: {verified_within: 5s, start_within: 1s}",
        service="[Unit]\nConditionPathExists=!/run/skip-stale\n",
    )
    has_run(site, "stale")
    site.node.run("touch /run/skip-stale")
    becomes(site, "stale", "skipped", "condition")
    site.node.wait_for(
        lambda: (now := site.state("stale"))["incident"] is not None and now, PATIENCE, "an alert"
    )
    (fired,) = site.messages("stale")
    assert (fired["data"]["verdict"], fired["data"]["reason"]) == ("stale", "verified_within")
    assert fired["data"]["summary"] == "no good run within 5 s (verified_within)"
    site.node.run("rm /run/skip-stale")
    becomes(site, "stale", "verified", "held")
    assert site.messages("stale")[-1]["data"]["state"] == "resolved"
    site.node.run("systemctl stop stale.timer; rm /etc/outcomed/jobs.d/stale.yaml")


def test_job_without_a_timer_is_to_run_every_so_often(site: Site) -> None:
    site.job(
        "often",
        "date > /srv/often",
        "- artifact: /srv/often\n",
        top="schedule: {every: 4s, start_within: 1s}",
    )
    site.run("often")
    assert site.messages("often") == []
    state = becomes(site, "often", "missed", "every")
    said = site.say("often", state, "missed", "every")
    assert said == "a run was due, and none began within 1 s: it is to run every 4 s"
    site.run("often")
    assert [one["data"]["state"] for one in site.messages("often")] == ["firing", "resolved"]
    site.node.run("rm /etc/outcomed/jobs.d/often.yaml; systemctl reload outcomed")


# --- what is no miss -------------------------------------------------------------------------


def test_slots_during_a_long_run_are_skipped_and_nobody_is_told(site: Site) -> None:
    """systemd says nothing about them; one run follows for all."""
    timed(
        site, "long", "sleep 7; date > /srv/{name}", timer="OnCalendar=*:*:0/2\nAccuracySec=1us\n"
    )
    site.node.wait_for(lambda: len(history(site, "long")) >= 2, 60, "two runs")
    site.node.systemctl("stop", "long.timer")
    has_run(site, "long")

    def skipped() -> list[State]:
        return [slot for slot in slots(site, "long") if slot["state"] == "skipped"]

    site.node.wait_for(lambda: len(skipped()) >= 2, PATIENCE, "slots that were skipped")
    found = slots(site, "long")
    assert {(slot["state"], slot["reason"]) for slot in found} <= {
        ("skipped", "still-running"),
        ("late", "still-running"),
    }
    assert site.messages("long") == []
    site.node.run("rm /etc/outcomed/jobs.d/long.yaml; systemctl reload outcomed")


def test_slots_while_the_daemon_was_down_are_answered_by_the_runs_that_there_were(
    own_site: Site,
) -> None:
    site = own_site
    timed(site, "away")
    has_run(site, "away")
    site.node.systemctl("stop", "outcomed.service")
    site.node.run("sleep 7")
    site.node.systemctl("start", "outcomed.service")
    before = len(history(site, "away"))
    site.node.wait_for(lambda: len(history(site, "away")) > before + 1, PATIENCE, "later runs")
    assert slots(site, "away") == []
    runs = history(site, "away")
    assert {run["trigger"] for run in runs} == {"away.timer"}
    moments = sorted(run["slot"] for run in runs)
    assert len(set(moments)) == len(moments)
    assert site.messages("away") == []


def test_timer_that_is_changed_or_started_anew_misses_nothing(own_site: Site) -> None:
    site = own_site
    timed(site, "moved", where="/etc/systemd/system")
    has_run(site, "moved")
    site.node.write(
        "/etc/systemd/system/moved.timer",
        "[Timer]\nOnCalendar=*:*:0/4\nAccuracySec=1us\nRandomizedDelaySec=1s\n",
    )
    site.node.systemctl("daemon-reload")
    site.node.systemctl("restart", "moved.timer")
    before = len(history(site, "moved"))
    site.node.wait_for(lambda: len(history(site, "moved")) >= before + 3, PATIENCE, "later runs")
    site.node.systemctl("start", "moved.service")
    # Under another name, and the old one is gone.
    site.node.run(
        "systemctl stop moved.timer; cd /etc/systemd/system; mv moved.timer other.timer; "
        "echo Unit=moved.service >> other.timer; systemctl daemon-reload; "
        "systemctl start other.timer"
    )
    site.node.wait_for(
        lambda: sum(run["trigger"] == "other.timer" for run in history(site, "moved")) >= 2,
        PATIENCE,
        "runs of the other timer",
    )
    assert {slot["state"] for slot in slots(site, "moved")} <= {"skipped", "ran"}
    assert site.messages("moved") == []
    assert isinstance(site.node, Node)
    assert quiet(site.node) == []


def test_jobs_that_are_removed_while_they_are_looked_at_hold_nobody_up(own_site: Site) -> None:
    """So many that outcomed has not come to the last of them when their files are gone."""
    site = own_site
    files = "/etc/outcomed/jobs.d/many-"
    site.node.run(
        f"for number in $(seq 300); do echo 'severity: warning' > {files}$number.yaml; done;"
        " systemctl reload outcomed; systemctl daemon-reload;"
        f" rm {files}*; systemctl reload outcomed"
    )
    timed(site, "stays")
    has_run(site, "stays")
    site.node.systemctl("stop", "stays.timer")
    becomes(site, "stays", "missed", "timer-stopped")


# --- another zone, another calendar ----------------------------------------------------------


def once_a_day(site: Site, seconds: int, zone: str = "UTC") -> str:
    """A timer for so far from now, as the clock shows it there."""
    shown = site.node.run(f"TZ={zone} date --date='{seconds} seconds' +%T").stdout.strip()
    return f"OnCalendar=*-*-* {shown}\nAccuracySec=1us\n"


def ended(site: Site, name: str) -> list[tuple[str, str | None]]:
    """How its slots ended, oldest first."""
    text = site.node.run(f"outcomectl history --json=short {name}", check=False).stdout
    found = [(one["slot"], one["slot_state"], one["slot_reason"]) for one in json.loads(text)]
    return [(state, reason) for _, state, reason in sorted(found)]


def becomes_of(site: Site, name: str, *expected: tuple[str, str | None]) -> None:
    until = time.monotonic() + PATIENCE
    while ended(site, name) != list(expected) and time.monotonic() < until:
        time.sleep(0.2)
    assert ended(site, name) == list(expected)


def is_promised(site: Site, *names: str) -> None:
    """Their next slots are on record."""
    asked = ["outcomectl", "status", "--json=short", *names]
    site.node.wait_for(
        lambda: all(job["next_slot"] for job in json.loads(site.node.run(asked).stdout)),
        PATIENCE,
        f"the next slots of {', '.join(names)}",
    )


def move(site: Site, zone: str) -> None:
    site.node.run(f"ln -sf /usr/share/zoneinfo/{zone} /etc/localtime")


def test_zone_that_is_changed_moves_slots_and_nobody_is_told(own_site: Site) -> None:
    site = own_site
    timed(site, "moved", timer=once_a_day(site, 15))
    timed(site, "stays", timer=once_a_day(site, 15).replace("\n", " UTC\n", 1))
    timed(site, "passed", timer=once_a_day(site, 3, BERLIN))
    is_promised(site, "moved", "stays", "passed")
    time.sleep(7)
    move(site, BERLIN)
    becomes_of(site, "passed", ("ran", "zone-change"))  # systemd makes up for it
    becomes_of(site, "moved", ("skipped", "zone-change"))
    becomes_of(site, "stays", ("ran", None))
    shown = site.node.run("outcomectl history moved; outcomectl history passed").stdout
    assert shown.count("the time zone was changed") == 2
    assert [site.messages(name) for name in ("moved", "stays", "passed")] == [[], [], []]
    assert isinstance(site.node, Node)
    assert quiet(site.node) == []


def test_what_is_changed_while_nobody_looks_promises_nothing_of_before(own_site: Site) -> None:
    site = own_site
    for name in ("edited", "rezoned"):
        timed(site, name, timer=once_a_day(site, 10))
    is_promised(site, "edited", "rezoned")
    site.node.systemctl("stop", "outcomed.service")
    edited = f"[Timer]\n{once_a_day(site, 5000)}"
    site.node.write("/usr/lib/systemd/system/edited.timer", edited)
    site.node.systemctl("daemon-reload")
    move(site, BERLIN)
    time.sleep(14)
    site.node.systemctl("start", "outcomed.service")
    becomes_of(site, "edited", ("skipped", "schedule-changed"))
    becomes_of(site, "rezoned", ("skipped", "zone-change"))
    assert [site.messages(name) for name in ("edited", "rezoned")] == [[], []]


# --- random delays ---------------------------------------------------------------------------

UNLIMITED = "[Unit]\nStartLimitIntervalSec=0\n"


def roll(site: Site, name: str, command: str = "") -> int:
    """When its timer elapses, after a command that has it choose another random delay."""
    command = command or f"systemctl restart {name}.timer"
    asked = f"systemctl show --value --property=NextElapseUSecRealtime {name}.timer"
    return int(site.node.run(f'{command}; date --date="$({asked})" +%s').stdout)


def test_random_delay_that_is_chosen_anew_is_no_miss(site: Site) -> None:
    """As an upgrade does it: systemd reads its files again, and then the timer is started anew."""
    every = "OnCalendar=*:*:0/20\nAccuracySec=1us\nRandomizedDelaySec=15s\n"
    timed(site, "random", timer=every + UNLIMITED)
    site.node.wait_for(lambda: history(site, "random"), 60, "its first run")

    def is_announced() -> int:
        """Early in its slot, so that it may come much later."""
        roll(site, "random")
        time.sleep(0.1)
        at = roll(site, "random", "systemctl daemon-reload")
        return at if at % 20 < 8 and at > time.time() + 3 else 0

    announced = site.node.wait_for(is_announced, 60, "a short random delay")
    while not announced + 4 < roll(site, "random") < announced // 20 * 20 + 18:
        assert time.time() < announced - 1
    before = len(history(site, "random"))
    site.node.wait_for(lambda: len(history(site, "random")) > before, 60, "its run")
    assert time.time() > announced + 4
    assert {one["verdict"] for one in history(site, "random")} == {"verified"}
    assert {one["state"] for one in slots(site, "random")} <= {"ran"}
    assert site.messages("random") == []


def test_random_delay_of_a_host_that_was_off_counts_from_its_boot(own_site: Site) -> None:
    site = own_site
    timer = once_a_day(site, 10) + "RandomizedDelaySec=12s\nPersistent=yes\n"
    timed(site, "lasting", timer=timer)
    site.node.systemctl("daemon-reload")
    is_promised(site, "lasting")
    site.node.poweroff()
    site.node.run("sleep 24")  # as a chroot: the node is off
    site.node.start()
    becomes_of(site, "lasting", ("ran", "caught-up"))
    assert site.messages("lasting") == []


def test_slot_that_a_reboot_within_its_random_delay_loses_is_missed(own_site: Site) -> None:
    """systemd counts from the boot then, and the slot was before it."""
    site = own_site
    timer = once_a_day(site, 10) + "RandomizedDelaySec=30s\n"
    timed(site, "lost", timer=timer + UNLIMITED, enable=False)
    site.node.systemctl("enable", "--no-reload", "lost.timer")
    begin = time.time()
    while not begin + 18 < roll(site, "lost") < begin + 26:
        assert time.time() < begin + 8
    site.node.systemctl("restart", "outcomed.service")  # this is the first that it sees of it
    is_promised(site, "lost")
    time.sleep(max(0, begin + 12 - time.time()))
    site.node.reboot()
    state = becomes(site, "lost", "missed", "host-off")
    said = site.say("lost", state, "missed", "host-off")
    assert said.endswith("the host was started anew before its random delay was over")
    assert len(site.messages("lost")) == 1
