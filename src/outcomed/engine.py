"""The turns: observations in, verdicts committed, effects after that.

What a turn changed is committed in one transaction, and only then told to anybody. The engine
decides nothing itself: the tracker says what a run is, the rules what was seen, the verdicts what
it means, the alerts who hears of it. A run is examined step by step, by a generator that yields
where it would have to wait, so that no job delays another.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, assert_never

import msgspec
from msgspec.structs import replace

from outcomed import (
    alerts,
    checks,
    commands,
    journal,
    listening,
    model,
    notify,
    orders,
    output,
    probes,
    rules,
    spool,
    tracker,
    verdicts,
)
from outcomed.bus import Calls, LogSettings, Watch, check_unit
from outcomed.errors import BusError, JournalError, RefusedError
from outcomed.faults import printable
from outcomed.guard import DIED, Guard, Trial
from outcomed.ledger import Ledger, Turn
from outcomed.model import (
    DAY,
    SECOND,
    Artifact,
    BootId,
    Command,
    Completeness,
    Config,
    Duration,
    Finding,
    Held,
    Incident,
    InvocationId,
    Job,
    JobName,
    Journal,
    Judgement,
    Klass,
    Report,
    Rule,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
    alert_id,
    delivery_id,
    run_id,
)
from outcomed.paths import Paths
from outcomed.slots import GOOD_RUNS, Clock, Promise
from outcomed.specifiers import Host, expand
from outcomed.timekeeping import EXACT, Timekeeper, now_usec
from outcomed.tracker import Open, Phase, Reach, Seen, Told, Track, What
from outcomed.waits import Reckon, Steps, Wait

SLICE = 0.005  # seconds of reading output before the other jobs have their turn
LONG_SLICE = 0.25  # while they all have only a past, and each turn costs a commit
BATCH = 100  # replayed runs in one turn
STRETCH = 100  # of PID 1's entries: so much of the past is held in memory at a time
SYNC_PATIENCE = 30.0  # seconds; journald under a flood answers late
ANSWER_PATIENCE = 1.0  # seconds in which everybody waits for journald
BUS_PAUSE = 3.0  # seconds; by then a bus that was restarted is there again
BUS_PATIENCE = 60.0  # seconds; it is connected to again every second
IDLE_JOURNAL = 60.0  # seconds after which the journal's files are let go
LOOK_BACK = 10 * SECOND  # how far before its signal a refused start may have been logged
MAINS = 8  # main processes of a unit whose lines are told from each other's
CURSOR_LAG = 10 * SECOND  # what the journal holds by then, the bus has shown


@dataclass(slots=True)
class Task:
    """One job's examination under way."""

    steps: Steps
    wait: Wait | None = None


@dataclass(frozen=True, slots=True)
class Concluded:
    """A judgement and what it changed, until the commit has made it true."""

    judgement: Judgement
    change: alerts.Change
    job: Job


class Elapse(NamedTuple):
    """A timer's, by both clocks; 0 where it has not elapsed, by the first in this boot."""

    mono: Usec
    at: Usec
    timer: UnitName


NEVER = Elapse(Usec(0), Usec(0), UnitName(""))


@dataclass(slots=True)
class Watched:
    """A job on this node: its file, its track, and what is remembered between two runs."""

    job: Job
    rules_hash: str
    track: Track
    standing: alerts.Standing = field(default_factory=alerts.Standing)
    last_judged: InvocationId | None = None
    is_doubtful: bool = False  # what was under way when we ended may be over
    last_finished: int = 0  # Usec, the newest end of a run that was judged
    last_finished_mono: int = 0  # the same in this boot; 0: not known
    wished: bool = False  # systemd works on a job of it that has not become a run
    since: Usec | None = None  # look for refused starts from here; monotonic
    again: bool = False
    adopted: int = 0  # Usec; what began before is history
    adopted_mono: int = 0  # the same, if it was in this boot; else 0
    task: Task | None = None
    windows: output.Windows | None = None
    windows_boot: BootId | None = None  # whose monotonic clock they are kept by
    mains: tuple[tuple[InvocationId, int], ...] = ()  # its last main processes
    timers: tuple[UnitName, ...] | None = None
    log: LogSettings | None = None
    last_check: InvocationId | None = None  # the check unit's, whose end was seen
    patterns: dict[str, Callable[[bytes], bool | None]] | None = None
    past: tuple[rules.Earlier, ...] | None = None  # newest first; None: not asked for yet
    promises: tuple[Promise, ...] = ()  # of its timers
    reckon: Reckon = Reckon.NOTHING  # what of them to look at
    stray: bool = False  # a timer started what it had not promised
    durations: tuple[Usec, ...] | None = None  # of the last good runs; None: not asked for yet
    good: Usec | None = None  # when its last good verdict was reached
    overdue: str = ""  # the key of the run that was told to be
    stale_since: Usec | None = None  # the good verdict that was told to be too old


class Engine:
    """All jobs, between the sources below and the ledger above."""

    def __init__(
        self,
        ledger: Ledger,
        calls: Calls,
        boot: BootId,
        host: Host,
        paths: Paths,
        guard: Guard,
    ) -> None:
        self.ledger = ledger
        self.calls = calls
        self.boot = boot
        self.host = host
        self.paths = paths
        self.guard = guard
        self.node = notify.Node(host=host.hostname, machine_id=host.machine_id)
        self.config = Config()
        self.jobs: dict[JobName, Watched] = {}
        self.by_unit: dict[UnitName, list[Watched]] = {}
        self.journal = journal.Journal()
        self.journald: dict[str, journal.JournaldSettings] = {}  # by namespace
        self.watch: Watch | None = None
        self.turn = Turn()
        self.concluded: list[Concluded] = []
        self.uncommitted: set[tuple[JobName, InvocationId]] = set()  # attempts judged in this turn
        self.judged: set[RunId] = set()  # runs, in this turn
        self.revealed: list[tuple[Incident, UnitName]] = []  # open since the past, shown to nobody
        self.catching_up = False
        self.reach = Reach(self.boot)
        self.behind: set[JobName] | None = None  # whose past is not judged to its end; None: told
        self.unsettled: set[JobName] = set()  # whose slots of the past are not looked at yet
        self.may_fold = False  # something of the past may be left to be told together
        self.meanwhile = ""  # what was told of the past, in a sentence, until it is committed
        self.spooled: frozenset[str] = frozenset()  # messages there were when it was read
        self.begins: journal.Place | None = None  # the journal, when the past was read
        self.gap = ""  # what is missing of the journal that was to be caught up with
        self._was_read = False  # to its end
        self.future_until = Usec(0)  # so far the clock had come when it was set back
        self._clock: int | None = None  # what it was ahead of the time since the boot
        self.caught_up_at = Usec(0)  # monotonic; what ended before is replayed, not witnessed
        self.caught_up_real = Usec(0)  # the same by the other clock
        self.progress = ledger.progress()
        self.time = Timekeeper(self)
        self._told_before = self.progress.told  # as the ledger has it
        self._cursors: list[tuple[str, Usec, Usec]] = []  # with both clocks' times
        self._journal_used = 0.0
        self._settings: dict[LogSettings, LogSettings] = {}  # a thousand units have two or three

    # --- jobs ---------------------------------------------------------------------------------

    def adopt(self, job: Job, rules_hash: str, *, is_new: bool) -> Watched:
        """Watch a job, or take its changed file. A new one has no history to be judged."""
        known = self.jobs.get(job.name)
        if known is not None and known.track.unit == job.unit:
            known.job, known.rules_hash, known.patterns, known.log = job, rules_hash, None, None
            known.past = None
            return known
        # Starts that lie before this moment were either judged, or are found by asking.
        track = Track(job=job.name, unit=job.unit, last_start=monotonic_usec())
        watched = Watched(job, rules_hash, track)
        if known is not None:
            watched.standing = known.standing
            self._forget_unit(known)
        self.jobs[job.name] = watched
        self.by_unit.setdefault(job.unit, []).append(watched)
        if is_new or known is not None:  # another unit has a past too, that was never this job's
            self.begin_history(watched)
        return watched

    def begin_history(self, watched: Watched, back: int = 0) -> None:
        """What began before now, or so long before, was not this job's."""
        watched.adopted = self.turn.since[watched.job.name] = Usec(now_usec() - back)
        watched.adopted_mono = max(monotonic_usec() - back, 1)

    def _is_history(self, watched: Watched, boot: BootId, at: Usec, mono: Usec) -> bool:
        if boot == self.boot and watched.adopted_mono:
            return mono < watched.adopted_mono
        return at < watched.adopted <= now_usec()  # else the clock was set back since

    def drop(self, name: JobName, now: Usec) -> list[Incident]:
        """The job's file is gone: stop watching, close its incident. Returns what was closed."""
        watched = self.jobs.pop(name)
        self._forget_unit(watched)
        self.time.forget(name)
        self.unsettled.discard(name)
        change = alerts.close(watched.standing, now)
        self.turn.configs[name] = None
        self.turn.standings[name] = alerts.Standing()
        if change.closed is None:
            return []
        self.turn.closed.append(change.closed)
        if change.tell is not None:
            self.turn.deliveries += notify.told(
                change.tell,
                change.closed,
                None,
                watched.job,
                notify.listeners(change.closed.to, self.config.sinks),
                self.node,
                now,
            )
        return [change.closed]

    def _forget_unit(self, watched: Watched) -> None:
        if watched.task is not None:
            # What it has open, and its place in a queue, would be kept until the memory of both,
            # which know each other, is collected.
            watched.task.steps.close()
            watched.task = None
        others = self.by_unit.get(watched.track.unit, [])
        if watched in others:
            others.remove(watched)
        if not others:
            self.by_unit.pop(watched.track.unit, None)

    def forget_settings(self) -> None:
        """systemd read its units again: nothing that was cached about them holds."""
        self.journald.clear()
        self.calls.forget_files()
        self._settings.clear()
        for watched in self.jobs.values():
            watched.log = watched.timers = None

    # --- the clock ----------------------------------------------------------------------------

    def note_clock(self, now: Usec) -> None:
        """Whether the clock was set back since it was last looked at, be it by an earlier process:
        files may be there that will be written only after now."""
        ahead = now - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        behind = self.progress.at - now if self._clock is None else self._clock - ahead
        self._clock = ahead
        if behind >= SECOND:
            self.future_until = max(self.future_until, Usec(now + behind))

    # --- observations -------------------------------------------------------------------------

    def see(self, seen: Seen, now: Usec, *, asked: bool = False) -> None:
        """A unit's state, from its signal or from a question."""
        for watched in self.by_unit.get(seen.unit, ()):
            history = self._is_history(watched, seen.boot, seen.left_idle, seen.left_idle_mono)
            if asked and history and _is_over(seen):
                continue  # history, from before anybody watched
            is_unclear = tracker.is_unclear(watched.track, seen)
            if is_unclear and self.catching_up and not asked:
                continue  # the journal was not read that far; and then systemd is asked
            if is_unclear or (asked and (watched.track.runs or seen.sub in tracker.BETWEEN)):
                self._hear_until(watched, seen)
            self._see(watched, seen, now, asked=asked)

    def _hear_until(self, watched: Watched, seen: Seen) -> None:
        """An answer may be ahead of the signals, and of the journal as it was read. Where it shows
        an activation that is not known, only the journal says whether that is the next attempt of
        the run under way, how many came between, and when the first one began."""
        known = watched.track.find(seen.invocation) is not None
        if not seen.invocation or known or self._is_old_news(watched, seen.invocation):
            return
        with contextlib.suppress(JournalError):  # what the bus says stands
            journal.synchronize(ANSWER_PATIENCE)
        watched.since = watched.since or Usec(max(monotonic_usec() - LOOK_BACK, 0))
        self._hear_recent(watched)
        self.examine(watched)

    def _see(self, watched: Watched, seen: Seen, now: Usec, *, asked: bool) -> None:
        before = watched.track
        if seen.pid and seen.pid not in (pid for _, pid in watched.mains):
            watched.mains = (*watched.mains, (seen.invocation, seen.pid))[-MAINS:]
        if not self._is_old_news(watched, seen.invocation):
            seen = self._with_elapse(watched, seen, asked=asked)
            watched.track = tracker.see(before, seen, asked=asked)
        run = watched.track.find(seen.invocation)
        if watched.track != before and run is not None:
            watched.wished = False
            self._record(watched, run, before.find(seen.invocation))
            if run.ended:
                self.examine(watched)
        elif seen.has_job:
            watched.wished = watched.wished or run is None
        elif watched.wished or not (asked or (seen.invocation and seen.active != "failed")):
            # Or it never ran: the signal of a job that its dependencies ended, or that the start
            # limit refused after a failure, may be the only one.
            watched.wished = False
            watched.since = Usec(max(monotonic_usec() - LOOK_BACK, 0))
            self.examine(watched)

    def _with_elapse(self, watched: Watched, seen: Seen, *, asked: bool) -> Seen:
        """Ask the timers, once for each start, whether it was one of them.

        ActivationDetails would say so, but keeps what it said of the first start for as long as
        the unit stays loaded (257), which under a timer is always.
        """
        known = watched.track.find(seen.invocation)
        if (known is not None and known.trigger != tracker.UNKNOWN) or not seen.left_idle:
            return seen
        if seen.trigger.endswith(".timer") and seen.trigger not in (watched.timers or ()):
            watched.timers = None  # started since they were asked for
        if not watched.track.runs:  # else what is told of the next run is not the last one's
            self._get_to_know(watched)
        last = self._newest_elapse(watched)
        since = seen.left_idle_mono - last.mono if last.mono else seen.left_idle - last.at
        if since < 0 or not tracker.is_new_elapse(watched.track, last.at, last.mono):
            return replace(seen, trigger="", trigger_at=Usec(0)) if seen.trigger_at else seen
        if (asked or known is not None) and since > EXACT:
            return replace(seen, trigger=tracker.UNKNOWN)  # it may have been by hand since
        seen = replace(seen, trigger_mono=last.mono)
        return self.time.bind(watched, seen, last.timer, last.at)

    def _get_to_know(self, watched: Watched) -> None:
        """Ask for what will be needed at the run's end, when its unit may be unloaded again."""
        _forget_transient(watched)
        if watched.timers is None or _needs_log_settings(watched):
            with contextlib.suppress(BusError), self.calls.keeping(watched.job.unit):
                self._newest_elapse(watched)
                self._ask_log_settings(watched)

    def _newest_elapse(self, watched: Watched) -> Elapse:
        """The job's timer that elapsed last, and when."""
        try:
            if watched.timers is None:
                watched.timers = self.calls.timers(watched.job.unit)
            calls = self.calls
            elapses = [
                Elapse(calls.last_trigger_mono(timer), calls.last_trigger(timer), timer)
                for timer in watched.timers
            ]
        except BusError:
            return NEVER  # a timer or unit that was removed meanwhile
        return max(elapses, default=NEVER)

    def _is_old_news(self, watched: Watched, invocation: InvocationId | None) -> bool:
        if not invocation or watched.track.find(invocation) is not None:
            return False
        if invocation == watched.last_judged or (watched.job.name, invocation) in self.uncommitted:
            return True
        return self.ledger.judged(watched.job.name, invocation)

    def _is_judged(self, run: RunId) -> bool:
        return run in self.judged or self.ledger.knows_run(run)

    def hear(self, watched: Watched, told: Told) -> None:
        """One of PID 1's entries about the job's unit."""
        is_later = False
        if self._is_old_news(watched, told.invocation) and not tracker.outlives_its_run(told):
            is_later = told.what is What.START_FAILED and self._is_of_a_later_start(watched, told)
            if not is_later:
                return
        before = watched.track
        if self._is_history(watched, told.boot, told.at, told.mono) and not (
            told.invocation is not None and before.find(told.invocation)
        ):
            return  # history, from before anybody watched
        after = (tracker.hear_of_refused_start if is_later else tracker.hear)(before, told)
        if after == before:
            return
        watched.track = after
        for run in after.runs[len(before.runs) :]:
            # What is known by this very attempt's id was found to be no old news above.
            if run.key != told.invocation and self._is_judged(run_id(before.job, run.key)):
                watched.track = watched.track.without(run.key)
            else:
                self._record(watched, run, None)

    def _is_of_a_later_start(self, watched: Watched, told: Told) -> bool:
        """A start that the start limit refuses is said of the run before it, under that one's id:
        what is said of itself is said at its end."""
        assert told.invocation is not None
        if told.invocation == watched.track.retried:
            return True
        ended = self._end_of(watched, told.invocation)
        return ended is not None and told.at > ended + SECOND

    def _end_of(self, watched: Watched, invocation: InvocationId) -> Usec | None:
        """When a run that was judged ended, if that is known."""
        for one in self.turn.judgements:
            if invocation in (one.run.invocation, one.run.last_invocation):
                return one.run.finished
        return self.ledger.end_of(watched.job.name, invocation)

    def _record(self, watched: Watched, run: Open, before: Open | None) -> None:
        """A start is recorded as durably as an end."""
        if before is not None and len(before.attempts) == len(run.attempts):
            return
        shown = tracker.as_run(watched.track, run)
        self.turn.runs[shown.id] = shown
        self._record_attempts(shown.id, watched.job.name, run)
        if not self.catching_up:
            self.time.arm(watched)
            if watched.reckon is not Reckon.NOTHING:
                self.examine(watched)

    def keep_ends(self) -> None:
        """Record what ended and is not judged yet: the next start may not see how it ended."""
        for watched in self.jobs.values():
            for run in watched.track.runs:
                if run.ended:
                    shown = tracker.as_run(watched.track, run)
                    self.turn.runs[shown.id] = shown

    def _record_attempts(self, ident: Any, name: JobName, run: Open) -> None:
        self.turn.attempts += [
            (name, ident, attempt.invocation, number)
            for number, attempt in enumerate(run.attempts, 1)
            if attempt.invocation is not None
        ]

    def check_ended(self, job: JobName, seen: Seen) -> None:
        """The job's check unit has ended, one way or the other."""
        watched = self.jobs.get(job)
        if watched is None or (seen.invocation and seen.invocation == watched.last_check):
            return  # an end is signalled more than once
        watched.last_check = seen.invocation
        wait = watched.task.wait if watched.task is not None else None
        if wait is not None and wait.check == job:
            why = os.strerror(seen.errno) if seen.errno else ""
            wait.done, wait.how = True, verdicts.how_a_check_ended(seen.result, seen.status, why)

    # --- the past -----------------------------------------------------------------------------

    def catch_up(self, now: Usec, gap: str = "") -> Iterator[None]:
        """Read what the journal says about our units since the cursor, a stretch at a time.

        To be advanced whenever no examination is under way, so that memory stays flat. A replay
        is a no-op. Each job's newest run waits for the end: until then nobody knows whether it
        is the last one, which is looked at as it is now.
        """
        self.gap = gap  # a reason not to read it
        self._was_read, self.reach = False, Reach(self.boot)
        self.caught_up_at, self.caught_up_real = monotonic_usec(), now
        self.catching_up = True
        self.behind, self.unsettled, self.may_fold = set(), set(self.jobs), True
        self.spooled = frozenset(spool.known_ids(self.paths))
        self._cursors.clear()
        with journal.Journal() as source:
            try:
                if not gap:
                    yield from self._read_past(source)
            except JournalError as error:  # systemd still has the last run of each unit
                self.gap, self._was_read = error.fault, False
        self.look_around(now)
        self.catching_up = False
        for watched in self.jobs.values():
            watched.track = tracker.lose(watched.track, self.boot)
            if any(not (run.ended or run.last.seen_on_bus) for run in watched.track.runs):
                watched.is_doubtful, watched.since = True, watched.since or monotonic_usec()
                self.examine(watched)
            if any(self._is_over(run) for run in watched.track.runs):
                self.behind.add(watched.job.name)
            else:
                self._reveal(watched, now)
        self._examine_all()
        yield

    def _is_over(self, run: Open) -> bool:
        """It is of the past, and waits for its verdict."""
        return run.ended and self._is_past(run)

    def _reveal(self, watched: Watched, now: Usec) -> None:
        """All of the job's past is judged: what is open still is told, and shown."""
        if watched.standing.tally is None or watched.standing.incident is None:
            return
        change = alerts.reveal(watched.standing)
        watched.standing = self.turn.standings[watched.job.name] = change.standing
        for state, incident in change.messages:
            self.turn.deliveries += notify.told(
                state,
                incident,
                self._opened_by(incident),
                watched.job,
                notify.listeners(incident.to, self.config.sinks),
                self.node,
                now,
            )
        if change.opened is not None:
            self.revealed.append((change.opened, watched.job.unit))

    def _opened_by(self, incident: Incident) -> Judgement | None:
        for judgement in self.turn.judgements:
            if judgement.run.id == incident.run:
                return judgement
        known = self.ledger.verdicts_on(incident.run) if incident.run is not None else []
        return known[0].judgement if known else None

    def leave_the_past(self) -> None:
        """As soon as all of its runs are judged."""
        if self.catching_up or self.behind is None:
            return
        jobs = [self.jobs[name] for name in self.behind if name in self.jobs]
        self.behind = {
            job.job.name for job in jobs if any(self._is_over(run) for run in job.track.runs)
        }
        if self.behind:
            return
        self.behind, self.spooled = None, frozenset()
        self._move_on()

    def tell_meanwhile(self, now: Usec) -> None:
        """What went wrong in the past and recovered in it is one message, when all is judged."""
        if not self.may_fold or self.behind is not None or self.unsettled:
            return
        self.may_fold = False
        found = [
            notify.Meanwhile(job.job.name, job.job.unit, job.standing.folded, job.standing.is_alarm)
            for _, job in sorted(self.jobs.items())
            if job.standing.folded is not None
        ]
        if not found:
            return
        for one in found:
            watched = self.jobs[one.job]
            watched.standing = replace(watched.standing, folded=None)
            self.turn.standings[one.job] = watched.standing
        self.turn.deliveries += notify.meanwhile(found, self.config.sinks, self.node, now)
        self.meanwhile = notify.meanwhile_sentence(found)

    def _move_on(self) -> None:
        """The next start need not read again what was judged: were we killed every other second,
        the cursor would never be so old that `note_cursor` moves it, and there would be ever more
        to read."""
        if not self._was_read or not self.progress.cursor:
            return
        with contextlib.suppress(JournalError):  # as there
            source = self._journal()
            ripe = Usec(max(self.caught_up_at - CURSOR_LAG, 0))
            found, known = source.before(self.boot, ripe), source.at(self.progress.cursor)
            is_newer = known is not None and known.boot == self.boot and known.mono >= ripe
            if found is not None and not is_newer:
                self.progress = replace(
                    self.progress, cursor=found.cursor, boot=self.boot, at=found.at
                )
                self.turn.progress = self.progress

    def _read_past(self, source: journal.Journal) -> Iterator[None]:
        self._was_read, self.begins, last = True, source.begins(), None
        if self.progress.cursor:
            last = source.at(self.progress.cursor)
            self._follow_open_runs(source, last)
        if last is not None:
            self._pass_by(last)
        for number, told in enumerate(self._told_since(source), 1):
            self._pass_by(told)
            for watched in self.by_unit.get(told.unit, ()):
                self.hear(watched, told)
            if number % STRETCH == 0:
                self._examine_all()
                yield
        self.time.pass_by(Clock(now_usec(), monotonic_usec(), self.boot))

    def _pass_by(self, entry: Told | journal.Place) -> None:
        self.reach.move(entry.boot, entry.at, entry.mono)
        self.time.pass_by(Clock(entry.at, entry.mono, entry.boot))

    def rehearse_past(self) -> None:
        """Read, in a child, what is to be caught up with."""
        with journal.Journal() as source:
            for _ in self._told_since(source):
                pass

    def _told_since(self, source: journal.Journal) -> Iterator[Told]:
        """What was said since it was last read; nothing at the first start on this node."""
        progress = self.progress
        if not progress.cursor:
            return
        if source.at(progress.cursor) is not None:
            yield from self._readable(lambda: source.told_after(progress.cursor))
            return
        self.gap = "the entry that the cursor points at is gone"
        begin = Usec(max(progress.at - LOOK_BACK, 0))
        yield from self._readable(lambda: source.told_since(begin))
        if progress.boot != self.boot or now_usec() < progress.at:
            # Where the clock was set back, what came after it bears earlier times.
            yield from self._readable(lambda: source.told_since(Usec(0), boot=self.boot))

    def _readable(self, read: Callable[[], Iterator[Told]]) -> Iterator[Told]:
        """Where a part cannot be read, the rest is; and once more, since a part may be missing
        only because journald rotates meanwhile. A replay is a no-op."""
        fault = ""
        for _ in range(2):
            try:
                yield from read()
                return
            except JournalError as error:
                fault = error.fault
        self.gap, self._was_read = fault, False

    def _follow_open_runs(self, source: journal.Journal, last: journal.Place | None) -> None:
        """What the ledger has open may have ended before the cursor: it was being examined. What
        began after it is read in its turn."""
        for watched in self.jobs.values():
            with contextlib.suppress(JournalError):  # its end is nowhere then
                self._follow(watched, source, last)
            if watched.track.runs:
                self._see_if_it_waits(watched)

    def _follow(
        self, watched: Watched, source: journal.Journal, last: journal.Place | None
    ) -> None:
        followed: set[BootId] = set()
        for run in self._in_order(watched):
            known = (one.invocation for one in run.attempts if one.invocation is not None)
            begins = (source.began(watched.job.unit, invocation) for invocation in known)
            boot, mono = next(filter(None, begins), (BootId(""), Usec(0)))
            is_ahead = last is not None and boot == last.boot and mono > last.mono
            if not boot or boot in followed or is_ahead:
                continue
            followed.add(boot)
            for told in source.told_since(mono, watched.job.unit, boot=boot):
                self.hear(watched, told)

    def _see_if_it_waits(self, watched: Watched) -> None:
        """For its next attempt, which may come any moment: the journal does not say so before."""
        with contextlib.suppress(BusError):  # not loadable; or the bus is gone, as is soon found
            if self.calls.sub_state(watched.job.unit) not in tracker.BETWEEN:
                return
            seen = self.calls.look(watched.job.unit, self.boot)
            if watched.track.find(seen.invocation) is not None:
                self.see(seen, now_usec(), asked=True)

    def _examine_all(self) -> None:
        for watched in self.jobs.values():
            if not watched.track.runs:
                continue
            # Where the journal has come to a later boot, what ran under the one before is over;
            # else the runs after it would be judged before it.
            boots = {run.boot for run in watched.track.runs} - self.reach.passed
            watched.track = tracker.lose(watched.track, *boots)
            if self._next_ended(watched) is not None:
                self.examine(watched)

    def _next_ended(self, watched: Watched) -> Open | None:
        """The run that is to be judged next: a job's runs are judged in their order."""
        runs = self._in_order(watched)
        if self.catching_up:
            # What is still to be read may have begun before what the bus shows, or the ledger has.
            runs = [run for run in runs if self.reach.covers(run)][:-1]
        return next((run for run in runs if run.ended), None)

    def _in_order(self, watched: Watched) -> list[Open]:
        return tracker.in_order(watched.track.runs, self.reach.boots)

    def look_around(self, now: Usec) -> None:
        """Ask systemd about every unit of ours that is not plainly at rest.

        Also where a run is to be judged: one after it, of which the journal says nothing, has
        changed what is to be looked at.
        """
        for unit, state in self.calls.states(list(self.by_unit)).items():
            if state != "inactive" or any(job.track.runs for job in self.by_unit[unit]):
                self.see(self.calls.look(unit, self.boot), now, asked=True)

    def sweep(self, now: Usec) -> Iterator[None]:
        """Ask, a few at a time, about units at rest: a run that left no trace in the journal
        (LogLevelMax=) may still show in their properties."""
        for watched in self._in_turn():
            with contextlib.suppress(BusError), self.calls.keeping(watched.job.unit):
                invocation = self.calls.invocation(watched.job.unit)
                if invocation and not self._is_old_news(watched, invocation):
                    self.see(self.calls.look(watched.job.unit, self.boot), now, asked=True)
                self._ask_log_settings(watched)
                last = self._newest_elapse(watched)
                if not watched.track.runs:
                    # What elapsed so far started a run that is over: it starts no other.
                    watched.track = replace(
                        watched.track,
                        last_trigger=max(watched.track.last_trigger, last.at),
                        last_trigger_mono=max(last.mono, Usec(1)),
                    )
            self.look_at_time(watched)
            yield

    def reckon_all(self, *, only_dead: bool = False) -> Iterator[None]:
        """Ask, a few at a time, what all timers promise: they may have changed. Or only of jobs of
        which no timer was seen to be alive."""
        for watched in self._in_turn():
            if not only_dead or all(promise.is_nominal for promise in watched.promises):
                self.look_at_time(watched)
                yield

    def _in_turn(self) -> Iterator[Watched]:
        """The jobs that there are, as they are when it is their turn."""
        for name in list(self.jobs):
            if (watched := self.jobs.get(name)) is not None:
                yield watched

    def look_at_time(self, watched: Watched) -> None:
        """Its deadline has passed, or may have moved."""
        watched.reckon = Reckon.ALL
        self.time.begin(watched.job.name)
        self.examine(watched)

    # --- examinations -------------------------------------------------------------------------

    def examine(self, watched: Watched) -> None:
        """Look into this job's ended runs as soon as may be."""
        if watched.task is not None:
            watched.again = True
        else:
            watched.task = Task(self._examine(watched))

    def step(self, readable: set[int]) -> None:
        """Advance every examination that does not have to wait."""
        now = time.monotonic()
        for watched in [watched for watched in self.jobs.values() if watched.task is not None]:
            task = watched.task
            assert task is not None
            wait = task.wait
            if wait is not None and not (
                wait.done or wait.until <= now or (wait.fileno in readable)
            ):
                continue
            try:
                task.wait = next(task.steps)
            except StopIteration:
                watched.task = None
                if watched.again:
                    watched.again = False
                    self.examine(watched)
            except BusError:
                watched.task = None  # examined again after the new connection
                raise

    def waits(self) -> list[Wait | None]:
        """What the examinations under way wait for; None is ready to go on."""
        return [watched.task.wait for watched in self.jobs.values() if watched.task is not None]

    def _examine(self, watched: Watched) -> Steps:
        number = 0
        while True:
            run = self._next_ended(watched)
            if run is None and (watched.since is None or self.catching_up):
                if watched.reckon is Reckon.NOTHING or self.catching_up:
                    return
                yield None  # let the turn be committed: the ledger is asked for the runs
                if self._next_ended(watched) is None:
                    yield from self.time.reckon(watched)
                continue
            fault = ""
            # The last run that nobody witnessed is looked at as it is now: unless there was another
            # since the past was read, which then has left what is there.
            newest = run is not None and self._is_newest(watched, run)
            if run is None or newest or not self._is_past(run):
                fault = yield from self._synchronize("")
            if run is None or _needs_words(run) or (newest and self._is_past(run)):
                self._hear_recent(watched)
                self._lose_sight(watched)
                before, run = run, self._next_ended(watched)
                if run is None or before is None or _identity(run) != _identity(before):
                    continue  # it ended after journald was asked
            yield from self._judge(watched, run, fault)
            number += 1
            if number % BATCH == 0:
                yield None  # let the turn be committed

    def _is_past(self, run: Open) -> bool:
        if run.last.ended is None:
            return False
        return run.boot != self.boot or (run.last.ended_mono or 0) <= self.caught_up_at

    def _is_newest(self, watched: Watched, run: Open) -> bool:
        return self._in_order(watched)[-1].key == run.key

    def _next_start(self, watched: Watched, run: Open) -> tracker.Attempt | None:
        """The beginning of the run after this one, if there is one in the same boot."""
        runs = [
            one
            for one in self._in_order(watched)
            if one.boot == run.boot and one.attempts[0].started_mono is not None
        ]
        keys = [one.key for one in runs]
        at = keys.index(run.key) + 1 if run.key in keys else len(runs)
        return runs[at].attempts[0] if at < len(runs) else None

    def _hear_recent(self, watched: Watched) -> None:
        begins: dict[BootId, Usec] = {}
        for run in watched.track.runs:
            mono = run.attempts[0].started_mono
            if mono is not None:
                begins[run.boot] = min(mono, begins.get(run.boot, mono))
        if watched.since is not None:
            begins[self.boot] = min(watched.since, begins.get(self.boot, watched.since))
        watched.since = None
        unit, what = watched.job.unit, f"{watched.job.name}: systemd's entries about it"

        def read() -> None:
            with journal.Journal() as source:
                for boot, begin in begins.items():
                    list(source.told_since(begin, unit, boot=boot))

        if not begins or not self.guard.may_look(what, read):
            return  # what the bus said stands
        with contextlib.suppress(JournalError), self.guard.at(what):
            for boot, begin in begins.items():
                for told in self._journal().told_since(begin, unit, boot=boot):
                    self.hear(watched, told)

    def _lose_sight(self, watched: Watched) -> None:
        """What the ledger has under way may be over by systemd's word, and its end nowhere."""
        if not watched.is_doubtful:
            return
        watched.is_doubtful = False
        try:
            seen = self.calls.look(watched.job.unit, self.boot)
        except BusError:
            return  # not loadable; or the bus is gone, and all of this is done again
        for run in watched.track.runs:
            known = any(one.invocation == seen.invocation for one in run.attempts)
            if not run.ended and not (known and seen.invocation):
                watched.track = tracker.lose_sight(watched.track, run)

    def _journal(self) -> journal.Journal:
        self._journal_used = time.monotonic()
        return self.journal

    def _synchronize(self, namespace: str) -> Generator[Wait | None, None, str]:
        """Wait until all that was said can be read. Returns why it cannot, or nothing."""
        try:
            question = journal.Synchronizing(namespace)
        except JournalError as error:
            return error.fault
        try:
            until = time.monotonic() + SYNC_PATIENCE
            while not question.done():
                if time.monotonic() >= until:
                    return f"journald did not synchronize within {SYNC_PATIENCE:.0f} s"
                yield Wait(until, fileno=question.fileno())
        except JournalError as error:
            return error.fault
        finally:
            question.close()
        return ""

    def _judge(self, watched: Watched, open_run: Open, fault: str) -> Steps:
        # In force at its end: a reload may come while this waits.
        job, rules_hash = watched.job, watched.rules_hash
        run = tracker.as_run(watched.track, open_run)
        said, completeness = yield from self._read_output(watched, open_run, run, fault)
        already = verdicts.already_done_by_status(job, run) or any(
            name.startswith("already_done") for name in said.matched
        )
        findings: tuple[Finding, ...] = ()
        if already and verdicts.may_be_already_done(run):
            findings = yield from self._look(
                watched, job, open_run, run, said, completeness, proof=True
            )
        elif run.result == "success":
            findings = yield from self._look(
                watched, job, open_run, run, said, completeness, proof=False
            )
        depends = listening.reads_output(job)
        weighed = verdicts.weigh(
            job,
            run,
            findings,
            already=already,
            unheard=completeness.reason if depends else "",
            shut_down=self._is_shut_down(open_run),
        )
        note = printable(open_run.note) if verdicts.is_skip(run) else ""
        self._conclude(
            watched,
            open_run,
            Judgement(
                run=run,
                verdict=weighed.verdict,
                reason=weighed.reason,
                summary=note or weighed.summary,
                findings=(verdicts.result_finding(run), *findings),
                steps=tuple(said.steps),
                report=said.report,
                rules_hash=rules_hash,
                witness=self._witness(open_run, findings),
                at=now_usec(),
                output=completeness if depends or not completeness.complete else None,
            ),
            tuple(said.tail),
        )

    def _is_shut_down(self, run: Open) -> bool:
        """Whether it was the host's way down that ended the run, and nobody's `systemctl stop`.

        Both end it by a job. systemd numbers jobs in their order, and makes those that stop units
        for a shutdown after the shutdown's own.
        """
        attempt = run.last
        if attempt.stop_job is None or attempt.ended_mono is None:
            return False
        shutdown = self.calls.job(journal.SHUTDOWN) if run.boot == self.boot else 0
        if not shutdown:
            try:
                shutdown = self._journal().shutdown_after(run.boot, attempt.ended_mono) or 0
            except JournalError:
                return False
        return 0 < shutdown < attempt.stop_job

    def _witness(
        self, open_run: Open, findings: tuple[Finding, ...]
    ) -> Literal["live", "replayed", "late"]:
        if not self._is_past(open_run):
            return "live"
        return "late" if any(one.evidence.get("late") for one in findings) else "replayed"

    def accept(self, order: orders.Accept, now: Usec) -> str:
        """A person's word on a run. Returns why it cannot be taken, or nothing.

        Everything that was concluded before has to be committed: what stands is asked of the
        ledger.
        """
        watched = self.jobs.get(order.job)
        if watched is None:
            return f"no job {order.job} is watched"
        known = self.ledger.verdicts_on(order.run)
        if not known or known[0].judgement.run.job != order.job:
            return f"no run {order.run} of {order.job} is on record"
        standing = known[-1].judgement
        if standing.verdict is Verdict.ACCEPTED:
            return ""  # we were killed before the order was removed
        if fault := verdicts.why_not_accepted(standing.verdict):
            return f"run {order.run} of {order.job} cannot be accepted, {fault}"
        accepted = verdicts.accepted(standing, order.because, order.by, now)
        when = alerts.moment(standing)
        later = [
            one
            for one in self.ledger.judged_after(known[0])
            if one.past_slot is None or one.past_slot > when
        ]
        job = watched.job
        change = alerts.accept(watched.standing, accepted, later, job.alerts, job.severity)
        if watched.past is None and rules.median_reach(job):
            watched.past = self._good_past(watched, None)  # as it is before this
        self.settle(watched, accepted, change)
        return ""

    def _conclude(
        self, watched: Watched, open_run: Open, judgement: Judgement, tail: tuple[str, ...]
    ) -> None:
        job, run = watched.job, judgement.run
        more = self.catching_up or any(
            one.key != open_run.key and self._is_over(one) for one in watched.track.runs
        )
        told = self._told_by_hook(watched, judgement)
        decide = alerts.decide if told is None else alerts.told_by_hook
        change = decide(watched.standing, judgement, job.alerts, job.severity, more=more)
        watched.last_judged = run.last_invocation or watched.last_judged
        watched.last_finished = run.finished or watched.last_finished
        if open_run.boot == self.boot:
            watched.last_finished_mono = open_run.last.ended_mono or 0
            # What elapsed until it began has started it, or a run before it.
            began = open_run.attempts[0].started_mono or Usec(0)
            last = max(watched.track.last_trigger_mono, began)
            watched.track = replace(watched.track, last_trigger_mono=last)
        watched.track = watched.track.without(open_run.key)
        _forget_transient(watched)
        self.turn.runs.pop(run.id, None)
        self._record_attempts(run.id, job.name, open_run)
        ids = (one.invocation for one in open_run.attempts)
        self.uncommitted.update((job.name, ident) for ident in ids if ident is not None)
        self.turn.triggers[job.name] = watched.track.last_trigger
        watched.overdue = ""
        if watched.reckon is Reckon.NOTHING:
            watched.reckon = Reckon.NEXT
        self.settle(watched, judgement, change, tail)
        if not more:
            self._reveal(watched, judgement.at)
        still = watched.standing.incident
        if told is not None and (still is None or still.id != told.id):
            said = replace(judgement, reason="superseded", summary="it is part of another alert")
            listeners = notify.listeners(told.to, self.config.sinks)
            self.turn.deliveries += notify.told(
                "resolved", told, said, job, listeners, self.node, judgement.at
            )

    def _told_by_hook(self, watched: Watched, judgement: Judgement) -> Incident | None:
        """With us down, the OnFailure= hook may have told of this run; then its end is told as
        well. The hook sees no further than that run: it may belong to an incident that is open."""
        if not self.spooled:
            return None
        to = watched.job.alerts.to
        alert = alert_id(judgement.run.id)
        if not any(delivery_id(alert, "firing", name) in self.spooled for name in to):
            return None
        return Incident(
            id=alert,
            job=watched.job.name,
            opened=judgement.run.finished or judgement.at,
            verdict=judgement.verdict,
            reason=judgement.reason,
            summary=judgement.summary,
            run=judgement.run.id,
            severity=watched.job.severity,
            to=to,
        )

    def settle(
        self,
        watched: Watched,
        judgement: Judgement,
        change: alerts.Change,
        tail: tuple[str, ...] = (),
    ) -> None:
        """A verdict and what follows from it, into the turn."""
        job, turn = watched.job, self.turn
        watched.standing = turn.standings[job.name] = change.standing
        self.may_fold |= change.standing.folded is not None
        turn.judgements.append(judgement)
        self.judged.add(judgement.run.id)
        self._remember(watched, judgement)
        if judgement.verdict.klass is Klass.GOOD:
            watched.good = max(watched.good or Usec(0), judgement.at)
            if watched.durations is not None and judgement.run.duration is not None:
                watched.durations = (judgement.run.duration, *watched.durations)[:GOOD_RUNS]
        if change.closed is not None:
            turn.closed.append(change.closed)
        for state, incident in change.messages:
            said = judgement
            if state == "resolved" and change.opened is not None:
                said = replace(judgement, reason="superseded", summary="worse has come, see there")
            listeners = notify.listeners(incident.to, self.config.sinks)
            turn.deliveries += notify.told(
                state, incident, said, job, listeners, self.node, judgement.at, tail
            )
        self.concluded.append(Concluded(judgement, change, job))

    # --- output -------------------------------------------------------------------------------

    def _read_output(
        self, watched: Watched, open_run: Open, run: Run, fault: str
    ) -> Generator[Wait | None, None, tuple[output.Output, Completeness]]:
        windows = dict(watched.windows) if watched.windows is not None else None
        try:
            return (yield from self._read_once(watched, open_run, run, fault, is_last=False))
        except JournalError:  # a file may just have been rotated, vacuumed or set aside
            watched.windows = windows
            self.journal.close()
            return (yield from self._read_once(watched, open_run, run, fault, is_last=True))

    def _read_once(
        self, watched: Watched, open_run: Open, run: Run, fault: str, *, is_last: bool
    ) -> Generator[Wait | None, None, tuple[output.Output, Completeness]]:
        settings = self._log_settings(watched) if _needs_log_settings(watched) else watched.log
        depends = listening.reads_output(watched.job)
        if settings is None and depends:
            yield Wait(time.monotonic() + BUS_PAUSE)
            settings = self._log_settings(watched)
        limit = self._rate_limit(settings)
        said = output.Output({}, limit, listening.awaited_steps(watched.job))
        if watched.windows_boot != run.boot:
            watched.windows, watched.windows_boot = None, run.boot
        started = begin = open_run.attempts[0].started_mono
        if limit is not None and watched.windows is None and begin is not None:
            # The first look: what came before counts too.
            begin = Usec(max(begin - limit.interval, 0))
        said.windows = watched.windows = watched.windows or {}
        if run.invocation is None:
            return said, Completeness("the run never began")
        if started is None or begin is None:
            return said, Completeness("when the run began is not known")
        was_full = said.was_full(started)
        source = self._journal()
        namespace = settings.namespace if settings is not None else ""
        if namespace:
            fault = (yield from self._synchronize(namespace)) or fault
            source = journal.Journal(namespace)
        # Of a run that is read back, PID 1's entries are how it was found; only the last may have
        # been shown by systemd alone.
        words = depends and not namespace
        words = words and (not self._is_past(open_run) or self._is_newest(watched, open_run))
        following = self._next_start(watched, open_run)
        later = following.started_mono if following is not None else None
        own = (started, later)
        try:
            if not (
                yield from self._scan(watched, source, said, open_run, begin, own, words=words)
            ):
                return said, Completeness(DIED)
            if said.dropped:
                fault = fault or f"journald dropped {said.dropped} messages of this run"
            if depends:
                if was_full:
                    fault = fault or "journald's rate limit was reached before it began"
                fault = fault or self._incomplete(said, settings)
                fault = fault or self._lost(source, said, open_run, namespace, words=words)
        except JournalError as error:
            if not is_last:
                raise
            fault = error.fault
        finally:
            if source is not self.journal:
                source.close()
        # A line that journald reads after the next start gets that run's id. What must never be
        # said is then found there; only that something was *not* said proves nothing here.
        later = later or said.next_run  # the bus may be slower than journald
        ended = open_run.last.ended_mono
        soon = later is not None and ended is not None and later < ended + SECOND
        strayed = "the next run began before all of its lines were read" if soon else ""
        return said, Completeness(fault, strayed)

    def steps_so_far(
        self, watched: Watched, open_run: Open
    ) -> Generator[Wait | None, None, tuple[str, ...]]:
        """The steps that a run under way has reached."""
        run = tracker.as_run(watched.track, open_run)
        windows, watched.windows = watched.windows, None
        said, _ = yield from self._read_output(watched, open_run, run, "")
        watched.windows = windows  # its lines are counted at its end
        return tuple(said.steps)

    def _scan(
        self,
        watched: Watched,
        source: journal.Journal,
        said: output.Output,
        open_run: Open,
        begin: Usec,
        own: tuple[Usec, Usec | None],
        *,
        words: bool,
    ) -> Generator[Wait | None, None, bool]:
        """Read the output; False where that must not be done."""
        job, boot, ended = watched.job, open_run.boot, open_run.last.ended_mono
        ids = [one.invocation for one in open_run.attempts if one.invocation is not None]
        what = f"{job.name}: its output"
        mains = {pid: invocation in ids for invocation, pid in watched.mains}
        mains = mains if boot == self.boot else {}

        def rehearse() -> None:
            trial = output.Output(listening.compile_patterns(job), said.limit, said.awaited)
            with journal.Journal(source.namespace) as again:
                items = again.lines(job.unit, ids, begin, own, boot=boot, words=words, mains=mains)
                listening.take_items(trial, items, own, ended)

        if not (yield from self._may_look(what, rehearse)):
            return False
        items = source.lines(job.unit, ids, begin, own, boot=boot, words=words, mains=mains)
        while True:
            until = time.monotonic() + (LONG_SLICE if self.catching_up else SLICE)
            with self.guard.at(what):
                said.patterns = self._patterns(watched)
                is_all = listening.take_items(said, items, own, ended, until)
            if is_all:
                return True
            if source is self.journal:
                # Others have their turn now, and must not seek in what is being read here.
                self.journal = journal.Journal()
            yield None

    def _may_look(
        self, what: str, look: Callable[[], object]
    ) -> Generator[Wait | None, None, bool]:
        """What a daemon died at is tried in a child first; the others go on meanwhile."""
        if not self.guard.is_suspect(what):
            return True
        trial = Trial(look)
        while not trial.is_over:
            yield Wait(trial.until, fileno=trial.fileno())
        return self.guard.judge(what, trial)

    def _patterns(self, watched: Watched) -> dict[str, Callable[[bytes], bool | None]]:
        if watched.patterns is None:
            watched.patterns = listening.compile_patterns(watched.job)
        return watched.patterns

    def _log_settings(self, watched: Watched) -> LogSettings | None:
        try:
            with self.calls.keeping(watched.job.unit):
                return self._ask_log_settings(watched)
        except BusError:
            return None

    def _ask_log_settings(self, watched: Watched) -> LogSettings | None:
        if _needs_log_settings(watched):
            settings = self.calls.log_settings(watched.job.unit)
            if not settings.is_loaded:
                return settings
            watched.log = self._settings.setdefault(settings, settings)
        return watched.log

    def _rate_limit(self, settings: LogSettings | None) -> output.RateLimit | None:
        """The limit as it is configured. journald lets more through where much disk is free;
        how much more cannot be known afterwards.

        A higher limit of the unit does not help: journald looks it up when it reads a line, and a
        unit that ended before is gone by then, its limit with it.
        """
        if settings is None:
            return None
        journald = self._journald_settings(settings.namespace)
        usual = output.RateLimit(burst=journald.burst, interval=journald.interval)
        own = output.RateLimit(
            burst=settings.burst or usual.burst, interval=settings.interval or usual.interval
        )
        if usual.is_off:
            return own
        return output.RateLimit(
            burst=min(own.burst, usual.burst), interval=max(own.interval, usual.interval)
        )

    def _journald_settings(self, namespace: str) -> journal.JournaldSettings:
        # Asked for anew each time: a reload may come while an output is being read.
        if namespace not in self.journald:
            if self.watch is not None:
                self.watch.add(journal.journald_unit(namespace))  # started again, it has read them
            self.journald[namespace] = journal.journald_settings(namespace)
        return self.journald[namespace]

    def _incomplete(self, said: output.Output, settings: LogSettings | None) -> str:
        """Why silence in the output proves nothing; empty if it does."""
        if said.unread:
            return f"{said.unread} of its lines are too long to be searched"
        if settings is None or not settings.is_loaded:
            return "the unit's settings for its output are not known"
        if said.limit_reached:
            return f"{said.lines} lines reached journald's rate limit, more may have been dropped"
        return listening.incomplete_by_settings(
            settings, self._journald_settings(settings.namespace)
        )

    def _lost(
        self,
        source: journal.Journal,
        said: output.Output,
        run: Open,
        namespace: str,
        *,
        words: bool,
    ) -> str:
        """Whether the journal may have lost what lay between the run's start and its end: a file
        of it damaged or removed, a disk that was full, journald stopped."""
        if said.halted:
            return "journald was stopped while it ran, and no later line of it is there"
        if namespace:
            return "" if source.begins() is not None else f"the journal of {namespace} is empty"
        if words and said.begun and said.over:
            return ""
        if words and (said.begun is not None or said.over or self._systemd_tells()):
            what = "end" if said.begun else "start"
            return f"systemd's entry about its {what} is not in the journal, which has lost a part"
        begins = source.begins() if words else self.begins
        if begins is None or _is_before(run, begins):
            return "the journal does not reach back to its start"
        return ""

    def _systemd_tells(self) -> bool:
        try:
            return self.calls.tells_of_starts()
        except BusError:
            return True

    # --- rules --------------------------------------------------------------------------------

    def _look(
        self,
        watched: Watched,
        job: Job,
        open_run: Open,
        run: Run,
        said: output.Output,
        completeness: Completeness,
        *,
        proof: bool,
    ) -> Generator[Wait | None, None, tuple[Finding, ...]]:
        """Every rule's finding, in the order of the file; as proof, only what looks at the work."""
        window = self._window(watched, open_run, run, proof=proof)
        findings: dict[str, Finding] = {}
        wanted = {
            rules.name(index, rule): rules.as_proof(rule) if proof else rule
            for index, rule in enumerate(job.outcome)
            if not proof or isinstance(rule, Artifact | Command)
        }
        asked = yield from self._for_the_check(job, wanted, run)
        for label, rule in wanted.items():
            if label in asked:
                continue
            what = f"{job.name}: {label}"
            look = functools.partial(self._look_here, rule, label, run, window, said, completeness)
            if not (yield from self._may_look(what, look)):
                findings[label] = Finding(label, Held.UNKNOWN, DIED, {})
                continue
            with self.guard.at(what):
                findings[label] = look()
        if asked:
            findings |= yield from self._ask_check(watched, run, window, asked)
        findings = self._of_this_run(watched, open_run, run, wanted, findings)
        found = [findings[label] for label in wanted]
        if self._is_past(open_run) and not self._is_newest(watched, open_run):
            found = [rules.seen_late(finding, window, now_usec()) for finding in found]
        return tuple(found)

    def _for_the_check(
        self, job: Job, wanted: dict[str, Rule], run: Run
    ) -> Generator[Wait | None, None, dict[str, Artifact | Command]]:
        """Sort out what the check unit looks at; all of it, if to find that out is deadly."""
        what = f"{job.name}: where its artifacts lie"
        sort = functools.partial(self._foreign, wanted, run)
        if not (yield from self._may_look(what, sort)):
            return {
                label: rule
                for label, rule in wanted.items()
                if isinstance(rule, Artifact | Command)
            }
        with self.guard.at(what):
            return sort()

    def _foreign(self, wanted: dict[str, Rule], run: Run) -> dict[str, Artifact | Command]:
        """What is foreign, slow or costly; and the artifact that such a command is handed."""
        asked: dict[str, Artifact | Command] = {}
        artifacts = [label for label, rule in wanted.items() if isinstance(rule, Artifact)]
        handed = {
            rules.artifact_of(label, artifacts)
            for label, rule in wanted.items()
            if isinstance(rule, Command) and commands.ARTIFACT in rule.command
        }
        for label, rule in wanted.items():
            if isinstance(rule, Command) or (
                isinstance(rule, Artifact)
                and (
                    label in handed
                    or rules.needs_reading(rule)
                    or probes.is_remote(rule, run.unit, self.host)
                    or probes.is_costly(rule, run.unit, self.host)
                )
            ):
                asked[label] = rule
        return asked

    def _of_this_run(
        self,
        watched: Watched,
        open_run: Open,
        run: Run,
        wanted: dict[str, Rule],
        findings: dict[str, Finding],
    ) -> dict[str, Finding]:
        """Without what may be the next run's, if that has begun meanwhile."""
        following = self._next_start(watched, open_run)
        next_start = following.started if following is not None else None
        if next_start is None or self._is_past(open_run):
            return findings
        return {
            label: rules.overtaken(findings[label], next_start)
            if isinstance(rule, Artifact | Command)
            else findings[label]
            for label, rule in wanted.items()
        }

    def _look_here(
        self,
        rule: Rule,
        label: str,
        run: Run,
        window: rules.Window,
        said: output.Output,
        completeness: Completeness,
    ) -> Finding:
        """What one rule says that the check unit need not look at."""
        match rule:
            case Artifact():
                seen = probes.look(rule, run.unit, self.host, rules.spans(rule, window))
                return rules.artifact(rule, label, seen, window, None)
            case Duration():
                return rules.duration(rule, label, run, window.past)
            case Report():
                return rules.report(rule, label, said.report, said.faults, completeness)
            case Journal():
                return rules.journal(rule, label, said.matched.get(label), completeness)
            case model.Steps():
                return rules.steps(rule, label, said.steps, completeness)
            case Command():
                raise AssertionError("a command is never looked at here")
            case _ as never:
                assert_never(never)

    def _window(self, watched: Watched, open_run: Open, run: Run, *, proof: bool) -> rules.Window:
        now = now_usec()
        self.note_clock(now)
        started = run.started or now
        set_back = rules.set_back(run)
        needs_period = proof or any(
            isinstance(rule, Artifact) and rule.written_by == "period"
            for rule in watched.job.outcome
        )
        period = self._period_start(watched, run, started) if needs_period else started
        return rules.Window(
            run_start=run.started or Usec(0),
            early=self._early(watched, open_run, run),
            set_back=set_back,
            set_on=rules.set_on(run),
            twice=set_back > 0 and self._ran_between(watched, run, started - set_back, now),
            ahead=Usec(rules.COARSE if now < self.future_until else rules.AHEAD),
            run_end=run.finished or now,
            period_start=period,
            looked=now,
            past=self._past(watched, run) if rules.median_reach(watched.job) else (),
        )

    def _ran_between(self, watched: Watched, run: Run, begin: int, end: int) -> bool:
        """Whether another run of the job ran then, by the clock on the wall: one of this turn, one
        after this one, or one that is on record."""
        judged = (one.run for one in self.turn.judgements if one.run.job == run.job)
        starts = [one.started for one in judged if one.id != run.id]
        runs = watched.track.runs
        starts += [one.attempts[0].started for one in runs if one.key != run.key]
        begin -= run.duration or 0  # one that took no longer than this one, whenever it began
        return any(at is not None and begin <= at <= end for at in starts) or (
            self.ledger.began_between(run, begin, end)
        )

    def _past(self, watched: Watched, run: Run) -> tuple[rules.Earlier, ...]:
        """The good runs before this one: what we remember, or for an older one the ledger does."""
        began = rules.began(run, now_usec())
        known = watched.past
        if known is None:
            known = watched.past = self._good_past(watched, None)
        if known and began < known[0].began:
            older = {one.began: one for one in self._good_past(watched, began)}
            known = tuple((older | {one.began: one for one in known}).values())
        return rules.past_before(known, began)

    def _good_past(self, watched: Watched, before: Usec | None) -> tuple[rules.Earlier, ...]:
        found = self.ledger.good_runs(watched.job.name, rules.median_reach(watched.job), before)
        return rules.past_of(found, watched.track.unit, self._measured(watched))

    def _measured(self, watched: Watched) -> list[str]:
        unit = watched.track.unit
        return rules.measured_patterns(watched.job, lambda path: expand(path, unit, host=self.host))

    def _remember(self, watched: Watched, judgement: Judgement) -> None:
        """What the next run is measured against. Not committed yet, so the ledger lacks it."""
        if watched.past is None or judgement.run.unit != watched.track.unit:
            return
        began = rules.began(judgement.run, judgement.at)
        entry = rules.earlier(judgement, self._measured(watched))
        kept = [one for one in watched.past if one.began != began]
        kept += [entry] if entry is not None else []
        kept.sort(key=lambda one: one.began, reverse=True)
        watched.past = tuple(kept[: rules.median_reach(watched.job)])

    def _early(self, watched: Watched, open_run: Open, run: Run) -> Usec:
        """How long before its start a file may be the run's.

        systemd stamps a start when it has forked, which a busy one comes to late. Not before the
        end of the run before it: what was written until then is that run's.
        """
        began = open_run.attempts[0].started_mono
        if open_run.boot == self.boot and watched.last_finished_mono and began is not None:
            since_then = began - watched.last_finished_mono
        else:
            since_then = (run.started or 0) - watched.last_finished
        return Usec(min(max(since_then, 0), SECOND))

    def _period_start(self, watched: Watched, run: Run, started: Usec) -> Usec:
        """The timer's elapse before this run's own, else a day before it."""
        own = run.slot or started
        last = self._newest_elapse(watched).at
        if last and last < own:
            return last
        previous = self.ledger.previous_slot(run.job, own)
        return previous if previous is not None else Usec(started - DAY)

    def _ask_check(
        self,
        watched: Watched,
        run: Run,
        window: rules.Window,
        asked: dict[str, Artifact | Command],
    ) -> Generator[Wait | None, None, dict[str, Finding]]:
        """Have the check unit look. What it has not answered at its end is unknown."""
        unit = check_unit(watched.job.name)
        request = checks.Request(
            job=watched.job.name,
            run=run.id,
            unit=run.unit,
            invocation=run.last_invocation or "",
            user=self._user(run.unit, asked),
            window=replace(window, looked=Usec(0)),  # it looks at the clock itself
            rules=asked,
        )
        fault = yield from self._start_check(watched, request, unit)
        if not fault and not checks.is_answered(request, self.paths):
            wait = Wait(time.monotonic() + checks.patience(request), check=watched.job.name)
            while not wait.done and time.monotonic() < wait.until:
                yield wait
            if not checks.is_answered(request, self.paths):
                yield from self._while_going_down()
            fault = wait.how if wait.done else "it did not end"
            fault = f"{unit} gave no answer: {fault}" if fault else f"{unit} gave no answer"
        answer = checks.read_answer(request, self.paths)
        checks.forget(watched.job.name, self.paths)
        unknown = {label: Finding(label, Held.UNKNOWN, fault, {"check": unit}) for label in asked}
        return unknown | {one.rule: one for one in answer if one.rule in asked}

    def _user(self, unit: UnitName, asked: dict[str, Artifact | Command]) -> str | None:
        """Whom a command runs as that does not say it itself: the unit's own User=."""
        if all(isinstance(rule, Artifact) or rule.user for rule in asked.values()):
            return None
        return self.calls.user(unit)

    def _start_check(
        self, watched: Watched, request: checks.Request, unit: UnitName
    ) -> Generator[Wait | None, None, str]:
        """Returns why it cannot be started, or nothing. A bus that is gone soon comes back."""
        until = time.monotonic() + BUS_PATIENCE
        while True:
            try:
                if self.watch is None:
                    raise BusError("the system bus is gone")
                self.watch.add(unit)
                # The daemon before this one may have asked, and was not there for the answer.
                if checks.is_answered(request, self.paths) or (
                    checks.is_asked(request, self.paths) and self._runs(unit)
                ):
                    return ""
                checks.ask(request, self.paths)
                # Whatever it is at is of no interest any more: an earlier run's request.
                self.calls.restart(unit)
            except OSError as error:
                return f"{unit} could not be started: {error.strerror}"
            except RefusedError as error:  # masked, for one
                yield from self._while_going_down()
                return f"{unit} could not be started: {error}"
            except BusError as error:
                if time.monotonic() >= until:
                    return f"{unit} could not be started: {error}"
                yield Wait(time.monotonic() + 1.0)
            else:
                return ""

    def _while_going_down(self) -> Generator[Wait | None, None, None]:
        """The host shuts down, and lets nobody look any more: that is the next start's work."""
        while self.calls.job(journal.SHUTDOWN):
            yield Wait(time.monotonic() + 1.0)

    def _runs(self, unit: UnitName) -> bool:
        return self.calls.sub_state(unit) == "start"

    def look_at_checks(self) -> None:
        """After a new connection: a check may have ended while nobody listened."""
        waiting = {
            check_unit(watched.job.name): watched.task.wait
            for watched in self.jobs.values()
            if watched.task is not None and watched.task.wait is not None
        }
        waiting = {unit: wait for unit, wait in waiting.items() if wait.check is not None}
        for unit, state in self.calls.states(list(waiting)).items():
            if state in ("inactive", "failed"):
                waiting[unit].done = True

    # --- the commit ---------------------------------------------------------------------------

    def note_cursor(self, now: Usec) -> None:
        """Move the cursor on, behind the present: what it leaves behind, the bus has shown.

        Only while nothing runs under another job may it pass; an open run is in the ledger.
        """
        try:
            tail = self._journal().tail()
        except JournalError:
            return  # no journal, no cursor; the next turn tries again
        if tail is None:
            return
        mono = monotonic_usec()
        self._cursors.append((tail.cursor, now, mono))
        ripe = [cursor for cursor in self._cursors if cursor[2] <= mono - CURSOR_LAG]
        if ripe:
            cursor, at, passed = ripe[-1]
            self._cursors = [one for one in self._cursors if one[2] > passed]
            self.progress = replace(self.progress, cursor=cursor, boot=self.boot, at=at)
            self.turn.progress = self.progress
        elif not self.progress.cursor:
            self.progress = replace(self.progress, cursor=tail.cursor, boot=self.boot, at=now)
            self.turn.progress = self.progress

    def commit(self, now: Usec) -> list[tuple[int, Concluded]]:
        """Write the turn. Returns what may be told now, with its sequence numbers."""
        if self.turn.is_empty:
            return []
        if self.turn.judgements and not self.catching_up:
            self.note_cursor(now)
        if self.progress.told > self._told_before:
            self.turn.progress = self.progress
        seqs = self.ledger.commit(self.turn)
        self._told_before = self.progress.told
        self.turn = Turn()
        self.uncommitted.clear()
        self.judged.clear()
        concluded, self.concluded = self.concluded, []
        return list(zip(seqs, concluded, strict=True))

    def told(self, seq: int) -> None:
        """Verdicts up to this one have their journal lines; recorded with the next turn."""
        self.progress = replace(self.progress, told=seq)

    def rest(self) -> None:
        """Let go of the journal's files when nobody has asked for a while."""
        if self.journal.is_open and time.monotonic() - self._journal_used > IDLE_JOURNAL:
            self.journal.close()

    def close(self) -> None:
        self.journal.close()


def monotonic_usec() -> Usec:
    return Usec(time.monotonic_ns() // 1000)


def _is_before(run: Open, begins: journal.Place) -> bool:
    """Whether the journal begins only after the run did."""
    began = run.attempts[0]
    if run.boot == begins.boot:
        return (began.started_mono or 0) < begins.mono
    return (began.started or 0) < begins.at


def _identity(run: Open) -> tuple[str, InvocationId | None]:
    return run.key, run.last.invocation


def _needs_words(run: Open) -> bool:
    """Whether PID 1 has more to say of this end than the bus."""
    return run.last.result != "success" or run.last.told_to_stop


def _needs_log_settings(watched: Watched) -> bool:
    return watched.log is None and listening.reads_output(watched.job)


def _forget_transient(watched: Watched) -> None:
    """The next unit of this name may have other settings."""
    if watched.log is not None and watched.log.is_transient:
        watched.log = None


def _is_over(seen: Seen) -> bool:
    return tracker.phase(seen.active, seen.sub) is Phase.ENDED


def encode_state(watched: Watched, judgement: Judgement | None, under_way: Run | None) -> bytes:
    """`state/JOB.json`: world-readable, so without anything that the job printed."""
    incident = watched.standing.incident
    shown: dict[str, Any] = {
        "job": watched.job.name,
        "unit": watched.job.unit,
        "verdict": judgement.verdict if judgement else None,
        "class": judgement.verdict.klass if judgement else None,
        "reason": judgement.reason if judgement else None,
        "run": judgement.run.invocation if judgement else None,
        "at": notify.rfc3339(judgement.at) if judgement else None,
        "under_way": under_way.invocation if under_way else None,
        "incident": incident.id if incident else None,
        "since": notify.rfc3339(incident.opened) if incident else None,
        "medians": rules.medians(judgement) if judgement else {},
    }
    return msgspec.json.encode(shown) + b"\n"
