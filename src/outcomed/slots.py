"""Decide how each slot ended: what a timer promised, and what came of it. Pure.

systemd alone knows when a timer elapses. What it announced is kept as a `Promise`; a slot is
settled once, when a run has answered it or its start deadline has passed. Which moments lay in a
time that nobody watched is asked of systemd too (`calendar`), and handed in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from msgspec.structs import replace

from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    BootId,
    Record,
    RunId,
    Schedule,
    UnitName,
    Usec,
)
from outcomed.quantities import say_duration
from outcomed.timers import Timer

START_WITHIN = Usec(10 * MINUTE)
# A timer that knows neither how long the job takes nor how often it comes.
FINISH_WITHIN = Usec(DAY)
LEARNT = 3  # good runs
GOOD_RUNS = 14  # the newest ones, whose durations say how long a run may take
SAME = SECOND // 10
BY_HAND = UnitName("")  # the "timer" of a job that says `every:`

State = Literal["ran", "late", "skipped", "missed", "unknown"]


class Span(Record, frozen=True):
    """A time of which something is known, its end not included."""

    begin: Usec
    end: Usec

    def __contains__(self, at: Usec) -> bool:
        return self.begin <= at < self.end


class Clock(Record, frozen=True):
    """One moment by both clocks of one boot."""

    real: Usec
    mono: Usec
    boot: BootId
    zone: str = ""


class Promise(Record, frozen=True):
    """What one timer of one job promised last, and how far its slots are settled."""

    timer: Timer  # as it was when it last promised anything
    at: Usec | None = None  # the next slot; None: it promises nothing
    is_nominal: bool = False  # `at` is without its random delay
    is_unmade: bool = False  # nobody has seen the timer alive: only the job's file expects it
    due: Usec | None = None  # when to look whether it was answered
    boot: BootId = BootId("")
    settled: Usec = Usec(0)  # every slot until here is on record
    missed: Usec | None = None  # the last one, if no run has answered it yet
    nearest: Usec | None = None  # from one slot to the next, as far as systemd was asked
    farthest: Usec | None = None
    newest: RunId | None = None  # of the runs before the clock was set back: they answer no more
    zone: str = ""  # the local one, as a file; empty: nobody knows

    @property
    def unit(self) -> UnitName:
        return self.timer.unit


class Answer(Record, frozen=True):
    """A run, as far as it may have answered a slot."""

    run: RunId
    started: Usec
    ended: Usec | None = None  # None: it runs
    elapse: Usec | None = None  # when this timer started it, where that was witnessed
    may_be: bool = True  # nobody saw what started it


class Around(Record, frozen=True):
    """What is known of the time since a promise was settled."""

    now: Usec
    runs: tuple[Answer, ...] = ()  # also those that something else started
    moments: tuple[Usec, ...] | None = None  # the calendar's since, in order; None: not asked
    change: str = ""  # why it may have named others when it was promised: a slot's reason
    before: tuple[Usec, ...] | None = None  # these, where it may
    off: tuple[Span, ...] = ()
    asleep: tuple[Span, ...] = ()
    jumped: tuple[Span, ...] = ()  # what the clock was set over
    lost: tuple[Span, ...] = ()  # what the journal has no trace of
    is_alive: bool = True  # the timer waits for its next slot
    coming: Usec | None = None  # when it elapses next
    last: Usec | None = None  # when it elapsed last, as it knows it
    alive_since: Usec = Usec(0)
    reason: str = ""  # what is wrong with timer or service now
    because: str = ""  # the same in words


class Slot(Record, frozen=True):
    """One moment at which a timer promised a run, and how it ended."""

    timer: UnitName
    at: Usec
    state: State
    reason: str = ""
    run: RunId | None = None  # that answered it, or that did instead
    is_inferred: bool = False  # nobody saw what started the run
    because: str = ""

    @property
    def key(self) -> str:
        """What stands for a run's key where there was none."""
        return f"slot:{self.timer}:{self.at}"

    @property
    def is_plain(self) -> bool:
        """Its run says everything about it."""
        return self.state == "ran" and not self.reason


class Settled(Record, frozen=True):
    """What a look at a promise brought."""

    slots: tuple[Slot, ...]
    promise: Promise


# --- tolerances ------------------------------------------------------------------------------


class Deadline(Record, frozen=True):
    """How long something may take, and where that comes from."""

    span: Usec | None
    origin: str


def start_within(schedule: Schedule, promise: Promise) -> Deadline:
    """Of a slot, on top of what the timer allows itself."""
    if schedule.start_within is not None:
        return Deadline(schedule.start_within, "start_within")
    nearest = promise.nearest or repeats(promise.timer)
    if nearest is None or nearest >= START_WITHIN:
        return Deadline(START_WITHIN, "default")
    return Deadline(Usec(max(MINUTE, nearest)), "default, as far as from one slot to the next")


def finish_within(
    schedule: Schedule, promises: Sequence[Promise], durations: Sequence[Usec]
) -> Deadline:
    """Of a start. `durations` are those of the last good runs."""
    if schedule.finish_within is not None:
        return Deadline(schedule.finish_within, "finish_within")
    if not promises and schedule.every is None:
        return Deadline(None, "no timer, and no finish_within")
    if len(durations) >= LEARNT:
        longest = max(durations)
        return Deadline(
            Usec(3 * longest + HOUR),
            f"default: three times the longest of the last {len(durations)} good runs "
            f"({say_duration(longest)}), and an hour",
        )
    span = max(FINISH_WITHIN, farthest(schedule, promises) or 0)
    return Deadline(Usec(span), f"default, until {LEARNT} good runs have shown how long it takes")


def verified_within(
    schedule: Schedule, promises: Sequence[Promise], finish: Deadline, *, has_rule: bool
) -> Deadline:
    """Of the last good verdict."""
    if schedule.verified_within is not None:
        return Deadline(schedule.verified_within, "verified_within")
    if not has_rule:
        return Deadline(None, "no rule looks at the outcome")
    apart = farthest(schedule, promises)
    if apart is None or finish.span is None:
        return Deadline(None, "nothing says how often it is to run")
    start = max(start_within(schedule, promise).span or 0 for promise in promises)
    return Deadline(
        Usec(2 * apart + start + finish.span),
        f"default: twice {say_duration(apart)}, the longest time between two slots, and what "
        "starting and finishing may take",
    )


def farthest(schedule: Schedule, promises: Sequence[Promise]) -> Usec | None:
    """The longest time from one slot to the next."""
    if schedule.every is not None:
        return schedule.every
    spans = [one.farthest or repeats(one.timer) for one in promises]
    known = [span for span in spans if span is not None]
    return max(known, default=None)


def spacing(moments: Sequence[Usec]) -> tuple[Usec, Usec] | None:
    """The shortest and the longest time between two of these."""
    apart = [Usec(after - before) for before, after in pairwise(moments)]
    return (min(apart), max(apart)) if apart else None


def repeats(timer: Timer) -> Usec | None:
    """How often it elapses by the job's own runs (OnUnitActiveSec=, OnUnitInactiveSec=)."""
    spans = [span for base, span in timer.monotonic if base.startswith("OnUnit")]
    return min(spans, default=None)


def _slack(schedule: Schedule, promise: Promise, *, nominal: bool) -> Usec:
    """How long after a slot a run may begin."""
    timer = promise.timer
    random = timer.random_delay if nominal else 0
    return Usec((start_within(schedule, promise).span or 0) + timer.accuracy + random)


# --- promises --------------------------------------------------------------------------------


def announce(
    old: Promise | None, timer: Timer, clock: Clock, schedule: Schedule, settled: Usec
) -> Promise:
    """What a timer that is alive promises now. A new one has no past before `settled`."""
    promise = old or Promise(timer=timer, settled=settled)
    if promise.timer.calendar != timer.calendar or promise.timer.monotonic != timer.monotonic:
        promise = replace(promise, nearest=None, farthest=None)
    if change(promise, timer, clock):
        # What it names now of the time before was no slot.
        promise = replace(promise, settled=max(promise.settled, clock.real))
    at = next_elapse(timer, clock)
    known = promise.at
    if at is not None and known is not None and abs(at - known) < SAME:
        at = known  # the difference of two clocks, read one after the other
    if promise.farthest is not None and timer.calendar and at is not None:
        # Of the calendar only its next moments were asked for: the week's end may lie after them.
        promise = replace(promise, farthest=max(promise.farthest, Usec(at - clock.real)))
    promise = replace(promise, timer=timer, at=at, boot=clock.boot, zone=clock.zone)
    promise = replace(promise, is_nominal=False, is_unmade=False)
    return replace(promise, due=due(promise, schedule))


def change(promise: Promise, timer: Timer | None, clock: Clock) -> str:
    """Why the calendar may name other moments now than when this was promised: a slot's reason, or
    nothing."""
    if timer is None or not is_alive(timer):
        return ""  # it names none
    if timer.calendar != promise.timer.calendar:
        return "schedule-changed"
    is_elsewhere = promise.zone not in ("", clock.zone)
    return "zone-change" if is_elsewhere and timer.calendar else ""


def expect(promise: Promise, at: Usec | None, schedule: Schedule) -> Promise:
    """A timer that is dead promises nothing more: what it would have promised is expected."""
    promise = replace(promise, at=at, is_nominal=True)
    return replace(promise, due=due(promise, schedule))


def due(promise: Promise, schedule: Schedule) -> Usec | None:
    """When to look whether its slot was answered."""
    if promise.at is None:
        return None
    return Usec(promise.at + _slack(schedule, promise, nominal=promise.is_nominal) + 1)


def begin_by(at: Usec, schedule: Schedule, promise: Promise) -> Usec:
    """When a slot without a run is missed at the latest, unless the host was away."""
    return Usec(at + _slack(schedule, promise, nominal=True))


def is_postponed(promise: Promise, timer: Timer | None, boot: BootId) -> bool:
    """Whether it is awaited still, at the moment that was announced, by the clock that counts from
    the boot: it is the other one that was set, or the machine slept."""
    then = promise.timer
    if timer is None or promise.boot != boot or then.calendar or timer.calendar:
        return False
    if then.next_monotonic is None or timer.next_monotonic is None:
        return False
    return abs(timer.next_monotonic - then.next_monotonic) < SAME


def is_put_off(promise: Promise, around: Around) -> bool:
    """Whether its slot is still to come, after another random delay than was announced: systemd
    chooses one each time that the timer is started, or systemd reads its files again."""
    nominal, at = _nominal(promise, around), promise.at
    if at is None or nominal is None or _within(at, around.off):
        return False  # a slot at which the host was off is made up for, which is another thing
    since = around.last or around.alive_since  # what it counts from
    return since <= nominal and _is_coming(nominal, promise, around)


def may_be_forgotten(promise: Promise, timer: Timer, clock: Clock) -> bool:
    """Whether a later slot that is announced may be the next one, and this one be lost: within its
    random delay the timer was started anew, and has nothing to count from but that."""
    at, coming = promise.at, next_elapse(timer, clock)
    if at is None or coming is None or promise.is_nominal or change(promise, timer, clock):
        return False
    is_new = promise.boot != clock.boot or timer.last is None
    return bool(timer.random_delay) and is_new and coming > at + SAME


def rewound(promise: Promise, now: Usec, newest: RunId | None) -> Promise:
    """The clock was set back: slots that are on record come again, as they do for systemd."""
    promise = replace(promise, settled=now, newest=newest)
    if promise.unit != BY_HAND or promise.at is None:
        return promise
    at = Usec(min(promise.at, now + (promise.nearest or 0)))
    due = None if promise.due is None else Usec(at + promise.due - promise.at)
    return replace(promise, at=at, due=due)


def put_off(at: Usec, jumped: Iterable[Span]) -> Usec:
    """What was to happen at a moment that the clock was set over has as much time as it had."""
    for span in jumped:
        if at in span:
            at = Usec(span.end + at - span.begin)
    return at


def next_elapse(timer: Timer, clock: Clock) -> Usec | None:
    """The earlier of both clocks' next elapses, by the calendar's."""
    moments = []
    if timer.next_realtime is not None:
        moments.append(timer.next_realtime)
    if timer.next_monotonic is not None:
        moments.append(Usec(clock.real + timer.next_monotonic - clock.mono))
    return min(moments, default=None)


def is_alive(timer: Timer | None) -> bool:
    """Whether it waits, or its service runs, after which it will."""
    return timer is not None and timer.active == "active" and timer.sub in ("waiting", "running")


def is_unsettled(timer: Timer) -> bool:
    """It waits for nothing that systemd could name, as for a moment in the middle of a reload."""
    elapses = (timer.next_realtime, timer.next_monotonic)
    return (
        timer.sub == "waiting"
        and elapses == (None, None)
        and not (timer.on_clock_change or timer.on_timezone_change)
    )


def is_gone(timer: Timer | None) -> bool:
    return timer is None or timer.load == "not-found"


def is_over(timer: Timer | None) -> bool:
    """It has nothing more to promise, and never said that it would: its last date has passed."""
    return (
        timer is not None
        and timer.active == "active"
        and timer.sub == "elapsed"
        and repeats(timer) is None
    )


_FILE_WORDS = {
    "disabled": ("timer-disabled", "is disabled and does not run"),
    "masked": ("timer-masked", "is masked"),
    "masked-runtime": ("timer-masked", "is masked"),
}
_LOAD_WORDS = {
    "masked": ("timer-masked", "is masked"),
    "not-found": ("timer-gone", "is gone"),
    "bad-setting": ("timer-load-error", "has a setting that systemd refuses"),
    "error": ("timer-load-error", "could not be loaded"),
}


def timer_fault(name: UnitName, timer: Timer | None) -> tuple[str, str]:
    """Why a timer will not elapse: a word and a sentence; empty if it will."""
    if timer is None:
        return "timer-gone", f"{name} is gone"
    if timer.load in _LOAD_WORDS:
        reason, words = _LOAD_WORDS[timer.load]
    elif timer.active == "failed":
        reason, words = "timer-failed", f"has failed ({timer.result})"
    elif timer.active == "active" and timer.sub == "elapsed":
        reason, words = "timer-elapsed", "is active, but will not elapse again"
    elif timer.active == "active":
        return "", ""
    else:
        reason, words = _FILE_WORDS.get(timer.file, ("timer-stopped", "was stopped"))
    return reason, f"{name} {words}"


_SERVICE_WORDS = {
    "masked": ("service-masked", "is masked"),
    "not-found": ("service-gone", "is gone"),
    "bad-setting": ("service-load-error", "has a setting that systemd refuses"),
    "error": ("service-load-error", "could not be loaded"),
}


def service_fault(name: UnitName, load: str) -> tuple[str, str]:
    """Why a service cannot be started, from its LoadState=; empty if it can."""
    reason, words = _SERVICE_WORDS.get(load, ("", ""))
    return reason, f"{name} {words}" if words else ""


# --- settling --------------------------------------------------------------------------------


def answers_in_time(promise: Promise, elapse: Usec, schedule: Schedule) -> bool:
    """This elapse is of the slot that was announced, and nothing lies between."""
    if promise.at is None:
        return False
    slack = _slack(schedule, promise, nominal=promise.is_nominal)
    if promise.nearest is not None:
        slack = Usec(min(slack, promise.nearest - 1))
    return promise.at <= elapse <= promise.at + slack


def settle(promise: Promise, schedule: Schedule, around: Around) -> Settled:
    """Settle every slot until now that can be; what is left is what is waited for."""
    if promise.unit == BY_HAND:
        return _settle_every(promise, schedule, around)
    # What has begun since the calendar was asked may answer a slot that it did not name.
    around = replace(around, runs=tuple(run for run in around.runs if run.started <= around.now))
    moments = _moments(promise, around)
    answers = _answers(moments, promise, schedule, around)
    slots: list[Slot] = []
    pending: tuple[Usec, Usec | None] | None = None
    last = max(answers, default=None)
    for at in moments:
        answer = answers.get(at)
        if answer is not None:
            slots.append(_answered(at, answer, promise, schedule, around))
            continue
        if at == promise.missed:
            continue  # on record as what it is
        overtaken = answers[last] if last is not None and last > at else None
        slot, wait = _unanswered(at, overtaken, promise, schedule, around)
        if slot is None:
            pending = (at, wait)
            break
        if promise.is_unmade and slot.state == "skipped":
            continue  # nobody had promised it
        slots.append(slot)
    bound = {answer.run for answer in answers.values()}
    slots += [
        Slot(promise.unit, one.elapse, "ran", around.change or "unscheduled", one.run)
        for one in around.runs
        if one.elapse is not None and one.run not in bound and one.elapse > promise.settled
    ]
    return Settled(tuple(slots), _moved_on(promise, slots, moments, pending, around))


def _moments(promise: Promise, around: Around) -> list[Usec]:
    """The slots until now that are not settled, and the last one that was missed before."""
    named = [*(around.moments or ()), *(around.before or ())]
    named = [at for at in named if promise.settled < at <= around.now]
    announced = promise.at
    if announced is not None and announced <= around.now and not _came_early(promise, around):
        # Announced with its random delay, the calendar names it without.
        named = [at for at in named if not _is_same(at, announced, promise)]
        named.append(announced)
    if promise.missed is not None:
        named.append(promise.missed)
    return sorted(set(named))


def _is_same(named: Usec, announced: Usec, promise: Promise) -> bool:
    return announced - promise.timer.random_delay - SECOND < named <= announced


def _nominal(promise: Promise, around: Around) -> Usec | None:
    """The slot that was announced, without its random delay; None where the calendar has none."""
    at, named = promise.at, around.moments or ()
    if at is None or not promise.timer.random_delay:
        return None
    if promise.is_nominal:
        return at
    return next((one for one in named if _is_same(one, at, promise)), None)


def _is_coming(nominal: Usec, promise: Promise, around: Around) -> bool:
    """Whether the timer elapses for this slot yet."""
    latest = _latest(nominal, promise, around)
    return around.coming is not None and around.now < around.coming <= latest


def _latest(nominal: Usec, promise: Promise, around: Around) -> Usec:
    """When its random delay is over at last: after a boot it counts from there."""
    boots = (span.end for span in around.off if span.end > nominal)
    return Usec(max((nominal, *boots)) + promise.timer.random_delay + SECOND)


def _came_early(promise: Promise, around: Around) -> bool:
    """Whether a run answered it after a shorter random delay than was announced."""
    nominal, announced = _nominal(promise, around), promise.at
    if nominal is None or announced is None:
        return False
    begins = [run.elapse or (run.started if run.may_be else 0) for run in around.runs]
    return any(nominal <= at < announced for at in begins)


def _slack_of(at: Usec, promise: Promise, schedule: Schedule) -> Usec:
    announced = at == promise.at and not promise.is_nominal
    return _slack(schedule, promise, nominal=not announced)


def _is_in_time(
    at: Usec, answer: Answer, promise: Promise, schedule: Schedule, around: Around
) -> bool:
    """Also after another random delay than was announced."""
    elapse, nominal = at, _nominal(promise, around)
    if nominal is not None and at == promise.at and not _within(at, around.off):
        latest = _latest(nominal, promise, around)
        known = latest if answer.elapse is None else answer.elapse
        elapse = max(at, known) if known <= latest else at
    return answer.started <= elapse + _slack_of(at, promise, schedule)


def _answers(
    moments: Sequence[Usec], promise: Promise, schedule: Schedule, around: Around
) -> dict[Usec, Answer]:
    """Which run answered which slot: the first that began at its elapse."""
    found: dict[Usec, Answer] = {}
    for run in sorted(around.runs, key=lambda run: run.started):
        at = _answered_by(run, moments, promise, schedule, around)
        if at is not None and at not in found:
            found[at] = run
    return found


def _answered_by(
    run: Answer, moments: Sequence[Usec], promise: Promise, schedule: Schedule, around: Around
) -> Usec | None:
    # However many slots lie behind a timer, it elapses once: for the last of them.
    if run.elapse is not None:
        return max((at for at in moments if at <= run.elapse), default=None)
    if not run.may_be:
        return None
    at = max((at for at in moments if at <= run.started + SECOND), default=None)
    if at is None or at == promise.missed:
        return None
    # It may as well have begun when whatever held it up was over.
    held = [
        *(span.end for span in (*around.off, *around.asleep, *around.jumped) if at in span),
        *(one.ended for one in _running_at(at, around, run) if one.ended is not None),
    ]
    slack = _slack_of(at, promise, schedule)
    in_time = _is_in_time(at, run, promise, schedule, around) or any(
        end - SECOND <= run.started <= end + slack for end in held
    )
    return at if in_time else None


def _running_at(at: Usec, around: Around, but: Answer | None = None) -> list[Answer]:
    return [
        run
        for run in around.runs
        if run is not but and run.started < at and (run.ended is None or run.ended > at)
    ]


def _within(at: Usec, spans: Iterable[Span]) -> Span | None:
    return next((span for span in spans if at in span), None)


def _answered(
    at: Usec, answer: Answer, promise: Promise, schedule: Schedule, around: Around
) -> Slot:
    slot = Slot(promise.unit, at, "ran", "", answer.run, answer.elapse is None)
    if at == promise.missed:
        return replace(slot, state="late", reason="late")
    if _is_in_time(at, answer, promise, schedule, around):
        return slot
    for reason, spans in (
        ("caught-up", around.off),
        ("resumed", around.asleep),
        ("clock-change", around.jumped),
    ):
        if _within(at, spans):
            return replace(slot, reason=reason)
    if _running_at(at, around, answer):
        return replace(slot, state="late", reason="still-running")
    if around.change and not _is_named(at, promise, around):
        return replace(slot, reason=around.change)
    return replace(slot, state="late", reason="late")


def _unanswered(
    at: Usec, overtaken: Answer | None, promise: Promise, schedule: Schedule, around: Around
) -> tuple[Slot | None, Usec | None]:
    """The slot, or None and until when its run is awaited (None: until the present one ends)."""
    slack = _slack_of(at, promise, schedule)
    slot = Slot(promise.unit, at, "skipped", run=overtaken.run if overtaken is not None else None)
    running = _running_at(at, around)
    if running:
        return _held_up(slot, running, overtaken, slack, promise, around)
    for reason, spans in (
        ("host-off", around.off),
        ("suspended", around.asleep),
        ("clock-change", around.jumped),
    ):
        span = _within(at, spans)
        if span is not None:
            return _nobody_there(slot, reason, span, overtaken, slack, promise, around)
    if around.now <= at + slack and overtaken is None:
        return None, Usec(at + slack + 1)
    if _within(at, around.lost):
        because = "the journal has lost what it knew of that time"
        return replace(slot, state="unknown", reason="journal", because=because), None
    if around.is_alive and not _is_named(at, promise, around):
        return replace(slot, reason=around.change or "schedule-changed"), None
    if not promise.timer.calendar and around.is_alive:
        return replace(slot, reason="schedule-changed"), None  # counted anew, from a later event
    if promise.is_unmade and at < around.alive_since:
        return replace(slot, reason="schedule-changed"), None
    reason, because = _fault(at, promise, around)
    reason, because = reason or "no-run", because or "nothing says why"
    return replace(slot, state="missed", reason=reason, because=because), None


def _fault(at: Usec, promise: Promise, around: Around) -> tuple[str, str]:
    """Why the timer could not have started anything at this slot; empty if nothing is known."""
    if around.reason:
        return around.reason, around.because
    if at < around.alive_since:
        return "timer-stopped", f"{promise.unit} was not active then"
    nominal = _nominal(promise, around) if at == promise.at else None
    if nominal is None or nominal >= around.alive_since:
        return "", ""
    if any(nominal < span.end <= at for span in around.off):
        return "host-off", "the host was started anew before its random delay was over"
    return "", f"{promise.unit} was started anew before its random delay was over"


def _is_named(at: Usec, promise: Promise, around: Around) -> bool:
    """By the calendar, as far as it was asked: as it is, and as it was when this was promised."""
    asked = [moments for moments in (around.moments, around.before) if moments is not None]
    if at != promise.at:
        return all(at in moments for moments in asked)
    return all(any(_is_same(one, at, promise) for one in moments) for moments in asked)


def _held_up(
    slot: Slot,
    running: list[Answer],
    overtaken: Answer | None,
    slack: Usec,
    promise: Promise,
    around: Around,
) -> tuple[Slot | None, Usec | None]:
    """A run was under way: systemd starts one more when it ends, for all slots meanwhile."""
    skipped = replace(slot, reason="still-running", run=slot.run or running[-1].run)
    if overtaken is not None:
        return skipped, None
    ends = [run.ended for run in running]
    if None in ends:
        return None, None
    until = max(end for end in ends if end is not None) + slack
    if around.now <= until:
        return None, Usec(until + 1)
    reason, because = _fault(slot.at, promise, around)
    if reason:  # the run that was to follow never did
        return replace(slot, state="missed", reason=reason, because=because), None
    return skipped, None


_NOBODY = {
    "host-off": "the host was off",
    "suspended": "the host was suspended",
    "clock-change": "the clock was set over it",
}


def _nobody_there(
    slot: Slot,
    reason: str,
    span: Span,
    overtaken: Answer | None,
    slack: Usec,
    promise: Promise,
    around: Around,
) -> tuple[Slot | None, Usec | None]:
    """The host was off, slept, or never saw that time: whether the timer makes up for it is for its
    settings to say."""
    words = _NOBODY[reason]
    is_off = reason == "host-off"
    skipped = replace(slot, reason=reason, because=words)
    missed = replace(skipped, state="missed")
    if is_off and _within(slot.at, around.lost):
        because = "the host went down, and the journal has lost its last minutes"
        return replace(slot, state="unknown", reason="journal", because=because), None
    if around.is_alive and _is_counted(slot.at, promise, around):
        return skipped, None  # it was to come by a clock that stood still then
    makes_up = promise.timer.is_persistent if is_off else True
    if makes_up and overtaken is not None:
        return skipped, None
    until = span.end + slack
    if is_off and (around.last or 0) <= slot.at and _is_coming(slot.at, promise, around):
        until = max(until, (around.coming or 0) + slack)
    if makes_up and around.is_alive and around.now <= until:
        return None, Usec(until + 1)
    if around.reason:
        missed = replace(missed, because=f"{words}, and {around.because}")
    return missed, None


def _is_counted(at: Usec, promise: Promise, around: Around) -> bool:
    """Whether it was no moment of a calendar: it counts from a boot, or from something since."""
    if not promise.timer.calendar:
        return True
    return not _is_named(at, promise, around)


def _moved_on(
    promise: Promise,
    slots: Sequence[Slot],
    moments: Sequence[Usec],
    pending: tuple[Usec, Usec | None] | None,
    around: Around,
) -> Promise:
    """Settled up to what is still awaited."""
    done = [slot for slot in slots if slot.at != promise.missed or slot.state == "late"]
    missed = promise.missed
    for slot in sorted(done, key=lambda slot: slot.at):
        missed = slot.at if slot.state == "missed" else None
    elapses = [run.elapse for run in around.runs if run.elapse is not None]
    if pending is not None:
        at, wait = pending
        before = [one for one in (*moments, *elapses) if one < at]
        settled = Usec(max([promise.settled, *before]))
        return replace(
            promise,
            at=at,
            is_nominal=promise.is_nominal or at != promise.at,
            due=wait,
            settled=settled,
            missed=missed,
        )
    settled = Usec(max([promise.settled, *moments, *elapses]))
    left = promise.at if promise.at is not None and promise.at > settled else None
    return replace(
        promise,
        at=left,
        due=promise.due if left is not None else None,
        settled=settled,
        missed=missed,
    )


# --- every -----------------------------------------------------------------------------------


def every(schedule: Schedule, unit: UnitName, since: Usec, old: Promise | None) -> Promise:
    """The promise that a job without a timer makes for itself."""
    span = schedule.every or Usec(0)
    promise = old or Promise(Timer(unit=BY_HAND, triggers=unit), settled=since)
    promise = replace(promise, nearest=span, farthest=span)
    if promise.at is not None and old is not None and old.nearest == span:
        return promise
    return expect(promise, Usec(promise.settled + span), schedule)


def _settle_every(promise: Promise, schedule: Schedule, around: Around) -> Settled:
    """Each run promises the next one."""
    starts = sorted((run.started, run.run) for run in around.runs)
    newest = max((start for start, _ in starts if start > promise.settled), default=None)
    slots: list[Slot] = []
    if newest is not None:
        if promise.missed is not None:
            run = next(run for start, run in starts if start > promise.settled)
            slots.append(Slot(BY_HAND, promise.missed, "late", "late", run))
        span = promise.nearest or Usec(0)
        answered = replace(promise, settled=newest, missed=None)
        return Settled(tuple(slots), expect(answered, Usec(newest + span), schedule))
    if promise.at is None or promise.due is None or around.now < promise.due:
        return Settled((), promise)
    if any(run.ended is None for run in around.runs):
        return Settled((), replace(promise, due=None))  # it runs still: its finish is what counts
    if (at := put_off(promise.at, around.jumped)) != promise.at:
        return Settled((), expect(promise, at, schedule))
    for away in (*around.off, *around.asleep):
        until = away.end + (promise.due - promise.at)
        if promise.at in away and around.now <= until:
            return Settled((), replace(promise, due=Usec(until + 1)))
    apart = say_duration(promise.nearest or Usec(0))
    slot = Slot(
        BY_HAND,
        promise.at,
        "missed",
        around.reason or "every",
        because=around.because or f"it is to run every {apart}",
    )
    at = Usec(promise.at + (promise.nearest or 0))
    moved = replace(promise, missed=promise.at)
    return Settled((slot,), expect(moved, at, schedule))
