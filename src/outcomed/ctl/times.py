"""Moments and durations as systemd shows them. The clock is an argument, the zone the reader's."""

from __future__ import annotations

import time

from outcomed.errors import UsageError
from outcomed.model import DAY, HOUR, MINUTE, SECOND, Usec
from outcomed.quantities import MILLISECOND, MONTH, WEEK, YEAR, format_duration, parse_duration


def now_usec() -> Usec:
    return Usec(time.time_ns() // 1000)


def timestamp(at: Usec) -> str:
    """`Sun 2026-11-22 03:10:02 CET`, as systemd's FORMAT_TIMESTAMP does."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(at // SECOND))


def ago(at: Usec, now: Usec) -> str:
    """`14h ago`, as systemd's FORMAT_TIMESTAMP_RELATIVE does."""
    if at == now:
        return "now"
    return f"{_distance(abs(now - at))} {'ago' if at < now else 'left'}"


def since(at: Usec, now: Usec) -> str:
    """`Sun 2026-11-22 03:10:02 CET; 14h ago`."""
    return f"{timestamp(at)}; {ago(at, now)}"


def _distance(usec: int) -> str:
    for unit, word, below, below_word in (
        (YEAR, "year", MONTH, "month"),
        (MONTH, "month", DAY, "day"),
        (WEEK, "week", DAY, "day"),
    ):
        if usec >= unit:
            parts = [(usec // unit, word), (usec % unit // below, below_word)]
            return " ".join(f"{n} {name}{'s' if n > 1 else ''}" for n, name in parts if n)
    if usec >= 2 * DAY:
        return f"{usec // DAY} days"
    if usec >= 25 * HOUR:
        return f"1 day {(usec - DAY) // HOUR}h"
    if usec >= 6 * HOUR:
        return f"{usec // HOUR}h"
    for unit, word, below, below_word in (
        (HOUR, "h", MINUTE, "min"),
        (5 * MINUTE, "", 0, ""),
        (MINUTE, "min", SECOND, "s"),
    ):
        if usec < unit:
            continue
        if not below:
            return f"{usec // MINUTE}min"
        rest = usec % unit // below
        return f"{usec // unit}{word}" + (f" {rest}{below_word}" if rest else "")
    for unit, word in ((SECOND, "s"), (MILLISECOND, "ms")):
        if usec >= unit:
            return f"{usec // unit}{word}"
    return f"{usec}us"


def ran(duration: Usec | None) -> str:
    """How long, to what a person wants to know of it: `2.003s`, `18min 2s`, `1h 30min`."""
    if duration is None:
        return "-"
    accuracy = MINUTE if duration >= HOUR else SECOND if duration >= MINUTE else MILLISECOND
    return (
        format_duration(duration - duration % accuracy, accuracy) if duration >= accuracy else "0"
    )


_DAYS = {"today": 0, "yesterday": 1}


def parse_since(text: str, now: Usec) -> Usec:
    """`-90d`, `today`, `2026-11-01` or `2026-11-01 03:00`, in the reader's time zone."""
    if text in _DAYS:
        day = time.localtime((now - _DAYS[text] * DAY) // SECOND)
        return Usec(int(time.mktime((*day[:3], 0, 0, 0, 0, 0, -1))) * SECOND)
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            moment = time.strptime(text, form)
        except ValueError:
            continue
        return Usec(int(time.mktime((*moment[:6], 0, 0, -1))) * SECOND)
    try:
        return Usec(max(now - parse_duration(text.removeprefix("-")), 0))
    except ValueError:
        raise UsageError(
            f"--since: expected a moment, got {text!r}",
            hint="write -90d, today, yesterday, 2026-11-01 or '2026-11-01 03:00'",
        ) from None
