"""The lane's policy as a pure thing; then the real process, killed, starved and kept waiting."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import delivery, messages, spool
from outcomed.delivery import Lane, backoff
from outcomed.entry import JOURNAL_SOCKET
from outcomed.model import DAY, HOUR, MINUTE, SECOND, Delivery, Usec, Webhook
from outcomed.paths import Paths
from outcomed.sinks import Retry
from outcomed.spool import Waiting
from tests.unit.test_sinks import Receiver, receiving, speaking

SOURCES = str(Path(delivery.__file__).parents[1])
T0 = Usec(1_000 * SECOND)
WALL = Usec(1_800_000_000 * SECOND)

# --- the lane --------------------------------------------------------------------------------


def waiting(
    ident: str, created: int = 0, alert: str | None = None, state: str = "firing"
) -> Waiting:
    return Waiting(ident, "ops", Usec(WALL + created), alert or ident, state)


def lane(*messages: Waiting) -> Lane:
    made = Lane(Webhook("ops", url="http://127.0.0.1/"), opened=T0)
    made.add(messages, T0)
    return made


def at(seconds: float) -> Usec:
    return Usec(T0 + int(seconds * SECOND))


def next_id(lane: Lane, now: Usec) -> str | None:
    message = lane.next(now)
    return message.id if message else None


def fail(lane: Lane, ident: str, now: Usec, **how: object) -> None:
    lane.failed(ident, Retry("no", **how), now, WALL, 0.0)  # type: ignore[arg-type]


def was_said(text: str, output: str) -> bool:
    """What is given up goes to journald, with its MESSAGE_ID; to stderr where there is none."""
    if not Path(JOURNAL_SOCKET).exists():
        return text in output
    subprocess.run(["journalctl", "--sync"], check=True)
    entries = subprocess.run(
        ["journalctl", "-o", "cat", "-p", text[1], f"MESSAGE_ID={messages.DELIVERY_REFUSED}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return text[3:] in entries.stdout


def test_waits_double_up_to_ten_minutes() -> None:
    seconds = [backoff(n, 0.0) // SECOND for n in range(1, 13)]
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert backoff(10_000, 0.0) == LONGEST == delivery.LONGEST_WAIT


LONGEST = 10 * MINUTE


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_jitter_only_shortens(failures: int, jitter: float) -> None:
    assert backoff(failures, 0.0) * 3 // 4 <= backoff(failures, jitter) <= backoff(failures, 0.0)


def test_a_silent_sink_is_tried_with_its_oldest_message() -> None:
    ops = lane(waiting("new", 2), waiting("old", 1))
    assert next_id(ops, T0) == "old"
    fail(ops, "old", T0)
    assert next_id(ops, at(0.9)) is None
    assert ops.wakes_at() == at(1)
    assert next_id(ops, at(1)) == "old"


def test_an_answered_message_does_not_hold_up_other_alerts() -> None:
    ops = lane(waiting("a", 1), waiting("b", 2))
    fail(ops, "a", T0, answered=True)
    fail(ops, "a", at(1), answered=True)
    ops.heard()  # something else got through
    assert next_id(ops, at(3)) == "b"
    ops.leaves("b")
    assert next_id(ops, at(2.9)) is None
    assert next_id(ops, at(3)) == "a"


def test_a_message_that_chokes_its_sink_lets_the_others_go_first() -> None:
    """It was answered, and the sink and the message are due at the same time."""
    ops = lane(waiting("poison", 1), waiting("b", 2))
    fail(ops, "poison", T0, answered=True)
    assert next_id(ops, at(1)) == "b"


def test_an_end_waits_for_its_beginning() -> None:
    ops = lane(waiting("begin", 1, "x"), waiting("end", 2, "x", "resolved"), waiting("y", 3))
    fail(ops, "begin", T0, answered=True)
    fail(ops, "begin", at(1), answered=True)
    ops.heard()
    assert next_id(ops, at(1.5)) == "y"
    ops.leaves("y")
    assert next_id(ops, at(1.5)) is None
    assert ops.wakes_at() == at(3)
    ops.leaves("begin")
    assert next_id(ops, at(1.5)) == "end"


def test_retry_after_is_kept_to_even_when_something_new_comes() -> None:
    ops = lane(waiting("a", 1))
    fail(ops, "a", T0, after=Usec(30 * SECOND), answered=True)
    ops.add([waiting("b", 2)], at(5))
    assert next_id(ops, at(29)) is None
    assert next_id(ops, at(30)) is not None


def test_something_new_is_worth_a_try_at_once() -> None:
    ops = lane(waiting("a", 1))
    for second in (0, 1, 3, 7, 15, 31):
        fail(ops, "a", at(second))
    ops.add([waiting("b", 2)], at(40))
    assert next_id(ops, at(40)) == "a"


def test_a_flood_of_new_messages_does_not_hammer_a_silent_sink() -> None:
    ops = lane(waiting("a", 1))
    for second in (0, 1, 3):
        fail(ops, "a", at(second))
    ops.add([waiting("b", 2)], at(3.1))
    assert next_id(ops, at(3.9)) is None


def test_one_message_at_a_time() -> None:
    ops = lane(waiting("a"), waiting("b"))
    ops.busy = True
    assert (ops.next(T0), ops.wakes_at()) == (None, None)


def test_a_message_is_too_old_after_a_week_that_two_clocks_agree_on() -> None:
    ops = lane(waiting("old", 1), waiting("new", 6 * DAY))
    week = Usec(WALL + 7 * DAY + 1)
    assert ops.too_old(Usec(T0 + HOUR - 1), week) == []
    assert [each.id for each in ops.too_old(Usec(T0 + HOUR), week)] == ["old"]
    assert ops.too_old(Usec(T0 + HOUR), Usec(week - 1)) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=30))
def test_a_lane_that_waits_always_has_a_next_time(steps: list[tuple[int, bool, int]]) -> None:
    ops = lane(*(waiting(f"m{n}", n, f"alert{n % 2}") for n in range(4)))
    now = T0
    for kind, answered, wait in steps:
        wakes = ops.wakes_at()
        assert (wakes is None) == (ops.queue == [])
        if wakes is None:
            return
        now = max(now, wakes)
        message = ops.next(now)
        assert message is not None
        if kind == 0:
            ops.heard()
            ops.leaves(message.id)
        else:
            after = Usec(wait * SECOND) if kind == 2 else None
            fail(ops, message.id, now, answered=answered, after=after)


# --- the process -----------------------------------------------------------------------------


class World:
    """A spool, the daemon's part of it, and the delivery process."""

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(state=directory, runtime=directory)
        for place in ("out", "done", "failed", "sinks"):
            (self.paths.spool / place).mkdir(parents=True)
        self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bell.bind(os.fspath(self.paths.deliver_socket))
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(os.fspath(directory / "notify"))
        self.told: list[str] = []
        self._manager_thread = threading.Thread(target=self._listen)
        self._manager_thread.start()
        self.processes: list[subprocess.Popen[str]] = []
        self._count = 0

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
            assert process.stderr is not None
            process.stderr.close()
        self.bell.close()
        self.manager.shutdown(socket.SHUT_RDWR)
        self._manager_thread.join()
        self.manager.close()

    def _listen(self) -> None:
        while state := self.manager.recv(4096).decode():
            self.told.append(state)

    def sinks(self, **urls: str) -> None:
        spool.write_sinks([Webhook(name, url=url) for name, url in urls.items()], self.paths)

    def put(
        self, *idents: str, sink: str = "ops", alert: str | None = None, state: str = "firing"
    ) -> None:
        for ident in idents:
            self._count += 1
            data = {"alert_id": alert or ident, "state": state}
            event: dict[str, object] = {"id": ident, "data": data}
            spool.put(Delivery(ident, sink, Usec(WALL + self._count), event), self.paths)
        spool.poke(self.paths.deliver_socket)

    def start(self, idle: float = 30) -> subprocess.Popen[str]:
        """As systemd does: the socket is fd 3, and its number is announced to this very process."""
        code = f"""
import os, sys
sys.path.insert(0, {SOURCES!r})
os.dup2(int(sys.argv[1]), 3)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}}
from pathlib import Path
from outcomed import delivery
from outcomed.paths import Paths
paths = Paths(state=Path({str(self.paths.state)!r}))
sys.exit(delivery.deliver(paths, delivery.inherited_socket(), None, {int(idle * SECOND)}))
"""
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(self.bell.fileno())],
            pass_fds=[self.bell.fileno()],
            env={**os.environ, "NOTIFY_SOCKET": os.fspath(self.paths.state / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def hears(self, wanted: str) -> None:
        """Wait for this word of the process to its manager."""
        until(lambda: any(wanted in state for state in self.told))
        self.told.clear()

    def arrive(self, *idents: str, seconds: float = 15) -> None:
        until(lambda: set(idents) <= set(spool.done_ids(self.paths)), seconds)


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 0
    return said


def ends(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=15)
    assert process.returncode == 0
    return said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextmanager
def hanging() -> Iterator[str]:
    over = threading.Event()
    with speaking(lambda _: over.wait(60) and None) as url:
        yield url
        over.set()


def test_what_lies_there_is_delivered_in_order_and_the_process_ends(
    world: World, receiver: Receiver
) -> None:
    world.sinks(ops=receiver.url)
    world.put("c", "a", "b")
    said = ends(world.start(idle=0.05))
    assert receiver.ids == ["c", "a", "b"]
    assert sorted(spool.done_ids(world.paths)) == ["a", "b", "c"]
    assert spool.pending_ids(world.paths) == []
    assert "<6>ops: took c (firing)\n" in said
    assert "T0KEN" not in said
    assert len(set(receiver.peers)) == 1


def test_the_end_of_an_alert_arrives_after_its_beginning(world: World, receiver: Receiver) -> None:
    world.sinks(ops=receiver.url)
    world.put("z", alert="x", state="firing")
    world.put("a", alert="x", state="resolved")
    ends(world.start(idle=0.05))
    assert receiver.ids == ["z", "a"]


def test_a_datagram_wakes_it_while_it_runs(world: World, receiver: Receiver) -> None:
    world.sinks(ops=receiver.url)
    process = world.start()
    world.hears("READY=1")
    for number in range(20):
        world.put(f"m{number}")
        world.arrive(f"m{number}")
    assert len(set(receiver.peers)) == 1
    world.hears("STATUS=Idle")
    stop(process)
    world.hears("STOPPING=1")


def test_a_poke_that_comes_with_the_end_is_left_for_the_next_process(
    world: World, receiver: Receiver
) -> None:
    """At whatever moment: either this one delivers it, or the socket is readable for systemd."""
    world.sinks(ops=receiver.url)
    for number in range(12):
        process = world.start(idle=0.02)
        world.hears("READY=1")
        time.sleep(random.uniform(0, 0.04))
        world.put(f"m{number}")
        ends(process)
        if spool.pending_ids(world.paths):
            assert world.bell.recv(1, socket.MSG_DONTWAIT)
            ends(world.start(idle=0.02))
        assert f"m{number}" in spool.done_ids(world.paths)


def test_it_ends_by_itself_without_any_sinks_or_messages(world: World) -> None:
    assert ends(world.start(idle=0.05)) == ""


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_alert_outlives_a_receivers_deployment(
    world: World, receiver: Receiver, status: int
) -> None:
    answers = iter([status, 200])
    receiver.answer = lambda _: (next(answers), {})
    world.sinks(ops=receiver.url)
    world.put("m")
    said = ends(world.start(idle=0.05))
    assert receiver.ids == ["m", "m"]
    assert f"<4>ops: 127.0.0.1 answered {status}: " in said
    assert "at try 2" in said
    assert not (world.paths.spool / "out/m.why").exists()


def test_a_receiver_that_is_down_gets_everything_when_it_is_back(world: World) -> None:
    with receiving() as receiver:
        port = receiver.port
        world.sinks(ops=receiver.url)
    world.put("a", "b", "c")
    process = world.start()
    until(lambda: spool.outcome("a", world.paths).why is not None)
    outcome = spool.wait_outcome("a", 0.1, world.paths)
    assert outcome.state == "waiting"
    assert outcome.why is not None
    assert outcome.why.reason == "127.0.0.1: the connection failed: connection refused"
    world.hears("3 waiting for ops (127.0.0.1: the connection failed")
    with receiving(port) as receiver:
        world.arrive("a", "b", "c")
        assert receiver.ids == ["a", "b", "c"]
    stop(process)


def test_a_receiver_that_restarts_is_no_failure(world: World) -> None:
    with receiving() as receiver:
        port = receiver.port
        world.sinks(ops=receiver.url)
        world.put("a")
        process = world.start()
        world.arrive("a")
    with receiving(port) as receiver:
        world.put("b")
        world.arrive("b")
        assert receiver.ids == ["b"]
    assert "<4>" not in stop(process)


def test_what_is_refused_for_good_is_given_up_and_its_end_is_told_all_the_same(
    world: World, receiver: Receiver
) -> None:
    receiver.answer = lambda event: (422 if event["id"] == "begin" else 200, {})
    world.sinks(ops=receiver.url)
    world.put("begin", alert="x")
    world.put("end", alert="x", state="resolved")
    said = ends(world.start(idle=0.05))
    assert receiver.ids == ["begin", "end"]
    assert spool.failed_ids(world.paths) == ["begin"]
    why = spool.outcome("begin", world.paths).why
    assert why is not None
    assert "answered 422" in why.reason
    assert was_said("<3>'begin': given up", said)


def test_one_message_that_chokes_its_receiver_does_not_hold_up_the_others(
    world: World, receiver: Receiver
) -> None:
    receiver.answer = lambda event: (500 if event["id"] == "poison" else 200, {})
    world.sinks(ops=receiver.url)
    world.put("poison", "b", "c")
    process = world.start()
    world.arrive("b", "c")
    assert spool.pending_ids(world.paths) == ["poison"]
    stop(process)


def test_a_sink_that_hangs_delays_no_other(world: World, receiver: Receiver) -> None:
    with hanging() as stuck:
        world.sinks(ops=receiver.url, stuck=stuck)
        world.put("s1", "s2", sink="stuck")
        process = world.start()
        world.hears("READY=1")
        began = time.monotonic()
        for number in range(10):
            world.put(f"m{number}")
            world.arrive(f"m{number}")
        assert time.monotonic() - began < 3
        assert sorted(spool.pending_ids(world.paths)) == ["s1", "s2"]
        process.kill()


def test_a_request_under_way_does_not_hold_up_the_end_for_long(world: World) -> None:
    with hanging() as stuck:
        world.sinks(ops=stuck)
        world.put("m")
        process = world.start()
        world.hears("STATUS=Delivering")
        began = time.monotonic()
        stop(process)
        assert time.monotonic() - began < delivery._STOP_SECONDS + 2
    assert spool.pending_ids(world.paths) == ["m"]


def test_sigterm_between_two_requests_ends_at_once(world: World) -> None:
    world.sinks(ops="http://127.0.0.1:1/")
    world.put("m")
    process = world.start()
    until(lambda: spool.outcome("m", world.paths).why is not None)
    began = time.monotonic()
    stop(process)
    assert time.monotonic() - began < 1


def test_a_damaged_file_is_set_aside_and_the_rest_arrives(world: World, receiver: Receiver) -> None:
    world.sinks(ops=receiver.url)
    (world.paths.spool / "out/broken.json").write_bytes(b'{"id": "bro')
    (world.paths.spool / "out/odd \xff\n<2>name.json").write_bytes(b"{}")
    world.put("good")
    said = ends(world.start(idle=0.05))
    assert receiver.ids == ["good"]
    assert "broken" in spool.failed_ids(world.paths)
    assert was_said("<4>'broken': given up", said)
    assert all(line.startswith(("<4>", "<6>")) for line in said.splitlines())
    assert "\n<2>" not in said
    assert len(spool.failed_ids(world.paths)) == 2


def test_a_sink_that_is_not_configured_any_more_gives_its_messages_up(
    world: World, receiver: Receiver
) -> None:
    world.sinks(ops=receiver.url)
    world.put("m", sink="former")
    said = ends(world.start(idle=0.05))
    assert spool.failed_ids(world.paths) == ["m"]
    text = "<4>'m': given up and moved to failed/: the sink 'former' is not configured"
    assert was_said(text, said)


def test_a_sink_removed_while_its_message_waits_gives_it_up(world: World) -> None:
    world.sinks(ops="http://127.0.0.1:1/")
    world.put("m")
    process = world.start()
    until(lambda: spool.outcome("m", world.paths).why is not None)
    world.sinks(other="http://127.0.0.1:1/")
    spool.poke(world.paths.deliver_socket)
    until(lambda: spool.failed_ids(world.paths) == ["m"])
    stop(process)


def test_a_corrected_address_is_used_at_the_next_try(world: World, receiver: Receiver) -> None:
    world.sinks(ops="http://127.0.0.1:1/")
    world.put("m")
    process = world.start()
    until(lambda: spool.outcome("m", world.paths).why is not None)
    world.sinks(ops=receiver.url)
    spool.poke(world.paths.deliver_socket)
    world.arrive("m")
    stop(process)


def test_without_a_list_of_sinks_nothing_is_given_up(world: World, receiver: Receiver) -> None:
    world.put("m")
    process = world.start(idle=0.05)
    world.hears("STATUS=Waiting for a list of sinks")
    assert spool.pending_ids(world.paths) == ["m"]
    world.sinks(ops=receiver.url)
    spool.poke(world.paths.deliver_socket)
    assert "sinks.json: No such file" in ends(process)
    assert receiver.ids == ["m"]


def test_a_message_that_cannot_be_filed_is_not_sent_again(world: World, receiver: Receiver) -> None:
    """As on a full or read-only disk; root needs a stronger obstacle than permissions."""
    world.sinks(ops=receiver.url)
    (world.paths.spool / "done").rmdir()
    (world.paths.spool / "done").write_text("")
    world.put("m")
    process = world.start()
    until(lambda: spool.outcome("m", world.paths).why is not None)
    (world.paths.spool / "done").unlink()
    (world.paths.spool / "done").mkdir()
    world.arrive("m")
    assert "taken, not filed" in stop(process)
    assert receiver.ids == ["m"]


def test_whenever_it_is_killed_everything_arrives_and_little_twice(
    world: World, receiver: Receiver
) -> None:
    world.sinks(ops=receiver.url)
    wanted = [f"m{number}" for number in range(150)]
    world.put(*wanted)
    kills = 0
    while spool.pending_ids(world.paths):
        process = world.start(idle=0.01)
        seen = len(receiver.told)
        until(lambda n=seen, p=process: len(receiver.told) > n or p.poll() is not None)  # type: ignore[misc]
        time.sleep(random.uniform(0, 0.06))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        assert kills < 150
    assert kills > 2
    assert set(receiver.ids) == set(wanted)
    assert len(receiver.ids) - len(wanted) <= kills
    assert sorted(spool.done_ids(world.paths)) == sorted(wanted)
    assert spool.failed_ids(world.paths) == []
    first_seen = list(dict.fromkeys(receiver.ids))
    assert first_seen == wanted


def test_a_fault_of_its_own_ends_it_without_telling_the_address(
    world: World, receiver: Receiver, tmp_path: Path
) -> None:
    """No thread may die in silence: systemd has to see it and start afresh."""
    world.sinks(ops=receiver.url)
    world.put("m")
    code = f"""
import sys
sys.path.insert(0, {SOURCES!r})
from pathlib import Path
from outcomed import delivery, sinks
from outcomed.paths import Paths
def broken(*_): raise KeyError("http://127.0.0.1/T0KEN")
sinks.Sender.send = broken
sys.exit(delivery.deliver(Paths(state=Path({str(tmp_path)!r})), None, None, 30_000_000))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=15, check=False
    )
    assert done.returncode == 3
    assert "KeyError" in done.stderr
    assert "T0KEN" not in done.stderr
