"""The small parts: moments and durations, cells of a table, what a job reports about itself."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import messages, notify, spool
from outcomed.ctl import main, say, term, times, try_sink
from outcomed.ctl.term import Cell, Screen
from outcomed.errors import UsageError
from outcomed.model import DAY, HOUR, MINUTE, SECOND, Usec, Value, Webhook
from outcomed.quantities import MONTH, WEEK, YEAR

NOW = Usec(1_795_370_400 * SECOND)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


# What systemd 257 says of the same distances.
@pytest.mark.parametrize(
    ("distance", "said"),
    [
        (0, "now"),
        (3 * SECOND, "3s ago"),
        (90 * SECOND, "1min 30s ago"),
        (7 * MINUTE + 5 * SECOND, "7min ago"),
        (2 * HOUR + 48 * MINUTE, "2h 48min ago"),
        (14 * HOUR + 50 * MINUTE, "14h ago"),
        (25 * HOUR, "1 day 1h ago"),
        (3 * DAY, "3 days ago"),
        (WEEK + 2 * DAY, "1 week 2 days ago"),
        (MONTH + DAY, "1 month 1 day ago"),
        (YEAR + 2 * MONTH, "1 year 2 months ago"),
        (-2 * MINUTE, "2min left"),
    ],
)
def test_distances_are_spelled_as_systemd_does(distance: int, said: str) -> None:
    assert times.ago(Usec(NOW - distance), NOW) == said


def test_moments_are_spelled_as_systemd_does() -> None:
    assert times.timestamp(NOW) == "Sun 2026-11-22 19:00:00 CET"


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (None, "-"),
        (0, "0"),
        (2_003_412, "2.003s"),
        (47_000, "47ms"),
        (18 * MINUTE + 2 * SECOND + 9, "18min 2s"),
        (90 * MINUTE + 3 * SECOND, "1h 30min"),
    ],
)
def test_durations_are_as_long_as_a_person_needs(duration: int | None, said: str) -> None:
    assert times.ran(None if duration is None else Usec(duration)) == said


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("today", "2026-11-22 00:00:00"),
        ("yesterday", "2026-11-21 00:00:00"),
        ("2026-07-01", "2026-07-01 00:00:00"),
        ("2026-11-01 03:00", "2026-11-01 03:00:00"),
        ("-1d", "2026-11-21 19:00:00"),
        ("2h", "2026-11-22 17:00:00"),
    ],
)
def test_since_takes_what_a_person_says(text: str, moment: str) -> None:
    assert times.timestamp(times.parse_since(text, NOW))[4:23] == moment


def test_since_refuses_the_rest_with_examples() -> None:
    with pytest.raises(UsageError, match="expected a moment, got 'soon'") as caught:
        times.parse_since("soon", NOW)
    assert "-90d" in (caught.value.hint or "")


# --- the terminal ----------------------------------------------------------------------------


@given(st.text())
def test_safe_text_is_printable_whatever_it_was(text: str) -> None:
    assert term.safe(text).isprintable()


@given(st.text(), st.integers(1, 30))
def test_a_cell_never_takes_more_than_its_columns(text: str, width: int) -> None:
    assert term.cells(term.fit(term.safe(text), width)) <= width


@given(st.lists(st.tuples(st.text("ab日", max_size=50), st.text(max_size=60)), min_size=1))
def test_a_table_fits_an_80_column_terminal(rows: list[tuple[str, str]]) -> None:
    cells = [[Cell("*"), Cell(term.safe(a)), Cell(term.safe(b))] for a, b in rows]
    for line in term.table(Screen(width=80), ("", "A", "B"), cells):
        assert term.cells(line) <= 80


@pytest.mark.parametrize(
    ("environment", "is_tty", "colors"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1", "SYSTEMD_COLORS": "yes"}, True, True),
        ({"TERM": "xterm", "SYSTEMD_COLORS": "0"}, True, False),
        ({"TERM": "xterm", "SYSTEMD_COLORS": "auto-16"}, False, False),
    ],
)
def test_systemd_colors_comes_before_no_color(
    environment: dict[str, str], is_tty: bool, colors: bool
) -> None:
    assert term.has_colors(environment, is_tty=is_tty) is colors


def test_every_verb_has_help_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in main.VERBS:
        with pytest.raises(SystemExit) as end:
            main.main([verb, "--help"])
        assert end.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: outcomectl {verb} [OPTIONS...]")
        assert "--json FORM" in shown
        assert max(map(len, shown.splitlines())) <= 80
    assert main.main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("outcomectl ")


# --- what a job says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("347", 347),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("True", "True"),
        ("007", "007"),
        ("", ""),
        ("nan", "nan"),
        ("1e999", "1e999"),
        ("99999999999999999999", 1e20),
        ("a=b", "a=b"),
    ],
)
def test_a_value_has_the_type_that_it_looks_like(word: str, value: Value) -> None:
    found = say.typed(word)
    assert (found, type(found)) == (value, type(value))


def test_a_report_is_one_entry_that_the_daemon_reads_back() -> None:
    report = say.facts(["sent=347", "ok=true", "who=a b"], "https://x", "all well")
    fields = say.report_fields(report)
    assert fields["MESSAGE_ID"] == messages.JOB_REPORT
    assert fields["OUTCOMED_REPORT"] == (
        '{"sent":347,"ok":true,"who":"a b","url":"https://x","summary":"all well"}'
    )
    assert fields["MESSAGE"].startswith("report: sent=347 ok=True who=a b")


@pytest.mark.parametrize(
    "words",
    [[], ["sent"], ["=1"], ["a=1", "a=2"], ["a\n=1"], ["url=1"], [f"k{n}=1" for n in range(65)]],
)
def test_a_report_that_nobody_could_keep_is_refused(words: list[str]) -> None:
    url = "https://x" if words == ["url=1"] else None
    with pytest.raises(UsageError):
        say.facts(words, url, None)


def test_a_report_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 16384 bytes"):
        say.report_fields({"a": "x" * 17_000})


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_a_step_needs_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(UsageError):
        say.step_fields(name)


# --- test SINK -----------------------------------------------------------------------------------


def test_the_message_of_a_test_says_that_it_is_one() -> None:
    delivery = try_sink.message(Webhook("ops", url="http://127.0.0.1/"), NOW)
    data = delivery.event["data"]
    assert isinstance(data, dict)
    assert (data["state"], data["reason"], data["findings"]) == ("test", "test", [])
    assert "nothing is wrong" in data["summary"]
    assert delivery.event["time"] == notify.rfc3339(NOW)
    other = try_sink.message(Webhook("ops", url="http://127.0.0.1/"), NOW)
    assert delivery.id != other.id, "a second test is no repeat of the first"


@pytest.mark.parametrize(
    ("outcome", "said", "code"),
    [
        (spool.Outcome("done"), "delivered after 12ms", 0),
        (spool.Outcome("gone"), "delivered after 12ms", 0),
        (spool.Outcome("failed", spool.Why("HTTP 400", NOW, NOW)), "given up: HTTP 400", 1),
        (spool.Outcome("waiting", spool.Why("refused", NOW, NOW)), "tried again: refused", 1),
        (spool.Outcome("waiting"), "nobody has tried yet", 3),
    ],
)
def test_what_became_of_a_test_is_said(outcome: spool.Outcome, said: str, code: int) -> None:
    assert said in try_sink._sentence("ops", outcome, Usec(12_345), listens=True)
    assert try_sink._code(outcome) == code


def test_a_misspelled_sink_is_answered_with_a_guess() -> None:
    with pytest.raises(UsageError, match="no sink pagr") as caught:
        try_sink._sink("pagr", [Webhook("pager", url="http://x/"), Webhook("ops", url="http://x/")])
    assert caught.value.hint == "did you mean pager?"
