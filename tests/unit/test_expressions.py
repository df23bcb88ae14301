"""Expressions answer yes or no, or say why not, and never take long."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outcomed import expressions
from outcomed.expressions import ExpressionError, parse


@pytest.mark.parametrize(
    ("text", "values", "answer"),
    [
        ("sent == generated and failed == 0", {"sent": 3, "generated": 3, "failed": 0}, True),
        ("sent == generated and failed == 0", {"sent": 3, "generated": 4, "failed": 0}, False),
        ("0 < sent <= 10", {"sent": 10}, True),
        ("0 < sent <= 10", {"sent": 11}, False),
        ("status in ('ok', 'partial')", {"status": "ok"}, True),
        ("'err' not in message", {"message": "fine"}, True),
        ("3 in sizes", {"sizes": [1, 2]}, False),
        ("ok", {"ok": True}, True),
        ("not ok", {"ok": True}, False),
        ("sent / generated >= 0.9", {"sent": 9, "generated": 10}, True),
        ("sizes[0] < sizes[1]", {"sizes": [1, 2]}, True),
        ("median(sizes) == 2 and max(sizes) == 9", {"sizes": [9, 1, 2]}, True),
        ("median(1, x) == 1.5", {"x": 2}, True),
        ("min(a, b) == 1 and sum(a, b) == 3 and abs(-b) == 2", {"a": 1, "b": 2}, True),
        ("len(name) + 2 ** 3 % 5 == 6", {"name": "abc"}, True),
        ("sum(sizes) == 0", {"sizes": []}, True),
        ("a + b == 'xy'", {"a": "x", "b": "y"}, True),
        ("(a == 1) if b else (a == 2)", {"a": 2, "b": False}, True),
        ("error == None", {"error": None}, True),
        ("sent == generated", {"sent": "3", "generated": 3}, False),
    ],
)
def test_answer(text: str, values: dict[str, object], answer: bool) -> None:
    assert expressions.parse(text).evaluate(values) is answer


def test_names_are_the_report_s_keys_and_not_the_functions() -> None:
    expression = expressions.parse("max(a, b) > len(c) or d")
    assert expression.names == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an expression"),
        ("sent = generated", "write == to compare"),
        ("a; b", "not an expression"),
        ("a\0", "not an expression"),
        ("'\\d' == a", "not an expression"),
        ("a.b == 1", r"cannot hold a dot \(attributes\)"),
        ("f'{a}' == 'x'", "cannot hold an f-string"),
        ("[x for x in a]", "cannot hold"),
        ("{a: 1}", "cannot hold a mapping"),
        ("lambda: a", "cannot hold a lambda"),
        ("(a := 1) == 1", "cannot hold an assignment"),
        ("a[1:2] == a", "cannot hold a slice"),
        ("max(*a) == 1", "cannot hold a star"),
        ("max(a, key=abs) == 1", "cannot hold a named argument"),
        ("a is None", "write == instead"),
        ("a & b", "write 'and' instead"),
        ("a << 2 == 1", "cannot hold LShift"),
        ("b'x' == a", "cannot hold b'x'"),
        ("a == 3j", "cannot hold 3j"),
        ("a == ...", "cannot hold Ellipsis"),
        ("open(a)", "unknown function 'open'"),
        ("a()", "unknown function 'a'"),
        ("(max)(a)(b)", "unknown function 'this'"),
        ("max == 1", "'max' is a function"),
        ("1 == 1", "looks at nothing that the job reported"),
        ("a == 1" + "0" * 40, "too large"),
        ("a" * 1001, "longer than 1000"),
        ("(" * 300 + "a" + ")" * 300, "nested|not an expression|memory"),
        ("-" * 900 + "a", "nested too deeply"),
        ("not " * 200 + "a", "nested too deeply"),
        ("+".join("a" for _ in range(200)), "nested too deeply"),
    ],
)
def test_what_is_no_expression_is_refused_when_it_is_read(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        expressions.parse(text)


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("a == 1", {}, "the report has no 'a'"),
        ("a", {"a": 347}, "the answer is 347, not true or false"),
        ("a == 0 and b", {"a": 0, "b": "x"}, "the answer is 'x'"),
        ("a < 'x'", {"a": 1}, "'<' not supported between a number and a text"),
        ("a - 1 == 0", {"a": "1"}, "'1' is not a number"),
        ("1 / a == 1", {"a": 0}, "division by zero"),
        ("a ** 9 ** 9 ** 9 == 1", {"a": 9}, "exponent 387420489 is larger than 128"),
        ("a ** 100 == 1", {"a": 10**9}, "too large"),
        ("a ** 100.5 == 1", {"a": 10.0**300}, "too large"),
        ("a * a == 1", {"a": 10**60}, "too large"),
        ("(-a) ** 0.5 == 1", {"a": 1}, "is not a number"),
        ("a * 99999999 == ''", {"a": "x"}, "'x' is not a number"),
        ("'%99999999d' % a == ''", {"a": 1}, "is not a number"),
        ("a + b == ''", {"a": "x" * 40_000, "b": "x" * 40_000}, "too long"),
        ("a == ''", {"a": "x" * 70_000}, "a text of more than 65536"),
        ("a == 1", {"a": [1] * 10_001}, "a list of more than 10000"),
        ("a == 1", {"a": {"b": 1}}, "a is neither a number"),
        ("a == 1", {"a": [[[[[1]]]]]}, "a is neither a number"),
        ("a[5] == 1", {"a": [1]}, "list index out of range"),
        ("a[0] == 1", {"a": 1}, "a number is not subscriptable"),
        ("len(a) == 1", {"a": 1}, "1 has no length"),
        ("len(a, a) == 1", {"a": 1}, "argument"),
        ("max(a) == 1", {"a": []}, "an empty list has no"),
        ("max(a) == 1", {"a": 1}, "1 is not a list"),
        ("sum(a) == 1", {"a": ["x"]}, "'x' is not a number"),
        ("1 in a", {"a": 1}, "neither a text nor a list"),
        ("1 in a", {"a": "1"}, "1 is not a text"),
        ("-a == 1", {"a": "x"}, "'x' is not a number"),
    ],
)
def test_no_answer_has_a_reason(text: str, values: dict[str, object], said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        expressions.parse(text).evaluate(values)


def test_report_is_left_as_it_was() -> None:
    values = {"sizes": [3, 1, 2]}
    assert expressions.parse("median(sizes) == 2").evaluate(values)
    assert values == {"sizes": [3, 1, 2]}


def test_expression_forgets_the_report_it_looked_at() -> None:
    expression = expressions.parse("a == 1")
    assert expression.evaluate({"a": 1})
    with pytest.raises(ExpressionError, match="has no 'a'"):
        expression.evaluate({})


words = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "0",
        "1",
        "9",
        "9999999999",
        "0.5",
        "1e308",
        "'x'",
        '"y"',
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ":",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<",
        "<=",
        "==",
        "!=",
        ">=",
        ">",
        "=",
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "else",
        "for",
        "lambda",
        "max",
        "min",
        "len",
        "sum",
        "abs",
        "median",
        "None",
        "True",
        "f'{a}'",
        ":=",
        "@",
        "~",
        "&",
        "|",
        ";",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(
    st.text(max_size=60) | st.lists(words, max_size=25).map(" ".join),
    st.fixed_dictionaries({}, optional={"a": values, "b": values, "c": values}),
)
@example("9**9**9**9 == a", {"a": 1})
@example("a**64**2 == 1", {"a": 2})
@example("a % b == 1", {"a": 1.5, "b": 0})
@example("a // b == 1", {"a": float("inf"), "b": 2})
def test_any_text_has_an_answer_or_a_reason_soon(text: str, values: dict[str, object]) -> None:
    began = time.process_time()
    try:
        assert expressions.parse(text).evaluate(values) in (True, False)
    except ExpressionError as error:
        assert str(error)  # noqa: PT017  # either way is right
    assert time.process_time() - began < 1


NEVER_ENDING = (
    *("9**9**9**9 == n", "len(x * 10**9) > 0", "n" + "**128" * 10 + " > 0", "1e308 * 10**300 > n"),
    *("(" * 40 + "n" + ")" * 40 + " > 0", "-" * 900 + "n > 0", "n" + " * n" * 200 + " > 0"),
    *("x in ('b', " + "x," * 300 + ")", " or ".join(["x in x + 'b'"] * 60)),
    *("sum([sum([sum(l), sum(l)]), sum(l)]) > 0", " or ".join(["t < t"] * 100)),
    *(" or ".join(["median(l) < 0"] * 60), "'" + "a" * 900 + "b' in x", "7" * 900 + " > n"),
)


@pytest.mark.parametrize("text", NEVER_ENDING)
def test_an_expression_that_would_never_end_ends(text: str) -> None:
    """With more than a report can hold, which is 16 KiB in all and has no lists."""
    values = {"n": 2**128, "x": "a" * 65_536, "l": [1.5] * 2_000, "t": ["a" * 65_536] * 2_000}
    begin = time.process_time()
    with contextlib.suppress(ExpressionError):
        parse(text).evaluate(values)
    assert time.process_time() - begin < 1
