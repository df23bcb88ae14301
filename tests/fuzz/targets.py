"""What is fuzzed: for each, good inputs to begin with, and what has to hold of any other.

A target takes bytes, so that every input is a file that can be kept and run again. It raises
nothing for what its module documents, and an AssertionError where a result is not what was
promised.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from outcomed import (
    calendar,
    checks,
    config,
    expressions,
    faults,
    ledger,
    model,
    notify,
    output,
    patterns,
    quantities,
    refused,
    rules,
    specifiers,
    spool,
    tracker,
    verdicts,
)
from outcomed.alerts import Standing
from outcomed.errors import LedgerError
from outcomed.model import (
    BootId,
    Config,
    Delivery,
    Finding,
    Held,
    Incident,
    InvocationId,
    Job,
    JobName,
    Judgement,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
    Webhook,
    run_id,
)
from outcomed.paths import Paths
from outcomed.timers import Service
from outcomed.tracker import Seen, Told, Track, What

TESTS = Path(__file__).parents[1]
HAS_LIBSYSTEMD = all(importlib.util.find_spec(name) for name in ("systemd", "pystemd"))

SUMMARY = 16_384  # characters; more is no sentence
JOB = JobName("db-backup")
UNIT = UnitName("db-backup.service")
BOOT = BootId("b" * 32)
INVOCATION = InvocationId("a" * 32)
HOST = specifiers.Host("host.example.com", "1" * 32, "2" * 32, "6.1", "x86-64", "Host", {})

Prepare = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes. `share` is how many of the inputs it gets, among the others."""

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    share: int
    words: Sequence[bytes] = ()
    trees: Sequence[bytes] = ()  # seeds as JSON, to be changed by branches
    prepared: Prepare = contextlib.nullcontext


def is_line(text: str, longest: int = SUMMARY) -> None:
    """What stands in an alert, in a journal's line, on a terminal."""
    assert text.isprintable(), f"not printable: {text[:300]!r}"
    assert len(text) <= longest, f"{len(text)} characters: {text[:100]!r}"


def can_be_stored(value: Any, kind: Any = None) -> None:
    again = msgspec.json.decode(msgspec.json.encode(value), type=kind or type(value))
    assert again == value or "nan" in repr(value)


def text_of(data: bytes) -> str:
    """Any text, also one that is not Unicode."""
    return data.decode(errors="surrogateescape")


# --- what a job says -----------------------------------------------------------------------------

EXPRESSIONS = (
    "sent == generated and failed == 0",
    "sent / generated > 0.9",
    "len(host) > 2 and 'a' in host",
    "median(sent, generated, failed) >= min(sent, 1) ** 2",
)


def is_bounded(said: output.Output) -> None:
    assert len(said.report) <= output.REPORT_KEYS
    assert len(said.steps) <= output.STEPS
    assert all(len(line) <= output.LINE_LIMIT + 1 for line in (*said.tail, *said.matched.values()))
    assert len(msgspec.json.encode([said.report, said.faults, said.steps, said.matched])) < 1 << 20
    complete = model.Completeness()
    findings = [
        rules.report(model.Report(text), "outcome[0].report", said.report, said.faults, complete)
        for text in EXPRESSIONS
    ]
    for rule in (model.Journal(never="x"), model.Journal(expect="x")):
        line = next(iter(said.matched.values()), None)
        findings.append(rules.journal(rule, "outcome[1].journal", line, complete))
    judge(a_run(), tuple(findings), said)


def judge(run: Run, findings: tuple[Finding, ...], said: output.Output | None = None) -> None:
    """On to the verdict, the ledger's form of it, and the message."""
    for finding in findings:
        is_line(finding.summary)
    found = (verdicts.result_finding(run), *findings)
    weighed = verdicts.weigh(a_job(), run, findings, already=False)
    is_line(weighed.summary)
    judgement = Judgement(
        run=run,
        verdict=weighed.verdict,
        reason=weighed.reason,
        summary=weighed.summary,
        findings=found,
        steps=tuple(said.steps) if said else (),
        report=said.report if said else {},
    )
    can_be_stored(judgement)
    tail = tuple(said.tail) if said else ()
    told = notify.told(
        "firing", an_incident(), judgement, a_job(), [a_sink()], a_node(), Usec(1), tail
    )
    for delivery in told:
        msgspec.json.encode(delivery)


def fuzz_report(data: bytes) -> None:
    said = output.Output({}, None)
    said.take_report(data)
    said.line(b"OUTCOME " + data)
    is_bounded(said)


def fuzz_output(data: bytes) -> None:
    said = output.Output(SEARCHES, output.RateLimit(3, Usec(5)))
    for number, line in enumerate(data.split(b"\n")):
        said.count(Usec(number), number % 9 - 1)
        said.line(line)
        said.step(output.decode(line))
    is_bounded(said)


SEARCHES = {
    "already_done[0]": patterns.compile_pattern("exists").search,
    "outcome[0].journal": patterns.compile_pattern("(?i)error|(a+)+$|^\\x1b").search,
}
REPORTS = (
    b'{"sent": 347, "generated": 347, "failed": 0, "host": "alpha"}',
    b'{"sent": 3.5, "generated": -1e308, "failed": null, "host": "", "ok": true}',
    b'{"sent": "\\u00e4\\ud83d\\udca9", "generated": 18446744073709551616, "failed": false}',
    b'{"host": "' + b"x" * 2000 + b'", "a b": 1, "": 2}',
)
ODD_REPORTS: tuple[dict[str, object], ...] = (
    {"sent": 347, "generated": 347, "failed": 0, "host": "alpha"},
    {"sent": float("inf"), "generated": float("nan"), "failed": 1e308, "host": "x" * 65_536},
    {"sent": 10**400, "generated": -(2**128), "failed": True, "host": None},
    {"sent": [1] * 500, "generated": [[1], [2]], "failed": ["a", None], "host": "x" * 70_000},
    {"sent": "ä\x1b\n", "generated": {}, "failed": b"", "host": [[[[[]]]]]},
)


def fuzz_expression(data: bytes) -> None:
    text = text_of(data)
    try:
        parsed = expressions.parse(text)
    except expressions.ExpressionError as error:
        str(error).encode()
        return
    for report in ODD_REPORTS:
        values = {name: report.get(name, report["sent"]) for name in parsed.names}
        with contextlib.suppress(expressions.ExpressionError):
            assert parsed.evaluate(values) in (True, False)
    said: dict[str, Any] = dict.fromkeys(parsed.names, 2**64)
    finding = rules.report(model.Report(text), "outcome[0].report", said, [], model.Completeness())
    judge(a_run(), (finding,))


def fuzz_pattern(data: bytes) -> None:
    text, *lines = data.split(b"\n")
    try:
        pattern = patterns.compile_pattern(text_of(text))
    except ValueError as error:
        str(error)
        return
    for line in (*lines, b"", data[:4096], b"a" * 4096, b"\xff" * 100):
        assert pattern.search(line) in (True, False) or len(line) > pattern.longest
    rule = model.Journal(never=text_of(text))
    judge(a_run(), (rules.journal(rule, "outcome[0].journal", None, model.Completeness()),))


# --- words ---------------------------------------------------------------------------------------


def fuzz_quantities(data: bytes) -> None:
    for parse in (quantities.parse_duration, quantities.parse_size):
        try:
            value = parse(text_of(data))
        except ValueError as error:
            is_line(str(error), 400)
        else:
            assert 0 <= value <= quantities.MAXIMUM
            for shown in (
                quantities.format_duration(value),
                quantities.say_duration(value),
                quantities.format_size(value),
            ):
                is_line(shown, 100)


def fuzz_specifiers(data: bytes) -> None:
    path, _, instance = text_of(data).partition("\n")
    instance = instance[:200]  # systemd.unit(5): a unit's name has at most 255 characters
    for safe in (True, False):
        try:
            expanded = specifiers.expand(
                path, UnitName(f"x@{instance}.service"), host=HOST, glob_safe=safe
            )
        except ValueError as error:
            is_line(faults.printable(str(error)), 1 << 20)
        else:
            is_line(faults.printable(expanded), 1 << 20)


# --- configuration -------------------------------------------------------------------------------


class Files:
    """A node's configuration in memory; in the worker's own process, one input at a time."""

    def __init__(self) -> None:
        self.paths = Paths(Path("/nowhere"))

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        place = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))
        self.paths = Paths(*(place / name for name in ("etc", "state", "run", "usr")))
        for directory in (
            *(self.paths.config / "jobs.d" / "db-backup.yaml.d", self.paths.checks),
            *(self.paths.requests, self.paths.job_states, self.paths.runtime),
            *(self.paths.spool / "out", self.paths.spool / "sinks"),
        ):
            directory.mkdir(parents=True)
        self.main.write_bytes(MAIN_SEEDS[0])
        self.job.write_bytes(JOB_SEEDS[0])
        try:
            yield
        finally:
            shutil.rmtree(place)

    @property
    def main(self) -> Path:
        return self.paths.config_file

    @property
    def job(self) -> Path:
        return self.paths.config / "jobs.d" / "db-backup.yaml"

    @property
    def drop_in(self) -> Path:
        return self.paths.config / "jobs.d" / "db-backup.yaml.d" / "50-more.yaml"


FILES = Files()


def look_at(loaded: config.Loaded) -> None:
    can_be_stored(loaded)
    for problem in loaded.problems:
        for line in config.render(problem, "outcomed").split("\n"):
            is_line(line, 6_000)
    assert len(loaded.problems) <= 210
    for job in loaded.config.jobs:
        assert JOB in (job.name, "x") or job.name
        for index, rule in enumerate(job.outcome):
            if isinstance(rule, model.Report):
                expressions.parse(rule.expression)
            if isinstance(rule, model.Artifact):
                specifiers.expand(rule.path, job.unit, host=HOST)
            is_line(rules.name(index, rule))
        config.rules_hash(job)


def fuzz_job(data: bytes) -> None:
    FILES.job.write_bytes(data)
    look_at(config.load(FILES.paths))


def fuzz_drop_in(data: bytes) -> None:
    FILES.drop_in.write_bytes(data)
    look_at(config.load(FILES.paths))


def fuzz_main(data: bytes) -> None:
    FILES.main.write_bytes(data)
    lent = Config(sinks=(a_sink(),), default_to=("ops",))
    look_at(config.load(FILES.paths, last_good=lent))


def fuzz_isolated(data: bytes) -> None:
    """The way that the daemon goes: the child's answer is what `load` says."""
    FILES.job.write_bytes(data)
    loaded = config.load_isolated(FILES.paths)
    assert not loaded.unread, loaded.problems
    assert loaded == config.load(FILES.paths)


def yaml_seeds(*patterns_: str) -> list[bytes]:
    files = [file for pattern in patterns_ for file in sorted(TESTS.glob(f"configs/{pattern}"))]
    return [file.read_bytes() for file in files]


def yaml_trees(seeds: Sequence[bytes]) -> list[bytes]:
    """JSON is YAML, and these are what the files say."""
    trees = [yaml.load(seed, yaml.BaseLoader) for seed in seeds]
    return [json.dumps(tree).encode() for tree in trees if isinstance(tree, dict)]


GOOD_JOBS = [
    seed for seed in yaml_seeds("good/*.yaml") if b"sinks:" not in seed or b"outcome:" in seed
]
JOB_SEEDS = [*GOOD_JOBS, *yaml_seeds("bad/*.yaml")]
MAIN_SEEDS = yaml_seeds("good/outcomed.yaml", "bad/outcomed.yaml")
YAML_WORDS = (
    *(b": ", b"- ", b"\n  ", b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: ", b"!!python/none "),
    *(b"? ", b"| \n", b">-\n", b"---\n", b"...\n", b"%YAML 1.1\n", b"#", b"~", b"null", b"yes"),
    *(
        b"artifact: ",
        b"outcome:\n",
        b"duration: ",
        b"journal: ",
        b"report: ",
        b"never: ",
        b"unit: ",
    ),
    *(b"min_size: 1G", b"at_least: 3min", b"steps: ", b"command: ", b"sinks:\n", b"to: [ops]"),
    *(b"%i", b"%%", b'"\\x1b\\0\\ud800"', b"'\n '", b"exit_status: 17", b"alerts: "),
    *(b"schedule: ", b"start_within: 10min", b"verified_within: 26h", b"every: "),
)


# --- files of our own, which may be damaged, or be another version's -----------------------------


def in_file(path: Callable[[], Path], read: Callable[[], Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        path().write_bytes(data)
        read()

    return run


def read_compiled() -> None:
    can_be_stored(spool.read_compiled(FILES.paths))


def read_delivery() -> None:
    found = spool.take("one", FILES.paths)
    assert found is not None
    if isinstance(found, spool.Damaged):
        is_line(found.reason, 1_000)
    spool.in_order(
        one for one in spool.waiting(["one"], FILES.paths) if isinstance(one, spool.Waiting)
    )


def read_why() -> None:
    spool.outcome("one", FILES.paths)


def read_sinks() -> None:
    with contextlib.suppress(spool.SpoolError):
        can_be_stored(spool.read_sinks(FILES.paths), tuple[model.Sink, ...])


def read_request() -> None:
    with contextlib.suppress(spool.SpoolError):
        can_be_stored(spool.read_as(checks.request_path(JOB, FILES.paths), checks.Request))


def read_answer() -> None:
    found = checks.read_answer(a_request(), FILES.paths)
    window = rules.Window(Usec(10), Usec(20), Usec(0))
    for finding in found:
        can_be_stored(rules.seen_late(finding, window, Usec(30)))
        msgspec.json.encode(notify.shown_finding(finding))


def read_refused() -> None:
    error = config.Problem(file="/etc/outcomed/x.yaml", fault="is wrong")
    for problems in ([], [error]):
        refused.update(problems, Config(sinks=(a_sink(),)), a_node(), FILES.paths, Usec(1))


def read_markers() -> None:
    from outcomed import hook

    watched = hook.Watched(FILES.paths, Config(sinks=(a_sink(),)), a_node())
    for unit in watched.units:
        assert config.is_unit_name(unit) or "." in unit
        for active in ("inactive", "failed", "active"):
            watched.see(Seen(unit, BOOT, INVOCATION, active, "dead"))
    for marker in list(watched._markers.values()):
        msgspec.json.encode(watched.resolve(marker))


def read_state() -> None:
    from outcomed import hook

    assert hook._incident_is_open(JOB, FILES.paths) in (True, False)


# --- values that are good ------------------------------------------------------------------------


def a_run(number: int = 1, **changes: Any) -> Run:
    key = f"{number:032x}"
    run = Run(
        id=run_id(JOB, key),
        job=JOB,
        unit=UNIT,
        key=key,
        boot=BOOT,
        invocation=InvocationId(key),
        last_invocation=InvocationId(key),
        trigger="db-backup.timer",
        slot=Usec(1_700_000_000_000_000),
        started=Usec(1_700_000_000_000_123),
        finished=Usec(1_700_000_180_000_000),
        duration=Usec(179_999_877),
        result="success",
        exit_code="exited",
        exit_status=0,
    )
    return msgspec.structs.replace(run, **changes)


def a_job() -> Job:
    return Job(
        name=JOB,
        unit=UNIT,
        already_done=(model.AlreadyDone(exit_status=17),),
        outcome=(
            model.Artifact(path="/srv/backups/shop-*.sql.gz", min_size=500, format="gzip"),
            model.Duration(at_least=Usec(180_000_000)),
            model.Report("sent == generated"),
            model.Journal(never="ERROR"),
        ),
        alerts=model.Alerts(to=("ops",)),
    )


def a_sink() -> Webhook:
    return Webhook(name="ops", url="https://hooks.example.com/ops", log_lines=20)


def a_node() -> notify.Node:
    return notify.Node("host", "1" * 32)


def an_incident() -> Incident:
    return Incident(
        id="0" * 36,
        job=JOB,
        opened=Usec(1_700_000_180_000_000),
        verdict=Verdict.SILENT_FAILURE,
        reason="artifact",
        summary="/srv/backups/shop-1.sql.gz: 46.9K, expected at least 500.0M",
        run=a_run().id,
        to=("ops",),
    )


def a_judgement(number: int = 1) -> Judgement:
    evidence: dict[str, Any] = {"path": "/srv/x", "size": 48_028, "mtime": 1_700_000_170_000_000}
    return Judgement(
        run=a_run(number),
        verdict=Verdict.SILENT_FAILURE,
        reason="artifact",
        summary="/srv/x: 46.9K, expected at least 500.0M",
        findings=(Finding("outcome[0].artifact", Held.BROKEN, "/srv/x: 46.9K", evidence),),
        steps=("dump",),
        report={"sent": 3, "host": "a", "ratio": 0.5, "none": None},
        rules_hash="f" * 32,
        at=Usec(1_700_000_190_000_000),
    )


def a_delivery() -> Delivery:
    (told,) = notify.told(
        "firing", an_incident(), a_judgement(), a_job(), [a_sink()], a_node(), Usec(7), ("line",)
    )
    return msgspec.structs.replace(told, id="one")


def a_marker() -> bytes:
    return msgspec.json.encode(
        {
            "unit": UNIT,
            "incident": an_incident(),
            "judgement": a_judgement(),
            "sinks": ["ops"],
        }
    )


def json_target(
    name: str, path: Callable[[], Path], read: Callable[[], Any], *seeds: Any, share: int = 3
) -> Target:
    written = [seed if isinstance(seed, bytes) else msgspec.json.encode(seed) for seed in seeds]
    return Target(
        name,
        in_file(path, read),
        written,
        share,
        words=(b"null", b"{}", b"[]", b'"', b":", b",", b"true", b'"tag":', b"\\u0000", b"\\ud800"),
        trees=written,
        prepared=FILES.prepared,
    )


# --- systemd -------------------------------------------------------------------------------------


class Choices:
    """The bytes of an input as a row of decisions."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def of(self, values: Sequence[Any]) -> Any:
        return values[self.number(len(values))]


def fuzz_tracker(data: bytes) -> None:
    """Any row of what systemd may show: never an exception, and a repeat of it changes nothing."""
    choose = Choices(data)
    track = Track(job=JOB, unit=UNIT)
    for _ in range(60):
        if not choose:
            break
        last = track
        if choose.number(2):
            told = _told(choose)
            track = tracker.hear(track, told)
            assert tracker.hear(track, told) == track, f"{told} again changes something"
        else:
            seen, asked = _seen(choose), choose.number(4) == 0
            track = tracker.see(track, seen, asked=asked)
            again = tracker.see(track, seen, asked=asked)
            assert again == track, f"{seen} again changes something"
        assert len(track.runs) <= len(last.runs) + 1
        for run in track.runs:
            can_be_stored(tracker.as_run(track, run))
        if choose.number(8) == 0 and track.runs:
            track = track.without(track.runs[0].key)
        if choose.number(16) == 0:
            track = tracker.lose(track, BootId("c" * 32))
    for run in track.runs:
        whole = tracker.as_run(track, run)
        tracker.resume(Track(job=JOB, unit=UNIT), whole)
        judge(whole, ())


_MOMENTS = (0, 1, 5, 5, 6, 7, 100, 2**62, 3, 4, 8, 9)
_STATES = (
    *(("inactive", "dead"), ("activating", "start"), ("activating", "auto-restart"), ("", "")),
    *(("failed", "failed"), ("active", "running"), ("active", "exited"), ("deactivating", "stop")),
    *(("failed", "failed-before-auto-restart"), ("activating", "auto-restart-queued")),
)
_IDS = ("a" * 32, "b" * 32, "c" * 32)


def _told(choose: Choices) -> Told:
    at = choose.of(_MOMENTS)
    return Told(
        what=choose.of(list(What)),
        unit=UNIT,
        boot=choose.of((BOOT, BootId("c" * 32))),
        at=Usec(at),
        mono=Usec(at),
        invocation=choose.of((None, *_IDS)),
        job_id=choose.of(("", "7", "8")),
        result=choose.of(("", "success", "exit-code", "start-limit-hit", "dependency", "assert")),
        message=choose.of(("", "Finished x.", "x skipped, unmet", "Condition check resulted in x")),
        code=choose.of(("", "exited", "killed")),
        status=choose.of(("", "0", "3", "TERM", "RTMIN+3", "_DFL", "9" * 5000, "RTMIN+x", "²")),
        command=choose.of(("", "ExecStart", "ExecStartPre", "ExecReload")),
    )


def _seen(choose: Choices) -> Seen:
    active, sub = choose.of(_STATES)
    start = choose.of(_MOMENTS)
    end = choose.of(_MOMENTS)
    return Seen(
        unit=UNIT,
        boot=choose.of((BOOT, BootId("c" * 32))),
        invocation=choose.of(("", *_IDS)),
        active=active,
        sub=sub,
        has_job=choose.number(2) == 1,
        result=choose.of(("success", "exit-code", "signal", "start-limit-hit", "\x1b")),
        code=choose.of((0, 1, 2, 3, -1, 2**31)),
        status=choose.of((0, 1, 9, 255, -1)),
        left_idle=Usec(start),
        left_idle_mono=Usec(start),
        became_idle=Usec(end),
        became_idle_mono=Usec(end),
        became_active=Usec(end),
        became_active_mono=Usec(end),
        trigger=choose.of(("", "db-backup.timer")),
        trigger_at=Usec(choose.of(_MOMENTS)),
    )


PROPERTIES = (
    *(b"ActiveState", b"SubState", b"InvocationID", b"Job", b"Result", b"ExecMainCode"),
    *(b"ExecMainStatus", b"InactiveExitTimestamp", b"InactiveExitTimestampMonotonic"),
    *(b"InactiveEnterTimestamp", b"InactiveEnterTimestampMonotonic", b"ActiveEnterTimestamp"),
    *(b"ActiveEnterTimestampMonotonic", b"ActivationDetails"),
)
TIMER_PROPERTIES = (
    *(b"Unit", b"Result", b"TimersCalendar", b"TimersMonotonic", b"NextElapseUSecRealtime"),
    *(b"NextElapseUSecMonotonic", b"LastTriggerUSec", b"AccuracyUSec", b"RandomizedDelayUSec"),
    *(b"FixedRandomDelay", b"Persistent", b"RemainAfterElapse"),
)
TYPES: tuple[Any, ...] = (
    *(b"inactive", b"failed", b"dead", b"success", b"\xff", b"", None, True, 0, 1, 2**64, -1, 0.5),
    *([], [1] * 16, list(range(0, 256, 16)), [300], [b"a"], {}, {b"a": 1}, (), (0, b"/"), (b"x",)),
    *([(b"trigger_unit", b"x.timer"), (b"trigger_timer_realtime_usec", b"5")],),
    *(
        [(b"trigger_timer_realtime_usec", "²".encode())],
        [(b"trigger_timer_realtime_usec", b"9" * 5000)],
    ),
    *([(b"a",)], [b"ab"], [(1, 2)], "text"),
    *([(b"OnCalendar", b"daily", 5), (b"OnBootUSec", 5, 2**64 - 1)], [(b"\xff", b"\xff")]),
)


def fuzz_bus(data: bytes) -> None:
    from outcomed import bus

    choose = Choices(data)
    timer = {choose.of(TIMER_PROPERTIES): choose.of(TYPES) for _ in range(choose.number(9))}
    can_be_stored(bus._timer(Service(UNIT), timer))
    halves: list[dict[bytes, Any]] = [{}, {}]
    for half in halves:
        for _ in range(choose.number(len(PROPERTIES))):
            half[choose.of(PROPERTIES)] = choose.of(TYPES)
    seen = bus._seen(UNIT, BOOT, *halves)
    track = tracker.see(Track(job=JOB, unit=UNIT), seen)
    for run in track.runs:
        judge(tracker.as_run(track, run), ())


def parse_export(data: bytes) -> dict[str, Any]:
    """https://systemd.io/JOURNAL_EXPORT_FORMATS/, of which anything may be broken. A field that is
    there twice is a list, as the binding has it."""
    fields: dict[str, Any] = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little") % (1 << 16)
            value, data = data[8 : 8 + size], data[9 + size :]
        key = name.decode(errors="replace")
        if key in fields:
            known = fields[key]
            fields[key] = [*(known if isinstance(known, list) else [known]), value]
        else:
            fields[key] = value
    return fields


def fuzz_entry(data: bytes) -> None:
    from outcomed import journal, listening

    fields = parse_export(data)
    at = Usec(journal._number(fields.get("__REALTIME_TIMESTAMP"), 5))
    told = journal._told(at, (3, BOOT), fields)
    if told is not None:
        assert told.invocation is None or len(bytes.fromhex(told.invocation)) == 16
        track = tracker.hear(Track(job=JOB, unit=UNIT), told)
        assert tracker.hear(track, told) == track
        for run in track.runs:
            judge(tracker.as_run(track, run), ())
    said = output.Output(SEARCHES, output.RateLimit(3, Usec(5)))
    ids = frozenset([INVOCATION.encode()])
    line = journal._line(at, fields, ids, (Usec(0), None), {1: True, 73: False})
    assert 0 <= line.priority < 10**18
    listening.take_item(said, line)
    listening.take_item(said, journal.Drop(journal._number(fields.get("N_DROPPED"), 1)))
    is_bounded(said)


def fuzz_journald_conf(data: bytes) -> None:
    from outcomed import journal

    settings = journal.settings_in(data.decode("utf-8", "replace"))
    assert settings.burst >= 0
    assert settings.interval >= 0


CALENDAR_SEED = b"""\
  Original form: daily
Normalized form: *-*-* 00:00:00
    Next elapse: Sat 2027-01-16 00:00:00 CET
       (in UTC): Fri 2027-01-15 23:00:00 UTC
       From now: 1 month 18 days left

Normalized form: 2020-01-01 00:00:00
    Next elapse: never
"""


def fuzz_calendar(data: bytes) -> None:
    for moments in calendar._read(data.decode("ascii", "replace")):
        can_be_stored(calendar.Moments(tuple(moments)))


def fuzz_monitor(data: bytes) -> None:
    """What systemd's MONITOR_* variables may hold."""
    from outcomed import hook

    names = ("INVOCATION_ID", "SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
    values = dict(zip(names, data.split(b"\n"), strict=False))
    environment = {f"MONITOR_{name}": os.fsdecode(value) for name, value in values.items()}
    judge(hook.monitored(UNIT, environment), ())


# --- the ledger ----------------------------------------------------------------------------------


class Damaged:
    """A ledger that was good until its bytes were exchanged."""

    def __init__(self) -> None:
        self.path = Path("/nowhere")
        self.writer: ledger.Ledger | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        place = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))
        self.path = place / "ledger.db"
        self.path.write_bytes(LEDGER_SEED)
        self.writer = ledger.Ledger(self.path)
        try:
            yield
        finally:
            self.writer.close()
            shutil.rmtree(place)


DAMAGED = Damaged()


def make_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "ledger.db"
        with ledger.Ledger(path) as made:
            for number in range(1, 6):
                judgement = a_judgement(number)
                invocation = InvocationId(f"{number:032x}")
                made.commit(
                    ledger.Turn(
                        judgements=[judgement],
                        attempts=[(JOB, judgement.run.id, invocation, 1)],
                        standings={JOB: Standing(an_incident(), 1)},
                        configs={JOB: a_job()},
                        deliveries=[a_delivery()],
                        progress=ledger.Progress("s=1", BOOT, Usec(1), 0),
                    )
                )
            unjudged = a_run(9)
            made.commit(ledger.Turn(runs={unjudged.id: unjudged}))
            made._db.execute("PRAGMA journal_mode=DELETE")
        return path.read_bytes()


LEDGER_SEED = make_ledger()
COLUMNS = (
    ("job", "config", "name"),
    ("job", "standing", "name"),
    ("job", "sample", "name"),
    ("run", "body", "n"),
    ("verdict", "body", "seq"),
    ("outbox", "body", "id"),
    ("incident", "body", "id"),
    ("job", "since", "name"),
    ("job", "last_trigger", "name"),
    ("verdict", "verdict", "seq"),
    ("progress", "at", "one"),
)


def fuzz_bodies(data: bytes) -> None:
    """One column of one row holds something else."""
    assert DAMAGED.writer is not None
    choose = Choices(data[:3])
    table, column, _ = choose.of(COLUMNS)
    value: object = data[3:]
    match choose.number(6):
        case 0 | 1 | 2:
            value = ledger._pack(data[3:], None)
        case 3:
            value = text_of(data[3:]).encode(errors="replace").decode()
        case 4:
            value = choose.of((0, -1, 2**62, 0.5, "", "x"))
    db = DAMAGED.writer._db
    db.execute("BEGIN")
    try:
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(f"UPDATE {table} SET {column} = ?", (value,))
        read_all(DAMAGED.writer)
    finally:
        db.execute("ROLLBACK")


def fuzz_ledger(data: bytes) -> None:
    """Any bytes where the ledger has been."""
    path = DAMAGED.path.with_name("damaged.db")
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for end in (ledger.Reader, ledger.Ledger):
        path.write_bytes(data)
        with contextlib.suppress(LedgerError), end(path) as opened:
            read_all(opened)


def read_all(end: ledger.Ledger | ledger.Reader) -> None:
    """Every question that there is; each says what it finds, or that the ledger is damaged."""
    questions: list[Callable[[], Any]] = [end.progress, end.jobs]
    if isinstance(end, ledger.Reader):
        questions += [
            end.under_way,
            end.undelivered,
            lambda: end.history(JOB, 10),
            lambda: end.find("00"),
            lambda: end.incidents(JOB, 10),
        ]
    else:
        questions += [
            end.open_runs,
            end.due,
            lambda: end.after(0),
            lambda: end.previous_slot(JOB, Usec(2**62)),
            lambda: end.judged(JOB, INVOCATION),
            lambda: end.knows_run(a_run().id),
        ]
    for ask in questions:
        with contextlib.suppress(LedgerError):
            msgspec.json.encode(ask())


BODY_SEEDS = [
    b"\x00\x00\x00" + msgspec.json.encode(a_job()),
    b"\x01\x00\x00" + msgspec.json.encode(Standing(an_incident(), 2, 1)),
    b"\x03\x00\x00" + msgspec.json.encode(a_run()),
    b"\x04\x00\x00" + msgspec.json.encode({"reason": "held", "summary": "x", "report": {"a": 1}}),
    b"\x05\x05\x00" + msgspec.json.encode(a_delivery()),
    b"\x06\x05\x00" + msgspec.json.encode(an_incident()),
    *(bytes([number, 4, at]) for number in range(11) for at in range(6)),
]


# --- all of them ---------------------------------------------------------------------------------


def targets() -> list[Target]:
    """Those that can run here, in the order of the modules."""
    found = [
        Target("report", fuzz_report, REPORTS, 12, (b"1e400", b"NaN", b"\\ud800"), REPORTS[:2]),
        Target("output", fuzz_output, [b"\n".join(b"OUTCOME " + one for one in REPORTS)], 4),
        Target(
            *("expression", fuzz_expression, EXPRESSION_SEEDS, 12),
            words=(b"**", b"//", b" in ", b" and ", b" not ", b"sent", b"host", b"[0]", b"9e999"),
        ),
        Target(
            *("pattern", fuzz_pattern, PATTERN_SEEDS, 6),
            words=(b"(a+)+$", b"(?i)", b"\\pL", b"{1000}", b"[^\\x00]", b"(?P<a>", b"\\C", b"|"),
        ),
        Target("quantity", fuzz_quantities, QUANTITY_SEEDS, 8, (b"min", b"y", b"E", b".", b" ")),
        Target(
            "specifier", fuzz_specifiers, SPECIFIER_SEEDS, 6, (b"%f", b"%I", b"\\x2f", b"\\x00")
        ),
        Target(
            *("job", fuzz_job, JOB_SEEDS, 8, YAML_WORDS, yaml_trees(GOOD_JOBS)),
            prepared=FILES.prepared,
        ),
        Target(
            *("drop-in", fuzz_drop_in, GOOD_JOBS, 4, YAML_WORDS, yaml_trees(GOOD_JOBS)),
            prepared=FILES.prepared,
        ),
        Target(
            *("main", fuzz_main, MAIN_SEEDS, 6, YAML_WORDS, yaml_trees(MAIN_SEEDS[:1])),
            prepared=FILES.prepared,
        ),
        Target("tracker", fuzz_tracker, TRACK_SEEDS, 6),
        Target("calendar", fuzz_calendar, [CALENDAR_SEED], 2, (b"(in UTC)", b"never", b"\n")),
        json_target("compiled", lambda: FILES.paths.compiled, read_compiled, a_config()),
        json_target(
            "delivery", lambda: FILES.paths.spool / "out" / "one.json", read_delivery, a_delivery()
        ),
        json_target(
            *("why", lambda: FILES.paths.spool / "out" / "one.why", read_why),
            spool.Why("refused", Usec(1), Usec(2), 3),
            share=2,
        ),
        json_target("sinks", lambda: FILES.paths.sinks, read_sinks, [a_sink()]),
        json_target(
            "request", lambda: checks.request_path(JOB, FILES.paths), read_request, a_request()
        ),
        json_target(
            *("answer", lambda: checks.answer_path(JOB, FILES.paths), read_answer),
            checks.Answer(checks.name_of(a_request()), a_judgement().findings),
        ),
        json_target(
            "refused",
            lambda: FILES.paths.requests / "configuration.refused",
            read_refused,
            an_incident(),
        ),
        Target(
            *("bodies", fuzz_bodies, BODY_SEEDS, 4),
            prepared=DAMAGED.prepared,
        ),
        Target("ledger", fuzz_ledger, [LEDGER_SEED], 1, prepared=DAMAGED.prepared),
    ]
    if HAS_LIBSYSTEMD:
        entries = (TESTS / "recordings" / "entries-257.export").read_bytes().split(b"\n\n")
        found += [
            Target("entry", fuzz_entry, entries, 12, ENTRY_WORDS),
            Target("bus", fuzz_bus, TRACK_SEEDS, 6),
            json_target(
                *("marker", lambda: FILES.paths.requests / f"{UNIT}.alert", read_markers),
                a_marker(),
            ),
            json_target(
                *("state", lambda: FILES.paths.job_states / f"{JOB}.json", read_state),
                {"job": JOB, "incident": "0" * 36, "verdict": None},
                share=2,
            ),
            Target("monitor", fuzz_monitor, [b"a" * 32 + b"\nexit-code\nexited\n3"], 2),
            Target("journald", fuzz_journald_conf, [CONF_SEED], 1, (b"=", b"\n", b"min")),
        ]
    return found


def a_config() -> Config:
    return Config(jobs=(a_job(),), sinks=(a_sink(),), default_to=("ops",))


def a_request() -> checks.Request:
    wanted: dict[str, model.Artifact | model.Command] = {
        "outcome[0].artifact": model.Artifact(path="/srv/*.gz", format="gzip"),
        "outcome[1].command": model.Command(command="/bin/true {artifact}", user="nobody"),
    }
    window = rules.Window(Usec(1), Usec(2), Usec(0))
    return checks.Request(JOB, RunId("r" * 32), UNIT, INVOCATION, "root", window, wanted)


EXPRESSION_SEEDS = [
    *(text.encode() for text in EXPRESSIONS),
    b"9**9**9**9 == sent",
    b"len(host * 10**9) > 0",
    b"sum([sent, [1, 2][0], generated if failed else -failed]) % 7 // 2 != 0.5",
    b"(((((((sent)))))) not in (1, 2, 'a', None, True))",
    b"sent < generated < failed <= 1 or not abs(sent) >= max([1, 2])",
]
PATTERN_SEEDS = [
    b"ERROR|partial\nan ERROR\npartial",
    b"(a+)+$\n" + b"a" * 3000 + b"b",
    b"(?i)archive .* already exists\nArchive x already exists",
    b"^[^\\s]{1,1000}\\b\xc3\xa4\\p{Greek}$\nx",
]
QUANTITY_SEEDS = [b"1h 30min", b"0.5d", b"90", b"1G 512M", b"1.5G", b"infinity", b"3month 2us"]
SPECIFIER_SEEDS = [b"/srv/%H/%i-%I-%f\nsrv-a\\x2db", b"%%/%p%j%J%P%n%N\nx", b"/%S/%m%b%v%a%o%w\n"]
TRACK_SEEDS = [bytes(range(start, start + 120)) for start in (0, 40, 80, 130)] + [bytes(60)]
ENTRY_WORDS = (
    *(b"MESSAGE=OUTCOME {", b"\nMESSAGE=", b"\nPRIORITY=", b"\nUNIT=", b"\n_PID=1", b"\nJOB_ID=7"),
    *(b"\nMESSAGE\n\x04\0\0\0\0\0\0\0abcd\n", b"\nEXIT_STATUS=RTMIN+x", b"\nINVOCATION_ID="),
)
CONF_SEED = b"[Journal]\nStorage=persistent\nRateLimitBurst=10000\nRateLimitIntervalSec=30s\n#x=1\n"
