"""zip: what the central directory says, and what every member's bytes say of themselves.

The directory stands at the end of the file, and is read first; it is as large as its names, some
hundred bytes a member, of which forty are kept. Then the file is read once from its beginning, each
member in the order in which it lies there, up to its CRC and its size in both places.

The standard library's zipfile would do less: it keeps a thousand bytes a member, and passes over a
local header that contradicts the directory, a data descriptor, and bytes after the end. Bytes that
belong to no member, such as a program in front that unpacks itself, prove nothing and are counted;
neither times, attributes nor comments are protected by anything.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO, cast
from zlib import crc32

from outcomed.formats.damage import WINDOW_LIMIT
from outcomed.formats.layers import unpack
from outcomed.formats.magic import BLOCK, wrong
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted, printable
from outcomed.formats.source import CHUNK, Cursor, Reads, Source
from outcomed.quantities import format_size

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _DESCRIPTOR = 1, 8
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of one member, as far as its bytes can contradict it."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    name: int  # its hash: a million names would be most of the memory


@dataclass(slots=True)
class _Directory:
    """All entries; columns, since objects would take six times as much."""

    begins: int  # where it lies in the file
    columns: tuple[array[int], ...] = field(
        default_factory=lambda: tuple(array(kind) for kind in "HHIQQQq")
    )

    def add(self, entry: Sequence[int]) -> None:
        for column, value in zip(self.columns, entry, strict=True):
            column.append(value)

    def in_order(self) -> Iterator[_Entry]:
        offsets = self.columns[5]
        order: Sequence[int] = range(len(offsets))
        if any(offsets[at] > offsets[at + 1] for at in order[:-1]):
            order = sorted(order, key=offsets.__getitem__)
        return (_Entry(*(column[at] for column in self.columns)) for at in order)


def prepare_zip(file: BinaryIO) -> Callable[[Source], Reading]:
    """Read the directory, from wherever it is, and return what reads the rest from the beginning.

    Costs a seek to the end, and the directory being read twice.
    """
    return partial(_read_members, _read_directory(file))


# -- The directory ---------------------------------------------------------------------------------


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Nothing before the file's beginning."""
    if offset < 0:
        return b""
    file.seek(offset)
    return Cursor(_limited(file, size)).take(size)


def _read_directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, io.SEEK_END)
    end, fields = _find_end(file, size)
    _, disk, first_disk, _, _, length, offset, _ = fields
    count, ends = fields[4], end
    locator = _at(file, end - _LOCATOR.size, _LOCATOR.size)
    if locator.startswith(b"PK\x06\x07"):
        ends, count, length, offset = _end_64(file, end - _LOCATOR.size, locator, fields)
    elif count == _FULL_16 or _FULL_32 in (length, offset):
        raise _damaged("the zip64 record of its end is missing")
    elif fields[3] != count:
        raise _damaged("the two numbers of its members differ")
    if disk not in (0, _FULL_16) or first_disk not in (0, _FULL_16):
        raise Fault(State.UNREADABLE, "this is one part of a zip archive in several files")
    begins = ends - length
    if begins < offset:
        raise _damaged("its central directory is not where it should be")
    directory = _Directory(begins)
    file.seek(begins)
    _entries(directory, Cursor(_limited(file, length)), count, begins - offset)
    return directory


def _limited(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length and (piece := file.read(min(CHUNK, length))):
        length -= len(piece)
        yield piece


def _find_end(file: BinaryIO, size: int) -> tuple[int, tuple[Any, ...]]:
    """The last record that says it is the end; its comment may hold anything."""
    tail = _at(file, max(0, size - _END.size - _FULL_16 - BLOCK), size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        head = _at(file, 0, BLOCK)
        begins = (b"PK\x03\x04", b"PK\x05\x06")
        if head.startswith(begins) or any(begin.startswith(head) for begin in begins):
            raise Fault(State.TRUNCATED, "the zip archive ends without its central directory")
        raise wrong("a zip archive", head)
    if len(tail) - at < _END.size:
        raise Fault(State.TRUNCATED, "the zip archive ends inside its last record")
    fields = _END.unpack_from(tail, at)
    comment = at + _END.size + fields[-1]
    if comment > len(tail):
        raise Fault(State.TRUNCATED, "the zip archive ends inside its comment")
    if tail[comment:].strip(b"\0"):
        raise Fault(State.CORRUPT, "something else follows the zip archive's end")
    return size - len(tail) + at, fields


def _end_64(
    file: BinaryIO, end: int, locator: bytes, fields: tuple[Any, ...]
) -> tuple[int, int, int, int]:
    """Of an archive beyond 4 GiB or 65,534 members: where its directory ends, and the figures."""
    _, _, stated, _ = _LOCATOR.unpack(locator)
    # With something in front of the archive it lies further back than it says.
    for at in (stated, end - _END_64.size):
        record = _at(file, at, _END_64.size)
        if len(record) == _END_64.size and record.startswith(b"PK\x06\x06"):
            break
    else:
        raise _damaged("the zip64 record of its end is not where it should be")
    count, length, offset = _END_64.unpack(record)[7:]
    short = zip((fields[4], fields[5], fields[6]), (count, length, offset), strict=True)
    if any(of not in (_FULL_16, _FULL_32, figure) for of, figure in short):
        raise _damaged("the two records of its end contradict one another")
    return at, count, length, offset


def _entries(directory: _Directory, cursor: Cursor, count: int, shift: int) -> None:
    for _ in range(count):
        record = cursor.take(_ENTRY.size)
        if len(record) < _ENTRY.size or not record.startswith(b"PK\x01\x02"):
            raise _damaged("its central directory holds less than it should")
        (_, _, _, flags, method, _, _, crc, packed, size, names, extras, comments, *_, offset) = (
            _ENTRY.unpack(record)
        )
        name, extra = cursor.take(names), cursor.take(extras)
        size, packed, offset = _wide(extra, (size, packed, offset))
        if not cursor.skip(comments):
            raise _damaged("its central directory holds less than it should")
        directory.add((flags, method, crc, packed, size, offset + shift, hash(name)))
    if cursor.take(1):
        raise _damaged("its central directory holds more than it should")


def _wide(extra: bytes, figures: Sequence[int]) -> Sequence[int]:
    """Figures that do not fit into 32 bits stand in an extra field, in this order."""
    if _FULL_32 not in figures:
        return figures
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = (extra[begin : begin + 8] for begin in range(at + 4, at + 4 + length, 8))
            return [
                int.from_bytes(next(wide, b""), "little") if figure == _FULL_32 else figure
                for figure in figures
            ]
        at += 4 + length
    return figures


def _damaged(why: str) -> Fault:
    return Fault(State.CORRUPT, f"the zip archive is damaged: {why}")


# -- The members -----------------------------------------------------------------------------------


def _read_members(directory: _Directory, source: Source) -> Reading:
    walk = _Walk(Cursor(source.chunks()))
    try:
        for entry in directory.in_order():
            walk.member(entry)
        walk.rest(directory.begins)
    finally:
        source.contents = walk.evidence()
    if walk.unread:
        raise Fault(State.UNREADABLE, f"no damage in what could be read, but {walk.unread}")
    if walk.files == 0:
        what = "without a file" if walk.directories else "without members"
        return Reading(State.EMPTY, f"a whole zip archive {what}", source.evidence())
    amount = f"{counted(walk.files, 'file')}, {format_size(walk.file_bytes)} unpacked"
    return Reading(State.WHOLE, f"a whole zip archive: {amount}", source.evidence())


class _Walk:
    """The file from its beginning, as the directory says that it has to be."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._prefix = 0
        self._unused = 0
        self._encrypted = 0
        self.unread = ""
        self.members = 0
        self.files = 0
        self.directories = 0
        self.file_bytes = 0
        self.last_member: str | None = None

    def evidence(self) -> Evidence:
        return {
            "members": self.members,
            "files": self.files,
            "directories": self.directories,
            "file_bytes": self.file_bytes,
            "encrypted": self._encrypted,
            "prefix_bytes": self._prefix,
            "unused_bytes": self._unused,
            "last_member": self.last_member,
        }

    def member(self, entry: _Entry) -> None:
        self._go_to(entry.offset)
        name, is_wide = self._local_header(entry)
        self.members += 1
        self.last_member = printable(name)
        is_directory = name.endswith(b"/")
        self.directories += is_directory
        self.files += not is_directory
        if entry.flags & _ENCRYPTED:
            self._encrypted += 1
            self._pass_over(entry, f"{self.last_member} is encrypted")
            return
        if entry.method not in (_STORED, _DEFLATED, _BZIP2, _LZMA):
            self._pass_over(entry, f"{self.last_member} is packed by method {entry.method}")
            return
        self._contents(entry)
        if entry.flags & _DESCRIPTOR:
            self._descriptor(entry, is_wide=is_wide)

    def rest(self, begins: int) -> None:
        """The directory was read; the way there is gone so that the file is read whole."""
        self._go_to(begins)
        for _ in self._cursor.rest():
            pass

    def _go_to(self, offset: int) -> None:
        gap = offset - self._cursor.offset
        if gap < 0:
            raise self._wrong("it overlaps with what its directory says comes next")
        if self.members == 0:
            self._prefix = gap
        else:
            self._unused += gap
        if not self._cursor.skip(gap):
            raise self._shrunk()

    def _shrunk(self) -> Fault:
        return Fault(State.TRUNCATED, "the zip archive became shorter while it was read")

    def _wrong(self, why: str) -> Fault:
        return _damaged(f"{self.last_member}: {why}" if self.last_member else why)

    def _take(self, size: int) -> bytes:
        piece = self._cursor.take(size)
        if len(piece) < size:
            raise self._shrunk()
        return piece

    def _local_header(self, entry: _Entry) -> tuple[bytes, bool]:
        offset = self._cursor.offset
        signature, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL.unpack(
            self._take(_LOCAL.size)
        )
        if signature != b"PK\x03\x04":
            raise self._wrong(f"no member at byte {offset}, where the directory says there is one")
        name, extra = self._take(names), self._take(extras)
        is_wide = _FULL_32 in (size, packed)
        size, packed = _wide(extra, (size, packed))
        stated = (flags & _ENCRYPTED, method, hash(name))
        differs = stated != (entry.flags & _ENCRYPTED, entry.method, entry.name)
        figures = zip((crc, packed, size), (entry.crc, entry.packed, entry.size), strict=True)
        # Where they follow the data, they need not stand here.
        later = bool(entry.flags & flags & _DESCRIPTOR)
        if differs or any(a != b and not (later and a == 0) for a, b in figures):
            self.last_member = printable(name)
            raise self._wrong("its header contradicts the directory")
        return name, is_wide

    def _pass_over(self, entry: _Entry, why: str) -> None:
        self.unread = why
        if not self._cursor.skip(entry.packed):
            raise self._shrunk()

    def _contents(self, entry: _Entry) -> None:
        begin, crc, size = self._cursor.offset, 0, 0
        reads = Reads(partial(self._packed, begin + entry.packed))
        pieces = _unpacked(entry, Source(cast(BinaryIO, reads)))
        try:
            for piece in pieces:
                crc = crc32(piece, crc)
                size += len(piece)
        except Fault as fault:
            if fault.state is State.UNREADABLE:
                self._pass_over_rest(begin + entry.packed, fault.summary)
                return
            raise self._wrong(fault.summary) from fault
        self._pass_over_rest(begin + entry.packed, self.unread)
        if (crc, size) != (entry.crc, entry.size):
            raise self._wrong("its contents are not those whose CRC the archive has")
        self.file_bytes += size

    def _pass_over_rest(self, end: int, why: str) -> None:
        self.unread = why
        self._cursor.skip(end - self._cursor.offset)

    def _packed(self, end: int, most: int) -> bytes:
        most = min(most, end - self._cursor.offset)
        piece = self._cursor.some(most) if most else b""
        if most and not piece:
            raise self._shrunk()
        return piece

    def _descriptor(self, entry: _Entry, *, is_wide: bool) -> None:
        """CRC and sizes once more, with or without a signature, in 32 or in 64 bits."""
        first = self._take(4)
        crc = self._take(4) if first == b"PK\x07\x08" else first
        figures = self._take(8)
        wide = struct.pack("<2Q", entry.packed, entry.size)
        narrow = struct.pack("<2L", entry.packed & _FULL_32, entry.size & _FULL_32)
        if is_wide or figures != narrow:
            figures += self._take(8)
        if crc != struct.pack("<L", entry.crc) or figures not in (narrow, wide):
            raise self._wrong("what follows its data contradicts the directory")


def _unpacked(entry: _Entry, source: Source) -> Iterator[bytes]:
    match entry.method:
        case 0:
            return source.chunks()
        case 8:
            return unpack(source, "deflate")
        case 12:
            return unpack(source, "bzip2")
        case _:
            return _lzma(source)


def _lzma(source: Source) -> Iterator[bytes]:
    """LZMA in zip has a header of its own and needs no end: the CRC and the size are its proof."""
    lzma = import_module("lzma")
    cursor = Cursor(source.chunks())
    header = cursor.take(9)
    if len(header) < 9 or header[2:4] != b"\x05\0":
        raise Fault(State.CORRUPT, "the LZMA header is none")
    dictionary = int.from_bytes(header[5:], "little")
    if dictionary > WINDOW_LIMIT:
        limit = format_size(WINDOW_LIMIT)
        raise Fault(State.UNREADABLE, f"unpacking LZMA takes more memory than {limit}")
    positions, of = divmod(header[4], 45)
    chain = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "pb": positions,
        "lp": of // 9,
        "lc": of % 9,
    }
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
        for piece in cursor.rest():
            yield decoder.decompress(piece, CHUNK)
            while not decoder.needs_input and not decoder.eof:
                yield decoder.decompress(b"", CHUNK)
            if decoder.eof:
                break
    except (lzma.LZMAError, ValueError) as error:
        raise Fault(State.CORRUPT, f"the LZMA stream is damaged: {error}") from error
