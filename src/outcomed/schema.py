"""The keys of a job's files and of outcomed.yaml: what each takes, and what they mean together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from outcomed import commands
from outcomed.config import Problem, is_unit_name, template_of
from outcomed.faults import Fault, any_of, did_you_mean, quoted, shown, shown_path, shown_word
from outcomed.jobfiles import Source
from outcomed.model import (
    DAY,
    SECOND,
    Alerts,
    AlreadyDone,
    Artifact,
    Command,
    Config,
    Count,
    Duration,
    Job,
    JobName,
    Journal,
    Median,
    Report,
    Rule,
    Schedule,
    Sink,
    Steps,
    UnitName,
    Usec,
    Webhook,
    step_fault,
)
from outcomed.paths import Paths
from outcomed.quantities import YEAR, format_duration, format_size
from outcomed.readers import (
    FAULTY,
    Fields,
    Reader,
    as_boolean,
    as_duration,
    as_expression,
    as_path,
    as_pattern,
    as_size,
    as_text,
    choice,
    group,
    integer,
    is_sound,
    items_of,
    list_of,
    mapping,
    printable,
    scalar,
)
from outcomed.specifiers import Host, expand
from outcomed.yamltext import Node, Reading, compose, describe, is_null, like, merge, value_of

# Stands in where a specifier's value does not matter: whether it is known does.
_ANY_HOST = Host("host", "0" * 32, "0" * 32, "kernel", "arch", "host", {})

# --- rules ---------------------------------------------------------------------------------------

_DURATION = scalar(as_duration, "a duration such as 1h 30min")
_SIZE = scalar(as_size, "a size such as 500M")
_PATTERN = scalar(as_pattern, "a regular expression")
_PATH = scalar(as_path, "an absolute path")


def _factor(low: float, high: float, expected: str) -> Reader:
    """A run that is as those before is to hold: so 1 lies within `low` to `high`."""

    def convert(text: str) -> float:
        is_number = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)
        if is_number and low <= float(text) <= high and float(text) > 0:
            return float(text)
        percent = re.fullmatch(r"([0-9]{1,6}) ?%", text)
        hint = f"write {int(percent[1]) / 100:g}" if percent else None
        raise Fault(f"expected {expected}, got {shown(text)}", hint)

    return scalar(convert, expected)


def _median(of: int) -> Reader:
    """`of` is how many runs it is taken of where the file does not say."""
    fields = {
        "of": scalar(integer(3, 100), "a number"),
        "at_least": _factor(0, 1, "a factor above 0 and up to 1, such as 0.5"),
        "at_most": _factor(1, 1000, "a factor from 1 to 1000, such as 3"),
    }

    def read(node: Node, reading: Reading, key: str) -> Median | None:
        values = mapping(node, reading, key, fields)
        if values is None or not is_sound(values):
            return None
        if values.keys().isdisjoint(("at_least", "at_most")):
            reading.fault(node, key, "expected at_least, at_most or both")
            return None
        return Median(**{"of": of, **values})

    return group(read)


_FORMATS = (
    *("gzip", "zstd", "xz", "bzip2"),
    *("tar", "zip", "json", "sqlite", "pg_dump", "pg_custom"),
)


def _sha256(text: str) -> str:
    if text == "sidecar" or re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return text.lower()
    fault = f"expected sidecar or 64 hex digits, got {shown(text)}"
    raise Fault(fault, did_you_mean(text, ("sidecar",)))


def _owner(text: str) -> str:
    name = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\$?"
    if not re.fullmatch(rf"{name}|(?:{name})?:{name}", text):
        raise Fault(f"expected USER, USER:GROUP or :GROUP, got {shown(text)}")
    return text


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{3,4}", text):
        raise Fault(f"expected a mode such as 0640, got {shown(text)}")
    return int(text, 8)


def _timeout(text: str) -> Usec:
    value = as_duration(text)
    if not SECOND <= value <= 7 * DAY:
        raise Fault(f"expected a duration from 1s to 7d, got {shown(text)}")
    return value


def _read_count(node: Node, reading: Reading, key: str) -> Any:
    """`count: 3`, or bounds."""
    number = scalar(integer(1, 1_000_000), "a number")
    if node.id == "scalar":
        value = number(node, reading, key)
        return value if value is FAULTY else Count(value, value)
    values = mapping(node, reading, key, {"at_least": number, "at_most": number})
    if values is None or not is_sound(values):
        return FAULTY
    low, high = values.get("at_least"), values.get("at_most")
    if low is None and high is None:
        reading.fault(node, key, "expected a number, at_least or at_most")
    elif low is not None and high is not None and low > high:
        fault = f"at_least {low} is more than at_most {high}"
        reading.fault(value_of(node, "at_least"), f"{key}.at_least", fault)
    else:
        return Count(low, high)
    return FAULTY


_ARTIFACT: Fields = {
    "written_by": scalar(choice(("run", "period", "any")), "run, period or any"),
    "min_size": _SIZE,
    "max_size": _SIZE,
    "size_vs_median": _median(of=7),
    "format": scalar(choice(_FORMATS), "a format such as gzip"),
    "allow_empty": scalar(as_boolean, "true or false"),
    "on_filesystem": _PATH,
    "sha256": scalar(_sha256, "sidecar or 64 hex digits"),
    "count": _read_count,
    "owner": scalar(_owner, "an owner such as postgres or root:adm"),
    "mode": scalar(_mode, "a mode such as 0640"),
    "timeout": scalar(_timeout, "a duration such as 2h"),
}


def _read_artifact(
    path: Any, siblings: dict[str, Any], node: Node, reading: Reading, key: str
) -> Artifact | None:
    low, high = siblings.get("min_size"), siblings.get("max_size")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        fault = f"min_size {format_size(low)} is larger than max_size {format_size(high)}"
        reading.fault(value_of(node, "min_size"), f"{key}.artifact.min_size", fault)
        return None
    return Artifact(path=path, **siblings) if path is not FAULTY and is_sound(siblings) else None


def _read_duration(node: Node, reading: Reading, key: str) -> Duration | None:
    fields = {"at_least": _DURATION, "at_most": _DURATION, "vs_median": _median(of=14)}
    values = mapping(node, reading, key, fields)
    if values is None or not is_sound(values):
        return None
    low, high = values.get("at_least"), values.get("at_most")
    if not values:
        reading.fault(node, key, "expected at_least, at_most or vs_median")
    elif high == 0:
        reading.fault(value_of(node, "at_most"), f"{key}.at_most", "no run is over in no time")
    elif low is not None and high is not None and low > high:
        fault = f"at_least {format_duration(low)} is longer than at_most {format_duration(high)}"
        reading.fault(value_of(node, "at_least"), f"{key}.at_least", fault)
    else:
        return Duration(**values)
    return None


def _read_journal(node: Node, reading: Reading, key: str) -> Journal | None:
    if node.id == "scalar":
        pattern = quoted(shown_word(node.value))
        either = f"write {{never: {pattern}}} or {{expect: {pattern}}}"
        reading.fault(node, key, "expected never: or expect: with the pattern", either)
        return None
    values = mapping(node, reading, key, {"expect": _PATTERN, "never": _PATTERN})
    if values is None or not is_sound(values):
        return None
    if len(values) != 1:
        hint = "write two rules, one with expect and one with never" if values else None
        reading.fault(node, key, "expected exactly one of expect, never", hint)
        return None
    return Journal(**values)


def _read_report(node: Node, reading: Reading, key: str) -> Report | None:
    expression = scalar(as_expression, "an expression such as failed == 0")(node, reading, key)
    return None if expression is FAULTY else Report(expression)


def _step(text: str) -> str:
    if fault := step_fault(text):
        raise Fault(fault)
    return text


MAX_STEPS = 64


def _read_steps(node: Node, reading: Reading, key: str) -> Steps | None:
    names = list_of(scalar(_step, "the name of a step"))(node, reading, key)
    if isinstance(names, tuple) and FAULTY not in names:
        if 0 < len(names) <= MAX_STEPS:
            return Steps(names)
        reading.fault(node, key, f"expected 1 to {MAX_STEPS} steps, got {len(names)}")
    return None


def _command(text: str) -> str:
    if not text:
        return text  # said where the whole rule is known
    try:
        commands.words(text)
        expand(text, UnitName("any@any.service"), host=_ANY_HOST)
    except ValueError as error:
        raise Fault(str(error), _command_hint(str(error))) from None
    return text.strip()


def _command_hint(fault: str) -> str | None:
    if "shell" in fault:
        return "write sh -c '…' if a shell is meant"
    return "write %% for a percent sign" if "in unit files only" in fault else None


def _user(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\$?", text):
        raise Fault(f"{shown(text)} cannot be a user's name")
    return text


_COMMAND: Fields = {
    "user": scalar(_user, "a user's name"),
    "timeout": scalar(_timeout, "a duration such as 10min"),
    "protocol": scalar(choice(("exit", "nagios")), "exit or nagios"),
}


_RULES: dict[str, Reader] = {
    "artifact": _PATH,
    "command": scalar(_command, "a program and its arguments"),
    "duration": group(_read_duration),
    "report": group(_read_report),
    "journal": group(_read_journal),
    "steps": group(_read_steps),
}
# What belongs to a rule beside its kind.
_BESIDE: dict[str, Fields] = {"artifact": _ARTIFACT, "command": _COMMAND}


def _read_rule(node: Node, reading: Reading, key: str) -> Rule | None:
    """One item of `outcome`: exactly one kind of rule, and what belongs to it beside it."""
    if node.id != "mapping":
        hint = f"begin it with {any_of([kind + ':' for kind in _RULES])}"
        reading.fault(node, key, f"expected a rule, got {describe(node)}", hint)
        return None
    given = {name.value: (name, value) for name, value in node.value}
    kinds = [kind for kind in _RULES if kind in given]
    if len(kinds) != 1:
        _refuse_kinds(node, kinds, reading, key)
        return None
    kind = kinds[0]
    name, value = given.pop(kind)
    rule = _RULES[kind](value, reading, f"{key}.{kind}")
    rest = like(node, list(given.values()))
    if kind not in _BESIDE:
        _refuse_siblings(kind, rest, reading, key)
        return None if rule is FAULTY or given else cast("Rule", rule)
    if is_null(value):
        what = "an absolute path" if kind == "artifact" else "a program and its arguments"
        reading.fault(name, f"{key}.{kind}", f"expected {what}, got nothing")
        return None
    siblings = mapping(rest, reading, f"{key}.{kind}", _BESIDE[kind]) or {}
    if kind == "artifact":
        return _read_artifact(rule, siblings, rest, reading, key)
    return Command(rule, **siblings) if rule is not FAULTY and is_sound(siblings) else None


def _refuse_kinds(node: Node, kinds: list[str], reading: Reading, key: str) -> None:
    if kinds:
        fault = f"one rule cannot be both {' and '.join(kinds)}"
        reading.fault(node, key, fault, "begin each rule with '- ' of its own")
        return
    given = [name.value for name, _ in node.value]
    beside = ((name, kind) for name in given for kind, fields in _BESIDE.items() if name in fields)
    name, owner = next(beside, (None, None))
    if owner is not None:
        what = "PATH" if owner == "artifact" else "PROGRAM"
        hint: str | None = f"{name} belongs below '- {owner}: {what}'"
    else:
        hint = next((hint for name in given if (hint := did_you_mean(name, _RULES))), None)
    got = f", got {', '.join(shown(name) for name in given)}" if given else ""
    reading.fault(node, key, f"expected {any_of(list(_RULES))}{got}", hint)


def _refuse_siblings(kind: str, rest: Node, reading: Reading, key: str) -> None:
    for name, _ in rest.value:
        hint = f"put it into the braces of {kind}" if kind in ("duration", "journal") else None
        reading.fault(name, key, f"key {shown(name.value)} cannot stand beside {kind}", hint)


# --- jobs ----------------------------------------------------------------------------------------


def _read_already_done(node: Node, reading: Reading, key: str) -> AlreadyDone | None:
    fields = {"exit_status": scalar(integer(1, 255), "a number"), "journal": _PATTERN}
    values = mapping(node, reading, key, fields)
    if values is None or not is_sound(values):
        return None
    if len(values) != 1:
        reading.fault(node, key, "expected exactly one of exit_status, journal")
        return None
    return AlreadyDone(**values)


def _sink_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        hint = "a name has at most 64 of the characters A-Z a-z 0-9 _ . -"
        raise Fault(f"{shown(text)} cannot be a sink's name", hint)
    return text


def _read_alerts(node: Node, reading: Reading, key: str) -> dict[str, Any] | None:
    fields = {
        "after": scalar(integer(1, 1000), "a number"),
        "to": list_of(scalar(_sink_name, "the name of a sink")),
    }
    values = mapping(node, reading, key, fields, later=("remind",))
    if values is None or not is_sound(values):
        return None
    if "to" in values:
        values["to"] = tuple(dict.fromkeys(values["to"]))
    return values


LONGEST = Usec(10 * YEAR)


def _tolerance(text: str) -> Usec:
    expected = f"expected a duration from 1s to 10y, got {shown(text)}"
    if text.strip() == "infinity":
        raise Fault(expected, "write 10y for as good as never")
    if text.startswith("-"):
        raise Fault(expected, "how much later than promised is still in time, as in 10min")
    value = as_duration(text)
    if not SECOND <= value <= LONGEST:
        raise Fault(expected, "leave the key out for the default" if value == 0 else None)
    return value


_TOLERANCE = scalar(_tolerance, "a duration such as 10min")
_SCHEDULE: Fields = dict.fromkeys(Schedule.__struct_fields__, _TOLERANCE)


def _read_schedule(node: Node, reading: Reading, key: str) -> Schedule | None:
    if node.id == "scalar":
        hint = "when it runs is the timer's to say; write {start_within: 10min}"
        reading.fault(node, key, f"expected a mapping, got {describe(node)}", hint)
        return None
    values = mapping(node, reading, key, _SCHEDULE)
    if values is None or not is_sound(values):
        return None
    schedule = Schedule(**values)
    for other, why in (
        ("finish_within", "a run may take longer than its proof may be away"),
        ("every", "no run has to begin by then"),
    ):
        proof, span = schedule.verified_within, values.get(other)
        if proof is not None and span is not None and proof < span:
            fault = f"{format_duration(proof)} is shorter than {other} {format_duration(span)}"
            at = value_of(node, "verified_within")
            reading.fault(at, f"{key}.verified_within", f"{fault}: {why}")
            return None
    return schedule


_SEVERITY = scalar(choice(("critical", "warning")), "critical or warning")
_JOB: Fields = {
    "unit": scalar(printable, "the name of a service unit"),
    "description": scalar(as_text, "a text"),
    "runbook": scalar(as_text, "a text"),
    "severity": _SEVERITY,
    "schedule": group(_read_schedule),
    "already_done": list_of(group(_read_already_done)),
    "outcome": list_of(group(_read_rule)),
    "alerts": group(_read_alerts),
}
_LATER_JOB = frozenset({"preflight", "retry"})


@dataclass(frozen=True, slots=True)
class Defaults:
    """What outcomed.yaml gives to jobs that do not say it themselves."""

    to: tuple[str, ...] = ()
    after: int = 1
    severity: Literal["critical", "warning"] = "critical"
    known_sinks: frozenset[str] | None = None  # None: not known, so nothing is said about names


def load_job(source: Source, defaults: Defaults, problems: list[Problem]) -> Job | None:
    reading = Reading(source.main)
    job = _read_job(source, defaults, reading)
    problems.extend(reading.in_order())
    return None if reading.failed else job


def _read_job(source: Source, defaults: Defaults, reading: Reading) -> Job | None:
    merged: Node | None = None
    for file in source.files:
        node = compose(file, reading, source.content.get(file))
        if node is None or (node.id == "scalar" and is_null(node)):
            continue
        if node.id != "mapping":
            reading.fault(node, "", f"expected keys such as outcome:, got {describe(node)}")
            continue
        merged = node if merged is None else merge(merged, node)
    if reading.failed:
        return None
    if merged is None:
        reading.fault(
            None,
            "",
            "is empty: runs are watched, and no rule looks at the outcome",
            "a link to /dev/null masks a job",
            "warning",
        )
        return _finish({}, source, defaults, None, reading)
    values = mapping(merged, reading, "", _JOB, later=_LATER_JOB)
    return _finish(values or {}, source, defaults, merged, reading)


def _finish(
    values: dict[str, Any],
    source: Source,
    defaults: Defaults,
    node: Node | None,
    reading: Reading,
) -> Job | None:
    """The job, after what only the whole of it can show to be wrong."""
    unit = _unit(values, source, node, reading)
    if unit is not None and node is not None:
        _check_paths(values, unit, node, reading)
    alerts = values.get("alerts", {})
    if alerts is not FAULTY and defaults.known_sinks is not None:
        _check_sinks(alerts, defaults.known_sinks, node, reading, "alerts.to")
    if unit is None or reading.failed or not is_sound(values):
        return None
    return Job(
        name=source.name,
        unit=unit,
        description=values.get("description", ""),
        runbook=values.get("runbook", ""),
        severity=values.get("severity", defaults.severity),
        schedule=values.get("schedule", Schedule()),
        already_done=values.get("already_done", ()),
        outcome=values.get("outcome", ()),
        alerts=Alerts(after=alerts.get("after", defaults.after), to=alerts.get("to", defaults.to)),
    )


_SUFFIXES = (".service", ".timer", ".socket", ".path", ".target", ".mount", ".automount", ".slice")


def _unit(
    values: dict[str, Any], source: Source, node: Node | None, reading: Reading
) -> UnitName | None:
    unit = values.get("unit")
    if unit is FAULTY:
        return None
    at = value_of(node, "unit") if node is not None and unit is not None else None
    if unit is None:
        if source.name.endswith(_SUFFIXES):
            stem = source.name.rpartition(".")[0]
            fault = f"the job's name {source.name} ends like a unit's"
            reading.fault(None, "", fault, f"name the file {stem}.yaml, or say which unit: it is")
            return None
        return UnitName(f"{source.name}.service")
    if not is_unit_name(unit):
        fault = f"expected a service unit such as {source.name}.service, got {shown(unit)}"
        reading.fault(at, "unit", fault, _unit_hint(unit))
        return None
    own = UnitName(f"{source.name}.service")
    if unit.endswith("@.service") and unit == template_of(own):
        return own  # the template's file, with the drop-ins of one instance
    if unit != own and (unit.endswith("@.service") or own.endswith("@.service")):
        fault = f"a template is named after its unit, and {source.name} is not {unit}"
        hint = f"name the file {unit.removesuffix('.service')}.yaml"
        reading.fault(at, "unit", fault, hint)
        return None
    return UnitName(unit)


def _unit_hint(unit: str) -> str | None:
    stem, dot, _ = unit.rpartition(".")
    if dot and unit.endswith(_SUFFIXES):
        return f"the outcome is the service's: {shown_word(stem)}.service"
    return f"write {unit}.service" if is_unit_name(f"{unit}.service") else None


def _check_paths(values: dict[str, Any], unit: UnitName, node: Node, reading: Reading) -> None:
    outcome = values.get("outcome", ())
    listed = value_of(node, "outcome")
    if outcome is FAULTY or listed is None:
        return
    nodes = items_of(listed) if outcome else ()
    if unit.endswith("@.service"):
        unit = UnitName(unit.replace("@.", "@instance."))
    has_artifact = any(isinstance(rule, Artifact) for rule in outcome)
    for at, rule in enumerate(outcome):
        if isinstance(rule, Command) and commands.ARTIFACT in rule.command and not has_artifact:
            fault = f"{commands.ARTIFACT} stands for an artifact rule's file, and there is none"
            reading.fault(nodes[at], f"outcome[{at}].command", fault)
        if not isinstance(rule, Artifact):
            continue
        key = f"outcome[{at}].artifact"
        _check_path(rule.path, unit, value_of(nodes[at], "artifact"), reading, key)
        if rule.on_filesystem is not None:
            where = value_of(nodes[at], "on_filesystem")
            _check_path(rule.on_filesystem, unit, where, reading, f"{key}.on_filesystem", "/")


def _check_path(
    text: str,
    unit: UnitName,
    node: Node | None,
    reading: Reading,
    key: str,
    directory: str = "",
) -> None:
    try:
        path = expand(text, unit, host=_ANY_HOST)
    except ValueError as error:
        reading.fault(node, key, str(error))
        return
    if not path.startswith("/"):
        reading.fault(node, key, f"expected an absolute path, got {shown(text)}")
    elif path.endswith("/") and not directory:
        fault = f"{shown(text)} is a directory, and an artifact is a file"
        reading.fault(node, key, fault, f"write {text}* for the newest file in it")


def _check_sinks(
    alerts: dict[str, Any],
    known: frozenset[str],
    node: Node | None,
    reading: Reading,
    key: str,
) -> None:
    block = value_of(node, "alerts") if node is not None else None
    items = value_of(block, "to") if block is not None and block.id == "mapping" else None
    for name in alerts.get("to", ()):
        if name in known:
            continue
        at = next((item for item in items.value if item.value == name), None) if items else None
        hint = did_you_mean(name, known) or "sinks are named in outcomed.yaml"
        reading.fault(at, key, f"there is no sink {shown(name)}", hint)


def shared_units(jobs: Iterable[Job], paths: Paths) -> Iterator[Problem]:
    owners: dict[UnitName, JobName] = {}
    for job in jobs:
        first = owners.setdefault(job.unit, job.name)
        if first != job.name:
            yield Problem(
                file=shown_path(paths.config / "jobs.d" / f"{job.name}.yaml"),
                key="unit",
                fault=f"job {first} watches {job.unit} too",
                severity="warning",
            )


# --- outcomed.yaml -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Main:
    """What outcomed.yaml says; of a broken one, the defaults as far as they are sound."""

    defaults: Defaults
    sinks: tuple[Sink, ...] = ()
    broken: bool = False

    def with_lent(self, last_good: Config | None) -> Main:
        """The same with the sinks of a better day, and no default that points elsewhere."""
        if last_good is None:
            return self
        known = frozenset(sink.name for sink in last_good.sinks)
        to = self.defaults.to
        if not to or not known.issuperset(to):
            to = last_good.default_to
        return replace(
            self,
            defaults=replace(self.defaults, to=to, known_sinks=known),
            sinks=last_good.sinks,
        )


def _url(text: str) -> str:
    """A URL may hold a token, so a fault does not quote it."""
    from urllib.parse import urlsplit  # costs more than reading ten files, and few have URLs

    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isascii() or not text.isprintable() or " " in text:
        raise Fault("expected a URL that begins with https:// or http://")
    return text


def _credential(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text) or text.startswith("."):
        raise Fault(f"{shown(text)} cannot be a credential's name")
    return text


_SINK_TYPES = ("webhook",)
_LATER_SINK_TYPES = ("alertmanager", "sendmail", "unit", "apprise")
_SINK_FORMATS = ("json", "slack")
_LATER_SINK_FORMATS = ("discord", "teams", "ntfy")

_SINK: Fields = {
    "type": scalar(choice(_SINK_TYPES, _LATER_SINK_TYPES), "webhook"),
    "url": scalar(_url, "a URL"),
    "url_credential": scalar(_credential, "a credential's name"),
    "secret_credential": scalar(_credential, "a credential's name"),
    "format": scalar(choice(_SINK_FORMATS, _LATER_SINK_FORMATS), "json"),
    "log_lines": scalar(integer(0, 20), "a number"),
}


def _read_sink(node: Node, reading: Reading, key: str) -> dict[str, Any] | None:
    kind = value_of(node, "type") if node.id == "mapping" else None
    if kind is not None and kind.id == "scalar" and kind.value in _LATER_SINK_TYPES:
        _SINK["type"](kind, reading, f"{key}.type")  # its own keys are none of ours yet
        return None
    values = mapping(node, reading, key, _SINK)
    if values is None or not is_sound(values):
        return None
    if "type" not in values:
        reading.fault(node, key, "has no type", "write type: webhook")
    elif ("url" in values) == ("url_credential" in values):
        reading.fault(node, key, "expected exactly one of url, url_credential")
    elif values.get("format") == "slack" and "secret_credential" in values:
        reading.fault(
            value_of(node, "secret_credential"),
            f"{key}.secret_credential",
            "is not for format: slack, which checks no signature",
            "the address is the secret there: use url_credential",
        )
    else:
        return {name: value for name, value in values.items() if name != "type"}
    return None


def _read_sinks(node: Node, reading: Reading, key: str) -> tuple[Sink, ...] | None:
    if node.id != "mapping":
        reading.fault(node, key, f"expected a mapping of names to sinks, got {describe(node)}")
        return None
    sinks = []
    for name, value in node.value:
        word = scalar(_sink_name, "the name of a sink")(name, reading, key)
        values = _read_sink(value, reading, f"{key}.{shown_word(name.value)}")
        if values is not None and word is not FAULTY:
            sinks.append(Webhook(name=name.value, **values))
    return tuple(sinks)


def _read_defaults(node: Node, reading: Reading, key: str) -> dict[str, Any] | None:
    fields = {"alerts": group(_read_alerts), "severity": _SEVERITY}
    values = mapping(node, reading, key, fields)
    return values if is_sound(values) else None


_MAIN: Fields = {"defaults": group(_read_defaults), "sinks": group(_read_sinks)}


def load_main(file: Path, problems: list[Problem], *, optional: bool = True) -> Main:
    """outcomed.yaml. None at all is as good as an empty one."""
    if optional and not os.path.lexists(file):
        return Main(Defaults(known_sinks=frozenset()))
    reading = Reading(file)
    main = _read_main(compose(file, reading), reading)
    problems.extend(reading.in_order())
    return main


def _read_main(node: Node | None, reading: Reading) -> Main:
    values: dict[str, Any] = {}
    if node is not None and not is_null(node):
        values = mapping(node, reading, "", _MAIN, later=("heartbeat",)) or {}
    sinks, given = values.get("sinks", ()), values.get("defaults", {})
    given = {} if given is FAULTY else given
    alerts = given.get("alerts", {})
    if sinks is not FAULTY and not reading.failed:
        block = value_of(node, "defaults") if node is not None and given else None
        known = frozenset(sink.name for sink in sinks)
        _check_sinks(alerts, known, block, reading, "defaults.alerts.to")
    defaults = Defaults(
        # Whoever has named a receiver and nobody in particular wants to be told there.
        to=alerts.get("to", () if sinks is FAULTY else tuple(sink.name for sink in sinks)),
        after=alerts.get("after", 1),
        severity=given.get("severity", "critical"),
        known_sinks=None if reading.failed else frozenset(sink.name for sink in sinks),
    )
    if reading.failed:
        return Main(defaults, broken=True)
    return Main(defaults, sinks)
