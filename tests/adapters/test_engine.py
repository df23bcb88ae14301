"""The engine between the bus and the journal, where one is ahead of the other."""

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

pytest.importorskip("pystemd", reason="runs on a node: make check")

from outcomed.bus import Calls
from outcomed.engine import Engine, Watched, monotonic_usec
from outcomed.errors import JournalError
from outcomed.guard import Guard
from outcomed.journal import Journal, Synchronizing
from outcomed.ledger import Ledger, Progress
from outcomed.model import Job, JobName, Judgement, UnitName
from outcomed.paths import Paths
from outcomed.specifiers import this_host
from outcomed.timekeeping import now_usec

# Each attempt says that it has begun, and is told how to end.
SERVICE = """
[Unit]
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo begun > {begun}; read word < {word}; test "$word" = good'
Restart=on-failure
RestartSec=10ms
"""
# So that systemd does not forget the service when it has ended.
TIMER = "[Timer]\nOnActiveSec=1d\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    paths = Paths(state=tmp_path / "state", runtime=tmp_path / "run")
    for directory in (paths.state, paths.runtime):
        directory.mkdir()
    with Journal() as source:
        boot = source.boot_id()
    calls, ledger = Calls(), Ledger(paths.ledger)
    made = Engine(ledger, calls, boot, this_host(boot), paths, Guard(paths))
    yield made
    made.close()
    ledger.close()
    calls.close()


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True)


class Retried:
    """A unit whose attempts are told how to end."""

    def __init__(self, directory: Path, timer: str = TIMER) -> None:
        self._timer = timer
        self.name = JobName(f"engine-{uuid.uuid4().hex[:8]}")
        self.unit = UnitName(f"{self.name}.service")
        self.begun, self.word = directory / "begun", directory / "word"

    def __enter__(self) -> Self:
        os.mkfifo(self.begun)
        os.mkfifo(self.word)
        self._file("service").write_text(SERVICE.format(begun=self.begun, word=self.word))
        self._file("timer").write_text(self._timer)
        systemctl("daemon-reload")
        systemctl("start", f"{self.name}.timer")
        return self

    def __exit__(self, *_: object) -> None:
        systemctl("stop", f"{self.name}.timer", self.unit)
        for kind in ("service", "timer"):
            self._file(kind).unlink()
        systemctl("daemon-reload")

    def _file(self, kind: str) -> Path:
        return Path(f"/run/systemd/system/{self.name}.{kind}")

    def start(self) -> None:
        systemctl("start", "--no-block", self.unit)
        self.begun.read_text()

    def fail(self) -> None:
        """And the next attempt begins."""
        self.word.write_text("bad\n")
        self.begun.read_text()

    def end(self) -> None:
        self.word.write_text("good\n")
        state = ["systemctl", "show", "--value", "--property=ActiveState", self.unit]
        while subprocess.check_output(state, text=True).strip() != "inactive":
            time.sleep(0.01)


def watch_from_here(engine: Engine, unit: Retried) -> Watched:
    """What the journal has until now was read."""
    with Journal() as source:
        tail = source.tail()
    assert tail is not None
    engine.progress = Progress(tail.cursor, tail.boot, tail.at, told=0)
    return engine.adopt(Job(unit.name, unit.unit), "", is_new=True)


def judge_all(engine: Engine, watched: Watched) -> list[Judgement]:
    deadline = time.monotonic() + 10
    while watched.track.runs and time.monotonic() < deadline:
        time.sleep(0.01)  # until journald has answered
        engine.step({wait.fileno for wait in engine.waits() if wait and wait.fileno})
    return engine.turn.judgements


def test_answer_that_is_ahead_of_the_journal_splits_no_run(engine: Engine, tmp_path: Path) -> None:
    """The first attempt fails and others begin after the journal was read, and before systemd is
    asked: all of them are one run."""
    with Retried(tmp_path) as unit:
        watched = engine.adopt(Job(unit.name, unit.unit), "", is_new=True)
        unit.start()
        engine.look_around(now_usec())
        (first,) = watched.track.runs

        for _ in range(2):
            unit.fail()
        engine.look_around(now_usec())

        (run,) = watched.track.runs
        assert run.key == first.key
        assert (len(run.attempts), run.last.ended) == (3, None)


def test_signal_that_is_ahead_of_the_past_splits_no_run(engine: Engine, tmp_path: Path) -> None:
    """It shows the next attempt of a run that is still to be read of."""
    with Retried(tmp_path) as unit:
        watched = watch_from_here(engine, unit)
        unit.start()
        first = engine.calls.invocation(unit.unit)
        unit.fail()
        signal = engine.calls.look(unit.unit, engine.boot)
        assert (signal.invocation != first, signal.restarts) == (True, 1)

        past = engine.catch_up(now_usec())
        engine.catching_up = True  # as soon as it is advanced
        engine.see(signal, now_usec())
        assert not watched.track.runs
        list(past)

        (run,) = watched.track.runs
        assert (run.key, len(run.attempts), run.last.ended) == (first, 2, None)


def test_what_the_ledger_has_open_is_judged_after_what_is_still_to_be_read(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was seen to begin, and then we were killed before the past had been read to its end."""
    monkeypatch.setattr("outcomed.engine.STRETCH", 1)
    with Retried(tmp_path) as unit:
        watched = watch_from_here(engine, unit)
        keys = []
        for number in range(4):
            unit.start()
            keys.append(engine.calls.invocation(unit.unit))
            if number == 1:
                engine.see(engine.calls.look(unit.unit, engine.boot), now_usec())
            unit.end()
        assert [run.key for run in watched.track.runs] == [keys[1]]

        for _ in engine.catch_up(now_usec()):
            while any(wait is None for wait in engine.waits()):
                engine.step(set())
        judged = judge_all(engine, watched)
        assert [one.run.key for one in judged] == keys


def test_run_that_ends_while_journald_is_asked_is_asked_for_itself(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said may be read after journald has answered a question from before its end."""
    asked = []

    class Noted(Synchronizing):
        def __init__(self, namespace: str) -> None:
            asked.append(monotonic_usec())
            super().__init__(namespace)

    monkeypatch.setattr("outcomed.journal.Synchronizing", Noted)
    with Retried(tmp_path) as unit:
        watched = engine.adopt(Job(unit.name, unit.unit), "", is_new=True)
        unit.start()
        engine.see(engine.calls.look(unit.unit, engine.boot), now_usec())
        watched.since = monotonic_usec()
        engine.examine(watched)
        engine.step(set())
        assert len(asked) == 1
        unit.end()
        engine.see(engine.calls.look(unit.unit, engine.boot), now_usec(), asked=True)
        (run,) = watched.track.runs
        assert run.last.ended_mono is not None

        (judged,) = judge_all(engine, watched)
        assert judged.output is None
        assert asked[-1] > run.last.ended_mono


@pytest.mark.parametrize(("times", "complete"), [(1, True), (2, False)])
def test_journal_that_cannot_be_read_is_opened_once_more(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, complete: bool
) -> None:
    left = [JournalError("the journal cannot be read: [Errno 22] Invalid argument")] * times
    lines = Journal.lines

    def failing(self: Journal, *arguments: Any, **named: Any) -> Iterator[Any]:
        yield from lines(self, *arguments, **named)
        if left:
            raise left.pop()

    monkeypatch.setattr(Journal, "lines", failing)
    with Retried(tmp_path) as unit:
        watched = engine.adopt(Job(unit.name, unit.unit), "", is_new=True)
        unit.start()
        engine.see(engine.calls.look(unit.unit, engine.boot), now_usec())
        unit.end()
        engine.see(engine.calls.look(unit.unit, engine.boot), now_usec(), asked=True)
        (judged,) = judge_all(engine, watched)
        assert not left
        assert (judged.output is None) is complete


def test_timer_that_only_waits_for_the_clock_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    """systemd names no next elapse of it: nothing is to be looked at a second later."""
    with Retried(tmp_path, "[Timer]\nOnClockChange=yes\n") as unit:
        watched = watch_from_here(engine, unit)
        engine.look_at_time(watched)
        while watched.task is not None:
            engine.step({wait.fileno for wait in engine.waits() if wait and wait.fileno})
        (promise,) = watched.promises
        assert promise.timer.sub == "waiting"
        assert (promise.at, promise.due) == (None, None)
