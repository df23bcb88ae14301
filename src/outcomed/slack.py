"""A message as Slack's incoming webhooks take it: a line for the push, blocks for the phone. Pure.

Slack refuses a message of which one text is too long, and knows no way to write a `*` or a `_`
that is no markup. So every text has its limit here, counted as it is sent, and what came from a
job stands as it is where no markup can be read into it, else as code; it never is markup.
There is no button: without an app behind it, Slack shows a warning to whoever presses one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from outcomed.wording import FINDING_MARK, Words, text

# Slack's own limits: header 150, section 3000, field 2000, all of the text 40,000; all blocks
# together about 12,000 with what holds them (told as `msg_blocks_too_long`, documented nowhere).
# What is used of them is less, so that the sum is always below 10,000.
_HEADER = 150
_SENTENCE = 900
_NAME = 300
_FINDING = 240
_FACT = 300
_RUNBOOK = 1000
_TAIL = 2000
_TEXT = 3800  # Slack asks for less than 4,000

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

# What Slack could read as markup: also in full width, and `:word:` as an emoji.
_WIDE = "\N{FULLWIDTH ASTERISK}\N{FULLWIDTH LOW LINE}\N{FULLWIDTH TILDE}\N{FULLWIDTH GRAVE ACCENT}"
_MARKUP = re.compile(rf"[*_~`{_WIDE}]|:[^\s:]+:|^[>\N{{FULLWIDTH GREATER-THAN SIGN}}]|^ | $")
_ADDRESS = re.compile("https?://[^/]", re.IGNORECASE)
# The one character that code cannot hold.
_TICKS = str.maketrans(
    dict.fromkeys("`\N{FULLWIDTH GRAVE ACCENT}", "\N{MODIFIER LETTER GRAVE ACCENT}")
)


def payload(words: Words) -> dict[str, Any]:
    """What is posted. `text` is what the push shows, and all where blocks are not understood."""
    return {**plain(words), "blocks": blocks(words)}


def plain(words: Words) -> dict[str, Any]:
    """The same without blocks."""
    return {
        "text": escaped(text(words), _TEXT),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def blocks(words: Words) -> list[dict[str, Any]]:
    parts = [
        _header(words),
        _section("\n".join(_wrong(words))),
        _section("\n".join(filter(None, _where_and_next(words)))),
    ]
    if words.runbook:
        parts.append(_section(_runbook(words.runbook)))
    if words.facts:
        parts.append({"type": "section", "fields": [_mrkdwn(_fact(*one)) for one in words.facts]})
    if words.tail:
        parts.append(_section(_tail(words.tail)))
    return [*parts, {"type": "context", "elements": [_mrkdwn(_ids(words))]}]


def _header(words: Words) -> dict[str, Any]:
    """The end of a long name gives way: what is wrong has to be seen."""
    name = _fitted(words.name, _HEADER - _units(f"{words.mark} : {words.title}"), {})
    title = f"{words.mark} {name}: {words.title}"
    return {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}


def _where_and_next(words: Words) -> Iterable[str]:
    yield ", ".join(filter(None, (f"On {literal(words.host, _NAME)}", literal(words.when, _FACT))))
    yield f"Type: {_code(words.command, 2 * _NAME)}" if words.command else words.advice.capitalize()


def _wrong(words: Words) -> Iterable[str]:
    """What does not hold, each on a line of its own; where the summary is more than the first of
    them with a number, the summary before."""
    if not words.findings or not words.sentence.startswith(words.findings[0][1]):
        yield literal(words.sentence, _SENTENCE)
    for state, sentence in words.findings:
        yield f"{FINDING_MARK[state]} {literal(sentence, _FINDING)}"
    if words.more:
        yield f"and {words.more} more"


def _fact(label: str, value: str) -> str:
    return f"*{label}*\n{literal(value, _FACT)}"


def _runbook(runbook: str) -> str:
    """A link, if it is an address that can be one."""
    target = quote(runbook, safe="/:?#[]@!$&'()*+,;=%~", errors="replace")
    if len(target) > _RUNBOOK or not _ADDRESS.match(runbook):
        return f"Runbook: {literal(runbook, _RUNBOOK)}"
    return f"<{escaped(target, _RUNBOOK)}|Runbook>"


def _tail(lines: Sequence[str]) -> str:
    """The last lines that there is room for."""
    kept: list[str] = []
    room = _TAIL
    for line in reversed(lines):
        shown = escaped(line.translate(_TICKS), _TAIL // 2)
        room -= _units(shown) + 1
        if room < 0:
            break
        kept.insert(0, shown)
    return "```\n{}\n```".format("\n".join(kept))


def _ids(words: Words) -> str:
    """The delivery's is how a repeat is known: Slack itself knows none."""
    ids = {"run": words.run, "alert": words.alert, "delivery": words.delivery}
    lines = [f"outcomed, {words.severity}", *(f"{key} {ids[key]}" for key in ids if ids[key])]
    return "\n".join(literal(line, _FACT) for line in lines)


# --- text ------------------------------------------------------------------------------------


def literal(text: str, limit: int) -> str:
    """Foreign text, as it is: as code where Slack would read markup in it."""
    return _code(text, limit) if _MARKUP.search(text) else escaped(text, limit)


def _code(text: str, limit: int) -> str:
    return f"`{escaped(text.translate(_TICKS), limit - 2)}`"


def escaped(text: str, limit: int) -> str:
    return _fitted(text, limit, _ENTITIES)


def _fitted(text: str, limit: int, entities: Mapping[str, str]) -> str:
    """In at most so many characters, and no entity cut in two."""
    if (
        len(text) <= limit
        and _units(
            whole := text.translate({ord(letter): piece for letter, piece in entities.items()})
        )
        <= limit
    ):
        return whole
    pieces = [entities.get(letter, letter) for letter in text[: limit + 1]]
    used = sum(map(_units, pieces))
    while used >= limit:
        used -= _units(pieces.pop())
    return "".join(pieces) + "…"


def _units(text: str) -> int:
    """Characters as JavaScript counts them, which is the most that anybody does."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    """`verbatim`: no name of a channel, no address in it becomes a link."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}
