"""Calendar expressions as this systemd reads them, and as its timers then run."""

import contextlib
import os
import select
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("pystemd", reason="runs on a node: make check")

from outcomed import calendar
from outcomed.bus import Calls
from outcomed.calendar import LIMIT, Asking
from outcomed.errors import CalendarError
from outcomed.model import DAY, HOUR, MINUTE, SECOND, UnitName, Usec

LOCALTIME = Path("/etc/localtime")
ZONES = Path("/usr/share/zoneinfo")

EXPRESSIONS = (
    *("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly"),
    *("02:30", "Mon..Fri 06:00", "Sat,Sun *-*-* 10:15:30", "*:0/7", "*-*-1,15 04:00"),
    *("*-*~1 23:59:59", "Mon *-*~7/1 03:00", "*-02-29 12:00", "*-*-* 0/6:30", "*:*:0/20"),
    *("02:30 Europe/Berlin", "*-*-* 00:00 America/New_York", "12:00 Asia/Kathmandu"),
    *(
        "01:45 Australia/Lord_Howe",
        "2099-12-31 23:00",
        "2020-01-01",
        "*-02-31",
        "*-*-* *:17/20 UTC",
    ),
)


@pytest.fixture
def zone() -> Iterator[Callable[[str], ZoneInfo]]:
    """Set the system's zone; it is what it was after the test."""
    before = os.readlink(LOCALTIME)

    def move(name: str) -> ZoneInfo:
        link(str(ZONES / name))
        return ZoneInfo(name)

    yield move
    link(before)


def link(target: str) -> None:
    aside = LOCALTIME.with_name("localtime.new")
    aside.symlink_to(target)
    aside.rename(LOCALTIME)


def usec(text: str) -> Usec:
    return Usec(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND)


def told(moments: tuple[Usec, ...], zone: ZoneInfo) -> list[str]:
    return [f"{datetime.fromtimestamp(one / SECOND, zone):%m-%d %H:%M%z}" for one in moments]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_period_has_what_its_parts_have(expression: str) -> None:
    since = usec("2027-03-20T00:00:00")
    for length in (HOUR, 40 * HOUR, 20 * DAY):
        until = Usec(since + length)
        whole = calendar.moments([expression], since, until)
        assert list(whole.moments) == sorted(set(whole.moments))
        assert all(since < one <= until for one in whole.moments)
        end = whole.moments[-1] if whole.is_cut else until
        for cut in (since + 1, since + length // 3, since + length * 2 // 3 + 1, end - 1):
            middle = Usec(min(max(cut, since), end))
            first = calendar.moments([expression], since, middle)
            second = calendar.moments([expression], middle, end)
            assert first.moments + second.moments == whole.moments
            assert not first.is_cut
            assert not second.is_cut


def test_a_moment_ends_its_own_period_and_does_not_begin_it() -> None:
    two = usec("2027-01-01T02:00:00")
    assert calendar.moments(["02:00"], Usec(two - 1), two).moments == (two,)
    assert calendar.moments(["02:00"], Usec(two - 1), Usec(two - 1)).moments == ()
    assert calendar.moments(["02:00"], two, Usec(two + 23 * HOUR)).moments == ()
    assert calendar.moments(["02:00"], two, Usec(two + DAY)).moments == (two + DAY,)
    assert calendar.moments(["02:00"], Usec(two + DAY), two).moments == ()


@pytest.mark.parametrize("number", [9, 10, 11, 99, 100, 101, LIMIT - 1, LIMIT])
def test_all_of_up_to_a_thousand_moments_are_told(number: int) -> None:
    since = usec("2027-01-01T00:00:00")
    found = calendar.moments(["minutely"], since, Usec(since + number * MINUTE + 1))
    assert found.moments == tuple(since + i * MINUTE for i in range(1, number + 1))
    assert not found.is_cut


def test_more_than_a_thousand_moments_are_cut_and_say_so() -> None:
    since = usec("2027-01-01T00:00:00")
    found = calendar.moments(["*:*:0/10", "daily"], since, Usec(since + 30 * DAY))
    assert found.moments == tuple(since + i * 10 * SECOND for i in range(1, LIMIT + 1))
    assert found.is_cut
    together = calendar.moments(["*:00/2:00", "*:01/2:00"], since, Usec(since + 20 * HOUR))
    assert together.moments == tuple(since + i * MINUTE for i in range(1, LIMIT + 1))
    assert together.is_cut


def test_the_next_few_moments_are_told_however_far_they_are() -> None:
    since = usec("2027-01-01T00:00:00")
    with contextlib.closing(Asking(["*-02-29", "daily", "2028-01-01"], since)) as question:
        while not question.done():
            select.select([question.fileno()], [], [], 1)
        days = tuple(Usec(since + i * DAY) for i in range(1, 11))
        assert question.moments(["daily"]).moments == days
        assert question.moments(["*-02-29"]).moments[0] == usec("2028-02-29T00:00:00")
        assert question.moments(["2028-01-01"]).moments == (usec("2028-01-01T00:00:00"),)


def test_several_expressions_are_told_together_and_each_alone() -> None:
    since = usec("2027-01-01T12:00:00")
    question = Asking([*EXPRESSIONS, "hourly", "daily"], since, Usec(since + 3 * HOUR))
    try:
        while not question.done():
            assert time.monotonic() < question.deadline
            select.select([question.fileno()], [], [], 1)
        hours = tuple(Usec(since + i * HOUR) for i in (1, 2, 3))
        assert question.moments(["hourly"]).moments == hours
        assert question.moments(["hourly", "2020-01-01", "*-02-31"]).moments == hours
        assert len(question.moments(["minutely", "hourly"]).moments) == 180
        assert len(question.moments().moments) == 540
    finally:
        question.close()
        question.close()


def test_an_expression_that_nobody_can_read_spoils_no_other() -> None:
    since = usec("2027-01-01T00:00:00")
    question = Asking(["hourly", "02:00 Nowhere/City", "--help"], since, Usec(since + HOUR))
    while not question.done():
        select.select([question.fileno()], [], [], 1)
    assert question.moments(["hourly"]).moments == (since + HOUR,)
    with pytest.raises(CalendarError, match="ended with status 1, asked for 02:00 Nowhere/City"):
        question.moments()
    with pytest.raises(CalendarError, match="asked for --help"):
        question.moments(["--help"])


@pytest.mark.parametrize(
    "name",
    [
        *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"),
        *("Asia/Kathmandu", "Africa/Abidjan", "Europe/London", "Pacific/Kiritimati", "Etc/UTC"),
    ],
)
def test_a_local_time_is_one_of_the_systems_zone(
    zone: Callable[[str], ZoneInfo], name: str
) -> None:
    here = zone(name)
    since = usec("2027-01-01T00:00:00")
    found = calendar.moments(["04:45"], since, Usec(since + 365 * DAY))
    local = [datetime.fromtimestamp(one / SECOND, here) for one in found.moments]
    assert {f"{one:%H:%M:%S}" for one in local} == {"04:45:00"}
    assert len({one.date() for one in local}) == len(local) == 365


def test_what_the_nights_of_a_changing_clock_have(zone: Callable[[str], ZoneInfo]) -> None:
    here = zone("Europe/Berlin")
    spring, autumn = usec("2027-03-27T12:00:00"), usec("2027-10-30T12:00:00")
    for expression in ("02:30", "02:30 Europe/Berlin"):
        found = calendar.moments([expression], spring, Usec(spring + 2 * DAY))
        assert told(found.moments, here) == ["03-29 02:30+0200"]  # not on the 28th
        found = calendar.moments([expression], autumn, Usec(autumn + 2 * DAY))
        assert told(found.moments, here) == ["10-31 02:30+0200", "11-01 02:30+0100"]  # once
        zone("Asia/Tokyo")
        assert calendar.moments(["02:30 Europe/Berlin"], autumn, Usec(autumn + 2 * DAY)) == found
        zone("Europe/Berlin")
    found = calendar.moments(["hourly"], autumn, Usec(autumn + DAY))
    assert len(found.moments) == 23  # the second 02:00 is none of systemd's


def test_what_was_named_in_another_zone(zone: Callable[[str], ZoneInfo]) -> None:
    zone("Asia/Tokyo")
    since = usec("2027-01-01T00:00:00")
    then = f"/etc/..{ZONES}/Europe/Berlin"  # as a relative link has it
    found = calendar.moments(["02:30", "03:00 UTC"], since, Usec(since + DAY), then)
    assert found.moments == (usec("2027-01-01T01:30:00"), usec("2027-01-01T03:00:00"))


def test_a_zone_of_our_own_environment_means_nothing(
    zone: Callable[[str], ZoneInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    zone("Europe/Berlin")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    since = usec("2027-01-01T00:00:00")
    assert calendar.moments(["02:30"], since, Usec(since + DAY)).moments == (
        usec("2027-01-01T01:30:00"),
    )


@pytest.mark.parametrize("name", ["Etc/UTC", "Europe/Berlin", "Australia/Lord_Howe"])
def test_timers_elapse_when_it_says(zone: Callable[[str], ZoneInfo], name: str) -> None:
    zone(name)
    subprocess.run(["systemctl", "daemon-reload"], check=True)  # and PID 1 knows it, too
    calls, stem = Calls(), f"calendar-{uuid.uuid4().hex[:8]}"
    timers = {UnitName(f"{stem}-{i}.timer"): one for i, one in enumerate(EXPRESSIONS)}
    for timer, expression in timers.items():
        command = ["systemd-run", "--quiet", f"--unit={timer}", "--timer-property=AccuracySec=1us"]
        command += [f"--on-calendar={expression}", "/bin/true"]
        subprocess.run(command, check=True)
    try:
        for timer, expression in timers.items():
            before = Usec(time.time_ns() // 1000)
            shown = calls.timer(timer).next_realtime
            if shown is None:
                found = calendar.moments([expression], before, Usec(before + 80 * 366 * DAY))
                assert found.moments == (), expression
            elif shown > before:  # else it is elapsing at this moment
                found = calendar.moments([expression], before, shown)
                assert found.moments == (shown,), expression
    finally:
        subprocess.run(["systemctl", "stop", *timers], check=False, capture_output=True)
        calls.close()
