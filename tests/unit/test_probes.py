"""Artifacts on real file systems: what is found, what cannot be looked at, what is not touched."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from outcomed import probes
from outcomed.model import SECOND, Artifact, UnitName
from outcomed.rules import Look
from outcomed.specifiers import Host

UNIT = UnitName("backup@a[1]*.service")
HOST = Host(hostname="node")
SOURCES = str(Path(probes.__file__).parents[1])

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def look(path: Path | str, on_filesystem: str | None = None) -> Look:
    return probes.look(Artifact(str(path), on_filesystem=on_filesystem), UNIT, HOST)


def make(path: Path, *, at: float = 1_000, size: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (at, at))
    return path


def test_a_file_is_seen_as_it_is(tmp_path: Path) -> None:
    path = make(tmp_path / "a.gz", at=1_000.25, size=7)
    found = look(path)
    assert found.newest is not None
    assert found == Look(str(path), 1, found.newest, counted=1)
    assert (found.newest.path, found.newest.size) == (str(path), 7)
    assert (found.newest.mtime, found.newest.is_coarse) == (1_000_250_000, False)


def test_whole_seconds_are_taken_for_a_coarse_clock(tmp_path: Path) -> None:
    found = look(make(tmp_path / "a", at=1_000))
    assert found.newest is not None
    assert found.newest.is_coarse
    assert found.newest.mtime == 1_000 * SECOND


def test_the_newest_match_is_looked_at(tmp_path: Path) -> None:
    for name, at in (("a", 3_000), ("b", 2_000), ("c", 3_000)):
        make(tmp_path / f"{name}.gz", at=at)
    make(tmp_path / "d.txt", at=9_000)
    found = look(tmp_path / "*.gz")
    assert found.newest is not None
    assert (found.matches, found.newest.path) == (3, str(tmp_path / "c.gz"))


def test_what_is_no_file_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "directory.gz").mkdir()
    os.mkfifo(tmp_path / "pipe.gz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.gz"))
        assert look(tmp_path / "*.gz") == Look(f"{tmp_path}/*.gz", others=3)
    assert look(tmp_path / "directory.gz").matches == 0


def test_links_are_followed_and_loops_and_dangling_ones_are_not_there(tmp_path: Path) -> None:
    make(tmp_path / "real", at=2_000)
    (tmp_path / "good.gz").symlink_to("real")
    (tmp_path / "dangling.gz").symlink_to("nowhere")
    (tmp_path / "loop.gz").symlink_to("loop.gz")
    found = look(tmp_path / "*.gz")
    assert (found.matches, found.fault) == (1, "")
    assert found.newest is not None
    assert found.newest.path == str(tmp_path / "good.gz")
    for name in ("dangling.gz", "loop.gz"):
        assert look(tmp_path / name) == Look(str(tmp_path / name))


def test_a_way_through_a_file_leads_nowhere(tmp_path: Path) -> None:
    make(tmp_path / "file")
    for path in (tmp_path / "file" / "a.gz", tmp_path / "file" / "*.gz", tmp_path / "no" / "*.gz"):
        assert look(path) == Look(str(path))


def test_an_instance_called_star_is_not_every_file(tmp_path: Path) -> None:
    make(tmp_path / "abc.gz")
    assert look(f"{tmp_path}/%i.gz").matches == 0
    make(tmp_path / "a[1]*.gz")
    found = look(f"{tmp_path}/%i.gz")
    assert found.newest is not None
    assert (found.matches, found.newest.path) == (1, str(tmp_path / "a[1]*.gz"))


def test_a_name_that_is_no_utf_8_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\n.gz")
    make(tmp_path / name)
    found = look(tmp_path / "*.gz")
    assert found.newest is not None
    assert found.newest.path == str(tmp_path / name)


def in_child(uid: int, work: Callable[[], bool]) -> bool:
    """Whether `work` says yes as this user."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@as_root
@pytest.mark.parametrize("pattern", ["a.gz", "*.gz", "deeper/*.gz"])
def test_a_directory_that_may_not_be_read_is_a_fault_and_no_answer(pattern: str) -> None:
    directory = Path(f"/var/tmp/outcomed-probes-{os.getpid()}")
    make(directory / "deeper" / "a.gz")
    make(directory / "a.gz")
    try:
        directory.chmod(0)
        fault = f"{directory}"
        assert in_child(65534, lambda: look(directory / pattern).fault.startswith(fault))
        assert look(directory / pattern).matches == 1
    finally:
        directory.chmod(0o700)
        subprocess.run(["rm", "-r", str(directory)], check=True)


@as_root
def test_a_file_in_a_directory_that_may_only_be_searched_is_found_or_is_not() -> None:
    directory = Path(f"/var/tmp/outcomed-probes-{os.getpid()}")
    make(directory / "a.gz")
    try:
        directory.chmod(0o711)
        assert in_child(65534, lambda: look(directory / "a.gz").matches == 1)
        assert in_child(65534, lambda: look(directory / "b.gz") == Look(f"{directory}/b.gz"))
        assert in_child(65534, lambda: "Permission denied" in look(directory / "*.gz").fault)
    finally:
        subprocess.run(["rm", "-r", str(directory)], check=True)


# --- file systems ----------------------------------------------------------------------------


def test_the_root_is_always_mounted() -> None:
    assert look("/etc/passwd", "/").off_filesystem in ("", "not on the file system of /")


def test_nothing_is_mounted_on_an_ordinary_or_missing_directory(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    for place in (tmp_path, tmp_path / "missing"):
        assert look(path, str(place)).off_filesystem == f"nothing is mounted on {place}"


def test_without_a_file_nobody_asks_where_it_lies(tmp_path: Path) -> None:
    assert look(tmp_path / "a", str(tmp_path)).off_filesystem == ""


@as_root
def test_a_file_under_an_absent_mount_is_not_where_it_has_to_be(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path[:0] = [{SOURCES!r}, {str(Path.cwd())!r}]
from tests.unit.test_probes import *
place = Path({str(tmp_path)!r})
path, other = place / "a", place / "below" / "a"
make(other)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
make(path)
print(look(path, str(place)).off_filesystem or "in place")
print(look("/etc/passwd", str(place)).off_filesystem)
subprocess.run(["umount", str(place)], check=True)
make(path)
print(look(path, str(place)).off_filesystem)
"""
    result = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "permission denied" in result.stderr:
        pytest.skip("mounting is not permitted here")
    assert result.stdout.splitlines() == [
        "in place",
        f"not on the file system of {tmp_path}",
        f"nothing is mounted on {tmp_path}",
    ], result.stderr


# --- remote file systems ---------------------------------------------------------------------

TABLE = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
22 21 0:20 / /mnt/nas rw shared:2 - nfs4 nas:/export rw
23 21 0:21 / /mnt/with\040space\134 rw - cifs //nas/share rw
24 21 0:22 / /home/u/%s rw - fuse.sshfs u@host:/ rw
25 21 254:1 / /srv rw - ext4 /dev/vdb1 rw
26 21 0:23 / /net rw - autofs /etc/auto.net rw
""".replace("%s", "\N{LINE SEPARATOR}x\x0c")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a mount table of ours in the kernel's place."""

    def put(table: str) -> None:
        path = tmp_path / "mountinfo"
        path.write_text(table)
        remote = probes._remote_in(path.read_text())
        monkeypatch.setattr(probes, "_mounts", lambda: FixedMounts(remote))

    return put


class FixedMounts:
    """A mount table that does not change."""

    def __init__(self, remote: frozenset[str]) -> None:
        self._remote = remote

    def remote(self) -> frozenset[str]:
        return self._remote


def is_remote(path: Path | str, on_filesystem: str | None = None) -> bool:
    return probes.is_remote(Artifact(str(path), on_filesystem=on_filesystem), UNIT, HOST)


def test_remote_file_systems_are_found_in_the_mount_table() -> None:
    assert probes._remote_in(TABLE) == {
        "/mnt/nas",
        "/mnt/with space\\",
        "/home/u/\N{LINE SEPARATOR}x\x0c",
        "/net",
    }


def test_the_real_mount_table_can_be_read() -> None:
    mounts = probes._Mounts()
    assert mounts.remote() == mounts.remote()
    mounts._table.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/nas/a.gz", True),
        ("/mnt/nas", True),
        ("/mnt/nas2/a.gz", False),
        ("/srv/a.gz", False),
        ("/srv/../mnt/nas/a", True),
        ("/srv/*.gz", False),
        # what a wildcard could match its way into
        ("/mnt/*/a.gz", True),
        ("/m*/a.gz", True),
        ("/*", True),
        ("/net/host/a", True),
    ],
)
def test_a_path_is_remote_if_its_way_touches_such_a_place(
    mounts: Callable[[str], None], path: str, expected: bool
) -> None:
    mounts(TABLE)
    assert is_remote(path) is expected


def test_links_are_followed_by_hand(mounts: Callable[[str], None], tmp_path: Path) -> None:
    mounts(f"22 21 0:20 / {tmp_path}/nas rw - nfs nas:/ rw\n")
    (tmp_path / "absolute").symlink_to(f"{tmp_path}/nas/a")
    (tmp_path / "relative").symlink_to("nas/a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up").symlink_to("../relative")
    (tmp_path / "beside").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("absolute", "relative", "d/up", "d/../nas/a"):
        assert is_remote(tmp_path / name), name
    for name in ("beside", "loop/a", "d"):
        assert not is_remote(tmp_path / name), name


def test_the_place_of_the_mount_counts_too(mounts: Callable[[str], None]) -> None:
    mounts(TABLE)
    assert is_remote("/srv/a", on_filesystem="/mnt/nas")
    assert not is_remote("/srv/a", on_filesystem="/srv")


def test_on_a_network_root_everything_is_remote(mounts: Callable[[str], None]) -> None:
    mounts("21 1 0:20 / / rw - nfs server:/root rw\n")
    assert is_remote("/srv/a")
    assert is_remote("/srv/*")


def test_without_remote_mounts_nothing_is_looked_up(mounts: Callable[[str], None]) -> None:
    mounts("21 1 254:0 / / rw - ext4 /dev/vda1 rw\n")
    assert not is_remote("/nowhere/at/all")


def test_no_part_behind_a_remote_place_is_touched(
    mounts: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stat there may never return; a directory that may not be searched stands for it."""
    nas = tmp_path / "nas"
    nas.mkdir()
    (nas / "link").symlink_to("/")
    mounts(f"22 21 0:20 / {nas} rw - nfs nas:/ rw\n")
    touched: list[str] = []
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: touched.append(path) or readlink(path))
    assert is_remote(nas / "link" / "a")
    assert not [path for path in touched if path.startswith(str(nas))]
