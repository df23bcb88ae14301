"""What becomes of a systemd-analyze that is missing, fails, hangs, or speaks another language."""

import select
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import calendar
from outcomed.calendar import Asking, Moments
from outcomed.errors import CalendarError
from outcomed.model import DAY, Usec

Tool = Callable[[str], None]
PERIOD = Usec(1_800_000_000_000_000), Usec(1_800_000_000_000_000 + DAY)

IN_UTC = """\
  Original form: daily
Normalized form: *-*-* 00:00:00
    Next elapse: Sat 2027-01-16 00:00:00 UTC
       From now: 1 month 18 days left
   Iteration #2: Sun 2027-01-17 00:00:00 UTC
       From now: 1 month 19 days left

Normalized form: 2020-01-01 00:00:00
    Next elapse: never
"""
IN_BERLIN = """\
Normalized form: *-*-* 02:30:00
    Next elapse: Sat 2027-03-27 02:30:00 CET
       (in UTC): Sat 2027-03-27 01:30:00 UTC
       From now: 3 months 27 days left
   Iteration #2: Mon 2027-03-29 02:30:00 CEST
       (in UTC): Mon 2027-03-29 00:30:00 UTC
       From now: 3 months 29 days left
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put a program in systemd-analyze's place."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(script: str) -> None:
        (tmp_path / "systemd-analyze").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "systemd-analyze").chmod(0o755)

    return put


def test_an_answer_is_read_in_utc_whatever_the_zone() -> None:
    assert list(calendar._read(IN_UTC)) == [[1_800_057_600_000_000, 1_800_144_000_000_000], []]
    assert list(calendar._read(IN_BERLIN)) == [[1_806_111_000_000_000, 1_806_280_200_000_000]]


def test_a_systemd_that_is_not_installed_is_an_error(tool: Tool) -> None:
    with pytest.raises(CalendarError, match="cannot run systemd-analyze: No such file") as error:
        calendar.moments(["daily"], *PERIOD)
    assert error.value.hint == "it is part of systemd"
    assert calendar.moments([], *PERIOD) == Moments()


def test_one_that_fails_is_an_error_that_names_the_expression(tool: Tool) -> None:
    tool("exit 3")
    with pytest.raises(CalendarError, match="ended with status 3, asked for daily") as error:
        calendar.moments(["daily", "hourly"], *PERIOD)
    assert error.value.hint == "systemd-analyze calendar 'daily'"


def test_one_that_is_killed_is_an_error(tool: Tool) -> None:
    tool("kill -9 $$")
    with pytest.raises(CalendarError, match="status -9"):
        calendar.moments(["daily"], *PERIOD)


@pytest.mark.parametrize("script", ["exec /bin/sleep 60", "trap '' TERM; while :; do :; done"])
def test_one_that_hangs_is_ended_in_its_time(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(calendar, "PATIENCE", 0.2)
    tool(script)
    with pytest.raises(CalendarError, match="had not ended after"):
        calendar.moments(["daily", "hourly"], *PERIOD)


def test_one_that_floods_is_ended(tool: Tool) -> None:
    tool("while echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; do :; done")
    with pytest.raises(CalendarError, match="wrote more than 4194304 bytes"):
        calendar.moments(["daily"], *PERIOD)


@pytest.mark.parametrize(
    "answer",
    [
        *("", "Normalized form: daily", "Normalized form: daily\n    Next elapse: bald"),
        "Normalized form: daily\n    Next elapse: 2027-01-16",
        "Normalform: daily\n    Next elapse: Sat 2027-01-16 00:00:00 UTC",
    ],
)
def test_an_answer_that_cannot_be_read_is_not_taken_for_none(tool: Tool, answer: str) -> None:
    tool(f"printf '{answer}\n'")
    with pytest.raises(CalendarError, match="cannot read"):
        calendar.moments(["daily"], *PERIOD)


def test_what_is_asked_is_waited_for_and_closed_at_any_time(tool: Tool) -> None:
    tool("exec /bin/sleep 60")
    question = Asking(["daily"], *PERIOD)
    assert not question.done()
    assert select.select([question.fileno()], [], [], 0)[0] == []
    question.close()
    question.close()
    assert question.done()


@given(st.text(alphabet=IN_BERLIN + "\0é", max_size=400))
def test_nothing_that_is_answered_ends_the_daemon(answer: str) -> None:
    for one in calendar._read("Normalized form: x\n" + answer):
        assert all(isinstance(moment, int) for moment in one)
