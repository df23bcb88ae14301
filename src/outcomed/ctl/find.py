"""From what a person typed to a job or a run of the ledger, or to a hint at what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from outcomed.ctl import shape
from outcomed.ctl.term import safe
from outcomed.errors import LedgerError, OutcomedError, UsageError
from outcomed.ledger import JobRow, Reader, Stored
from outcomed.model import Record, Run
from outcomed.paths import Paths

_RUN = re.compile(r"[0-9a-f]{4,32}")
_CANDIDATES = 8


@contextmanager
def reading(paths: Paths) -> Iterator[Reader]:
    """The ledger. Whatever is wrong with it becomes an error that says which file it is."""
    with Reader(paths.ledger) as reader:
        try:
            yield reader
        except LedgerError as error:
            raise LedgerError(
                f"{paths.ledger}: {error.fault}",
                hint="does outcomed.service start? it checks the file",
            ) from error


class Found(Record, frozen=True):
    """A job; and one of its runs, where it was a run that was asked for."""

    row: JobRow
    asked: Stored | None = None


def find(reader: Reader, word: str, paths: Paths) -> Found:
    """A job by its name or its unit's, a run by the beginning of one of its ids."""
    rows = reader.jobs()
    row = _by_name(rows, word)
    if row is not None:
        return Found(row)
    prefix = word.replace("-", "").lower()
    runs = _by_id(reader, prefix) if _RUN.fullmatch(prefix) else []
    if len(runs) > 1:
        raise _ambiguous(
            word, (f"{one.judgement.run.id} of {one.judgement.run.job}" for one in runs)
        )
    if runs:
        job = runs[0].judgement.run.job
        return Found(next(row for row in rows if row.name == job), runs[0])
    for run in reader.under_way():
        if _RUN.fullmatch(prefix) and (run.id.startswith(prefix) or run.key.startswith(prefix)):
            raise OutcomedError(f"{run.job} is at run {run.id} just now: there is no verdict yet")
    raise _unknown(word, rows, paths)


def _by_name(rows: list[JobRow], word: str) -> JobRow | None:
    named = [row for row in rows if row.name == word]
    if named:
        return named[0]
    unit = word if word.endswith(".service") else f"{word}.service"
    watching = [
        row
        for row in rows
        if shape.unit_of(row) == unit or (row.config is not None and row.config.unit == unit)
    ]
    watching = [row for row in watching if row.config is not None] or watching
    if len(watching) > 1:
        raise _ambiguous(word, (row.name for row in watching))
    return watching[0] if watching else None


def _by_id(reader: Reader, prefix: str) -> list[Stored]:
    """The newest verdict of each run whose id begins so."""
    return shape.by_run(reader.find(prefix)[::-1])


def _ambiguous(word: str, candidates: Iterable[str]) -> UsageError:
    found = list(candidates)
    listed = ", ".join(found[:_CANDIDATES]) + (", …" if len(found) > _CANDIDATES else "")
    return UsageError(f"{safe(word)} may be any of {len(found)}: {safe(listed)}")


def _unknown(word: str, rows: list[JobRow], paths: Paths) -> OutcomedError:
    name = word.removesuffix(".service")
    if "/" not in name and any((place / f"{name}.yaml").exists() for place in paths.job_dirs):
        return OutcomedError(
            f"{safe(name)}: outcomed has not read its file yet",
            hint="'systemctl reload outcomed' does; 'outcomectl check-config' says what is wrong",
        )
    known = [row.name for row in rows if row.config is not None]
    return UsageError(f"there is no job {safe(word)}", hint=meant(word, known) or _LISTED)


_LISTED = "'outcomectl status' lists them"


def meant(word: str, known: Iterable[str]) -> str | None:
    """Did you mean …?"""
    from difflib import get_close_matches

    close = get_close_matches(word[:100], list(known)[:10_000], n=1)
    return f"did you mean {safe(close[0])}?" if close else None


def under_way(reader: Reader) -> dict[str, Run]:
    """The run that each job has under way, by the job's name; the newest, should there be two."""
    return {run.job: run for run in reader.under_way()}
