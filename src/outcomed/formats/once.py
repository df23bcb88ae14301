"""Read a file once, for its hash and for all that is asked about it.

Each reader runs in a thread of its own and is fed with the same chunks: a few of them are held for
the slowest, and no more. Hashing and unpacking release the interpreter, so that they run beside one
another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import BinaryIO, cast

from outcomed.formats.reading import Fault, Reading, State
from outcomed.formats.source import CHUNK, Source

_AHEAD = 4

_NO_MEMORY = Reading(State.UNREADABLE, "reading it takes more memory than there is", {})

Reader = Callable[[Source], Reading]


def judged(reader: Reader, source: Source) -> Reading:
    """What a reader finds, or why it could not go on."""
    try:
        source.refuse_nothing()
        return reader(source)
    except Fault as fault:
        return Reading(fault.state, fault.summary, source.evidence())
    except MemoryError:
        return _NO_MEMORY


def sought(reader: Callable[[BinaryIO], Reading], file: BinaryIO) -> Reading:
    """The same of a reader that goes its own way through the file."""
    try:
        return reader(file)
    except MemoryError:
        return _NO_MEMORY


class _Feed:
    """The chunks for one reader, as the stream that it reads."""

    def __init__(self) -> None:
        self._chunks: Queue[bytes] = Queue(_AHEAD)
        self._ended = False
        self.is_done = False

    def put(self, chunk: bytes) -> None:
        self._chunks.put(chunk)

    def read(self, size: int) -> bytes:
        chunk = b"" if self._ended else self._chunks.get()
        self._ended = not chunk
        return chunk

    def read_by(self, reader: Reader) -> Reading:
        try:
            return judged(reader, Source(cast(BinaryIO, self)))
        finally:
            self.is_done = True
            while self.read(CHUNK):  # or whoever feeds us would wait for ever
                pass


def read_for_all(
    file: BinaryIO, readers: Mapping[str, Reader], *, digest: bool
) -> tuple[dict[str, Reading], str | None]:
    """From where `file` stands to its end; less far if nobody wants the rest."""
    sha256 = hashlib.sha256() if digest else None
    feeds = [_Feed() for _ in readers]
    with ThreadPoolExecutor(max(1, len(feeds))) as pool:
        pairs = zip(feeds, readers.values(), strict=True)
        found = [pool.submit(feed.read_by, reader) for feed, reader in pairs]
        try:
            while (digest or not all(feed.is_done for feed in feeds)) and (
                chunk := file.read(CHUNK)
            ):
                if sha256 is not None:
                    sha256.update(chunk)
                for feed in feeds:
                    feed.put(chunk)
        finally:
            for feed in feeds:
                feed.put(b"")
        readings = {name: each.result() for name, each in zip(readers, found, strict=True)}
    return readings, None if sha256 is None else sha256.hexdigest()
