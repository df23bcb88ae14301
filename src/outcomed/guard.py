"""What the daemon is looking at, so that what took its life does not take it a second time.

Patterns, expressions, reports and the journal's own files are bytes of others, read by libraries
written in C. What is looked at is noted before, and the note taken back after. It lies in /run:
some microseconds, no sync, and a power cut leaves none. A note that the next daemon finds is what
the one before died at.

Which may be chance: an administrator's SIGKILL, the OOM killer. So nothing is left out for that
alone; the same look is first taken in a child. Only what ends the child as well is left out. That
is the second death, and the daemon died once. Deaths are not counted: many at random would add up
to a false `unknown` about a healthy rule.

A look is known by job and rule, not by run: else a job whose every output kills would end one
daemon a night.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from outcomed import child
from outcomed.errors import OutcomedError
from outcomed.paths import Paths

DIED = "outcomed died twice while looking at this, left out"

CHILD_MEMORY = 256 << 20
CHILD_CPU_SECONDS = 40
PATIENCE = 45.0  # seconds; with the beat of the watchdog less than WatchdogSec=
_NOTE = 1024  # bytes; a job's name has 200, a rule's label 30
# So many different ones in this time, and all are tried first: before the unit's start limit.
_MANY, _LATELY = 3, 900.0


class Trial:
    """A look that is taken in a child. `fileno()` becomes readable when it is over."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._end, write = os.pipe2(os.O_CLOEXEC)
        try:
            self._child: int | None = os.fork()
        except OSError:
            self._child = None  # nobody can try it now: it is left out this time
        if self._child == 0:
            _look_and_be_gone(look)
        os.close(write)
        self.until = time.monotonic() + PATIENCE

    def fileno(self) -> int:
        return self._end

    @property
    def is_over(self) -> bool:
        return _is_readable(self._end, 0) or time.monotonic() >= self.until

    def survived(self) -> bool:
        """Whether the child did; one that is not over is ended. Call it once."""
        is_over = _is_readable(self._end, 0)
        os.close(self._end)
        if self._child is None:
            return False
        if not is_over:
            os.kill(self._child, signal.SIGKILL)
        return os.waitpid(self._child, 0)[1] == 0


def _is_readable(file: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _look_and_be_gone(look: Callable[[], object]) -> None:
    status = 1
    try:
        child.shed(CHILD_MEMORY, CHILD_CPU_SECONDS)
        look()
        status = 0
    except OutcomedError:
        status = 0  # it is an answer, and the daemon will get the same
    finally:
        os._exit(status)


class Guard:
    """The note, and what is known of earlier deaths."""

    def __init__(self, paths: Paths) -> None:
        self._note = os.open(paths.looking, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._record = paths.deaths
        self.found = os.pread(self._note, _NOTE, 0).partition(b"\n")[0].decode(errors="replace")
        self.left_out: list[str] = []  # not said yet
        self._suspects = _read(self._record)
        if self.found:
            self._suspects[self.found] = time.monotonic()
            self._write()
        self._clear()

    def close(self) -> None:
        os.close(self._note)

    def at(self, what: str) -> _Look:
        """`with` it, something is looked at."""
        return _Look(self, what)

    def note(self, what: str) -> None:
        self._put(what.encode(errors="replace")[: _NOTE - 1] + b"\n")

    def clear(self, what: str) -> None:
        """It was looked at, and nobody died."""
        self._clear()
        if self._suspects and self._suspects.pop(what, None) is not None:
            self._write()

    def is_suspect(self, what: str) -> bool:
        if not self._suspects:
            return False
        lately = time.monotonic() - _LATELY
        return what in self._suspects or (
            sum(1 for at in self._suspects.values() if at > lately) >= _MANY
        )

    def judge(self, what: str, trial: Trial) -> bool:
        """Whether it may be looked at, after it was tried."""
        if trial.survived():
            return True
        self.left_out.append(what)
        if what not in self._suspects:
            self._suspects[what] = time.monotonic()
            self._write()
        return False

    def may_look(self, what: str, look: Callable[[], object]) -> bool:
        """Try it first where it has to be, and wait for that."""
        if not self.is_suspect(what):
            return True
        trial = Trial(look)
        _is_readable(trial.fileno(), PATIENCE)
        return self.judge(what, trial)

    def _clear(self) -> None:
        self._put(b"\n")

    def _put(self, data: bytes) -> None:
        try:  # seven times a run, so without what `suppress` takes
            os.pwrite(self._note, data, 0)
        except OSError:
            pass  # a full /run: then nobody will know, as without us

    def _write(self) -> None:
        text = "".join(f"{at:.0f} {what}\n" for what, at in self._suspects.items())
        aside = self._record.with_name(f".{self._record.name}.tmp")
        with contextlib.suppress(OSError):
            aside.write_text(text)
            aside.rename(self._record)


class _Look:
    """An error of ours is an answer; any other exception ends the daemon, and the note stays."""

    def __init__(self, guard: Guard, what: str) -> None:
        self._guard = guard
        self._what = what

    def __enter__(self) -> Self:
        self._guard.note(self._what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, OutcomedError | GeneratorExit | StopIteration):
            self._guard.clear(self._what)


def _read(record: Path) -> dict[str, float]:
    """What daemons of this boot died at, and when; monotonic."""
    try:
        lines = record.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition(" ") for line in lines)
    return {what: float(at) for at, _, what in pairs if at.isdigit() and what}
