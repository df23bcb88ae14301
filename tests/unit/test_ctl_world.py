"""A node as outcomectl finds it: a ledger written by the writer itself, for the tests beside this.

Two jobs tell stories of the field: a backup that is silently 48 kB, and invoices that were sent.
"""

import io
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from outcomed import alerts
from outcomed.alerts import Standing
from outcomed.config import rules_hash
from outcomed.ctl import around, main, systemctl, times
from outcomed.ctl import term as terminal
from outcomed.ctl.term import Screen
from outcomed.ledger import Ledger, Reader, Turn
from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Alerts,
    Artifact,
    BootId,
    Completeness,
    Duration,
    Finding,
    Held,
    InvocationId,
    Job,
    JobName,
    Journal,
    Judgement,
    Report,
    Run,
    UnitName,
    Usec,
    Value,
    Verdict,
    run_id,
)
from outcomed.paths import Paths
from outcomed.slots import Promise, Slot
from outcomed.timers import Timer
from outcomed.verdicts import result_finding

NOW = Usec(1_795_370_400 * SECOND)  # Sun 2026-11-22 18:00:00 UTC
NIGHT = Usec(NOW - 14 * HOUR - 50 * MINUTE)
BOOT = BootId("b" * 32)

BACKUP = Job(
    name=JobName("db-backup"),
    unit=UnitName("db-backup.service"),
    description="Nightly dump of the shop database",
    runbook="https://wiki.example.com/runbooks/db-backup",
    outcome=(
        Artifact("/srv/backups/shop-%H-*.sql.gz", min_size=500 << 20, format="gzip"),
        Duration(at_least=Usec(3 * MINUTE)),
        Journal(expect="dump complete"),
    ),
    alerts=Alerts(to=("ops",)),
)
INVOICES = Job(
    name=JobName("invoices"),
    unit=UnitName("mail-invoices.service"),
    outcome=(Report("sent == generated and failed == 0"),),
)


class World:
    """One node's directories and the daemon's hand in them."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root / "etc", root / "state", root / "run", root / "vendor")
        for place in (self.paths.state, self.paths.runtime, self.paths.config / "jobs.d"):
            place.mkdir(parents=True)
        self.standings: dict[str, Standing] = {}
        self._number = 0

    def know(self, *jobs: Job) -> None:
        """The daemon has read these files."""
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(Turn(configs={job.name: job for job in jobs}))

    def forget(self, name: str) -> None:
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(Turn(configs={JobName(name): None}))

    def promise(self, job: Job, at: Usec | None, **facts: object) -> Promise:
        """What the job's timer announces."""
        timer = Timer(
            unit=UnitName(f"{job.unit.removesuffix('.service')}.timer"),
            triggers=job.unit,
            calendar=("*-*-* 04:10:00",),
            accuracy=Usec(MINUTE),
        )
        promise = Promise(timer=timer, at=at, nearest=Usec(DAY), farthest=Usec(DAY))
        promise = replace(promise, **facts)
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(Turn(promises={job.name: (promise,)}))
        return promise

    def slot(self, job: Job, at: Usec, state: str, reason: str, **facts: object) -> Slot:
        """How one moment of its timer ended."""
        timer = UnitName(f"{job.unit.removesuffix('.service')}.timer")
        slot = replace(Slot(timer, at, "missed", reason), state=state, **facts)
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(Turn(slots=[(job.name, slot)]))
        return slot

    def miss(
        self, job: Job, at: Usec, reason: str, because: str, *, witness: str = "live"
    ) -> Judgement:
        """A slot that passed without a run, and the verdict on that."""
        slot = self.slot(job, at, "missed", reason, because=because)
        run = Run(
            id=run_id(job.name, slot.key),
            job=job.name,
            unit=job.unit,
            key=slot.key,
            boot=BOOT,
            trigger=slot.timer,
            slot=at,
        )
        summary = f"{slot.timer} promised a run, and none began within 10 min: {because}"
        return self.judge(job, run, Verdict.MISSED, summary, reason, witness=witness)

    def run(self, job: Job, began: Usec, lasted: int = 4 * SECOND, **facts: object) -> Run:
        """A run with ids that begin 0001, 0002, … and are the same every time."""
        self._number += 1
        invocation = InvocationId(f"{self._number:04x}" + "c0ffee" * 4 + "0000")
        run = Run(
            id=run_id(job.name, invocation),
            job=job.name,
            unit=job.unit,
            key=invocation,
            boot=BOOT,
            invocation=invocation,
            last_invocation=invocation,
            trigger=job.unit.replace(".service", ".timer"),
            slot=Usec(began - 2 * SECOND),
            started=began,
            finished=Usec(began + lasted),
            duration=Usec(lasted),
            result="success",
            exit_code="exited",
            exit_status=0,
        )
        return replace(run, **facts)

    def judge(
        self,
        job: Job,
        run: Run,
        verdict: Verdict,
        summary: str,
        reason: str = "held",
        findings: Sequence[Finding] = (),
        steps: Sequence[str] = (),
        report: Mapping[str, Value] | None = None,
        rules: str | None = None,
        witness: str = "live",
        output: Completeness | None = None,
    ) -> Judgement:
        """The daemon's turn at the end of a run, alerts included."""
        judgement = Judgement(
            run=run,
            verdict=verdict,
            reason=reason,
            summary=summary,
            findings=(result_finding(run), *findings) if run.result is not None else (),
            steps=tuple(steps),
            report=dict(report or {}),
            rules_hash=rules_hash(job) if rules is None else rules,
            witness=witness,  # type: ignore[arg-type]
            at=Usec((run.finished or (run.slot or NOW) + 11 * MINUTE) + 5_000),
            output=output,
        )
        change = alerts.decide(
            self.standings.get(job.name, Standing()), judgement, job.alerts, job.severity
        )
        self.standings[job.name] = change.standing
        turn = Turn(judgements=[judgement], standings={job.name: change.standing})
        if change.closed is not None:
            turn.closed.append(change.closed)
        if run.invocation is not None:
            turn.attempts.append((job.name, run.id, run.invocation, 1))
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(turn)
        return judgement

    def begin(self, run: Run) -> None:
        """A run is under way."""
        under_way = replace(run, finished=None, duration=None, result=None, exit_status=None)
        with Ledger(self.paths.ledger) as ledger:
            ledger.commit(Turn(runs={run.id: under_way}))

    def good_backup(self, began: Usec) -> Judgement:
        path = "/srv/backups/shop-web1-20261121.sql.gz"
        seen: dict[str, Value] = {
            "path": path,
            "matches": 6,
            "size": 2_470_000_000,
            "mtime": began + 17 * MINUTE,
        }
        return self.judge(
            BACKUP,
            self.run(BACKUP, began, 18 * MINUTE + 2 * SECOND),
            Verdict.VERIFIED,
            f"{path}: 2.3G, a whole gzip file (and 2 more)",
            findings=(
                Finding("outcome[0].artifact", Held.HELD, f"{path}: 2.3G, a whole gzip file", seen),
                Finding("outcome[1].duration", Held.HELD, "ran 18 min 2 s", {"duration_s": 1082.0}),
                Finding("outcome[2].journal", Held.HELD, "said: dump complete"),
            ),
            steps=("dump", "compress"),
            report={"tables": 41},
        )

    def bad_backup(
        self, began: Usec, path: str = "/srv/backups/shop-web1-20261122.sql.gz"
    ) -> Judgement:
        summary = f"{path}: 47.0K, expected at least 500.0M"
        seen: dict[str, Value] = {
            "path": path,
            "matches": 7,
            "size": 48_128,
            "mtime": began + SECOND,
        }
        lost = "journald dropped 3 messages of this run"
        gap = f"no line matches dump complete; {lost}"
        return self.judge(
            BACKUP,
            self.run(BACKUP, began),
            Verdict.SILENT_FAILURE,
            f"{summary} (and 1 more)",
            "artifact",
            findings=(
                Finding("outcome[0].artifact", Held.BROKEN, summary, seen),
                Finding(
                    "outcome[1].duration",
                    Held.BROKEN,
                    "ran 4 s, expected at least 3min",
                    {"duration_s": 4.0},
                ),
                Finding("outcome[2].journal", Held.UNKNOWN, gap),
            ),
            steps=("dump",),
            report={"tables": 0},
            output=Completeness(lost),
        )

    def sent_invoices(self, began: Usec, **facts: Value) -> Judgement:
        report: dict[str, Value] = {"sent": 347, "generated": 347, "failed": 0, **facts}
        told = ", ".join(f"{key}={value}" for key, value in sorted(report.items()))
        summary = f"sent == generated and failed == 0 ({told})"
        return self.judge(
            INVOICES,
            self.run(INVOICES, began, 12 * MINUTE),
            Verdict.VERIFIED,
            summary,
            findings=(Finding("outcome[0].report", Held.HELD, summary, report),),
            report=report,
        )


class Asker:
    """A person at a terminal: types, reads, and looks at the exit code."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self._monkeypatch = monkeypatch
        self.screen = Screen(width=80)
        self.now = NOW
        self.units: dict[str, dict[str, str]] = {}  # what systemctl would show
        monkeypatch.setattr(main, "this_screen", lambda: self.screen)
        monkeypatch.setattr(main, "now_usec", lambda: self.now)
        monkeypatch.setattr(around, "daemon_lives", lambda paths: True)
        monkeypatch.setattr(systemctl, "show", self._show)

    def _show(self, units: Sequence[str], properties: Sequence[str]) -> list[dict[str, str]] | None:
        if not self.units:
            return None
        return [
            {name: self.units.get(unit, {}).get(name, "") for name in properties} for unit in units
        ]

    def types(self, line: str | Sequence[str]) -> tuple[int, str, str]:
        """The exit code, what it said, and what it complained about."""
        words = line.split() if isinstance(line, str) else list(line)
        out, err = io.StringIO(), io.StringIO()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main.main(words, self.world.paths)
        return code, out.getvalue(), err.getvalue()

    def reads(self, line: str | Sequence[str]) -> str:
        """What it said; nothing was complained about."""
        _, out, err = self.types(line)
        assert err == ""
        return out


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A node in Berlin's time zone with a week behind it: the last backup is bad."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    made = World(tmp_path)
    made.know(BACKUP, INVOICES)
    for night in (3, 2, 1):
        made.good_backup(Usec(NIGHT - night * DAY))
    made.sent_invoices(Usec(NOW - 3 * HOUR))
    made.bad_backup(NIGHT)
    made.promise(BACKUP, Usec(NIGHT + DAY))
    yield made
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def asker(world: World, monkeypatch: pytest.MonkeyPatch) -> Asker:
    return Asker(world, monkeypatch)


def test_this_world_is_one_that_a_reader_can_read(world: World) -> None:
    with Reader(world.paths.ledger) as reader:
        assert [row.name for row in reader.jobs()] == ["db-backup", "invoices"]
        assert len(reader.history(BACKUP.name, 10)) == 4


__all__ = ["Asker", "World", "asker", "terminal", "times", "world"]
