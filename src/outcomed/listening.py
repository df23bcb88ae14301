"""What of a job's output its rules depend on, and how the journal's entries are fed to them.

Functions of the engine's that know neither a ledger nor a turn: what is to be searched, what one
entry means for a scan, and which settings keep lines from the journal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from outcomed import journal, model, output, rules
from outcomed.bus import LogSettings
from outcomed.model import Job, Journal, Report, Usec


def take_items(
    said: output.Output,
    items: Iterable[journal.Item],
    own: tuple[Usec, Usec | None],
    ended: Usec | None,
    until: float = math.inf,
) -> bool:
    """Feed journal entries into the scan, until then. Returns whether that was all."""
    for item in items:
        if isinstance(item, journal.Halt):
            said.halted |= own[0] <= item.at and (ended is None or item.at <= ended)
        else:
            take_item(said, item)
        if isinstance(item, journal.Line) and not (item.own or item.strayed) and item.at >= own[0]:
            said.next_run = said.next_run or item.at
        if time.monotonic() >= until:
            return False
    return True


def take_item(said: output.Output, item: journal.Line | journal.Drop | journal.Word) -> None:
    """Feed one journal entry into the scan."""
    if isinstance(item, journal.Drop):
        said.dropped += item.number
        return
    if isinstance(item, journal.Word):
        said.word(item.what, last=item.last)
        return
    said.count(item.at, item.priority)
    if not item.own:
        return
    if item.too_long:
        said.skip_line()
    elif item.step is not None:
        said.step(output.decode(item.step))
    elif item.report is not None:
        said.take_report(item.report)
    else:
        said.line(item.message, streamed=item.streamed)


def reads_output(job: Job) -> bool:
    """Whether a rule's finding depends on what the job printed."""
    return any(isinstance(rule, Report | Journal | model.Steps) for rule in job.outcome) or any(
        way.journal is not None for way in job.already_done
    )


def awaited_steps(job: Job) -> tuple[tuple[str, ...], ...]:
    return tuple(rule.names for rule in job.outcome if isinstance(rule, model.Steps))


def compile_patterns(job: Job) -> dict[str, Callable[[bytes], bool | None]]:
    """The job's patterns by the name of what they belong to. RE2 is loaded for these alone."""
    texts = {
        f"already_done[{index}]": way.journal
        for index, way in enumerate(job.already_done)
        if way.journal is not None
    }
    for index, rule in enumerate(job.outcome):
        if isinstance(rule, Journal):
            texts[rules.name(index, rule)] = rule.never or rule.expect or ""
    if not texts:
        return {}
    from outcomed.patterns import compile_pattern

    return {name: compile_pattern(text).search for name, text in texts.items()}


_TO_JOURNAL = frozenset({"journal", "journal+console", "kmsg", "kmsg+console"})
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info")  # and debug


def incomplete_by_settings(settings: LogSettings, journald: journal.JournaldSettings) -> str:
    """What in the configuration keeps lines from the journal; empty if nothing does."""
    if 0 <= settings.level_max < 7:
        return "LogLevelMax= of the unit keeps lines from the journal"
    if settings.has_filters:
        return "LogFilterPatterns= of the unit keeps lines from the journal"
    if where := _elsewhere(settings):
        return f"{where}, not to the journal"
    if journald.storage == "none":
        return "journald keeps nothing (Storage=none)"
    if journald.max_level_store in (*_LEVELS, *map(str, range(len(_LEVELS)))):
        return f"journald keeps nothing below {journald.max_level_store} (MaxLevelStore=)"
    return ""


def _elsewhere(settings: LogSettings) -> str:
    """Which of a unit's outputs goes where the journal does not hear it."""
    if settings.stdout not in _TO_JOURNAL:
        return f"its output goes to {settings.stdout} (StandardOutput=)"
    if settings.stderr not in _TO_JOURNAL and settings.stderr != "inherit":
        return f"its errors go to {settings.stderr} (StandardError=)"
    return ""
