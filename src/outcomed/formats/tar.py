"""tar, walked header by header; through a compressed layer too."""

from __future__ import annotations

import re

from outcomed.formats.layers import unpack
from outcomed.formats.magic import BLOCK, layer_of, wrong
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted, printable
from outcomed.formats.source import Cursor, Source
from outcomed.quantities import format_size

_ZERO_BLOCK = bytes(BLOCK)
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*(?:\0.*)?", re.DOTALL)
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,18}) ")
_PAX_LIMIT = 4 * 1024 * 1024

# Links, devices, directories and FIFOs carry no contents, whatever their size field says.
_TAR_WITHOUT_CONTENTS = frozenset(b"123456")
_TAR_DIRECTORIES = frozenset(b"5D")
_TAR_FILES = frozenset(b"\x0007S")
_TAR_PAX = frozenset(b"xgX")
_TAR_ABOUT_OTHERS = frozenset(b"xgXLKV")  # pax headers, long names, the volume's name


def read_tar(source: Source) -> Reading:
    compression = layer_of(source)
    cursor = Cursor(unpack(source, compression))
    walk = _TarWalk(cursor)
    try:
        walk.to_the_end()
    finally:
        source.contents = walk.evidence()
    return _tar_reading(source, walk)


def _tar_reading(source: Source, walk: _TarWalk) -> Reading:
    if walk.members == 0:
        return Reading(State.EMPTY, "a whole tar archive without members", source.evidence())
    if walk.members == walk.directories:
        directories = (
            "1 directory" if walk.directories == 1 else f"{walk.directories:,} directories"
        )
        summary = f"a whole tar archive without a file: {directories}"
        return Reading(State.EMPTY, summary, source.evidence())
    amount = f"{counted(walk.members, 'member')}, {format_size(walk.file_bytes)} of files"
    summary = f"a whole tar archive: {amount}"
    return Reading(State.WHOLE, summary, source.evidence())


def _checksums(header: bytes) -> tuple[int, int]:
    """The sum of the bytes, and, as some old tars have it, of the signed characters."""
    unsigned = sum(header)
    if header.isascii():
        return unsigned, unsigned
    return unsigned, unsigned - 256 * sum(byte > 127 for byte in header)


class _TarWalk:
    """tarfile in stream mode takes a cut header, and a missing end, for the end. This does not."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._pax_size: int | None = None
        self.members = 0
        self.directories = 0
        self.files = 0
        self.file_bytes = 0
        self.last_member: str | None = None

    def evidence(self) -> Evidence:
        return {
            "members": self.members,
            "files": self.files,
            "directories": self.directories,
            "file_bytes": self.file_bytes,
            "last_member": self.last_member,
        }

    def to_the_end(self) -> None:
        while (header := self._block()) != _ZERO_BLOCK:
            self._entry(header)
        self._end()

    def _block(self) -> bytes:
        block = self._cursor.take(BLOCK)
        if len(block) == BLOCK:
            return block
        if self._cursor.offset == 0:
            raise Fault(State.TRUNCATED, "the tar archive has not one byte")
        raise Fault(
            State.TRUNCATED,
            "the tar archive ends early: the two zero blocks of its end are missing"
            + self._so_far(),
        )

    def _so_far(self) -> str:
        last = f", the last is {self.last_member}" if self.last_member else ""
        return (
            f" after {counted(self.members, 'member')} ({format_size(self._cursor.offset)}{last})"
        )

    def _entry(self, header: bytes) -> None:
        self._verify(header)
        kind = header[156]
        size = self._number(header[124:136])
        if kind in _TAR_PAX:
            self._pax(size)
            return
        if kind not in _TAR_ABOUT_OTHERS:
            self._count(kind, header)
            size, self._pax_size = size if self._pax_size is None else self._pax_size, None
        if kind in _TAR_WITHOUT_CONTENTS:
            return
        if kind == ord("S"):
            self._sparse_map(header)
        if not self._cursor.skip(size + -size % BLOCK):
            raise self._cut_inside()
        if kind in _TAR_FILES:
            self.file_bytes += size

    def _verify(self, header: bytes) -> None:
        stated = _OCTAL.fullmatch(header[148:156])
        rest = header[:148] + b" " * 8 + header[156:]
        if stated and stated[1] and int(stated[1], 8) in _checksums(rest):
            return
        offset = self._cursor.offset - BLOCK
        if offset == 0:
            raise wrong("a tar archive", header)
        raise Fault(
            State.CORRUPT, f"the tar archive is damaged: no header at byte {offset}{self._so_far()}"
        )

    def _number(self, field: bytes) -> int:
        """Octal text, or, above 8 GiB, GNU's big-endian number behind a set top bit."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        match = _OCTAL.fullmatch(field)
        if match is None:
            raise Fault(
                State.CORRUPT, f"the tar archive is damaged: a size is no number{self._so_far()}"
            )
        return int(match[1] or b"0", 8)

    def _count(self, kind: int, header: bytes) -> None:
        self.members += 1
        self.directories += kind in _TAR_DIRECTORIES
        self.files += kind in _TAR_FILES
        name = header[:100].split(b"\0", 1)[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].split(b"\0", 1)[0] + b"/" + name
        self.last_member = printable(name)

    def _sparse_map(self, header: bytes) -> None:
        more = header[482]
        while more:
            extension = self._cursor.take(BLOCK)
            if len(extension) < BLOCK:
                raise self._cut_inside()
            more = extension[504]

    def _pax(self, size: int) -> None:
        """Of all that a pax header may say, only another size changes where the next header is."""
        if size > _PAX_LIMIT:
            raise Fault(
                State.UNREADABLE, f"the tar archive has a pax header of {format_size(size)}"
            )
        records = self._cursor.take(size)
        if len(records) < size or not self._cursor.skip(-size % BLOCK):
            raise self._cut_inside()
        at = 0
        while at < size:
            length = _PAX_RECORD.match(records, at)
            end = at + int(length[1]) if length else 0
            if length is None or not length.end() < end <= size or records[end - 1] != ord("\n"):
                raise Fault(
                    State.CORRUPT, f"the tar archive is damaged: a pax header{self._so_far()}"
                )
            self._pax_record(records[length.end() : end - 1])
            at = end

    def _pax_record(self, record: bytes) -> None:
        key, _, value = record.partition(b"=")
        if key == b"size" and value.isdigit() and len(value) < 20:
            self._pax_size = int(value)

    def _cut_inside(self) -> Fault:
        return Fault(State.TRUNCATED, f"the tar archive ends inside a member,{self._so_far()}")

    def _end(self) -> None:
        if self._block() != _ZERO_BLOCK:
            raise self._not_the_end()
        # Read on: the record's padding, and the compressed layer's own end.
        for piece in self._cursor.rest():
            if piece.strip(b"\0"):
                raise self._not_the_end()

    def _not_the_end(self) -> Fault:
        if self.members == 0:  # so the zero blocks were no end either
            return wrong("a tar archive", _ZERO_BLOCK)
        return Fault(
            State.CORRUPT, f"something else follows the tar archive's end,{self._so_far()}"
        )
