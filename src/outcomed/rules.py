"""What each rule says about what was looked at. Pure: evidence in, findings out.

A rule that could not look says `unknown`, with the reason, and never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, assert_never

from msgspec.structs import replace

from outcomed import model, output
from outcomed.model import HOUR, SECOND, Finding, Held, Record, Run, Usec, Value
from outcomed.quantities import format_duration, format_size, say_duration

# The kernel stamps files with the tick that has passed, up to 10 ms before now; a file system
# without fractions (FAT) rounds to two seconds.
TICK = 20_000
COARSE = 2 * SECOND
# How far the clock of a file server may be ahead. What is further ahead would be the newest match
# for ever, whatever later runs write.
AHEAD = HOUR


class FileSeen(Record, frozen=True):
    """One file, as stat(2) saw it."""

    path: str
    size: int
    mtime: Usec
    is_coarse: bool  # the file system keeps whole seconds


class Look(Record, frozen=True):
    """What was found where an artifact has to be. `fault` says why nobody could look."""

    pattern: str  # specifiers expanded
    matches: int = 0
    newest: FileSeen | None = None
    off_filesystem: str = ""  # what is wrong with on_filesystem, as a sentence
    fault: str = ""
    others: int = 0  # directories, devices, pipes: there, and no file


class ReadResult(Protocol):
    """What `formats.read` returns."""

    @property
    def state(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def evidence(self) -> Mapping[str, Value]: ...


class Window(Record, frozen=True):
    """The time in which an artifact has to be written to count for this run."""

    run_start: Usec  # 0: not known
    run_end: Usec
    period_start: Usec
    early: Usec = Usec(0)  # so long before its start a file may be the run's
    looked: Usec = Usec(0)  # when somebody looks, about; 0: not known


def name(index: int, rule: model.Rule) -> str:
    """How a finding names its rule: as the job file spells it."""
    return f"outcome[{index}].{type(rule).__name__.lower()}"


def artifact(
    rule: model.Artifact, label: str, look: Look, window: Window, read: ReadResult | None
) -> Finding:
    """The newest match: there, of this run, of the right size, whole, and in the right place."""
    pattern = printable(look.pattern)
    evidence: dict[str, Value] = {"path": pattern, "matches": look.matches}
    if look.fault:
        return Finding(label, Held.UNKNOWN, printable(look.fault), evidence)
    if look.newest is None:
        what = "not a regular file" if look.others else "no such file"
        return Finding(label, Held.BROKEN, f"{pattern}: {what}", evidence)
    seen = replace(look.newest, path=printable(look.newest.path))
    evidence |= {"path": seen.path, "size": seen.size, "mtime": seen.mtime}
    if read is not None:
        evidence |= read.evidence
    untold = _age_unknown(rule, seen, window)
    if untold:
        return Finding(label, Held.UNKNOWN, f"{seen.path}: {untold}", evidence)
    fault = (
        _age_fault(rule, seen, window)
        or (f"{seen.path}: {printable(look.off_filesystem)}" if look.off_filesystem else "")
        or _size_fault(rule, seen)
    )
    if fault:
        return Finding(label, Held.BROKEN, fault, evidence)
    if rule.format is None:
        return Finding(label, Held.HELD, f"{seen.path}: {format_size(seen.size)}", evidence)
    if read is None:
        return Finding(label, Held.UNKNOWN, f"{seen.path}: nobody read it", evidence)
    return _read_finding(rule, label, seen, read, evidence)


def printable(text: str) -> str:
    """For one line of an alert, and for JSON: a file's name may hold any bytes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _age_unknown(rule: model.Artifact, seen: FileSeen, window: Window) -> str:
    if rule.written_by == "any":
        return ""
    if window.looked and seen.mtime > window.looked + AHEAD:
        ahead = say_duration(seen.mtime - window.looked)
        return f"its time lies {ahead} in the future, nobody can tell who wrote it"
    if rule.written_by == "run" and not window.run_start:
        return "when the run began is not known"
    return ""


def _age_fault(rule: model.Artifact, seen: FileSeen, window: Window) -> str:
    slack = COARSE if seen.is_coarse else TICK
    match rule.written_by:
        case "any":
            return ""
        case "run":
            begin, whose = window.run_start, "this run"
            slack = max(slack, window.early)
        case "period":
            begin, whose = window.period_start, "this period"
        case _ as never:
            assert_never(never)
    if seen.mtime < begin - slack:
        age = say_duration(begin - seen.mtime)
        return f"{seen.path}: not written by {whose}, {age} older than its start"
    return ""


def _size_fault(rule: model.Artifact, seen: FileSeen) -> str:
    if rule.min_size is not None and seen.size < rule.min_size:
        return f"{seen.path}: {_apart(seen.size, 'at least', rule.min_size)}"
    if rule.max_size is not None and seen.size > rule.max_size:
        return f"{seen.path}: {_apart(seen.size, 'at most', rule.max_size)}"
    return ""


def _apart(size: int, relation: str, limit: int) -> str:
    """Both sizes so that a difference is to be seen."""
    shown, other = format_size(size), format_size(limit)
    if shown == other:
        shown, other = f"{size} bytes", f"{limit}"
    return f"{shown}, expected {relation} {other}"


def _read_finding(
    rule: model.Artifact,
    label: str,
    seen: FileSeen,
    read: ReadResult,
    evidence: dict[str, Value],
) -> Finding:
    if read.state == "unreadable":  # it may be good: the reader has limits of its own
        return Finding(label, Held.UNKNOWN, f"{seen.path}: {read.summary}", evidence)
    if read.state == "whole" or (read.state == "empty" and rule.allow_empty):
        held = f"{seen.path}: {format_size(seen.size)}, {read.summary}"
        return Finding(label, Held.HELD, held, evidence)
    return Finding(label, Held.BROKEN, f"{seen.path}: {read.summary}", evidence)


def seen_late(finding: Finding, window: Window, now: Usec) -> Finding:
    """What is there now says something about an earlier run only if it is that run's file."""
    mtime = finding.evidence.get("mtime")
    if ".artifact" not in finding.rule or finding.state is Held.UNKNOWN:
        return finding
    begin = window.run_start - max(TICK, window.early)
    if isinstance(mtime, int) and begin <= mtime <= window.run_end + TICK:
        return finding
    late = f"looked at {say_duration(now - window.run_end)} late"
    return Finding(finding.rule, Held.UNKNOWN, late, {**finding.evidence, "late": True})


def duration(rule: model.Duration, label: str, run: Run) -> Finding:
    """Neither two seconds instead of twenty minutes, nor the other way round."""
    if run.duration is None:
        return Finding(label, Held.UNKNOWN, "how long it ran is not known", {})
    ran = say_duration(run.duration)
    evidence: dict[str, Value] = {"duration_s": run.duration / SECOND}
    if rule.at_least is not None and run.duration < rule.at_least:
        least = format_duration(rule.at_least)
        return Finding(label, Held.BROKEN, f"ran {ran}, expected at least {least}", evidence)
    if rule.at_most is not None and run.duration > rule.at_most:
        most = format_duration(rule.at_most)
        if ran == say_duration(rule.at_most):
            ran = format_duration(run.duration)
        return Finding(label, Held.BROKEN, f"ran {ran}, expected at most {most}", evidence)
    return Finding(label, Held.HELD, f"ran {ran}", evidence)


def report(
    rule: model.Report,
    label: str,
    said: Mapping[str, Value],
    faults: list[str],
    completeness: output.Completeness,
) -> Finding:
    """An expression over what the job stated; a statement that is missing breaks it."""
    from outcomed import expressions  # simpleeval, and only for jobs that have such a rule

    expression = expressions.parse(rule.expression)
    used = sorted(expression.names)
    evidence = {key: said[key] for key in used if key in said}
    missing = [key for key in used if key not in said]
    if missing:
        what = f"the run did not report {', '.join(missing)}"
        if faults:
            what += f" ({printable(faults[0])})"
        if doubt := completeness.reason or completeness.strayed:
            return Finding(label, Held.UNKNOWN, f"{what}; {doubt}", evidence)
        return Finding(label, Held.BROKEN, what, evidence)
    facts = ", ".join(f"{key}={_brief(said[key])}" for key in used)
    try:
        holds = expression.evaluate(said)
    except expressions.ExpressionError as error:
        return Finding(label, Held.BROKEN, f"{rule.expression}: {error} ({facts})", evidence)
    if holds:
        return Finding(label, Held.HELD, f"{rule.expression} ({facts})", evidence)
    return Finding(label, Held.BROKEN, f"{rule.expression} does not hold: {facts}", evidence)


def _brief(value: Value) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def steps(
    rule: model.Steps, label: str, reached: Sequence[str], completeness: output.Completeness
) -> Finding:
    """Every step of the rule, in its order. What else was reached in between does not matter."""
    last = printable(reached[-1]) if reached else None
    evidence: dict[str, Value] = {"last": last}
    ahead = iter(reached)
    wanted = enumerate(rule.names)
    at = next((at for at, name in wanted if name not in ahead), None)  # which consumes `ahead`
    if at is None:
        return Finding(label, Held.HELD, f"reached {', '.join(rule.names)}", evidence)
    missing = evidence["missing"] = rule.names[at]
    what = f"step {missing} was not reached"
    if missing in reached:
        what += f" after {rule.names[at - 1]}, only before"
    what += f"; the last was {last}" if last is not None else ", nor any other"
    if doubt := completeness.reason or completeness.strayed:
        return Finding(label, Held.UNKNOWN, f"{what}; {doubt}", evidence)
    return Finding(label, Held.BROKEN, what, evidence)


def journal(
    rule: model.Journal, label: str, line: str | None, completeness: output.Completeness
) -> Finding:
    """`line` is the first of the run's lines that matched, or None."""
    evidence: dict[str, Value] = {} if line is None else {"line": line[:200]}
    if rule.never is not None:
        if line is not None:
            said = printable(line[:200])
            return Finding(label, Held.BROKEN, f"said what it never must: {said}", evidence)
        fine, what, doubt = Held.HELD, f"no line matches {rule.never}", completeness.reason
    else:
        if line is not None:
            return Finding(label, Held.HELD, f"said: {printable(line[:200])}", evidence)
        fine, what = Held.BROKEN, f"no line matches {rule.expect}"
        doubt = completeness.reason or completeness.strayed
    if doubt:
        return Finding(label, Held.UNKNOWN, f"{what}; {doubt}", evidence)
    return Finding(label, fine, what, evidence)
