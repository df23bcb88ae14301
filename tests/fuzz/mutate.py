"""Inputs out of good ones: bytes damaged, words of the format put in, trees changed by branches."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

LONGEST = 1 << 16
_NUMBER = re.compile(rb"\d+")
_BRACKETS = ((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"(", b")"), (b"- ", b""), (b"-", b""))

# What breaks readers of bytes, of numbers and of text.
BYTES = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\n\n"),
    *(b"\x1b[2J", b"\x7f", b"\xc2\x9b", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xf0\x9f\x92\xa9"),
    *("²".encode(), "٣".encode(), "ﬁ".encode(), "İ".encode(), b"\t", b'"', b"\\", b"%", b"'"),
)
NUMBERS = (
    *(b"0", b"-1", b"255", b"256", b"4294967296", b"9223372036854775807", b"-9223372036854775809"),
    *(b"18446744073709551616", b"1e308", b"1e400", b"-0.0", b"nan", b"inf", b"0x1f", b"1_0"),
    *(b"9" * 25, b"9" * 400, b"9" * 4301, b"00", b"1" + b"0" * 40, b"0." + b"3" * 400),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**30, -(2**70), 0.5, 1e308),
    *("", " ", "x", "\0", "\n", "\x1b[2J", "\u202e", "ä" * 300, "x" * 5000, "-", "%", "%%n", "/"),
    *("../../etc/passwd", "2026-01-01", "1h 30min", "500M", "*", "[", "(?i)x", "a.service"),
    *([], {}, [[]], {"": None}, [None] * 50, {"rule": "artifact"}, {"a": {"b": {"c": []}}}),
)

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One input out of one or two of these."""
    data = rng.choice(seeds)
    if rng.random() < 0.02:
        data = rng.randbytes(rng.randrange(200))
    if rng.random() < 0.15:
        other = rng.choice(seeds)
        data = data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = rng.choice(_CHANGES)(rng, data, words)
    return data[:LONGEST]


def mutate_tree(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The same with a JSON document: what comes out is well formed, and says something else."""
    tree = json.loads(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = _change_tree(rng, tree)
    data = json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    return data[:LONGEST]


def _change_tree(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = rng.choice(list(tree))
        match rng.randrange(6):
            case 0:
                return {name: value for name, value in tree.items() if name != key}
            case 1:
                return tree | {rng.choice(("", "x", key + key, key.upper(), "a\nb")): tree[key]}
            case _:
                return tree | {key: _change_tree(rng, tree[key])}
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        at = rng.randrange(len(tree))
        match rng.randrange(6):
            case 0:
                return tree[:at] + tree[at + 1 :]
            case 1:
                return tree + [tree[at]] * rng.choice((1, 2, 300))
            case _:
                return [*tree[:at], _change_tree(rng, tree[at]), *tree[at + 1 :]]
    if isinstance(tree, str) and rng.random() < 0.4:
        changed = rng.choice(_CHANGES)(rng, tree.encode(errors="replace"), BYTES)
        return changed.decode(errors="replace")
    return rng.choice(ODD)


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    begin = rng.randint(0, len(data))
    return begin, min(len(data), begin + rng.choice((1, 1, 2, 4, 8, 32, 200)))


def _flip(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return rng.randbytes(1)
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _remove(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(rng, data)
    return data[:begin] + data[end:]


def _repeat(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(rng, data)
    return data[:end] + data[begin:end] * rng.choice((1, 1, 2, 10, 100, 1000)) + data[end:]


def _insert(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(rng.choice((BYTES, words or BYTES, NUMBERS))) + data[at:]


def _replace(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    begin, end = _span(rng, data)
    return data[:begin] + rng.choice(words or BYTES) + data[end:]


def _renumber(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data + rng.choice(NUMBERS)
    number = rng.choice(found)
    return data[: number.start()] + rng.choice(NUMBERS) + data[number.end() :]


def _nest(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(rng, data)
    opening, closing = rng.choice(_BRACKETS)
    depth = rng.choice((1, 2, 17, 200, 1001, 5000))
    if rng.random() < 0.2:
        closing = b""
    return data[:begin] + opening * depth + data[begin:end] + closing * depth + data[end:]


def _cut(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _swap_lines(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


_CHANGES: tuple[Change, ...] = (
    *(_flip, _flip, _remove, _remove, _repeat, _insert, _insert, _insert, _replace),
    *(_renumber, _nest, _cut, _swap_lines),
)
