"""outcomed-check@JOB.service: reads foreign bytes, with a deadline, so that the daemon need not.

A request lies in the state directory, the findings go beside it, written aside and renamed. What
kills this process leaves no findings, which the daemon takes for what it is: `unknown`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from outcomed import probes, rules, spool
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER, EXIT_USAGE
from outcomed.model import Artifact, Finding, JobName, Record, RunId, UnitName
from outcomed.paths import PATHS, Paths
from outcomed.specifiers import Host, this_host


class Request(Record, frozen=True):
    """Artifact rules of one run that the daemon does not look at itself, by their label."""

    run: RunId
    unit: UnitName
    window: rules.Window
    artifacts: dict[str, Artifact]


class Answer(Record, frozen=True):
    """What was found; `run` says for which request."""

    run: RunId
    findings: tuple[Finding, ...]


def request_path(job: JobName, paths: Paths = PATHS) -> Path:
    return paths.checks / f"{job}.request"


def answer_path(job: JobName, paths: Paths = PATHS) -> Path:
    return paths.checks / f"{job}.findings"


def ask(job: JobName, request: Request, paths: Paths = PATHS) -> None:
    """Lay a request where the check unit finds it, and take the last answer away."""
    answer_path(job, paths).unlink(missing_ok=True)
    spool.write_aside(request_path(job, paths), msgspec.json.encode(request), 0o600)


def read_answer(job: JobName, run: RunId, paths: Paths = PATHS) -> tuple[Finding, ...] | None:
    """The findings for this run; None where the check unit left none."""
    try:
        answer = msgspec.json.decode(answer_path(job, paths).read_bytes(), type=Answer)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return answer.findings if answer.run == run else None


def look_at(
    rule: Artifact, label: str, unit: UnitName, window: rules.Window, host: Host
) -> Finding:
    """Look at one artifact, and inside it where the rule names a format."""
    look = probes.look(rule, unit, host)
    if rule.format is None or look.newest is None or look.fault:
        return rules.artifact(rule, label, look, window, None)
    from outcomed import formats  # heavy, and only here

    try:
        with open(look.newest.path, "rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            reading = formats.read(stream, rule.format)
    except OSError as error:
        fault = f"{look.newest.path}: {error.strerror}"
        return rules.artifact(rule, label, msgspec.structs.replace(look, fault=fault), window, None)
    return rules.artifact(rule, label, look, window, reading)


def run(job: JobName, paths: Paths = PATHS) -> int:
    """Answer the request that lies there."""
    try:
        request = msgspec.json.decode(request_path(job, paths).read_bytes(), type=Request)
    except FileNotFoundError:
        print(f"<4>no request for {job}, nothing to look at", file=sys.stderr)
        return EXIT_NO_ANSWER
    except msgspec.DecodeError as error:
        print(f"<3>{request_path(job, paths)}: {error}", file=sys.stderr)
        return EXIT_NO_ANSWER
    host = this_host()
    findings = tuple(
        look_at(rule, label, request.unit, request.window, host)
        for label, rule in request.artifacts.items()
    )
    answer = Answer(request.run, findings)
    spool.write_aside(answer_path(job, paths), msgspec.json.encode(answer), 0o600)
    return EXIT_FINE


def main() -> int:
    """The unit's only process; systemd sets its limits and its deadline."""
    if len(sys.argv) != 2:
        print("usage: outcomed-check JOB", file=sys.stderr)
        return EXIT_USAGE
    return run(JobName(sys.argv[1]))
