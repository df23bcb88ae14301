"""What a receiver gets: the contract's envelope, the same id for the same message."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import notify
from outcomed.alerts import Tally
from outcomed.model import (
    Alerts,
    BootId,
    Delivery,
    Finding,
    Held,
    Incident,
    InvocationId,
    Job,
    JobName,
    Judgement,
    Run,
    UnitName,
    Usec,
    Verdict,
    Webhook,
    alert_id,
    delivery_id,
    run_id,
)
from outcomed.notify import Meanwhile, Node, State

NODE = Node("host.example.com", "m" * 32)
INVOCATION = InvocationId("a" * 32)
JOB = Job(
    JobName("backup"),
    UnitName("backup@.service"),
    runbook="https://wiki.example.com/backup",
    alerts=Alerts(to=("ops", "nobody")),
)
OPS, PAGER = Webhook("ops", log_lines=2), Webhook("pager")
AT = Usec(1_790_000_000_123_456)
RUN = Run(
    id=run_id(JOB.name, INVOCATION),
    job=JOB.name,
    unit=UnitName("backup@db.service"),
    key=INVOCATION,
    boot=BootId("b" * 32),
    invocation=INVOCATION,
    slot=AT,
    started=AT,
)
JUDGEMENT = Judgement(
    run=RUN,
    verdict=Verdict.SILENT_FAILURE,
    reason="artifact",
    summary="/srv/a: no such file",
    findings=(Finding("outcome[0].artifact", Held.BROKEN, "older", {"mtime": AT, "size": 7}),),
    steps=("dump",),
    at=AT,
)
INCIDENT = Incident(
    id=alert_id(RUN.id),
    job=JOB.name,
    opened=AT,
    verdict=Verdict.SILENT_FAILURE,
    reason="artifact",
    summary="/srv/a: no such file",
    run=RUN.id,
)


def told(state: State = "firing", judgement: Judgement | None = JUDGEMENT) -> list[Delivery]:
    tail = ("one", "two", "three")
    return notify.told(state, INCIDENT, judgement, JOB, [OPS, PAGER], NODE, AT, tail)


def test_the_envelope_is_that_of_the_contract() -> None:
    first, second = told()
    assert first.sink == "ops"
    data = first.event.pop("data")
    assert first.event == {
        "specversion": "1.0",
        "id": first.id,
        "source": f"urn:outcomed:{'m' * 32}",
        "type": "io.outcomed.alert",
        "time": "2026-09-21T14:13:20.123456+00:00",
        "subject": "backup",
        "datacontenttype": "application/json",
    }
    assert data == {
        "job": "backup",
        "unit": "backup@db.service",
        "host": "host.example.com",
        "machine_id": "m" * 32,
        "state": "firing",
        "severity": "critical",
        "verdict": "silent-failure",
        "reason": "artifact",
        "summary": "/srv/a: no such file",
        "since": "2026-09-21T14:13:20.123456+00:00",
        "run": INVOCATION,
        "slot": "2026-09-21T14:13:20.123456+00:00",
        "started": "2026-09-21T14:13:20.123456+00:00",
        "finished": None,
        "findings": [
            {
                "rule": "outcome[0].artifact",
                "state": "broken",
                "summary": "older",
                "evidence": {"mtime": "2026-09-21T14:13:20.123456+00:00", "size": 7},
            }
        ],
        "steps": ["dump"],
        "log_tail": ["two", "three"],
        "runbook": "https://wiki.example.com/backup",
        "alert_id": INCIDENT.id,
    }
    other = second.event["data"]
    assert isinstance(other, dict)
    assert other["log_tail"] == []  # output leaves the node only where a sink asks for it
    msgspec.json.encode(first)


def test_an_incident_of_a_removed_job_is_resolved_without_a_run() -> None:
    data = told("resolved", None)[0].event["data"]
    assert isinstance(data, dict)
    assert (data["verdict"], data["reason"]) == ("silent-failure", "removed")
    assert (data["unit"], data["run"], data["findings"]) == ("backup@.service", None, [])
    assert "None" not in data["summary"]


def test_a_repeat_carries_the_same_id_and_another_state_another() -> None:
    assert [one.id for one in told()] == [one.id for one in told()]
    ids = {one.id for state in ("firing", "resolved", "reminder") for one in told(state)}
    assert len(ids) == 6
    assert told()[0].id == delivery_id(INCIDENT.id, "firing", "ops")


def test_a_unit_without_job_file_is_the_subject() -> None:
    nameless = Job(name=JobName(""), unit=UnitName("x.service"))
    (one,) = notify.told("test", INCIDENT, None, nameless, [PAGER], NODE, AT)
    assert one.event["subject"] == "x.service"


def test_a_job_tells_the_sinks_that_it_names() -> None:
    assert notify.listeners(JOB.alerts.to, [PAGER, OPS]) == [OPS]


def test_an_incident_whose_verdict_is_out_of_reach_speaks_for_itself() -> None:
    data = told("firing", None)[0].event["data"]
    assert isinstance(data, dict)
    assert (data["reason"], data["summary"]) == ("artifact", "/srv/a: no such file")


def went_wrong(
    name: str, bad: dict[Verdict, int], *to: str, since: int = 0, again: bool = False
) -> Meanwhile:
    tally = Tally(bad, Usec(AT + since), alert_id(name), to)
    return Meanwhile(JobName(name), UnitName(f"{name}.service"), tally, again)


BOTH = [
    went_wrong("backup", {Verdict.FAILED: 2, Verdict.SILENT_FAILURE: 1}, "ops", since=5),
    went_wrong("sync", {Verdict.UNKNOWN: 2}, "ops", "pager", again=True),
]


def test_what_went_wrong_meanwhile_is_one_message_for_each_sink() -> None:
    ops, pager = notify.meanwhile(BOTH, [OPS, PAGER], NODE, AT)
    data = ops.event["data"]
    assert isinstance(data, dict)
    assert ops.event["subject"] == "outcomed.service"
    assert (data["state"], data["reason"], data["verdict"]) == (
        *("resolved", "meanwhile", "silent-failure"),
    )
    assert data["summary"] == (
        "2 jobs went wrong and recovered while outcomed was not there: "
        "backup (2 failed, 1 silent-failure), sync (2 unknown; bad again, see there)"
    )
    assert data["since"] == notify.rfc3339(AT)
    assert data["jobs"] == [
        {
            "job": "backup",
            "unit": "backup.service",
            "bad": {"failed": 2, "silent-failure": 1},
            "since": notify.rfc3339(Usec(AT + 5)),
            "again": False,
        },
        {
            "job": "sync",
            "unit": "sync.service",
            "bad": {"unknown": 2},
            "since": notify.rfc3339(AT),
            "again": True,
        },
    ]
    assert data["log_tail"] == []
    other = pager.event["data"]
    assert isinstance(other, dict)
    assert [one["job"] for one in other["jobs"]] == ["sync"]
    assert other["summary"].startswith("1 job went wrong")
    assert msgspec.json.decode(msgspec.json.encode(ops), type=Delivery).id == ops.id


def test_what_went_wrong_meanwhile_has_the_same_id_whenever_it_is_told() -> None:
    first, _ = notify.meanwhile(BOTH, [OPS, PAGER], NODE, AT)
    again, _ = notify.meanwhile(BOTH[::-1], [OPS, PAGER], NODE, Usec(AT + 1))
    assert first.id == again.id
    assert {first.id} != {one.id for one in notify.meanwhile(BOTH[:1], [OPS], NODE, AT)}


def test_nobody_listens_to_what_went_wrong_meanwhile() -> None:
    assert notify.meanwhile([], [OPS], NODE, AT) == []
    assert notify.meanwhile(BOTH[:1], [PAGER], NODE, AT) == []


def test_of_many_that_went_wrong_meanwhile_the_first_are_named() -> None:
    many = [went_wrong(f"job-{n}", {Verdict.FAILED: 1}, "ops") for n in range(50)]
    said = notify.meanwhile_sentence(many)
    assert said.endswith("job-7 (1 failed) and 42 more")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000000+00:00"),
        (-1, "1969-12-31T23:59:59.999999+00:00"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999+00:00"),
        (253_402_300_800_000_000, None),
        (-(2**63), None),
    ],
)
def test_a_moment_that_no_calendar_has_is_left_out(at: int | None, expected: str | None) -> None:
    assert notify.rfc3339(None if at is None else Usec(at)) == expected


@given(st.integers(0, 253_402_300_799_999_999))
def test_no_microsecond_is_lost(at: int) -> None:
    text = notify.rfc3339(Usec(at))
    assert text is not None
    moment = datetime.fromisoformat(text)
    whole = int(moment.replace(microsecond=0).timestamp())
    assert whole * 1_000_000 + moment.microsecond == at


@given(st.integers())
def test_any_file_time_can_be_shown(mtime: int) -> None:
    finding = Finding("outcome[0].artifact", Held.HELD, "held", {"mtime": mtime})
    msgspec.json.encode(notify.shown_finding(finding))


def test_a_finding_without_a_time_is_shown_as_it_is() -> None:
    finding = Finding("outcome[0].report", Held.HELD, "held", {"sent": 3, "mtime": None})
    assert notify.shown_finding(finding)["evidence"] == {"sent": 3, "mtime": None}
