"""A simulated year of a node with fifty timers: daylight saving, reboots, nights without power, a
laptop's sleeps, downtimes of the daemon, long runs, dead timers. No slot is without an end, and
each end is the one that the simulation knows to be true.

The simulation keeps to what systemd was seen to do: a timer elapses once for all slots that passed
while its service ran, while the machine slept, or, with Persistent=, while it was off.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from outcomed import slots
from outcomed.model import DAY, HOUR, MINUTE, SECOND, BootId, RunId, Schedule, UnitName, Usec
from outcomed.slots import Answer, Around, Clock, Promise, Slot, Span
from outcomed.timers import Timer

BERLIN = ZoneInfo("Europe/Berlin")
BEGIN = datetime(2026, 12, 1, tzinfo=BERLIN)
END = datetime(2027, 12, 1, tzinfo=BERLIN)
SCHEDULE = Schedule()
TIMERS = (
    *[timedelta(hours=1)] * 2,
    *[timedelta(hours=6)] * 8,
    *[timedelta(days=1)] * 30,
    *[timedelta(days=7)] * 10,
)
GRACE = Usec(10 * MINUTE)  # start_within= by default


def usec(moment: datetime) -> Usec:
    return Usec(int(moment.timestamp()) * SECOND)


def calendar(every: timedelta, at: timedelta) -> list[Usec]:
    """Local times as systemd names them: none that does not exist, one that exists twice once."""
    found, local = [], BEGIN.replace(tzinfo=None) + at
    while local < END.replace(tzinfo=None):
        moment = local.replace(tzinfo=BERLIN, fold=0)
        back = datetime.fromtimestamp(moment.timestamp(), BERLIN).replace(tzinfo=None)
        if back == local:
            found.append(usec(moment))
        local += every
    return found


@dataclass
class Node:
    """What happens to the host, the same for all its timers."""

    off: list[Span]
    asleep: list[Span]
    unwatched: list[Span]  # outcomed is down

    def is_up(self, at: int) -> bool:
        return not any(Usec(at) in span for span in (*self.off, *self.asleep))


@dataclass
class Job:
    name: UnitName
    moments: list[Usec]
    is_persistent: bool
    usual: int  # how long a run takes
    dead: list[Span]  # the timer is masked
    truth: dict[Usec, tuple[str, str]] = field(default_factory=dict)
    runs: list[Answer] = field(default_factory=list)


def spans(random: Random, number: int, longest: int) -> list[Span]:
    """Times that do not overlap, in their order."""
    begin, end = usec(BEGIN), usec(END)
    starts = sorted(random.randrange(begin, end) for _ in range(number))
    found: list[Span] = []
    for start in starts:
        if not found or start > found[-1].end + DAY:
            found.append(Span(Usec(start), Usec(start + random.randrange(MINUTE, longest))))
    return found


def live(job: Job, node: Node, random: Random) -> None:
    """systemd's side of the year: the runs, and how each slot came to its end."""
    busy = Usec(0)  # until then the service runs
    index = 0
    while index < len(job.moments):
        at = job.moments[index]
        dead = _span(job.dead, at)
        is_busy = busy > at
        away = None if is_busy else _span(node.off, at) or _span(node.asleep, at)
        if dead is not None:
            job.truth[at] = ("missed", "timer-masked")
            index += 1
            continue
        start, reason = Usec(at + SECOND // 10), ""
        if away is not None:
            is_off = away in node.off
            passed = _until(job.moments, index, away.end)
            if is_off and not job.is_persistent:
                job.truth |= dict.fromkeys(passed, ("missed", "host-off"))
                index += len(passed)
                continue
            word = "host-off" if is_off else "suspended"
            job.truth |= dict.fromkeys(passed[:-1], ("skipped", word))
            reason = "caught-up" if is_off else "resumed"
            start = Usec(away.end + SECOND)
            index += len(passed) - 1
        elif is_busy:
            passed = _until(job.moments, index, busy)
            job.truth |= dict.fromkeys(passed[:-1], ("skipped", "still-running"))
            index += len(passed) - 1
            start = Usec(busy + SECOND // 10)
            if start > passed[-1] + GRACE:
                slept = _span(node.asleep, passed[-1]) is not None
                held = ("ran", "resumed") if slept else ("late", "still-running")
                job.truth[passed[-1]] = held
        slot = job.moments[index]
        if start <= slot + GRACE:
            reason = ""
        job.truth.setdefault(slot, ("ran", reason))
        length = job.usual * random.choice((5, 10, 10, 11, 40)) // 10
        end = Usec(start + length)
        cut = next((span for span in node.off if start < span.begin < end), None)
        slept = next((span for span in node.asleep if start < span.begin < end), None)
        if slept is not None:
            end = Usec(end + slept.end - slept.begin)
        if cut is not None:  # what a run that was cut off held up is another test's
            end = min(Usec(start + SECOND), cut.begin)
        ident = RunId(f"{len(job.runs):032x}")
        job.runs.append(Answer(ident, start, end, elapse=Usec(start - 1000), may_be=False))
        busy = end
        index += 1


def _recent(found: list[Span], now: Usec) -> Iterator[Span]:
    return (span for span in found if now - 10 * DAY < span.begin <= now)


def _span(found: list[Span], at: Usec) -> Span | None:
    return next((span for span in found if at in span), None)


def _until(moments: list[Usec], index: int, end: Usec) -> list[Usec]:
    """The slots from this one that lie before `end`."""
    last = index
    while last < len(moments) and moments[last] < end:
        last += 1
    return moments[index:last]


def looks(job: Job, node: Node, random: Random) -> Iterator[Usec]:
    """When outcomed looks: after each run, at what is due, after a boot or a start; seldom else."""
    moments = [one.ended for one in job.runs if one.ended is not None]
    moments += [Usec(at + GRACE + MINUTE + 2) for at in job.moments]
    moments += [span.end for span in (*node.off, *node.asleep, *node.unwatched)]
    moments += [Usec(random.randrange(usec(BEGIN), usec(END))) for _ in range(50)]
    moments += [Usec(usec(END) + number * DAY) for number in (1, 2)]
    for at in sorted({*moments}):
        later = Usec(at + SECOND)
        if node.is_up(later) and _span(node.unwatched, later) is None:
            yield later


def watch(job: Job, node: Node, random: Random) -> dict[Usec, list[Slot]]:
    """outcomed's side of the year."""
    timer = Timer(
        unit=job.name,
        triggers=UnitName("x.service"),
        calendar=("x",),
        accuracy=Usec(1),
        is_persistent=job.is_persistent,
    )
    apart = slots.spacing(job.moments)
    assert apart is not None
    promise = Promise(timer, settled=Usec(usec(BEGIN) - 1), nearest=apart[0], farthest=apart[1])
    starts = [one.started for one in job.runs]
    ended: dict[Usec, list[Slot]] = {}
    for now in looks(job, node, random):
        first = max(0, bisect_left(starts, promise.settled) - 3)
        known = [
            one if one.ended is not None and one.ended <= now else replace(one, ended=None)
            for one in job.runs[first : bisect_left(starts, now)]
        ]
        unwitnessed = [
            replace(one, elapse=None, may_be=True)
            if _span(node.unwatched, one.started) is not None
            else one
            for one in known
        ]
        is_dead = _span(job.dead, now) is not None
        alive_since = max((span.end for span in job.dead if span.end <= now), default=Usec(0))
        look = Around(
            now=now,
            runs=tuple(unwitnessed),
            moments=tuple(
                job.moments[
                    bisect_right(job.moments, promise.settled) : bisect_right(job.moments, now)
                ]
            ),
            off=tuple(_recent(node.off, now)),
            asleep=tuple(_recent(node.asleep, now)),
            is_alive=not is_dead,
            alive_since=alive_since,
            reason="timer-masked" if is_dead else "",
            because="masked" if is_dead else "",
        )
        settled = slots.settle(promise, SCHEDULE, look)
        for slot in settled.slots:
            ended.setdefault(slot.at, []).append(slot)
        promise = settled.promise
        index = bisect_right(job.moments, now)
        following = job.moments[index] if index < len(job.moments) else None
        if promise.at is None and following is not None and not is_dead:
            shown = replace(timer, next_realtime=following)
            clock = Clock(now, Usec(now), BootId(""))
            promise = slots.announce(promise, shown, clock, SCHEDULE, now)
    return ended


@pytest.mark.parametrize("seed", [1, 2])
def test_a_year_of_fifty_timers_has_no_unexplained_slot(seed: int) -> None:
    random = Random(seed)
    off = spans(random, 25, 2 * DAY)
    node = Node(
        off=off,
        asleep=[one for one in spans(random, 25, 12 * HOUR) if _apart(one, off)],
        unwatched=[],
    )
    node.unwatched = [
        one for one in spans(random, 25, 3 * DAY) if _apart(one, [*off, *node.asleep])
    ]
    number = 0
    for turn, every in enumerate(TIMERS):
        minutes = random.randrange(24 * 60) if turn % 5 else 2 * 60 + 30
        moments = calendar(every, timedelta(minutes=minutes))
        number += _one_job(random, node, moments, f"{turn}.timer")
    assert number > 30_000


def _apart(one: Span, others: list[Span]) -> bool:
    return all(
        one.end + 2 * DAY < other.begin or one.begin > other.end + 2 * DAY for other in others
    )


def _one_job(random: Random, node: Node, moments: list[Usec], name: str) -> int:
    dead = [
        span
        for span in spans(random, 3, 3 * DAY)
        if _apart(span, [*node.off, *node.asleep, *node.unwatched])
    ]
    apart = slots.spacing(moments)
    assert apart is not None
    usual = random.choice((SECOND, MINUTE, apart[0] // 3))
    job = Job(UnitName(name), moments, random.random() < 0.5, usual, dead)
    live(job, node, random)
    found = watch(job, node, random)
    for at in moments:
        ends = [(one.state, one.reason) for one in found.get(at, [])]
        assert ends, f"{name}: {at} has no end; it was {job.truth[at]}"
        assert len(ends) == 1, f"{name}: {at}: {ends}, and it was {job.truth[at]}"
        state, reason = ends[0]
        expected = job.truth[at]
        if expected == ("missed", "timer-masked") and reason == "timer-stopped":
            reason = "timer-masked"  # seen only when it was active again
        assert (state, reason) == expected, f"{name}: {at}"
    strays = [at for at in found if at not in set(moments)]
    assert strays == []
    return len(moments)
