"""`outcomectl status`: one line a job, what needs somebody first; or the jobs that were named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from outcomed import verdicts
from outcomed.ctl import around, awaited, shape, timeline, times
from outcomed.ctl.find import find, reading, under_way
from outcomed.ctl.options import Call
from outcomed.ctl.term import (
    BOLD,
    COLOR,
    DIM,
    MARK,
    RED,
    YELLOW,
    Cell,
    Screen,
    encode_json,
    safe,
    say,
    table,
    wrap,
)
from outcomed.errors import EXIT_BAD, EXIT_FINE
from outcomed.ledger import JobRow, Reader
from outcomed.model import Klass, Run, Verdict

_LAST = 5
_RANK = {Klass.BAD: 0, Klass.WARNING: 1, Klass.NEUTRAL: 2, Klass.GOOD: 2}


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", nargs="*", help="show these in full; default: a list")
    parser.epilog = (
        f"Marks: {MARK[Klass.BAD]} bad, ! not seen, ● good, ○ nothing proven, ↻ runs now.\n"
        "Exits with 1 if the last verdict on one of them is bad, or an alert is open."
    )


def run(call: Call) -> int:
    with reading(call.paths) as reader:
        running = under_way(reader)
        words: Sequence[str] = call.options.job
        if words:
            rows = [find(reader, word, call.paths).row for word in dict.fromkeys(words)]
        else:
            rows = [row for row in reader.jobs() if row.config is not None]
        notices = list(around.notices(call.paths, call.now))
        if call.json:
            for notice in notices:
                print(f"outcomectl: {notice}", file=sys.stderr)
            shown = [shape.job(row, running.get(row.name)) for row in rows]
            print(encode_json(shown, call.json))
        else:
            lines = [*_warned(notices, call.screen)]
            if words:
                lines += _in_full(rows, reader, running, call)
            else:
                lines += _listed(rows, running, call)
            say(lines, call.screen, pager=call.pager)
    return EXIT_BAD if any(is_bad(row) for row in rows) else EXIT_FINE


def is_bad(row: JobRow) -> bool:
    """Whether somebody has to act."""
    if row.standing.incident is not None:
        return True
    return row.last is not None and row.last.judgement.verdict.klass is Klass.BAD


def _warned(notices: Sequence[str], screen: Screen) -> Iterator[str]:
    for notice in notices:
        for line in wrap(notice, screen, "", "  "):
            yield screen.paint(line, YELLOW)
    if notices:
        yield ""


# --- the list --------------------------------------------------------------------------------


def _listed(rows: Sequence[JobRow], running: dict[str, Run], call: Call) -> list[str]:
    if not rows:
        return ["No jobs. A file in /etc/outcomed/jobs.d makes one: outcomed.job(5)."]
    ordered = sorted(rows, key=lambda row: (_rank(row), row.name))
    cells = [_row(row, running.get(row.name), call) for row in ordered]
    lines = table(
        call.screen, ("", "JOB", "VERDICT", "ENDED", "NEXT", "WHY"), cells, legend=call.legend
    )
    if call.legend:
        lines += ["", _count(rows, running)]
    return lines


def _rank(row: JobRow) -> int:
    if is_bad(row):
        return 0
    return 2 if row.last is None else _RANK[row.last.judgement.verdict.klass]


def _row(row: JobRow, run: Run | None, call: Call) -> Sequence[Cell]:
    screen = call.screen
    klass = _klass(row)
    symbol = "↻" if run is not None and klass is not Klass.BAD else MARK[klass]
    mark = Cell(screen.mark(symbol), COLOR[klass])
    soon = awaited.soon(row, call.now)
    if row.last is None:
        why = Cell(_why(row, run, call), DIM)
        return (mark, Cell(row.name), Cell("-"), Cell("-"), Cell(soon), why)
    judgement = row.last.judgement
    ended = judgement.run.finished or judgement.at
    plain = DIM if klass in (Klass.GOOD, Klass.NEUTRAL) else ""
    return (
        mark,
        Cell(row.name),
        Cell(judgement.verdict.value, COLOR[judgement.verdict.klass]),
        Cell(times.ago(ended, call.now)),
        Cell(soon),
        Cell(_why(row, run, call), plain),
    )


def _klass(row: JobRow) -> Klass:
    if is_bad(row):
        return Klass.BAD
    return Klass.NEUTRAL if row.last is None else row.last.judgement.verdict.klass


def _why(row: JobRow, run: Run | None, call: Call) -> str:
    parts = []
    if run is not None:
        parts.append(_running(run, call))
    if row.last is None:
        return "; ".join(parts) or "no run yet"
    judgement = row.last.judgement
    if row.standing.incident is not None and judgement.verdict.klass is not Klass.BAD:
        parts.append("alert open")
    summary = verdicts.sentence(judgement)
    if call.screen.width:
        summary = _short(summary, is_missed=judgement.verdict is Verdict.MISSED)
    parts.append(summary)
    return safe("; ".join(parts))


def _running(run: Run, call: Call) -> str:
    if run.started is None:
        return "runs"
    return f"runs since {times.ago(run.started, call.now).removesuffix(' ago')}"


def _short(summary: str, *, is_missed: bool) -> str:
    """What says why, where there is little room: of a path the file's name, of a slot that was
    missed the reason."""
    path, colon, rest = summary.partition(": ")
    if is_missed and colon:
        return rest
    if colon and path.startswith("/") and " " not in path:
        return f"{path.rpartition('/')[2]}: {rest}"
    return summary


def _count(rows: Sequence[JobRow], running: dict[str, Run]) -> str:
    bad = sum(1 for row in rows if _klass(row) is Klass.BAD)
    unseen = sum(1 for row in rows if _klass(row) is Klass.WARNING)
    runs = sum(1 for row in rows if row.name in running)
    parts = [f"{len(rows)} job{'s' if len(rows) != 1 else ''}", f"{bad} bad"]
    if unseen:
        parts.append(f"{unseen} could not be seen")
    if runs:
        parts.append(f"{runs} running")
    hint = "; 'outcomectl explain JOB' says why." if bad or unseen else "."
    return ", ".join(parts) + hint


# --- in full ---------------------------------------------------------------------------------


def _in_full(
    rows: Sequence[JobRow], reader: Reader, running: dict[str, Run], call: Call
) -> Iterator[str]:
    for number, row in enumerate(rows):
        if number:
            yield ""
        yield from _one(row, reader, running.get(row.name), call)


def _one(row: JobRow, reader: Reader, run: Run | None, call: Call) -> Iterator[str]:
    screen, klass = call.screen, _klass(row)
    config = row.config
    mark = screen.paint(screen.mark(MARK[klass]), COLOR[klass])
    described = (
        f" - {safe(config.description)}" if config is not None and config.description else ""
    )
    yield f"{mark} {screen.paint(row.name, BOLD)}{described}"
    for label, value, color in _fields(row, reader, run, call):
        lines = wrap(value, screen, f"{label:>10}: ")
        for line in lines:
            yield line[:12] + screen.paint(line[12:], color)
    yield from _findings(row, call)
    yield from _last_runs(row, reader, call)


def _fields(
    row: JobRow, reader: Reader, run: Run | None, call: Call
) -> Iterator[tuple[str, str, str]]:
    yield "Unit", shape.unit_of(row), ""
    if row.config is None:
        yield "Removed", "there is no job file any more", YELLOW
    if row.last is not None:
        judgement = row.last.judgement
        ended = judgement.run.finished or judgement.at
        color = COLOR[judgement.verdict.klass]
        yield "Verdict", f"{judgement.verdict} at {times.since(ended, call.now)}", color
        yield "Why", safe(verdicts.sentence(judgement)), ""
    else:
        yield "Verdict", "none, it has not run since it is watched", ""
    incident = row.standing.incident
    if incident is not None:
        told = ", ".join(row.config.alerts.to) if row.config is not None else ""
        to = f", {told} told" if told and incident.told else ", nobody told"
        opened = times.since(incident.opened, call.now)
        yield "Alert", f"{incident.severity}, open since {opened}{to}", RED
    if run is not None:
        began = times.since(run.started, call.now) if run.started is not None else "now"
        yield "Running", f"since {began}", ""
    yield from awaited.lines(row, reader, run, call.now)
    if row.config is not None and row.config.runbook:
        yield "Runbook", safe(row.config.runbook), ""


def _findings(row: JobRow, call: Call) -> Iterator[str]:
    if row.last is None or not row.last.judgement.findings:
        return
    from outcomed.ctl import findings

    yield ""
    yield from findings.show(
        call.screen, row.last.judgement.findings, row.config, call.now, brief=True
    )


def _last_runs(row: JobRow, reader: Reader, call: Call) -> Iterator[str]:
    found = timeline.folded(timeline.entries(reader, row.name, _LAST, None))
    if not found:
        return
    from outcomed.ctl import history

    yield ""
    yield from history.listed(found[:_LAST], call.screen, legend=call.legend)
