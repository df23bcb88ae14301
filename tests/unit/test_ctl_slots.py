"""What outcomectl says of moments at which a timer promised a run: missed, late, to come."""

# ruff: noqa: RUF001  # the mark of a bad job is the multiplication sign, as systemctl prints it

import json
from typing import Any

import pytest
from msgspec.structs import replace

from outcomed import slots
from outcomed.ctl import mending
from outcomed.ctl.term import Screen
from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Job,
    JobName,
    Judgement,
    Run,
    Schedule,
    UnitName,
    Usec,
    Verdict,
    run_id,
)
from tests.unit.test_ctl_text import LOADED
from tests.unit.test_ctl_world import BACKUP, BOOT, INVOICES, NIGHT, NOW, Asker, World, asker, world

__all__ = ["asker", "world"]  # fixtures

MISSED = Usec(NIGHT + 12 * HOUR)
MASKED = LOADED | {
    "db-backup.timer": {"LoadState": "masked", "ActiveState": "failed", "UnitFileState": "masked"}
}

EXPLAIN = """\
× db-backup: missed: db-backup.timer promised a run, and none began within 10
  min: db-backup.timer is masked

        Id: 4f14baa02f50544ba80696bffcc03ba5
      Unit: db-backup.service
      Slot: Sun 2026-11-22 16:10:00 CET; 2h 50min ago, promised by
            db-backup.timer
   Awaited: until Sun 2026-11-22 16:21:00 CET, 10min after its slot (default),
            and 1min that its timer allows itself
     Found: db-backup.timer is masked
    Judged: Sun 2026-11-22 16:21:00 CET; 2h 38min ago; seen as it happened
     Alert: critical, opened Sun 2026-11-22 04:10:04 CET; 14h ago

Deadlines
  Next run: none: db-backup.timer is masked
   Awaited: Mon 2026-11-23 04:10:00 CET; 9h left, all the same
  Begin by: Mon 2026-11-23 04:21:00 CET, 10min after its slot (default), and
            1min that its timer allows itself
    End by: 1h 54min 6s after its start (default: three times the longest of the
            last 3 good runs (18 min 2 s), and an hour)
  Proof by: Mon 2026-11-23 06:32:08 CET; 11h left, 2d 2h 4min 6s after the last
            good verdict (default: twice 1 d, the longest time between two
            slots, and what starting and finishing may take)

Before
  × 37f4b844 Sun 2026-11-22 04:10:00 4s       silent-failure timer artifact
  ● 283e8e22 Sat 2026-11-21 04:10:00 18min 2s verified       timer held
  ● 684f02ea Fri 2026-11-20 04:10:00 18min 2s verified       timer held
  ● 6d7efef3 Thu 2026-11-19 04:10:00 18min 2s verified       timer held

Next
  systemctl unmask db-backup.timer  # let it be used again
  systemctl enable --now db-backup.timer  # let it run again
  journalctl -u db-backup.timer -u db-backup.service  # what systemd said
  systemctl start db-backup.service  # run it now
  outcomectl accept 4f14baa0 --because='...'  # if this is right as it is
  systemctl cat db-backup.service  # what was run
  https://wiki.example.com/runbooks/db-backup
"""


def miss(world: World, at: Usec = MISSED) -> Judgement:
    return world.miss(BACKUP, at, "timer-masked", "db-backup.timer is masked")


def answer(asker: Asker, line: str) -> Any:
    return json.loads(asker.reads(line))


def rows(asker: Asker, line: str) -> list[str]:
    return asker.reads(f"{line} --no-legend").splitlines()


# --- explain ---------------------------------------------------------------------------------


def test_explain_of_a_slot_that_was_found_late_says_so(world: World, asker: Asker) -> None:
    world.miss(BACKUP, MISSED, "timer-masked", "db-backup.timer is masked", witness="replayed")
    said = " ".join(asker.reads("explain db-backup").split())
    assert "found afterwards: outcomed.service did not run when it passed" in said


def test_explain_of_a_missed_slot_says_what_was_promised_and_what_to_type(
    world: World, asker: Asker
) -> None:
    miss(world)
    asker.units = MASKED
    assert asker.types("explain db-backup")[:2] == (1, EXPLAIN)


def test_explain_of_a_slot_that_was_answered_late_names_the_run(world: World, asker: Asker) -> None:
    missed = miss(world)
    run = world.run(BACKUP, Usec(MISSED + 2 * HOUR), slot=MISSED)
    world.slot(BACKUP, MISSED, "late", "late", run=run.id)
    world.judge(BACKUP, run, Verdict.VERIFIED, "all well")
    shown = asker.reads(["explain", missed.run.id])
    assert f"Answer: run {run.id[:8]} ran later, and answered it" in shown
    shown = " ".join(asker.reads("explain db-backup").split())
    assert "Due: Sun 2026-11-22 16:10:00 CET; began 2 h after its slot" in shown
    first, second = rows(asker, "history db-backup -n 2")
    assert first.split()[:2] == ["●", run.id[:8]]
    assert first.endswith("held; late")
    assert second.split()[:2] == ["×", missed.run.id[:8]]


def test_explain_of_a_stale_job_says_when_it_was_good(world: World, asker: Asker) -> None:
    key = f"stale:{NIGHT}"
    run = Run(
        *(run_id(BACKUP.name, key), BACKUP.name, BACKUP.unit, key, BOOT),
        trigger="none",
    )
    world.judge(BACKUP, run, Verdict.STALE, "no good run within 2 d", "verified_within")
    shown = asker.reads("explain db-backup")
    assert "× db-backup: stale: no good run within 2 d\n" in shown
    assert "Last good: Sat 2026-11-21 04:28:02 CET; 1 day 14h ago\n" in shown
    assert "Rules" not in shown
    assert "systemctl start db-backup.service  # run it now" in shown
    assert "outcomectl verify" not in shown
    assert rows(asker, "history db-backup -n 1")[0].split()[-2:] == ["-", "verified_within"]


def test_explain_of_a_run_that_does_not_end_leaves_the_rules_for_later(
    world: World, asker: Asker
) -> None:
    run = world.run(BACKUP, Usec(NOW - 3 * HOUR))
    under_way = replace(run, finished=None, duration=None, result=None, exit_status=None)
    world.begin(run)
    world.judge(BACKUP, under_way, Verdict.OVERDUE, "still running after 2 h", "finish_within")
    shown = asker.reads("explain db-backup")
    assert "Result: none yet, it is under way" in shown
    assert "They are looked at when the run has ended." in shown
    assert "not looked at" not in shown
    assert "Output:" not in shown
    assert "outcomectl accept" not in shown
    assert "  Running: since Sun 2026-11-22 16:00:00 CET; 3h ago" in asker.reads("status db-backup")
    assert "the next run is under way" not in shown
    assert "Against the last good run" not in shown
    ends = "End by: Sun 2026-11-22 17:54:06 CET; 1h 5min ago, 1h 54min 6s after its start"
    assert ends in " ".join(shown.split())


def test_a_run_whose_slot_nobody_witnessed_is_said_to_be_inferred(
    world: World, asker: Asker
) -> None:
    run = world.run(BACKUP, Usec(NOW - HOUR), is_inferred=True)
    world.judge(BACKUP, run, Verdict.VERIFIED, "all well")
    shown = " ".join(asker.reads("explain db-backup").split())
    assert "Due: Sun 2026-11-22 17:59:58 CET, by its time: nobody saw what started it" in shown


@pytest.mark.parametrize(
    "reason",
    [
        *("timer-disabled", "timer-masked", "timer-stopped", "timer-failed", "timer-elapsed"),
        *("timer-gone", "timer-load-error", "service-masked", "service-gone"),
        *("service-load-error", "host-off", "suspended"),
    ],
)
def test_every_reason_that_has_a_remedy_says_what_to_type(
    world: World, asker: Asker, reason: str
) -> None:
    world.miss(BACKUP, MISSED, reason, "somehow")
    shown = asker.reads("explain db-backup")
    first = shown.partition("\nNext\n")[2].splitlines()[0]
    assert first.split()[0] in ("systemctl", "systemd-analyze", "journalctl")
    assert not first.startswith("  journalctl -u")
    assert "{" not in first


def test_no_reason_that_is_told_is_without_a_remedy() -> None:
    words = [*slots._FILE_WORDS.values(), *slots._LOAD_WORDS.values()]
    words += slots._SERVICE_WORDS.values()
    assert {reason for reason, _ in words} <= mending.REASONS


# --- history ---------------------------------------------------------------------------------


def test_slots_without_a_run_stand_among_the_runs(world: World, asker: Asker) -> None:
    world.slot(BACKUP, Usec(NIGHT - 12 * HOUR), "skipped", "host-off", because="the host was off")
    missed = miss(world)
    shown = rows(asker, "history db-backup")
    assert [row.split()[1] for row in shown] == [
        *(missed.run.id[:8], "37f4b844"),
        *("-", "283e8e22", "684f02ea", "6d7efef3"),
    ]
    assert shown[0].split()[-4:] == ["-", "missed", "timer", "timer-masked"]
    assert shown[2].startswith("○ -        Sat 2026-11-21 16:10:00 -")
    asker.screen = Screen(width=160)
    shown = rows(asker, "history db-backup")
    assert shown[2].endswith("skipped        timer the host was off")
    assert shown[2].split()[5] == "CET"


def test_slots_in_a_row_are_folded_for_a_person_only(world: World, asker: Asker) -> None:
    for minute in range(1, 31):
        world.slot(BACKUP, Usec(NIGHT + minute * MINUTE), "skipped", "still-running")
    world.slot(BACKUP, Usec(NIGHT + 40 * MINUTE), "missed", "no-run", because="nothing says why")
    assert [row.split()[6:] for row in rows(asker, "history db-backup -n 3")] == [
        ["missed", "timer", "no-run"],
        ["skipped", "timer", "30x", "still-running"],
        ["silent-failure", "timer", "artifact"],
    ]
    asker.screen = Screen()
    assert "30 slots since Sun 2026-11-22 04:11:00 CET: the run before it was still under way" in (
        asker.reads("history db-backup")
    )
    found = answer(asker, "history db-backup -n 40 --json=short")
    assert len(found) == 35
    assert [one["verdict"] for one in found[:3]] == ["missed", "skipped", "skipped"]


def test_a_slot_without_a_run_has_the_keys_of_a_run(world: World, asker: Asker) -> None:
    slot = world.slot(BACKUP, MISSED, "skipped", "still-running")
    first, second = answer(asker, "history db-backup -n 2 --json=short")
    assert first.keys() == second.keys()
    assert (first["job"], first["unit"], first["run"]) == ("db-backup", "db-backup.service", None)
    assert first["id"] == run_id(BACKUP.name, slot.key)
    assert (first["slot"], first["trigger"]) == (
        "2026-11-22T15:10:00.000000+00:00",
        "db-backup.timer",
    )
    assert first["started"] is first["finished"] is first["result"] is None
    assert (first["verdict"], first["class"], first["reason"]) == (
        *("skipped", "neutral"),
        "still-running",
    )
    assert first["summary"] == "the run before it was still under way"
    assert (first["slot_state"], second["slot_state"]) == ("skipped", "ran")


def test_a_missed_slot_is_one_record_with_its_verdict(world: World, asker: Asker) -> None:
    missed = miss(world)
    first, second = answer(asker, "history db-backup -n 2 --json=short")
    assert (first["id"], first["run"], first["attempts"]) == (missed.run.id, None, 0)
    assert (first["verdict"], first["slot_state"]) == ("missed", "missed")
    assert (first["slot_reason"], first["slot_inferred"]) == ("timer-masked", False)
    assert second["verdict"] == "silent-failure"


def test_a_run_at_a_slot_that_was_made_up_for_says_so(world: World, asker: Asker) -> None:
    for hour, reason in enumerate(("caught-up", "resumed", "clock-change", "unscheduled"), 1):
        run = world.run(BACKUP, Usec(NIGHT + hour * HOUR))
        world.judge(BACKUP, run, Verdict.VERIFIED, "all well")
        world.slot(BACKUP, Usec(run.slot or 0), "ran", reason, run=run.id)
    held = world.run(BACKUP, Usec(NIGHT + 5 * HOUR), slot=Usec(NIGHT + 5 * HOUR - 90 * MINUTE))
    world.judge(BACKUP, held, Verdict.VERIFIED, "all well")
    world.slot(BACKUP, Usec(held.slot or 0), "late", "still-running", run=held.id)
    shown = rows(asker, "history db-backup -n 5")
    assert [row.partition("timer ")[2] for row in shown] == [
        *("held; still-running", "held", "held; clock-change", "held; resumed", "held; caught-up"),
    ]
    asker.screen = Screen()
    shown = rows(asker, "history db-backup -n 5")
    assert [row.partition("all well; ")[2] for row in shown] == [
        "began 1 h 30 min after its slot, held up by the run before it",
        "beyond its timer's schedule",
        "the clock was set over its slot",
        "made up for a slot at which the host was suspended",
        "made up for a slot at which the host was off",
    ]
    found = answer(asker, "history db-backup -n 5 --json=short")
    assert [one["slot_state"] for one in found] == ["late", "ran", "ran", "ran", "ran"]


def test_n_counts_runs_and_not_verdicts(world: World, asker: Asker) -> None:
    """A run that was looked at again and again is one."""
    run = world.run(INVOICES, Usec(NOW - HOUR))
    for _ in range(60):
        world.judge(INVOICES, run, Verdict.UNKNOWN, "not seen", "report")
    assert len(rows(asker, "history invoices -n 2")) == 2
    assert len(rows(asker, "history invoices")) == 2
    assert len(rows(asker, "history invoices -n 1")) == 1


def test_since_is_for_slots_too(world: World, asker: Asker) -> None:
    for hours in (1, 5, 30):
        world.slot(BACKUP, Usec(NOW - hours * HOUR), "skipped", f"reason-{hours}")
    shown = [row.split()[-1] for row in rows(asker, "history db-backup --since -6h")]
    assert shown == ["reason-1", "reason-5"]
    assert len(rows(asker, "history db-backup --since=-20h")) == 3


# --- status ----------------------------------------------------------------------------------


def test_the_list_says_how_far_the_next_run_is(world: World, asker: Asker) -> None:
    assert asker.reads("status").splitlines()[1].split()[5] == "9h"
    world.promise(BACKUP, Usec(NOW - MINUTE))
    assert asker.reads("status").splitlines()[1].split()[5] == "due"
    world.promise(BACKUP, None)
    assert asker.reads("status").splitlines()[1].split()[5] == "-"


def test_the_list_says_why_a_slot_was_missed(world: World, asker: Asker) -> None:
    miss(world)
    assert "db-backup.timer is masked" in asker.reads("status").splitlines()[1]
    asker.screen = Screen()
    assert "none began within 10 min: db-backup.timer is masked" in asker.reads("status")


def test_a_script_gets_the_next_slot_and_its_deadline(world: World, asker: Asker) -> None:
    at = Usec(NIGHT + DAY)
    world.promise(BACKUP, at, due=Usec(at + 11 * MINUTE))
    backup, invoices = answer(asker, "status --json=short")
    assert backup["next_slot"] == "2026-11-23T03:10:00.000000+00:00"
    assert backup["begin_by"] == "2026-11-23T03:21:00.000000+00:00"
    assert invoices["next_slot"] is invoices["begin_by"] is None


def test_a_job_without_a_timer_says_what_is_asked_of_it(world: World, asker: Asker) -> None:
    shown = asker.reads("status invoices")
    assert "Next run: no timer starts it, and that no run comes, nobody notices" in shown
    assert "End by" not in shown
    world.know(replace(INVOICES, schedule=Schedule(verified_within=Usec(DAY))))
    assert "nobody notices" not in asker.reads("status invoices")
    job = replace(INVOICES, schedule=Schedule(every=Usec(DAY), start_within=Usec(5 * MINUTE)))
    world.know(job)
    timer = replace(world.promise(job, None).timer, unit=slots.BY_HAND, accuracy=Usec(0))
    world.promise(job, Usec(NOW + HOUR), timer=timer)
    shown = " ".join(asker.reads("status invoices").split())
    assert "Next run: Sun 2026-11-22 20:00:00 CET; 1h left (every 1d)" in shown
    assert "Begin by: Sun 2026-11-22 20:05:00 CET, 5min after its slot (by its file)" in shown


def test_deadlines_of_the_file_are_said_to_be_its_own(world: World, asker: Asker) -> None:
    schedule = Schedule(
        start_within=Usec(30 * MINUTE),
        finish_within=Usec(2 * HOUR),
        verified_within=Usec(26 * HOUR),
    )
    world.know(replace(BACKUP, schedule=schedule))
    shown = " ".join(asker.reads("status db-backup").split())
    assert "Begin by: Mon 2026-11-23 04:41:00 CET, 30min after its slot (by its file), and" in shown
    assert "End by: 2h after its start (by its file)" in shown
    assert "1d 2h after the last good verdict (by its file)" in shown


def test_a_deadline_that_was_measured_is_said_to_the_second(world: World, asker: Asker) -> None:
    world.promise(BACKUP, Usec(NIGHT + DAY), farthest=Usec(HOUR + 8_209_398))
    shown = " ".join(asker.reads("status db-backup").split())
    assert "4h 4min 22s after the last good verdict" in shown


@pytest.mark.parametrize(
    ("timer", "said"),
    [
        ({"LoadState": "loaded", "ActiveState": "inactive"}, "db-backup.timer was stopped"),
        (
            {"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled"},
            "db-backup.timer is disabled and does not run",
        ),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "db-backup.timer is gone"),
        (
            {"LoadState": "loaded", "ActiveState": "active", "SubState": "elapsed"},
            "db-backup.timer is active, but will not elapse again",
        ),
        (
            {"LoadState": "loaded", "ActiveState": "failed", "Result": "resources"},
            "db-backup.timer has failed (resources)",
        ),
    ],
)
def test_a_timer_that_is_dead_shows_before_its_slot_has_passed(
    asker: Asker, timer: dict[str, str], said: str
) -> None:
    asker.units = LOADED | {"db-backup.timer": timer}
    shown = asker.reads("status db-backup")
    assert f"Next run: none: {said}" in shown
    assert "Awaited: Mon 2026-11-23 04:10:00 CET; 9h left, all the same" in shown


def test_a_service_that_cannot_start_shows_before_its_slot_has_passed(asker: Asker) -> None:
    asker.units = LOADED | {"db-backup.service": {"LoadState": "masked"}}
    assert "Service: db-backup.service is masked" in asker.reads("status db-backup")


def test_nothing_is_said_of_timers_where_systemd_cannot_be_asked(asker: Asker) -> None:
    shown = asker.reads("status db-backup")
    assert "Next run: Mon 2026-11-23 04:10:00 CET; 9h left (db-backup.timer)" in shown


def test_a_promise_that_is_not_made_yet_is_said_to_be_so(world: World, asker: Asker) -> None:
    world.promise(BACKUP, None)
    assert "Next run: not announced yet (db-backup.timer)" in asker.reads("status db-backup")


# --- verify ----------------------------------------------------------------------------------


def test_verify_looks_at_the_last_run_and_not_at_a_slot(world: World, asker: Asker) -> None:
    before = asker.types("verify db-backup")
    miss(world)
    assert asker.types("verify db-backup") == before


def test_verify_of_a_job_that_only_missed_has_nothing_to_look_at(
    world: World, asker: Asker
) -> None:
    job = Job(name=JobName("new"), unit=UnitName("new.service"))
    world.know(job)
    world.miss(job, Usec(NOW - HOUR), "no-run", "nothing says why")
    code, _, err = asker.types("verify new")
    assert code == 3
    assert "there is nothing to look at" in err


def test_nothing_is_wider_than_the_terminal(world: World, asker: Asker) -> None:
    miss(world)
    world.slot(BACKUP, Usec(NOW - SECOND), "skipped", "x" * 200, because="y" * 200)
    asker.units = MASKED
    for line in ("status", "status db-backup", "history db-backup", "explain db-backup"):
        for shown in asker.reads(line).splitlines():
            assert len(shown) <= 80 or "journalctl" in shown
