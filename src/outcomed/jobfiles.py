"""Which files make up which job: the three jobs.d directories, masks, drop-ins and templates.

It reads bytes and looks into none of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from outcomed.config import Problem, template_of
from outcomed.errors import UsageError
from outcomed.faults import Fault, did_you_mean, shown, shown_path
from outcomed.model import JOB_NAME, JobName
from outcomed.paths import Paths
from outcomed.quantities import format_size

MAX_FILE = 1 << 20
SUFFIX = ".yaml"
DROP_IN_SUFFIX = ".yaml.d"
MASK = Path("/dev/null")


@dataclass(slots=True)
class Source:
    """The files that make up one job."""

    name: JobName
    main: Path
    drop_ins: list[Path] = field(default_factory=list)
    content: dict[Path, bytes] = field(default_factory=dict)  # as far as somebody has read them

    @property
    def files(self) -> list[Path]:
        return [self.main, *self.drop_ins]


@dataclass(slots=True)
class Survey:
    """What lies in all the jobs.d directories. A later directory replaced what an earlier held."""

    mains: dict[str, Path] = field(default_factory=dict)
    drop_ins: dict[str, dict[str, Path]] = field(default_factory=dict)

    def drop_ins_of(self, name: str) -> list[Path]:
        """In the order of their names. An instance's own come instead of its template's."""
        template = template_of(name)
        files = dict(self.drop_ins.get(template.removesuffix(".service"), {})) if template else {}
        files |= self.drop_ins.get(name, {})
        return [files[file] for file in sorted(files) if files[file] != MASK]


def look_around(paths: Paths, problems: list[Problem]) -> Survey:
    survey = Survey()
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


def sources_in(survey: Survey, problems: list[Problem]) -> dict[str, Source]:
    """All jobs, by name, with the files that make them up."""
    sources = {}
    for name, main in sorted(survey.mains.items()):
        if not JOB_NAME.fullmatch(name):
            problems.append(_bad_name(main, name))
        elif main != MASK:
            sources[name] = Source(JobName(name), main, survey.drop_ins_of(name))
    for name, files in sorted(survey.drop_ins.items()):
        if name in survey.mains or not files:
            continue
        template = (template_of(name) or "").removesuffix(".service")
        if template in sources and JOB_NAME.fullmatch(name):
            # As for units, one instance may have drop-ins and no file of its own.
            main = sources[template].main
            sources[name] = Source(JobName(name), main, survey.drop_ins_of(name))
        else:
            problems.append(
                Problem(
                    file=shown_path(next(iter(files.values())).parent),
                    fault=f"there is no job file {shown(name + SUFFIX)} to add to, ignoring",
                    severity="warning",
                )
            )
    return sources


def find(paths: Paths, job: str) -> Source:
    survey = look_around(paths, [])
    main = survey.mains.get(job)
    if main is None and (template := template_of(job)):
        main = survey.mains.get(template.removesuffix(".service"))
    if main is None:
        hint = did_you_mean(job, survey.mains)
        raise UsageError(f"there is no job {shown(job)}", hint=hint)
    if main == MASK:
        raise UsageError(f"job {shown(job)} is masked")
    return Source(JobName(job), main, survey.drop_ins_of(job))


def source_of(file: Path, problems: list[Problem]) -> Source | None:
    """The job that a file named on a command line is meant to be (part of)."""
    folder = file.absolute().parent.name
    name = file.name.removesuffix(SUFFIX)
    if folder.endswith(DROP_IN_SUFFIX):
        name = folder.removesuffix(DROP_IN_SUFFIX)
    elif not file.name.endswith(SUFFIX):
        problems.append(
            Problem(
                file=shown_path(file),
                fault="the name of a job file ends in .yaml",
                hint=f"rename it to {shown_path(file.stem)}.yaml",
            )
        )
        return None
    if not JOB_NAME.fullmatch(name):
        problems.append(_bad_name(file, name))
        return None
    return Source(JobName(name), file)


def _entries(directory: Path, problems: list[Problem]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return  # none of the three has to exist
    except OSError as error:
        problems.append(
            Problem(file=shown_path(directory), fault=f"cannot be read: {error.strerror}")
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
    problems.append(Problem(file=shown_path(entry.path), fault=fault, severity="warning"))
    return False


def _target(entry: os.DirEntry[str]) -> Path:
    """The file itself, or MASK where it is a link there, as `systemctl mask` makes it."""
    path = Path(entry.path)
    try:
        return MASK if entry.is_symlink() and path.readlink() == MASK else path
    except OSError:
        return path  # changed while we look: reading it will tell


def _bad_name(file: Path, name: str) -> Problem:
    return Problem(
        file=shown_path(file),
        fault=f"{shown(name)} cannot be a job's name",
        hint="a name has at most 200 of the characters A-Z a-z 0-9 : - _ . @ \\",
    )


def read_file(file: Path) -> bytes:
    """The content of a regular file of a sensible size. Raises OSError, or Fault."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Fault("is not a regular file")
        data = opened.read(min(status.st_size, MAX_FILE) + 1) or b""
    if len(data) > MAX_FILE:
        raise Fault(f"is larger than {format_size(MAX_FILE)}")
    return data


def text_of(file: Path) -> str:
    try:
        return read_file(file).decode(errors="replace")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except Fault as fault:
        raise UsageError(f"{file}: {fault.fault}") from None
