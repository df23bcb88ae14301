"""What a person reads: the first line has it all, whatever the names and the summary are."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcomed import wording
from outcomed.model import Held, Verdict

BERLIN = ZoneInfo("Europe/Berlin")

DATA: dict[str, Any] = {
    "job": "db-backup",
    "unit": "db-backup.service",
    "host": "web1",
    "machine_id": "m" * 32,
    "state": "firing",
    "severity": "critical",
    "verdict": "silent-failure",
    "reason": "artifact",
    "summary": "shop-1.sql.gz: 46.9K, expected at least 500.0M (and 1 more)",
    "since": "2026-11-27T02:10:02.500000+00:00",
    "run": "a" * 32,
    "slot": "2026-11-27T02:10:00+00:00",
    "started": "2026-11-27T02:10:00.100000+00:00",
    "finished": "2026-11-27T02:10:02.123456+00:00",
    "findings": [
        {"rule": "result", "state": "held", "summary": "it exited well", "evidence": {}},
        {"rule": "outcome[2].journal", "state": "unknown", "summary": "lines lost"},
        {
            "rule": "outcome[0].artifact",
            "state": "broken",
            "summary": "shop-1.sql.gz: 46.9K, expected at least 500.0M",
        },
    ],
    "steps": ["dump", "compress"],
    "log_tail": [],
    "runbook": "https://wiki.example.com/db-backup",
    "alert_id": "5f0f6e42-0d5e-5a51-8b0c-1d2f3a4b5c6d",
}
NOTHING_RAN: dict[str, Any] = dict.fromkeys(("run", "slot", "started", "finished")) | {
    "findings": []
}
NEXT_NIGHT = "2026-11-28T02:31:03+00:00"
GOOD_RUN = {
    "state": "resolved",
    "verdict": "verified",
    "reason": "held",
    "summary": "shop-1.sql.gz: 612.4M",
    "started": "2026-11-28T02:10:00+00:00",
    "finished": "2026-11-28T02:31:02+00:00",
}

MEANWHILE = NOTHING_RAN | {
    "state": "resolved",
    "verdict": "failed",
    "severity": "warning",
    "reason": "meanwhile",
    "summary": "1 job went wrong and recovered while outcomed was not there: backup (2 failed)",
    "steps": [],
    "runbook": "",
    "jobs": [{"job": "backup", "unit": "backup.service", "bad": {"failed": 2}}],
}


def event(time: str | None = "2026-11-27T02:10:03+00:00", **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "d" * 36, "time": time, "data": {**DATA, **data}}


def words(
    time: str | None = "2026-11-27T02:10:03+00:00", zone: tzinfo = BERLIN, **data: Any
) -> wording.Words:
    return wording.of(event(time, **data), zone)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {},
            (
                "🔴 db-backup on web1: silent-failure: shop-1.sql.gz: 46.9K, expected at least "
                "500.0M (and 1 more); since Fri 2026-11-27 03:10 CET; type: outcomectl explain "
                "db-backup"
            ),
        ),
        (
            {"severity": "warning"},
            (
                "🟡 db-backup on web1: silent-failure: shop-1.sql.gz: 46.9K, expected at least "
                "500.0M (and 1 more); since Fri 2026-11-27 03:10 CET; type: outcomectl explain "
                "db-backup"
            ),
        ),
        (
            {"job": "", "verdict": "failed", "reason": "exit-code", "summary": "exited with 4"},
            (
                "🔴 db-backup.service on web1: failed: exited with 4; "
                "since Fri 2026-11-27 03:10 CET; type: journalctl -n 50 -u db-backup.service"
            ),
        ),
        (
            {"verdict": "missed", "summary": "nothing started"}
            | NOTHING_RAN
            | {"slot": "2026-11-27T01:00:00+00:00"},
            (
                "🔴 db-backup on web1: missed: nothing started; since Fri 2026-11-27 02:00 CET; "
                "type: outcomectl explain db-backup"
            ),
        ),
        (
            {"time": NEXT_NIGHT, "state": "reminder", "summary": "gone"},
            (
                "🔴 db-backup on web1: still silent-failure: gone; since Fri 2026-11-27 03:10 CET "
                "(1 d); type: outcomectl explain db-backup"
            ),
        ),
        (
            {"time": NEXT_NIGHT, **GOOD_RUN},
            (
                "🟢 db-backup on web1: recovered: shop-1.sql.gz: 612.4M; was bad for 1 d; "
                "nothing to do"
            ),
        ),
        (
            {"job": "", "unit": "outcomed.service", **MEANWHILE},
            (
                "🟢 outcomed.service on web1: recovered meanwhile: 1 job went wrong and recovered "
                "while outcomed was not there: backup (2 failed); from Fri 2026-11-27 03:10 CET "
                "on; nothing to do"
            ),
        ),
        (
            {"job": "", "unit": "outcomed.service", **MEANWHILE, "since": None},
            (
                "🟢 outcomed.service on web1: recovered meanwhile: 1 job went wrong and recovered "
                "while outcomed was not there: backup (2 failed); nothing to do"
            ),
        ),
        (
            {**GOOD_RUN, "job": "", "verdict": "unproven", "reason": "ended-well"}
            | {"time": "2026-11-27T02:40:02.500000+00:00", "summary": "it ended well"}
            | {"finished": DATA["finished"]},  # the marker's run is the one that failed
            (
                "🟢 db-backup.service on web1: recovered: it ended well; was bad for 30 min; "
                "nothing to do"
            ),
        ),
        (
            {"time": NEXT_NIGHT, "state": "resolved", "reason": "removed"}
            | {"summary": "the job was removed"}
            | NOTHING_RAN,
            (
                "⚪ db-backup on web1: closed, not recovered: the job was removed; "
                "was open for 1 d; nothing to do"
            ),
        ),
        (
            {"time": NEXT_NIGHT, "state": "resolved", "reason": "superseded"}
            | {"summary": "worse has come, see there"},
            (
                "⚪ db-backup on web1: closed: worse has come, see there; was open for 1 d; "
                "type: outcomectl explain db-backup"
            ),
        ),
        (
            {"job": "", "unit": "outcomed.service", "verdict": "unknown", "severity": "warning"}
            | {"reason": "configuration", "summary": "x.yaml:3: no such key"}
            | NOTHING_RAN,
            (
                "🟡 outcomed.service on web1: configuration refused: x.yaml:3: no such key; "
                "since Fri 2026-11-27 03:10 CET; type: outcomectl check-config"
            ),
        ),
        (
            {"job": "outcomectl-test", "state": "test", "verdict": "verified"}
            | {"reason": "test", "summary": "a test of sink ops: nothing is wrong"}
            | NOTHING_RAN,
            (
                "⚪ outcomectl-test on web1: test: a test of sink ops: nothing is wrong; "
                "sent Fri 2026-11-27 03:10 CET"
            ),
        ),
        (
            {"job": "-x", "summary": "gone"},
            (
                "🔴 -x on web1: silent-failure: gone; "
                "since Fri 2026-11-27 03:10 CET; type: outcomectl explain -- -x"
            ),
        ),
        (
            {"job": "mnt\\x2dbackup@1", "summary": "gone"},
            (
                "🔴 mnt\\x2dbackup@1 on web1: silent-failure: gone; "
                "since Fri 2026-11-27 03:10 CET; type: outcomectl explain 'mnt\\x2dbackup@1'"
            ),
        ),
        (
            {"summary": "two\nlines, \x1b[31mred, \u202egpj.exe and \ufffd"},
            (
                "🔴 db-backup on web1: silent-failure: two\\nlines, \\x1b[31mred, \\u202egpj.exe "
                "and \ufffd; since Fri 2026-11-27 03:10 CET; type: outcomectl explain db-backup"
            ),
        ),
        (
            {"job": "", "unit": "", "host": "", "summary": ""},
            (
                "🔴 outcomed on a host without a name: silent-failure: nothing more is known; "
                "since Fri 2026-11-27 03:10 CET; type: journalctl -b"
            ),
        ),
    ],
)
def test_the_first_line_says_what_where_since_when_and_what_next(
    data: dict[str, Any], line: str
) -> None:
    assert words(**data).first_line == line
    assert wording.text(words(**data)).partition("\n")[0] == line


@pytest.mark.parametrize(
    ("data", "when"),
    [
        ({}, "since Fri 2026-11-27 03:10 CET"),
        ({"zone": UTC}, "since Fri 2026-11-27 02:10 UTC"),
        ({"since": None}, "since Fri 2026-11-27 03:10 CET"),
        # `after: 3`: wrong since the first of them, though nobody was told.
        ({"since": "2026-11-25T02:10:00+00:00"}, "since Wed 2026-11-25 03:10 CET"),
        # Judged five hours late, since the daemon was down.
        ({"since": "2026-11-27T07:10:00+00:00"}, "since Fri 2026-11-27 03:10 CET"),
        ({"finished": None, "since": None}, "since Fri 2026-11-27 03:10 CET"),
        ({**NOTHING_RAN, "since": None}, "since Fri 2026-11-27 03:10 CET"),
        ({**NOTHING_RAN, "since": None, "time": None}, ""),
        ({"since": "2026-07-01T00:00:00+00:00"}, "since Wed 2026-07-01 02:00 CEST"),
        (
            {"since": "0001-01-01T00:00:00+00:00", "zone": ZoneInfo("America/New_York")},
            "since 0001-01-01T00:00:00+00:00",
        ),
        ({**GOOD_RUN, "since": None}, ""),
        (
            {**GOOD_RUN, "since": "2026-11-29T00:00:00+00:00"},
            "was bad since Sun 2026-11-29 01:00 CET",
        ),
        ({"state": "test", "time": None}, ""),
    ],
)
def test_since_when(data: dict[str, Any], when: str) -> None:
    assert words(**data).when == when


def test_without_a_zone_it_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    here = datetime(2026, 11, 27, 2, 10, tzinfo=UTC).astimezone()
    assert wording.of(event(), None).when == f"since {here:%a %Y-%m-%d %H:%M %Z}"


def test_what_does_not_hold_is_listed_broken_first() -> None:
    assert words().findings == (
        (Held.BROKEN, "shop-1.sql.gz: 46.9K, expected at least 500.0M"),
        (Held.UNKNOWN, "lines lost"),
    )


def test_what_the_summary_says_is_not_said_again() -> None:
    only = {"rule": "result", "state": "broken", "summary": "exited with status 4"}
    assert words(summary="exited with status 4", findings=[only]).findings == ()
    assert words(summary="something else", findings=[only]).findings != ()


def test_of_many_findings_the_first_are_shown_and_the_others_counted() -> None:
    many = [{"rule": "r", "state": "broken", "summary": f"{n}"} for n in range(20)]
    said = words(findings=many)
    assert (len(said.findings), said.more) == (8, 12)
    assert "\nand 12 more\n" in wording.text(said)


def test_the_whole_text() -> None:
    assert wording.text(words(unit="db-backup@1.service")).split("\n")[1:] == [
        "✗ shop-1.sql.gz: 46.9K, expected at least 500.0M",
        "? lines lost",
        "Run: Fri 2026-11-27 03:10 CET, took 2 s",
        "Unit: db-backup@1.service",
        "Steps reached: dump, compress",
        "Runbook: https://wiki.example.com/db-backup",
    ]


def test_a_long_summary_is_whole_in_the_next_line() -> None:
    summary = "x" * 300
    first, second, *_ = wording.text(words(summary=summary)).split("\n")
    assert second == summary
    assert f"{'x' * 159}…; since" in first


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        ({"steps": []}, {"Run": "Fri 2026-11-27 03:10 CET, took 2 s"}),
        ({"steps": [], "finished": None}, {"Run": "Fri 2026-11-27 03:10 CET, not ended"}),
        (
            {"steps": [], "finished": "2026-11-27T02:10:00.147000+00:00"},
            {"Run": "Fri 2026-11-27 03:10 CET, took 47 ms"},
        ),
        (
            {"steps": [], "finished": "2026-11-27T01:00:00+00:00"},  # a clock that was set
            {"Run": "Fri 2026-11-27 03:10 CET, took 0 s"},
        ),
        ({"steps": [], "started": None}, {"Due": "Fri 2026-11-27 03:10 CET"}),
        ({"job": "", **NOTHING_RAN}, {"Steps reached": "dump, compress"}),
        ({"state": "test"}, {"Run": "Fri 2026-11-27 03:10 CET, took 2 s"}),
    ],
)
def test_facts_are_those_that_are_known(data: dict[str, Any], facts: dict[str, str]) -> None:
    assert dict(words(**data).facts) == facts


def test_what_was_accepted_has_not_recovered() -> None:
    assert words(**GOOD_RUN | {"verdict": "accepted"}).title == "accepted"
    assert words(**GOOD_RUN).title == "recovered"


def test_recovered_there_is_nothing_to_look_up() -> None:
    assert words(**GOOD_RUN).runbook == ""


def test_output_is_shown_without_its_colors_and_every_line_is_one() -> None:
    tail = ["\x1b[1;31mERROR\x1b[0m:\tfull  ", "a\rb", "x" * 5000, ""]
    shown = words(log_tail=tail).tail
    assert shown[:2] == ("ERROR:  full", "a\\rb")
    assert (len(shown[2]), shown[3]) == (400, "")


def test_a_message_of_an_older_outcomed_is_put_into_words() -> None:
    old = {key: value for key, value in DATA.items() if key != "since"}
    assert "since Fri" in wording.of({"data": old}, BERLIN).first_line


@pytest.mark.parametrize(
    "wrong", [{"state": "acknowledged"}, {"since": "yesterday"}, {"since": "2026-11-27T02:10:00"}]
)
def test_what_nobody_here_wrote_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        words(**wrong)


MOMENTS = st.none() | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
TEXTS = st.text(max_size=6)
FOREIGN = st.fixed_dictionaries(
    {
        "job": TEXTS,
        "unit": TEXTS,
        "host": TEXTS,
        "state": st.sampled_from(["firing", "resolved", "reminder", "test"]),
        "severity": st.sampled_from(["critical", "warning"]),
        "verdict": st.sampled_from(list(Verdict)).map(str),
        "reason": st.sampled_from(["artifact", "configuration", "removed", "superseded"]),
        "summary": TEXTS,
        "since": MOMENTS,
        "run": st.none() | TEXTS,
        "slot": MOMENTS,
        "started": MOMENTS,
        "finished": MOMENTS,
        "findings": st.lists(
            st.fixed_dictionaries(
                {"state": st.sampled_from(list(Held)).map(str), "summary": TEXTS}
            ),
            max_size=12,
        ),
        "steps": st.lists(TEXTS, max_size=5),
        "log_tail": st.lists(TEXTS, max_size=20),
        "runbook": TEXTS | TEXTS.map("https://{}".format),
        "alert_id": TEXTS,
    }
)
EVENTS = st.fixed_dictionaries({"id": TEXTS, "time": MOMENTS, "data": FOREIGN})
TIMES = st.sampled_from([1, 80, 500])
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("Pacific/Apia"), ZoneInfo("America/Sao_Paulo")])

_FREE = ("job", "unit", "host", "summary", "run", "runbook", "alert_id")


def grown(event: dict[str, Any], times: int) -> dict[str, Any]:
    """The same with longer texts: what is generated stays small enough to be shown."""
    data = event["data"]
    return event | {
        "data": data
        | {key: data[key] and data[key] * times for key in _FREE}
        | {key: [text * times for text in data[key]] for key in ("steps", "log_tail")}
        | {"findings": [one | {"summary": one["summary"] * times} for one in data["findings"]]}
    }


@settings(deadline=None)
@given(EVENTS, TIMES, ZONES)
def test_whatever_is_said_the_first_line_is_whole(
    event: dict[str, Any], times: int, zone: tzinfo
) -> None:
    said = wording.of(grown(event, times), zone)
    text = wording.text(said)
    assert text.replace("\n", "").isprintable()
    first = text.partition("\n")[0]
    assert first == said.first_line
    for part in (said.name, said.host, said.title, said.when, said.command or said.advice):
        assert part in first
    assert len(first) < 1300


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=4000)))
def test_how_long_it_was_bad_is_said_in_words(span: timedelta) -> None:
    since = datetime(2020, 1, 1, tzinfo=UTC)
    said = words((since + span).isoformat(), since=since.isoformat(), **GOOD_RUN | NOTHING_RAN)
    assert said.when.startswith("was bad for ")
