"""`outcomectl accept`: a person says that a run is right as it is, and why.

The word goes to the daemon as a file, so that it is not lost where nobody listens: the ledger has
one writer, and that is not us.
"""

from __future__ import annotations

import argparse
import os
import shlex

from outcomed import orders, spool, verdicts
from outcomed.ctl import around, shape
from outcomed.ctl.find import find, reading, under_way
from outcomed.ctl.options import Call
from outcomed.ctl.term import encode_json, safe, say, wrap
from outcomed.errors import EXIT_FINE, OutcomedError, UsageError
from outcomed.ledger import JobRow
from outcomed.model import Judgement, Record, Run, Verdict
from outcomed.paths import Paths
from outcomed.rules import median_reach

PATIENCE = 10.0  # seconds


class Subject(Record, frozen=True):
    """What the word is about: a run, as its last verdict has it, and its job."""

    row: JobRow
    judgement: Judgement
    running: Run | None


def arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.add_argument(
        "subject",
        metavar="RUN|JOB",
        help="4 or more digits of a run's id, or of its invocation's; or a job: its last run",
    )
    parser.add_argument(
        "--because", metavar="TEXT", required=True, help="why; it is kept, and told with the end"
    )
    parser.epilog = (
        "Closes the incident, unless later runs are bad too; medians begin anew with\n"
        "this run. Exits with 3 if outcomed.service does not run: it is done when it\n"
        "does. Only root may."
    )


def run(call: Call) -> int:
    because = _reason(call.options.because)
    subject = _subject(call)
    judgement = subject.judgement
    if judgement.verdict is not Verdict.ACCEPTED:
        _refuse(subject)
        if os.geteuid() != 0:
            raise OutcomedError("only root may accept a run", hint="sudo outcomectl accept ...")
        order = orders.Accept(judgement.run.job, judgement.run.id, because, whose())
        _ask(order, call.paths)
    after = _subject(call, judgement.run.id)
    if after.judgement.verdict is not Verdict.ACCEPTED:
        hint = "'journalctl -u outcomed.service' says why"
        raise OutcomedError("outcomed.service did not take it", hint=hint)
    if call.json:
        print(encode_json(shape.run(after.judgement), call.json))
    else:
        is_news = judgement.verdict is not Verdict.ACCEPTED
        say(wrap(_sentence(subject, after, is_news=is_news), call.screen), call.screen)
    return EXIT_FINE


def _reason(text: str) -> str:
    because = " ".join(text.split())
    if not because or not because.isprintable():
        raise UsageError("--because: expected the reason, as a line of text")
    if len(because) > orders.MAX_REASON:
        many = f"at most {orders.MAX_REASON} characters, this one {len(because)}"
        raise UsageError(f"--because: a reason has {many}")
    return because


def whose(loginuid: str = "/proc/self/loginuid") -> str:
    """Who was there before sudo, by sudo's word or else by the login's."""
    import pwd

    name = os.environ.get("SUDO_USER", "")
    if not name:
        try:
            with open(loginuid, encoding="ascii") as file:
                name = pwd.getpwuid(int(file.read())).pw_name
        except (OSError, ValueError, KeyError, OverflowError):
            name = ""  # a timer or a container: there was no login
    name = "".join(letter for letter in name if letter.isprintable())[:100]
    return name or pwd.getpwuid(os.geteuid()).pw_name


def _subject(call: Call, run: str = "") -> Subject:
    with reading(call.paths) as reader:
        found = find(reader, run or call.options.subject, call.paths)
        row, running = found.row, under_way(reader).get(found.row.name)
    stored = found.asked or row.last
    if stored is None:
        now = "has its first run under way" if running is not None else "has not run"
        raise OutcomedError(f"{row.name} {now}: there is no verdict to accept")
    return Subject(row, stored.judgement, running)


def _refuse(subject: Subject) -> None:
    """What the daemon would refuse, while somebody can still be asked."""
    row, judgement = subject.row, subject.judgement
    if row.config is None:
        raise OutcomedError(f"{row.name} has no job file any more: nothing is expected of it")
    if fault := verdicts.why_not_accepted(judgement.verdict):
        incident, hint = row.standing.incident, None
        if incident is not None and incident.run not in (None, judgement.run.id):
            hint = f"the open alert is about another run: outcomectl accept {incident.run}"
        raise UsageError(f"run {judgement.run.id} of {row.name}: {fault}", hint=hint)


def _ask(order: orders.Accept, paths: Paths) -> None:
    lives = around.daemon_lives(paths)
    path = orders.put(order, paths)
    spool.poke(paths.wake)
    if orders.wait_until_taken(path, PATIENCE if lives else 0):
        return
    if not lives:
        raise OutcomedError("outcomed.service is not running: it is done when it next does")
    raise OutcomedError(
        f"outcomed.service has not taken it within {PATIENCE:.0f} s: it is done when it can be"
    )


def _sentence(before: Subject, after: Subject, *, is_news: bool) -> str:
    judgement, job = after.judgement, after.row.name
    run = judgement.run.id[:8]
    if not is_news:
        return f"{job}: run {run} is accepted already: {safe(verdicts.sentence(judgement))}"
    parts = [f"{job}: run {run} is accepted, it was {judgement.was}"]
    if after.row.standing.incident is not None:
        again = f"outcomectl explain {shlex.quote(job)}"
        parts.append(f"the alert stays open, since later runs are bad: '{again}' says why")
    elif before.row.standing.incident is not None:
        parts.append("the alert is closed")
    if after.row.config is not None and median_reach(after.row.config):
        parts.append("its medians begin anew with this run")
    if after.running is not None:
        parts.append("the run under way is judged when it ends")
    return "; ".join(parts) + "."
