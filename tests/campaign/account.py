"""Count what became of it all: the ledger against PID 1's journal, and both against the receiver.

Each function returns what is wrong, as sentences; nothing is what is expected.
"""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from outcomed import alerts
from outcomed.alerts import Standing
from outcomed.ledger import Reader
from outcomed.model import (
    SECOND,
    Alerts,
    Incident,
    JobName,
    Judgement,
    Klass,
    Verdict,
    alert_id,
)
from tests.campaign.site import HOOKED, NAMES, PATIENT, RETRIED, truth
from tests.nodes import Node

LEDGER = Path("/var/lib/outcomed/ledger.db")
STARTING = "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5"
SAID = {"good": {"verified"}, "lie": {"silent-failure"}, "failed": {"failed"}}
UNSEEN = {"unknown", "interrupted"}  # a power cut took the run, or what it said


@dataclass(frozen=True)
class Books:
    """Everything that is compared."""

    judgements: Mapping[str, Sequence[Judgement]]  # by job, in the order of their verdicts
    incidents: Mapping[str, Mapping[str, Incident]]  # by job and id
    under_way: int
    folded: int  # jobs of which something is left to be told together
    started: Mapping[str, Sequence[str]]  # by job, the attempts' ids as PID 1 has them
    attempts: frozenset[str]  # those that the ledger has
    events: Sequence[dict[str, Any]]  # as they arrived, repeats included
    faults: list[str] = field(default_factory=list)


def read(node: Node) -> Books:
    with tempfile.TemporaryDirectory() as directory:
        for suffix in ("", "-wal"):
            file = node.path(f"{LEDGER}{suffix}")
            if file.exists():
                shutil.copy(file, directory)
        with Reader(Path(directory) / LEDGER.name) as reader:
            judgements = {
                name: [one.judgement for one in sorted(_history(reader, name), key=_seq)]
                for name in NAMES
            }
            incidents = {
                name: {one.id: one for one in reader.incidents(JobName(name), 1_000_000)}
                for name in NAMES
            }
            under_way = len(reader.under_way())
            folded = sum(row.standing.folded is not None for row in reader.jobs())
        with contextlib.closing(sqlite3.connect(Path(directory) / LEDGER.name)) as db:
            attempts = frozenset(
                one.hex() for (one,) in db.execute("SELECT invocation FROM attempt")
            )
    started = defaultdict(list)
    units = [f"UNIT={name}.service" for name in NAMES]
    for entry in node.journal(STARTING, "_PID=1", *units):
        started[entry["UNIT"].removesuffix(".service")].append(entry["INVOCATION_ID"])
    events = [request.json() for request in node.receiver(8080).requests]
    return Books(judgements, incidents, under_way, folded, started, attempts, events)


def _history(reader: Reader, name: str) -> Iterable[Any]:
    return reader.history(JobName(name), 1_000_000)


def _seq(stored: Any) -> int:
    return int(stored.seq)


def faults(books: Books) -> list[str]:
    found = [*_first_verdicts(books), *_true_verdicts(books), *_messages(books)]
    for name in NAMES:
        found += _alerts(name, books)
    return found


def leftovers(node: Node) -> list[str]:
    """A writer that was killed leaves a file aside; the next start removes it. Not so in the spool,
    where others write meanwhile: there it may stay for a day."""
    found = node.path("/var/lib/outcomed").rglob(".*.tmp")
    return [f"left aside: {path}" for path in found if "spool" not in path.parts]


def summary(books: Books) -> str:
    verdicts = Counter(one.verdict.value for these in books.judgements.values() for one in these)
    witnesses = Counter(one.witness for these in books.judgements.values() for one in these)
    states = Counter(
        "meanwhile" if one["data"]["reason"] == "meanwhile" else one["data"]["state"]
        for one in {one["id"]: one for one in books.events}.values()
    )
    repeated = len(books.events) - len({one["id"] for one in books.events})
    counted = (dict(sorted(each.items())) for each in (verdicts, witnesses, states))
    text = ", ".join(json.dumps(each) for each in counted)
    runs = sum(map(len, books.judgements.values()))
    return f"{runs} runs: {text}; {repeated} messages twice"


# --- runs ------------------------------------------------------------------------------------


def _first_verdicts(books: Books) -> Iterable[str]:
    """Every run that PID 1 or the ledger knows has exactly one."""
    if books.under_way:
        yield f"{books.under_way} runs are not judged"
    for name, judgements in books.judgements.items():
        times = Counter(one.run.id for one in judgements)
        yield from (f"{name}: run {run} was judged {n} times" for run, n in times.items() if n > 1)
        for before, one in pairwise(judgements):
            if (one.run.started or 0) < (before.run.started or 0):
                yield f"{name}: {_which(one)} was judged after {_which(before)}"
        if name in RETRIED:  # those between the first and the last are in no verdict
            known = books.attempts
        else:
            known = frozenset(one.run.last_invocation for one in judgements)
        for invocation in books.started.get(name, ()):
            if invocation not in known:
                yield f"{name}: attempt {invocation} was never judged"


def _which(one: Judgement) -> str:
    run = one.run
    return f"{run.key} of boot {run.boot}, begun {run.started}, {run.attempts} attempts"


def _true_verdicts(books: Books) -> Iterable[str]:
    """What was bad is never good, and the other way round."""
    for name, judgements in books.judgements.items():
        for before, one in zip([None, *judgements], judgements, strict=False):
            if one.run.last_invocation is None:  # only these have a limit, which the load may hit
                if name not in RETRIED or one.run.result != "start-limit-hit":
                    yield f"{name}: {one.run.key} is {one.verdict}: {one.summary}"
                continue
            expected = SAID[truth(one.run.last_invocation)] | UNSEEN
            if one.verdict.value not in expected and not _strayed(before, one):
                yield (
                    f"{name}: run {one.run.last_invocation} is {one.verdict}, it was "
                    f"{truth(one.run.last_invocation)} ({one.witness}: {one.summary})"
                )
            if one.verdict is Verdict.UNKNOWN and one.witness == "live":
                yield f"{name}: run {one.run.last_invocation} is unknown: {one.summary}"


def _strayed(before: Judgement | None, one: Judgement) -> bool:
    """The last line of a lie, which journald read when the next run had begun, is that one's."""
    if before is None or before.run.last_invocation is None:
        return False
    lied = truth(before.run.last_invocation) == "lie" and one.verdict is Verdict.SILENT_FAILURE
    return lied and (one.run.started or 0) < (before.run.finished or 0) + SECOND


# --- messages --------------------------------------------------------------------------------


def _messages(books: Books) -> Iterable[str]:
    """One id, one message."""
    by_id: dict[str, dict[str, Any]] = {}
    for event in books.events:
        if by_id.setdefault(event["id"], event)["data"] != event["data"]:
            yield f"message {event['id']} arrived with two contents"
    ends = [(one["data"]["alert_id"], one["data"]["state"]) for one in by_id.values()]
    yield from (f"{which} was told under two ids" for which, n in Counter(ends).items() if n > 1)


def _alerts(name: str, books: Books) -> Iterable[str]:
    """The alerts that the verdicts came to, each told by itself or among those of a downtime."""
    after = 3 if name in PATIENT else 1
    due, over, bad, part_of = _due(books.judgements[name], Alerts(after=after, to=("ops",)))
    told = {
        state: {
            one["data"]["alert_id"]: one["data"]
            for one in books.events
            if one["subject"] == name and one["data"]["state"] == state
        }
        for state in ("firing", "resolved")
    }
    firing, resolved = told["firing"], told["resolved"]
    for alert in firing.keys() - due.keys():
        # The hook sees one run, and may speak of one whose incident is open. Where that was told,
        # this is taken back; else it takes its place.
        known = part_of.get(alert, "")
        if name in HOOKED and known in due and known not in firing:
            due[alert] = due.pop(known)
            over |= {alert} if known in over else set()
        elif name not in HOOKED or resolved.get(alert, {}).get("reason") != "superseded":
            yield f"{name}: alert {alert} was told, and is none"
    for alert in resolved.keys() - firing.keys():
        yield f"{name}: the end of alert {alert} was told, its beginning was not"
    for alert in (firing.keys() & over) - resolved.keys():
        yield f"{name}: the end of alert {alert} was not told"
    for alert in due.keys() - over - firing.keys():
        yield f"{name}: alert {alert} is open, and was not told"
    for alert, incident in books.incidents[name].items():
        if incident.told and alert not in firing:
            yield f"{name}: alert {alert} was told, says the ledger, and did not arrive"
        if not incident.told and alert in firing and alert in due:
            yield f"{name}: alert {alert} arrived, and the ledger says nobody was told"
    missing = {due[alert] for alert in due.keys() - firing.keys()}
    untold = sum(times for chain, times in bad.items() if chain in missing)
    folded = sum(
        times
        for one in {one["id"]: one["data"] for one in books.events}.values()
        if one["reason"] == "meanwhile"
        for job in one["jobs"]
        if job["job"] == name
        for verdict, times in job["bad"].items()
        if Verdict(verdict).klass is Klass.BAD
    )
    if untold != folded:
        yield f"{name}: {untold} bad runs were not told by themselves, {folded} together"


def _due(
    judgements: Sequence[Judgement], rule: Alerts
) -> tuple[dict[str, str], set[str], Counter[str], dict[str, str]]:
    """What a daemon that is always there would have told: the alerts that are due, each with the
    first of those that became it; those that are over; how many bad runs each chain had; and of
    which alert each bad run, by its own alert's id, was a part."""
    standing = Standing()
    chains: dict[str, str] = {}
    due: dict[str, str] = {}
    over: set[str] = set()
    bad: Counter[str] = Counter()
    part_of: dict[str, str] = {}
    for one in judgements:
        change = alerts.decide(standing, one, rule, "critical")
        incident = change.standing.incident
        if change.opened is not None:
            became = change.closed.id if change.closed is not None else change.opened.id
            chains[change.opened.id] = chains.get(became, change.opened.id)
        for state, about in change.messages:
            if state == "firing":
                due[about.id] = chains[about.id]
        if change.closed is not None and change.opened is None:
            over.add(change.closed.id)
        if incident is not None and one.verdict.klass is Klass.BAD:
            bad[chains[incident.id]] += 1
            part_of[alert_id(one.run.id)] = incident.id
        standing = change.standing
    return due, over, bad, part_of
