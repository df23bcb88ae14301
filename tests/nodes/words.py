"""What a test says to a booted Debian, whatever kind of machine it is: a node or a virtual one.

All of it comes down to two things, which each kind does in its own way: run a command, and read a
file.
"""

import abc
import json
import pwd
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.02


class CommandFailedError(Exception):
    """A command on a node ended badly; the message has all that it said."""

    def __init__(self, result: subprocess.CompletedProcess[str]) -> None:
        self.result = result
        command = result.args[-1] if isinstance(result.args, list) else result.args
        super().__init__(
            f"{command!r} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
        )


class BootFailedError(Exception):
    """A node did not come up; the message has the end of its console."""


@dataclass(frozen=True)
class User:
    """Somebody without privileges on a node."""

    name: str
    uid: int


class Words(abc.ABC):
    """The words that need no more than `run` and `content`."""

    name: str

    @abc.abstractmethod
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

    @abc.abstractmethod
    def content(self, path: str) -> bytes | None:
        """What is in a file; None where there is none."""

    @abc.abstractmethod
    def last_words(self, lines: int = 60) -> str:
        """The end of the journal, for the report of a test that failed."""

    # Units

    def systemctl(
        self, *arguments: str, check: bool = True, user: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """With `user`, of that user's own manager."""
        return self.run(
            ["systemctl", *(["--user"] if user else []), "--no-pager", *arguments],
            check=check,
            user=user,
        )

    def show(self, unit: str, *properties: str, user: str | None = None) -> dict[str, str]:
        """Properties of a unit, or all that `systemctl show` has."""
        wanted = [f"--property={','.join(properties)}"] if properties else []
        shown = self.systemctl("show", unit, *wanted, user=user).stdout
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def journal(self, *arguments: str, sync: bool = True) -> list[dict[str, Any]]:
        """The entries that `journalctl` finds, after journald wrote what it had received."""
        if sync:
            self.run(["journalctl", "--sync"])
        found = self.run(["journalctl", "--output=json", "--all", "--no-pager", *arguments])
        return [json.loads(line) for line in found.stdout.splitlines()]

    def units(self, files: Mapping[str, str], *, user: str | None = None) -> None:
        """Write unit files by name, and reload."""
        for name, text in files.items():
            self.write(f"/etc/systemd/{'user' if user else 'system'}/{name}", text)
        self.systemctl("daemon-reload", user=user)

    # Files

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file aside and rename it, with the directories it needs. Owned by root."""
        script = (
            'mkdir -p "${1%/*}/" && cat > "$1.new" && chmod "$2" "$1.new" && mv -T "$1.new" "$1"'
        )
        self.run(["sh", "-c", script, "sh", path, f"{mode:o}"], stdin=text)

    def read(self, path: str) -> str:
        return self.run(["cat", "--", path]).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).returncode == 0

    # The machine

    def user(self, name: str = "somebody", *, manager: bool = True) -> User:
        """Make an unprivileged user, by default with a running user manager."""
        self.run(["useradd", "--create-home", "--shell", "/bin/sh", name])
        uid = int(self.run(["id", "-u", name]).stdout)
        if manager:
            self.systemctl("start", f"user@{uid}.service")
        return User(name, uid)

    def wait_for(
        self, predicate: Callable[[], T | None], timeout: float = 10, what: str = "what was awaited"
    ) -> T:
        """`wait_for`, with the node's last words if it comes to nothing."""
        try:
            return wait_for(predicate, timeout, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.last_words()}") from None

    # Within

    def _words(
        self,
        command: str | Sequence[str],
        env: Mapping[str, str] | None,
        user: str | None,
        cwd: str,
    ) -> list[str]:
        """The command in the machine's terms: as this user, in a clean environment."""
        become: list[str] = []
        who: dict[str, str] = {}
        if user is not None and user != "root":
            account = self._account(user)
            ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
            become = ["setpriv", *ids]
            who = {
                "HOME": account.pw_dir,
                "USER": user,
                "LOGNAME": user,
                "XDG_RUNTIME_DIR": f"/run/user/{account.pw_uid}",
            }
        return [
            *become,
            *plain_environment(who | dict(env or {})),
            *(["env", "-C", cwd] if cwd != "/" else []),
            *words(command),
        ]

    def _account(self, user: str) -> pwd.struct_passwd:
        for line in (self.content("/etc/passwd") or b"").decode().splitlines():
            name, password, uid, gid, gecos, home, shell = line.split(":")
            if name == user:
                fields = (name, password, int(uid), int(gid), gecos, home, shell)
                return pwd.struct_passwd(fields)
        raise LookupError(f"{self.name} has no user {user}")


def wait_for(
    predicate: Callable[[], T | None], timeout: float = 10, what: str = "what was awaited"
) -> T:
    """The predicate's first answer that is true; for what sends no event."""
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout} s; the last answer was {answer!r}")
        time.sleep(POLL)


def words(command: str | Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def plain_environment(env: Mapping[str, str] | None) -> list[str]:
    plain = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
    }
    return ["env", "-i", *(f"{key}={value}" for key, value in (plain | dict(env or {})).items())]


def as_text(result: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    """What a command said, whatever bytes that were."""
    said = [stream.decode(errors="replace") for stream in (result.stdout, result.stderr)]
    return subprocess.CompletedProcess(result.args, result.returncode, *said)


def as_bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""
