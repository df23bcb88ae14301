"""What scripts read: the JSON of runs, jobs and incidents. A contract: keys are only added."""

from __future__ import annotations

from typing import Any

from outcomed.ledger import JobRow, Stored
from outcomed.model import (
    SECOND,
    BootId,
    Completeness,
    Incident,
    JobName,
    Judgement,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
    run_id,
)
from outcomed.notify import rfc3339, shown_finding
from outcomed.slots import Slot


def run(judgement: Judgement, slot: Slot | None = None) -> dict[str, Any]:
    """One run with its verdict, and what is on record about the slot that it answered."""
    return {
        **_facts(judgement.run),
        **_ended(judgement.run.slot, slot),
        "verdict": judgement.verdict.value,
        "class": judgement.verdict.klass.value,
        "reason": judgement.reason,
        "summary": judgement.summary,
        "findings": [shown_finding(finding) for finding in judgement.findings],
        "steps": list(judgement.steps),
        "report": dict(judgement.report),
        "output": _output(judgement.output),
        "witness": judgement.witness,
        "judged": rfc3339(judgement.at),
        "by": judgement.by or None,
        "was": judgement.was,
    }


def _facts(one: Run) -> dict[str, Any]:
    return {
        "job": one.job,
        "unit": one.unit,
        "run": one.invocation,
        "id": one.id,
        "slot": rfc3339(one.slot),
        "trigger": one.trigger,
        "started": rfc3339(one.started),
        "finished": rfc3339(one.finished),
        "duration_s": None if one.duration is None else one.duration / SECOND,
        "result": one.result,
        "exit_status": one.exit_status,
        "attempts": one.attempts if one.took_place else 0,
    }


def slot(one: Slot, job: JobName, unit: UnitName) -> dict[str, Any]:
    """A slot without a run of its own, with the keys of a run."""
    verdict = Verdict(one.state)
    return {
        **_no_run(),
        **_ended(one.at, one),
        "job": job,
        "unit": unit,
        "id": slot_id(job, one),
        "slot": rfc3339(one.at),
        "trigger": one.timer or "none",
        "verdict": verdict.value,
        "class": verdict.klass.value,
        "reason": one.reason,
        "summary": because(one),
    }


def slot_id(job: JobName, one: Slot) -> RunId:
    return run_id(job, one.key)


def _ended(at: Usec | None, one: Slot | None) -> dict[str, Any]:
    """How a slot ended: `ran` and no more where its run says everything about it."""
    if one is None:
        state = None if at is None else "ran"
        return {"slot_state": state, "slot_reason": None, "slot_inferred": False}
    return {
        "slot_state": one.state,
        "slot_reason": one.reason or None,
        "slot_inferred": one.is_inferred,
    }


_BECAUSE = {
    "still-running": "the run before it was still under way",
    "clock-change": "the clock was set over it",
    "schedule-changed": "its timer was changed",
    "zone-change": "the time zone was changed",
}


def because(one: Slot) -> str:
    """Why no run answered it."""
    return one.because or _BECAUSE.get(one.reason, one.reason)


def _output(known: Completeness | None) -> dict[str, Any]:
    """Whether what a run did not say proves anything; null where nobody looked."""
    if known is None:
        return {"complete": None, "reason": None}
    return {"complete": known.complete, "reason": known.reason or known.strayed or None}


def job(row: JobRow, under_way: Run | None) -> dict[str, Any]:
    """A job: its last run as `run` shows it (null where it has none), and its open alert."""
    shown = run(row.last.judgement) if row.last is not None else _no_run()
    announced = [(one.at, one.due) for one in row.promises if one.at is not None]
    return {
        **shown,
        "job": row.name,
        "unit": unit_of(row),
        "description": row.config.description if row.config is not None else "",
        "incident": incident(row.standing.incident),
        "under_way": None if under_way is None else _facts(under_way),
        "next_slot": rfc3339(min(announced, default=(None, None))[0]),
        "begin_by": rfc3339(min(announced, default=(None, None))[1]),
    }


def unit_of(row: JobRow) -> UnitName:
    """The unit that is watched: the last run's, which is no alias, else the file's."""
    if row.last is not None:
        return row.last.judgement.run.unit
    return row.config.unit if row.config is not None else UnitName(f"{row.name}.service")


def _no_run() -> dict[str, Any]:
    empty = _facts(_NO_RUN) | {"id": None, "trigger": None, "attempts": 0}
    verdict = dict.fromkeys(("verdict", "class", "reason", "summary"))
    return {
        **empty,
        **_ended(None, None),
        **verdict,
        "findings": [],
        "steps": [],
        "report": {},
        "output": _output(None),
        "witness": None,
        "judged": None,
        "by": None,
        "was": None,
    }


_NO_RUN = Run(id=RunId(""), job=JobName(""), unit=UnitName(""), key="", boot=BootId(""))


def incident(one: Incident | None) -> dict[str, Any] | None:
    """An open alert, or the one that a run opened."""
    if one is None:
        return None
    return {
        "id": one.id,
        "opened": rfc3339(one.opened),
        "closed": rfc3339(one.closed),
        "verdict": one.verdict.value,
        "reason": one.reason,
        "summary": one.summary,
        "severity": one.severity,
        "told": one.told,
    }


def by_run(history: list[Stored]) -> list[Stored]:
    """The newest verdict of each run; a later look adds one, and stands before the first."""
    newest: dict[str, Stored] = {}
    for stored in history:
        newest.setdefault(stored.judgement.run.id, stored)
    return list(newest.values())
