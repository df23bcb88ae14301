"""Patterns are RE2, over bytes, in bounded time and silence."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import patterns
from outcomed.output import LINE_SEARCHED


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        ("ERROR|partial", b"a partial dump", True),
        ("^ERROR", b"no ERROR", False),
        ("(?i)error", b"ERROR", True),
        (r"gr.n", "grün".encode(), True),
        ("[äö]$", "schön".encode(), False),
        ("[äö]n$", "schön".encode(), True),
        ("ERROR.*full", b"ERROR: disk \xff\xfe full", True),
        ("größe", b"\xff " + "größe".encode(), True),
        ("a", b"", False),
        ("^$", b"", True),
    ],
)
def test_search_finds_text_anywhere_in_the_bytes(pattern: str, line: bytes, found: bool) -> None:
    assert patterns.compile_pattern(pattern).search(line) is found


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", r"RE2 says: missing \)"),
        ("(?<=a)b", "RE2 says: invalid perl operator"),
        (r"(a)\1", "RE2 says: invalid escape sequence"),
        ("((((a{100}){100}){100}){100})", "RE2 says"),
        ("", "matches every line"),
        ("x" * 4097, "longer than 4096"),
        ("\udc80", "not valid Unicode"),
    ],
)
def test_reason_is_given_and_nothing_is_written(
    pattern: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=said):
        patterns.compile_pattern(pattern)
    assert capfd.readouterr() == ("", "")


def test_what_hangs_python_does_not_hang_us() -> None:
    pattern = patterns.compile_pattern(r"(\w+\s?)+$")
    began = time.process_time()
    assert pattern.search(b"a" * 100_000 + b"!") is False
    assert time.process_time() - began < 1


@given(st.text(max_size=50) | st.text("()[]{}*+?|^$.\\ab1,-", max_size=30), st.binary(max_size=50))
def test_any_text_is_a_pattern_or_a_value_error(text: str, line: bytes) -> None:
    try:
        pattern = patterns.compile_pattern(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either way is right
    else:
        assert pattern.search(line) in (True, False)


def test_what_could_hold_everybody_up_is_not_searched() -> None:
    """Random text keeps a hundred places of this pattern alive, and RE2 walks through all."""
    pattern = patterns.compile_pattern("[ab]*a[ab]{300}c")
    text = Random(1).choices(b"ab", k=LINE_SEARCHED)
    assert pattern.search(bytes(text)) is None
    assert pattern.longest < LINE_SEARCHED // 2
    for line in (bytes(text[: pattern.longest]), b"\xff" + bytes(text[: pattern.longest - 1])):
        begin = time.thread_time()
        assert pattern.search(line) is False
        assert time.thread_time() - begin < 0.25  # half of it on the machine it was measured on


@pytest.mark.parametrize(
    "text",
    [
        "(?i)no space left|permission denied|connection refused|timed out|cannot allocate",
        "ERROR.*full",
        r"^\d{4}-\d\d-\d\dT[\d:.]+Z? (ERROR|FATAL)\b",
    ],
)
def test_what_people_look_for_is_looked_for_in_all_that_journald_lets_through(text: str) -> None:
    assert patterns.compile_pattern(text).longest >= 48 << 10


def test_a_pattern_that_would_take_minutes_for_one_line_is_refused() -> None:
    with pytest.raises(ValueError, match=r"too costly to search for: 50\d\d instructions"):
        patterns.compile_pattern("[a-z]{1000}" * 5)


@pytest.mark.parametrize(
    "pattern", ["[a-z]{999}z", "(a+)+$", "(.*)(.*)(.*)z", r"\pL{3}x", "(?:a?){400}b"]
)
def test_a_poisonous_pattern_holds_nobody_up_at_the_longest_line_that_it_searches(
    pattern: str,
) -> None:
    compiled = patterns.compile_pattern(pattern)
    longest = min(compiled.longest, LINE_SEARCHED) - 1
    for line in (b"a" * longest, b"\xff" + b"a" * longest):
        begin = time.thread_time()
        assert compiled.search(line) in (True, False)
        assert time.thread_time() - begin < 0.25


def test_a_character_that_is_no_byte_is_looked_for_in_lines_that_are_not_utf_8_too() -> None:
    search = patterns.compile_pattern(r"\x{100}|b$").search
    assert search("Ā".encode())
    assert search(b"\xff b")
    assert not search(b"\xff c")
