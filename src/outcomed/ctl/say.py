"""`outcomectl step` and `outcomectl report`: what a job says about itself, from within its unit.

One journal entry, that journald stamps with the unit and the invocation. No daemon is needed; it
reads the entries when the run has ended.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from outcomed import output
from outcomed.ctl.options import Call
from outcomed.errors import EXIT_FINE, OutcomedError, UsageError
from outcomed.model import Value, step_fault

_PATIENCE = 5.0  # seconds until journald has taken it
_NOTICE = "5"  # what LogLevelMax=notice still lets through
_KEY = 200
_SHOWN = 200

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.set_defaults(verb=verb)
    if verb == "step":
        parser.add_argument("name", metavar="NAME", help="what the run has reached, in a word")
        parser.epilog = (
            "'outcomectl explain' shows the steps, and so where a run stopped short.\n"
            "Outside of a unit it exits with 3."
        )
        return
    parser.add_argument(
        "fact",
        metavar="KEY=VALUE",
        nargs="*",
        help="a number, true, false, null, or else text; a later report adds to an earlier one",
    )
    parser.add_argument("--url", metavar="URL", help="where more is to be read: the fact 'url'")
    parser.add_argument("--summary", metavar="TEXT", help="a sentence: the fact 'summary'")
    parser.epilog = (
        "The job file's 'report:' rules are about these facts: report: sent == generated.\n"
        "Outside of a unit it exits with 3."
    )


def run(call: Call) -> int:
    options = call.options
    if options.verb == "step":
        fields = step_fields(options.name)
    else:
        fields = report_fields(facts(options.fact, options.url, options.summary))

    from outcomed import entry

    if entry.own_unit() is None:
        raise OutcomedError(
            "this is not inside a unit, so nobody would know whose word it is; nothing was sent",
            hint="to try it: systemd-run --wait outcomectl step NAME",
        )
    entry.send({**fields, "PRIORITY": _NOTICE, "SYSLOG_IDENTIFIER": "outcomectl"}, wait=_PATIENCE)
    return EXIT_FINE


def step_fields(name: str) -> dict[str, str]:
    """The entry of a step."""
    from outcomed import messages

    if fault := step_fault(name):
        raise UsageError(fault)
    return {"MESSAGE": f"step: {name}", "MESSAGE_ID": messages.JOB_STEP, "OUTCOMED_STEP": name}


def facts(words: Iterable[str], url: str | None, summary: str | None) -> dict[str, Value]:
    """What is reported, with the types that the words look like."""
    found: dict[str, Value] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip() or not key.isprintable() or len(key) > _KEY:
            raise UsageError(f"expected KEY=VALUE such as sent=347, got {word[:80]!r}")
        if key in found:
            raise UsageError(f"{key} is given twice")
        found[key] = typed(value)
    for key, given in (("url", url), ("summary", summary)):
        if given is None:
            continue
        if key in found:
            raise UsageError(f"{key} is given twice, as --{key} and as {key}=")
        found[key] = _text(given)
    if not found:
        raise UsageError("nothing to report", hint="outcomectl report sent=347 generated=347")
    if len(found) > output.REPORT_KEYS:
        raise UsageError(f"a report has at most {output.REPORT_KEYS} keys, this one {len(found)}")
    return found


def typed(word: str) -> Value:
    """`347` is a number, `true` a truth value, `007` and everything else text."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    if _FLOAT.fullmatch(word) and abs(number := float(word)) != float("inf"):
        return number
    return _text(word)


def _text(word: str) -> str:
    """What is not UTF-8 cannot be in JSON: it is replaced, as in a job's lines."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def report_fields(report: dict[str, Value]) -> dict[str, str]:
    """The entry of a report."""
    import msgspec

    from outcomed import messages

    text = msgspec.json.encode(report)
    if len(text) > output.REPORT_LIMIT:
        raise UsageError(f"a report has at most {output.REPORT_LIMIT} bytes, this one {len(text)}")
    shown = " ".join(f"{key}={value}" for key, value in report.items())
    cut = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    return {
        "MESSAGE": f"report: {cut}",
        "MESSAGE_ID": messages.JOB_REPORT,
        "OUTCOMED_REPORT": text.decode(),
    }
