"""Fold what systemd showed into runs. Pure: no clock, no database, no logging.

A run is known by its first invocation id, or by `BOOT:JOB_ID` where a start was refused before it
got one; never by unit name and time. The same facts come twice, from the bus and from PID 1's
journal entries, in either order or only once: each covers for the other, and folding the same
fact again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from msgspec.structs import replace

from outcomed.model import (
    BootId,
    InvocationId,
    JobName,
    Record,
    Run,
    UnitName,
    Usec,
    run_id,
)


class Phase(Enum):
    """What a unit's ActiveState and SubState mean for the run they belong to."""

    IDLE = "nothing runs"
    RUNNING = "an attempt is under way"
    BETWEEN = "the attempt failed, systemd has scheduled another"
    ENDED = "over"


# `failed` and `inactive` end a run unless systemd says that it will try again (257 has the two
# `…-before-auto-restart`); `active/exited` is the end of a oneshot with RemainAfterExit=yes.
BETWEEN = frozenset(
    {
        "auto-restart",
        "auto-restart-queued",
        "failed-before-auto-restart",
        "dead-before-auto-restart",
    }
)

UNKNOWN = "unknown"  # what started a run, where nobody saw it

_WAITING = frozenset({"auto-restart", "auto-restart-queued"})


def phase(active: str, sub: str) -> Phase:
    """Units as systemd 252 to 257 name their states (org.freedesktop.systemd1(5))."""
    if sub in BETWEEN:
        return Phase.BETWEEN
    if active in ("inactive", "failed") or (active, sub) == ("active", "exited"):
        return Phase.ENDED
    return Phase.RUNNING


class Seen(Record, frozen=True):
    """A unit as the bus showed it. Times are 0 where systemd has none."""

    unit: UnitName
    boot: BootId
    invocation: InvocationId
    active: str
    sub: str
    has_job: bool = False  # systemd works on a job of it
    result: str = "success"
    code: int = 0  # waitid(2)'s si_code: 1 exited, 2 killed, 3 dumped
    status: int = 0
    errno: int = 0  # StatusErrno=, what it said of itself
    pid: int = 0  # MainPID=, of a process that runs
    restarts: int = 0  # NRestarts=: how many attempts of the same run there were before
    left_idle: Usec = Usec(0)  # InactiveExitTimestamp
    left_idle_mono: Usec = Usec(0)
    became_idle: Usec = Usec(0)  # InactiveEnterTimestamp
    became_idle_mono: Usec = Usec(0)
    became_active: Usec = Usec(0)  # ActiveEnterTimestamp
    became_active_mono: Usec = Usec(0)
    trigger: str = ""
    trigger_at: Usec = Usec(0)
    slot: Usec = Usec(0)  # what was promised, and is answered by that elapse
    trigger_mono: Usec = Usec(0)


class What(Enum):
    """What one of PID 1's entries says about a unit."""

    STARTING = "starting"
    STARTED = "started or finished"
    START_FAILED = "the start job failed"
    ENDED_WELL = "ended well"
    FAILED = "failed"
    PROCESS_ENDED = "a process ended badly"
    NOT_NEEDED = "skipped by ExecCondition="
    RESTARTING = "another attempt is scheduled"
    STOPPED = "a job stopped it"


class Told(Record, frozen=True):
    """One of PID 1's journal entries about a unit."""

    what: What
    unit: UnitName
    boot: BootId
    at: Usec
    mono: Usec
    invocation: InvocationId | None = None
    job_id: str = ""
    result: str = ""  # UNIT_RESULT or JOB_RESULT
    message: str = ""
    code: str = ""  # EXIT_CODE: exited, killed, dumped
    status: str = ""  # EXIT_STATUS: a number, or a signal's name
    command: str = ""


class Attempt(Record, frozen=True):
    """One activation, as far as it is known."""

    invocation: InvocationId | None
    started: Usec | None = None
    started_mono: Usec | None = None
    ended: Usec | None = None
    ended_mono: Usec | None = None
    result: str | None = None
    code: str | None = None  # of the main process
    status: int | None = None
    blamed: str | None = None  # the command that ended badly first; ExecStart is the main process
    blamed_code: str | None = None
    blamed_status: int | None = None
    job: str = ""  # the start job that it was made for
    restarting: bool = False
    restart_mono: Usec | None = None  # when PID 1 said that there will be another attempt
    seen_on_bus: bool = False  # under way
    ended_on_bus: bool = False  # the bus gave the time of its end
    over_on_bus: bool = False  # the bus showed that there will be no other attempt
    told_to_stop: bool = False  # the bus showed it being stopped, by whatever that was
    completed: bool = False  # it ended of its own will; what stops it later (exited) is no news
    stop_job: int | None = None  # systemd's number of the job that ended it


class Open(Record, frozen=True):
    """A run that is not judged yet: its identity and its attempts, oldest first."""

    key: str
    boot: BootId
    attempts: tuple[Attempt, ...]
    trigger: str = UNKNOWN
    slot: Usec | None = None
    note: str = ""  # PID 1's own sentence about a start that it refused

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]

    @property
    def ended(self) -> bool:
        return self.last.ended is not None and not self.last.restarting


class Track(Record, frozen=True):
    """All that is remembered about one job between two observations."""

    job: JobName
    unit: UnitName
    runs: tuple[Open, ...] = ()
    last_trigger: Usec = Usec(0)  # ActivationDetails is stale on a later start by hand
    last_trigger_mono: Usec = Usec(0)  # in this boot; 0: not known
    last_start: Usec = Usec(0)  # monotonic; the newest start that the bus showed
    retried: InvocationId | None = None  # the last attempt after which another was scheduled
    retried_at: Usec | None = None  # monotonic; when PID 1 said so
    limited: Usec | None = None  # monotonic; when the start limit kept it from that one
    refused: Usec | None = None  # monotonic; when PID 1 last said that the start limit was hit

    def find(self, invocation: InvocationId) -> Open | None:
        """The run that has an attempt of this id."""
        for run in reversed(self.runs):  # of the newest most is said
            if any(attempt.invocation == invocation for attempt in run.attempts):
                return run
        return None

    def without(self, key: str) -> Track:
        """After a run was judged: it is the ledger's now."""
        return replace(self, runs=tuple(run for run in self.runs if run.key != key))


# --- the bus ---------------------------------------------------------------------------------

_STATUS = re.compile(r"[0-9]{1,9}")
_CODES = {1: "exited", 2: "killed", 3: "dumped"}


def see(track: Track, seen: Seen, *, asked: bool = False) -> Track:
    """Fold in a unit's state, from its signal or, `asked`, from a question."""
    if not seen.invocation or not seen.left_idle:
        return track
    now = phase(seen.active, seen.sub)
    run = track.find(seen.invocation)
    if seen.sub == "auto-restart-queued" and (run is None or seen.result == "success"):
        return track  # it may be the next attempt's id already, with nothing else of its own
    if now is Phase.ENDED and not _is_news(track, run, seen, asked):
        return track
    run = run or _begin(track, seen.invocation, seen.boot, seen.restarts)
    attempt = _started_on_bus(run, _attempt(run, seen.invocation), seen)
    if seen.sub.startswith("stop-sig"):
        attempt = replace(attempt, told_to_stop=True)
    if now is not Phase.RUNNING:
        attempt = _ended_on_bus(attempt, seen, restarting=now is Phase.BETWEEN)
    run = _with_trigger(_put(run, attempt), track, seen)
    if is_new_elapse(track, seen.trigger_at, seen.trigger_mono):
        track = replace(track, last_trigger=seen.trigger_at, last_trigger_mono=seen.trigger_mono)
    track = replace(
        _store(track, run),
        last_start=max(track.last_start, seen.left_idle_mono),
    )
    return _retried(track, seen.invocation) if now is Phase.BETWEEN else track


def _retried(track: Track, invocation: InvocationId) -> Track:
    if invocation == track.retried:
        return track
    return replace(track, retried=invocation, retried_at=None, limited=None)


def _is_news(track: Track, run: Open | None, seen: Seen, asked: bool) -> bool:
    """A start has its new id before anything else changes: then these are the last run's times.

    The signal of a real end comes again when systemd has done with the job.
    """
    if run is not None:
        attempt = _attempt(run, seen.invocation)
        if attempt.seen_on_bus and _is_older(seen, run, attempt):
            return False  # the signal of its start, after somebody asked
        return not seen.has_job or attempt.seen_on_bus
    return not seen.has_job and (asked or seen.left_idle_mono > track.last_start)


def _is_older(seen: Seen, run: Open, attempt: Attempt) -> bool:
    is_first = attempt.invocation == run.attempts[0].invocation
    return is_first and seen.left_idle_mono < (attempt.started_mono or 0)


def _started_on_bus(run: Open, attempt: Attempt, seen: Seen) -> Attempt:
    # Between two attempts a unit leaves `inactive` once, before the next one begins: the time of
    # that is nobody's start.
    if seen.sub in _WAITING or attempt.seen_on_bus:
        return attempt
    attempt = replace(attempt, seen_on_bus=True)
    if attempt.invocation != run.attempts[0].invocation:
        return attempt
    return replace(attempt, started=seen.left_idle, started_mono=seen.left_idle_mono)


def _ended_on_bus(attempt: Attempt, seen: Seen, *, restarting: bool) -> Attempt:
    if attempt.over_on_bus:
        return attempt  # a later stop, or `systemctl reset-failed`, is no news of the run
    attempt = replace(
        _with_end_time(attempt, seen),
        completed=attempt.completed or seen.active == "active",
        code=_CODES.get(seen.code, attempt.code),
        status=seen.status if seen.code else attempt.status,
        restarting=restarting,
        over_on_bus=not restarting,
    )
    if _is_of_the_attempt(attempt, seen):
        return replace(attempt, result=seen.result)
    return attempt


def _with_end_time(attempt: Attempt, seen: Seen) -> Attempt:
    if seen.active == "active":
        ended, mono = seen.became_active, seen.became_active_mono
    else:
        ended, mono = seen.became_idle, seen.became_idle_mono
    # With RestartMode=direct a unit does not become idle in between: that time is an earlier run's.
    if attempt.ended_on_bus or not mono or mono < (attempt.started_mono or 0):
        return attempt
    return replace(attempt, ended=ended, ended_mono=mono, ended_on_bus=True)


def _is_of_the_attempt(attempt: Attempt, seen: Seen) -> bool:
    """Whether Result= still is what became of it, and of no later event."""
    if seen.result == "start-limit-hit":
        return False
    if attempt.result == "success":  # what failed afterwards was the stop of what had ended well
        return False
    return attempt.result is None or seen.result != "success"


def is_new_elapse(track: Track, at: Usec, mono: Usec) -> bool:
    """Whether a timer's elapse has started no run yet; by the clock that nobody sets, if it can."""
    if mono and track.last_trigger_mono:
        return mono > track.last_trigger_mono
    return at > track.last_trigger


def _with_trigger(run: Open, track: Track, seen: Seen) -> Open:
    if run.trigger != UNKNOWN or run.attempts[0].invocation != seen.invocation:
        return run
    if seen.trigger == UNKNOWN:
        return run
    if seen.trigger and is_new_elapse(track, seen.trigger_at, seen.trigger_mono):
        return replace(run, trigger=seen.trigger, slot=seen.slot or seen.trigger_at)
    if seen.trigger and not seen.trigger_at:
        return replace(run, trigger=seen.trigger)  # a path or socket unit: no time of its own
    return replace(run, trigger="none")


def is_unclear(track: Track, seen: Seen) -> bool:
    """Whether it is an activation of which only the journal knows whose attempt it is."""
    if track.find(seen.invocation) is not None:
        return False
    before = [len(run.attempts) for run in track.runs if run.last.restarting]
    return bool(before or seen.restarts) and seen.restarts not in before


# --- the journal -----------------------------------------------------------------------------


def hear(track: Track, told: Told) -> Track:
    """Fold in one of PID 1's entries."""
    if is_refusal(told):
        return _hear_of_refusal(track, told)
    if told.invocation is None:
        return track
    if told.what is What.RESTARTING:
        track = replace(_retried(track, told.invocation), retried_at=told.mono)
    if told.what is What.FAILED and told.result == "start-limit-hit":
        return _hear_of_start_limit(track, told)
    run = track.find(told.invocation)
    if run is None and (told.what in _SAYS_LITTLE or told.command == "ExecReload"):
        return track  # of an attempt whose beginning nobody saw
    run = run or _begin(track, told.invocation, told.boot)
    attempt = _attempt(run, told.invocation)
    if told.what is What.START_FAILED and told.job_id and attempt.job not in ("", told.job_id):
        return hear_of_refused_start(track, told)
    attempt = _HEAR[told.what](attempt, told)
    return _store(track, _put(run, attempt))


_SAYS_LITTLE = frozenset({What.RESTARTING, What.STOPPED})
AT_ONCE = Usec(100_000)  # two entries about one moment

_REFUSED = frozenset({"assert", "dependency"})


def is_refusal(told: Told) -> bool:
    """A condition, an assertion or a dependency said no: there was a job, but no attempt.

    The entry then carries no invocation id, or, where the unit was still loaded, the last run's.
    """
    if not told.job_id:
        return False
    if told.what is What.START_FAILED:
        return told.invocation is None or told.result in _REFUSED
    return told.what is What.STARTED and (told.invocation is None or _says_skipped(told.message))


def _says_skipped(message: str) -> bool:
    # 257: "x.service skipped, unmet condition check …"; 252: "… was skipped because of an …".
    # "Condition check resulted in …" is said of ExecCondition=, in an attempt of its own.
    return " skipped, " in message or " was skipped because " in message


def outlives_its_run(told: Told) -> bool:
    """Whether it says something even where the run whose id it carries was judged."""
    return is_refusal(told) or told.what is What.RESTARTING or told.result == "start-limit-hit"


def _starting(attempt: Attempt, told: Told) -> Attempt:
    attempt = replace(attempt, job=attempt.job or told.job_id)
    if attempt.started is None:
        return replace(attempt, started=told.at, started_mono=told.mono)
    if attempt.started_mono is None:  # the ledger has only the other clock's word
        return replace(attempt, started_mono=told.mono)
    return attempt


def _started(attempt: Attempt, told: Told) -> Attempt:
    # "Finished …" is said of a oneshot at its end, "Started …" of everything else at its start.
    if told.message.startswith("Finished "):
        return replace(_end(attempt, told, "success"), completed=True)
    if told.message.startswith("Condition check resulted in "):
        return _not_needed(attempt, told)
    return _starting(attempt, told)


def _start_failed(attempt: Attempt, told: Told) -> Attempt:
    return _end(_gave_up(attempt, told), told, told.result or "failed")


def _ended_well(attempt: Attempt, told: Told) -> Attempt:
    return _end(attempt, told, "success")


def _failed(attempt: Attempt, told: Told) -> Attempt:
    return _end(_gave_up(attempt, told), told, told.result or "failed")


def _gave_up(attempt: Attempt, told: Told) -> Attempt:
    """What is said of an attempt after another one was scheduled says that there is none."""
    if attempt.restart_mono is None or told.mono <= attempt.restart_mono:
        return attempt
    return replace(attempt, restarting=False)


def _not_needed(attempt: Attempt, told: Told) -> Attempt:
    return _end(attempt, told, "exec-condition")


def _end(attempt: Attempt, told: Told, result: str) -> Attempt:
    result = attempt.result or result
    if attempt.ended is None:
        return replace(attempt, ended=told.at, ended_mono=told.mono, result=result)
    if attempt.ended_mono is None:
        return replace(attempt, ended_mono=told.mono, result=result)
    return replace(attempt, result=result)


def _process_ended(attempt: Attempt, told: Told) -> Attempt:
    if attempt.blamed is not None or told.command == "ExecReload":
        return attempt  # what fails after the first failure is its consequence
    code, status = told.code or None, signal_or_status(told.status)
    blamed = replace(
        attempt, blamed=told.command or "ExecStart", blamed_code=code, blamed_status=status
    )
    if blamed.blamed == "ExecStart" and attempt.code is None:
        return replace(blamed, code=code, status=status)
    return blamed


def _restarting(attempt: Attempt, told: Told) -> Attempt:
    if attempt.restart_mono is not None and told.mono <= attempt.restart_mono:
        return attempt
    # The bus's later word about what systemd decided stands.
    return replace(attempt, restart_mono=told.mono, restarting=not attempt.over_on_bus)


def _stopped(attempt: Attempt, told: Told) -> Attempt:
    if attempt.completed or not _STATUS.fullmatch(told.job_id):
        return attempt
    return replace(attempt, stop_job=int(told.job_id))


_HEAR = {
    What.STARTING: _starting,
    What.STARTED: _started,
    What.START_FAILED: _start_failed,
    What.ENDED_WELL: _ended_well,
    What.FAILED: _failed,
    What.PROCESS_ENDED: _process_ended,
    What.NOT_NEEDED: _not_needed,
    What.RESTARTING: _restarting,
    What.STOPPED: _stopped,
}


def _hear_of_refusal(track: Track, told: Told) -> Track:
    result = "condition" if told.what is What.STARTED else told.result or "failed"
    return _store(track, _refused(told, f"{told.boot}:{told.job_id}", result))


def _hear_of_start_limit(track: Track, told: Told) -> Track:
    """The entry carries the previous run's id, and says nothing about that run.

    Unless that run was waiting for its next attempt: then there is none, and it is over.
    """
    assert told.invocation is not None
    track = replace(track, refused=told.mono)
    run = track.find(told.invocation)
    is_waiting = run is not None and (run.last.restarting or run.last.restart_mono is not None)
    is_retried = told.invocation == track.retried
    # Only the first such entry is about the next attempt: a later one is of somebody's own start.
    is_later = is_retried and track.limited is not None and told.mono > track.limited
    if run is not None and is_waiting and not is_later:
        # And told again, it is still about this run, whatever else was retried meanwhile.
        over = _store(track, _put(run, replace(run.last, restarting=False)))
        return replace(over, retried=told.invocation, limited=told.mono)
    if is_retried and not is_later:
        return replace(track, limited=told.mono)  # that run was judged
    return _store(track, _refused(told, f"{told.boot}:limit:{told.mono}", "start-limit-hit"))


def hear_of_refused_start(track: Track, told: Told) -> Track:
    """A start that the start limit refused, after a run that failed: all that is said of it are the
    last run's id and result, and a job of its own. Of a retried run's next attempt, the first.

    Where that run had not failed, the entry before this one has said it all.
    """
    if track.refused is not None and 0 <= told.mono - track.refused < AT_ONCE:
        return track
    if told.invocation == track.retried:
        if told.mono < (track.retried_at or 0):
            return track  # the attempt's own end, told again
        if track.limited is None or told.mono <= track.limited:
            return replace(track, limited=told.mono)
    return _store(track, _refused(told, f"{told.boot}:{told.job_id}", "start-limit-hit"))


def _refused(told: Told, key: str, result: str) -> Open:
    attempt = Attempt(
        invocation=None,
        started=told.at,
        started_mono=told.mono,
        ended=told.at,
        ended_mono=told.mono,
        result=result,
    )
    return Open(key=key, boot=told.boot, attempts=(attempt,), note=told.message)


# --- both ------------------------------------------------------------------------------------


def bind(track: Track, run: Open, trigger: str, slot: Usec) -> Track:
    """What started it was found out later."""
    return _store(track, replace(run, trigger=trigger, slot=slot))


def lose(track: Track, *boots: BootId) -> Track:
    """The host restarted: what ran under another boot id has no end and will have none."""
    runs = tuple(
        run if run.boot in boots or run.ended else _put(run, _lost(run.last)) for run in track.runs
    )
    return replace(track, runs=runs)


def lose_sight(track: Track, run: Open) -> Track:
    """It is over, and nobody has seen how: the journal has lost its end."""
    return _store(track, _put(run, replace(_lost(run.last), result="unseen")))


def _lost(attempt: Attempt) -> Attempt:
    # It is over, and nobody knows since when.
    return replace(attempt, ended=Usec(0), ended_mono=None, result="lost", restarting=False)


def in_order(runs: Sequence[Open], boots: Sequence[BootId]) -> list[Open]:
    """As they began, those of other boots than these before these; by the monotonic clock, since
    the other one may have been set meanwhile. Of a boot where it is not known of all of them, by
    that one."""
    vague = {run.boot for run in runs if run.attempts[0].started_mono is None}
    others = dict.fromkeys(run.boot for run in runs if run.boot not in boots)
    boots = [*others, *boots]

    def began(run: Open) -> tuple[int, Usec]:
        first = run.attempts[0]
        moment = first.started if run.boot in vague else first.started_mono
        return boots.index(run.boot), moment or Usec(0)

    return sorted(runs, key=began)


class Reach:
    """How far the journal was read, in the boot `now` or before it: others may have begun before
    what began later than that."""

    def __init__(self, now: BootId) -> None:
        self._now = now
        self.boots = [now]  # as they are met with; this one is the last one
        self.boot = BootId("")
        self.at = self.mono = Usec(0)

    @property
    def passed(self) -> set[BootId]:
        return set(self.boots) - {self.boot, self._now}

    def move(self, boot: BootId, at: Usec, mono: Usec) -> None:
        if boot not in self.boots:
            self.boots.insert(-1, boot)
        self.boot, self.at, self.mono = boot, at, mono

    def covers(self, run: Open) -> bool:
        first = run.attempts[0]
        if run.boot != self.boot:
            return run.boot in self.passed
        if first.started_mono is None:  # the ledger has only the other clock's word
            return (first.started or 0) <= self.at
        return first.started_mono <= self.mono


def as_run(track: Track, open_run: Open) -> Run:
    """What the ledger keeps of it. The result is the last attempt's, the start the first's."""
    first, last = open_run.attempts[0], open_run.last
    code, status, command = _who_failed(last)
    has_end = open_run.ended and last.result not in ("lost", "unseen")
    return Run(
        id=run_id(track.job, open_run.key),
        job=track.job,
        unit=track.unit,
        key=open_run.key,
        boot=open_run.boot,
        invocation=first.invocation,
        last_invocation=last.invocation,
        attempts=len(open_run.attempts),
        trigger=open_run.trigger,
        slot=open_run.slot,
        started=first.started,
        finished=last.ended if has_end else None,
        duration=_duration(first, last) if has_end else None,
        result=last.result if open_run.ended else None,
        exit_code=code,
        exit_status=status,
        command=command,
    )


def _duration(first: Attempt, last: Attempt) -> Usec | None:
    """By the monotonic clock; by the other where the start is known from the ledger alone."""
    for begin, end in ((first.started_mono, last.ended_mono), (first.started, last.ended)):
        if begin is not None and end is not None and end >= begin:
            return Usec(end - begin)
    return None


def _who_failed(attempt: Attempt) -> tuple[str | None, int | None, str | None]:
    """Code, status, and the command if it was not the main process that failed."""
    if attempt.blamed in (None, "ExecStart") or attempt.result in (None, "success"):
        return attempt.code, attempt.status, None
    return attempt.blamed_code, attempt.blamed_status, attempt.blamed


def resume(track: Track, run: Run, attempts: Sequence[InvocationId] = ()) -> Track:
    """Take up a run that the ledger says was under way, or not judged, when the daemon ended.
    `attempts`, in order, are all of its; where they are not given, the first and the last are."""
    last = Attempt(
        invocation=run.last_invocation,
        started=run.started if run.last_invocation == run.invocation else None,
        ended=run.finished,
        result=run.result,
        code=run.exit_code,
        status=run.exit_status,
        blamed=run.command,
        blamed_code=run.exit_code if run.command else None,
        blamed_status=run.exit_status if run.command else None,
    )
    earlier: list[Attempt] = []
    if run.last_invocation != run.invocation:
        earlier = [Attempt(run.invocation, started=run.started), *map(Attempt, attempts[1:-1])]
    open_run = Open(
        key=run.key,
        boot=run.boot,
        attempts=(*earlier, last),
        trigger=run.trigger,
        slot=run.slot,
    )
    return _store(track, open_run)


def signal_or_status(text: str) -> int | None:
    """`EXIT_STATUS=` holds a number, or a signal's name without SIG: `TERM`, `RTMIN+3`."""
    if _STATUS.fullmatch(text):
        return int(text)
    import signal  # only a killed process needs the table

    name, _, offset = text.partition("+")
    number = getattr(signal.Signals, f"SIG{name}", None)
    if number is None or not _STATUS.fullmatch(offset or "0"):
        return None
    return int(number) + int(offset or 0)


def _begin(track: Track, invocation: InvocationId, boot: BootId, restarts: int = 0) -> Open:
    """A new run, or the next attempt of the one that waits for it."""
    for run in track.runs:
        if run.boot == boot and run.last.restarting:
            return replace(run, attempts=(*run.attempts, Attempt(invocation=invocation)))
    if restarts and track.runs:
        # Nobody has said that it waits, but the bus says how many attempts came before this one.
        run = in_order(track.runs, (boot,))[-1]
        is_over = run.last.over_on_bus or run.last.result == "success"
        if run.boot == boot and len(run.attempts) == restarts and not is_over:
            return replace(run, attempts=(*run.attempts, Attempt(invocation=invocation)))
    return Open(key=invocation, boot=boot, attempts=(Attempt(invocation=invocation),))


def _attempt(run: Open, invocation: InvocationId) -> Attempt:
    return next(attempt for attempt in run.attempts if attempt.invocation == invocation)


def _put(run: Open, attempt: Attempt) -> Open:
    return replace(
        run,
        attempts=tuple(
            attempt if old.invocation == attempt.invocation else old for old in run.attempts
        ),
    )


def _store(track: Track, run: Open) -> Track:
    kept = tuple(run if old.key == run.key else old for old in track.runs)
    return replace(track, runs=kept if run in kept else (*kept, run))
