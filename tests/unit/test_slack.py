"""What Slack takes, and what its phone shows of it: nothing of a job's is read as markup."""

import json
from datetime import tzinfo
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import slack, wording
from tests import slack as slacklike
from tests.unit.test_wording import (
    BERLIN,
    EVENTS,
    GOOD_RUN,
    MEANWHILE,
    NOTHING_RAN,
    TIMES,
    ZONES,
    event,
    grown,
    words,
)


def shown(**data: Any) -> str:
    """As a phone shows it."""
    payload = slack.payload(words(**data))
    assert slacklike.faults(msgspec.json.encode(payload)) == []
    return slacklike.screen(payload)


def test_what_went_wrong_while_nobody_looked_reads_well_on_a_phone() -> None:
    assert shown(job="", unit="outcomed.service", **MEANWHILE) == (
        "🟢 outcomed.service: recovered\n"
        "meanwhile\n"
        "\n"
        "1 job went wrong and recovered while\n"
        "outcomed was not there: backup (2\n"
        "failed)\n"
        "\n"
        "On web1, from Fri 2026-11-27 03:10\n"
        "CET on\n"
        "Nothing to do\n"
        "\n"
        "outcomed, warning\n"
        "alert\n"
        "5f0f6e42-0d5e-5a51-8b0c-1d2f3a4b5c6d\n"
        "delivery\n"
        "dddddddddddddddddddddddddddddddddddd"
    )


def test_it_reads_well_on_a_phone() -> None:
    assert shown(log_tail=["pg_dump: starting", "ERROR: <disk> full"]) == (
        "🔴 db-backup: silent-failure\n"
        "\n"
        "✗ shop-1.sql.gz: 46.9K, expected at\n"
        "least 500.0M\n"
        "? lines lost\n"
        "\n"
        "On web1, since Fri 2026-11-27 03:10\n"
        "CET\n"
        "Type: outcomectl explain db-backup\n"
        "\n"
        "Runbook\n"
        "\n"
        "Run\n"
        "Fri 2026-11-27 03:10 CET, took 2 s\n"
        "Steps reached\n"
        "dump, compress\n"
        "\n"
        "pg_dump: starting\n"
        "ERROR: <disk> full\n"
        "\n"
        "outcomed, critical\n"
        f"run {'a' * 32}\n"
        "alert\n"
        "5f0f6e42-0d5e-5a51-8b0c-1d2f3a4b5c6d\n"
        "delivery\n"
        f"{'d' * 36}"
    )


def test_a_recovery_is_short() -> None:
    assert shown(time="2026-11-28T02:31:03+00:00", **GOOD_RUN).split("\n\n")[:-1] == [
        "🟢 db-backup: recovered",
        "shop-1.sql.gz: 612.4M",
        "On web1, was bad for 1 d\nNothing to do",
        "Run\nSat 2026-11-28 03:10 CET, took 21\nmin 2 s",
    ]


def test_nothing_that_is_not_there_leaves_a_block() -> None:
    blocks = slack.blocks(words(**NOTHING_RAN, steps=[], runbook="", log_tail=[]))
    assert [block["type"] for block in blocks] == ["header", "section", "section", "context"]


@pytest.mark.parametrize(
    "sentence",
    [
        "no file matches /srv/*.gz, /srv/*.zst",
        "_almost_ ~gone~ and *bold*",
        ":fire: at 12:30:45",
        "> quoted",
        "a < b && c > d; &amp; is no ampersand",
        "<!channel> <@U024BE7LH> <https://evil.example.com|your bank>",
        "@here @channel #general https://example.com/",
        "＊wide＊ ＿marks＿",  # noqa: RUF001
    ],
)
def test_no_markup_is_read_into_a_sentence(sentence: str) -> None:
    finding = {"rule": "r", "state": "broken", "summary": sentence}
    payload = slack.payload(
        words(summary=sentence, findings=[finding, finding], log_tail=[sentence], job=sentence)
    )
    assert slacklike.faults(msgspec.json.encode(payload)) == []
    screen = slacklike.screen(payload, None)
    assert "⚠" not in screen
    assert screen.count(sentence) >= 4  # name, findings, output


def test_a_backtick_is_the_one_letter_that_is_changed() -> None:
    assert slack.literal("run `x`", 100) == "`run \u02cbx\u02cb`"


@pytest.mark.parametrize(
    ("runbook", "block"),
    [
        ("https://w.example.com/a b?x=1&y=<2>|3#é", "<https://w.example.com/a%20b?x=1&amp;y=%3C2%3E%7C3#%C3%A9|Runbook>"),
        ("HTTP://w.example.com/%20", "<HTTP://w.example.com/%20|Runbook>"),
        ("javascript:alert(1)", "Runbook: javascript:alert(1)"),
        ("see *page* 3", "Runbook: `see *page* 3`"),
        ("https://" + "x" * 1000, f"Runbook: https://{'x' * 991}…"),
    ],
)  # fmt: skip
def test_only_an_address_is_a_link(runbook: str, block: str) -> None:
    blocks = slack.blocks(words(runbook=runbook))
    assert block in [one["text"]["text"] for one in blocks if one.get("text")]


def test_of_much_output_the_end_is_shown() -> None:
    payload = slack.payload(words(log_tail=[f"{n} {'x' * 300}" for n in range(20)]))
    screen = slacklike.screen(payload, None)
    assert "19 xxx" in screen
    assert "14 xxx" in screen
    assert "13 xxx" not in screen


def test_a_long_name_leaves_room_for_what_is_wrong() -> None:
    header = slack.blocks(words(job="x" * 200))[0]["text"]["text"]
    assert header.endswith("x…: silent-failure")
    assert len(header) < 150


def test_without_blocks_the_text_says_all() -> None:
    plain = slack.plain(words())
    assert "blocks" not in plain
    assert "outcomectl explain db-backup" in plain["text"]
    assert "lines lost" in plain["text"]
    assert "https://wiki.example.com/db-backup" in plain["text"]


def test_a_time_that_no_zone_has_is_no_emoji() -> None:
    """The calendar's first day, west of Greenwich, is told as it stands: with `:00:` in it."""
    where = next(slack._where_and_next(replace(words(), when="since 0001-01-01T00:00:00+00:00")))
    assert "`since 0001-01-01T00:00:00+00:00`" in where


@settings(deadline=None)
@given(EVENTS, TIMES, ZONES)
def test_slack_takes_whatever_is_said(event: dict[str, Any], times: int, zone: tzinfo) -> None:
    said = wording.of(grown(event, times), zone)
    for payload in (slack.payload(said), slack.plain(said)):
        body = msgspec.json.encode(payload)
        assert slacklike.faults(body) == []
        assert "⚠" not in slacklike.screen(payload, None)
    first = slacklike.screen(slack.plain(said), None).partition("\n")[0]
    assert first == said.first_line


@settings(deadline=None)
@given(EVENTS, TIMES)
def test_all_blocks_together_stay_well_below_what_slack_takes(
    event: dict[str, Any], times: int
) -> None:
    blocks = slack.blocks(wording.of(grown(event, times), BERLIN))
    assert len(json.dumps(blocks, ensure_ascii=False)) < 10_000


def test_the_longest_message_there_can_be_is_taken() -> None:
    worst = "&" * 2000
    finding = {"rule": "r", "state": "broken", "summary": worst}
    most = event(
        job=worst,
        unit=worst + "x",
        host=worst,
        summary=worst + "x",
        findings=[finding] * 20,
        steps=[worst],
        log_tail=[worst] * 20,
        runbook=worst,
        run=worst,
        alert_id=worst,
    )
    said = wording.of(most, BERLIN)
    assert slacklike.faults(msgspec.json.encode(slack.payload(said))) == []
    assert len(json.dumps(slack.blocks(said))) < 10_000


@given(st.text("a&<\u00e9\U0001f534", max_size=400), st.integers(2, 300))
def test_a_text_is_cut_at_its_limit_and_no_entity_is_cut(text: str, limit: int) -> None:
    cut = slack.escaped(text, limit)
    assert len(cut.encode("utf-16-le")) // 2 <= limit
    kept = cut.removesuffix("…").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(kept)
    assert cut.endswith("…") or kept == text
