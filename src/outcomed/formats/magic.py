"""What a file is, by how it begins: to look through its compression, and to name what it is not."""

from __future__ import annotations

import re

from outcomed.formats.reading import Fault, State
from outcomed.formats.source import Source

# So much of the beginning is looked at: a tar is known by the end of its first block.
BLOCK = 512

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

_COMPRESSIONS = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("zstd", re.compile(re.escape(ZSTD_MAGIC) + rb"|" + SKIPPABLE_MAGIC.pattern)),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
)

# Only for the sentence: what people find where they expected something else.
_OTHERS = (
    ("a zip archive", re.compile(rb"PK(?:\x03\x04|\x05\x06)")),
    ("a 7z archive", re.compile(rb"7z\xbc\xaf\x27\x1c")),
    ("an lz4 stream", re.compile(rb"\x04\x22\x4d\x18")),
    ("an lzop file", re.compile(rb"\x89LZO")),
    ("an lzip file", re.compile(rb"LZIP")),
    ("a file of compress(1)", re.compile(rb"\x1f\x9d")),
    ("a custom-format dump (pg_dump -Fc)", re.compile(rb"PGDMP")),
    ("an SQLite database", re.compile(rb"SQLite format 3\x00")),
    ("a dump of MySQL or MariaDB", re.compile(rb"(?:/\*M!.*\n)?-- (?:MySQL|MariaDB) dump ")),
    ("UTF-16 text", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("a web page", re.compile(rb"(?i)\s*<(?:!doctype )?html")),
    ("zero bytes, as a crash leaves behind", re.compile(rb"\x00{16}")),
    ("text", re.compile(rb"[\t\n\r\x20-\x7e]{8}")),
)


# A file that ends inside one of these was going to be compressed.
_BEGINNINGS = (b"\x1f\x8b", ZSTD_MAGIC, b"\xfd7zXZ\x00", b"BZh91AY&SY")


def layer_of(source: Source) -> str | None:
    """The compression to look through, by the file's first bytes."""
    head = source.head(BLOCK)
    if any(begin.startswith(head) and begin != head for begin in _BEGINNINGS):
        raise Fault(State.TRUNCATED, f"the file ends inside its first bytes: it has {len(head)}")
    return compression_of(head)


def compression_of(head: bytes) -> str | None:
    return next((name for name, magic in _COMPRESSIONS if magic.match(head)), None)


def called(head: bytes) -> str:
    compression = compression_of(head)
    if compression is not None:
        return f"a {compression} stream"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for name, magic in _OTHERS if magic.match(head)), "something else")


def wrong(expected: str, head: bytes) -> Fault:
    return Fault(State.WRONG_FORMAT, f"expected {expected}, found {called(head)}")
