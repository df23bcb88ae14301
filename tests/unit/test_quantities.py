"""Durations and sizes are spelled as systemd spells them, both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import quantities
from outcomed.model import DAY, HOUR, MINUTE, SECOND


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("90", 90 * SECOND),
        ("0", 0),
        ("1h 30min", 90 * MINUTE),
        ("1h30min 20", 90 * MINUTE + 20 * SECOND),
        (" 1 h ", HOUR),
        ("0.5h", 30 * MINUTE),
        (".5s", SECOND // 2),
        ("5 6", 11 * SECOND),
        ("12.34 .56", 12_900_000),
        ("12.34s.56", 12_900_000),
        ("3m", 3 * MINUTE),
        ("3M", 7_889_400 * SECOND),
        ("5minutes", 5 * MINUTE),
        ("2months", 5_259_600 * SECOND),
        ("300ms", 300_000),
        ("7us 7μs 7µs", 21),
        ("2w 1day", 15 * DAY),
        ("1y", 31_557_600 * SECOND),
        ("3hr 2sec", 3 * HOUR + 2 * SECOND),
    ],
)
def test_durations_are_read_as_systemd_reads_them(text: str, usec: int) -> None:
    assert quantities.parse_duration(text) == usec


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "h",
        "5secs",
        "-5",
        "+5",
        "1.",
        "12.34.56",
        "1.5.s",
        "10:30",
        "infinity",
        "1e3",
        "5x",
    ],
)
def test_what_systemd_refuses_or_a_job_cannot_mean_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 1h 30min, got "):
        quantities.parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 30, "300000y", "1" * 5000])
def test_duration_beyond_counting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than systemd can count"):
        quantities.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("500M", 500 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
        ("1G 512M", 3 * 1024**3 // 2),
        ("1 K", 1024),
        ("2T", 2 * 1024**4),
        ("1P1", 1024**5 + 1),
        ("7E", 7 * 1024**6),
    ],
)
def test_sizes_are_read_as_systemd_reads_them(text: str, size: int) -> None:
    assert quantities.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "500m", "500MB", "500 MiB", "-1", "1M 1G", "1K 1K", "1.", "0x10", "big"]
)
def test_sizes_that_systemd_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 500M, got "):
        quantities.parse_size(text)


def test_size_beyond_any_file_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than a file can be"):
        quantities.parse_size("8E")


@pytest.mark.parametrize(
    ("usec", "accuracy", "text"),
    [
        (0, 1, "0"),
        (-5, 1, "0"),
        (1, 1, "1us"),
        (47_000, 1, "47ms"),
        (400_000, 1, "400ms"),
        (1_500_000, 1, "1.500000s"),
        (1_500_000, 1_000, "1.500s"),
        (1_500_000, SECOND, "1s"),
        (59_999_999, 1_000, "59.999s"),
        (61_500_000, SECOND, "1min 1s"),
        (90 * MINUTE, 1, "1h 30min"),
        (DAY + HOUR + MINUTE + SECOND + 1, 1, "1d 1h 1min 1.000001s"),
        (2 * quantities.YEAR + 8 * DAY, 1, "2y 1w 1d"),
    ],
)
def test_durations_are_shown_as_systemd_shows_them(usec: int, accuracy: int, text: str) -> None:
    assert quantities.format_duration(usec, accuracy) == text


@pytest.mark.parametrize(
    ("usec", "text"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (999, "999 us"),
        (47_000, "47 ms"),
        (400_000, "0.4 s"),
        (1_000_000, "1 s"),
        (9_960_000, "10 s"),
        (59_999_999, "59 s"),
        (20 * MINUTE, "20 min"),
        (61_500_000, "1 min 1 s"),
        (90 * MINUTE + 5 * SECOND, "1 h 30 min"),
        (DAY + 5, "1 d"),
    ],
)
def test_durations_in_sentences_have_two_units_at_most(usec: int, text: str) -> None:
    assert quantities.say_duration(usec) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (48_128, "47.0K"), (2_500_000_000, "2.3G")],
)
def test_sizes_are_shown_as_systemd_shows_them(size: int, text: str) -> None:
    assert quantities.format_size(size) == text


@given(st.integers(0, 10**18))
def test_what_is_shown_reads_back(usec: int) -> None:
    shown = quantities.format_duration(usec)
    assert quantities.parse_duration(shown) == usec


@given(st.text(max_size=30) | st.text("0123456789. hmsMKGBus\t", max_size=30))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (quantities.parse_duration, quantities.parse_size):
        try:
            assert 0 <= parse(text) <= quantities.MAXIMUM
        except ValueError as error:
            assert str(error)  # noqa: PT017  # either way is right


@pytest.mark.parametrize("parse", [quantities.parse_duration, quantities.parse_size])
def test_what_is_wrong_is_said_shortly(parse: Callable[[str], int]) -> None:
    for text in ("x" * 100_000, "9" * 100_000 + "E", "\x1b" * 1_000):
        with pytest.raises(ValueError, match=r"expected|longer|larger") as raised:
            parse(text)
        assert len(str(raised.value)) < 400
        assert str(raised.value).isprintable()
