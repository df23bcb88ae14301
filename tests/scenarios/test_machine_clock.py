"""A clock that lies: set forward and back while a job runs and while nobody looks, both nights on
which local time is changed, and a host that sleeps over a slot.

What a run took, whose a file is, which lines are a run's and what became of a slot must not depend
on it, and nobody is told of anything but the one run that hangs. One virtual machine: a node has
its host's clock. Timers are set for fixed times, and the clock to shortly before them.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Machine
from tests.scenarios.conftest import SPOOL, Site

HOUR, DAY = 3600, 86400
ZONE = "Europe/Berlin"
SPRING, AUTUMN = "2027-03-28", "2027-10-31"  # at 01:00 UTC, from 02:00 and back to it
NIGHT = "2027-01-20"

# Each run writes a file of its own name, once it is told which.
SCRIPT = """
echo begun
read name < /srv/clock.word
date > /srv/clock/$name
echo dump complete
"""
RULES = """
- artifact: /srv/clock/*
- journal: {expect: dump complete}
- journal: {never: ERROR}
- duration: {at_most: 15min}
"""
SLEEPERS = {
    "asleep": f"OnCalendar={NIGHT} 04:01:00",
    "lasting": f"OnCalendar={NIGHT} 04:01:00\nPersistent=yes",
    "waking": f"OnCalendar={NIGHT} 04:01:15\nWakeSystem=yes",
}
TIMERS = SLEEPERS | {
    "daily": "OnCalendar=*-*-* 08:00:00",
    "hole": "OnCalendar=2027-03-27..29 02:00:05",
    "twice": f"OnCalendar={AUTUMN} 02:00:05\nOnCalendar={AUTUMN} 02:59:57",
    "after": f"OnCalendar={SPRING} 01:00:12 UTC\nOnCalendar={AUTUMN} 01:00:15 UTC",
}
LATER = "read name < /srv/later.word\n[ $name = none ] || date > /srv/l-$name"

Files = Iterator[tuple[str, str]]


@pytest.fixture(scope="module")
def shared_site(deb: Path) -> Iterator[Site]:
    with Machine(deb=deb) as machine:
        yield arranged(machine)


def arranged(machine: Machine) -> Site:
    machine.run(
        f"ln -sf /usr/share/zoneinfo/{ZONE} /etc/localtime && date --set '2027-01-12 12:00:00'"
        " && mkdir /srv/clock && mkfifo /srv/clock.word /srv/hung.word /srv/later.word"
    )
    lay(machine, files())
    machine.systemctl("start", *(f"{name}.timer" for name in TIMERS))
    site = Site(machine)
    before = site.state("daily")
    set_to(site, "2027-01-15 12:00:00")  # jobs are watched for longer than it is ever set back
    site.judged("daily", before, 60)
    return site


def lay(machine: Machine, files: Iterable[tuple[str, str]]) -> None:
    """All in one command, each of which takes half a second there."""
    machine.run("".join(f"cat > {path} <<'__'\n{text.strip()}\n__\n" for path, text in files))


def files() -> Files:
    for name, timer in TIMERS.items():
        yield from timed(name, timer)
        rules = f"- artifact: /srv/{name}"
        within = "start_within: 5s, verified_within: 500d"
        yield from job(name, f"date > /srv/{name}", within, rules)
    yield from timed("clock", "OnActiveSec=1us")
    yield from job("clock", SCRIPT, "finish_within: 30min, verified_within: 500d", RULES)
    yield from job("hung", "read name < /srv/hung.word", "finish_within: 10s")
    yield from job("later", LATER, "finish_within: 1h", "- artifact: /srv/l-*")


def timed(name: str, timer: str) -> Files:
    yield f"/etc/systemd/system/{name}.timer", f"[Timer]\n{timer}\nAccuracySec=1us\n"


def job(name: str, script: str, schedule: str, rules: str = "") -> Files:
    unit = f"[Service]\nType=oneshot\nExecStart=sh /usr/local/bin/{name}\n"
    yield f"/usr/local/bin/{name}", script
    yield f"/etc/systemd/system/{name}.service", unit
    file = f"schedule: {{{schedule}}}\n" + (f"outcome:\n{rules}\n" if rules else "")
    yield f"/etc/outcomed/jobs.d/{name}.yaml", file


def set_to(site: Site, moment: str) -> None:
    site.node.run(["date", "--set", moment])


def history(site: Site, name: str) -> list[dict[str, Any]]:
    text = site.node.run(f"outcomectl history --json=short -n 100 {name}", check=False).stdout
    runs: list[dict[str, Any]] = json.loads(text)
    return runs


def slots(site: Site, name: str, day: str = "") -> list[tuple[str, str | None]]:
    """Of one day, how they ended and why, oldest first."""
    found = [one for one in history(site, name) if (one["slot"] or "").startswith(day)]
    return [(one["slot_state"], one["slot_reason"]) for one in reversed(found)]


def explained(site: Site, name: str) -> dict[str, Any]:
    text = site.node.run(f"outcomectl explain {name} --json=short", check=False).stdout
    run: dict[str, Any] = json.loads(text)
    return run


def told(site: Site, *, of_hung: bool = False) -> list[tuple[str, str, str]]:
    """Everything that was to be sent, of the job that hangs or of all others: job, state and
    verdict."""
    found = site.node.run(f"cat {SPOOL}/out/*.json", check=False).stdout
    events = [json.loads(line)["event"] for line in found.replace("}{", "}\n{").splitlines()]
    return sorted(
        (one["subject"], one["data"]["state"], one["data"]["verdict"])
        for one in events
        if (one["subject"] == "hung") is of_hung
    )


def begin(site: Site) -> None:
    site.node.systemctl("restart", "clock.timer")
    site.node.wait_for(lambda: site.state("clock")["under_way"], 60, "the run on record")


def go_on(site: Site, name: str, job: str = "clock") -> None:
    site.node.run(f"echo {name} > /srv/{job}.word", timeout=20)


def is_right(run: dict[str, Any], witness: str) -> None:
    assert (run["verdict"], run["witness"]) == ("verified", witness), run["summary"]
    assert run["trigger"] == "clock.timer", "its timer elapsed earlier than ever, or so it seems"
    assert 0 < run["duration_s"] < 15 * 60
    assert run["output"] == {"complete": True, "reason": None}


@pytest.mark.parametrize("jump", [-HOUR, HOUR, DAY, -DAY])
def test_clock_that_is_set_while_a_job_runs_deceives_nobody(site: Site, jump: int) -> None:
    before, daily = site.state("clock"), site.state("daily")
    begin(site)
    site.node.set_clock(jump)
    if jump == DAY:  # over a slot, for which systemd starts a run at once
        assert site.judged("daily", daily, 60)["verdict"] == "verified"
        assert slots(site, "daily", "2027-01-16") == [("ran", "clock-change")]
    go_on(site, f"live{jump}")
    site.judged("clock", before, 60)
    is_right(explained(site, "clock"), "live")
    assert told(site) == [], "nor was it overdue meanwhile"


def test_run_that_hangs_has_no_more_time_because_the_clock_was_set_back(site: Site) -> None:
    before = site.state("hung")
    site.node.systemctl("start", "--no-block", "hung.service")
    site.node.wait_for(lambda: site.state("hung")["under_way"], 60, "the run on record")
    site.node.set_clock(-HOUR)
    site.node.wait_for(lambda: site.state("hung")["verdict"] == "overdue", 6, "it to be overdue")
    go_on(site, "on", "hung")
    assert site.judged("hung", before, 60)["verdict"] == "unproven"
    site.node.wait_for(lambda: len(told(site, of_hung=True)) == 2, 6, "both messages")
    messages = [("hung", "firing", "overdue"), ("hung", "resolved", "unproven")]
    assert (told(site, of_hung=True), told(site)) == (messages, [])


def test_runs_that_ended_unseen_while_the_clock_was_set_are_read_back(site: Site) -> None:
    node, daily = site.node, site.state("daily")
    node.systemctl("stop", "outcomed.service")
    for number, jump in enumerate((-DAY, DAY, DAY)):
        node.systemctl("restart", "clock.timer")
        node.wait_for(lambda: is_active(site, "clock"), 60, "the run to begin")
        node.set_clock(jump)
        go_on(site, f"unseen{number}")
        node.wait_for(lambda: not is_active(site, "clock"), 60, "the run to end")
    node.systemctl("start", "outcomed.service")
    first, second, last = node.wait_for(lambda: unseen(site, 3), 60, "all three verdicts")
    is_right(last, "replayed")
    for run in (first, second):  # what is newest now is not theirs
        assert (run["verdict"], run["witness"]) == ("unknown", "late")
        assert run["output"]["complete"]
        assert 0 < run["duration_s"] < 15 * 60
    # It was set over a slot that was still to come, and systemd started a run for it.
    run = node.wait_for(lambda: newest(site, "daily", daily["run"]), 6, "its run on record")
    assert (run["verdict"], run["trigger"]) == ("verified", "daily.timer")
    assert (run["slot_state"], run["slot_reason"]) == ("ran", "clock-change")
    assert told(site) == []


def unseen(site: Site, number: int) -> list[dict[str, Any]] | None:
    """The runs that ended while nobody looked, in the order in which they were judged; None: they
    are not all of them."""
    found = [run for run in history(site, "clock") if run["witness"] in ("replayed", "late")]
    return sorted(found, key=lambda run: str(run["judged"])) if len(found) == number else None


def newest(site: Site, name: str, known: str) -> dict[str, Any] | None:
    """The newest run, once its slot is found."""
    run = explained(site, name)
    return run if run["run"] != known and run["slot_state"] else None


def is_active(site: Site, name: str) -> bool:
    shown: dict[str, str] = site.node.show(f"{name}.service", "ActiveState")
    return shown["ActiveState"] == "activating"


def test_file_of_a_time_that_is_still_to_come_is_no_proof(site: Site) -> None:
    """It was written before the clock was set back, and is newer than whatever comes after."""
    for word, verdict in (("first", "verified"), ("none", "unknown"), ("second", "verified")):
        before = site.state("later")
        if word == "none":
            site.node.set_clock(-HOUR / 2)
        site.node.systemctl("start", "--no-block", "later.service")
        go_on(site, word, "later")
        assert site.judged("later", before, 60)["verdict"] == verdict, word


def test_host_sleeps_over_a_slot_until_another_timer_wakes_it(site: Site) -> None:
    node = site.node
    before = {name: site.state(name) for name in (*SLEEPERS, "clock")}
    begin(site)
    node.systemctl("start", "systemd-logind.service")  # else it takes a while to fall asleep
    set_to(site, f"{NIGHT} 03:59:58")
    node.suspend(wait_for_alarm=True)
    for name in SLEEPERS:
        assert site.judged(name, before[name], 60)["verdict"] == "verified"
    assert slots(site, "asleep") == [("ran", "resumed")]
    assert slots(site, "lasting") == [("ran", "resumed")]
    assert slots(site, "waking") in ([("ran", None)], [("ran", "resumed")])  # it takes its time
    go_on(site, "slept")
    site.judged("clock", before["clock"], 60)
    is_right(explained(site, "clock"), "live")
    assert told(site) == []


@pytest.mark.parametrize(
    ("night", "moment", "job", "ended"),
    [
        (SPRING, "01:59:50", "hole", []),  # 02:00:05 is no time of that night
        (AUTUMN, "00:59:47 UTC", "twice", [("ran", "clock-change"), ("ran", None)]),
    ],
)
def test_night_on_which_local_time_is_changed(
    site: Site, night: str, moment: str, job: str, ended: list[tuple[str, str | None]]
) -> None:
    """What local time leaves out is no slot, and of an hour that comes twice systemd leaves out the
    second."""
    before = site.state("after")
    set_to(site, f"{night} {moment}")
    assert site.judged("after", before, 60)["verdict"] == "verified"
    assert slots(site, job, night) == ended
    assert told(site) == []
