"""Write to the journal in its native protocol, and tell which unit is writing.

Needs nothing but a socket: programs that live for one entry need not load libsystemd for it
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import time
from pathlib import Path

import msgspec

from outcomed.errors import JournalError
from outcomed.model import UnitName

JOURNAL_SOCKET = "/run/systemd/journal/socket"
PATIENCE = 10.0  # seconds that a full queue is waited for


def send(fields: dict[str, str], *, wait: float | None = None) -> None:
    """Write one entry; with `wait`, return when journald has taken it, after so many seconds raise.

    From an own datagram socket, and not gone before the kernel's queue is empty: journald looks
    up who sent an entry when it reads it, and a process that has ended has no unit.
    """
    payload = b"".join(_field(name, value) for name, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(PATIENCE if wait is None else wait)  # journald may hang, and we may not
        try:
            sender.connect(JOURNAL_SOCKET)
            _send_payload(sender, payload)
        except OSError as error:
            raise JournalError(f"{JOURNAL_SOCKET}: {error.strerror or error}") from error
        if wait is not None:
            _wait_until_taken(sender, wait)


def _field(name: str, value: str) -> bytes:
    """systemd's native protocol: what holds a line feed is sent with its length."""
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


def _send_payload(sender: socket.socket, payload: bytes) -> None:
    try:
        sender.sendall(payload)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        _send_by_descriptor(sender, payload)


def _send_by_descriptor(sender: socket.socket, payload: bytes) -> None:
    descriptor = os.memfd_create("outcomed-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, payload)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        sender.sendmsg([b""], [rights])
    finally:
        os.close(descriptor)


_SIOCOUTQ = 0x5411  # asm-generic/sockios.h (TIOCOUTQ): bytes that the receiver has not read


def _wait_until_taken(sender: socket.socket, wait: float) -> None:
    end = time.monotonic() + wait
    queued = array.array("i", [0])
    while True:
        fcntl.ioctl(sender.fileno(), _SIOCOUTQ, queued)
        if queued[0] == 0:
            return
        if time.monotonic() > end:
            raise JournalError(f"journald has not read the entry for {wait:.0f} s")
        time.sleep(0.000_5)


def own_unit(cgroup: str = "/proc/self/cgroup") -> UnitName | None:
    """The service that this process runs in, or None outside of one (cgroups(7), version 2)."""
    try:
        path = Path(cgroup).read_text().rpartition("::")[2].strip()
    except OSError:
        return None
    names = [part for part in path.split("/") if part.endswith(".service")]
    return UnitName(names[-1]) if names else None


def dump(value: object) -> str:
    """JSON on one line, for a journal field."""
    return msgspec.json.encode(value).decode()
