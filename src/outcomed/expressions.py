"""Evaluate `report:` expressions over what a job said about itself, in bounded time.

simpleeval does the evaluating, over a table of nodes and operators that is made here and holds
nothing but arithmetic, comparison, logic and six functions: no attributes, no loops, no string
formatting. Everything is bounded when it is parsed (length, nesting) or computed (size of
numbers), because both the expression's author and the report's are only users.
"""

from __future__ import annotations

import ast
import importlib
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

MAX_LENGTH = 1000
MAX_DEPTH = 50
MAX_ITEMS = 10_000
MAX_TEXT = 65_536
MAX_NUMBER = 2**128
MAX_EXPONENT = 128

_ASSIGNMENT = re.compile(r"[^=<>!:]=[^=]")

Number = int | float


class ExpressionError(ValueError):
    """Why an expression has no answer, as a sentence."""


def _number(value: object) -> Number:
    if not isinstance(value, int | float):
        raise ExpressionError(f"{_shown(value)} is not a number")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise ExpressionError("a number became too large")
    return value


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[object, object], object]:
    """Numbers in, a number out. Keeps `%` from formatting and `*` from repeating strings."""
    return lambda left, right: _number(function(_number(left), _number(right)))


def _power(base: object, exponent: object) -> object:
    if abs(_number(exponent)) > MAX_EXPONENT:
        raise ExpressionError(f"exponent {_shown(exponent)} is larger than {MAX_EXPONENT}")
    return _number(_number(base) ** _number(exponent))


def _add(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT:
            raise ExpressionError("a text became too long")
        return left + right
    return _number(_number(left) + _number(right))


def _contains(item: object, container: object) -> bool:
    if not isinstance(container, str | tuple):
        raise ExpressionError(f"{_shown(container)} is neither a text nor a list")
    if isinstance(container, str) and not isinstance(item, str):
        raise ExpressionError(f"{_shown(item)} is not a text")
    return item in container


def _items(values: tuple[object, ...]) -> tuple[object, ...]:
    """min(a, b) and min(list) both."""
    if len(values) != 1:
        return values
    if not isinstance(values[0], tuple):
        raise ExpressionError(f"{_shown(values[0])} is not a list")
    return values[0]


def _numbers(values: tuple[object, ...]) -> list[Number]:
    found = [_number(value) for value in _items(values)]
    if not found:
        raise ExpressionError("an empty list has no minimum, maximum or median")
    return found


def _median(*values: object) -> Number:
    ordered = sorted(_numbers(values))
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _sum(*values: object) -> Number:
    return _number(sum(_number(value) for value in _items(values)))


def _len(value: object) -> int:
    if not isinstance(value, str | tuple):
        raise ExpressionError(f"{_shown(value)} has no length")
    return len(value)


FUNCTIONS: dict[str, Callable[..., object]] = {
    "median": _median,
    "min": lambda *values: min(_numbers(values)),
    "max": lambda *values: max(_numbers(values)),
    "len": _len,
    "abs": lambda value: abs(_number(value)),
    "sum": _sum,
}

_OPERATORS: dict[type[ast.AST], Callable[..., object]] = {
    ast.Add: _add,
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _power,
    ast.Not: operator.not_,
    ast.USub: lambda value: -_number(value),
    ast.UAdd: lambda value: +_number(value),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: _contains,
    ast.NotIn: lambda item, container: not _contains(item, container),
}

_EVALUATED = (
    ast.Name,
    ast.Constant,
    ast.UnaryOp,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.Subscript,
)
_ALLOWED = frozenset((*_EVALUATED, *_OPERATORS, ast.Tuple, ast.List, ast.And, ast.Or, ast.Load))
_NAMED = {
    ast.Attribute: "a dot (attributes)",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.keyword: "a named argument",
    ast.Starred: "a star",
    ast.Slice: "a slice",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.Is: "'is'; write == instead",
    ast.IsNot: "'is not'; write != instead",
    ast.BitAnd: "'&'; write 'and' instead",
    ast.BitOr: "'|'; write 'or' instead",
    ast.Invert: "'~'; write 'not' instead",
}


class Expression:
    """One parsed expression. `names` are the keys of the report that it looks at."""

    __slots__ = ("_tree", "names", "text")

    def __init__(self, text: str, tree: ast.expr, names: frozenset[str]) -> None:
        self.text = text
        self.names = names
        self._tree = tree

    def evaluate(self, values: Mapping[str, object]) -> bool:
        """Whether it holds. Raises ExpressionError where there is no yes or no."""
        evaluator = _evaluator()
        evaluator.names = {
            name: _frozen(values[name], name) for name in self.names if name in values
        }
        try:
            answer = evaluator.eval(self.text, previously_parsed=self._tree)
        except ExpressionError:
            raise
        except ZeroDivisionError:
            raise ExpressionError("division by zero") from None
        except OverflowError:
            raise ExpressionError("a number became too large") from None
        except (IndexError, TypeError) as error:
            raise ExpressionError(_sentence(error)) from None
        except importlib.import_module("simpleeval").NameNotDefined as error:
            raise ExpressionError(f"the report has no {error.name!r}") from None
        finally:
            evaluator.names = {}
        if not isinstance(answer, bool):
            raise ExpressionError(f"the answer is {_shown(answer)}, not true or false")
        return answer

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def parse(text: str) -> Expression:
    """Raises ExpressionError where this is no expression, or one that is not allowed."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"expression is longer than {MAX_LENGTH} characters")
    tree = _tree(text)
    names = set()
    functions = set()
    for node in _walk(tree):
        if type(node) not in _ALLOWED:
            what = _NAMED.get(type(node), type(node).__name__)
            raise ExpressionError(f"an expression cannot hold {what}")
        if isinstance(node, ast.Constant):
            _check_constant(node.value)
        elif isinstance(node, ast.Call):
            functions.add(id(_check_function(node)))
        elif isinstance(node, ast.Name) and id(node) not in functions:
            names.add(node.id)
    if used := sorted(names & FUNCTIONS.keys()):
        raise ExpressionError(f"{used[0]!r} is a function and needs its parentheses")
    if not names:
        raise ExpressionError("expression looks at nothing that the job reported")
    return Expression(text, tree, frozenset(names))


def _tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as an unknown escape in a string
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        if _ASSIGNMENT.search(text):
            raise ExpressionError("not an expression: write == to compare") from None
        raise ExpressionError(f"not an expression: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ExpressionError("expression is nested too deeply") from None
    except ValueError as error:
        raise ExpressionError(f"not an expression: {error}") from None


def _walk(tree: ast.expr) -> Iterator[ast.AST]:
    """Parents before children, without recursion, as deep as is allowed."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ExpressionError("expression is nested too deeply")
        yield node
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _check_constant(value: object) -> None:
    if not isinstance(value, str | int | float | None):
        raise ExpressionError(f"an expression cannot hold {_shown(value)}")
    if isinstance(value, int):
        _number(value)


def _check_function(node: ast.Call) -> ast.Name:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        called = node.func.id if isinstance(node.func, ast.Name) else "this"
        known = ", ".join(FUNCTIONS)
        raise ExpressionError(f"unknown function {called!r}; there are {known}")
    return node.func


@cache
def _evaluator() -> Any:
    simpleeval = importlib.import_module("simpleeval")
    evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=FUNCTIONS, names={})
    nodes: dict[type[ast.AST], Callable[..., object]] = {
        kind: evaluator.nodes[kind] for kind in _EVALUATED
    }

    def listed(node: ast.Tuple | ast.List) -> tuple[object, ...]:
        return tuple(nodes[type(item)](item) for item in node.elts)

    nodes[ast.Tuple] = nodes[ast.List] = listed
    evaluator.nodes = nodes
    return evaluator


def _frozen(value: object, name: str, depth: int = 0) -> object:
    """A report's value as something that cannot be changed."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ExpressionError(f"{name} is a text of more than {MAX_TEXT} characters")
        return value
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple) and depth < 3:
        if len(value) > MAX_ITEMS:
            raise ExpressionError(f"{name} is a list of more than {MAX_ITEMS} items")
        return tuple(_frozen(item, name, depth + 1) for item in value)
    raise ExpressionError(f"{name} is neither a number, a text, a truth value nor a list of them")


def _sentence(error: Exception) -> str:
    """Python's reason, without the words that only Python has."""
    reason = str(error)
    for python, ours in (
        ("'int'", "a number"),
        ("'float'", "a number"),
        ("'str'", "a text"),
        ("'tuple'", "a list"),
        ("'NoneType'", "null"),
        ("'bool'", "a truth value"),
    ):
        reason = reason.replace(python, ours)
    return reason.replace("instances of ", "").replace("tuple", "list").replace(" object", "")


def _shown(value: object) -> str:
    text = (
        repr(value) if not isinstance(value, int) or abs(value) <= MAX_NUMBER else "a huge number"
    )
    return text if len(text) <= 60 else text[:57] + "..."
