"""What stands around an answer: is anybody watching, were files refused, do messages wait?

Each of these is a line above the answer, and none of them changes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from outcomed.ctl import systemctl, times
from outcomed.ctl.term import safe
from outcomed.model import Usec
from outcomed.paths import Paths

UNIT = "outcomed.service"
_LOCKS = "/proc/locks"


def notices(paths: Paths, now: Usec) -> Iterator[str]:
    """Sentences for a person, the gravest first."""
    if not daemon_lives(paths):
        yield _not_running(now)
    yield from _refused(paths)
    yield from _waiting(paths, now)


def daemon_lives(paths: Paths, locks: str = _LOCKS) -> bool:
    """Whether the daemon holds its lock, by the kernel's table.

    Not by trying the lock: for as long as we had it, a daemon that starts would think us another.
    """
    try:
        status = os.stat(paths.lock)
        with open(locks, encoding="ascii") as table:
            held = table.read()
    except OSError:
        return False
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(
        fields[1:2] == ["FLOCK"] and place in fields
        for fields in (line.split() for line in held.splitlines())
    )


def _not_running(now: Usec) -> str:
    answer = systemctl.show([UNIT], ["LoadState", "StateChangeTimestamp"])
    stopped = systemctl.moment(answer[0].get("StateChangeTimestamp", "")) if answer else None
    if stopped is None:
        return f"{UNIT} is not running: this is what was known when it last did"
    return f"{UNIT} is not running, since {times.since(stopped, now)}: this is what was known then"


class _Problem(msgspec.Struct):
    """What we want to know of a config.Problem; whoever wrote it may know more."""

    file: str = ""
    severity: str = "error"


def _refused(paths: Paths) -> Iterator[str]:
    """By what the daemon wrote down when it last read the files."""
    try:
        problems = msgspec.json.decode(paths.problems.read_bytes(), type=list[_Problem])
    except (OSError, msgspec.DecodeError):
        return  # nothing was refused, or it is not for us to read
    files = sorted({problem.file for problem in problems if problem.severity == "error"})
    if files:
        others = f" and {len(files) - 1} more" if len(files) > 1 else ""
        was = "were refused and are" if others else "was refused and is"
        yield (f"{safe(files[0])}{others} {was} not in force: 'outcomectl check-config' says why")


def _waiting(paths: Paths, now: Usec) -> Iterator[str]:
    out = paths.spool / "out"
    try:
        names = os.listdir(out)
    except OSError:
        return  # only root and the delivery process may look
    if not any(name.endswith(".json") for name in names):
        return
    from outcomed import spool

    messages = spool.list_pending(paths)
    if not messages:
        return
    oldest = messages[0]
    why = spool.outcome(oldest.id, paths).why
    reason = f": {safe(why.reason)}" if why is not None else ", nobody has tried yet"
    plural = f"{len(messages)} messages wait" if len(messages) > 1 else "1 message waits"
    age = times.ago(oldest.created, now).removesuffix(" ago")
    yield f"{plural} to be delivered, for {age}, to {safe(oldest.sink)}{reason}"
