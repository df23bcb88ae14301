"""Find the SHA-256 of a file in what `sha256sum` and its kin wrote beside it.

Pure: it opens nothing. All usual spellings are read: text and binary mode, escaped names, `--tag`,
`--zero`, OpenSSL's, a bare sum, lists of many files, names with a path, sums in capitals, lines
that end as on Windows. It checks no signature: whoever can write the file can write its sum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from outcomed.faults import printable
from outcomed.model import Record

_BESIDE = (".sha256", ".sha256sum", ".SHA256", ".sha256.txt", ".sha256sum.txt", ".sha")
_LISTS = (
    "SHA256SUMS",
    "SHA256SUM",
    "SHA256SUMS.txt",
    "sha256sums",
    "sha256sum",
    "sha256sums.txt",
    "sha256sum.txt",
    "checksums.sha256",
    "checksums.txt",
    "CHECKSUMS",
)

_DIGITS = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 64: "SHA-256", 96: "SHA-384", 128: "SHA-512"}
_TAGS = {"SHA256": "SHA-256", "SHA2-256": "SHA-256", "SHA-256": "SHA-256"}
_LINE = re.compile(
    r"(?P<escaped>\\?)(?P<sum>[0-9A-Fa-f]{8,})(?: [ *]|[ \t]+)(?P<name>.+)", re.DOTALL
)
_TAGGED = re.compile(
    r"(?P<escaped>\\?)(?P<tag>[A-Za-z0-9/-]+) ?\((?P<name>.+)\) ?= ?(?P<sum>[0-9A-Za-z+/=]+)",
    re.DOTALL,
)
_BARE = re.compile(r"[0-9A-Fa-f]{8,}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "\\": "\\"}


class Stated(Record, frozen=True):
    """The sum in lower case, or why there is none, as the end of a sentence about the sidecar."""

    sha256: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # "" where the sum stands alone
    algorithm: str
    digest: str


def sidecar_names(name: str) -> tuple[str, ...]:
    """The files in its directory that may hold the sum of the file `name`, the likeliest first."""
    return (*(name + ending for ending in _BESIDE), *_LISTS)


def stated_for(path: str, sidecar: bytes) -> Stated:
    """What a sidecar says of the file at `path`, which is absolute, as `os.fsdecode` has it."""
    entries = list(_entries(sidecar.decode("utf-8", "surrogateescape").removeprefix("\ufeff")))
    if not entries:
        return Stated(fault="is no list of checksums" if sidecar.strip() else "is empty")
    about = _about(path, entries)
    name = path.rpartition("/")[2]
    if not about:
        return Stated(fault=f"names {_others(entries)}, not {name}")
    sums = {entry.digest.lower() for entry in about if entry.algorithm == "SHA-256"}
    if len(sums) > 1:
        return Stated(fault=f"has {len(sums)} different sums for {name}")
    if not sums:
        return Stated(fault=f"has no SHA-256 of {name}, but {_kinds(about)}")
    (digest,) = sums
    return Stated(sha256=digest)


def _entries(text: str) -> Iterator[_Entry]:
    """Of what is no checksum nothing is said: comments, and the lines that sign a list."""
    is_zero = "\0" in text
    for line in text.split("\0" if is_zero else "\n"):
        entry = _entry(line if is_zero else line.removesuffix("\r"))
        if entry is not None:
            yield entry


def _entry(line: str) -> _Entry | None:
    if bare := _BARE.fullmatch(line.strip()):
        return _Entry("", _algorithm(bare[0]), bare[0])
    if tagged := _TAGGED.fullmatch(line):
        algorithm = _TAGS.get(tagged["tag"].upper(), tagged["tag"])
        if algorithm == "SHA-256":
            algorithm = _algorithm(tagged["sum"])
        return _Entry(_name(tagged), algorithm, tagged["sum"])
    if listed := _LINE.fullmatch(line):
        return _Entry(_name(listed), _algorithm(listed["sum"]), listed["sum"])
    return None


def _algorithm(digest: str) -> str:
    return _DIGITS.get(len(digest), f"a sum of {len(digest)} digits")


def _name(match: re.Match[str]) -> str:
    if not match["escaped"]:
        return match["name"]
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), match["name"])


def _about(path: str, entries: list[_Entry]) -> list[_Entry]:
    """A path in a list counts from wherever `sha256sum` was run. One sum alone is for the file that
    it lies beside, if the name at the path's end is that file's, or if there is none."""
    found = [entry for entry in entries if entry.name and _ends_with(path, entry.name)]
    if found or len(entries) > 1:
        return found
    (only,) = entries
    same = only.name.rpartition("/")[2] in ("", path.rpartition("/")[2])
    return entries if same else []


def _ends_with(path: str, name: str) -> bool:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return path == name or path.endswith("/" + name)


def _others(entries: list[_Entry]) -> str:
    names = sorted({entry.name for entry in entries if entry.name})
    if len(names) != 1:
        return f"{len(names)} others"
    return printable(names[0])


def _kinds(entries: list[_Entry]) -> str:
    return ", ".join(sorted({entry.algorithm for entry in entries}))
