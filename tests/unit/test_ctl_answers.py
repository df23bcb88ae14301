"""outcomectl for a script: JSON, exit codes, errors; and names, however they are spelled."""

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outcomed import spool
from outcomed.config import Problem
from outcomed.ctl import around, check_config
from outcomed.ctl.term import Screen
from outcomed.model import (
    HOUR,
    SECOND,
    AlreadyDone,
    Artifact,
    Delivery,
    Duration,
    Finding,
    Held,
    Job,
    JobName,
    Journal,
    Median,
    Schedule,
    UnitName,
    Usec,
    Verdict,
)
from outcomed.paths import Paths
from tests.unit.test_ctl_world import BACKUP, INVOICES, NIGHT, NOW, Asker, World, asker, world

__all__ = ["asker", "world"]  # fixtures

RUN_KEYS = {
    *("job", "unit", "run", "id", "slot", "trigger", "started", "finished", "duration_s"),
    *("result", "exit_status", "attempts", "verdict", "reason", "summary", "findings", "steps"),
    "report",
}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def answer(asker: Asker, line: str) -> Any:
    return json.loads(asker.reads(line))


# --- JSON ------------------------------------------------------------------------------------


def test_history_is_an_array_of_runs_as_the_contract_has_them(asker: Asker) -> None:
    runs = answer(asker, "history db-backup --json=short")
    assert [run["verdict"] for run in runs] == ["silent-failure", *["verified"] * 3]
    for run in runs:
        assert run.keys() >= RUN_KEYS
        assert all(RFC3339.fullmatch(run[key]) for key in ("slot", "started", "finished"))
        for finding in run["findings"]:
            assert finding.keys() == {"rule", "state", "summary", "evidence"}
            assert finding["state"] in ("held", "broken", "unknown")
    bad = runs[0]
    assert (bad["job"], bad["unit"], bad["trigger"]) == (
        "db-backup",
        "db-backup.service",
        "db-backup.timer",
    )
    assert (bad["duration_s"], bad["result"], bad["exit_status"], bad["attempts"]) == (
        4.0,
        "success",
        0,
        1,
    )
    assert (bad["steps"], bad["report"]) == (["dump"], {"tables": 0})
    assert RFC3339.fullmatch(bad["findings"][1]["evidence"]["mtime"])


def test_status_has_class_and_incident_of_each_job(asker: Asker) -> None:
    bad, good = answer(asker, "status --json=short")
    assert bad.keys() >= RUN_KEYS | {"class", "incident"}
    assert (bad["class"], good["class"]) == ("bad", "good")
    assert bad["incident"]["verdict"] == "silent-failure"
    assert good["incident"] is None


def test_status_of_a_job_that_never_ran_has_the_same_keys(world: World, asker: Asker) -> None:
    world.know(Job(name=JobName("new"), unit=UnitName("new.service")))
    jobs = answer(asker, "status --json=short")
    new = next(job for job in jobs if job["job"] == "new")
    assert new.keys() == jobs[0].keys()
    assert new["verdict"] is new["started"] is new["incident"] is None
    assert new["findings"] == []


def test_explain_and_verify_answer_with_one_run(asker: Asker) -> None:
    explained = answer(asker, "explain db-backup --json=short")
    assert explained.keys() >= RUN_KEYS
    assert explained["last_good"]["verdict"] == "verified"
    assert answer(asker, "verify db-backup --json=short").keys() >= RUN_KEYS


def test_pretty_is_the_same_on_more_lines(asker: Asker) -> None:
    short, pretty = asker.reads("status --json=short"), asker.reads("status --json=pretty")
    assert json.loads(short) == json.loads(pretty)
    assert len(short.splitlines()) == 1 < len(pretty.splitlines())
    assert asker.reads("status --json=off") == asker.reads("status")


def test_options_may_stand_on_either_side_of_the_verb(asker: Asker) -> None:
    assert answer(asker, "--json=short status") == answer(asker, "status --json short")
    assert answer(asker, "--json short") == answer(asker, "status --json=short")


# --- exit codes ------------------------------------------------------------------------------


def code(asker: Asker, line: str) -> int:
    return asker.types(line)[0]


def test_exit_codes_say_whether_the_answer_is_bad(asker: Asker) -> None:
    assert code(asker, "status") == 1
    assert code(asker, "status invoices") == 0
    assert code(asker, "explain db-backup") == 1
    assert code(asker, "explain invoices") == 0
    assert code(asker, "verify db-backup") == 1
    assert code(asker, "verify invoices") == 0
    assert code(asker, "history db-backup") == 0


def test_verify_that_could_not_look_has_no_answer(world: World, asker: Asker) -> None:
    job = replace(BACKUP, outcome=(Journal(expect="never seen before"),))
    world.know(job)
    assert code(asker, "verify db-backup") == 3


def test_verify_sees_what_was_mended_since(world: World, asker: Asker, tmp_path: Path) -> None:
    artifact = tmp_path / "out.gz"
    artifact.write_bytes(b"x" * 600)
    job = replace(BACKUP, outcome=(Artifact(str(artifact), min_size=500),))
    world.know(job)
    moment = (NIGHT + SECOND) * 1000
    os.utime(artifact, ns=(moment, moment))
    exit_code, out, _ = asker.types("verify db-backup")
    assert exit_code == 0
    assert f"● db-backup: verified now: {artifact}: 600B" in " ".join(out.split())
    assert "On record it stays silent-failure" in out
    os.utime(artifact, ns=(moment - 10**12, moment - 10**12))
    assert code(asker, "verify db-backup") == 1, "written before this run"


def test_verify_measures_by_the_jobs_own_past(world: World, asker: Asker, tmp_path: Path) -> None:
    artifact = tmp_path / "shop-web1-20261122.sql.gz"
    artifact.write_bytes(b"x" * 600)
    moment = (NIGHT + SECOND) * 1000
    os.utime(artifact, ns=(moment, moment))
    usual = Median(of=7, at_least=0.5)
    slow = Duration(vs_median=usual)
    world.know(replace(BACKUP, outcome=(slow,)))
    said = " ".join(asker.types("verify db-backup")[1].split())
    assert "ran 4 s, expected at least 0.5 times the median of 3 runs, 18 min 2 s" in said
    assert "expected: at least 0.5 times the median of the last 7 good runs" in said
    # Another place is another artifact, of which nothing is known yet.
    small = Artifact(f"{tmp_path}/shop-*.sql.gz", size_vs_median=usual)
    world.know(replace(BACKUP, outcome=(small,)))
    said = " ".join(asker.types("verify db-backup")[1].split())
    assert "600B, learning, 0 of 3" in said
    assert "in size at least 0.5 times the median of the last 7 good runs" in said


@pytest.mark.parametrize(
    "line",
    ["nonsense", "status --nonsense", "status no-such-job", "history", "history db-backup -n 0"],
)
def test_usage_errors_are_two_and_begin_with_our_name(asker: Asker, line: str) -> None:
    exit_code, out, err = asker.types(line)
    assert (exit_code, out) == (2, "")
    assert err.startswith("outcomectl: ")
    assert len(err.splitlines()) == 2, "a fault and a hint"


def test_no_ledger_is_no_answer(tmp_path: Path, asker: Asker) -> None:
    asker.world = World(tmp_path / "empty")
    exit_code, _, err = asker.types("status")
    assert exit_code == 3
    assert "there is no ledger" in err


def test_a_damaged_ledger_is_no_answer(world: World, asker: Asker) -> None:
    data = bytearray(world.paths.ledger.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    world.paths.ledger.write_bytes(data)
    exit_code, out, err = asker.types("status")
    assert (exit_code, out) == (3, "")
    assert str(world.paths.ledger) in err


def test_a_job_without_runs_has_nothing_to_explain(world: World, asker: Asker) -> None:
    world.know(Job(name=JobName("new"), unit=UnitName("new.service")))
    assert code(asker, "explain new") == 3
    assert code(asker, "verify new") == 3
    assert code(asker, "history new") == 0


def test_a_reader_that_leaves_early_is_no_error(world: World) -> None:
    script = (
        "import sys; from pathlib import Path; from outcomed.ctl import main;"
        "from outcomed.paths import Paths; root = Path(sys.argv[1]);"
        "paths = Paths(root / 'etc', root / 'state', root / 'run', root / 'vendor');"
        "sys.exit(main.main(['history', 'db-backup'], paths))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(world.paths.state.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


# --- names -----------------------------------------------------------------------------------


def test_a_job_is_found_by_unit_and_by_run(asker: Asker) -> None:
    run = answer(asker, "history invoices --json=short")[0]
    expected = asker.reads("explain invoices")
    for name in (
        "mail-invoices.service",
        "mail-invoices",
        run["id"],
        run["id"][:4],
        run["run"],
        run["run"][:4].upper(),
    ):
        assert asker.reads(["explain", name]) == expected
        assert answer(asker, f"history {name} --json=short")[0]["job"] == "invoices"


def test_an_ambiguous_prefix_lists_the_candidates(world: World, asker: Asker) -> None:
    same = "0005" + "a" * 28
    run = world.run(INVOICES, Usec(NOW - HOUR), invocation=same, last_invocation=same)
    world.judge(INVOICES, run, Verdict.VERIFIED, "held")
    exit_code, _, err = asker.types("explain 0005")
    assert exit_code == 2
    assert "0005 may be any of 2: " in err
    assert f"{run.id} of invoices" in err
    assert "37f4b844ada55860842a667ae08ca06b of db-backup" in err


def test_a_unit_that_two_jobs_watch_is_ambiguous(world: World, asker: Asker) -> None:
    world.know(replace(BACKUP, name=JobName("second")))
    _, _, err = asker.types("history db-backup.service")
    assert "db-backup, second" in err


def test_a_near_miss_is_answered_with_a_guess(asker: Asker) -> None:
    assert "hint: did you mean db-backup?" in asker.types("explain db-bakup")[2]
    assert "hint: did you mean explain?" in asker.types("explian db-backup")[2]


def test_a_file_that_was_not_read_yet_is_named(world: World, asker: Asker) -> None:
    (world.paths.config / "jobs.d" / "fresh.yaml").touch()
    exit_code, _, err = asker.types("status fresh")
    assert exit_code == 3
    assert "systemctl reload outcomed" in err


# --- text from somewhere else ----------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egpj.exe\x9b1m\nfake: verified"


def test_nothing_of_a_jobs_moves_the_cursor(world: World, asker: Asker) -> None:
    job = replace(BACKUP, description=EVIL, runbook=EVIL)
    world.know(job)
    world.judge(
        job,
        world.run(job, Usec(NOW - HOUR), trigger=EVIL, result=EVIL),
        Verdict.SILENT_FAILURE,
        EVIL,
        EVIL,
        [
            Finding(
                "outcome[0].artifact", Held.BROKEN, EVIL, {"path": EVIL, EVIL: EVIL, "line": EVIL}
            )
        ],
        steps=[EVIL],
        report={EVIL: EVIL},
    )
    for screen in (Screen(width=80), Screen()):
        asker.screen = screen
        for line in ("status", "status db-backup", "history db-backup", "explain db-backup"):
            shown = asker.reads(line)
            assert all(letter.isprintable() or letter == "\n" for letter in shown), line
            assert not any(row.startswith("fake") for row in shown.splitlines())
        for form in ("short", "pretty"):
            shown = asker.reads(f"history db-backup --json={form}")
            assert all(letter.isprintable() or letter == "\n" for letter in shown)
            assert json.loads(shown)[0]["summary"] == EVIL


def test_an_unknown_name_is_not_echoed_raw(asker: Asker) -> None:
    _, _, err = asker.types(["status", EVIL])
    assert all(letter.isprintable() or letter == "\n" for letter in err)


# --- what stands around an answer --------------------------------------------------------------


def test_status_says_since_when_nobody_watches(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "daemon_lives", lambda paths: False)
    assert asker.reads("status").startswith(
        "outcomed.service is not running: this is what was known when it last did\n"
    )
    stamp = f"@{(NOW - 2 * HOUR) // SECOND}"
    asker.units = {"outcomed.service": {"StateChangeTimestamp": stamp}}
    said = " ".join(asker.reads("status").splitlines()[:2])
    assert said == (
        "outcomed.service is not running, since Sun 2026-11-22 17:00:00 CET; 2h ago: this"
        "   is what was known then"
    )
    _, out, err = asker.types("status --json=short")
    assert json.loads(out), "a script still gets JSON alone"
    assert "not running" in err


def test_daemon_lives_as_long_as_it_holds_its_lock() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        paths = Paths(runtime=Path(place))
        assert not around.daemon_lives(paths)
        with open(paths.lock, "wb") as held:
            assert not around.daemon_lives(paths)
            fcntl.flock(held, fcntl.LOCK_EX)
            assert around.daemon_lives(paths)
        assert not around.daemon_lives(paths)


def test_status_says_which_files_were_refused(world: World, asker: Asker) -> None:
    problems = (
        Problem("/etc/outcomed/jobs.d/a.yaml", "bad"),
        Problem("/etc/outcomed/jobs.d/b.yaml", "fine", severity="warning"),
    )
    world.paths.problems.write_bytes(msgspec.json.encode(problems))
    said = " ".join(asker.reads("status").split())
    assert said.startswith("/etc/outcomed/jobs.d/a.yaml was refused and is not in force: ")
    assert "b.yaml" not in said


def test_status_says_what_waits_to_be_delivered_and_why(world: World, asker: Asker) -> None:
    out = world.paths.spool / "out"
    out.mkdir(parents=True)
    message = Delivery("one", "ops", Usec(NOW - 2 * HOUR), {"data": {"state": "firing"}})
    (out / "one.json").write_bytes(msgspec.json.encode(message))
    assert "1 message waits to be delivered, for 2h, to ops, nobody has tried yet" in " ".join(
        asker.reads("status").split()
    )
    spool.note_why("one", spool.Why("connection refused", NOW, NOW), world.paths)
    assert "to ops: connection refused" in " ".join(asker.reads("status").split())


# --- check-config and cat ------------------------------------------------------------------------


def job_file(world: World, name: str, text: str) -> Path:
    file = world.paths.config / "jobs.d" / f"{name}.yaml"
    file.write_text(text)
    return file


def test_check_config_finds_all_errors_at_once(world: World, asker: Asker) -> None:
    file = job_file(
        world, "a", "severty: critical\noutcome:\n  - artifact: /x\n    min_size: big\n"
    )
    exit_code, out, err = asker.types("check-config")
    assert exit_code == 2
    assert f"outcomectl: {file}:1:1: unknown key 'severty'" in err
    assert f"outcomectl: {file}:4:15: outcome[0].artifact.min_size: " in err
    assert "2 errors" in out
    found = json.loads(asker.types("check-config --json=short")[1])
    assert [problem["line"] for problem in found] == [1, 4]


def test_check_config_with_warnings_alone_is_fine(world: World, asker: Asker) -> None:
    job_file(world, "a", "already_done: [{exit_status: 17}]\n")
    asker.units = {"a.service": {"Id": "a.service", "LoadState": "loaded"}}
    exit_code, out, err = asker.types("check-config")
    assert exit_code == 0
    assert "SuccessExitStatus=17" in err
    assert "no timer that is loaded starts a.service" in err
    assert out == "1 job, 0 sinks sound; 0 errors, 2 warnings.\n"


def test_check_config_of_a_file_that_lies_anywhere(asker: Asker, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("unit: nope.service\n")
    asker.units = {"nope.service": {"Id": "nope.service", "LoadState": "not-found"}}
    exit_code, _, err = asker.types(["check-config", str(file)])
    assert exit_code == 0
    assert f"outcomectl: {file}: warning: unit: systemd knows no nope.service" in err


LOADED = {"Id": "x.service", "LoadState": "loaded", "TriggeredBy": "x.timer"}


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({}, ""),
        ({"LoadState": "masked"}, "is masked"),
        ({"LoadState": "bad-setting"}, "cannot be loaded"),
        ({"Id": "y.service"}, "is an alias, y.service is watched"),
        ({"TriggeredBy": "x.path"}, "no timer that is loaded"),
        ({"SuccessExitStatus": "75 USR1"}, "counts as failed when it exits with 17"),
        ({"PrivateTmp": "yes"}, "a /tmp of its own (PrivateTmp=)"),
        ({"PrivateTmp": "yes", "DynamicUser": "yes"}, "a /tmp of its own (DynamicUser=)"),
        ({"RootDirectory": "/srv/jail"}, "has /srv/jail for its root"),
        ({"LogLevelMax": "5"}, "LogLevelMax= of x.service"),
        ({"StandardOutput": "null"}, "goes to null"),
    ],
)
def test_what_only_systemd_knows_becomes_a_warning(facts: dict[str, str], fault: str) -> None:
    job = Job(
        name=JobName("x"),
        unit=UnitName("x.service"),
        already_done=(AlreadyDone(exit_status=17),),
        outcome=(Artifact("/tmp/x"), Journal(expect="done")),
    )
    unit = LOADED | {"SuccessExitStatus": "17", "PrivateTmp": "no", "LogLevelMax": "-1"} | facts
    found = [what for _, what, _ in check_config.about_unit(job, unit)]
    assert [fault in what for what in found] == ([True] if fault else [])


NO_TIMER = "no timer that is loaded starts x.service"


@pytest.mark.parametrize(
    ("schedule", "triggers", "warned"),
    [
        (Schedule(start_within=Usec(1)), "x.timer", []),
        (Schedule(every=Usec(1)), "", []),
        (Schedule(every=Usec(1), start_within=Usec(1)), "x.path", []),
        (Schedule(every=Usec(1)), "x.path y.timer", [("schedule.every", "y.timer says when")]),
        (Schedule(finish_within=Usec(1)), "x.path", [("unit", NO_TIMER)]),
        (
            *(Schedule(start_within=Usec(1)), ""),
            [("unit", NO_TIMER), ("schedule.start_within", "of any other nothing says when")],
        ),
        (Schedule(verified_within=Usec(1)), "", []),
    ],
)
def test_a_schedule_that_nothing_keeps_becomes_a_warning(
    schedule: Schedule, triggers: str, warned: list[tuple[str, str]]
) -> None:
    job = Job(name=JobName("x"), unit=UnitName("x.service"), schedule=schedule)
    found = list(check_config.about_unit(job, LOADED | {"TriggeredBy": triggers}))
    assert [key for key, _, _ in found] == [key for key, _ in warned]
    assert all(said in fault for (_, fault, _), (_, said) in zip(found, warned, strict=True))


def test_cat_shows_the_file_and_its_drop_ins(world: World, asker: Asker) -> None:
    file = job_file(world, "db-backup", "severity: warning\n")
    drop_in = file.with_name("db-backup.yaml.d") / "10-more.yaml"
    drop_in.parent.mkdir()
    drop_in.write_text("runbook: x\n")
    expected = f"# {file}\nseverity: warning\n\n# {drop_in}\nrunbook: x\n"
    for name in ("db-backup", "db-backup.service", "37f4b844"):
        assert asker.reads(["cat", name]) == expected
    assert asker.types("cat nope")[0] == 2
