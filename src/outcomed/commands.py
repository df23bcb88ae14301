"""A rule's command line: its words, and what may stand in them. Pure, and starts nothing.

Words and quotes are those of ExecStart= (systemd.service(5)), and as there no shell reads them. So
what only a shell would understand is refused, where it would silently be an argument.
"""

from __future__ import annotations

import re

from outcomed.model import UnitName
from outcomed.specifiers import Host, expand

ARTIFACT = "{artifact}"  # stands for the newest match of the artifact rule before

_FOR_A_SHELL = re.compile(r"[|&;<>]+|[0-9]?[<>]&?[0-9]?|[0-9]?>>?[^&]*")
_PREFIXES = "-+!@:|"  # of ExecStart=


def words(text: str) -> list[str]:
    """The words as they stand in the job file. ValueError, whose sentence says what is wrong."""
    import shlex  # for whoever reads such a rule; the daemon does not

    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        found = list(lexer)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    if not found or not found[0]:
        raise ValueError("expected a program and its arguments, got nothing")
    _check_program(found[0])
    _check_bare(text)
    return found


def _check_program(program: str) -> None:
    if program[0] in _PREFIXES:
        raise ValueError(f"the prefix {program[0]} of ExecStart= has no meaning here")
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"expected an absolute path or a name in PATH, got {program!r}")


def _check_bare(text: str) -> None:
    """Quoted words may hold anything: `sh -c 'a | b'` is how a shell is asked for."""
    bare = re.sub(r"""\\.|'[^']*'|"(?:[^"\\]|\\.)*\"""", "x", text).split()
    found = next((word for word in bare if _FOR_A_SHELL.fullmatch(word)), None)
    if found is not None:
        raise ValueError(f"no shell reads it, so {found} would be an argument")


def expanded(text: str, unit: UnitName, host: Host, artifact: str | None) -> list[str]:
    """The words with specifiers and `{artifact}` replaced; a replaced value is never split."""
    found = [expand(word, unit, host=host, glob_safe=False) for word in words(text)]
    return [word.replace(ARTIFACT, artifact) if artifact else word for word in found]
