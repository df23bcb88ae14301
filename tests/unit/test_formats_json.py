"""What is said of JSON, beside what the standard library's parser says."""

import bz2
import gzip
import json
import lzma
import random
import tracemalloc
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from outcomed.formats import State
from tests.artifacts import NOT_GOOD, read, read_trickling, state

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # RFC 8259 lets an escape stand for half a character; UTF-8 does not have that.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('aé"\\\n', max_size=4), inner, max_size=4)
    ),
    max_leaves=30,
)
EMPTIES: list[Any] = [None, "", [], {}]
sizes = st.sampled_from([1, 2, 3, 7, 9, 64, 1000])


@settings(deadline=None, max_examples=100)
@given(st.lists(values, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 2]), sizes)
def test_json_of_any_options_is_whole(
    texts: list[Any], plain: bool, indent: int | None, most: int
) -> None:
    lines = [json.dumps(text, ensure_ascii=plain, indent=indent) for text in texts]
    data = "\n".join(lines).encode()
    empty = all(text in EMPTIES and text is not False and text != 0 for text in texts)
    for reading in (read(data, "json"), read_trickling(data, "json", most)):
        assert reading.state == (State.EMPTY if empty else State.WHOLE)
        assert reading.evidence["documents"] == len(texts)


@settings(deadline=None, max_examples=100)
@given(st.lists(values, min_size=1, max_size=3), st.data(), sizes)
def test_json_with_any_cut_is_truncated(texts: list[Any], data: st.DataObject, most: int) -> None:
    made = json.dumps(["x", *texts], ensure_ascii=False).encode()
    at = data.draw(st.integers(1, len(made) - 1))
    assert state(made[:at], "json") == State.TRUNCATED
    assert read_trickling(made[:at], "json", most) == read(made[:at], "json")


def is_json(text: bytes) -> bool:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text.decode("utf-8"), parse_constant=refuse)
    except ValueError:
        return False
    return True


@settings(deadline=None, max_examples=300)
@given(values, st.data(), sizes)
def test_json_with_any_wound_is_judged_as_a_parser_judges_it(
    text: Any, data: st.DataObject, most: int
) -> None:
    good = json.dumps({"k": [text, -1.5e-3]}, ensure_ascii=False).encode()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 3)))
    patch = data.draw(
        st.binary(max_size=2) | st.sampled_from([b",", b"]", b"}", b'"', b"0", b"\\"])
    )
    wounded = good[:start] + patch + good[end:]
    reading = read_trickling(wounded, "json", most)
    assert reading.state == read(wounded, "json").state
    if reading.evidence.get("documents") == 1 or reading.state in NOT_GOOD:
        assert (reading.state not in NOT_GOOD) == is_json(wounded.removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", State.EMPTY),
        (b" [ ]\n", State.EMPTY),
        (b"null", State.EMPTY),
        (b'""', State.EMPTY),
        (b"\n", State.EMPTY),
        (b"{}\n{}\n", State.EMPTY),
        (b"[{}]", State.WHOLE),
        (b"0", State.WHOLE),
        (b"false", State.WHOLE),
        (b'{"a":1}\n{"a":2}', State.WHOLE),
        (b'{"a":1}{"a":2}[]', State.WHOLE),
        (b"\xef\xbb\xbf[1]", State.WHOLE),
        (b'["\\ud800"]', State.WHOLE),
        (b"NaN", State.WRONG_FORMAT),
        (b"[NaN]", State.CORRUPT),
        (b"[-Infinity]", State.CORRUPT),
        (b"[1,]", State.CORRUPT),
        (b'{"a":1,}', State.CORRUPT),
        (b'{"a":1,,"b":2}', State.CORRUPT),
        (b"{'a':1}", State.CORRUPT),
        (b"[01]", State.CORRUPT),
        (b"[1.]", State.CORRUPT),
        (b"[.5]", State.CORRUPT),
        (b"[+1]", State.CORRUPT),
        (b"[1 2]", State.CORRUPT),
        (b"[1}", State.CORRUPT),
        (b'["a\tb"]', State.CORRUPT),
        (b'["\\x"]', State.CORRUPT),
        (b'["\\u12g4"]', State.CORRUPT),
        (b'["\xff"]', State.CORRUPT),
        (b'["\xc3"]', State.CORRUPT),
        (b'["\xed\xa0\x80"]', State.CORRUPT),  # half a character
        (b"[1] done", State.CORRUPT),
        (b"[1]]", State.CORRUPT),
        (b"[1],[2]", State.CORRUPT),
        (b"[1]" + bytes(4096), State.CORRUPT),
        (b"[1] // comment", State.CORRUPT),
        (b"[1", State.TRUNCATED),
        (b"[tru", State.TRUNCATED),
        (b'["\xe2\x82', State.TRUNCATED),
        (b'{"a"', State.TRUNCATED),
        (b'{"a":1}\n{"a"', State.TRUNCATED),
        (b'["\\u12', State.TRUNCATED),
        (b"-", State.TRUNCATED),
    ],
)
def test_what_is_json_and_what_is_none(text: bytes, expected: State) -> None:
    for most in (1, 2, 5, 100_000):
        assert read_trickling(text, "json", most).state == expected, most


@pytest.mark.parametrize("depth", [1000, 1_000_000])
def test_nesting_of_any_depth_is_followed(depth: int) -> None:
    assert state(b"[" * depth + b"]" * depth, "json") == State.WHOLE
    assert state(b"[" * depth + b"]" * (depth - 1), "json") == State.TRUNCATED


def test_records_nested_deep_are_followed() -> None:
    assert state(b'{"a":' * 1000 + b"1" + b"}" * 1000, "json") == State.WHOLE
    assert state(b'[{"a":' * 1000 + b"1" + b"}" * 1000, "json") == State.CORRUPT


def test_long_number_is_no_reason_to_fill_the_memory() -> None:
    assert state(b"[" + b"1" * 10_000 + b"]", "json") == State.WHOLE
    assert state(b"[" + b"1" * 4_000_000 + b"]", "json") == State.UNREADABLE


@pytest.mark.parametrize(
    "compress", [gzip.compress, zstandard.compress, lzma.compress, bz2.compress]
)
def test_compressed_json_is_read_through(compress: Any) -> None:
    data = compress(b'{"a":1}\n' * 5)
    assert read(data, "json").evidence["documents"] == 5
    for at in range(1, len(data)):
        assert state(data[:at], "json") == State.TRUNCATED, at
    assert state(compress(b'{"a":1}\n{"a"'), "json") == State.TRUNCATED
    assert state(compress(b""), "json") == State.EMPTY


def test_memory_stays_small_whatever_the_text_is() -> None:
    noise = random.Random(1).choices("abc\\", k=1 << 22)
    texts = [
        json.dumps("".join(noise)).encode(),
        json.dumps([{"n": n, "text": "x" * 20} for n in range(60_000)]).encode(),
        b"[" * (1 << 18),
    ]
    read(texts[1], "json")
    for text in texts:
        tracemalloc.start()
        read(text, "json")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20
