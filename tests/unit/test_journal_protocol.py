"""What we write is the journal's native protocol, and nobody hangs on a journald that does."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import entry
from outcomed.errors import JournalError


class FakeJournald:
    """A datagram socket that understands the native protocol, inline or by descriptor."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)

    def read(self) -> dict[str, bytes]:
        data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)


def parse(data: bytes) -> dict[str, bytes]:
    """https://systemd.io/JOURNAL_NATIVE_PROTOCOL/"""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[9 + size :]
        fields[name.decode()] = value
    return fields


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJournald]:
    path = tmp_path / "socket"
    monkeypatch.setattr(entry, "JOURNAL_SOCKET", str(path))
    fake = FakeJournald(path)
    with contextlib.closing(fake.socket):
        yield fake


def test_an_entry_arrives_with_its_fields(journald: FakeJournald) -> None:
    entry.send({"MESSAGE": "one line", "PRIORITY": "5"})
    assert journald.read() == {"MESSAGE": b"one line", "PRIORITY": b"5"}


def test_many_lines_and_any_bytes_arrive_whole(journald: FakeJournald) -> None:
    text = b"one\ntwo=\xff\n\n".decode("utf-8", "surrogateescape")
    entry.send({"MESSAGE": text, "A": "=", "B": ""})
    assert journald.read() == {"MESSAGE": b"one\ntwo=\xff\n\n", "A": b"=", "B": b""}


def test_what_is_too_large_for_a_datagram_goes_by_descriptor(journald: FakeJournald) -> None:
    entry.send({"MESSAGE": "x" * 4_000_000})
    assert journald.read() == {"MESSAGE": b"x" * 4_000_000}


def test_who_waits_is_back_when_the_entry_was_read(journald: FakeJournald) -> None:
    reader = threading.Timer(0.05, journald.read)
    reader.start()
    entry.send({"MESSAGE": "x"}, wait=10)
    reader.join(10)


def test_a_journald_that_does_not_read_is_said(journald: FakeJournald) -> None:
    with pytest.raises(JournalError, match="has not read the entry for 0 s"):
        entry.send({"MESSAGE": "x"}, wait=0.01)


def test_nobody_hangs_on_a_full_queue(
    journald: FakeJournald, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "PATIENCE", 0.01)

    def flood() -> None:
        for _ in range(10_000):
            entry.send({"MESSAGE": "x"})

    with pytest.raises(JournalError, match="timed out"):
        flood()


def test_a_missing_socket_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "JOURNAL_SOCKET", str(tmp_path / "nowhere"))
    with pytest.raises(JournalError, match="nowhere: No such file or directory"):
        entry.send({"MESSAGE": "x"})


texts = st.one_of(st.text(st.characters(codec="utf-8")), st.binary().map(os.fsdecode))


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), texts, min_size=1))
def test_no_text_breaks_out_of_its_field(fields: dict[str, str]) -> None:
    payload = b"".join(entry._field(name, value) for name, value in fields.items())
    assert parse(payload) == {
        name: value.encode("utf-8", "surrogateescape") for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/backup.service\n", "backup.service"),
        ("0::/system.slice/system-backup.slice/backup@a.service\n", "backup@a.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", "x.service"),
        ("0::/system.slice/a.service/payload\n", "a.service"),
        ("1:name=systemd:/x\n0::/system.slice/b.service\n", "b.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_the_unit_is_read_from_the_control_group(
    tmp_path: Path, cgroup: str, unit: str | None
) -> None:
    path = tmp_path / "cgroup"
    path.write_text(cgroup)
    assert entry.own_unit(str(path)) == unit


def test_without_control_groups_there_is_no_unit(tmp_path: Path) -> None:
    assert entry.own_unit(str(tmp_path / "nowhere")) is None
