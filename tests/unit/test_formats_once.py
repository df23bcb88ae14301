"""One pass over a file, for its hash and for all that is asked about it."""

import gzip
import hashlib
import io
import random
import threading
import tracemalloc
import zipfile
from typing import BinaryIO, cast

import pytest

from outcomed import formats
from outcomed.formats import State, once
from outcomed.formats.source import Source
from tests.artifacts import CORPUS, read

PLAIN = (CORPUS / "postgresql-17" / "shop.sql").read_bytes()
PACKED = gzip.compress(PLAIN)
NOISE = random.Random(5).randbytes(3 << 20)


class Counting(io.BytesIO):
    """Counts how often each byte is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self.total += len(chunk)
        return chunk


def test_one_pass_serves_the_hash_and_every_format() -> None:
    wanted = ("gzip", "pg_dump", "tar", "json", "pg_custom", "xz")
    data = gzip.compress(PLAIN) + bytes(3 << 20)
    file = Counting(data)
    found = formats.read_once(file, wanted, digest=True)
    assert file.total == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    states = {kind: reading.state for kind, reading in found.by_format.items()}
    assert states == {kind: read(data, kind).state for kind in wanted}
    assert states["gzip"] == states["pg_dump"] == State.WHOLE


def test_hash_alone_is_of_the_whole_file() -> None:
    found = formats.read_once(io.BytesIO(NOISE), (), digest=True)
    assert found == formats.Readings({}, hashlib.sha256(NOISE).hexdigest())


def test_fault_at_the_beginning_ends_the_reading_if_nobody_wants_the_hash() -> None:
    file = Counting(NOISE * 20)
    assert formats.read_once(file, ("gzip",), digest=False).sha256 is None
    assert file.total < len(NOISE) * 20


def test_zip_is_read_from_its_directory_and_then_once() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("noise", NOISE)
    file = Counting(out.getvalue())
    found = formats.read_once(file, ("zip",), digest=True)
    assert found.by_format["zip"].state == State.WHOLE
    assert found.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    assert file.total < len(out.getvalue()) + 100_000


def test_reader_without_memory_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(source: Source) -> formats.Reading:
        raise MemoryError

    monkeypatch.setitem(formats._READERS, "tar", exhausted)
    found = formats.read_once(io.BytesIO(PACKED), ("tar", "gzip"), digest=True)
    assert found.by_format["tar"].state == State.UNREADABLE
    assert found.by_format["tar"].summary == "reading it takes more memory than there is"
    assert found.by_format["gzip"].state == State.WHOLE
    assert found.sha256 == hashlib.sha256(PACKED).hexdigest()


def test_fault_of_our_own_is_raised_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: Source) -> formats.Reading:
        raise ZeroDivisionError

    monkeypatch.setitem(formats._READERS, "tar", broken)
    with pytest.raises(ZeroDivisionError):
        formats.read_once(io.BytesIO(NOISE * 4), ("tar",), digest=True)
    assert threading.active_count() == 1


def test_error_of_the_disk_is_the_callers() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1_000_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(OSError, match="Input/output error"):
        formats.read_once(cast(BinaryIO, Failing(NOISE)), ("gzip", "json"), digest=True)
    assert threading.active_count() == 1


def test_memory_stays_small_however_slow_a_reader_is() -> None:
    data = gzip.compress(bytes(1 << 26), 1) * 3
    formats.read_once(io.BytesIO(data), ("gzip",), digest=True)
    stream = io.BytesIO(NOISE * 16)
    tracemalloc.start()
    formats.read_once(stream, ("gzip", "tar", "json"), digest=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert once._AHEAD <= 8
