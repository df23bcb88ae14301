"""Which verdict a result and its findings make, and in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import verdicts
from outcomed.model import (
    MINUTE,
    AlreadyDone,
    BootId,
    Finding,
    Held,
    Job,
    JobName,
    Judgement,
    Klass,
    Run,
    RunId,
    UnitName,
    Usec,
    Verdict,
)
from outcomed.slots import Slot

PLAIN = Job(JobName("x"), UnitName("x.service"))
BY_STATUS = Job(
    JobName("x"),
    UnitName("x.service"),
    already_done=(AlreadyDone(journal="exists"), AlreadyDone(exit_status=17)),
)


def run(
    result: str | None = "success",
    code: str | None = "exited",
    status: int | None = 0,
    command: str | None = None,
) -> Run:
    return Run(
        id=RunId("r" * 32),
        job=JobName("x"),
        unit=UnitName("x.service"),
        key="k",
        boot=BootId("b"),
        result=result,
        exit_code=code,
        exit_status=status,
        command=command,
    )


def finding(state: Held, kind: str = "artifact", index: int = 0) -> Finding:
    return Finding(f"outcome[{index}].{kind}", state, f"{kind} {state}")


HELD, BROKEN, UNKNOWN = finding(Held.HELD), finding(Held.BROKEN), finding(Held.UNKNOWN)


@pytest.mark.parametrize(
    ("job", "ended", "findings", "already", "verdict", "reason"),
    [
        (PLAIN, run(), (), False, Verdict.UNPROVEN, "no-rule"),
        (PLAIN, run(), (HELD,), False, Verdict.VERIFIED, "held"),
        (PLAIN, run(), (HELD, UNKNOWN), False, Verdict.UNKNOWN, "artifact"),
        (PLAIN, run(), (UNKNOWN, BROKEN), False, Verdict.SILENT_FAILURE, "artifact"),
        (PLAIN, run("exit-code", status=1), (), False, Verdict.FAILED, "exit-code"),
        (PLAIN, run("exit-code", status=1), (HELD,), False, Verdict.FAILED, "exit-code"),
        (PLAIN, run("timeout", "killed", 15), (), False, Verdict.FAILED, "timeout"),
        (PLAIN, run("dependency", None, None), (), False, Verdict.FAILED, "dependency"),
        (PLAIN, run("start-limit-hit", None, None), (), False, Verdict.FAILED, "start-limit-hit"),
        (PLAIN, run(None, None, None), (), False, Verdict.FAILED, "failed"),
        (PLAIN, run("condition", None, None), (), False, Verdict.SKIPPED, "condition"),
        (PLAIN, run("exec-condition", None, None), (), True, Verdict.SKIPPED, "exec-condition"),
        (PLAIN, run("lost", None, None), (), True, Verdict.INTERRUPTED, "lost"),
        # already done, by the journal or by a status
        (PLAIN, run(), (HELD,), True, Verdict.ALREADY_DONE, "proof-holds"),
        (PLAIN, run("exit-code", status=17), (HELD,), True, Verdict.ALREADY_DONE, "proof-holds"),
        (PLAIN, run(), (HELD, BROKEN, UNKNOWN), True, Verdict.SILENT_FAILURE, "artifact"),
        (PLAIN, run(), (HELD, UNKNOWN), True, Verdict.UNKNOWN, "artifact"),
        (PLAIN, run(), (), True, Verdict.UNPROVEN, "already-done"),
        # said, and then it failed otherwise
        (PLAIN, run("signal", "killed", 9), (HELD,), True, Verdict.FAILED, "signal"),
        (PLAIN, run("timeout", "killed", 15), (HELD,), True, Verdict.FAILED, "timeout"),
        (
            *(PLAIN, run("exit-code", "exited", 17, "ExecStopPost"), (HELD,), True),
            *(Verdict.FAILED, "exit-code"),
        ),
        # a status that nobody witnessed could have meant it
        (BY_STATUS, run(status=None), (BROKEN,), False, Verdict.UNKNOWN, "exit-status"),
        (BY_STATUS, run(status=None), (HELD,), False, Verdict.VERIFIED, "held"),
        (BY_STATUS, run(status=None), (), False, Verdict.UNPROVEN, "no-rule"),
        (BY_STATUS, run(status=0), (BROKEN,), False, Verdict.SILENT_FAILURE, "artifact"),
        (PLAIN, run(status=None), (BROKEN,), False, Verdict.SILENT_FAILURE, "artifact"),
    ],
)
def test_a_result_and_its_findings_make_a_verdict(
    job: Job,
    ended: Run,
    findings: tuple[Finding, ...],
    already: bool,
    verdict: Verdict,
    reason: str,
) -> None:
    weighed = verdicts.weigh(job, ended, findings, already=already)
    assert (weighed.verdict, weighed.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("ended", "findings", "already", "verdict"),
    [
        (run("signal", "killed", 15), (), False, Verdict.INTERRUPTED),
        (run("exit-code", status=1), (), False, Verdict.INTERRUPTED),
        (run("timeout", "killed", 9), (), False, Verdict.INTERRUPTED),
        # of Type=simple, and killed by SIGTERM: systemd counts that as success
        (run("success", "killed", 15), (HELD,), False, Verdict.INTERRUPTED),
        # it may have been killed, nobody saw it
        (run("success", None, None), (HELD,), False, Verdict.INTERRUPTED),
        (run(), (), False, Verdict.INTERRUPTED),
        (run(), (HELD, BROKEN), False, Verdict.INTERRUPTED),
        (run(), (HELD, UNKNOWN), False, Verdict.INTERRUPTED),
        # told to end, it brought its work to an end
        (run(), (HELD,), False, Verdict.VERIFIED),
        (run(), (HELD,), True, Verdict.ALREADY_DONE),
        (run("exec-condition", None, None), (), False, Verdict.SKIPPED),
    ],
)
def test_what_a_shutdown_ends_is_interrupted_unless_all_of_it_is_there(
    ended: Run, findings: tuple[Finding, ...], already: bool, verdict: Verdict
) -> None:
    weighed = verdicts.weigh(PLAIN, ended, findings, already=already, shut_down=True)
    assert weighed.verdict is verdict
    if verdict is Verdict.INTERRUPTED:
        assert weighed.reason == "shutdown"
        assert weighed.summary == "the host was shut down while it ran"


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (run("exit-code", "exited", 17), True),
        (run("success", "exited", 17), True),
        (run("exit-code", None, 17), True),
        (run("success", "exited", 0), False),
        (run("success", None, None), False),
        (run("signal", "killed", 17), False),
    ],
)
def test_a_status_says_that_the_work_exists_only_if_the_process_chose_it(
    ended: Run, expected: bool
) -> None:
    assert verdicts.already_done_by_status(BY_STATUS, ended) is expected
    assert not verdicts.already_done_by_status(PLAIN, ended)


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        (run(), "it exited well"),
        (run(status=None), "it exited well"),
        (run(status=17), "it exited with status 17, which its unit counts as success"),
        (
            run("success", "killed", 15),
            "it was killed by SIGTERM, which its unit counts as success",
        ),
        (run("exit-code", status=3), "exited with status 3"),
        (run("exit-code", None, None), "exited with an unknown status"),
        (run("exit-code", status=4, command="ExecStartPre"), "ExecStartPre= exited with status 4"),
        (run("signal", "killed", 9), "was killed by SIGKILL"),
        (run("signal", "killed", None), "was killed by a signal"),
        (run("signal", "killed", 99), "was killed by signal 99"),
        (run("core-dump", "dumped", 11), "was killed by SIGSEGV, core dumped"),
        (run("timeout", "killed", 15), "it was killed at its time limit"),
        (run("dependency", None, None), "a unit that it depends on failed"),
        (run("lost", None, None), "the host went down while it ran"),
        (run("something-new", None, None), "systemd says something-new"),
        (run(None, None, None), "its result is not known"),
    ],
)
def test_a_result_is_said_in_one_sentence(ended: Run, sentence: str) -> None:
    found = verdicts.result_finding(ended)
    assert found.summary == sentence
    assert found.state is (Held.HELD if ended.result == "success" else Held.BROKEN)
    assert found.evidence.get("exit_status") == ended.exit_status


def test_the_first_finding_is_said_and_the_others_are_counted() -> None:
    findings = (HELD, BROKEN, UNKNOWN, finding(Held.BROKEN, "journal", 3))
    weighed = verdicts.weigh(PLAIN, run(), findings, already=False)
    assert weighed.summary == "artifact broken (and 1 more)"


RESULTS = [
    *("success", "exit-code", "signal", "core-dump", "timeout", "watchdog", "oom-kill"),
    *("start-limit-hit", "resources", "protocol", "dependency", "assert", "condition"),
    *("exec-condition", "lost", "failed", None),
]
runs = st.builds(
    run,
    st.sampled_from(RESULTS),
    st.sampled_from(["exited", "killed", "dumped", None]),
    st.sampled_from([0, 1, 17, 255, 99, None]),
    st.sampled_from([None, "ExecStartPre", "ExecStopPost"]),
)
findings_lists = st.lists(
    st.builds(
        finding,
        st.sampled_from(list(Held)),
        st.sampled_from(["artifact", "report", "journal", "duration"]),
    ),
    max_size=5,
).map(tuple)


@given(st.sampled_from([PLAIN, BY_STATUS]), runs, findings_lists, st.booleans())
def test_failed_comes_before_silent_failure_before_unknown_before_verified(
    job: Job, ended: Run, findings: tuple[Finding, ...], already: bool
) -> None:
    weighed = verdicts.weigh(job, ended, findings, already=already)
    states = {one.state for one in findings}
    proof = already and verdicts.may_be_already_done(ended)
    match weighed.verdict:
        case Verdict.VERIFIED:
            assert (ended.result, states) == ("success", {Held.HELD})
        case Verdict.ALREADY_DONE:
            assert proof
            assert states == {Held.HELD}
        case Verdict.UNPROVEN:
            assert not findings
        case Verdict.UNKNOWN:
            assert Held.UNKNOWN in states or weighed.reason == "exit-status"
        case Verdict.SILENT_FAILURE:
            assert Held.BROKEN in states
            assert ended.result == "success" or proof
        case Verdict.FAILED:
            assert ended.result != "success"
            assert not proof
        case Verdict.SKIPPED:
            assert ended.result in ("condition", "exec-condition")
        case Verdict.INTERRUPTED:
            assert ended.result == "lost"
        case _:
            pytest.fail(f"a run is never {weighed.verdict}")
    assert weighed.reason
    assert weighed.summary
    assert "None" not in weighed.summary
    assert not weighed.summary.endswith(".")


def test_broken_rule_is_unknown_where_the_word_for_already_done_may_not_have_been_heard() -> None:
    heard = verdicts.weigh(BY_STATUS, run(), (BROKEN,), already=False)
    assert heard.verdict is Verdict.SILENT_FAILURE
    unheard = verdicts.weigh(BY_STATUS, run(), (BROKEN,), already=False, unheard="lines were lost")
    assert (unheard.verdict, unheard.reason) == (Verdict.UNKNOWN, "output")
    assert "lines were lost" in unheard.summary
    plain = verdicts.weigh(PLAIN, run(), (BROKEN,), already=False, unheard="lines were lost")
    assert plain.verdict is Verdict.SILENT_FAILURE


# --- a person's word -------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [Verdict.LATE, Verdict.OVERDUE])
def test_a_run_that_is_under_way_cannot_be_accepted_yet(verdict: Verdict) -> None:
    assert verdicts.why_not_accepted(verdict) == (
        f"it is {verdict} and under way: what came of it is seen when it has ended"
    )


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.LATE, Verdict.OVERDUE}))
def test_only_what_is_bad_or_was_not_seen_can_be_accepted(verdict: Verdict) -> None:
    why = verdicts.why_not_accepted(verdict)
    assert (why == "") is (verdict.klass in (Klass.BAD, Klass.WARNING))
    assert not why or why == f"it is {verdict}: there is nothing to accept"


def test_a_persons_word_leaves_what_was_seen_as_it_is() -> None:
    seen = Judgement(
        run=run(),
        verdict=Verdict.SILENT_FAILURE,
        reason="artifact",
        summary="47.0K, expected at least 500.0M",
        findings=(BROKEN,),
        steps=("dump",),
        report={"rows": 0},
        rules_hash="h",
        at=Usec(1),
    )
    word = verdicts.accepted(seen, "the shop was emptied", "alice", Usec(9))
    assert (word.verdict, word.reason, word.summary) == (
        Verdict.ACCEPTED,
        "by-hand",
        "the shop was emptied",
    )
    assert (word.by, word.was, word.at, word.witness) == (
        "alice",
        Verdict.SILENT_FAILURE,
        9,
        "by-hand",
    )
    kept = ("run", "findings", "steps", "report", "rules_hash")
    assert all(getattr(word, name) == getattr(seen, name) for name in kept)
    assert verdicts.sentence(seen) == seen.summary
    assert verdicts.sentence(word) == "the shop was emptied (says alice; it was silent-failure)"


def test_no_word_of_systemds_moves_a_terminal_s_cursor() -> None:
    for one in (run("\x1b[2J"), run("exit-code", command="\x1b")):
        assert verdicts.result_finding(one).summary.isprintable()


@pytest.mark.parametrize(
    ("result", "status", "why", "sentence"),
    [
        ("success", 0, "", ""),
        ("", 0, "", ""),
        (
            "exit-code",
            3,
            "No space left on device",
            "it exited with status 3: No space left on device",
        ),
        ("exit-code", 1, "", "it exited with status 1"),
        ("signal", 9, "", "it was killed by SIGKILL"),
        ("timeout", 15, "", "it was killed at its time limit"),
        ("oom-kill", 9, "", "the kernel's OOM killer ended it"),
        ("mystery", 0, "", "systemd says mystery"),
    ],
)
def test_a_check_that_gave_no_answer_ended_somehow(
    result: str, status: int, why: str, sentence: str
) -> None:
    assert verdicts.how_a_check_ended(result, status, why) == sentence


def test_what_did_not_happen_is_told_in_words() -> None:
    slot = Slot(UnitName("a.timer"), Usec(5), "missed", because="a.timer is masked")
    assert verdicts.missed("a.timer", Usec(10 * MINUTE), slot) == (
        "a.timer promised a run, and none began within 10 min: a.timer is masked"
    )
    slot = replace(slot, because="it is to run every 1 d")
    assert verdicts.missed("", Usec(10 * MINUTE), slot) == (
        "a run was due, and none began within 10 min: it is to run every 1 d"
    )
    hour = Usec(60 * MINUTE)
    assert verdicts.overdue(hour, "finish_within", ["dump", "up\nload"]) == (
        "still running after 1 h (finish_within), it has reached up\\nload"
    )
    assert verdicts.overdue(hour, "default", []).endswith("it has reached no step")
    assert verdicts.stale(hour, "default", ever=True) == "no good run within 1 h (default)"
    assert verdicts.stale(hour, "default", ever=False) == "not one good run within 1 h (default)"


def test_a_run_whose_end_nobody_saw_is_unknown() -> None:
    unseen = run(result="unseen", code=None, status=None)
    weighed = verdicts.weigh(PLAIN, unseen, (), already=False)
    assert (weighed.verdict, weighed.reason) == (Verdict.UNKNOWN, "journal")
    assert weighed.summary == "nobody saw its end, and the journal has lost it"
    assert verdicts.result_finding(unseen).state is Held.UNKNOWN
