"""Decide what a verdict changes: which incident opens, which closes, who is told. Pure.

One incident is one alert: it opens with the first bad verdict and closes with the recovery,
however many bad runs lie between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from msgspec.structs import replace

from outcomed.model import (
    Alerts,
    Incident,
    Judgement,
    Klass,
    Record,
    Usec,
    Verdict,
    alert_id,
)


class Standing(Record, frozen=True):
    """What is remembered of a job's verdicts so far."""

    incident: Incident | None = None
    bad_in_a_row: int = 0
    unknown_in_a_row: int = 0


class Change(Record, frozen=True):
    """What follows from one verdict. `tell` is the state of the message that is due, if any."""

    standing: Standing
    opened: Incident | None = None
    closed: Incident | None = None
    tell: Literal["firing", "resolved"] | None = None

    @property
    def messages(self) -> tuple[tuple[Literal["firing", "resolved"], Incident], ...]:
        """What is due, in order. A told warning that became worse is resolved before that fires."""
        due: list[tuple[Literal["firing", "resolved"], Incident]] = []
        if self.closed is not None and self.closed.told:
            due.append(("resolved", self.closed))
        if self.tell == "firing" and self.standing.incident is not None:
            due.append(("firing", self.standing.incident))
        return tuple(due)


# `unproven` proves that the job runs again, and nothing about its outcome.
_CLOSED_BY_UNPROVEN = frozenset(
    {Verdict.FAILED, Verdict.MISSED, Verdict.OVERDUE, Verdict.INTERRUPTED}
)


def decide(
    standing: Standing,
    judgement: Judgement,
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> Change:
    """Fold one verdict into a job's standing."""
    match judgement.verdict.klass:
        case Klass.GOOD:
            return _close(Standing(), standing.incident, judgement.at)
        case Klass.BAD:
            return _bad(standing, judgement, alerts, severity)
        case Klass.WARNING:
            return _warning(standing, judgement, alerts)
        case Klass.NEUTRAL:
            return _neutral(standing, judgement)
        case _ as never:
            assert_never(never)


def accept(
    standing: Standing,
    accepted: Judgement,
    later: Sequence[Judgement],
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> Change:
    """A person's word on one run; `later` are those judged after it, in order.

    The incident closes unless there would be one had this run been good at once: what later runs
    showed is not what was accepted.
    """
    rest = Standing()
    for judgement in later:
        rest = decide(rest, judgement, alerts, severity).standing
    if rest.incident is not None:
        return Change(standing)
    return _close(rest, standing.incident, accepted.at)


def close(standing: Standing, at: Usec) -> Change:
    """The job is gone: so is its incident."""
    return _close(Standing(), standing.incident, at)


def _close(standing: Standing, incident: Incident | None, at: Usec) -> Change:
    if incident is None:
        return Change(standing)
    closed = replace(incident, closed=at)
    return Change(standing, closed=closed, tell="resolved" if incident.told else None)


def _bad(
    standing: Standing,
    judgement: Judgement,
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> Change:
    number = standing.bad_in_a_row + 1
    known = standing.incident
    if known is not None and known.told and known.verdict.klass is Klass.BAD:
        return Change(Standing(known, number))
    told = number >= alerts.after
    if known is not None and known.verdict.klass is Klass.BAD:
        # Open since the first bad verdict, and nobody was told yet: `after` is counting.
        incident = replace(known, told=told, to=alerts.to)
        return Change(Standing(incident, number), opened=None, tell="firing" if told else None)
    if known is not None and not told:
        return Change(Standing(known, number))  # the warning stands while `after` is counting
    incident = _open(judgement, severity, alerts, told=told)
    superseded = replace(known, closed=judgement.at) if known is not None else None
    return Change(
        Standing(incident, number),
        opened=incident,
        closed=superseded,
        tell="firing" if told else None,
    )


def _warning(standing: Standing, judgement: Judgement, alerts: Alerts) -> Change:
    if judgement.witness == "late":
        return Change(standing)  # history that nobody can look at any more never pages
    number = standing.unknown_in_a_row + 1
    counted = replace(standing, unknown_in_a_row=number)
    known = standing.incident
    if number < 2 or (known is not None and known.told):
        return Change(counted)
    if known is not None:
        # `after` was counting bad ones; now nobody can see any more how it goes.
        incident = replace(known, told=True, to=alerts.to)
        return Change(replace(counted, incident=incident), tell="firing")
    incident = _open(judgement, "warning", alerts, told=True)
    return Change(replace(counted, incident=incident), opened=incident, tell="firing")


def _neutral(standing: Standing, judgement: Judgement) -> Change:
    incident = standing.incident
    if judgement.verdict is Verdict.UNPROVEN and (
        incident is None or incident.verdict in _CLOSED_BY_UNPROVEN
    ):
        return _close(Standing(), incident, judgement.at)
    return Change(standing)


def _open(
    judgement: Judgement,
    severity: Literal["critical", "warning"],
    alerts: Alerts,
    *,
    told: bool,
) -> Incident:
    return Incident(
        id=alert_id(judgement.run.id),
        job=judgement.run.job,
        opened=judgement.at,
        verdict=judgement.verdict,
        reason=judgement.reason,
        summary=judgement.summary,
        run=judgement.run.id,
        severity=severity,
        told=told,
        to=alerts.to,
    )
