"""The ledger on real SQLite files: all or nothing, nothing twice, and never an older truth."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from outcomed import ledger
from outcomed.alerts import Standing
from outcomed.errors import LedgerError
from outcomed.ledger import Body, Bound, Ledger, Progress, Reader, Turn
from outcomed.model import (
    BootId,
    Completeness,
    Delivery,
    Finding,
    Held,
    Incident,
    InvocationId,
    Job,
    JobName,
    Judgement,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
    fingerprint,
    run_id,
)
from outcomed.slots import Promise, Slot
from outcomed.timers import Timer

SOURCES = str(Path(ledger.__file__).parents[1])
START = 1_790_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def run(job: str = "backup", number: int = 0, *, ended: bool = True) -> Run:
    invocation = InvocationId(fingerprint(f"{job}/{number}".encode()))
    started = START + number * DAY + number * 7919 % 1_000_003
    begun = Run(
        id=run_id(JobName(job), invocation),
        job=JobName(job),
        unit=UnitName(f"{job}.service"),
        key=invocation,
        boot=BootId(fingerprint(f"boot {number // 200}".encode())),
        invocation=invocation,
        last_invocation=invocation,
        trigger=f"{job}.timer",
        slot=Usec(started - 1200),
        started=Usec(started),
    )
    if not ended:
        return begun
    return replace(
        begun,
        finished=Usec(started + 1_234_567_890 + number * 31),
        duration=Usec(1_234_567_890 + number * 31),
        result="success",
        exit_code="exited",
        exit_status=0,
    )


def judgement(job: str = "backup", number: int = 0) -> Judgement:
    """A typical verified run with four rules."""
    one = run(job, number)
    assert one.started is not None
    path = f"/srv/backups/{job}/shop-2026-{number % 12 + 1:02}-{number % 28 + 1:02}.sql.gz"
    size, sent = 536_870_912 + number * 104_729 % 9_999_991, 300 + number % 99
    facts = f"failed=0, generated={sent}, sent={sent}"
    findings = (
        Finding("result", Held.HELD, "it exited well", {"result": "success", "exit_status": 0}),
        Finding(
            "outcome[0].artifact",
            Held.HELD,
            f"{path}: 512.3M, gzip, 3.{number % 10}G inside",
            {"path": path, "matches": 30, "size": size, "mtime": one.started + 1_200_000_000},
        ),
        Finding(
            "outcome[1].duration", Held.HELD, "ran 20 min 34 s", {"duration_s": 1234.5 + number}
        ),
        Finding(
            "outcome[2].report",
            Held.HELD,
            f"sent == generated and failed == 0 ({facts})",
            {"failed": 0, "generated": sent, "sent": sent},
        ),
        Finding("outcome[3].journal", Held.HELD, "no line matches ERROR|partial"),
    )
    return Judgement(
        run=one,
        verdict=Verdict.VERIFIED,
        reason="held",
        summary=f"{findings[1].summary} (and 3 more)",
        findings=findings,
        steps=("dump", "upload"),
        report={"sent": sent, "generated": sent, "failed": 0},
        rules_hash=fingerprint(job.encode()),
        at=Usec(one.started + 1_234_600_000),
        output=Completeness(),
    )


def incident(ident: str = "alert", *, closed: int | None = None) -> Incident:
    return Incident(
        id=ident,
        job=JobName("backup"),
        opened=Usec(START),
        verdict=Verdict.FAILED,
        reason="exit-code",
        summary="exited with status 1",
        run=run().id,
        closed=None if closed is None else Usec(closed),
    )


def delivery(ident: str = "m1") -> Delivery:
    return Delivery(id=ident, sink="ops", created=Usec(START), event={"id": ident})


def whole_turn() -> Turn:
    """One of everything that a turn can change."""
    one = judgement()
    under_way = run("other", ended=False)
    assert one.run.invocation is not None
    assert under_way.invocation is not None
    return Turn(
        runs={under_way.id: under_way},
        attempts=[
            (one.run.job, one.run.id, one.run.invocation, 1),
            (under_way.job, under_way.id, under_way.invocation, 1),
        ],
        judgements=[one],
        standings={JobName("backup"): Standing(incident(), 1)},
        closed=[incident("older", closed=START + 5)],
        triggers={JobName("backup"): Usec(START)},
        configs={JobName("backup"): Job(JobName("backup"), UnitName("backup.service"))},
        since={JobName("backup"): Usec(START - 5)},
        deliveries=[delivery()],
        delivered=[("m0", Usec(START), "")],
        progress=Progress("s=cursor", BootId("b" * 32), Usec(START), 0),
    )


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE sql > ''")]
        found = {
            name: db.execute(f"SELECT * FROM {name}").fetchall()
            for name in tables
            if name in ("job", "run", "attempt", "verdict", "incident", "outbox", "progress")
        }
    db.close()
    return found


def files(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.iterdir() if "-shm" not in one.name}


# --- what is written comes back --------------------------------------------------------------


def test_a_turn_comes_back_as_it_was_written(path: Path) -> None:
    turn = whole_turn()
    with Ledger(path) as book:
        (seq,) = book.commit(turn)
        rows = {row.name: row for row in book.jobs()}
        backup = rows[JobName("backup")]
        assert backup.config == turn.configs[JobName("backup")]
        assert backup.standing == turn.standings[JobName("backup")]
        assert (backup.since, backup.last_trigger) == (START - 5, START)
        assert backup.last == ledger.Stored(seq, turn.judgements[0])
        assert rows[JobName("other")].last is None
        assert book.open_runs() == list(turn.runs.values())
        assert book.due() == turn.deliveries
        assert book.progress() == turn.progress
        assert book.after(0) == [backup.last]
        assert book.after(seq) == []
        with Reader(path) as reader:
            assert reader.jobs() == book.jobs()
            assert reader.history(JobName("backup"), 5) == [backup.last]
            assert reader.under_way() == book.open_runs()
            assert reader.undelivered() == turn.deliveries
            assert reader.progress() == turn.progress
            found = reader.incidents(JobName("backup"), 5)
            assert {one.id for one in found} == {"alert", "older"}


@pytest.mark.parametrize(
    "change",
    [
        {"unit": UnitName("other.service")},
        {"key": "bb:7", "invocation": None, "last_invocation": None},
        {"last_invocation": InvocationId("c" * 32), "attempts": 3},
        {"started": None, "slot": None, "trigger": "unknown"},
        {"result": None, "exit_code": None, "exit_status": None, "finished": None},
        {"result": "exit-code", "command": "ExecStartPre", "exit_status": 255},
    ],
)
def test_what_a_run_leaves_out_is_put_back(path: Path, change: dict[str, object]) -> None:
    first, changed = judgement(), replace(run(number=1), **change)
    changed = replace(changed, id=run_id(changed.job, changed.key))
    with Ledger(path) as book:
        book.commit(Turn(judgements=[first, replace(judgement(number=1), run=changed)]))
        assert book.after(1)[0].judgement.run == changed


def test_a_run_is_found_by_the_beginning_of_either_id(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(whole_turn())
    one = run()
    assert one.invocation is not None
    with Reader(path) as reader:
        for ident in (one.id, one.id[:7], one.invocation, one.invocation[:7]):
            assert [stored.judgement.run for stored in reader.find(ident)] == [one]
        assert reader.find("f" * 32) == []


def test_a_run_that_began_and_ended_in_one_turn_is_known_by_its_invocation(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(whole_turn())
        invocation = run().invocation
        assert invocation is not None
        assert book.judged(JobName("backup"), invocation)
        assert not book.judged(JobName("other"), invocation)
        assert book.knows_run(run().id)
        assert not book.knows_run(run("other").id)


def test_a_delivery_is_due_until_it_is_reported(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(deliveries=[delivery("m1"), delivery("m2")]))
        book.commit(Turn(delivered=[("m1", Usec(START), ""), ("m2", Usec(START), "gone")]))
        assert book.due() == []
        book.commit(Turn(deliveries=[delivery("m1")]))
        assert book.due() == []
    rows = contents(path)["outbox"]
    assert [row[4:] for row in rows] == [(None, None), ("gone", None)]


def test_the_slot_before_this_one_is_found(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement(number=number) for number in range(3)]))
        own = run(number=2).slot
        assert own is not None
        assert book.previous_slot(JobName("backup"), own) == run(number=1).slot
        assert book.previous_slot(JobName("nobody"), own) is None


def test_an_incident_is_closed_in_its_place(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(standings={JobName("backup"): Standing(incident(), 1)}))
        closed = incident(closed=START + 9)
        book.commit(Turn(standings={JobName("backup"): Standing()}, closed=[closed]))
    with Reader(path) as reader:
        assert reader.incidents(JobName("backup"), 5) == [closed]


def test_an_empty_turn_writes_nothing(path: Path) -> None:
    with Ledger(path) as book:
        before = book._db.total_changes
        assert book.commit(Turn()) == []
        assert book._db.total_changes == before


# --- a replay is a no-op ---------------------------------------------------------------------


def test_a_replayed_turn_changes_nothing_but_the_verdicts_it_repeats(path: Path) -> None:
    turn = whole_turn()
    with Ledger(path) as book:
        book.commit(turn)
        before = contents(path)
        turn.judgements = []
        book.commit(turn)
        assert contents(path) == before


def test_a_run_that_was_judged_is_never_open_again(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        begun = run(ended=False)
        book.commit(Turn(runs={begun.id: begun}))
        assert book.open_runs() == []
        assert book.after(0)[0].judgement.run == run()


def test_a_run_keeps_its_number_from_its_start_to_its_verdict(path: Path) -> None:
    begun = run(ended=False)
    with Ledger(path) as book:
        book.commit(Turn(runs={begun.id: begun}))
        ((number, *_),) = contents(path)["run"]
        book.commit(Turn(judgements=[judgement()]))
        ((again, *_),) = contents(path)["run"]
        assert number == again
        assert book.open_runs() == []


def test_sequence_numbers_are_never_used_again(path: Path) -> None:
    with Ledger(path) as book:
        assert book.commit(Turn(judgements=[judgement(number=n) for n in range(3)])) == [1, 2, 3]
        book._db.execute("DELETE FROM verdict WHERE seq = 3")
    with Ledger(path) as book:
        assert book.commit(Turn(judgements=[judgement(number=3)])) == [4]


# --- all or nothing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table", ["job", "run", "attempt", "verdict", "incident", "outbox", "progress"]
)
@pytest.mark.parametrize("what", ["INSERT", "UPDATE"])
def test_an_error_anywhere_leaves_nothing_of_the_turn(path: Path, table: str, what: str) -> None:
    with Ledger(path) as book:
        book.commit(Turn(deliveries=[delivery("m0")]))
        before = contents(path)
        book._db.execute(
            f"CREATE TEMP TRIGGER injected BEFORE {what} ON main.{table}"
            " BEGIN SELECT RAISE(FAIL, 'injected'); END"
        )
        never = (table, what) in {
            ("progress", "INSERT"),
            ("run", "UPDATE"),
            ("attempt", "UPDATE"),
            ("verdict", "UPDATE"),
            ("incident", "UPDATE"),
        }
        if never:
            return
        with pytest.raises(LedgerError, match="injected"):
            book.commit(whole_turn())
        assert contents(path) == before
        book._db.execute("DROP TRIGGER injected")
        book.commit(whole_turn())
        assert len(book.jobs()) == 2


def test_a_failed_turn_leaves_no_memory_of_jobs_that_were_not_written(path: Path) -> None:
    with Ledger(path) as book:
        book._db.execute(
            "CREATE TEMP TRIGGER injected BEFORE INSERT ON main.verdict"
            " BEGIN SELECT RAISE(FAIL, 'injected'); END"
        )
        with pytest.raises(LedgerError):
            book.commit(Turn(judgements=[judgement("a")]))
        book._db.execute("DROP TRIGGER injected")
        book.commit(Turn(judgements=[judgement("b")]))
        book.commit(Turn(judgements=[judgement("a")]))
        last = {row.name: row.last for row in book.jobs()}
        for name in ("a", "b"):
            stored = last[JobName(name)]
            assert stored is not None
            assert stored.judgement == judgement(name)


def test_a_full_disk_costs_the_turn_and_nothing_else(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        before = contents(path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = Path(f"{path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5_000, limits[1]))
        try:
            with pytest.raises(LedgerError, match="could not be committed") as refusal:
                book.commit(Turn(judgements=[judgement(number=n) for n in range(1, 500)]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert refusal.value.hint is not None
        assert contents(path) == before
        assert book.commit(Turn(judgements=[judgement(number=1)])) == [2]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_file_system_costs_the_turn_and_nothing_else(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path[:0] = [{SOURCES!r}, {str(Path.cwd())!r}]
from tests.unit.test_ledger import *
path = Path({str(tmp_path)!r}, "ledger.db")
with Ledger(path) as book:
    book.commit(Turn(judgements=[judgement()]))
    number = 1
    try:
        while True:
            book.commit(Turn(judgements=[judgement(number=number)]))
            number += 1
    except LedgerError as error:
        assert "full" in str(error), error
    assert len(book.after(0)) == number
with Ledger(path) as book:
    assert len(book.after(0)) == number > 10
print("as it was")
"""
    mount = f"mount -t tmpfs -o size=600k tmpfs {tmp_path} && exec {sys.executable} -c '$0'"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount.replace("'$0'", '"$0"'), script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "permission denied" in result.stderr:
        pytest.skip("mounting is not permitted here")
    assert result.stdout == "as it was\n", result.stderr


# --- what is refused, and left as it is ------------------------------------------------------


def refused(path: Path) -> LedgerError:
    """Neither end takes it, and not a byte of it changes."""
    before = files(path)
    for end in (Ledger, Reader):
        with pytest.raises(LedgerError) as refusal:
            end(path)
        assert str(path) in refusal.value.fault
        assert files(path) == before
    return refusal.value


def test_a_ledger_is_made_from_nothing_and_found_again(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(whole_turn())
    assert path.stat().st_mode & 0o777 == 0o640
    with Ledger(path) as book:
        assert len(book.jobs()) == 2
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (ledger.SCHEMA,)
    db.close()


def test_every_version_is_reached_from_nothing() -> None:
    assert sorted(ledger.MIGRATIONS) == list(range(1, ledger.SCHEMA + 1))


def test_a_newer_schema_is_refused(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {ledger.SCHEMA + 1}")
    db.close()
    error = refused(path)
    assert (
        f"schema {ledger.SCHEMA + 1}, and this program knows schema {ledger.SCHEMA}" in error.fault
    )
    assert "left as it is" in (error.hint or "")


def test_a_newer_schema_is_refused_beside_the_log_of_a_daemon_that_was_killed(path: Path) -> None:
    write_and_be_killed(path)
    copy = path.with_name("copy")
    copy.mkdir()
    shutil.copyfile(f"{path}-wal", copy / "ledger.db-wal")
    shutil.copyfile(path, copy / "ledger.db")
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {ledger.SCHEMA + 1}")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", copy / f"ledger.db{suffix}")
    db.close()
    assert "schema 2" in refused(copy / "ledger.db").fault


def test_somebody_elses_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    assert "not a ledger of outcomed" in refused(path).fault


@pytest.mark.parametrize("size", [1, 100, 5_000, 20_000])
def test_a_truncated_file_is_refused(path: Path, size: int) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement(number=n) for n in range(200)]))
    os.truncate(path, size)
    before = files(path)
    with pytest.raises(LedgerError):
        Ledger(path)
    assert files(path) == before


def test_a_garbled_file_is_refused(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement(number=n) for n in range(200)]))
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 8_192)
    before = files(path)
    with pytest.raises(LedgerError) as refusal:
        Ledger(path)
    assert refusal.value.hint is None or "left as it is" in refusal.value.hint
    assert files(path) == before


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    assert "not a database" in refused(path).fault


def test_a_body_that_cannot_be_unpacked_is_said(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        book._db.execute("UPDATE verdict SET body = x'01ffffffff'")
        with pytest.raises(LedgerError, match="unpacked"):
            book.jobs()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdict SET body = 'text'",
        "UPDATE verdict SET body = 7",
        "UPDATE verdict SET verdict = 'nice'",
        "UPDATE run SET body = x'00'",
        "UPDATE job SET standing = x'5b5b5b'",
        "UPDATE job SET standing = '{\"incident\": 1e400}'",
        "UPDATE job SET config = CAST(x'ff' AS TEXT)",
        "UPDATE job SET sample = 1.5",
    ],
)
def test_what_sqlite_does_not_see_is_said_as_damage(path: Path, statement: str) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        book._db.execute(statement)
        with pytest.raises(LedgerError, match="the ledger "):
            book.jobs()


def test_a_body_that_would_fill_the_memory_is_not_unpacked(path: Path) -> None:
    bomb = ledger._pack(b" " * (ledger._BODY_LIMIT + 1), None)
    assert len(bomb) < 100_000
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        book._db.execute("UPDATE verdict SET body = ?", (bomb,))
        with pytest.raises(LedgerError, match="a body that is cut, or of over 64M"):
            book.jobs()


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        Ledger(tmp_path / "nowhere" / "ledger.db")


def test_a_reader_says_where_nothing_is(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger") as refusal:
        Reader(path)
    assert "outcomed.service" in (refusal.value.hint or "")
    path.touch()
    with pytest.raises(LedgerError, match="not a ledger"):
        Reader(path)


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    path.touch()
    with Ledger(path) as book:
        assert book.jobs() == []


# --- readers ---------------------------------------------------------------------------------


def test_a_reader_beside_a_living_writer_sees_what_was_committed(path: Path) -> None:
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
        with Reader(path) as reader:
            assert len(reader.history(JobName("backup"), 9)) == 1
            book.commit(Turn(judgements=[judgement(number=1)]))
            assert len(reader.history(JobName("backup"), 9)) == 2


def test_a_reader_stops_no_writer(path: Path) -> None:
    with Ledger(path) as book, Reader(path) as reader:
        rows = reader._db.execute("SELECT * FROM progress")
        rows.fetchone()
        book.commit(whole_turn())
        assert reader.jobs()


def write_and_be_killed(path: Path) -> None:
    """A writer that commits three verdicts and is killed, with the last ones in the log alone."""
    script = f"""
import sys; sys.path[:0] = [{SOURCES!r}, {str(Path.cwd())!r}]
from tests.unit.test_ledger import *
book = Ledger(Path({str(path)!r}))
book.commit(Turn(judgements=[judgement()]))
book._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
book.commit(Turn(judgements=[judgement(number=1)]))
book.commit(Turn(judgements=[judgement(number=2)]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", script], check=False)
    assert result.returncode == -signal.SIGKILL
    assert Path(f"{path}-wal").stat().st_size > 0


def newest(path: Path) -> list[Judgement]:
    with Reader(path) as reader:
        return [stored.judgement for stored in reader.history(JobName("backup"), 1)]


def test_a_reader_sees_the_newest_verdict_of_a_writer_that_was_killed(path: Path) -> None:
    write_and_be_killed(path)
    assert newest(path) == [judgement(number=2)]
    with Ledger(path) as book:
        assert len(book.after(0)) == 3


def test_a_reader_sees_the_newest_verdict_without_the_shared_memory(path: Path) -> None:
    write_and_be_killed(path)
    Path(f"{path}-shm").unlink()
    assert newest(path) == [judgement(number=2)]


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may read, as far as the root of the file system."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def newest_for_another_user(path: Path) -> int:
    """The number of the newest verdict, as a process of nobody reads it; 255 if it cannot."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with Reader(path) as reader:
                code = reader.history(JobName("backup"), 1)[0].seq
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("shared_memory", [True, False])
def test_another_user_sees_the_newest_verdict(public: Path, shared_memory: bool) -> None:
    path = public / "ledger.db"
    write_and_be_killed(path)
    if not shared_memory:
        Path(f"{path}-shm").unlink()
    for file in public.iterdir():
        file.chmod(0o644)
    before = files(path)
    assert newest_for_another_user(path) == 3
    assert files(path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_who_may_not_read_is_told_who_may(path: Path) -> None:
    Ledger(path).close()
    path.chmod(0)
    with pytest.raises(LedgerError, match="permission denied") as refusal:
        Reader(path)
    assert "adm" in (refusal.value.hint or "")


def test_a_name_with_uri_characters_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d.db"
    with Ledger(path) as book:
        book.commit(Turn(judgements=[judgement()]))
    assert newest(path) == [judgement()]


# --- figures ---------------------------------------------------------------------------------


def test_a_typical_run_takes_no_more_than_400_bytes(path: Path) -> None:
    runs, jobs = 10_000, 200
    names = [f"job-{number}" for number in range(jobs)]
    began = time.monotonic()
    with Ledger(path) as book:
        book._db.execute("PRAGMA synchronous = OFF")
        for first in range(0, runs, 500):
            turn = Turn()
            for number in range(first, first + 500):
                one = judgement(names[number % jobs], number // jobs)
                assert one.run.invocation is not None
                turn.judgements.append(one)
                turn.attempts.append((one.run.job, one.run.id, one.run.invocation, 1))
                turn.standings[one.run.job] = Standing()
            book.commit(turn)
        wrote = time.monotonic() - began
        began = time.monotonic()
        assert len(book.jobs()) == jobs
        read = time.monotonic() - began
    a_run = (path.stat().st_size - jobs * 1_000) / runs
    print(f"{path.stat().st_size / runs:.0f} bytes a run, of which samples: {jobs * 1000 / runs}")
    print(f"{runs / wrote:.0f} runs a second in big turns; jobs() of {jobs}: {read * 1000:.1f} ms")
    assert a_run < 400
    assert read < 1


def test_a_turn_is_committed_durably_many_times_a_second(path: Path) -> None:
    with Ledger(path) as book:
        assert book._db.execute("PRAGMA synchronous").fetchone() == (2,)
        began = time.monotonic()
        for number in range(50):
            book.commit(Turn(judgements=[judgement(number=number)]))
        print(f"{50 / (time.monotonic() - began):.0f} commits a second")


@pytest.mark.parametrize(
    "output", [None, Completeness(), Completeness("journald dropped 3"), Completeness("", "next")]
)
def test_completeness_of_the_output_is_kept_with_the_verdict(
    tmp_path: Path, output: Completeness | None
) -> None:
    one = replace(judgement(), output=output)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.commit(Turn(judgements=[one]))
    with Reader(tmp_path / "ledger.db") as reader:
        (stored,) = reader.history(one.run.job, 1)
    assert stored.judgement == one


def test_body_of_a_verdict_from_before_completeness_was_kept_can_be_read() -> None:
    old = b'{"reason":"held","summary":"fine","steps":["dump"],"witness":"live"}'
    assert msgspec.json.decode(old, type=Body).output is None


def later(one: Judgement, verdict: Verdict) -> Judgement:
    return replace(one, verdict=verdict, witness="by-hand", at=Usec(one.at + 1))


def test_the_good_runs_are_those_whose_newest_verdict_is_good(path: Path) -> None:
    every = [judgement(number=number) for number in range(9)]
    every[2] = replace(every[2], verdict=Verdict.SILENT_FAILURE)
    every[4] = replace(every[4], verdict=Verdict.ALREADY_DONE)
    every[6] = replace(every[6], verdict=Verdict.UNKNOWN)
    others = [judgement("other", number) for number in range(3)]
    with Ledger(path) as ledger:
        ledger.commit(Turn(judgements=[*every, *others]))
        ledger.commit(Turn(judgements=[later(every[2], Verdict.ACCEPTED)]))
        ledger.commit(Turn(judgements=[later(every[7], Verdict.UNKNOWN)]))
        name = JobName("backup")

        def numbers(limit: int, before: int | None = None) -> list[int]:
            at = None if before is None else every[before].run.started
            found = ledger.good_runs(name, limit, at)
            with Reader(path) as reader:
                assert reader.good_runs(name, limit, at) == found
            return [[one.run.id for one in every].index(one.run.id) for one in found]

        assert numbers(100) == [8, 5, 3, 2, 1, 0]
        assert numbers(2) == [8, 5]
        assert numbers(100, before=5) == [3, 2, 1, 0]
        assert ledger.good_runs(name, 100)[3].verdict is Verdict.ACCEPTED
        assert ledger.good_runs(JobName("nobody"), 100) == []


def test_the_search_for_good_runs_has_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOOK_BACK", 3)
    bad = [replace(judgement(number=n), verdict=Verdict.FAILED) for n in (1, 2, 3)]
    with Ledger(path) as one:
        one.commit(Turn(judgements=[judgement(), *bad]))
        assert one.good_runs(JobName("backup"), 100) == []


def test_another_run_that_began_then_is_found_among_the_newest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = [judgement("backup", number) for number in range(3)]
    first, second, third = (one.run for one in judged)
    with Ledger(path) as db:
        db.commit(Turn(judgements=[*judged, judgement("other")]))
        at = first.started
        assert at is not None
        assert db.began_between(third, at, at)
        assert not db.began_between(first, at, at), "itself, and another job's"
        assert not db.began_between(third, at - 2, at - 1)
        monkeypatch.setattr(ledger, "LOOK_BACK", 2)
        assert not db.began_between(third, at, at)
        assert second.started is not None
        assert db.began_between(third, second.started, second.started)


def test_a_later_verdict_stands_beside_the_first_and_in_its_place(path: Path) -> None:
    bad = [replace(judgement(number=n), verdict=Verdict.SILENT_FAILURE) for n in range(3)]
    word = replace(
        later(bad[2], Verdict.ACCEPTED), by="alice", was=bad[2].verdict, summary="it is right"
    )
    with Ledger(path) as one:
        one.commit(Turn(judgements=[*bad, judgement("other")]))
        one.commit(Turn(judgements=[word]))
        assert [each.judgement for each in one.verdicts_on(word.run.id)] == [bad[2], word]
        assert one.verdicts_on(run("nobody").id) == []
        assert one.jobs()[0].last is not None
        assert one.jobs()[0].last.judgement == word


def test_a_word_on_an_older_run_does_not_make_it_the_last(path: Path) -> None:
    bad = [replace(judgement(number=n), verdict=Verdict.SILENT_FAILURE) for n in range(3)]
    with Ledger(path) as one:
        one.commit(Turn(judgements=bad))
        one.commit(Turn(judgements=[later(bad[0], Verdict.ACCEPTED)]))
        row = one.jobs()[0]
        assert row.last is not None
        assert row.last.judgement == bad[2]
        one.commit(Turn(judgements=[later(bad[2], Verdict.ACCEPTED)]))
        one.commit(Turn(judgements=[judgement(number=3)]))
        row = one.jobs()[0]
        assert row.last is not None
        assert row.last.judgement == judgement(number=3)


def missed_at(at: int) -> Judgement:
    """A slot of a time in which nobody looked, found afterwards."""
    one = judgement()
    key = f"slot:backup.timer:{at}"
    slot = Run(run_id(one.run.job, key), one.run.job, one.run.unit, key, one.run.boot)
    return replace(
        one, run=replace(slot, slot=Usec(at)), verdict=Verdict.MISSED, witness="replayed"
    )


def test_a_slot_that_is_found_late_is_the_last_only_if_no_run_came_after_it(path: Path) -> None:
    good = judgement(number=2)
    assert good.run.started is not None
    with Ledger(path) as one:
        one.commit(Turn(judgements=[missed_at(START)]))
        assert one.jobs()[0].last is not None
        one.commit(Turn(judgements=[good]))
        one.commit(Turn(judgements=[missed_at(good.run.started - 1)]))
        (row,) = one.jobs()
        assert row.last is not None
        assert row.last.judgement == good
        one.commit(Turn(judgements=[missed_at(good.run.started + 1)]))
        (row,) = one.jobs()
        assert row.last is not None
        assert row.last.judgement == missed_at(good.run.started + 1)


def test_what_was_judged_of_the_runs_since_a_moment_comes_as_it_stands(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [replace(judgement(number=n), verdict=Verdict.FAILED) for n in range(5)]
    began = every[2].run.started
    assert began is not None
    with Ledger(path) as one:
        one.commit(Turn(judgements=[*every, judgement("other"), missed_at(began)]))
        one.commit(Turn(judgements=[later(every[3], Verdict.ACCEPTED)]))
        found = one.judged_since(every[0].run.job, began)
        assert found == [every[2], later(every[3], Verdict.ACCEPTED), every[4]]
        assert one.judged_since(JobName("nobody"), Usec(0)) == []
        monkeypatch.setattr(ledger, "LOOK_BACK", 2)  # the slot is one of them
        assert one.judged_since(every[0].run.job, began) == [every[4]]


def test_the_incident_that_was_open_at_a_moment_is_found(path: Path) -> None:
    first = Incident("1", JobName("backup"), Usec(10), Verdict.FAILED, "", "", None)
    second = replace(first, id="2", opened=Usec(30))
    with Ledger(path) as one:
        assert one.incident_at(first.job, Usec(15)) is None
        one.commit(Turn(standings={first.job: Standing(first)}))
        assert one.incident_at(first.job, Usec(15)) == first
        closed = replace(first, closed=Usec(20))
        one.commit(Turn(closed=[closed], standings={first.job: Standing(second)}))
        found = [one.incident_at(first.job, Usec(at)) for at in (5, 15, 25, 35)]
        assert found == [None, closed, None, second]
        assert one.incident_at(JobName("other"), Usec(15)) is None


def test_what_was_judged_after_a_run_is_known_by_its_last_verdict(path: Path) -> None:
    every = [replace(judgement(number=n), verdict=Verdict.FAILED) for n in range(5)]
    with Ledger(path) as one:
        one.commit(Turn(judgements=[*every, judgement("other")]))
        one.commit(Turn(judgements=[later(every[3], Verdict.ACCEPTED)]))
        one.commit(Turn(judgements=[later(every[1], Verdict.ACCEPTED)]))
        first = one.verdicts_on(every[1].run.id)[0]
        after = one.judged_after(first)
        assert [(each.run.id, each.verdict) for each in after] == [
            (every[2].run.id, Verdict.FAILED),
            (every[3].run.id, Verdict.ACCEPTED),
            (every[4].run.id, Verdict.FAILED),
        ]
        assert len(one.judged_after(first, 1)) == 1
        assert one.judged_after(one.verdicts_on(every[4].run.id)[0]) == []


def test_the_attempts_of_a_run_come_back_in_their_order(path: Path) -> None:
    turn = whole_turn()
    (run,) = turn.runs.values()
    ids = [InvocationId(f"{digit}" * 32) for digit in "9315"]
    turn.attempts = [(run.job, run.id, ident, number) for number, ident in enumerate(ids, 1)]
    with Ledger(path) as book:
        book.commit(turn)
        assert book.attempts(run.id) == ids
        assert book.attempts(turn.judgements[0].run.id) == []


def test_the_end_of_a_run_is_known_by_its_invocation(path: Path) -> None:
    turn = whole_turn()
    (judged,) = turn.judgements
    (under_way,) = turn.runs.values()
    ended, open_one = InvocationId("5" * 32), InvocationId("6" * 32)
    turn.attempts = [
        (judged.run.job, judged.run.id, ended, 1),
        (under_way.job, under_way.id, open_one, 1),
    ]
    with Ledger(path) as book:
        book.commit(turn)
        assert book.end_of(judged.run.job, ended) == judged.run.finished is not None
        assert book.end_of(under_way.job, open_one) is None
        assert book.end_of(judged.run.job, InvocationId("7" * 32)) is None


def test_what_timers_promise_and_what_came_of_it_comes_back(path: Path) -> None:
    timer = Timer(UnitName("backup.timer"), UnitName("backup.service"), calendar=("daily",))
    promise = Promise(timer, at=Usec(START + 9), settled=Usec(START))
    turn = whole_turn()
    (judged,) = turn.judgements
    job, run_of_it = judged.run.job, judged.run.id
    slots = [
        Slot(timer.unit, Usec(START + at), state, "why", run_of_it)
        for at, state in ((1, "skipped"), (2, "missed"))
    ]
    turn.promises = {job: (promise,)}
    turn.slots = [(job, slot) for slot in slots]
    with Ledger(path) as book:
        book.commit(turn)
        bound = Bound(run_of_it, "backup.timer", Usec(START + 3), is_inferred=True)
        late = replace(slots[1], state="late")
        book.commit(Turn(slots=[(job, late)], bound=[bound, replace(bound, run=RunId("0" * 32))]))
        (found,) = book.runs_since(job, Usec(0))
        assert (found.trigger, found.slot, found.is_inferred) == ("backup.timer", START + 3, True)
        assert found == replace(
            judged.run, trigger="backup.timer", slot=Usec(START + 3), is_inferred=True
        )
    with Reader(path) as reader:
        (row,) = [row for row in reader.jobs() if row.name == job]
        assert row.promises == (promise,)
        assert row.good == judged.at
        assert reader.slots(job, Usec(0), 9) == [late, slots[0]]
        assert reader.slots(job, Usec(START + 2), 9) == [late]


def test_a_run_that_is_overdue_stays_under_way_until_its_end_is_judged(path: Path) -> None:
    under_way = run(ended=False)
    overdue = replace(judgement(), run=under_way, verdict=Verdict.OVERDUE)
    with Ledger(path) as book:
        book.commit(Turn(judgements=[overdue]))
        assert [one.id for one in book.open_runs()] == [under_way.id]
        book.commit(Turn(judgements=[replace(overdue, verdict=Verdict.VERIFIED)]))
        assert book.open_runs() == []
        assert len(book.verdicts_on(under_way.id)) == 2
