"""Decide what a verdict changes: which incident opens, which closes, who is told. Pure.

One incident is one alert: it opens with the first bad verdict and closes with the recovery,
however many bad runs lie between. What opens while the past is caught up with is held back as long
as more of the past is to come, since that may hold the recovery: then it is one line of one
message, and not two messages of its own.
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
    RunId,
    Usec,
    Verdict,
    alert_id,
)


class Tally(Record, frozen=True):
    """Bad runs that were found when the past was caught up with."""

    bad: dict[Verdict, int]
    since: Usec  # the first of them
    alert: str = ""  # the incident that would have been told; empty: `after` is counting
    to: tuple[str, ...] = ()  # the sinks that would have heard of it


class Standing(Record, frozen=True):
    """What is remembered of a job's verdicts so far."""

    incident: Incident | None = None
    bad_in_a_row: int = 0
    unknown_in_a_row: int = 0
    tally: Tally | None = None  # of the incident, while it is held back
    folded: Tally | None = None  # of those that were held back and are over; not told yet
    counted: RunId | None = None  # a run that is bad already, and whose end is judged too

    @property
    def is_alarm(self) -> bool:
        """There is an incident, and it may be seen."""
        return self.incident is not None and self.tally is None

    @property
    def is_missing(self) -> bool:
        """Somebody was told of a slot that was missed. One more says nothing new: of a timer that
        is dead, and elapsed every minute, it would be said for weeks."""
        known = self.incident
        return known is not None and known.told and known.verdict is Verdict.MISSED


class Change(Record, frozen=True):
    """What follows from one verdict. `tell` is the state of the message that is due, if any."""

    standing: Standing
    opened: Incident | None = None
    closed: Incident | None = None
    tell: Literal["firing", "resolved"] | None = None
    quiet: bool = False  # nobody is to see what opened or closed

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
    *,
    more: bool = False,
) -> Change:
    """Fold one verdict into a job's standing. `more`: later runs of the past wait for theirs."""
    change = _decide(standing, judgement, alerts, severity)
    if not more and standing.tally is None and standing.folded is None:
        return change
    if change.standing.incident is None:
        return _over(standing, change)
    return _held(standing, change, judgement) if more else _last(standing, change, judgement)


def _decide(
    standing: Standing,
    judgement: Judgement,
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> Change:
    match judgement.verdict.klass:
        case Klass.GOOD:
            return _close(Standing(), standing.incident, judgement.at)
        case Klass.BAD:
            return _bad_once(standing, judgement, alerts, severity)
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
    return _over(standing, _close(rest, standing.incident, accepted.at))


def close(standing: Standing, at: Usec) -> Change:
    """The job is gone: so is its incident."""
    return _close(Standing(), standing.incident, at)


# --- the past --------------------------------------------------------------------------------


def reveal(standing: Standing) -> Change:
    """The past is judged to its end, and this incident is open still: from now on it is one."""
    assert standing.incident is not None
    is_due = standing.tally is not None and bool(standing.tally.alert)
    incident = replace(standing.incident, told=is_due)
    return Change(
        replace(standing, incident=incident, tally=None),
        opened=incident,
        tell="firing" if is_due else None,
    )


def moment(judgement: Judgement) -> Usec:
    """When it happened that was judged."""
    return judgement.run.started or judgement.run.slot or judgement.at


def found_late(
    standing: Standing,
    before: Incident | None,
    found: Sequence[Judgement],
    runs: Sequence[Judgement],
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> list[tuple[Judgement, Change]]:
    """Slots of the past, found when the runs after them are judged already.

    They take their places among these: one that a run has made good since is told together with
    the rest of the past, and those after one that is still missing are not judged. `before` is what
    was open before all of them.
    """
    there = Standing() if before is None else Standing(before, bad_in_a_row=1)
    slots, since_well = {one.run.id for one in found}, list[Judgement]()
    alert: Incident | None = None  # what would have been told of them
    is_one_more = False
    judged: list[tuple[Judgement, Change]] = []
    for one in sorted((*runs, *found), key=moment):
        if one.run.id not in slots:
            is_one_more = False
        elif there.is_missing or is_one_more:
            continue
        else:
            since_well.append(one)
            is_one_more = there.incident is not None and there.incident.told
        change = _decide(there, one, alerts, severity)
        there = change.standing
        if change.tell == "firing":
            alert = there.incident
        if there == Standing():
            for slot in since_well:
                standing = _folding(standing, slot, alert)
                judged.append((slot, Change(standing, quiet=True)))
            since_well, alert = [], None
    for slot in since_well:
        if not standing.is_missing:
            change = decide(standing, slot, alerts, severity)
            judged.append((slot, change))
            standing = change.standing
    return judged


def _folding(standing: Standing, slot: Judgement, alert: Incident | None) -> Standing:
    if alert is None:
        return standing
    tally = Tally({slot.verdict: 1}, moment(slot), alert.id, alert.to)
    folded = tally if standing.folded is None else _sum(standing.folded, tally)
    return replace(standing, folded=folded)


def told_by_hook(
    standing: Standing,
    judgement: Judgement,
    alerts: Alerts,
    severity: Literal["critical", "warning"],
    *,
    more: bool,
) -> Change:
    """Of this run the hook has told, which is no part of the past any more. Where it is of an
    incident that is held back, so that nobody has heard of that one, it takes its place."""
    held = standing.incident
    if standing.tally is None or held is None or judgement.verdict.klass is not Klass.BAD:
        return decide(
            standing, judgement, alerts, severity, more=more and standing.tally is not None
        )
    free = replace(standing, incident=None, tally=None)
    change = decide(free, judgement, alerts, severity)
    return replace(change, closed=replace(held, closed=judgement.at))


def _over(before: Standing, change: Change) -> Change:
    """Nothing is open any more. What was held back is one of those that are told together."""
    folded, tally = before.folded, before.tally
    if tally is not None and tally.alert:
        folded = tally if folded is None else _sum(folded, tally)
    standing = replace(change.standing, tally=None, folded=folded)
    return replace(change, standing=standing, quiet=tally is not None)


def _held(before: Standing, change: Change, judgement: Judgement) -> Change:
    """What opened in the past, and may have ended in it."""
    tally, incident = before.tally, change.standing.incident
    assert incident is not None
    is_new = change.opened is not None and (change.closed is None or not change.closed.told)
    if tally is None and not is_new:  # it was told before, or `after` counts from before
        return _keeping(before, change)
    tally = _counted(tally, change, judgement)
    if change.tell == "firing" and not tally.alert:
        tally = replace(tally, alert=incident.id, to=incident.to)
    standing = replace(change.standing, incident=replace(incident, told=False))
    hidden = replace(change, standing=standing, tell=None, quiet=True)
    return _keeping(before, hidden, tally)


def _last(before: Standing, change: Change, judgement: Judgement) -> Change:
    """The end of the past: what is due now is told as ever; for the rest there is `reveal`."""
    if before.tally is None:
        return _keeping(before, change)
    if change.tell == "firing":
        return _keeping(before, replace(change, opened=change.standing.incident))
    return _keeping(before, replace(change, quiet=True), _counted(before.tally, change, judgement))


def _keeping(before: Standing, change: Change, tally: Tally | None = None) -> Change:
    standing = replace(change.standing, tally=tally, folded=before.folded)
    return replace(change, standing=standing)


def _counted(tally: Tally | None, change: Change, judgement: Judgement) -> Tally:
    verdict, run = judgement.verdict, judgement.run
    if verdict.klass is Klass.NEUTRAL or judgement.witness == "late":
        assert tally is not None  # nothing opens by it
        return tally
    # The first of the unknowns in a row opened nothing.
    times = change.standing.unknown_in_a_row if change.opened and tally is None else 1
    one = Tally({verdict: max(times, 1)}, run.finished or run.started or judgement.at)
    return one if tally is None else _sum(tally, one)


def _sum(first: Tally, second: Tally) -> Tally:
    bad = dict(first.bad)
    for verdict, times in second.bad.items():
        bad[verdict] = bad.get(verdict, 0) + times
    to = (*first.to, *(name for name in second.to if name not in first.to))
    return Tally(bad, min(first.since, second.since), first.alert or second.alert, to)


# --- by the class of the verdict -------------------------------------------------------------


def _close(standing: Standing, incident: Incident | None, at: Usec) -> Change:
    if incident is None:
        return Change(standing)
    closed = replace(incident, closed=at)
    return Change(standing, closed=closed, tell="resolved" if incident.told else None)


def _bad_once(
    standing: Standing,
    judgement: Judgement,
    alerts: Alerts,
    severity: Literal["critical", "warning"],
) -> Change:
    """A run that was overdue and then fails is one bad run."""
    run = judgement.run.id
    if standing.counted == run:
        standing = replace(standing, bad_in_a_row=standing.bad_in_a_row - 1)
    change = _bad(standing, judgement, alerts, severity)
    if judgement.is_final:
        return change
    return replace(change, standing=replace(change.standing, counted=run))


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
    if judgement.witness == "late" or judgement.verdict is Verdict.LATE:
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
