"""What a receiver gets: the contract's envelope, the same id for the same message."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import notify
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
from outcomed.notify import Node, State

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
