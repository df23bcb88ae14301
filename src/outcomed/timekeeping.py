"""Time, as the engine has to do with it: what timers promise, and what is overdue.

`slots` decides; here systemd, the calendar, the journal and the ledger are asked for what it
decides by. Nothing is polled: each job has one next deadline, and is looked at then, after each of
its runs, after a reload, when the clock was set and when the machine wakes.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from outcomed import alerts, calendar, journal, rules, slots, tracker, verdicts
from outcomed.errors import BusError, CalendarError, JournalError
from outcomed.ledger import Bound
from outcomed.model import (
    MINUTE,
    SECOND,
    JobName,
    Judgement,
    Run,
    RunId,
    Schedule,
    UnitName,
    Usec,
    Verdict,
    run_id,
)
from outcomed.slots import Answer, Around, Clock, Promise, Settled, Slot, Span
from outcomed.timers import Timer
from outcomed.tracker import Attempt, Open, Seen
from outcomed.waits import Reckon, Steps, Wait

if TYPE_CHECKING:
    from outcomed.engine import Engine, Watched

LOOKING = 4  # jobs whose timers are looked at, at the same time
ASKING = 2  # calendars asked for at the same time
# journald writes to its disk every five minutes (SyncIntervalSec=): after a power cut, what was
# said since may be gone.
UNSYNCED = Usec(5 * MINUTE)
JUMP = SECOND  # what a clock that is merely adjusted never does at once
REMEMBERED = 100  # jumps and sleeps
AGAIN = MINUTE  # until a calendar is asked for once more that had no answer
AT_ONCE = SECOND // 10  # clocks that are read one after the other
SLIP = SECOND // 1000  # of a deadline by one clock that is told by another
LOCAL_ZONE = "/etc/localtime"  # localtime(5)
EXACT = 2 * SECOND  # between a timer's elapse and the start that it made


class Timekeeper:
    """The deadlines of all jobs, and what is known about the clock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heap: list[tuple[Usec, JobName]] = []
        self._armed: dict[JobName, Usec] = {}
        self._looking: set[JobName] = set()
        self._asking = 0
        self._queue: deque[Wait] = deque()
        self._spacing: dict[tuple[str, ...], tuple[Usec, Usec] | None] = {}
        self._offsets = _offsets()
        self._jumped: deque[Span] = deque(maxlen=REMEMBERED)
        self._asleep: deque[Span] = deque(maxlen=REMEMBERED)
        self._was_set = False  # or it slept, and nobody was told so far
        self._boots: tuple[Span, ...] | None = None
        self._lost: tuple[Span, ...] = ()
        self.woke = now_usec()  # what was due before has its chance first
        self._since = self._clock()  # from here on the clock is looked at
        self._passed: Clock | None = None  # the last that the past has shown of it

    # --- deadlines ----------------------------------------------------------------------------

    def next(self) -> Usec | None:
        """The earliest deadline of all jobs."""
        while self._heap and self._armed.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: Usec) -> Iterator[JobName]:
        """The jobs whose deadline has passed; each has to be armed again."""
        while (at := self.next()) is not None and at <= now:
            _, name = heapq.heappop(self._heap)
            del self._armed[name]
            yield name

    def forget(self, name: JobName) -> None:
        self._armed.pop(name, None)

    def has_room(self) -> bool:
        """Whether one more job may be looked at: each has questions to ask, that hold up others."""
        if len(self._looking) >= LOOKING:
            self._looking = {name for name in self._looking if self._is_looked_at(name)}
        return len(self._looking) < LOOKING

    def begin(self, name: JobName) -> None:
        """This job is to be looked at."""
        self._looking.add(name)

    def _is_looked_at(self, name: JobName) -> bool:
        """Not where the job was removed, the bus went, or its check takes its time."""
        watched = self._engine.jobs.get(name)
        if watched is None or watched.task is None:
            return False
        return watched.task.wait is None or watched.task.wait.check is None

    def arm(self, watched: Watched) -> None:
        """Set the job's next deadline."""
        moments = [at for at in self._moments(watched) if at is not None]
        at, name = min(moments, default=None), watched.job.name
        known = self._armed.get(name)
        if at is not None and known is not None and abs(at - known) < SLIP:
            return
        self._armed.pop(name, None)
        if at is not None:
            self._armed[name] = at
            heapq.heappush(self._heap, (at, name))

    def _moments(self, watched: Watched) -> Iterator[Usec | None]:
        for promise in watched.promises:
            yield promise.due
        run = _under_way(watched)
        if run is not None:
            yield self._finish_by(watched, run)
        else:
            yield self._verified_by(watched)

    def _finish_by(self, watched: Watched, run: Open) -> Usec | None:
        """When a run that is under way is overdue, unless the clock is set or the machine sleeps
        until then: that is no time that it had. None where it is already, or never."""
        first = run.attempts[0]
        if first.started is None or watched.overdue == run.key:
            return None
        span = self.finish_within(watched).span
        if span is None:
            return None
        return Usec(self._began(first) + span)

    def _began(self, first: Attempt) -> Usec:
        """When it would have begun, had the clock always been as it is now."""
        if first.started_mono is None:
            return first.started or Usec(0)
        clock = self._clock()
        return Usec(clock.real - (clock.mono - first.started_mono))

    def _verified_by(self, watched: Watched) -> Usec | None:
        """When the job is stale; None where it is already, or never."""
        good = watched.good or watched.adopted
        if not good or watched.stale_since == good:
            return None
        span = self.verified_within(watched).span
        if span is None:
            return None
        # What the host's absence kept from running has its chance first.
        start = (
            max(
                (slots.start_within(watched.job.schedule, one).span or 0)
                for one in watched.promises
            )
            if watched.promises
            else slots.START_WITHIN
        )
        return Usec(max(slots.put_off(Usec(good + span), self._jumped), self.woke + start))

    def finish_within(self, watched: Watched) -> slots.Deadline:
        explicit = watched.job.schedule.finish_within is not None
        durations = () if explicit else self._durations(watched)
        return slots.finish_within(watched.job.schedule, watched.promises, durations)

    def verified_within(self, watched: Watched) -> slots.Deadline:
        job = watched.job
        return slots.verified_within(
            job.schedule, watched.promises, self.finish_within(watched), has_rule=bool(job.outcome)
        )

    def _durations(self, watched: Watched) -> tuple[Usec, ...]:
        if not watched.promises and watched.job.schedule.every is None:
            return ()
        if watched.durations is None:
            found = self._engine.ledger.good_runs(watched.job.name, slots.GOOD_RUNS)
            spans = (one.run.duration for one in found)
            watched.durations = tuple(span for span in spans if span is not None)
        return watched.durations

    # --- the clock ----------------------------------------------------------------------------

    def look_at_clock(self) -> bool:
        """Whether the clock was set, or the machine has slept, since this was last asked."""
        self._notice()
        was_set, self._was_set = self._was_set, False
        return was_set

    def _notice(self) -> None:
        """Before anything is concluded from a time: the alarm may be heard only after that."""
        set_off, slept = self._offsets
        self._offsets = _offsets()
        jump, sleep = self._offsets[0] - set_off, self._offsets[1] - slept
        now = now_usec()
        if sleep > JUMP:
            self._asleep.append(Span(Usec(now - sleep), now))
        if jump > JUMP:
            self._jumped.append(Span(Usec(now - jump), now))
        if jump < -JUMP:
            self._was_set_back(now)
        if max(abs(jump), sleep) > JUMP:
            self.woke, self._was_set = now, True

    def pass_by(self, shown: Clock) -> None:
        """What the clock showed while nobody looked, by PID 1's entries in their order: it is
        further from the other one where it was set, or the machine slept. What elapses when it is
        set on is said at once."""
        before, since = self._passed, self._since
        if before == since:
            return  # the past was read before
        if shown.boot == since.boot and shown.mono >= since.mono:
            shown = since
        self._passed = shown
        if before is None or before.boot != shown.boot:
            return
        step = shown.real - before.real - (shown.mono - before.mono)
        if step > JUMP:
            self._jumped.append(Span(Usec(shown.real - step), shown.real))
        elif step < -JUMP:
            self._forget_from(shown.real)

    def _was_set_back(self, now: Usec) -> None:
        """What was then is still to come."""
        engine = self._engine
        self._forget_from(now)
        engine.caught_up_real = min(engine.caught_up_real, now)
        for watched in engine.jobs.values():
            if watched.good is not None:
                watched.good = min(watched.good, now)

    def _forget_from(self, now: Usec) -> None:
        for spans in (self._jumped, self._asleep):
            known = [Span(one.begin, min(one.end, now)) for one in spans if one.begin < now]
            spans.clear()
            spans.extend(known)

    # --- starts -------------------------------------------------------------------------------

    def bind(self, watched: Watched, seen: Seen, timer: UnitName, at: Usec) -> Seen:
        """A start that a timer made at this moment: which slot it answers."""
        promise = _find(watched, timer)
        if promise is None or not slots.answers_in_time(promise, at, watched.job.schedule):
            watched.reckon, watched.stray = Reckon.ALL, True
            return replace(seen, trigger=timer, trigger_at=at)
        answered = replace(promise, at=None, due=None, settled=at, missed=None)
        watched.promises = _with(watched.promises, timer, answered)
        return replace(seen, trigger=timer, trigger_at=at, slot=promise.at)

    # --- reckoning ----------------------------------------------------------------------------

    def reckon(self, watched: Watched) -> Steps:
        """Settle what can be, and take what the timers promise now."""
        is_full, watched.reckon = watched.reckon is Reckon.ALL, Reckon.NOTHING
        stray, watched.stray = watched.stray, False
        try:
            timers = self._timers(watched, is_full=is_full or stray)
        except BusError:
            timers = None  # of what is no unit, or can be of no type that has a timer
        if timers is not None:
            yield from self._reckon_timers(watched, timers, stray=stray)
        yield from self._reckon_deadlines(watched)
        self.arm(watched)
        self._looking.discard(watched.job.name)
        if is_full:
            self._engine.unsettled.discard(watched.job.name)

    def _timers(self, watched: Watched, *, is_full: bool) -> dict[UnitName, Timer]:
        known = [one.timer for one in watched.promises if one.unit != slots.BY_HAND]
        calls = self._engine.calls
        if not is_full:
            # After a run, a timer that is alive has announced the next one: one question each.
            found = [calls.announced(timer) for timer in known]
            if all(found):
                return {timer.unit: timer for timer in found if timer is not None}
        # Only where the job's file says so, a timer that never ran is awaited (`_renew`).
        search = watched.job.schedule.start_within is not None
        names = [timer.unit for timer in known]
        timers = calls.schedule(watched.job.unit, names, search=search)
        return {timer.unit: timer for timer in timers}

    def _reckon_timers(
        self, watched: Watched, timers: dict[UnitName, Timer], *, stray: bool
    ) -> Steps:
        job, clock = watched.job, self._clock()
        self._rewind(watched, timers, clock.real)
        alive = {name for name, timer in timers.items() if slots.is_alive(timer)}
        every = None
        if job.schedule.every is not None:
            old = _find(watched, slots.BY_HAND)
            every = slots.every(job.schedule, job.unit, Usec(watched.adopted), old)
        self._keep(watched, slots.BY_HAND, every)
        for name in dict.fromkeys((*(one.unit for one in watched.promises), *timers)):
            timer, promise = timers.get(name), _find(watched, name)
            if promise is not None and slots.is_postponed(promise, timer, clock.boot):
                assert timer is not None
                promise = slots.announce(promise, timer, clock, job.schedule, promise.settled)
                self._keep(watched, name, promise)
            if promise is not None and (stray or _has_to_settle(promise, timer, clock.real)):
                yield from self._settle(watched, promise, timer, alive)
            if name != slots.BY_HAND:
                promise = yield from self._renew(watched, _find(watched, name), timer, alive)
                self._keep(watched, name, promise)

    def _rewind(self, watched: Watched, timers: dict[UnitName, Timer], now: Usec) -> None:
        """Nothing has elapsed at a time that is still to come: the clock was set back."""
        for promise in watched.promises:
            if promise.settled > now and not slots.is_over(timers.get(promise.unit)):
                newest = self._engine.ledger.runs_since(watched.job.name, now, limit=1)
                ident = newest[0].id if newest else None
                self._keep(watched, promise.unit, slots.rewound(promise, now, ident))

    def _keep(self, watched: Watched, name: UnitName, promise: Promise | None) -> None:
        """Into the turn, where a slot that was settled is, too: they have to come together."""
        promises = _with(watched.promises, name, promise)
        if promises != watched.promises:
            watched.promises = self._engine.turn.promises[watched.job.name] = promises

    def _renew(
        self, watched: Watched, promise: Promise | None, timer: Timer | None, alive: set[UnitName]
    ) -> Generator[Wait | None, None, Promise | None]:
        """What is promised from now on."""
        clock, schedule = self._clock(), watched.job.schedule
        if timer is not None and slots.is_alive(timer):
            if promise is not None and promise.at is not None and promise.at <= clock.real:
                return promise  # still awaited
            if timer.sub == "running" and promise is not None:
                return replace(promise, timer=timer, is_unmade=False)
            settled = Usec(max(watched.adopted, timer.last or 0))
            if promise is not None and slots.may_be_forgotten(promise, timer, clock):
                return promise  # until it is due
            announced = slots.announce(promise, timer, clock, schedule, settled)
            if slots.is_unsettled(timer):
                # Without another look nobody would notice if it were stopped now.
                return replace(promise or announced, due=Usec(clock.real + SECOND))
            return (yield from self._measure(announced, schedule))
        if promise is None:
            if timer is None or schedule.start_within is None or not timer.calendar:
                return None  # nobody expects it to start anything
            promise = Promise(timer, settled=clock.real, is_unmade=True)
        if promise.at is not None or slots.is_over(timer):
            return promise
        if slots.is_gone(timer) and alive:
            return None  # removed, and another has taken its place
        return (yield from self._expect(promise, schedule, clock.real))

    def _expect(
        self, promise: Promise, schedule: Schedule, now: Usec
    ) -> Generator[Wait | None, None, Promise]:
        """A dead timer's next slot, by what it said while it lived."""
        repeat = slots.repeats(promise.timer)
        if not promise.timer.calendar:
            # It counts from a run; without one there is nothing more to count from.
            at = None if repeat is None or promise.missed else Usec(promise.settled + repeat)
            return slots.expect(promise, at, schedule)
        found = yield from self._calendar(promise.timer.calendar, now)
        expected = slots.expect(promise, found[0] if found else None, schedule)
        return replace(expected, due=Usec(now + AGAIN)) if found is None else expected

    def _measure(
        self, promise: Promise, schedule: Schedule
    ) -> Generator[Wait | None, None, Promise]:
        """How far its slots are apart: what the defaults of the deadlines follow from."""
        if promise.nearest is not None or not promise.timer.calendar or promise.at is None:
            return promise
        key = promise.timer.calendar
        if key not in self._spacing:
            found = yield from self._calendar(key, now_usec())
            self._spacing[key] = slots.spacing(found or ())
        apart = self._spacing[key]
        if apart is None:
            return promise
        measured = replace(promise, nearest=apart[0], farthest=apart[1])
        return replace(measured, due=slots.due(measured, schedule))

    # --- settling -----------------------------------------------------------------------------

    def _settle(
        self, watched: Watched, promise: Promise, timer: Timer | None, alive: set[UnitName]
    ) -> Steps:
        clock, since, named = self._clock(), promise.settled, promise.timer.calendar
        now, change = clock.real, slots.change(promise, timer, clock)
        moments = before = None
        if change:
            assert timer is not None
            before = (yield from self._calendar(named, since, now, promise.zone)) or ()
            moments = (yield from self._calendar(timer.calendar, since, now)) or ()
        elif named:
            moments = yield from self._calendar(named, since, now)
        around = self._around(watched, promise, timer, alive, now, moments)
        around = replace(around, change=change, before=before)
        if timer is not None and slots.is_put_off(promise, around):
            promise = slots.announce(promise, timer, clock, watched.job.schedule, since)
            self._keep(watched, promise.unit, promise)
            return
        settled = slots.settle(promise, watched.job.schedule, around)
        self._record(watched, settled)
        self._keep(watched, promise.unit, settled.promise)

    def _around(
        self,
        watched: Watched,
        promise: Promise,
        timer: Timer | None,
        alive: set[UnitName],
        now: Usec,
        moments: tuple[Usec, ...] | None,
    ) -> Around:
        reason, because = self._fault(watched, promise, timer)
        is_replaced = slots.is_gone(timer) and bool(alive)
        off, lost = self._absences(promise)
        return Around(
            now=now,
            runs=tuple(self._answers(watched, promise, timer)),
            moments=() if is_replaced else moments,
            off=off,
            asleep=(*self._asleep, *self._sleeps(promise)),
            jumped=tuple(self._jumped),
            lost=lost,
            is_alive=slots.is_alive(timer) or is_replaced or promise.unit == slots.BY_HAND,
            coming=None if timer is None else timer.next_realtime,
            last=None if timer is None else timer.last,
            alive_since=self._alive_since(timer),
            reason=reason,
            because=because,
        )

    def _alive_since(self, timer: Timer | None) -> Usec:
        if timer is None or not slots.is_alive(timer):
            return Usec(0)
        try:
            return self._engine.calls.active_since(timer.unit)
        except BusError:
            return Usec(0)

    def _fault(self, watched: Watched, promise: Promise, timer: Timer | None) -> tuple[str, str]:
        """What is wrong with the service or its timer, as systemd says it now."""
        try:
            load = self._engine.calls.service_state(watched.job.unit).load
        except BusError:
            load = ""
        fault = slots.service_fault(watched.job.unit, load)
        if fault[0] or promise.unit == slots.BY_HAND:
            return fault
        return slots.timer_fault(promise.unit, timer)

    def _answers(self, watched: Watched, promise: Promise, timer: Timer | None) -> Iterator[Answer]:
        last = timer.last if timer is not None else None
        for run in self._runs(watched, promise):
            if run.started is None:
                continue
            behind = self._set_back(watched, run)
            known = run.trigger == promise.unit and not run.is_inferred
            elapse = Usec(run.slot - behind) if known and run.slot is not None else None
            if (
                run.trigger == tracker.UNKNOWN
                and last is not None
                and 0 <= run.started - last < EXACT
            ):
                elapse = last  # systemd still knows
            ended = run.finished if run.result is not None else None
            if run.result is not None and ended is None:
                ended = run.started  # lost, nobody knows when
            yield Answer(
                run=run.id,
                started=Usec(run.started - behind),
                ended=ended,
                elapse=elapse,
                may_be=run.trigger == tracker.UNKNOWN or run.is_inferred,
            )

    def _runs(self, watched: Watched, promise: Promise) -> Iterator[Run]:
        """Those that may have answered it: none from before the clock was set back, but for the one
        that ran then."""
        since = promise.missed or promise.settled
        new = self._engine.turn.runs.values()
        fresh = {run.id: run for run in new if run.job == watched.job.name}
        for known in self._engine.ledger.runs_since(watched.job.name, since):
            run = fresh.pop(known.id, known)
            if run.id != promise.newest or run.result is None or self._set_back(watched, run):
                yield run
            if run.id == promise.newest:
                break
        yield from fresh.values()

    def _set_back(self, watched: Watched, run: Run) -> int:
        """How far the clock was set back while it ran."""
        if run.result is not None:
            behind = int(rules.set_back(run))
        else:
            name = watched.job.name
            known = (one for one in watched.track.runs if run_id(name, one.key) == run.id)
            began = [self._began(one.attempts[0]) for one in known]
            behind = (run.started or 0) - began[0] if began else 0
        return behind if behind > JUMP else 0

    def _absences(self, promise: Promise) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """When the host was off since, and of which of that time the journal may have lost all."""
        if promise.boot in ("", self._engine.boot):
            return (), ()
        if self._boots is None:
            try:
                with journal.Journal() as source:
                    # All that there are: the next job's promise may be an older one.
                    boots = source.boots(Usec(0))
            except JournalError:
                return (), ()
            pairs = list(pairwise(boots))
            self._boots = tuple(Span(one.timers_to, after.timers_from) for one, after in pairs)
            self._lost = tuple(
                Span(one.end, min(Usec(one.end + UNSYNCED), after.begin))
                for one, after in pairs
                if not one.is_clean
            )
        return self._boots, self._lost

    def _sleeps(self, promise: Promise) -> Iterator[Span]:
        """What of it happened before the daemon was there."""
        if promise.settled >= self._engine.caught_up_real:
            return
        try:
            with journal.Journal() as source:
                for begin, end in source.sleeps(promise.settled):
                    yield Span(begin, end)
        except JournalError:
            return

    def _record(self, watched: Watched, settled: Settled) -> None:
        """What was settled, into the turn; what nobody did is a verdict."""
        turn, name, past = self._engine.turn, watched.job.name, list[Slot]()
        for slot in settled.slots:
            if not slot.is_plain:
                turn.slots.append((name, slot))
            if slot.run is not None and slot.state in ("ran", "late"):
                self._bind_run(watched, slot, slot.run)
            if slot.state not in ("missed", "unknown"):
                continue
            by = slots.begin_by(slot.at, watched.job.schedule, settled.promise)
            if by < self._engine.caught_up_real:
                past.append(slot)
            elif not watched.standing.is_missing:
                self._judge_slot(watched, slot, settled.promise)
        if past:
            self._judge_past(watched, past, settled.promise)

    def _bind_run(self, watched: Watched, slot: Slot, run: RunId) -> None:
        trigger = slot.timer or tracker.UNKNOWN
        self._engine.turn.bound.append(Bound(run, trigger, slot.at, slot.is_inferred))
        for one in watched.track.runs:
            if run_id(watched.job.name, one.key) != run:
                continue
            watched.track = tracker.bind(watched.track, one, trigger, slot.at)
            if slot.state == "late" and not one.ended:
                self._judge_open(
                    watched,
                    one,
                    Verdict.LATE,
                    slot.reason,
                    "it began after its start deadline"
                    + (", a run before it was still under way" if slot.reason != "late" else ""),
                )

    def _judge_slot(self, watched: Watched, slot: Slot, promise: Promise) -> None:
        judgement = self._of_slot(watched, slot, promise, "live")
        if not self._engine.ledger.knows_run(judgement.run.id):
            self._conclude(watched, judgement)

    def _judge_past(self, watched: Watched, past: list[Slot], promise: Promise) -> None:
        """What nobody was there to see, in its place among the runs, which are judged already."""
        ledger, job = self._engine.ledger, watched.job
        found = [self._of_slot(watched, slot, promise, "replayed") for slot in past]
        before = ledger.incident_at(job.name, past[0].at)
        begin = past[0].at if before is None else before.opened
        for judgement, change in alerts.found_late(
            watched.standing,
            before,
            [one for one in found if not ledger.knows_run(one.run.id)],
            ledger.judged_since(job.name, begin),
            job.alerts,
            job.severity,
        ):
            self._engine.settle(watched, judgement, change)

    def _of_slot(
        self,
        watched: Watched,
        slot: Slot,
        promise: Promise,
        witness: Literal["live", "replayed"],
    ) -> Judgement:
        within = slots.start_within(watched.job.schedule, promise)
        run = Run(
            id=run_id(watched.job.name, slot.key),
            job=watched.job.name,
            unit=watched.job.unit,
            key=slot.key,
            boot=self._engine.boot,
            trigger=slot.timer or "none",
            slot=slot.at,
        )
        return Judgement(
            run=run,
            verdict=Verdict.MISSED if slot.state == "missed" else Verdict.UNKNOWN,
            reason=slot.reason,
            summary=verdicts.missed(slot.timer, within.span or Usec(0), slot),
            rules_hash=watched.rules_hash,
            witness=witness,
            at=now_usec(),
        )

    # --- what does not end, and what is never good --------------------------------------------

    def _reckon_deadlines(self, watched: Watched) -> Steps:
        now, run = self._clock().real, _under_way(watched)
        if run is not None:
            by = self._finish_by(watched, run)
            if by is not None and by <= now:
                yield from self._overdue(watched, run)
            return
        by = self._verified_by(watched)
        if by is not None and by <= now:
            self._stale(watched)

    def _overdue(self, watched: Watched, open_run: Open) -> Steps:
        steps = yield from self._engine.steps_so_far(watched, open_run)
        if _under_way(watched) is None:
            return  # it has ended meanwhile
        watched.overdue = open_run.key
        ident = run_id(watched.job.name, open_run.key)
        if any(
            one.judgement.verdict is Verdict.OVERDUE
            for one in self._engine.ledger.verdicts_on(ident)
        ):
            return  # by the daemon before this one
        deadline = self.finish_within(watched)
        summary = verdicts.overdue(deadline.span or Usec(0), deadline.origin, steps)
        self._judge_open(watched, open_run, Verdict.OVERDUE, "finish_within", summary, steps)

    def _stale(self, watched: Watched) -> None:
        good = watched.good or Usec(watched.adopted)
        watched.stale_since = good
        key = f"stale:{good}"
        ident = run_id(watched.job.name, key)
        if self._engine.ledger.knows_run(ident):
            return
        deadline = self.verified_within(watched)
        run = Run(
            id=ident,
            job=watched.job.name,
            unit=watched.job.unit,
            key=key,
            boot=self._engine.boot,
            trigger="none",
        )
        summary = verdicts.stale(deadline.span or Usec(0), deadline.origin, ever=bool(watched.good))
        self._judge(watched, run, Verdict.STALE, "verified_within", summary)

    def _judge_open(
        self,
        watched: Watched,
        open_run: Open,
        verdict: Verdict,
        reason: str,
        summary: str,
        steps: tuple[str, ...] = (),
    ) -> None:
        run = tracker.as_run(watched.track, open_run)
        self._judge(watched, run, verdict, reason, summary, steps)

    def _judge(
        self,
        watched: Watched,
        run: Run,
        verdict: Verdict,
        reason: str,
        summary: str,
        steps: tuple[str, ...] = (),
    ) -> None:
        judgement = Judgement(
            run=run,
            verdict=verdict,
            reason=reason,
            summary=summary,
            steps=steps,
            rules_hash=watched.rules_hash,
            at=now_usec(),
        )
        self._conclude(watched, judgement)

    def _conclude(self, watched: Watched, judgement: Judgement) -> None:
        job = watched.job
        change = alerts.decide(watched.standing, judgement, job.alerts, job.severity)
        self._engine.settle(watched, judgement, change)

    # --- the calendar -------------------------------------------------------------------------

    def _calendar(
        self,
        expressions: tuple[str, ...],
        since: Usec,
        until: Usec | None = None,
        zone: str = "",
    ) -> Generator[Wait | None, None, tuple[Usec, ...] | None]:
        """What systemd names as moments of these, or as the next few; None: it cannot say."""
        with self._turn_to_ask() as wait:
            while not wait.done:
                yield wait
            question = calendar.Asking(expressions, since, until, zone)
            try:
                while not question.done():
                    yield Wait(question.deadline, fileno=question.fileno())
                return question.moments().moments
            except CalendarError:
                return None
            finally:
                question.close()

    @contextmanager
    def _turn_to_ask(self) -> Iterator[Wait]:
        wait = Wait(time.monotonic() + 3600, done=self._asking < ASKING)
        if wait.done:
            self._asking += 1
        else:
            self._queue.append(wait)
        try:
            yield wait
        finally:
            if not wait.done:
                self._queue.remove(wait)
            elif self._queue:
                self._queue.popleft().done = True  # in our place
            else:
                self._asking -= 1

    def _clock(self) -> Clock:
        self._notice()
        mono = Usec(time.monotonic_ns() // 1000)
        return Clock(now_usec(), mono, self._engine.boot, _local_zone())


def now_usec() -> Usec:
    return Usec(time.time_ns() // 1000)


def _local_zone() -> str:
    """A file that tzset(3) can read."""
    try:
        return os.path.join("/etc", os.readlink(LOCAL_ZONE))
    except OSError:
        return LOCAL_ZONE  # there is none, which is UTC; or it is no link


def _offsets() -> tuple[int, int]:
    """How far the calendar's clock is before the one that counts from the boot, and how long the
    machine has slept since then; microseconds."""
    while True:
        boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        slept = boottime - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        set_off = time.time_ns() - boottime
        taken = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - boottime
        if taken < AT_ONCE * 1000:  # else others ran meanwhile, and it would look like a jump
            return set_off // 1000, slept // 1000


def _under_way(watched: Watched) -> Open | None:
    return next((run for run in reversed(watched.track.runs) if not run.ended), None)


def _with(
    promises: tuple[Promise, ...], name: UnitName, promise: Promise | None
) -> tuple[Promise, ...]:
    """With this one in the place of what was known of its timer, or without any."""
    known = {one.unit: one for one in promises}
    if promise is not None:
        known[name] = promise
    else:
        known.pop(name, None)
    return tuple(known.values())


def _find(watched: Watched, timer: UnitName) -> Promise | None:
    return next((one for one in watched.promises if one.unit == timer), None)


def _has_to_settle(promise: Promise, timer: Timer | None, now: Usec) -> bool:
    """Whether anything may lie behind us that is not on record."""
    if promise.unit == slots.BY_HAND or promise.missed is not None:
        return True
    if promise.at is not None:
        return promise.at <= now
    # Answered in time. If the timer has gone on since, nothing lies between.
    return timer is None or timer.active != "active" or timer.sub != "waiting"
