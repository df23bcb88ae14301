"""What is said of zip archives, with every option and every wound."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcomed import formats
from outcomed.formats import State
from tests.artifacts import NOT_GOOD, Trickle, cuts, flipped, read, read_trickling, state

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


class Pipe(io.RawIOBase):
    """Where an archive is written that cannot go back: sizes and CRC follow the data."""

    def __init__(self) -> None:
        self.written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self.written.write(bytes(data))  # type: ignore[call-overload]


def make(
    members: list[tuple[str, bytes, int]], *, piped: bool = False, wide: bool = False
) -> bytes:
    out: io.BytesIO | Pipe = Pipe() if piped else io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:  # type: ignore[arg-type]
        for name, body, method in members:
            about = zipfile.ZipInfo(name)
            about.compress_type = method
            with archive.open(about, "w", force_zip64=wide) as member:
                member.write(body)
        archive.comment = b"a comment"
    return (out.written if isinstance(out, Pipe) else out).getvalue()


SMALL = make([("a", b"to be, or not to be " * 9, 8), ("d/", b"", 0), ("b", b"x" * 40, 0)])
bodies = st.one_of(st.binary(max_size=300), st.builds(bytes, st.integers(0, 3000)))
members = st.lists(
    st.tuples(st.text("abé/", min_size=1, max_size=9), bodies, st.sampled_from(METHODS)),
    min_size=1,
    max_size=4,
    unique_by=lambda member: member[0],
)


@settings(deadline=None, max_examples=40)
@given(members, st.booleans(), st.booleans(), st.binary(max_size=50))
def test_zip_of_any_options_is_whole_and_cut_anywhere_is_not(
    made: list[tuple[str, bytes, int]], piped: bool, wide: bool, prefix: bytes
) -> None:
    data = make(made, piped=piped, wide=wide)
    good = read(data, "zip")
    files = [body for name, body, _ in made if not name.endswith("/")]
    assert good.state == (State.WHOLE if files else State.EMPTY)
    assert good.evidence["members"] == len(made)
    assert good.evidence["file_bytes"] == sum(len(body) for _, body, _ in made)
    assert good.evidence["bytes_read"] == len(data)
    for at in cuts(len(data)):
        assert state(data[:at], "zip") == State.TRUNCATED, at
    behind = read(prefix + data, "zip")
    assert (behind.state, behind.evidence["prefix_bytes"]) == (good.state, len(prefix))
    assert read_trickling(data, "zip", 7) == good


def protected(data: bytes) -> set[int]:
    """The bytes of all that stands in the file twice, or is the data that a CRC is of."""
    found: set[int] = set()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            at = member.header_offset
            begin = at + 30 + len(member.filename.encode())
            found |= {*range(at, at + 4), *range(at + 8, at + 10), *range(at + 14, begin)}
            found |= set(range(begin, begin + member.compress_size))
    return found


@pytest.mark.parametrize("piped", [False, True])
def test_zip_with_a_bit_flipped_where_it_is_protected_is_not_whole(piped: bool) -> None:
    data = make([("a", b"to be, or not to be " * 9, 8), ("b", b"x" * 40, 0)], piped=piped)
    where = protected(data)
    for bit in range(len(data) * 8):
        if bit // 8 in where and state(flipped(data, bit), "zip") not in NOT_GOOD:
            # Bits behind the end of a deflate stream belong to nothing.
            assert zipfile.ZipFile(io.BytesIO(flipped(data, bit))).testzip() is None, bit
            assert bit // 8 == data.index(b"PK", 4) - 1, bit


def test_zip_without_members_and_zip_of_directories_alone_are_empty() -> None:
    assert state(make([]), "zip") == State.EMPTY
    assert state(make([("a/", b"", 0), ("a/b/", b"", 0)]), "zip") == State.EMPTY
    assert state(make([("a/", b"", 0), ("a/b", b"", 0)]), "zip") == State.WHOLE


def patched(data: bytes, at: int, form: str, value: int) -> bytes:
    wounded = bytearray(data)
    struct.pack_into(form, wounded, at, value)
    return bytes(wounded)


def test_member_that_is_encrypted_is_not_called_whole_and_not_damaged_either() -> None:
    entry = SMALL.index(b"PK\x01\x02")
    data = patched(patched(SMALL, 6, "<H", 1), entry + 8, "<H", 1)
    reading = read(data, "zip")
    assert reading.state == State.UNREADABLE
    assert reading.summary == "no damage in what could be read, but a is encrypted"
    wounded = data.replace(b"x" * 40, b"x" * 39 + b"y")
    assert state(wounded, "zip") == State.CORRUPT  # the other member, which can be read


def test_member_that_is_packed_in_an_unknown_way_is_not_called_damaged() -> None:
    entry = SMALL.index(b"PK\x01\x02")
    data = patched(patched(SMALL, 8, "<H", 93), entry + 10, "<H", 93)
    reading = read(data, "zip")
    assert reading.state == State.UNREADABLE
    assert reading.summary.endswith("a is packed by method 93")


def test_one_part_of_a_split_archive_is_not_called_damaged() -> None:
    end = SMALL.rindex(b"PK\x05\x06")
    assert state(patched(SMALL, end + 4, "<H", 1), "zip") == State.UNREADABLE


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(bytes(600), State.WHOLE), (b"junk", State.CORRUPT), (SMALL, State.WHOLE)],
)
def test_what_may_follow_a_zip_is_padding(tail: bytes, expected: State) -> None:
    """Of two archives one behind the other, unzip and we see the last."""
    reading = read(SMALL + tail, "zip")
    assert reading.state == expected
    if tail == SMALL:
        assert reading.evidence["prefix_bytes"] == len(SMALL)


def test_members_that_overlap_are_found() -> None:
    """As in an archive that unpacks to more than a disk holds."""
    first = SMALL.index(b"PK\x01\x02")
    third = SMALL.rindex(b"PK\x01\x02")
    assert state(patched(SMALL, third + 42, "<L", 0), "zip") == State.CORRUPT
    assert first != third


def test_directory_in_another_order_than_the_members_is_followed() -> None:
    first, end = SMALL.index(b"PK\x01\x02"), SMALL.rindex(b"PK\x05\x06")
    last = SMALL.rindex(b"PK\x01\x02")
    data = SMALL[:first] + SMALL[last:end] + SMALL[first:last] + SMALL[end:]
    assert read(data, "zip") == read(SMALL, "zip")


def test_directory_that_counts_wrong_is_damaged() -> None:
    end = SMALL.rindex(b"PK\x05\x06")
    for at, count in ((8, 2), (10, 2)):
        assert state(patched(SMALL, end + at, "<H", count), "zip") == State.CORRUPT
    fewer = patched(patched(SMALL, end + 8, "<H", 2), end + 10, "<H", 2)
    assert state(fewer, "zip") == State.CORRUPT
    assert state(patched(SMALL, end + 12, "<L", 40), "zip") == State.CORRUPT


def test_sixty_six_thousand_members_are_read(tmp_path: Path) -> None:
    """More than fit into 16 bits, so with a zip64 record."""
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"f{number}"), b"")
    with path.open("rb") as file:
        assert formats.read(file, "zip").evidence["files"] == 66_000
    data = path.read_bytes()
    record = data.rindex(b"PK\x06\x06")
    assert state(patched(data, record, "<L", 0), "zip") == State.CORRUPT
    assert state(patched(data, record + 32, "<Q", 65_999), "zip") == State.CORRUPT
    assert read(b"#!/bin/sh\n" + data, "zip").evidence["prefix_bytes"] == 10


def test_lzma_that_asks_for_more_memory_than_allowed_is_not_called_damaged() -> None:
    data = make([("a", b"x" * 100, zipfile.ZIP_LZMA)])
    assert state(patched(data, 31 + 5, "<L", 1 << 30), "zip") == State.UNREADABLE


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_zip_with_any_wound_never_raises(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SMALL)))
    end = data.draw(st.integers(start, min(len(SMALL), start + 60)))
    wounded = SMALL[:start] + data.draw(st.binary(max_size=60)) + SMALL[end:]
    assert read(wounded, "zip").summary
    assert Trickle(wounded, 3).read(9) == wounded[:3]
