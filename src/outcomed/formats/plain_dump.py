"""A plain dump of PostgreSQL: SQL text, told apart from the data in it; compressed or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from outcomed.formats.layers import unpack
from outcomed.formats.magic import layer_of, wrong
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted, printable
from outcomed.formats.source import Source
from outcomed.quantities import format_size

_DUMP_HEAD = 64 * 1024
_DUMP_BEGINS = (b"--\n-- PostgreSQL database dump\n", b"--\n-- PostgreSQL database cluster dump\n")


def read_pg_dump(source: Source) -> Reading:
    compression = layer_of(source)
    pieces = unpack(source, compression)
    script = Script()
    try:
        script.feed(_dump_head(pieces, compression))
        for piece in pieces:
            script.feed(piece)
        script.finish()
    finally:
        source.contents = script.evidence()
    if script.rows == script.inserts == 0:
        tables = counted(script.tables, "table")
        summary = f"a complete dump without table data: {tables}, no row"
        return Reading(State.EMPTY, summary, source.evidence())
    return Reading(State.WHOLE, f"a complete dump: {script.amount()}", source.evidence())


def _dump_head(pieces: Iterator[bytes], compression: str | None) -> bytes:
    """Enough to know a dump by, also where a wrapper wrote lines of its own before it."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _DUMP_HEAD:
            break
    if not head:
        raise Fault(State.TRUNCATED, f"the {compression} stream is whole and holds not one byte")
    text = head[:_DUMP_HEAD].replace(b"\r\n", b"\n")
    for begin in _DUMP_BEGINS:
        before, found, _ = text.partition(begin)
        if found and b"\0" not in before:  # else a container that stores a dump uncompressed
            return head
    if len(text) < len(max(_DUMP_BEGINS, key=len)):
        raise Fault(
            State.TRUNCATED, f"the dump ends inside its first lines, after {len(head)} bytes"
        )
    raise wrong("a plain SQL dump of PostgreSQL", head)


# A token that begins in the last bytes of what is there waits for more: each is seen in one piece.
_LOOKAHEAD = 256
# So much of what is done stays, for ` FROM stdin` before a semicolon and for a column's beginning.
_LOOKBEHIND = 16

# Alternatives that begin with a literal each: `re` then looks for their first characters at once.
_SQL_TOKEN = re.compile(rb"'|\"|;|--|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_SQL_SPACE = re.compile(rb"\s*+")
_SQL_NAME = re.compile(rb"(?:COPY|INSERT INTO) ((?:\"[^\"]*\"|[^\s\"(;])+)")
# The usual INSERT in one step; any other is taken apart by tokens.
_SQL_INSERT = re.compile(
    rb"INSERT INTO ((?:\"[^\"]*\"|[^\s\"(;])++)"
    rb"(?:[^'\";$\\-]++|'[^']*+'|\"[^\"]*+\"|-(?!-))*+;\r?\n"
)
_DUMP_HEADER = b"--\n-- PostgreSQL database dump\n--\n\n"
_DUMP_HEADER_GOES_ON = re.compile(
    re.escape(_DUMP_HEADER) + rb"(?:\\restrict [A-Za-z0-9]+\n\n)?-- Dumped from database version "
)


class Script:
    """A plain dump, told apart just as far as it takes to know data from text that looks like it.

    Any line can stand inside a quoted string, `-- PostgreSQL database dump complete` and
    `COPY x FROM stdin;` as well; so quotes, dollar quotes, comments and rows are followed. A string
    or a row of any length passes through: no mode holds more of the text than _LOOKAHEAD.
    """

    def __init__(self) -> None:
        self._mode: Callable[[bytes], bool] = self._between
        self._kept = b""
        self._at = 0
        self._final = False
        self._fed = 0
        self._tail = b""
        self._headers = 0
        self._closer = b""
        self._resumes: Callable[[bytes], bool] = self._between
        self._head = b""
        self._block_rows = 0
        self._insert_table = b""
        self._open: set[str] = set()
        self._restricted: bytes | None = None
        self.databases = 0
        self.tables = 0
        self.tables_with_data = 0
        self.rows = 0
        self.inserts = 0

    def evidence(self) -> Evidence:
        return {
            "databases": self.databases,
            "tables": self.tables,
            "tables_with_data": self.tables_with_data,
            "rows": self.rows,
            "inserts": self.inserts,
        }

    def amount(self) -> str:
        rows = [counted(self.rows, "row")] if self.rows or not self.inserts else []
        inserts = [counted(self.inserts, "INSERT")] if self.inserts else []
        return f"{' and '.join(rows + inserts)} in {counted(self.tables_with_data, 'table')}"

    def feed(self, chunk: bytes) -> None:
        hole = chunk.find(b"\0")
        if hole >= 0:
            offset = self._fed + hole
            raise Fault(State.CORRUPT, f"the dump has zero bytes at {offset}, which no text holds")
        self._fed += len(chunk)
        self._look_for_headers(self._tail + chunk)
        self._run(self._kept + chunk)

    def _look_for_headers(self, window: bytes) -> None:
        """Count where dumps begin at all; `databases` counts those that begin as they may."""
        end = len(window) if self._final else max(0, len(window) - _LOOKAHEAD)
        at = window.find(_DUMP_HEADER, 0, end + len(_DUMP_HEADER) - 1)
        while at >= 0:
            self._headers += _DUMP_HEADER_GOES_ON.match(window, at) is not None
            at = window.find(_DUMP_HEADER, at + 1, end + len(_DUMP_HEADER) - 1)
        self._tail = window[end:]

    def _run(self, buffer: bytes) -> None:
        while self._mode(buffer):
            pass
        start = max(0, self._at - _LOOKBEHIND)
        self._kept, self._at = buffer[start:], self._at - start

    def finish(self) -> None:
        """Take what is left, and say whether this is where a dump may end."""
        self._final = True
        self._look_for_headers(self._tail)
        self._run(self._kept)
        if self._mode == self._copied:
            self._count_rows(self._kept.count(b"\n", self._at + 1))
            self._close_block()
            raise Fault(
                State.TRUNCATED,
                f"the dump ends inside the rows of {self._table()},"
                f" after {counted(self._block_rows, 'row')}",
            )
        if self._headers > self.databases:
            # To psql it is one long table, or one long string.
            raise Fault(
                State.TRUNCATED, "a dump ends inside its rows or a string, and another begins there"
            )
        if self._open:
            inside = self._mode == self._quoted
            where = "inside a quoted string" if inside else 'without "… database dump complete"'
            raise Fault(State.TRUNCATED, f"the dump ends {where}, {self._so_far()}")
        if self._restricted is not None:
            raise Fault(State.TRUNCATED, r"the dump's last line, \unrestrict, is missing or cut")
        if self._mode == self._quoted or self._statement in (self._mode, self._resumes):
            raise Fault(State.CORRUPT, "something that is no SQL follows the end of the dump")

    def _so_far(self) -> str:
        return f"after {format_size(self._fed)} with {self.amount()}"

    def _table(self) -> str:
        name = _SQL_NAME.match(self._head)
        return printable(name[1]) if name else "a table"

    # Modes. Each moves on from `_at` and says whether there is more to do in this buffer.

    def _waits(self, buffer: bytes) -> bool:
        left = len(buffer) - self._at
        return left == 0 or (left < _LOOKAHEAD and not self._final)

    def _between(self, buffer: bytes) -> bool:
        """Between statements: blank lines, comments, psql's own commands."""
        space = _SQL_SPACE.match(buffer, self._at)
        assert space is not None  # it matches nothing, too
        self._at = space.end()
        if self._waits(buffer):
            return False
        at = self._at
        if buffer.startswith(b"--", at):
            self._comment(buffer)
        elif buffer.startswith(b"\\", at):
            self._command(buffer[at : at + _LOOKAHEAD].partition(b"\n")[0])
            self._skip_line()
        elif not self._usual_insert(buffer):
            # Data is what begins a line: the statements inside rules and functions are indented.
            in_column_0 = at == 0 or buffer[at - 1] == ord("\n")
            self._head = buffer[at : at + _LOOKAHEAD] if in_column_0 else b""
            self._mode = self._statement
        return True

    def _usual_insert(self, buffer: bytes) -> bool:
        insert = _SQL_INSERT.match(buffer, self._at)
        if insert is None or (self._at and buffer[self._at - 1] != ord("\n")):
            return False
        while insert is not None:
            self._count_insert(insert[1])
            self._at = insert.end()
            insert = _SQL_INSERT.match(buffer, self._at)
        return True

    def _statement(self, buffer: bytes) -> bool:
        end = len(buffer) if self._final else len(buffer) - _LOOKAHEAD
        token = _SQL_TOKEN.search(buffer, self._at)
        if token is None or token.start() >= end:
            self._at = max(self._at, end)
            return False
        self._at = token.start()
        match token[0]:
            case b"--":
                self._comment(buffer)
            case b";":
                self._statement_ends(buffer)
            case closer:
                self._at = token.end()
                self._closer = closer
                self._mode = self._quoted
        return True

    def _statement_ends(self, buffer: bytes) -> None:
        at = self._at
        self._at += 1
        self._mode = self._between
        if self._head.startswith(b"COPY ") and buffer.endswith(b" FROM stdin", 0, at):
            self.tables += 1
            self._block_rows = 0
            self._at = max(buffer.find(b"\n", at, at + 3), at)
            self._mode = self._copied
        elif self._head.startswith(b"INSERT INTO ") and (name := _SQL_NAME.match(self._head)):
            self._count_insert(name[1])

    def _quoted(self, buffer: bytes) -> bool:
        """Inside quotes. A doubled quote ends one string and begins the next."""
        end = buffer.find(self._closer, self._at)
        if end < 0:
            self._at = max(self._at, len(buffer) - len(self._closer) + 1)
            return False
        self._at = end + len(self._closer)
        self._mode = self._statement
        return True

    def _skip_line(self) -> None:
        self._resumes = self._mode
        self._mode = self._rest_of_line

    def _rest_of_line(self, buffer: bytes) -> bool:
        end = buffer.find(b"\n", self._at)
        self._at = len(buffer) if end < 0 else end + 1
        if end < 0:
            return False
        self._mode, self._resumes = self._resumes, self._between
        return True

    def _copied(self, buffer: bytes) -> bool:
        r"""Inside COPY's rows, from a newline that is already counted to the one before `\.`."""
        end = buffer.find(b"\n\\.", self._at)
        stop = end if end >= 0 else max(self._at, len(buffer) - _LOOKAHEAD)
        self._count_rows(buffer.count(b"\n", self._at + 1, stop + 1))
        self._at = stop
        if end < 0:
            return False
        self._at = end + 3
        self._close_block()
        self._mode = self._between
        return True

    # What they found.

    def _count_rows(self, count: int) -> None:
        self.rows += count
        self._block_rows += count

    def _close_block(self) -> None:
        self.tables_with_data += self._block_rows > 0

    def _count_insert(self, table: bytes) -> None:
        self.inserts += 1
        if table != self._insert_table:  # pg_dump writes one table after the other
            self._insert_table = table
            self.tables += 1
            self.tables_with_data += 1

    def _comment(self, buffer: bytes) -> None:
        line = buffer[self._at : self._at + _LOOKAHEAD].partition(b"\n")[0].rstrip(b"\r")
        self._skip_line()
        match line:
            case b"-- PostgreSQL database dump":
                self.databases += 1
                self._begin("database")
            case b"-- PostgreSQL database cluster dump":
                self._begin("cluster")
            case b"-- PostgreSQL database dump complete":
                self._complete("database")
            case b"-- PostgreSQL database cluster dump complete":
                self._complete("cluster")

    def _begin(self, what: str) -> None:
        if what in self._open:
            raise Fault(
                State.TRUNCATED,
                f"a dump ends without its last line, {self._so_far()}, and another begins there",
            )
        self._open.add(what)

    def _complete(self, what: str) -> None:
        if what not in self._open:
            raise Fault(State.CORRUPT, "the dump has an end whose beginning is missing")
        self._open.remove(what)

    def _command(self, line: bytes) -> None:
        command, _, key = line.rstrip(b"\r").partition(b" ")
        if command == b"\\restrict":
            self._restricted = key
        elif command == b"\\unrestrict" and key == self._restricted:
            self._restricted = None
