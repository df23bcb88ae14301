"""Read and write durations and sizes exactly as systemd spells them.

The rules are those of systemd.time(7) for durations ("1h 30min", a bare number is seconds) and of
systemd's size settings (base 1024, a bare number is bytes). Whatever systemd refuses is refused
here; nothing is guessed. Both raise ValueError with a sentence that needs no context.
"""

from __future__ import annotations

import re

from outcomed.faults import shown
from outcomed.model import DAY, HOUR, MINUTE, SECOND, Usec

MILLISECOND = 1_000
WEEK = 7 * DAY
MONTH = 2_629_800 * SECOND  # 30.44 days, systemd's month
YEAR = 31_557_600 * SECOND  # 365.25 days

MAXIMUM = 2**63 - 1  # what SQLite and systemd can both hold

# Longest spelling first: "5minutes" is not five milli-inutes.
_DURATION_UNITS = {
    **dict.fromkeys(("seconds", "second", "sec", "s"), SECOND),
    **dict.fromkeys(("minutes", "minute", "min"), MINUTE),
    **dict.fromkeys(("months", "month", "M"), MONTH),
    **dict.fromkeys(("msec", "ms"), MILLISECOND),
    "m": MINUTE,
    **dict.fromkeys(("hours", "hour", "hr", "h"), HOUR),
    **dict.fromkeys(("days", "day", "d"), DAY),
    **dict.fromkeys(("weeks", "week", "w"), WEEK),
    **dict.fromkeys(("years", "year", "y"), YEAR),
    **dict.fromkeys(("usec", "us", "μs", "µs"), 1),  # both of Unicode's mus
}
_SPACE = "[ \t\n\r]*"
_DURATION_PART = re.compile(
    rf"{_SPACE}([0-9]+(?:\.[0-9]+)?|\.[0-9]+){_SPACE}({'|'.join(_DURATION_UNITS)}|)"
)
_SHOWN = (
    ("y", YEAR),
    ("month", MONTH),
    ("w", WEEK),
    ("d", DAY),
    ("h", HOUR),
    ("min", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
    ("us", 1),
)

_SIZE_UNITS = {letter: 1024**power for power, letter in enumerate("BKMGTPE")}
_SIZE_PART = re.compile(
    rf"{_SPACE}([0-9]+(?:\.[0-9]+)?|\.[0-9]+){_SPACE}([{''.join(_SIZE_UNITS)}]|)"
)


def parse_duration(text: str) -> Usec:
    """Microseconds of "1h 30min", "90s", "90" or "0.5h"."""
    total = position = 0
    end = len(text.rstrip(" \t\n\r"))
    while position < end:
        part = _DURATION_PART.match(text, position)
        # systemd takes "12.34 .56" and "12.34s.56" but not "12.34.56".
        if part is None or (
            part[2] == "" and part.end() < end and text[part.end() - 1] not in " \t\n\r"
        ):
            raise _unlike("duration such as 1h 30min", text)
        total += _scaled(part[1], _DURATION_UNITS.get(part[2], SECOND))
        position = part.end()
    if position == 0:
        raise _unlike("duration such as 1h 30min", text)
    if total > MAXIMUM:
        raise ValueError(f"duration {shown(text)} is longer than systemd can count")
    return Usec(total)


def parse_size(text: str) -> int:
    """Bytes of "500M", "1.5G", "1G 512M" or "4096"."""
    total = position = 0
    smallest = MAXIMUM
    end = len(text.rstrip(" \t\n\r"))
    while position < end:
        part = _SIZE_PART.match(text, position)
        factor = _SIZE_UNITS[part[2] or "B"] if part else MAXIMUM
        # As in systemd, a smaller unit may only follow a larger one.
        if part is None or factor >= smallest:
            raise _unlike("size such as 500M", text)
        total += _scaled(part[1], factor)
        smallest = factor
        position = part.end()
    if position == 0:
        raise _unlike("size such as 500M", text)
    if total > MAXIMUM:
        raise ValueError(f"size {shown(text)} is larger than a file can be")
    return total


def _unlike(wanted: str, text: str) -> ValueError:
    return ValueError(f"expected a {wanted}, got {shown(text)}")


def _scaled(number: str, factor: int) -> int:
    """`number` times `factor`, rounded down, without the errors of floating point."""
    whole, _, fraction = number.partition(".")
    fraction = fraction[:18]
    if len(whole) > 20:
        return MAXIMUM + 1
    scale = int("1" + "0" * len(fraction))
    return int(whole or "0") * factor + int(fraction or "0") * factor // scale


def format_duration(usec: int, accuracy: int = 1) -> str:
    """Spell a duration as systemd's FORMAT_TIMESPAN does: "1h 30min", "1.500s", "47ms"."""
    if usec <= 0:
        return "0"
    parts: list[str] = []
    rest = usec
    for suffix, unit in _SHOWN:
        if rest <= 0 or (rest < accuracy and parts):
            break
        if rest < unit:
            continue
        whole, below = divmod(rest, unit)
        digits = len(str(unit)) - len(str(accuracy))
        if rest < MINUTE and below > 0 and digits > 0:
            parts.append(f"{whole}.{below // accuracy:0{digits}}{suffix}")
            break
        parts.append(f"{whole}{suffix}")
        rest = below
    return " ".join(parts)


def say_duration(usec: int) -> str:
    """A duration inside a sentence: its two leading units, spaced, "0.4 s" or "1 h 30 min"."""
    if usec < MILLISECOND:
        return f"{max(usec, 0)} us" if usec > 0 else "0 s"
    if usec < 100 * MILLISECOND:
        return f"{usec // MILLISECOND} ms"
    if usec < 10 * SECOND:
        return f"{usec / SECOND:.1f}".removesuffix(".0") + " s"
    leading = [unit for suffix, unit in _SHOWN if unit <= usec]
    kept = usec - usec % (leading[1] if usec >= MINUTE else leading[0])
    return " ".join(
        f"{int(part.rstrip(_LETTERS))} {part.lstrip(_DIGITS)}"
        for part in format_duration(kept).split()
    )


def format_size(size: int) -> str:
    """Spell a size as systemd's FORMAT_BYTES does: "512B", "47.0K", "2.3G"."""
    for letter, factor in reversed(_SIZE_UNITS.items()):
        if size >= factor > 1:
            return f"{size // factor}.{size % factor * 10 // factor}{letter}"
    return f"{size}B"


_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
