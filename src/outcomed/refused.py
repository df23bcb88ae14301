"""Tell somebody that files of the configuration were refused, and when all are sound again.

One incident, however many files and reloads: what was in force stays in force, so nothing looks
wrong until somebody reads the journal. Kept in a file and not in the ledger, since it is about no
job.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from outcomed import notify, spool
from outcomed.config import Problem, render
from outcomed.model import (
    Config,
    Delivery,
    Incident,
    Usec,
    Verdict,
    alert_id,
    fingerprint,
)
from outcomed.paths import Paths


def update(
    problems: Sequence[Problem], config: Config, node: notify.Node, paths: Paths, now: Usec
) -> list[Delivery]:
    """What is to be told of this reading of the files, if anything."""
    errors = _errors(problems)
    known = _read(paths)
    if errors and known is None:
        return _told("firing", _open(errors, config, now), config, node, now)
    if not errors and known is not None:
        return _told("resolved", known, config, node, now)
    return []


def settle(problems: Sequence[Problem], config: Config, paths: Paths, now: Usec) -> None:
    """What was to be told is committed: from now on it is known. May be done twice."""
    errors = _errors(problems)
    if not errors:
        _path(paths).unlink(missing_ok=True)
    elif _read(paths) is None:
        spool.write_aside(_path(paths), msgspec.json.encode(_open(errors, config, now)), 0o600)


def _errors(problems: Sequence[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def _open(errors: Sequence[Problem], config: Config, now: Usec) -> Incident:
    first = render(errors[0], "outcomed").partition("\n")[0].removeprefix("outcomed: ")
    rest = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Incident(
        id=alert_id(f"configuration\0{_edition(errors)}"),
        job=notify.OURS.name,
        opened=now,
        verdict=Verdict.UNKNOWN,
        reason="configuration",
        summary=f"{first}{rest}; what was in force before stays in force",
        run=None,
        severity="warning",
        to=config.default_to,
    )


def _edition(errors: Sequence[Problem]) -> str:
    """Of these very files with these very errors: told again after a crash, it has the same id;
    made again another day, it has not."""
    moments = []
    for file in sorted({problem.file for problem in errors}):
        with contextlib.suppress(OSError):
            moments.append(os.stat(file).st_mtime_ns)
    return fingerprint(msgspec.json.encode([moments, errors]))


def _told(
    state: notify.State, incident: Incident, config: Config, node: notify.Node, now: Usec
) -> list[Delivery]:
    body = notify.data(state, incident, None, notify.OURS, node)
    if state == "resolved":
        body |= {"reason": "sound", "summary": "all files are sound again"}
    return [
        notify.deliver(state, incident.id, body, sink, node, now)
        for sink in notify.listeners(incident.to, config.sinks)
    ]


def _path(paths: Paths) -> Path:
    return paths.requests / "configuration.refused"


def _read(paths: Paths) -> Incident | None:
    with contextlib.suppress(FileNotFoundError, spool.SpoolError):
        return spool.read_as(_path(paths), Incident)
    return None
