"""The terminal: width, colors, the pager. What came from a job reaches it through `safe` alone.

Nothing here knows what a job is. Piped, nothing is cut, colored or paged.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from outcomed.faults import printable
from outcomed.model import Klass, Record

Json = Literal["short", "pretty", "off"]

RED, YELLOW, GREEN, DIM, BOLD, UNDERLINE = "1;31", "1;33", "32", "38;5;245", "1", "4"
COLOR = {Klass.GOOD: GREEN, Klass.NEUTRAL: DIM, Klass.WARNING: YELLOW, Klass.BAD: RED}

NARROW = 110  # columns; below this a table says a word where it would say a sentence
_LEAST = 12  # columns for the last cell of a row, however wide the others are


class Screen(Record, frozen=True):
    """Where the answer is read. `width` is None where nobody counts columns: a pipe, a file."""

    width: int | None = None
    height: int | None = None
    colors: bool = False
    utf8: bool = True

    def paint(self, text: str, color: str) -> str:
        return f"\x1b[0;{color}m{text}\x1b[0m" if self.colors and color and text else text

    def mark(self, symbol: str) -> str:
        """A symbol, or the letter that stands in for it where the encoding has no symbols."""
        return symbol if self.utf8 else _PLAIN[symbol]


_BAD = "\N{MULTIPLICATION SIGN}"  # as systemctl marks a failed unit
_PLAIN = {"●": "*", "○": "o", _BAD: "x", "!": "!", "↻": ">", "✓": "+", "✗": "x", "?": "?", "-": "-"}
MARK = {Klass.GOOD: "●", Klass.NEUTRAL: "○", Klass.WARNING: "!", Klass.BAD: _BAD}


def this_screen(environment: Mapping[str, str] | None = None) -> Screen:
    """What standard output is."""
    environment = os.environ if environment is None else environment
    out = sys.stdout
    is_tty = out.isatty()
    encoding = (getattr(out, "encoding", None) or "").lower().replace("-", "")
    width, height = _size(environment) if is_tty else (None, None)
    colors = has_colors(environment, is_tty=is_tty)
    return Screen(width, height, colors, utf8=encoding == "utf8")


def _size(environment: Mapping[str, str]) -> tuple[int, int]:
    try:
        width, height = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        width, height = 80, 24
    told = environment.get("COLUMNS", "")
    return (int(told) if told.isdigit() and int(told) else width or 80), height or 24


def has_colors(environment: Mapping[str, str], *, is_tty: bool) -> bool:
    """$SYSTEMD_COLORS before $NO_COLOR before what the terminal is, as systemd has it."""
    wish = environment.get("SYSTEMD_COLORS", "").lower()
    if wish in ("0", "no", "n", "false", "f", "off"):
        return False
    if wish in ("1", "yes", "y", "true", "t", "on", "16", "256", "24bit"):
        return True
    if wish.startswith("auto-"):
        return is_tty
    if environment.get("NO_COLOR"):
        return False
    return is_tty and environment.get("TERM", "dumb") != "dumb"


# --- text that came from somewhere else ------------------------------------------------------


def safe(text: str) -> str:
    """The text, with everything spelled out that moves a cursor or hides what follows."""
    return printable(text)


def cells(text: str) -> int:
    """The columns that a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text
    )


def fit(text: str, width: int, *, ellipsis: str = "…") -> str:
    """The text in at most so many columns, its end cut with an ellipsis."""
    if cells(text) <= width:
        return text
    room = max(width - len(ellipsis), 0)
    while cells(text) > room:
        text = text[: max(room, 1)] if len(text) > room else text[:-1]
        if room == 0:
            return ellipsis[:width]
    return text + ellipsis


def wrap(text: str, screen: Screen, first: str = "", rest: str | None = None) -> list[str]:
    """Lines of the screen's width that begin with `first`, then with `rest`. A word stays whole."""
    rest = " " * cells(first) if rest is None else rest
    if screen.width is None or cells(first) + cells(text) <= screen.width:
        return [first + text]
    from textwrap import wrap as wrapped

    return wrapped(
        text,
        max(screen.width, 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- tables ----------------------------------------------------------------------------------


class Cell(NamedTuple):
    """What stands in a table, and its color."""

    text: str
    color: str = ""


Row = Sequence[Cell]


def table(
    screen: Screen, header: Sequence[str], rows: Sequence[Row], *, legend: bool = True
) -> list[str]:
    """Columns, two of which never touch. On a terminal the last one gives way, then the widest."""
    titles = [Cell(title) for title in header]
    shown: list[Row] = [titles, *rows] if legend else list(rows)
    widths = [max((cells(row[n].text) for row in shown), default=0) for n in range(len(header))]
    if screen.width is not None:
        widths = _squeezed(widths, screen.width)
    ellipsis = "…" if screen.utf8 else "..."
    lines = []
    for row in shown:
        parts = []
        for number, cell in enumerate(row):
            text = (
                cell.text
                if screen.width is None
                else fit(cell.text, widths[number], ellipsis=ellipsis)
            )
            pad = " " * (widths[number] - cells(text)) if number < len(row) - 1 else ""
            parts.append(screen.paint(text, cell.color) + pad)
        lines.append(" ".join(parts).rstrip())
    if legend and lines:
        lines[0] = screen.paint(lines[0], UNDERLINE)
    return lines


def _squeezed(widths: list[int], screen: int) -> list[int]:
    *front, last = widths
    room = screen - len(front) - sum(front)
    if room < min(last, _LEAST):
        widest = front.index(max(front))
        front[widest] = max(front[widest] - (min(last, _LEAST) - room), 8)
        room = screen - len(front) - sum(front)
    return [*front, max(min(last, room), 1)]


# --- out -------------------------------------------------------------------------------------


_NOT_SHOWN = re.compile(r"[^\x20-\x7e\n]")


def encode_json(value: Any, form: Json) -> str:
    """JSON for a script, and for a terminal: inside strings nothing stands as itself that moves
    the cursor."""
    data = msgspec.json.encode(value)
    if form == "pretty":
        data = msgspec.json.format(data, indent=4)
    text = data.decode()
    if text.isascii():
        return text

    def escaped(match: re.Match[str]) -> str:
        letter = match[0]
        if letter.isprintable():
            return letter
        units = letter.encode("utf-16-be")
        return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))

    return _NOT_SHOWN.sub(escaped, text)


def say(lines: Iterable[str], screen: Screen, *, pager: bool = True) -> None:
    """Print the answer: by the pager where it is longer than the terminal."""
    lines = list(lines)
    text = "\n".join(lines)
    if not text:
        return
    if pager and screen.height is not None and len(lines) >= screen.height and _page(text + "\n"):
        return
    print(text)


def _page(text: str) -> bool:
    """Through $SYSTEMD_PAGER, $PAGER or less, as systemctl does; False where there is none."""
    import shlex
    import shutil
    import subprocess

    wish = os.environ.get("SYSTEMD_PAGER", os.environ.get("PAGER"))
    if wish is not None and wish.strip() in ("", "cat"):
        return False
    is_secure = _is_secure()
    wishes = [shlex.split(wish)] if wish is not None and not is_secure else []
    for command in [*wishes, ["less"], ["more"]]:
        if shutil.which(command[0]) is None:
            continue
        environment = {**os.environ, "LESS": os.environ.get("SYSTEMD_LESS", "FRSXMK")}
        if is_secure:
            environment["LESSSECURE"] = "1"
        # errors: what the encoding lacks must not end us with half of the answer shown
        subprocess.run(command, input=text.encode("utf-8", "replace"), env=environment, check=False)
        return True
    return False


def _is_secure() -> bool:
    """Whether the pager must be no way to a shell: under sudo, unless somebody said otherwise."""
    wish = os.environ.get("SYSTEMD_PAGERSECURE", "").lower()
    if wish:
        return wish not in ("0", "no", "n", "false", "f", "off")
    return "SUDO_UID" in os.environ or "PKEXEC_UID" in os.environ
