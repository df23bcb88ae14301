"""The engine between the bus and the journal, where one is ahead of the other."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pystemd", reason="runs on a node: make check")

from outcomed.bus import Calls
from outcomed.engine import Engine
from outcomed.guard import Guard
from outcomed.journal import Journal
from outcomed.ledger import Ledger
from outcomed.model import Job, JobName, UnitName
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


def test_answer_that_is_ahead_of_the_journal_splits_no_run(engine: Engine, tmp_path: Path) -> None:
    """The first attempt fails and others begin after the journal was read, and before systemd is
    asked: all of them are one run."""
    name = f"engine-{uuid.uuid4().hex[:8]}"
    begun, word = tmp_path / "begun", tmp_path / "word"
    os.mkfifo(begun)
    os.mkfifo(word)
    service = Path(f"/run/systemd/system/{name}.service")
    service.write_text(SERVICE.format(begun=begun, word=word))
    try:
        systemctl("daemon-reload")
        watched = engine.adopt(Job(JobName(name), UnitName(service.name)), "", is_new=True)
        systemctl("start", "--no-block", service.name)
        begun.read_text()
        engine.look_around(now_usec())
        (first,) = watched.track.runs

        for _ in range(2):
            word.write_text("bad\n")
            begun.read_text()
        engine.look_around(now_usec())

        (run,) = watched.track.runs
        assert run.key == first.key
        assert (len(run.attempts), run.last.ended) == (3, None)
    finally:
        systemctl("stop", service.name)
        service.unlink()
        systemctl("daemon-reload")
