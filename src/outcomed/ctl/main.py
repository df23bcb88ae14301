"""outcomectl: the verbs, and the one place where an error becomes a sentence and an exit code.

Reads the ledger and the configuration, never the daemon's insides. A verb's module is loaded when
that verb is asked for, and no other.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from outcomed import __version__
from outcomed.ctl.options import Call, Formatter, add_common
from outcomed.ctl.term import safe, this_screen
from outcomed.ctl.times import now_usec
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER, EXIT_USAGE, OutcomedError, UsageError
from outcomed.paths import PATHS, Paths

PROGRAM = "outcomectl"
DEFAULT = "status"

# The verb, its module, its arguments as the usage shows them, and what it does.
VERBS: dict[str, tuple[str, str, str]] = {
    "status": ("status", "[JOB...]", "What every job last did; named ones in full"),
    "history": ("history", "JOB", "The runs of a job, newest first"),
    "explain": ("explain", "JOB|RUN", "Why this verdict: what was expected, what was seen"),
    "verify": ("verify", "JOB", "Look at the outcome as it is now"),
    "accept": ("accept", "RUN|JOB", "This run is right as it is: needs --because=TEXT"),
    "check-config": ("check_config", "[FILE...]", "Everything that is wrong with the files"),
    "cat": ("cat", "JOB", "The files that make up a job"),
    "step": ("say", "NAME", "From within a job: this point is reached"),
    "report": ("say", "KEY=VALUE...", "From within a job: facts about this run"),
    "test": ("try_sink", "SINK", "Does an alert arrive?"),
}


class Verb(Protocol):
    """What a verb's module holds."""

    def arguments(self, parser: argparse.ArgumentParser, verb: str) -> None:
        """Say what the verb takes, and describe it."""

    def run(self, call: Call) -> int:
        """Answer; the exit code."""


class Parser(argparse.ArgumentParser):
    """Faults are raised, and said in our words at one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")


def main(argv: Sequence[str] | None = None, paths: Paths = PATHS) -> int:
    """Run one verb. Every way out is an exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the locale cannot show
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv), paths)
        sys.stdout.flush()
    except OutcomedError as error:
        return _complain(error)
    except BrokenPipeError:
        # The reader has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _complain(OutcomedError(what))
    except KeyboardInterrupt:
        return 130
    return code


def _complain(error: OutcomedError) -> int:
    print(f"{PROGRAM}: {safe(error.fault)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {safe(error.hint)}", file=sys.stderr)
    return error.exit_code


def _run(argv: list[str], paths: Paths) -> int:
    verb, rest = split(argv)
    if verb is None:
        if "-h" in rest or "--help" in rest:
            print(usage())
            return EXIT_FINE
        if "--version" in rest:
            print(f"{PROGRAM} {__version__}")
            return EXIT_FINE
        verb = DEFAULT
    module, shown, what = VERBS[verb]
    loaded = cast("Verb", import_module(f"outcomed.ctl.{module}"))
    parser = Parser(
        prog=f"{PROGRAM} {verb}",
        usage=f"{PROGRAM} {verb} [OPTIONS...] {shown}",
        description=what + ".",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    loaded.arguments(parser, verb)
    add_common(parser)
    options = parser.parse_intermixed_args(rest)
    return loaded.run(Call(options, this_screen(), paths, now_usec()))


def split(argv: list[str]) -> tuple[str | None, list[str]]:
    """The verb, and everything else in its order: options may stand on either side of it."""
    skip = False
    for number, word in enumerate(argv):
        if skip:
            skip = False
        elif word in ("--json", "-n", "--since", "--because"):
            skip = True  # its value is the next word
        elif word == "--":
            break
        elif not word.startswith("-"):
            if word not in VERBS:
                raise _unknown(word)
            rest = argv[:number] + argv[number + 1 :]
            return word, _joined(rest)
    return None, _joined(argv)


def _joined(argv: list[str]) -> list[str]:
    """`--since -90d`: argparse would take the value for another option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--since":
            joined[-1] = f"--since={word}"
        else:
            joined.append(word)
    return joined


def _unknown(word: str) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(word, VERBS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"'{PROGRAM} {DEFAULT} {word}' shows a job"
    return UsageError(f"unknown verb {safe(word)}", hint=hint)


def usage() -> str:
    """`--help`, as systemctl's looks."""
    verbs = "\n".join(
        f"  {f'{verb} {shown}':23} {what}" for verb, (_, shown, what) in VERBS.items()
    )
    return f"""{PROGRAM} [OPTIONS...] [VERB] ...

What timer-driven jobs really did, as outcomed.service judged it.

Verbs:
{verbs}

Options:
  -h --help               Show this help, or that of a verb
     --version            Show the version
     --json=FORM          JSON instead of text: short, pretty, off
     --no-legend          No header and no last line
     --no-pager           Do not use a pager

JOB is a job's name, its unit's name, or the first 4 or more digits of the id of
one of its runs. Without a verb, {DEFAULT}.

Exit codes: {EXIT_FINE} fine, 1 the answer is bad, {EXIT_USAGE} usage, {EXIT_NO_ANSWER} no answer.
See outcomectl(1)."""
