"""Say whether an artifact is whole, and whether there is anything in it.

A tool's own test answers half the question: an empty gzip stream and a tar without members pass
it, and GNU tar takes an archive without its end for a good one. So the structure is walked here,
once, from an opened stream, in constant memory whatever the file claims to unpack to.

This runs in the check unit, never in the daemon: every byte read is a stranger's. It opens no file,
writes none, knows no rule and no `allow_empty`, has no deadline of its own and leaves an `OSError`
of the stream to the caller. It restores nothing: a whole dump may still be refused by the server.

What a format cannot show is not seen:

- A file cut exactly between two members of a multi-member gzip, xz or bzip2, or between two zstd
  frames, is a shorter good file. (A tar or a dump inside it lacks its own end, and that is seen.)
- A changed bit in gzip's name, time and flags, in what a tar's files and pax headers say, or in
  zstd without checksum, unless the structure breaks over it. Of a dump, only its layer's checksum
  protects the text.
- A dump kept as text in a table, line by line, or by INSERT: its first lines look like those of the
  next dump in the file, after one that died among its rows. It is called truncated.

Stricter than the tools: bytes after the end that are neither zero padding nor another member are
damage (gzip and bzip2 warn and ignore them, tar says nothing; zstd(1) takes no padding, and neither
does this), and a tar ends with two zero blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from outcomed.formats.custom_dump import read_pg_custom
from outcomed.formats.jsontext import read_json
from outcomed.formats.layers import read_compressed
from outcomed.formats.once import Reader, judged, read_for_all, sought
from outcomed.formats.plain_dump import read_pg_dump
from outcomed.formats.reading import Evidence, Fault, Reading, State
from outcomed.formats.source import Source
from outcomed.formats.sqlitefile import open_sqlite
from outcomed.formats.tar import read_tar
from outcomed.formats.ziparchive import prepare_zip

__all__ = ["FORMATS", "Evidence", "Reading", "Readings", "State", "read", "read_once"]


@dataclass(frozen=True, slots=True)
class Readings:
    """What one look at a file found: a reading for each format, and its hash if that was wanted."""

    by_format: Mapping[str, Reading]
    sha256: str | None


def read(stream: BinaryIO, format: str) -> Reading:  # noqa: A002  # the job file's word
    """Read `stream`, which stands at its beginning, as one of FORMATS."""
    if format in _OPENED:
        return sought(_OPENED[format](stream), stream)
    return judged(_reader(stream, format), Source(stream))


def read_once(
    file: BinaryIO,
    formats: Collection[str],
    *,
    digest: bool,
    opened: Callable[[], None] = lambda: None,
) -> Readings:
    """Read `file`, which stands at its beginning, once, for its SHA-256 and for all `formats`.

    `opened` is called when all is open that has to be: from then on no right but that to read
    `file` is needed, and not a byte of it was looked at before.

    Two formats take more than one pass. Of a zip the directory is read before, from the file's end.
    An SQLite database is read by SQLite, in the order of its trees, after the pass that hashes it:
    that is the file read twice, or once where nothing else is wanted.
    """
    seeking = {name: _OPENED[name](file) for name in formats if name in _OPENED}
    opened()
    readers = {name: _reader(file, name) for name in formats if name not in seeking}
    found, sha256 = read_for_all(file, readers, digest=digest)
    found |= {name: sought(reader, file) for name, reader in seeking.items()}
    return Readings(found, sha256)


def _reader(file: BinaryIO, name: str) -> Reader:
    if name in _READERS:
        return _READERS[name]
    try:
        return _PREPARED[name](file)
    except Fault as fault:
        return partial(_say, fault)
    finally:
        file.seek(0)


def _say(fault: Fault, source: Source) -> Reading:
    raise fault


_READERS: dict[str, Reader] = {
    "gzip": partial(read_compressed, compression="gzip"),
    "zstd": partial(read_compressed, compression="zstd"),
    "xz": partial(read_compressed, compression="xz"),
    "bzip2": partial(read_compressed, compression="bzip2"),
    "tar": read_tar,
    "json": read_json,
    "pg_dump": read_pg_dump,
    "pg_custom": read_pg_custom,
}

# What has to be known of a file before it is read from its beginning.
_PREPARED: dict[str, Callable[[BinaryIO], Reader]] = {"zip": prepare_zip}

# What is opened once more, and read in an order of its own.
_OPENED: dict[str, Callable[[BinaryIO], Callable[[BinaryIO], Reading]]] = {"sqlite": open_sqlite}

FORMATS = frozenset({*_READERS, *_PREPARED, *_OPENED})
