"""Put an event into words for a person with a phone, at night. Pure.

The first line says what is wrong, where, since when, and what to type next, however long the names
and the summary are: a phone shows little more than that. The clock is the event's own, the time
zone an argument. Markup is the business of whoever knows the receiver; here is none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Annotated, Any, Literal

import msgspec

from outcomed.faults import printable
from outcomed.model import SECOND, Held, Klass, Verdict
from outcomed.quantities import say_duration

SUMMARY = 160  # characters of it in the first line
SENTENCE = 600
FINDINGS = 8
_NAME = 255  # as long as a unit's name can be
_FINDING = 240
_STEPS = 240
_LOG_LINE = 400
_ID = 64
_COLORS = re.compile(r"\x1b\[[0-9;:]*m")


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Finding(msgspec.Struct, frozen=True):
    """What a message says of one rule."""

    state: Held
    summary: str


class Data(msgspec.Struct, frozen=True):
    """The event's `data`, as far as it is put into words. An older outcomed wrote no `since`."""

    job: str = ""
    unit: str = ""
    host: str = ""
    state: Literal["firing", "resolved", "reminder", "test"] = "firing"
    severity: str = "critical"
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    summary: str = ""
    since: Moment | None = None
    run: str | None = None
    slot: Moment | None = None
    started: Moment | None = None
    finished: Moment | None = None
    findings: tuple[Finding, ...] = ()
    steps: tuple[str, ...] = ()
    log_tail: tuple[str, ...] = ()
    runbook: str = ""
    alert_id: str = ""


class Event(msgspec.Struct, frozen=True):
    """The envelope."""

    id: str = ""
    time: Moment | None = None
    data: Data = Data()


class Words(msgspec.Struct, frozen=True):
    """One message, in pieces that each are one line without control characters."""

    mark: str
    name: str  # of the job, else of the unit
    title: str  # what is with it, in a word
    sentence: str  # the same in a sentence
    host: str
    when: str
    command: str  # what to type next; empty where nothing is to be done
    advice: str  # said instead of it
    findings: tuple[tuple[Held, str], ...]  # those that do not hold
    more: int  # of which are left out
    facts: tuple[tuple[str, str], ...]
    runbook: str
    tail: tuple[str, ...]
    severity: str
    run: str
    alert: str
    delivery: str

    @property
    def first_line(self) -> str:
        where = f"{self.mark} {self.name} on {self.host}"
        what = f"{where}: {self.title}: {_cut(self.sentence, SUMMARY)}"
        follows = f"type: {self.command}" if self.command else self.advice
        return "; ".join(filter(None, (what, self.when, follows)))


def of(event: Mapping[str, Any], zone: tzinfo | None) -> Words:
    """The words for an event. `zone` None is the host's own. msgspec.ValidationError: not ours."""
    said = msgspec.convert(event, Event)
    data = said.data
    command, broken = _command(data), _broken(data)
    return Words(
        mark=_mark(data),
        name=_line(data.job or data.unit or "outcomed", _NAME),
        title=_title(data),
        sentence=_line(data.summary, SENTENCE) or "nothing more is known",
        host=_line(data.host, _NAME) or "a host without a name",
        when=_when(data, said.time, zone),
        command=command,
        advice="nothing to do" if data.state == "resolved" else "",
        findings=tuple((one.state, _line(one.summary, _FINDING)) for one in broken[:FINDINGS]),
        more=len(broken[FINDINGS:]),
        facts=tuple(_facts(data, zone)),
        runbook=printable(data.runbook) if command else "",
        tail=tuple(_log_line(line) for line in data.log_tail),
        severity=_line(data.severity, _ID),
        run=_line(data.run or "", _ID),
        alert=_line(data.alert_id, _ID),
        delivery=_line(said.id, _ID),
    )


def text(words: Words) -> str:
    """All of it but the job's output, for whoever shows no more than text."""
    lines = [words.first_line]
    if len(words.sentence) > SUMMARY:
        lines.append(words.sentence)
    lines += [f"{FINDING_MARK[state]} {sentence}" for state, sentence in words.findings]
    if words.more:
        lines.append(f"and {words.more} more")
    lines += [f"{label}: {value}" for label, value in words.facts]
    if words.runbook:
        lines.append(f"Runbook: {words.runbook}")
    return "\n".join(lines)


# --- what is with it -------------------------------------------------------------------------

RED, YELLOW, GREEN, WHITE = "\U0001f534", "\U0001f7e1", "\U0001f7e2", "\N{MEDIUM WHITE CIRCLE}"
FINDING_MARK = {Held.BROKEN: "✗", Held.UNKNOWN: "?"}

MEANWHILE = "meanwhile"  # what began and ended while nobody looked

# What ends an alert and is no recovery.
_ENDED_OTHERWISE = {
    "removed": "closed, not recovered",
    "superseded": "closed",
}


def _mark(data: Data) -> str:
    match data.state:
        case "test":
            return WHITE
        case "resolved":
            return WHITE if data.reason in _ENDED_OTHERWISE else GREEN
        case _:
            is_bad = data.severity == "critical" and data.verdict.klass is Klass.BAD
            return RED if is_bad else YELLOW


def _title(data: Data) -> str:
    match data.state:
        case "test":
            return "test"
        case "resolved" if data.reason == MEANWHILE:
            return "recovered meanwhile"
        case "resolved":
            recovered = "accepted" if data.verdict is Verdict.ACCEPTED else "recovered"
            return _ENDED_OTHERWISE.get(data.reason, recovered)
        case "reminder":
            return f"still {_fault(data)}"
        case _:
            return _fault(data)


def _fault(data: Data) -> str:
    return "configuration refused" if data.reason == "configuration" else data.verdict.value


def _command(data: Data) -> str:
    """The one thing to type, by hand if need be. Of a unit without job file it is its last lines:
    `--invocation=` wants 32 digits, and `-I` finds the hook's invocation instead."""
    if data.state == "test" or (data.state == "resolved" and data.reason != "superseded"):
        return ""
    if data.reason == "configuration":
        return "outcomectl check-config"
    if data.job:
        return f"outcomectl explain {_word(data.job)}"
    return f"journalctl -n 50 -u {_word(data.unit)}" if data.unit else "journalctl -b"


def _word(name: str) -> str:
    """As a shell has to have it, and no option."""
    word = shlex.quote(_line(name, _NAME))
    return f"-- {word}" if name.startswith("-") else word


def _broken(data: Data) -> Sequence[Finding]:
    """What does not hold, broken before unknown; nothing where the summary has said it all."""
    if data.state == "resolved":
        return []
    found = [one for one in data.findings if one.state is not Held.HELD]
    found.sort(key=lambda one: one.state is Held.UNKNOWN)
    return [] if len(found) == 1 and found[0].summary == data.summary else found


# --- when ------------------------------------------------------------------------------------


def _when(data: Data, now: datetime | None, zone: tzinfo | None) -> str:
    match data.state:
        case "test":
            return f"sent {_moment(now, zone)}" if now else ""
        case "resolved" if data.reason == MEANWHILE:
            return f"from {_moment(data.since, zone)} on" if data.since else ""
        case "resolved":
            return _was_bad(data, now, zone)
        case _:
            since = _since(data) or now
            said = f"since {_moment(since, zone)}" if since else ""
            past = _span(since, now) if data.state == "reminder" else ""
            return f"{said} ({past})" if past else said


def _since(data: Data) -> datetime | None:
    """When it went wrong: as the run ended or the slot passed, which may long be noticed later;
    with `after:`, at the first of several."""
    known = (data.since, data.finished or (None if data.started else data.slot))
    return min(filter(None, known), default=data.started)


def _was_bad(data: Data, now: datetime | None, zone: tzinfo | None) -> str:
    if data.since is None:
        return ""
    how = "was open" if data.reason in _ENDED_OTHERWISE else "was bad"
    span = _span(data.since, data.finished) or _span(data.since, now)
    return f"{how} for {span}" if span else f"{how} since {_moment(data.since, zone)}"


def _span(begin: datetime | None, end: datetime | None) -> str:
    if begin is None or end is None or end <= begin:
        return ""
    return say_duration((end - begin) // timedelta(microseconds=1))


def _moment(at: datetime, zone: tzinfo | None) -> str:
    """`Fri 2026-11-27 03:10 CET`, as systemd has it but for the seconds."""
    try:
        return at.astimezone(zone).strftime("%a %Y-%m-%d %H:%M %Z")
    except (OverflowError, ValueError, OSError):  # the calendar's first and last day
        return at.isoformat()


# --- the rest --------------------------------------------------------------------------------


def _facts(data: Data, zone: tzinfo | None) -> list[tuple[str, str]]:
    facts = []
    if data.started is not None:
        facts.append(("Run", _ran(data, data.started, zone)))
    elif data.slot is not None:
        facts.append(("Due", _moment(data.slot, zone)))
    if data.state in ("test", "resolved"):
        return facts
    if data.job and data.unit and data.unit != f"{data.job}.service":
        facts.append(("Unit", _line(data.unit, _NAME)))
    if data.steps:
        facts.append(("Steps reached", _line(", ".join(data.steps), _STEPS)))
    return facts


def _ran(data: Data, started: datetime, zone: tzinfo | None) -> str:
    began = _moment(started, zone)
    if data.finished is None:
        return f"{began}, not ended"
    took = max((data.finished - started) // timedelta(microseconds=1), 0)
    return f"{began}, took {say_duration(took - took % (SECOND // 10) if took > SECOND else took)}"


def _line(text: str, limit: int) -> str:
    return _cut(printable(text.strip()), limit)


def _log_line(text: str) -> str:
    return _cut(printable(_COLORS.sub("", text.rstrip()).expandtabs(4)), _LOG_LINE)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
