"""A virtual machine for what a node cannot do: limits on memory, the clock, sleep, a power cut.

qemu boots Debian 13 with its own kernel, by KVM where that works, else without, and then some ten
times slower than a node: time-outs stretch by that much. It has no network device. Commands go in
and out by a virtio port, to an agent that tells the test when it is there.

qemu is killed with the process that started it; what remains, a directory, is removed by the next
node or machine.
"""

import contextlib
import itertools
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.nodes.agent import BYTES
from tests.nodes.image import image
from tests.nodes.node import claim_directory
from tests.nodes.words import BootFailedError, CommandFailedError, Words, as_bytes, as_text

T = TypeVar("T")

BOOT_TIMEOUT = 300.0
# lsm=: else PID 1 has its BPF program checked, by an emulated processor, in every boot.
# panic=: emulated processors at times do not see what the kernel patches in itself, and it panics.
CMDLINE = (
    "root=/dev/nvme0n1 rw console=ttyS0 quiet systemd.show_status=error mitigations=off"
    " lsm=capability panic=-1"
)
PATIENCE = 10  # what a test allows for is meant for a node


class GoneError(Exception):
    """The machine is off, though nobody switched it off."""


class Machine(Words):
    """One virtual machine.

    `deb` is installed before the boot. Its disk is its own, and is the same at the next `start()`.
    """

    def __init__(
        self, *, deb: Path | None = None, name: str | None = None, memory: int = 1024
    ) -> None:
        self.name = name or f"machine-{secrets.token_hex(4)}"
        self._deb = deb
        self._memory = memory
        self._id = secrets.token_hex(16)
        self._resources = contextlib.ExitStack()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._is_new = True

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self._image = image(self._deb)
            self.directory = claim_directory(undo)
            self._disk = self.directory / "disk.qcow2"
            backing = ["-F", "raw", "-b", str(self._image.disk)]
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self._disk)], check=True
            )
            undo.callback(self._kill)
            self.start()
            self._resources = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the machine at once and remove all of it. May be called twice."""
        self._resources.close()

    # Power

    def start(self) -> None:
        """Boot, and return once systemd says that the boot is finished."""
        assert self._qemu is None, f"{self.name} is running already"
        agent, port = socket.socketpair()
        monitor, console = socket.socketpair()
        with port, console, (self.directory / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(port, console)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(port.fileno(), console.fileno()),
                start_new_session=True,  # ^C is for the test
            )
        self._agent, self._monitor = _Lines(agent), _Lines(monitor)
        try:
            self.monitor("qmp_capabilities")
            self._wait_until_booted()
        except (GoneError, TimeoutError) as error:
            said = "".join(self._log(name)[-4000:] for name in ("qemu.log", "console.log"))
            self._kill()
            raise BootFailedError(f"{self.name} did not boot: {error}\n{said}") from None
        except BaseException:
            self._kill()
            raise

    def power_cut(self) -> None:
        """Nothing on it gets to do anything more. What it had not given to its disk is lost."""
        assert self._qemu is not None, f"{self.name} is off"
        self.monitor("quit")
        self._qemu.wait(30)
        self._kill()

    def reboot(self) -> None:
        """Shut down in good order and boot again."""
        self.systemctl("--no-block", "reboot")
        self._wait_until_booted()

    def suspend(self, *, wait_for_alarm: bool = False) -> None:
        """Sleep, and go on: woken by us at once, or by the alarm that somebody there has set."""
        self.systemctl("--no-block", "suspend")
        self._event("SUSPEND")
        if not wait_for_alarm:
            self.monitor("system_wakeup")
        self._event("WAKEUP")

    def set_clock(self, seconds: float) -> None:
        """Set the clock on by so much, or back."""
        self.run(["date", "--set", f"now {seconds:+} seconds"])

    def monitor(self, command: str) -> None:
        """Tell qemu itself something (qemu's manual, QMP), as `system_wakeup`."""
        number = self._monitor.say({"execute": command})
        if command != "quit":
            answer = self._monitor.find(lambda message: message.get("id") == number, PATIENCE)
            assert "return" in answer, answer

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
        """Run a command (a string by the shell) outside of any job's unit, as root or `user`."""
        argv = self._words(command, env, user, cwd)
        result = as_text(self._execute(argv, as_bytes(stdin), timeout))
        if check and result.returncode != 0:
            raise CommandFailedError(result)
        return result

    def content(self, path: str) -> bytes | None:
        read = self._execute(["cat", "--", path], b"", 60)
        return read.stdout if read.returncode == 0 else None

    def wait_for(
        self, predicate: Callable[[], T | None], timeout: float = 10, what: str = "what was awaited"
    ) -> T:
        return super().wait_for(predicate, timeout * PATIENCE, what)

    def last_words(self, lines: int = 60) -> str:
        arguments = ["--no-pager", "--boot", "--output=short-precise", f"--lines={lines}"]
        try:
            if self._qemu is not None:
                return self.run(["journalctl", *arguments], check=False, timeout=6).stdout
        except (GoneError, TimeoutError):
            pass  # what it has shown so far is what there is
        return self._log("console.log")[-4000:]

    # Within

    def _command(self, agent: socket.socket, monitor: socket.socket) -> list[str]:
        who = f"systemd.hostname={self.name} systemd.machine_id={self._id}"
        return [
            *["qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config"],
            *["-accel", _accelerator(), "-cpu", "max", "-smp", "2"],
            *["-m", str(self._memory), "-display", "none", "-nic", "none"],
            *["-kernel", str(self._image.kernel), "-append", f"{CMDLINE} {who}"],
            # Its disk keeps whatever it was given: what is lost in a power cut is what was not.
            *["-drive", f"file={self._disk},if=none,id=disk,format=qcow2,cache=unsafe"],
            *["-device", "nvme,drive=disk,serial=disk"],
            *["-chardev", f"file,id=console,append=on,path={self.directory / 'console.log'}"],
            *["-serial", "chardev:console", "-device", "virtio-serial-pci"],
            *["-chardev", f"socket,id=agent,fd={agent.fileno()}"],
            *["-device", "virtserialport,chardev=agent,nr=1"],
            *["-chardev", f"socket,id=monitor,fd={monitor.fileno()}"],
            *["-mon", "chardev=monitor,mode=control"],
        ]

    def _wait_until_booted(self) -> None:
        self._agent.find(lambda message: message["id"] == "ready", BOOT_TIMEOUT)
        state = self.run("systemctl is-system-running --wait", check=False).stdout.strip()
        fine = {"running"} if self._is_new else {"running", "degraded"}  # by what a test has made
        self._is_new = False
        if state not in fine:
            failed = self.systemctl("--failed", "--no-legend", check=False).stdout
            raise BootFailedError(f"{self.name} is {state}:\n{failed}")

    def _event(self, name: str) -> None:
        self._monitor.find(lambda message: message.get("event") == name, BOOT_TIMEOUT)

    def _execute(
        self, argv: list[str], stdin: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        assert self._qemu is not None, f"{self.name} is off"
        seconds = timeout * PATIENCE
        answer = self._agent.ask({"argv": argv, "stdin": stdin.decode(BYTES), "timeout": seconds})
        if "error" in answer:
            raise TimeoutError(f"{self.name}: {answer['error']}")
        said = [answer[stream].encode(BYTES) for stream in ("stdout", "stderr")]
        return subprocess.CompletedProcess(argv, answer["code"], *said)

    def _log(self, name: str) -> str:
        log = self.directory / name
        return log.read_text(errors="replace") if log.exists() else ""

    def _kill(self) -> None:
        """Nothing of the machine is left running when this returns."""
        qemu, self._qemu = self._qemu, None
        if qemu is None:
            return
        qemu.kill()
        qemu.wait(30)
        self._agent.close()
        self._monitor.close()


def _accelerator() -> str:
    """A /dev/kvm without the processor's help (some clouds have one) boots no kernel."""
    flags = Path("/proc/cpuinfo").read_text().split()
    helps = not {"vmx", "svm"}.isdisjoint(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "kvm" if helps else "tcg,thread=multi"


class _Lines:
    """The host's end of a port: what is said and what is answered, each a line of JSON."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self._numbers = itertools.count()
        self._rest = b""
        self._unread: list[dict[str, Any]] = []

    def say(self, message: dict[str, Any]) -> int:
        number = next(self._numbers)
        self._port.settimeout(None)
        self._port.sendall(json.dumps(message | {"id": number}).encode() + b"\n")
        return number

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        number = self.say(question)
        return self.find(lambda message: message["id"] == number, question["timeout"] + PATIENCE)

    def find(self, is_it: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """The first message that is it, also if it came while something else was awaited."""
        deadline = time.monotonic() + timeout
        for message in itertools.chain(self._unread[:], self._messages(deadline)):
            if is_it(message):
                self._unread.remove(message)
                return message
        raise GoneError("the machine went off")

    def close(self) -> None:
        self._port.close()

    def _messages(self, deadline: float) -> Iterator[dict[str, Any]]:
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                self._unread.append(json.loads(line))
                yield self._unread[-1]
                continue
            self._port.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                piece = self._port.recv(1 << 16)
            except ConnectionError:
                return
            if not piece:
                return
            self._rest += piece
