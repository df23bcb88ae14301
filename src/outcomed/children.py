"""Work that may hang, crash or eat memory, done by a child that can be killed.

Whoever calls this stays responsive whatever the work does: it waits on a pipe and a pidfd, never on
a file system or a stranger's program. A child that does not answer in time is killed; one that
cannot even be killed (a dead mount may hold it in the kernel) is left to systemd, and said so.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from outcomed.quantities import format_duration
from outcomed.rules import Ran

OUTPUT_LIMIT = 4096  # bytes of a command's output that are kept
_ANSWER_LIMIT = 4 << 20  # bytes of a child's answer
_MERCY = 2.0  # seconds in which a killed process has to go
_NO_MEMORY = 71  # a child's exit status; sysexits.h calls it EX_OSERR


class NoAnswerError(Exception):
    """The child gave none; the text says why, to end a sentence that names the work."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that the work may take in all, and without a sign of life; 0: as long as in all."""

    total: float
    stall: float = 0.0


class Beat:
    """What the child gives signs of life with: at most one a second reaches the parent."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1.0
            os.write(self._pipe, b"\0")


def answer_of(work: Callable[[Beat], bytes], limits: Limits) -> bytes:
    """What `work` returns, computed by a child. NoAnswerError."""
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(read)
        _be_child(work, write)
    os.close(write)
    try:
        said = _hear_out(read, limits)
    except BaseException:
        _end(child, 0)
        raise
    finally:
        os.close(read)
    status = _end(child, _MERCY)
    beats, is_whole, answer = said.partition(b"\1")
    if status != 0 or not is_whole or beats.strip(b"\0"):
        raise NoAnswerError(_died(status))
    return answer


def _be_child(work: Callable[[Beat], bytes], pipe: int) -> None:
    """Never returns: a forked copy of somebody's stack has no business there."""
    status = 1
    try:
        answer = work(Beat(pipe))
        with open(pipe, "wb", closefd=False) as out:
            out.write(b"\1" + answer)
        status = 0
    except MemoryError:
        status = _NO_MEMORY
    except Exception:  # noqa: BLE001 # not to be unwound into: it is said, and the child dies of it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _hear_out(pipe: int, limits: Limits) -> bytes:
    """Everything that is said until the other end is closed, in time."""
    begin = alive = time.monotonic()
    said = bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        until = min(begin + limits.total, alive + (limits.stall or limits.total))
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000 + 1):
            raise NoAnswerError(_too_long(begin, limits))
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return bytes(said)
        alive = time.monotonic()
        said += piece
        if len(said) > _ANSWER_LIMIT:
            raise NoAnswerError("answered with more than can be an answer")


def _too_long(begin: float, limits: Limits) -> str:
    if time.monotonic() - begin < limits.total:
        return f"came to a stop: nothing could be read for {_seconds(limits.stall)}"
    return f"was not done within {_seconds(limits.total)}"


def _seconds(seconds: float) -> str:
    return format_duration(int(seconds * 1_000_000))


def _died(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {_signal_name(os.WTERMSIG(status))}"
    if os.WEXITSTATUS(status) == _NO_MEMORY:
        return "took more memory than the check may have"
    return "died of a fault of its own, which is in the journal of the check unit"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(child: int, patience: float) -> int:
    """Reap it, after `patience` by killing it. Its wait status, also of one that does not go."""
    pidfd = os.pidfd_open(child)
    try:
        if not select.select([pidfd], [], [], patience)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not select.select([pidfd], [], [], _MERCY)[0]:
                return signal.SIGKILL  # stuck in the kernel: it goes when what holds it lets go
        return os.waitpid(child, 0)[1]
    finally:
        os.close(pidfd)


# --- programs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a program runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        return {"USER": self.name, "LOGNAME": self.name, "HOME": self.home, "SHELL": self.shell}


def identity(user: str) -> Identity:
    """Of a name or a number. LookupError: this machine has no such user."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise LookupError(f"there is no user {user}") from None
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    return Identity(found.pw_name, found.pw_uid, found.pw_gid, groups, found.pw_dir, found.pw_shell)


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(argv: Sequence[str], who: Identity, seconds: float, environment: Mapping[str, str]) -> Ran:
    """Run a program to its end or its deadline, and keep the beginning of what it says."""
    if os.geteuid() not in (0, who.uid):
        return Ran(f"only root can run {argv[0]} as {who.name}")
    begin = time.monotonic()
    try:
        process = _start(argv, who, environment)
    except OSError as error:
        return Ran(f"{argv[0]} could not be run as {who.name}: {error.strerror}")
    assert process.stdout is not None
    kept = _Kept(process.stdout.fileno())
    in_time = kept.until_end(process.pid, begin + seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it, or what it has left in the background
    process.stdout.close()
    took = time.monotonic() - begin
    with suppress(subprocess.TimeoutExpired):
        process.wait(_MERCY)
    fault = "" if in_time else f"{argv[0]} gave no answer within {_seconds(seconds)}"
    if process.returncode is None:
        fault += ", and cannot be killed: it hangs in the kernel"
    elif in_time and process.returncode < 0:
        fault = f"{argv[0]} {_died(-process.returncode)}"
    status = None if fault else process.returncode
    return Ran(fault, status, kept.text(), kept.cut, took)


def _start(
    argv: Sequence[str], who: Identity, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    as_other = os.geteuid() == 0
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": _PATH, "LANG": "C.UTF-8", **who.environment, **environment},
        start_new_session=True,
        user=who.uid if as_other else None,
        group=who.gid if as_other else None,
        extra_groups=who.groups if as_other else None,
    )


class _Kept:
    """The beginning of a program's output; the rest is read too, or it would wait for us."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._kept = bytearray()
        self.cut = 0
        os.set_blocking(pipe, False)

    def until_end(self, pid: int, until: float) -> bool:
        """Read until the program has ended, whoever else holds its pipe; False: not in time."""
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(self._pipe, select.POLLIN)
            while (left := until - time.monotonic()) > 0:
                ready = {file for file, _ in poll.poll(left * 1000 + 1)}
                if self._pipe in ready and not self._take():
                    poll.unregister(self._pipe)
                if pidfd in ready:
                    self._take_rest()
                    return True
            return False
        finally:
            os.close(pidfd)

    def _take_rest(self) -> None:
        """What it had said; a child that it left behind may go on for ever."""
        for _ in range(_PIECES):
            if self._take() <= 0:
                return

    def _take(self) -> int:
        try:
            piece = os.read(self._pipe, _PIECE)
        except BlockingIOError:
            return -1
        room = OUTPUT_LIMIT - len(self._kept)
        self._kept += piece[:room]
        self.cut += max(len(piece) - max(room, 0), 0)
        return len(piece)

    def text(self) -> str:
        """NUL and what is not UTF-8 replaced: it goes into JSON and onto terminals."""
        return self._kept.decode("utf-8", "replace").replace("\0", "�")


_PIECE = 1 << 16
_PIECES = 16  # of 64 KiB: what a pipe can hold


def end_strays(cgroup: str) -> bool:
    """Kill every process of this cgroup but the caller; whether all are gone.

    By pidfd, and asking again after it was opened: a pid may be another's by then.
    """
    until = time.monotonic() + _MERCY
    while others := _members(cgroup) - {os.getpid()}:
        if time.monotonic() >= until:
            return False
        for pid in others:
            with suppress(ProcessLookupError):
                _kill_member(pid, cgroup)
        _reap()
    return True


def _kill_member(pid: int, cgroup: str) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        if pid in _members(cgroup):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], 0.1)
    finally:
        os.close(pidfd)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def own_cgroup() -> str:
    """Where the kernel shows the processes of our unit (cgroups(7), version 2)."""
    with open("/proc/self/cgroup", encoding="utf-8") as table:
        line = next((line for line in table if line.startswith("0::")), "0::/")
    return "/sys/fs/cgroup" + line.removeprefix("0::").rstrip("\n")


class Oom(NamedTuple):
    """What the kernel counts of a cgroup: see memory.events in its cgroup-v2 documentation."""

    kills: int = 0  # processes there that were killed for want of memory
    limits: int = 0  # times that the cgroup's own limit was why; else the host had none left


def oom(cgroup: str) -> Oom:
    """The counts so far; zero where nobody counts."""
    try:
        with open(f"{cgroup}/memory.events", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
    except OSError:
        return Oom()
    return Oom(int(counts.get("oom_kill", 0)), int(counts.get("oom", 0)))


def _members(cgroup: str) -> set[int]:
    with open(f"{cgroup}/cgroup.procs", encoding="ascii") as file:
        return {int(line) for line in file}
