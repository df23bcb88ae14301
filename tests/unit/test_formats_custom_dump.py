"""What is said of custom-format dumps: those of tests/corpus, and the same with every wound."""

import gzip
import lzma
import random
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcomed.formats import State
from tests.artifacts import CORPUS, NOT_GOOD, flipped, read, read_trickling, state

DUMPS = CORPUS / "postgresql-17"
WITH_ROWS = ("shop", "shop-pipe", "shop-stdout", "shop-none", "shop-lz4", "shop-zstd")


def dump(name: str) -> bytes:
    if "lz4" in name:
        pytest.importorskip("lz4.frame")
    return (DUMPS / f"{name}.dump").read_bytes()


@pytest.mark.parametrize(
    ("name", "expected", "counts"),
    [
        *((name, State.WHOLE, (9, 7, 36, 0, 1)) for name in WITH_ROWS),
        ("shop-inserts", State.WHOLE, (9, 7, 0, 36, 1)),
        ("large-object", State.WHOLE, (0, 0, 0, 0, 1)),
        ("shop-schema-only", State.EMPTY, (0, 0, 0, 0, 0)),
        ("one-empty-table", State.EMPTY, (1, 0, 0, 0, 0)),
    ],
)
def test_dumps_of_postgresql_17_are_read_for_what_they_hold(
    name: str, expected: State, counts: tuple[int, ...]
) -> None:
    reading = read(dump(name), "pg_custom")
    assert reading.state == expected, reading
    keys = ("tables", "tables_with_data", "rows", "inserts", "large_objects")
    assert tuple(reading.evidence[key] for key in keys) == counts
    assert read_trickling(dump(name), "pg_custom", 7) == reading


@pytest.mark.parametrize("name", [*WITH_ROWS, "shop-inserts", "large-object", "shop-schema-only"])
def test_dump_cut_anywhere_is_truncated(name: str) -> None:
    data = dump(name)
    # Before the copy of its table of contents a dump is whole, as it would be from a pipe.
    whole = {len(dump("shop")), len(dump("shop")) + 1} if name == "shop-stdout" else set()
    step = 1 if name == "large-object" else 7 if name == "shop" else 37
    for at in {*range(0, len(data), step), *range(len(data) - 60, len(data))} - whole:
        assert state(data[:at], "pg_custom") == State.TRUNCATED, at


def test_dump_whose_second_table_of_contents_contradicts_the_first_is_damaged() -> None:
    data = dump("shop-stdout")
    copy = data[len(dump("shop")) :]
    offset = re.search(rb"\x02..\0{6}", copy, re.DOTALL)
    assert offset is not None
    other = copy[: offset.start() + 1] + b"\x07" + copy[offset.start() + 2 :]
    assert state(dump("shop-pipe") + copy, "pg_custom") == State.WHOLE
    assert state(dump("shop-pipe") + other, "pg_custom") in NOT_GOOD
    assert state(data + bytes(512), "pg_custom") == State.WHOLE
    assert state(data + b"junk", "pg_custom") == State.CORRUPT
    assert state(data + copy, "pg_custom") == State.CORRUPT


@pytest.mark.parametrize("name", ["shop", "shop-inserts"])
def test_dump_with_a_bit_flipped_in_its_packed_data_is_not_whole(name: str) -> None:
    data = dump(name)
    begin = data.rindex(b"\0\0\0\0" + b"\x01", 0, data.index(b"\x78\x9c"))
    choose = random.Random(2)
    missed = 0
    for bit in choose.sample(range(begin * 8, len(data) * 8), 400):
        if state(flipped(data, bit), "pg_custom") not in NOT_GOOD:
            missed += 1  # the bits between the last block of a stream and its checksum
    assert missed < 8


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_dump_in_another_layer_is_read_through(compress: object) -> None:
    assert callable(compress)
    data = compress(dump("shop-none"))
    assert read(data, "pg_custom").evidence["rows"] == 36
    for at in range(1, len(data), 19):
        assert state(data[:at], "pg_custom") == State.TRUNCATED, at


def test_dump_packed_with_lz4_where_that_is_not_installed_is_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = (DUMPS / "shop-lz4.dump").read_bytes()
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    reading = read(data, "pg_custom")
    assert reading.state == State.UNREADABLE
    assert reading.summary == "no block is missing, but python3-lz4 is not installed"
    assert state(data[:-1], "pg_custom") == State.TRUNCATED


@pytest.mark.parametrize(
    ("at", "value", "expected", "said"),
    [
        (6, 17, State.UNREADABLE, "a dump of version 1.17-0, newer than is known here"),
        (6, 11, State.UNREADABLE, "a dump of version 1.11-0, older than PostgreSQL 9"),
        (8, 3, State.CORRUPT, "numbers of such sizes are not written"),
        (10, 9, State.CORRUPT, "a format of no known kind"),
        (11, 9, State.CORRUPT, "a compression of no known kind"),
        (10, 3, State.WRONG_FORMAT, "found the table of contents of a tar-format one"),
        (10, 5, State.WRONG_FORMAT, "found the table of contents of a directory-format one"),
    ],
)
def test_header_that_says_something_else_is_told_as_that(
    at: int, value: int, expected: State, said: str
) -> None:
    data = bytearray(dump("shop"))
    data[at] = value
    reading = read(bytes(data), "pg_custom")
    assert reading.state == expected
    assert reading.summary.endswith(said)


def test_rows_without_their_last_line_are_damaged() -> None:
    data = dump("shop-none")
    at = data.rindex(b"\\.\n\n\n")
    reading = read(data[:at] + b"x.\n\n\n" + data[at + 5 :], "pg_custom")
    assert reading.state == State.CORRUPT
    assert reading.summary.endswith(r"no \. follows the last row")


def test_zero_bytes_among_the_rows_are_damage() -> None:
    data = dump("shop-none")
    at = data.index(b"4\tname 4")
    assert state(data[:at] + bytes(8) + data[at + 8 :], "pg_custom") == State.CORRUPT


SHOP = (DUMPS / "shop.dump").read_bytes()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_dump_with_any_wound_never_raises(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SHOP)))
    end = data.draw(st.integers(start, min(len(SHOP), start + 60)))
    wounded = SHOP[:start] + data.draw(st.binary(max_size=60)) + SHOP[end:]
    assert read(wounded, "pg_custom").summary
