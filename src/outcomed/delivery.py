"""Bring the spool's messages to their sinks: a process of its own, there only while it is needed.

    socket or start -> look into the spool -> a lane for each sink -> a postman for each lane
                              ^                                                |
                              +---- done/, failed/, or wait and try again <----+

One thread decides and touches the spool; a thread for each sink does nothing but send. So a sink
that hangs delays nobody, and no state is shared. A `Lane` is pure: it is told what happened and
when, and says what is next.

What a message is kept in is the spool alone. Whenever this process is killed, the next one starts
from the same files: each message arrives at least once, under an id by which a repeat is known.

- Messages of one alert keep their order. One that its sink *refuses* for good goes to failed/ and
  the ones after it are sent all the same: refused is a message, not the alert, and a receiver can
  ignore the end of what it never saw begin.
- An alert whose message the receiver answers with an error waits alone: the fault may lie in that
  message, and the sink's other alerts must not wait for it. A sink that does not answer at all is
  tried with its oldest message, and everything waits.
- A message for a sink that is not configured any more goes to failed/ at once; the configuration
  says so on purpose, and moving the file back to out/ sends it again.
- It ends 30 s after the last message. The alerts of one fault come together, and within that time
  a further one takes milliseconds; the next is some hours away, and 30 MB need not wait for it.
"""

from __future__ import annotations

import os
import queue
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NamedTuple, assert_never

from outcomed import sinks, spool
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER
from outcomed.model import DAY, HOUR, MINUTE, SECOND, Delivery, Sink, Usec
from outcomed.paths import PATHS, Paths
from outcomed.spool import Damaged, Waiting, Why

FIRST_WAIT = 1 * SECOND
LONGEST_WAIT = 10 * MINUTE
KEPT_FOR = 7 * DAY
TRIED_FOR = 1 * HOUR  # by a clock that nobody sets, before the age of a message counts
IDLE = Usec(30 * SECOND)
_LOOK_AGAIN = 10 * SECOND  # while there is no usable list of sinks
_STOP_SECONDS = 5.0  # for what is under way at SIGTERM; it is repeated under the same id otherwise
_FIRST_INHERITED_FD = 3

_ERROR, _WARNING, _NOTICE, _INFO = 3, 4, 5, 6


def main() -> int:
    """outcomed-deliver.service."""
    return deliver(PATHS, inherited_socket(), sinks.credentials_directory(), IDLE)


# --- when to try: pure -----------------------------------------------------------------------


def backoff(failures: int, jitter: float) -> Usec:
    """1 s, 2 s, … 10 min, shortened by up to a quarter so that nodes do not knock together."""
    whole = min(FIRST_WAIT << min(failures - 1, 20), LONGEST_WAIT)
    return Usec(int(whole * (1 - jitter / 4)))


_NEVER_TRIED = Usec(0)


@dataclass(slots=True)
class Trouble:
    """What one message has been through. `since` is wall time, `due` monotonic."""

    since: Usec
    tries: int = 0
    answers: int = 0  # how many of these tries the sink answered
    due: Usec = _NEVER_TRIED


@dataclass(slots=True)
class Lane:
    """One sink's messages in order, and when which may be tried. `now` is monotonic time."""

    sink: Sink
    opened: Usec
    queue: list[Waiting] = field(default_factory=list)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # by the sink, but still lying in out/
    busy: bool = False
    failures: int = 0  # in a row, of whichever message
    due: Usec = _NEVER_TRIED
    last_try: Usec = _NEVER_TRIED
    asked_to_wait: bool = False
    reason: str = ""

    def add(self, messages: Iterable[Waiting], now: Usec) -> None:
        """Something new is worth a try at once, unless the sink itself said when to come back."""
        self.queue = spool.in_order([*self.queue, *messages])
        if not self.asked_to_wait:
            self.due = min(self.due, max(now, Usec(self.last_try + FIRST_WAIT)))

    def next(self, now: Usec) -> Waiting | None:
        """The message to try now: the one that was answered with the fewest errors so far."""
        if self.busy or now < self.due:
            return None
        due = (each for each in self._heads() if self._due(each) <= now)
        return min(due, key=self._answers, default=None)  # min takes the oldest of equals

    def wakes_at(self) -> Usec | None:
        """When `next` will have an answer if nothing happens before."""
        if self.busy or not self.queue:
            return None
        return max(self.due, min(self._due(each) for each in self._heads()))

    def _heads(self) -> Iterable[Waiting]:
        """The first message of each alert: the others wait for it."""
        seen: set[str] = set()
        for each in self.queue:
            if each.alert not in seen:
                seen.add(each.alert)
                yield each

    def _due(self, message: Waiting) -> Usec:
        trouble = self.troubles.get(message.id)
        return trouble.due if trouble else Usec(0)

    def _answers(self, message: Waiting) -> int:
        trouble = self.troubles.get(message.id)
        return trouble.answers if trouble else 0

    def leaves(self, ident: str) -> None:
        """The message is done, failed or gone."""
        self.queue = [each for each in self.queue if each.id != ident]
        self.troubles.pop(ident, None)
        self.taken.discard(ident)

    def heard(self) -> None:
        """The sink works."""
        self.failures, self.due, self.asked_to_wait, self.reason = 0, Usec(0), False, ""

    def failed(
        self, ident: str, retry: sinks.Retry, now: Usec, wall: Usec, jitter: float
    ) -> Trouble:
        """Not now. A sink that answered may dislike this message, so this one waits for longer."""
        trouble = self.troubles.setdefault(ident, Trouble(since=wall))
        trouble.tries += 1
        self.failures += 1
        if retry.answered:
            trouble.answers += 1
            trouble.due = Usec(now + backoff(trouble.answers, jitter))
        self.asked_to_wait = retry.after is not None
        wait = backoff(self.failures, jitter) if retry.after is None else retry.after
        self.due, self.last_try, self.reason = Usec(now + wait), now, retry.reason
        return trouble

    def too_old(self, now: Usec, wall: Usec) -> list[Waiting]:
        """What has waited in vain. Days by the wall clock count only after an hour by the other.

        A host that comes up with a wrong clock, or after a week in a cupboard, still tries.
        """
        if now - self.opened < TRIED_FOR:
            return []
        return [each for each in self.queue if wall - each.created >= KEPT_FOR]


# --- the threads that send -------------------------------------------------------------------


class Result(NamedTuple):
    """What a postman brings back."""

    sink: str
    message: Waiting
    outcome: sinks.Outcome


class Postman(threading.Thread):
    """Sends for one sink, one message at a time, on one kept connection. Touches nothing else."""

    def __init__(
        self, name: str, credentials: Path | None, report: Callable[[Result], None]
    ) -> None:
        super().__init__(name=f"sink {name}", daemon=True)  # it may hang; the process may not
        self._sink_name, self._credentials, self._report = name, credentials, report
        self._inbox: queue.SimpleQueue[tuple[Sink, Waiting, Delivery] | None] = queue.SimpleQueue()

    def send(self, sink: Sink, message: Waiting, delivery: Delivery) -> None:
        self._inbox.put((sink, message, delivery))

    def go_home(self) -> None:
        self._inbox.put(None)

    def run(self) -> None:
        with sinks.Sender(self._credentials) as sender:
            for sink, message, delivery in iter(self._inbox.get, None):
                outcome = sender.send(sink, delivery, _wall())
                self._report(Result(self._sink_name, message, outcome))


# --- the thread that decides -----------------------------------------------------------------


class Office:
    """Everything of one run of this process. Its methods run in one thread, but for `_report`."""

    def __init__(self, paths: Paths, credentials: Path | None) -> None:
        self._paths = paths
        self._credentials = credentials
        self._sinks: dict[str, Sink] | None = None
        self._lanes: dict[str, Lane] = {}
        self._postmen: dict[str, Postman] = {}
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._immovable: set[str] = set()
        self._blind = False  # there are messages, but no usable list of sinks
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)

    # What comes in.

    def look(self) -> None:
        """Take up what is new in the spool."""
        known = {each.id for lane in self._lanes.values() for each in lane.queue}
        unknown = set(spool.pending_ids(self._paths)) - known - self._immovable
        if not unknown and not known:
            self._blind = False
            return
        if not self._read_sinks():
            return
        arrived: dict[str, list[Waiting]] = {}
        for each in spool.waiting(unknown, self._paths):
            if isinstance(each, Damaged):
                self._give_up(each.id, None, each.reason, _WARNING)
            else:
                arrived.setdefault(each.sink, []).append(each)
        for sink, messages in arrived.items():
            self._sort_in(sink, messages)

    def _read_sinks(self) -> bool:
        try:
            self._sinks = {sink.name: sink for sink in spool.read_sinks(self._paths)}
        except spool.SpoolError as error:
            if not self._blind:
                log(_ERROR, f"{error.fault}, waiting until the daemon writes it anew")
            self._blind = self._sinks is None
            return not self._blind
        self._blind = False
        for name, lane in self._lanes.items():
            if name in self._sinks:
                lane.sink = self._sinks[name]
            elif not lane.busy:
                self._dissolve(lane)
        return True

    def _dissolve(self, lane: Lane) -> None:
        for each in lane.queue:
            self._give_up(each.id, lane, _NO_SUCH_SINK.format(each.sink), _WARNING)

    def _sort_in(self, name: str, messages: list[Waiting]) -> None:
        assert self._sinks is not None
        if name not in self._sinks:
            for each in messages:
                self._give_up(each.id, None, _NO_SUCH_SINK.format(name), _WARNING)
            return
        now = _monotonic()
        self._lanes.setdefault(name, Lane(self._sinks[name], opened=now)).add(messages, now)

    # What goes out.

    def dispatch(self) -> None:
        """Give each free postman what is due."""
        for name, lane in self._lanes.items():
            while (message := lane.next(_monotonic())) is not None:
                if message.id in lane.taken:
                    self._file_as_done(lane, message)
                elif self._hand_over(name, lane, message):
                    break

    def _hand_over(self, name: str, lane: Lane, message: Waiting) -> bool:
        match spool.take(message.id, self._paths):
            case None:
                lane.leaves(message.id)  # an administrator took it away
            case Damaged(reason=reason):
                self._give_up(message.id, lane, reason, _WARNING)
            case Delivery() as delivery:
                lane.busy = True
                self._postman(name).send(lane.sink, message, delivery)
        return lane.busy

    def _postman(self, name: str) -> Postman:
        postman = self._postmen.get(name)
        if postman is None:
            postman = self._postmen[name] = Postman(name, self._credentials, self._report)
            postman.start()
        return postman

    def _report(self, result: Result) -> None:
        self._results.put(result)
        self.ring()

    def ring(self) -> None:
        """Wake the deciding thread, from any other."""
        with suppress(BlockingIOError):  # full: it is about to wake already
            self._waker.send(b"\0")

    # What came of it.

    def collect(self) -> None:
        """Act on what the postmen brought back."""
        with suppress(queue.Empty):
            while True:
                self._settle(self._results.get_nowait())

    def _settle(self, result: Result) -> None:
        lane, message = self._lanes[result.sink], result.message
        lane.busy = False
        match result.outcome:
            case sinks.Delivered():
                lane.heard()
                lane.taken.add(message.id)
                self._file_as_done(lane, message)
            case sinks.Refused(reason=reason):
                lane.heard()
                self._give_up(message.id, lane, reason, _ERROR)
            case sinks.Retry() as retry:
                self._put_off(lane, message, retry)
            case _:
                assert_never(result.outcome)

    def _file_as_done(self, lane: Lane, message: Waiting) -> None:
        """Until the file is moved the message stays, taken: it is not sent a second time."""
        try:
            spool.mark_done(message.id, self._paths)
        except OSError as error:
            self._put_off(lane, message, sinks.Retry(f"taken, not filed: {error.strerror}"))
            return
        trouble = lane.troubles.get(message.id)
        tries = f" at try {trouble.tries + 1}" if trouble else ""
        log(_INFO, f"{message.sink}: took {message.id} ({message.state}){tries}")
        lane.leaves(message.id)

    def _put_off(self, lane: Lane, message: Waiting, retry: sinks.Retry) -> None:
        now, wall = _monotonic(), _wall()
        trouble = lane.failed(message.id, retry, now, wall, random.random())  # noqa: S311 -- jitter
        old = lane.too_old(now, wall)
        for each in old:
            self._give_up(each.id, lane, f"undelivered for 7 days: {retry.reason}", _ERROR)
        if message in old:
            return
        again = max(lane.due, trouble.due) - now
        log(_WARNING, f"{message.sink}: {retry.reason}; trying again in {_span(again)}")
        try:
            spool.note_why(
                message.id, Why(retry.reason, trouble.since, wall, trouble.tries), self._paths
            )
        except OSError as error:
            log(_WARNING, f"{message.id}.why: {error.strerror}, going on without it")

    def _give_up(self, ident: str, lane: Lane | None, reason: str, level: int) -> None:
        trouble = lane.troubles.get(ident) if lane else None
        wall = _wall()
        why = Why(reason, trouble.since if trouble else wall, wall, trouble.tries if trouble else 0)
        try:
            spool.mark_failed(ident, why, self._paths)
        except OSError as error:
            # The next process tries again; this one does not let it stand in the way.
            log(_ERROR, f"{ident!a}: cannot be moved to failed/: {error.strerror}, leaving it")
            self._immovable.add(ident)
        _log_refusal(level, ident, lane.sink.name if lane else "", reason)
        if lane:
            lane.leaves(ident)

    # When to wake, and when to end.

    @property
    def is_idle(self) -> bool:
        return not self._blind and not any(lane.queue for lane in self._lanes.values())

    def sleeps_for(self, idle: Usec) -> Usec:
        if self.is_idle:
            return idle
        times = [at for lane in self._lanes.values() if (at := lane.wakes_at()) is not None]
        wait = max(min(times) - _monotonic(), 0) if times else None
        if self._blind:
            wait = _LOOK_AGAIN if wait is None else min(wait, _LOOK_AGAIN)
        return Usec(LONGEST_WAIT if wait is None else wait)

    def status(self) -> str:
        """For STATUS=: what is held up, for whom, why. No figure that changes with each message."""
        if self._blind:
            return "Waiting for a list of sinks"
        if self.is_idle:
            return "Idle"
        held_up = [lane for lane in self._lanes.values() if lane.queue and lane.reason]
        return "; ".join(map(_lane_status, held_up)) or "Delivering"

    def close(self) -> None:
        """Let what is under way come to its end, for a moment, and file it."""
        for postman in self._postmen.values():
            postman.go_home()
        until = time.monotonic() + _STOP_SECONDS
        for postman in self._postmen.values():
            postman.join(max(until - time.monotonic(), 0))
        self.collect()


_NO_SUCH_SINK = "the sink {!a} is not configured any more"


def _lane_status(lane: Lane) -> str:
    return f"{len(lane.queue)} waiting for {lane.sink.name} ({lane.reason})"


# --- the process -----------------------------------------------------------------------------


def deliver(paths: Paths, bell: socket.socket | None, credentials: Path | None, idle: Usec) -> int:
    """Deliver until nothing has been waiting for `idle`, or until SIGTERM."""
    office = Office(paths, credentials)
    stopping = _stop_on_signal(office.ring)
    broken = _break_on_fault(office.ring)
    office.look()
    office.dispatch()
    tell("READY=1")
    _run(office, bell, idle, lambda: stopping.is_set() or broken.is_set())
    if broken.is_set():
        return EXIT_NO_ANSWER
    tell("STOPPING=1")
    office.close()
    spool.tidy(Usec(_wall() - DAY), paths)
    return EXIT_FINE


def _run(
    office: Office, bell: socket.socket | None, idle: Usec, is_over: Callable[[], bool]
) -> None:
    """Until it is time to end.

    The bell is read before the spool. A datagram that comes after the last look therefore stays
    in the socket, and systemd starts the next process for it.
    """
    poll = select.poll()
    for each in (office.wake, bell):
        if each is not None:
            poll.register(each, select.POLLIN)
    status = ""
    while not is_over():
        if status != (status := office.status()):
            tell(f"STATUS={status}")
        ready = {fd for fd, _ in poll.poll(-(-office.sleeps_for(idle) // 1000))}
        _drain(office.wake)
        office.collect()
        if bell is not None and bell.fileno() in ready:
            _drain(bell)
        was_idle = office.is_idle
        if not ready or (bell is not None and bell.fileno() in ready):
            office.look()
        if was_idle and not ready and office.is_idle:
            return
        if not is_over():
            office.dispatch()


def _drain(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            sock.recv(64, socket.MSG_DONTWAIT)


def _stop_on_signal(ring: Callable[[], None]) -> threading.Event:
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        ring()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def _break_on_fault(ring: Callable[[], None]) -> threading.Event:
    """A thread that ends by a fault of ours ends the process: systemd starts it afresh.

    Said is what and where, but not the exception's text: it may quote an address.
    """
    broken = threading.Event()

    def speak(fault: threading.ExceptHookArgs) -> None:
        place = fault.exc_traceback
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        log(_ERROR, f"{fault.exc_type.__name__}{where}: a fault of outcomed, starting afresh")
        broken.set()
        ring()

    threading.excepthook = speak
    return broken


def inherited_socket() -> socket.socket | None:
    """The socket of outcomed-deliver.socket (sd_listen_fds(3)); None when started by hand."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or "LISTEN_FDS" not in os.environ:
        return None
    return socket.socket(fileno=_FIRST_INHERITED_FD)


def tell(state: str) -> None:
    """sd_notify(3). By hand: libsystemd takes 9 ms to load, just when the first message is sent."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.send(state.encode())


def log(level: int, text: str) -> None:
    """To the journal, by the level prefix of sd-daemon(3)."""
    sys.stderr.write(f"<{level}>{text}\n")
    sys.stderr.flush()


def _log_refusal(level: int, ident: str, sink: str, reason: str) -> None:
    """With its MESSAGE_ID, so that `journalctl -x` says what to do about it."""
    from outcomed import entry, messages
    from outcomed.errors import JournalError

    text = f"{ident!a}: given up and moved to failed/: {reason}"
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(level),
        "MESSAGE_ID": messages.DELIVERY_REFUSED,
        "SYSLOG_IDENTIFIER": "outcomed-deliver",
        "OUTCOMED_SINK": sink,
        "OUTCOMED_DELIVERY": ident,
    }
    try:
        entry.send(fields, wait=1)
    except JournalError:
        log(level, text)


def _span(usec: int) -> str:
    seconds = -(-usec // SECOND)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _wall() -> Usec:
    return Usec(time.time_ns() // 1000)


def _monotonic() -> Usec:
    return Usec(time.monotonic_ns() // 1000)
