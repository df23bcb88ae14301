"""outcomed-alert@UNIT.service: the `OnFailure=` hook, for any unit, with the daemon alive or not.

With a job file and a living daemon it is only a hint, and says nothing: the daemon sees more. With
the daemon down it spools the alert itself, under the id that the daemon would have used. Without a
job file the unit's next good end resolves it, which the daemon watches for (`Watched`).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from outcomed import config as configuration
from outcomed import effects, journal, messages, notify, spool, verdicts
from outcomed.errors import (
    EXIT_FINE,
    EXIT_NO_ANSWER,
    EXIT_USAGE,
    BusError,
    JournalError,
    OutcomedError,
)
from outcomed.faults import printable
from outcomed.guard import Guard
from outcomed.model import (
    BootId,
    Config,
    Delivery,
    Incident,
    InvocationId,
    Job,
    JobName,
    Judgement,
    Record,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
    alert_id,
    invocation_id,
    run_id,
)
from outcomed.output import LINE_SEARCHED
from outcomed.paths import PATHS, Paths
from outcomed.specifiers import this_host
from outcomed.tracker import (
    BETWEEN,
    Open,
    Phase,
    Seen,
    Track,
    What,
    as_run,
    hear,
    is_refusal,
    phase,
    signal_or_status,
)

# Hooks of our own units would call themselves.
_OWN = ("outcomed-alert@", "outcomed-check@", "outcome@", "outcomed-deliver.")
_SUFFIX = ".alert"
_TOLD = ".told"  # spool/in/JOB.told: told in the daemon's place, until that has caught up
WORD = 100  # characters of what systemd says in one word
LOOK_BACK = Usec(3600 * 1_000_000)  # how far back the failure that called us may lie


class Marker(Record, frozen=True):
    """An open alert of a unit without job file: spool/in/UNIT.alert."""

    unit: UnitName
    incident: Incident
    judgement: Judgement
    sinks: tuple[str, ...]


class Watched:
    """The daemon's side: units that hooks alerted about, until each ends well again."""

    def __init__(
        self, paths: Paths, config: Config, node: notify.Node, guard: Guard | None = None
    ) -> None:
        self._paths = paths
        self._guard = guard
        self._node = node
        self.config = config
        self._markers: dict[UnitName, Marker] = {}
        self.refresh()

    @property
    def units(self) -> list[UnitName]:
        return list(self._markers)

    def refresh(self) -> list[UnitName]:
        """Read the markers again. Returns the units that are new."""
        found = {marker.unit: marker for marker in _markers(self._paths, self._guard)}
        new = [unit for unit in found if unit not in self._markers]
        self._markers = found
        return new

    def see(self, seen: Seen) -> Marker | None:
        """A unit's state: does it end an alert?"""
        marker = self._markers.get(seen.unit)
        return marker if marker is not None and _is_well(seen, marker) else None

    def ended_meanwhile(self) -> list[Marker]:
        """Alerts whose unit ended well while nobody watched, or is this very daemon's."""
        return [
            marker
            for marker in self._markers.values()
            if marker.unit == "outcomed.service"
            or _ended_well_since(marker.unit, marker.incident.opened)
        ]

    def resolve(self, marker: Marker) -> list[Delivery]:
        """What is to be told of a recovery."""
        return resolved(marker, self.config, self._node, _now())

    def forget(self, marker: Marker) -> None:
        """The recovery is committed."""
        self._markers.pop(marker.unit, None)
        _marker_path(marker.unit, self._paths).unlink(missing_ok=True)


def _is_well(seen: Seen, marker: Marker) -> bool:
    if seen.invocation == marker.judgement.run.invocation or not seen.invocation:
        return False
    if seen.active == "active":
        return True
    return (
        phase(seen.active, seen.sub) is Phase.ENDED
        and seen.active == "inactive"
        and seen.result == "success"
        and seen.left_idle >= marker.incident.opened
    )


def resolved(marker: Marker, config: Config, node: notify.Node, now: Usec) -> list[Delivery]:
    """The recovery, to whoever was told of the failure."""
    well = msgspec.structs.replace(
        marker.judgement, verdict=Verdict.UNPROVEN, reason="ended-well", summary="it ended well"
    )
    sinks = [sink for sink in config.sinks if sink.name in marker.sinks]
    return notify.told("resolved", marker.incident, well, _nameless(marker.unit), sinks, node, now)


def forget_told(paths: Paths) -> None:
    """The daemon knows of it by now."""
    for name in spool.names(paths.requests):
        if name.endswith(_TOLD):
            (paths.requests / name).unlink(missing_ok=True)


# --- the process -----------------------------------------------------------------------------


def run(unit: UnitName, paths: Paths = PATHS) -> int:
    """One failure of one unit."""
    if unit.startswith(_OWN):
        print(f"<5>{unit} is one of our own, nothing to tell", file=sys.stderr)
        return EXIT_FINE
    config = _configuration(paths)
    job = configuration.job_of_unit(config, unit)
    if job is not None and daemon_lives(paths):
        return EXIT_FINE
    if _will_be_tried_again(unit):
        return EXIT_FINE
    seen = _failure(unit)
    if seen is None:
        return EXIT_FINE
    if job is None:
        return _alert_without_job(unit, seen, config, paths)
    return _alert_for_daemon(job, seen, config, paths)


def _alert_without_job(unit: UnitName, seen: Run, config: Config, paths: Paths) -> int:
    node = _node()
    now = _now()
    deliveries: list[Delivery] = []
    for marker in _markers(paths):
        if marker.unit != unit:
            continue
        if not _ended_well_since(unit, marker.incident.opened):
            return EXIT_FINE  # told already: one message an incident
        deliveries += resolved(marker, config, node, now)
    incident, judgement = _incident(seen, alert_id(f"unit\0{unit}\0{seen.key}"), now)
    sinks = [sink for sink in config.sinks if sink.name in config.default_to]
    marker = Marker(unit, incident, judgement, tuple(sink.name for sink in sinks))
    deliveries += notify.told("firing", incident, judgement, _nameless(unit), sinks, node, now)
    # The marker first: killed in between, the message goes out again under the same id.
    _spool(deliveries, config, paths)
    spool.write_aside(_marker_path(unit, paths), msgspec.json.encode(marker), 0o600)
    effects.log(
        3,
        f"{unit}: {judgement.summary}" + ("" if sinks else "; no sink is configured to tell"),
        messages.INCIDENT_OPENED,
        OUTCOMED_JOB=unit,
        OUTCOMED_ALERT=incident.id,
        OUTCOMED_VERDICT=judgement.verdict.value,
        OUTCOMED_REASON=judgement.reason,
        OBJECT_SYSTEMD_UNIT=unit,
    )
    spool.poke(paths.wake)
    return EXIT_FINE


def _alert_for_daemon(job: Job, seen: Run, config: Config, paths: Paths) -> int:
    """The daemon is down: say what it will say, under its id, so that it says it once. Of later
    failures nobody but the daemon knows whether they are the same incident's."""
    told = paths.requests / f"{job.name}{_TOLD}"
    if _incident_is_open(job.name, paths) or told.exists() or _says_already_done(job, seen):
        return EXIT_FINE
    if _was_judged(run_id(job.name, seen.key)):
        return EXIT_FINE
    if job.alerts.after > 1:
        print(f"<4>{job.name}: left to outcomed.service to count, which is down", file=sys.stderr)
        return EXIT_FINE
    incident, judgement = _incident(
        seen, alert_id(run_id(job.name, seen.key)), _now(), job.name, job.severity
    )
    sinks = notify.listeners(job.alerts.to, config.sinks)
    _spool(notify.told("firing", incident, judgement, job, sinks, _node(), _now()), config, paths)
    spool.write_aside(told, incident.id.encode(), 0o600)
    print(f"<4>outcomed.service is down; told {len(sinks)} sinks in its place", file=sys.stderr)
    return EXIT_FINE


def _was_judged(run: RunId) -> bool:
    """Whether the daemon has had its say already, and went down while this was on its way."""
    with contextlib.suppress(JournalError), journal.Journal() as source:
        return source.tells_of_verdict(run)
    return False


def _incident(
    seen: Run,
    alert: str,
    now: Usec,
    name: JobName | None = None,
    severity: Any = "critical",
) -> tuple[Incident, Judgement]:
    finding = verdicts.result_finding(seen)
    judgement = Judgement(
        run=seen,
        verdict=Verdict.FAILED,
        reason=seen.result or "failed",
        summary=finding.summary,
        findings=(finding,),
        at=now,
    )
    incident = Incident(
        id=alert,
        job=name or seen.job,
        opened=now,
        verdict=Verdict.FAILED,
        reason=judgement.reason,
        summary=judgement.summary,
        run=None,
        severity=severity,
    )
    return incident, judgement


def _spool(deliveries: Sequence[Delivery], config: Config, paths: Paths) -> None:
    if deliveries:
        spool.write_sinks(config.sinks, paths)
    for delivery in deliveries:
        spool.put(delivery, paths)
    if deliveries:
        spool.poke(paths.deliver_socket)


def _failure(unit: UnitName) -> Run | None:
    """What failed, as PID 1 told it; the run's first attempt names it, as in the daemon. None: by
    now there is, or was, another attempt, and a handler of its own if that failed as well."""
    with contextlib.suppress(JournalError):
        journal.synchronize()
    track = Track(job=JobName(unit), unit=unit)
    with journal.Journal() as source:
        for told in source.told_since(Usec(_now() - LOOK_BACK), unit):
            track = hear(track, told)
    # LogLevelMax= lets nothing through, or the journal has forgotten: systemd's word to us is left.
    told_us = monitored(unit, os.environ)
    bad = [run for run in track.runs if run.ended and run.last.result != "success"]
    found = bad[-1] if bad else None
    if told_us.invocation is not None:
        found = track.find(told_us.invocation) or found
        if found is not None and _went_on(found, told_us.invocation):
            return None
    return as_run(track, found) if found is not None else told_us


def _went_on(run: Open, failed: InvocationId) -> bool:
    is_later = run.last.invocation != failed
    return run.last.restarting or (is_later and not (run.ended and run.last.result != "success"))


def monitored(unit: UnitName, environment: Mapping[str, str]) -> Run:
    """The failure as systemd tells it to a hook (MONITOR_INVOCATION_ID= etc., systemd.exec(5))."""

    def said(name: str) -> str | None:
        return printable(environment.get(f"MONITOR_{name}", "")[:WORD]) or None

    invocation = invocation_id(said("INVOCATION_ID") or "")
    return Run(
        id=run_id(JobName(unit), invocation or ""),
        job=JobName(unit),
        unit=unit,
        key=invocation or "",
        boot=BootId(""),
        invocation=invocation,
        last_invocation=invocation,
        result=said("SERVICE_RESULT") or "failed",
        exit_code=said("EXIT_CODE"),
        exit_status=signal_or_status(said("EXIT_STATUS") or ""),
    )


def _will_be_tried_again(unit: UnitName) -> bool:
    """With Restart=, systemd 257 calls the hook for every attempt, and only the last one counts."""
    from outcomed.bus import Calls

    calls = Calls()
    try:
        return calls.sub_state(unit) in BETWEEN
    except BusError:
        return False  # not loaded any more: nobody tries it again
    finally:
        calls.close()


def _says_already_done(job: Job, seen: Run) -> bool:
    """Whether the daemon, when it is back, will have a proof to look at first."""
    if verdicts.already_done_by_status(job, seen):
        return True
    texts = [way.journal for way in job.already_done if way.journal is not None]
    if not texts or seen.started is None or seen.last_invocation is None:
        return False
    from outcomed.patterns import compile_pattern

    searches = [compile_pattern(text).search for text in texts]
    with journal.Journal() as source:
        lines = source.lines(seen.unit, [seen.last_invocation], seen.started, (seen.started, None))
        return any(
            search(line.message)
            for line in lines
            if isinstance(line, journal.Line) and line.own and len(line.message) <= LINE_SEARCHED
            for search in searches
        )


def _ended_well_since(unit: UnitName, since: Usec) -> bool:
    with journal.Journal() as source:
        return any(
            told.what is What.ENDED_WELL or (told.what is What.STARTED and not is_refusal(told))
            for told in source.told_since(since, unit)
        )


def daemon_lives(paths: Paths = PATHS) -> bool:
    """The daemon holds a lock as long as it lives; the kernel lets go of it when it dies."""
    try:
        with open(paths.lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _configuration(paths: Paths) -> Config:
    """The files as they are; while they are broken, what the daemon last took for good."""
    compiled = spool.read_compiled(paths)
    loaded = configuration.load_isolated(paths, last_good=compiled)
    if loaded.unread:
        return compiled
    kept = tuple(job for job in compiled.jobs if job.name in loaded.broken)
    return msgspec.structs.replace(loaded.config, jobs=(*loaded.config.jobs, *kept))


def _incident_is_open(name: JobName, paths: Paths) -> bool:
    try:
        state = spool.read_as(paths.job_states / f"{name}.json", dict[str, object])
    except (FileNotFoundError, spool.SpoolError):
        return False
    return bool(state.get("incident"))


def _markers(paths: Paths, guard: Guard | None = None) -> list[Marker]:
    found = []
    for entry in os.scandir(paths.requests):
        if entry.name.startswith(".") or not entry.name.endswith(_SUFFIX):
            continue
        if guard is None:
            found += _marker(entry.path)
        elif guard.may_look(entry.path, functools.partial(_marker, entry.path)):
            with guard.at(entry.path):
                found += _marker(entry.path)
    return found


def _marker(path: str) -> list[Marker]:
    with contextlib.suppress(FileNotFoundError, spool.SpoolError):
        marker = spool.read_as(Path(path), Marker)
        if Path(path).name == f"{marker.unit}{_SUFFIX}":  # else it is damaged, or no unit at all
            return [marker]
    return []


def _marker_path(unit: UnitName, paths: Paths) -> Path:
    return paths.requests / f"{unit}{_SUFFIX}"


def _nameless(unit: UnitName) -> Job:
    """A unit without job file, in the words of one."""
    return Job(name=JobName(""), unit=unit)


def _node() -> notify.Node:
    host = this_host()
    return notify.Node(host=host.hostname, machine_id=host.machine_id)


def _now() -> Usec:
    return Usec(time.time_ns() // 1000)


def main() -> int:
    """What outcomed-alert@UNIT.service starts."""
    if len(sys.argv) != 2 or "/" in sys.argv[1]:
        print("usage: outcomed-alert UNIT", file=sys.stderr)
        return EXIT_USAGE
    try:
        return run(UnitName(sys.argv[1]))
    except (OutcomedError, OSError) as error:
        print(f"<3>{sys.argv[1]}: the alert could not be spooled: {error}", file=sys.stderr)
        return EXIT_NO_ANSWER
