"""What is wrong, in words for people: the fault, and a user's words in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path


class Fault(Exception):  # noqa: N818  # it is what the reader of the file calls it
    """What is wrong with the thing at hand; whoever knows where it is makes it a Problem."""

    def __init__(self, fault: str, hint: str | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.hint = hint


def shown(text: str) -> str:
    """A user's word, quoted, short, and without anything that moves a terminal's cursor."""
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."


def shown_word(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def printable(text: str) -> str:
    """For one line: everything spelled out that ends it, moves a cursor or hides what follows."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown_path(path: Path | str) -> str:
    """A path as text that JSON and a terminal can hold, whatever bytes it is made of."""
    if (plain := str(path)).isprintable():  # surrogates are not
        return plain
    return printable(os.fsencode(path).decode(errors="backslashreplace"))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def any_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    close = get_close_matches(word[:100], list(known)[:10_000], n=1)
    return f"did you mean {close[0]}?" if close else None
