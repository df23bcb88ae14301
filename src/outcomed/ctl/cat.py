"""`outcomectl cat`: the files that make up a job, shown as `systemctl cat` shows units."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from outcomed import config
from outcomed.ctl.options import Call
from outcomed.ctl.term import DIM, encode_json, safe, say
from outcomed.errors import EXIT_FINE, OutcomedError, UsageError

Parts = Sequence[tuple[Path, str]]


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help="a job, its unit, or one of its runs")
    parser.epilog = "Later parts add to the earlier ones, or replace what those say."


def run(call: Call) -> int:
    parts = _parts(call)
    if call.json:
        shown = [{"file": str(file), "text": text} for file, text in parts]
        print(encode_json(shown, call.json))
        return EXIT_FINE
    lines: list[str] = []
    for file, text in parts:
        if lines:
            lines.append("")
        lines.append(call.screen.paint(f"# {safe(str(file))}", DIM))
        # For a terminal alone: who redirects it wants the file.
        shown_lines = text.rstrip("\n").split("\n")
        lines += shown_lines if call.screen.width is None else map(_safe_line, shown_lines)
    say(lines, call.screen, pager=call.pager)
    return EXIT_FINE


def _safe_line(line: str) -> str:
    return "\t".join(safe(part) for part in line.split("\t"))


def _parts(call: Call) -> Parts:
    """By the job's name; else by its unit's, or a run's, for which the ledger has to be read."""
    word: str = call.options.job
    try:
        return config.cat(call.paths, word)
    except UsageError as error:
        from outcomed.ctl.find import find, reading

        try:
            with reading(call.paths) as reader:
                name = find(reader, word, call.paths).row.name
            return config.cat(call.paths, name)
        except OutcomedError:
            pass  # the ledger may not be there: what the files say stands
        if word.endswith(".service"):
            return config.cat(call.paths, word.removesuffix(".service"))
        raise error
