"""What each rule says about what was looked at. Pure: evidence in, findings out.

A rule that could not look says `unknown`, with the reason, and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol, assert_never

from msgspec.structs import replace

from outcomed import model
from outcomed.faults import printable
from outcomed.model import (
    HOUR,
    SECOND,
    Finding,
    Held,
    Judgement,
    Median,
    Record,
    Run,
    UnitName,
    Usec,
    Value,
    Verdict,
)
from outcomed.quantities import format_duration, format_size, say_duration

# The kernel stamps files with the tick that has passed, up to 10 ms before now; a file system
# without fractions (FAT) rounds to two seconds.
TICK = 20_000
TOGETHER = 1_000  # between the two clocks' times of one moment, which are taken one by one
COARSE = 2 * SECOND
# How far the clock of a file server may be ahead. What is further ahead would be the newest match
# for ever, whatever later runs write.
AHEAD = HOUR
# So many good runs make a median; with fewer, everything that a run does is as usual.
LEARNT = 3


class FileSeen(Record, frozen=True):
    """One file, as stat(2) saw it."""

    path: str
    size: int
    mtime: Usec
    is_coarse: bool  # the file system keeps whole seconds
    owner: str = ""  # USER:GROUP, numbers where they have no name
    mode: int = 0  # the permission bits


class Look(Record, frozen=True):
    """What was found where an artifact has to be. `fault` says why nobody could look."""

    pattern: str  # specifiers expanded
    matches: int = 0
    newest: FileSeen | None = None
    off_filesystem: str = ""  # what is wrong with on_filesystem, as a sentence
    fault: str = ""
    others: int = 0  # directories, devices, pipes: there, and no file
    counted: int = 0  # of the matches, those that are young enough to count


class Digest(Record, frozen=True):
    """The SHA-256 that a file has and the one that it has to have."""

    expected: str = ""
    actual: str = ""
    source: str = ""  # the sidecar that says so; empty: the job file
    broken: str = ""  # why there is nothing to compare with, a fault of the artifact's
    unknown: str = ""  # the same, and nobody's fault: it could not be looked at


class Ran(Record, frozen=True):
    """What became of a rule's command. `fault` says why it gave no answer."""

    fault: str = ""
    status: int | None = None
    output: str = ""  # its beginning, stdout and stderr as they came
    cut: int = 0  # bytes of output that were not kept
    seconds: float = 0.0


class ReadResult(Protocol):
    """What `formats.read` returns."""

    @property
    def state(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def evidence(self) -> Mapping[str, Value]: ...


class Earlier(Record, frozen=True):
    """What an earlier run took and left behind, that stands as good."""

    began: Usec
    duration: Usec | None = None
    sizes: tuple[tuple[str, int], ...] = ()  # by the pattern of the artifact
    accepted: bool = False  # a person said that this is right: the past begins anew with it


class Window(Record, frozen=True):
    """What a run is measured against: the time in which an artifact has to be written to count
    for it, and what the job did before."""

    run_start: Usec  # 0: not known
    run_end: Usec
    period_start: Usec
    early: Usec = Usec(0)  # so long before its start a file may be the run's
    set_back: Usec = Usec(0)  # so far the clock was set back while it ran
    set_on: Usec = Usec(0)  # so far it was set on, or so long the host slept
    twice: bool = False  # and the clock then showed a time at which an earlier run had run
    ahead: Usec = Usec(AHEAD)  # so far in the future a file's time may lie
    looked: Usec = Usec(0)  # when somebody looks, about; 0: not known
    past: tuple[Earlier, ...] = ()  # newest first


def name(index: int, rule: model.Rule) -> str:
    """How a finding names its rule: as the job file spells it."""
    return f"outcome[{index}].{type(rule).__name__.lower()}"


def artifact(
    rule: model.Artifact,
    label: str,
    look: Look,
    window: Window,
    read: ReadResult | None,
    digest: Digest | None = None,
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
    if rule.count is not None:
        evidence["counted"] = look.counted
    usual = _NOT_MEASURED
    if rule.size_vs_median is not None:
        usual = _measured(rule.size_vs_median, seen.size, _sizes(window, pattern), format_size)
        evidence |= usual.figures("size", 1)
        if pattern != seen.path:
            evidence["pattern"] = pattern  # what the next run finds the size by
    if read is not None:
        evidence |= read.evidence
    untold = _age_unknown(rule, seen, window)
    if untold:
        return Finding(label, Held.UNKNOWN, f"{seen.path}: {untold}", evidence)
    fault = (
        _age_fault(rule, seen, window)
        or (f"{seen.path}: {printable(look.off_filesystem)}" if look.off_filesystem else "")
        or _size_fault(rule, seen)
        or (f"{seen.path}: {format_size(seen.size)}, {usual.fault}" if usual.fault else "")
        or _count_fault(rule, look.counted, pattern)
        or _owner_fault(rule, seen)
    )
    if fault:
        return Finding(label, Held.BROKEN, fault, evidence)
    if rule.sha256 is not None:
        unmatched = _digest_finding(label, seen, digest or Digest(), evidence)
        if unmatched is not None:
            return unmatched
    if rule.format is None:
        held = f"{seen.path}: {format_size(seen.size)}{usual.remark}"
        return Finding(label, Held.HELD, held, evidence)
    if read is None:
        return Finding(label, Held.UNKNOWN, f"{seen.path}: nobody read it", evidence)
    return _read_finding(rule, label, seen, read, evidence, usual.remark)


def artifact_of(command: str, artifacts: list[str]) -> str:
    """The label of the artifact rule that `{artifact}` means: the last before, else the first."""
    at = _place(command)
    before = [label for label in artifacts if _place(label) < at]
    return before[-1] if before else next(iter(artifacts), "")


def _place(label: str) -> int:
    """`outcome[3].command`: 3."""
    return int(label.partition("[")[2].partition("]")[0])


def as_proof(rule: model.Rule) -> model.Rule:
    """The same, looked at to prove that the work existed already."""
    return replace(rule, written_by="period") if isinstance(rule, model.Artifact) else rule


Spans = tuple[tuple[int, int], ...]

EVER: Spans = ((0, 2**63),)


def spans(rule: model.Artifact, window: Window) -> Spans:
    """Matches that were written then count; of coarse file systems somewhat earlier.

    More than one span where the clock was set back while the job ran: what it wrote before and
    what it wrote afterwards.
    """
    match rule.written_by:
        case "any":
            return EVER
        case "run":
            begin = window.run_start - max(TICK, window.early)
        case "period":
            begin = window.period_start - TICK
        case _ as never:
            assert_never(never)
    end = window.looked + window.ahead if window.looked else EVER[0][1]
    if not window.set_back:
        return ((begin, end),)
    afterwards = (window.looked or window.run_end) + TICK
    return ((begin - window.set_back, afterwards), (begin, _old_end(window)))


def _old_end(window: Window) -> int:
    """The run's end, as the clock would have shown it that was set back."""
    return window.run_end + window.set_back + TICK


def needs_reading(rule: model.Artifact) -> bool:
    """Whether its finding depends on what is in the file."""
    return rule.format is not None or rule.sha256 is not None


def _count_fault(rule: model.Artifact, counted: int, pattern: str) -> str:
    count = rule.count
    if count is None:
        return ""
    low, high = count.at_least, count.at_most
    if (low is None or counted >= low) and (high is None or counted <= high):
        return ""
    if low == high:
        expected = str(low)
    else:
        expected = f"at least {low}" if low is not None and counted < low else f"at most {high}"
    whose = {"run": " written by this run", "period": " written in this period", "any": ""}
    files = "1 file" if counted == 1 else f"{counted} files"
    return f"{pattern}: {files}{whose[rule.written_by]}, expected {expected}"


def _owner_fault(rule: model.Artifact, seen: FileSeen) -> str:
    if rule.owner is not None and not _owns(rule.owner, seen.owner):
        return f"{seen.path}: owned by {printable(seen.owner)}, expected {rule.owner}"
    if rule.mode is not None and rule.mode != seen.mode:
        return f"{seen.path}: mode {seen.mode:04o}, expected {rule.mode:04o}"
    return ""


def _owns(wanted: str, owner: str) -> bool:
    """`owner` is USER:GROUP; each of the two has been given the name that `wanted` uses."""
    user, _, group = wanted.partition(":")
    has_user, _, has_group = owner.partition(":")
    return user in ("", has_user) and group in ("", has_group)


def _digest_finding(
    label: str, seen: FileSeen, digest: Digest, evidence: dict[str, Value]
) -> Finding | None:
    """What is wrong with its checksum; None where it is right."""
    if digest.unknown or not (digest.actual or digest.broken):
        why = printable(digest.unknown) or "nobody read it"
        return Finding(label, Held.UNKNOWN, f"{seen.path}: {why}", evidence)
    if digest.broken:
        return Finding(label, Held.BROKEN, f"{seen.path}: {printable(digest.broken)}", evidence)
    evidence["sha256"] = digest.actual
    if digest.actual == digest.expected:
        return None
    evidence["sha256_expected"] = digest.expected
    said = f"{printable(digest.source)} says" if digest.source else "expected"
    fault = f"its SHA-256 is {digest.actual[:12]}…, {said} {digest.expected[:12]}…"
    return Finding(label, Held.BROKEN, f"{seen.path}: {fault}", evidence)


def _age_unknown(rule: model.Artifact, seen: FileSeen, window: Window) -> str:
    if rule.written_by == "any":
        return ""
    latest = max(window.looked + window.ahead, _old_end(window) if window.set_back else 0)
    if window.looked and seen.mtime > latest:
        ahead = say_duration(seen.mtime - window.looked)
        return f"its time lies {ahead} in the future, nobody can tell who wrote it"
    if rule.written_by != "run":
        return ""
    if not window.run_start:
        return "when the run began is not known"
    if _may_be_older(rule, seen, window):
        by = say_duration(window.set_back)
        return f"the clock was set back by {by} while it ran, nobody can tell who wrote it"
    return ""


def _may_be_older(rule: model.Artifact, seen: FileSeen, window: Window) -> bool:
    """Whether it may be an earlier run's: of the time that the clock showed twice."""
    return (
        window.twice
        and seen.mtime < window.run_start - max(TICK, window.early)
        and in_span(seen, spans(rule, window))
    )


def in_span(seen: FileSeen, wanted: Spans) -> bool:
    """Whether it was written then."""
    slack = COARSE - TICK if seen.is_coarse else 0
    return any(begin - slack <= seen.mtime <= end for begin, end in wanted)


def _age_fault(rule: model.Artifact, seen: FileSeen, window: Window) -> str:
    if rule.written_by == "any" or in_span(seen, spans(rule, window)):
        return ""
    begin, whose = window.run_start, "this run"
    if rule.written_by == "period":
        begin, whose = window.period_start, "this period"
    age = say_duration(begin - seen.mtime)
    return f"{seen.path}: not written by {whose}, {age} older than its start"


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
    remark: str,
) -> Finding:
    if read.state == "unreadable":  # it may be good: the reader has limits of its own
        return Finding(label, Held.UNKNOWN, f"{seen.path}: {read.summary}", evidence)
    if read.state == "whole" or (read.state == "empty" and rule.allow_empty):
        held = f"{seen.path}: {format_size(seen.size)}, {read.summary}{remark}"
        return Finding(label, Held.HELD, held, evidence)
    return Finding(label, Held.BROKEN, f"{seen.path}: {read.summary}", evidence)


def set_back(run: Run) -> Usec:
    """How far the clock was set back while it ran: its duration is by the monotonic one."""
    if run.duration is None or run.started is None or run.finished is None:
        return Usec(0)
    back = run.duration - (run.finished - run.started)
    return Usec(back if back > TOGETHER else 0)


def set_on(run: Run) -> Usec:
    """How much longer it took by the calendar's clock."""
    if run.duration is None or run.started is None or run.finished is None:
        return Usec(0)
    return Usec(max(run.finished - run.started - run.duration, 0))


def seen_late(finding: Finding, window: Window, now: Usec) -> Finding:
    """What is there now says something about an earlier run only if it is that run's file."""
    mtime = finding.evidence.get("mtime")
    if ".artifact" not in finding.rule or finding.state is Held.UNKNOWN:
        return finding
    begin, end = window.run_start - max(TICK, window.early), window.run_end + TICK
    own: Spans = ((begin, end),)
    if window.set_back:
        own = ((begin - window.set_back, end), (begin, _old_end(window)))
    if window.set_on:  # another run may have written what bears a time that this one never saw
        own = ((begin, end - window.set_on), (begin + window.set_on, end))
    if isinstance(mtime, int) and any(first <= mtime <= last for first, last in own):
        return finding
    late = f"looked at {say_duration(now - window.run_end)} late"
    return Finding(finding.rule, Held.UNKNOWN, late, {**finding.evidence, "late": True})


def overtaken(finding: Finding, next_start: Usec) -> Finding:
    """The next run began before this one was looked at to the end: what is its, and what is not?

    A file that was last written before it says something about this run. What is missing or half
    written, and what a command complains of, may be the next one's work in progress.
    """
    mtime = finding.evidence.get("mtime")
    if finding.state is not Held.BROKEN or (isinstance(mtime, int) and mtime < next_start - TICK):
        return finding
    seen = f"the next run began before this was looked at, which then said: {finding.summary}"
    return Finding(finding.rule, Held.UNKNOWN, seen, {**finding.evidence, "overtaken": True})


def command(rule: model.Command, label: str, ran: Ran) -> Finding:
    """A program's word. One that could not say it has said nothing."""
    evidence: dict[str, Value] = {"seconds": round(ran.seconds, 3)}
    if ran.status is not None:
        evidence["exit_status"] = ran.status
    if ran.output:
        evidence["output"] = ran.output
    if ran.cut:
        evidence["output_cut"] = ran.cut
    if ran.fault:
        return Finding(label, Held.UNKNOWN, printable(ran.fault), evidence)
    said = _first_line(ran.output)
    if rule.protocol == "nagios":
        return _plugin(label, ran.status, said, evidence)
    if ran.status == 0:
        return Finding(label, Held.HELD, f"it exited with 0{_saying(said)}", evidence)
    fault = f"{_program(rule.command)} exited with {ran.status}{_saying(said)}"
    return Finding(label, Held.BROKEN, fault, evidence)


# Monitoring plugins' exit statuses. A warning is somebody's threshold for "not right".
_PLUGIN = {0: ("OK", Held.HELD), 1: ("WARNING", Held.BROKEN), 2: ("CRITICAL", Held.BROKEN)}


def _plugin(label: str, status: int | None, said: str, evidence: dict[str, Value]) -> Finding:
    text, _, figures = said.partition("|")  # performance data stand behind the text
    word, state = _PLUGIN.get(-1 if status is None else status, ("UNKNOWN", Held.UNKNOWN))
    if figures.strip():
        evidence["perfdata"] = figures.strip()
    text = text.strip() or "it said nothing"
    if status not in (0, 1, 2, 3):
        text = f"status {status} is none of a plugin's; {text}"
    return Finding(label, state, text if word in text else f"{word}: {text}", evidence)


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return printable(line if len(line) <= 200 else line[:199] + "…")


def _saying(said: str) -> str:
    return f": {said}" if said else ""


def _program(text: str) -> str:
    return text.split(maxsplit=1)[0].rpartition("/")[2]


def duration(rule: model.Duration, label: str, run: Run, past: Sequence[Earlier] = ()) -> Finding:
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
    if rule.vs_median is None:
        return Finding(label, Held.HELD, f"ran {ran}", evidence)
    known = [one.duration for one in past if one.duration is not None]
    usual = _measured(rule.vs_median, run.duration, known, say_duration)
    evidence |= usual.figures("s", SECOND)
    if usual.fault:
        return Finding(label, Held.BROKEN, f"ran {ran}, {usual.fault}", evidence)
    return Finding(label, Held.HELD, f"ran {ran}{usual.remark}", evidence)


# --- the job's own past ----------------------------------------------------------------------


def earlier(judgement: Judgement, patterns: Sequence[str]) -> Earlier | None:
    """What later runs are measured against, if this verdict stands; nothing if it is not good."""
    is_good = judgement.verdict in (Verdict.VERIFIED, Verdict.ACCEPTED)
    if not is_good or not judgement.run.took_place:
        return None
    left = [one.evidence for one in judgement.findings if one.rule.endswith(".artifact")]
    sizes = ((pattern, _size_of(pattern, left)) for pattern in map(printable, patterns))
    run = judgement.run
    return Earlier(
        began=began(run, judgement.at),
        duration=run.duration,
        sizes=tuple((pattern, size) for pattern, size in sizes if size is not None),
        accepted=judgement.verdict is Verdict.ACCEPTED,
    )


def past_of(
    judgements: Iterable[Judgement], unit: UnitName, patterns: Sequence[str]
) -> tuple[Earlier, ...]:
    """What another unit did under the job's name was never this job's."""
    entries = (earlier(one, patterns) for one in judgements if one.run.unit == unit)
    return tuple(entry for entry in entries if entry is not None)


def median_reach(job: model.Job) -> int:
    """How many good runs back the job's medians are taken of; 0 without any."""
    medians = [
        rule.vs_median if isinstance(rule, model.Duration) else rule.size_vs_median
        for rule in job.outcome
        if isinstance(rule, model.Duration | model.Artifact)
    ]
    return max((median.of for median in medians if median is not None), default=0)


def measured_patterns(job: model.Job, expand: Callable[[str], str]) -> list[str]:
    """The patterns of the artifacts whose size is compared."""
    return [
        expand(rule.path)
        for rule in job.outcome
        if isinstance(rule, model.Artifact) and rule.size_vs_median is not None
    ]


def began(run: Run, judged: Usec) -> Usec:
    """What puts a job's runs in their order."""
    return run.started or run.finished or judged


def medians(judgement: Judgement) -> dict[str, dict[str, Value]]:
    """What a run was measured against, by rule. An accepted one was the first of a new past."""
    figures = {
        one.rule: {key: one.evidence[key] for key in one.evidence if key.startswith("median_")}
        for one in judgement.findings
        if judgement.verdict is not Verdict.ACCEPTED
    }
    return {rule: found for rule, found in figures.items() if found}


def _size_of(pattern: str, left: Sequence[Mapping[str, Value]]) -> int | None:
    """By the pattern, not by the rule's place in the file, which may have been another."""
    named = [each for each in left if each.get("pattern", each.get("path")) == pattern]
    found = named or [
        each
        for each in left
        if "pattern" not in each and _matches(str(each.get("path", "")), pattern)
    ]
    sizes = (each.get("size") for each in found)
    return next((size for size in sizes if isinstance(size, int)), None)


def _matches(path: str, pattern: str) -> bool:
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def past_before(known: Sequence[Earlier], began: Usec) -> tuple[Earlier, ...]:
    """What there was when this run began, newest first, back to what a person accepted last."""
    before = sorted(
        (one for one in known if one.began < began), key=lambda one: one.began, reverse=True
    )
    first = next((at for at, one in enumerate(before) if one.accepted), len(before))
    return tuple(before[: first + 1])


class _Measured(NamedTuple):
    """What came of a comparison: what is wrong, what is to be remarked where nothing is."""

    fault: str = ""
    remark: str = ""
    median: int | None = None
    ratio: float | None = None
    runs: int = 0

    def figures(self, quantity: str, unit: int) -> dict[str, Value]:
        found: dict[str, Value] = {"median_runs": self.runs}
        if self.median is not None:
            found[f"median_{quantity}"] = self.median / unit if unit > 1 else self.median
        if self.ratio is not None:
            found["of_median"] = self.ratio
        return found


_NOT_MEASURED = _Measured()


def _sizes(window: Window, pattern: str) -> list[int]:
    found = (dict(one.sizes).get(pattern) for one in window.past)
    return [size for size in found if size is not None]


def _measured(
    rule: Median, value: int, past: Sequence[int], show: Callable[[int], str]
) -> _Measured:
    known = past[: rule.of]
    if len(known) < LEARNT:
        return _Measured(remark=f", learning, {len(known)} of {LEARNT}", runs=len(known))
    median = _median(known)
    ratio = float(f"{value / median:.3g}") if median else None
    which = f"the median of {len(known)} runs, {show(median)}"
    fault = ""
    if rule.at_least is not None and value < rule.at_least * median:
        fault = f"expected at least {rule.at_least:g} times {which}"
    elif rule.at_most is not None and value > rule.at_most * median:
        fault = f"expected at most {rule.at_most:g} times {which}"
    remark = f", {ratio:g} times {which}" if ratio is not None else f", as is {which}"
    return _Measured(fault, remark, median, ratio, len(known))


def _median(values: Sequence[int]) -> int:
    """`statistics` loads fractions and decimal, which the daemon would keep."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2


def report(
    rule: model.Report,
    label: str,
    said: Mapping[str, Value],
    faults: list[str],
    completeness: model.Completeness,
) -> Finding:
    """An expression over what the job stated; a statement that is missing breaks it."""
    from outcomed import expressions  # simpleeval, and only for jobs that have such a rule

    expression = expressions.parse(rule.expression)
    text = printable(rule.expression)
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
        return Finding(label, Held.BROKEN, f"{text}: {error} ({facts})", evidence)
    if holds:
        return Finding(label, Held.HELD, f"{text} ({facts})", evidence)
    return Finding(label, Held.BROKEN, f"{text} does not hold: {facts}", evidence)


def _brief(value: Value) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def steps(
    rule: model.Steps, label: str, reached: Sequence[str], completeness: model.Completeness
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
    rule: model.Journal, label: str, line: str | None, completeness: model.Completeness
) -> Finding:
    """`line` is the first of the run's lines that matched, or None."""
    evidence: dict[str, Value] = {} if line is None else {"line": line[:200]}
    if rule.never is not None:
        if line is not None:
            said = printable(line[:200])
            return Finding(label, Held.BROKEN, f"said what it never must: {said}", evidence)
        fine, what, doubt = (
            Held.HELD,
            f"no line matches {printable(rule.never)}",
            completeness.reason,
        )
    else:
        if line is not None:
            return Finding(label, Held.HELD, f"said: {printable(line[:200])}", evidence)
        fine, what = Held.BROKEN, f"no line matches {printable(rule.expect or '')}"
        doubt = completeness.reason or completeness.strayed
    if doubt:
        return Finding(label, Held.UNKNOWN, f"{what}; {doubt}", evidence)
    return Finding(label, fine, what, evidence)
