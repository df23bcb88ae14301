"""What a run said: its lines, its steps, its report, and whether all of it can have arrived.

Pure. The journal is fed in, entry by entry, by whoever reads it; nothing here decides a verdict.
A run's output is a foreign text: every quantity kept of it has a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from outcomed.model import STEP_LIMIT, Record, Usec, Value
from outcomed.tracker import What

MARKER = b"OUTCOME "
TAIL_LINES = 20
LINE_LIMIT = 2_000  # bytes of one line kept as evidence
# Bytes of a line that is searched; journald cuts standard output at 48K (LineMax=). A part of a
# longer one would match what the whole does not.
LINE_SEARCHED = 65_536
REPORT_LIMIT = 16_384  # bytes of one report that are looked at
REPORT_KEYS = 64
KEY_LIMIT = 200
STEPS = 64  # and those that rules wait for
VALUE_LIMIT = 2_000  # characters of one reported text

_decode_report = msgspec.json.Decoder(dict[str, object]).decode


class RateLimit(Record, frozen=True):
    """journald's limit for the unit: so many messages of one priority group in an interval."""

    burst: int
    interval: Usec

    @property
    def is_off(self) -> bool:
        return self.burst == 0 or self.interval == 0


_BEGINS = frozenset({What.STARTING, What.STARTED})
_ENDS = frozenset({What.ENDED_WELL, What.FAILED, What.START_FAILED})

# journald counts emergencies to critical as one group, and informational apart from debug.
_GROUP = (0, 0, 0, 1, 2, 3, 4, 5)


# For each group, when its current interval began and how many messages it has let through. It is
# the unit's, not the run's: what an earlier run wrote counts against the next one.
Windows = dict[int, tuple[Usec, int]]


@dataclass(slots=True)
class Output:
    """The running state of a scan through one run's lines.

    `patterns` maps a name to a search function, which answers None of a line that it would take too
    long to search; what matched first is kept under that name.
    `awaited` are the orders of steps that rules ask for.
    """

    patterns: Mapping[str, Callable[[bytes], bool | None]]
    limit: RateLimit | None
    awaited: Sequence[tuple[str, ...]] = ()
    lines: int = 0
    matched: dict[str, str] = field(default_factory=dict)
    report: dict[str, Value] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)  # of each order, how far the run has come
    last_counts: bool = False  # a rule needs the last step that is kept
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    dropped: int = 0
    unread: int = 0  # lines that are too long to be searched
    limit_reached: bool = False
    next_run: Usec | None = None  # the first line of the unit that is a later run's
    windows: Windows = field(default_factory=dict)
    begun: bool | None = None  # whether the first that PID 1 says of the run is its start
    over: bool = False  # whether PID 1 says that its last attempt ended
    halted: bool = False  # journald stopped, and no stream of the run is known to have survived it

    def word(self, what: What, *, last: bool) -> None:
        """Take one of PID 1's entries about an attempt of the run, in the journal's order.

        Not for what they say: where they are missing, output of that time may be missing too.
        """
        is_end = what in _ENDS or (what is What.STARTED and self.begun is not None)
        if self.begun is None:
            self.begun = what in _BEGINS
        self.over = self.over or (last and is_end)

    def count(self, at: Usec, priority: int) -> None:
        """Count a line of the unit, of this run or of an earlier one, against the limit."""
        if self.limit is None or self.limit.is_off:
            return
        group = _GROUP[priority] if 0 <= priority < len(_GROUP) else 4
        begin, number = self.windows.get(group, (at, 0))
        if at - begin > self.limit.interval:
            begin, number = at, 0
        self.windows[group] = (begin, number + 1)
        if number + 1 >= self.limit.burst:
            self.limit_reached = True

    def was_full(self, began: Usec) -> bool:
        """Whether the limit was reached before the run: of all that it said, no line may be left to
        be counted."""
        if self.limit is None or self.limit.is_off:
            return False
        return any(
            number >= self.limit.burst and began - begin <= self.limit.interval
            for begin, number in self.windows.values()
        )

    def line(self, message: bytes, *, streamed: bool = True) -> None:
        """Take one of the run's own lines; what was printed was `streamed` to journald."""
        self.lines += 1
        if streamed:
            self.halted = False
        self.tail.append(decode(message))
        if message.startswith(MARKER):
            self.take_report(message[len(MARKER) :])
        if len(message) > LINE_SEARCHED:
            self.unread += 1
            return
        searched = True
        for name, search in self.patterns.items():
            if name not in self.matched:
                found = search(message)
                searched = searched and found is not None
                if found:
                    self.matched[name] = decode(message)
        self.unread += not searched

    def skip_line(self) -> None:
        """Take one of the run's own lines that nobody can read."""
        self.lines += 1
        self.unread += 1
        self.tail.append("… (too long to be read)")

    def take_report(self, text: bytes) -> None:
        """Merge what the job states about itself; what cannot be read is kept as a fault."""
        if len(text) > REPORT_LIMIT:
            return self._fault(f"a report of {len(text)} bytes, more than {REPORT_LIMIT}")
        try:
            facts = _decode_report(text)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return self._fault(f"not a JSON object: {decode(text[:80])}")
        for key, value in facts.items():
            if not isinstance(value, str | int | float | bool | None):
                self._fault(f"{key[:80]}: neither text, number, true, false nor null")
            elif len(key) > KEY_LIMIT or (isinstance(value, str) and len(value) > VALUE_LIMIT):
                self._fault(f"{key[:80]}: too long")
            elif key not in self.report and len(self.report) >= REPORT_KEYS:
                self._fault(f"more than {REPORT_KEYS} keys")
            else:
                self.report[key] = value
        return None

    def step(self, name: str) -> None:
        """Keep the first ones, what rules wait for, and the last: there the run stopped."""
        name = name[:STEP_LIMIT]
        if len(self.steps) >= STEPS and not self.last_counts:
            self.steps.pop()
        is_news = name not in self.steps and any(name in order for order in self.awaited)
        self.last_counts = self._advance(name) or is_news
        self.steps.append(name)

    def _advance(self, name: str) -> bool:
        self.reached = self.reached or [0] * len(self.awaited)
        ahead = [
            which
            for which, (order, number) in enumerate(zip(self.awaited, self.reached, strict=True))
            if order[number : number + 1] == (name,)
        ]
        for which in ahead:
            self.reached[which] += 1
        return bool(ahead)

    def _fault(self, fault: str) -> None:
        if len(self.faults) < 5:
            self.faults.append(fault)


def decode(message: bytes) -> str:
    """For people: what is not UTF-8 is replaced, what is long is cut."""
    text = message[:LINE_LIMIT].decode("utf-8", "replace")
    return text if len(message) <= LINE_LIMIT else text + "…"
