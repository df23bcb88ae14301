"""The configuration of this node as one `model.Config`, or what is wrong with it.

All errors of all files are found in one go, each with its file, line, column and key. A bad file
never takes down a good one: its job is listed in `Loaded.broken`, the others load.

This is all of it that the daemon and the hook keep in memory: they call `load_isolated`. What reads
the files (jobfiles, yamltext, readers, schema), and yaml and RE2 with it, is imported by the
functions that need it, and so in the child alone.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from outcomed import child
from outcomed.errors import UsageError
from outcomed.model import JOB_NAME, Config, Job, JobName, Record, Sink, UnitName, fingerprint
from outcomed.paths import PATHS, Paths

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


# --- what is read --------------------------------------------------------------------------------


def load(
    paths: Paths = PATHS, *, last_good: Config | None = None, kept: Path | None = None
) -> Loaded:
    """Read everything. `last_good` lends its sinks while outcomed.yaml is broken; in the file
    `kept` lies what parsing came to the last time."""
    from outcomed import jobfiles, schema
    from outcomed.parsed import Parsed

    problems: list[Problem] = []
    main = schema.load_main(paths.config_file, problems)
    if main.broken:
        main = main.with_lent(last_good)
    survey = jobfiles.look_around(paths, problems)
    jobs: list[Job] = []
    broken: set[JobName] = set()
    parsed = Parsed(kept) if kept is not None else None
    circumstances = msgspec.json.encode(main.defaults, order="deterministic")
    for source in jobfiles.sources_in(survey, problems).values():
        key = parsed.key(source, circumstances) if parsed is not None else None
        job = parsed.find(key) if parsed is not None else None
        if job is None:
            said = len(problems)
            job = schema.load_job(source, main.defaults, problems)
            if parsed is not None and job is not None and len(problems) == said:
                parsed.keep(key, job)
        if job is None:
            broken.add(source.name)
        else:
            jobs.append(job)
    if parsed is not None:
        parsed.write()
    problems.extend(schema.shared_units(jobs, paths))
    return Loaded(
        config=Config(jobs=tuple(jobs), sinks=main.sinks, default_to=main.defaults.to),
        problems=tuple(problems),
        broken=frozenset(broken),
        masked=frozenset(
            JobName(name) for name, file in survey.mains.items() if file == jobfiles.MASK
        ),
        hashes={job.name: rules_hash(job) for job in jobs},
        main_broken=main.broken,
    )


def load_isolated(paths: Paths = PATHS, *, last_good: Config | None = None) -> Loaded:
    """`load` in a child with limits, so that no file can take the caller's memory or life.

    Call it before the first thread is started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _be_the_child(writer, paths, last_good)
    os.close(writer)
    answer, in_time = _read_all(reader, CHILD_SECONDS)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
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
    from outcomed import jobfiles, schema

    if not files:
        return load(paths)
    problems: list[Problem] = []
    ignored: list[Problem] = []  # the node's own outcomed.yaml was not asked about
    defaults = schema.load_main(paths.config_file, ignored).defaults
    jobs: list[Job | None] = []
    sinks: tuple[Sink, ...] = ()
    for file in files:
        if file.name == "outcomed.yaml":
            sinks += schema.load_main(file, problems, optional=False).sinks
        elif source := jobfiles.source_of(file, problems):
            jobs.append(schema.load_job(source, defaults, problems))
    config = Config(jobs=tuple(job for job in jobs if job is not None), sinks=sinks)
    return Loaded(config=config, problems=tuple(problems))


def cat(paths: Paths, job: str) -> list[tuple[Path, str]]:
    """The file and the drop-ins that make up a job, in the order in which they are merged."""
    from outcomed import jobfiles

    source = jobfiles.find(paths, job)
    return [(file, jobfiles.text_of(file)) for file in source.files]


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
    if not can_be_job(unit):
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


def can_be_job(unit: UnitName) -> bool:
    """A unit's name may be longer than a job's, which is part of other names."""
    return is_unit_name(unit) and JOB_NAME.fullmatch(unit.removesuffix(".service")) is not None


def is_unit_name(unit: str) -> bool:
    """unit_name_is_valid() of systemd, for services."""
    return (
        len(unit) <= 255
        and unit.endswith(".service")
        and unit != ".service"
        and not unit.startswith("@")
        and _UNIT_CHARACTERS.fullmatch(unit) is not None
    )


_UNIT_CHARACTERS = re.compile(r"[A-Za-z0-9:_.\\@-]+")


# --- the child that reads ----------------------------------------------------------------------


def _be_the_child(writer: int, paths: Paths, last_good: Config | None) -> NoReturn:
    """Answer and be gone, without running anything of the parent's."""
    code = 1
    pipe = open(writer, "wb")  # noqa: SIM115  # closed by hand: nothing runs after os._exit
    try:
        child.shed(CHILD_MEMORY, CHILD_CPU_SECONDS)
        pipe.write(msgspec.json.encode(load(paths, last_good=last_good, kept=paths.parsed)))
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
    from outcomed.faults import shown_path, shown_word

    if not in_time:
        how = f"took longer than {CHILD_SECONDS:.0f} s"
    elif code == -signal.SIGXCPU or code == -signal.SIGKILL:
        how = "was killed, or used up its processor time"
    elif code == _EXIT_MEMORY:
        how = "ran out of memory"
    elif code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    else:
        how = f"ended with {shown_word(last_words.decode(errors='replace')) or f'status {code}'}"
    return Problem(
        file=shown_path(paths.config),
        fault=f"the process that reads the configuration {how}, keeping the last good one",
        hint="outcomectl check-config FILE reads one file at a time",
    )
