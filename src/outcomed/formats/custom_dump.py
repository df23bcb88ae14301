"""A custom-format dump of PostgreSQL (pg_dump -Fc), walked from its header to its last block.

pg_restore --list reads the table of contents alone, and accepts a file that ends behind it. Here
each entry that has data has to have its block, and each block has to be complete: the chunks, the
compressed stream in them, and the `\\.` behind the rows. Offsets are not needed, which a dump that
was written to a pipe does not have; where they are, they have to be right.

The format has no checksum of its own. A changed bit in a name or in SQL is not seen, nor, without
compression, one in the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from outcomed.formats.layers import unpack
from outcomed.formats.magic import BLOCK, layer_of, wrong
from outcomed.formats.plain_dump import Script
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted, printable
from outcomed.formats.source import CHUNK, Cursor, Reads, Source
from outcomed.quantities import format_size

_MAGIC = b"PGDMP"
_NEWEST = (1, 16)  # of PostgreSQL 17 and 18
_OLDEST = (1, 12)  # of 9.0
_CUSTOM, _TAR, _DIRECTORY = 1, 3, 5
_COMPRESSIONS = {0: None, 1: "zlib", 2: "lz4", 3: "zstd"}
_OFFSET_NOT_SET, _OFFSET_SET, _NO_DATA = 1, 2, 3
_DATA, _LARGE_OBJECTS = 1, 3
_NAME_LIMIT = 1024 * 1024
_SETTINGS = {
    b"ENCODING": re.compile(rb"SET client_encoding = '[A-Za-z0-9_-]+';\n"),
    b"STDSTRINGS": re.compile(rb"SET standard_conforming_strings = '(?:on|off)';\n"),
}
_ROWS_END = b"\\.\n\n\n"


def read_pg_custom(source: Source) -> Reading:
    """Through a compressed layer too."""
    compression = layer_of(source)
    walk = _Walk(unpack(source, compression))
    try:
        walk.header()
        walk.contents()
        walk.blocks()
    finally:
        source.contents = walk.evidence()
    return walk.reading(source)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the table of contents that has data."""

    name: str
    offset: int | None
    is_large_objects: bool
    is_copy: bool


class _Walk:
    """Where we are in the dump, and what was found up to there."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._cursor = Cursor(self._noting_faults(pieces))
        self._where = "its header"
        self._int_size = 4
        self._offset_size = 8
        self._version = (0, 0)
        self._compression: str | None = None
        self._pending: dict[int, _Entry] = {}
        self._found: dict[int, int] = {}  # where its block began, of each entry
        self._outer_fault: Fault | None = None  # of the dump, not of a stream inside it
        self._chunk_left = 0
        self._chunks_ended = False
        self._unread = ""
        self._entries = 0
        self._tables = 0
        self._tables_with_data = 0
        self._rows = 0
        self._inserts = 0
        self._large_objects = 0
        self._data_bytes = 0
        self._about: Evidence = {}

    def _noting_faults(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except Fault as fault:
            self._outer_fault = fault
            raise

    def evidence(self) -> Evidence:
        return self._about | {
            "entries": self._entries,
            "tables": self._tables,
            "tables_with_data": self._tables_with_data,
            "rows": self._rows,
            "inserts": self._inserts,
            "large_objects": self._large_objects,
            "data_bytes": self._data_bytes,
        }

    def reading(self, source: Source) -> Reading:
        if self._unread:
            raise Fault(State.UNREADABLE, f"no block is missing, but {self._unread}")
        if not (self._rows or self._inserts or self._large_objects):
            tables = counted(self._tables, "table")
            summary = f"a complete dump without table data: {tables}, no row"
            return Reading(State.EMPTY, summary, source.evidence())
        return Reading(State.WHOLE, f"a complete dump: {self._amount()}", source.evidence())

    def _amount(self) -> str:
        rows = [counted(self._rows, "row")] if self._rows or not self._inserts else []
        inserts = [counted(self._inserts, "INSERT")] if self._inserts else []
        amount = f"{' and '.join(rows + inserts)} in {counted(self._tables_with_data, 'table')}"
        objects = counted(self._large_objects, "large object")
        return f"{amount}, {objects}" if self._large_objects else amount

    # The header, and what everything is made of.

    def header(self) -> None:
        begin = self._cursor.take(len(_MAGIC))
        if begin != _MAGIC:
            if _MAGIC.startswith(begin):
                raise self._ends_early()
            raise wrong("a custom-format dump", begin + self._cursor.take(BLOCK))
        major, minor, revision, self._int_size, self._offset_size, kind = self._take(6)
        self._version = (major, minor)
        self._about["version"] = f"{major}.{minor}"
        self._refuse_versions(f"{major}.{minor}-{revision}")
        if self._int_size not in (4, 8) or self._offset_size not in (4, 8):
            raise self._damaged("numbers of such sizes are not written")
        self._refuse_kinds(kind)
        self._compression = self._read_compression()
        self._about["dump_compression"] = self._compression or "none"
        for _ in range(7):  # seconds to years, and daylight saving time
            self._int()
        for key in ("database", "server", "pg_dump"):
            self._about[key] = printable(self._string() or b"")

    def _refuse_versions(self, version: str) -> None:
        if self._version > _NEWEST:
            raise Fault(State.UNREADABLE, f"a dump of version {version}, newer than is known here")
        if self._version < _OLDEST:
            raise Fault(State.UNREADABLE, f"a dump of version {version}, older than PostgreSQL 9")

    def _refuse_kinds(self, kind: int) -> None:
        if kind in (_TAR, _DIRECTORY):
            of = "tar" if kind == _TAR else "directory"
            raise Fault(
                State.WRONG_FORMAT,
                f"expected a custom-format dump, found the table of contents of a {of}-format one",
            )
        if kind != _CUSTOM:
            raise self._damaged("a format of no known kind")

    def _read_compression(self) -> str | None:
        if self._version < (1, 15):
            return None if self._int() == 0 else "zlib"
        algorithm = self._take(1)[0]
        if algorithm not in _COMPRESSIONS:
            raise self._damaged("a compression of no known kind")
        return _COMPRESSIONS[algorithm]

    def _take(self, size: int) -> bytes:
        piece = self._cursor.take(size)
        if len(piece) < size:
            raise self._ends_early()
        return piece

    def _int(self) -> int:
        piece = self._take(1 + self._int_size)
        if piece[0] > 1:
            raise self._damaged("a number is none")
        value = int.from_bytes(piece[1:], "little")
        return -value if piece[0] else value

    def _size(self) -> int:
        """Of a string; there is none where it is -1."""
        size = self._int()
        if size < -1:
            raise self._damaged("the length of a string is none")
        return size

    def _string(self) -> bytes | None:
        size = self._size()
        if size < 0:
            return None
        if size > _NAME_LIMIT:
            raise Fault(State.UNREADABLE, f"the dump has a name of {format_size(size)}")
        return self._take(size)

    def _skip_strings(self, count: int) -> None:
        """Definitions may be of any length."""
        for _ in range(count):
            size = self._size()
            if size > 0 and not self._cursor.skip(size):
                raise self._ends_early()

    def _digits(self) -> None:
        if not (self._string() or b"").isdigit():
            raise self._damaged("an id is no number")

    def _so_far(self) -> str:
        return f"after {format_size(self._cursor.offset)} with {self._amount()}"

    def _ends_early(self) -> Fault:
        self._outer_fault = Fault(
            State.TRUNCATED, f"the dump ends inside {self._where}, {self._so_far()}"
        )
        return self._outer_fault

    def _damaged(self, why: str) -> Fault:
        self._outer_fault = Fault(
            State.CORRUPT, f"the dump is damaged in {self._where}, {self._so_far()}: {why}"
        )
        return self._outer_fault

    # The table of contents.

    def contents(self) -> None:
        self._where = "its table of contents"
        self._entries = self._int()
        if self._entries < 0:
            raise self._damaged("the number of entries is negative")
        self._table_of_contents()

    def _table_of_contents(self) -> None:
        seen: set[int] = set()
        for _ in range(self._entries):
            number = self._int()
            if number <= 0 or number in seen:
                raise self._damaged("the id of an entry cannot be")
            seen.add(number)
            self._entry(number)

    def _entry(self, number: int) -> None:
        has_data = self._int()
        self._digits()  # the oid of its catalog, and its own
        self._digits()
        tag, kind = self._string() or b"", self._string()
        if has_data not in (0, 1) or not 1 <= self._int() <= 4:
            raise self._damaged("the section of an entry cannot be")
        self._definition(kind)
        self._skip_strings(1)  # to drop it
        copy = self._take_copy()
        namespace = self._string()
        self._skip_strings(2 if self._version >= (1, 14) else 1)  # tablespace, access method
        if self._version >= (1, 16):
            self._int()  # the kind of relation
        self._skip_strings(1)  # its owner
        if self._string() not in (b"true", b"false"):  # WITH OIDS
            raise self._damaged("an entry has another end")
        while (dependency := self._string()) is not None:
            if not dependency.isdigit():
                raise self._damaged("a dependency is no number")
        offset = self._offset(has_data=bool(has_data))
        if has_data:
            is_large_objects = kind == b"BLOBS"
            name = printable(namespace + b"." + tag if namespace else tag)
            name = "the large objects" if is_large_objects else name
            self._pending[number] = _Entry(name, offset, is_large_objects, copy)

    def _definition(self, kind: bytes | None) -> None:
        setting = _SETTINGS.get(kind or b"")
        if setting is None:
            self._skip_strings(1)
        elif not setting.fullmatch(self._string() or b""):
            raise self._damaged("a setting that pg_restore does not understand")

    def _take_copy(self) -> bool:
        """Whether rows follow a COPY; of a very wide table, it may be a long one."""
        size = self._size()
        if size <= 0:
            return False
        begin = self._take(min(size, 5))
        if not self._cursor.skip(size - len(begin)):
            raise self._ends_early()
        return begin == b"COPY "

    def _offset(self, *, has_data: bool) -> int | None:
        state, *digits = self._take(1 + self._offset_size)
        known = (_OFFSET_NOT_SET, _OFFSET_SET) if has_data else (_NO_DATA,)
        if state not in known:
            raise self._damaged("the offset of an entry cannot be")
        return int.from_bytes(bytes(digits), "little") if state == _OFFSET_SET else None

    # The data.

    def blocks(self) -> None:
        self._where = "its data"
        while kind := self._cursor.take(1):
            if kind == b"\0" and not self._pending:
                self._after_the_end()
                return
            self._block(kind[0], self._cursor.offset - 1)
            self._where = "its data"
        if self._pending:
            first, *others = self._pending.values()
            more = f" and {len(others):,} more" if others else ""
            raise Fault(
                State.TRUNCATED,
                f"the dump ends without the data of {first.name}{more}, {self._so_far()}",
            )

    def _after_the_end(self) -> None:
        """Zero padding, or, as PostgreSQL 16 and 17 do it where a shell opened the file, the table
        of contents again: with the offsets, that were to be filled in at the beginning."""
        begin = self._cursor.take(self._int_size)
        if any(begin):
            if int.from_bytes(begin, "little") != self._entries:
                raise self._follows()
            self._where = "the second table of contents"
            self._table_of_contents()
            if {number: entry.offset for number, entry in self._pending.items()} != self._found:
                raise self._damaged("it is not like the first")
        for piece in self._cursor.rest():
            if piece.strip(b"\0"):
                raise self._follows()

    def _follows(self) -> Fault:
        return Fault(State.CORRUPT, "something that is no block follows the dump's end")

    def _block(self, kind: int, offset: int) -> None:
        if kind not in (_DATA, _LARGE_OBJECTS):
            if not self._pending:
                raise self._follows()
            raise self._damaged(f"no block that belongs at byte {offset}")
        number = self._int()
        entry = self._pending.pop(number, None)
        if entry is None or entry.is_large_objects != (kind == _LARGE_OBJECTS):
            raise self._damaged(f"no block that belongs at byte {offset}")
        self._found[number] = offset
        self._where = f"the data of {entry.name}"
        if entry.offset is not None and entry.offset != offset:
            raise self._damaged("the table of contents has another offset")
        if entry.is_large_objects:
            self._objects()
        else:
            self._table(entry)

    def _objects(self) -> None:
        while oid := self._int():
            if oid < 0:
                raise self._damaged("the number of a large object is none")
            for _ in self._unpacked():
                pass
            self._large_objects += 1

    def _table(self, entry: _Entry) -> None:
        before = self._rows + self._inserts
        self._tables += 1
        if entry.is_copy:
            self._copied()
        else:
            self._inserted()
        self._tables_with_data += self._rows + self._inserts > before

    def _copied(self) -> None:
        tail = b"\n"
        rows = -_ROWS_END.count(b"\n")
        for piece in self._unpacked():
            if b"\0" in piece:
                raise self._damaged("a zero byte among the rows, which no text holds")
            rows += piece.count(b"\n")
            tail = (tail + piece[-8:])[-8:]
        if self._unread:
            return
        if not tail.endswith(b"\n" + _ROWS_END):
            raise self._damaged("no \\. follows the last row")
        self._rows += rows

    def _inserted(self) -> None:
        script = Script()
        try:
            for piece in self._unpacked():
                script.feed(piece)
            if not self._unread:
                script.finish()
        finally:
            self._inserts += script.inserts

    def _unpacked(self) -> Iterator[bytes]:
        """One stream, to the end of its chunks."""
        self._chunk_left, self._chunks_ended = 0, False
        stream = Source(cast(BinaryIO, Reads(self._read_chunks)))
        try:
            for piece in unpack(stream, self._compression):
                self._data_bytes += len(piece)
                yield piece
        except Fault as fault:
            if self._outer_fault is not None:
                raise
            if fault.state is not State.UNREADABLE:
                raise self._damaged(fault.summary) from fault
            self._unread = fault.summary
            while self._read_chunks(CHUNK):
                pass

    def _read_chunks(self, size: int) -> bytes:
        """What lies in the chunks, as a file. A chunk of no length ends it."""
        pieces = []
        while size and not self._chunks_ended:
            if not self._chunk_left:
                self._chunk_left = self._int()
                self._chunks_ended = self._chunk_left == 0
                if self._chunk_left < 0:
                    raise self._damaged("the length of a chunk is none")
                continue
            piece = self._cursor.some(min(size, self._chunk_left))
            if not piece:
                raise self._ends_early()
            pieces.append(piece)
            size -= len(piece)
            self._chunk_left -= len(piece)
        return b"".join(pieces)
