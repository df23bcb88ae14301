"""outcomectl for a person at a terminal of 80 columns, word by word."""

# ruff: noqa: RUF001  # the mark of a bad job is the multiplication sign, as systemctl prints it

from msgspec.structs import replace

from outcomed.ctl.term import Screen
from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    Finding,
    Held,
    Job,
    JobName,
    UnitName,
    Usec,
    Verdict,
)
from tests.unit.test_ctl_world import BACKUP, INVOICES, NIGHT, NOW, Asker, World, asker, world

__all__ = ["asker", "world"]  # fixtures

STATUS = """\
  JOB       VERDICT        ENDED        NEXT WHY
× db-backup silent-failure 14h ago      9h   shop-web1-20261122.sql.gz: 47.0K, …
● invoices  verified       2h 48min ago -    sent == generated and failed == 0 …

2 jobs, 1 bad; 'outcomectl explain JOB' says why.
"""

HISTORY = """\
  RUN      WHEN                    RAN      VERDICT        BY    REASON
× 37f4b844 Sun 2026-11-22 04:10:00 4s       silent-failure timer artifact
● 283e8e22 Sat 2026-11-21 04:10:00 18min 2s verified       timer held
● 684f02ea Fri 2026-11-20 04:10:00 18min 2s verified       timer held
● 6d7efef3 Thu 2026-11-19 04:10:00 18min 2s verified       timer held
"""

EXPLAIN = """\
× db-backup: silent-failure: /srv/backups/shop-web1-20261122.sql.gz: 47.0K,
  expected at least 500.0M (and 1 more)

       Run: 37f4b844ada55860842a667ae08ca06b
Invocation: 0005c0ffeec0ffeec0ffeec0ffee0000
      Unit: db-backup.service, started by db-backup.timer
       Due: Sun 2026-11-22 04:09:58 CET
   Started: Sun 2026-11-22 04:10:00 CET; 14h ago
     Ended: Sun 2026-11-22 04:10:04 CET; 14h ago, ran 4s
    Result: success (status 0)
    Judged: Sun 2026-11-22 04:10:04 CET; 14h ago; seen as it happened
    Output: incomplete: journald dropped 3 messages of this run
     Alert: critical, opened Sun 2026-11-22 04:10:04 CET; 14h ago

Rules
  ✓ result: it exited well
  ✗ outcome[0].artifact: /srv/backups/shop-web1-20261122.sql.gz: 47.0K, expected
    at least 500.0M
      expected: /srv/backups/shop-%H-*.sql.gz, written by this run; at least
                500.0M; whole as gzip and not empty
      seen: 7 matches, 47.0K (48128 bytes), written Sun 2026-11-22 04:10:01 CET;
            14h ago
  ✗ outcome[1].duration: ran 4 s, expected at least 3min
      expected: at least 3min
  ? outcome[2].journal: no line matches dump complete; journald dropped 3
    messages of this run
      expected: a line that matches dump complete

     Steps: dump
    Report: tables=0

Deadlines
  Next run: Mon 2026-11-23 04:10:00 CET; 9h left (db-backup.timer)
  Begin by: Mon 2026-11-23 04:21:00 CET, 10min after its slot (default), and
            1min that its timer allows itself
    End by: 1h 54min 6s after its start (default: three times the longest of the
            last 3 good runs (18 min 2 s), and an hour)
  Proof by: Mon 2026-11-23 06:32:08 CET; 11h left, 2d 2h 4min 6s after the last
            good verdict (default: twice 1 d, the longest time between two
            slots, and what starting and finishing may take)

Before
  ● 283e8e22 Sat 2026-11-21 04:10:00 18min 2s verified timer held
  ● 684f02ea Fri 2026-11-20 04:10:00 18min 2s verified timer held
  ● 6d7efef3 Thu 2026-11-19 04:10:00 18min 2s verified timer held

Against the last good run, Sat 2026-11-21 04:28:02 CET; 1 day 14h ago
  ran 18min 2s then, 4s now
  outcome[0].artifact size: 2.3G then, 47.0K now
  tables: 41 then, 0 now

Next
  journalctl -u db-backup.service --invocation=0005c0ffeec0ffeec0ffeec0ffee0000
  ls -lt /srv/backups/  # what lies there now
  outcomectl verify db-backup  # look at it as it is now
  outcomectl accept 37f4b844 --because='...'  # if this is right as it is
  systemctl cat db-backup.service  # what was run
  https://wiki.example.com/runbooks/db-backup
"""

IN_FULL = """\
× db-backup - Nightly dump of the shop database
      Unit: db-backup.service
   Verdict: silent-failure at Sun 2026-11-22 04:10:04 CET; 14h ago
       Why: /srv/backups/shop-web1-20261122.sql.gz: 47.0K, expected at least
            500.0M (and 1 more)
     Alert: critical, open since Sun 2026-11-22 04:10:04 CET; 14h ago, ops told
  Next run: Mon 2026-11-23 04:10:00 CET; 9h left (db-backup.timer)
  Begin by: Mon 2026-11-23 04:21:00 CET, 10min after its slot (default), and
            1min that its timer allows itself
    End by: 1h 54min 6s after its start (default: three times the longest of the
            last 3 good runs (18 min 2 s), and an hour)
  Proof by: Mon 2026-11-23 06:32:08 CET; 11h left, 2d 2h 4min 6s after the last
            good verdict (default: twice 1 d, the longest time between two
            slots, and what starting and finishing may take)
   Runbook: https://wiki.example.com/runbooks/db-backup

  ✓ result: it exited well
  ✗ outcome[0].artifact: /srv/backups/shop-web1-20261122.sql.gz: 47.0K, expected
    at least 500.0M
  ✗ outcome[1].duration: ran 4 s, expected at least 3min
  ? outcome[2].journal: no line matches dump complete; journald dropped 3
    messages of this run

  RUN      WHEN                    RAN      VERDICT        BY    REASON
× 37f4b844 Sun 2026-11-22 04:10:00 4s       silent-failure timer artifact
● 283e8e22 Sat 2026-11-21 04:10:00 18min 2s verified       timer held
● 684f02ea Fri 2026-11-20 04:10:00 18min 2s verified       timer held
● 6d7efef3 Thu 2026-11-19 04:10:00 18min 2s verified       timer held
"""


LOADED = {
    "db-backup.service": {"LoadState": "loaded"},
    "db-backup.timer": {
        "Id": "db-backup.timer",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "waiting",
    },
}


def test_status_shows_what_needs_somebody_first(asker: Asker) -> None:
    assert asker.reads("status") == STATUS


def test_status_is_the_default_verb(asker: Asker) -> None:
    assert asker.reads("") == STATUS


def test_history_is_newest_first_and_fits(asker: Asker) -> None:
    assert asker.reads("history db-backup") == HISTORY


def test_explain_answers_in_the_order_of_the_questions(asker: Asker) -> None:
    assert asker.reads("explain db-backup") == EXPLAIN


def test_status_of_one_job_is_in_full(asker: Asker) -> None:
    asker.units = LOADED
    assert asker.reads("status db-backup") == IN_FULL


def test_nothing_but_a_command_to_copy_is_wider_than_the_terminal(asker: Asker) -> None:
    for line in ("status", "status db-backup invoices", "history db-backup", "explain db-backup"):
        for shown in asker.reads(line).splitlines():
            assert len(shown) <= 80 or "journalctl" in shown


def test_nothing_is_cut_in_a_pipe(asker: Asker) -> None:
    asker.screen = Screen()
    listed = asker.reads("status")
    assert (
        "/srv/backups/shop-web1-20261122.sql.gz: 47.0K, expected at least 500.0M (and 1" in listed
    )
    assert "…" not in listed + asker.reads("history db-backup") + asker.reads("explain db-backup")


def test_a_pipe_has_no_colors_and_a_terminal_has(asker: Asker) -> None:
    assert "\x1b" not in asker.reads("status")
    asker.screen = Screen(width=80, colors=True)
    assert "\x1b[0;1;31m×\x1b[0m db-backup" in asker.reads("status")


def test_colors_take_no_columns(asker: Asker) -> None:
    plain = (
        asker.reads("status") + asker.reads("explain db-backup") + asker.reads("status invoices")
    )
    asker.screen = Screen(width=80, colors=True)
    colored = asker.reads("status") + asker.reads("explain db-backup")
    colored += asker.reads("status invoices")
    assert strip(colored) == plain


def strip(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_terminal_without_utf_8_gets_letters(asker: Asker) -> None:
    asker.screen = Screen(width=80, utf8=False)
    shown = (
        asker.reads("status") + asker.reads("explain db-backup") + asker.reads("history db-backup")
    )
    assert shown.isascii()
    assert shown.splitlines()[1].startswith("x db-backup silent-failure")


def test_no_legend_leaves_the_rows_alone(asker: Asker) -> None:
    assert len(asker.reads("status --no-legend").splitlines()) == 2


def test_a_run_under_way_shows_beside_the_last_verdict(world: World, asker: Asker) -> None:
    world.begin(world.run(INVOICES, Usec(NOW - 12 * MINUTE)))
    line = next(line for line in asker.reads("status").splitlines() if "invoices" in line)
    assert line.startswith("↻ invoices  verified")
    assert "runs since 12min; sent == gene" in line
    assert "Running: since Sun 2026-11-22 18:48:00 CET; 12min ago" in asker.reads("status invoices")


def test_a_job_that_never_ran_says_so(world: World, asker: Asker) -> None:
    world.know(Job(name=JobName("new"), unit=UnitName("new.service")))
    assert "○ new       -              -            -    no run yet" in asker.reads("status")
    assert "Verdict: none, it has not run since it is watched" in asker.reads("status new")


def test_an_open_alert_outlives_a_run_that_could_not_be_seen(world: World, asker: Asker) -> None:
    run = world.run(BACKUP, Usec(NOW - HOUR))
    gap = Finding("outcome[0].artifact", Held.UNKNOWN, "/srv: Permission denied")
    world.judge(BACKUP, run, Verdict.UNKNOWN, "/srv: Permission denied", "artifact", [gap])
    code, out, _ = asker.types("status")
    assert code == 1
    assert "× db-backup unknown" in out
    assert "alert open; " in out


def test_a_removed_job_leaves_the_list_and_keeps_its_history(world: World, asker: Asker) -> None:
    world.forget("db-backup")
    assert "db-backup" not in asker.reads("status")
    assert "there is no job file any more" in asker.reads("status db-backup")
    assert "The job file is gone" in asker.reads("explain db-backup")
    assert len(asker.reads("history db-backup --no-legend").splitlines()) == 4


def test_explain_says_when_the_rules_are_others_by_now(world: World, asker: Asker) -> None:
    world.know(replace(BACKUP, outcome=BACKUP.outcome[:1]))
    shown = asker.reads("explain db-backup")
    assert "The rules have changed since" in shown
    assert "expected:" not in shown


def test_explain_says_what_nobody_looked_at(world: World, asker: Asker) -> None:
    failed = world.run(BACKUP, NIGHT, result="exit-code", exit_status=2, attempts=3)
    world.judge(BACKUP, failed, Verdict.FAILED, "exited with status 2", "exit-code")
    shown = asker.reads("explain db-backup")
    assert shown.startswith("× db-backup: failed: exited with status 2\n")
    assert "Result: exit-code (status 2)" in shown
    assert "Attempts: 3, the last is what counts" in shown
    assert "- outcome[0].artifact: not looked at" in shown


def test_explain_of_an_older_run_compares_with_what_was_before_it(
    world: World, asker: Asker
) -> None:
    older = asker.reads("history db-backup --no-legend").splitlines()[2].split()[1]
    shown = asker.reads(["explain", older])
    assert shown.startswith("● db-backup: verified: ")
    assert "Fri 2026-11-20" in shown
    assert shown.count("verified timer held") == 1


def test_explain_says_that_there_never_was_a_good_run(world: World, asker: Asker) -> None:
    job = Job(name=JobName("sad"), unit=UnitName("sad.service"))
    world.know(job)
    for night in (2, 1):
        run = world.run(job, Usec(NIGHT - night * DAY), result="signal", exit_code="killed")
        world.judge(job, run, Verdict.FAILED, "was killed by SIGKILL", "signal")
    assert "No good run is on record to compare with" in asker.reads("explain sad")


def test_history_since_reaches_as_far_as_asked(asker: Asker) -> None:
    def rows(line: str) -> int:
        return len(asker.reads(line).splitlines())

    assert rows("history db-backup --no-legend --since -2d") == 2
    assert rows("history db-backup --no-legend --since=-90d") == 4
    assert rows("history db-backup --no-legend --since today") == 1
    assert rows("history db-backup --no-legend --since 2026-11-20") == 3
    assert rows("history db-backup --no-legend -n 2") == 2
    assert asker.reads("history db-backup --since -1h").startswith("No runs of db-backup since Sun")
