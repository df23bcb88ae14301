"""The nouns: what a job, a run, a finding, a verdict, an incident and a delivery are.

Values only. Every one is frozen, and none of them knows where it came from or what to do next.
Time inside is microseconds since the epoch (`Usec`), as systemd has it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, NewType

import msgspec

try:
    from _sha1 import sha1 as _sha1  # CPython's own, without OpenSSL
except ImportError:
    from hashlib import sha1 as _sha1

JobName = NewType("JobName", str)
UnitName = NewType("UnitName", str)
InvocationId = NewType("InvocationId", str)  # 32 lower-case hex digits, as journald writes it
BootId = NewType("BootId", str)  # the same spelling
RunId = NewType("RunId", str)  # 32 lower-case hex digits, our own
Usec = NewType("Usec", int)

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

JOB_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]{1,200}")
STEP_LIMIT = 200  # characters of a step's name
_ID128 = re.compile(r"[0-9a-f]{32}")

# Ids are derived, so that whoever reaches a conclusion first (the daemon, the daemon after a
# crash, the OnFailure= hook while the daemon is down) gives it the same id.
_NAMESPACE = bytes.fromhex("2f6bd58c6bb64d5a9d390f4a4a1c9f51")

Value = str | int | float | bool | None


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The base of everything that is stored or sent: frozen, compact, strict when read back."""


# --- rules: what counts as an outcome -------------------------------------------------------


class Count(Record, frozen=True):
    """How many there have to be."""

    at_least: int | None = None
    at_most: int | None = None


class Median(Record, frozen=True):
    """How far from the median of the job's last `of` good runs; one factor at least."""

    of: int
    at_least: float | None = None
    at_most: float | None = None


class Artifact(Record, frozen=True, tag="artifact", tag_field="rule"):
    """A file that the run has to leave behind. Sizes are bytes."""

    path: str  # systemd specifiers and a glob; the newest match is looked at
    written_by: Literal["run", "period", "any"] = "run"
    min_size: int | None = None
    max_size: int | None = None
    size_vs_median: Median | None = None
    format: str | None = None
    allow_empty: bool = False
    on_filesystem: str | None = None
    sha256: str | None = None  # 64 lower-case hex digits, or "sidecar"
    count: Count | None = None  # of the matches that `written_by` lets count
    owner: str | None = None  # USER, USER:GROUP or :GROUP, names or numbers
    mode: int | None = None  # the permission bits, exactly
    timeout: Usec = Usec(HOUR)  # for reading it to its end


class Duration(Record, frozen=True, tag="duration", tag_field="rule"):
    """How long the run may take, from its start to its end."""

    at_least: Usec | None = None
    at_most: Usec | None = None
    vs_median: Median | None = None


class Report(Record, frozen=True, tag="report", tag_field="rule"):
    """An expression over what the job said about itself."""

    expression: str


class Journal(Record, frozen=True, tag="journal", tag_field="rule"):
    """A pattern that the run's own lines must, or must not, match. Exactly one is set."""

    expect: str | None = None
    never: str | None = None


class Steps(Record, frozen=True, tag="steps", tag_field="rule"):
    """Points that the run has to reach in this order; others may lie between them."""

    names: tuple[str, ...]


class Command(Record, frozen=True, tag="command", tag_field="rule"):
    """A program that looks at the outcome and says by its exit status whether it is there."""

    command: str  # words, quotes and specifiers as in ExecStart=; no shell
    user: str | None = None  # None: the job's own User=
    timeout: Usec = Usec(MINUTE)
    protocol: Literal["exit", "nagios"] = "exit"


Rule = Artifact | Duration | Report | Journal | Steps | Command


class AlreadyDone(Record, frozen=True):
    """One way for the job to say that the work exists already. Exactly one is set."""

    exit_status: int | None = None
    journal: str | None = None


class Alerts(Record, frozen=True):
    """Whom to tell, and after how many bad verdicts in a row."""

    after: int = 1
    to: tuple[str, ...] = ()


class Schedule(Record, frozen=True):
    """How much later than promised is still in time. None: what follows from the timer and from
    the job's own past. The schedule itself is the timer's; `every` is for a job without one."""

    start_within: Usec | None = None  # of each slot, on top of AccuracySec= and RandomizedDelaySec=
    finish_within: Usec | None = None  # of the start
    verified_within: Usec | None = None  # of the last good verdict
    every: Usec | None = None


class Job(Record, frozen=True):
    """One unit somebody counts on, and what counts as its outcome (outcomed.job(5))."""

    name: JobName
    unit: UnitName
    description: str = ""
    runbook: str = ""
    severity: Literal["critical", "warning"] = "critical"
    schedule: Schedule = Schedule()
    already_done: tuple[AlreadyDone, ...] = ()
    outcome: tuple[Rule, ...] = ()
    alerts: Alerts = Alerts()

    @property
    def is_template(self) -> bool:
        """`backup@.yaml` stands for every instance of `backup@.service`."""
        return self.unit.endswith("@.service")


class Webhook(Record, frozen=True, tag="webhook", tag_field="type"):
    """An HTTP receiver. The URL or the name of the credential that holds it; never both."""

    name: str
    url: str | None = None
    url_credential: str | None = None
    secret_credential: str | None = None
    format: Literal["json", "slack"] = "json"
    log_lines: int = 0


Sink = Webhook


class Config(Record, frozen=True):
    """Everything that is configured on this node, as one value."""

    jobs: tuple[Job, ...] = ()
    sinks: tuple[Sink, ...] = ()
    default_to: tuple[str, ...] = ()  # whoever is told of what is about no job


# --- what was seen ---------------------------------------------------------------------------


class Held(StrEnum):
    """What one rule saw."""

    HELD = "held"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Finding(Record, frozen=True):
    """One rule, what it saw, a sentence, and the evidence."""

    rule: str
    state: Held
    summary: str
    evidence: dict[str, Value] = {}


class Verdict(StrEnum):
    """What the findings and the run's result say together."""

    VERIFIED = "verified"
    ALREADY_DONE = "already-done"
    ACCEPTED = "accepted"
    UNPROVEN = "unproven"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    LATE = "late"
    FAILED = "failed"
    SILENT_FAILURE = "silent-failure"
    OVERDUE = "overdue"
    MISSED = "missed"
    INTERRUPTED = "interrupted"
    STALE = "stale"

    @property
    def klass(self) -> Klass:
        return _CLASS[self]


class Klass(StrEnum):
    """How much a verdict matters at 3 am."""

    GOOD = "good"
    NEUTRAL = "neutral"
    WARNING = "warning"
    BAD = "bad"


_CLASS = {
    Verdict.VERIFIED: Klass.GOOD,
    Verdict.ALREADY_DONE: Klass.GOOD,
    Verdict.ACCEPTED: Klass.GOOD,
    Verdict.UNPROVEN: Klass.NEUTRAL,
    Verdict.SKIPPED: Klass.NEUTRAL,
    Verdict.UNKNOWN: Klass.WARNING,
    Verdict.LATE: Klass.WARNING,
    Verdict.FAILED: Klass.BAD,
    Verdict.SILENT_FAILURE: Klass.BAD,
    Verdict.OVERDUE: Klass.BAD,
    Verdict.MISSED: Klass.BAD,
    Verdict.INTERRUPTED: Klass.BAD,
    Verdict.STALE: Klass.BAD,
}


class Run(Record, frozen=True):
    """One answer of systemd to one wish to start the unit.

    `key` is what systemd knows it by: the first attempt's invocation id, or `BOOT:JOB_ID` for a
    start that was refused before it got one.
    """

    id: RunId
    job: JobName
    unit: UnitName
    key: str
    boot: BootId
    invocation: InvocationId | None = None  # of the first attempt
    last_invocation: InvocationId | None = None
    attempts: int = 1
    trigger: str = "unknown"  # the unit that triggered it, "none" when by hand, "unknown"
    slot: Usec | None = None  # the elapse that it answers, as the timer promised it
    is_inferred: bool = False  # nobody saw what started it: known by its time
    started: Usec | None = None
    finished: Usec | None = None
    duration: Usec | None = None  # by the monotonic clock where both ends are known
    result: str | None = None  # systemd's word: success, exit-code, signal, timeout, …
    exit_code: str | None = None  # exited, killed, dumped
    exit_status: int | None = None  # the status, or the signal's number
    command: str | None = None  # ExecStartPre, … when it was not the main process that failed

    @property
    def took_place(self) -> bool:
        """Else it stands for a slot without a run, or for a job without a good one."""
        return not self.key.startswith(("slot:", "stale:"))


class Completeness(Record, frozen=True):
    """Whether silence in a run's output means anything; if not, why not."""

    reason: str = ""  # empty: complete
    strayed: str = ""  # why what is missing here may stand under the next run's id

    @property
    def complete(self) -> bool:
        return not self.reason


class Judgement(Record, frozen=True):
    """A verdict on a run, with all that was known when it was reached."""

    run: Run
    verdict: Verdict
    reason: str  # a word for machines: the broken rule's kind, systemd's result, …
    summary: str  # a sentence for people
    findings: tuple[Finding, ...] = ()
    steps: tuple[str, ...] = ()
    report: dict[str, Value] = {}
    rules_hash: str = ""
    witness: Literal["live", "replayed", "late", "by-hand"] = "live"
    at: Usec = Usec(0)
    output: Completeness | None = None  # None: no rule depends on it, nobody looked
    by: str = ""  # whose word it is, if it is a person's
    was: Verdict | None = None  # what that person looked at

    @property
    def is_final(self) -> bool:
        """The run is over, or never was; else its end is judged too."""
        return self.verdict not in (Verdict.LATE, Verdict.OVERDUE)

    @property
    def past_slot(self) -> Usec | None:
        """A slot that was found to be missed when runs after it may have been judged already."""
        is_past = self.witness == "replayed" and not self.run.took_place
        return self.run.slot if is_past else None


class Incident(Record, frozen=True):
    """One alert of one job, open from the first bad verdict to the recovery."""

    id: str
    job: JobName
    opened: Usec
    verdict: Verdict
    reason: str
    summary: str
    run: RunId | None
    severity: Literal["critical", "warning"] = "critical"
    told: bool = True  # that it opened; then it is told that it closed, too
    to: tuple[str, ...] = ()  # the sinks that were told, whatever the job file says by then
    closed: Usec | None = None


class Delivery(Record, frozen=True):
    """One message that has to reach one sink. `id` is the receiver's idempotency key."""

    id: str
    sink: str
    created: Usec
    event: dict[str, object]  # the CloudEvents envelope, ready to be sent


def invocation_id(text: str) -> InvocationId | None:
    """None of what systemd does not write as one."""
    return InvocationId(text) if _ID128.fullmatch(text) else None


def run_id(job: JobName, boot_or_invocation_key: str) -> RunId:
    """The id of the run of `job` that systemd knows by this key."""
    return RunId(_uuid5(f"run\0{job}\0{boot_or_invocation_key}").replace("-", ""))


def alert_id(subject: str) -> str:
    """The id of the incident that this run (or unit and invocation) opened."""
    return _uuid5(f"alert\0{subject}")


def delivery_id(alert: str, state: str, sink: str) -> str:
    """The id of the message that tells `sink` that `alert` is in `state`."""
    return _uuid5(f"delivery\0{alert}\0{state}\0{sink}")


def step_fault(name: str) -> str:
    """Why nothing can be called so that a run reaches; empty if it can."""
    if not name.strip() or not name.isprintable():
        return f"expected the name of a step, got {name[:STEP_LIMIT]!r}"
    if len(name) > STEP_LIMIT:
        return f"the name of a step has at most {STEP_LIMIT} characters, this one {len(name)}"
    return ""


def fingerprint(data: bytes) -> str:
    """Tells one content from another; it identifies, it protects nothing."""
    return str(_sha1(data).hexdigest()[:32])


def _uuid5(name: str) -> str:
    """RFC 9562, 5.5. `uuid.uuid5` loads OpenSSL for it, 2.4 MB that the daemon would keep."""
    digest = bytearray(_sha1(_NAMESPACE + name.encode("utf-8", "surrogateescape")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
