"""`outcomectl test`: send a message to a sink the way an alert goes, and say what became of it."""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Sequence

from outcomed import notify, spool
from outcomed.ctl import times
from outcomed.ctl.find import meant
from outcomed.ctl.options import Call
from outcomed.ctl.term import encode_json, safe
from outcomed.errors import EXIT_BAD, EXIT_FINE, EXIT_NO_ANSWER, OutcomedError, UsageError
from outcomed.model import (
    BootId,
    Delivery,
    Incident,
    Job,
    JobName,
    Judgement,
    Run,
    Sink,
    UnitName,
    Usec,
    Verdict,
    alert_id,
    run_id,
)
from outcomed.specifiers import this_host

PATIENCE = 20.0  # seconds

_JOB = JobName("outcomectl-test")
_UNIT = UnitName("outcomed.service")


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument("sink", metavar="SINK", help="a sink of outcomed.yaml")
    parser.epilog = (
        f"Waits up to {PATIENCE:.0f} s. Exits with 1 if the sink refused it or cannot be reached,\n"
        "with 3 if nobody has tried. Only root may."
    )


def run(call: Call) -> int:
    name: str = call.options.sink
    if os.geteuid() != 0:
        raise OutcomedError("only root may send a test", hint=f"sudo outcomectl test {name}")
    sink = _sink(name, spool.read_sinks(call.paths))
    delivery = message(sink, call.now)
    spool.put(delivery, call.paths)
    listens = spool.poke(call.paths.deliver_socket)
    outcome = spool.wait_outcome(delivery.id, PATIENCE if listens else 0, call.paths)
    took = times.now_usec() - call.now
    if call.json:
        shown = {
            "sink": name,
            "delivery": delivery.id,
            "state": "done" if outcome.state == "gone" else outcome.state,
            "reason": outcome.why.reason if outcome.why is not None else None,
        }
        print(encode_json(shown, call.json))
    else:
        print(safe(_sentence(name, outcome, Usec(took), listens=listens)))
    return _code(outcome)


def _sink(name: str, sinks: Sequence[Sink]) -> Sink:
    for sink in sinks:
        if sink.name == name:
            return sink
    names = [sink.name for sink in sinks]
    hint = meant(name, names)
    if hint is None and names:
        hint = f"there are {', '.join(names)}"
    hint = (
        hint or "sinks are named in /etc/outcomed/outcomed.yaml; then 'systemctl reload outcomed'"
    )
    raise UsageError(f"there is no sink {safe(name)}", hint=hint)


def message(sink: Sink, now: Usec) -> Delivery:
    """What an alert looks like, but for its state and its words."""
    host = this_host()
    node = notify.Node(host=host.hostname, machine_id=host.machine_id)
    alert = alert_id(f"test\0{uuid.uuid4()}")
    summary = f"a test of sink {sink.name}: nothing is wrong, and nothing has to be done"
    run = Run(
        id=run_id(_JOB, alert),
        job=_JOB,
        unit=_UNIT,
        key=alert,
        boot=BootId(host.boot_id),
        trigger="none",
    )
    judgement = Judgement(run=run, verdict=Verdict.VERIFIED, reason="test", summary=summary, at=now)
    incident = Incident(
        id=alert,
        job=_JOB,
        opened=now,
        verdict=Verdict.VERIFIED,
        reason="test",
        summary=summary,
        run=None,
        severity="warning",
    )
    job = Job(name=_JOB, unit=_UNIT)
    (delivery,) = notify.told("test", incident, judgement, job, [sink], node, now)
    return delivery


def _sentence(name: str, outcome: spool.Outcome, took: Usec, *, listens: bool) -> str:
    why = outcome.why.reason if outcome.why is not None else ""
    match outcome.state:
        case "done" | "gone":  # the daemon forgets what was delivered, once it has it in writing
            return f"{name}: delivered after {times.ran(took)}"
        case "failed":
            return f"{name}: refused, and given up: {why or 'no reason is on record'}"
        case "waiting":
            if not listens:
                return f"{name}: not sent, outcomed-deliver.socket is not active; the message waits"
            tried = why or "nobody has tried yet: 'systemctl status outcomed-deliver'"
            return f"{name}: not delivered within {PATIENCE:.0f} s, it is tried again: {tried}"


def _code(outcome: spool.Outcome) -> int:
    match outcome.state:
        case "done" | "gone":
            return EXIT_FINE
        case "failed":
            return EXIT_BAD
        case "waiting":
            return EXIT_BAD if outcome.why is not None else EXIT_NO_ANSWER
