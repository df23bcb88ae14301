"""How a node becomes a value: readers of words, lists and mappings, out of which keys are made.

A reader reports what is wrong where it stands and gives FAULTY; it never raises, so that all faults
of a file are found in one go. Many jobs hold the same words, so costly ones are looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from outcomed import expressions, patterns
from outcomed.faults import Fault, any_of, did_you_mean, shown, shown_word
from outcomed.model import Usec
from outcomed.quantities import parse_duration, parse_size
from outcomed.yamltext import Node, Reading, describe, is_null

MAX_TEXT = 4096

T = TypeVar("T")
Reader = Callable[[Node, Reading, str], Any]
Fields = Mapping[str, Reader]


class _Absent:
    """A value that was there and faulty: different from one that was not there."""


FAULTY = _Absent()


def scalar(convert: Callable[[str], T], expected: str) -> Reader:
    """A reader of one word, that `convert` understands or refuses with ValueError or Fault."""

    def read(node: Node, reading: Reading, key: str) -> T | _Absent:
        if node.id != "scalar":
            reading.fault(node, key, f"expected {expected}, got {describe(node)}")
            return FAULTY
        try:
            return convert(node.value)
        except Fault as fault:
            reading.fault(node, key, fault.fault, fault.hint)
        except ValueError as error:
            reading.fault(node, key, str(error))
        return FAULTY

    return read


def mapping(
    node: Node, reading: Reading, key: str, fields: Fields, later: Iterable[str] = ()
) -> dict[str, Any] | None:
    """The values of a mapping by key; a faulty one is FAULTY, an empty one is left out."""
    if node.id != "mapping":
        reading.fault(node, key, f"expected a mapping, got {describe(node)}")
        return None
    found = {}
    for name, value in node.value:
        path = f"{key}.{name.value}" if key else name.value
        read = fields.get(name.value)
        if read is None:
            found[name.value] = FAULTY
            _refuse_key(name, reading, key, fields, later)
        elif not is_null(value):
            found[name.value] = read(value, reading, path)
    return found


def _refuse_key(
    name: Node, reading: Reading, key: str, fields: Fields, later: Iterable[str]
) -> None:
    if name.value in later:
        reading.fault(name, key, f"{shown(name.value)} is not supported by this version")
        return
    hint = did_you_mean(name.value, fields)
    reading.fault(name, key, f"unknown key {shown(name.value)}", hint)


def list_of(item: Reader) -> Reader:
    def read(node: Node, reading: Reading, key: str) -> tuple[Any, ...] | _Absent:
        if node.id != "sequence":
            fault = f"expected a list, got {describe(node)}"
            hint = (
                f"write [{shown_word(node.value)}]"
                if node.id == "scalar"
                else "begin each item with '- '"
            )
            reading.fault(node, key, fault, hint)
            return FAULTY
        return tuple(
            item(value, reading, f"{key}[{at}]") for at, value in enumerate(items_of(node))
        )

    return read


def items_of(sequence: Node) -> list[Node]:
    """Without an empty first one: it has cleared what came before."""
    items: list[Node] = sequence.value
    return items[1:] if items and is_null(items[0]) else items


def group(read: Callable[[Node, Reading, str], T | None]) -> Reader:
    """A reader of a mapping that gives None where it reported a fault."""

    def faulty_or(node: Node, reading: Reading, key: str) -> T | _Absent:
        value = read(node, reading, key)
        return FAULTY if value is None else value

    return faulty_or


def is_sound(values: Mapping[str, Any] | None) -> bool:
    return values is not None and not any(
        value is FAULTY or (isinstance(value, tuple) and FAULTY in value)
        for value in values.values()
    )


# --- words ---------------------------------------------------------------------------------------


def as_text(text: str) -> str:
    folded = " ".join(text.split())
    if len(folded) > MAX_TEXT:
        raise Fault(f"is longer than {MAX_TEXT} characters")
    return printable(folded)


def printable(text: str) -> str:
    if not text.isprintable():
        raise Fault(f"holds a control character: {shown(text)}")
    return text


_BOOLEANS = {"true": True, "false": False}
_YAML11 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def as_boolean(text: str) -> bool:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    meant = _YAML11.get(text.lower()) or (text.lower() if text.lower() in _BOOLEANS else None)
    raise Fault(f"expected true or false, got {shown(text)}", f"write {meant}" if meant else None)


def integer(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 9:
            if len(text) > 1 and text.startswith("0"):
                hint = f"octal numbers are not read; write {int(text)}"
                raise Fault(f"expected a number without leading zeros, got {text}", hint)
            if low <= int(text) <= high:
                return int(text)
        raise Fault(f"expected a number from {low} to {high}, got {shown(text)}")

    return convert


def choice(values: Sequence[str], later: Sequence[str] = ()) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text in values:
            return text
        if text in later:
            known = ", ".join(values)
            raise Fault(f"{text} is not supported by this version", f"supported: {known}")
        raise Fault(f"expected {any_of(values)}, got {shown(text)}", did_you_mean(text, values))

    return convert


@cache
def as_duration(text: str) -> Usec:
    if re.fullmatch(r"[0-9]+(:[0-9]+)+", text):
        raise Fault(f"expected a duration such as 1h 30min, got {shown(text)}", _clock(text))
    try:
        return parse_duration(text)
    except ValueError as error:
        infinite = text.strip() == "infinity"
        raise Fault(str(error), "leave the key out for no limit" if infinite else None) from None


def _clock(text: str) -> str | None:
    parts = text.split(":")
    if len(parts) > 3:
        return None
    return "write " + " ".join(
        f"{part}{unit}" for part, unit in zip(parts, ("h", "min", "s"), strict=False)
    )


@cache
def as_size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise Fault(str(error), _size_hint(text)) from None


def _size_hint(text: str) -> str | None:
    """ "500 MiB" and "500m" are what people write elsewhere."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgtpe])(?:i?b)?\s*", text, re.IGNORECASE)
    return f"write {found[1]}{found[2].upper()}" if found else None


@cache
def as_pattern(text: str) -> str:
    patterns.compile_pattern(text)
    return text


@cache
def as_expression(text: str) -> str:
    expressions.parse(text)
    return text.strip()


def as_path(text: str) -> str:
    """Only the spelling: what the specifiers stand for is looked at when the unit is known."""
    if not text.isprintable():
        raise Fault(f"holds a control character: {shown(text)}")
    if len(text.encode()) > 4095:
        raise Fault("is longer than a path can be")
    return text
