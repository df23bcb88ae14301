"""`outcomectl history`: the runs of one job and the slots without one, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from outcomed import verdicts
from outcomed.ctl import shape, timeline, times
from outcomed.ctl.find import find, reading
from outcomed.ctl.options import Call
from outcomed.ctl.term import COLOR, MARK, NARROW, Cell, Row, Screen, encode_json, safe, say, table
from outcomed.ctl.timeline import Entry
from outcomed.errors import EXIT_FINE, UsageError
from outcomed.ledger import Stored
from outcomed.model import JobName, Run, UnitName, Usec, Verdict
from outcomed.slots import Slot

LINES = 20


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help="a job, its unit, or one of its runs")
    parser.add_argument(
        "-n", dest="number", type=int, metavar="N", help=f"so many runs; default: {LINES}"
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="all runs since then: -90d, today, yesterday, 2026-11-01, '2026-11-01 03:00'",
    )
    parser.epilog = (
        "A moment at which a timer promised a run, and there was none, counts as one.\n"
        "BY is what started the run: its timer, or somebody's hand."
    )


def run(call: Call) -> int:
    number: int | None = call.options.number
    if number is not None and number < 1:
        raise UsageError(
            f"-n: expected a number of runs, got {number}", hint="outcomectl history --help"
        )
    since = times.parse_since(call.options.since, call.now) if call.options.since else None
    if number is None and since is None:
        number = LINES
    with reading(call.paths) as reader:
        row = find(reader, call.options.job, call.paths).row
        found = timeline.entries(reader, row.name, number, since)
    if call.json:
        shown = [_shape(one, row.name, shape.unit_of(row)) for one in found[:number]]
        print(encode_json(shown, call.json))
    elif found:
        rows = timeline.folded(found)[:number]
        say(listed(rows, call.screen, legend=call.legend), call.screen, pager=call.pager)
    elif call.legend:
        print(f"No runs of {row.name}" + (f" since {times.timestamp(since)}." if since else "."))
    return EXIT_FINE


def _shape(one: Entry, job: JobName, unit: UnitName) -> dict[str, object]:
    if one.stored is not None:
        return shape.run(one.stored.judgement, one.slot)
    assert one.slot is not None
    return shape.slot(one.slot, job, unit)


def listed(rows: Sequence[Entry], screen: Screen, *, legend: bool) -> list[str]:
    """A table of runs, and of slots without one."""
    is_narrow = screen.width is not None and screen.width < NARROW
    header = ("", "RUN", "WHEN", "RAN", "VERDICT", "BY", "REASON" if is_narrow else "WHY")
    return table(screen, header, [_row(one, screen, is_narrow) for one in rows], legend=legend)


def _row(one: Entry, screen: Screen, is_narrow: bool) -> Row:
    if one.stored is not None:
        return _of_run(one, one.stored, screen, is_narrow)
    assert one.slot is not None
    return _of_slot(one, one.slot, screen, is_narrow)


def _of_run(one: Entry, stored: Stored, screen: Screen, is_narrow: bool) -> Row:
    judgement = stored.judgement
    run, klass = judgement.run, judgement.verdict.klass
    reason = judgement.reason if judgement.was is None else f"was {judgement.was}"
    why = reason if is_narrow else verdicts.sentence(judgement)
    if run.attempts > 1:
        why = f"{run.attempts} attempts; {why}"
    remark = timeline.remark(one)
    if remark and is_narrow and one.slot is not None:
        # That a timer was started anew is no news where there is room for one word.
        remark = "" if one.slot.reason == "unscheduled" else one.slot.reason
    return (
        Cell(screen.mark(MARK[klass]), COLOR[klass]),
        Cell(run.id[:8]),
        _when(one.at, is_narrow),
        Cell(times.ran(run.duration)),
        Cell(judgement.verdict.value, COLOR[klass]),
        Cell(started_by(run)),
        Cell(safe(f"{why}; {remark}" if remark and remark != why else why)),
    )


def _of_slot(one: Entry, slot: Slot, screen: Screen, is_narrow: bool) -> Row:
    verdict = Verdict(slot.state)
    why = slot.reason if is_narrow else shape.because(slot)
    if one.count > 1 and is_narrow:
        why = f"{one.count}x {why}"
    elif one.count > 1:
        why = f"{one.count} slots since {times.timestamp(one.since)}: {why}"
    return (
        Cell(screen.mark(MARK[verdict.klass]), COLOR[verdict.klass]),
        Cell("-"),
        _when(one.at, is_narrow),
        Cell("-"),
        Cell(verdict.value, COLOR[verdict.klass]),
        Cell(_kind(slot.timer) if slot.timer else "-"),
        Cell(safe(why)),
    )


def _when(at: Usec, is_narrow: bool) -> Cell:
    shown = times.timestamp(at)
    return Cell(shown.rpartition(" ")[0] if is_narrow else shown)


def started_by(run: Run) -> str:
    """The kind of what started it, in a word."""
    if run.trigger == "none":
        return "hand" if run.started is not None else "-"
    return _kind(run.trigger) if "." in run.trigger else "?"


def _kind(unit: str) -> str:
    return safe(unit.rpartition(".")[2])
