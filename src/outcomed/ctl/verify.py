"""`outcomectl verify`: look at the outcome now, and say. Writes nothing.

Artifacts and commands are looked at as they are now, against the last run on record. What the run
said, and how long it took, is as it was. So a failure that was mended shows as mended, and the
verdict on the run stands: the ledger has one writer, and that is not us.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import assert_never

from msgspec.structs import replace

from outcomed import check, checks, rules, verdicts
from outcomed.ctl import findings, shape, timeline, times
from outcomed.ctl.find import find, reading, under_way
from outcomed.ctl.options import Call
from outcomed.ctl.systemctl import show
from outcomed.ctl.term import COLOR, MARK, YELLOW, encode_json, safe, say, wrap
from outcomed.errors import EXIT_BAD, EXIT_FINE, EXIT_NO_ANSWER, OutcomedError
from outcomed.ledger import JobRow, Reader, Stored
from outcomed.model import (
    DAY,
    Artifact,
    Command,
    Completeness,
    Duration,
    Finding,
    Held,
    Job,
    Journal,
    Judgement,
    Klass,
    Report,
    Rule,
    Run,
    Steps,
    Usec,
    Verdict,
)
from outcomed.specifiers import Host, expand, this_host


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help="a job, or its unit")
    parser.epilog = (
        "Artifacts are looked at as they are now; report, journal and duration are\n"
        "those of the last run. Nothing is recorded. Exits with 1 if what is seen is\n"
        "bad, with 3 if it could not be seen."
    )


def run(call: Call) -> int:
    with reading(call.paths) as reader:
        row = find(reader, call.options.job, call.paths).row
        if row.config is None:
            raise OutcomedError(f"{row.name} has no job file any more, so nothing is expected")
        stored = _last_run(reader, row)
        if stored is None:
            raise OutcomedError(
                f"{row.name} has not run since it is watched: there is nothing to look at",
                hint=f"'systemctl start {row.config.unit}' runs it now",
            )
        last = stored.judgement
        window = _window(reader, row.config, last, host := this_host(), call.now)
        running = under_way(reader).get(row.name)
    now = look(row.config, last, window, host, call.now)
    if call.json:
        print(encode_json(shape.run(now), call.json))
    else:
        say(_shown(row.config, last, now, running, call), call.screen, pager=call.pager)
    match now.verdict.klass:
        case Klass.BAD:
            return EXIT_BAD
        case Klass.WARNING:
            return EXIT_NO_ANSWER
        case _:
            return EXIT_FINE


def _last_run(reader: Reader, row: JobRow) -> Stored | None:
    """The last verdict may be on a slot without a run, or on a run that is under way."""
    if row.last is None or (row.last.judgement.run.took_place and row.last.judgement.is_final):
        return row.last
    runs = timeline.runs(reader, row.name)
    return next((one for one in runs if one.judgement.is_final), None)


def _period_start(reader: Reader, last: Run) -> Usec:
    """The elapse before the run's own, as the ledger has it; else a day before."""
    own = last.slot or last.started or last.finished or Usec(0)
    slots = (stored.judgement.run.slot for stored in reader.history(last.job, 50))
    before = next((slot for slot in slots if slot is not None and slot < own), None)
    return before if before is not None else Usec(max(own - DAY, 0))


def _window(reader: Reader, job: Job, last: Judgement, host: Host, now: Usec) -> rules.Window:
    """What the last run is measured against."""
    run = last.run
    return rules.Window(
        run_start=run.started or last.at,
        run_end=run.finished or now,
        period_start=_period_start(reader, run),
        looked=now,
        past=_past(reader, job, last, host) if rules.median_reach(job) else (),
    )


def _past(reader: Reader, job: Job, last: Judgement, host: Host) -> tuple[rules.Earlier, ...]:
    unit, began = last.run.unit, rules.began(last.run, last.at)
    patterns = rules.measured_patterns(job, lambda path: expand(path, unit, host=host))
    found = reader.good_runs(job.name, rules.median_reach(job), began)
    return rules.past_before(rules.past_of(found, unit, patterns), began)


def look(job: Job, last: Judgement, window: rules.Window, host: Host, now: Usec) -> Judgement:
    """What would be said of the last run if it ended now."""
    from outcomed.config import rules_hash

    ident = rules_hash(job)
    is_proof = last.verdict is Verdict.ALREADY_DONE or (
        verdicts.already_done_by_status(job, last.run) and verdicts.may_be_already_done(last.run)
    )
    recorded = {one.rule: one for one in last.findings} if last.rules_hash == ident else {}
    wanted = {
        rules.name(index, rule): rules.as_proof(rule) if is_proof else rule
        for index, rule in enumerate(job.outcome)
        if not is_proof or isinstance(rule, Artifact | Command)
    }
    looked = _look_at(wanted, last.run, window, host)
    found = [
        looked[label]
        if label in looked
        else _recorded(rule, label, last, window.past, recorded.get(label))
        for label, rule in wanted.items()
    ]
    weighed = verdicts.weigh(job, last.run, tuple(found), already=is_proof)
    return replace(
        last,
        verdict=weighed.verdict,
        reason=weighed.reason,
        summary=weighed.summary,
        findings=(verdicts.result_finding(last.run), *found),
        rules_hash=ident,
        witness="by-hand",
        at=now,
        by="",
        was=None,
    )


def _look_at(
    wanted: dict[str, Rule], run: Run, window: rules.Window, host: Host
) -> dict[str, Finding]:
    """As the check unit looks, but with the rights of whoever asks."""
    asked = {at: rule for at, rule in wanted.items() if isinstance(rule, Artifact | Command)}
    shown = show([run.unit], ["LoadState", "User"]) if asked else None
    known = shown is not None and shown[0].get("LoadState") == "loaded"
    request = checks.Request(
        job=run.job,
        run=run.id,
        unit=run.unit,
        invocation=run.last_invocation or "",
        user=shown[0].get("User", "") if shown is not None and known else None,
        window=window,
        rules=asked,
    )
    return {finding.rule: finding for finding in check.findings(request, host, check.Around())}


def _recorded(
    rule: Rule,
    label: str,
    last: Judgement,
    past: Sequence[rules.Earlier],
    recorded: Finding | None,
) -> Finding:
    """What of the last run does not change any more."""
    match rule:
        case Duration():
            return rules.duration(rule, label, last.run, past)
        case Report() | Steps():
            is_gap = recorded is not None and recorded.state is Held.UNKNOWN
            whole = Completeness("its output was incomplete" if is_gap else "")
            if isinstance(rule, Steps):
                return rules.steps(rule, label, last.steps, whole)
            return rules.report(rule, label, last.report, [], whole)
        case Journal():
            if recorded is not None:
                return recorded
            return Finding(label, Held.UNKNOWN, "no run has been looked at by this rule yet")
        case Artifact() | Command():
            raise AssertionError(label)  # looked at anew
        case _ as never:
            assert_never(never)


def _shown(
    job: Job, last: Judgement, now: Judgement, running: Run | None, call: Call
) -> Iterator[str]:
    screen, klass = call.screen, now.verdict.klass
    text = f"{job.name}: {now.verdict} now: {safe(now.summary)}"
    for line in wrap(text, screen, f"{screen.mark(MARK[klass])} ", "  "):
        yield screen.paint(line, COLOR[klass])
    ended = times.since(last.run.finished or last.at, call.now)
    yield from wrap(f"Against its run of {ended}, which was {last.verdict}.", screen, "  ")
    if running is not None:
        note = "A run is under way: what it has not written yet is that other run's."
        for line in wrap(note, screen, "  "):
            yield screen.paint(line, YELLOW)
    yield ""
    yield from findings.show(screen, now.findings, job, call.now)
    if now.verdict.klass is not last.verdict.klass:
        yield ""
        yield from wrap(f"On record it stays {last.verdict}; the next run is judged anew.", screen)
