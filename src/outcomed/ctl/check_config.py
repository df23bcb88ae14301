"""`outcomectl check-config`: everything that is wrong with the files, and with the units they name.

The files alone decide whether there is an error. What systemd says of the units adds warnings, and
nothing where it cannot be asked.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from outcomed import commands, config
from outcomed.config import Problem
from outcomed.ctl import systemctl
from outcomed.ctl.options import Call
from outcomed.ctl.term import RED, YELLOW, encode_json, safe
from outcomed.errors import EXIT_FINE, EXIT_USAGE, UsageError
from outcomed.model import Artifact, Command, Job, Journal, Report, Steps
from outcomed.paths import Paths

_PROPERTIES = (
    "Id",
    "LoadState",
    "TriggeredBy",
    "SuccessExitStatus",
    "PrivateTmp",
    "DynamicUser",
    "RootDirectory",
    "RootImage",
    "LogLevelMax",
    "LogFilterPatterns",
    "StandardOutput",
)


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="*",
        type=Path,
        help="look at these, which may lie anywhere; default: all files of this node",
    )
    parser.epilog = (
        "All errors are found in one go, as FILE:LINE:COLUMN: KEY: FAULT. Exits with 2\n"
        "if there are any; warnings alone are fine."
    )


def run(call: Call) -> int:
    files: Sequence[Path] = call.options.file
    loaded = config.examine(call.paths, files)
    problems = [*loaded.problems, *_asked(loaded.config.jobs, call.paths, files)]
    if call.json:
        print(encode_json([_shape(one) for one in problems], call.json))
    else:
        _say(problems, call)
        if call.legend:
            print(_count(loaded, problems))
    return EXIT_USAGE if any(one.severity == "error" for one in problems) else EXIT_FINE


def _say(problems: Sequence[Problem], call: Call) -> None:
    for problem in problems:
        color = RED if problem.severity == "error" else YELLOW
        first, *rest = config.render(problem).split("\n")
        if call.screen.colors and sys.stderr.isatty():
            first = call.screen.paint(safe(first), color)
        else:
            first = safe(first)
        print("\n".join([first, *(safe(line) for line in rest)]), file=sys.stderr)


def _count(loaded: config.Loaded, problems: Sequence[Problem]) -> str:
    errors = sum(1 for one in problems if one.severity == "error")
    warnings = len(problems) - errors
    jobs, sinks = len(loaded.config.jobs), len(loaded.config.sinks)
    fine = f"{jobs} job{'s' if jobs != 1 else ''}, {sinks} sink{'s' if sinks != 1 else ''} sound"
    return f"{fine}; {errors} error{'s' if errors != 1 else ''}, {warnings} warning" + (
        "s." if warnings != 1 else "."
    )


def _shape(problem: Problem) -> dict[str, object]:
    fields = {name: getattr(problem, name) for name in Problem.__struct_fields__}
    return dict(msgspec.to_builtins(fields))


# --- what only systemd knows -----------------------------------------------------------------


def _asked(jobs: Sequence[Job], paths: Paths, files: Sequence[Path]) -> Iterator[Problem]:
    """What the units are, against what the jobs count on. One question for all of them."""
    if not jobs:
        return
    units = [job.unit.replace("@.", "@instance.") for job in jobs]
    answer = systemctl.show(units, _PROPERTIES)
    for job, properties in zip(jobs, answer or (), strict=False):
        for key, fault, hint in about_unit(job, properties):
            yield Problem(
                file=_file_of(job, paths, files),
                key=key,
                fault=fault,
                hint=hint,
                severity="warning",
            )


def _file_of(job: Job, paths: Paths, files: Sequence[Path]) -> str:
    named = [file for file in files if file.name == f"{job.name}.yaml"]
    if named:
        return str(named[0])
    try:
        return str(config.cat(paths, job.name)[0][0])
    except UsageError:
        return str(paths.config / "jobs.d" / f"{job.name}.yaml")


Warned = tuple[str, str, str | None]  # key, fault, hint


def about_unit(job: Job, unit: dict[str, str]) -> Iterator[Warned]:
    """What will keep the job from being judged as its file means it. Pure."""
    state = unit.get("LoadState", "")
    if state != "loaded":
        yield from _not_loaded(job, state)
        return
    name = unit.get("Id", job.unit)
    if not job.is_template:
        if name != job.unit:
            yield "unit", f"{job.unit} is an alias, {name} is watched", f"write unit: {name}"
        yield from _about_schedule(job, name, unit.get("TriggeredBy", "").split())
    yield from _about_exit_status(job, unit)
    yield from _about_paths(job, unit)
    yield from _about_commands(job, unit)
    yield from _about_output(job, unit)


def _not_loaded(job: Job, state: str) -> Iterator[Warned]:
    if job.is_template:
        yield "unit", f"{job.unit} is not there, or cannot be loaded ({state})", None
    elif state == "not-found":
        yield "unit", f"systemd knows no {job.unit}", "is it installed? 'systemctl daemon-reload'?"
    elif state == "masked":
        yield "unit", f"{job.unit} is masked: it cannot run", f"systemctl unmask {job.unit}"
    else:
        yield "unit", f"{job.unit} cannot be loaded ({state})", f"systemctl status {job.unit}"


def _about_schedule(job: Job, name: str, triggers: Sequence[str]) -> Iterator[Warned]:
    timer = next((one for one in triggers if one.endswith(".timer")), None)
    if timer is not None:
        if job.schedule.every is not None:
            fault = f"{timer} says when {name} has to run, and every: says it once more"
            yield "schedule.every", fault, "leave it out; it is for a job that no timer starts"
        return
    if job.schedule.every is not None:
        return
    fault = f"no timer that is loaded starts {name}"
    if job.schedule.verified_within is None:
        hint = "that no run comes, nobody notices; schedule: {every: 24h} says how often one has to"
        yield "unit", fault, hint
    if job.schedule.start_within is not None:
        fault += ": one that is disabled is awaited, of any other nothing says when it would elapse"
        yield "schedule.start_within", fault, None


def _about_exit_status(job: Job, unit: dict[str, str]) -> Iterator[Warned]:
    fine = unit.get("SuccessExitStatus", "").split()
    for index, way in enumerate(job.already_done):
        if way.exit_status is not None and way.exit_status and str(way.exit_status) not in fine:
            status = way.exit_status
            yield (
                f"already_done[{index}].exit_status",
                f"{job.unit} counts as failed when it exits with {status}, though the job is good",
                f"write SuccessExitStatus={status} into its [Service] section",
            )


_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108  # what PrivateTmp= hides, nothing is written there


def _about_paths(job: Job, unit: dict[str, str]) -> Iterator[Warned]:
    root = unit.get("RootDirectory") or unit.get("RootImage")
    setting = "DynamicUser=" if unit.get("DynamicUser") == "yes" else "PrivateTmp="
    for index, rule in enumerate(job.outcome):
        if not isinstance(rule, Artifact):
            continue
        key = f"outcome[{index}].artifact"
        if root:
            fault = f"{job.unit} has {root} for its root, and the path is looked at outside of it"
            yield key, safe(fault), "name the path as the host sees it"
        elif unit.get("PrivateTmp", "no") != "no" and rule.path.startswith(_PRIVATE):
            fault = f"{job.unit} has a /tmp of its own ({setting}), gone when it ends"
            yield key, fault, "let the job write it elsewhere"


def _about_commands(job: Job, unit: dict[str, str]) -> Iterator[Warned]:
    for index, rule in enumerate(job.outcome):
        if not isinstance(rule, Command):
            continue
        key = f"outcome[{index}].command"
        program = commands.words(rule.command)[0]
        if "%" not in program and shutil.which(program) is None:
            yield key, f"there is no program {safe(program)} here", "the verdict will be unknown"
        if rule.user is None and unit.get("DynamicUser") == "yes":
            fault = f"{job.unit} has DynamicUser=, whose user is gone when it has ended"
            yield key, fault, "say which user: it runs as"


def _about_output(job: Job, unit: dict[str, str]) -> Iterator[Warned]:
    key = _first_output_rule(job)
    if not key:
        return
    level = unit.get("LogLevelMax", "-1")
    if level not in ("", "-1", "7"):
        fault = f"LogLevelMax= of {job.unit} keeps lines from the journal"
        yield key, f"{fault}: that one is missing proves nothing", "the verdict will be unknown"
    elif unit.get("LogFilterPatterns"):
        fault = f"LogFilterPatterns= of {job.unit} keeps lines from the journal"
        yield key, f"{fault}: that one is missing proves nothing", "the verdict will be unknown"
    where = unit.get("StandardOutput", "journal")
    if where not in ("journal", "journal+console", "kmsg", "kmsg+console", "inherit"):
        fault = f"the output of {job.unit} goes to {where}, not to the journal"
        yield key, safe(fault), "'outcomectl report' and StandardOutput=journal arrive there"


def _first_output_rule(job: Job) -> str:
    for index, rule in enumerate(job.outcome):
        if isinstance(rule, Report | Journal | Steps):
            return f"outcome[{index}].{type(rule).__name__.lower()}"
    for index, way in enumerate(job.already_done):
        if way.journal is not None:
            return f"already_done[{index}].journal"
    return ""
