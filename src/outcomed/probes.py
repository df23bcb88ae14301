"""Look at artifacts. Yields evidence, decides nothing, and follows no path it cannot leave.

stat(2) on a dead network mount never returns, so the daemon itself looks only at local file
systems; `is_remote` tells beforehand, from the mount table, without touching the path. What it
refuses is looked at in the check unit, which has a deadline.
"""

from __future__ import annotations

import errno
import functools
import glob
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from msgspec.structs import replace

from outcomed.model import SECOND, Artifact, UnitName, Usec
from outcomed.rules import EVER, FileSeen, Look, Spans, in_span
from outcomed.specifiers import Host, expand

# What a server, or a process of a user, answers for.
_REMOTE = frozenset(
    {
        "9p",
        "afs",
        "autofs",
        "ceph",
        "cifs",
        "coda",
        "gfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LINKS = 40  # as the kernel: more in one path is a loop


def look(rule: Artifact, unit: UnitName, host: Host, spans: Spans = EVER) -> Look:
    """Find the newest match of the rule's path, of those written in these spans if there are any;
    see where it lies, and count them."""
    pattern = expand(rule.path, unit, host=host)
    try:
        matches, newest, others, counted = _newest(pattern, spans)
        off = _off_filesystem(rule, unit, host, newest)
        if newest is not None and (rule.owner is not None or rule.mode is not None):
            newest = _with_owner(newest, rule.owner or "")
    except OSError as error:
        return Look(pattern, fault=f"{error.filename or pattern}: {error.strerror}")
    return Look(pattern, matches, newest, off, others=others, counted=counted)


def _with_owner(seen: FileSeen, wanted: str) -> FileSeen:
    """Owner and mode, spelled as the rule spells them: numbers stay numbers."""
    status = os.stat(seen.path)
    user, _, group = wanted.partition(":")
    names = (
        str(status.st_uid) if user.isdigit() else _name(_user_name, status.st_uid),
        str(status.st_gid) if group.isdigit() else _name(_group_name, status.st_gid),
    )
    return replace(seen, owner=":".join(names), mode=stat.S_IMODE(status.st_mode))


def _name(look_up: Callable[[int], str], number: int) -> str:
    try:
        return look_up(number)
    except KeyError:
        return str(number)  # nobody's: of a user who was removed, or of another host


def _user_name(uid: int) -> str:
    import pwd  # for rules that ask for an owner alone

    return pwd.getpwuid(uid).pw_name


def _group_name(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name


def _newest(pattern: str, spans: Spans) -> tuple[int, FileSeen | None, int, int]:
    """How many files match, the newest of them, how much matches that is no file, and how many
    count."""
    matches = others = counted = 0
    best: FileSeen | None = None
    best_key = (False, 0, "")
    for path in _matches(pattern):
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            continue  # removed between the listing and our question, or a link to nowhere
        if not stat.S_ISREG(status.st_mode):
            others += 1
            continue
        matches += 1
        seen = _file_seen(path, status)
        counts = in_span(seen, spans)
        counted += counts
        if best is None or (counts, seen.mtime, seen.path) > best_key:
            best, best_key = seen, (counts, seen.mtime, seen.path)
    if matches == 0 and glob.has_magic(pattern):
        _raise_if_unreadable(pattern)
    return matches, best, others, counted


def _matches(pattern: str) -> Iterator[str]:
    if glob.has_magic(pattern):
        return glob.iglob(pattern)
    return iter([pattern])


def _raise_if_unreadable(pattern: str) -> None:
    """glob(3) takes a directory that it may not list for an empty one. We do not."""
    directory = os.path.dirname(_static_part(pattern)) or "/"
    try:
        with os.scandir(directory):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing there is an answer


def _static_part(pattern: str) -> str:
    """The path up to the first component with a wildcard, with a closing slash if there is one."""
    parts = PurePosixPath(pattern).parts
    for index, part in enumerate(parts):
        if glob.has_magic(part):
            return os.path.join(*parts[:index], "")
    return pattern


def _file_seen(path: str, status: os.stat_result) -> FileSeen:
    return FileSeen(
        path=path,
        size=status.st_size,
        mtime=Usec(status.st_mtime_ns // 1000),
        is_coarse=status.st_mtime_ns % (SECOND * 1000) == 0,
    )


def _off_filesystem(rule: Artifact, unit: UnitName, host: Host, newest: FileSeen | None) -> str:
    if rule.on_filesystem is None or newest is None:
        return ""
    place = expand(rule.on_filesystem, unit, host=host, glob_safe=False)
    if not _is_mounted(place):
        return f"nothing is mounted on {place}"
    if os.stat(newest.path).st_dev != os.stat(place).st_dev:
        return f"not on the file system of {place}"
    return ""


def _is_mounted(place: str) -> bool:
    """Whether a file system of its own begins here.

    By device numbers: the daemon's sandbox has mount points that the host has not.
    """
    try:
        here = os.stat(place)
    except FileNotFoundError:
        return False
    above = os.stat(os.path.join(place, ".."))
    return here.st_dev != above.st_dev or here.st_ino == above.st_ino


CROWDED = 1000  # directory entries that the daemon looks through itself: less than a millisecond


def is_costly(rule: Artifact, unit: UnitName, host: Host) -> bool:
    """Whether looking takes so long that other jobs would notice: many files, or many places."""
    pattern = expand(rule.path, unit, host=host)
    if not glob.has_magic(pattern):
        return False
    directory, _ = os.path.split(pattern)
    if glob.has_magic(directory):
        return True
    try:
        with os.scandir(directory or "/") as entries:
            return any(number >= CROWDED for number, _ in enumerate(entries))
    except OSError:
        return False  # nothing there, or unreadable: the look itself says which


def is_remote(rule: Artifact, unit: UnitName, host: Host) -> bool:
    """Whether looking could hang: some part of the way lies on a network or FUSE file system."""
    remote = _mounts().remote()
    if not remote:
        return False
    pattern = expand(rule.path, unit, host=host)
    paths = [_static_part(pattern)]
    if glob.has_magic(pattern):
        if _leads_above(paths[0], remote):
            return True
        paths += [match for match in glob.iglob(pattern) if os.path.islink(match)]
    if rule.on_filesystem is not None:
        paths.append(expand(rule.on_filesystem, unit, host=host, glob_safe=False))
    return any(_leads_to(path, remote) for path in paths)


def _leads_to(path: str, remote: frozenset[str]) -> bool:
    """Whether the way to this path touches a remote place."""
    return _destination(path, remote) is None


def _leads_above(path: str, remote: frozenset[str]) -> bool:
    """Whether a pattern that begins here may match its way into a remote place."""
    here = _destination(path, remote)
    return here is None or any(place.startswith(here.rstrip("/") + "/") for place in remote)


def _destination(path: str, remote: frozenset[str]) -> str | None:
    """Follow the links of a path by hand, and stop before the first remote place is touched."""
    if "/" in remote:
        return None
    todo = list(reversed(PurePosixPath(path).parts[1:]))
    here = "/"
    links = 0
    while todo:
        part = todo.pop()
        here = os.path.normpath(os.path.join(here, part))
        if here in remote:
            return None
        try:
            target = os.readlink(here)
        except OSError:
            continue  # not a link, or not there: nothing to follow
        links += 1
        if links > _LINKS:
            return here
        todo.extend(reversed([part for part in PurePosixPath(target).parts if part != "/"]))
        here = "/" if target.startswith("/") else os.path.dirname(here)
    return here


class _Mounts:
    """The mount table, read again only when the kernel says that it changed.

    proc_pid_mountinfo(5) raises POLLPRI and POLLERR at a change since it was last read.
    """

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self._table = open(table, "rb", buffering=0)  # noqa: SIM115 - kept, to be told of changes
        self._poll = select.poll()
        self._poll.register(self._table, select.POLLPRI)
        self._remote: frozenset[str] | None = None

    def remote(self) -> frozenset[str]:
        """Mount points of remote file systems."""
        if self._remote is None or self._poll.poll(0):
            self._table.seek(0)
            self._remote = _remote_in(self._table.readall().decode("utf-8", "surrogateescape"))
        return self._remote


@functools.cache
def _mounts() -> _Mounts:
    return _Mounts()


def _remote_in(table: str) -> frozenset[str]:
    found = set()
    for line in table.split("\n"):  # a mount point may hold what else splitlines() splits at
        left, _, right = line.partition(" - ")
        kind = right.partition(" ")[0]
        if kind in _REMOTE or kind.startswith("fuse"):
            found.add(_unescape(left.split(" ")[4]))
    return frozenset(found)


def _unescape(path: str) -> str:
    """The table writes space, tab, line feed and backslash as three octal digits."""
    for octal in ("040", "011", "012", "134"):
        path = path.replace(f"\\{octal}", chr(int(octal, 8)))
    return path
