"""How a rule and what it saw are put before a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from outcomed.ctl import times
from outcomed.ctl.term import DIM, GREEN, RED, YELLOW, Screen, safe, wrap
from outcomed.model import (
    Artifact,
    Command,
    Count,
    Duration,
    Finding,
    Held,
    Job,
    Journal,
    Median,
    Report,
    Rule,
    Steps,
    Usec,
    Value,
)
from outcomed.quantities import format_duration, format_size

_STATES = {Held.HELD: ("✓", GREEN), Held.BROKEN: ("✗", RED), Held.UNKNOWN: ("?", YELLOW)}
_LABEL = re.compile(r"outcome\[(\d+)\]\.")
_INDENT = "      "


def rule_of(job: Job | None, label: str) -> Rule | None:
    """The rule that a finding's name stands for."""
    match = _LABEL.match(label)
    if job is None or match is None or int(match[1]) >= len(job.outcome):
        return None
    return job.outcome[int(match[1])]


def expected(rule: Rule) -> str:
    """What the rule asks for, in words."""
    match rule:
        case Artifact():
            return "; ".join(_artifact_wishes(rule))
        case Duration():
            limits = [
                f"{word} {format_duration(limit)}"
                for word, limit in (("at least", rule.at_least), ("at most", rule.at_most))
                if limit is not None
            ]
            limits += [_median_wish(rule.vs_median)] if rule.vs_median is not None else []
            return " and ".join(limits)
        case Report():
            return rule.expression
        case Journal():
            if rule.never is not None:
                return f"no line that matches {rule.never}"
            return f"a line that matches {rule.expect}"
        case Steps():
            return f"the steps {', '.join(rule.names)}, in this order"
        case Command():
            return "; ".join(_command_wishes(rule))
        case _ as never:
            assert_never(never)


def _command_wishes(rule: Command) -> Iterator[str]:
    yield f"{rule.command} {'says OK' if rule.protocol == 'nagios' else 'exits with 0'}"
    yield f"within {format_duration(rule.timeout)}"
    yield f"run as {rule.user}" if rule.user else "run as the job's own user"


def _median_wish(rule: Median) -> str:
    limits = " and ".join(
        f"{word} {limit:g} times"
        for word, limit in (("at least", rule.at_least), ("at most", rule.at_most))
        if limit is not None
    )
    return f"{limits} the median of the last {rule.of} good runs"


def _artifact_wishes(rule: Artifact) -> Iterator[str]:
    yield {
        "run": f"{rule.path}, written by this run",
        "period": f"{rule.path}, written since the timer's elapse before",
        "any": rule.path,
    }[rule.written_by]
    if rule.min_size is not None:
        yield f"at least {format_size(rule.min_size)}"
    if rule.max_size is not None:
        yield f"at most {format_size(rule.max_size)}"
    if rule.count is not None:
        yield _count_wish(rule.count)
    if rule.size_vs_median is not None:
        yield f"in size {_median_wish(rule.size_vs_median)}"
    if rule.format is not None:
        yield f"whole as {rule.format}" + ("" if rule.allow_empty else " and not empty")
    if rule.sha256 is not None:
        yield "of the SHA-256 " + ("in its sidecar" if rule.sha256 == "sidecar" else rule.sha256)
    if rule.owner is not None:
        yield f"owned by {rule.owner}"
    if rule.mode is not None:
        yield f"of mode {rule.mode:04o}"
    if rule.on_filesystem is not None:
        yield f"on the file system of {rule.on_filesystem}"


def _count_wish(count: Count) -> str:
    if count.at_least == count.at_most:
        return "one such file" if count.at_least == 1 else f"{count.at_least} such files"
    bounds = (("at least", count.at_least), ("at most", count.at_most))
    return " and ".join(f"{word} {limit}" for word, limit in bounds if limit is not None) + " files"


def show(
    screen: Screen, findings: Iterable[Finding], job: Job | None, now: Usec, *, brief: bool = False
) -> Iterator[str]:
    """Each finding: a mark, what was seen, what was expected, and the evidence."""
    for finding in findings:
        symbol, color = _STATES[finding.state]
        head = f"  {screen.mark(symbol)} "
        lines = wrap(safe(f"{finding.rule}: {finding.summary}"), screen, head, "    ")
        lines[0] = head.replace(head.strip(), screen.paint(head.strip(), color)) + lines[0][4:]
        yield from lines
        if brief:
            continue
        rule = rule_of(job, finding.rule)
        if rule is not None:
            yield from wrap(safe(expected(rule)), screen, f"{_INDENT}expected: ")
        told = _evidence(finding, now)
        if told:
            yield from wrap(told, screen, f"{_INDENT}seen: ")


def not_looked_at(screen: Screen, job: Job, findings: Sequence[Finding]) -> Iterator[str]:
    """The rules that have no finding: nobody looked, and that is said."""
    seen = {finding.rule for finding in findings}
    for index, rule in enumerate(job.outcome):
        label = f"outcome[{index}].{type(rule).__name__.lower()}"
        if label not in seen:
            head = f"  {screen.mark('-')} "
            for line in wrap(f"{label}: not looked at", screen, head, "    "):
                yield screen.paint(line, DIM)
            yield from wrap(safe(expected(rule)), screen, f"{_INDENT}expected: ")


def _evidence(finding: Finding, now: Usec) -> str:
    """What the sentence does not say already."""
    kind = finding.rule.rpartition(".")[2]
    if kind == "command":
        return _said(finding)
    if kind != "artifact":
        return ""
    shown = [
        _shown(key, value, now)
        for key, value in finding.evidence.items()
        if not (key == "path" and str(value) in finding.summary)
    ]
    return safe(", ".join(shown))


def _said(finding: Finding) -> str:
    """A command's output, where the sentence has not all of it."""
    output = str(finding.evidence.get("output", "")).strip()
    cut = finding.evidence.get("output_cut")
    more = f" … and {format_size(cut)} more" if isinstance(cut, int) else ""
    return safe(" ⏎ ".join(output.splitlines()) + more) if output not in finding.summary else ""


def _shown(key: str, value: Value, now: Usec) -> str:
    match value:
        case int() if key == "mtime":
            return f"written {times.since(Usec(value), now)}"
        case int() if key == "size":
            exact = f"{value} byte{'s' if value != 1 else ''}"
            return f"{format_size(value)} ({exact})" if value >= 1024 else exact
        case int() if key == "counted":
            return f"{value} of them count{'s' if value == 1 else ''}"
        case int() if key == "matches":
            return f"{value} match{'es' if value != 1 else ''}"
        case int() if key == "median_runs":
            return f"measured against {value} run{'s' if value != 1 else ''}"
        case _:
            return f"{key.replace('_', ' ')} {_plain(key, value)}"


def _plain(key: str, value: Value) -> str:
    match value:
        case None | bool():
            return {True: "yes", False: "no", None: "none"}[value]
        case int() if key == "size" or key.endswith(("bytes", "_size")):
            return format_size(value)
        case _:
            return str(value)


def compared(then: Sequence[Finding], now: Sequence[Finding]) -> Iterator[str]:
    """Quantities that both runs have evidence of, and that differ."""
    before = {finding.rule: finding.evidence for finding in then}
    for finding in now:
        old = before.get(finding.rule, {}) if finding.rule.endswith(".artifact") else {}
        for key, value in finding.evidence.items():
            was = old.get(key)
            if key in _NOT_COMPARED or not _is_number(value) or not _is_number(was):
                continue
            if was != value:
                what = f"{finding.rule} {key.replace('_', ' ')}"
                yield safe(f"{what}: {_plain(key, was)} then, {_plain(key, value)} now")


_NOT_COMPARED = frozenset({"mtime", "matches", "median_size", "median_runs", "of_median"})


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
