"""Search journal lines with RE2: linear time, bounded memory, no backtracking.

Python's `re` is never used on a user's pattern. RE2 is imported when the first pattern is
compiled, because most daemons have none. Lines are bytes, since a job may print anything.
"""

from __future__ import annotations

import importlib
from typing import Any

MAX_LENGTH = 4096
MAX_MEMORY = 4 << 20  # of RE2, for each compiled form of a pattern
# Linear has a factor: where its memory does not suffice, RE2 walks through all of the compiled
# pattern for each byte, some 15 ns an instruction. `[a-z]{1000}z` needs 127 s for 8 MB. A search
# cannot be left halfway, and everybody waits for it: what may take longer than 0.13 s is not begun.
MAX_PROGRAM = 4000  # instructions; `\pL+`, all letters there are, has 1200
MAX_STEPS = 8 << 20  # bytes of the line times instructions: 64K times 128


class Pattern:
    """One compiled pattern. It finds its text anywhere in a line, as grep(1) does."""

    __slots__ = ("_bytewise", "_utf8", "longest", "text")

    def __init__(self, text: str, utf8: Any) -> None:
        self.text = text
        self.longest = MAX_STEPS // utf8.programsize  # bytes of a line that is searched
        self._utf8 = utf8
        self._bytewise: Any = None

    def search(self, line: bytes) -> bool | None:
        """None where the line is too long for this pattern: it may be in it."""
        if len(line) > self.longest:
            return None
        if line.isascii() or _is_utf8(line):
            return self._utf8.search(line) is not None
        # In UTF-8 mode `.` does not match a stray byte, and `ERROR.*full` would be missed.
        if self._bytewise is None:
            try:
                self._bytewise = _compile(self.text, "LATIN1")
            except ValueError:  # it names a character that is no byte, as \x{100} does
                self._bytewise = self._utf8
        return self._bytewise.search(line) is not None

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def compile_pattern(text: str) -> Pattern:
    """Raises ValueError, with RE2's reason, where the pattern cannot be compiled."""
    if not text:
        raise ValueError("an empty pattern matches every line")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"pattern is longer than {MAX_LENGTH} characters")
    compiled = _compile(text, "UTF8")
    if compiled.programsize > MAX_PROGRAM:
        raise ValueError(
            f"pattern is too costly to search for: {compiled.programsize} instructions, "
            f"at most {MAX_PROGRAM}"
        )
    return Pattern(text, compiled)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _compile(text: str, encoding: str) -> Any:
    re2 = importlib.import_module("re2")
    options = re2.Options()
    options.log_errors = False  # RE2 would write to our stderr
    options.max_mem = MAX_MEMORY
    options.never_capture = True
    options.encoding = getattr(re2.Options.Encoding, encoding)
    try:
        return re2.compile(text.encode(), options)
    except UnicodeEncodeError:
        raise ValueError("pattern is not valid Unicode") from None
    except re2.error as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    if isinstance(reason, bytes):
        reason = reason.decode(errors="replace")
    return f"RE2 says: {reason}"
