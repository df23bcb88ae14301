"""What root asks of the daemon: one file each in spool/in, that works with the daemon down too.

    spool/in/NAME.order           to be done; removed when what came of it is committed
    spool/in/NAME.order.refused   not what it has to be, told once and kept to be looked at

Written aside and renamed, so that whoever is killed leaves a whole order or none. To do one twice
changes nothing: the ledger says what was done.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import msgspec

from outcomed import spool
from outcomed.errors import OutcomedError
from outcomed.model import JOB_NAME, JobName, Record, RunId
from outcomed.paths import PATHS, Paths

MAX_REASON = 1000
_MAX_NAME = 100
_SUFFIX = ".order"
_REFUSED = ".refused"
_RUN = re.compile(r"[0-9a-f]{32}")
_POLL_SECONDS = 0.02


class OrderError(OutcomedError):
    """A file in spool/in is not an order."""


class Accept(Record, frozen=True, tag="accept", tag_field="order"):
    """This run is right as it is, says `by`."""

    job: JobName
    run: RunId
    because: str
    by: str


def fault(order: Accept) -> str:
    """What is wrong with an order; empty if nothing is."""
    if not JOB_NAME.fullmatch(order.job) or not _RUN.fullmatch(order.run):
        return "it names no run"
    if not order.because.strip() or not order.because.isprintable():
        return "expected the reason, as one line of text"
    if len(order.because) > MAX_REASON:
        return f"a reason has at most {MAX_REASON} characters, this one {len(order.because)}"
    if not order.by.isprintable() or not 0 < len(order.by) <= _MAX_NAME:
        return "it does not say whose it is"
    return ""


def put(order: Accept, paths: Paths = PATHS) -> Path:
    """Leave an order to the daemon. The later one about the same run replaces the earlier."""
    path = paths.requests / f"accept-{order.run}{_SUFFIX}"
    spool.write_aside(path, msgspec.json.encode(order), 0o600)
    return path


def names(paths: Paths = PATHS) -> list[str]:
    return sorted(name for name in spool.names(paths.requests) if name.endswith(_SUFFIX))


def read(name: str, paths: Paths = PATHS) -> Accept | None:
    """None: it is gone. OrderError: it cannot be done by anybody."""
    try:
        order = msgspec.json.decode(spool.read(paths.requests / name), type=Accept)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OrderError(error.strerror or str(error)) from error
    except spool.SpoolError as error:
        raise OrderError(error.fault) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OrderError(f"not an order: {error}") from error
    if wrong := fault(order):
        raise OrderError(wrong)
    return order


def done(name: str, paths: Paths = PATHS) -> None:
    (paths.requests / name).unlink(missing_ok=True)


def refuse(name: str, paths: Paths = PATHS) -> None:
    """Out of the way, under a name that a file can have."""
    kept = os.fsdecode(os.fsencode(name)[:200]) + _REFUSED
    (paths.requests / name).rename(paths.requests / kept)


def wait_until_taken(path: Path, seconds: float) -> bool:
    """Whether the daemon has taken it before the time was over."""
    until = time.monotonic() + seconds
    while (waits := os.path.lexists(path)) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)  # as for spool.wait_outcome
    return not waits
