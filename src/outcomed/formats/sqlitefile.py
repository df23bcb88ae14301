"""An SQLite database: its header here, everything else by SQLite's own integrity check.

The file is opened read only and as one that nobody writes (`immutable`): no lock is taken, and no
log beside it is read. If such a log has anything in it, the file alone is not the database, but
half of one that is in use, and nobody can say whether it is good. A copy is what `.backup` and
`VACUUM INTO` make.

Nothing that the file says is carried out: functions that could do anything are refused, views and
triggers are not run, checks that the application wrote are left to it. SQLite has no checksums: a
changed bit in the contents of a row is not seen. The check reads the file in the order of its
trees: a second time, where it is hashed too, and from memory only as far as that reaches.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

from outcomed.formats.magic import wrong
from outcomed.formats.reading import Evidence, Fault, Reading, State, counted, printable
from outcomed.formats.source import CHUNK, NO_BYTE
from outcomed.quantities import format_size

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_OPERATIONS = 100_000  # of SQLite's machine, some milliseconds
_SETTINGS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "ignore_check_constraints = ON",
    "query_only = ON",
    "mmap_size = 0",
    "cache_size = -16000",
)
# Of a full-text or spatial index, the tables that have a row for each of the user's; its other
# tables are never empty.
_SHADOWS_WITH_ROWS = ("_content", "_docsize", "_rowid")

_CANNOT_SAY = "SQLite cannot say whether the database is whole"


def open_sqlite(file: BinaryIO) -> Callable[[BinaryIO], Reading]:
    """Open it, as long as we may, and return what reads it. `file` has to be a real one, that still
    has a name: SQLite takes no descriptor."""
    descriptor = file.fileno()
    beside = _found_beside(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
    uri = f"file:/proc/self/fd/{descriptor}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    except sqlite3.Error as error:
        return partial(_refuse, _fault(error))
    return partial(_read, connection, beside)


def _refuse(fault: Fault, file: BinaryIO) -> Reading:
    return Reading(fault.state, fault.summary, {})


def _read(connection: sqlite3.Connection, beside: str, file: BinaryIO) -> Reading:
    size = os.fstat(file.fileno()).st_size
    evidence: Evidence = {"bytes_read": size}
    with closing(connection):
        try:
            evidence |= _look_at_header(file, size)
            if beside:
                raise Fault(State.UNREADABLE, beside)
            # A sign of life for whoever watches how `file` is read.
            connection.set_progress_handler(lambda: bool(file.read(0)), _OPERATIONS)
            return _reading(connection, evidence)
        except sqlite3.Error as error:
            fault = _fault(error)
            return Reading(fault.state, fault.summary, evidence)
        except UnicodeDecodeError:  # what SQLite quotes of the file, which may be its only error
            return Reading(State.UNREADABLE, f"{_CANNOT_SAY}: what is wrong is no text", evidence)
        except Fault as fault:
            return Reading(fault.state, fault.summary, evidence)


# -- The header ------------------------------------------------------------------------------------


def _look_at_header(file: BinaryIO, size: int) -> Evidence:
    file.seek(0)
    if size == 0:  # to SQLite a good database, to whoever wrote it a sign that nothing was
        raise Fault(State.TRUNCATED, NO_BYTE)
    header = file.read(_HEADER)
    if not header.startswith(_MAGIC):
        if header and _MAGIC.startswith(header):
            raise _too_short()
        raise wrong("an SQLite database", header + file.read(512))
    if len(header) < _HEADER:
        raise _too_short()
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65_536 if page_size == 1 else page_size
    if page_size < 512 or page_size & (page_size - 1) or header[21:24] != b"\x40\x20\x20":
        raise _damaged("its header cannot be")
    pages = int.from_bytes(header[28:32], "big")
    if pages == 0 or header[24:28] != header[92:96]:  # written by an SQLite of before 2010
        pages = max(1, -(-size // page_size))
    if size < pages * page_size:
        raise Fault(
            State.TRUNCATED,
            f"the SQLite database is cut: {format_size(size)} of {counted(pages, 'page')}"
            f" of {format_size(page_size)}",
        )
    file.seek(pages * page_size)
    while piece := file.read(CHUNK):
        if piece.strip(b"\0"):
            raise _damaged("something else follows its last page")
    return {"pages": pages, "page_size": page_size}


def _too_short() -> Fault:
    return Fault(State.TRUNCATED, "the SQLite database ends inside its header")


def _damaged(why: str) -> Fault:
    return Fault(State.CORRUPT, f"the SQLite database is damaged: {why}")


def _found_beside(path: Path) -> str:
    log = path.with_name(f"{path.name}-wal")
    if size := _size_of(log):
        size_shown = format_size(size)
        return f"a write-ahead log of {size_shown} lies beside it: a database in use, no copy"
    journal = path.with_name(f"{path.name}-journal")
    if _size_of(journal) and _begins(journal) == _JOURNAL_MAGIC:
        return "a rollback journal lies beside it: a database in use, or left in a transaction"
    return ""


def _begins(path: Path) -> bytes:
    with path.open("rb") as journal:
        return journal.read(len(_JOURNAL_MAGIC))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# -- The contents ----------------------------------------------------------------------------------


def _fault(error: sqlite3.Error) -> Fault:
    """What SQLite says of a file that it cannot go on with."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_IOERR:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
    said = printable(str(error).encode("utf-8", "backslashreplace"))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(said)
    return Fault(State.UNREADABLE, f"{_CANNOT_SAY}: {said}")


def _reading(connection: sqlite3.Connection, evidence: Evidence) -> Reading:
    connection.text_factory = _text
    connection.set_authorizer(_no_views)
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    for (said,) in connection.execute("PRAGMA integrity_check(1)"):
        if said != "ok":
            last = said.splitlines()[-1]  # the first ones name the database, which is "main"
            raise _damaged(printable(last.encode("utf-8", "surrogateescape")))
    tables = list(_tables(connection))
    filled = sum(_has_rows(connection, name) for name in tables)
    evidence |= {"tables": len(tables), "tables_with_rows": filled}
    if not filled:
        summary = f"a whole SQLite database without a row, in {counted(len(tables), 'table')}"
        return Reading(State.EMPTY, summary, evidence)
    pages, of = evidence["pages"], counted(len(tables), "table")
    summary = f"a whole SQLite database: rows in {filled:,} of {of}, {pages:,} pages"
    return Reading(State.WHOLE, summary, evidence)


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


def _no_views(
    action: int, first: str | None, second: str | None, database: str | None, inside: str | None
) -> int:
    """What calls itself a table may be a view, with whatever it computes."""
    return sqlite3.SQLITE_OK if inside is None else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> Iterator[str]:
    """The user's own, and those that stand for the rows of a virtual one."""
    rows = connection.execute(
        "SELECT name, rootpage FROM main.sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall()
    virtual = tuple(f"{name}_" for name, page in rows if not page)
    for name, page in rows:
        if not page or name.startswith("sqlite_"):
            continue
        if not name.startswith(virtual) or name.endswith(_SHADOWS_WITH_ROWS):
            yield name


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    quoted = table.replace('"', '""')
    try:
        (found,) = connection.execute(f'SELECT EXISTS (SELECT 1 FROM main."{quoted}")').fetchone()
    except UnicodeEncodeError as error:
        raise Fault(State.UNREADABLE, "the name of a table is no text") from error
    return bool(found)
