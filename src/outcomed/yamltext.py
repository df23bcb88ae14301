"""YAML as text and marks, nothing else: nodes, what is refused in them, and drop-ins merged.

What a word means is decided by the key it stands under (`readers`). So `on`, `0644`, `10:30` and
`2026-01-02` are never silently something else than they look like.
"""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from yaml.cyaml import CParser  # type: ignore[attr-defined]  # its stub does not say so
from yaml.error import YAMLError
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from outcomed.config import Problem
from outcomed.faults import Fault, shown, shown_path, shown_word
from outcomed.jobfiles import read_file

MAX_NESTING = 16
MAX_RECURSION = 1000  # what libyaml's binding can do on any stack
MAX_PROBLEMS = 100  # of one job


class Mark(Protocol):
    name: str
    line: int
    column: int


class Node(Protocol):
    """What yaml.compose gives. `id` is "scalar", "sequence" or "mapping"."""

    id: str
    tag: str
    value: Any
    style: str | None
    start_mark: Mark


class Reading:
    """The problems of the files of one job, as they are found."""

    def __init__(self, file: Path) -> None:
        self.file = shown_path(file)
        self.problems: list[Problem] = []

    @property
    def failed(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)

    def in_order(self) -> list[Problem]:
        """As they stand in the files, what has no line first, and no more than can be read."""
        problems = sorted(
            self.problems,
            key=lambda problem: (problem.file, problem.line or 0, problem.column or 0),
        )
        if (more := len(problems) - MAX_PROBLEMS) > 0:
            problems[MAX_PROBLEMS:] = [Problem(self.file, f"has {more} further faults")]
        return problems

    def fault(
        self,
        node: Node | None,
        key: str,
        fault: str,
        hint: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        mark = node.start_mark if node is not None else None
        self.problems.append(
            Problem(
                file=mark.name if mark else self.file,
                line=mark.line + 1 if mark else None,
                column=mark.column + 1 if mark else None,
                key=key,
                fault=fault,
                hint=hint,
                severity=severity,
            )
        )


class _Stream:
    """Bytes with a name, which libyaml's marks then carry."""

    __slots__ = ("name", "read")

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.read = io.BytesIO(data).read


_TAGS = {
    ScalarNode: "tag:yaml.org,2002:str",
    SequenceNode: "tag:yaml.org,2002:seq",
    MappingNode: "tag:yaml.org,2002:map",
}
_KNOWN_TAGS = frozenset(_TAGS.values())
_TOO_DEEP = f"is nested more than {MAX_NESTING} levels deep"
_OPENERS = (b"[", b"{", b"-", b"?", b":")  # each level of nesting takes at least one of these
_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Loader(CParser):
    """libyaml's parser with a resolver that leaves every word a word."""

    def resolve(self, kind: type, _value: object, _implicit: object) -> str:
        return _TAGS[kind]

    def descend_resolver(self, _parent: object, _index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


def compose(file: Path, reading: Reading, content: bytes | None = None) -> Node | None:
    """The one document of a file, or None where it is empty or faulty."""
    name = shown_path(file)
    try:
        data = read_file(file) if content is None else content
        _check_characters(data, reading, name)
    except OSError as error:
        reason = "dangling link" if error.errno == errno.ENOENT and file.is_symlink() else None
        fault = f"cannot be read: {reason or error.strerror}"
        reading.problems.append(Problem(file=name, fault=fault))
        return None
    except Fault as fault:
        reading.problems.append(Problem(file=name, fault=fault.fault, hint=fault.hint))
        return None
    if reading.failed:
        return None
    return _parse(data, reading, name)


def _parse(data: bytes, reading: Reading, name: str) -> Node | None:
    try:
        if sum(map(data.count, _OPENERS)) > MAX_RECURSION:
            _check_depth(_Loader(_Stream(data, name)))
        node = cast("Node | None", _Loader(_Stream(data, name)).get_single_node())
    except _TooDeepError as error:
        reading.fault(error.node, "", _TOO_DEEP)
        return None
    except YAMLError as error:
        reading.problems.append(_syntax_problem(error, data, name))
        return None
    if node is not None:
        _check_tree(node, reading)
    return None if reading.failed else node


def _check_depth(parser: Any) -> None:
    """Composing recurses in C without a limit: half a million `[` would end the process."""
    depth = 0
    while event := parser.get_event():
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                raise _TooDeepError(cast("Node", event))
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


class _TooDeepError(Exception):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node  # an event in truth; it has a mark too


def _check_characters(data: bytes, reading: Reading, name: str) -> None:
    def refuse(at: int, fault: str, hint: str | None = None) -> None:
        before = data[:at].decode(errors="replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        reading.problems.append(
            Problem(file=name, line=line, column=column, fault=fault, hint=hint)
        )

    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(0, "is encoded in UTF-16", "save it as UTF-8")
    elif data.startswith(b"\xef\xbb\xbf"):
        refuse(0, "begins with a byte order mark", "save it as UTF-8 without one")
    else:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            refuse(error.start, f"byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8")
        else:
            if found := _FORBIDDEN.search(text):
                at = len(text[: found.start()].encode())
                refuse(at, f"control character U+{ord(found[0]):04X} cannot be in a file")


def _syntax_problem(error: Any, data: bytes, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "is not YAML"
    fault, hint = f"YAML: {shown_word(str(reason))}", None
    if mark is not None:
        line = (data.split(b"\n")[mark.line : mark.line + 1] or [b""])[0].decode(errors="replace")
        before = line[: mark.column + 1]
        if "\t" in before and not before.strip():
            fault, hint = "a tab cannot indent YAML", "indent with spaces"
        elif "mapping values are not allowed" in fault:
            hint = "quote a value that holds ': ', and look at the indentation"
        elif "another document" in fault:
            fault, hint = "holds more than one YAML document", "remove the ---"
        elif "cannot start any token" in fault:
            hint = "quote a value that begins with this character"
        elif "alias" in fault:
            hint = "quote a value that begins with *"
    return Problem(
        file=name,
        line=mark.line + 1 if mark else None,
        column=mark.column + 1 if mark else None,
        fault=fault,
        hint=hint,
    )


def _check_tree(root: Node, reading: Reading) -> None:
    """What YAML allows and this program does not: tags, aliases, deep nesting, double keys."""
    seen: set[Node] = set()  # a node is equal to itself alone
    level = [root]
    depth = 0
    while level:
        below: list[Node] = []
        for node in level:
            if node in seen:
                fault = "anchors and aliases are not supported"
                reading.fault(node, "", fault, "write it out twice")
                return
            seen.add(node)
            if node.tag not in _KNOWN_TAGS:
                reading.fault(node, "", f"YAML tag {shown(node.tag)} is not supported")
            if node.id == "scalar":
                continue
            if depth == MAX_NESTING:
                reading.fault(node, "", _TOO_DEEP)
                return
            if node.id == "mapping":
                _check_keys(node, reading)
                below.extend(chain.from_iterable(node.value))
            else:
                below.extend(node.value)
        level = below
        depth += 1


def _check_keys(mapping: Node, reading: Reading) -> None:
    first: dict[str, Node] = {}
    for key, _ in mapping.value:
        if key.id != "scalar":
            reading.fault(key, "", "expected a key, got a list or mapping")
            continue
        word = key.value
        if word == "<<":
            reading.fault(key, "", "YAML merge keys are not supported", "write it out twice")
        elif word in first:
            line = first[word].start_mark.line + 1
            reading.fault(key, "", f"key {shown(word)} is there already, in line {line}")
        else:
            first[word] = key


# --- what is done with nodes ---------------------------------------------------------------------


def is_null(node: Node) -> bool:
    """Nothing at all, `~` or `null`: the empty assignment of unit files."""
    return node.id == "scalar" and not node.style and node.value in ("", "~", "null")


def merge(base: Node, extra: Node) -> Node:
    """What `extra` makes of `base`: mappings key by key, lists one after the other, words anew.

    As in unit files, a list is added to and an empty one, or an empty first item, clears it. A
    drop-in that forgets the rules before it would be a guarantee lost in silence.
    """
    if base.id == extra.id == "mapping":
        merged = {key.value: (key, value) for key, value in base.value}
        for key, value in extra.value:
            known = merged.get(key.value)
            merged[key.value] = (key, merge(known[1], value) if known else value)
        return like(extra, list(merged.values()))
    if base.id == extra.id == "sequence" and extra.value and not is_null(extra.value[0]):
        return like(extra, [*base.value, *extra.value])
    return extra


def like(node: Node, value: list[Any]) -> Node:
    make: Callable[..., Node] = type(node)
    return make(node.tag, value, node.start_mark)


def value_of(mapping: Node, key: str) -> Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


def describe(node: Node) -> str:
    if node.id == "mapping":
        return "a mapping"
    if node.id == "sequence":
        return "a list"
    return "nothing" if is_null(node) else shown(node.value)
