"""What is awaited of a job: its next slots, and until when it has to begin, to end, to be proven.

The promises are those that the daemon has written down. What has become of the timers since is
asked of systemd, where it answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from outcomed import slots
from outcomed.ctl import shape, systemctl, times
from outcomed.ctl.term import DIM, RED, safe
from outcomed.ledger import JobRow, Reader
from outcomed.model import SECOND, Job, Run, UnitName, Usec
from outcomed.quantities import format_duration
from outcomed.slots import Deadline, Promise
from outcomed.timers import Timer

Line = tuple[str, str, str]  # label, sentence, color


def next_slot(row: JobRow) -> Usec | None:
    return min((one.at for one in row.promises if one.at is not None), default=None)


def soon(row: JobRow, now: Usec) -> str:
    """When a run is due next, for a column."""
    at = next_slot(row)
    if at is None:
        return "-"
    return "due" if at <= now else times.ago(at, now).removesuffix(" left")


def lines(row: JobRow, reader: Reader, run: Run | None, now: Usec) -> Iterator[Line]:
    """Each deadline, as a moment where there is one to begin from."""
    job = row.config
    if job is None:
        return
    service, timers = _seen(row)
    if service:
        yield "Service", service, RED
    for promise in row.promises:
        yield from _slot(promise, job, timers, now)
    finish, proof = deadlines(row, job, reader)
    if not row.promises:
        silent = "" if proof.span is not None else ", and that no run comes, nobody notices"
        yield "Next run", f"no timer starts it{silent}", DIM
    if finish.span is not None:
        began = run.started if run is not None else None
        yield "End by", _by(began, finish.span, "its start", finish, "finish_within", now), ""
    if proof.span is not None:
        good = row.good or row.since
        last = "the last good verdict" if row.good else "it is watched"
        yield "Proof by", _by(good, proof.span, last, proof, "verified_within", now), ""


def deadlines(row: JobRow, job: Job, reader: Reader) -> tuple[Deadline, Deadline]:
    """For a run's end, and for the next good verdict."""
    good = reader.good_runs(row.name, slots.GOOD_RUNS)
    durations = [one.run.duration for one in good if one.run.duration is not None]
    finish = slots.finish_within(job.schedule, row.promises, durations)
    proof = slots.verified_within(job.schedule, row.promises, finish, has_rule=bool(job.outcome))
    return finish, proof


def until(promise: Promise, at: Usec, job: Job, *, nominal: bool) -> tuple[Usec, str]:
    """Until when a run is awaited for this slot, and why so long."""
    from msgspec.structs import replace

    due = slots.due(replace(promise, at=at, is_nominal=nominal), job.schedule)
    start = slots.start_within(job.schedule, promise)
    allowed = start.span or Usec(0)
    said = f"{format_duration(allowed)} after its slot ({_origin(start, 'start_within')})"
    end = Usec((due or at) - 1)
    more = end - at - allowed
    if more >= SECOND:
        said += f", and {format_duration(Usec(more))} that its timer allows itself"
    return end, said


def _slot(
    promise: Promise, job: Job, timers: dict[UnitName, Timer] | None, now: Usec
) -> Iterator[Line]:
    by_hand = promise.unit == slots.BY_HAND
    every = format_duration(job.schedule.every or Usec(0))
    who = f"every {every}" if by_hand else safe(promise.unit)
    fault = "" if by_hand or timers is None else _fault(promise, timers)
    if fault:
        yield "Next run", f"none: {fault}", RED
    if promise.at is None:
        if not fault:
            yield "Next run", f"not announced yet ({who})", ""
        return
    when = times.since(promise.at, now)
    end, why = until(promise, promise.at, job, nominal=promise.is_nominal)
    if fault:
        yield "Awaited", f"{when}, all the same", ""
    else:
        yield "Next run", f"{when} ({who})", ""
    yield "Begin by", f"{times.timestamp(end)}, {why}", ""


def _fault(promise: Promise, timers: dict[UnitName, Timer]) -> str:
    return slots.timer_fault(promise.unit, timers.get(promise.unit))[1]


def _by(begin: Usec | None, span: Usec, what: str, deadline: Deadline, key: str, now: Usec) -> str:
    accuracy = 1 if deadline.origin == key else SECOND  # what was measured is no round figure
    after = f"{format_duration(span, accuracy)} after {what} ({_origin(deadline, key)})"
    return after if not begin else f"{times.since(Usec(begin + span), now)}, {after}"


def _origin(deadline: Deadline, key: str) -> str:
    return "by its file" if deadline.origin == key else deadline.origin


_PROPERTIES = ("Id", "Unit", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result")


def _seen(row: JobRow) -> tuple[str, dict[UnitName, Timer] | None]:
    """What is wrong with the service, and the timers as they are; nothing where systemd is not
    there to be asked."""
    unit = shape.unit_of(row)
    names = [one.unit for one in row.promises if one.unit != slots.BY_HAND]
    answer = systemctl.show([unit, *names], _PROPERTIES)
    if answer is None:
        return "", None
    timers = {
        name: Timer(
            unit=name,
            triggers=UnitName(shown.get("Unit", "")),
            load=shown.get("LoadState", ""),
            active=shown.get("ActiveState", ""),
            sub=shown.get("SubState", ""),
            file=shown.get("UnitFileState", ""),
            result=shown.get("Result", ""),
        )
        for name, shown in zip(names, answer[1:], strict=True)
    }
    return slots.service_fault(unit, answer[0].get("LoadState", ""))[1], timers
