"""The bytes of one file, in chunks, counted; and exact pieces out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from outcomed.formats.reading import Evidence, Fault, State

CHUNK = 256 * 1024
NO_BYTE = "the file is empty: it has not one byte"


class Source:
    """The bytes of the file, in chunks, counted; and the evidence that gathers around them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead = b""
        self._at = 0
        self.bytes_read = 0
        self.bytes_unpacked = 0
        self.compression: str | None = None
        self.streams: int | None = None
        self.checks: set[str] = set()
        self.contents: Evidence = {}

    def refuse_nothing(self) -> None:
        if not self.head(1):
            raise Fault(State.TRUNCATED, NO_BYTE)

    def head(self, size: int) -> bytes:
        """The file's first bytes, before any other are taken; fewer where it is shorter."""
        while len(self._ahead) < size and (more := self._read()):
            self._ahead += more
        return self._ahead[:size]

    def chunk(self, most: int = CHUNK) -> bytes:
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
        chunk = self._stream.read(CHUNK)
        self.bytes_read += len(chunk)
        return chunk

    def evidence(self) -> Evidence:
        found: Evidence = {"bytes_read": self.bytes_read, "bytes_unpacked": self.bytes_unpacked}
        if self.compression is not None:
            found |= {"compression": self.compression, "streams": self.streams}
        if self.checks:
            found["checks"] = " ".join(sorted(self.checks))
        return found | self.contents


@dataclass(frozen=True, slots=True)
class Reads:
    """Just as much of a file as Source asks for: a stream that lies inside another one."""

    read: Callable[[int], bytes]


class Cursor:
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

    def some(self, most: int) -> bytes:
        """What is there, at most `most` bytes of it; nothing only at the end."""
        if self._at == len(self._buffer) and not self._advance():
            return b""
        piece = self._buffer[self._at : self._at + most]
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
