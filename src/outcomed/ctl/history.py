"""`outcomectl history`: the runs of one job, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from outcomed import verdicts
from outcomed.ctl import shape, times
from outcomed.ctl.find import find, reading
from outcomed.ctl.options import Call
from outcomed.ctl.term import COLOR, MARK, NARROW, Cell, Row, Screen, encode_json, safe, say, table
from outcomed.errors import EXIT_FINE, UsageError
from outcomed.ledger import Reader, Stored
from outcomed.model import JobName, Run, Usec

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
    parser.epilog = "BY is what started the run: its timer, or somebody's hand."


def run(call: Call) -> int:
    number: int | None = call.options.number
    if number is not None and number < 1:
        raise UsageError(
            f"-n: expected a number of runs, got {number}", hint="outcomectl history --help"
        )
    since = times.parse_since(call.options.since, call.now) if call.options.since else None
    with reading(call.paths) as reader:
        job = find(reader, call.options.job, call.paths).row.name
        runs = _runs(reader, job, number, since)
    if call.json:
        print(encode_json([shape.run(stored.judgement) for stored in runs], call.json))
    elif runs:
        say(listed(runs, call.screen, legend=call.legend), call.screen, pager=call.pager)
    elif call.legend:
        print(f"No runs of {job}" + (f" since {times.timestamp(since)}." if since else "."))
    return EXIT_FINE


def _runs(reader: Reader, job: JobName, number: int | None, since: Usec | None) -> list[Stored]:
    if since is None:
        return shape.by_run(reader.history(job, number or LINES))
    limit = 100
    while True:
        found = reader.history(job, limit)
        if len(found) < limit or _moment(found[-1]) < since:
            break
        limit *= 10
    recent = [stored for stored in shape.by_run(found) if _moment(stored) >= since]
    return recent[:number]


def _moment(stored: Stored) -> Usec:
    return stored.judgement.run.started or stored.judgement.at


def listed(runs: Sequence[Stored], screen: Screen, *, legend: bool) -> list[str]:
    """A table of runs."""
    is_narrow = screen.width is not None and screen.width < NARROW
    header = ("", "RUN", "STARTED", "RAN", "VERDICT", "BY", "REASON" if is_narrow else "WHY")
    return table(screen, header, [_row(one, screen, is_narrow) for one in runs], legend=legend)


def _row(stored: Stored, screen: Screen, is_narrow: bool) -> Row:
    judgement = stored.judgement
    run, klass = judgement.run, judgement.verdict.klass
    reason = judgement.reason if judgement.was is None else f"was {judgement.was}"
    why = reason if is_narrow else verdicts.sentence(judgement)
    if run.attempts > 1:
        why = f"{run.attempts} attempts; {why}"
    return (
        Cell(screen.mark(MARK[klass]), COLOR[klass]),
        Cell(run.id[:8]),
        Cell(times.timestamp(_moment(stored))),
        Cell(times.ran(run.duration)),
        Cell(judgement.verdict.value, COLOR[klass]),
        Cell(started_by(run)),
        Cell(safe(why)),
    )


def started_by(run: Run) -> str:
    """The kind of what started it, in a word."""
    if run.trigger == "none":
        return "hand"
    return safe(run.trigger.rpartition(".")[2]) if "." in run.trigger else "?"
