"""What the world sees of a committed turn: messages, journal lines, state files, failed units.

Everything here can be done again: after a crash the ledger says what is due, and a repeat carries
the id of the first time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable

from outcomed import engine, entry, messages, spool, verdicts
from outcomed.bus import Calls, outcome_unit
from outcomed.engine import Concluded, Watched
from outcomed.errors import BusError, JournalError
from outcomed.model import Delivery, Finding, Incident, JobName, Judgement, Klass, Run, UnitName
from outcomed.paths import Paths

# syslog(3)'s levels. What is good says so at info: a quiet daemon has nothing above.
_PRIORITY = {Klass.GOOD: 6, Klass.NEUTRAL: 6, Klass.WARNING: 4, Klass.BAD: 3}


def log(priority: int, message: str, message_id: str, **fields: str) -> None:
    """One line of our own in the journal. Where there is no journal, nobody can be told there."""
    with contextlib.suppress(JournalError):
        _send(priority, message, message_id, **fields)


def _send(priority: int, message: str, message_id: str, **fields: str) -> None:
    entry.send(
        {
            "MESSAGE": message,
            "PRIORITY": str(priority),
            "MESSAGE_ID": message_id,
            "SYSLOG_IDENTIFIER": "outcomed",
            **fields,
        }
    )


def log_verdict(seq: int, judgement: Judgement) -> None:
    """The verdict, among the job's own lines: `journalctl -u JOB.service`, also `--invocation=`.

    JournalError: it is not there, and has to be said again.
    """
    run = judgement.run
    fields = {
        "OUTCOMED_JOB": run.job,
        "OUTCOMED_RUN": run.id,
        "OUTCOMED_VERDICT": judgement.verdict.value,
        "OUTCOMED_REASON": judgement.reason,
        "OUTCOMED_VERDICT_SEQ": str(seq),
        "OUTCOMED_FINDINGS": entry.dump(judgement.findings),
        "OBJECT_SYSTEMD_UNIT": run.unit,
    }
    if judgement.by:
        fields["OUTCOMED_BY"] = judgement.by
    if run.last_invocation is not None:
        fields["OBJECT_SYSTEMD_INVOCATION_ID"] = run.last_invocation
    klass = judgement.verdict.klass
    # What nobody can look at any more is told once, as a number, by whoever caught up.
    _send(
        _PRIORITY[klass] if judgement.witness != "late" else 6,
        f"{run.job}: {judgement.verdict}: {verdicts.sentence(judgement)}",
        messages.VERDICT[klass],
        **fields,
    )


def log_check(judgement: Judgement, finding: Finding) -> None:
    """That a check unit did not answer; the verdict says what it means for the run."""
    log(
        4,
        f"{judgement.run.job}: {finding.rule}: {finding.summary}",
        messages.CHECK_FAILED,
        OUTCOMED_JOB=judgement.run.job,
        OUTCOMED_RUN=judgement.run.id,
        OBJECT_SYSTEMD_UNIT=str(finding.evidence["check"]),
    )


def log_incident(incident: Incident, unit: str, *, opened: bool) -> None:
    """That somebody has to act, or no longer has to."""
    what = f"alert: {incident.summary}" if opened else "the alert is over"
    log(
        3 if opened and incident.severity == "critical" else 4 if opened else 6,
        f"{incident.job}: {what}",
        messages.INCIDENT_OPENED if opened else messages.INCIDENT_CLOSED,
        OUTCOMED_JOB=incident.job,
        OUTCOMED_ALERT=incident.id,
        OUTCOMED_VERDICT=incident.verdict.value,
        OUTCOMED_REASON=incident.reason,
        OBJECT_SYSTEMD_UNIT=unit,
    )


def write_state(
    watched: Watched, judgement: Judgement | None, under_way: Run | None, paths: Paths
) -> None:
    """`state/JOB.json`, renamed into place. Written again at every start, so it is not synced."""
    path = paths.job_states / f"{watched.job.name}.json"
    data = engine.encode_state(watched, judgement, under_way)
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return  # to rename over a file makes the file system flush it
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(data)
    aside.chmod(0o644)
    aside.rename(path)


def remove_state(name: JobName, paths: Paths) -> None:
    (paths.job_states / f"{name}.json").unlink(missing_ok=True)


class Outcomes:
    """outcome@JOB.service: failed exactly while an incident is open."""

    def __init__(self, calls: Calls, paths: Paths) -> None:
        self._calls = calls
        self._paths = paths
        self.due: set[JobName] = set()  # whose unit does not show yet what it has to

    def restore(self, bad: Iterable[JobName]) -> None:
        """At start: /run may be empty after a boot, and may hold what was closed meanwhile."""
        wanted = set(bad)
        flagged = {JobName(entry.name) for entry in os.scandir(self._paths.bad)}
        for name in flagged - wanted:
            self.clear(name)
        for name in wanted:
            self.fail(name)

    def fail(self, name: JobName) -> None:
        self.due.add(name)
        (self._paths.bad / name).touch()
        self._calls.start(outcome_unit(name))
        self.due.discard(name)

    def clear(self, name: JobName) -> None:
        self.due.add(name)
        (self._paths.bad / name).unlink(missing_ok=True)
        self._calls.reset_failed(outcome_unit(name))
        self.due.discard(name)

    def again(self, bad: Collection[JobName]) -> list[str]:
        """What did not succeed before. Returns what went wrong, for the log."""
        faults: list[str] = []
        for name in sorted(self.due):
            try:
                (self.fail if name in bad else self.clear)(name)
            except (BusError, OSError) as error:
                faults.append(f"{outcome_unit(name)} does not show its state: {error}")
        return faults


def tell(
    concluded: Iterable[tuple[int, Concluded]],
    outcomes: Outcomes,
) -> list[str]:
    """Journal lines and units for what was committed. Returns what went wrong, for the log."""
    faults: list[str] = []
    for seq, one in concluded:
        change, unit = one.change, one.judgement.run.unit
        try:
            log_verdict(seq, one.judgement)
            for finding in one.judgement.findings:
                if "check" in finding.evidence and one.judgement.was is None:
                    log_check(one.judgement, finding)
            if change.quiet:
                continue
            if change.opened is not None:
                log_incident(change.opened, unit, opened=True)
            elif change.closed is not None:
                log_incident(change.closed, unit, opened=False)
        except JournalError as error:
            faults.append(f"the verdict on {one.job.name} is not in the journal: {error.fault}")
        if change.opened is not None:
            faults += _show(one.job.name, outcomes.fail)
        elif change.closed is not None:
            faults += _show(one.job.name, outcomes.clear)
    return faults


def reveal(revealed: Iterable[tuple[Incident, UnitName]], outcomes: Outcomes) -> list[str]:
    """Incidents that are open since before we were there."""
    faults: list[str] = []
    for incident, unit in revealed:
        log_incident(incident, unit, opened=True)
        faults += _show(incident.job, outcomes.fail)
    return faults


def _show(name: JobName, how: Callable[[JobName], None]) -> list[str]:
    try:
        how(name)
    except (BusError, OSError) as error:
        return [f"{outcome_unit(name)} does not show its state: {error}"]
    return []


def spool_out(deliveries: Iterable[Delivery], paths: Paths) -> list[str]:
    """Hand messages to the delivery process. What cannot be written stays due in the ledger."""
    faults: list[str] = []
    written = 0
    for delivery in deliveries:
        try:
            written += spool.put(delivery, paths)
        except OSError as error:
            # One that could be written after it would overtake it; and there may be thousands.
            faults.append(f"messages could not be spooled: {error.strerror}")
            break
    if written and not spool.poke(paths.deliver_socket):
        faults.append(f"{paths.deliver_socket}: nobody listens; is outcomed-deliver.socket active?")
    return faults
