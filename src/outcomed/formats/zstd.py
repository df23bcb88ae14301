"""zstd, walked frame by frame and block by block (RFC 8878).

python-zstandard takes a truncated frame for the end of the file, and has no bound on what one call
may unpack. A block unpacks to 128 KiB at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from outcomed.formats.damage import WINDOW_LIMIT, damaged, ends_early, too_large, trailing_garbage
from outcomed.formats.magic import SKIPPABLE_MAGIC, ZSTD_MAGIC, wrong
from outcomed.formats.reading import Fault, State
from outcomed.formats.source import CHUNK, Cursor, Source

_BLOCK_MAX = 128 * 1024
_BATCH = 2 * CHUNK // _BLOCK_MAX


def frames(source: Source) -> Iterator[bytes]:
    try:
        zstandard = import_module("zstandard")
    except ImportError as error:
        raise Fault(State.UNREADABLE, "python3-zstandard is not installed") from error
    cursor = Cursor(source.chunks())
    context = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
    source.streams = 0
    while magic := cursor.take(4):
        if magic == ZSTD_MAGIC:
            try:
                yield from _frame(source, cursor, context)
            except zstandard.ZstdError as error:
                raise damaged(source, "zstd", error) from error
            source.streams += 1
        elif SKIPPABLE_MAGIC.match(magic):
            size = int.from_bytes(_exactly(source, cursor, 4), "little")
            if not cursor.skip(size):
                raise ends_early(source, "zstd")
        else:
            raise _no_frame(source, magic, cursor)


def _no_frame(source: Source, magic: bytes, cursor: Cursor) -> Fault:
    begins = ZSTD_MAGIC.startswith(magic) or re.fullmatch(rb"[\x50-\x5f](?:\x2a\x4d?)?", magic)
    if len(magic) < 4 and begins:
        return ends_early(source, "zstd")
    if cursor.offset == len(magic):
        return wrong("zstd", magic + cursor.take(512))
    return trailing_garbage(source, "zstd")


def _frame(source: Source, cursor: Cursor, context: Any) -> Iterator[bytes]:
    header, has_checksum = _header(source, cursor)
    frame = context.decompressobj(write_size=_BATCH * _BLOCK_MAX)
    pieces = [ZSTD_MAGIC, header]
    blocks = 0
    last = False
    while not last:
        block, last = _block(source, cursor)
        pieces.append(block)
        blocks += 1
        if blocks == _BATCH:
            yield frame.decompress(b"".join(pieces))
            pieces, blocks = [], 0
    if has_checksum:
        pieces.append(_exactly(source, cursor, 4))
    if pieces:
        yield frame.decompress(b"".join(pieces))
    if not frame.eof:
        raise Fault(State.CORRUPT, "the zstd stream is damaged: a frame goes on after its end")


def _header(source: Source, cursor: Cursor) -> tuple[bytes, bool]:
    flags = _exactly(source, cursor, 1)
    single_segment = bool(flags[0] & 0x20)
    window_size = 0 if single_segment else 1
    dictionary_size = (0, 1, 2, 4)[flags[0] & 3]
    content_size = (1 if single_segment else 0, 2, 4, 8)[flags[0] >> 6]
    fields = _exactly(source, cursor, window_size + dictionary_size + content_size)
    content_at = window_size + dictionary_size
    if any(fields[window_size:content_at]):
        raise Fault(State.UNREADABLE, "this zstd frame needs the dictionary it was made with")
    content = int.from_bytes(fields[content_at:], "little") + (256 if content_size == 2 else 0)
    if (content if single_segment else _window(fields[0])) > WINDOW_LIMIT:
        raise too_large("zstd")
    return flags + fields, bool(flags[0] & 4)


def _window(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _block(source: Source, cursor: Cursor) -> tuple[bytes, bool]:
    header = _exactly(source, cursor, 3)
    fields = int.from_bytes(header, "little")
    last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
    if kind == 3 or size > _BLOCK_MAX:
        raise Fault(
            State.CORRUPT, f"the zstd stream is damaged: no block at byte {cursor.offset - 3}"
        )
    is_run = kind == 1  # one byte, `size` times
    return header + _exactly(source, cursor, 1 if is_run else size), last


def _exactly(source: Source, cursor: Cursor, size: int) -> bytes:
    piece = cursor.take(size)
    if len(piece) < size:
        raise ends_early(source, "zstd")
    return piece
