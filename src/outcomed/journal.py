"""The journal: PID 1's word about units, a run's own lines, and the way in for ours.

Only trusted fields count, and together: PID 1 is `_PID=1`, journald is `_TRANSPORT=driver`, a job's
own word carries its `_SYSTEMD_UNIT=` *and* its `_SYSTEMD_INVOCATION_ID=`. Nothing here follows the
journal: the bus wakes, then the journal is synchronized and read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from systemd import _reader

from outcomed import messages
from outcomed.errors import JournalError
from outcomed.model import (
    SECOND,
    BootId,
    InvocationId,
    Record,
    RunId,
    UnitName,
    Usec,
    invocation_id,
)
from outcomed.tracker import Told, What

JOURNALD = "systemd-journald.service"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

# systemd/sd-messages.h
WHAT = {
    b"7d4958e842da4a758f6c1cdc7b36dcc5": What.STARTING,
    b"39f53479d3a045ac8e11786248231fbf": What.STARTED,
    b"be02cf6855d2428ba40df7e9d022f03d": What.START_FAILED,
    b"7ad2d189f7e94e70a38c781354912448": What.ENDED_WELL,
    b"d9b373ed55a64feb8242e02dbe79a49c": What.FAILED,
    b"98e322203f7a4ed290d09fe03c09fe15": What.PROCESS_ENDED,
    b"0e4284a0caca4bfc81c0bb6786972673": What.NOT_NEEDED,
    b"5eb03494b6584870a536b337290809b3": What.RESTARTING,
    b"9d1aaa27d60140bd96365438aad20286": What.STOPPED,
}
SHUTDOWN = UnitName("shutdown.target")  # what every way down goes by
EARLY = 1_000_000  # how much older than its run's start a line may be
STRAY = 10_000_000  # how much later than the next run's start one may be read
LATE = 60 * SECOND  # that journald may have been held up; what is more is a clock that was set
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"  # SD_MESSAGE_JOURNAL_DROPPED
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"  # SD_MESSAGE_UNIT_STARTING
STOPPED = "d93fb3c9c24d451a97cea615ce59c00b"  # SD_MESSAGE_JOURNAL_STOPPED
STARTED = "39f53479d3a045ac8e11786248231fbf"  # SD_MESSAGE_UNIT_STARTED
UNIT_STOPPED = "9d1aaa27d60140bd96365438aad20286"  # SD_MESSAGE_UNIT_STOPPED
SLEEP_BEGINS = "6bbd95ee977941e497c48be27c254128"  # SD_MESSAGE_SLEEP_START
SLEEP_ENDS = "8811e6df2a8e40f58a94cea26f8ebf14"  # SD_MESSAGE_SLEEP_STOP

# An entry may hold 768 MB, and compressed it fits into any journal. libsystemd 257 unpacks all of
# it, whatever sd_journal_set_data_threshold() said, and keeps the memory: so that much, on top of
# what the process has already, is what one entry may take.
ENTRY_MEMORY = 16 << 20
TEXT = 500  # bytes of one of PID 1's words or sentences
LARGE = 1 << 20  # bytes of a message after which libsystemd's memory is given back
_ALWAYS = ("MESSAGE", "_SYSTEMD_UNIT", "_SYSTEMD_INVOCATION_ID")
_NEEDED = (
    *_ALWAYS,
    *("MESSAGE_ID", "PRIORITY", "_TRANSPORT", "N_DROPPED"),
    *("OUTCOMED_STEP", "OUTCOMED_REPORT"),
)


class Line(Record, frozen=True):
    """One line of a unit. `own` if it is the run's that was asked for; `at` by the clock that was
    asked by."""

    at: Usec
    priority: int
    own: bool
    message: bytes
    step: bytes | None = None
    report: bytes | None = None
    streamed: bool = False  # printed, not sent
    too_long: bool = False  # to be read; the message is empty then
    strayed: bool = False  # an earlier run's, read after this one had begun


class Place(Record, frozen=True):
    """Where in the journal an entry stands, by both clocks."""

    cursor: str
    boot: BootId
    at: Usec
    mono: Usec


class Drop(Record, frozen=True):
    """journald says that it dropped messages of the run."""

    number: int


class Halt(Record, frozen=True):
    """journald itself stopped. Restarted, it takes up the streams that it had; stopped and
    started, it does not."""

    at: Usec


class Word(Record, frozen=True):
    """One of PID 1's entries about an attempt of the run."""

    what: What
    last: bool  # of the run's last attempt


Item = Line | Drop | Halt | Word


class Boot(Record, frozen=True):
    """What the journal has of one boot."""

    begin: Usec
    end: Usec
    is_clean: bool  # journald was stopped in order: what was said then is there to the end
    timers_from: Usec  # as long as timers.target was active, timers elapsed
    timers_to: Usec


class Journal:
    """The journal, opened when it is needed. Holds files open, so it is closed when idle."""

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace
        self._reader: Any = None
        self._limit: _Limit | None = None
        self._size = 0  # bytes of all files that it has

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """May be called twice; the next question opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None

    def _fresh(self) -> Any:
        """A reader that has all files that there are, and no matches."""
        try:
            if self._reader is not None and self._reader.process() == _reader.INVALIDATE:
                self.close()  # a file has come or gone
            if self._reader is None:
                self._reader = (
                    _reader._Reader(namespace=self.namespace)
                    if self.namespace
                    else _reader._Reader(flags=_reader.LOCAL_ONLY | _reader.SYSTEM)
                )
                self._reader.fileno()  # sets up the watch that process() reads
                self._limit = _Limit()
                self._reader.process()
                self._size = self._reader.get_usage()
            self._reader.flush_matches()
        except OSError as error:
            self.close()
            raise JournalError(f"the journal cannot be read: {error}") from error
        return self._reader

    def begins(self) -> Place | None:
        """The oldest entry's place; None in an empty journal."""
        return self._place(lambda reader: reader.seek_head(), lambda reader: reader._next())

    def tail(self) -> Place | None:
        """The newest entry's; None in an empty journal."""
        return self._place(lambda reader: reader.seek_tail(), lambda reader: reader._previous())

    def before(self, boot: BootId, mono: Usec) -> Place | None:
        """A boot's newest entry that is older than this moment; None if there is none."""
        return self._place(
            lambda reader: reader.seek_monotonic(mono, boot),
            lambda reader: reader._previous(),
            f"_BOOT_ID={boot}",
        )

    def at(self, cursor: str) -> Place | None:
        """What the cursor points at. One whose entry is gone (vacuum, power cut) lands anywhere."""
        try:
            found = self._place(
                lambda reader: reader.seek_cursor(cursor), lambda reader: reader._next()
            )
        except (ValueError, JournalError):
            return None
        return found if found is not None and self._reader.test_cursor(cursor) else None

    def _place(
        self, seek: Callable[[Any], None], step: Callable[[Any], bool], *matches: str
    ) -> Place | None:
        reader = self._fresh()
        for match in matches:
            reader.add_match(match)
        try:
            seek(reader)
            if not step(reader):
                return None
            mono, boot = reader._get_monotonic()
            return Place(
                cursor=reader._get_cursor(),
                boot=BootId(bytes(boot).hex()),
                at=Usec(reader._get_realtime()),
                mono=Usec(int(mono)),
            )
        except OSError as error:
            raise JournalError(f"the journal cannot be read: {error}") from error

    def boot_id(self) -> BootId:
        """This boot, by the entry that PID 1 wrote when it started this very process's unit.

        The daemon's sandbox hides the kernel's own file.
        """
        reader = self._fresh()
        own = os.environ.get("INVOCATION_ID", "")
        reader.add_match("_PID=1")
        reader.add_match(f"INVOCATION_ID={own}")
        reader.seek_head()
        if own and reader._next():  # an empty one is on every start that a condition refused
            return BootId(bytes(reader._get_monotonic()[1]).hex())
        try:
            return BootId(Path(_BOOT_ID).read_text().strip().replace("-", ""))
        except OSError as error:
            raise JournalError(
                f"which boot this is cannot be told: {error}",
                hint="is journald running, and does it keep anything (Storage=)?",
            ) from error

    def boots(self, since: Usec) -> list[Boot]:
        """The boots of which the journal has anything since then, in their order."""
        reader = self._fresh()
        found: list[Boot] = []
        try:
            for ident in reader.query_unique("_BOOT_ID"):
                boot = self._boot(bytes(ident).decode("ascii", "replace"))
                if boot is not None and boot.end >= since:
                    found.append(boot)
        except OSError as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        return sorted(found, key=lambda boot: boot.begin)

    def _boot(self, ident: str) -> Boot | None:
        begin = self._edge(ident, (), last=False)
        end = self._edge(ident, (), last=True)
        if begin is None or end is None:
            return None
        stopped = self._edge(ident, ("_TRANSPORT=driver", f"MESSAGE_ID={STOPPED}"), last=True)
        timers = ("_PID=1", "UNIT=timers.target")
        reached = self._edge(ident, (*timers, f"MESSAGE_ID={STARTED}"), last=False)
        left = self._edge(ident, (*timers, f"MESSAGE_ID={UNIT_STOPPED}"), last=True)
        timers_from = begin if reached is None else reached
        return Boot(
            begin,
            end,
            is_clean=stopped is not None and stopped >= end - SECOND,
            timers_from=timers_from,
            timers_to=end if left is None or left < timers_from else left,
        )

    def _edge(self, boot: str, matches: Sequence[str], *, last: bool) -> Usec | None:
        """When the first or last of these entries of a boot was written."""
        reader = self._fresh()
        for match in (f"_BOOT_ID={boot}", *matches):
            reader.add_match(match)
        if last:
            reader.seek_tail()
            return Usec(reader._get_realtime()) if reader._previous() else None
        reader.seek_head()
        return Usec(reader._get_realtime()) if reader._next() else None

    def sleeps(self, since: Usec) -> list[tuple[Usec, Usec]]:
        """From when to when the machine slept: systemd-sleep says so, as root."""
        reader = self._fresh()
        reader.add_match("_UID=0")
        reader.add_match(f"MESSAGE_ID={SLEEP_BEGINS}")
        reader.add_match(f"MESSAGE_ID={SLEEP_ENDS}")
        found: list[tuple[Usec, Usec]] = []
        begin: Usec | None = None
        with contextlib.suppress(JournalError):  # those that can be read are better than none
            for at, _, entry in self._entries(Start(since)):
                if entry.get("MESSAGE_ID") == SLEEP_BEGINS.encode():
                    begin = at
                elif begin is not None:
                    found.append((begin, at))
                    begin = None
        return found

    def told_after(self, cursor: str) -> Iterator[Told]:
        """PID 1's entries from this one on, in the journal's order, whatever the clock did."""
        return self._told(Start(cursor=cursor), None)

    def told_since(
        self, begin: Usec, unit: UnitName | None = None, *, boot: BootId | None = None
    ) -> Iterator[Told]:
        """PID 1's entries since this moment, about one unit or about all; with a `boot`, only of
        that one, and the moment is its monotonic clock's, which nobody sets."""
        return self._told(Start(begin, boot), unit)

    def began(self, unit: UnitName, invocation: InvocationId) -> tuple[BootId, Usec] | None:
        """The boot and the monotonic moment of the first that PID 1 says of an attempt."""
        reader = self._fresh()
        for match in ("_PID=1", f"UNIT={unit}", f"INVOCATION_ID={invocation}"):
            reader.add_match(match)
        for _, moment, _ in self._entries(Start()):
            return moment[1], Usec(moment[0])
        return None

    def _told(self, start: Start, unit: UnitName | None) -> Iterator[Told]:
        reader = self._fresh()
        reader.add_match("_PID=1")
        if unit is not None:
            reader.add_match(f"UNIT={unit}")
        for message_id in WHAT:
            reader.add_match(f"MESSAGE_ID={message_id.decode()}")
        for at, moment, entry in self._entries(start):
            told = _told(at, moment, entry)
            if told is not None:
                yield told

    def tells_of_verdict(self, run: RunId) -> bool:
        """Whether the daemon's verdict on a run that has ended is in it."""
        reader = self._fresh()
        for match in ("_SYSTEMD_UNIT=outcomed.service", f"OUTCOMED_RUN={run}"):
            reader.add_match(match)
        return any(
            entry.get("OUTCOMED_VERDICT", b"overdue") != b"overdue"
            for _, _, entry in self._entries(Start())
        )

    def shutdown_after(self, boot: BootId, mono: Usec) -> int | None:
        """The number of the job that shut this host down, in that boot and after that moment.

        None: nothing did, or the journal does not have it (a power cut, `LogLevel=` of systemd).
        """
        reader = self._fresh()
        for match in ("_PID=1", f"UNIT={SHUTDOWN}", "JOB_TYPE=start"):
            reader.add_match(match)
        for _, _, entry in self._entries(Start(mono, boot)):
            if job := _number(entry.get("JOB_ID"), 0):
                return job
        return None

    def lines(
        self,
        unit: UnitName,
        invocations: Sequence[InvocationId],
        begin: Usec,
        own: tuple[Usec, Usec | None],
        *,
        boot: BootId | None = None,
        words: bool = False,
        mains: Mapping[int, bool] = MappingProxyType({}),
    ) -> Iterator[Item]:
        """The unit's lines since `begin`, those of these invocations marked as own; with `words`,
        what PID 1 says of these invocations between them. With a `boot`, all moments are of its
        monotonic clock. `mains` are the main processes that the unit has had lately, with whether
        they were these invocations'.

        journald looks the invocation up when it reads a line. A unit that ended just before is
        gone by then, and its last lines carry no id at all (one short run in twelve): what came
        while this run was the unit's newest is its own. Another run's id never is; unless its main
        process wrote the line, whose number journald has from the kernel when the stream is made.

        systemd takes the time of the start after it has forked: a quick process's first lines, by
        their id, may be older.
        """
        last, later = invocations[-1:] if words else (), own[1]
        # Of what came before, and since the next run has begun, only what carries an id of this one
        # is its own; the journal's index finds that. The rest is counted when its turn comes.
        spans = [(Usec(max(begin - EARLY, 0)), begin, True), (begin, later, False)]
        if later is not None:
            spans.append((later, None, True))
        reader, longest = self._fresh(), 0
        for span in spans:
            reader.flush_matches()
            for item in self._lines(unit, invocations, begin, own, boot, *span, last, mains):
                longest = max(longest, len(item.message) if isinstance(item, Line) else 0)
                yield item
        if longest > LARGE:
            self.close()

    def _lines(
        self,
        unit: UnitName,
        invocations: Sequence[InvocationId],
        begin: Usec,
        own: tuple[Usec, Usec | None],
        boot: BootId | None,
        since: Usec,
        until: Usec | None,
        only_own: bool,
        last: Sequence[InvocationId],
        mains: Mapping[int, bool],
    ) -> Iterator[Item]:
        reader = self._reader
        reader.add_match(f"_SYSTEMD_UNIT={unit}")
        for invocation in invocations if only_own else ():
            reader.add_match(f"_SYSTEMD_INVOCATION_ID={invocation}")
        reader.add_disjunction()
        for pid in (pid for pid, is_own in mains.items() if is_own and only_own):
            reader.add_match(f"_SYSTEMD_UNIT={unit}")
            reader.add_match(f"_PID={pid}")
            reader.add_disjunction()
        reader.add_match("_TRANSPORT=driver")
        reader.add_match(f"MESSAGE_ID={DROPPED}")
        for invocation in invocations:
            reader.add_match(f"OBJECT_SYSTEMD_INVOCATION_ID={invocation}")
        reader.add_disjunction()
        reader.add_match("_TRANSPORT=driver")
        reader.add_match(f"MESSAGE_ID={STOPPED}")
        if last:
            reader.add_disjunction()
            reader.add_match("_PID=1")
            for invocation in invocations:
                reader.add_match(f"INVOCATION_ID={invocation}")
            reader.add_disjunction()
            for match in ("_PID=1", f"UNIT={unit}", f"MESSAGE_ID={STARTING}"):
                reader.add_match(match)
        wanted = frozenset(invocation.encode() for invocation in invocations)
        unit_bytes = unit.encode()
        for real, moment, entry in self._entries(Start(since, boot), until, _ALWAYS):
            at = real if boot is None else Usec(moment[0])
            if entry.get("_SYSTEMD_UNIT") == unit_bytes:
                line = _line(at, entry, wanted, own, mains)
                if line.own or line.at >= begin:
                    yield line
            elif entry.get("_TRANSPORT") == b"driver":
                if entry.get("MESSAGE_ID") == STOPPED.encode():
                    yield Halt(at)
                else:
                    yield Drop(_number(entry.get("N_DROPPED"), 1))
            elif (what := WHAT.get(_first(entry.get("MESSAGE_ID")))) is not None:
                named = _text(entry, "INVOCATION_ID")
                if named in invocations:
                    yield Word(what, named in last)
                elif at > own[0]:  # the next run's start, which the bus need not have shown yet
                    own = (own[0], min(at, own[1] or at))

    def _entries(
        self, start: Start, end: Usec | None = None, always: Sequence[str] = ()
    ) -> Iterator[tuple[Usec, Moment, Entry]]:
        """All entries since then, that have `always` these fields: one that has not may be too
        large. A file may be damaged, or be deleted meanwhile: a JournalError, at the latest when
        all was read that can be."""
        reader, limit = self._reader, self._limit
        assert limit is not None
        try:
            start.seek(reader)
            while reader._next():
                at = Usec(reader._get_realtime())
                mono, boot = reader._get_monotonic()
                if end is not None and (at if start.boot is None else int(mono)) >= end:
                    break
                yield at, (int(mono), BootId(bytes(boot).hex())), limit.read(reader, always)
            size, before = reader.get_usage(), self._size
        except OSError as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        # Where something is damaged, libsystemd drops the file and is silent about it from then on.
        self._size = size
        if size < before:
            self.close()
            raise JournalError("a file of the journal is damaged, or was removed meanwhile")


Entry = dict[str, Any]
Moment = tuple[int, BootId]  # monotonic, and the boot that counts from there


class Start(NamedTuple):
    """Where to begin reading: by the clock on the wall, by a boot's monotonic one, or at an
    entry."""

    at: Usec = Usec(0)
    boot: BootId | None = None
    cursor: str = ""

    def seek(self, reader: Any) -> None:
        if self.cursor:
            reader.seek_cursor(self.cursor)
        elif self.boot is not None:
            reader.add_conjunction()
            reader.add_match(f"_BOOT_ID={self.boot}")
            reader.seek_monotonic(self.at, self.boot)
        else:
            reader.seek_realtime(self.at)


class _Limit:
    """What reading one entry may take, as a limit on the process that holds only meanwhile."""

    def __init__(self) -> None:
        _, self._hard = self._usual = resource.getrlimit(resource.RLIMIT_DATA)
        self._measure()

    def _measure(self) -> None:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[5])
        self._most = pages * resource.getpagesize() + ENTRY_MEMORY

    def read(self, reader: Any, always: Sequence[str]) -> Entry:
        """The entry, or what is needed of it as far as it has a sensible size."""
        entry: Entry | None = self._try(reader._get_all)
        if entry is not None and all(name in entry for name in always):
            return entry
        # Where libsystemd fails, the binding takes it for the entry's end. It may have been our own
        # memory that has grown meanwhile.
        self._measure()
        entry = self._try(reader._get_all) or {}
        return {name: self._try(partial(_field, reader, name)) for name in _NEEDED} | entry

    def _try(self, read: Callable[[], Any]) -> Any:
        """None: it is too large."""
        resource.setrlimit(resource.RLIMIT_DATA, (self._most, self._hard))
        try:
            return read()
        except MemoryError:
            return None
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            return None
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, self._usual)


def _field(reader: Any, name: str) -> bytes:
    try:
        return bytes(reader._get(name))
    except KeyError:
        return b""


def _told(at: Usec, moment: Moment, entry: Entry) -> Told | None:
    what = WHAT.get(_first(entry.get("MESSAGE_ID")))
    unit = _text(entry, "UNIT")
    if what is None or not unit or entry.get("_PID") != b"1":
        return None
    # An entry bears the times at which journald read it, and that at which PID 1 wrote it.
    late = at - _number(entry.get("_SOURCE_REALTIME_TIMESTAMP"), at)
    late = late if 0 < late < LATE else 0
    return Told(
        what=what,
        unit=UnitName(unit),
        boot=moment[1],
        at=Usec(at - late),
        mono=Usec(max(moment[0] - late, 0)),
        invocation=invocation_id(_text(entry, "INVOCATION_ID")),
        job_id=_text(entry, "JOB_ID"),
        result=_text(entry, "UNIT_RESULT") or _text(entry, "JOB_RESULT"),
        message=_text(entry, "MESSAGE"),
        code=_text(entry, "EXIT_CODE"),
        status=_text(entry, "EXIT_STATUS"),
        command=_text(entry, "COMMAND"),
    )


def _line(
    at: Usec,
    entry: Entry,
    wanted: frozenset[bytes],
    own: tuple[Usec, Usec | None],
    mains: Mapping[int, bool],
) -> Line:
    invocation = _first(entry.get("_SYSTEMD_INVOCATION_ID"))
    message_id = entry.get("MESSAGE_ID")
    step = report = None
    if message_id == messages.JOB_STEP.encode():
        step = _first(entry.get("OUTCOMED_STEP"))
    elif message_id == messages.JOB_REPORT.encode():
        report = _first(entry.get("OUTCOMED_REPORT"))
    begun, later = own
    is_own = invocation in wanted or (
        not invocation and begun <= at and (later is None or at < later)
    )
    # Processes' numbers come again: only what was read soon after is told by them.
    is_soon = at < (begun if later is None else later) + STRAY
    main = mains.get(_number(entry.get("_PID"), 0)) if is_soon else None
    if main is not None:
        is_own = main
    return Line(
        at=at,
        priority=_number(entry.get("PRIORITY"), 6),
        own=is_own,
        message=_first(entry.get("MESSAGE")),
        step=step,
        report=report,
        streamed=entry.get("_TRANSPORT") == b"stdout",
        too_long=None in entry.values(),
        strayed=main is False,
    )


def _first(value: Any) -> bytes:
    """A field may stand in an entry more than once; the first counts."""
    if isinstance(value, list):
        value = value[0]
    return value if isinstance(value, bytes) else b""


def _text(entry: Entry, name: str) -> str:
    return _first(entry.get(name))[:TEXT].decode("utf-8", "replace")


def _number(value: Any, default: int) -> int:
    """Of a field that anybody may have written: no number that the journal's own are not."""
    text = _first(value)
    return int(text) if text.isdigit() and len(text) <= 18 else default


# --- synchronize -----------------------------------------------------------------------------


class Synchronizing:
    """A question to journald that is answered when all that was sent before it can be read.

    `fileno()` becomes readable with the answer: 3 ms on a quiet host, seconds under a flood, so
    nobody waits for it in a call.
    """

    _REQUEST = b'{"method":"io.systemd.Journal.Synchronize","parameters":{}}\0'

    def __init__(self, namespace: str = "") -> None:
        directory = f"journal.{namespace}" if namespace else "journal"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(1)
            self._socket.connect(f"/run/systemd/{directory}/io.systemd.journal")
            self._socket.sendall(self._REQUEST)
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise JournalError(f"journald does not answer: {error}") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def done(self) -> bool:
        """Whether the answer is there. An error in it is one here."""
        try:
            answer = self._socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError as error:
            raise JournalError(f"journald does not answer: {error}") from error
        if b'"error"' in answer or not answer:
            raise JournalError(f"journald does not synchronize: {answer[:200]!r}")
        return True

    def close(self) -> None:
        self._socket.close()


def synchronize(patience: float = 10) -> None:
    """Wait until everything that was said can be read."""
    question = Synchronizing()
    end = time.monotonic() + patience
    try:
        while not question.done() and time.monotonic() < end:
            select.select([question], [], [], max(0.0, end - time.monotonic()))
    finally:
        question.close()


# --- settings --------------------------------------------------------------------------------


class JournaldSettings(Record, frozen=True):
    """What of journald.conf(5) decides whether output can be lost."""

    storage: str = "auto"
    max_level_store: str = "debug"
    burst: int = 10_000
    interval: Usec = Usec(30_000_000)


def journald_unit(namespace: str) -> UnitName:
    return UnitName(f"systemd-journald@{namespace}.service" if namespace else JOURNALD)


def journald_settings(namespace: str = "") -> JournaldSettings:
    """The configuration in force, drop-ins included, as systemd itself merges it.

    A namespace's journald has a configuration of its own, and nothing of the main one's.
    """
    import subprocess  # once a reload, and only where a rule reads output

    name = f"journald@{namespace}" if namespace else "journald"
    try:
        answer = subprocess.run(
            ["systemd-analyze", "--no-pager", "cat-config", f"systemd/{name}.conf"],
            capture_output=True,
            check=False,
            timeout=10,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        answer = b""  # what journald does unless it is told otherwise
    return settings_in(answer.decode("utf-8", "replace"))


def settings_in(text: str) -> JournaldSettings:
    """journald passes over what it cannot read, and so do we."""
    from outcomed.quantities import parse_duration

    values: dict[str, str] = {}
    for raw in text.splitlines():
        name, equals, value = raw.partition("=")
        if equals and not name.lstrip().startswith(("#", ";")):
            values[name.strip()] = value.strip()
    default = JournaldSettings()
    burst = values.get("RateLimitBurst", "")
    interval = default.interval
    with contextlib.suppress(ValueError):
        interval = parse_duration(values.get("RateLimitIntervalSec", ""))
    return JournaldSettings(
        storage=values.get("Storage") or default.storage,
        max_level_store=values.get("MaxLevelStore") or default.max_level_store,
        burst=_number(burst.encode(), default.burst),
        interval=interval,
    )
