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
)
from outcomed.notify import rfc3339, shown_finding


def run(judgement: Judgement) -> dict[str, Any]:
    """One run with its verdict."""
    return {
        **_facts(judgement.run),
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
        "attempts": one.attempts,
    }


def _output(known: Completeness | None) -> dict[str, Any]:
    """Whether what a run did not say proves anything; null where nobody looked."""
    if known is None:
        return {"complete": None, "reason": None}
    return {"complete": known.complete, "reason": known.reason or known.strayed or None}


def job(row: JobRow, under_way: Run | None) -> dict[str, Any]:
    """A job: its last run as `run` shows it (null where it has none), and its open alert."""
    shown = run(row.last.judgement) if row.last is not None else _never_ran(row)
    return {
        **shown,
        "job": row.name,
        "unit": unit_of(row),
        "description": row.config.description if row.config is not None else "",
        "incident": incident(row.standing.incident),
        "under_way": None if under_way is None else _facts(under_way),
    }


def unit_of(row: JobRow) -> UnitName:
    """The unit that is watched: the last run's, which is no alias, else the file's."""
    if row.last is not None:
        return row.last.judgement.run.unit
    return row.config.unit if row.config is not None else UnitName(f"{row.name}.service")


def _never_ran(row: JobRow) -> dict[str, Any]:
    empty = _facts(_NO_RUN) | {"id": None, "trigger": None, "attempts": 0}
    verdict = dict.fromkeys(("verdict", "class", "reason", "summary"))
    return {
        **empty,
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
