"""Power that fails: what the ledger committed is what is left of a run. And a host that reboots
while one is under way.

One virtual machine, cut once and booted three times. Nobody listens there: what would have been
sent lies in the spool.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Machine
from tests.scenarios.conftest import SPOOL, Site

JOBS = ("running", "judged", "good", "unseen")


@pytest.fixture(scope="module")
def shared_site(deb: Path) -> Iterator[Site]:
    with Machine(deb=deb) as machine:
        yield Site(machine)


def history(site: Site, name: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(
        site.node.run(f"outcomectl history {name} --json=short", check=False).stdout
    )
    return runs


def spooled(site: Site) -> dict[str, tuple[str, str, str]]:
    """Of everything that was to be sent: id, and job, state and verdict."""
    found = site.node.run(f"cat {SPOOL}/out/*.json", check=False).stdout
    messages = [json.loads(line) for line in found.replace("}{", "}\n{").splitlines()]
    return {
        one["id"]: (
            one["event"]["subject"],
            one["event"]["data"]["state"],
            one["event"]["data"]["verdict"],
        )
        for one in messages
    }


def verdicts_on(site: Site, name: str) -> list[str]:
    """Every verdict that the ledger has, first and later ones."""
    sql = (
        "import sqlite3; print(*(row[0] for row in sqlite3.connect("
        "'file:/var/lib/outcomed/ledger.db?mode=ro', uri=True).execute("
        f'"SELECT verdict FROM verdict JOIN run ON run.n = verdict.run JOIN job ON job.n = run.job'
        f" WHERE job.name = '{name}' ORDER BY seq\")))"
    )
    return site.node.run(["python3", "-c", sql]).stdout.split()


def test_power_cut_leaves_what_the_ledger_committed(site: Site) -> None:
    node = site.node
    for name in JOBS:
        site.unit(name, "sleep infinity" if name == "running" else f"date > /srv/{name}")
    site.unit("judged", "exit 3")
    for name in ("running", "judged"):
        site.job_file(name)
    for name in ("good", "unseen"):
        site.job_file(name, f"- artifact: /srv/{name}\n")
    site.reload()
    node.run("sync")

    before = site.state("judged")
    node.systemctl("start", "judged.service", check=False)
    failed = site.judged("judged", before, 60)
    good = site.run("good", timeout=60)
    node.systemctl("start", "--no-block", "running.service")
    node.wait_for(lambda: site.state("running")["under_way"], 60, "the run on record")
    told = spooled(site)
    started = node.show("running.service", "InvocationID")["InvocationID"]
    # Of this one nobody ever hears: nobody watches, and the journal does not have it for long.
    node.systemctl("stop", "outcomed.service")
    node.systemctl("start", "unseen.service")
    node.write("/srv/unsynced", "gone\n")
    node.power_cut()
    node.start()

    assert not node.exists("/srv/unsynced"), "what was not given to the disk is gone"
    files = node.run("ls /var/log/journal/*/").stdout
    assert re.search(r"\.journal~$", files, re.MULTILINE), files
    of_job = node.journal("UNIT=unseen.service", "_PID=1")
    assert not of_job, "and so is the journal's tail"

    state = node.wait_for(
        lambda: (now := site.state("running"))["verdict"] and now, 60, "a verdict on running"
    )
    assert site.say("running", state, "interrupted", "lost") == "the host went down while it ran"
    site.shows_as_failed("running", True)
    (run,) = history(site, "running")
    assert (run["run"], run["finished"], run["verdict"]) == (started, None, "interrupted")
    assert run["started"], "the ledger knows since when"

    # What was concluded before stands, is told once, and is not looked at a second time.
    assert {key: site.state("judged")[key] for key in ("verdict", "run", "at")} == {
        key: failed[key] for key in ("verdict", "run", "at")
    }
    assert site.state("good")["at"] == good["at"]
    assert (verdicts_on(site, "judged"), verdicts_on(site, "good")) == (["failed"], ["verified"])
    site.shows_as_failed("judged", True)
    now = spooled(site)
    assert {ident: now[ident] for ident in told} == told
    (new,) = (now[ident] for ident in now.keys() - told.keys())
    assert new == ("running", "firing", "interrupted")

    # Never good of what nobody saw.
    assert (history(site, "unseen"), site.state("unseen")["verdict"]) == ([], None)

    # A repeat carries the same id; and a cursor that points at nothing is noticed.
    node.systemctl("stop", "outcomed.service")
    node.run(f"journalctl --rotate && rm {SPOOL}/out/*.json /var/log/journal/*/*@*")
    node.systemctl("start", "outcomed.service")
    node.wait_for(lambda: spooled(site) == now, 60, "the same messages under the same ids")
    assert verdicts_on(site, "running") == ["interrupted"]
    assert history(site, "unseen") == []
    gaps = node.journal("_SYSTEMD_UNIT=outcomed.service", "OUTCOMED_REASON=cursor")
    assert any("the entry that the cursor points at is gone" in gap["MESSAGE"] for gap in gaps)
    assert site.run("good", timeout=60)["verdict"] == "verified"


def test_run_that_is_under_way_when_the_host_reboots_is_interrupted(site: Site) -> None:
    node = site.node
    site.job("rebooted", "test -e /srv/again || sleep infinity")
    node.systemctl("start", "--no-block", "rebooted.service")
    node.wait_for(lambda: site.state("rebooted")["under_way"], 60, "the run on record")
    started = node.show("rebooted.service", "InvocationID")["InvocationID"]
    told = spooled(site)
    node.reboot()

    state = node.wait_for(
        lambda: (now := site.state("rebooted"))["verdict"] and now, 60, "a verdict on rebooted"
    )
    said = site.say("rebooted", state, "interrupted", "shutdown")
    assert said == "the host was shut down while it ran"
    site.shows_as_failed("rebooted", True)
    (run,) = history(site, "rebooted")
    assert (run["run"], run["verdict"]) == (started, "interrupted")
    node.write("/srv/again", "")
    assert site.run("rebooted", timeout=60)["incident"] is None
    site.shows_as_failed("rebooted", False)
    now = spooled(site)
    assert sorted(now[ident] for ident in now.keys() - told.keys()) == [
        ("rebooted", "firing", "interrupted"),
        ("rebooted", "resolved", "unproven"),
    ]
