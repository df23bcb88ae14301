"""outcomed-check@JOB.service: looks at what is foreign, slow or costly, in the daemon's place.

Request and answer are files (`checks`), and the answer grows with each finding. So what kills this
process, or ends it at its deadline, leaves what was found until then; the daemon calls the rest
`unknown`.

This process itself touches no artifact and waits for no program without a deadline: each look is a
child's. A file is read once for all of its rules, by a child that has given up root for it.
"""

from __future__ import annotations

import io
import os
import pwd
import resource
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast

import msgspec
from msgspec.structs import replace

from outcomed import checksums, children, commands, probes, rules, spool
from outcomed.checks import (
    GRACE,
    LOOK,
    Answer,
    Request,
    answer_path,
    name_of,
    request_path,
)
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER, EXIT_USAGE
from outcomed.faults import printable
from outcomed.model import (
    SECOND,
    Artifact,
    Command,
    Finding,
    Held,
    JobName,
    Record,
    UnitName,
    Usec,
    Value,
)
from outcomed.paths import PATHS, Paths
from outcomed.quantities import format_size
from outcomed.rules import Digest, Look, Ran, Window
from outcomed.specifiers import Host, expand, this_host

STALL = 60.0  # seconds without a byte of a file; after that no more is to come
MEMORY = 512 << 20  # bytes a reader may use, also where no cgroup limits it
SIDECAR_LIMIT = 1 << 20  # bytes of a list of checksums
SILENT = frozenset({"sqlite"})  # formats whose reader gives no signs of life
READER = "outcomed-check"  # whom a reader of foreign bytes becomes


_encode = msgspec.json.encode


class Sight(Record, frozen=True):
    """What a look at an artifact's place gave: the file, and what it is to be compared with.

    The look's texts are printable; `path` is the newest file's name as it is.
    """

    look: Look
    path: bytes = b""
    digest: Digest | None = None
    identity: tuple[int, ...] = ()  # of the newest file, to tell it from one that took its place


class Reading(Record, frozen=True):
    """`formats.Reading`, as it comes out of the reader's process."""

    state: str
    summary: str
    evidence: dict[str, Value] = msgspec.field(default_factory=dict)


class Content(Record, frozen=True):
    """What a reader saw in a file."""

    readings: dict[str, Reading] = msgspec.field(default_factory=dict)
    sha256: str = ""
    fault: str = ""  # why nobody could read it


# --- looking ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Around:
    """What the looking needs of the place where it is done; by hand, there is nothing around."""

    extend: Callable[[float], None] = lambda _: None  # so many seconds the next step may take
    end_strays: Callable[[], bool] = lambda: True  # end what a command left; False: it could not
    oom: Callable[[], children.Oom] = children.Oom

    def blamed(self, before: children.Oom, fault: str) -> str:
        """`fault`, unless it was the memory."""
        after = self.oom()
        if after.kills == before.kills:
            return fault
        if after.limits > before.limits:
            return "took more memory than MemoryMax= of outcomed-check@.service allows"
        return "was killed when the host had no memory left"


def findings(request: Request, host: Host, around: Around) -> Iterator[Finding]:
    """Look at everything that is asked, one finding at a time, in no order."""
    found: dict[str, Finding] = {}
    sights: dict[str, Sight] = {}
    artifacts = {at: one for at, one in request.rules.items() if isinstance(one, Artifact)}
    for label, rule in artifacts.items():
        around.extend(LOOK)
        sights[label] = _look(rule, request, host)
    contents = _Contents(artifacts, sights, around)
    for label, rule in artifacts.items():
        found[label] = _judge(rule, label, sights[label], request.window, contents)
        yield found[label]
    for label, one in request.rules.items():
        if isinstance(one, Command):
            artifact = rules.artifact_of(label, list(artifacts))
            around.extend(one.timeout / SECOND)
            before = around.oom()
            ran = _run(one, request, host, sights.get(artifact), found.get(artifact))
            left = "" if around.end_strays() else "it left processes behind that cannot be killed"
            fault = around.blamed(before, ran.fault or left)
            yield rules.command(one, label, replace(ran, fault=fault))


def _look(rule: Artifact, request: Request, host: Host) -> Sight:
    def work(_: children.Beat) -> bytes:
        return _encode(sight(rule, request.unit, request.window, host))

    try:
        pattern = expand(rule.path, request.unit, host=host)
        return msgspec.json.decode(children.answer_of(work, children.Limits(LOOK)), type=Sight)
    except ValueError as error:  # a specifier that has no value here
        return Sight(Look(rule.path, fault=f"{rule.path}: {error}"))
    except children.NoAnswerError as error:
        return Sight(Look(pattern, fault=f"{pattern}: looking for it {error}"))


def sight(rule: Artifact, unit: UnitName, window: Window, host: Host) -> Sight:
    """Find the newest match; where it has a sidecar, read that too."""
    seen = probes.look(rule, unit, host, rules.spans(rule, window))
    look = replace(
        seen,
        pattern=printable(seen.pattern),
        off_filesystem=printable(seen.off_filesystem),
        fault=printable(seen.fault),
        newest=seen.newest and replace(seen.newest, path=printable(seen.newest.path)),
    )
    if seen.newest is None or seen.fault:
        return Sight(look)
    path = os.fsencode(seen.newest.path)
    if not rules.needs_reading(rule):
        return Sight(look, path)
    try:
        status = os.stat(path)
    except OSError as error:
        return Sight(replace(look, fault=f"{look.pattern}: {error.strerror}"))
    return Sight(look, path, _expected(rule, path), _identity(status))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _expected(rule: Artifact, path: bytes) -> Digest | None:
    if rule.sha256 == "sidecar":
        return _in_sidecar(os.fsdecode(path))
    return Digest(rule.sha256) if rule.sha256 else None


def _in_sidecar(path: str) -> Digest:
    """What the files beside it say. A list that names others alone is not about this file."""
    directory, name = os.path.split(path)
    faults: list[Digest] = []
    for sidecar in checksums.sidecar_names(name):
        text = _sidecar(os.path.join(directory, sidecar))
        if isinstance(text, str):
            return Digest(source=sidecar, unknown=f"its sidecar {sidecar}: {text}")
        if text is not None:
            stated = checksums.stated_for(path, text)
            if stated.sha256:
                return Digest(stated.sha256, source=sidecar)
            faults.append(Digest(source=sidecar, broken=f"its sidecar {sidecar} {stated.fault}"))
    return faults[0] if faults else Digest(broken="no sidecar with its SHA-256 lies beside it")


def _sidecar(path: str) -> bytes | str | None:
    """Its text; why it cannot be read; or None where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None  # a directory that is called so
        text = file.read(SIDECAR_LIMIT + 1)
    return text if len(text) <= SIDECAR_LIMIT else f"larger than {format_size(SIDECAR_LIMIT)}"


class _Contents:
    """Files read once, however many rules are about them."""

    def __init__(
        self, artifacts: Mapping[str, Artifact], sights: Mapping[str, Sight], around: Around
    ) -> None:
        self._around = around
        self._wanted: dict[tuple[int, ...], list[Artifact]] = {}
        self._read: dict[tuple[int, ...], Content] = {}
        for label, rule in artifacts.items():
            if sights[label].identity:
                self._wanted.setdefault(sights[label].identity, []).append(rule)

    def of(self, sight: Sight) -> Content:
        ident = sight.identity
        if ident not in self._read:
            self._read[ident] = self._from_child(sight, self._wanted[ident])
        return self._read[ident]

    def _from_child(self, sight: Sight, wanted: list[Artifact]) -> Content:
        seconds = max(rule.timeout for rule in wanted) / SECOND
        self._around.extend(seconds)
        before = self._around.oom()

        def work(beat: children.Beat) -> bytes:
            return _encode(content(sight.path, sight.identity, wanted, beat))

        try:
            limits = children.Limits(seconds, STALL if SILENT.isdisjoint(_formats(wanted)) else 0)
            return msgspec.json.decode(children.answer_of(work, limits), type=Content)
        except children.NoAnswerError as error:
            return Content(fault=f"reading it {self._around.blamed(before, str(error))}")


def _formats(wanted: list[Artifact]) -> set[str]:
    return {rule.format for rule in wanted if rule.format is not None}


def content(
    path: bytes, identity: tuple[int, ...], wanted: list[Artifact], beat: Callable[[], None]
) -> Content:
    """Read a file to its end for all rules about it. For a child: it gives up root."""
    from outcomed import formats  # heavy, and only here

    names = _formats(wanted)
    digest = any(rule.sha256 is not None for rule in wanted)
    try:
        with open(path, "rb", buffering=0) as file:
            if _identity(os.fstat(file.fileno())) != identity:
                return Content(fault="it was replaced while it was looked at")
            beating = cast(BinaryIO, _Beating(file, beat))
            seen = formats.read_once(beating, names, digest=digest, opened=_give_up_root)
            if _identity(os.fstat(file.fileno())) != identity:
                return Content(fault="it was changed while it was read")
    except OSError as error:
        return Content(fault=error.strerror or str(error))
    readings = {
        name: Reading(str(one.state), one.summary, dict(one.evidence))
        for name, one in seen.by_format.items()
    }
    return Content(readings, seen.sha256 or "")


class _Beating(io.RawIOBase):
    """A file, whose every piece is a sign of life."""

    def __init__(self, file: io.FileIO, beat: Callable[[], None]) -> None:
        self._file = file
        self._beat = beat

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int | None:
        self._beat()
        return self._file.readinto(buffer)


def _give_up_root() -> None:
    """What is parsed from here on was written by a stranger."""
    if os.geteuid() != 0:
        return
    try:
        nobody = pwd.getpwnam(READER)
    except KeyError:
        return  # not installed as a package
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)


def _judge(
    rule: Artifact, label: str, sight: Sight, window: Window, contents: _Contents
) -> Finding:
    """As cheaply as can be: what is not this run's, or too small, is not read."""
    unread = rules.artifact(rule, label, sight.look, window, None, Digest(unknown="not read"))
    if not sight.identity or unread.state is Held.BROKEN:
        return unread
    seen = contents.of(sight)
    if seen.fault:
        look = replace(sight.look, fault=f"{unread.evidence['path']}: {seen.fault}")
        return rules.artifact(rule, label, look, window, None)
    digest = sight.digest
    if digest is not None:
        digest = replace(digest, actual=seen.sha256)
    reading = seen.readings.get(rule.format) if rule.format is not None else None
    return rules.artifact(rule, label, sight.look, window, reading, digest)


# --- commands --------------------------------------------------------------------------------


def _run(
    rule: Command, request: Request, host: Host, sight: Sight | None, finding: Finding | None
) -> Ran:
    path = os.fsdecode(sight.path) if sight is not None and sight.path else None
    if commands.ARTIFACT in rule.command:
        if finding is not None and finding.state is Held.BROKEN:
            return Ran(f"not run, since {finding.rule} is broken")
        if path is None:
            return Ran("not run: there is no artifact to hand to it")
    user = rule.user or request.user
    if user is None:
        return Ran(f"not run: the User= of {request.unit} is not known")
    try:
        who = children.identity(user or "root")
        argv = commands.expanded(rule.command, request.unit, host, path)
    except LookupError as error:
        return Ran(f"not run: {error} to run it as")
    except ValueError as error:  # a specifier that has no value here
        return Ran(f"not run: {error}")
    return children.run(argv, who, rule.timeout / SECOND, _environment(request, path))


def _environment(request: Request, path: str | None) -> dict[str, str]:
    """What systemd hands to OnFailure= units (systemd.exec(5)), by the same names, and ours."""
    shown = {
        "MONITOR_UNIT": request.unit,
        "MONITOR_INVOCATION_ID": request.invocation,
        "OUTCOMED_JOB": request.job,
    }
    if path is not None:
        shown["OUTCOMED_ARTIFACT"] = path
    return shown | ({"TMPDIR": tmp} if (tmp := os.environ.get("TMPDIR")) else {})


# --- the unit --------------------------------------------------------------------------------


def run(job: JobName, paths: Paths = PATHS) -> int:
    """Answer the request that lies there."""
    try:
        request = spool.read_as(request_path(job, paths), Request)
    except FileNotFoundError:
        print(f"<4>no request for {job}, nothing to look at", file=sys.stderr)
        return EXIT_NO_ANSWER
    except spool.SpoolError as error:
        print(f"<3>{error}", file=sys.stderr)
        return EXIT_NO_ANSWER
    request = replace(request, window=replace(request.window, looked=Usec(time.time_ns() // 1000)))
    found: list[Finding] = []
    for finding in findings(request, this_host(), _around()):
        found.append(finding)
        answer = _encode(Answer(name_of(request), tuple(found)))
        try:
            spool.write_aside(answer_path(job, paths), answer, 0o600, sync=False)
        except OSError as error:
            _notify(f"ERRNO={error.errno}")
            print(f"<3>{answer_path(job, paths)}: {error.strerror}", file=sys.stderr)
            return EXIT_NO_ANSWER
    return EXIT_FINE


def _around() -> Around:
    """Of the unit. Started by hand, this shares its cgroup with whoever did, and ends nobody."""
    cgroup = children.own_cgroup()
    if not os.path.basename(cgroup).startswith("outcomed-check@"):
        return Around()
    return Around(_extend, partial(children.end_strays, cgroup), partial(children.oom, cgroup))


def _extend(seconds: float) -> None:
    """Tell systemd that this may take so long; the unit's TimeoutStartSec= is for the rest."""
    _notify(f"EXTEND_TIMEOUT_USEC={round((seconds + GRACE) * SECOND)}")


def _notify(message: str) -> None:
    from systemd import daemon as sd

    sd.notify(message)


def main() -> int:
    """The unit's only process; systemd sets its limits and its deadline."""
    if len(sys.argv) != 2:
        print("usage: outcomed-check JOB", file=sys.stderr)
        return EXIT_USAGE
    return run(JobName(sys.argv[1]))
