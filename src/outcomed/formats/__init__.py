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

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from outcomed.formats.layers import read_compressed
from outcomed.formats.plain_dump import read_pg_dump
from outcomed.formats.reading import Evidence, Fault, Reading, State
from outcomed.formats.source import Source
from outcomed.formats.tar import read_tar

__all__ = ["FORMATS", "Evidence", "Reading", "State", "read"]


def read(stream: BinaryIO, format: str) -> Reading:  # noqa: A002  # the job file's word
    """Read `stream` to its end, or to its first fault. `format` is one of FORMATS."""
    source = Source(stream)
    reader = _READERS[format]
    try:
        source.refuse_nothing()
        return reader(source)
    except Fault as fault:
        return Reading(fault.state, fault.summary, source.evidence())


_READERS: dict[str, Callable[[Source], Reading]] = {
    "gzip": partial(read_compressed, compression="gzip"),
    "zstd": partial(read_compressed, compression="zstd"),
    "xz": partial(read_compressed, compression="xz"),
    "bzip2": partial(read_compressed, compression="bzip2"),
    "tar": read_tar,
    "pg_dump": read_pg_dump,
}

FORMATS = frozenset(_READERS)
