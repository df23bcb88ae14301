"""A run's output is a foreign text: what is kept of it is bounded, whatever is fed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import output
from outcomed.model import SECOND, Completeness, Usec
from outcomed.output import Output, RateLimit
from outcomed.tracker import What

LIMIT = RateLimit(burst=3, interval=Usec(30 * SECOND))


def said(*lines: bytes) -> Output:
    found = Output({}, None)
    for line in lines:
        found.line(line)
    return found


def test_what_matched_first_is_kept() -> None:
    found = Output({"error": lambda message: b"ERROR" in message}, None)
    for line in (b"fine", b"ERROR one", b"ERROR two"):
        found.line(line)
    assert found.matched == {"error": "ERROR one"}
    assert found.lines == 3


def test_only_the_end_of_the_output_is_kept() -> None:
    found = said(*(b"line %d" % number for number in range(100)))
    assert list(found.tail) == [f"line {number}" for number in range(80, 100)]


def test_a_report_is_a_line_with_the_marker_at_its_beginning() -> None:
    found = said(b'OUTCOME {"sent": 3, "host": "a"}', b' OUTCOME {"sent": 4}', b'{"sent": 5}')
    assert found.report == {"sent": 3, "host": "a"}
    assert found.faults == []


def test_later_reports_win_and_add() -> None:
    found = said(b'OUTCOME {"a": 1, "b": null}', b'OUTCOME {"a": 2.5, "c": true}')
    assert found.report == {"a": 2.5, "b": None, "c": True}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "not a JSON object: "),
        (b"[1]", "not a JSON object: [1]"),
        (b'{"a": ', 'not a JSON object: {"a": '),
        (b'{"a": NaN}', 'not a JSON object: {"a": NaN}'),
        (b'{"a": "\xff"}', 'not a JSON object: {"a": "�"}'),
        (b'{"a": "\\ud800"}', 'not a JSON object: {"a": "\\ud800"}'),
        (b'{"a": [1]}', "a: neither text, number, true, false nor null"),
        (b'{"a": {}}', "a: neither text, number, true, false nor null"),
        (b'{"a": "%s"}' % (b"x" * 2_001), "a: too long"),
        (b'{"%s": 1}' % (b"k" * 300), "k" * 80 + ": too long"),
        (b'{"a": "%s"}' % (b"x" * 20_000), "a report of 20009 bytes, more than 16384"),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_no_fact(text: bytes, fault: str) -> None:
    found = said(b"OUTCOME " + text)
    assert found.report == {}
    assert found.faults == [fault]


def test_deep_json_is_a_fault() -> None:
    for depth in (1_000, 8_000):
        found = said(b'OUTCOME {"a": ' + b"[" * depth + b"]" * depth + b"}")
        assert len(found.faults) == 1


def test_more_keys_than_anybody_reads_are_a_fault() -> None:
    found = Output({}, None)
    for number in range(output.REPORT_KEYS + 10):
        found.take_report(b'{"key%d": 1}' % number)
    assert len(found.report) == output.REPORT_KEYS
    assert found.faults == ["more than 64 keys"] * 5
    found.take_report(b'{"key1": 2}')
    assert found.report["key1"] == 2


def test_steps_are_counted_and_cut() -> None:
    found = Output({}, None)
    for _ in range(1_000):
        found.step("x" * 1_000)
    assert len(found.steps) == output.STEPS
    assert {len(step) for step in found.steps} == {200}


def test_the_last_step_is_kept_since_there_the_run_stopped() -> None:
    found = Output({}, None)
    for number in range(1_000):
        found.step(f"step {number}")
    assert found.steps == [f"step {number}" for number in (*range(output.STEPS - 1), 999)]


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=3),
    st.lists(st.sampled_from("abcdefg"), max_size=60),
    st.integers(0, 2 * output.STEPS),
)
def test_what_rules_wait_for_is_kept_however_much_comes_before(
    orders: list[tuple[str, ...]], names: list[str], before: int
) -> None:
    found = Output({}, None, orders)
    every = [f"before {number}" for number in range(before)] + names
    for name in every:
        found.step(name)
    assert len(found.steps) <= output.STEPS + sum(map(len, orders)) * 2
    assert found.steps[-1:] == every[-1:]
    for order in orders:
        kept, all_of_it = iter(found.steps), iter(every)
        assert all(name in kept for name in order) is all(name in all_of_it for name in order)


def size(found: Output) -> int:
    kept = (found.matched, found.report, found.faults, found.steps, list(found.tail))
    return len(msgspec.json.encode(kept))


def test_a_line_of_100_megabytes_leaves_a_line() -> None:
    found = Output({"rule": lambda message: message.endswith(b"x")}, None)
    for line in (b"x" * 100_000_000, b"OUTCOME " + b'{"a":"' + b"y" * 100_000_000 + b'"}'):
        found.line(line)
    assert [len(line) for line in found.tail] == [2_001, 2_001]
    assert found.tail[0].endswith("…")
    assert size(found) < 10_000


def test_a_line_that_nobody_can_read_is_counted_and_shown() -> None:
    found = said(b"first")
    found.skip_line()
    assert (found.lines, found.unread) == (2, 1)
    assert list(found.tail) == ["first", "… (too long to be read)"]


def test_a_line_that_is_too_long_is_not_searched_and_that_is_known() -> None:
    found = Output({"rule": lambda message: True}, None)
    found.line(b"x" * (output.LINE_SEARCHED + 1))
    assert (found.lines, found.unread, found.matched) == (1, 1, {})
    found.line(b"x" * output.LINE_SEARCHED)
    assert (found.lines, found.unread, set(found.matched)) == (2, 1, {"rule"})


def test_a_million_lines_leave_twenty() -> None:
    found = Output({"rule": lambda message: b"never" in message}, LIMIT)
    for number in range(1_000_000):
        found.count(Usec(number), 6)
        found.line(b"x")
    assert found.lines == 1_000_000
    assert size(found) < 200


@given(st.lists(st.one_of(st.binary(), st.binary().map(lambda text: b"OUTCOME " + text))))
def test_any_bytes_are_taken(lines: list[bytes]) -> None:
    found = Output({"rule": lambda message: True}, None)
    for line in lines:
        found.line(line)
    assert found.lines == len(lines)
    assert size(found) < 100_000


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@given(st.dictionaries(st.text(max_size=80), values, max_size=output.REPORT_KEYS))
def test_any_report_of_plain_values_can_be_written_down_again(facts: dict[str, object]) -> None:
    found = Output({}, None)
    found.take_report(msgspec.json.encode(facts))
    assert found.faults == []
    again = msgspec.json.decode(msgspec.json.encode(found.report))
    assert again.keys() == facts.keys()


# --- the rate limit --------------------------------------------------------------------------


def test_as_many_lines_as_the_limit_lets_through_reach_it() -> None:
    found = Output({}, LIMIT)
    for moment in (0, 1, 2):
        assert not found.limit_reached
        found.count(Usec(moment * SECOND), 6)
    assert found.limit_reached


def test_a_new_interval_begins_after_the_last_one() -> None:
    found = Output({}, LIMIT)
    for moment in (0, 1, 31, 32):
        found.count(Usec(moment * SECOND), 6)
    assert not found.limit_reached


def test_priorities_are_counted_in_the_groups_of_journald() -> None:
    found = Output({}, LIMIT)
    for priority in (2, 1, 3, 3, 6, 99, 4):
        found.count(Usec(0), priority)
    assert not found.limit_reached
    found.count(Usec(0), 0)
    assert found.limit_reached


@pytest.mark.parametrize("limit", [None, RateLimit(0, Usec(1)), RateLimit(1, Usec(0))])
def test_without_a_limit_none_is_reached(limit: RateLimit | None) -> None:
    found = Output({}, limit)
    for _ in range(10):
        found.count(Usec(0), 6)
    assert not found.limit_reached


def test_complete_is_what_has_no_reason_not_to_be() -> None:
    assert Completeness().complete
    assert not Completeness("journald dropped 3 messages").complete


@pytest.mark.parametrize(
    ("words", "begun", "over"),
    [
        ([], None, False),
        # A oneshot unit, one with RemainAfterExit=, and a simple one that is done when it starts.
        ([What.STARTING, What.ENDED_WELL, What.STARTED], True, True),
        ([What.STARTING, What.STARTED], True, True),
        ([What.STARTED, What.ENDED_WELL], True, True),
        ([What.STARTING, What.PROCESS_ENDED, What.FAILED, What.START_FAILED], True, True),
        ([What.STARTING], True, False),
        ([What.STARTED], True, False),
        ([What.ENDED_WELL, What.STARTED], False, True),
        ([What.FAILED], False, True),
    ],
)
def test_words_of_systemd_show_which_end_of_a_run_the_journal_has_lost(
    words: list[What], begun: bool | None, over: bool
) -> None:
    found = Output({}, None)
    for word in words:
        found.word(word, last=True)
    assert (found.begun, found.over) == (begun, over)


def test_end_of_an_attempt_that_was_not_the_last_is_not_the_runs() -> None:
    found = Output({}, None)
    for word in (What.STARTING, What.FAILED):
        found.word(word, last=False)
    found.word(What.STARTING, last=True)
    assert (found.begun, found.over) == (True, False)


def test_stream_that_survived_a_stop_of_journald_takes_the_doubt_away() -> None:
    found = Output({}, None, halted=True)
    found.line(b"sent, not printed", streamed=False)
    assert found.halted
    found.line(b"printed")
    assert not found.halted


def test_line_that_a_pattern_would_take_too_long_for_is_unread_unless_it_has_matched() -> None:
    found = output.Output({"hard": lambda line: b"x" in line if len(line) < 9 else None}, None)
    found.line(b"a long line without it")
    assert (found.unread, found.matched) == (1, {})
    found.line(b"x")
    found.line(b"another long line")
    assert (found.unread, found.matched) == (1, {"hard": "x"})


@pytest.mark.parametrize(
    ("limit", "began", "expected"),
    [
        (output.RateLimit(burst=3, interval=Usec(10)), 5, True),
        (output.RateLimit(burst=3, interval=Usec(10)), 12, False),
        (output.RateLimit(burst=4, interval=Usec(10)), 5, False),
        (output.RateLimit(burst=3, interval=Usec(0)), 5, False),
        (None, 5, False),
    ],
)
def test_a_run_after_one_that_reached_the_limit_may_have_said_what_was_dropped(
    limit: output.RateLimit | None, began: int, expected: bool
) -> None:
    first = output.Output({}, limit)
    for at in (1, 2, 3):
        first.count(Usec(at), 6)
    then = output.Output({}, limit, windows=first.windows)
    assert then.was_full(Usec(began)) is expected
