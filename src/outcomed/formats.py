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

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, BinaryIO, Protocol

from outcomed.model import Value
from outcomed.quantities import format_size

# Compressors are imported where they are needed: a tar of its own loads none of them.

Evidence = dict[str, Value]

FORMATS = frozenset({"gzip", "zstd", "tar", "pg_dump"})

_CHUNK = 256 * 1024
# A decoder hands back what it did not need, and a file may have a member for every line.
_FEED = 32 * 1024
# What `zstd -d` accepts without --long. A header may ask for gigabytes before the first byte.
_WINDOW_LIMIT = 128 * 1024 * 1024
# liblzma counts its own tables on top of the dictionary.
_XZ_MEMORY_LIMIT = _WINDOW_LIMIT + 8 * 1024 * 1024


class State(StrEnum):
    WHOLE = "whole"
    EMPTY = "empty"  # well formed, complete, and with nothing in it
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    WRONG_FORMAT = "wrong-format"
    UNREADABLE = "unreadable"  # may be good: it takes more memory or another tool to say


@dataclass(frozen=True, slots=True)
class Reading:
    state: State
    summary: str
    evidence: Evidence


def read(stream: BinaryIO, format: str) -> Reading:  # noqa: A002  # the job file's word
    """Read `stream` to its end, or to its first fault. `format` is one of FORMATS."""
    source = _Source(stream)
    reader = _READERS[format]
    try:
        source.refuse_nothing()
        return reader(source)
    except _Fault as fault:
        return Reading(fault.state, fault.summary, source.evidence())


class _Fault(Exception):  # noqa: N818  # a finding, not an error of ours
    """Ends the reading, from any depth: what is wrong is known, the rest need not be read."""

    def __init__(self, state: State, summary: str) -> None:
        super().__init__(summary)
        self.state = state
        self.summary = summary


# -- The file --------------------------------------------------------------------------------------


class _Source:
    """The bytes of the file, in chunks, counted; and the evidence that gathers around them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead = b""
        self._at = 0
        self.bytes_read = 0
        self.bytes_unpacked = 0
        self.compression: str | None = None
        self.streams: int | None = None
        self.contents: Evidence = {}

    def refuse_nothing(self) -> None:
        if not self.head(1):
            raise _Fault(State.TRUNCATED, "the file is empty: it has not one byte")

    def head(self, size: int) -> bytes:
        """The file's first bytes, before any other are taken; fewer where it is shorter."""
        while len(self._ahead) < size and (more := self._read()):
            self._ahead += more
        return self._ahead[:size]

    def chunk(self, most: int = _CHUNK) -> bytes:
        """The next bytes, none at the end."""
        if self._at == len(self._ahead):
            self._ahead, self._at = self._read(), 0
        chunk = self._ahead[self._at : self._at + most]
        self._at += len(chunk)
        return chunk

    def chunks(self) -> Iterator[bytes]:
        while chunk := self.chunk():
            yield chunk

    def _read(self) -> bytes:
        chunk = self._stream.read(_CHUNK)
        self.bytes_read += len(chunk)
        return chunk

    def evidence(self) -> Evidence:
        found: Evidence = {"bytes_read": self.bytes_read, "bytes_unpacked": self.bytes_unpacked}
        if self.compression is not None:
            found |= {"compression": self.compression, "streams": self.streams}
        return found | self.contents


class _Cursor:
    """Exact pieces out of chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._at = 0
        self._base = 0

    @property
    def offset(self) -> int:
        return self._base + self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        end = self._at + size
        if end > len(self._buffer):
            self._gather(size)
            end = self._at + size
        piece = self._buffer[self._at : end]
        self._at += len(piece)
        return piece

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes; False if there are fewer."""
        while size > len(self._buffer) - self._at:
            size -= len(self._buffer) - self._at
            if not self._advance():
                return False
        self._at += size
        return True

    def rest(self) -> Iterator[bytes]:
        yield self._buffer[self._at :]
        while self._advance():
            yield self._buffer

    def _advance(self) -> bool:
        self._base += len(self._buffer)
        self._buffer = next(self._chunks, b"")
        self._at = 0
        return bool(self._buffer)

    def _gather(self, size: int) -> None:
        self._base += self._at
        pieces = [self._buffer[self._at :]]
        have = len(pieces[0])
        while have < size and (chunk := next(self._chunks, b"")):
            pieces.append(chunk)
            have += len(chunk)
        self._buffer = b"".join(pieces)
        self._at = 0


# -- What it begins with ---------------------------------------------------------------------------

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

_COMPRESSIONS = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("zstd", re.compile(re.escape(_ZSTD_MAGIC) + rb"|" + _SKIPPABLE_MAGIC.pattern)),
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


def _compression(head: bytes) -> str | None:
    return next((name for name, magic in _COMPRESSIONS if magic.match(head)), None)


def _called(head: bytes) -> str:
    compression = _compression(head)
    if compression is not None:
        return f"a {compression} stream"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for name, magic in _OTHERS if magic.match(head)), "something else")


def _wrong(expected: str, head: bytes) -> _Fault:
    return _Fault(State.WRONG_FORMAT, f"expected {expected}, found {_called(head)}")


# -- Compressed layers -----------------------------------------------------------------------------


class _Decoder(Protocol):
    """One member of a compressed file, as bz2, lzma and isal present it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _ZlibMember:
    """zlib's decompressor in the manners of the others, where isal is not installed."""

    def __init__(self) -> None:
        self._inner: Any = import_module("zlib").decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        unpacked: bytes = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # A full output buffer may hide more that zlib has already taken in.
        self.needs_input = not self._inner.unconsumed_tail and len(unpacked) < max_length
        return unpacked


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    magic: bytes
    open: Callable[[], _Decoder]
    error: type[Exception]
    resumes: bool  # another member may follow zero padding


def _gzip_codec() -> _Codec:
    try:
        isal = import_module("isal.igzip_lib")
    except ImportError:  # a Recommends: twice as slow without it, and no less strict
        error = import_module("zlib").error
        return _Codec("gzip", b"\x1f\x8b", _ZlibMember, error, resumes=False)

    def member() -> _Decoder:
        decoder: _Decoder = isal.IgzipDecompressor(flag=isal.DECOMP_GZIP)
        return decoder

    return _Codec("gzip", b"\x1f\x8b", member, isal.IsalError, resumes=False)


def _xz_codec() -> _Codec:
    lzma = import_module("lzma")

    def stream() -> _Decoder:
        decoder: _Decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT)
        return decoder

    return _Codec("xz", b"\xfd7zXZ\x00", stream, lzma.LZMAError, resumes=True)


def _bzip2_codec() -> _Codec:
    return _Codec("bzip2", b"BZh", import_module("bz2").BZ2Decompressor, OSError, resumes=False)


def _unpack(source: _Source, compression: str | None) -> Iterator[bytes]:
    """The unpacked bytes, in pieces of bounded size, verified to the file's last byte."""
    source.compression = compression
    match compression:
        case None:
            pieces = source.chunks()
        case "zstd":
            pieces = _zstd_frames(source)
        case "gzip":
            pieces = _members(source, _gzip_codec())
        case "xz":
            pieces = _members(source, _xz_codec())
        case "bzip2":
            pieces = _members(source, _bzip2_codec())
        case _:
            raise ValueError(compression)
    for piece in pieces:
        source.bytes_unpacked += len(piece)
        yield piece


def _members(source: _Source, codec: _Codec) -> Iterator[bytes]:
    source.streams = 0
    data = b""
    while data := _next_member(source, codec, data):
        data = yield from _member(source, codec, data)
        source.streams += 1


def _next_member(source: _Source, codec: _Codec, data: bytes) -> bytes:
    """`data`, filled up and beginning with a member; nothing where the file rightly ends."""
    first = source.streams == 0
    data, padded = (data, False) if first else _without_padding(source, data)
    while len(data) < len(codec.magic) and (more := source.chunk(_FEED)):
        data += more
    if not data or (data.startswith(codec.magic) and (codec.resumes or not padded)):
        return data
    if len(data) < len(codec.magic) and codec.magic.startswith(data):
        raise _ends_early(source, codec.name)
    if first:
        raise _wrong(codec.name, data)
    raise _trailing_garbage(source, codec.name)


def _without_padding(source: _Source, data: bytes) -> tuple[bytes, bool]:
    """Zero padding is what tapes and block devices add; gzip(1) and xz(1) pass over it too."""
    padded = False
    while True:
        if not data and not (data := source.chunk(_FEED)):
            return b"", padded
        stripped = data.lstrip(b"\0")
        padded = padded or len(stripped) < len(data)
        if stripped:
            return stripped, padded
        data = b""


def _member(source: _Source, codec: _Codec, data: bytes) -> Generator[bytes, None, bytes]:
    """One member's contents; returns the bytes that follow it."""
    decoder = codec.open()
    while not decoder.eof:
        ended = False
        if decoder.needs_input and not data:
            data = source.chunk(_FEED)
            ended = not data
        try:
            unpacked = decoder.decompress(data, _CHUNK)
        except (codec.error, EOFError, ValueError) as error:
            raise _damaged(source, codec.name, error) from error
        data = b""
        if unpacked:
            yield unpacked
        elif ended and not decoder.eof:
            raise _ends_early(source, codec.name)
    return decoder.unused_data


def _ends_early(source: _Source, name: str) -> _Fault:
    whole = f", {source.streams} whole before it" if source.streams else ""
    size, unpacked = format_size(source.bytes_read), format_size(source.bytes_unpacked)
    return _Fault(
        State.TRUNCATED,
        f"the {name} stream ends early, after {size} ({unpacked} unpacked{whole})",
    )


def _damaged(source: _Source, name: str, error: Exception) -> _Fault:
    if "Memory usage limit" in str(error):
        return _too_large(name)
    unpacked = format_size(source.bytes_unpacked)
    return _Fault(
        State.CORRUPT, f"the {name} stream is damaged, {unpacked} were unpacked before: {error}"
    )


def _too_large(name: str) -> _Fault:
    return _Fault(
        State.UNREADABLE,
        f"unpacking this {name} stream takes more memory than {format_size(_WINDOW_LIMIT)}",
    )


def _trailing_garbage(source: _Source, name: str) -> _Fault:
    return _Fault(
        State.CORRUPT,
        f"something that is no {name} follows the end of the {name} stream",
    )


# zstd is walked frame by frame and block by block (RFC 8878): python-zstandard takes a truncated
# frame for the end of the file, and has no bound on what one call may unpack. A block unpacks to
# 128 KiB at most.

_ZSTD_BLOCK_MAX = 128 * 1024
_ZSTD_BATCH = 2 * _CHUNK // _ZSTD_BLOCK_MAX


def _zstd_frames(source: _Source) -> Iterator[bytes]:
    try:
        zstandard = import_module("zstandard")
    except ImportError as error:
        raise _Fault(State.UNREADABLE, "python3-zstandard is not installed") from error
    cursor = _Cursor(source.chunks())
    context = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)
    source.streams = 0
    while magic := cursor.take(4):
        if magic == _ZSTD_MAGIC:
            try:
                yield from _zstd_frame(source, cursor, context)
            except zstandard.ZstdError as error:
                raise _damaged(source, "zstd", error) from error
            source.streams += 1
        elif _SKIPPABLE_MAGIC.match(magic):
            size = int.from_bytes(_exactly(source, cursor, 4), "little")
            if not cursor.skip(size):
                raise _ends_early(source, "zstd")
        else:
            raise _no_frame(source, magic, cursor)


def _no_frame(source: _Source, magic: bytes, cursor: _Cursor) -> _Fault:
    begins = _ZSTD_MAGIC.startswith(magic) or re.fullmatch(rb"[\x50-\x5f](?:\x2a\x4d?)?", magic)
    if len(magic) < 4 and begins:
        return _ends_early(source, "zstd")
    if cursor.offset == len(magic):
        return _wrong("zstd", magic + cursor.take(512))
    return _trailing_garbage(source, "zstd")


def _zstd_frame(source: _Source, cursor: _Cursor, context: Any) -> Iterator[bytes]:
    header, has_checksum = _zstd_header(source, cursor)
    frame = context.decompressobj(write_size=_ZSTD_BATCH * _ZSTD_BLOCK_MAX)
    pieces = [_ZSTD_MAGIC, header]
    blocks = 0
    last = False
    while not last:
        block, last = _zstd_block(source, cursor)
        pieces.append(block)
        blocks += 1
        if blocks == _ZSTD_BATCH:
            yield frame.decompress(b"".join(pieces))
            pieces, blocks = [], 0
    if has_checksum:
        pieces.append(_exactly(source, cursor, 4))
    if pieces:
        yield frame.decompress(b"".join(pieces))
    if not frame.eof:
        raise _Fault(State.CORRUPT, "the zstd stream is damaged: a frame goes on after its end")


def _zstd_header(source: _Source, cursor: _Cursor) -> tuple[bytes, bool]:
    flags = _exactly(source, cursor, 1)
    single_segment = bool(flags[0] & 0x20)
    window_size = 0 if single_segment else 1
    dictionary_size = (0, 1, 2, 4)[flags[0] & 3]
    content_size = (1 if single_segment else 0, 2, 4, 8)[flags[0] >> 6]
    fields = _exactly(source, cursor, window_size + dictionary_size + content_size)
    content_at = window_size + dictionary_size
    if any(fields[window_size:content_at]):
        raise _Fault(State.UNREADABLE, "this zstd frame needs the dictionary it was made with")
    content = int.from_bytes(fields[content_at:], "little") + (256 if content_size == 2 else 0)
    if (content if single_segment else _zstd_window(fields[0])) > _WINDOW_LIMIT:
        raise _too_large("zstd")
    return flags + fields, bool(flags[0] & 4)


def _zstd_window(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _zstd_block(source: _Source, cursor: _Cursor) -> tuple[bytes, bool]:
    header = _exactly(source, cursor, 3)
    fields = int.from_bytes(header, "little")
    last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
    if kind == 3 or size > _ZSTD_BLOCK_MAX:
        raise _Fault(
            State.CORRUPT, f"the zstd stream is damaged: no block at byte {cursor.offset - 3}"
        )
    is_run = kind == 1  # one byte, `size` times
    return header + _exactly(source, cursor, 1 if is_run else size), last


def _exactly(source: _Source, cursor: _Cursor, size: int) -> bytes:
    piece = cursor.take(size)
    if len(piece) < size:
        raise _ends_early(source, "zstd")
    return piece


def _read_compressed(source: _Source, compression: str) -> Reading:
    for _ in _unpack(source, compression):
        pass
    if source.bytes_unpacked == 0:
        summary = f"a whole {compression} file with nothing in it"
        return Reading(State.EMPTY, summary, source.evidence())
    summary = f"a whole {compression} file, {format_size(source.bytes_unpacked)} unpacked"
    return Reading(State.WHOLE, summary, source.evidence())


def _read_gzip(source: _Source) -> Reading:
    return _read_compressed(source, "gzip")


def _read_zstd(source: _Source) -> Reading:
    return _read_compressed(source, "zstd")


# -- tar -------------------------------------------------------------------------------------------

_BLOCK = 512
_ZERO_BLOCK = bytes(_BLOCK)
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*(?:\0.*)?", re.DOTALL)
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,18}) ")
_PAX_LIMIT = 4 * 1024 * 1024

# Links, devices, directories and FIFOs carry no contents, whatever their size field says.
_TAR_WITHOUT_CONTENTS = frozenset(b"123456")
_TAR_DIRECTORIES = frozenset(b"5D")
_TAR_FILES = frozenset(b"\x0007S")
_TAR_PAX = frozenset(b"xgX")
_TAR_ABOUT_OTHERS = frozenset(b"xgXLKV")  # pax headers, long names, the volume's name


def _read_tar(source: _Source) -> Reading:
    compression = _compression(source.head(_BLOCK))
    cursor = _Cursor(_unpack(source, compression))
    walk = _TarWalk(cursor)
    try:
        walk.to_the_end()
    finally:
        source.contents = walk.evidence()
    return _tar_reading(source, walk)


def _tar_reading(source: _Source, walk: _TarWalk) -> Reading:
    if walk.members == 0:
        return Reading(State.EMPTY, "a whole tar archive without members", source.evidence())
    if walk.members == walk.directories:
        directories = (
            "1 directory" if walk.directories == 1 else f"{walk.directories:,} directories"
        )
        summary = f"a whole tar archive without a file: {directories}"
        return Reading(State.EMPTY, summary, source.evidence())
    amount = f"{_counted(walk.members, 'member')}, {format_size(walk.file_bytes)} of files"
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

    def __init__(self, cursor: _Cursor) -> None:
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
        block = self._cursor.take(_BLOCK)
        if len(block) == _BLOCK:
            return block
        if self._cursor.offset == 0:
            raise _Fault(State.TRUNCATED, "the tar archive has not one byte")
        raise _Fault(
            State.TRUNCATED,
            "the tar archive ends early: the two zero blocks of its end are missing"
            + self._so_far(),
        )

    def _so_far(self) -> str:
        last = f", the last is {self.last_member}" if self.last_member else ""
        return (
            f" after {_counted(self.members, 'member')} ({format_size(self._cursor.offset)}{last})"
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
        if not self._cursor.skip(size + -size % _BLOCK):
            raise self._cut_inside()
        if kind in _TAR_FILES:
            self.file_bytes += size

    def _verify(self, header: bytes) -> None:
        stated = _OCTAL.fullmatch(header[148:156])
        rest = header[:148] + b" " * 8 + header[156:]
        if stated and stated[1] and int(stated[1], 8) in _checksums(rest):
            return
        offset = self._cursor.offset - _BLOCK
        if offset == 0:
            raise _wrong("a tar archive", header)
        raise _Fault(
            State.CORRUPT, f"the tar archive is damaged: no header at byte {offset}{self._so_far()}"
        )

    def _number(self, field: bytes) -> int:
        """Octal text, or, above 8 GiB, GNU's big-endian number behind a set top bit."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        match = _OCTAL.fullmatch(field)
        if match is None:
            raise _Fault(
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
        self.last_member = _printable(name)

    def _sparse_map(self, header: bytes) -> None:
        more = header[482]
        while more:
            extension = self._cursor.take(_BLOCK)
            if len(extension) < _BLOCK:
                raise self._cut_inside()
            more = extension[504]

    def _pax(self, size: int) -> None:
        """Of all that a pax header may say, only another size changes where the next header is."""
        if size > _PAX_LIMIT:
            raise _Fault(
                State.UNREADABLE, f"the tar archive has a pax header of {format_size(size)}"
            )
        records = self._cursor.take(size)
        if len(records) < size or not self._cursor.skip(-size % _BLOCK):
            raise self._cut_inside()
        at = 0
        while at < size:
            length = _PAX_RECORD.match(records, at)
            end = at + int(length[1]) if length else 0
            if length is None or not length.end() < end <= size or records[end - 1] != ord("\n"):
                raise _Fault(
                    State.CORRUPT, f"the tar archive is damaged: a pax header{self._so_far()}"
                )
            self._pax_record(records[length.end() : end - 1])
            at = end

    def _pax_record(self, record: bytes) -> None:
        key, _, value = record.partition(b"=")
        if key == b"size" and value.isdigit() and len(value) < 20:
            self._pax_size = int(value)

    def _cut_inside(self) -> _Fault:
        return _Fault(State.TRUNCATED, f"the tar archive ends inside a member,{self._so_far()}")

    def _end(self) -> None:
        if self._block() != _ZERO_BLOCK:
            raise self._not_the_end()
        # Read on: the record's padding, and the compressed layer's own end.
        for piece in self._cursor.rest():
            if piece.strip(b"\0"):
                raise self._not_the_end()

    def _not_the_end(self) -> _Fault:
        if self.members == 0:  # so the zero blocks were no end either
            return _wrong("a tar archive", _ZERO_BLOCK)
        return _Fault(
            State.CORRUPT, f"something else follows the tar archive's end,{self._so_far()}"
        )


# -- pg_dump, plain --------------------------------------------------------------------------------

_DUMP_HEAD = 64 * 1024
_DUMP_BEGINS = (b"--\n-- PostgreSQL database dump\n", b"--\n-- PostgreSQL database cluster dump\n")


def _read_pg_dump(source: _Source) -> Reading:
    compression = _compression(source.head(_BLOCK))
    pieces = _unpack(source, compression)
    script = _Script()
    try:
        script.feed(_dump_head(pieces, compression))
        for piece in pieces:
            script.feed(piece)
        script.finish()
    finally:
        source.contents = script.evidence()
    if script.rows == script.inserts == 0:
        tables = _counted(script.tables, "table")
        summary = f"a complete dump without table data: {tables}, no row"
        return Reading(State.EMPTY, summary, source.evidence())
    return Reading(State.WHOLE, f"a complete dump: {script.amount()}", source.evidence())


def _dump_head(pieces: Iterator[bytes], compression: str | None) -> bytes:
    """Enough to know a dump by, also where a wrapper wrote lines of its own before it."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _DUMP_HEAD:
            break
    if not head:
        raise _Fault(State.TRUNCATED, f"the {compression} stream is whole and holds not one byte")
    text = head[:_DUMP_HEAD].replace(b"\r\n", b"\n")
    for begin in _DUMP_BEGINS:
        before, found, _ = text.partition(begin)
        if found and b"\0" not in before:  # else a container that stores a dump uncompressed
            return head
    if len(text) < len(max(_DUMP_BEGINS, key=len)):
        raise _Fault(
            State.TRUNCATED, f"the dump ends inside its first lines, after {len(head)} bytes"
        )
    raise _wrong("a plain SQL dump of PostgreSQL", head)


# A token that begins in the last bytes of what is there waits for more: each is seen in one piece.
_LOOKAHEAD = 256
# So much of what is done stays, for ` FROM stdin` before a semicolon and for a column's beginning.
_LOOKBEHIND = 16

# Alternatives that begin with a literal each: `re` then looks for their first characters at once.
_SQL_TOKEN = re.compile(rb"'|\"|;|--|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_SQL_SPACE = re.compile(rb"\s*+")
_SQL_NAME = re.compile(rb"(?:COPY|INSERT INTO) ((?:\"[^\"]*\"|[^\s\"(;])+)")
# The usual INSERT in one step; any other is taken apart by tokens.
_SQL_INSERT = re.compile(
    rb"INSERT INTO ((?:\"[^\"]*\"|[^\s\"(;])++)"
    rb"(?:[^'\";$\\-]++|'[^']*+'|\"[^\"]*+\"|-(?!-))*+;\r?\n"
)
_DUMP_HEADER = b"--\n-- PostgreSQL database dump\n--\n\n"
_DUMP_HEADER_GOES_ON = re.compile(
    re.escape(_DUMP_HEADER) + rb"(?:\\restrict [A-Za-z0-9]+\n\n)?-- Dumped from database version "
)


class _Script:
    """A plain dump, told apart just as far as it takes to know data from text that looks like it.

    Any line can stand inside a quoted string, `-- PostgreSQL database dump complete` and
    `COPY x FROM stdin;` as well; so quotes, dollar quotes, comments and rows are followed. A string
    or a row of any length passes through: no mode holds more of the text than _LOOKAHEAD.
    """

    def __init__(self) -> None:
        self._mode: Callable[[bytes], bool] = self._between
        self._kept = b""
        self._at = 0
        self._final = False
        self._fed = 0
        self._tail = b""
        self._headers = 0
        self._closer = b""
        self._resumes: Callable[[bytes], bool] = self._between
        self._head = b""
        self._block_rows = 0
        self._insert_table = b""
        self._open: set[str] = set()
        self._restricted: bytes | None = None
        self.databases = 0
        self.tables = 0
        self.tables_with_data = 0
        self.rows = 0
        self.inserts = 0

    def evidence(self) -> Evidence:
        return {
            "databases": self.databases,
            "tables": self.tables,
            "tables_with_data": self.tables_with_data,
            "rows": self.rows,
            "inserts": self.inserts,
        }

    def amount(self) -> str:
        rows = [_counted(self.rows, "row")] if self.rows or not self.inserts else []
        inserts = [_counted(self.inserts, "INSERT")] if self.inserts else []
        return f"{' and '.join(rows + inserts)} in {_counted(self.tables_with_data, 'table')}"

    def feed(self, chunk: bytes) -> None:
        hole = chunk.find(b"\0")
        if hole >= 0:
            offset = self._fed + hole
            raise _Fault(State.CORRUPT, f"the dump has zero bytes at {offset}, which no text holds")
        self._fed += len(chunk)
        self._look_for_headers(self._tail + chunk)
        self._run(self._kept + chunk)

    def _look_for_headers(self, window: bytes) -> None:
        """Count where dumps begin at all; `databases` counts those that begin as they may."""
        end = len(window) if self._final else max(0, len(window) - _LOOKAHEAD)
        at = window.find(_DUMP_HEADER, 0, end + len(_DUMP_HEADER) - 1)
        while at >= 0:
            self._headers += _DUMP_HEADER_GOES_ON.match(window, at) is not None
            at = window.find(_DUMP_HEADER, at + 1, end + len(_DUMP_HEADER) - 1)
        self._tail = window[end:]

    def _run(self, buffer: bytes) -> None:
        while self._mode(buffer):
            pass
        start = max(0, self._at - _LOOKBEHIND)
        self._kept, self._at = buffer[start:], self._at - start

    def finish(self) -> None:
        """Take what is left, and say whether this is where a dump may end."""
        self._final = True
        self._look_for_headers(self._tail)
        self._run(self._kept)
        if self._mode == self._copied:
            self._count_rows(self._kept.count(b"\n", self._at + 1))
            self._close_block()
            raise _Fault(
                State.TRUNCATED,
                f"the dump ends inside the rows of {self._table()},"
                f" after {_counted(self._block_rows, 'row')}",
            )
        if self._headers > self.databases:
            # To psql it is one long table, or one long string.
            raise _Fault(
                State.TRUNCATED, "a dump ends inside its rows or a string, and another begins there"
            )
        if self._open:
            inside = self._mode == self._quoted
            where = "inside a quoted string" if inside else 'without "… database dump complete"'
            raise _Fault(State.TRUNCATED, f"the dump ends {where}, {self._so_far()}")
        if self._restricted is not None:
            raise _Fault(State.TRUNCATED, r"the dump's last line, \unrestrict, is missing or cut")
        if self._mode == self._quoted or self._statement in (self._mode, self._resumes):
            raise _Fault(State.CORRUPT, "something that is no SQL follows the end of the dump")

    def _so_far(self) -> str:
        return f"after {format_size(self._fed)} with {self.amount()}"

    def _table(self) -> str:
        name = _SQL_NAME.match(self._head)
        return _printable(name[1]) if name else "a table"

    # Modes. Each moves on from `_at` and says whether there is more to do in this buffer.

    def _waits(self, buffer: bytes) -> bool:
        left = len(buffer) - self._at
        return left == 0 or (left < _LOOKAHEAD and not self._final)

    def _between(self, buffer: bytes) -> bool:
        """Between statements: blank lines, comments, psql's own commands."""
        space = _SQL_SPACE.match(buffer, self._at)
        assert space is not None  # it matches nothing, too
        self._at = space.end()
        if self._waits(buffer):
            return False
        at = self._at
        if buffer.startswith(b"--", at):
            self._comment(buffer)
        elif buffer.startswith(b"\\", at):
            self._command(buffer[at : at + _LOOKAHEAD].partition(b"\n")[0])
            self._skip_line()
        elif not self._usual_insert(buffer):
            # Data is what begins a line: the statements inside rules and functions are indented.
            in_column_0 = at == 0 or buffer[at - 1] == ord("\n")
            self._head = buffer[at : at + _LOOKAHEAD] if in_column_0 else b""
            self._mode = self._statement
        return True

    def _usual_insert(self, buffer: bytes) -> bool:
        insert = _SQL_INSERT.match(buffer, self._at)
        if insert is None or (self._at and buffer[self._at - 1] != ord("\n")):
            return False
        while insert is not None:
            self._count_insert(insert[1])
            self._at = insert.end()
            insert = _SQL_INSERT.match(buffer, self._at)
        return True

    def _statement(self, buffer: bytes) -> bool:
        end = len(buffer) if self._final else len(buffer) - _LOOKAHEAD
        token = _SQL_TOKEN.search(buffer, self._at)
        if token is None or token.start() >= end:
            self._at = max(self._at, end)
            return False
        self._at = token.start()
        match token[0]:
            case b"--":
                self._comment(buffer)
            case b";":
                self._statement_ends(buffer)
            case closer:
                self._at = token.end()
                self._closer = closer
                self._mode = self._quoted
        return True

    def _statement_ends(self, buffer: bytes) -> None:
        at = self._at
        self._at += 1
        self._mode = self._between
        if self._head.startswith(b"COPY ") and buffer.endswith(b" FROM stdin", 0, at):
            self.tables += 1
            self._block_rows = 0
            self._at = max(buffer.find(b"\n", at, at + 3), at)
            self._mode = self._copied
        elif self._head.startswith(b"INSERT INTO ") and (name := _SQL_NAME.match(self._head)):
            self._count_insert(name[1])

    def _quoted(self, buffer: bytes) -> bool:
        """Inside quotes. A doubled quote ends one string and begins the next."""
        end = buffer.find(self._closer, self._at)
        if end < 0:
            self._at = max(self._at, len(buffer) - len(self._closer) + 1)
            return False
        self._at = end + len(self._closer)
        self._mode = self._statement
        return True

    def _skip_line(self) -> None:
        self._resumes = self._mode
        self._mode = self._rest_of_line

    def _rest_of_line(self, buffer: bytes) -> bool:
        end = buffer.find(b"\n", self._at)
        self._at = len(buffer) if end < 0 else end + 1
        if end < 0:
            return False
        self._mode, self._resumes = self._resumes, self._between
        return True

    def _copied(self, buffer: bytes) -> bool:
        r"""Inside COPY's rows, from a newline that is already counted to the one before `\.`."""
        end = buffer.find(b"\n\\.", self._at)
        stop = end if end >= 0 else max(self._at, len(buffer) - _LOOKAHEAD)
        self._count_rows(buffer.count(b"\n", self._at + 1, stop + 1))
        self._at = stop
        if end < 0:
            return False
        self._at = end + 3
        self._close_block()
        self._mode = self._between
        return True

    # What they found.

    def _count_rows(self, count: int) -> None:
        self.rows += count
        self._block_rows += count

    def _close_block(self) -> None:
        self.tables_with_data += self._block_rows > 0

    def _count_insert(self, table: bytes) -> None:
        self.inserts += 1
        if table != self._insert_table:  # pg_dump writes one table after the other
            self._insert_table = table
            self.tables += 1
            self.tables_with_data += 1

    def _comment(self, buffer: bytes) -> None:
        line = buffer[self._at : self._at + _LOOKAHEAD].partition(b"\n")[0].rstrip(b"\r")
        self._skip_line()
        match line:
            case b"-- PostgreSQL database dump":
                self.databases += 1
                self._begin("database")
            case b"-- PostgreSQL database cluster dump":
                self._begin("cluster")
            case b"-- PostgreSQL database dump complete":
                self._complete("database")
            case b"-- PostgreSQL database cluster dump complete":
                self._complete("cluster")

    def _begin(self, what: str) -> None:
        if what in self._open:
            raise _Fault(
                State.TRUNCATED,
                f"a dump ends without its last line, {self._so_far()}, and another begins there",
            )
        self._open.add(what)

    def _complete(self, what: str) -> None:
        if what not in self._open:
            raise _Fault(State.CORRUPT, "the dump has an end whose beginning is missing")
        self._open.remove(what)

    def _command(self, line: bytes) -> None:
        command, _, key = line.rstrip(b"\r").partition(b" ")
        if command == b"\\restrict":
            self._restricted = key
        elif command == b"\\unrestrict" and key == self._restricted:
            self._restricted = None


# -- Words -----------------------------------------------------------------------------------------


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _printable(name: bytes) -> str:
    """A stranger's name, fit for a terminal and a log."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


_READERS: dict[str, Callable[[_Source], Reading]] = {
    "gzip": _read_gzip,
    "zstd": _read_zstd,
    "tar": _read_tar,
    "pg_dump": _read_pg_dump,
}
