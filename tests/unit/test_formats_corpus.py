"""What formats.py says of files made by the real tools, and of the same files cut short."""

import os
import pwd
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from outcomed.formats import State
from tests.artifacts import CORPUS, flipped, need, read, shell, some_cuts


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files such as archives hold: long names, holes, links, and enough to fill several blocks."""
    top: Path = tmp_path_factory.mktemp("tree")
    home = top / "home"
    (home / "empty").mkdir(parents=True)
    (home / "text").write_text("".join(f"line {n} of a text\n" for n in range(30_000)))
    (home / "noise").write_bytes(random.Random(1).randbytes(300_000))
    (home / "nothing").touch()
    (home / "link").symlink_to("text")
    (home / "hard").hardlink_to(home / "text")
    (home / ("long" * 40)).write_text("x")
    (home / "ümlaut\n").write_text("y")
    with (home / "holes").open("wb") as holes:
        for at in range(60):
            holes.seek(at * 65_536)
            holes.write(b"z" * 4096)
        holes.seek(8 << 20)
        holes.write(b"the end, so that zeros behind it are the archive's")
    os.mkfifo(home / "fifo")
    return top


# -- gzip and zstd ---------------------------------------------------------------------------------

GZIP = [
    "gzip -1",
    "gzip -9 --no-name",
    "gzip --rsyncable",
    "pigz -p 4 -b 128",
    "pigz -i -b 128",
    "pigz -11 -I 1",
    "busybox gzip",
    "bgzip",
]
ZSTD = [
    "zstd -1",
    "zstd -19",
    "zstd --fast=5",
    "zstd --no-check",
    "zstd -T2 -B256K",
    "zstd --long=27",
    "zstd --ultra -22",
    "zstd --no-content-size",
    "zstd --rsyncable -T2",
    "pzstd -p 2",  # many frames, each behind a skippable one
]


@pytest.mark.parametrize("tool", GZIP)
def test_what_gzips_write_is_whole_and_cut_it_is_not(tool: str, tree: Path) -> None:
    need(tool)
    data = shell(f"cat home/text home/noise | {tool} -c", tree)
    good = read(data, "gzip")
    assert good.state == State.WHOLE, good
    size = (tree / "home/text").stat().st_size + 300_000
    assert good.evidence["bytes_unpacked"] == size
    if good.evidence["streams"] == 1:  # between two members a cut cannot be seen
        for at in some_cuts(len(data)):
            assert read(data[:at], "gzip").state == State.TRUNCATED, at


@pytest.mark.parametrize("tool", ZSTD)
def test_what_zstd_writes_is_whole_and_cut_it_is_not(tool: str, tree: Path) -> None:
    need(tool)
    data = shell(f"cat home/text home/noise | {tool} -c", tree)
    good = read(data, "zstd")
    assert good.state == State.WHOLE, good
    if good.evidence["streams"] == 1 and tool != "pzstd -p 2":
        for at in some_cuts(len(data)):
            assert read(data[:at], "zstd").state == State.TRUNCATED, at


@pytest.mark.parametrize("tool", ["gzip", "pigz", "zstd"])
def test_what_tools_make_of_nothing_is_empty(tool: str, tree: Path) -> None:
    need(tool)
    kind = "zstd" if tool == "zstd" else "gzip"
    assert read(shell(f"{tool} -c </dev/null", tree), kind).state == State.EMPTY


@pytest.mark.parametrize("tool", ["gzip", "zstd"])
def test_a_flipped_bit_passes_where_the_tool_passes_it_and_nowhere_else(
    tool: str, tree: Path
) -> None:
    data = shell(f"head -c 20000 home/text | {tool} -c", tree)
    choose = random.Random(4)
    for _ in range(60):
        wounded = bytearray(data)
        wounded[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        done = subprocess.run([tool, "-dc"], input=wounded, capture_output=True)
        good = read(bytes(wounded), tool).state == State.WHOLE
        assert good == (done.returncode == 0), done.stderr


# -- xz and bzip2 ----------------------------------------------------------------------------------

XZ = [
    "xz -0",
    "xz -6",
    "xz -0 --check=none",
    "xz -0 --check=crc32",
    "xz -0 --check=sha256",
    "xz -0 -T2 --block-size=100KiB",
    "xz -0 --x86 --lzma2=dict=8MiB",
    "pixz -t -0 -p 2",
]
BZIP2 = ["bzip2 -1", "bzip2 -9", "pbzip2 -1 -p2 -b1", "lbzip2 -1 -n2"]


@pytest.mark.parametrize("tool", [*XZ, *BZIP2])
def test_what_xz_and_bzip2_write_is_whole_and_cut_it_is_not(tool: str, tree: Path) -> None:
    need(tool)
    kind = "xz" if tool in XZ else "bzip2"
    data = shell(f"head -c 200000 home/text | cat - home/noise | {tool} -c", tree)
    good = read(data, kind)
    assert good.state == State.WHOLE, good
    assert good.evidence["bytes_unpacked"] == 500_000
    if good.evidence["streams"] == 1:  # between two streams a cut cannot be seen
        for at in some_cuts(len(data)):
            assert read(data[:at], kind).state == State.TRUNCATED, at
    assert read(shell(f"{tool} -c </dev/null", tree), kind).state == State.EMPTY


# -- zip -------------------------------------------------------------------------------------------

FILES = "home/text home/noise home/empty home/nothing"
ZIP = [
    f"zip -qr out.zip {FILES}",
    f"zip -qr0 out.zip {FILES}",
    f"zip -qr9X out.zip {FILES}",
    f"zip -qr -Z bzip2 out.zip {FILES}",
    f"zip -qr -fd out.zip {FILES}",
    f"zip -qr -fz out.zip {FILES}",
    f"zip -qry out.zip {FILES} home/link",
    f"zip -qr - {FILES} >out.zip",
    f"zip -qr - {FILES} | cat >out.zip",
    f"zip -qr in.zip {FILES}; cat /bin/true in.zip >out.zip",
    f"zip -qr in.zip {FILES}; cat /bin/true in.zip >out.zip; zip -qA out.zip",
    f"7z a -tzip -mx=1 out.zip {FILES} >log",
    f"7z a -tzip -mm=LZMA out.zip {FILES} >log",
    f"7z a -tzip -mm=BZip2 out.zip {FILES} >log",
    f"bsdtar --format=zip -cf out.zip {FILES}",
    f"python3 -m zipfile -c out.zip {FILES}",
]


@pytest.mark.parametrize("command", ZIP)
def test_what_zips_write_is_whole_and_cut_it_is_not(command: str, tree: Path) -> None:
    need(command)
    shell(f"rm -f in.zip out.zip; {command}", tree)
    data = (tree / "out.zip").read_bytes()
    good = read(data, "zip")
    assert good.state == State.WHOLE, good
    assert good.evidence["files"] == 3 + ("link" in command)
    for at in some_cuts(len(data)):
        assert read(data[:at], "zip").state in (State.TRUNCATED, State.WRONG_FORMAT), at
    body = data.index(b"noise") + 1000
    assert read(flipped(data, body * 8), "zip").state == State.CORRUPT


def test_zip_is_judged_as_unzip_judges_it_or_more_strictly(tree: Path) -> None:
    need("unzip")
    need("zip")
    shell("rm -f out.zip; head -c 4000 home/text >few; zip -q out.zip few home/nothing", tree)
    data = (tree / "out.zip").read_bytes()
    choose = random.Random(6)
    for _ in range(60):
        wounded = flipped(data, choose.randrange(len(data) * 8))
        (tree / "wounded.zip").write_bytes(wounded)
        done = subprocess.run(["unzip", "-tqq", "wounded.zip"], cwd=tree, capture_output=True)
        if done.returncode > 1:  # 1 is a warning
            assert read(wounded, "zip").state not in (State.WHOLE, State.EMPTY), done.stdout


def test_encrypted_zip_is_not_called_whole(tree: Path) -> None:
    need("zip")
    shell("rm -f out.zip; zip -q -P secret out.zip home/text", tree)
    assert read((tree / "out.zip").read_bytes(), "zip").state == State.UNREADABLE


# -- json ------------------------------------------------------------------------------------------

ROWS = 'range(3000) | {_id: {oid: .}, name: "n\\(.)ü\\n", at: (. / 7), tags: [null, true, []]}'
JSON = [
    f"jq -n '[{ROWS}]'",
    f"jq -cn '{ROWS}'",
    f"jq -n --tab '{ROWS}'",
    f"jq -cnaS '[{ROWS}]'",
    f"jq -cn '{ROWS}' | gzip",
    f"jq -cn '{ROWS}' | zstd -c",
    f"jq -cn '{ROWS}' | xz -0",
    f"jq -n '[{ROWS}]' | python3 -m json.tool --no-ensure-ascii",
    "sqlite3 -json :memory: 'SELECT 1 AS a, NULL AS b, 2.5 AS c UNION ALL SELECT 2, 3, 4'",
]


@pytest.mark.parametrize("command", JSON)
def test_what_writes_json_is_whole_and_cut_it_is_not(command: str, tree: Path) -> None:
    need(command)
    data = shell(command, tree)
    good = read(data, "json")
    assert good.state == State.WHOLE, good
    if command.startswith("jq -cn '") and "|" not in command.rpartition("'")[2]:
        assert good.evidence["documents"] == 3000
    whole = len(data.rstrip())
    for at in some_cuts(whole):
        # Cut between two lines it is a shorter good file; no byte at all is never good.
        between = data[at - 1 : at] in (b"\n", b"}") or data[at : at + 1] == b"\n"
        state = read(data[:at], "json").state
        assert state == State.TRUNCATED or (between and state == State.WHOLE), at


def test_json_is_judged_as_jq_judges_it(tree: Path) -> None:
    need("jq")
    data = shell("jq -cn 'range(3) | {a: [., \"xü\"], b: {c: null}}'", tree)
    choose = random.Random(8)
    for _ in range(80):
        wounded = flipped(data, choose.randrange(len(data) * 8))
        done = subprocess.run(["jq", "empty"], input=wounded, capture_output=True)
        if done.returncode:
            assert read(wounded, "json").state not in (State.WHOLE, State.EMPTY), wounded


# -- sqlite ----------------------------------------------------------------------------------------

MAKE = "rm -f in.db out.db; sqlite3 in.db 'CREATE TABLE t (a, b); CREATE INDEX i ON t (b);"
FILL = (
    "WITH n AS (SELECT value AS i FROM generate_series(1, 2000)) INSERT INTO t SELECT i, i FROM n"
)
SQLITE = [
    f"{MAKE} {FILL}'; sqlite3 in.db '.backup out.db'",
    f"{MAKE} {FILL}'; sqlite3 in.db \"VACUUM INTO 'out.db'\"",
    f"{MAKE} {FILL}'; sqlite3 in.db .dump | sqlite3 out.db",
    f"{MAKE} PRAGMA journal_mode = WAL; {FILL}' >log; sqlite3 in.db '.backup out.db'",
    f"{MAKE} {FILL}; DELETE FROM t WHERE a % 3 = 0'; cp in.db out.db",
    f"{MAKE} {FILL}'; sqlite3 in.db 'PRAGMA page_size = 1024; VACUUM'; cp in.db out.db",
    f"{MAKE} {FILL}'; sqlite3 in.db '.clone out.db' >log",
]


@pytest.mark.parametrize("command", SQLITE)
def test_what_sqlite_writes_is_whole_and_cut_it_is_not(command: str, tree: Path) -> None:
    need("sqlite3")
    shell(command, tree)
    data = (tree / "out.db").read_bytes()
    good = read(data, "sqlite")
    assert good.state == State.WHOLE, good
    for at in some_cuts(len(data)):
        assert read(data[:at], "sqlite").state == State.TRUNCATED, at


def test_sqlite_without_rows_is_empty(tree: Path) -> None:
    need("sqlite3")
    shell(f"{MAKE}'", tree)
    assert read((tree / "in.db").read_bytes(), "sqlite").state == State.EMPTY


# -- tar -------------------------------------------------------------------------------------------

TAR = [
    "tar --format=gnu -c",
    "tar --format=oldgnu -c",
    "tar --format=pax -c",
    "tar --format=gnu --sparse -c",
    "tar --format=oldgnu --sparse -c",
    "tar --format=pax --sparse --sparse-version=0.0 -c",
    "tar --format=pax --sparse --sparse-version=0.1 -c",
    "tar --format=pax --sparse --sparse-version=1.0 -c",
    "tar --format=gnu --label=backup --blocking-factor=1 -c",
    "tar --format=gnu --listed-incremental=$(mktemp -u) -c",
    "tar --format=pax --xattrs --acls --numeric-owner -c",
    "tar --format=gnu --owner=big:3000000000 -c",
    "bsdtar --format=pax -c",
    "bsdtar --format=gnutar -c",
    "busybox tar -c",
]
SHORT_NAMES = ["tar --format=v7 -c", "tar --format=ustar -c"]
FILTERS = [
    "gzip -c",
    "pigz -c",
    "zstd -c",
    "zstd -T2 -B256K -c",
    "xz -0 -c",
    "xz -0 -T2 --block-size=100KiB -c",
    "xz -0 --check=none -c",
    "xz -0 --check=sha256 -c",
    "bzip2 -1 -c",
    "pbzip2 -1 -c",
    "lbzip2 -1 -c",
]


def end_of(archive: bytes) -> int:
    """Where the two zero blocks end, and padding begins; counted in blocks, back from the end."""
    return -(-len(archive.rstrip(b"\0")) // 512) * 512 + 1024


@pytest.mark.parametrize("tool", [*TAR, *SHORT_NAMES])
def test_what_tars_write_is_whole_and_cut_it_is_not(tool: str, tree: Path) -> None:
    need(tool)
    without = "--exclude='long*' --exclude=fifo" if tool in SHORT_NAMES else ""
    archive = shell(f"{tool} -f - {without} home", tree)
    good = read(archive, "tar")
    assert good.state == State.WHOLE, good
    assert good.evidence["members"] == (9 if without else 11), good
    end = end_of(archive)
    for at in some_cuts(end):
        assert read(archive[:at], "tar").state == State.TRUNCATED, at
    assert read(archive[:end], "tar").state == State.WHOLE


@pytest.mark.parametrize("packed", FILTERS)
def test_compressed_tars_are_whole_and_cut_they_are_not(packed: str, tree: Path) -> None:
    need(packed)
    data = shell(f"tar -cf- --exclude=holes home | {packed}", tree)
    good = read(data, "tar")
    assert good.state == State.WHOLE, good
    names = {"pigz": "gzip", "pbzip2": "bzip2", "lbzip2": "bzip2"}
    tool = packed.split(maxsplit=1)[0]
    assert good.evidence["compression"] == names.get(tool, tool)
    for at in some_cuts(len(data)):
        assert read(data[:at], "tar").state == State.TRUNCATED, at


def test_tars_of_nothing_are_empty(tree: Path) -> None:
    assert read(shell("tar -cf- -T /dev/null", tree), "tar").state == State.EMPTY
    assert read(shell("tar -czf- -T /dev/null", tree), "tar").state == State.EMPTY
    assert read(shell("tar -cf- home/empty", tree), "tar").state == State.EMPTY


# -- pg_dump ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server of this host's PostgreSQL, with the database of tests/corpus/shop.sql."""

    home: Path
    programs: Path
    user: str

    def run(self, command: str) -> bytes:
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PGHOST": str(self.home),
            "PGUSER": "postgres",
            "LC_ALL": "C.UTF-8",
        }
        user = None if self.user == pwd.getpwuid(os.geteuid()).pw_name else self.user
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            env=environment,
            cwd=self.home,
            user=user,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout


def programs() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = [*installed, *([Path(path)] if (path := shutil.which("initdb")) else [])]
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    where = programs()
    if where is None:
        pytest.skip("no PostgreSQL server is installed")
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user == "root":  # whom initdb refuses
        user = "postgres"
    try:
        pwd.getpwnam(user)
    except KeyError:
        pytest.skip("there is no user postgres")
    # A socket's path is 107 bytes at most, and pytest's own directories are root's.
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        server = Postgres(Path(name), where, user)
        shutil.chown(name, user)
        server.run("initdb -D data -A trust -U postgres --no-sync --locale=C.UTF-8")
        options = f"-c listen_addresses='' -k {name} -c fsync=off"
        server.run(f'pg_ctl -D data -w -l log -o "{options}" start')
        try:
            shop = (CORPUS / "shop.sql").read_text()
            (server.home / "shop.sql").write_text(shop)
            server.run("createdb shop; psql -qX -v ON_ERROR_STOP=1 -d shop -f shop.sql")
            yield server
        finally:
            server.run("pg_ctl -D data -m immediate stop")


@pytest.mark.parametrize(
    ("command", "rows", "inserts"),
    [
        ("pg_dump shop", 36, 0),
        ("pg_dump --clean --if-exists --create shop", 36, 0),
        ("pg_dump --data-only shop", 36, 0),
        ("pg_dump --inserts shop", 0, 36),
        ("pg_dump --column-inserts --rows-per-insert=3 shop", 0, 16),
        ("pg_dump --load-via-partition-root --no-owner shop", 36, 0),
        ("pg_dump --compress=6 shop", 36, 0),
        ("pg_dump shop | gzip", 36, 0),
        ("pg_dump shop | zstd", 36, 0),
        ("pg_dump shop | xz -0", 36, 0),
        ("pg_dump -Fc shop | pg_restore -f -", 36, 0),
        ("pg_dumpall", 36, 0),
        ("pg_dumpall --clean | bzip2", 36, 0),
        ("for i in 1 2 3; do pg_dump shop; done", 108, 0),
    ],
)
def test_what_pg_dump_writes_is_whole_and_cut_it_is_not(
    command: str, rows: int, inserts: int, postgres: Postgres
) -> None:
    data = postgres.run(command)
    good = read(data, "pg_dump")
    assert good.state == State.WHOLE, good
    assert (good.evidence["rows"], good.evidence["inserts"]) == (rows, inserts)
    if command.startswith("for "):  # between two dumps a cut cannot be seen
        return
    for at in some_cuts(len(data.rstrip(b"-\n"))):
        assert read(data[:at], "pg_dump").state == State.TRUNCATED, at


@pytest.mark.parametrize(
    "command",
    [
        "pg_dump --schema-only shop",
        "pg_dump --exclude-table-data='*' --exclude-table-data='s.*' shop",
        "pg_dump postgres",
        "pg_dumpall --globals-only",
        "pg_dump --schema-only shop | gzip",
    ],
)
def test_dumps_without_table_data_are_empty(command: str, postgres: Postgres) -> None:
    assert read(postgres.run(command), "pg_dump").state == State.EMPTY


@pytest.mark.parametrize("command", ["pg_dump -Fc shop", "pg_dump -Ft shop"])
def test_dumps_in_other_formats_are_called_by_their_names(command: str, postgres: Postgres) -> None:
    reading = read(postgres.run(command), "pg_dump")
    assert reading.state == State.WRONG_FORMAT
    assert reading.summary.endswith(("found a custom-format dump (pg_dump -Fc)", "a tar archive"))


def test_pipeline_whose_pg_dump_failed_is_truncated(postgres: Postgres) -> None:
    """`pg_dump … | gzip` exits 0 then, and leaves a gzip file that is whole."""
    reading = read(
        postgres.run("{ pg_dump no_such_database 2>/dev/null || true; } | gzip"), "pg_dump"
    )
    assert reading.state == State.TRUNCATED
    assert reading.summary == "the gzip stream is whole and holds not one byte"


# -- pg_dump -Fc -----------------------------------------------------------------------------------

CUSTOM = [
    ("pg_dump -Fc shop", 36, 0),
    ("pg_dump -Fc shop | cat", 36, 0),
    ("pg_dump -Fc -f x shop; cat x", 36, 0),
    ("pg_dump -Fc -Z0 shop | cat", 36, 0),
    ("pg_dump -Fc -Z0 -f x shop; cat x", 36, 0),
    ("pg_dump -Fc -Z9 shop | cat", 36, 0),
    ("pg_dump -Fc --inserts shop | cat", 0, 36),
    ("pg_dump -Fc -Z0 --column-inserts shop | cat", 0, 36),
    ("pg_dump -Fc --data-only shop | cat", 36, 0),
    ("pg_dump -Fc --section=data shop | cat", 36, 0),
    ("pg_dump -Fc --no-blobs --table=customers shop | cat", 7, 0),
    ("pg_dump -Fc shop | gzip", 36, 0),
    ("pg_dump -Fc -Z0 shop | zstd", 36, 0),
]
NEWER = ["lz4", "zstd", "gzip:1", "zstd:level=19", "none"]  # than PostgreSQL 15


def restores(data: bytes, postgres: Postgres) -> bool:
    (postgres.home / "restored").write_bytes(data)
    command = "pg_restore --file=/dev/null restored"
    return postgres.run(f"{command} 2>/dev/null && echo yes || echo no") == b"yes\n"


@pytest.mark.parametrize(("command", "rows", "inserts"), CUSTOM)
def test_what_pg_dump_writes_in_its_own_format_is_whole_and_cut_it_is_not(
    command: str, rows: int, inserts: int, postgres: Postgres
) -> None:
    data = postgres.run(command)
    good = read(data, "pg_custom")
    assert good.state == State.WHOLE, good
    assert (good.evidence["rows"], good.evidence["inserts"]) == (rows, inserts)
    for at in some_cuts(len(data)):
        assert read(data[:at], "pg_custom").state == State.TRUNCATED, at


@pytest.mark.parametrize("how", NEWER)
def test_what_newer_pg_dumps_write_is_whole_and_cut_it_is_not(how: str, postgres: Postgres) -> None:
    if b"PostgreSQL) 15" in postgres.run("pg_dump --version"):
        pytest.skip("PostgreSQL 15 packs with zlib only")
    if how == "lz4":
        pytest.importorskip("lz4.frame")
    data = postgres.run(f"pg_dump -Fc -Z {how} shop | cat")
    assert read(data, "pg_custom").evidence["rows"] == 36
    for at in some_cuts(len(data)):
        assert read(data[:at], "pg_custom").state == State.TRUNCATED, at


@pytest.mark.parametrize("command", ["pg_dump -Fc -f x shop; cat x", "pg_dump -Fc -Z0 shop | cat"])
def test_what_pg_restore_does_not_read_is_not_called_whole(
    command: str, postgres: Postgres
) -> None:
    data = postgres.run(command)
    assert restores(data, postgres)
    # Before it stands the table of contents: names and SQL, which nothing protects.
    begin = max(data.find(b"\x78\x9c"), data.find(b"1\tname 1"))
    choose = random.Random(9)
    for _ in range(40):
        wounded = flipped(data, choose.randrange(begin * 8, len(data) * 8))
        good = read(wounded, "pg_custom").state in (State.WHOLE, State.EMPTY)
        assert not good or restores(wounded, postgres)


@pytest.mark.parametrize(
    "command",
    [
        "pg_dump -Fc --schema-only shop",
        "pg_dump -Fc postgres",
        "pg_dump -Fc --section=pre-data shop",
    ],
)
def test_custom_dumps_without_table_data_are_empty(command: str, postgres: Postgres) -> None:
    assert read(postgres.run(f"{command} | cat"), "pg_custom").state == State.EMPTY


# -- All of them -----------------------------------------------------------------------------------


def test_corpus_is_large_and_on_debian_13_nothing_of_it_is_left_out() -> None:
    made = (GZIP, ZSTD, XZ, BZIP2, ZIP, JSON, SQLITE, TAR, SHORT_NAMES, FILTERS, CUSTOM, NEWER)
    assert sum(map(len, made)) >= 100
    if 'VERSION_ID="13"' not in Path("/etc/os-release").read_text():
        return
    commands = [*GZIP, *ZSTD, *XZ, *BZIP2, *ZIP, *JSON, *TAR, *FILTERS, "sqlite3 x", "unzip x"]
    tools = {command.split(maxsplit=1)[0] for command in commands} - {"bgzip"}
    assert {tool for tool in tools if shutil.which(tool) is None} == set()
