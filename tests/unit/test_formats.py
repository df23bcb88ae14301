"""What formats.py says of archives and dumps made here, with every option and every wound."""

import bz2
import gzip
import io
import json
import lzma
import random
import re
import sqlite3
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from outcomed import formats
from outcomed.formats import Reading, State, plain_dump, source
from tests.artifacts import CORPUS, NOT_GOOD, cuts, flipped, read, read_trickling, state

DUMPS = CORPUS / "postgresql-17"
DUMP_NAMES = ("shop", "shop-inserts", "shop-multirow-inserts", "cluster")


@pytest.fixture(params=["isal", "zlib"])
def inflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both decompressors have to say the same."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)
    else:
        pytest.importorskip("isal.igzip_lib")
    return str(request.param)


# -- Makers ----------------------------------------------------------------------------------------

contents = st.one_of(
    st.binary(max_size=200),
    st.builds(bytes, st.integers(0, 300_000)),
    st.builds(lambda seed: random.Random(seed).randbytes(3000), st.integers()),
)


@st.composite
def gzip_member(draw: st.DrawFn) -> bytes:
    body = draw(contents)
    made = zlib.compressobj(
        draw(st.integers(0, 9)), zlib.DEFLATED, -15, strategy=draw(st.sampled_from([0, 1, 2, 3, 4]))
    )
    extra, name, comment, crc = (draw(st.booleans()) for _ in range(4))
    flags = 4 * extra | 8 * name | 16 * comment | 2 * crc
    header = b"\x1f\x8b\x08" + bytes([flags]) + draw(st.binary(min_size=6, max_size=6))
    header += b"\x05\x00Extra" * extra + b"name\0" * name + b"comment\0" * comment
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") * crc
    trailer = zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return header + made.compress(body) + made.flush() + trailer


@st.composite
def zstd_frame(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 4)) == 0:
        body = draw(st.binary(max_size=50))
        magic = (0x184D2A50 + draw(st.integers(0, 15))).to_bytes(4, "little")
        return magic + len(body).to_bytes(4, "little") + body
    compressor = zstandard.ZstdCompressor(
        level=draw(st.sampled_from([-5, 1, 3, 12])),
        write_checksum=draw(st.booleans()),
        write_content_size=draw(st.booleans()),
    )
    body = draw(contents)
    if draw(st.booleans()):
        return compressor.compress(body)
    made = compressor.compressobj()
    half = len(body) // 2
    first = made.compress(body[:half]) + made.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return first + made.compress(body[half:]) + made.flush()


def make_tar(members: list[tuple[str, bytes]], variant: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=variant) as archive:
        for name, body in members:
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            if variant == tarfile.PAX_FORMAT and len(body) % 2:
                member.pax_headers = {"size": str(len(body)), "comment": "a\nb=ü"}
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return out.getvalue()


@st.composite
def tar_file(draw: st.DrawFn) -> bytes:
    variant = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
    longest = 90 if variant == tarfile.USTAR_FORMAT else 300
    names = st.text("abcdé/", min_size=1, max_size=longest // 2)
    members = draw(st.lists(st.tuples(names, st.binary(max_size=1500)), min_size=1, max_size=4))
    return make_tar([("f" + name.rstrip("/"), body) for name, body in members], variant)


def tar_end(archive: bytes) -> int:
    """Where the two zero blocks end, and padding begins."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        last = tar.getmembers()[-1]
        return last.offset_data + last.size + -last.size % 512 + 1024


def boundaries(parts: list[bytes]) -> set[int]:
    at = [0]
    for part in parts:
        at.append(at[-1] + len(part))
    return set(at)


# -- gzip ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(gzip_member(), min_size=1, max_size=3))
def test_gzip_of_any_options_is_whole_and_cut_anywhere_is_not(members: list[bytes]) -> None:
    data = b"".join(members)
    unpacked = gzip.decompress(data)
    good = read(data, "gzip")
    assert good.state == (State.WHOLE if unpacked else State.EMPTY)
    assert good.evidence["bytes_unpacked"] == len(unpacked)
    assert good.evidence["streams"] == len(members)
    for at in cuts(len(data), boundaries(members)):
        assert state(data[:at], "gzip") == State.TRUNCATED, at


def test_gzip_is_read_alike_with_and_without_isal(inflate: str) -> None:
    data = gzip.compress(random.Random(1).randbytes(5000)) + gzip.compress(b"x" * 600_000)
    assert read(data, "gzip").evidence["bytes_unpacked"] == 605_000
    for at in cuts(len(data), {0, len(gzip.compress(random.Random(1).randbytes(5000)))}):
        assert state(data[:at], "gzip") == State.TRUNCATED, (inflate, at)
    for most in (1, 7, 1000):
        assert read_trickling(data, "gzip", most) == read(data, "gzip")


def test_gzip_with_a_bit_flipped_is_not_whole_if_that_changes_the_contents(inflate: str) -> None:
    body = b"to be, or not to be: that is the question " * 4
    data = gzip.compress(body)
    for bit in range(10 * 8, len(data) * 8):
        wounded = bytearray(data)
        wounded[bit // 8] ^= 1 << bit % 8
        # The bits between the last block and the trailer belong to nothing.
        if state(bytes(wounded), "gzip") not in NOT_GOOD:
            assert gzip.decompress(wounded) == body, (inflate, bit)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (b"", State.WHOLE),
        (bytes(1), State.WHOLE),
        (bytes(600_000), State.WHOLE),
        (b"\n", State.CORRUPT),
        (b"junk", State.CORRUPT),
        (bytes(512) + b"junk", State.CORRUPT),
        (bytes(512) + gzip.compress(b"more", mtime=0), State.CORRUPT),
        (b"\x1f", State.TRUNCATED),
        (b"\x1f\x8b", State.TRUNCATED),
        (b"\x1f\x8c", State.CORRUPT),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else value,
)
def test_what_may_follow_a_gzip_member_is_padding_or_a_member(tail: bytes, expected: State) -> None:
    data = gzip.compress(b"contents") + tail
    assert state(data, "gzip") == expected
    assert read_trickling(data, "gzip", 3).state == expected


def test_gzip_of_nothing_is_empty() -> None:
    assert state(gzip.compress(b""), "gzip") == State.EMPTY
    assert state(gzip.compress(b"") * 3, "gzip") == State.EMPTY
    assert state(gzip.compress(b"") + gzip.compress(b"x"), "gzip") == State.WHOLE


# -- zstd ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(zstd_frame(), min_size=1, max_size=3))
def test_zstd_of_any_options_is_whole_and_cut_anywhere_is_not(frames: list[bytes]) -> None:
    data = b"".join(frames)
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        unpacked = reader.read()
    good = read(data, "zstd")
    assert good.state == (State.WHOLE if unpacked else State.EMPTY)
    assert good.evidence["bytes_unpacked"] == len(unpacked)
    for at in cuts(len(data), boundaries(frames)):
        assert state(data[:at], "zstd") == State.TRUNCATED, at


def test_zstd_with_checksum_and_a_bit_flipped_is_not_whole_if_that_changes_the_contents() -> None:
    body = b"to be, or not to be " * 8
    data = zstandard.ZstdCompressor(write_checksum=True).compress(body)
    for bit in range(6 * 8, len(data) * 8):
        wounded = bytearray(data)
        wounded[bit // 8] ^= 1 << bit % 8
        if state(bytes(wounded), "zstd") not in NOT_GOOD:
            assert zstandard.decompress(bytes(wounded)) == body, bit


def test_zstd_takes_nothing_but_frames_after_a_frame() -> None:
    data = zstandard.compress(b"contents")
    assert state(data + data, "zstd") == State.WHOLE
    assert state(data + b"\n", "zstd") == State.CORRUPT
    assert state(data + bytes(16), "zstd") == State.CORRUPT
    assert state(data + data[:3], "zstd") == State.TRUNCATED


def test_zstd_of_nothing_or_of_skippable_frames_alone_is_empty() -> None:
    assert state(zstandard.compress(b""), "zstd") == State.EMPTY
    assert state(b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab", "zstd") == State.EMPTY


def test_zstd_that_asks_for_more_memory_than_allowed_is_not_called_damaged() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    made = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = made.compress(b"contents") + made.flush()
    reading = read(data, "zstd")
    assert reading.state == State.UNREADABLE
    assert reading.summary == "unpacking this zstd stream takes more memory than 128.0M"


def test_zstd_made_with_a_dictionary_is_not_called_damaged() -> None:
    samples = [b"the same words in another order, number %d" % n for n in range(2000)]
    dictionary = zstandard.train_dictionary(4096, samples)
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"the same words")
    assert state(data, "zstd") == State.UNREADABLE


def test_zstd_without_its_library_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstandard.compress(b"contents")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert state(data, "zstd") == State.UNREADABLE


# -- xz and bzip2 ----------------------------------------------------------------------------------


@st.composite
def xz_stream(draw: st.DrawFn) -> bytes:
    kinds = [lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256]
    check, preset = draw(st.sampled_from(kinds)), draw(st.integers(0, 2))
    return lzma.compress(draw(contents), check=check, preset=preset)


@st.composite
def bzip2_stream(draw: st.DrawFn) -> bytes:
    return bz2.compress(draw(contents), draw(st.integers(1, 9)))


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(
        st.tuples(st.just("xz"), st.lists(xz_stream(), min_size=1, max_size=3)),
        st.tuples(st.just("bzip2"), st.lists(bzip2_stream(), min_size=1, max_size=3)),
    )
)
def test_xz_and_bzip2_of_any_options_are_whole_and_cut_anywhere_they_are_not(
    made: tuple[str, list[bytes]],
) -> None:
    kind, streams = made
    data = b"".join(streams)
    unpacked = lzma.decompress(data) if kind == "xz" else bz2.decompress(data)
    good = read(data, kind)
    assert good.state == (State.WHOLE if unpacked else State.EMPTY)
    assert good.evidence["bytes_unpacked"] == len(unpacked)
    assert good.evidence["streams"] == len(streams)
    for at in cuts(len(data), boundaries(streams)):
        assert state(data[:at], kind) == State.TRUNCATED, at


@pytest.mark.parametrize("check", [lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256])
def test_xz_with_any_bit_flipped_is_not_whole(check: int) -> None:
    data = lzma.compress(b"to be, or not to be " * 8, check=check)
    for bit in range(len(data) * 8):
        assert state(flipped(data, bit), "xz") in NOT_GOOD, bit


def test_bzip2_with_a_bit_flipped_is_not_whole_if_that_changes_the_contents() -> None:
    body = b"to be, or not to be " * 8
    data = bz2.compress(body)
    for bit in range(len(data) * 8):
        wounded = bytearray(data)
        wounded[bit // 8] ^= 1 << bit % 8
        if state(bytes(wounded), "bzip2") not in NOT_GOOD:  # the last byte's spare bits
            assert bz2.decompress(wounded) == body, bit


def test_xz_says_how_it_is_checked() -> None:
    streams = [lzma.compress(b"x", check=kind) for kind in (lzma.CHECK_CRC32, lzma.CHECK_NONE)]
    assert read(streams[0], "xz").evidence["checks"] == "crc32"
    assert read(b"".join(streams), "xz").evidence["checks"] == "crc32 none"


def test_xz_whose_checksum_is_of_an_unknown_kind_is_not_called_whole() -> None:
    data = bytearray(lzma.compress(b"contents", check=lzma.CHECK_CRC32))
    data[7] = data[-3] = 2  # not in use yet; four bytes long, as a CRC32 is
    data[8:12] = zlib.crc32(data[6:8]).to_bytes(4, "little")
    data[-12:-8] = zlib.crc32(data[-8:-2]).to_bytes(4, "little")
    assert lzma.decompress(bytes(data)) == b"contents"
    assert state(bytes(data), "xz") == State.UNREADABLE


@pytest.mark.parametrize(
    ("kind", "tail", "expected"),
    [
        ("xz", bytes(4), State.WHOLE),
        ("xz", bytes(600_000), State.WHOLE),
        ("xz", bytes(3), State.CORRUPT),
        ("xz", bytes(8) + lzma.compress(b"more"), State.WHOLE),
        ("xz", bytes(7) + lzma.compress(b"more"), State.CORRUPT),
        ("xz", b"junk", State.CORRUPT),
        ("xz", b"\xfd7z", State.TRUNCATED),
        ("bzip2", bytes(3), State.WHOLE),
        ("bzip2", bytes(512) + bz2.compress(b"more"), State.CORRUPT),
        ("bzip2", b"junk", State.CORRUPT),
        ("bzip2", b"BZ", State.TRUNCATED),
    ],
)
def test_what_may_follow_an_xz_or_bzip2_stream(kind: str, tail: bytes, expected: State) -> None:
    data = GOOD[kind] + tail
    assert state(data, kind) == expected
    assert read_trickling(data, kind, 3).state == expected


# -- tar -------------------------------------------------------------------------------------------

COMPRESS = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@settings(deadline=None, max_examples=60)
@given(tar_file())
def test_tar_of_any_options_is_whole_and_cut_before_its_end_is_not(archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    good = read(archive, "tar")
    assert good.state == State.WHOLE
    assert good.evidence["members"] == len(members)
    assert good.evidence["file_bytes"] == sum(member.size for member in members)
    end = tar_end(archive)
    for at in cuts(end):
        assert state(archive[:at], "tar") == State.TRUNCATED, at
    assert state(archive[:end], "tar") == State.WHOLE
    assert state(archive[: end + 100], "tar") == State.WHOLE


@pytest.mark.parametrize("compression", COMPRESS)
def test_compressed_tar_cut_anywhere_is_truncated(compression: str) -> None:
    archive = make_tar([("a", b"x" * 2000), ("b", random.Random(2).randbytes(700))])
    data = COMPRESS[compression](archive)
    good = read(data, "tar")
    assert (good.state, good.evidence["compression"]) == (State.WHOLE, compression)
    for at in cuts(len(data)):
        # A start too short to know a compression by is a start too short for tar.
        assert state(data[:at], "tar") == State.TRUNCATED, at


@pytest.mark.parametrize("compression", COMPRESS)
def test_compressed_tar_is_verified_to_the_compressions_own_end(compression: str) -> None:
    data = COMPRESS[compression](make_tar([("a", b"contents")]))
    assert state(data + b"junk", "tar") == State.CORRUPT
    assert state(data + data, "tar") == State.CORRUPT  # the second archive would not be unpacked
    for at in range(2, 9):  # in bzip2's last byte may be bits that belong to nothing
        wounded = bytearray(data)
        wounded[-at] ^= 0x40
        if compression != "zstd":  # the library's one-shot call writes no checksum
            assert state(bytes(wounded), "tar") in NOT_GOOD, at


def test_xz_streams_may_be_padded_between_one_another() -> None:
    archive = make_tar([("a", bytes(4000))])
    data = lzma.compress(archive[:5000]) + bytes(8) + lzma.compress(archive[5000:]) + bytes(4)
    reading = read(data, "tar")
    assert (reading.state, reading.evidence["streams"]) == (State.WHOLE, 2)


def test_xz_that_asks_for_more_memory_than_allowed_is_not_called_damaged() -> None:
    encoder = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    data = bytearray(encoder.compress(make_tar([("a", b"x")])) + encoder.flush())
    # The dictionary's size is a byte of the block header, under a CRC32: patched, not allocated.
    at = data.index(b"\x21\x01", 12)
    data[at + 2] = 38
    size = (data[12] + 1) * 4
    data[12 + size - 4 : 12 + size] = zlib.crc32(data[12 : 12 + size - 4]).to_bytes(4, "little")
    assert state(bytes(data), "tar") == State.UNREADABLE


def test_tar_without_members_and_tar_of_directories_alone_are_empty() -> None:
    assert state(make_tar([]), "tar") == State.EMPTY
    assert state(bytes(1024), "tar") == State.EMPTY
    reading = read(make_tar([("./", b""), ("./a/", b"")]), "tar")
    assert reading.state == State.EMPTY
    assert reading.summary == "a whole tar archive without a file: 2 directories"
    assert state(make_tar([("./", b""), ("./a", b"")]), "tar") == State.WHOLE


def test_tar_that_stops_without_its_two_zero_blocks_is_truncated() -> None:
    archive = make_tar([("etc/passwd", b"contents")])
    reading = read(archive[:1024], "tar")
    assert reading.state == State.TRUNCATED
    assert reading.summary == (
        "the tar archive ends early: the two zero blocks of its end are missing "
        "after 1 member (1.0K, the last is etc/passwd)"
    )
    assert state(archive[: 1024 + 512], "tar") == State.TRUNCATED


def test_tar_followed_by_anything_but_zeros_is_corrupt() -> None:
    archive = make_tar([("a", b"contents")])
    assert state(archive + b"junk", "tar") == State.CORRUPT
    assert state(archive + archive, "tar") == State.CORRUPT
    assert state(archive[:1024] + bytes(512) + archive, "tar") == State.CORRUPT


def test_tar_header_with_any_bit_flipped_is_not_whole() -> None:
    archive = make_tar([("a", b"x"), ("b/ü", b"y" * 513)])
    for start in (0, 1024):
        for bit in range(512 * 8):
            byte = start + bit // 8
            if 148 <= byte - start < 156:
                continue  # the checksum's own field may be spelled in several ways
            wounded = bytearray(archive)
            wounded[byte] ^= 1 << bit % 8
            assert state(bytes(wounded), "tar") in NOT_GOOD, (start, bit)


def with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_tar_sizes_beyond_octal_are_read() -> None:
    header = bytearray(make_tar([("big", b"")])[:512])
    header[124:136] = b"\x80" + (1500).to_bytes(11, "big")
    reading = read(with_checksum(header) + bytes(1536) + bytes(1024), "tar")
    assert (reading.state, reading.evidence["file_bytes"]) == (State.WHOLE, 1500)
    header[124:136] = b"\x80" + b"\xff" * 11
    assert state(with_checksum(header) + bytes(4096), "tar") == State.TRUNCATED
    header[124:136] = b"\xff" * 12
    assert state(with_checksum(header) + bytes(4096), "tar") == State.CORRUPT


def test_tar_sizes_from_a_pax_header_win() -> None:
    pax = make_tar([("a", b"contents!")], tarfile.PAX_FORMAT)
    header = bytearray(pax[1024:1536])
    header[124:136] = b"0" * 11 + b"\0"
    reading = read(pax[:1024] + with_checksum(header) + pax[1536:], "tar")
    assert (reading.state, reading.evidence["file_bytes"]) == (State.WHOLE, 9)


@pytest.mark.parametrize("records", [b"99 a=b\n", b"5 a=b\n", b"x", b"7 a=bcd", b"0 a=b\n"])
def test_tar_with_a_pax_header_that_is_none_is_corrupt(records: bytes) -> None:
    header = bytearray(make_tar([("pax", records)])[:512])
    header[156] = ord("x")
    body = records.ljust(512, b"\0")
    assert state(with_checksum(header) + body + bytes(1024), "tar") == State.CORRUPT


def test_tar_member_names_are_fit_for_a_terminal() -> None:
    archive = make_tar([("a\x1b[31m\n\udcff", b"")])
    assert read(archive, "tar").evidence["last_member"] == "a\\x1b[31m\\n\\xff"


# -- pg_dump ---------------------------------------------------------------------------------------


def make_zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def make_database() -> bytes:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1), (zeroblob(9000));")
    data = database.serialize()
    database.close()
    return data


def dump(name: str) -> bytes:
    return (DUMPS / f"{name}.sql").read_bytes()


@pytest.fixture
def short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small dumps arrive in pieces as large ones do."""
    monkeypatch.setattr(plain_dump, "_DUMP_HEAD", 64)


@pytest.mark.parametrize(
    ("name", "expected", "counts"),
    [
        ("shop", State.WHOLE, (1, 9, 7, 36, 0)),
        ("shop-inserts", State.WHOLE, (1, 7, 7, 0, 36)),
        ("shop-multirow-inserts", State.WHOLE, (1, 7, 7, 0, 16)),
        ("shop-schema-only", State.EMPTY, (1, 0, 0, 0, 0)),
        ("one-empty-table", State.EMPTY, (1, 1, 0, 0, 0)),
        ("cluster", State.WHOLE, (4, 10, 7, 36, 0)),
        ("globals", State.EMPTY, (0, 0, 0, 0, 0)),
    ],
)
def test_dumps_of_postgresql_17_are_read_for_what_they_hold(
    name: str, expected: State, counts: tuple[int, ...]
) -> None:
    reading = read(dump(name), "pg_dump")
    assert reading.state == expected
    keys = ("databases", "tables", "tables_with_data", "rows", "inserts")
    assert tuple(reading.evidence[key] for key in keys) == counts


@pytest.mark.parametrize("name", [*DUMP_NAMES, "shop-schema-only", "globals"])
def test_dump_cut_anywhere_is_truncated(name: str) -> None:
    data = dump(name)
    end = len(data.rstrip(b"-\n"))
    for at in range(0, end, 1 if name == "shop" else 7):
        assert state(data[:at], "pg_dump") == State.TRUNCATED, at
    assert state(data[:end], "pg_dump") == state(data, "pg_dump")  # only blank lines are missing


def without_restrict(data: bytes) -> bytes:
    """As releases before 17.6 wrote it."""
    return re.sub(rb"^\\\\(?:un)?restrict .*\n\n", b"", data, flags=re.MULTILINE)


@pytest.mark.parametrize("name", DUMP_NAMES)
def test_dump_of_older_releases_cut_anywhere_is_truncated(name: str) -> None:
    data = without_restrict(dump(name))
    end = len(data.rstrip(b"-\n"))
    assert state(data, "pg_dump") == State.WHOLE
    for at in range(0, end, 11):
        assert state(data[:at], "pg_dump") == State.TRUNCATED, at


@pytest.mark.usefixtures("short_head")
@pytest.mark.parametrize("name", DUMP_NAMES)
@pytest.mark.parametrize("most", [1, 2, 3, 5, 17, 255, 256, 257, 1000])
def test_dump_is_read_alike_in_pieces_of_any_size(name: str, most: int) -> None:
    data = dump(name)
    assert read_trickling(data, "pg_dump", most) == read(data, "pg_dump")


@pytest.mark.usefixtures("short_head")
def test_cut_dump_is_read_alike_in_pieces_of_any_size() -> None:
    data = dump("shop")
    for at in range(60, len(data), 41):
        assert read_trickling(data[:at], "pg_dump", 13).state == State.TRUNCATED, at


@pytest.mark.parametrize("compression", COMPRESS)
def test_compressed_dump_is_read_through(compression: str) -> None:
    data = COMPRESS[compression](dump("shop"))
    assert read(data, "pg_dump").evidence["rows"] == 36
    for at in range(0, len(data), 11):
        assert state(data[:at], "pg_dump") == State.TRUNCATED, at
    assert state(COMPRESS[compression](dump("shop")[:-100]), "pg_dump") == State.TRUNCATED


def test_dump_that_never_wrote_a_byte_is_truncated_and_not_empty() -> None:
    reading = read(gzip.compress(b""), "pg_dump")
    assert reading.state == State.TRUNCATED
    assert reading.summary == "the gzip stream is whole and holds not one byte"


def test_dump_that_ends_among_rows_names_the_table() -> None:
    data = dump("shop")
    at = data.index(b"3\tname 3")
    reading = read(data[:at], "pg_dump")
    assert reading.summary == "the dump ends inside the rows of public.customers, after 2 rows"
    assert (reading.evidence["rows"], reading.evidence["tables_with_data"]) == (2, 1)


@pytest.mark.parametrize("release", [dump, lambda name: without_restrict(dump(name))])
@pytest.mark.parametrize("name", ["shop", "shop-inserts"])
def test_dump_that_died_before_the_next_one_began_is_truncated(
    name: str, release: Callable[[str], bytes]
) -> None:
    """`for db in …; do pg_dump $db; done > all.sql`, whose exit status is the last one's."""
    data = release(name)
    assert state(data + data, "pg_dump") == State.WHOLE
    for at in range(len(HEAD), data.index(b"-- PostgreSQL database dump complete\n--\n") + 36, 5):
        assert state(data[:at] + data, "pg_dump") in NOT_GOOD, at


@pytest.mark.usefixtures("short_head")
def test_next_dump_among_the_rows_is_found_across_pieces() -> None:
    data = dump("shop")
    wounded = data[: data.index(b"3\tname 3") + 4] + data
    for most in (1, 7, 100, 256, 300):
        reading = read_trickling(wounded, "pg_dump", most)
        assert reading.summary == (
            "a dump ends inside its rows or a string, and another begins there"
        )


def test_row_that_looks_like_the_end_of_a_dump_is_a_row() -> None:
    data = dump("shop")
    at = data.index(b"-- PostgreSQL database dump complete\n\\.")
    assert state(data[: at + 40], "pg_dump") == State.TRUNCATED


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"pg_dump: warning: there are circular constraints\n", b"", State.WHOLE),
        (b"BEGIN;\n", b"COMMIT;\n", State.WHOLE),
        (b"", b"\n\n\n", State.WHOLE),
        (b"", b"pg_dump: error: it's broken", State.CORRUPT),
        (b"", b"some words", State.CORRUPT),
        (b"", bytes(4096), State.CORRUPT),
        (b"-- MySQL dump 10.13\n" + b"x" * 70_000, b"", State.WRONG_FORMAT),
        (b"PGDMP\0", b"", State.WRONG_FORMAT),
    ],
)
def test_what_a_wrapper_may_write_around_a_dump(
    before: bytes, after: bytes, expected: State
) -> None:
    assert state(before + dump("shop") + after, "pg_dump") == expected


def test_dump_with_zero_bytes_in_it_is_corrupt() -> None:
    """What a power cut leaves of a page that was not written."""
    data = bytearray(dump("shop"))
    at = data.index(b"4\tname 4")
    data[at : at + 20] = bytes(20)
    reading = read(bytes(data), "pg_dump")
    assert reading.state == State.CORRUPT
    assert reading.summary == f"the dump has zero bytes at {at}, which no text holds"


def test_dump_whose_beginning_is_missing_is_not_whole() -> None:
    data = dump("shop")
    assert state(data[data.index(b"COPY public.customers") :], "pg_dump") == State.WRONG_FORMAT


def test_dump_with_carriage_returns_is_whole() -> None:
    reading = read(dump("shop").replace(b"\n", b"\r\n"), "pg_dump")
    assert (reading.state, reading.evidence["rows"]) == (State.WHOLE, 36)


HEAD = b"--\n-- PostgreSQL database dump\n--\n\n"
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"
NASTY = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("\\.", "\n\\.\n", "\\", "';", '"', "$$", "$a$", "--", "/*", ";\n", "\t", "x" * 600),
            *("\n" + END.decode(), HEAD.decode(), "COPY a (b) FROM stdin;\n"),
            "\nINSERT INTO x VALUES (1);\n",
        ]
    ),
).filter(lambda text: "\0" not in text)


def as_copy(rows: list[str]) -> bytes:
    escapes = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
    lines = "".join(row.translate(escapes) + "\n" for row in rows)
    return b"COPY public.t (a) FROM stdin;\n" + lines.encode() + b"\\.\n\n\n"


def as_inserts(rows: list[str]) -> bytes:
    quoted = (row.replace("'", "''") for row in rows)
    return "".join(f"INSERT INTO public.t (a) VALUES ('{row}');\n" for row in quoted).encode()


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(NASTY, max_size=6)), max_size=4),
    st.integers(1, 400),
    st.data(),
)
def test_rows_of_any_text_are_counted_and_any_cut_is_found(
    tables: list[tuple[bool, list[str]]], most: int, data: st.DataObject
) -> None:
    made = b"".join(as_copy(rows) if copy else as_inserts(rows) for copy, rows in tables)
    made = HEAD + made + END
    good = read_trickling(made, "pg_dump", most)
    rows = sum(len(rows) for copy, rows in tables if copy)
    inserts = sum(len(rows) for copy, rows in tables if not copy)
    assert (good.evidence["rows"], good.evidence["inserts"]) == (rows, inserts)
    assert good.state == (State.WHOLE if rows + inserts else State.EMPTY)
    at = data.draw(st.integers(0, len(made.rstrip(b"-\n")) - 1))
    assert state(made[:at], "pg_dump") == State.TRUNCATED


# -- Any file --------------------------------------------------------------------------------------

GOOD = {
    "gzip": gzip.compress(b"contents" * 50),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(b"contents" * 50),
    "xz": lzma.compress(b"contents" * 50),
    "bzip2": bz2.compress(b"contents" * 50),
    "tar": make_tar([("a", b"x" * 600), ("b" * 150, b"")], tarfile.PAX_FORMAT),
    "zip": make_zip({"a": b"x" * 600, "b": b"", "c/": b""}),
    "json": json.dumps([{"a": [1.5, True, None], "ü": "\u20ac\n" * 50}] * 9).encode(),
    "sqlite": make_database(),
    "pg_dump": dump("shop"),
    "pg_custom": (DUMPS / "shop-inserts.dump").read_bytes(),
}
STREAMED = [kind for kind in GOOD if kind != "sqlite"]


def test_every_format_has_a_reader() -> None:
    assert set(GOOD) == formats.FORMATS
    assert {kind: state(data, kind) for kind, data in GOOD.items()} == dict.fromkeys(
        GOOD, State.WHOLE
    )


@pytest.mark.parametrize("kind", GOOD)
def test_file_without_a_byte_is_truncated_and_never_merely_empty(kind: str) -> None:
    reading = read(b"", kind)
    assert reading.state == State.TRUNCATED
    assert reading.summary == "the file is empty: it has not one byte"


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize(
    ("data", "called"),
    [
        (b"PK\x03\x04" + bytes(600), "a zip archive"),
        (b"PGDMP\x01\x0e" + bytes(600), "a custom-format dump (pg_dump -Fc)"),
        (b"<!DOCTYPE html>" + b" " * 600, "a web page"),
        (b"Permission denied, please try again" * 20, "text"),
        (b"\xfe\xed\xfa\xce" * 200, "something else"),
    ],
)
def test_another_format_is_called_by_its_name(kind: str, data: bytes, called: str) -> None:
    reading = read(data, kind)
    if kind in ("zip", "pg_custom") and called.startswith(("a zip", "a custom")):
        assert reading.state in NOT_GOOD
        return
    assert reading.state == State.WRONG_FORMAT
    assert reading.summary.endswith(f", found {called}")


@pytest.mark.parametrize("kind", ["gzip", "zstd", "pg_dump"])
def test_zero_bytes_are_called_what_a_crash_leaves_behind(kind: str) -> None:
    reading = read(bytes(5000), kind)
    assert reading.state == State.WRONG_FORMAT
    assert reading.summary.endswith("found zero bytes, as a crash leaves behind")


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(GOOD.keys() - {"json"})),  # of which a single digit is a whole text
    st.sampled_from(
        [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh91AY&SY", HEAD]
    ),
    st.binary(max_size=2000),
)
def test_garbage_never_raises(kind: str, magic: bytes, garbage: bytes) -> None:
    assert read(magic + garbage, kind).state in NOT_GOOD | {State.EMPTY}


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_good_file_with_any_wound_never_raises(kind: str, data: st.DataObject) -> None:
    good = GOOD[kind]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 700)))
    wounded = good[:start] + data.draw(st.binary(max_size=50)) + good[end:]
    reading = read(wounded, kind)
    assert reading.summary
    if kind in STREAMED:
        assert read_trickling(wounded, kind, 100).state == reading.state


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("most", [1, 3, 511, 513])
def test_stream_may_give_any_number_of_bytes_at_a_time(kind: str, most: int) -> None:
    assert read_trickling(GOOD[kind], kind, most) == read(GOOD[kind], kind)


class Failing(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")

    def seek(self, offset: int, whence: int = 0) -> int:
        return 1000

    def fileno(self) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("kind", GOOD)
def test_error_of_the_disk_is_the_callers(kind: str) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        formats.read(cast(BinaryIO, Failing()), kind)


def test_no_codec_takes_the_disks_error_for_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """bz2 raises OSError for damage, too."""
    monkeypatch.setattr(source, "CHUNK", 200)
    stream = io.BytesIO(bz2.compress(random.Random(3).randbytes(5000)))
    real = stream.read

    def failing(size: int | None = -1, /) -> bytes:
        if stream.tell() > 1000:
            raise OSError(5, "Input/output error")
        return real(size)

    monkeypatch.setattr(stream, "read", failing, raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        formats.read(stream, "tar")


def peak_of(data: bytes, kind: str) -> tuple[Reading, int]:
    stream = io.BytesIO(data)
    formats.read(io.BytesIO(GOOD[kind]), kind)  # what is imported once is no part of it
    tracemalloc.start()
    try:
        return formats.read(stream, kind), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LONG_LINE = b"0123456789abcdef" * (1 << 21)
BOMB = bytes(1 << 28)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("gzip", gzip.compress(BOMB, 1)),
        ("zstd", zstandard.compress(BOMB)),
        ("tar", make_tar([("big", LONG_LINE)])),
        ("tar", bz2.compress(BOMB[: 1 << 26])),
        ("tar", lzma.compress(BOMB[: 1 << 26], preset=0)),
        ("pg_dump", HEAD + b"COPY t (a) FROM stdin;\n" + LONG_LINE + b"\n\\.\n" + END),
        ("pg_dump", HEAD + b"INSERT INTO t VALUES ('" + LONG_LINE + b"');\n" + END),
        ("pg_dump", HEAD + b"SELECT " + LONG_LINE + b";\n" + as_copy(["x"]) + END),
        ("pg_dump", HEAD + b"-- " + LONG_LINE + b"\n" + as_copy(["x"]) + END),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_memory_stays_small_whatever_the_file_unpacks_to(kind: str, data: bytes) -> None:
    reading, peak = peak_of(data, kind)
    assert reading.state in {State.WHOLE, State.EMPTY}
    assert peak < 6 << 20
