"""Who is told of what, and when: never twice of one incident, and always of its end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import alerts
from outcomed.alerts import Change, Standing
from outcomed.model import (
    Alerts,
    BootId,
    JobName,
    Judgement,
    Klass,
    Run,
    UnitName,
    Usec,
    Verdict,
    alert_id,
    run_id,
)

JOB = JobName("backup")


def judged(verdict: Verdict, number: int = 0, *, late: bool = False) -> Judgement:
    key = f"{number:032x}"
    return Judgement(
        run=Run(
            id=run_id(JOB, key),
            job=JOB,
            unit=UnitName("backup.service"),
            key=key,
            boot=BootId("b" * 32),
        ),
        verdict=verdict,
        reason="reason",
        summary="summary",
        witness="late" if late else "live",
        at=Usec(1_000 + number),
    )


def decide(
    *verdicts: Verdict, after: int = 1, standing: Standing | None = None
) -> tuple[Standing, list[Change]]:
    standing = standing or Standing()
    changes = []
    for number, verdict in enumerate(verdicts):
        change = alerts.decide(standing, judged(verdict, number), Alerts(after=after), "critical")
        standing = change.standing
        changes.append(change)
    return standing, changes


def said(*verdicts: Verdict, after: int = 1) -> list[str]:
    """What the sinks hear: F for firing, R for resolved, of the first, second, … incident."""
    _, changes = decide(*verdicts, after=after)
    known: list[str] = []
    words = []
    for change in changes:
        for state, incident in change.messages:
            if incident.id not in known:
                known.append(incident.id)
            words.append(f"{state[0].upper()}{known.index(incident.id) + 1}")
    return words


V, A, P = Verdict.VERIFIED, Verdict.ALREADY_DONE, Verdict.UNPROVEN
S, U, F, X = Verdict.SKIPPED, Verdict.UNKNOWN, Verdict.FAILED, Verdict.SILENT_FAILURE
M = Verdict.INTERRUPTED


@pytest.mark.parametrize(
    ("verdicts", "after", "expected"),
    [
        ((V, V), 1, []),
        ((F,), 1, ["F1"]),
        ((F, F, X, F), 1, ["F1"]),
        ((F, V, F), 1, ["F1", "R1", "F2"]),
        ((X, A), 1, ["F1", "R1"]),
        # unproven closes what failed, and never a silent failure
        ((F, P), 1, ["F1", "R1"]),
        ((M, P), 1, ["F1", "R1"]),
        ((X, P, P), 1, ["F1"]),
        ((F, X, P), 1, ["F1", "R1"]),
        ((P, P), 1, []),
        # skipped and a single unknown change nothing
        ((F, S, U, V), 1, ["F1", "R1"]),
        ((S, U, S), 1, []),
        ((U, V, U), 1, []),
        ((U, F, V, U), 1, ["F1", "R1"]),
        # the second unknown in a row is a warning
        ((U, U, U), 1, ["F1"]),
        ((U, S, U), 1, ["F1"]),
        ((U, U, V), 1, ["F1", "R1"]),
        ((U, U, P), 1, ["F1"]),
        ((F, U, U, U), 1, ["F1"]),
        # which is resolved before worse is told
        ((U, U, F, V), 1, ["F1", "R1", "F2", "R2"]),
        ((U, U, F, V), 2, ["F1", "R1"]),
        ((U, U, F, F, V), 2, ["F1", "R1", "F2", "R2"]),
        # so many in a row are asked for
        ((F, F), 3, []),
        ((F, F, V), 3, []),
        ((F, F, F, F), 3, ["F1"]),
        ((F, F, V, F, F, F, V), 3, ["F1", "R1"]),
        ((F, S, F), 2, ["F1"]),
        ((F, P, F), 2, []),
        # what began badly and cannot be seen any more is told
        ((F, U, U, V), 3, ["F1", "R1"]),
    ],
)
def test_the_sinks_hear(verdicts: tuple[Verdict, ...], after: int, expected: list[str]) -> None:
    assert said(*verdicts, after=after) == expected


def test_an_incident_is_known_by_the_run_that_opened_it() -> None:
    _, (change, _) = decide(F, F)
    assert change.opened is not None
    assert change.opened.id == alert_id(judged(F, 0).run.id)
    assert (change.opened.severity, change.opened.opened) == ("critical", 1_000)


def test_a_run_that_is_overdue_and_then_fails_is_one_bad_run() -> None:
    standing, told = Standing(), []
    for verdict, number in ((Verdict.OVERDUE, 1), (F, 1), (Verdict.OVERDUE, 2), (F, 2)):
        change = alerts.decide(standing, judged(verdict, number), Alerts(after=2), "critical")
        standing = change.standing
        told.append(change.tell)
    assert told == [None, None, "firing", None]
    assert standing.bad_in_a_row == 2


def test_late_changes_nothing() -> None:
    standing, changes = decide(Verdict.LATE, Verdict.LATE, Verdict.LATE)
    assert standing == Standing()
    assert all(change.messages == () for change in changes)


def test_an_unknown_is_never_more_than_a_warning() -> None:
    _, (_, change) = decide(U, U)
    assert change.opened is not None
    assert change.opened.severity == "warning"


def test_history_that_nobody_can_look_at_never_pages() -> None:
    standing = Standing()
    for number in range(5):
        late = judged(U, number, late=True)
        change = alerts.decide(standing, late, Alerts(), "critical")
        assert change == Change(standing)


def test_a_removed_job_takes_its_incident_with_it() -> None:
    standing, _ = decide(F)
    change = alerts.close(standing, Usec(9))
    assert [(state, one.closed) for state, one in change.messages] == [("resolved", 9)]
    assert change.tell == "resolved"
    assert alerts.close(Standing(), Usec(9)) == Change(Standing())


def test_what_was_never_told_is_closed_in_silence() -> None:
    standing, _ = decide(F, after=2)
    change = alerts.close(standing, Usec(9))
    assert change.closed is not None
    assert change.messages == ()


histories = st.lists(st.sampled_from(list(Verdict)), max_size=30)


@given(histories, st.integers(1, 5))
def test_every_resolved_answers_one_firing(history: list[Verdict], after: int) -> None:
    """And between two firings there is a resolved, whatever the incident."""
    _, changes = decide(*history, after=after)
    firing: str | None = None
    for change in changes:
        for state, incident in change.messages:
            if state == "firing":
                assert firing is None
                assert incident.told
                firing = incident.id
            else:
                assert firing == incident.id
                assert incident.closed is not None
                firing = None
    standing, _ = decide(*history, after=after)
    told = standing.incident is not None and standing.incident.told
    assert told == (firing is not None)


@given(histories)
def test_after_one_a_bad_verdict_is_always_under_an_alert(history: list[Verdict]) -> None:
    standing, _ = decide(*history)
    for number, verdict in enumerate(Verdict):
        change = alerts.decide(standing, judged(verdict, 99 + number), Alerts(), "warning")
        if verdict.klass is Klass.BAD:
            assert change.standing.incident is not None
            assert change.standing.incident.told
        if verdict.klass is Klass.GOOD:
            assert change.standing == Standing()


@given(histories, st.integers(2, 5))
def test_fewer_bad_verdicts_than_asked_for_tell_nobody(history: list[Verdict], after: int) -> None:
    bad = [verdict for verdict in history if verdict.klass is Klass.BAD]
    seen = [verdict for verdict in history if verdict.klass is not Klass.WARNING]
    if len(bad) < after:
        assert said(*seen, after=after) == []


@given(histories, st.integers(1, 5))
def test_an_incident_opens_and_closes_once(history: list[Verdict], after: int) -> None:
    _, changes = decide(*history, after=after)
    opened = [change.opened.id for change in changes if change.opened is not None]
    closed = [change.closed.id for change in changes if change.closed is not None]
    assert len(set(opened)) == len(opened)
    assert len(set(closed)) == len(closed)
    assert set(closed) <= set(opened)


# --- a person's word -------------------------------------------------------------------------


def accept(
    *verdicts: Verdict, which: int, after: int = 1, standing: Standing | None = None
) -> Change:
    """One of these runs is accepted, after all of them were judged."""
    before, _ = decide(*verdicts, after=after, standing=standing)
    later = [judged(verdict, number) for number, verdict in enumerate(verdicts)][which + 1 :]
    word = judged(Verdict.ACCEPTED, which)
    return alerts.accept(before, word, later, Alerts(after=after), "critical")


@pytest.mark.parametrize(
    ("verdicts", "which", "closes"),
    [
        ((X,), 0, True),
        ((F, X), 1, True),  # the newest is right: so is the job
        ((X, X), 0, False),  # a later one is bad, and nobody said anything of it
        ((X, U), 0, True),  # one that was not seen opens nothing
        ((U, U), 1, True),
        ((U, U), 0, True),  # one of them was seen by a person
        ((U, U, U), 0, False),
        ((X, S, P), 0, True),
        ((X, P, X), 0, False),
    ],
)
def test_accepting_closes_what_later_runs_did_not_open(
    verdicts: tuple[Verdict, ...], which: int, closes: bool
) -> None:
    before, _ = decide(*verdicts)
    assert before.incident is not None
    change = accept(*verdicts, which=which)
    assert (change.standing.incident is None) is closes
    if closes:
        assert [(state, one.id) for state, one in change.messages] == [
            ("resolved", before.incident.id)
        ]
    else:
        assert change == Change(before)


def test_accepting_where_nothing_is_open_tells_nobody() -> None:
    assert accept(X, V, which=0) == Change(Standing())
    assert accept(X, X, which=1, after=3).messages == ()


@given(histories.filter(bool), st.integers(1, 5), st.data())
def test_accepting_never_opens_and_is_as_if_the_run_had_been_good(
    history: list[Verdict], after: int, data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(history) - 1))
    before, _ = decide(*history, after=after)
    change = accept(*history, which=which, after=after)
    assert change.opened is None
    assert change.tell != "firing"
    history[which] = Verdict.ACCEPTED
    as_if, _ = decide(*history, after=after)
    if before.incident is not None:
        assert (change.standing.incident is None) is (as_if.incident is None)
    if change.closed is not None:
        assert change.closed.id == before.incident.id if before.incident else False


# --- the past --------------------------------------------------------------------------------


def caught_up(*verdicts: Verdict, after: int = 1, standing: Standing | None = None) -> list[str]:
    """What is told of verdicts that are all of the past: F1, R1, and (what was folded)."""
    standing, changes = past(*verdicts, after=after, standing=standing)
    words, known = [], list[str]()
    for change in changes:
        for state, incident in change.messages:
            if incident.id not in known:
                known.append(incident.id)
            words.append(f"{state[0].upper()}{known.index(incident.id) + 1}")
    if standing.folded is not None:
        words.append(" ".join(f"{times} {one}" for one, times in standing.folded.bad.items()))
    return words


def past(
    *verdicts: Verdict, after: int = 1, standing: Standing | None = None
) -> tuple[Standing, list[Change]]:
    """The last one knows that it is the last; what is open after it is revealed."""
    standing = standing or Standing()
    changes = []
    for number, verdict in enumerate(verdicts, 1):
        changes.append(
            alerts.decide(
                standing,
                judged(verdict, 50 + number),
                Alerts(after=after, to=("ops",)),
                "critical",
                more=number < len(verdicts),
            )
        )
        standing = changes[-1].standing
    if standing.tally is not None:
        changes.append(alerts.reveal(standing))
        standing = changes[-1].standing
    return standing, changes


OPEN, _ = decide(F)
WARNED, _ = decide(U, U)
COUNTING, _ = decide(F, after=2)


@pytest.mark.parametrize(
    ("verdicts", "after", "standing", "expected"),
    [
        # what began and ended in it is no message of its own
        ((F, V), 1, None, ["1 failed"]),
        ((F, X, F, V, V), 1, None, ["2 failed 1 silent-failure"]),
        ((F, V, X, V), 1, None, ["1 failed 1 silent-failure"]),
        ((U, U, V), 1, None, ["2 unknown"]),
        ((U, U, X, V), 1, None, ["2 unknown 1 silent-failure"]),
        ((F, F, V), 2, None, ["2 failed"]),
        ((F, U, S, V), 1, None, ["1 failed 1 unknown"]),
        # what was not to be told is not told together either
        ((F, V), 2, None, []),
        ((F, F), 3, None, []),
        ((V, S, U, V), 1, None, []),
        # what is open at the end is told, once
        ((V, F), 1, None, ["F1"]),
        ((F, F), 1, None, ["F1"]),
        ((F, S), 1, None, ["F1"]),
        ((F, U), 1, None, ["F1"]),
        ((F, F, F), 3, None, ["F1"]),
        ((U, U, S), 1, None, ["F1"]),
        ((U, U, F), 1, None, ["F1"]),
        ((U, U, F), 2, None, ["F1"]),
        # also beside what has ended
        ((F, V, X, S), 1, None, ["F1", "1 failed"]),
        ((F, V, X), 1, None, ["F1", "1 failed"]),
        # what was told before is ended as ever
        ((F, V), 1, OPEN, ["R1"]),
        ((V, F, V), 1, OPEN, ["R1", "1 failed"]),
        ((V, F), 1, OPEN, ["R1", "F2"]),
        ((S, F), 1, OPEN, []),
        ((F, V), 1, WARNED, ["R1", "F2", "R2"]),
        # and what `after` was counting before is no incident of the past
        ((F, V), 2, COUNTING, ["F1", "R1"]),
    ],
)
def test_of_the_past_the_sinks_hear(
    verdicts: tuple[Verdict, ...], after: int, standing: Standing | None, expected: list[str]
) -> None:
    assert caught_up(*verdicts, after=after, standing=standing) == expected


def test_what_is_held_back_is_seen_by_nobody_until_it_is_revealed() -> None:
    standing, changes = past(F, S)
    assert [change.quiet for change in changes] == [True, True, False]
    assert changes[0].opened is not None
    assert not changes[0].standing.is_alarm
    assert not changes[1].standing.is_alarm
    assert standing.is_alarm
    assert changes[2].opened == standing.incident
    assert standing.incident is not None
    assert standing.incident.id == changes[0].opened.id
    assert standing.incident.to == ("ops",)


def test_a_bad_last_run_shows_what_was_held_back() -> None:
    standing, (first, last) = past(F, X)
    assert first.quiet
    assert not last.quiet
    assert last.opened == standing.incident
    assert standing.is_alarm


def test_what_was_folded_says_since_when_and_who_would_have_heard() -> None:
    standing, changes = past(V, F, V, X, V)
    assert standing.folded is not None
    assert changes[1].opened is not None
    assert standing.folded.alert == changes[1].opened.id
    assert standing.folded.since == judged(F, 52).at
    assert standing.folded.to == ("ops",)


def test_what_nobody_could_look_at_is_not_counted() -> None:
    standing, _ = past(F, S)
    held = alerts.decide(Standing(), judged(F), Alerts(), "critical", more=True).standing
    late = alerts.decide(held, judged(U, 2, late=True), Alerts(), "critical", more=True)
    assert late.standing.tally == held.tally
    assert standing.tally is None


def test_a_folded_one_stays_folded_until_it_is_told() -> None:
    standing, _ = past(F, V)
    for verdict in Verdict:
        after, _ = decide(verdict, standing=standing)
        assert after.folded == standing.folded
    accepted = alerts.accept(decide(F, standing=standing)[0], judged(A, 9), [], Alerts(), "warning")
    assert accepted.standing == Standing(folded=standing.folded)
    assert [state for state, _ in accepted.messages] == ["resolved"]


def test_a_person_accepts_what_is_held_back() -> None:
    held = alerts.decide(Standing(), judged(F), Alerts(), "critical", more=True).standing
    change = alerts.accept(held, judged(A, 9), [], Alerts(), "critical")
    assert change.quiet
    assert change.messages == ()
    assert change.standing.folded == held.tally


@given(histories, histories, st.integers(1, 3))
def test_whoever_was_away_knows_in_the_end_what_he_would_have_known(
    before: list[Verdict], history: list[Verdict], after: int
) -> None:
    """The same alerts are open, under the same ids; and each that is not told by itself is told
    together, if it was to be told."""
    begin, _ = decide(*before, after=after)
    there = begin
    told_live: set[str] = set()
    became_worse: set[str] = set()  # and was told as what it became
    for number, verdict in enumerate(history, 1):
        change = alerts.decide(
            there, judged(verdict, 50 + number), Alerts(after=after, to=("ops",)), "critical"
        )
        there = change.standing
        told_live |= {incident.id for state, incident in change.messages if state == "firing"}
        if change.closed is not None and change.opened is not None:
            became_worse.add(change.closed.id)
    away, changes = past(*history, after=after, standing=begin)
    messages = [(s, one.id) for change in changes for s, one in change.messages]
    fired = {ident for state, ident in messages if state == "firing"}
    assert len(set(messages)) == len(messages)
    assert replace(away, folded=None) == there
    assert fired <= told_live
    assert (away.folded is not None) == bool(told_live - fired - became_worse)
    if away.folded is not None:
        assert away.folded.alert in told_live - fired
    # And each end that is told answers a beginning.
    known = {begin.incident.id} if begin.incident is not None and begin.incident.told else set()
    assert {ident for state, ident in messages if state == "resolved"} <= known | fired


@pytest.mark.parametrize("before", [(X,), (X, F), (U, U), (V, X, V, X)])
def test_what_the_hook_has_told_takes_the_place_of_what_is_held_back(
    before: tuple[Verdict, ...],
) -> None:
    """So that its one message is the incident's, and its end is told."""
    standing = Standing()
    for number, verdict in enumerate(before):
        change = alerts.decide(standing, judged(verdict, number), Alerts(), "critical", more=True)
        standing = change.standing
    held, told = standing.incident, judged(F, 9)
    assert held is not None
    change = alerts.told_by_hook(standing, told, Alerts(), "critical", more=True)
    assert [(state, one.id) for state, one in change.messages] == [
        ("firing", alert_id(told.run.id))
    ]
    assert change.closed == replace(held, closed=told.at)
    assert change.standing.is_alarm
    assert change.standing.folded == standing.folded
    good = alerts.decide(change.standing, judged(V, 10), Alerts(), "critical", more=True)
    assert [(state, one.id) for state, one in good.messages] == [
        ("resolved", alert_id(told.run.id))
    ]


@pytest.mark.parametrize("verdict", [V, A, U, S])
def test_what_the_hook_has_told_and_was_not_bad_changes_what_it_ever_does(verdict: Verdict) -> None:
    held = alerts.decide(Standing(), judged(X), Alerts(), "critical", more=True).standing
    for standing in (Standing(), held):
        told = alerts.told_by_hook(standing, judged(verdict, 9), Alerts(), "critical", more=True)
        assert told == alerts.decide(
            standing, judged(verdict, 9), Alerts(), "critical", more=standing is held
        )


def test_the_first_failure_is_told_as_the_hook_has_told_it() -> None:
    change = alerts.told_by_hook(Standing(), judged(F), Alerts(), "critical", more=True)
    assert change == alerts.decide(Standing(), judged(F), Alerts(), "critical")


# --- slots of the past, found when the runs are judged ---------------------------------------

N = Verdict.MISSED


def judged_at(verdict: Verdict, number: int, at: int) -> Judgement:
    one = judged(verdict, number)
    if verdict is N:
        return replace(one, run=replace(one.run, slot=Usec(at)), witness="replayed")
    return replace(one, run=replace(one.run, started=Usec(at)))


def found_late(
    *history: Verdict, after: int = 1, standing: Standing | None = None
) -> tuple[Standing, list[tuple[Judgement, Change]]]:
    """The runs of this history are judged first, as ever; then it is found what was missed."""
    ones = [judged_at(verdict, 50 + at, at) for at, verdict in enumerate(history, 1)]
    runs = [one for one in ones if one.verdict is not N]
    missed = [one for one in ones if one.verdict is N]
    begin = now = standing or Standing()
    policy = Alerts(after=after, to=("ops",))
    for number, one in enumerate(runs, 1):
        now = alerts.decide(now, one, policy, "critical", more=number < len(runs)).standing
    if now.tally is not None:
        now = alerts.reveal(now).standing
    first = 0 if begin.incident is not None else missed[0].run.slot or 0
    since = [one for one in runs if (one.run.started or 0) > first]
    found = alerts.found_late(now, begin.incident, missed, since, policy, "critical")
    return (found[-1][1].standing if found else now), found


@pytest.mark.parametrize(
    ("history", "after", "standing", "expected"),
    [
        # what a later run has made good is no message of its own, and stays on record
        ((N, V), 1, None, ["- 1", "1 missed"]),
        ((N, P), 1, None, ["- 1", "1 missed"]),
        ((V, N, V, V), 1, None, ["- 2", "1 missed"]),
        ((N, V, N, V), 1, None, ["- 1", "- 3", "2 missed"]),
        # of a timer that is dead, the first one until a run came
        ((N, N, N, V), 1, None, ["- 1", "1 missed"]),
        ((N, N, V, N, N), 1, None, ["- 1", "F 4", "1 missed"]),
        # together with what else went wrong
        ((F, N, V), 1, None, ["- 2", "1 failed 1 missed"]),
        ((N, F, V), 1, None, ["- 1", "1 failed 1 missed"]),
        # what stands is told, once
        ((N,), 1, None, ["F 1"]),
        ((N, N), 1, None, ["F 1"]),
        ((V, N), 1, None, ["F 2"]),
        ((N, S), 1, None, ["F 1"]),
        ((N, U), 1, None, ["F 1"]),
        # unless there is an alert already: of a run, or from before
        ((N, F), 1, None, ["- 1"]),
        ((F, N), 1, None, ["- 2"]),
        ((N,), 1, OPEN, ["- 1"]),
        ((N, V), 1, OPEN, ["- 1"]),
        ((N, N, F, N, N), 1, OPEN, ["- 1", "- 4"]),
        ((V, N, V), 1, OPEN, ["- 2", "1 missed"]),
        # and as many are counted as are asked for
        ((N, V), 2, None, ["- 1"]),
        ((N, N, V), 2, None, ["- 1", "- 2", "2 missed"]),
        ((N, F, V), 2, None, ["- 1", "1 missed"]),
        ((N, N), 2, None, ["- 1", "F 2"]),
        ((N, V), 2, COUNTING, ["- 1", "1 missed"]),
    ],
)
def test_of_slots_that_are_found_late_the_sinks_hear(
    history: tuple[Verdict, ...], after: int, standing: Standing | None, expected: list[str]
) -> None:
    after_all, found = found_late(*history, after=after, standing=standing)
    words = []
    for one, change in found:
        messages = [state for state, _ in change.messages]
        assert messages in ([], ["firing"])
        words.append(f"{'F' if messages else '-'} {one.run.slot}")
    if after_all.folded is not None:
        words.append(" ".join(f"{times} {one}" for one, times in after_all.folded.bad.items()))
    assert words == expected


def test_slots_of_two_timers_that_are_dead_are_one_alert() -> None:
    """The second is found in the turn of the first, of which the ledger knows nothing yet."""
    first, _ = found_late(N)
    second = judged_at(N, 77, 7)
    assert alerts.found_late(first, None, [second], [], Alerts(), "critical") == []


def test_a_slot_that_was_made_good_is_seen_by_nobody() -> None:
    standing, [(slot, change)] = found_late(N, V)
    assert change.quiet
    assert (change.opened, change.closed, change.messages) == (None, None, ())
    assert standing.incident is None
    assert standing.folded is not None
    assert (standing.folded.since, standing.folded.to) == (slot.run.slot, ("ops",))
    assert standing.folded.alert == alert_id(slot.run.id)


PAST = st.lists(st.sampled_from([V, P, S, F, N]), min_size=1, max_size=20).filter(lambda h: N in h)


@given(PAST)
def test_whenever_it_is_found_what_is_open_in_the_end_is_the_same(history: list[Verdict]) -> None:
    """As if somebody had been there when the slots passed."""
    there = Standing()
    for at, verdict in enumerate(history, 1):
        there = alerts.decide(there, judged_at(verdict, 50 + at, at), Alerts(), "critical").standing
    away, found = found_late(*history)
    assert (away.incident is None) is (there.incident is None)
    assert away.is_alarm is there.is_alarm
    told = [state for _, change in found for state, _ in change.messages]
    assert told in ([], ["firing"])
    ids = [one.run.id for one, _ in found]
    assert len(set(ids)) == len(ids)
