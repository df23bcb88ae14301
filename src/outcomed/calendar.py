"""Which moments calendar expressions name. systemd-analyze(1) is asked; nothing here computes one.

The local zone is the system's, as it is for PID 1 (or was), and the answer is read in UTC. What it
leaves out, such as a local time that does not exist, no timer runs at either. It tells whole
seconds: fractions in an expression are cut off.

Nobody waits for it in a call: a process takes ten milliseconds, and a thousand moments of a rare
expression a second. So it is asked for a few first, for more where the period has more, and for
many expressions at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from outcomed.errors import CalendarError
from outcomed.model import SECOND, Record, Usec

LIMIT = 1_000  # moments of one expression in one period
PATIENCE = 10.0  # seconds for one process

_FEW = 10
_MORE = {_FEW: 100, 100: LIMIT + 1}
_MOMENTS_A_PROCESS = 5_000
_OUTPUT = 4 << 20  # bytes; a moment takes some 180
_ENVIRONMENT = {"LC_ALL": "C"}  # without TZ=, the system's zone
_LINE = re.compile(r"^ *(Next elapse|Iteration #\d+|\(in UTC\)): (.+)$", re.MULTILINE)
_MOMENT = re.compile(r"[A-Z][a-z]{2} (\d+-\d\d-\d\d \d\d:\d\d:\d\d) \S+")


class Moments(Record, frozen=True):
    """What is named within a period, in order; `is_cut`: it goes on after the last of them."""

    moments: tuple[Usec, ...] = ()
    is_cut: bool = False


class Asking:
    """A question for the moments in (since, until], or for the next few; by the system's zone, or
    by that of a file (tzfile(5)). `fileno()` becomes readable as it goes on; it and `deadline` are
    others after each `done()`."""

    def __init__(
        self,
        expressions: Iterable[str],
        since: Usec,
        until: Usec | None = None,
        zone: str = "",
    ) -> None:
        self.since, self.until, self.zone = since, until, zone
        self.deadline = 0.0  # monotonic seconds
        self._expressions = tuple(dict.fromkeys(expressions))
        self._found: dict[str, Moments] = {}
        self._faults: dict[str, CalendarError] = {}
        self._queue: list[tuple[int, tuple[str, ...]]] = []  # how many moments, of which
        self._process: _Process | None = None
        if until is None or since < until:
            self._ask(_FEW, self._expressions)
        self._next()

    def fileno(self) -> int:
        return -1 if self._process is None else self._process.fileno()

    def done(self) -> bool:
        """Whether all is answered, as well as it ever will be."""
        if self._process is not None and self._process.is_over():
            self._take(self._process)
            self._next()
        return self._process is None

    def moments(self, expressions: Iterable[str] | None = None) -> Moments:
        """Those of all expressions together, or of these. CalendarError: one has no answer."""
        asked = self._expressions if expressions is None else tuple(expressions)
        for expression in asked:
            if expression in self._faults:
                raise self._faults[expression]
        found = [self._found.get(expression, Moments()) for expression in asked]
        merged = sorted({moment for one in found for moment in one.moments})
        is_cut = len(merged) > LIMIT or any(one.is_cut for one in found)
        return Moments(tuple(merged[:LIMIT]), is_cut)

    def close(self) -> None:
        """May be called twice."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, number: int, expressions: tuple[str, ...]) -> None:
        size = max(1, _MOMENTS_A_PROCESS // number)
        parts = range(0, len(expressions), size)
        self._queue += [(number, expressions[begin : begin + size]) for begin in parts]

    def _next(self) -> None:
        self._process = None
        while self._queue and self._process is None:
            number, expressions = self._queue.pop()
            try:
                self._process = _Process(expressions, self.since, number, self.zone)
                self.deadline = self._process.deadline
            except CalendarError as error:
                self._faults |= dict.fromkeys(expressions, error)

    def _take(self, process: _Process) -> None:
        number, expressions = process.number, process.expressions
        try:
            answer = process.answer()
        except CalendarError as error:
            if process.refused and len(expressions) > 1:  # one must not spoil the others
                self._queue += [(number, (expression,)) for expression in expressions]
            else:
                self._faults |= dict.fromkeys(expressions, error)
            return
        again = []
        for expression, named in zip(expressions, answer, strict=True):
            is_all = self.until is None or len(named) < number or named[-1] > self.until
            if is_all or number not in _MORE:
                self._found[expression] = self._within(named, is_all=is_all)
            else:
                again.append(expression)
        if again:
            self._ask(_MORE[number], tuple(again))

    def _within(self, named: list[Usec], *, is_all: bool) -> Moments:
        until = self.until
        wanted = [at for at in named if self.since < at and (until is None or at <= until)]
        return Moments(tuple(wanted[:LIMIT]), not is_all or len(wanted) > LIMIT)


def moments(expressions: Iterable[str], since: Usec, until: Usec, zone: str = "") -> Moments:
    """Ask, and wait for the answer."""
    with contextlib.closing(Asking(expressions, since, until, zone)) as asking:
        while not asking.done():
            patience = max(0.0, asking.deadline - time.monotonic())
            select.select([asking.fileno()], [], [], patience)
        return asking.moments()


class _Process:
    """One systemd-analyze, ended at its deadline at the latest."""

    def __init__(self, expressions: tuple[str, ...], since: Usec, number: int, zone: str) -> None:
        self.expressions, self.number = expressions, number
        self.deadline = time.monotonic() + PATIENCE
        self.refused = False
        self._said = bytearray()
        self._is_all = False
        base = f"--base-time=@{since // SECOND}"
        argv = ["systemd-analyze", "calendar", base, f"--iterations={number}", "--", *expressions]
        self._end, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._end, False)
        try:
            self._pid = _spawn(argv, write, zone)
        except OSError as error:
            os.close(self._end)
            fault = f"cannot run systemd-analyze: {error.strerror}"
            raise CalendarError(fault, hint="it is part of systemd") from error
        finally:
            os.close(write)

    def fileno(self) -> int:
        return self._end

    def is_over(self) -> bool:
        """Whether it has said everything, or too much, or has had its time."""
        with contextlib.suppress(BlockingIOError):
            while len(self._said) <= _OUTPUT:
                part = os.read(self._end, 1 << 16)
                if not part:
                    self._is_all = True
                    return True
                self._said += part
            return True
        return time.monotonic() >= self.deadline

    def answer(self) -> list[list[Usec]]:
        """The moments of each expression. Ends it."""
        status = self.close()
        if not self._is_all:
            raise self._error(
                f"had not ended after {PATIENCE:.0f} s"
                if len(self._said) <= _OUTPUT
                else f"wrote more than {_OUTPUT} bytes"
            )
        if status != 0:
            self.refused = True
            raise self._error(f"ended with status {status}")
        found = list(_read(self._said.decode("ascii", "replace")))
        if len(found) != len(self.expressions):
            raise self._error("wrote what this version of outcomed cannot read")
        return found

    def _error(self, what: str) -> CalendarError:
        return CalendarError(
            f"systemd-analyze calendar {what}, asked for {', '.join(self.expressions)}",
            hint=f"systemd-analyze calendar '{self.expressions[0]}'",
        )

    def close(self) -> int:
        """Its exit status, or less than 0 for the signal that ended it."""
        os.close(self._end)
        if not self._is_all:
            os.kill(self._pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _spawn(argv: list[str], output: int, zone: str) -> int:
    return os.posix_spawnp(
        argv[0],
        argv,
        _ENVIRONMENT | ({"TZ": f":{zone}"} if zone else {}),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ],
        setsigmask=(),
        setsigdef=(signal.SIGPIPE,),  # which Python ignores
    )


def _read(answer: str) -> Iterator[list[Usec]]:
    """The moments of each expression; nothing of an expression whose lines cannot be read."""
    for block in re.split(r"^ *Normalized form: .*\n", answer, flags=re.MULTILINE)[1:]:
        values: list[str] = []
        for label, value in _LINE.findall(block):
            if label == "(in UTC)":  # only where the line above is in another zone
                values[-1:] = [value]
            else:
                values.append(value)
        with contextlib.suppress(ValueError):
            if values:
                yield [] if values == ["never"] else [_usec(value) for value in values]


def _usec(value: str) -> Usec:
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise ValueError(value)
    return Usec(int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp()) * SECOND)
