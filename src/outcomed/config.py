"""Turn the files below jobs.d and outcomed.yaml into one `model.Config`, or say what is wrong.

All errors of all files are found in one go, each with its file, line, column and key. A bad file
never takes down a good one: its job is listed in `Loaded.broken`, the others load.

YAML is read as text and marks only; what a word means is decided by the key it stands under. So
`on`, `0644`, `10:30` and `2026-01-02` are never silently something else than they look like.

yaml, simpleeval and re2 are imported inside functions: the daemon calls `load_isolated`, and none
of them ever enters its memory.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import resource
import select
import signal
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeVar, cast

import msgspec

from outcomed.errors import UsageError
from outcomed.model import (
    JOB_NAME,
    Alerts,
    AlreadyDone,
    Artifact,
    Config,
    Duration,
    Job,
    JobName,
    Journal,
    Record,
    Report,
    Rule,
    Sink,
    UnitName,
    Usec,
    Webhook,
    fingerprint,
)
from outcomed.paths import PATHS, Paths
from outcomed.quantities import format_duration, format_size, parse_duration, parse_size
from outcomed.specifiers import Host, expand

MAX_FILE = 1 << 20
MAX_NESTING = 16
MAX_RECURSION = 1000  # what libyaml's binding can do on any stack
MAX_TEXT = 4096
MAX_PROBLEMS = 100  # of one job
SUFFIX = ".yaml"
DROP_IN_SUFFIX = ".yaml.d"
_MASK = Path("/dev/null")

# The reader of the files is a child with these limits (load_isolated).
CHILD_MEMORY = 1 << 30
CHILD_CPU_SECONDS = 120
CHILD_SECONDS = 150.0


class Problem(Record, frozen=True):
    """One thing wrong with one file. `fault` is a sentence, `hint` says what to do about it."""

    file: str
    fault: str
    line: int | None = None
    column: int | None = None
    key: str = ""
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"


class Loaded(Record, frozen=True):
    """What was read, and what could not be.

    Of a job in `broken` nothing is in `config`; the caller keeps the last good one. The same goes
    for the sinks where `main_broken`, and for everything where `unread`.
    """

    config: Config = Config()
    problems: tuple[Problem, ...] = ()
    broken: frozenset[JobName] = frozenset()
    masked: frozenset[JobName] = frozenset()
    hashes: dict[JobName, str] = msgspec.field(default_factory=dict)  # of each job's rules
    main_broken: bool = False
    unread: bool = False  # the child that reads the files did not come back


# --- public ----------------------------------------------------------------------------------


def load(paths: Paths = PATHS, *, last_good: Config | None = None) -> Loaded:
    """Read everything. `last_good` lends its sinks while outcomed.yaml is broken."""
    problems: list[Problem] = []
    main = _load_main(paths.config_file, problems)
    if main.broken:
        main = main.with_lent(last_good)
    survey = _look_around(paths, problems)
    jobs: list[Job] = []
    broken: set[JobName] = set()
    for source in _sources(survey, problems).values():
        job = _load_job(source, main.defaults, problems)
        if job is None:
            broken.add(source.name)
        else:
            jobs.append(job)
    problems.extend(_shared_units(jobs, paths))
    return Loaded(
        config=Config(jobs=tuple(jobs), sinks=main.sinks, default_to=main.defaults.to),
        problems=tuple(problems),
        broken=frozenset(broken),
        masked=frozenset(JobName(name) for name, file in survey.mains.items() if file == _MASK),
        hashes={job.name: rules_hash(job) for job in jobs},
        main_broken=main.broken,
    )


def load_isolated(paths: Paths = PATHS, *, last_good: Config | None = None) -> Loaded:
    """`load` in a child with limits, so that no file can take the caller's memory or life.

    Call it before the first thread is started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _be_the_child(writer, paths, last_good)
    os.close(writer)
    answer, in_time = _read_all(reader, CHILD_SECONDS)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if in_time and code == 0:
        return msgspec.json.decode(answer, type=Loaded)
    death = _death(paths, code, in_time, answer)
    return Loaded(problems=(death,), main_broken=True, unread=True)


def check(paths: Paths = PATHS, files: Sequence[Path] = ()) -> list[Problem]:
    """All problems of the node's files, or of these, which may lie anywhere."""
    return list(examine(paths, files).problems)


def examine(paths: Paths = PATHS, files: Sequence[Path] = ()) -> Loaded:
    """What the node's files say, or these, which may lie anywhere."""
    if not files:
        return load(paths)
    problems: list[Problem] = []
    ignored: list[Problem] = []  # the node's own outcomed.yaml was not asked about
    defaults = _load_main(paths.config_file, ignored).defaults
    jobs: list[Job | None] = []
    sinks: tuple[Sink, ...] = ()
    for file in files:
        if file.name == "outcomed.yaml":
            sinks += _load_main(file, problems, optional=False).sinks
        elif source := _source_of(file, problems):
            jobs.append(_load_job(source, defaults, problems))
    config = Config(jobs=tuple(job for job in jobs if job is not None), sinks=sinks)
    return Loaded(config=config, problems=tuple(problems))


def cat(paths: Paths, job: str) -> list[tuple[Path, str]]:
    """The file and the drop-ins that make up a job, in the order in which they are merged."""
    source = _find(paths, job)
    return [(file, _text_of(file)) for file in source.files]


def render(problem: Problem, program: str = "outcomectl") -> str:
    """`PROGRAM: FILE:LINE:COLUMN: KEY: FAULT`, and the hint on a line of its own."""
    place = ":".join(
        str(part) for part in (problem.file, problem.line, problem.column) if part is not None
    )
    parts = [program, place, problem.key, problem.fault]
    if problem.severity == "warning":
        parts.insert(2, "warning")
    line = ": ".join(part for part in parts if part)
    return f"{line}\n  hint: {problem.hint}" if problem.hint else line


def instantiate(job: Job, unit: UnitName) -> Job:
    """The job of one instance, from its template. Nothing is expanded yet."""
    prefix = job.unit.removesuffix(".service")
    name = unit.removesuffix(".service")
    if not job.is_template or not unit.startswith(prefix) or name == prefix:
        raise UsageError(f"{unit} is not an instance of {job.unit}")
    if not _is_unit_name(unit) or not JOB_NAME.fullmatch(name):
        raise UsageError(f"{unit} is not the name of a service unit that can be a job")
    return msgspec.structs.replace(job, name=JobName(name), unit=unit)


def job_of_unit(config: Config, unit: UnitName, *, without: Collection[JobName] = ()) -> Job | None:
    """The job that stands for this unit: its own file, else the template's.

    `without` names the jobs whose own file is masked or broken: no template stands in for those.
    """
    template = template_of(unit)
    if unit.removesuffix(".service") in without:
        return None
    found = None
    for job in config.jobs:
        if job.unit == unit:
            return job
        if job.unit == template:
            found = job
    return instantiate(found, unit) if found else None


def template_of(unit: str) -> UnitName | None:
    """`backup@.service` of `backup@a.service`; None of a unit that is no instance."""
    prefix, at, instance = unit.removesuffix(".service").partition("@")
    return UnitName(f"{prefix}@.service") if at and instance else None


def rules_hash(job: Job) -> str:
    """Changes when, and only when, a run of the job could be judged differently."""
    rules = msgspec.json.encode((job.already_done, job.outcome))
    return fingerprint(rules)


def encode_config(config: Config) -> bytes:
    return msgspec.json.encode(config)


def decode_config(data: bytes) -> Config:
    """Raises msgspec.ValidationError where it was written by another version."""
    return msgspec.json.decode(data, type=Config)


# --- the child that reads ----------------------------------------------------------------------


def _be_the_child(writer: int, paths: Paths, last_good: Config | None) -> NoReturn:
    """Answer and be gone, without running anything of the parent's."""
    code = 1
    pipe = open(writer, "wb")  # noqa: SIM115  # closed by hand: nothing runs after os._exit
    try:
        signal.set_wakeup_fd(-1)  # it is the parent's socket
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_DATA, CHILD_MEMORY)
        _lower(resource.RLIMIT_CPU, CHILD_CPU_SECONDS)
        pipe.write(msgspec.json.encode(load(paths, last_good=last_good)))
        pipe.close()
        code = 0
    except MemoryError:
        code = _EXIT_MEMORY
    except Exception as error:  # noqa: BLE001  # a bug of ours: the parent says it, and goes on
        pipe.write(f"{type(error).__name__}: {error}".encode(errors="replace"))
        pipe.close()
    finally:
        os._exit(code)


_EXIT_MEMORY = 3


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _read_all(reader: int, seconds: float) -> tuple[bytes, bool]:
    """All that comes through the pipe, and whether its end came in time."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    chunks: list[bytes] = []
    with open(reader, "rb", buffering=0) as pipe:
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                chunk = pipe.read(1 << 20)
                if not chunk:
                    return b"".join(chunks), True
                chunks.append(chunk)
    return b"", False


def _death(paths: Paths, code: int, in_time: bool, last_words: bytes) -> Problem:
    if not in_time:
        how = f"took longer than {CHILD_SECONDS:.0f} s"
    elif code == -signal.SIGXCPU or code == -signal.SIGKILL:
        how = "was killed, or used up its processor time"
    elif code == _EXIT_MEMORY:
        how = "ran out of memory"
    elif code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    else:
        how = f"ended with {_shown_word(last_words.decode(errors='replace')) or f'status {code}'}"
    return Problem(
        file=_shown_path(paths.config),
        fault=f"the process that reads the configuration {how}, keeping the last good one",
        hint="outcomectl check-config FILE reads one file at a time",
    )


# --- which files ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Source:
    """The files that make up one job."""

    name: JobName
    main: Path
    drop_ins: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        return [self.main, *self.drop_ins]


@dataclass(slots=True)
class _Survey:
    """What lies in all the jobs.d directories. A later directory replaced what an earlier held."""

    mains: dict[str, Path] = field(default_factory=dict)
    drop_ins: dict[str, dict[str, Path]] = field(default_factory=dict)

    def drop_ins_of(self, name: str) -> list[Path]:
        """In the order of their names. An instance's own come instead of its template's."""
        template = template_of(name)
        files = dict(self.drop_ins.get(template.removesuffix(".service"), {})) if template else {}
        files |= self.drop_ins.get(name, {})
        return [files[file] for file in sorted(files) if files[file] != _MASK]


def _look_around(paths: Paths, problems: list[Problem]) -> _Survey:
    survey = _Survey()
    for directory in paths.job_dirs:
        for entry in _entries(directory, problems):
            if entry.name.endswith(DROP_IN_SUFFIX):
                job = entry.name.removesuffix(DROP_IN_SUFFIX)
                files = survey.drop_ins.setdefault(job, {})
                for drop_in in _entries(Path(entry.path), problems):
                    if _is_ours(drop_in, problems):
                        files[drop_in.name] = _target(drop_in)
            elif _is_ours(entry, problems):
                survey.mains[entry.name.removesuffix(SUFFIX)] = _target(entry)
    return survey


def _sources(survey: _Survey, problems: list[Problem]) -> dict[str, _Source]:
    """All jobs, by name, with the files that make them up."""
    sources = {}
    for name, main in sorted(survey.mains.items()):
        if not JOB_NAME.fullmatch(name):
            problems.append(_bad_name(main, name))
        elif main != _MASK:
            sources[name] = _Source(JobName(name), main, survey.drop_ins_of(name))
    for name, files in sorted(survey.drop_ins.items()):
        if name in survey.mains or not files:
            continue
        template = (template_of(name) or "").removesuffix(".service")
        if template in sources and JOB_NAME.fullmatch(name):
            # As for units, one instance may have drop-ins and no file of its own.
            main = sources[template].main
            sources[name] = _Source(JobName(name), main, survey.drop_ins_of(name))
        else:
            problems.append(
                Problem(
                    file=_shown_path(next(iter(files.values())).parent),
                    fault=f"there is no job file {_shown(name + SUFFIX)} to add to, ignoring",
                    severity="warning",
                )
            )
    return sources


def _find(paths: Paths, job: str) -> _Source:
    survey = _look_around(paths, [])
    main = survey.mains.get(job)
    if main is None and (template := template_of(job)):
        main = survey.mains.get(template.removesuffix(".service"))
    if main is None:
        hint = _did_you_mean(job, survey.mains)
        raise UsageError(f"there is no job {_shown(job)}", hint=hint)
    if main == _MASK:
        raise UsageError(f"job {_shown(job)} is masked")
    return _Source(JobName(job), main, survey.drop_ins_of(job))


def _source_of(file: Path, problems: list[Problem]) -> _Source | None:
    """The job that a file named on a command line is meant to be (part of)."""
    folder = file.absolute().parent.name
    name = file.name.removesuffix(SUFFIX)
    if folder.endswith(DROP_IN_SUFFIX):
        name = folder.removesuffix(DROP_IN_SUFFIX)
    elif not file.name.endswith(SUFFIX):
        problems.append(
            Problem(
                file=_shown_path(file),
                fault="the name of a job file ends in .yaml",
                hint=f"rename it to {_shown_path(file.stem)}.yaml",
            )
        )
        return None
    if not JOB_NAME.fullmatch(name):
        problems.append(_bad_name(file, name))
        return None
    return _Source(JobName(name), file)


def _entries(directory: Path, problems: list[Problem]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return  # none of the three has to exist
    except OSError as error:
        problems.append(
            Problem(file=_shown_path(directory), fault=f"cannot be read: {error.strerror}")
        )


def _is_ours(entry: os.DirEntry[str], problems: list[Problem]) -> bool:
    """Whether this is a file to read. Editors' and dpkg's leftovers are not."""
    if entry.name.startswith("."):
        return False
    if entry.name.endswith(SUFFIX):
        if not entry.is_dir():
            return True
        fault = "is a directory, ignoring"
    elif entry.name.endswith(".yml"):
        fault = "ends in .yml and not in .yaml, ignoring"
    else:
        return False
    problems.append(Problem(file=_shown_path(entry.path), fault=fault, severity="warning"))
    return False


def _target(entry: os.DirEntry[str]) -> Path:
    """The file itself, or _MASK where it is a link there, as `systemctl mask` makes it."""
    path = Path(entry.path)
    try:
        return _MASK if entry.is_symlink() and path.readlink() == _MASK else path
    except OSError:
        return path  # changed while we look: reading it will tell


def _bad_name(file: Path, name: str) -> Problem:
    return Problem(
        file=_shown_path(file),
        fault=f"{_shown(name)} cannot be a job's name",
        hint="a name has at most 200 of the characters A-Z a-z 0-9 : - _ . @ \\",
    )


def _read(file: Path) -> bytes:
    """The content of a regular file of a sensible size. Raises OSError, or _Fault."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Fault("is not a regular file")
        data = opened.read(min(status.st_size, MAX_FILE) + 1) or b""
    if len(data) > MAX_FILE:
        raise _Fault(f"is larger than {format_size(MAX_FILE)}")
    return data


def _text_of(file: Path) -> str:
    try:
        return _read(file).decode(errors="replace")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except _Fault as fault:
        raise UsageError(f"{file}: {fault.fault}") from None


# --- YAML: text and marks, nothing else ---------------------------------------------------------


class _Mark(Protocol):
    name: str
    line: int
    column: int


class _Node(Protocol):
    """What yaml.compose gives. `id` is "scalar", "sequence" or "mapping"."""

    id: str
    tag: str
    value: Any
    style: str | None
    start_mark: _Mark


class _Fault(Exception):  # noqa: N818  # it is what the reader of the file calls it
    """What is wrong with the thing at hand; whoever knows where it is makes it a Problem."""

    def __init__(self, fault: str, hint: str | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.hint = hint


class _Reading:
    """The problems of the files of one job, as they are found."""

    def __init__(self, file: Path) -> None:
        self.file = _shown_path(file)
        self.problems: list[Problem] = []

    @property
    def failed(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)

    def in_order(self) -> list[Problem]:
        """As they stand in the files, what has no line first, and no more than can be read."""
        problems = sorted(
            self.problems,
            key=lambda problem: (problem.file, problem.line or 0, problem.column or 0),
        )
        if (more := len(problems) - MAX_PROBLEMS) > 0:
            problems[MAX_PROBLEMS:] = [Problem(self.file, f"has {more} further faults")]
        return problems

    def fault(
        self,
        node: _Node | None,
        key: str,
        fault: str,
        hint: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        mark = node.start_mark if node is not None else None
        self.problems.append(
            Problem(
                file=mark.name if mark else self.file,
                line=mark.line + 1 if mark else None,
                column=mark.column + 1 if mark else None,
                key=key,
                fault=fault,
                hint=hint,
                severity=severity,
            )
        )


class _Stream(io.BytesIO):
    """Bytes with a name, which libyaml's marks then carry."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


_STR = "tag:yaml.org,2002:str"
_TOO_DEEP = f"is nested more than {MAX_NESTING} levels deep"
_OPENERS = (b"[", b"{", b"-", b"?", b":")  # each level of nesting takes at least one of these
_SEQ = "tag:yaml.org,2002:seq"
_MAP = "tag:yaml.org,2002:map"
_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@cache
def _yaml() -> tuple[Callable[[_Stream], Any], type[Exception]]:
    """libyaml's parser with a resolver that leaves every word a word, and what it raises."""
    parser = importlib.import_module("yaml.cyaml").CParser
    nodes = importlib.import_module("yaml.nodes")
    tags = {nodes.ScalarNode: _STR, nodes.SequenceNode: _SEQ, nodes.MappingNode: _MAP}

    class Loader(parser):  # type: ignore[misc, valid-type]  # a C class
        def resolve(self, kind: type, _value: object, _implicit: object) -> str:
            return tags[kind]

        def descend_resolver(self, _parent: object, _index: object) -> None:
            pass

        def ascend_resolver(self) -> None:
            pass

    return Loader, importlib.import_module("yaml.error").YAMLError


def _compose(file: Path, reading: _Reading) -> _Node | None:
    """The one document of a file, or None where it is empty or faulty."""
    name = _shown_path(file)
    try:
        data = _read(file)
        _check_characters(data, reading, name)
    except OSError as error:
        reason = "dangling link" if error.errno == errno.ENOENT and file.is_symlink() else None
        fault = f"cannot be read: {reason or error.strerror}"
        reading.problems.append(Problem(file=name, fault=fault))
        return None
    except _Fault as fault:
        reading.problems.append(Problem(file=name, fault=fault.fault, hint=fault.hint))
        return None
    if reading.failed:
        return None
    return _parse(data, reading, name)


def _parse(data: bytes, reading: _Reading, name: str) -> _Node | None:
    loader, yaml_error = _yaml()
    try:
        if sum(map(data.count, _OPENERS)) > MAX_RECURSION:
            _check_depth(loader(_Stream(data, name)))
        node = cast("_Node | None", loader(_Stream(data, name)).get_single_node())
    except _TooDeepError as error:
        reading.fault(error.node, "", _TOO_DEEP)
        return None
    except yaml_error as error:
        reading.problems.append(_syntax_problem(error, data, name))
        return None
    if node is not None:
        _check_tree(node, reading)
    return None if reading.failed else node


def _check_depth(parser: Any) -> None:
    """Composing recurses in C without a limit: half a million `[` would end the process."""
    events = importlib.import_module("yaml.events")
    depth = 0
    while event := parser.get_event():
        if isinstance(event, events.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                raise _TooDeepError(event)
        elif isinstance(event, events.CollectionEndEvent):
            depth -= 1


class _TooDeepError(Exception):
    def __init__(self, node: _Node) -> None:
        super().__init__()
        self.node = node  # an event in truth; it has a mark too


def _check_characters(data: bytes, reading: _Reading, name: str) -> None:
    def refuse(at: int, fault: str, hint: str | None = None) -> None:
        before = data[:at].decode(errors="replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        reading.problems.append(
            Problem(file=name, line=line, column=column, fault=fault, hint=hint)
        )

    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(0, "is encoded in UTF-16", "save it as UTF-8")
    elif data.startswith(b"\xef\xbb\xbf"):
        refuse(0, "begins with a byte order mark", "save it as UTF-8 without one")
    else:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            refuse(error.start, f"byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8")
        else:
            if found := _FORBIDDEN.search(text):
                at = len(text[: found.start()].encode())
                refuse(at, f"control character U+{ord(found[0]):04X} cannot be in a file")


def _syntax_problem(error: Any, data: bytes, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "is not YAML"
    fault, hint = f"YAML: {_shown_word(str(reason))}", None
    if mark is not None:
        line = (data.split(b"\n")[mark.line : mark.line + 1] or [b""])[0].decode(errors="replace")
        before = line[: mark.column + 1]
        if "\t" in before and not before.strip():
            fault, hint = "a tab cannot indent YAML", "indent with spaces"
        elif "mapping values are not allowed" in fault:
            hint = "quote a value that holds ': ', and look at the indentation"
        elif "another document" in fault:
            fault, hint = "holds more than one YAML document", "remove the ---"
        elif "cannot start any token" in fault:
            hint = "quote a value that begins with this character"
        elif "alias" in fault:
            hint = "quote a value that begins with *"
    return Problem(
        file=name,
        line=mark.line + 1 if mark else None,
        column=mark.column + 1 if mark else None,
        fault=fault,
        hint=hint,
    )


def _check_tree(root: _Node, reading: _Reading) -> None:
    """What YAML allows and this program does not: tags, aliases, deep nesting, double keys."""
    seen: set[int] = set()
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if id(node) in seen:
            reading.fault(node, "", "anchors and aliases are not supported", "write it out twice")
            return
        seen.add(id(node))
        if node.tag not in (_STR, _SEQ, _MAP):
            reading.fault(node, "", f"YAML tag {_shown(node.tag)} is not supported")
        if node.id == "scalar":
            continue
        if depth >= MAX_NESTING:
            reading.fault(node, "", _TOO_DEEP)
            return
        if node.id == "mapping":
            _check_keys(node, reading)
            waiting.extend((value, depth + 1) for pair in node.value for value in pair)
        else:
            waiting.extend((item, depth + 1) for item in node.value)


def _check_keys(mapping: _Node, reading: _Reading) -> None:
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        if key.id != "scalar":
            reading.fault(key, "", "expected a key, got a list or mapping")
        elif key.value == "<<":
            reading.fault(key, "", "YAML merge keys are not supported", "write it out twice")
        elif key.value in lines:
            first = lines[key.value]
            reading.fault(key, "", f"key {_shown(key.value)} is there already, in line {first}")
        else:
            lines[key.value] = key.start_mark.line + 1


# --- drop-ins ------------------------------------------------------------------------------------


def _is_null(node: _Node) -> bool:
    """Nothing at all, `~` or `null`: the empty assignment of unit files."""
    return node.id == "scalar" and not node.style and node.value in ("", "~", "null")


def _merge(base: _Node, extra: _Node) -> _Node:
    """What `extra` makes of `base`: mappings key by key, lists one after the other, words anew.

    As in unit files, a list is added to and an empty one, or an empty first item, clears it. A
    drop-in that forgets the rules before it would be a guarantee lost in silence.
    """
    if base.id == extra.id == "mapping":
        merged = {key.value: (key, value) for key, value in base.value}
        for key, value in extra.value:
            known = merged.get(key.value)
            merged[key.value] = (key, _merge(known[1], value) if known else value)
        return _like(extra, list(merged.values()))
    if base.id == extra.id == "sequence" and extra.value and not _is_null(extra.value[0]):
        return _like(extra, [*base.value, *extra.value])
    return extra


def _like(node: _Node, value: list[Any]) -> _Node:
    make: Callable[..., _Node] = type(node)
    return make(node.tag, value, node.start_mark)


# --- what each key holds -------------------------------------------------------------------------

T = TypeVar("T")
Reader = Callable[[_Node, "_Reading", str], Any]
Fields = Mapping[str, Reader]


class _Absent:
    """A value that was there and faulty: different from one that was not there."""


_FAULTY = _Absent()


def _describe(node: _Node) -> str:
    if node.id == "mapping":
        return "a mapping"
    if node.id == "sequence":
        return "a list"
    return "nothing" if _is_null(node) else _shown(node.value)


def _scalar(convert: Callable[[str], T], expected: str) -> Reader:
    """A reader of one word, that `convert` understands or refuses with ValueError or _Fault."""

    def read(node: _Node, reading: _Reading, key: str) -> T | _Absent:
        if node.id != "scalar":
            reading.fault(node, key, f"expected {expected}, got {_describe(node)}")
            return _FAULTY
        try:
            return convert(node.value)
        except _Fault as fault:
            reading.fault(node, key, fault.fault, fault.hint)
        except ValueError as error:
            reading.fault(node, key, str(error))
        return _FAULTY

    return read


def _mapping(
    node: _Node, reading: _Reading, key: str, fields: Fields, later: Iterable[str] = ()
) -> dict[str, Any] | None:
    """The values of a mapping by key; a faulty one is _FAULTY, an empty one is left out."""
    if node.id != "mapping":
        reading.fault(node, key, f"expected a mapping, got {_describe(node)}")
        return None
    found = {}
    for name, value in node.value:
        path = f"{key}.{name.value}" if key else name.value
        read = fields.get(name.value)
        if read is None:
            found[name.value] = _FAULTY
            _refuse_key(name, reading, key, fields, later)
        elif not _is_null(value):
            found[name.value] = read(value, reading, path)
    return found


def _refuse_key(
    name: _Node, reading: _Reading, key: str, fields: Fields, later: Iterable[str]
) -> None:
    if name.value in later:
        reading.fault(name, key, f"{_shown(name.value)} is not supported by this version")
        return
    hint = _did_you_mean(name.value, fields)
    reading.fault(name, key, f"unknown key {_shown(name.value)}", hint)


def _list(item: Reader) -> Reader:
    def read(node: _Node, reading: _Reading, key: str) -> tuple[Any, ...] | _Absent:
        if node.id != "sequence":
            fault = f"expected a list, got {_describe(node)}"
            hint = (
                f"write [{_shown_word(node.value)}]"
                if node.id == "scalar"
                else "begin each item with '- '"
            )
            reading.fault(node, key, fault, hint)
            return _FAULTY
        return tuple(item(value, reading, f"{key}[{at}]") for at, value in enumerate(_items(node)))

    return read


def _items(sequence: _Node) -> list[_Node]:
    """Without an empty first one: it has cleared what came before."""
    items: list[_Node] = sequence.value
    return items[1:] if items and _is_null(items[0]) else items


def _group(read: Callable[[_Node, _Reading, str], T | None]) -> Reader:
    """A reader of a mapping that gives None where it reported a fault."""

    def faulty_or(node: _Node, reading: _Reading, key: str) -> T | _Absent:
        value = read(node, reading, key)
        return _FAULTY if value is None else value

    return faulty_or


def _sound(values: Mapping[str, Any] | None) -> bool:
    return values is not None and not any(
        value is _FAULTY or (isinstance(value, tuple) and _FAULTY in value)
        for value in values.values()
    )


# words


def _text(text: str) -> str:
    folded = " ".join(text.split())
    if len(folded) > MAX_TEXT:
        raise _Fault(f"is longer than {MAX_TEXT} characters")
    return _printable(folded)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise _Fault(f"holds a control character: {_shown(text)}")
    return text


_BOOLEANS = {"true": True, "false": False}
_YAML11 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def _boolean(text: str) -> bool:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    meant = _YAML11.get(text.lower()) or (text.lower() if text.lower() in _BOOLEANS else None)
    raise _Fault(f"expected true or false, got {_shown(text)}", f"write {meant}" if meant else None)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 9:
            if len(text) > 1 and text.startswith("0"):
                hint = f"octal numbers are not read; write {int(text)}"
                raise _Fault(f"expected a number without leading zeros, got {text}", hint)
            if low <= int(text) <= high:
                return int(text)
        raise _Fault(f"expected a number from {low} to {high}, got {_shown(text)}")

    return convert


def _choice(values: Sequence[str], later: Sequence[str] = ()) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text in values:
            return text
        if text in later:
            known = ", ".join(values)
            raise _Fault(f"{text} is not supported by this version", f"supported: {known}")
        raise _Fault(f"expected {_any_of(values)}, got {_shown(text)}", _did_you_mean(text, values))

    return convert


def _duration(text: str) -> Usec:
    if re.fullmatch(r"[0-9]+(:[0-9]+)+", text):
        raise _Fault(f"expected a duration such as 1h 30min, got {_shown(text)}", _clock(text))
    try:
        return parse_duration(text)
    except ValueError as error:
        infinite = text.strip() == "infinity"
        raise _Fault(str(error), "leave the key out for no limit" if infinite else None) from None


def _clock(text: str) -> str | None:
    parts = text.split(":")
    if len(parts) > 3:
        return None
    return "write " + " ".join(
        f"{part}{unit}" for part, unit in zip(parts, ("h", "min", "s"), strict=False)
    )


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise _Fault(str(error), _size_hint(text)) from None


def _size_hint(text: str) -> str | None:
    """ "500 MiB" and "500m" are what people write elsewhere."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgtpe])(?:i?b)?\s*", text, re.IGNORECASE)
    return f"write {found[1]}{found[2].upper()}" if found else None


def _pattern(text: str) -> str:
    from outcomed import patterns

    patterns.compile_pattern(text)
    return text


def _expression(text: str) -> str:
    from outcomed import expressions

    expressions.parse(text)
    return text.strip()


def _path(text: str) -> str:
    """Only the spelling: what the specifiers stand for is looked at when the unit is known."""
    if not text.isprintable():
        raise _Fault(f"holds a control character: {_shown(text)}")
    if len(text.encode()) > 4095:
        raise _Fault("is longer than a path can be")
    return text


# --- rules ---------------------------------------------------------------------------------------

_DURATION = _scalar(_duration, "a duration such as 1h 30min")
_SIZE = _scalar(_size, "a size such as 500M")
_PATTERN = _scalar(_pattern, "a regular expression")
_PATH = _scalar(_path, "an absolute path")

_FORMATS = ("gzip", "zstd", "tar", "pg_dump")
_LATER_FORMATS = ("xz", "bzip2", "zip", "json", "sqlite", "pg_custom")

_ARTIFACT: Fields = {
    "written_by": _scalar(_choice(("run", "period", "any")), "run, period or any"),
    "min_size": _SIZE,
    "max_size": _SIZE,
    "format": _scalar(_choice(_FORMATS, _LATER_FORMATS), "a format such as gzip"),
    "allow_empty": _scalar(_boolean, "true or false"),
    "on_filesystem": _PATH,
}
_LATER_ARTIFACT = frozenset({"size_vs_median", "sha256", "count", "owner", "mode"})


def _read_artifact(
    path: Any, siblings: dict[str, Any], node: _Node, reading: _Reading, key: str
) -> Artifact | None:
    low, high = siblings.get("min_size"), siblings.get("max_size")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        fault = f"min_size {format_size(low)} is larger than max_size {format_size(high)}"
        reading.fault(_value(node, "min_size"), f"{key}.artifact.min_size", fault)
        return None
    return Artifact(path=path, **siblings) if path is not _FAULTY and _sound(siblings) else None


def _read_duration(node: _Node, reading: _Reading, key: str) -> Duration | None:
    fields = {"at_least": _DURATION, "at_most": _DURATION}
    values = _mapping(node, reading, key, fields, later=("vs_median",))
    if values is None or not _sound(values):
        return None
    low, high = values.get("at_least"), values.get("at_most")
    if low is None and high is None:
        reading.fault(node, key, "expected at_least, at_most or both")
    elif high == 0:
        reading.fault(_value(node, "at_most"), f"{key}.at_most", "no run is over in no time")
    elif low is not None and high is not None and low > high:
        fault = f"at_least {format_duration(low)} is longer than at_most {format_duration(high)}"
        reading.fault(_value(node, "at_least"), f"{key}.at_least", fault)
    else:
        return Duration(**values)
    return None


def _read_journal(node: _Node, reading: _Reading, key: str) -> Journal | None:
    if node.id == "scalar":
        pattern = _quoted(node.value)
        either = f"write {{never: {pattern}}} or {{expect: {pattern}}}"
        reading.fault(node, key, "expected never: or expect: with the pattern", either)
        return None
    values = _mapping(node, reading, key, {"expect": _PATTERN, "never": _PATTERN})
    if values is None or not _sound(values):
        return None
    if len(values) != 1:
        hint = "write two rules, one with expect and one with never" if values else None
        reading.fault(node, key, "expected exactly one of expect, never", hint)
        return None
    return Journal(**values)


def _read_report(node: _Node, reading: _Reading, key: str) -> Report | None:
    expression = _scalar(_expression, "an expression such as failed == 0")(node, reading, key)
    return None if expression is _FAULTY else Report(expression)


_RULES: dict[str, Reader] = {
    "artifact": _PATH,
    "duration": _group(_read_duration),
    "report": _group(_read_report),
    "journal": _group(_read_journal),
}
_LATER_RULES = ("steps", "command")


def _read_rule(node: _Node, reading: _Reading, key: str) -> Rule | None:
    """One item of `outcome`: exactly one kind of rule, and what belongs to it beside it."""
    if node.id != "mapping":
        hint = f"begin it with {_any_of([kind + ':' for kind in _RULES])}"
        reading.fault(node, key, f"expected a rule, got {_describe(node)}", hint)
        return None
    given = {name.value: (name, value) for name, value in node.value}
    for kind in _LATER_RULES:
        if kind in given:
            reading.fault(given[kind][0], key, f"{_shown(kind)} is not supported by this version")
            return None
    kinds = [kind for kind in _RULES if kind in given]
    if len(kinds) != 1:
        _refuse_kinds(node, kinds, reading, key)
        return None
    kind = kinds[0]
    name, value = given.pop(kind)
    rule = _RULES[kind](value, reading, f"{key}.{kind}")
    rest = _like(node, list(given.values()))
    if kind != "artifact":
        _refuse_siblings(kind, rest, reading, key)
        return None if rule is _FAULTY or given else cast("Rule", rule)
    if _is_null(value):
        reading.fault(name, f"{key}.{kind}", "expected an absolute path, got nothing")
        return None
    siblings = _mapping(rest, reading, f"{key}.{kind}", _ARTIFACT, later=_LATER_ARTIFACT)
    return _read_artifact(rule, siblings or {}, rest, reading, key)


def _refuse_kinds(node: _Node, kinds: list[str], reading: _Reading, key: str) -> None:
    if kinds:
        fault = f"one rule cannot be both {' and '.join(kinds)}"
        reading.fault(node, key, fault, "begin each rule with '- ' of its own")
        return
    given = [name.value for name, _ in node.value]
    if any(name in _ARTIFACT for name in given):
        hint: str | None = f"{given[0]} belongs below '- artifact: PATH'"
    else:
        hint = next((hint for name in given if (hint := _did_you_mean(name, _RULES))), None)
    got = f", got {', '.join(_shown(name) for name in given)}" if given else ""
    reading.fault(node, key, f"expected {_any_of(list(_RULES))}{got}", hint)


def _refuse_siblings(kind: str, rest: _Node, reading: _Reading, key: str) -> None:
    for name, _ in rest.value:
        hint = f"put it into the braces of {kind}" if kind in ("duration", "journal") else None
        reading.fault(name, key, f"key {_shown(name.value)} cannot stand beside {kind}", hint)


def _value(mapping: _Node, key: str) -> _Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


# --- jobs ----------------------------------------------------------------------------------------


def _read_already_done(node: _Node, reading: _Reading, key: str) -> AlreadyDone | None:
    fields = {"exit_status": _scalar(_integer(1, 255), "a number"), "journal": _PATTERN}
    values = _mapping(node, reading, key, fields)
    if values is None or not _sound(values):
        return None
    if len(values) != 1:
        reading.fault(node, key, "expected exactly one of exit_status, journal")
        return None
    return AlreadyDone(**values)


def _sink_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        hint = "a name has at most 64 of the characters A-Z a-z 0-9 _ . -"
        raise _Fault(f"{_shown(text)} cannot be a sink's name", hint)
    return text


def _read_alerts(node: _Node, reading: _Reading, key: str) -> dict[str, Any] | None:
    fields = {
        "after": _scalar(_integer(1, 1000), "a number"),
        "to": _list(_scalar(_sink_name, "the name of a sink")),
    }
    values = _mapping(node, reading, key, fields, later=("remind",))
    if values is None or not _sound(values):
        return None
    if "to" in values:
        values["to"] = tuple(dict.fromkeys(values["to"]))
    return values


_SEVERITY = _scalar(_choice(("critical", "warning")), "critical or warning")
_JOB: Fields = {
    "unit": _scalar(_printable, "the name of a service unit"),
    "description": _scalar(_text, "a text"),
    "runbook": _scalar(_text, "a text"),
    "severity": _SEVERITY,
    "already_done": _list(_group(_read_already_done)),
    "outcome": _list(_group(_read_rule)),
    "alerts": _group(_read_alerts),
}
_LATER_JOB = frozenset({"schedule", "preflight", "retry"})


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What outcomed.yaml gives to jobs that do not say it themselves."""

    to: tuple[str, ...] = ()
    after: int = 1
    severity: Literal["critical", "warning"] = "critical"
    known_sinks: frozenset[str] | None = None  # None: not known, so nothing is said about names


def _load_job(source: _Source, defaults: _Defaults, problems: list[Problem]) -> Job | None:
    reading = _Reading(source.main)
    job = _read_job(source, defaults, reading)
    problems.extend(reading.in_order())
    return None if reading.failed else job


def _read_job(source: _Source, defaults: _Defaults, reading: _Reading) -> Job | None:
    merged: _Node | None = None
    for file in source.files:
        node = _compose(file, reading)
        if node is None or (node.id == "scalar" and _is_null(node)):
            continue
        if node.id != "mapping":
            reading.fault(node, "", f"expected keys such as outcome:, got {_describe(node)}")
            continue
        merged = node if merged is None else _merge(merged, node)
    if reading.failed:
        return None
    if merged is None:
        reading.fault(
            None,
            "",
            "is empty: runs are watched, and no rule looks at the outcome",
            "a link to /dev/null masks a job",
            "warning",
        )
        return _finish({}, source, defaults, None, reading)
    values = _mapping(merged, reading, "", _JOB, later=_LATER_JOB)
    return _finish(values or {}, source, defaults, merged, reading)


def _finish(
    values: dict[str, Any],
    source: _Source,
    defaults: _Defaults,
    node: _Node | None,
    reading: _Reading,
) -> Job | None:
    """The job, after what only the whole of it can show to be wrong."""
    unit = _unit(values, source, node, reading)
    if unit is not None and node is not None:
        _check_paths(values, unit, node, reading)
    alerts = values.get("alerts", {})
    if alerts is not _FAULTY and defaults.known_sinks is not None:
        _check_sinks(alerts, defaults.known_sinks, node, reading, "alerts.to")
    if unit is None or reading.failed or not _sound(values):
        return None
    return Job(
        name=source.name,
        unit=unit,
        description=values.get("description", ""),
        runbook=values.get("runbook", ""),
        severity=values.get("severity", defaults.severity),
        already_done=values.get("already_done", ()),
        outcome=values.get("outcome", ()),
        alerts=Alerts(after=alerts.get("after", defaults.after), to=alerts.get("to", defaults.to)),
    )


_UNIT_CHARACTERS = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_SUFFIXES = (".service", ".timer", ".socket", ".path", ".target", ".mount", ".automount", ".slice")


def _is_unit_name(unit: str) -> bool:
    """unit_name_is_valid() of systemd, for services."""
    return (
        len(unit) <= 255
        and unit.endswith(".service")
        and unit != ".service"
        and not unit.startswith("@")
        and _UNIT_CHARACTERS.fullmatch(unit) is not None
    )


def _unit(
    values: dict[str, Any], source: _Source, node: _Node | None, reading: _Reading
) -> UnitName | None:
    unit = values.get("unit")
    if unit is _FAULTY:
        return None
    at = _value(node, "unit") if node is not None and unit is not None else None
    if unit is None:
        if source.name.endswith(_SUFFIXES):
            stem = source.name.rpartition(".")[0]
            fault = f"the job's name {source.name} ends like a unit's"
            reading.fault(None, "", fault, f"name the file {stem}.yaml, or say which unit: it is")
            return None
        return UnitName(f"{source.name}.service")
    if not _is_unit_name(unit):
        fault = f"expected a service unit such as {source.name}.service, got {_shown(unit)}"
        reading.fault(at, "unit", fault, _unit_hint(unit))
        return None
    own = UnitName(f"{source.name}.service")
    if unit.endswith("@.service") and unit == template_of(own):
        return own  # the template's file, with the drop-ins of one instance
    if unit != own and (unit.endswith("@.service") or own.endswith("@.service")):
        fault = f"a template is named after its unit, and {source.name} is not {unit}"
        hint = f"name the file {unit.removesuffix('.service')}.yaml"
        reading.fault(at, "unit", fault, hint)
        return None
    return UnitName(unit)


def _unit_hint(unit: str) -> str | None:
    stem, dot, _ = unit.rpartition(".")
    if dot and unit.endswith(_SUFFIXES):
        return f"the outcome is the service's: {stem}.service"
    return f"write {unit}.service" if _is_unit_name(f"{unit}.service") else None


# Stands in where a specifier's value does not matter: whether it is known does.
_ANY_HOST = Host("host", "0" * 32, "0" * 32, "kernel", "arch", "host", {})


def _check_paths(values: dict[str, Any], unit: UnitName, node: _Node, reading: _Reading) -> None:
    outcome = values.get("outcome", ())
    listed = _value(node, "outcome")
    if outcome is _FAULTY or listed is None:
        return
    nodes = _items(listed) if outcome else ()
    if unit.endswith("@.service"):
        unit = UnitName(unit.replace("@.", "@instance."))
    for at, rule in enumerate(outcome):
        if not isinstance(rule, Artifact):
            continue
        key = f"outcome[{at}].artifact"
        _check_path(rule.path, unit, _value(nodes[at], "artifact"), reading, key)
        if rule.on_filesystem is not None:
            where = _value(nodes[at], "on_filesystem")
            _check_path(rule.on_filesystem, unit, where, reading, f"{key}.on_filesystem", "/")


def _check_path(
    text: str,
    unit: UnitName,
    node: _Node | None,
    reading: _Reading,
    key: str,
    directory: str = "",
) -> None:
    try:
        path = expand(text, unit, host=_ANY_HOST)
    except ValueError as error:
        reading.fault(node, key, str(error))
        return
    if not path.startswith("/"):
        reading.fault(node, key, f"expected an absolute path, got {_shown(text)}")
    elif path.endswith("/") and not directory:
        fault = f"{_shown(text)} is a directory, and an artifact is a file"
        reading.fault(node, key, fault, f"write {text}* for the newest file in it")


def _check_sinks(
    alerts: dict[str, Any],
    known: frozenset[str],
    node: _Node | None,
    reading: _Reading,
    key: str,
) -> None:
    block = _value(node, "alerts") if node is not None else None
    items = _value(block, "to") if block is not None and block.id == "mapping" else None
    for name in alerts.get("to", ()):
        if name in known:
            continue
        at = next((item for item in items.value if item.value == name), None) if items else None
        hint = _did_you_mean(name, known) or "sinks are named in outcomed.yaml"
        reading.fault(at, key, f"there is no sink {_shown(name)}", hint)


def _shared_units(jobs: Iterable[Job], paths: Paths) -> Iterator[Problem]:
    owners: dict[UnitName, JobName] = {}
    for job in jobs:
        first = owners.setdefault(job.unit, job.name)
        if first != job.name:
            yield Problem(
                file=_shown_path(paths.config / "jobs.d" / f"{job.name}.yaml"),
                key="unit",
                fault=f"job {first} watches {job.unit} too",
                severity="warning",
            )


# --- outcomed.yaml -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Main:
    """What outcomed.yaml says; of a broken one, the defaults as far as they are sound."""

    defaults: _Defaults
    sinks: tuple[Sink, ...] = ()
    broken: bool = False

    def with_lent(self, last_good: Config | None) -> _Main:
        """The same with the sinks of a better day, and no default that points elsewhere."""
        if last_good is None:
            return self
        known = frozenset(sink.name for sink in last_good.sinks)
        to = self.defaults.to
        if not to or not known.issuperset(to):
            to = last_good.default_to
        return replace(
            self,
            defaults=replace(self.defaults, to=to, known_sinks=known),
            sinks=last_good.sinks,
        )


def _url(text: str) -> str:
    """A URL may hold a token, so a fault does not quote it."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isascii() or not text.isprintable() or " " in text:
        raise _Fault("expected a URL that begins with https:// or http://")
    return text


def _credential(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text) or text.startswith("."):
        raise _Fault(f"{_shown(text)} cannot be a credential's name")
    return text


_SINK_TYPES = ("webhook",)
_LATER_SINK_TYPES = ("alertmanager", "sendmail", "unit", "apprise")
_LATER_SINK_FORMATS = ("slack", "discord", "teams", "ntfy")

_SINK: Fields = {
    "type": _scalar(_choice(_SINK_TYPES, _LATER_SINK_TYPES), "webhook"),
    "url": _scalar(_url, "a URL"),
    "url_credential": _scalar(_credential, "a credential's name"),
    "secret_credential": _scalar(_credential, "a credential's name"),
    "format": _scalar(_choice(("json",), _LATER_SINK_FORMATS), "json"),
    "log_lines": _scalar(_integer(0, 1000), "a number"),
}


def _read_sink(node: _Node, reading: _Reading, key: str) -> dict[str, Any] | None:
    kind = _value(node, "type") if node.id == "mapping" else None
    if kind is not None and kind.id == "scalar" and kind.value in _LATER_SINK_TYPES:
        _SINK["type"](kind, reading, f"{key}.type")  # its own keys are none of ours yet
        return None
    values = _mapping(node, reading, key, _SINK)
    if values is None or not _sound(values):
        return None
    if "type" not in values:
        reading.fault(node, key, "has no type", "write type: webhook")
    elif ("url" in values) == ("url_credential" in values):
        reading.fault(node, key, "expected exactly one of url, url_credential")
    else:
        return {name: value for name, value in values.items() if name != "type"}
    return None


def _read_sinks(node: _Node, reading: _Reading, key: str) -> tuple[Sink, ...] | None:
    if node.id != "mapping":
        reading.fault(node, key, f"expected a mapping of names to sinks, got {_describe(node)}")
        return None
    sinks = []
    for name, value in node.value:
        word = _scalar(_sink_name, "the name of a sink")(name, reading, key)
        values = _read_sink(value, reading, f"{key}.{_shown_word(name.value)}")
        if values is not None and word is not _FAULTY:
            sinks.append(Webhook(name=name.value, **values))
    return tuple(sinks)


def _read_defaults(node: _Node, reading: _Reading, key: str) -> dict[str, Any] | None:
    fields = {"alerts": _group(_read_alerts), "severity": _SEVERITY}
    values = _mapping(node, reading, key, fields)
    return values if _sound(values) else None


_MAIN: Fields = {"defaults": _group(_read_defaults), "sinks": _group(_read_sinks)}


def _load_main(file: Path, problems: list[Problem], *, optional: bool = True) -> _Main:
    """outcomed.yaml. None at all is as good as an empty one."""
    if optional and not os.path.lexists(file):
        return _Main(_Defaults(known_sinks=frozenset()))
    reading = _Reading(file)
    main = _read_main(_compose(file, reading), reading)
    problems.extend(reading.in_order())
    return main


def _read_main(node: _Node | None, reading: _Reading) -> _Main:
    values: dict[str, Any] = {}
    if node is not None and not _is_null(node):
        values = _mapping(node, reading, "", _MAIN, later=("heartbeat",)) or {}
    sinks, given = values.get("sinks", ()), values.get("defaults", {})
    given = {} if given is _FAULTY else given
    alerts = given.get("alerts", {})
    if sinks is not _FAULTY and not reading.failed:
        block = _value(node, "defaults") if node is not None and given else None
        known = frozenset(sink.name for sink in sinks)
        _check_sinks(alerts, known, block, reading, "defaults.alerts.to")
    defaults = _Defaults(
        to=alerts.get("to", ()),
        after=alerts.get("after", 1),
        severity=given.get("severity", "critical"),
        known_sinks=None if reading.failed else frozenset(sink.name for sink in sinks),
    )
    if reading.failed:
        return _Main(defaults, broken=True)
    return _Main(defaults, sinks)


# --- words for people ----------------------------------------------------------------------------


def _shown(text: str) -> str:
    """A user's word, quoted, short, and without anything that moves a terminal's cursor."""
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."


def _shown_word(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _shown_path(path: Path | str) -> str:
    """A path as text that JSON and a terminal can hold, whatever bytes it is made of."""
    if (plain := str(path)).isprintable():  # surrogates are not
        return plain
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _any_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _did_you_mean(word: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    close = get_close_matches(word[:100], list(known)[:10_000], n=1)
    return f"did you mean {close[0]}?" if close else None
