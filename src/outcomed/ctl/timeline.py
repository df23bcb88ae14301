"""What became of a job, newest first: its runs, and the slots that no run says everything about.

A run stands here once, with its newest verdict, however often it was looked at. A slot stands here
if it has neither a run nor a verdict of its own; what is on record about the slot of a run (that it
began late, and why) stands beside that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec.structs import replace

from outcomed.ctl import shape
from outcomed.ledger import Reader, Stored
from outcomed.model import JobName, Record, Run, Usec
from outcomed.quantities import say_duration
from outcomed.slots import Slot

_ANSWERED = ("ran", "late")
_REACH = 1_000
_SLOTS = 100_000  # a timer of every minute that is dead for two months


class Entry(Record, frozen=True):
    """A run, or a slot without one; or several slots in a row with which it was the same."""

    at: Usec
    stored: Stored | None = None
    slot: Slot | None = None
    count: int = 1
    since: Usec = Usec(0)  # the oldest of several


def entries(reader: Reader, job: JobName, number: int | None, since: Usec | None) -> list[Entry]:
    """At least the newest `number` of them, or all since then."""
    found = _runs(reader, job, number, since)
    is_cut = number is not None and len(found) >= number
    oldest = min(map(_moment, found)) if is_cut else Usec(0)
    reach = min([oldest, *(stored.judgement.run.slot or oldest for stored in found)])
    slots = reader.slots(job, reach if since is None else min(reach, since), _SLOTS)
    alone = [one for one in _alone(found, slots, job) if one.at >= max(oldest, since or 0)]
    return sorted([*_beside(found, slots, job), *alone], key=lambda one: one.at, reverse=True)


def runs(reader: Reader, job: JobName) -> list[Stored]:
    """What ran, newest first, as far as it is worth looking."""
    return [one for one in _runs(reader, job, _REACH, None) if one.judgement.run.took_place]


def with_slots(runs: Sequence[Stored], reader: Reader, job: JobName) -> list[Entry]:
    """These runs, with what is on record about their slots."""
    moments = [stored.judgement.run.slot or _moment(stored) for stored in runs]
    slots = reader.slots(job, min(moments), _SLOTS) if moments else []
    return _beside(runs, slots, job)


def slot_of(reader: Reader, run: Run) -> Slot | None:
    """What is on record about the slot that this run answered, or that it stands for."""
    if run.slot is None:
        return None
    slots = reader.slots(run.job, run.slot, _SLOTS)
    mine = (one for one in slots if one.at == run.slot and (one.timer or "none") == run.trigger)
    return next(mine, None)


def folded(found: Sequence[Entry]) -> list[Entry]:
    """Slots in a row that ended in the same way, as one: a timer of every minute has so many."""
    rows: list[Entry] = []
    for _, group in groupby(found, key=_alike):
        newest, *older = group
        rows.append(replace(newest, count=1 + len(older), since=older[-1].at) if older else newest)
    return rows


def _alike(one: Entry) -> object:
    slot = one.slot
    if one.stored is not None or slot is None:
        return id(one)
    return (slot.timer, slot.state, slot.reason, slot.run)


def _runs(reader: Reader, job: JobName, number: int | None, since: Usec | None) -> list[Stored]:
    """A run may have any number of verdicts, so more are read until there are runs enough."""
    limit = 100 if number is None else 2 * number
    while True:
        history = reader.history(job, limit)
        found = shape.by_run(history)
        is_enough = number is not None and len(found) > number  # the last one may be cut
        is_enough |= since is not None and bool(found) and _moment(found[-1]) < since
        if is_enough or len(history) < limit:
            break
        limit *= 10
    return [stored for stored in found if since is None or _moment(stored) >= since][:number]


def _moment(stored: Stored) -> Usec:
    run = stored.judgement.run
    return run.started or run.slot or stored.judgement.at


def _beside(runs: Sequence[Stored], slots: Sequence[Slot], job: JobName) -> list[Entry]:
    answered = {one.run: one for one in slots if one.state in _ANSWERED}
    judged = {shape.slot_id(job, one): one for one in slots}
    return [
        Entry(_moment(stored), stored, answered.get(ident) or judged.get(ident))
        for stored in runs
        for ident in [stored.judgement.run.id]
    ]


def _alone(runs: Sequence[Stored], slots: Sequence[Slot], job: JobName) -> list[Entry]:
    known = {stored.judgement.run.id for stored in runs}
    return [
        Entry(one.at, slot=one)
        for one in slots
        if one.state not in _ANSWERED and shape.slot_id(job, one) not in known
    ]


_RAN = {
    "caught-up": "made up for a slot at which the host was off",
    "resumed": "made up for a slot at which the host was suspended",
    "clock-change": "the clock was set over its slot",
    "schedule-changed": "its timer was changed",
    "zone-change": "the time zone was changed",
    "unscheduled": "beyond its timer's schedule",
}


def remark(entry: Entry) -> str:
    """What there is to say about the slot of a run; empty if it began in time."""
    slot, started = entry.slot, None
    if slot is None or slot.state not in _ANSWERED:
        return ""
    if entry.stored is not None:
        started = entry.stored.judgement.run.started
    if slot.state == "ran":
        return _RAN.get(slot.reason, slot.reason)
    after = "" if started is None else f" {say_duration(started - slot.at)}"
    held_up = ", held up by the run before it" if slot.reason == "still-running" else ""
    return f"began{after} after its slot{held_up}"
