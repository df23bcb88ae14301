"""What the daemon remembers: SQLite, and the only SQL there is.

One writer, the daemon; a turn is a transaction. `Turn` gathers what one turn changed, and
`Ledger.commit` writes all of it or nothing. Readers open the file through `Reader`, which refuses
a schema that is not its own and never returns an older truth than the file holds.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec.structs import replace

from outcomed.alerts import Standing
from outcomed.errors import LedgerError
from outcomed.model import (
    BootId,
    Completeness,
    Delivery,
    Finding,
    Incident,
    InvocationId,
    Job,
    JobName,
    Judgement,
    Klass,
    Record,
    Run,
    RunId,
    UnitName,
    Usec,
    Value,
    Verdict,
    run_id,
)
from outcomed.slots import Promise, Slot

if TYPE_CHECKING:
    import tempfile

APPLICATION_ID = 0x4F75_7463  # "Outc": what file(1) and we know the file by
SCHEMA = 2

# Migrations, by the version that they lead to. Append only: a ledger in the field has been
# through these very statements.
MIGRATIONS: dict[int, str] = {
    1: """
    CREATE TABLE job (
        n INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        config BLOB,                     -- the last good configuration, JSON; NULL: removed
        standing BLOB,                   -- alerts.Standing, JSON
        since INTEGER NOT NULL DEFAULT 0, -- watched since then: what was before is history
        last_trigger INTEGER NOT NULL DEFAULT 0,
        last_verdict INTEGER,            -- verdict.seq, so that status needs no search
        sample BLOB                      -- what its bodies are packed with; never changed
    );
    CREATE TABLE run (
        n INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        job INTEGER NOT NULL REFERENCES job,
        started INTEGER,
        open INTEGER,                    -- 1 while it is not judged, else NULL
        body BLOB NOT NULL               -- the rest of model.Run, packed JSON
    );
    CREATE INDEX run_of_job ON run (job, n);
    CREATE INDEX run_open ON run (open) WHERE open IS NOT NULL;
    CREATE TABLE attempt (
        invocation BLOB NOT NULL,
        job INTEGER NOT NULL,
        run INTEGER NOT NULL REFERENCES run,
        number INTEGER NOT NULL,
        PRIMARY KEY (invocation, job)
    ) WITHOUT ROWID;
    CREATE TABLE verdict (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL REFERENCES run,
        at INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        body BLOB NOT NULL               -- reason, summary, findings, …, packed JSON
    );
    CREATE INDEX verdict_of_run ON verdict (run);
    CREATE TABLE incident (
        id TEXT PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES job,
        opened INTEGER NOT NULL,
        closed INTEGER,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX incident_of_job ON incident (job, opened);
    CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        sink TEXT NOT NULL,
        created INTEGER NOT NULL,
        done INTEGER,                    -- when the delivery process reported it as taken
        refused TEXT,                    -- why it was given up
        body BLOB                        -- model.Delivery, JSON; NULL once it is done
    ) WITHOUT ROWID;
    CREATE INDEX outbox_due ON outbox (created) WHERE done IS NULL;
    CREATE TABLE progress (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        cursor TEXT NOT NULL,
        boot TEXT NOT NULL,
        at INTEGER NOT NULL,
        told INTEGER NOT NULL            -- verdict.seq up to which journal lines were written
    );
    INSERT INTO progress VALUES (1, '', '', 0, 0);
    """,
    2: """
    ALTER TABLE job ADD COLUMN promises BLOB; -- slots.Promise of each timer, JSON
    ALTER TABLE job ADD COLUMN good INTEGER;  -- when its last good verdict was reached
    CREATE TABLE slot (                       -- but those whose run says everything
        job INTEGER NOT NULL REFERENCES job,
        at INTEGER NOT NULL,
        timer TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        run BLOB,                             -- run.id: what answered it, or ran instead
        body BLOB NOT NULL,                   -- slots.Slot, JSON
        PRIMARY KEY (job, at, timer)
    ) WITHOUT ROWID;
    """,
}


# What reading a damaged file raises, of several libraries.
FAULTS = (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, RecursionError)


@contextmanager
def _undamaged() -> Iterator[None]:
    """SQLite checks its own pages, and not what we have put into them: a body may be cut, a column
    of another type, a text not UTF-8."""
    try:
        yield
    except FAULTS as error:
        raise LedgerError(
            f"the ledger cannot be read: {error}",
            hint="it is left as it is; where it is damaged, move it aside to begin a new one",
        ) from error


class Body(Record, frozen=True):
    """What of a verdict is stored as JSON."""

    reason: str
    summary: str
    findings: tuple[Finding, ...] = ()
    steps: tuple[str, ...] = ()
    report: dict[str, Value] = msgspec.field(default_factory=dict)
    rules_hash: str = ""
    witness: str = "live"
    output: Completeness | None = None
    by: str = ""
    was: Verdict | None = None


class Progress(Record, frozen=True):
    """How far the journal was read, and how far the world was told."""

    cursor: str
    boot: BootId
    at: Usec
    told: int


class JobRow(Record, frozen=True):
    """One job as the ledger knows it."""

    name: JobName
    config: Job | None
    standing: Standing
    since: Usec = Usec(0)
    last_trigger: Usec = Usec(0)
    last: Stored | None = None
    promises: tuple[Promise, ...] = ()
    good: Usec | None = None  # when the last good verdict was reached


class Stored(Record, frozen=True):
    """A judgement with its sequence number."""

    seq: int
    judgement: Judgement


class Bound(Record, frozen=True):
    """What was found out about a run's beginning after it was recorded."""

    run: RunId
    trigger: str
    slot: Usec
    is_inferred: bool = False


class Turn(msgspec.Struct):
    """What one turn changed, waiting to be committed."""

    runs: dict[RunId, Run] = {}  # under way
    attempts: list[tuple[JobName, RunId, InvocationId, int]] = []
    judgements: list[Judgement] = []
    standings: dict[JobName, Standing] = {}
    closed: list[Incident] = []
    triggers: dict[JobName, Usec] = {}
    configs: dict[JobName, Job | None] = {}
    since: dict[JobName, Usec] = {}
    promises: dict[JobName, tuple[Promise, ...]] = {}
    slots: list[tuple[JobName, Slot]] = []
    bound: list[Bound] = []
    deliveries: list[Delivery] = []
    delivered: list[tuple[str, Usec, str]] = []  # id, when, refused
    progress: Progress | None = None

    @property
    def is_empty(self) -> bool:
        return not any(
            (
                self.runs,
                self.attempts,
                self.judgements,
                self.standings,
                self.closed,
                self.triggers,
                self.configs,
                self.since,
                self.promises,
                self.slots,
                self.bound,
                self.deliveries,
                self.delivered,
                self.progress,
            )
        )


# --- packing ---------------------------------------------------------------------------------
# Verdicts are kept for years, and those of one job say nearly the same in nearly the same words:
# deflated with the first of them as dictionary, a run of four rules takes 300 bytes instead of
# 1,600.

_PLAIN, _WITH_SAMPLE = b"\0", b"\1"
_SAMPLE_LIMIT = 8192
_SMALL = 6  # zlib's memory level: tables for a few kB, which take longer to clear than to use
_BODY_LIMIT = 64 << 20  # bytes; what is longer was not written by us
_WORDS = (
    b'"key":"","exit_code":"killed","exit_status":"command":"ExecStartPre","attempts":2,'
    b'"steps":["report":{"witness":"replayed","unknown","broken","path":"matches":1,"size":'
    b'"mtime":"line":"duration_s":"it exited well, no rule looked at its outcome","unproven"'
    b'"no-rule","it exited with status 1","failed","exit-code","result":"signal","rules_hash":"'
    b'{"id":"","job":"","unit":"","key":"","boot":"","invocation":"","trigger":"none","slot":17'
    b'"started":17"finished":17"duration":"result":"success","exit_code":"exited","exit_status":0}'
    b'{"reason":"held","summary":" (and 1 more)","findings":[{"rule":"result","state":"held",'
    b'"summary":"it exited well","evidence":{"result":"success","exit_status":0}},'
    b'{"rule":"outcome[0].artifact","state":"held","summary":"/'
)


def _pack(data: bytes, sample: bytes | None) -> bytes:
    deflate = zlib.compressobj(
        9, zlib.DEFLATED, -15, _SMALL, zlib.Z_DEFAULT_STRATEGY, _dictionary(sample)
    )
    mark = _PLAIN if sample is None else _WITH_SAMPLE
    return mark + deflate.compress(data) + deflate.flush()


def _unpack(data: bytes, sample: bytes | None) -> bytes:
    if data[:1] == _PLAIN:
        sample = None
    inflate = zlib.decompressobj(-15, _dictionary(sample))
    try:
        unpacked = inflate.decompress(data[1:], _BODY_LIMIT)
    except zlib.error as error:
        raise LedgerError(f"the ledger holds what cannot be unpacked: {error}") from error
    if not inflate.eof:
        raise LedgerError(f"the ledger holds a body that is cut, or of over {_BODY_LIMIT >> 20}M")
    return unpacked


def _dictionary(sample: bytes | None) -> bytes:
    return _WORDS + (sample or b"")


def _pack_run(run: Run, sample: bytes | None) -> bytes:
    """Without what its row or its other fields say."""
    short = replace(
        run,
        id=RunId(""),
        job=JobName(""),
        unit=UnitName("") if run.unit == f"{run.job}.service" else run.unit,
        key="" if run.key == run.invocation else run.key,
        last_invocation=None if run.last_invocation == run.invocation else run.last_invocation,
    )
    return _pack(_encode(short), sample)


def _unpack_run(data: bytes, job: str, sample: bytes | None) -> Run:
    run = _run(_unpack(data, sample))
    key = run.key or run.invocation or ""
    return replace(
        run,
        id=run_id(JobName(job), key),
        job=JobName(job),
        unit=run.unit or UnitName(f"{job}.service"),
        key=key,
        last_invocation=run.last_invocation or run.invocation,
    )


_encode = msgspec.json.encode
_job = msgspec.json.Decoder(Job).decode
_standing = msgspec.json.Decoder(Standing).decode
_run = msgspec.json.Decoder(Run).decode
_body = msgspec.json.Decoder(Body).decode
_incident = msgspec.json.Decoder(Incident).decode
_delivery = msgspec.json.Decoder(Delivery).decode
_promises = msgspec.json.Decoder(tuple[Promise, ...]).decode
_slot = msgspec.json.Decoder(Slot).decode


class Ledger:
    """The writer's end. There is one, and it belongs to the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Killed in its very first moment: SQLite has to roll that back before anybody can read it.
        half_made = Path(f"{path}-journal").exists()
        if not half_made:
            _refuse_unfit(path)
        self._db = _connect_writer(path)
        try:
            if half_made:
                _check_identity(self._db, path, writable=True)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # The pages that are written to are few; more would be kept after each catch-up.
            self._db.execute("PRAGMA cache_size=-512")
            _migrate(self._db)
            self._jobs: dict[JobName, int] = {}
            self._samples: dict[JobName, bytes | None] = {}
            self._recall()
        except (sqlite3.DatabaseError, LedgerError) as error:
            self._db.close()
            raise _refusal(path, error) from error

    def _recall(self) -> None:
        rows = self._db.execute("SELECT name, n, sample FROM job").fetchall()
        self._jobs = {JobName(name): n for name, n, _ in rows}
        self._samples = {JobName(name): sample for name, _, sample in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def commit(self, turn: Turn) -> list[int]:
        """Write one turn. Returns the sequence numbers of its judgements, in order."""
        if turn.is_empty:
            return []
        try:
            with self._transaction() as db:
                return self._write(db, turn)
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self._path}: the turn could not be committed: {error}",
                hint="nothing of it was written; is the disk full?",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite itself may have rolled back, as on a full disk
                self._db.rollback()
            self._recall()
            raise

    def _write(self, db: sqlite3.Connection, turn: Turn) -> list[int]:
        for name, config in turn.configs.items():
            db.execute(
                "UPDATE job SET config = ? WHERE n = ?",
                (None if config is None else _encode(config), self._job_number(name)),
            )
        for name in (name for name, config in turn.configs.items() if config is None):
            # Nobody will judge what still runs of a job that is gone.
            db.execute(
                "UPDATE run SET open = NULL WHERE open = 1 AND job = ?",
                (self._job_number(name),),
            )
        for name, at in turn.since.items():
            db.execute("UPDATE job SET since = ? WHERE n = ?", (at, self._job_number(name)))
        for run in turn.runs.values():
            self._put_run(run, is_open=True)
        # Before the attempts: a run that began and ended in one turn has its row from here.
        seqs = [self._put_judgement(db, judgement) for judgement in turn.judgements]
        for name, ident, invocation, number in turn.attempts:
            db.execute(
                "INSERT OR IGNORE INTO attempt SELECT ?, ?, n, ? FROM run WHERE id = ?",
                (
                    bytes.fromhex(invocation),
                    self._job_number(name),
                    number,
                    bytes.fromhex(ident),
                ),
            )
        for name, standing in turn.standings.items():
            number = self._job_number(name)
            db.execute("UPDATE job SET standing = ? WHERE n = ?", (_encode(standing), number))
            if standing.incident is not None:
                self._put_incident(db, standing.incident)
        for incident in turn.closed:
            self._put_incident(db, incident)
        self._put_promises(db, turn)
        for name, at in turn.triggers.items():
            db.execute("UPDATE job SET last_trigger = ? WHERE n = ?", (at, self._job_number(name)))
        db.executemany(
            "INSERT OR IGNORE INTO outbox (id, sink, created, body) VALUES (?, ?, ?, ?)",
            [(one.id, one.sink, one.created, _encode(one)) for one in turn.deliveries],
        )
        db.executemany(
            "UPDATE outbox SET done = ?, refused = ?, body = NULL WHERE id = ?",
            [(at, refused or None, ident) for ident, at, refused in turn.delivered],
        )
        if turn.progress is not None:
            progress = turn.progress
            db.execute(
                "UPDATE progress SET cursor = ?, boot = ?, at = ?, told = ?",
                (progress.cursor, progress.boot, progress.at, progress.told),
            )
        return seqs

    def _job_number(self, name: JobName) -> int:
        number = self._jobs.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO job (name) VALUES (?)", (name,))
            (number,) = self._db.execute("SELECT n FROM job WHERE name = ?", (name,)).fetchone()
            self._jobs[name] = number
        return number

    def _put_run(self, run: Run, *, is_open: bool) -> None:
        """A run that was judged stays so."""
        self._db.execute(
            "INSERT INTO run (id, job, started, open, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET started = excluded.started, open = excluded.open,"
            " body = excluded.body WHERE excluded.open IS NULL OR open IS NOT NULL",
            (
                bytes.fromhex(run.id),
                self._job_number(run.job),
                run.started,
                1 if is_open else None,
                _pack_run(run, self._samples.get(run.job)),
            ),
        )

    def _take_sample(self, job: JobName, run: Run, body: bytes) -> bytes:
        """The first judgement of a job is what its later ones are told apart from."""
        sample = (_encode(run) + body)[:_SAMPLE_LIMIT]
        number = self._job_number(job)
        self._db.execute("UPDATE job SET sample = ? WHERE n = ?", (sample, number))
        self._samples[job] = sample
        return sample

    def _put_judgement(self, db: sqlite3.Connection, judgement: Judgement) -> int:
        run = judgement.run
        body = _encode(
            Body(
                judgement.reason,
                judgement.summary,
                judgement.findings,
                judgement.steps,
                judgement.report,
                judgement.rules_hash,
                judgement.witness,
                judgement.output,
                judgement.by,
                judgement.was,
            )
        )
        sample = self._samples.get(run.job) or self._take_sample(run.job, run, body)
        self._put_run(run, is_open=not judgement.is_final)
        (seq,) = db.execute(
            "INSERT INTO verdict (run, at, verdict, body)"
            " SELECT n, ?, ?, ? FROM run WHERE id = ? RETURNING seq",
            (judgement.at, judgement.verdict, _pack(body, sample), bytes.fromhex(run.id)),
        ).fetchone()
        if judgement.verdict.klass is Klass.GOOD:
            db.execute(
                "UPDATE job SET good = max(coalesce(good, 0), ?) WHERE n = ?",
                (judgement.at, self._job_number(run.job)),
            )
        # A person's word on an older run does not make that the job's last; nor does a slot that
        # was found to be missed when a run after it was judged.
        db.execute(
            "UPDATE job SET last_verdict = ?1 WHERE n = ?2 AND (?3 OR last_verdict IN"
            " (SELECT seq FROM verdict WHERE run = (SELECT n FROM run WHERE id = ?4)))"
            " AND NOT EXISTS (SELECT 1 FROM verdict JOIN run ON run.n = verdict.run"
            " WHERE seq = last_verdict AND started > ?5)",
            (
                seq,
                self._job_number(run.job),
                judgement.witness != "by-hand",
                bytes.fromhex(run.id),
                judgement.past_slot,
            ),
        )
        return int(seq)

    def _put_promises(self, db: sqlite3.Connection, turn: Turn) -> None:
        for name, promises in turn.promises.items():
            number = self._job_number(name)
            db.execute("UPDATE job SET promises = ? WHERE n = ?", (_encode(promises), number))
        for name, slot in turn.slots:
            run = None if slot.run is None else bytes.fromhex(slot.run)
            db.execute(
                "INSERT OR REPLACE INTO slot VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._job_number(name),
                    slot.at,
                    slot.timer,
                    slot.state,
                    slot.reason,
                    run,
                    _encode(slot),
                ),
            )
        for bound in turn.bound:
            self._bind(db, bound)

    def _bind(self, db: sqlite3.Connection, bound: Bound) -> None:
        row = db.execute(
            "SELECT run.n, name, sample, body FROM run JOIN job ON job.n = run.job WHERE id = ?",
            (bytes.fromhex(bound.run),),
        ).fetchone()
        if row is None:
            return
        number, name, sample, body = row
        run = replace(
            _unpack_run(body, name, sample),
            trigger=bound.trigger,
            slot=bound.slot,
            is_inferred=bound.is_inferred,
        )
        packed = _pack_run(run, self._samples.get(run.job))
        db.execute("UPDATE run SET body = ? WHERE n = ?", (packed, number))

    def _put_incident(self, db: sqlite3.Connection, incident: Incident) -> None:
        db.execute(
            "INSERT INTO incident VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " closed = excluded.closed, body = excluded.body",
            (
                incident.id,
                self._job_number(incident.job),
                incident.opened,
                incident.closed,
                _encode(incident),
            ),
        )

    # What the daemon reads back when it starts, and on the way.

    @_undamaged()
    def progress(self) -> Progress:
        return _progress(self._db)

    @_undamaged()
    def jobs(self) -> list[JobRow]:
        return _jobs(self._db)

    @_undamaged()
    def open_runs(self) -> list[Run]:
        return _open_runs(self._db)

    @_undamaged()
    def attempts(self, run: RunId) -> list[InvocationId]:
        """The attempts of a run, in order. Searches all there are: for the few that are open."""
        rows = self._db.execute(
            "SELECT invocation FROM attempt WHERE run = (SELECT n FROM run WHERE id = ?)"
            " ORDER BY number",
            (bytes.fromhex(run),),
        )
        return [InvocationId(invocation.hex()) for (invocation,) in rows]

    @_undamaged()
    def knows_run(self, run_id: RunId) -> bool:
        """Whether this run was judged: what is still told about it is old news."""
        row = self._db.execute(
            "SELECT 1 FROM run WHERE id = ? AND open IS NULL", (bytes.fromhex(run_id),)
        ).fetchone()
        return row is not None

    @_undamaged()
    def judged(self, job: JobName, invocation: InvocationId) -> bool:
        """Whether this invocation belongs to a run that was judged."""
        row = self._db.execute(
            "SELECT 1 FROM attempt JOIN run ON run.n = attempt.run"
            " WHERE invocation = ? AND attempt.job = ? AND open IS NULL",
            (bytes.fromhex(invocation), self._jobs.get(job, -1)),
        ).fetchone()
        return row is not None

    @_undamaged()
    def end_of(self, job: JobName, invocation: InvocationId) -> Usec | None:
        """When the run of this invocation ended; None where that is not known."""
        row = self._db.execute(
            "SELECT body FROM attempt JOIN run ON run.n = attempt.run"
            " WHERE invocation = ? AND attempt.job = ?",
            (bytes.fromhex(invocation), self._jobs.get(job, -1)),
        ).fetchone()
        if row is None:
            return None
        return _unpack_run(row[0], job, self._samples.get(job)).finished

    @_undamaged()
    def verdicts_on(self, run: RunId) -> list[Stored]:
        """Every verdict that was reached on this run, in order: the last one stands."""
        return _stored(self._db, "WHERE run.id = ? ORDER BY seq", (bytes.fromhex(run),))

    @_undamaged()
    def judged_after(self, first: Stored, limit: int = 200) -> list[Judgement]:
        """What stands of the job's runs that were first judged after this, the newest ones.

        By the order of verdicts, back from now (`+` keeps SQLite from going by the job's runs):
        rarely is anything accepted but what has just gone wrong.
        """
        run = first.judgement.run
        newest = _stored(
            self._db,
            "WHERE +run.job = ?1 AND seq > ?2 AND NOT EXISTS"
            " (SELECT 1 FROM verdict AS earlier WHERE earlier.run = run.n AND earlier.seq <= ?2)"
            " ORDER BY seq DESC LIMIT ?3",
            (self._jobs.get(run.job, -1), first.seq, limit),
        )
        return _standing_ones(reversed(newest))

    @_undamaged()
    def judged_since(self, job: JobName, begin: Usec) -> list[Judgement]:
        """What stands of the job's runs that began since then, the newest ones."""
        found = _stored(
            self._db,
            "WHERE run.n IN (SELECT n FROM run WHERE job = ? ORDER BY n DESC LIMIT ?)"
            " AND started >= ? ORDER BY seq",
            (self._jobs.get(job, -1), LOOK_BACK, begin),
        )
        return _standing_ones(found)

    @_undamaged()
    def incident_at(self, job: JobName, at: Usec) -> Incident | None:
        """What was open at that moment."""
        row = self._db.execute(
            "SELECT body FROM incident WHERE job = ? AND opened < ? AND"
            " (closed IS NULL OR closed > ?) ORDER BY opened DESC LIMIT 1",
            (self._jobs.get(job, -1), at, at),
        ).fetchone()
        return None if row is None else _incident(row[0])

    @_undamaged()
    def due(self) -> list[Delivery]:
        """Deliveries that nobody has reported as taken, oldest first."""
        rows = self._db.execute("SELECT body FROM outbox WHERE done IS NULL ORDER BY created")
        return [_delivery(body) for (body,) in rows]

    @_undamaged()
    def after(self, seq: int) -> list[Stored]:
        """The judgements after this one, in order."""
        return _stored(self._db, "WHERE seq > ? ORDER BY seq", (seq,))

    @_undamaged()
    def good_runs(self, job: JobName, limit: int, before: Usec | None = None) -> list[Judgement]:
        """The newest runs of a job whose verdict stands as good, newest first."""
        return _good_runs(self._db, job, limit, before)

    @_undamaged()
    def runs_since(self, job: JobName, begin: Usec, limit: int = 2000) -> list[Run]:
        """The runs that began since then, and the one before them; newest first."""
        rows = self._db.execute(
            "SELECT started, body FROM run WHERE job = ? AND started IS NOT NULL"
            " ORDER BY n DESC LIMIT ?",
            (self._jobs.get(job, -1), limit),
        )
        found: list[Run] = []
        for started, body in rows:
            found.append(_unpack_run(body, job, self._samples.get(job)))
            if started < begin:
                break
        return found

    @_undamaged()
    def began_between(self, run: Run, begin: int, end: int) -> bool:
        """Whether one of the newest runs of its job, but this one, began then, by the clock on the
        wall."""
        row = self._db.execute(
            "SELECT 1 FROM (SELECT id, started FROM run WHERE job = ? ORDER BY n DESC LIMIT ?)"
            " WHERE id != ? AND started BETWEEN ? AND ? LIMIT 1",
            (self._jobs.get(run.job, -1), LOOK_BACK, bytes.fromhex(run.id), begin, end),
        ).fetchone()
        return row is not None

    @_undamaged()
    def previous_slot(self, job: JobName, before: Usec) -> Usec | None:
        """The newest elapse before this instant that one of the job's runs answered."""
        rows = self._db.execute(
            "SELECT body FROM run WHERE job = ? ORDER BY n DESC LIMIT 50",
            (self._jobs.get(job, -1),),
        )
        sample = self._samples.get(job)
        runs = (_unpack_run(body, job, sample) for (body,) in rows)
        slots = [run.slot for run in runs if run.slot is not None]
        return next((slot for slot in slots if slot < before), None)


class Reader:
    """Everybody else's end: read-only, and never an older truth than the files hold."""

    def __init__(self, path: Path) -> None:
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._db = self._open(path)
        try:
            _check_identity(self._db, path, writable=False)
        except (sqlite3.DatabaseError, LedgerError) as error:
            self.close()
            raise _refusal(path, error) from error

    def _open(self, path: Path) -> sqlite3.Connection:
        if not os.access(path, os.F_OK):
            raise LedgerError(
                f"{path}: there is no ledger",
                hint="has outcomed.service run on this node? 'systemctl status outcomed'",
            )
        if not os.access(path, os.R_OK):
            raise LedgerError(
                f"{path}: permission denied",
                hint="root and the members of group adm may read it",
            )
        wal = Path(f"{path}-wal")
        if not wal.exists():
            # Without a log the file is the whole truth, and needs no -shm that we may not write.
            return _connect_uri(path, "mode=ro&immutable=1")
        db = _connect_uri(path, "mode=ro")
        try:
            db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            # The daemon was killed: a log and nobody who holds it. Read a copy of both.
            db.close()
            return self._open_copy(path, wal)
        except sqlite3.DatabaseError as error:
            db.close()
            raise _refusal(path, error) from error
        return db

    def _open_copy(self, path: Path, wal: Path) -> sqlite3.Connection:
        import shutil
        import tempfile

        self._copy = tempfile.TemporaryDirectory(prefix="outcomectl-")
        try:
            shutil.copyfile(path, Path(self._copy.name) / path.name)
            if wal.exists():  # else its writer has come to its end meanwhile, and the file is whole
                shutil.copyfile(wal, Path(self._copy.name) / wal.name)
        except OSError as error:
            self._copy.cleanup()
            raise LedgerError(f"{error.filename}: {error.strerror}") from error
        return _connect_uri(Path(self._copy.name) / path.name, "mode=rw")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        if self._copy is not None:
            self._copy.cleanup()

    @_undamaged()
    def progress(self) -> Progress:
        return _progress(self._db)

    @_undamaged()
    def jobs(self) -> list[JobRow]:
        """Every job that the ledger knows, by name; each with its newest judgement."""
        return _jobs(self._db)

    @_undamaged()
    def history(self, job: JobName, limit: int) -> list[Stored]:
        """The newest judgements of a job, newest first."""
        return _stored(
            self._db,
            "WHERE run.job = (SELECT n FROM job WHERE name = ?) ORDER BY run.n DESC, seq DESC"
            " LIMIT ?",
            (job, limit),
        )

    @_undamaged()
    def under_way(self) -> list[Run]:
        """Runs that are not judged yet."""
        return _open_runs(self._db)

    @_undamaged()
    def find(self, ident: str) -> list[Stored]:
        """Judgements of runs whose id or invocation id begins with these hex digits."""
        low, high = _prefix_range(ident)
        return _stored(
            self._db,
            "WHERE run.n IN (SELECT n FROM run WHERE id BETWEEN ? AND ?"
            " UNION SELECT run FROM attempt WHERE invocation BETWEEN ? AND ?) ORDER BY seq",
            (low, high, low, high),
        )

    @_undamaged()
    def good_runs(self, job: JobName, limit: int, before: Usec | None = None) -> list[Judgement]:
        """The newest runs of a job whose verdict stands as good, newest first."""
        return _good_runs(self._db, job, limit, before)

    @_undamaged()
    def slots(self, job: JobName, since: Usec, limit: int) -> list[Slot]:
        """The slots that no run of theirs says everything about, newest first."""
        rows = self._db.execute(
            "SELECT body FROM slot WHERE job = (SELECT n FROM job WHERE name = ?) AND at >= ?"
            " ORDER BY at DESC LIMIT ?",
            (job, since, limit),
        )
        return [_slot(body) for (body,) in rows]

    @_undamaged()
    def incidents(self, job: JobName, limit: int) -> list[Incident]:
        rows = self._db.execute(
            "SELECT body FROM incident WHERE job = (SELECT n FROM job WHERE name = ?)"
            " ORDER BY opened DESC LIMIT ?",
            (job, limit),
        )
        return [_incident(body) for (body,) in rows]

    @_undamaged()
    def undelivered(self) -> list[Delivery]:
        rows = self._db.execute("SELECT body FROM outbox WHERE done IS NULL ORDER BY created")
        return [_delivery(body) for (body,) in rows]


def _prefix_range(ident: str) -> tuple[bytes, bytes]:
    return (bytes.fromhex(ident.ljust(32, "0")), bytes.fromhex(ident.ljust(32, "f")))


def _connect_writer(path: Path) -> sqlite3.Connection:
    umask = os.umask(0o027)  # readable by the directory's group, for -wal and -shm too
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=5)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}") from error
    finally:
        os.umask(umask)
    return db


def _connect_uri(path: Path, options: str) -> sqlite3.Connection:
    # urllib.parse is 3 ms, and these are all that a URI of SQLite's takes for itself.
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    uri = f"file:{name}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2)


_SMALLEST = 512  # bytes: a database of one page of the smallest size


def _refuse_unfit(path: Path) -> None:
    """Look before a writer's connection, which would change even what it then refuses: it folds a
    log that it finds into the file."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from error
    if size == 0:
        return
    if size < _SMALLEST:  # SQLite would take it for a new one
        raise _refusal(path, LedgerError(f"{path}: damaged: only {size} bytes of it are left"))
    options = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    db = None
    try:
        db = _connect_uri(path, options)
        _check_identity(db, path, writable=True)
    except (sqlite3.DatabaseError, LedgerError) as error:
        raise _refusal(path, error) from error
    finally:
        if db is not None:
            db.close()


def _check_identity(db: sqlite3.Connection, path: Path, *, writable: bool) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if writable and tables == 0 and application == 0:
        return  # a new, empty file
    if application != APPLICATION_ID:
        raise LedgerError(f"{path}: not a ledger of outcomed")
    if version > SCHEMA or (version < SCHEMA and not writable):
        raise LedgerError(
            f"{path}: schema {version}, and this program knows schema {SCHEMA}",
            hint="the ledger is left as it is; install the version that wrote it"
            if version > SCHEMA
            else "outcomed.service brings it up to date when it starts",
        )
    if writable:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise LedgerError(f"{path}: damaged: {verdict}")


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for target in range(version + 1, SCHEMA + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[target]}"
            f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {target}; COMMIT;"
        )


def _refusal(path: Path, error: Exception) -> LedgerError:
    if isinstance(error, LedgerError):
        return error
    return LedgerError(
        f"{path}: {error}",
        hint="the ledger is left as it is; move it aside to begin a new one",
    )


def _progress(db: sqlite3.Connection) -> Progress:
    row = db.execute("SELECT cursor, boot, at, told FROM progress").fetchone()
    return Progress(cursor=row[0], boot=row[1], at=row[2], told=row[3])


def _jobs(db: sqlite3.Connection) -> list[JobRow]:
    rows = db.execute(
        "SELECT name, config, standing, since, last_trigger, promises, good,"
        " name, sample, seq, at, verdict, verdict.body, run.body"
        " FROM job LEFT JOIN verdict ON seq = last_verdict LEFT JOIN run ON run.n = verdict.run"
        " ORDER BY name"
    )
    return [
        JobRow(
            name=JobName(name),
            config=_job(config) if config is not None else None,
            standing=_standing(standing) if standing is not None else Standing(),
            since=since,
            last_trigger=last_trigger,
            last=_one(*stored) if stored[2] is not None else None,
            promises=_promises(promises) if promises is not None else (),
            good=good,
        )
        for name, config, standing, since, last_trigger, promises, good, *stored in rows
    ]


def _stored(db: sqlite3.Connection, where: str, values: Iterable[Any]) -> list[Stored]:
    rows = db.execute(
        "SELECT name, sample, seq, at, verdict, verdict.body, run.body FROM verdict"
        f" JOIN run ON run.n = verdict.run JOIN job ON job.n = run.job {where}",
        tuple(values),
    )
    return [_one(*row) for row in rows]


LOOK_BACK = 1000  # runs; what a job did before is no measure of what it does


def _standing_ones(found: Iterable[Stored]) -> list[Judgement]:
    """A later verdict of a run stands in the place of its first."""
    standing: dict[RunId, Judgement] = {}
    for one in found:
        standing[one.judgement.run.id] = one.judgement
    return list(standing.values())


def _good_runs(
    db: sqlite3.Connection, job: JobName, limit: int, before: Usec | None
) -> list[Judgement]:
    """A later verdict of a run stands in the place of its first.

    CROSS JOIN keeps the order of the loops, so that the search ends with the last one wanted.
    """
    rows = db.execute(
        "SELECT name, sample, seq, at, verdict, verdict.body, run.body FROM"
        " (SELECT n FROM run WHERE job = (SELECT n FROM job WHERE name = ?) AND open IS NULL"
        " AND (?2 IS NULL OR started < ?2) ORDER BY n DESC LIMIT ?) AS newest"
        " CROSS JOIN run USING (n) CROSS JOIN verdict ON verdict.run = run.n"
        " CROSS JOIN job ON job.n = run.job"
        " WHERE seq = (SELECT max(seq) FROM verdict AS later WHERE later.run = run.n)"
        " AND verdict IN (?, ?) LIMIT ?",
        (job, before, LOOK_BACK, Verdict.VERIFIED, Verdict.ACCEPTED, limit),
    )
    return [_one(*row).judgement for row in rows]


def _open_runs(db: sqlite3.Connection) -> list[Run]:
    rows = db.execute(
        "SELECT body, name, sample FROM run JOIN job ON job.n = run.job WHERE open = 1"
        " ORDER BY run.n"
    )
    return [_unpack_run(*row) for row in rows]


def _one(
    job: str, sample: bytes | None, seq: int, at: int, verdict: str, body: bytes, run: bytes
) -> Stored:
    parts = _body(_unpack(body, sample))
    judgement = msgspec.convert(
        {
            "run": _unpack_run(run, job, sample),
            "verdict": verdict,
            "reason": parts.reason,
            "summary": parts.summary,
            "findings": parts.findings,
            "steps": parts.steps,
            "report": parts.report,
            "rules_hash": parts.rules_hash,
            "witness": parts.witness,
            "output": parts.output,
            "at": at,
            "by": parts.by,
            "was": parts.was,
        },
        Judgement,
    )
    return Stored(seq, judgement)
