"""`outcomectl accept`: a person's word, before and after the daemon has it."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from outcomed import alerts, orders, verdicts
from outcomed.alerts import Standing
from outcomed.ctl import accept, around
from outcomed.ledger import Ledger, Turn
from outcomed.model import HOUR, Duration, JobName, Median, RunId, Usec, Verdict
from tests.unit.test_ctl_world import BACKUP, INVOICES, NIGHT, NOW, Asker, World, asker, world

__all__ = ["asker", "world"]  # fixtures

ACCEPT = ["accept", "db-backup", "--because", "the shop was emptied  on purpose"]


@pytest.fixture(autouse=True)
def root(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.paths.requests.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "alice")


def take(world: World, name: str) -> None:
    """What the daemon does with an order."""
    order = orders.read(name, world.paths)
    assert order is not None
    job = {BACKUP.name: BACKUP, INVOICES.name: INVOICES}[order.job]
    with Ledger(world.paths.ledger) as ledger:
        known = ledger.verdicts_on(order.run)
        word = verdicts.accepted(known[-1].judgement, order.because, order.by, NOW)
        change = alerts.accept(
            world.standings.get(job.name, Standing()),
            word,
            ledger.judged_after(known[0]),
            job.alerts,
            job.severity,
        )
        world.standings[job.name] = change.standing
        turn = Turn(judgements=[word], standings={job.name: change.standing})
        turn.closed += [change.closed] if change.closed is not None else []
        ledger.commit(turn)
    orders.done(name, world.paths)


@contextmanager
def daemon(world: World) -> Iterator[None]:
    """Somebody who takes orders, as long as somebody is there to give them."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.01):
            for name in orders.names(world.paths):
                take(world, name)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_accepting_a_job_is_accepting_its_last_run(world: World, asker: Asker) -> None:
    with daemon(world):
        code, out, err = asker.types(ACCEPT)
    assert (code, err) == (0, "")
    said = "is accepted, it was silent-failure; the alert is closed."
    assert re.fullmatch(f"db-backup: run [0-9a-f]{{8}} {said}\n", out)
    code, out, _ = asker.types("status db-backup")
    assert code == 0
    why = "the shop was emptied on purpose (says alice; it was silent-failure)"
    assert why in " ".join(out.split())
    assert re.search("accepted +timer was silent-", asker.reads("history db-backup"))
    asker.screen = replace(asker.screen, width=200)
    assert why in asker.reads("history db-backup")
    shown = " ".join(asker.reads("explain db-backup").split())
    assert f"db-backup: accepted: {why}" in shown
    assert "Was: silent-failure: /srv/backups/shop-web1-20261122.sql.gz: 47.0K" in shown
    assert "by alice" in shown
    assert "Alert: critical, opened" in shown


def test_scripts_see_whose_word_it_is_and_what_it_was(world: World, asker: Asker) -> None:
    with daemon(world):
        code, out, _ = asker.types([*ACCEPT, "--json=short"])
    assert code == 0
    said = json.loads(out)
    runs = json.loads(asker.reads("history db-backup --json=short"))
    for run in (said, runs[0]):
        assert (run["verdict"], run["class"]) == ("accepted", "good")
        assert (run["was"], run["by"]) == ("silent-failure", "alice")
        assert run["summary"] == "the shop was emptied on purpose"
        assert run["findings"][1]["state"] == "broken"
    assert (runs[1]["was"], runs[1]["by"]) == (None, None)
    explained = json.loads(asker.reads("explain db-backup --json=short"))
    assert explained["first"]["verdict"] == "silent-failure"
    assert "47.0K" in explained["first"]["summary"]


def test_accepting_twice_says_that_it_is_done(world: World, asker: Asker) -> None:
    with daemon(world):
        assert asker.types(ACCEPT)[0] == 0
    code, out, _ = asker.types(["accept", "db-backup", "--because=another reason"])
    assert code == 0
    assert "is accepted already: the shop was emptied on purpose" in " ".join(out.split())
    assert orders.names(world.paths) == []


def test_an_older_run_leaves_the_alert_open_and_the_last_verdict_as_it_is(
    world: World, asker: Asker
) -> None:
    older = json.loads(asker.reads("status db-backup --json=short"))[0]["id"]
    world.bad_backup(Usec(NIGHT + 2 * HOUR))
    with daemon(world):
        code, out, _ = asker.types(["accept", older[:12], "--because=tried by hand"])
    assert code == 0
    assert "the alert stays open, since later runs are bad" in " ".join(out.split())
    code, out, _ = asker.types("status db-backup --json=short")
    assert code == 1
    (job,) = json.loads(out)
    assert (job["verdict"], job["incident"] is None) == ("silent-failure", False)
    assert asker.types(f"explain {older}")[0] == 0


def test_medians_that_begin_anew_are_told(world: World, asker: Asker) -> None:
    slow = Duration(vs_median=Median(of=14, at_most=3))
    world.know(replace(BACKUP, outcome=(slow,)))
    with daemon(world):
        _, out, _ = asker.types(ACCEPT)
    assert "its medians begin anew with this run." in " ".join(out.split())


def test_with_the_daemon_down_the_order_waits_for_it(
    world: World, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "daemon_lives", lambda paths: False)
    code, out, err = asker.types(ACCEPT)
    assert (code, out) == (3, "")
    assert err == "outcomectl: outcomed.service is not running: it is done when it next does\n"
    (name,) = orders.names(world.paths)
    take(world, name)
    assert asker.types("status db-backup")[0] == 0


def test_an_order_that_nobody_takes_is_told_to_wait(
    world: World, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "PATIENCE", 0.05)
    code, _, err = asker.types(ACCEPT)
    assert code == 3
    assert "has not taken it within 0 s" in err
    assert len(orders.names(world.paths)) == 1


def test_an_order_that_was_not_followed_is_no_answer(
    world: World, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "wait_until_taken", lambda path, seconds: True)
    code, _, err = asker.types(ACCEPT)
    assert code == 3
    assert "did not take it\n  hint: 'journalctl -u outcomed.service' says why" in err


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["accept", "db-backup"], 2, "required: --because"),
        (["accept", "db-backup", "--because", " "], 2, "expected the reason"),
        (["accept", "db-backup", "--because", "a\x1b[31m"], 2, "expected the reason"),
        (["accept", "db-backup", "--because", "x" * 1001], 2, "at most 1000 characters"),
        (["accept", "invoices", "--because=x"], 2, "it is verified: there is nothing to accept"),
        (["accept", "nobody", "--because=x"], 2, "there is no job nobody"),
        (["accept", "ffffffff", "--because=x"], 2, "there is no job ffffffff"),
    ],
)
def test_what_cannot_be_accepted_is_said(
    asker: Asker, words: list[str], code: int, complaint: str
) -> None:
    got, _, err = asker.types(words)
    assert got == code
    assert complaint in err


def test_a_run_under_way_has_no_verdict(world: World, asker: Asker) -> None:
    run = world.run(BACKUP, Usec(NOW - HOUR))
    world.begin(run)
    for word in (run.id[:12], str(run.invocation)):
        code, _, err = asker.types(["accept", word, "--because=x"])
        assert code == 3
        assert f"db-backup is at run {run.id} just now: there is no verdict yet" in err
    with daemon(world):
        code, out, _ = asker.types(ACCEPT)
    assert code == 0
    assert "the run under way is judged when it ends" in " ".join(out.split())


def test_a_job_that_did_nothing_yet_has_nothing_to_accept(world: World, asker: Asker) -> None:
    new = replace(BACKUP, name=JobName("new"))
    world.know(new)
    assert "new has not run" in asker.types(["accept", "new", "--because=x"])[2]
    world.begin(world.run(new, Usec(NOW - HOUR)))
    assert "has its first run under way" in asker.types(["accept", "new", "--because=x"])[2]


def test_a_job_whose_file_is_gone_expects_nothing(world: World, asker: Asker) -> None:
    world.forget("db-backup")
    code, _, err = asker.types(ACCEPT)
    assert code == 3
    assert "db-backup has no job file any more" in err


def test_the_run_that_the_alert_is_about_is_named(world: World, asker: Asker) -> None:
    bad = json.loads(asker.reads("explain db-backup --json=short"))["id"]
    skip = world.run(BACKUP, Usec(NIGHT + HOUR), result="condition", exit_status=None)
    world.judge(BACKUP, skip, Verdict.SKIPPED, "a condition of its unit does not hold")
    code, _, err = asker.types(ACCEPT)
    assert code == 2
    assert f"outcomectl accept {bad}" in err


def test_only_root_may_accept(world: World, asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, _, err = asker.types(ACCEPT)
    assert code == 3
    assert "only root may accept a run" in err
    assert orders.names(world.paths) == []


def test_whose_word_it_is_is_asked_of_sudo_and_of_the_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login = tmp_path / "loginuid"
    login.write_text("0")
    assert accept.whose(str(login)) == "alice"
    monkeypatch.setenv("SUDO_USER", "a\x1b[31m")
    assert accept.whose(str(login)) == "a[31m"
    monkeypatch.delenv("SUDO_USER")
    assert accept.whose(str(login)) == "root"
    for nobody in ("4294967295", "", "x"):
        login.write_text(nobody)
        assert accept.whose(str(login)) == "root"
    assert accept.whose(str(tmp_path / "none")) == "root"
    assert orders.fault(orders.Accept(JobName("x"), RunId("0" * 32), "y", "root")) == ""
