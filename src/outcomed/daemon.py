"""outcomed.service: the composition root. Reads the configuration, runs the loop, tells systemd.

It sleeps until the bus, a hook, a signal or a deadline wakes it; an idle node costs the watchdog's
wake-ups and nothing else.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec.structs import replace
from systemd import daemon as sd

from outcomed import config as configuration
from outcomed import effects, hook, journal, messages, orders, refused, spool
from outcomed.alarm import Alarm
from outcomed.alerts import Standing
from outcomed.bus import Calls, Lost, Reloading, UnitNew, Watch, check_unit
from outcomed.engine import LONG_SLICE, LOOK_BACK, SLICE, Engine, Watched, monotonic_usec
from outcomed.errors import BusError, JournalError, LedgerError, OutcomedError
from outcomed.faults import shown_path
from outcomed.guard import DIED, Guard
from outcomed.ledger import JobRow, Ledger, Reader
from outcomed.model import DAY, Config, Incident, Job, JobName, Judgement, UnitName, Usec
from outcomed.paths import PATHS, Paths
from outcomed.specifiers import this_host
from outcomed.timekeeping import now_usec
from outcomed.tracker import Phase, as_run, phase, resume

RETRY_COMMIT = 5.0  # seconds between two tries when the ledger cannot be written
RETRY_BUS = 1.0
RETRY_SPOOL = 30.0
AFTER_RELOAD = 1.0  # by then a timer that was enabled with it is started, too
PARTING = 1.0  # seconds for what can still be judged before we end
PAST = "the journal since it was last read"


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(self, paths: Paths = PATHS) -> None:
        self.paths = paths
        self.guard = Guard(paths)
        self.ledger = _ledger(paths, self.guard)
        self.calls = Calls()
        boot_journal = journal.Journal()
        self.engine = Engine(
            self.ledger,
            self.calls,
            boot := boot_journal.boot_id(),
            this_host(boot),
            paths,
            self.guard,
        )
        boot_journal.close()
        self.outcomes = effects.Outcomes(self.calls, paths)
        self.hooks = hook.Watched(paths, Config(), self.engine.node, self.guard)
        self.config = Config()
        self.problems: tuple[configuration.Problem, ...] = ()
        self.last: dict[JobName, Judgement] = {}
        self.resolved: dict[UnitName, UnitName] = {}
        self.absent: dict[UnitName, str] = {}  # units of jobs that systemd could not load
        self.withheld: frozenset[JobName] = frozenset()
        self.templates: list[tuple[UnitName, Job]] = []
        self.closed: list[tuple[Incident, UnitName]] = []  # of removed jobs, not told yet
        self._hooks_told = True  # in our place, maybe, before we were there
        self.late = 0  # runs that could not be looked at any more, not told yet
        self.stop = False
        self.reload = False
        self._wake = _bind_wake(paths)
        self._signals_read, self._signals_write = _signal_pipe()
        self._alarm = Alarm()
        self._past: Iterator[None] = iter(())
        self._sweep_left = True
        self._sweep: Iterator[None] = iter(())
        self._sweep_again = False
        self._due: dict[str, float] = {}  # what to do again, by name, at this monotonic time
        self._status = ""
        self._refused_since = 0.0  # when the ledger could no longer be written; monotonic
        self._faults_said: set[str] = set()
        self._changed: set[JobName] = set()  # whose state files are to be written
        self._unwritten: dict[JobName, str] = {}  # whose state files are old, and why

    # --- start and end ------------------------------------------------------------------------

    def start(self) -> None:
        """From the ledger and the files to a state in which nothing is missed."""
        rows = {row.name: row for row in self.ledger.jobs()}
        # Sinks and templates are not in the ledger's jobs; they come from where the last
        # configuration was left.
        if self.guard.found:
            effects.log(
                4,
                f"outcomed died while looking at this: {self.guard.found}; it is tried in a "
                "process of its own before it is looked at again",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="crash",
            )
        self.config = _compiled(self.paths, self.guard)
        loaded = configuration.load_isolated(self.paths, last_good=self.config)
        self._say_problems(loaded.problems)
        now = now_usec()
        self._take(loaded, rows, now)
        self.engine.note_clock(now)
        self._resume_open_runs()
        self._connect()
        self._catch_up(now)
        self._say_untold()
        written = (self.paths.compiled, self.paths.problems, self.paths.sinks)
        for directory in (
            *(file.parent for file in written),
            self.paths.checks,
            self.paths.requests,
        ):
            spool.sweep(directory, now)  # what a killed writer left aside
        self.outcomes.restore(
            name for name, watched in self.engine.jobs.items() if watched.standing.is_alarm
        )
        for marker in self.hooks.ended_meanwhile():
            self._recover(marker)
        if not self.engine.progress.cursor:
            self.engine.note_cursor(now)
        self._commit_and_tell()
        self._settle_configuration(now)
        self._close_stale_states()
        self._tend_spool()
        self._take_orders()
        self._sweep = self.engine.sweep(now)

    def _resume_open_runs(self) -> None:
        for run in self.ledger.open_runs():
            watched = self.engine.jobs.get(run.job)
            if watched is not None and watched.track.unit == run.unit:
                attempts = self.ledger.attempts(run.id) if run.attempts > 2 else []
                watched.track = resume(watched.track, run, attempts)

    def _connect(self) -> None:
        """Watch every unit, then look at what happened before we did."""
        old = self.engine.watch
        units = [*self.engine.by_unit, *self.hooks.units]
        units += [check_unit(name) for name, job in self.engine.jobs.items() if job.task]
        self.engine.watch = Watch(self.engine.boot, units, new_units=bool(self.templates))
        if old is not None:
            old.close()
        self.engine.look_at_checks()

    def _catch_up(self, now: Usec) -> None:
        with contextlib.suppress(JournalError):  # without journald there is nothing to wait for
            journal.synchronize()
        can_read = self.guard.may_look(PAST, self.engine.rehearse_past)
        self._past = self.engine.catch_up(now, "" if can_read else DIED)
        self._read_on()

    def _catch_up_on(self) -> None:
        """What a stretch of the past holds is judged before the next is read; what was judged in
        some time is one turn."""
        until = time.monotonic() + LONG_SLICE
        while self._read_on():
            self.engine.step(set())
            if time.monotonic() >= until:
                return

    def _read_on(self) -> bool:
        """A stretch of the past, once what the last one held is judged. False: there is none."""
        if self.engine.waits():
            return False
        with self.guard.at(PAST):
            if next(self._past, self) is self:
                return False
        if self.engine.gap and not self.engine.catching_up:
            gap, self.engine.gap = self.engine.gap, ""  # said once
            effects.log(
                4,
                f"the journal lacks a part of what came since it was last read: {gap}; "
                "going on with what it still holds",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="cursor",
            )
        return True

    def _say_untold(self) -> None:
        """Journal lines of verdicts that were committed just before the last end."""
        told = self.engine.progress.told
        with contextlib.suppress(JournalError):  # the next start says it
            for stored in self.ledger.after(told):
                effects.log_verdict(stored.seq, stored.judgement)
                self.engine.told(stored.seq)
        if self.engine.progress.told > told:  # ended again before the next verdict: not once more
            self.engine.turn.progress = self.engine.progress

    def _close_stale_states(self) -> None:
        """State files say what the ledger says, and only of jobs that there are."""
        for entry in os.scandir(self.paths.job_states):
            name = entry.name.removesuffix(".json")
            if name not in self.engine.jobs:
                os.unlink(entry.path)
        for watched in self.engine.jobs.values():
            self._write_state(watched)

    def close(self) -> None:
        """Nothing may be lost by it: what is not committed is looked at again at the next start."""
        with contextlib.suppress(LedgerError):
            self.engine.turn.progress = self.engine.progress
            self.engine.commit(now_usec())
        if self.engine.watch is not None:
            self.engine.watch.close()
        self.engine.close()
        self.calls.close()
        self.ledger.close()
        self._wake.close()
        self._alarm.close()

    # --- configuration ------------------------------------------------------------------------

    def _take(self, loaded: configuration.Loaded, rows: dict[JobName, JobRow], now: Usec) -> None:
        """Put a configuration in force; `rows` is what the ledger knows of the jobs."""
        self.problems = loaded.problems
        config = self._with_last_good(loaded, rows)
        self.config = self.engine.config = self.hooks.config = config
        self.withheld = loaded.broken | loaded.masked
        self.templates = [(job.unit, job) for job in config.jobs if job.is_template]
        self._resolve(config.jobs)
        known = {row.config.unit for row in rows.values() if row.config is not None}
        wanted = {job.name: job for job in self._instances(config.jobs, known)}
        for name in [name for name in self.engine.jobs if name not in wanted]:
            self._drop(name, now)
        for name, job in wanted.items():
            self._adopt(job, rows.get(name))
        for name, row in rows.items():
            if name not in wanted and row.config is not None:
                self._close_removed(row, now)
        self.engine.turn.deliveries += refused.update(
            loaded.problems, config, self.engine.node, self.paths, now
        )
        effects.log(
            6,
            f"configuration in force: {len(wanted)} job{'s' if len(wanted) != 1 else ''}, "
            f"{len(config.sinks)} sink{'s' if len(config.sinks) != 1 else ''}",
            messages.CONFIG_LOADED,
        )
        try:
            spool.write_sinks(self.config.sinks, self.paths)
            spool.write_aside(self.paths.compiled, configuration.encode_config(config), 0o600)
        except OSError as error:
            what = error.filename or "the configuration in force"
            self._say_disk(f"{what}: {error.strerror}; the last one stays, going on")

    def _with_last_good(self, loaded: configuration.Loaded, rows: dict[JobName, JobRow]) -> Config:
        """A broken file leaves in force what was there before."""
        before = {job.name: job for job in self.config.jobs}
        before |= {row.name: row.config for row in rows.values() if row.config is not None}
        if loaded.unread:
            return replace(self.config, jobs=tuple(before.values()))
        kept = tuple(before[name] for name in sorted(loaded.broken) if name in before)
        return replace(loaded.config, jobs=(*loaded.config.jobs, *kept))

    def _settle_configuration(self, now: Usec) -> None:
        if self.engine.turn.is_empty:
            try:
                refused.settle(self.problems, self.config, self.paths, now)
            except OSError as error:
                self._say_disk(f"{error.filename}: {error.strerror}; it may be told again")

    def _resolve(self, jobs: tuple[Job, ...]) -> None:
        """An alias has neither signals nor entries: watch the unit that it stands for."""
        names = [job.unit for job in jobs if not job.is_template]
        answers = self.calls.resolve(names)
        self.resolved = {asked: found for asked, (found, _) in answers.items()}
        absent = {unit: state for unit, (_, state) in answers.items() if state != "loaded"}
        for unit, state in absent.items():
            if unit not in self.absent:
                effects.log(
                    4,
                    f"{unit}: systemd says {state}; watching for it to appear",
                    messages.WITNESS_GAP,
                    OUTCOMED_REASON=state,
                    OBJECT_SYSTEMD_UNIT=unit,
                )
        self.absent = absent

    def _instances(self, jobs: tuple[Job, ...], known: Collection[UnitName] = ()) -> Iterator[Job]:
        """The jobs as units. An instance that ran once stays a job while its template is one:
        that systemd has unloaded it says nothing about its incident."""
        explicit = {job.name for job in jobs}
        known = {*known, *self.engine.by_unit}
        for job in jobs:
            if not job.is_template:
                yield _with_unit(job, self.resolved.get(job.unit, job.unit))
                continue
            seen = {unit for unit in known if configuration.template_of(unit) == job.unit}
            loaded = filter(configuration.can_be_job, self.calls.instances(job.unit))
            for unit in sorted(seen.union(loaded)):
                instance = configuration.instantiate(job, unit)
                if instance.name not in explicit and instance.name not in self.withheld:
                    yield instance

    def _adopt(self, job: Job, row: JobRow | None) -> Watched:
        is_new = job.name not in self.engine.jobs and (row is None or row.config is None)
        watched = self.engine.adopt(job, configuration.rules_hash(job), is_new=is_new)
        if row is not None and row.config is not None:
            watched.standing = row.standing
            watched.good = row.good and min(row.good, now_usec())  # the clock may be set back
            if row.config.unit == job.unit:
                watched.adopted, watched.adopted_mono = row.since, 0
                watched.promises = row.promises
            else:  # what the other unit did was never this job's
                self.engine.begin_history(watched)
            watched.track = _with_trigger(watched, row.last_trigger)
            if row.last is not None:
                self.last[job.name] = row.last.judgement
                watched.last_judged = row.last.judgement.run.last_invocation
                watched.last_finished = row.last.judgement.run.finished or 0
        if row is None or row.config != job:
            self.engine.turn.configs[job.name] = job
        return watched

    def _drop(self, name: JobName, now: Usec) -> None:
        unit = self.engine.jobs[name].job.unit
        self.closed += [(incident, unit) for incident in self.engine.drop(name, now)]
        try:
            self.outcomes.clear(name)
        except (BusError, OSError):  # it is on the list of what is to be done again
            self._due["spool"] = time.monotonic() + RETRY_BUS
        self.last.pop(name, None)
        self._unwritten.pop(name, None)
        effects.remove_state(name, self.paths)

    def _close_removed(self, row: JobRow, now: Usec) -> None:
        """Its file went while we were not there."""
        assert row.config is not None
        watched = self.engine.adopt(row.config, "", is_new=False)
        watched.standing = row.standing
        self._drop(row.name, now)

    def _reload(self) -> None:
        """Take changed files without losing a run. systemd waits for READY=1."""
        sd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        loaded = configuration.load_isolated(self.paths, last_good=self.config)
        self._say_problems(loaded.problems)
        now = now_usec()
        rows = {row.name: row for row in self.ledger.jobs() if row.name not in self.engine.jobs}
        self.engine.forget_settings()
        self._take(loaded, rows, now)
        self._reconnect(now)
        for watched in self.engine.jobs.values():
            self._write_state(watched)
        self._commit_and_tell()
        self._settle_configuration(now)
        self._look_at_time()
        self._ready()

    def _reconnect(self, now: Usec) -> None:
        """New matches first, then everything that the old ones still hold."""
        old, self.engine.watch = self.engine.watch, None
        self._connect()
        if old is not None:
            self._take_signals(old, now)
            old.close()
        self.engine.look_around(now)

    def _say_problems(self, problems: tuple[configuration.Problem, ...]) -> None:
        with contextlib.suppress(OSError):  # for `outcomectl status`; the journal has them all
            spool.write_aside(self.paths.problems, msgspec.json.encode(problems))
        for problem in problems:
            what = configuration.render(problem, "outcomed").replace("\n  hint:", "; hint:")
            effects.log(
                3 if problem.severity == "error" else 4,
                what if problem.severity == "warning" else f"{what}; keeping what was in force",
                messages.CONFIG_REFUSED,
                OUTCOMED_FILE=problem.file,
                OUTCOMED_LINE=str(problem.line or ""),
                OUTCOMED_KEY=problem.key,
            )

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Until SIGTERM."""
        self._ready()
        watchdog = _watchdog_seconds()
        beat = time.monotonic()
        while not self.stop:
            readable = self._sleep(beat + watchdog if watchdog else None)
            now = now_usec()
            self.engine.note_clock(now)
            if self._signals_read in readable:
                os.read(self._signals_read, 64)
            if self._wake.fileno() in readable:
                _drain(self._wake)
                self._take_requests()
            if self._alarm.was_set(readable):
                self._clock_was_set()
            try:
                self._take_signals(self.engine.watch, now)
                self._take_deadlines(now)
                self.engine.step(readable)
                self._catch_up_on()
                if not readable:
                    self._sweep_on()
            except BusError as error:
                self._lost(str(error))  # systemd was re-executed in the middle of our question
            self._commit_and_tell()
            self._forget_the_hooks_words()
            self._do_due(now)
            if not self.engine.catching_up:
                self._write_states()
            if self.reload:
                self.reload = False
                try:
                    self._reload()
                except BusError as error:
                    self._lost(str(error))
                    self._due["reload"] = time.monotonic() + RETRY_BUS
                    self._ready()
            if watchdog and time.monotonic() >= beat + watchdog:
                sd.notify("WATCHDOG=1")
                beat = time.monotonic()
            self._show_status()

    def part(self) -> None:
        """Judge what has just ended, if that is quickly done: how a process exited well is said on
        the bus and nowhere else."""
        if any(watched.track.runs for watched in self.engine.jobs.values()):
            self._judge_at_last()
        self._write_states()

    def _judge_at_last(self) -> None:
        until = time.monotonic() + PARTING
        with contextlib.suppress(BusError):  # then the next start reads it from the journal
            self.engine.look_around(now_usec())
            self._take_signals(self.engine.watch, now_usec())
            self.engine.step(set())
            while self.engine.waits() and time.monotonic() < until:
                self._commit_and_tell()
                self.engine.step(self._sleep(until))
        self.engine.keep_ends()
        self._commit_and_tell()

    def _sleep(self, beat: float | None) -> set[int]:
        waits = self.engine.waits()
        is_full = self.engine.catching_up or not self.engine.time.has_room()
        self._alarm.set(None if is_full else self.engine.time.next())
        files = [self._signals_read, self._wake.fileno(), *self._alarm.files()]
        if self.engine.watch is not None:
            try:
                files += self.engine.watch.filenos()
            except BusError as error:
                self._lost(str(error))
        files += [wait.fileno for wait in waits if wait is not None and wait.fileno is not None]
        moments = [wait.until for wait in waits if wait is not None]
        moments += [*self._due.values(), *([beat] if beat is not None else [])]
        if (soon := self._alarm.timeout()) is not None:
            moments.append(time.monotonic() + soon)
        timeout: float | None = None
        ready = self.engine.catching_up and not waits
        ready = ready or (self.engine.watch is not None and self.engine.watch.has_more)
        if ready or self._may_sweep() or any(wait is None or wait.done for wait in waits):
            timeout = 0
        elif moments:
            timeout = max(0.0, min(moments) - time.monotonic())
        poll = select.poll()
        for file in files:
            poll.register(file, select.POLLIN)
        return {
            file for file, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))
        }

    def _sweep_on(self) -> None:
        """A little of the first look around, while there is nothing else to do."""
        until = time.monotonic() + SLICE
        while self._may_sweep() and time.monotonic() < until:
            if next(self._sweep, True):
                self._sweep_left = False
                if self._sweep_again:
                    self._look_at_time()

    def _may_sweep(self) -> bool:
        engine = self.engine
        return self._sweep_left and not engine.catching_up and engine.time.has_room()

    def _take_deadlines(self, now: Usec) -> None:
        if self.engine.catching_up or not self.engine.time.has_room():
            return  # what the past shows comes first, and then who is being looked at
        for name in self.engine.time.due(now):
            if (watched := self.engine.jobs.get(name)) is not None:
                self.engine.look_at_time(watched)
            if not self.engine.time.has_room():
                return

    def _clock_was_set(self) -> None:
        """Or the machine has slept: what timers promise by the calendar may be something else."""
        if self.engine.time.look_at_clock():
            self._look_at_time()

    def _look_at_time(self) -> None:
        # The look around that is under way may have passed those who are meant, or not know them.
        self._sweep_again = self._sweep_left
        if not self._sweep_left:
            self._sweep, self._sweep_left = self.engine.reckon_all(), True

    def _take_signals(self, watch: Watch | None, now: Usec) -> None:
        if watch is None:
            return
        for one in watch.signals():
            match one:
                case Lost(reason=reason):
                    self._lost(reason)
                case Reloading(begins=begins):
                    if not begins:
                        self._units_reloaded(now)
                case UnitNew(unit=unit):
                    self._unit_new(unit)
                case seen:
                    self._seen(seen, now)

    def _seen(self, seen: Any, now: Usec) -> None:
        unit: str = seen.unit
        if unit.startswith("outcomed-check@"):
            if not seen.has_job and phase(seen.active, seen.sub) is Phase.ENDED:
                job = unit.removeprefix("outcomed-check@").removesuffix(".service")
                self.engine.check_ended(JobName(job), seen)
            return
        if unit.startswith("systemd-journald"):
            self.engine.journald.clear()
            return
        self.engine.see(seen, now)
        marker = self.hooks.see(seen)
        if marker is not None:
            self._recover(marker)

    def _recover(self, marker: hook.Marker) -> None:
        """A unit without job file ended well. The marker goes when that is committed: killed in
        between, the recovery is told again under the same id."""
        self.engine.turn.deliveries += self.hooks.resolve(marker)
        self._commit_and_tell()
        if self.engine.turn.is_empty:
            self.hooks.forget(marker)
            effects.log_incident(marker.incident, marker.unit, opened=False)

    def _units_reloaded(self, now: Usec) -> None:
        """daemon-reload: an alias may point elsewhere, a template may have a new instance."""
        self.engine.forget_settings()
        self._resolve(self.config.jobs)
        for job in self._instances(self.config.jobs):
            known = self.engine.jobs.get(job.name)
            if known is None or known.job.unit != job.unit:
                self._adopt(job, None)
                assert self.engine.watch is not None
                self.engine.watch.add(job.unit)
        self.engine.look_around(now)
        self._look_at_time()
        self._due["timers"] = time.monotonic() + AFTER_RELOAD

    def _look_at_the_dead(self) -> None:
        """`systemctl enable --now` starts a timer after it has had systemd read its files again,
        and that is signalled to nobody."""
        if self._sweep_left:
            self._due["timers"] = time.monotonic() + AFTER_RELOAD
        else:
            self._sweep, self._sweep_left = self.engine.reckon_all(only_dead=True), True

    def _unit_new(self, unit: UnitName) -> None:
        """Maybe the first we hear of an instance: its start may be over already."""
        template = configuration.template_of(unit)
        job = next((job for name, job in self.templates if name == template), None)
        if job is None or unit in self.engine.by_unit:
            return
        if not configuration.can_be_job(unit):
            effects.log(
                4,
                f"{unit}: its name is too long for a job's, not watching it",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="name",
                OBJECT_SYSTEMD_UNIT=unit,
            )
            return
        instance = configuration.instantiate(job, unit)
        if instance.name in self.withheld | {other.name for other in self.config.jobs}:
            return
        rows = {row.name: row for row in self.ledger.jobs()}
        assert self.engine.watch is not None
        self.engine.watch.add(unit)
        watched = self._adopt(instance, rows.get(instance.name))
        watched.since = Usec(max(monotonic_usec() - LOOK_BACK, 0))
        if now_usec() - LOOK_BACK < watched.adopted:
            # Its template is a job for longer: what began before we came to it is no history.
            self.engine.begin_history(watched, LOOK_BACK)
        self.engine.examine(watched)

    def _lost(self, reason: str) -> None:
        if self.engine.watch is not None:
            self.engine.watch.close()
            self.engine.watch = None
        if "reconnect" not in self._due:
            effects.log(
                4,
                f"the system bus is gone ({reason}), connecting again; runs meanwhile are read "
                "from the journal",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="bus",
            )
        self._due["reconnect"] = time.monotonic() + RETRY_BUS

    def _do_due(self, now: Usec) -> None:
        for name in [name for name, at in self._due.items() if at <= time.monotonic()]:
            del self._due[name]
            match name:
                case "reconnect":
                    self._bus_again(now)
                case "reload":
                    self.reload = True
                case "spool":
                    self._tend_spool()
                case "orders":
                    self._take_orders()
                case "rest":
                    self.engine.rest()
                case "commit":
                    self._commit_and_tell()
                case "timers":
                    self._look_at_the_dead()

    def _bus_again(self, now: Usec) -> None:
        try:
            self.calls.reopen()
            self._connect()
            self._units_reloaded(now)
            self._past = self.engine.catch_up(now)
            # Of a run that the journal does not have either, the unit's properties still tell.
            self._sweep, self._sweep_left = self.engine.sweep(now), True
            if self.outcomes.due:
                self._tend_spool()
            self._read_on()  # from then on the loop goes on with it by itself
        except BusError:
            self._due["reconnect"] = time.monotonic() + RETRY_BUS

    # --- telling ------------------------------------------------------------------------------

    def _commit_and_tell(self) -> None:
        self._say_left_out()
        self.engine.leave_the_past()
        self.engine.tell_meanwhile(now_usec())
        turn = self.engine.turn
        if turn.is_empty or "commit" in self._due:
            return
        deliveries = list(turn.deliveries)
        starts = list(turn.runs.values())
        try:
            concluded = self.engine.commit(now_usec())
        except LedgerError as error:
            if not self._refused_since:
                self._refused_since = time.monotonic()
                effects.log(3, f"{error.fault}; trying again", messages.LEDGER_REFUSED)
            self._due["commit"] = time.monotonic() + RETRY_COMMIT
            return
        self._say_accepted()
        faults = effects.spool_out(deliveries, self.paths) if deliveries else []
        faults += effects.tell(concluded, self.outcomes)
        faults += effects.reveal(self.engine.revealed, self.outcomes)
        self.engine.revealed.clear()
        self._say_meanwhile()
        for incident, unit in self.closed:
            effects.log_incident(incident, unit, opened=False)
        self.closed.clear()
        for seq, one in concluded:
            self.engine.told(seq)
            self._note_last(one.judgement)
        self._changed |= {run.job for run in starts} | {one.job.name for _, one in concluded}
        self.late += sum(one.judgement.witness == "late" for _, one in concluded)
        if self.late and not self.engine.catching_up and not self.engine.waits():
            self._say_late()
        self._say_faults(faults)
        if deliveries:
            self._collect_delivered()
        self._due.setdefault("rest", time.monotonic() + 61)

    def _note_last(self, judgement: Judgement) -> None:
        name = judgement.run.job
        before = self.last.get(name)
        if before is not None and before.run.id != judgement.run.id:
            slot = judgement.past_slot
            if judgement.witness == "by-hand" or (slot and slot < (before.run.started or 0)):
                return  # as the ledger has it
        self.last[name] = judgement

    def _say_left_out(self) -> None:
        for what in self.guard.left_out:
            effects.log(
                3,
                f"{what}: outcomed died while looking at this, and so did a process that tried "
                "it again; left out, what depends on it is unknown",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="crash",
            )
        self.guard.left_out.clear()

    def _say_accepted(self) -> None:
        if self._refused_since:
            for_how_long = f"{time.monotonic() - self._refused_since:.0f} s"
            effects.log(
                5,
                f"{self.paths.ledger}: written again, after {for_how_long}",
                messages.WITNESS_GAP,
                OUTCOMED_REASON="disk",
            )
            self._refused_since = 0.0

    def _say_late(self) -> None:
        """One notice for all that ended while nobody looked, and can no longer be looked at."""
        runs = "1 run" if self.late == 1 else f"{self.late} runs"
        effects.log(
            5,
            f"{runs} ended while outcomed was not there, too long ago to look at what they left; "
            "'outcomectl history' lists them as unknown",
            messages.WITNESS_GAP,
            OUTCOMED_REASON="late",
        )
        self.late = 0

    def _forget_the_hooks_words(self) -> None:
        """What hooks told while we were not there is in the ledger, now that all is judged."""
        if self._hooks_told and self.engine.behind is None and self.engine.turn.is_empty:
            with contextlib.suppress(OSError):  # tried again after the next start
                hook.forget_told(self.paths)
            self._hooks_told = False

    def _say_meanwhile(self) -> None:
        if self.engine.meanwhile:
            effects.log(5, self.engine.meanwhile, messages.WITNESS_GAP, OUTCOMED_REASON="meanwhile")
            self.engine.meanwhile = ""

    def _write_states(self) -> None:
        """Of a job's past only its end: what is renamed over a file, the file system flushes."""
        for name in self._changed:
            if name in self.engine.jobs:
                self._write_state(self.engine.jobs[name])
        self._changed.clear()

    def _write_state(self, watched: Watched) -> None:
        runs = [run for run in watched.track.runs if not run.ended]
        under_way = as_run(watched.track, runs[-1]) if runs else None
        name = watched.job.name
        self._unwritten.pop(name, None)
        try:
            effects.write_state(watched, self.last.get(name), under_way, self.paths)
        except OSError as error:
            self._unwritten[name] = f"state files could not be written: {error.strerror}"
            self._say_faults([self._unwritten[name]])

    def _say_faults(self, faults: list[str]) -> None:
        """Each once, until it is over; what they are about is tried again."""
        for fault in faults:
            if fault not in self._faults_said:
                self._say_disk(f"{fault}; trying again")
        self._faults_said.update(faults)
        if faults:
            self._due["spool"] = time.monotonic() + RETRY_SPOOL

    def _say_disk(self, what: str) -> None:
        effects.log(4, what, messages.WITNESS_GAP, OUTCOMED_REASON="disk")

    def _tend_spool(self) -> None:
        """What is due and lies nowhere is spooled again, under its own id."""
        self._collect_delivered()
        faults = effects.spool_out(self.ledger.due(), self.paths)
        jobs = self.engine.jobs.items()
        faults += self.outcomes.again({name for name, job in jobs if job.standing.is_alarm})
        if spool.pending_ids(self.paths):
            spool.poke(self.paths.deliver_socket)
        for watched in [job for name, job in jobs if name in self._unwritten]:
            self._write_state(watched)
        faults += set(self._unwritten.values())
        self._faults_said.intersection_update(faults)
        self._say_faults(faults)

    def _collect_delivered(self) -> None:
        """Note what the delivery process has moved on; then its files may go."""
        now = now_usec()
        done = spool.done_ids(self.paths)
        failed = spool.failed_ids(self.paths)
        if not done and not failed:
            return
        due = {delivery.id for delivery in self.ledger.due()}
        turn = self.engine.turn
        turn.delivered += [(ident, now, "") for ident in done if ident in due]
        turn.delivered += [(ident, now, "given up") for ident in failed if ident in due]
        self._commit_and_tell()  # the turn may hold more, of a commit that failed before
        if not turn.is_empty and turn is self.engine.turn:
            return  # the files stay, and are looked at again
        # What a hook sent while we were away is not in the ledger yet, and would go out again.
        for ident in due.intersection(done):
            spool.forget_done(ident, self.paths)
        if self.engine.behind is None:  # else they say what a hook has told of
            spool.forget_done_before(Usec(now - DAY), self.paths)

    def _take_orders(self) -> None:
        """What root asks for, one by one; each is gone when what came of it is committed."""
        for name in orders.names(self.paths):
            self._commit_and_tell()
            if self.engine.turn.is_empty:
                self._take_order(name)
            if not self.engine.turn.is_empty:
                self._due["orders"] = time.monotonic() + RETRY_COMMIT
                return  # the ledger cannot be written, or asked for what stands

    def _take_order(self, name: str) -> None:
        try:
            order = orders.read(name, self.paths)
            fault = self.engine.accept(order, now_usec()) if order is not None else ""
            self._commit_and_tell()
            if self.engine.turn.is_empty:
                with contextlib.suppress(OSError):  # to do it again changes nothing
                    orders.done(name, self.paths)
        except orders.OrderError as error:
            fault = f"{error.fault}; kept as .refused, to be looked at"
            with contextlib.suppress(OSError):
                orders.refuse(name, self.paths)
        if fault:
            file = shown_path(self.paths.requests / name)
            effects.log(4, f"{file}: {fault}", messages.ORDER_REFUSED, OUTCOMED_FILE=file)

    def _take_requests(self) -> None:
        """A hook has written something."""
        for unit in self.hooks.refresh():
            if self.engine.watch is not None:
                self.engine.watch.add(unit)
        self._take_orders()

    # --- systemd ------------------------------------------------------------------------------

    def _ready(self) -> None:
        self._status = self._status_line()
        sd.notify(f"READY=1\nSTATUS={self._status}")

    def _show_status(self) -> None:
        status = self._status_line()
        if status != self._status:
            self._status = status
            sd.notify(f"STATUS={status}")

    def _status_line(self) -> str:
        jobs = self.engine.jobs.values()
        running = sum(1 for job in jobs if any(not run.ended for run in job.track.runs))
        bad = sum(1 for job in jobs if job.standing != Standing() and job.standing.incident)
        line = f"Watching {len(jobs)} job{'s' if len(jobs) != 1 else ''}"
        line += f", {running} running, {bad} alert{'s' if bad != 1 else ''} open"
        refused = len({problem.file for problem in self.problems if problem.severity == "error"})
        if self.absent:
            line += f"; {len(self.absent)} unit{'s' if len(self.absent) != 1 else ''} not found"
        if refused:
            line += f"; {refused} file{'s' if refused != 1 else ''} refused, see the journal"
        return line


def _compiled(paths: Paths, guard: Guard) -> Config:
    """The configuration that was last in force; an empty one where that is deadly."""
    what = str(paths.compiled)
    if not guard.may_look(what, lambda: spool.read_compiled(paths)):
        return Config()
    with guard.at(what):
        return spool.read_compiled(paths)


def _ledger(paths: Paths, guard: Guard) -> Ledger:
    """A ledger that kills whoever opens it is one that cannot be used."""
    what = str(paths.ledger)

    def read() -> None:
        with Reader(paths.ledger) as reader:
            reader.jobs()

    if not guard.may_look(what, read):
        raise LedgerError(
            f"{what}: {DIED}", hint="the ledger is left as it is; move it aside to begin a new one"
        )
    with guard.at(what):
        return Ledger(paths.ledger)


def _with_unit(job: Job, unit: UnitName) -> Job:
    return job if job.unit == unit else replace(job, unit=unit)


def _with_trigger(watched: Watched, last_trigger: Usec) -> Any:
    if last_trigger > now_usec():
        return watched.track  # the clock was set back since, and systemd counts anew as well
    return replace(watched.track, last_trigger=max(watched.track.last_trigger, last_trigger))


def _bind_wake(paths: Paths) -> socket.socket:
    paths.wake.unlink(missing_ok=True)
    wake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    umask = os.umask(0o177)
    try:
        wake.bind(str(paths.wake))
    finally:
        os.umask(umask)
    wake.setblocking(False)
    return wake


def _drain(wake: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            wake.recv(64)


def _signal_pipe() -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read, write


def _watchdog_seconds() -> float | None:
    """Half of what systemd allows (sd_watchdog_enabled(3))."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2_000_000 if usec.isdigit() else None


def _lock(path: Path) -> IO[bytes]:
    """Held as long as the process lives; the hook tells from it whether the daemon does."""
    file = open(path, "wb")  # noqa: SIM115 - it is held, not used
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutcomedError(f"{path}: another outcomed runs on this node") from None
    return file


def main() -> int:
    """What outcomed.service starts."""
    faulthandler.enable()  # a missed watchdog then shows in the journal where it hung
    try:
        lock = _lock(PATHS.lock)
        daemon = Daemon()
    except LedgerError as error:
        return _refuse(error)
    except OutcomedError as error:
        print(f"<3>{error.fault}", file=sys.stderr)
        return error.exit_code
    _handle_signals(daemon)
    try:
        daemon.start()
        daemon.run()
        sd.notify("STOPPING=1")
        daemon.part()
    except LedgerError as error:
        return _refuse(error)
    finally:
        daemon.close()
        lock.close()
    return 0


def _refuse(error: LedgerError) -> int:
    hint = f" ({error.hint})" if error.hint else ""
    effects.log(3, f"{error.fault}{hint}", messages.LEDGER_REFUSED)
    return error.exit_code


def _handle_signals(daemon: Daemon) -> None:
    def end(*_: object) -> None:
        daemon.stop = True

    def again(*_: object) -> None:
        daemon.reload = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, again)
