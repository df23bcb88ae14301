"""Weigh a run's result and its findings into one verdict. Pure.

Failed comes before silent-failure, that before unknown, and that before verified. What nobody
looked at is `unproven`, never good.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from msgspec.structs import replace

from outcomed import model
from outcomed.faults import printable
from outcomed.model import Finding, Held, Judgement, Klass, Record, Run, Usec, Verdict
from outcomed.quantities import say_duration
from outcomed.slots import Slot


class Weighed(Record, frozen=True):
    """A verdict, the word for machines and the sentence for people."""

    verdict: Verdict
    reason: str
    summary: str


# What systemd says of a start that it did not make, or made and found not needed.
_SKIPPED = frozenset({"condition", "exec-condition"})


def already_done_by_status(job: model.Job, run: Run) -> bool:
    """The exit status means that the work exists already."""
    return run.exit_code in (None, "exited") and any(
        way.exit_status is not None and way.exit_status == run.exit_status
        for way in job.already_done
    )


def may_be_already_done(run: Run) -> bool:
    """Only a process that ended of its own will can say that there was nothing to do."""
    return run.result in ("success", "exit-code") and run.command is None


def is_skip(run: Run) -> bool:
    return run.result in _SKIPPED


def result_finding(run: Run) -> Finding:
    """systemd's own verdict, as the first finding of every run."""
    held = Held.HELD if run.result == "success" else Held.BROKEN
    if run.result == "unseen":
        held = Held.UNKNOWN
    evidence: dict[str, model.Value] = {"result": run.result}
    if run.exit_status is not None:
        evidence["exit_status"] = run.exit_status
    return Finding("result", held, _result_sentence(run), evidence)


def weigh(
    job: model.Job,
    run: Run,
    findings: tuple[Finding, ...],
    *,
    already: bool,
    unheard: str = "",
    shut_down: bool = False,
) -> Weighed:
    """The verdict on a run that has ended. `findings` are the rules' that were looked at;
    `unheard` is why the run may have said what nobody heard; `shut_down`, that the host's own
    shutdown told it to end."""
    if is_skip(run):
        return Weighed(Verdict.SKIPPED, run.result or "condition", _result_sentence(run))
    if run.result == "unseen":
        return Weighed(Verdict.UNKNOWN, "journal", _SENTENCES["unseen"])
    if run.result == "lost":
        return Weighed(Verdict.INTERRUPTED, "lost", "the host went down while it ran")
    weighed = _weigh(job, run, findings, already, unheard)
    if shut_down and not (run.exit_code == "exited" and weighed.verdict.klass is Klass.GOOD):
        return Weighed(Verdict.INTERRUPTED, "shutdown", "the host was shut down while it ran")
    return weighed


def _weigh(
    job: model.Job, run: Run, findings: tuple[Finding, ...], already: bool, unheard: str
) -> Weighed:
    if already and may_be_already_done(run):
        return _weigh_proof(findings)
    if run.result != "success":
        return Weighed(Verdict.FAILED, run.result or "failed", _result_sentence(run))
    return _weigh_findings(job, run, findings, unheard)


def why_not_accepted(verdict: Verdict) -> str:
    """Only what is bad, or could not be seen, needs anybody's word."""
    if verdict in (Verdict.LATE, Verdict.OVERDUE):
        return f"it is {verdict} and under way: what came of it is seen when it has ended"
    if verdict.klass in (Klass.BAD, Klass.WARNING):
        return ""
    return f"it is {verdict}: there is nothing to accept"


def accepted(judgement: Judgement, because: str, by: str, at: Usec) -> Judgement:
    """A person's word on what was seen, which stays as it is."""
    return replace(
        judgement,
        verdict=Verdict.ACCEPTED,
        reason="by-hand",
        summary=because,
        witness="by-hand",
        at=at,
        by=by,
        was=judgement.verdict,
    )


def sentence(judgement: Judgement) -> str:
    """The summary, and whose word it is."""
    if judgement.was is None:
        return judgement.summary
    return f"{judgement.summary} (says {judgement.by}; it was {judgement.was})"


def _weigh_findings(
    job: model.Job, run: Run, findings: tuple[Finding, ...], unheard: str
) -> Weighed:
    broken = [finding for finding in findings if finding.state is Held.BROKEN]
    if broken and run.exit_status is None and _status_could_matter(job):
        return Weighed(
            Verdict.UNKNOWN,
            "exit-status",
            f"{broken[0].summary}; its exit status was not witnessed, it may have said that the "
            "work existed already",
        )
    if broken and unheard and any(way.journal is not None for way in job.already_done):
        return Weighed(
            Verdict.UNKNOWN,
            "output",
            f"{broken[0].summary}; it may have said that the work existed already: {unheard}",
        )
    if broken:
        return Weighed(Verdict.SILENT_FAILURE, _reason(broken[0]), _sentence(broken))
    unknown = [finding for finding in findings if finding.state is Held.UNKNOWN]
    if unknown:
        return Weighed(Verdict.UNKNOWN, _reason(unknown[0]), _sentence(unknown))
    if not findings:
        return Weighed(Verdict.UNPROVEN, "no-rule", "it exited well, no rule looked at its outcome")
    return Weighed(Verdict.VERIFIED, "held", _sentence(list(findings)))


def _weigh_proof(findings: tuple[Finding, ...]) -> Weighed:
    if not findings:
        return Weighed(
            Verdict.UNPROVEN,
            "already-done",
            "it said that the work exists already, and no rule proves it",
        )
    for state, verdict in (
        (Held.BROKEN, Verdict.SILENT_FAILURE),
        (Held.UNKNOWN, Verdict.UNKNOWN),
    ):
        found = [finding for finding in findings if finding.state is state]
        if found:
            return Weighed(
                verdict,
                _reason(found[0]),
                f"it said that the work exists already, but {_sentence(found)}",
            )
    return Weighed(
        Verdict.ALREADY_DONE,
        "proof-holds",
        f"the work existed already: {_sentence(list(findings))}",
    )


def _status_could_matter(job: model.Job) -> bool:
    return any(way.exit_status is not None for way in job.already_done)


def _reason(finding: Finding) -> str:
    """`outcome[0].artifact` is the place in the file; the kind is the reason."""
    return finding.rule.rpartition(".")[2]


def _sentence(findings: list[Finding]) -> str:
    """The first in words, the rest as a number: an alert has one line."""
    rest = len(findings) - 1
    return findings[0].summary + (f" (and {rest} more)" if rest else "")


def missed(timer: str, within: Usec, slot: Slot) -> str:
    """What a timer promised and nobody did."""
    who = f"{timer} promised a run" if timer else "a run was due"
    return f"{who}, and none began within {say_duration(within)}: {slot.because}"


def overdue(within: Usec, origin: str, steps: Sequence[str]) -> str:
    """A run that does not come to its end, and how far it has come."""
    reached = f"it has reached {printable(steps[-1])}" if steps else "it has reached no step"
    return f"still running after {say_duration(within)} ({origin}), {reached}"


def stale(within: Usec, origin: str, *, ever: bool) -> str:
    """Nothing good came of the job for too long."""
    what = "no good run" if ever else "not one good run"
    return f"{what} within {say_duration(within)} ({origin})"


_SENTENCES = {
    "success": "it exited well",
    "timeout": "it was killed at its time limit",
    "watchdog": "it missed its watchdog",
    "oom-kill": "the kernel's OOM killer ended it",
    "start-limit-hit": "started too often, systemd refused",
    "resources": "systemd had not the resources to start it",
    "protocol": "it did not keep to its service type's protocol",
    "dependency": "a unit that it depends on failed",
    "assert": "an assertion of its unit does not hold",
    "condition": "a condition of its unit does not hold",
    "exec-condition": "its ExecCondition= said no",
    "lost": "the host went down while it ran",
    "unseen": "nobody saw its end, and the journal has lost it",
}


def _result_sentence(run: Run) -> str:
    where = f"{printable(run.command)}= " if run.command else ""
    match run.result:
        case "exit-code":
            return f"{where}exited with {_status(run.exit_status)}"
        case "signal" | "core-dump":
            dumped = ", core dumped" if run.result == "core-dump" else ""
            return f"{where}was killed by {_signal(run.exit_status)}{dumped}"
        case None:
            return "its result is not known"
        case other:
            if other == "success" and run.exit_status:
                how = f"it exited with status {run.exit_status}"
                if run.exit_code != "exited":
                    how = f"it was killed by {_signal(run.exit_status)}"
                return f"{how}, which its unit counts as success"
            return _SENTENCES.get(other, f"systemd says {printable(other)}")


def how_a_check_ended(result: str, status: int, why: str) -> str:
    """What became of a check unit, from its Result= and its own word; nothing if it ended well."""
    match result:
        case "success" | "":
            return ""
        case "exit-code":
            return f"it exited with {_status(status)}" + (f": {why}" if why else "")
        case "signal" | "core-dump":
            return f"it was killed by {_signal(status)}"
        case other:
            return _SENTENCES.get(other, f"systemd says {other}")


def _status(status: int | None) -> str:
    return "an unknown status" if status is None else f"status {status}"


def _signal(number: int | None) -> str:
    try:
        return signal.Signals(number).name if number is not None else "a signal"
    except ValueError:
        return f"signal {number}"
