"""Where an examination waits, so that no job delays another; and what it is to look at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum

from outcomed.model import JobName


@dataclass(slots=True)
class Wait:
    """For a file descriptor, for the check unit, or for its time."""

    until: float  # monotonic seconds
    fileno: int | None = None
    check: JobName | None = None
    done: bool = False
    how: str = ""  # how the check unit ended, if not well


Steps = Generator[Wait | None, None, None]


class Reckon(Enum):
    """What of a job's timers and deadlines is to be looked at."""

    NOTHING = "nothing"
    NEXT = "what the timers announce after a run"
    ALL = "which timers there are, and everything about them"
