"""Slack, as far as an incoming webhook meets it: what it refuses by its documented limits, and how
its phone shows what it takes. Written from Slack's documentation and not from our module.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH = 36  # columns of a phone that is held upright

# docs.slack.dev, reference/block-kit; all blocks together: `msg_blocks_too_long` at about 12,000.
HEADER, SECTION, FIELD, FIELDS, CONTEXT, BLOCKS, TOTAL, TEXT = (
    150,
    3000,
    2000,
    10,
    10,
    50,
    12000,
    4000,
)
KNOWN = {"text", "blocks", "mrkdwn", "link_names", "unfurl_links", "unfurl_media"}
CONTROL = re.compile(r"<[^<>]*>")  # a link, a mention, a date


def faults(body: bytes) -> list[str]:
    """Why Slack would not take it, or would do more with it than show it."""
    try:
        payload = json.loads(body)
    except ValueError:
        return ["invalid_payload"]
    return [*_message_faults(payload), *_blocks_faults(payload.get("blocks", []))]


def _message_faults(payload: dict[str, Any]) -> Iterator[str]:
    text = payload.get("text")
    if not isinstance(text, str) or not text.strip():
        yield "no_text"
        return
    if not payload.keys() <= KNOWN:
        yield f"unknown keys {payload.keys() - KNOWN}"
    if _length(text) > TEXT:
        yield f"text of {_length(text)}"
    if payload.get("mrkdwn") is not False and re.search("[*_~`]", text):
        yield "markup in text"
    if payload.get("unfurl_links") is not False or payload.get("unfurl_media") is not False:
        yield "unfurls"
    yield from _text_faults(text)


def _blocks_faults(blocks: list[dict[str, Any]]) -> Iterator[str]:
    if len(blocks) > BLOCKS:
        yield f"{len(blocks)} blocks"
    if (size := _length(json.dumps(blocks, ensure_ascii=False))) > TOTAL:
        yield f"msg_blocks_too_long: {size}"
    for number, block in enumerate(blocks):
        for fault in _block_faults(block):
            yield f"invalid_blocks: /blocks/{number}: {fault}"


def _block_faults(block: dict[str, Any]) -> Iterator[str]:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str() as text, **rest}}:
            if not 1 <= _length(text) <= HEADER:
                yield f"header of {_length(text)}"
            if rest.get("emoji", True):
                yield "emoji in the header"
        case {"type": "section", "fields": [*fields]}:
            if not 1 <= len(fields) <= FIELDS:
                yield f"{len(fields)} fields"
            for field in fields:
                yield from _mrkdwn_faults(field, FIELD)
        case {"type": "section", "text": text}:
            yield from _mrkdwn_faults(text, SECTION)
        case {"type": "context", "elements": [*elements]}:
            if not 1 <= len(elements) <= CONTEXT:
                yield f"{len(elements)} elements"
            for element in elements:
                yield from _mrkdwn_faults(element, FIELD)
        case _:
            yield f"no block that we mean to send: {block}"


def _mrkdwn_faults(element: dict[str, Any], limit: int) -> Iterator[str]:
    match element:
        case {"type": "mrkdwn", "verbatim": True, "text": str() as text}:
            if not 1 <= _length(text) <= limit:
                yield f"text of {_length(text)}"
            yield from _text_faults(text)
        case _:
            yield f"no text that is left as it is: {element}"


def _text_faults(text: str) -> Iterator[str]:
    rest = text
    for control in CONTROL.findall(text):
        if not re.fullmatch(r"<https?://[^\s|<>]+\|[^|<>]+>", control):
            yield f"not a link: {control}"
        rest = rest.replace(control, "")
    if re.search(r"[<>]|&(?!(amp|lt|gt);)", rest):
        yield "not escaped"


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


# --- what a person sees ----------------------------------------------------------------------

_SPAN = re.compile(
    r"```(?P<block>.*?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<(?P<url>[^|>]+)\|(?P<label>[^>]+)>"
    r"|(?<![^\s])\*(?P<bold>[^*\n]+)\*(?![^\s])"
    r"|(?P<markup>[*_~`＊＿～｀]|:[^\s:]+:|(?m:^(&gt;|＞)))",  # noqa: RUF001 - what Slack reads
    re.DOTALL,
)


def seen(mrkdwn: str) -> str:
    """The letters that are left when Slack has read the markup; where it would read some that
    nobody meant, `⚠`."""

    def replaced(match: re.Match[str]) -> str:
        if match["markup"]:
            return "⚠"
        if match["block"] is not None:
            return match["block"].strip("\n")
        return str(match["code"] or match["label"] or match["bold"])

    return _decoded(_SPAN.sub(replaced, mrkdwn))


def _decoded(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def screen(payload: dict[str, Any], width: int | None = WIDTH) -> str:
    """The message as a phone shows it: blocks if there are any, and lines of its width."""
    blocks = payload.get("blocks") or [{"type": "text", "text": payload["text"]}]
    shown = "\n\n".join(map(_shown, blocks))
    if width is None:
        return shown
    return "\n".join(
        textwrap.fill(line, width, break_on_hyphens=False, drop_whitespace=True)
        for line in shown.split("\n")
    )


def _shown(block: dict[str, Any]) -> str:
    match block:
        case {"type": "text", "text": text}:
            return _decoded(text)
        case {"type": "header", "text": {"text": text}}:
            return str(text)
        case {"fields": fields}:
            return "\n".join(seen(field["text"]) for field in fields)
        case {"elements": elements}:
            return "\n".join(seen(element["text"]) for element in elements)
        case _:
            return seen(block["text"]["text"])
