"""Messages on their way out, as files: what is in here survives a power cut, and `ls` shows it.

    spool/out/ID.json       has to reach its sink; `ID.why` beside it says why it has not yet
    spool/done/ID.json      its sink took it; the daemon notes that in the ledger and forgets it
    spool/failed/ID.json    given up, why is in `ID.why`; moved back to out/ it is tried again
    spool/sinks/sinks.json  where the sinks are, so that the delivery process reads no YAML

A message moves in one direction, by renames of a complete file. So whoever is killed between any
two statements leaves a message in one of these places and whole. Repeating a step does nothing.

This module knows files and nothing else: no network, no clock, no retry, no log.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from outcomed.errors import OutcomedError
from outcomed.faults import shown_word
from outcomed.model import Config, Delivery, Record, Sink, Usec
from outcomed.paths import PATHS, Paths

LARGEST = 4 << 20  # bytes; what is longer was not written by us
_POLL_SECONDS = 0.02
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")

T = TypeVar("T")

_delivery_decoder = msgspec.json.Decoder(Delivery)


class SpoolError(OutcomedError):
    """The spool, or one file in it, is not what it has to be."""


class Why(Record, frozen=True):
    """Why a message is not delivered: beside it in out/ for the last try, in failed/ for good."""

    reason: str
    since: Usec  # the first failed try that this process knows of
    at: Usec  # the last one
    tries: int = 1


class Waiting(Record, frozen=True):
    """A message in out/, without its event: what is needed to put it in order and no more."""

    id: str
    sink: str
    created: Usec
    alert: str
    state: str


class Damaged(Record, frozen=True):
    """A file in out/ that cannot be sent as it is."""

    id: str
    reason: str


class Outcome(Record, frozen=True):
    """Where a message has got to: what `outcomectl test` tells."""

    state: Literal["done", "failed", "waiting", "gone"]
    why: Why | None = None


# --- writing aside ---------------------------------------------------------------------------


def write_aside(path: Path, data: bytes, mode: int = 0o640, *, sync: bool = True) -> None:
    """Put `data` at `path`, all of it or nothing, durably unless `sync` is False.

    The name aside is unique: the daemon and a hook may write the same file at the same time, and
    under a shared name one would rename the half that the other has written so far.
    """
    aside = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        _write_new(aside, data, mode, sync=sync)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(path.parent)


def _write_new(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb", buffering=0) as file:
        os.fchmod(file.fileno(), mode)  # a unit's UMask= must not hide it from its readers
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        if sync:
            os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable, not only what they stand for."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(directory: Path, before: Usec) -> int:
    """Remove what killed writers left aside in `directory` before that time; how many it was.

    By age only: a day is far beyond any living writer, whatever the clock does in between.
    """
    swept = 0
    for name in names(directory):
        if name.startswith(".") and name.endswith(".tmp"):
            swept += _remove_if_older(directory / name, before)
    return swept


def _remove_if_older(path: Path, before: Usec) -> bool:
    try:
        if path.lstat().st_mtime_ns >= before * 1000:
            return False
        path.unlink()
    except (FileNotFoundError, IsADirectoryError):
        return False  # its writer came to the end meanwhile; or it is none of ours
    return True


# --- reading -------------------------------------------------------------------------------------


def read_as(path: Path, kind: type[T]) -> T:
    """What one of us wrote there, whole or by another version, or has been damaged since.

    FileNotFoundError, or SpoolError: it is not to be read.
    """
    try:
        return msgspec.json.decode(read(path), type=kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from error
    except (SpoolError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpoolError(f"{path}: not what outcomed writes: {_shown(error)}") from error


def _shown(error: Exception) -> str:
    """What is quoted in it may be anything, and of any length."""
    return shown_word(str(error))


def read_compiled(paths: Paths = PATHS) -> Config:
    """The configuration that was last in force; an empty one if there was none."""
    try:
        return read_as(paths.compiled, Config)
    except (FileNotFoundError, SpoolError):
        return Config()


# --- messages --------------------------------------------------------------------------------


def put(delivery: Delivery, paths: Paths = PATHS) -> bool:
    """Spool a message; False when it is here already, in whatever state.

    A message only ever moves on from out/, so looking there first cannot miss it on its way.
    """
    name = _file_name(delivery.id)
    if any(os.path.lexists(place / name) for place in (_out(paths), _done(paths), _failed(paths))):
        return False
    write_aside(_out(paths) / name, msgspec.json.encode(delivery))
    return True


def poke(address: Path) -> bool:
    """Wake whoever listens at this datagram socket; False when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(b"\n", socket.MSG_DONTWAIT, os.fspath(address))
        except BlockingIOError:
            return True  # its queue is full of pokes that it has not read yet
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def pending_ids(paths: Paths = PATHS) -> list[str]:
    """The messages in out/, in no order."""
    return _ids(_out(paths))


def done_ids(paths: Paths = PATHS) -> list[str]:
    """The messages that their sinks took, and that nobody has noted yet."""
    return _ids(_done(paths))


def failed_ids(paths: Paths = PATHS) -> list[str]:
    """The messages that were given up."""
    return _ids(_failed(paths))


def known_ids(paths: Paths = PATHS) -> list[str]:
    """All of them. A message only ever moves on from out/, so that is looked at first."""
    return [*pending_ids(paths), *done_ids(paths), *failed_ids(paths)]


def take(ident: str, paths: Paths = PATHS) -> Delivery | Damaged | None:
    """The message as it lies in out/, left there. None: it went elsewhere meanwhile."""
    if _STEM.fullmatch(ident) is None:
        return Damaged(ident, "the file's name is not an id")
    try:
        delivery = _delivery_decoder.decode(read(_out(paths) / _file_name(ident)))
    except FileNotFoundError:
        return None
    except OSError as error:
        return Damaged(ident, f"cannot be read: {error.strerror}")
    except (SpoolError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Damaged(ident, f"not a message: {_shown(error)}")
    if delivery.id != ident:
        return Damaged(ident, "the message is not the one that the file's name says")
    return delivery


def waiting(ids: Iterable[str], paths: Paths = PATHS) -> list[Waiting | Damaged]:
    """What these messages are. Those that have gone meanwhile are left out."""
    taken = (take(ident, paths) for ident in ids)
    return [_headline(each) if isinstance(each, Delivery) else each for each in taken if each]


def _headline(delivery: Delivery) -> Waiting:
    data = delivery.event.get("data")
    data = data if isinstance(data, dict) else {}
    return Waiting(
        id=delivery.id,
        sink=delivery.sink,
        created=delivery.created,
        alert=str(data.get("alert_id", delivery.id)),
        state=str(data.get("state", "")),
    )


def in_order(messages: Iterable[Waiting]) -> list[Waiting]:
    """Oldest first. Of one alert, the end never comes before the beginning.

    One turn of the daemon gives all its messages the same time, and a clock may be set back
    between two turns: so the beginning counts as older than its end, whatever the clock said.
    """
    messages = list(messages)
    opened = {each.alert: each.created for each in messages if _RANK.get(each.state) == 0}

    def age(each: Waiting) -> tuple[int, int, str]:
        return (max(each.created, opened.get(each.alert, 0)), _RANK.get(each.state, 1), each.id)

    return sorted(messages, key=age)


_RANK = {"firing": 0, "reminder": 1, "resolved": 2}


def list_pending(paths: Paths = PATHS) -> list[Waiting]:
    """The whole messages in out/, in the order in which they are sent."""
    found = waiting(pending_ids(paths), paths)
    return in_order(each for each in found if isinstance(each, Waiting))


def mark_done(ident: str, paths: Paths = PATHS) -> None:
    """The sink took it."""
    _move(ident, _out(paths), _done(paths))
    _why_file(_out(paths), ident).unlink(missing_ok=True)


def mark_failed(ident: str, why: Why, paths: Paths = PATHS) -> None:
    """It is given up. The reason is there before the message is."""
    write_aside(_why_file(_failed(paths), ident), msgspec.json.encode(why))
    _move(ident, _out(paths), _failed(paths))
    _why_file(_out(paths), ident).unlink(missing_ok=True)


def note_why(ident: str, why: Why, paths: Paths = PATHS) -> None:
    """It waits on, for this reason."""
    write_aside(_why_file(_out(paths), ident), msgspec.json.encode(why))


def forget_done(ident: str, paths: Paths = PATHS) -> None:
    """Somebody has it in writing that the message arrived."""
    (_done(paths) / _file_name(ident)).unlink(missing_ok=True)


def forget_done_before(before: Usec, paths: Paths = PATHS) -> None:
    """Clear away what arrived, but was spooled by somebody who does not come back for it."""
    for name in names(_done(paths)):
        _remove_if_older(_done(paths) / name, before)


def forget_failed(ident: str, paths: Paths = PATHS) -> None:
    """Somebody has it in writing that the message was given up."""
    (_failed(paths) / _file_name(ident)).unlink(missing_ok=True)
    _why_file(_failed(paths), ident).unlink(missing_ok=True)


def tidy(before: Usec, paths: Paths = PATHS) -> None:
    """Clear away what killed processes left; for the delivery process, when it has time."""
    for place in (_out(paths), _failed(paths)):
        sweep(place, before)
    waiting_ids = set(pending_ids(paths))
    for name in names(_out(paths)):
        if name.endswith(".why") and name.removesuffix(".why") not in waiting_ids:
            (_out(paths) / name).unlink(missing_ok=True)


def outcome(ident: str, paths: Paths = PATHS) -> Outcome:
    """Where the message is, and why it is still there. Looks in the order in which it moves."""
    if os.path.lexists(_out(paths) / _file_name(ident)):
        return Outcome("waiting", _read_why(_out(paths), ident))
    if os.path.lexists(_done(paths) / _file_name(ident)):
        return Outcome("done")
    if os.path.lexists(_failed(paths) / _file_name(ident)):
        return Outcome("failed", _read_why(_failed(paths), ident))
    return Outcome("gone")


def wait_outcome(ident: str, seconds: float, paths: Paths = PATHS) -> Outcome:
    """Watch the message until it waits no longer or the time is over."""
    until = time.monotonic() + seconds
    while (now := outcome(ident, paths)).state == "waiting" and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)  # a rename raises no event that Python can wait for
    return now


# --- sinks -----------------------------------------------------------------------------------


def write_sinks(sinks: Sequence[Sink], paths: Paths = PATHS) -> None:
    """Tell the delivery process where the sinks are. Before `put`, or it knows no such sink."""
    data = msgspec.json.encode(tuple(sinks))
    try:
        if read(paths.sinks) == data:
            return
    except (OSError, SpoolError):
        pass  # nothing usable is there: written anew below
    write_aside(paths.sinks, data)


def read_sinks(paths: Paths = PATHS) -> tuple[Sink, ...]:
    """The sinks as they were last written. SpoolError: not yet, or not by us."""
    try:
        return read_as(paths.sinks, tuple[Sink, ...])
    except FileNotFoundError as error:
        raise SpoolError(f"{paths.sinks}: {error.strerror}") from error


# --- files -----------------------------------------------------------------------------------


def _out(paths: Paths) -> Path:
    return paths.spool / "out"


def _done(paths: Paths) -> Path:
    return paths.spool / "done"


def _failed(paths: Paths) -> Path:
    return paths.spool / "failed"


def _file_name(ident: str) -> str:
    if "/" in ident or ident.startswith(".") or not ident:
        raise SpoolError(f"no message can have the id {ident!r}")
    return f"{ident}.json"


def _why_file(directory: Path, ident: str) -> Path:
    return directory / f"{ident}.why"


def names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []  # tmpfiles.d has not run yet, so nothing was ever spooled


def _ids(directory: Path) -> list[str]:
    found = names(directory)
    return [n[: -len(".json")] for n in found if n.endswith(".json") and not n.startswith(".")]


def read(path: Path) -> bytes:
    """A regular file of a sane size. O_NONBLOCK: opening somebody's pipe must not block."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SpoolError("not a regular file")
        data = bytearray()
        while len(data) <= LARGEST and (block := file.read(1 << 20)):
            data += block
    if len(data) > LARGEST:
        raise SpoolError(f"larger than {LARGEST >> 20}M")
    return bytes(data)


def _read_why(directory: Path, ident: str) -> Why | None:
    try:
        return read_as(_why_file(directory, ident), Why)
    except (FileNotFoundError, SpoolError):
        return None  # a comfort only: the message itself is what counts


def _move(ident: str, source: Path, target: Path) -> None:
    name = _file_name(ident)
    try:
        (source / name).rename(target / name)
    except FileNotFoundError:
        if not target.is_dir():
            raise
        return  # moved by an earlier try that was killed before it could say so
    sync_directory(target)
    sync_directory(source)
