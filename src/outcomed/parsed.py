"""What reading the job files came to, so that ten thousand unchanged ones are not parsed anew.

Kept by content, never by name and time: the key is a hash over the bytes as they were read and over
all else that goes in, the defaults and the very program. A stale answer is impossible then; the
worst is that there is none. Kept are only files about which there was nothing to say. Lives in the
child that reads the configuration, and whatever is wrong with it, it is empty.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import msgspec

from outcomed.faults import Fault
from outcomed.jobfiles import Source, read_file
from outcomed.model import Job, Record, fingerprint


class _Kept(Record, frozen=True):
    program: str
    jobs: dict[str, Job]


class Parsed:
    """Jobs by key: those of the last time, and those of this one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._program = _program()
        self._before = _read(file, self._program)
        self._now: dict[str, Job] = {}

    def key(self, source: Source, circumstances: bytes) -> str | None:
        """Reads the files of a job; whoever parses it then finds the same bytes in it."""
        parts = [self._program.encode(), circumstances, source.name.encode()]
        try:
            for file in source.files:
                source.content[file] = read_file(file)
        except (OSError, Fault):
            source.content.clear()  # whoever parses it says what is wrong
            return None
        parts += source.content.values()
        return fingerprint(b"".join(b"%d:%s" % (len(part), part) for part in parts))

    def find(self, key: str | None) -> Job | None:
        job = self._before.get(key) if key is not None else None
        if job is not None and key is not None:
            self._now[key] = job
        return job

    def keep(self, key: str | None, job: Job) -> None:
        if key is not None:
            self._now[key] = job

    def write(self) -> None:
        """Not synced: what a power cut leaves of it does not fit the sum at its head."""
        if self._now.keys() == self._before.keys():
            return
        data = msgspec.json.encode(_Kept(self._program, self._now))
        aside = self._file.with_name(f".{self._file.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a hook may only read it
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(fingerprint(data).encode() + data)
            aside.rename(self._file)


def _read(file: Path, program: str) -> dict[str, Job]:
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        content = file.read_bytes()
        if fingerprint(content[32:]).encode() == content[:32]:
            kept = msgspec.json.decode(content[32:], type=_Kept)
            return kept.jobs if kept.program == program else {}
    return {}


def _program() -> str:
    """Who reads: another version, or another library below it, may think otherwise."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    for name in ("re2", "_re2", "yaml", "yaml._yaml", "simpleeval"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            files.append(Path(found.origin))
    identities = []
    for file in files:
        status = file.stat()
        identities.append((str(file), status.st_ino, status.st_ctime_ns, status.st_size))
    return fingerprint(repr((sys.version, identities)).encode())
