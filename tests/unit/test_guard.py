"""What took one daemon's life is tried in a child before another looks at it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from outcomed.errors import JournalError
from outcomed.guard import Guard
from outcomed.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(runtime=tmp_path)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def endless() -> None:
    while True:
        pass


def raises() -> None:
    raise RuntimeError("a bug of ours")


def dies_at(paths: Paths, what: str, how: Callable[[], None] = killed) -> None:
    """A daemon that ends in the middle of looking at something."""
    child = os.fork()
    if child == 0:
        try:
            with Guard(paths).at(what):
                how()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] != 0


def test_daemon_that_ended_well_leaves_nothing_behind(paths: Paths) -> None:
    with Guard(paths).at("backup: its output"):
        pass
    after = Guard(paths)
    assert after.found == ""
    assert not after.is_suspect("backup: its output")


@pytest.mark.parametrize("how", [killed, raises])
def test_next_daemon_knows_what_the_last_one_died_at(paths: Paths, how: Callable[[], None]) -> None:
    dies_at(paths, "backup: outcome[0].artifact", how)
    after = Guard(paths)
    assert after.found == "backup: outcome[0].artifact"
    assert after.is_suspect("backup: outcome[0].artifact")
    assert not after.is_suspect("backup: outcome[1].report")


def test_error_of_ours_is_an_answer_and_no_death(paths: Paths) -> None:
    with pytest.raises(JournalError), Guard(paths).at("backup: its output"):
        raise JournalError("the journal cannot be read")
    assert Guard(paths).found == ""


@pytest.mark.parametrize("look", [killed, raises])
def test_what_ends_the_child_too_is_left_out_from_then_on(
    paths: Paths, look: Callable[[], None]
) -> None:
    dies_at(paths, "backup: its output")
    guard = Guard(paths)
    assert not guard.may_look("backup: its output", look)
    assert guard.left_out == ["backup: its output"]
    assert not Guard(paths).may_look("backup: its output", look)


def test_what_never_ends_in_the_child_is_ended(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_at(paths, "backup: its output")
    monkeypatch.setattr("outcomed.guard.PATIENCE", 0.1)
    assert not Guard(paths).may_look("backup: its output", endless)


def test_death_by_chance_leaves_nothing_out(paths: Paths) -> None:
    """However often: each time the child survives, and so does the next look."""
    for _ in range(5):
        dies_at(paths, "backup: its output")
        assert Guard(paths).may_look("backup: its output", lambda: None)
    guard = Guard(paths)
    with guard.at("backup: its output"):
        pass
    assert not guard.is_suspect("backup: its output")
    assert not Guard(paths).is_suspect("backup: its output")


def test_error_of_ours_in_the_child_is_no_death(paths: Paths) -> None:
    dies_at(paths, "backup: its output")

    def unreadable() -> None:
        raise JournalError("the journal cannot be read")

    assert Guard(paths).may_look("backup: its output", unreadable)


def test_what_was_died_at_is_remembered_while_other_things_kill(paths: Paths) -> None:
    dies_at(paths, "a: its output")
    dies_at(paths, "b: its output")
    guard = Guard(paths)
    assert guard.is_suspect("a: its output")
    assert guard.is_suspect("b: its output")
    assert not guard.is_suspect("c: its output")


def test_many_deaths_make_everything_suspect(paths: Paths) -> None:
    for name in "abc":
        dies_at(paths, f"{name}: its output")
    assert Guard(paths).is_suspect("d: its output")


def test_record_that_is_damaged_is_passed_over(paths: Paths) -> None:
    paths.deaths.write_bytes(b"\xff\xfe\nnot a time x\n12 known\n13\n")
    guard = Guard(paths)
    assert guard.is_suspect("known")
    assert not guard.is_suspect("x")
