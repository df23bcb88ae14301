"""What is said of a file: one state, one sentence, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from outcomed.model import Value

Evidence = dict[str, Value]


class State(StrEnum):
    WHOLE = "whole"
    EMPTY = "empty"  # well formed, complete, and with nothing in it
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    WRONG_FORMAT = "wrong-format"
    UNREADABLE = "unreadable"  # may be good: it takes more memory or another tool to say


@dataclass(frozen=True, slots=True)
class Reading:
    state: State
    summary: str
    evidence: Evidence


class Fault(Exception):  # noqa: N818  # a finding, not an error of ours
    """Ends the reading, from any depth: what is wrong is known, the rest need not be read."""

    def __init__(self, state: State, summary: str) -> None:
        super().__init__(summary)
        self.state = state
        self.summary = summary


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(name: bytes) -> str:
    """A stranger's name, fit for a terminal and a log."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
