"""What the tests of formats share: readers, makers and wounds."""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from outcomed import formats
from outcomed.formats import Reading, State

CORPUS = Path(__file__).parent / "corpus"
NOT_GOOD = {State.TRUNCATED, State.CORRUPT, State.WRONG_FORMAT, State.UNREADABLE}


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def read(self, size: int = -1) -> bytes:
        return self._data.read(self._most if size < 0 else min(size, self._most))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._data.seek(offset, whence)


def read(data: bytes, kind: str) -> Reading:
    if kind != "sqlite":
        return formats.read(io.BytesIO(data), kind)
    with tempfile.NamedTemporaryFile() as file:  # SQLite opens it by its name
        file.write(data)
        file.flush()
        file.seek(0)
        return formats.read(cast(BinaryIO, file.file), kind)


def read_trickling(data: bytes, kind: str, most: int) -> Reading:
    return formats.read(cast(BinaryIO, Trickle(data, most)), kind)


def state(data: bytes, kind: str) -> State:
    return read(data, kind).state


def cuts(size: int, but: Collection[int] = ()) -> Iterator[int]:
    """Every place of a small file, and of a large one both ends and a sample of the middle."""
    middle = range(300, size - 50, 1 if size < 1500 else 97)
    some = {*range(min(300, size)), *middle, *range(max(0, size - 50), size)}
    return (at for at in sorted(some) if at not in but)


def some_cuts(size: int) -> list[int]:
    """Both ends of a file, and a sample of its middle."""
    return sorted({*range(min(40, size)), *range(0, size, size // 40 + 1), *range(size - 40, size)})


def flipped(data: bytes, bit: int) -> bytes:
    wounded = bytearray(data)
    wounded[bit // 8] ^= 1 << bit % 8
    return bytes(wounded)


def shell(script: str, cwd: Path) -> bytes:
    """The output of a pipeline; every part of it has to succeed."""
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE).stdout


def need(script: str) -> None:
    tool = script.split(maxsplit=1)[0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
