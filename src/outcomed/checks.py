"""What the daemon asks of outcomed-check@JOB.service, and what that answers: files.

A request lies in the state directory; the findings go beside it, written aside and renamed each
time there is one more. Small, because the daemon keeps it in memory: how things are looked at is
`check`'s, in a process of its own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from msgspec.structs import replace

from outcomed import spool
from outcomed.model import (
    SECOND,
    Artifact,
    Command,
    Finding,
    JobName,
    Record,
    RunId,
    UnitName,
    Usec,
    fingerprint,
)
from outcomed.paths import PATHS, Paths
from outcomed.rules import Window

LOOK = 30.0  # seconds for finding a file; a dead server answers nothing
GRACE = 30.0  # seconds beyond a rule's own time, after which systemd ends the check


class Request(Record, frozen=True):
    """Rules of one run that the daemon does not look at itself, by their label.

    `user` is the unit's User=, None where nobody can say. `invocation` is the last attempt's, empty
    where there was none.
    """

    job: JobName
    run: RunId
    unit: UnitName
    invocation: str
    user: str | None
    window: Window
    rules: dict[str, Artifact | Command]


class Answer(Record, frozen=True):
    """What was found so far; `request` says for which request."""

    request: str
    findings: tuple[Finding, ...]


def request_path(job: JobName, paths: Paths = PATHS) -> Path:
    return paths.checks / f"{job}.request"


def answer_path(job: JobName, paths: Paths = PATHS) -> Path:
    return paths.checks / f"{job}.findings"


def is_asked(request: Request, paths: Paths = PATHS) -> bool:
    """Whether this very request lies there: then a check that runs is about it."""
    try:
        lying = spool.read_as(request_path(request.job, paths), Request)
    except (FileNotFoundError, spool.SpoolError):
        return False
    return name_of(lying) == name_of(request)


def ask(request: Request, paths: Paths = PATHS) -> None:
    """Lay a request where the check unit finds it, and take the last answer away.

    Not synced: after a power cut nobody asks for it any more.
    """
    answer_path(request.job, paths).unlink(missing_ok=True)
    spool.write_aside(request_path(request.job, paths), _encode(request), 0o600, sync=False)


def read_answer(request: Request, paths: Paths = PATHS) -> tuple[Finding, ...]:
    """The findings for this request, as far as there are any."""
    try:
        answer = spool.read_as(answer_path(request.job, paths), Answer)
    except (FileNotFoundError, spool.SpoolError):
        return ()
    return answer.findings if answer.request == name_of(request) else ()


def is_answered(request: Request, paths: Paths = PATHS) -> bool:
    """Whether every rule of it has its finding."""
    return {one.rule for one in read_answer(request, paths)} >= request.rules.keys()


def patience(request: Request) -> float:
    """Seconds after which systemd must have ended the check, whatever it does."""
    steps = [LOOK if isinstance(one, Artifact) else 0.0 for one in request.rules.values()]
    return sum(steps) + sum(one.timeout / SECOND + GRACE for one in request.rules.values()) + GRACE


def forget(job: JobName, paths: Paths = PATHS) -> None:
    """Request and answer have served."""
    for path in (request_path(job, paths), answer_path(job, paths)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


_encode = msgspec.json.encode


def name_of(request: Request) -> str:
    """Without its times: what the journal says of them after a restart differs by a little."""
    return fingerprint(_encode(replace(request, window=Window(Usec(0), Usec(0), Usec(0)))))
