"""Completion of outcomectl for bash and zsh, made while the package is built.

From the parsers of the verbs, so that a new verb or option completes by itself; what stands for a
job, a sink or a file is known by the name that the usage shows. shtab writes the script, and the
functions beside this file find the names, without Python: a Tab has to be quick.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib import import_module
from pathlib import Path

import shtab

from outcomed.ctl.main import PROGRAM, VERBS
from outcomed.ctl.options import add_common

HERE = Path(__file__).parent

COMPLETERS = {"JOB": "_outcomectl_jobs", "SINK": "_outcomectl_sinks", "FILE": "_outcomectl_files"}

# shtab's own function does not know that names have : and @ in them, or that --json=short is one
# word; ours in functions.bash calls it when it has undone that.
LAST_WORD = {"bash": "\ncomplete -F _outcomectl outcomectl\n", "zsh": ""}


def parsers(shell: str) -> argparse.ArgumentParser:
    """One parser with all verbs, which outcomectl itself never makes."""
    parser = argparse.ArgumentParser(PROGRAM, description="What timer-driven jobs really did")
    parser.add_argument("--version", action="version", help="show the version")
    add_common(parser)
    prepare(parser, shell)
    verbs = parser.add_subparsers()
    for verb, (module, _, what) in VERBS.items():
        one = verbs.add_parser(verb, description=what, help=what)
        import_module(f"outcomed.ctl.{module}").arguments(one, verb)
        add_common(one)
        prepare(one, shell)
    return parser


def prepare(parser: argparse.ArgumentParser, shell: str) -> None:
    """Say in shtab's words what the arguments and options stand for."""
    for action in parser._actions:  # noqa: SLF001 # argparse shows them nowhere else
        if (function := completer(action.metavar)) is not None:
            action.complete = {shell: function}
        if shell == "zsh" and action.nargs is None:
            # "--json=" in _arguments: --json=short as well as --json short
            action.option_strings = [
                f"{option}=" if option.startswith("--") else option
                for option in action.option_strings
            ]


def completer(metavar: object) -> str | None:
    """JOB|RUN completes as JOB does: the ids of runs are in the ledger, which is too far away."""
    words = re.findall(r"[A-Z]+", metavar) if isinstance(metavar, str) else []
    return next((COMPLETERS[word] for word in words if word in COMPLETERS), None)


def script(shell: str) -> str:
    preamble = (HERE / f"functions.{shell}").read_text()
    text = shtab.complete(parsers(shell), shell, preamble=preamble)
    # "(*)::" is one argument that forbids all others; "*:" is any number of them.
    return text.replace('"(*)::', '"*:') + LAST_WORD[shell]


if __name__ == "__main__":
    sys.stdout.write(script(sys.argv[1]))
