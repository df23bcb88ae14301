"""Compressed layers: gzip, zstd, xz and bzip2, with members, streams and frames of any number.

Each is unpacked in pieces of bounded size, and verified up to the file's last byte.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from outcomed.formats import zstd
from outcomed.formats.damage import WINDOW_LIMIT, damaged, ends_early, trailing_garbage
from outcomed.formats.magic import wrong
from outcomed.formats.reading import Fault, Reading, State
from outcomed.formats.source import CHUNK, Source
from outcomed.quantities import format_size

# Compressors are imported where they are needed: a tar of its own loads none of them.

# A decoder hands back what it did not need, and a file may have a member for every line.
_FEED = 32 * 1024
# liblzma counts its own tables on top of the dictionary.
_GZIP_MAGIC = b"\x1f\x8b"
_XZ_CHECKS = {0: "none", 1: "crc32", 4: "crc64", 10: "sha256"}
_XZ_MEMORY_LIMIT = WINDOW_LIMIT + 8 * 1024 * 1024


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

    def __init__(self, bits: int) -> None:
        self._inner: Any = import_module("zlib").decompressobj(bits)
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
    # Zero padding comes in multiples of this many bytes, and another member may follow it; 0: it
    # comes in any amount, and nothing may follow.
    aligned: int = 0
    alone: bool = False  # nothing at all may follow
    checks: Mapping[int, str] | None = None  # the kinds of checksum, where a file has a choice


def _deflate_codec(name: str) -> _Codec:
    """gzip, or what other formats are made of: zlib, and deflate without any frame."""
    magic, alone = (_GZIP_MAGIC, False) if name == "gzip" else (b"", True)
    try:
        isal = import_module("isal.igzip_lib")
    except ImportError:  # a Recommends: twice as slow without it, and no less strict
        bits = {"gzip": 31, "zlib": 15, "deflate": -15}[name]
        zlib = import_module("zlib")
        return _Codec(name, magic, lambda: _ZlibMember(bits), zlib.error, alone=alone)
    flag = getattr(isal, f"DECOMP_{name.upper()}")

    def member() -> _Decoder:
        decoder: _Decoder = isal.IgzipDecompressor(flag=flag)
        return decoder

    return _Codec(name, magic, member, isal.IsalError, alone=alone)


def _lz4_codec() -> _Codec:
    try:
        lz4 = import_module("lz4.frame")
    except ImportError as error:
        raise Fault(State.UNREADABLE, "python3-lz4 is not installed") from error
    return _Codec("lz4", b"\x04\x22\x4d\x18", lz4.LZ4FrameDecompressor, RuntimeError, alone=True)


def _xz_codec() -> _Codec:
    lzma = import_module("lzma")

    def stream() -> _Decoder:
        decoder: _Decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT)
        return decoder

    return _Codec("xz", b"\xfd7zXZ\x00", stream, lzma.LZMAError, aligned=4, checks=_XZ_CHECKS)


def _bzip2_codec() -> _Codec:
    return _Codec("bzip2", b"BZh", import_module("bz2").BZ2Decompressor, OSError)


def unpack(source: Source, compression: str | None) -> Iterator[bytes]:
    """The unpacked bytes, in pieces of bounded size, verified to the file's last byte."""
    source.compression = compression
    match compression:
        case None:
            pieces = source.chunks()
        case "zstd":
            pieces = zstd.frames(source)
        case "gzip" | "zlib" | "deflate":
            pieces = _members(source, _deflate_codec(compression))
        case "lz4":
            pieces = _members(source, _lz4_codec())
        case "xz":
            pieces = _members(source, _xz_codec())
        case "bzip2":
            pieces = _members(source, _bzip2_codec())
        case _:
            raise ValueError(compression)
    for piece in pieces:
        source.bytes_unpacked += len(piece)
        yield piece


def _members(source: Source, codec: _Codec) -> Iterator[bytes]:
    source.streams = 0
    data = b""
    while data := _next_member(source, codec, data):
        decoder = codec.open()
        data = yield from _member(source, codec, decoder, data)
        source.streams += 1
        if codec.checks is not None:
            source.checks.add(_check_of(codec, decoder))


def _next_member(source: Source, codec: _Codec, data: bytes) -> bytes:
    """`data`, filled up and beginning with a member; nothing where the file rightly ends."""
    first = source.streams == 0
    if codec.alone and not first:
        if data or source.chunk(_FEED):
            raise trailing_garbage(source, codec.name)
        return b""
    data, padding = (data, 0) if first else _without_padding(source, data)
    if codec.aligned and padding % codec.aligned:
        raise trailing_garbage(source, codec.name)
    while len(data) < max(1, len(codec.magic)) and (more := source.chunk(_FEED)):
        data += more
    if not data or (data.startswith(codec.magic) and (codec.aligned or not padding)):
        return data
    if len(data) < len(codec.magic) and codec.magic.startswith(data):
        raise ends_early(source, codec.name)
    if first:
        raise wrong(codec.name, data)
    raise trailing_garbage(source, codec.name)


def _without_padding(source: Source, data: bytes) -> tuple[bytes, int]:
    """Zero padding is what tapes and block devices add; gzip(1) and xz(1) pass over it too."""
    padding = 0
    while True:
        if not data and not (data := source.chunk(_FEED)):
            return b"", padding
        stripped = data.lstrip(b"\0")
        padding += len(data) - len(stripped)
        if stripped:
            return stripped, padding
        data = b""


def _check_of(codec: _Codec, decoder: Any) -> str:
    assert codec.checks is not None
    name = codec.checks.get(decoder.check)
    if name is None:  # liblzma passes over what it cannot compute
        raise Fault(
            State.UNREADABLE,
            f"this {codec.name} stream has a checksum of a kind that is not known here",
        )
    return name


def _member(
    source: Source, codec: _Codec, decoder: _Decoder, data: bytes
) -> Generator[bytes, None, bytes]:
    """One member's contents; returns the bytes that follow it."""
    while not decoder.eof:
        ended = False
        if decoder.needs_input and not data:
            data = source.chunk(_FEED)
            ended = not data
        try:
            unpacked = decoder.decompress(data, CHUNK)
        except (codec.error, EOFError, ValueError) as error:
            raise damaged(source, codec.name, error) from error
        data = b""
        if unpacked:
            yield unpacked
        elif ended and not decoder.eof:
            raise ends_early(source, codec.name)
    return decoder.unused_data


def read_compressed(source: Source, compression: str) -> Reading:
    for _ in unpack(source, compression):
        pass
    if source.bytes_unpacked == 0:
        summary = f"a whole {compression} file with nothing in it"
        return Reading(State.EMPTY, summary, source.evidence())
    summary = f"a whole {compression} file, {format_size(source.bytes_unpacked)} unpacked"
    return Reading(State.WHOLE, summary, source.evidence())
