"""The spool on real files: what survives, what is refused, and in which order it goes out."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outcomed import spool
from outcomed.model import Config, Delivery, Usec, Webhook
from outcomed.paths import Paths
from outcomed.spool import Damaged, SpoolError, Waiting, Why

SOURCES = str(Path(spool.__file__).parents[1])


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(state=tmp_path, runtime=tmp_path)
    for place in ("out", "done", "failed", "sinks"):
        (made.spool / place).mkdir(parents=True)
    return made


def message(ident: str, created: int = 1, state: str = "firing", alert: str = "a") -> Delivery:
    event: dict[str, object] = {"id": ident, "data": {"alert_id": alert, "state": state}}
    return Delivery(ident, "ops", Usec(created), event)


def names(paths: Paths, place: str) -> list[str]:
    return sorted(each.name for each in (paths.spool / place).iterdir())


WHY = Why("connection refused", Usec(1), Usec(2), 3)


def test_a_message_comes_back_as_it_was_put(paths: Paths) -> None:
    assert spool.put(message("m1"), paths)
    assert spool.take("m1", paths) == message("m1")
    assert (paths.spool / "out/m1.json").stat().st_mode & 0o777 == 0o640


def test_a_message_is_put_once_wherever_it_is_by_now(paths: Paths) -> None:
    spool.put(message("m1"), paths)
    assert not spool.put(message("m1"), paths)
    spool.mark_done("m1", paths)
    assert not spool.put(message("m1"), paths)
    spool.put(message("m2"), paths)
    spool.mark_failed("m2", WHY, paths)
    assert not spool.put(message("m2"), paths)
    assert spool.pending_ids(paths) == []


def test_every_step_may_be_repeated(paths: Paths) -> None:
    spool.put(message("m1"), paths)
    spool.note_why("m1", WHY, paths)
    for _ in range(2):
        spool.mark_done("m1", paths)
    assert (names(paths, "out"), names(paths, "done")) == ([], ["m1.json"])
    for _ in range(2):
        spool.forget_done("m1", paths)
    assert spool.done_ids(paths) == []
    assert spool.outcome("m1", paths).state == "gone"


def test_a_message_that_is_given_up_keeps_its_reason(paths: Paths) -> None:
    spool.put(message("m1"), paths)
    for _ in range(2):
        spool.mark_failed("m1", WHY, paths)
    assert spool.outcome("m1", paths) == spool.Outcome("failed", WHY)
    assert spool.failed_ids(paths) == ["m1"]
    spool.forget_failed("m1", paths)
    assert names(paths, "failed") == []


def test_what_waits_says_why_and_is_watched_until_it_moves(paths: Paths) -> None:
    spool.put(message("m1"), paths)
    assert spool.outcome("m1", paths) == spool.Outcome("waiting")
    spool.note_why("m1", WHY, paths)
    assert spool.wait_outcome("m1", 0.05, paths) == spool.Outcome("waiting", WHY)
    spool.mark_done("m1", paths)
    assert spool.wait_outcome("m1", 5, paths) == spool.Outcome("done")


def test_the_oldest_goes_first(paths: Paths) -> None:
    for ident, created in (("b", 2), ("c", 3), ("a", 1)):
        spool.put(message(ident, created, alert=ident), paths)
    assert [each.id for each in spool.list_pending(paths)] == ["a", "b", "c"]


@pytest.mark.parametrize("resolved_at", [5, 3])
def test_an_end_never_overtakes_its_beginning(paths: Paths, resolved_at: int) -> None:
    """Both in one turn, or the clock was set back in between."""
    spool.put(message("a-end", resolved_at, "resolved"), paths)
    spool.put(message("z-begin", 5, "firing"), paths)
    assert [each.id for each in spool.list_pending(paths)] == ["z-begin", "a-end"]


def test_what_is_written_aside_is_not_listed(paths: Paths) -> None:
    for name in (".m1.json.00.tmp", "m1.why", "README", ".hidden.json"):
        (paths.spool / "out" / name).write_text("{")
    assert spool.pending_ids(paths) == []


def test_only_old_leftovers_are_swept(paths: Paths) -> None:
    out = paths.spool / "out"
    for name in (".m1.json.00.tmp", ".m2.json.00.tmp", "gone.why", "m3.json", "m3.why"):
        (out / name).write_text("{")
    os.utime(out / ".m1.json.00.tmp", (1, 1))
    spool.tidy(Usec(2_000_000), paths)
    assert names(paths, "out") == [".m2.json.00.tmp", "m3.json", "m3.why"]


def test_a_spool_that_was_never_made_is_empty(tmp_path: Path) -> None:
    assert spool.list_pending(Paths(state=tmp_path)) == []


def damaged(paths: Paths, ident: str) -> str:
    taken = spool.take(ident, paths)
    assert isinstance(taken, Damaged)
    return taken.reason


def test_a_file_under_another_messages_name_is_damaged(paths: Paths) -> None:
    (paths.spool / "out/m2.json").write_bytes(msgspec.json.encode(message("m1")))
    assert "not the one" in damaged(paths, "m2")


def test_what_is_no_file_neither_blocks_nor_crashes(paths: Paths) -> None:
    out = paths.spool / "out"
    (out / "d.json").mkdir()
    os.mkfifo(out / "f.json")
    (out / "l.json").symlink_to("/dev/zero")
    (out / "odd name.json").write_text("{}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(out / "s.json"))
        found = spool.waiting(spool.pending_ids(paths), paths)
        assert len(found) == 5
        assert all(isinstance(each, Damaged) for each in found)
        for each in found:
            spool.mark_failed(each.id, WHY, paths)
    assert spool.pending_ids(paths) == []


def test_a_file_without_end_is_damaged(paths: Paths) -> None:
    with (paths.spool / "out/m1.json").open("wb") as file:
        file.truncate(spool.LARGEST + 1)
    assert "larger than" in damaged(paths, "m1")


def test_a_message_that_has_gone_is_none(paths: Paths) -> None:
    assert spool.take("m1", paths) is None
    assert spool.waiting(["m1"], paths) == []


@pytest.mark.parametrize("ident", ["", "../m1", ".m1"])
def test_an_id_that_leads_elsewhere_is_refused(paths: Paths, ident: str) -> None:
    with pytest.raises(spool.SpoolError):
        spool.put(message(ident), paths)


MUTATED = st.builds(
    lambda cut, extra: msgspec.json.encode(message("m1"))[:cut] + extra,
    st.integers(0, 200),
    st.binary(max_size=30),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=300), MUTATED, st.just(b"[" * 200_000)))
def test_no_bytes_in_a_file_crash_its_reader(paths: Paths, data: bytes) -> None:
    for place in (paths.spool / "out/m1.json", paths.spool / "out/m1.why", paths.sinks):
        place.write_bytes(data)
    assert isinstance(spool.take("m1", paths), Delivery | Damaged)
    assert all(isinstance(each, Waiting | Damaged) for each in spool.waiting(["m1"], paths))
    assert spool.outcome("m1", paths).state == "waiting"
    with suppress(spool.SpoolError):
        spool.read_sinks(paths)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.none())))
def test_any_event_can_be_put_in_order(paths: Paths, data: dict[str, object]) -> None:
    (paths.spool / "out/m1.json").unlink(missing_ok=True)
    spool.put(Delivery("m1", "ops", Usec(1), {"data": data}), paths)
    assert [each.id for each in spool.list_pending(paths)] == ["m1"]


SINKS = (Webhook("ops", url="http://127.0.0.1/x"), Webhook("pager", url_credential="pager-url"))


def test_sinks_are_written_once_and_read_back(paths: Paths) -> None:
    spool.write_sinks(SINKS, paths)
    before = paths.sinks.stat()
    spool.write_sinks(SINKS, paths)
    assert spool.read_sinks(paths) == SINKS
    assert paths.sinks.stat().st_ino == before.st_ino
    spool.write_sinks((), paths)
    assert spool.read_sinks(paths) == ()


def test_sinks_that_are_not_there_yet_are_an_error(paths: Paths) -> None:
    with pytest.raises(spool.SpoolError, match="No such file"):
        spool.read_sinks(paths)


def test_a_poke_says_whether_anybody_hears_it(tmp_path: Path) -> None:
    address = tmp_path / "bell"
    assert not spool.poke(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(os.fspath(address))
        assert all(spool.poke(address) for _ in range(1000))  # longer than any queue
    assert not spool.poke(address)


def test_a_full_disk_leaves_nothing_under_a_final_name(paths: Paths) -> None:
    """RLIMIT_FSIZE cuts a write short and then fails it, as a full disk does."""
    code = f"""
import resource, signal, sys
sys.path.insert(0, {SOURCES!r})
from pathlib import Path
from outcomed import spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    spool.write_aside(Path({str(paths.spool)!r}, "out/m1.json"), b"x" * 1000)
except OSError:
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    assert names(paths, "out") == []


def test_writers_that_are_killed_at_any_moment_leave_whole_files(paths: Paths) -> None:
    """Two writers of the same names at once, killed again and again."""
    code = f"""
import sys
sys.path.insert(0, {SOURCES!r})
from pathlib import Path
from outcomed import spool
print(flush=True)
for turn in range(10**9):
    data = b"%09d" % turn * 5000
    spool.write_aside(Path({str(paths.spool)!r}, "out", f"m{{turn % 3}}.json"), data)
"""
    for delay in (0.001, 0.004, 0.009, 0.02, 0.05):
        writers = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in "ab"
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(delay)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        for ident in spool.pending_ids(paths):
            data = (paths.spool / "out" / f"{ident}.json").read_bytes()
            assert data == data[:9] * 5000
    assert spool.pending_ids(paths)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[" * 100_000, b'{"jobs": "\xff"}', b'{"jobs": 1e400}', b'{"x": 1}']
)
def test_a_damaged_file_of_our_own_is_an_error_that_says_which(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    paths = Paths(state=tmp_path)
    with pytest.raises(SpoolError, match=re.escape(f"{tmp_path}/config.json: ")) as raised:
        spool.read_as(paths.compiled, Config)
    assert str(raised.value).isprintable()
    assert spool.read_compiled(paths) == Config()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SpoolError, match="not a regular file"):
        spool.read_as(tmp_path / "fifo", Config)
