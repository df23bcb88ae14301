"""JSON: one text, or any number of them one after the other (JSON lines); compressed or not.

Only its form is looked at (RFC 8259, to the letter: valid UTF-8, no NaN, no trailing comma), and
nothing is built from it: a string of a gigabyte and a nesting of a million levels take no memory to
speak of, which the readers that there are do not offer. A file cut exactly between two texts, or
inside a number that stands alone, is a shorter good file.

Whole runs of values are matched at once, as long as they are nested no deeper than _LEVELS; what is
deeper, or lies across two pieces of the file, is taken apart token by token.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from outcomed.formats.layers import unpack
from outcomed.formats.magic import layer_of, wrong
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted
from outcomed.formats.source import Source

_LEVELS = 4
_DEEPEST = 64 * 1024 * 1024
_LONGEST_NUMBER = 64 * 1024
# No token but strings and numbers is longer, nor an escape.
_LOOKAHEAD = 8
_BOM = b"\xef\xbb\xbf"

# Without a way back (*+, ++) and with alternatives that begin differently: linear in the text.
_SPACE = rb"[ \t\n\r]*+"
_BODY = rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_STRING = rb'"' + _BODY + rb'"'
_ENDS = rb"(?=[ \t\n\r,\]}])"
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?" + _ENDS
_SCALAR = rb"(?:%s|%s|(?:true|false|null)%s)" % (_STRING, _NUMBER, _ENDS)
_NAME = _STRING + _SPACE + rb":" + _SPACE


def _nested(value: bytes) -> bytes:
    """A value whose elements are `value`. Of an opening bracket no value is the end, so it tells
    the first element, before which no comma stands."""
    array = rb"\[(?:(?:(?<=\[)|(?<!\[),)%s%s%s)*+%s\]" % (_SPACE, value, _SPACE, _SPACE)
    member = _NAME + value
    record = rb"\{(?:(?:(?<=\{)|(?<!\{),)%s%s%s)*+%s\}" % (_SPACE, member, _SPACE, _SPACE)
    return rb"(?:%s|%s|%s)" % (_SCALAR, array, record)


def _some_levels() -> bytes:
    value = _SCALAR
    for _ in range(_LEVELS):
        value = _nested(value)
    return value


_VALUE = _some_levels()
_A_SPACE = re.compile(_SPACE)
_A_VALUE = re.compile(_VALUE)
_A_NAME = re.compile(_NAME)
_MORE_ELEMENTS = re.compile(rb"(?:,%s%s%s)*+" % (_SPACE, _VALUE, _SPACE))
_MORE_MEMBERS = re.compile(rb"(?:,%s%s%s%s)*+" % (_SPACE, _NAME, _VALUE, _SPACE))
_BRACKETS = re.compile(rb"\[++|\{")
_A_BODY = re.compile(_BODY)
_LIKE_A_NUMBER = re.compile(rb"[-+.eE0-9]++")
# What may be cut short: the rest of it would have made it good.
_PART = re.compile(
    rb"t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?"
    rb"|-|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?(?:(?<=[0-9])[eE][+-]?[0-9]*+)?"
    rb"|\\(?:u[0-9a-fA-F]{0,3})?"
)
_NOTHING = re.compile(rb'\{[ \t\n\r]*\}|\[[ \t\n\r]*\]|null|""')


def read_json(source: Source) -> Reading:
    """Through a compressed layer too."""
    compression = layer_of(source)
    walk = _Walk()
    try:
        for piece in unpack(source, compression):
            walk.feed(piece)
        walk.finish()
    finally:
        source.contents = walk.evidence()
    if walk.documents == walk.empty:
        what = f"{counted(walk.documents, 'text')} with nothing in it" if walk.documents else "none"
        return Reading(State.EMPTY, f"valid JSON without contents: {what}", source.evidence())
    return Reading(State.WHOLE, f"valid JSON: {counted(walk.documents, 'text')}", source.evidence())


class _Walk:
    """The brackets that are open, and what may come next."""

    def __init__(self) -> None:
        self._mode: Callable[[bytes, int], int] = self._top
        self._in_name = False
        self._open = bytearray()
        self._kept = b""
        self._base = 0  # the offset of what is kept
        self._fed = 0
        self._begun = False
        self._final = False
        self._waits = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._pending = False
        self.documents = 0
        self.empty = 0

    def evidence(self) -> Evidence:
        return {"documents": self.documents, "empty_documents": self.empty}

    def feed(self, piece: bytes) -> None:
        self._run(self._kept + piece)
        self._decode(piece)
        self._fed += len(piece)

    def finish(self) -> None:
        self._final = True
        self._run(self._kept + b" ")  # what ends a number
        self._decode(b"")
        if self._open or self._mode != self._top:
            raise self._ends_early()

    def _decode(self, piece: bytes) -> None:
        if piece and not self._pending and piece.isascii():
            return
        try:
            self._utf8.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            if not piece:
                raise self._ends_early() from error
            offset = self._fed + error.start
            raise Fault(
                State.CORRUPT, f"the JSON is damaged near byte {offset}: it is no UTF-8"
            ) from error
        self._pending = bool(self._utf8.getstate()[0])

    def _run(self, buffer: bytes) -> None:
        at = self._start(buffer)
        self._waits = False
        while not self._waits:
            if self._mode != self._string:
                at = _space_after(buffer, at)
                if at == len(buffer) or (len(buffer) - at < _LOOKAHEAD and not self._final):
                    break
            elif at == len(buffer):
                break
            at = self._mode(buffer, at)
        self._base += at
        self._kept = buffer[at:]

    def _start(self, buffer: bytes) -> int:
        if self._begun or (len(buffer) < _LOOKAHEAD and not self._final):
            return 0
        self._begun = True
        return len(_BOM) if buffer.startswith(_BOM) else 0

    def _ends_early(self) -> Fault:
        inside = f", {counted(len(self._open), 'bracket')} open" if self._open else ""
        return Fault(
            State.TRUNCATED,
            f"the JSON ends inside a text{inside}, {counted(self.documents, 'text')} before it",
        )

    def _damaged(self, buffer: bytes, at: int, expected: str) -> Fault:
        rest = buffer[at:-1] if self._final else buffer[at:]
        if self._final and _PART.fullmatch(rest):
            return self._ends_early()
        if not self._open and self._mode == self._top:
            if self.documents == 0:
                return wrong("JSON", rest)
            return Fault(
                State.CORRUPT,
                f"something that is no JSON follows {counted(self.documents, 'text')},"
                f" at byte {self._base + at}",
            )
        return Fault(
            State.CORRUPT,
            f"the JSON is damaged at byte {self._base + at}, expected {expected}"
            f" ({counted(self.documents, 'text')} before it)",
        )

    # Modes. Each takes what it can from `at` on, and returns how far it came.

    def _top(self, buffer: bytes, at: int) -> int:
        match = _A_VALUE.match(buffer, at)
        if match is None:
            return self._begin(buffer, at)
        self.documents += 1
        self.empty += _NOTHING.fullmatch(buffer, at, match.end()) is not None
        return match.end()

    def _value(self, buffer: bytes, at: int) -> int:
        match = _A_VALUE.match(buffer, at)
        if match is None:
            return self._begin(buffer, at)
        self._mode = self._after
        return match.end()

    def _begin(self, buffer: bytes, at: int) -> int:
        """A value that is not to be had in one piece."""
        match buffer[at : at + 1]:
            case b'"':
                self._mode, self._in_name = self._string, False
                return at + 1
            case b"[" | b"{":
                return self._open_all(buffer, at)
        number = _LIKE_A_NUMBER.match(buffer, at)
        if number is None or number.end() < len(buffer):
            raise self._damaged(buffer, at, "a value")
        if len(buffer) - at > _LONGEST_NUMBER:
            raise Fault(State.UNREADABLE, "the JSON has a number of more than 64 KiB")
        self._waits = True
        return at

    def _open_all(self, buffer: bytes, at: int) -> int:
        brackets = _BRACKETS.match(buffer, at)
        assert brackets is not None
        self._open += brackets[0]
        if len(self._open) > _DEEPEST:
            raise Fault(State.UNREADABLE, f"the JSON is nested more than {_DEEPEST:,} deep")
        self._mode = self._first_element if brackets[0][0] == ord("[") else self._first_member
        return brackets.end()

    def _ended(self) -> None:
        if self._open:
            self._mode = self._after
        else:
            self._mode = self._top
            self.documents += 1

    def _first_element(self, buffer: bytes, at: int) -> int:
        if buffer[at] == ord("]"):
            return self._close(buffer, at)
        return self._value(buffer, at)

    def _first_member(self, buffer: bytes, at: int) -> int:
        if buffer[at] == ord("}"):
            return self._close(buffer, at)
        return self._member(buffer, at)

    def _member(self, buffer: bytes, at: int) -> int:
        name = _A_NAME.match(buffer, at)
        if name is not None:
            self._mode = self._value
            return name.end()
        if buffer[at] != ord('"'):
            raise self._damaged(buffer, at, "a name in quotes")
        self._mode, self._in_name = self._string, True
        return at + 1

    def _colon(self, buffer: bytes, at: int) -> int:
        if buffer[at] != ord(":"):
            raise self._damaged(buffer, at, "a colon")
        self._mode = self._value
        return at + 1

    def _after(self, buffer: bytes, at: int) -> int:
        in_array = self._open[-1] == ord("[")
        run = (_MORE_ELEMENTS if in_array else _MORE_MEMBERS).match(buffer, at)
        if run is not None and run.end() > at:
            return run.end()
        if buffer[at] == ord(","):
            self._mode = self._value if in_array else self._member
            return at + 1
        if buffer[at] != ord("]" if in_array else "}"):
            raise self._damaged(buffer, at, "a comma or the closing bracket")
        return self._close(buffer, at)

    def _close(self, buffer: bytes, at: int) -> int:
        """This bracket, and more of its kind where they come in a row."""
        bracket, closing = self._open.pop(), buffer[at]
        at += 1
        while at < len(buffer) and buffer[at] == closing and self._open[-1:] == bytes([bracket]):
            self._open.pop()
            at += 1
        self._ended()
        return at

    def _string(self, buffer: bytes, at: int) -> int:
        body = _A_BODY.match(buffer, at)
        assert body is not None  # it matches nothing, too
        at = body.end()
        if at == len(buffer):
            return at
        if buffer[at] == ord('"'):
            if self._in_name:
                self._mode = self._colon
            else:
                self._ended()
            return at + 1
        if buffer[at] == ord("\\") and len(buffer) - at < _LOOKAHEAD and not self._final:
            self._waits = True
            return at
        raise self._damaged(buffer, at, "the rest of a string")


def _space_after(buffer: bytes, at: int) -> int:
    space = _A_SPACE.match(buffer, at)
    assert space is not None  # it matches nothing, too
    return space.end()
