"""What is said of SQLite databases: of all kinds, of wounded ones, and of those that mean harm."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from outcomed import formats
from outcomed.formats import Reading, State
from tests.artifacts import NOT_GOOD, flipped

TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);"
ROWS = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO t SELECT i, printf('%040d', i * 7919) FROM n;
"""
ODD = 'CREATE TABLE "o ""x; y" (a);'
RTREE = "CREATE VIRTUAL TABLE r USING rtree(i, a, b);"
FOREVER = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


def look(path: Path) -> Reading:
    with path.open("rb") as file:
        return formats.read(file, "sqlite")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    def made(script: str) -> Path:
        path = tmp_path / "x.db"
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(script)
        database.close()
        return path

    return made


@pytest.mark.parametrize(
    ("script", "expected", "tables", "filled"),
    [
        (TABLE + ROWS, State.WHOLE, 1, 1),
        ("PRAGMA page_size = 512;" + TABLE + ROWS, State.WHOLE, 1, 1),
        ("PRAGMA page_size = 65536;" + TABLE + ROWS, State.WHOLE, 1, 1),
        ("PRAGMA encoding = 'UTF-16';" + TABLE + ROWS, State.WHOLE, 1, 1),
        ("PRAGMA auto_vacuum = FULL;" + TABLE + ROWS, State.WHOLE, 1, 1),
        ("PRAGMA journal_mode = WAL;" + TABLE + ROWS, State.WHOLE, 1, 1),
        (TABLE + ROWS + "DELETE FROM t WHERE a > 9; CREATE INDEX i ON t (b);", State.WHOLE, 1, 1),
        ("CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID;" + ROWS, State.WHOLE, 1, 1),
        (
            TABLE + 'CREATE TABLE "o ""x; y" (a); INSERT INTO "o ""x; y" VALUES (1);',
            State.WHOLE,
            2,
            1,
        ),
        ("CREATE TABLE t (a, b AS (upper(a))); INSERT INTO t VALUES ('x');", State.WHOLE, 1, 1),
        (TABLE + "CREATE VIEW v AS " + FOREVER + ";" + ROWS, State.WHOLE, 1, 1),
        ("CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('x');", State.WHOLE, 2, 2),
        (
            "CREATE VIRTUAL TABLE r USING rtree(i, a, b); INSERT INTO r VALUES (1, 2, 3);",
            "whole",
            1,
            1,
        ),
        (TABLE, State.EMPTY, 1, 0),
        (TABLE + ROWS + "DELETE FROM t;", State.EMPTY, 1, 0),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT);", State.EMPTY, 1, 0),
        ("PRAGMA user_version = 3;", State.EMPTY, 0, 0),
        ("CREATE VIRTUAL TABLE f USING fts5(x);", State.EMPTY, 2, 0),
        (RTREE, State.EMPTY, 1, 0),
    ],
)
def test_databases_of_all_kinds_are_read_for_whether_they_have_rows(
    script: str, expected: str, tables: int, filled: int, make: Callable[[str], Path]
) -> None:
    reading = look(make(script))
    assert reading.state == expected, reading
    assert (reading.evidence["tables"], reading.evidence["tables_with_rows"]) == (tables, filled)


def test_database_cut_anywhere_is_truncated(make: Callable[[str], Path]) -> None:
    path = make(TABLE + ROWS)
    data = path.read_bytes()
    for at in (*range(1, 120), *range(120, len(data), 1021), *range(4096, len(data), 4096)):
        path.write_bytes(data[:at])
        assert look(path).state == State.TRUNCATED, at


def test_bits_flipped_in_the_header_of_a_page_are_found(make: Callable[[str], Path]) -> None:
    path = make(TABLE + ROWS)
    data = path.read_bytes()
    for page in range(2, len(data) // 4096):
        path.write_bytes(flipped(data, (page * 4096) * 8 + random.Random(page).randrange(40)))
        assert look(path).state in NOT_GOOD, page


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(bytes(4096), State.WHOLE), (bytes(7), State.WHOLE), (b"junk", State.CORRUPT)],
)
def test_what_may_follow_the_last_page_is_padding(
    tail: bytes, expected: State, make: Callable[[str], Path]
) -> None:
    path = make(TABLE + ROWS)
    path.write_bytes(path.read_bytes() + tail)
    assert look(path).state == expected


def test_page_of_zeros_as_a_crash_leaves_it_is_damage(make: Callable[[str], Path]) -> None:
    path = make(TABLE + ROWS)
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 3] + bytes(4096) + data[4096 * 4 :])
    reading = look(path)
    assert reading.state == State.CORRUPT
    assert reading.summary.startswith("the SQLite database is damaged: ")


def test_database_in_use_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("PRAGMA journal_mode = WAL;" + TABLE + ROWS)
    reading = look(path)
    assert reading.state == State.UNREADABLE
    assert reading.summary.startswith("a write-ahead log of ")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert look(path).state == State.WHOLE
    database.executescript("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN;")
    database.execute("UPDATE t SET b = 'y'")
    assert look(path).state == State.UNREADABLE
    database.rollback()
    database.executescript("PRAGMA journal_mode = PERSIST; UPDATE t SET b = 'z'")
    assert look(path).state == State.WHOLE  # the journal lies there, and is not in force
    database.close()


def test_nothing_is_written_beside_the_database(make: Callable[[str], Path]) -> None:
    path = make("PRAGMA journal_mode = WAL;" + TABLE + ROWS)
    before = path.read_bytes()
    assert look(path).state == State.WHOLE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
def test_database_is_opened_before_rights_are_given_up(make: Callable[[str], Path]) -> None:
    path = make(TABLE + ROWS)
    path.chmod(0o600)

    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from outcomed import formats
with open({str(path)!r}, "rb") as file:
    nobody = lambda: os.setresuid(65534, 65534, 65534)
    found = formats.read_once(file, ("sqlite",), digest=True, opened=nobody)
print(found.by_format["sqlite"].state, os.getuid())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "whole 65534\n", done.stderr


def test_what_only_the_application_can_compute_is_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.create_function("mine", 1, lambda value: value, deterministic=True)
    database.executescript("CREATE TABLE t (a CHECK (mine(a))); INSERT INTO t VALUES (1);")
    assert look(path).state == State.WHOLE
    database.executescript("CREATE INDEX i ON t (mine(a));")
    reading = look(path)
    assert reading.state == State.UNREADABLE
    assert "mine" in reading.summary
    database.close()


def test_schema_that_computes_without_end_is_not_carried_out(make: Callable[[str], Path]) -> None:
    """A view that calls itself a table, with a page of its own, would be asked for a row."""
    path = make(
        TABLE + ROWS + "CREATE TABLE w (a); PRAGMA writable_schema = ON;"
        f"UPDATE sqlite_schema SET sql = 'CREATE VIEW w AS {FOREVER} WHERE i < 0' WHERE name = 'w'"
    )
    assert look(path).state in NOT_GOOD


def test_index_cannot_call_what_reaches_outside(make: Callable[[str], Path]) -> None:
    path = make(
        "CREATE TABLE t (a); INSERT INTO t VALUES ('x'); CREATE INDEX i ON t (abs(a));"
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET"
        " sql = 'CREATE INDEX i ON t (load_extension(a))' WHERE name = 'i'"
    )
    assert look(path).state in NOT_GOOD


def test_complaint_that_is_no_text_is_a_complaint(make: Callable[[str], Path]) -> None:
    """SQLite quotes what the file has, and Python has no string for that."""
    path = make(TABLE + ROWS)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE TABL\xff"))
    found = look(path)
    assert found.state == State.UNREADABLE
    assert found.summary.endswith("what is wrong is no text")
