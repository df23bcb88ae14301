"""A booted Debian 13 machine for the length of a `with` block.

systemd-nspawn boots an overlay over a cached root, in a mount namespace of its own and with a
network of its own. systemd itself says when the machine is up; nothing here sleeps in the hope that
it is.

A node ends with the process that made it, however that ends: nspawn is killed with its parent, the
kernel then takes the node's processes and the mounts. What remains, a directory and an empty
cgroup, is removed by the next node.
"""

import contextlib
import fcntl
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Self

from tests.nodes.receiver import Receiver
from tests.nodes.root import APT, cache_dir, locked, overlay_options, overlay_run, root_layers
from tests.nodes.words import (
    BootFailedError,
    CommandFailedError,
    Words,
    as_bytes,
    as_text,
    plain_environment,
    wait_for,
    words,
)

BOOT_TIMEOUT = 60.0
REBOOT_WANTED = 133  # nspawn's answer, with --keep-unit, to a node that reboots
POWEROFF = signal.SIGRTMIN + 4

# Neither nspawn nor its PID 1 dies with its parent. In a pid namespace, of which nspawn is the
# first process, the kernel sees to it: with us goes unshare, with that nspawn, with that all of the
# node.
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]

# Arguments: overlay options, mount point, cgroup, disks (where, image, where, image, ...), --, the
# command.
LAUNCH = """
set -e
echo $$ > "$3/cgroup.procs"
mount -t overlay overlay -o "$1" "$2"
root=$2
shift 3
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount -o loop "$2" "$root$1"
    shift 2
done
shift
exec "$@"
"""

DISK_SIZE = 1 << 30  # sparse
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what ext4's journal has not been given is lost, as in a power cut


class Node(Words):
    """One machine.

    `root` is a layer of `tests.nodes.root`; `deb` is installed before the boot, from a cached
    layer. `binds` shows directories of the host on the node, read-only. `durable` gives fsync its
    meaning, and its price, back. `disks` are directories of the node on file systems of their own,
    which lose what was not synced when their power is cut. `boot=False` leaves it off:
    commands then run in a chroot, until `start()`.
    """

    def __init__(
        self,
        root: str = "runtime",
        *,
        deb: Path | None = None,
        name: str | None = None,
        binds: Mapping[Path, str] | None = None,
        durable: bool = False,
        disks: Sequence[str] = (),
        boot: bool = True,
    ) -> None:
        self.name = name or f"node-{secrets.token_hex(4)}"
        self.root = root
        self._deb = deb
        self._binds = dict(binds or {})
        self._durable = durable
        self._disks = tuple(disks)
        self._boot = boot
        self._resources = contextlib.ExitStack()
        self._receivers: dict[int, Receiver] = {}
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self._lowers = root_layers(self.root, deb=self._deb)
            self.directory = claim_directory(undo)
            self._upper = self.directory / "upper"
            self._upper.mkdir()
            undo.callback(self._kill)
            self._write_identity()
            for path in self._disks:
                _make_disk(self._image_of(path))
            if self._boot:
                self.start()
            self._resources = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the node at once and remove all of it. May be called twice."""
        for receiver in self._receivers.values():
            receiver.close()
        self._resources.close()

    # Power

    def start(self) -> None:
        """Boot, and return once systemd says that the boot is finished."""
        assert self._nspawn is None, f"{self.name} is running already"
        work, merged = self.directory / "work", self.directory / "merged"
        # A volatile overlay is mounted again only with a new work directory.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        merged.mkdir(exist_ok=True)
        self._cgroup = _own_cgroup() / f"outcomed-{self.directory.name}"
        self._cgroup.mkdir(exist_ok=True)
        options = overlay_options(self._lowers, self._upper, work, durable=self._durable)
        with _notify_socket(self.directory.name) as (address, notify):
            with (self.directory / "console.log").open("ab") as console:
                self._nspawn = subprocess.Popen(
                    [
                        *["setpriv", "--pdeathsig", "KILL", *UNSHARE],
                        *["sh", "-c", LAUNCH, "sh", options, str(merged), str(self._cgroup)],
                        *[word for path in self._disks for word in (path, self._image_of(path))],
                        "--",
                        *self._nspawn_command(merged),
                    ],
                    env={
                        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                        "NOTIFY_SOCKET": address,
                        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                        "SYSTEMD_NSPAWN_LOCK": "0",  # the directory is ours alone already
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    # ^C is for the test, which then ends the node in good order.
                    start_new_session=True,
                )
            try:
                self._leader = self._wait_until_booted(notify)
            except BaseException:
                self._kill()
                raise
        for receiver in self._receivers.values():
            receiver.attach(self._leader)

    def poweroff(self, timeout: float = 30) -> None:
        """Shut down in good order; `start()` boots the same machine again."""
        os.kill(self.leader, POWEROFF)
        self._wait_until_off(timeout)

    def reboot(self, timeout: float = 30) -> None:
        self.run(["systemctl", "--no-block", "reboot"])
        code = self._wait_until_off(timeout)
        assert code == REBOOT_WANTED, f"{self.name} powered off instead of rebooting ({code})"
        self.start()

    def crash(self) -> None:
        """Stop everything in the middle of whatever it was doing, without a word to anybody.

        What was written is kept, synced or not: this is a kernel panic, not a power cut.
        """
        assert self._nspawn is not None, f"{self.name} is off"
        self._kill()

    def power_cut(self) -> None:
        """Stop everything, and of its `disks` what was not synced is lost.

        The file systems are shut first: whatever still runs for a moment can write no more. Of the
        other files everything that was written is kept.
        """
        for path in self._disks:
            directory = os.open(self.path(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, sys.byteorder))
            finally:
                os.close(directory)
        self.crash()
        # A second mount of the same file beside the old one would spoil it.
        images = [self._image_of(path) for path in self._disks]
        wait_for(lambda: not any(map(_loops, images)), 30, "the kernel to let go of the disks")

    @property
    def leader(self) -> int:
        """The node's PID 1, as the host numbers it."""
        assert self._leader is not None, f"{self.name} is off"
        return self._leader

    @property
    def running(self) -> bool:
        return self._leader is not None

    @property
    def console(self) -> str:
        log = self.directory / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    # Commands

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        cwd: str = "/",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (a string by the shell) outside of any unit, as root or `user`."""
        if self._leader is None:
            argv = [*plain_environment(env), *words(command)]
            result = overlay_run(self._lowers, self._upper, argv, text=as_bytes(stdin).decode())
        else:
            result = as_text(
                subprocess.run(
                    self.command_line(command, env=env, user=user, cwd=cwd),
                    input=as_bytes(stdin),
                    capture_output=True,
                    timeout=timeout,
                    check=False,
                )
            )
        if check and result.returncode != 0:
            raise CommandFailedError(result)
        return result

    def popen(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str = "/",
        **options: Any,
    ) -> "subprocess.Popen[str]":
        """Start a command and leave it running; the node's end is its end."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True} | options
        argv = self.command_line(command, env=env, user=user, cwd=cwd)
        process: subprocess.Popen[str] = subprocess.Popen(argv, **options)
        self._resources.callback(_reap, process)
        return process

    # Files

    def content(self, path: str) -> bytes | None:
        try:
            return self.path(path).read_bytes()
        except FileNotFoundError:
            return None

    def path(self, path: str) -> Path:
        """The host's way to a file of a running node, for reading it without starting a process
        there.

        Absolute links on that way lead to the host's files: use it for plain paths.
        """
        return Path(f"/proc/{self.leader}/root") / PurePosixPath(path).relative_to("/")

    # Machines

    def install(self, deb: Path) -> None:
        """Install a package as an administrator does, with apt; it has no network here."""
        target = f"/var/tmp/{deb.name}"
        self.write(target, deb.read_bytes())
        self.run(f"{APT} install {target}; e=$?; rm -f {target}; exit $e", timeout=300)

    def receiver(self, port: int = 8080) -> Receiver:
        """An HTTP receiver on the node's loopback; the same one for the same port."""
        if port not in self._receivers:
            self._receivers[port] = Receiver(port)
            if self._leader is not None:
                self._receivers[port].attach(self._leader)
        return self._receivers[port]

    def last_words(self, lines: int = 60) -> str:
        """The end of the journal, for the report of a test that failed."""
        if self._leader is None:
            return self.console[-4000:]
        arguments = ["--no-pager", "--boot", "--output=short-precise", f"--lines={lines}"]
        return self.run(["journalctl", *arguments], check=False).stdout

    # Within

    def _nspawn_command(self, merged: Path) -> list[str]:
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--settings=no",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--notify-ready=yes",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            f"--machine={self.name}",
            f"--directory={merged}",
            *(f"--bind-ro={host}:{node}" for host, node in self._binds.items()),
        ]

    def _image_of(self, path: str) -> str:
        return str(self.directory / f"{path.strip('/').replace('/', '-')}.img")

    def _write_identity(self) -> None:
        """Each node is a machine of its own, and not one on its first boot."""
        etc = self._upper / "etc"
        etc.mkdir()
        (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        # Newer than /usr: its caches are the packages' work (dpkg triggers), not the first boot's.
        (etc / ".updated").touch()
        (self._upper / "var").mkdir()
        (self._upper / "var" / ".updated").touch()

    def _wait_until_booted(self, notify: socket.socket) -> int:
        """nspawn passes on the READY of the systemd in it."""
        assert self._nspawn is not None
        deadline = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            if not select.select([notify], [], [], 0.2)[0]:
                continue
            if "READY=1" in notify.recv(65536).decode(errors="replace").splitlines():
                return _first_in_namespace(self._nspawn.pid)
        console = "\n".join(self.console.splitlines()[-40:])
        raise BootFailedError(f"{self.name} did not boot within {BOOT_TIMEOUT:.0f} s:\n{console}")

    def command_line(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str = "/",
    ) -> list[str]:
        leader = self.leader
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return [
            *["nsenter", f"--target={leader}", *namespaces, f"--root=/proc/{leader}/root", "--wd"],
            # What outlives a time-out would otherwise stay behind in the node.
            *["setpriv", "--pdeathsig", "KILL"],
            *self._words(command, env, user, cwd),
        ]

    def _wait_until_off(self, timeout: float) -> int:
        assert self._nspawn is not None
        try:
            return self._nspawn.wait(timeout)
        finally:
            self._kill()

    def _kill(self) -> None:
        """Nothing of the node is left running when this returns."""
        nspawn, self._nspawn = self._nspawn, None
        self._leader = None
        for receiver in self._receivers.values():
            receiver.down()
        if nspawn is None:
            return
        # The child, not unshare: unshare then ends when the kernel has ended the whole namespace.
        for child in _children(nspawn.pid):
            with contextlib.suppress(ProcessLookupError):  # it is off already
                os.kill(child, signal.SIGKILL)
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            raise
        _remove_cgroup(self._cgroup)


def _make_disk(image: str) -> None:
    with open(image, "wb") as file:
        file.truncate(DISK_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)


def _loops(image: str) -> str:
    listed = subprocess.run(["losetup", "--associated", image], capture_output=True, check=True)
    return listed.stdout.decode()


@contextlib.contextmanager
def _notify_socket(name: str) -> Iterator[tuple[str, socket.socket]]:
    # An abstract name: a path in the cache directory may be too long for a socket's.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        address = f"outcomed-{os.getpid()}-{name}"
        notify.bind(f"\0{address}")
        yield f"@{address}", notify


def claim_directory(undo: contextlib.ExitStack) -> Path:
    """A directory of this machine's own, locked for as long as it is; unlocked ones are swept."""
    nodes = cache_dir() / "nodes"
    nodes.mkdir(exist_ok=True)
    directory = nodes / secrets.token_hex(6)
    lock = directory.with_suffix(".lock")
    with locked("nodes"):  # or a sweeper could come between making our lock and taking it
        for other in nodes.glob("*.lock"):
            _sweep(other)
        held = undo.enter_context(lock.open("w"))
        fcntl.flock(held, fcntl.LOCK_EX)
    directory.mkdir()
    undo.callback(_remove, lock)
    return directory


def _sweep(lock: Path) -> None:
    with contextlib.suppress(BlockingIOError, FileNotFoundError), lock.open("r") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its node lives
        _remove_cgroup(_own_cgroup() / f"outcomed-{lock.stem}")
        _remove(lock)


def _remove(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)


def _own_cgroup() -> Path:
    """Our own cgroup, under which nodes get theirs; on a hybrid host in the unified hierarchy."""
    unified = Path("/sys/fs/cgroup/unified")
    mounted = unified if (unified / "cgroup.procs").exists() else Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/") and (own := mounted / line[4:]).is_dir():
            return own
    return mounted


def _remove_cgroup(cgroup: Path) -> None:
    """Processes that nspawn left, and then the groups, innermost first."""
    if not cgroup.is_dir():
        return
    with contextlib.suppress(
        OSError
    ):  # without cgroup.kill (before Linux 5.14) there is nobody left
        (cgroup / "cgroup.kill").write_text("1")
    for directory, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):  # a process in it has not been reaped yet: swept later
            Path(directory).rmdir()


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended


def _first_in_namespace(unshare: int) -> int:
    """The node's PID 1, as we number it: the grandchild that is the first of its own namespace."""
    for nspawn in _children(unshare):
        for child in _children(nspawn):
            status = Path(f"/proc/{child}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if numbers.split()[-1] == "1":
                return child
    raise BootFailedError("nspawn says that its node is up, and has none")


def _reap(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    # Not communicate(): what nsenter started may hold the pipes open until the node itself is gone.
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
