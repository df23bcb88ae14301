"""What a timer promised, and what came of it: each way in which a slot can end."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import slots
from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    BootId,
    RunId,
    Schedule,
    UnitName,
    Usec,
)
from outcomed.slots import Answer, Around, Clock, Promise, Slot, Span
from outcomed.timers import Timer

TIMER = UnitName("backup.timer")
SERVICE = UnitName("backup.service")
BOOT = BootId("b" * 32)
T0 = Usec(1_800_000_000 * SECOND)  # a slot
CLOCK = Clock(real=T0, mono=Usec(HOUR), boot=BOOT)
DAILY = Timer(unit=TIMER, triggers=SERVICE, calendar=("*-*-* 02:00:00",), accuracy=Usec(MINUTE))
LATEST = 11 * MINUTE  # AccuracySec=, and the ten minutes of the default


def at(usec: int) -> Usec:
    return Usec(T0 + usec)


def promise(timer: Timer = DAILY, **changes: Any) -> Promise:
    known = Promise(timer, at=T0, boot=BOOT, settled=at(-DAY), nearest=Usec(DAY))
    return replace(known, **changes)


def run(start: int, end: int | None = None, number: int = 1, **changes: Any) -> Answer:
    ident = RunId(f"{number:032x}")
    ended = None if end is None else at(end)
    return replace(Answer(ident, at(start), ended), **changes)


def by_timer(start: int, end: int | None = None, number: int = 1) -> Answer:
    return run(start, end, number, elapse=at(start - 1000), may_be=False)


def around(now: int, **changes: Any) -> Around:
    return replace(Around(now=at(now), moments=(T0,)), **changes)


def settle(promised: Promise, look: Around, schedule: Schedule | None = None) -> slots.Settled:
    return slots.settle(promised, schedule or Schedule(), look)


def ends(settled: slots.Settled) -> list[tuple[int, str, str]]:
    return [(slot.at - T0, slot.state, slot.reason) for slot in settled.slots]


def test_run_of_the_timer_answers_the_slot() -> None:
    settled = settle(promise(), around(MINUTE, runs=(by_timer(SECOND),)))
    assert settled.slots == (Slot(TIMER, T0, "ran", run=by_timer(SECOND).run),)
    assert settled.slots[0].is_plain
    assert settled.promise.at is None
    assert settled.promise.settled >= T0


def test_run_that_nobody_saw_begin_answers_the_slot_by_its_time() -> None:
    settled = settle(promise(), around(MINUTE, runs=(run(SECOND),)))
    assert settled.slots == (Slot(TIMER, T0, "ran", run=run(SECOND).run, is_inferred=True),)


def test_slot_is_known_by_its_timer_and_its_time() -> None:
    assert Slot(TIMER, T0, "missed").key == f"slot:backup.timer:{T0}"


def test_run_by_hand_answers_nothing() -> None:
    settled = settle(promise(), around(LATEST + 1, runs=(run(SECOND, may_be=False),)))
    assert ends(settled) == [(0, "missed", "no-run")]


def test_slot_is_awaited_until_its_deadline() -> None:
    settled = settle(promise(), around(LATEST))
    assert settled.slots == ()
    assert settled.promise.at == T0
    assert settled.promise.due == at(LATEST + 1)
    settled = settle(settled.promise, around(LATEST + 1))
    assert ends(settled) == [(0, "missed", "no-run")]
    assert settled.promise.missed == T0
    assert settled.promise.settled == T0


def test_slot_that_lies_ahead_is_nothing_to_settle() -> None:
    settled = settle(promise(), around(-1, moments=()))
    assert settled.slots == ()
    assert settled.promise == promise()


@pytest.mark.parametrize(
    ("schedule", "timer", "late"),
    [
        (Schedule(start_within=Usec(HOUR)), DAILY, HOUR + MINUTE),
        (Schedule(start_within=Usec(0)), replace(DAILY, accuracy=Usec(1)), 1),
    ],
)
def test_start_within_is_the_files_word(schedule: Schedule, timer: Timer, late: int) -> None:
    promised = promise(timer)
    assert ends(settle(promised, around(late), schedule)) == []
    assert ends(settle(promised, around(late + 1), schedule)) == [(0, "missed", "no-run")]


def test_random_delay_is_in_what_was_announced_and_not_in_the_calendar() -> None:
    timer = replace(DAILY, random_delay=Usec(HOUR))
    announced = promise(timer, at=at(30 * MINUTE))
    assert ends(settle(announced, around(30 * MINUTE + LATEST))) == []
    assert ends(settle(announced, around(30 * MINUTE + LATEST + 1))) == [
        (30 * MINUTE, "missed", "no-run")
    ]
    unknown = promise(timer, at=None)
    assert ends(settle(unknown, around(HOUR + LATEST))) == []
    assert ends(settle(unknown, around(HOUR + LATEST + 1))) == [(0, "missed", "no-run")]


def test_after_its_last_moment_a_slot_without_a_run_was_missed() -> None:
    delayed = promise(replace(DAILY, random_delay=Usec(HOUR)))
    last = slots.begin_by(T0, Schedule(), delayed)
    assert last == at(LATEST + HOUR)
    assert ends(settle(delayed, Around(now=Usec(last + 1), moments=(T0,)))) == [
        (0, "missed", "no-run")
    ]


def test_what_is_wrong_with_the_timer_is_the_reason() -> None:
    look = around(LATEST + 1, is_alive=False, reason="timer-masked", because="it is masked")
    (slot,) = settle(promise(), look).slots
    assert (slot.state, slot.reason, slot.because) == ("missed", "timer-masked", "it is masked")


def test_timer_that_is_active_again_was_not_at_its_slot() -> None:
    (slot,) = settle(promise(), around(LATEST + 1, alive_since=at(1))).slots
    assert (slot.reason, slot.because) == ("timer-stopped", "backup.timer was not active then")
    assert ends(settle(promise(), around(LATEST + 1, alive_since=T0))) == [(0, "missed", "no-run")]


def test_timer_that_was_never_alive_before_has_promised_nothing() -> None:
    look = around(LATEST + 1, alive_since=at(1))
    settled = settle(promise(is_unmade=True), look)
    assert settled.slots == ()
    assert settled.promise.settled == T0
    announced = slots.announce(promise(is_unmade=True), DAILY, CLOCK, Schedule(), T0)
    assert not announced.is_unmade


def test_run_after_the_deadline_is_late_and_the_slot_no_longer_missed() -> None:
    missed = settle(promise(), around(LATEST + 1)).promise
    settled = settle(missed, around(HOUR, runs=(by_timer(HOUR - 1),)))
    assert ends(settled) == [(0, "late", "late")]
    assert settled.promise.missed is None
    again = settle(settled.promise, around(HOUR, runs=(by_timer(HOUR - 1),)))
    assert again.slots == ()


def test_run_by_hand_after_the_deadline_leaves_it_missed() -> None:
    missed = settle(promise(), around(LATEST + 1)).promise
    assert settle(missed, around(HOUR, runs=(run(HOUR - 1),))).slots == ()


def test_run_that_waited_for_something_is_late() -> None:
    late = replace(by_timer(HOUR), elapse=at(SECOND))
    assert ends(settle(promise(), around(2 * HOUR, runs=(late,)))) == [(0, "late", "late")]


# --- several slots ---------------------------------------------------------------------------

HOURLY = replace(DAILY, calendar=("hourly",))
THREE = tuple(at(number * HOUR) for number in range(3))


def hourly(**changes: Any) -> Promise:
    changes = {"timer": HOURLY, "nearest": Usec(HOUR), "settled": at(-1)} | changes
    return replace(promise(), **changes)


def test_slots_during_a_long_run_are_one_run_at_its_end() -> None:
    runs = (by_timer(-SECOND, 2 * HOUR + 5, 1), by_timer(2 * HOUR + MINUTE, None, 2))
    settled = settle(hourly(), around(3 * HOUR - 1, moments=THREE, runs=runs))
    assert ends(settled) == [
        (0, "skipped", "still-running"),
        (HOUR, "skipped", "still-running"),
        (2 * HOUR, "ran", ""),
    ]
    assert settled.slots[0].run == runs[1].run


def test_slot_that_a_long_run_held_up_for_long_is_late() -> None:
    runs = (by_timer(-SECOND, HOUR - 5, 1), by_timer(HOUR - 1, None, 2))
    settled = settle(hourly(), around(HOUR - 1, runs=runs))
    assert ends(settled) == [(0, "late", "still-running")]


def test_slots_are_awaited_while_the_run_before_is_under_way() -> None:
    runs = (by_timer(-SECOND),)
    settled = settle(hourly(), around(2 * HOUR + 1, moments=THREE, runs=runs))
    assert settled.slots == ()
    assert (settled.promise.at, settled.promise.due) == (T0, None)


def test_slot_is_awaited_after_the_run_before_and_then_was_skipped() -> None:
    runs = (by_timer(-SECOND, HOUR // 2),)
    settled = settle(hourly(), around(HOUR // 2 + LATEST, runs=runs))
    assert settled.slots == ()
    assert settled.promise.due == at(HOUR // 2 + LATEST + 1)
    after = around(HOUR // 2 + LATEST + 1, runs=runs)
    assert ends(settle(settled.promise, after)) == [(0, "skipped", "still-running")]
    dead = replace(after, is_alive=False, reason="timer-masked")
    assert ends(settle(settled.promise, dead)) == [(0, "missed", "timer-masked")]


def test_every_slot_of_a_dead_timer_is_missed() -> None:
    look = around(3 * HOUR, moments=THREE, is_alive=False, reason="timer-stopped")
    assert ends(settle(hourly(), look)) == [
        (number * HOUR, "missed", "timer-stopped") for number in range(3)
    ]


def test_runs_that_nobody_saw_begin_answer_one_slot_each() -> None:
    runs = (run(SECOND, MINUTE, 1), run(30 * MINUTE, 31 * MINUTE, 2), run(HOUR + 1, HOUR + 9, 3))
    settled = settle(hourly(), around(HOUR + LATEST, moments=THREE[:2], runs=runs))
    assert [(slot.at - T0, slot.run) for slot in settled.slots] == [
        (0, runs[0].run),
        (HOUR, runs[2].run),
    ]


def test_timer_that_starts_what_it_had_not_promised() -> None:
    promised = promise(at=at(HOUR), settled=at(-1))
    settled = settle(promised, around(MINUTE, moments=(), runs=(by_timer(SECOND),)))
    assert ends(settled) == [(SECOND - 1000, "ran", "unscheduled")]
    assert settled.promise.at == at(HOUR)
    assert settle(settled.promise, around(MINUTE, moments=(), runs=(by_timer(SECOND),))).slots == ()


def test_run_that_began_since_the_calendar_was_asked_is_left_to_the_next_look() -> None:
    first, second = by_timer(SECOND, MINUTE, 1), by_timer(HOUR + SECOND, None, 2)
    settled = settle(hourly(), around(HOUR - 1, runs=(first, second)))
    assert ends(settled) == [(0, "ran", "")]
    again = settle(settled.promise, around(HOUR + MINUTE, moments=THREE[:2], runs=(first, second)))
    assert ends(again) == [(HOUR, "ran", "")]


def test_run_that_answered_the_slot_before_the_awaited_one_is_no_stray() -> None:
    runs = (replace(by_timer(SECOND, 2 * SECOND), elapse=at(5)),)
    settled = settle(hourly(), around(HOUR + MINUTE, moments=THREE[:2], runs=runs))
    assert ends(settled) == [(0, "ran", "")]
    assert settled.promise.at == at(HOUR)
    again = settle(settled.promise, around(HOUR + MINUTE, moments=THREE[:2], runs=runs))
    assert again.slots == ()


# --- nobody there ----------------------------------------------------------------------------

NIGHT = (Span(at(-HOUR), at(3 * HOUR)),)
PERSISTENT = replace(DAILY, is_persistent=True)


def test_host_was_off_and_the_timer_does_not_make_up_for_it() -> None:
    settled = settle(promise(), around(4 * HOUR, off=NIGHT))
    assert ends(settled) == [(0, "missed", "host-off")]
    assert settled.slots[0].because == "the host was off"


def test_host_was_off_and_the_timer_is_masked_since() -> None:
    look = around(4 * HOUR, off=NIGHT, is_alive=False, reason="timer-masked", because="X is masked")
    (slot,) = settle(promise(PERSISTENT), look).slots
    assert (slot.state, slot.because) == ("missed", "the host was off, and X is masked")


def test_host_was_off_and_the_run_is_made_up_for() -> None:
    promised = promise(PERSISTENT)
    settled = settle(promised, around(3 * HOUR + LATEST, off=NIGHT))
    assert settled.slots == ()
    assert settled.promise.due == at(3 * HOUR + LATEST + 1)
    for made_up in (by_timer(3 * HOUR + SECOND), run(3 * HOUR + SECOND)):
        settled = settle(promised, around(4 * HOUR, off=NIGHT, runs=(made_up,)))
        assert ends(settled) == [(0, "ran", "caught-up")]
    settled = settle(promised, around(3 * HOUR + LATEST + 1, off=NIGHT))
    assert ends(settled) == [(0, "missed", "host-off")]


def test_one_run_makes_up_for_all_slots_while_the_host_was_off() -> None:
    promised = hourly(timer=replace(HOURLY, is_persistent=True))
    made_up = by_timer(3 * HOUR - 1)
    off = (Span(at(-HOUR), at(3 * HOUR - 10)),)
    settled = settle(promised, around(3 * HOUR - 1, moments=THREE, off=off, runs=(made_up,)))
    assert ends(settled) == [
        (0, "skipped", "host-off"),
        (HOUR, "skipped", "host-off"),
        (2 * HOUR, "ran", "caught-up"),
    ]


def test_timer_that_counts_from_the_boot_owes_nothing_for_the_time_before() -> None:
    timer = Timer(unit=TIMER, triggers=SERVICE, monotonic=(("OnUnitActiveSec", Usec(HOUR)),))
    look = around(4 * HOUR, off=NIGHT, moments=None)
    assert ends(settle(promise(timer), look)) == [(0, "skipped", "host-off")]
    dead = replace(look, is_alive=False, reason="timer-elapsed", because="it is dead")
    assert ends(settle(promise(timer), dead)) == [(0, "missed", "host-off")]


@pytest.mark.parametrize(("away", "reason"), [("asleep", "suspended"), ("jumped", "clock-change")])
def test_timer_that_counts_anew_by_another_clock_owes_nothing(away: str, reason: str) -> None:
    """With a random delay, systemd has drawn another one when the clock was set."""
    monotonic = (("OnUnitActiveSec", Usec(HOUR)),)
    counting = promise(Timer(unit=TIMER, triggers=SERVICE, monotonic=monotonic))
    look = around(4 * HOUR, moments=None, **{away: NIGHT})
    assert ends(settle(counting, look)) == [(0, "skipped", reason)]
    both = promise(replace(DAILY, monotonic=monotonic))
    named = replace(look, moments=(T0,))
    assert ends(settle(both, replace(look, moments=()))) == [(0, "skipped", reason)]
    assert ends(settle(both, named)) == ends(settle(both, look)) == [(0, "missed", reason)]


def test_journal_that_lost_its_last_minutes_proves_nothing() -> None:
    look = around(4 * HOUR, off=NIGHT, lost=(Span(at(-MINUTE), at(MINUTE)),))
    assert ends(settle(promise(), look)) == [(0, "unknown", "journal")]
    assert ends(settle(promise(), replace(look, off=()))) == [(0, "unknown", "journal")]


def test_machine_slept_and_the_timer_elapses_when_it_wakes() -> None:
    look = around(3 * HOUR + LATEST, asleep=NIGHT)
    assert settle(promise(), look).slots == ()
    woken = replace(look, runs=(by_timer(3 * HOUR + SECOND),))
    assert ends(settle(promise(), woken)) == [(0, "ran", "resumed")]
    missed = settle(promise(), around(3 * HOUR + LATEST + 1, asleep=NIGHT))
    assert ends(missed) == [(0, "missed", "suspended")]


def test_clock_was_set_over_the_slot() -> None:
    look = around(3 * HOUR, jumped=NIGHT)
    assert settle(promise(), look).slots == ()
    started = replace(look, runs=(by_timer(3 * HOUR - 1),))
    assert ends(settle(promise(), started)) == [(0, "ran", "clock-change")]
    several = replace(started, moments=(T0, at(HOUR)))
    assert ends(settle(hourly(), several)) == [
        (0, "skipped", "clock-change"),
        (HOUR, "ran", "clock-change"),
    ]


def test_timer_that_is_dead_would_not_have_started_anything_without_the_clock_being_set() -> None:
    look = around(3 * HOUR, jumped=NIGHT, is_alive=False, reason="timer-stopped", because="X is")
    (slot,) = settle(promise(), look).slots
    said = (slot.state, slot.reason, slot.because)
    assert said == ("missed", "clock-change", "the clock was set over it, and X is")
    late = settle(promise(), around(3 * HOUR + LATEST + 1, jumped=NIGHT))
    assert ends(late) == [(0, "missed", "clock-change")], "and nothing came of it"


def test_run_that_was_under_way_when_the_clock_was_set_over_the_next_slot() -> None:
    look = around(3 * HOUR, jumped=NIGHT, runs=(run(-2 * HOUR, None),))
    assert settle(promise(), look).slots == ()
    ended = (run(-2 * HOUR, 3 * HOUR), by_timer(3 * HOUR + SECOND, number=2))
    settled = settle(promise(), around(4 * HOUR, jumped=NIGHT, runs=ended))
    assert ends(settled) == [(0, "ran", "clock-change")]


def test_timer_that_counts_from_the_boot_is_awaited_when_it_said_whatever_the_clock_shows() -> None:
    timer = Timer(unit=TIMER, triggers=SERVICE, next_monotonic=Usec(HOUR))
    promised = promise(timer)
    for now in (timer, replace(timer, next_monotonic=Usec(HOUR + 1000))):
        assert slots.is_postponed(promised, now, BOOT)
    for other in (None, replace(timer, next_monotonic=Usec(2 * HOUR)), DAILY):
        assert not slots.is_postponed(promised, other, BOOT)
    assert not slots.is_postponed(promised, replace(timer, next_monotonic=None), BOOT)
    assert not slots.is_postponed(promised, timer, BootId("c" * 32))
    assert not slots.is_postponed(promise(replace(timer, next_monotonic=None)), timer, BOOT)


def test_slots_come_again_when_the_clock_is_set_back() -> None:
    newest = RunId("7" * 32)
    again = slots.rewound(promise(settled=at(DAY)), at(-HOUR), newest)
    assert (again.at, again.settled, again.newest) == (T0, at(-HOUR), newest)
    assert ends(settle(again, around(LATEST + 1))) == [(0, "missed", "no-run")]


def test_job_without_a_timer_is_not_awaited_longer_because_the_clock_was_set_back() -> None:
    schedule = Schedule(every=Usec(DAY))
    promised = slots.every(schedule, SERVICE, at(DAY), None)
    again = slots.rewound(promised, T0, None)
    assert (again.at, again.due) == (at(DAY), slots.due(again, schedule))
    under_way = slots.rewound(replace(promised, due=None), T0, None)
    assert (under_way.at, under_way.due) == (at(DAY), None)
    assert slots.rewound(replace(promised, at=None), T0, None).at is None


def test_job_without_a_timer_has_as_much_time_left_when_the_clock_is_set_on() -> None:
    schedule = Schedule(every=Usec(DAY))
    promised = slots.every(schedule, SERVICE, T0, None)
    jumped = (Span(at(HOUR), at(HOUR + 2 * DAY)),)
    look = Around(now=at(HOUR + 2 * DAY), jumped=jumped)
    settled = settle(replace(promised, due=at(DAY)), look, schedule)
    assert (settled.slots, settled.promise.at) == ((), at(3 * DAY))
    assert settle(settled.promise, look, schedule).promise.at == at(3 * DAY)
    assert slots.put_off(at(4 * DAY), jumped) == at(4 * DAY)


def test_slot_that_the_timer_names_no_longer() -> None:
    look = around(LATEST + 1, moments=())
    assert ends(settle(promise(), look)) == [(0, "skipped", "schedule-changed")]
    assert ends(settle(promise(), replace(look, moments=None))) == [(0, "missed", "no-run")]


COUNTING = Timer(unit=TIMER, triggers=SERVICE, monotonic=(("OnUnitActiveSec", Usec(HOUR)),))
CHANGES = pytest.mark.parametrize("change", ["schedule-changed", "zone-change"])


@CHANGES
def test_what_is_named_only_before_or_only_since_a_change_is_owed_by_nobody(change: str) -> None:
    """At which of the two moments it was changed is not known."""
    look = around(2 * HOUR, moments=(at(-HOUR), at(HOUR)), change=change, before=(T0, at(HOUR)))
    assert ends(settle(promise(), look)) == [
        (-HOUR, "skipped", change),
        (0, "skipped", change),
        (HOUR, "missed", "no-run"),
    ]
    masked = replace(look, is_alive=False, reason="timer-masked")
    assert ends(settle(promise(), masked))[1] == (0, "missed", "timer-masked")


@CHANGES
def test_run_that_a_change_brings_is_not_late(change: str) -> None:
    """systemd makes up for a slot that the change has put into the past."""
    look = around(HOUR, moments=(at(-HOUR),), change=change, before=(T0,))
    made_up = by_timer(-HOUR // 2, -HOUR // 3)
    settled = settle(promise(), replace(look, runs=(made_up,)))
    assert ends(settled) == [(-HOUR, "ran", change), (0, "skipped", change)]
    late = replace(look, moments=(at(-HOUR),), before=(at(-HOUR), T0), runs=(made_up,))
    assert ends(settle(promise(), late))[0] == (-HOUR, "late", "late")
    beyond = by_timer(-2 * HOUR, -HOUR)
    settled = settle(promise(), replace(look, runs=(beyond,)))
    assert Slot(TIMER, Usec(at(-2 * HOUR) - 1000), "ran", change, beyond.run) in settled.slots


def test_monotonic_timer_counts_anew() -> None:
    look = around(LATEST + 1, moments=None)
    assert ends(settle(promise(COUNTING), look)) == [(0, "skipped", "schedule-changed")]


# --- random delays ---------------------------------------------------------------------------

RANDOM = replace(DAILY, random_delay=Usec(6 * HOUR), accuracy=Usec(1))


def rolled(**changes: Any) -> Promise:
    """The slot, for which two hours of random delay were announced."""
    return promise(RANDOM, at=at(2 * HOUR), **changes)


@pytest.mark.parametrize(
    ("coming", "last", "since", "put_off"),
    [
        (5 * HOUR, -DAY, HOUR, True),
        (5 * HOUR, None, -HOUR, True),  # it never elapsed: it counts from when it was started
        (5 * HOUR, None, HOUR, False),  # the next day's
        (5 * HOUR, HOUR, -HOUR, False),  # it has answered it
        (DAY, -DAY, -HOUR, False),
        (2 * HOUR, -DAY, -HOUR, False),  # it elapses now
        (None, -DAY, -HOUR, False),
    ],
)
def test_slot_that_comes_after_another_random_delay(
    coming: int | None, last: int | None, since: int, put_off: bool
) -> None:
    known = {"coming": coming, "last": last}
    moments = {key: None if usec is None else at(usec) for key, usec in known.items()}
    look = around(3 * HOUR, alive_since=at(since), **moments)
    assert slots.is_put_off(rolled(), look) is put_off
    assert not slots.is_put_off(promise(), look)
    assert not slots.is_put_off(rolled(), replace(look, moments=None))


def test_random_delay_counts_from_a_boot() -> None:
    look = around(3 * HOUR, coming=at(7 * HOUR), last=at(-DAY))
    assert not slots.is_put_off(rolled(), look)
    booted = replace(look, off=(Span(at(HOUR), at(HOUR + MINUTE)),))
    assert slots.is_put_off(rolled(), booted)
    assert slots.is_put_off(promise(RANDOM, is_nominal=True), booted)
    came = replace(booted, now=at(8 * HOUR), runs=(by_timer(7 * HOUR, 8 * HOUR),))
    for promised in (rolled(), promise(RANDOM, is_nominal=True)):
        assert [end[1:] for end in ends(settle(promised, came))] == [("ran", "")]
        assert ends(settle(promised, replace(came, off=())))[0][1] == "late"
    # Where the host was off at the very slot, the run that comes makes up for it.
    booted = replace(look, off=(Span(at(HOUR), at(2 * HOUR + MINUTE)),))
    assert not slots.is_put_off(rolled(), booted)
    lasting = replace(rolled(), timer=replace(RANDOM, is_persistent=True))
    settled = settle(lasting, booted)
    assert (settled.slots, settled.promise.at) == ((), at(2 * HOUR))
    assert settled.promise.due == at(7 * HOUR + 10 * MINUTE + 2)
    made_up = by_timer(7 * HOUR, 8 * HOUR)
    after = replace(booted, now=at(9 * HOUR), coming=at(DAY), last=at(7 * HOUR), runs=(made_up,))
    assert ends(settle(settled.promise, after)) == [(2 * HOUR, "ran", "caught-up")]
    never = replace(booted, coming=at(DAY), last=at(7 * HOUR))
    assert ends(settle(lasting, never)) == [(2 * HOUR, "missed", "host-off")]
    assert ends(settle(rolled(), booted)) == [(2 * HOUR, "missed", "host-off")]


def test_what_a_timer_forgets_that_is_started_anew_is_awaited_all_the_same() -> None:
    later = replace(RANDOM, next_realtime=at(DAY))
    promised, booted = rolled(), replace(CLOCK, boot=BootId("c" * 32))
    assert slots.may_be_forgotten(promised, later, booted)
    assert slots.may_be_forgotten(promised, later, CLOCK)
    assert slots.may_be_forgotten(promised, replace(later, last=at(-DAY)), booted)
    for timer, clock in (
        (replace(later, last=at(-DAY)), CLOCK),  # it counts from there, and has not forgotten
        (replace(later, next_realtime=at(2 * HOUR)), booted),
        (replace(later, next_realtime=None), booted),
        (replace(later, random_delay=Usec(0)), booted),
        (replace(later, calendar=("hourly",)), booted),
    ):
        assert not slots.may_be_forgotten(promised, timer, clock)
    assert not slots.may_be_forgotten(replace(promised, is_nominal=True), later, booted)
    assert not slots.may_be_forgotten(replace(promised, at=None), later, booted)


def test_timer_that_is_started_anew_in_its_random_delay_forgets_the_slot() -> None:
    settled = settle(rolled(), around(3 * HOUR, alive_since=at(HOUR)))
    (slot,) = settled.slots
    assert (slot.state, slot.reason) == ("missed", "no-run")
    assert slot.because == "backup.timer was started anew before its random delay was over"
    off = (Span(at(HOUR - MINUTE), at(HOUR)),)
    (slot,) = settle(rolled(), around(3 * HOUR, alive_since=at(HOUR), off=off)).slots
    assert (slot.state, slot.reason) == ("missed", "host-off")
    assert slot.because == "the host was started anew before its random delay was over"


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("start", [HOUR // 2, 2 * HOUR, 5 * HOUR])
def test_run_after_another_random_delay_than_was_announced_is_in_time(
    start: int, seen: bool
) -> None:
    """Nobody looked between the two."""
    one = (by_timer if seen else run)(start + 1000, start + MINUTE)
    (slot,) = settle(rolled(), around(7 * HOUR, runs=(one,))).slots
    assert (slot.state, slot.reason, slot.run, slot.is_inferred) == ("ran", "", one.run, not seen)


@pytest.mark.parametrize(
    ("one", "state", "reason"),
    [
        (replace(run(3 * HOUR, 4 * HOUR, may_be=False), elapse=at(2 * HOUR)), "late", "late"),
        (by_timer(8 * HOUR, 9 * HOUR), "late", "late"),
        (run(7 * HOUR, 8 * HOUR), "missed", "no-run"),
        (run(HOUR, HOUR, may_be=False), "missed", "no-run"),
    ],
)
def test_what_no_random_delay_explains(one: Answer, state: str, reason: str) -> None:
    settled = settle(rolled(), around(9 * HOUR, runs=(one,)))
    assert ends(settled) == [(2 * HOUR, state, reason)]


# --- promises --------------------------------------------------------------------------------


def test_a_timer_announces_the_earlier_of_its_elapses() -> None:
    timer = replace(DAILY, next_realtime=at(DAY), next_monotonic=Usec(2 * HOUR))
    announced = slots.announce(None, timer, CLOCK, Schedule(), Usec(5))
    assert (announced.at, announced.settled, announced.boot) == (at(HOUR), 5, BOOT)
    assert announced.due == at(HOUR + LATEST + 1)
    later = replace(CLOCK, real=at(7))
    assert slots.announce(announced, timer, later, Schedule(), T0) == announced
    assert slots.announce(announced, DAILY, CLOCK, Schedule(), T0).at is None
    assert slots.announce(announced, DAILY, CLOCK, Schedule(), T0).due is None


def test_another_calendar_is_measured_anew() -> None:
    announced = slots.announce(promise(), HOURLY, CLOCK, Schedule(), T0)
    assert announced.nearest is None


def test_what_another_calendar_or_zone_names_of_the_time_before_was_promised_by_nobody() -> None:
    here, there = replace(CLOCK, zone="/etc/here"), replace(CLOCK, zone="/etc/there")
    announced = slots.announce(promise(), DAILY, here, Schedule(), T0)
    assert (announced.settled, slots.change(announced, DAILY, here)) == (at(-DAY), "")
    for timer, clock, change in (
        (DAILY, there, "zone-change"),
        (HOURLY, here, "schedule-changed"),
        (COUNTING, here, "schedule-changed"),
    ):
        assert slots.change(announced, timer, clock) == change
        later = replace(clock, real=at(HOUR))
        anew = slots.announce(announced, timer, later, Schedule(), T0)
        assert (anew.settled, slots.change(anew, timer, clock)) == (at(HOUR), "")
    assert slots.change(replace(announced, zone=""), DAILY, there) == "", "of an older version"
    assert slots.change(announced, replace(DAILY, active="inactive", sub="dead"), there) == ""
    assert slots.change(announced, None, there) == ""
    counted = slots.announce(None, COUNTING, here, Schedule(), T0)
    assert slots.change(counted, COUNTING, there) == "", "it counts, wherever that is"


def test_what_is_farther_than_the_next_moments_that_were_asked_for_is_farthest() -> None:
    """Mon..Fri 9..17:00: on Friday evening, Monday morning is the longest of all."""
    weekend = replace(HOURLY, next_realtime=at(64 * HOUR))
    known = promise(HOURLY, farthest=Usec(16 * HOUR))
    announced = slots.announce(known, weekend, CLOCK, Schedule(), T0)
    assert announced.farthest == 64 * HOUR
    nearer = replace(HOURLY, next_realtime=at(HOUR))
    assert slots.announce(announced, nearer, CLOCK, Schedule(), T0).farthest == 64 * HOUR
    assert slots.announce(promise(HOURLY), weekend, CLOCK, Schedule(), T0).farthest is None
    over = replace(HOURLY, next_realtime=None)
    assert slots.announce(known, over, CLOCK, Schedule(), T0).farthest == 16 * HOUR


def test_a_dead_timer_is_expected_to_do_what_it_did() -> None:
    expected = slots.expect(promise(), at(DAY), Schedule())
    assert (expected.at, expected.is_nominal) == (at(DAY), True)
    assert slots.due(expected, Schedule()) == at(DAY + LATEST + 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"load": "masked"}, "timer-masked"),
        ({"load": "not-found"}, "timer-gone"),
        ({"load": "bad-setting"}, "timer-load-error"),
        ({"active": "failed", "result": "resources"}, "timer-failed"),
        ({"sub": "elapsed"}, "timer-elapsed"),
        ({"active": "inactive", "file": "disabled"}, "timer-disabled"),
        ({"active": "inactive", "file": "enabled"}, "timer-stopped"),
    ],
)
def test_what_is_wrong_with_a_timer_has_a_word(changes: dict[str, str], reason: str) -> None:
    found, because = slots.timer_fault(TIMER, replace(DAILY, **changes))
    assert found == reason
    assert bool(because) == bool(reason)


def test_what_is_wrong_with_a_service_has_a_word() -> None:
    assert slots.service_fault(SERVICE, "loaded") == ("", "")
    assert slots.service_fault(SERVICE, "masked") == ("service-masked", f"{SERVICE} is masked")
    assert slots.timer_fault(TIMER, None)[0] == "timer-gone"


@dataclass
class Case:
    active: str
    sub: str
    alive: bool
    over: bool


@pytest.mark.parametrize(
    "case",
    [
        Case("active", "waiting", alive=True, over=False),
        Case("active", "running", alive=True, over=False),
        Case("active", "elapsed", alive=False, over=True),
        Case("inactive", "dead", alive=False, over=False),
    ],
)
def test_alive_and_over(case: Case) -> None:
    timer = replace(DAILY, active=case.active, sub=case.sub)
    assert slots.is_alive(timer) is case.alive
    assert slots.is_over(timer) is case.over
    repeating = replace(timer, monotonic=(("OnUnitActiveSec", Usec(HOUR)),))
    assert not slots.is_over(repeating)


def test_gone() -> None:
    assert slots.is_gone(None)
    assert slots.is_gone(replace(DAILY, load="not-found"))
    assert not slots.is_gone(DAILY)
    assert not slots.is_alive(None)
    assert not slots.is_over(None)


def test_spacing() -> None:
    assert slots.spacing(()) is None
    assert slots.spacing((T0,)) is None
    assert slots.spacing((T0, at(5), at(7))) == (2, 5)


def test_answer_in_time() -> None:
    assert slots.answers_in_time(promise(), at(LATEST), Schedule())
    assert not slots.answers_in_time(promise(), at(LATEST + 1), Schedule())
    assert not slots.answers_in_time(promise(), at(-1), Schedule())
    assert not slots.answers_in_time(promise(at=None), T0, Schedule())
    often = promise(nearest=Usec(4 * SECOND))
    assert slots.answers_in_time(often, at(4 * SECOND - 1), Schedule())
    assert not slots.answers_in_time(often, at(4 * SECOND), Schedule())
    assert slots.answers_in_time(promise(nearest=None), at(LATEST), Schedule())


# --- tolerances ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nearest", "span"),
    [(None, 10 * MINUTE), (DAY, 10 * MINUTE), (5 * MINUTE, 5 * MINUTE), (SECOND, MINUTE)],
)
def test_start_within_by_default(nearest: int | None, span: int) -> None:
    promised = promise(nearest=nearest)
    assert slots.start_within(Schedule(), promised).span == span
    assert slots.start_within(Schedule(start_within=Usec(7)), promised).span == 7


def test_finish_within_by_default() -> None:
    def within(schedule: Schedule, promises: list[Promise], durations: list[int]) -> int | None:
        return slots.finish_within(schedule, promises, [Usec(one) for one in durations]).span

    weekly = promise(farthest=Usec(7 * DAY))
    assert within(Schedule(finish_within=Usec(9)), [], []) == 9
    assert within(Schedule(), [], [1, 1, 1]) is None
    assert within(Schedule(), [promise()], [1, 1]) == DAY
    assert within(Schedule(), [weekly], []) == 7 * DAY
    assert within(Schedule(), [weekly], [1, MINUTE, 2]) == HOUR + 3 * MINUTE
    assert within(Schedule(every=Usec(2 * DAY)), [], []) == 2 * DAY


def test_verified_within_by_default() -> None:
    daily = promise(farthest=Usec(DAY))
    finish = slots.finish_within(Schedule(), [daily], [])

    def within(schedule: Schedule, promises: list[Promise], *, has_rule: bool) -> int | None:
        return slots.verified_within(schedule, promises, finish, has_rule=has_rule).span

    assert within(Schedule(verified_within=Usec(3)), [], has_rule=False) == 3
    assert within(Schedule(), [daily], has_rule=False) is None
    assert within(Schedule(), [], has_rule=True) is None
    assert within(Schedule(), [daily], has_rule=True) == 3 * DAY + 10 * MINUTE


# --- every -----------------------------------------------------------------------------------

EVERY = Schedule(every=Usec(DAY))


def test_every() -> None:
    first = slots.every(EVERY, SERVICE, T0, None)
    assert (first.at, first.due) == (at(DAY), at(DAY + 10 * MINUTE + 1))
    assert slots.every(EVERY, SERVICE, at(5), first) == first
    assert slots.every(Schedule(every=Usec(HOUR)), SERVICE, T0, first).at == at(HOUR)

    assert settle(first, around(DAY + 10 * MINUTE), EVERY).slots == ()
    ran = settle(first, around(DAY, runs=(run(HOUR, HOUR + 1),)), EVERY)
    assert ran.slots == ()
    assert ran.promise.at == at(HOUR + DAY)

    missed = settle(first, around(DAY + 10 * MINUTE + 1), EVERY)
    assert ends(missed) == [(DAY, "missed", "every")]
    assert missed.promise.at == at(2 * DAY)
    late = settle(missed.promise, around(2 * DAY, runs=(run(2 * DAY - 1),)), EVERY)
    assert ends(late) == [(DAY, "late", "late")]
    assert (late.promise.missed, late.promise.at) == (None, at(3 * DAY - 1))

    running = replace(first, settled=at(HOUR))
    waits = settle(running, around(2 * DAY, runs=(run(HOUR),)), EVERY)
    assert (waits.slots, waits.promise.due) == ((), None)
    assert settle(waits.promise, around(2 * DAY), EVERY).slots == ()

    off = around(DAY + HOUR, off=(Span(T0, at(1)), Span(at(DAY - 1), at(DAY + HOUR))))
    assert settle(first, off, EVERY).promise.due == at(DAY + HOUR + 10 * MINUTE + 2)
    faulty = around(DAY + HOUR, reason="service-masked", because="it is masked")
    assert ends(settle(first, faulty, EVERY)) == [(DAY, "missed", "service-masked")]


# --- properties ------------------------------------------------------------------------------

MOMENTS = st.lists(st.integers(0, 50).map(lambda n: at(n * HOUR)), unique=True, max_size=12)
SPANS = st.lists(
    st.tuples(st.integers(-5, 50), st.integers(0, 9)).map(
        lambda pair: Span(at(pair[0] * HOUR - 7), at((pair[0] + pair[1]) * HOUR))
    ),
    max_size=3,
).map(tuple)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Answer, ...]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        start = draw(st.integers(-60, 60 * 50)) * MINUTE
        length = draw(st.one_of(st.none(), st.integers(0, 600).map(lambda n: n * MINUTE)))
        kind = draw(st.sampled_from(["timer", "hand", "unknown"]))
        end = None if length is None else start + length
        found.append(
            by_timer(start, end, number)
            if kind == "timer"
            else run(start, end, number, may_be=kind == "unknown")
        )
    return tuple(found)


@settings(deadline=None)  # of a busy machine
@given(
    MOMENTS, answers(), SPANS, SPANS, SPANS, SPANS, st.integers(0, 60), st.booleans(), st.booleans()
)
def test_every_slot_ends_once_and_only_once(
    moments: list[Usec],
    runs: tuple[Answer, ...],
    off: tuple[Span, ...],
    asleep: tuple[Span, ...],
    jumped: tuple[Span, ...],
    lost: tuple[Span, ...],
    now: int,
    is_persistent: bool,
    is_alive: bool,
) -> None:
    """However often it is looked at on the way, and the last look changes nothing more."""
    timer = replace(HOURLY, is_persistent=is_persistent)
    promised = promise(timer, at=None, nearest=Usec(HOUR), settled=at(-1))
    seen: dict[Usec, str] = {}
    for hour in sorted({now // 2, now, 200}):
        look = Around(
            now=at(hour * HOUR),
            runs=runs,
            moments=tuple(
                sorted(one for one in moments if promised.settled < one <= at(hour * HOUR))
            ),
            off=off,
            asleep=asleep,
            jumped=jumped,
            lost=lost,
            is_alive=is_alive,
        )
        settled = settle(promised, look)
        for slot in settled.slots:
            if slot.reason == "unscheduled":
                continue
            assert slot.at in moments
            assert seen.get(slot.at) in (None, "missed" if slot.state == "late" else None)
            seen[slot.at] = slot.state
        again = settle(settled.promise, look)
        assert [one for one in again.slots if one.reason != "unscheduled"] == []
        promised = settled.promise
    if all(one.ended is not None for one in runs):
        assert set(seen) == set(moments)
