"""Expand systemd's specifiers, with the values they have for a unit of the system manager.

The rules are those of systemd.unit(5). Two things differ on purpose: an unknown specifier is an
error, where systemd leaves it standing, and an expanded value can be made safe inside a glob, so
that an instance called `*` means a file called `*` and not every file.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from glob import escape as escape_glob
from pathlib import Path
from types import MappingProxyType

from outcomed.model import BootId, UnitName

# systemd's names for what uname(2) calls the machine; the others are called the same.
_ARCHITECTURES = {
    "x86_64": "x86-64",
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "aarch64": "arm64",
    "aarch64_be": "arm64-be",
    "armv7l": "arm",
    "armv6l": "arm",
    "armv8l": "arm",
    "ppc64le": "ppc64-le",
    "mips64el": "mips64-le",
    "loongarch64": "loongarch64",
}


@dataclass(frozen=True, slots=True)
class Host:
    """What the specifiers need to know of the machine. An empty field is one it does not have."""

    hostname: str
    machine_id: str = ""
    boot_id: str = ""
    kernel: str = ""
    architecture: str = ""
    pretty_hostname: str = ""
    os_release: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def short_hostname(self) -> str:
        return self.hostname.partition(".")[0]


def this_host(boot: BootId | None = None) -> Host:
    """Read the machine's own facts. `boot` where /proc hides it, as in the daemon's sandbox."""
    boot_id = boot or _first_line("/proc/sys/kernel/random/boot_id").replace("-", "")
    uname = os.uname()
    return Host(
        hostname=socket.gethostname(),
        machine_id=_first_line("/etc/machine-id"),
        boot_id=boot_id,
        kernel=uname.release,
        architecture=_ARCHITECTURES.get(uname.machine, uname.machine),
        pretty_hostname=_assignments("/etc/machine-info").get("PRETTY_HOSTNAME", ""),
        os_release=MappingProxyType(_os_release()),
    )


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (FileNotFoundError, PermissionError):
        return ""  # hidden by the sandbox, or a machine without an identity


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _assignments(path: str) -> dict[str, str]:
    import shlex

    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    found = {}
    for key, _, value in pairs:
        try:
            found[key.strip()] = " ".join(shlex.split(value))
        except ValueError:
            continue  # an unclosed quote: systemd ignores such a line too
    return found


@dataclass(frozen=True, slots=True)
class _Name:
    """A unit's name, taken apart."""

    full: str

    @property
    def stem(self) -> str:
        return self.full.rpartition(".")[0]

    @property
    def prefix(self) -> str:
        return self.stem.partition("@")[0]

    @property
    def instance(self) -> str:
        return self.stem.partition("@")[2]

    @property
    def last_of_prefix(self) -> str:
        return self.prefix.rpartition("-")[2]


def unescape(name: str) -> str:
    """Undo systemd-escape(1): `-` is `/`, `\\xHH` a byte."""
    parts = name.replace("-", "/").split("\\")
    raw = bytearray(parts[0].encode())
    for part in parts[1:]:
        digits = part[1:3]
        if not (part.startswith("x") and len(digits) == 2 and _is_hex(digits)):
            raise ValueError(f"{name!r} is not escaped as systemd-escape(1) does it")
        raw.append(int(digits, 16))
        raw += part[3:].encode()
    if 0 in raw:
        raise ValueError(f"{name!r} holds an escaped NUL byte")
    return os.fsdecode(bytes(raw))


def unescape_path(name: str) -> str:
    """Undo `systemd-escape --path`."""
    if name == "-":
        return "/"
    # systemd refuses what its own escaping never writes.
    if not name or name.startswith("-") or name.endswith("-"):
        raise ValueError(f"{name!r} is not an escaped path")
    path = unescape(name)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{name!r} is not an escaped path")
    return "/" + path


def _is_hex(digits: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _release(key: str) -> Callable[[_Name, Host], str]:
    return lambda _name, host: host.os_release.get(key, "")


def _fixed(value: str) -> Callable[[_Name, Host], str]:
    return lambda _name, _host: value


def _known(value: str, what: str) -> str:
    if not value:
        raise ValueError(f"the {what} of this machine is not known")
    return value


_SPECIFIERS: dict[str, Callable[[_Name, Host], str]] = {
    "n": lambda name, _: name.full,
    "N": lambda name, _: name.stem,
    "p": lambda name, _: name.prefix,
    "P": lambda name, _: unescape(name.prefix),
    "i": lambda name, _: name.instance,
    "I": lambda name, _: unescape(name.instance),
    "j": lambda name, _: name.last_of_prefix,
    "J": lambda name, _: unescape(name.last_of_prefix),
    "f": lambda name, _: unescape_path(name.instance or name.prefix),
    "d": lambda name, _: f"/run/credentials/{name.full}",
    "H": lambda _, host: _known(host.hostname, "host name"),
    "l": lambda _, host: _known(host.short_hostname, "host name"),
    "q": lambda _, host: host.pretty_hostname or _known(host.short_hostname, "host name"),
    "m": lambda _, host: _known(host.machine_id, "machine ID"),
    "b": lambda _, host: _known(host.boot_id, "boot ID"),
    "v": lambda _, host: _known(host.kernel, "kernel release"),
    "a": lambda _, host: _known(host.architecture, "architecture"),
    "o": _release("ID"),
    "w": _release("VERSION_ID"),
    "W": _release("VARIANT_ID"),
    "A": _release("IMAGE_VERSION"),
    "B": _release("BUILD_ID"),
    "M": _release("IMAGE_ID"),
    "S": _fixed("/var/lib"),
    "C": _fixed("/var/cache"),
    "L": _fixed("/var/log"),
    "E": _fixed("/etc"),
    "t": _fixed("/run"),
    "T": _fixed("/tmp"),  # noqa: S108  # what systemd calls it; nothing is written there
    "V": _fixed("/var/tmp"),  # noqa: S108
    "D": _fixed("/usr/share"),
    "h": _fixed("/root"),
    "u": _fixed("root"),
    "U": _fixed("0"),
    "g": _fixed("root"),
    "G": _fixed("0"),
    "s": _fixed("/bin/sh"),
}

# systemd knows these, but their value is PID 1's and not to be had from a name.
_UNIT_FILE_ONLY = frozenset("yYcrR")


def expand(text: str, unit: UnitName, *, host: Host, glob_safe: bool = True) -> str:
    """`text` with its specifiers replaced by what they stand for in `unit`.

    With `glob_safe` the values, not the text around them, are escaped for glob(7).
    Raises ValueError for a specifier that is unknown or has no value here.
    """
    if "%" not in text:
        return text
    name = _Name(unit)
    pieces = text.split("%")
    done = [pieces[0]]
    rest = iter(pieces[1:])
    for piece in rest:
        if piece == "":  # the second % of %%, or the end
            following = next(rest, None)
            if following is None:
                raise ValueError("a % at the end stands for nothing; write %% for a percent sign")
            done.append("%" + following)
            continue
        value = _value(piece[0], name, host)
        done.append((escape_glob(value) if glob_safe else value) + piece[1:])
    return "".join(done)


def _value(letter: str, name: _Name, host: Host) -> str:
    if letter in _UNIT_FILE_ONLY:
        raise ValueError(f"specifier %{letter} has a value in unit files only")
    try:
        return _SPECIFIERS[letter](name, host)
    except KeyError:
        raise ValueError(f"unknown specifier %{letter}; write %% for a percent sign") from None
