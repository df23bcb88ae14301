"""A clock that is set while a job runs, forward and back, by an hour and by a day.

What a run took, whose a file is, and which lines are a run's must not depend on it. One virtual
machine: a node has its host's clock.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Machine
from tests.scenarios.conftest import Site

HOUR, DAY = 3600, 86400

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
TIMER = """
[Timer]
OnActiveSec=1us
AccuracySec=1us
Unit=clock.service
"""


@pytest.fixture(scope="module")
def shared_site(deb: Path) -> Iterator[Site]:
    with Machine(deb=deb) as machine:
        site = Site(machine)
        machine.run("mkdir /srv/clock && mkfifo /srv/clock.word")
        machine.write("/etc/systemd/system/clock.timer", TIMER)
        site.job("clock", SCRIPT, RULES)
        yield site


def explained(site: Site) -> dict[str, Any]:
    text = site.node.run("outcomectl explain clock --json=short", check=False).stdout
    run: dict[str, Any] = json.loads(text)
    return run


def begin(site: Site) -> None:
    site.node.systemctl("restart", "clock.timer")
    site.node.wait_for(lambda: site.state("clock")["under_way"], 60, "the run on record")


def go_on(site: Site, name: str) -> None:
    site.node.run(f"echo {name} > /srv/clock.word", timeout=20)


def is_right(site: Site, witness: str) -> None:
    run = explained(site)
    assert (run["verdict"], run["witness"]) == ("verified", witness), run["summary"]
    assert run["trigger"] == "clock.timer", "its timer elapsed earlier than ever, or so it seems"
    assert 0 < run["duration_s"] < 15 * 60
    assert run["output"] == {"complete": True, "reason": None}
    assert site.state("clock")["incident"] is None


@pytest.mark.parametrize("jump", [-HOUR, HOUR, DAY, -DAY])
def test_clock_that_is_set_while_a_job_runs_deceives_nobody(site: Site, jump: int) -> None:
    begin(site)
    before = site.state("clock")
    site.node.set_clock(jump)
    go_on(site, f"live{jump}")
    site.judged("clock", before, 60)
    is_right(site, "live")


@pytest.mark.parametrize("jump", [-DAY, DAY, HOUR, -HOUR])
def test_run_that_ended_unseen_after_the_clock_was_set_is_read_back(site: Site, jump: int) -> None:
    begin(site)
    before = site.state("clock")
    site.node.systemctl("stop", "outcomed.service")
    site.node.set_clock(jump)
    go_on(site, f"unseen{jump}")
    site.node.wait_for(
        lambda: site.node.systemctl("is-active", "clock.service", check=False).returncode, 60
    )
    site.node.systemctl("start", "outcomed.service")
    site.judged("clock", before, 60)
    is_right(site, "replayed")


def test_file_of_a_time_that_is_still_to_come_is_no_proof(site: Site) -> None:
    """It was written before the clock was set back, and is newer than whatever comes after."""
    node = site.node
    node.run("mkfifo /srv/later.word")
    script = "read name < /srv/later.word\n[ $name = none ] || date > /srv/later-$name\n"
    site.job("later", script, "- artifact: /srv/later-*\n")
    for word, verdict in (("first", "verified"), ("none", "unknown"), ("second", "verified")):
        before = site.state("later")
        if word == "none":
            node.set_clock(-HOUR / 2)
        node.systemctl("start", "--no-block", "later.service")
        node.run(f"echo {word} > /srv/later.word", timeout=20)
        assert site.judged("later", before, 60)["verdict"] == verdict, word


def test_host_may_sleep_while_a_job_runs(site: Site) -> None:
    begin(site)
    before = site.state("clock")
    site.node.suspend()
    go_on(site, "slept")
    site.judged("clock", before, 60)
    is_right(site, "live")


def test_run_of_a_timer_that_wakes_the_host_is_that_timers(site: Site) -> None:
    node = site.node
    timer = "[Timer]\nOnActiveSec=40s\nAccuracySec=1us\nWakeSystem=yes\n"
    node.write("/etc/systemd/system/woken.timer", timer)
    site.job("woken", "date > /srv/woken", "- artifact: /srv/woken\n")
    before = site.state("woken")
    node.systemctl("start", "woken.timer")
    node.suspend(wait_for_alarm=True)
    assert site.judged("woken", before, 60)["verdict"] == "verified"
    assert json.loads(node.run("outcomectl explain woken --json=short").stdout)["trigger"] == (
        "woken.timer"
    )
