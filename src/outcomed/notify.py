"""Put an incident into words and into a CloudEvents envelope. Pure.

The envelope's `id` is the delivery's idempotency key: a repeat carries the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from outcomed import verdicts
from outcomed.alerts import Tally
from outcomed.model import (
    Delivery,
    Incident,
    Job,
    JobName,
    Judgement,
    Record,
    Sink,
    UnitName,
    Usec,
    Verdict,
    alert_id,
    delivery_id,
)

OURS = Job(name=JobName(""), unit=UnitName("outcomed.service"))  # what is about no job
NAMED = 8  # jobs in a sentence; all of them are in the message's data

State = Literal["firing", "resolved", "reminder", "test"]


class Node(Record, frozen=True):
    """Who is speaking."""

    host: str
    machine_id: str


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(at: Usec | None) -> str | None:
    """A moment in UTC, to the microsecond; None too for what no calendar has (a file's time)."""
    if at is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds")
    except OverflowError:
        return None


def told(
    state: State,
    incident: Incident,
    judgement: Judgement | None,
    job: Job,
    sinks: Sequence[Sink],
    node: Node,
    at: Usec,
    tail: Sequence[str] = (),
) -> list[Delivery]:
    """One delivery for each of these sinks."""
    body = data(state, incident, judgement, job, node)
    return [deliver(state, incident.id, body, sink, node, at, tail) for sink in sinks]


def deliver(
    state: State,
    alert: str,
    body: dict[str, Any],
    sink: Sink,
    node: Node,
    at: Usec,
    tail: Sequence[str] = (),
) -> Delivery:
    """Wrap what is said for one sink. Output leaves the node only where a sink asks for it."""
    ident = delivery_id(alert, state, sink.name)
    lines = list(tail)[-sink.log_lines :] if sink.log_lines else []
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": ident,
        "source": f"urn:outcomed:{node.machine_id}",
        "type": "io.outcomed.alert",
        "time": rfc3339(at),
        "subject": body["job"] or body["unit"],
        "datacontenttype": "application/json",
        "data": {**body, "log_tail": lines},
    }
    return Delivery(id=ident, sink=sink.name, created=at, event=event)


def data(
    state: State, incident: Incident, judgement: Judgement | None, job: Job, node: Node
) -> dict[str, Any]:
    """The contract's `data`, but for the log's tail."""
    run = judgement.run if judgement is not None else None
    said = ("removed", "the job was removed")
    if judgement is not None:
        said = (judgement.reason, verdicts.sentence(judgement))
    elif state == "firing":
        said = (incident.reason, incident.summary)
    return {
        "job": job.name,
        "unit": run.unit if run is not None else job.unit,
        "host": node.host,
        "machine_id": node.machine_id,
        "state": state,
        "severity": incident.severity,
        "verdict": judgement.verdict if judgement is not None else incident.verdict,
        "reason": said[0],
        "summary": said[1],
        "since": rfc3339(incident.opened),
        "run": run.invocation if run is not None else None,
        "slot": rfc3339(run.slot) if run is not None else None,
        "started": rfc3339(run.started) if run is not None else None,
        "finished": rfc3339(run.finished) if run is not None else None,
        "findings": [shown_finding(one) for one in judgement.findings] if judgement else [],
        "steps": list(judgement.steps) if judgement is not None else [],
        "runbook": job.runbook,
        "alert_id": incident.id,
    }


def shown_finding(finding: Any) -> dict[str, Any]:
    """A finding as the contracts spell it; every key is there."""
    evidence = dict(finding.evidence)
    if isinstance(evidence.get("mtime"), int):
        evidence["mtime"] = rfc3339(evidence["mtime"])
    return {
        "rule": finding.rule,
        "state": str(finding.state),
        "summary": finding.summary,
        "evidence": msgspec.to_builtins(evidence),
    }


class Meanwhile(Record, frozen=True):
    """A job that went wrong and recovered before anybody could be told."""

    job: JobName
    unit: UnitName
    tally: Tally
    again: bool  # and is bad once more, which is told apart


def meanwhile(
    found: Sequence[Meanwhile], sinks: Sequence[Sink], node: Node, at: Usec
) -> list[Delivery]:
    """One message for each sink that would have heard of any of them."""
    return [
        _told_meanwhile([one for one in found if sink.name in one.tally.to], sink, node, at)
        for sink in sinks
        if any(sink.name in one.tally.to for one in found)
    ]


def _told_meanwhile(found: Sequence[Meanwhile], sink: Sink, node: Node, at: Usec) -> Delivery:
    incident = Incident(
        id=alert_id("meanwhile\0" + "\0".join(sorted(one.tally.alert for one in found))),
        job=OURS.name,
        opened=min(one.tally.since for one in found),
        verdict=min((verdict for one in found for verdict in one.tally.bad), key=_BY_WEIGHT.index),
        reason="meanwhile",
        summary=meanwhile_sentence(found),
        run=None,
        severity="warning",
    )
    body = data("resolved", incident, None, OURS, node)
    body |= {"reason": incident.reason, "summary": incident.summary}
    body["jobs"] = [
        {
            "job": one.job,
            "unit": one.unit,
            "bad": one.tally.bad,
            "since": rfc3339(one.tally.since),
            "again": one.again,
        }
        for one in found
    ]
    return deliver("resolved", incident.id, body, sink, node, at)


_BY_WEIGHT = list(reversed(Verdict))


def meanwhile_sentence(found: Sequence[Meanwhile]) -> str:
    named = ", ".join(f"{one.job} ({_how_bad(one)})" for one in found[:NAMED])
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    jobs = "1 job" if len(found) == 1 else f"{len(found)} jobs"
    return f"{jobs} went wrong and recovered while outcomed was not there: {named}{rest}"


def _how_bad(one: Meanwhile) -> str:
    counts = ", ".join(f"{times} {verdict}" for verdict, times in one.tally.bad.items())
    return f"{counts}; bad again, see there" if one.again else counts


def listeners(names: Collection[str], sinks: Sequence[Sink]) -> list[Sink]:
    """The sinks of these names, as far as they still are configured."""
    return [sink for sink in sinks if sink.name in names]
