"""`outcomectl explain`: why this verdict. For somebody who was woken by it.

First what is wrong, then the run, then each rule with what it expected and what it saw, then the
past to compare with, and last what to type next.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from outcomed import rules, verdicts
from outcomed.ctl import awaited, findings, mending, shape, timeline, times
from outcomed.ctl.find import Found, find, reading, under_way
from outcomed.ctl.options import Call
from outcomed.ctl.term import BOLD, COLOR, DIM, MARK, YELLOW, Screen, encode_json, safe, say, wrap
from outcomed.ctl.timeline import Entry
from outcomed.errors import EXIT_BAD, EXIT_FINE, OutcomedError
from outcomed.ledger import JobRow, Reader, Stored
from outcomed.model import (
    Artifact,
    Held,
    Incident,
    Job,
    Judgement,
    Klass,
    Run,
    Usec,
    Value,
    Verdict,
)
from outcomed.slots import Slot

_LOOK_BACK = 10_000  # runs; a job that was good before that is past comparing
_EARLIER = 5
_WITNESS = {
    "live": "seen as it happened",
    "replayed": "read from the journal afterwards: outcomed.service did not run, or was behind",
    "late": "looked at too late to say what the run left behind",
    "by-hand": "looked at by hand",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A verdict, and what there is to compare it with."""

    row: JobRow
    stored: Stored
    earlier: tuple[Entry, ...]  # newest first
    good: Judgement | None  # the last one before
    incident: Incident | None  # that this run opened, or lies in
    first: Judgement  # the verdict on it, before anybody said otherwise
    running: Run | None
    slot: Slot | None = None  # what is on record about the slot that it is about
    until: tuple[Usec, str] | None = None  # how long a run was awaited for it, and why so long
    awaited: tuple[awaited.Line, ...] = ()

    @property
    def judgement(self) -> Judgement:
        return self.stored.judgement

    @property
    def job(self) -> Job | None:
        """The job file, if these are the rules by which the verdict was reached."""
        return self.row.config if self.has_its_rules else None

    @property
    def has_its_rules(self) -> bool:
        from outcomed.config import rules_hash

        config = self.row.config
        return config is not None and self.judgement.rules_hash in ("", rules_hash(config))


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument(
        "subject",
        metavar="JOB|RUN",
        help="a job or its unit: its last run; or 4 or more digits of a run's id, or of its"
        " invocation's",
    )
    parser.epilog = "Exits with 1 if the verdict is bad."


def run(call: Call) -> int:
    with reading(call.paths) as reader:
        found = find(reader, call.options.subject, call.paths)
        case = _case(reader, found, call.now)
    if call.json:
        print(encode_json(_shape(case), call.json))
    else:
        say(_explained(case, call), call.screen, pager=call.pager)
    return EXIT_BAD if case.judgement.verdict.klass is Klass.BAD else EXIT_FINE


def _as_judged(case: Case) -> Job | None:
    """A proof that the work existed already may be of the whole period."""
    if case.job is None or case.judgement.verdict is not Verdict.ALREADY_DONE:
        return case.job
    return replace(case.job, outcome=tuple(rules.as_proof(rule) for rule in case.job.outcome))


def _case(reader: Reader, found: Found, now: Usec) -> Case:
    row = found.row
    stored = found.asked or row.last
    running = under_way(reader).get(row.name)
    if stored is None:
        raise OutcomedError(
            f"{row.name} has not run since it is watched"
            if running is None
            else f"{row.name} has its first run under way, there is no verdict yet",
            hint=f"'outcomectl cat {shlex.quote(row.name)}' shows what is expected of it",
        )
    first = stored if stored.judgement.was is None else reader.find(stored.judgement.run.id)[0]
    earlier = _earlier(reader, row, stored)
    good = next((one for one in earlier if one.judgement.verdict.klass is Klass.GOOD), None)
    slot = timeline.slot_of(reader, stored.judgement.run)
    return Case(
        row=row,
        stored=stored,
        earlier=tuple(timeline.with_slots(earlier[:_EARLIER], reader, row.name)),
        good=good.judgement if good is not None else None,
        incident=_incident(reader, row, first),
        first=first.judgement,
        running=running,
        slot=slot,
        until=_until(row, stored.judgement.run),
        awaited=tuple(awaited.lines(row, reader, running, now)),
    )


def _until(row: JobRow, run: Run) -> tuple[Usec, str] | None:
    """By what the job's file and the timer say now: what they said then is not on record."""
    trigger = "" if run.trigger == "none" else run.trigger
    promise = next((one for one in row.promises if one.unit == trigger), None)
    if row.config is None or run.slot is None or promise is None:
        return None
    return awaited.until(promise, run.slot, row.config, nominal=False)


def _earlier(reader: Reader, row: JobRow, stored: Stored) -> list[Stored]:
    """The runs before this one, back to the last good one if it is not too long ago."""
    limit = 50
    while True:
        history = reader.history(row.name, limit)
        runs = shape.by_run(history)
        ids = [one.judgement.run.id for one in runs]
        ident = stored.judgement.run.id
        before = runs[ids.index(ident) + 1 :] if ident in ids else []
        is_enough = len(before) >= _EARLIER and any(
            one.judgement.verdict.klass is Klass.GOOD for one in before
        )
        if is_enough or len(history) < limit or limit >= _LOOK_BACK:
            return before
        limit *= 10


def _incident(reader: Reader, row: JobRow, stored: Stored) -> Incident | None:
    at = stored.judgement.at
    for incident in reader.incidents(row.name, 100):
        if incident.opened <= at and (incident.closed is None or at < incident.closed):
            return incident
    return None


def _shape(case: Case) -> dict[str, object]:
    return {
        **shape.run(case.judgement, case.slot),
        "first": shape.run(case.first),
        "incident": shape.incident(case.incident),
        "last_good": None if case.good is None else shape.run(case.good),
        "rules_changed_since": case.row.config is not None and not case.has_its_rules,
    }


# --- for a person ----------------------------------------------------------------------------


def _explained(case: Case, call: Call) -> Iterator[str]:
    yield from _headline(case, call)
    yield ""
    for label, value in _facts(case, call):
        yield from wrap(safe(value), call.screen, f"{label:>10}: ")
    if case.judgement.run.took_place:
        yield ""
        yield call.screen.paint("Rules", BOLD)
        yield from findings.show(call.screen, case.judgement.findings, _as_judged(case), call.now)
        yield from _about_rules(case, call)
        yield from _said(case, call)
    yield from _deadlines(case, call)
    yield from _compared(case, call)
    yield from _next(case, call)


def _headline(case: Case, call: Call) -> Iterator[str]:
    judgement, screen = case.judgement, call.screen
    klass = judgement.verdict.klass
    mark = screen.mark(MARK[klass])
    text = f"{case.row.name}: {judgement.verdict}: {safe(verdicts.sentence(judgement))}"
    for line in wrap(text, screen, f"{mark} ", "  "):
        yield screen.paint(line, COLOR[klass])


def _facts(case: Case, call: Call) -> Iterator[tuple[str, str]]:
    run = case.judgement.run
    if run.took_place:
        yield from _about_run(case, run, call.now)
    else:
        yield from _about_slot(case, run, call.now)
    yield from _about_verdict(case, call.now)


def _about_slot(case: Case, run: Run, now: Usec) -> Iterator[tuple[str, str]]:
    """What did not happen."""
    yield "Id", run.id
    yield "Unit", run.unit
    if run.slot is None:
        good = case.good
        last = "none on record" if good is None else times.since(good.run.finished or good.at, now)
        yield "Last good", last
        return
    who = f", promised by {run.trigger}" if run.trigger != "none" else ""
    yield "Slot", f"{times.since(run.slot, now)}{who}"
    if case.until is not None:
        end, why = case.until
        yield "Awaited", f"until {times.timestamp(end)}, {why}"
    if case.slot is not None:
        yield "Found", shape.because(case.slot)
        if case.slot.run is not None:
            how = "ran later, and answered it" if case.slot.state == "late" else "ran instead"
            yield "Answer", f"run {case.slot.run[:8]} {how}"


def _about_run(case: Case, run: Run, now: Usec) -> Iterator[tuple[str, str]]:
    yield "Run", run.id
    if run.invocation is not None:
        yield "Invocation", run.invocation
    yield "Unit", f"{run.unit}, {_started_by(run)}"
    if run.slot is not None:
        remark = timeline.remark(Entry(run.slot, case.stored, case.slot))
        guessed = ", by its time: nobody saw what started it" if run.is_inferred else ""
        yield "Due", f"{times.timestamp(run.slot)}{'; ' if remark else ''}{remark}{guessed}"
    if run.started is not None:
        yield "Started", times.since(run.started, now)
    if run.finished is not None:
        lasted = f", ran {times.ran(run.duration)}" if run.duration is not None else ""
        yield "Ended", f"{times.since(run.finished, now)}{lasted}"
    if run.attempts > 1:
        yield "Attempts", f"{run.attempts}, the last is what counts"
    yield "Result", _result(run)


def _about_verdict(case: Case, now: Usec) -> Iterator[tuple[str, str]]:
    witness = _WITNESS[case.first.witness]
    if case.first.past_slot is not None:  # of what did not happen, nothing stands in the journal
        witness = "found afterwards: outcomed.service did not run when it passed"
    yield "Judged", f"{times.since(case.first.at, now)}; {witness}"
    if case.judgement.was is not None:
        yield "Was", f"{case.first.verdict}: {case.first.summary}"
        yield "Accepted", f"{times.since(case.judgement.at, now)}, by {case.judgement.by}"
    if case.judgement.run.took_place and case.judgement.is_final:
        yield "Output", _output(case.judgement)
    incident = case.incident
    if incident is not None:
        end = "" if incident.closed is None else f", closed {times.since(incident.closed, now)}"
        yield "Alert", f"{incident.severity}, opened {times.since(incident.opened, now)}{end}"
    if case.running is not None and case.running.id != case.judgement.run.id:
        began = case.running.started
        when = f", since {times.since(began, now)}" if began is not None else ""
        yield "Running", f"the next run is under way{when}"


def _output(judgement: Judgement) -> str:
    """Whether what it did not say proves anything."""
    known = judgement.output
    if known is None:
        return "not looked at, no rule depends on it"
    if not known.complete:
        return f"incomplete: {known.reason}"
    return f"complete, unless a last line strayed: {known.strayed}" if known.strayed else "complete"


def _started_by(run: Run) -> str:
    match run.trigger:
        case "none":
            return "started by hand or by a dependency"
        case "unknown":
            return "what started it was not seen"
        case trigger:
            return f"started by {trigger}"


def _result(run: Run) -> str:
    if run.result is None and run.finished is None:
        return "none yet, it is under way"
    word = run.result or "not known"
    if run.exit_status is None:
        return word
    kind = "signal" if run.exit_code in ("killed", "dumped") else "status"
    where = f" of {run.command}=" if run.command else ""
    return f"{word} ({kind} {run.exit_status}{where})"


def _about_rules(case: Case, call: Call) -> Iterator[str]:
    """Rules that nobody looked at, and rules that are others by now."""
    note = ""
    if case.row.config is None:
        note = "The job file is gone: what was expected is not known any more."
    elif not case.has_its_rules:
        note = "The rules have changed since: what they expected then is not shown."
    elif not case.judgement.is_final:
        note = "They are looked at when the run has ended."
    elif case.judgement.verdict is not Verdict.SKIPPED and case.job is not None:
        yield from findings.not_looked_at(call.screen, case.job, case.judgement.findings)
    if note:
        for line in wrap(note, call.screen, "  "):
            yield call.screen.paint(line, YELLOW)


def _said(case: Case, call: Call) -> Iterator[str]:
    """What the job said about itself."""
    judgement = case.judgement
    if judgement.steps or judgement.report:
        yield ""
    if judgement.steps:
        yield from wrap(safe(" > ".join(judgement.steps)), call.screen, f"{'Steps':>10}: ")
    if judgement.report:
        facts = ", ".join(f"{key}={_plain(value)}" for key, value in judgement.report.items())
        yield from wrap(safe(facts), call.screen, f"{'Report':>10}: ")


def _plain(value: Value) -> str:
    """As the job spelled it."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _deadlines(case: Case, call: Call) -> Iterator[str]:
    if not case.awaited:
        return
    yield ""
    yield call.screen.paint("Deadlines", BOLD)
    for label, value, color in case.awaited:
        first = f"{label:>10}: "
        for line in wrap(value, call.screen, first):
            yield line[: len(first)] + call.screen.paint(line[len(first) :], color)


def _compared(case: Case, call: Call) -> Iterator[str]:
    if not case.earlier:
        return
    from outcomed.ctl import history

    screen = call.screen
    yield ""
    yield screen.paint("Before", BOLD)
    rows = history.listed(case.earlier, _narrower(call), legend=False)
    yield from (f"  {row}" for row in rows)
    good = case.good
    is_over = case.judgement.run.took_place and case.judgement.is_final
    if case.judgement.verdict.klass is Klass.GOOD or not is_over:
        return
    yield ""
    if good is None:
        yield screen.paint("No good run is on record to compare with", BOLD)
        return
    when = times.since(good.run.finished or good.at, call.now)
    yield from wrap(f"Against the last good run, {when}", screen)
    differences = list(_differences(good, case.judgement))
    for difference in differences or ["nothing that was measured differs"]:
        yield from wrap(difference, screen, "  ", "    ")


def _narrower(call: Call) -> Screen:
    width = call.screen.width
    return replace(call.screen, width=None if width is None else max(width - 2, 40))


def _differences(then: Judgement, now: Judgement) -> Iterator[str]:
    if then.run.duration is not None and now.run.duration is not None:
        yield f"ran {times.ran(then.run.duration)} then, {times.ran(now.run.duration)} now"
    yield from findings.compared(then.findings, now.findings)
    for key in {**then.report, **now.report}:
        was, is_now = then.report.get(key, "-"), now.report.get(key, "-")
        if was != is_now:
            yield safe(f"{key}: {_plain(was)} then, {_plain(is_now)} now")


def _next(case: Case, call: Call) -> Iterator[str]:
    yield ""
    yield call.screen.paint("Next", BOLD)
    for command, why in _commands(case):
        width = call.screen.width
        text = f"  {safe(command)}"
        if width is None or len(text) + len(why) + 4 <= width:
            yield f"{text}  {call.screen.paint(f'# {why}', DIM)}"
        else:
            yield text  # a command is never cut: it is there to be copied
    if case.row.config is not None and case.row.config.runbook:
        yield f"  {safe(case.row.config.runbook)}"


def _commands(case: Case) -> Iterator[tuple[str, str]]:
    run, job = case.judgement.run, shlex.quote(case.row.name)
    unit = shlex.quote(run.unit)
    if not run.took_place:
        yield from mending.commands(case.judgement, unit)
    elif run.last_invocation is not None:
        yield f"journalctl -u {unit} --invocation={run.last_invocation}", "what it said"
    else:
        yield f"journalctl -u {unit}", "what systemd said"
    for finding in case.judgement.findings:
        rule = findings.rule_of(case.job, finding.rule)
        path = finding.evidence.get("path")
        if isinstance(rule, Artifact) and finding.state is not Held.HELD and isinstance(path, str):
            yield f"ls -lt {_listable(path)}", "what lies there now"
    if case.judgement.verdict.klass in (Klass.BAD, Klass.WARNING) and case.judgement.is_final:
        if run.took_place:
            yield f"outcomectl verify {job}", "look at it as it is now"
        yield f"outcomectl accept {run.id[:8]} --because='...'", "if this is right as it is"
    yield f"systemctl cat {unit}", "what was run"


def _listable(path: str) -> str:
    """The directory, as a shell takes it; of a pattern, the part before the first wildcard."""
    fixed = path
    while any(letter in fixed for letter in "*?["):
        fixed = fixed.rpartition("/")[0]
    if fixed == path:
        fixed = path.rpartition("/")[0]
    return shlex.quote(f"{fixed}/")
