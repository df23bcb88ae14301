"""How a compressed stream can be broken, in sentences."""

from __future__ import annotations

from outcomed.formats.reading import Fault, State
from outcomed.formats.source import Source
from outcomed.quantities import format_size

# What `zstd -d` accepts without --long. A header may ask for gigabytes before the first byte.
WINDOW_LIMIT = 128 * 1024 * 1024


def ends_early(source: Source, name: str) -> Fault:
    whole = f", {source.streams} whole before it" if source.streams else ""
    size, unpacked = format_size(source.bytes_read), format_size(source.bytes_unpacked)
    return Fault(
        State.TRUNCATED,
        f"the {name} stream ends early, after {size} ({unpacked} unpacked{whole})",
    )


def damaged(source: Source, name: str, error: Exception) -> Fault:
    if "Memory usage limit" in str(error):
        return too_large(name)
    unpacked = format_size(source.bytes_unpacked)
    return Fault(
        State.CORRUPT, f"the {name} stream is damaged, {unpacked} were unpacked before: {error}"
    )


def too_large(name: str) -> Fault:
    return Fault(
        State.UNREADABLE,
        f"unpacking this {name} stream takes more memory than {format_size(WINDOW_LIMIT)}",
    )


def trailing_garbage(source: Source, name: str) -> Fault:
    return Fault(
        State.CORRUPT,
        f"something that is no {name} follows the end of the {name} stream",
    )
