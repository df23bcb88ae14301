"""Runs, as recorded observations of real units say them: by the bus, the journal, or both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import tracker
from outcomed.model import BootId, InvocationId, JobName, Run, UnitName, Usec, run_id
from outcomed.tracker import Attempt, Open, Phase, Seen, Told, Track, What

RECORDINGS = Path(__file__).parents[1] / "recordings" / "systemd-257.txt"
BOOT = BootId("b" * 32)
LATER_BOOT = BootId("c" * 32)
JOB = JobName("x")
UNIT = UnitName("x.service")
EPOCH = 1_800_000_000_000_000  # what the wall clock showed at the monotonic clock's 0
EMPTY = Track(job=JOB, unit=UNIT)

Observation = Seen | Told


def invocation(letter: str) -> InvocationId:
    return InvocationId("" if letter == "-" else letter.lower() * 32)


def wall(mono: int) -> Usec:
    return Usec(EPOCH + mono if mono else 0)


def seen(
    letter: str = "A",
    active: str = "activating",
    sub: str = "start",
    *,
    job: bool = False,
    result: str = "success",
    code: int = 0,
    status: int = 0,
    left: int = 100,
    up: int = 0,
    idle: int = 0,
    trigger: str = "",
    trigger_at: int = 0,
    restarts: int = 0,
    boot: BootId = BOOT,
) -> Seen:
    return Seen(
        unit=UNIT,
        boot=boot,
        invocation=invocation(letter),
        active=active,
        sub=sub,
        has_job=job,
        result=result,
        code=code,
        status=status,
        restarts=restarts,
        left_idle=wall(left),
        left_idle_mono=Usec(left),
        became_active=wall(up),
        became_active_mono=Usec(up),
        became_idle=wall(idle),
        became_idle_mono=Usec(idle),
        trigger=trigger,
        trigger_at=wall(trigger_at),
    )


def told(
    what: What,
    letter: str = "A",
    mono: int = 100,
    *,
    job_id: str = "",
    result: str = "",
    message: str = "",
    code: str = "",
    status: str = "",
    command: str = "",
    boot: BootId = BOOT,
) -> Told:
    return Told(
        what=what,
        unit=UNIT,
        boot=boot,
        at=wall(mono),
        mono=Usec(mono),
        invocation=invocation(letter) or None,
        job_id=job_id,
        result=result,
        message=message,
        code=code,
        status=status,
        command=command,
    )


# --- recordings ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """What the bus and the journal said of one unit, each in its own order."""

    bus: tuple[Seen, ...]
    journal: tuple[Told, ...]


def read_recordings() -> dict[str, Recording]:
    found: dict[str, tuple[list[Seen], list[Told]]] = {}
    bus: list[Seen] = []
    journal: list[Told] = []
    for line in RECORDINGS.read_text().splitlines():
        if line.startswith("=="):
            bus, journal = found.setdefault(line.removeprefix("== "), ([], []))
        elif line.startswith("bus "):
            bus.append(_read_seen(line.split()[1:]))
        elif line.startswith("log "):
            facts, _, message = line.partition(" | ")
            journal.append(_read_told(facts.split()[1:], message))
    return {name: Recording(tuple(bus), tuple(journal)) for name, (bus, journal) in found.items()}


def _read_seen(words: Sequence[str]) -> Seen:
    letter, active, sub, job, result, *numbers = words
    code, status, left, up, idle = (int(number) for number in numbers[:5])
    trigger, at = numbers[5:] if len(numbers) > 5 else ("", "0")
    return seen(
        letter,
        active,
        sub,
        job=job == "job",
        result=result,
        code=code,
        status=status,
        left=left,
        up=up,
        idle=idle,
        trigger=trigger,
        trigger_at=int(at),
    )


def _read_told(words: Sequence[str], message: str) -> Told:
    mono, letter, *rest = words
    job_id, what, result, code, status, command = ("" if word == "-" else word for word in rest)
    return told(
        What(what.replace("-", " ")),
        letter,
        int(mono),
        job_id=job_id,
        result=result,
        message=message,
        code=code,
        status=status,
        command=command,
    )


RECORDED = read_recordings()


def fold(observations: Iterable[Observation], track: Track = EMPTY) -> Track:
    for one in observations:
        track = tracker.see(track, one) if isinstance(one, Seen) else tracker.hear(track, one)
    return track


def runs(track: Track) -> list[Run]:
    return [tracker.as_run(track, run) for run in track.runs]


@dataclass(frozen=True)
class Ends:
    """What is expected of one run: A, B is its first invocation, - one that was refused."""

    first: str
    result: str | None
    code: str | None = None
    status: int | None = None
    command: str | None = None
    attempts: int = 1
    trigger: str = "none"


def ends(run: Run) -> Ends:
    return Ends(
        run.invocation[0].upper() if run.invocation else "-",
        run.result,
        run.exit_code,
        run.exit_status,
        run.command,
        run.attempts,
        run.trigger,
    )


WELL = Ends("A", "success", "exited", 0)
FAILED = Ends("A", "exit-code", "exited", 1)


def refused(result: str) -> Ends:
    return Ends("-", result, trigger="unknown")


# Every case of how a run ends, by the bus and the journal together.
EXPECTED = {
    "success": [WELL],
    "success-timer": [WELL, Ends("B", "success", "exited", 0)],
    "failure": [Ends("A", "exit-code", "exited", 3), Ends("B", "exit-code", "exited", 3)],
    "success17": [Ends("A", "success", "exited", 17)],
    "dash": [Ends("A", "success", "exited", 5)],
    "pre-fails": [Ends("A", "exit-code", "exited", 4, "ExecStartPre")],
    "stoppost-fails": [Ends("A", "exit-code", "exited", 6, "ExecStopPost")],
    "main-and-stoppost-fail": [Ends("A", "exit-code", "exited", 3)],
    "success17-stoppost-fails": [Ends("A", "exit-code", "exited", 6, "ExecStopPost")],
    "pre-and-stoppost-fail": [Ends("A", "exit-code", "exited", 4, "ExecStartPre")],
    "two-starts": [Ends("A", "exit-code", "exited", 2)],
    "condition": [refused("condition")],
    "condition-after-run": [WELL, refused("condition")],
    "condition-after-failure": [FAILED, refused("condition")],
    "assert": [refused("assert")],
    "assert-after-run": [WELL, refused("assert")],
    "dependency": [refused("dependency")],
    "dependency-after-run": [WELL, refused("dependency")],
    "exec-condition": [Ends("A", "exec-condition")],
    "exec-condition-255": [Ends("A", "exit-code", "exited", 255, "ExecCondition")],
    "start-limit": [WELL, Ends("B", "success", "exited", 0), refused("start-limit-hit")],
    "stopped": [Ends("A", "signal", "killed", 15)],
    "stopped-well": [WELL],
    "killed": [Ends("A", "signal", "killed", 9)],
    "dumped": [Ends("A", "signal", "killed", 3)],
    "timeout": [Ends("A", "timeout", "killed", 15)],
    "remain": [WELL],
    "remain-stop-fails": [WELL],
    "simple": [WELL],
    "exec": [WELL],
    "simple-fails": [Ends("A", "exit-code", "exited", 3)],
    "simple-stopped": [Ends("A", "success", "killed", 15)],
    "notify": [WELL],
    "level-notice": [WELL],
    "level-notice-fails": [FAILED],
    "level-err-fails": [FAILED],
    "reset-failed": [FAILED],
    "restart-job": [Ends("A", "signal", "killed", 15), Ends("B", "success", "exited", 0)],
    "no-exec": [Ends("A", "exit-code", "exited", 203)],
    "restart-then-well": [Ends("A", "success", "exited", 0, attempts=2)],
    "restart-until-limit": [Ends("A", "exit-code", "exited", 1, attempts=2)],
    "restart-direct": [Ends("A", "exit-code", "exited", 1, attempts=2)],
    "restart-stopped-in-between": [FAILED],
    "restart-started-in-between": [Ends("A", "success", "exited", 0, attempts=2)],
    "simple-restart": [Ends("A", "success", "exited", 0, attempts=2)],
    "by-timer": [Ends("A", "success", "exited", 0, trigger="r-by-timer.timer")],
    "reload-fails": [WELL],
}

# What only the other source would have said.
BUS_ALONE = {
    "pre-fails": [Ends("A", "exit-code")],
    "stoppost-fails": [Ends("A", "exit-code", "exited", 0)],
    "success17-stoppost-fails": [Ends("A", "exit-code", "exited", 17)],
    "pre-and-stoppost-fail": [Ends("A", "exit-code")],
    "exec-condition-255": [Ends("A", "exit-code")],
}
JOURNAL_ALONE = {
    "level-notice": [],
    "level-err-fails": [Ends("A", "failed", trigger="unknown")],
}


def by_journal_alone(one: Ends) -> Ends:
    """A good end's exit status is nowhere in the journal, and never what triggered a start."""
    if one.result == "success":
        return Ends(one.first, "success", attempts=one.attempts, trigger="unknown")
    return Ends(
        one.first, one.result, one.code, one.status, one.command, one.attempts, trigger="unknown"
    )


def test_every_recording_has_an_expectation() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", RECORDED)
def test_bus_and_journal_say_the_same_in_either_order(name: str) -> None:
    bus, journal = RECORDED[name].bus, RECORDED[name].journal
    one, other = fold((*bus, *journal)), fold((*journal, *bus))
    assert [ends(run) for run in runs(one)] == EXPECTED[name]
    assert runs(one) == runs(other)
    assert all(run.ended for run in one.runs)


@pytest.mark.parametrize("name", RECORDED)
def test_the_journal_alone_says_how_it_ended(name: str) -> None:
    track = fold(RECORDED[name].journal)
    expected = JOURNAL_ALONE.get(name, [by_journal_alone(one) for one in EXPECTED[name]])
    assert [ends(run) for run in runs(track)] == expected
    assert all(run.ended for run in track.runs)


@pytest.mark.parametrize("name", RECORDED)
def test_the_bus_alone_says_how_it_ended(name: str) -> None:
    track = fold(RECORDED[name].bus)
    expected = BUS_ALONE.get(name, [one for one in EXPECTED[name] if one.first != "-"])
    assert [ends(run) for run in runs(track)] == expected
    assert all(run.ended for run in track.runs)


@pytest.mark.parametrize("name", RECORDED)
def test_a_daemon_that_started_just_before_sees_the_same_run(name: str) -> None:
    """It has no memory of earlier starts, and the unit still shows the last run's times."""
    for run in EXPECTED[name]:
        if run.first != "-" and run.attempts == 1:
            bus = [one for one in RECORDED[name].bus if one.invocation == invocation(run.first)]
            (alone,) = runs(fold(bus))
            assert alone in runs(fold(RECORDED[name].bus))


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[str, list[Observation]]:
    """Both sources, each in its order, with repetitions: a question asked again, a replay."""
    name = draw(st.sampled_from(sorted(RECORDED)))
    bus, journal = list(RECORDED[name].bus), list(RECORDED[name].journal)
    order = draw(st.permutations([True] * len(bus) + [False] * len(journal)))
    sources = {True: iter(bus), False: iter(journal)}
    heard = 0
    mixed: list[Observation] = []
    for from_bus in order:
        one = next(sources[from_bus])
        mixed.append(one)
        heard += not from_bus
        match draw(st.integers(0, 7)):
            case 0:
                mixed.append(one)
            case 1:
                mixed += journal[:heard]
    return name, mixed


@given(interleaved())
def test_no_interleaving_or_repetition_changes_a_run(case: tuple[str, list[Observation]]) -> None:
    name, mixed = case
    recording = RECORDED[name]
    expected = {run.key: run for run in runs(fold((*recording.bus, *recording.journal)))}
    assert {run.key: run for run in runs(fold(mixed))} == expected


@given(interleaved())
def test_a_replay_changes_nothing(case: tuple[str, list[Observation]]) -> None:
    name, mixed = case
    track = fold(mixed)
    assert fold(RECORDED[name].journal, track) == track
    assert fold(RECORDED[name].bus[-1:], track) == track


def as_the_ledger_has_it(track: Track) -> Track:
    """A daemon that was killed here, and is there again."""
    begun = EMPTY
    for run in track.runs:
        ids = [one.invocation for one in run.attempts if one.invocation is not None]
        if ids:  # a refused start is over as soon as it is known, and is found again
            begun = tracker.resume(begun, tracker.as_run(track, run), ids)
    return begun


def known(run: Run) -> tuple[str, int, str | None]:
    return run.key, run.attempts, run.result


# A question may come when systemd itself does not know any more; or only the journal knows that
# an attempt came before.
ONE_ATTEMPT = [
    name for name in RECORDED if "restart-" not in name and not name.startswith(("reset", "remain"))
]


@pytest.mark.parametrize("name", [one for one in ONE_ATTEMPT if one != "simple-restart"])
def test_signals_from_before_a_question_change_nothing_of_its_answer(name: str) -> None:
    """Whoever connects listens first and asks then: older signals come after the answer."""
    bus, journal = RECORDED[name].bus, RECORDED[name].journal
    expected = sorted(map(known, runs(fold((*bus, *journal)))))
    for asked in range(len(bus)):
        for oldest in range(asked + 1):
            track = fold(bus[oldest:], tracker.see(EMPTY, bus[asked], asked=True))
            assert sorted(map(known, runs(fold(journal, track)))) == expected, (asked, oldest)


def _told_by_then(
    recording: Recording, mixed: Sequence[Observation], shown: Sequence[Seen]
) -> Iterable[Told]:
    """What a daemon reads before it asks: journald was synchronized, so the bus is not ahead."""
    until = max((recording.journal.index(one) for one in mixed if isinstance(one, Told)), default=0)
    for number, one in enumerate(recording.journal):
        if shown and one.invocation == shown[0].invocation:
            until = max(until, number)
            break
    return recording.journal[: until + 1]


@settings(deadline=None)
@given(interleaved(), st.data())
def test_a_daemon_that_is_killed_at_any_moments_finds_the_same_runs(
    case: tuple[str, list[Observation]], data: st.DataObject
) -> None:
    """It reads the journal again from the start of what the ledger has open, and asks systemd."""
    name, mixed = case
    recording = RECORDED[name]
    track = EMPTY
    for number, one in enumerate(mixed, 1):
        track = fold([one], track)
        if data.draw(st.integers(0, 3)) == 0:
            track = as_the_ledger_has_it(track)
            seen_last = [each for each in mixed[:number] if isinstance(each, Seen)][-1:]
            track = fold(_told_by_then(recording, mixed[:number], seen_last), track)
            for shown in seen_last:
                track = tracker.see(track, shown, asked=True)
    track = fold(recording.journal, track)

    expected = fold((*recording.bus, *recording.journal))
    assert sorted(map(known, runs(track))) == sorted(map(known, runs(expected)))
    assert all(run.ended for run in track.runs)


@given(interleaved())
def test_what_was_judged_is_not_judged_again(case: tuple[str, list[Observation]]) -> None:
    """As the engine folds: what carries a judged run's id is old news, unless it outlives it."""
    name, mixed = case
    track = fold(mixed)
    judged = {one.invocation for run in track.runs for one in run.attempts}
    keys = {run.key for run in track.runs}
    for run in track.runs:
        track = track.without(run.key)
    for one in (*RECORDED[name].bus, *RECORDED[name].journal):
        if one.invocation in judged and (
            isinstance(one, Seen) or not tracker.outlives_its_run(one)
        ):
            continue
        track = fold([one], track)
    assert {run.key for run in track.runs} <= keys


# --- one thing at a time ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "sub", "expected"),
    [
        ("inactive", "dead", Phase.ENDED),
        ("failed", "failed", Phase.ENDED),
        ("active", "exited", Phase.ENDED),
        ("active", "running", Phase.RUNNING),
        ("activating", "start", Phase.RUNNING),
        ("deactivating", "stop-post", Phase.RUNNING),
        ("activating", "auto-restart", Phase.BETWEEN),
        ("failed", "failed-before-auto-restart", Phase.BETWEEN),
        ("inactive", "dead-before-auto-restart", Phase.BETWEEN),
    ],
)
def test_a_units_state_is_one_of_four_phases(active: str, sub: str, expected: Phase) -> None:
    assert tracker.phase(active, sub) is expected


def test_a_new_id_with_the_last_runs_times_begins_nothing() -> None:
    stale = seen("B", "inactive", "dead", job=True, left=100, idle=200)
    assert fold([stale]) == EMPTY
    assert not runs(fold([replace(stale, has_job=False)], replace(EMPTY, last_start=Usec(100))))
    known = fold([told(What.STARTING, "B", 305), stale])
    assert not known.runs[0].ended


def test_who_asks_is_told_of_a_run_that_nobody_saw() -> None:
    idle = seen("A", "inactive", "dead", code=1, left=100, idle=200)
    track = tracker.see(replace(EMPTY, last_start=Usec(500)), idle, asked=True)
    assert [ends(run) for run in runs(track)] == [WELL]
    assert tracker.see(EMPTY, replace(idle, has_job=True), asked=True) == EMPTY


def test_a_unit_that_never_ran_is_no_run() -> None:
    assert fold([seen("-", "inactive", "dead"), seen("A", left=0)]) == EMPTY


def test_reset_failed_before_anybody_looked_hides_no_failure() -> None:
    failed = told(What.FAILED, mono=200, result="exit-code")
    reset = seen("A", "inactive", "dead", code=1, status=1, left=100, idle=190)
    for order in ([failed, reset], [reset, failed]):
        track = fold([told(What.STARTING), *order])
        assert runs(track)[0].result in ("exit-code", "success")
    assert runs(fold([told(What.STARTING), failed, reset]))[0].result == "exit-code"


def test_a_slot_is_bound_once_and_stale_details_bind_nothing() -> None:
    first = fold([seen("A", trigger="x.timer", trigger_at=90)])
    assert (runs(first)[0].trigger, runs(first)[0].slot) == ("x.timer", wall(90))
    by_hand = fold([seen("B", left=300, trigger="x.timer", trigger_at=90)], first)
    assert (runs(by_hand)[1].trigger, runs(by_hand)[1].slot) == ("none", None)


def test_a_run_whose_end_nobody_saw_is_over_and_has_no_end() -> None:
    track = fold([seen("A")])
    (run,) = tracker.lose_sight(track, track.runs[0]).runs
    assert run.ended
    shown = tracker.as_run(track, run)
    assert (shown.result, shown.finished, shown.duration) == ("unseen", None, None)


def test_what_started_a_run_may_be_found_out_later() -> None:
    first = fold([seen("A", trigger=tracker.UNKNOWN, trigger_at=90)])
    (run,) = first.runs
    assert (run.trigger, run.slot) == (tracker.UNKNOWN, None)
    (run,) = tracker.bind(first, run, "x.timer", wall(80)).runs
    assert (run.trigger, run.slot) == ("x.timer", wall(80))


def test_a_run_answers_what_was_promised_rather_than_the_elapse() -> None:
    (run,) = fold([replace(seen("A", trigger="x.timer", trigger_at=90), slot=wall(88))]).runs
    assert run.slot == wall(88)


def test_a_slot_is_new_by_the_clock_that_nobody_sets() -> None:
    first = replace(seen("A", trigger="x.timer", trigger_at=90), trigger_mono=Usec(90))
    track = fold([first])
    set_back = replace(first, invocation=invocation("B"), left_idle_mono=Usec(300))
    set_back = replace(set_back, trigger_at=wall(40), trigger_mono=Usec(290))
    (_, run) = runs(fold([set_back], track))
    assert (run.trigger, run.slot) == ("x.timer", wall(40))
    stale = replace(set_back, trigger_at=wall(500), trigger_mono=Usec(90))
    assert runs(fold([stale], track))[1].trigger == "none"


def test_runs_are_in_the_order_in_which_they_began_whatever_the_clock_showed() -> None:
    def began(letter: str, boot: BootId, mono: int | None, at: int) -> Open:
        attempt = Attempt(invocation(letter), wall(at), None if mono is None else Usec(mono))
        return Open(invocation(letter), boot, (attempt,))

    late, early = began("A", LATER_BOOT, 200, 100), began("B", LATER_BOOT, 100, 300)
    before, resumed = began("C", BOOT, 900, 900), began("D", BOOT, None, 50)
    found = tracker.in_order((late, before, resumed, early), (LATER_BOOT,))
    assert found == [resumed, before, early, late]
    # Where the journal has lost a run's beginning, the ledger's word is all that there is.
    lost = began("E", LATER_BOOT, None, 200)
    assert tracker.in_order((lost, early, late), (LATER_BOOT,)) == [late, lost, early]
    # Boots follow one another as the journal has them, whichever's run was known first.
    assert tracker.in_order((late, before), (BOOT, LATER_BOOT)) == [before, late]
    assert tracker.in_order((before, late), (LATER_BOOT, BOOT)) == [late, before]


def test_what_began_later_than_was_read_has_others_before_it() -> None:
    def began(boot: BootId, mono: int | None) -> Open:
        started = None if mono is None else Usec(mono)
        return Open("", boot, (Attempt(invocation("A"), wall(100), started),))

    reach = tracker.Reach(LATER_BOOT)
    runs = [began(BOOT, 100), began(BOOT, 300), began(BOOT, None), began(LATER_BOOT, 50)]
    assert not any(map(reach.covers, runs))
    reach.move(BOOT, wall(99), Usec(200))
    assert [reach.covers(run) for run in runs] == [True, False, False, False]
    reach.move(BOOT, wall(100), Usec(200))
    assert reach.covers(runs[2])
    reach.move(LATER_BOOT, wall(0), Usec(40))
    assert [reach.covers(run) for run in runs] == [True, True, True, False]
    reach.move(BOOT, wall(99), Usec(200))
    assert [reach.covers(run) for run in runs] == [True, False, False, False]


def test_a_path_unit_triggers_without_a_time() -> None:
    (run,) = runs(fold([seen("A", trigger="x.path")]))
    assert (run.trigger, run.slot) == ("x.path", None)


def test_the_first_attempt_answers_the_slot_whenever_it_is_seen() -> None:
    heard = fold(
        [
            told(What.STARTING, "A", 100),
            told(What.FAILED, "A", 110, result="exit-code"),
            told(What.RESTARTING, "A", 200),
            told(What.STARTING, "B", 210),
        ]
    )
    (run,) = runs(fold([seen("B"), seen("A", trigger="x.timer", trigger_at=90)], heard))
    assert (run.attempts, run.trigger, run.slot) == (2, "x.timer", wall(90))


def test_news_of_nobody_begins_nothing() -> None:
    assert not fold([told(What.RESTARTING), told(What.PROCESS_ENDED, command="ExecReload")]).runs
    assert not fold([told(What.STARTING, "-"), told(What.STARTED, "-")]).runs


def test_a_start_limit_of_a_judged_retry_is_no_run_of_its_own() -> None:
    track = fold([told(What.RESTARTING, "A", 200)])
    limit = told(What.FAILED, "A", 210, result="start-limit-hit")
    assert not fold([limit], track).runs
    assert fold([replace(limit, invocation=invocation("B"))], track).runs[0].ended


@pytest.mark.parametrize("judged", [False, True])
def test_a_start_by_hand_that_hits_the_limit_after_a_retried_run_is_a_run(judged: bool) -> None:
    """systemd names the last attempt for both: what kept it from the next one, and what kept
    somebody's own start from being one."""
    entries = [
        told(What.STARTING, "A", 100),
        told(What.FAILED, "A", 110, result="exit-code"),
        told(What.RESTARTING, "A", 200),
        told(What.FAILED, "A", 210, result="start-limit-hit"),
    ]
    by_hand = told(What.FAILED, "A", 900, result="start-limit-hit")
    track = fold(entries)
    if judged:
        track = track.without(invocation("A"))
        entries = entries[2:]  # of a run that was judged, these are still heard
    for again in ([by_hand], [by_hand, *entries, by_hand], [*entries, by_hand, by_hand]):
        after = fold(again, track)
        refused_run = after.runs[-1]
        assert (len(after.runs), refused_run.key) == (2 - judged, f"{BOOT}:limit:900")
        assert runs(after)[-1].result == "start-limit-hit"


def started_and_failed(letter: str, at: int, job_id: str) -> list[Observation]:
    return [
        told(What.STARTING, letter, at, job_id=job_id),
        told(What.FAILED, letter, at + 10, result="exit-code"),
        told(What.START_FAILED, letter, at + 11, result="failed", job_id=job_id),
    ]


LIMIT = 400_000  # the unit's own result stands, and hides that of the start that was refused
BY_HAND = [
    told(What.FAILED, "A", LIMIT, result="exit-code"),
    told(What.START_FAILED, "A", LIMIT + 1, result="failed", job_id="9"),
]


def test_a_start_that_the_limit_refused_after_a_failure_is_a_run() -> None:
    once = fold([*started_and_failed("A", 100, "7"), *BY_HAND])
    assert [(run.key, run.result) for run in runs(once)] == [
        (invocation("A"), "exit-code"),
        (f"{BOOT}:9", "start-limit-hit"),
    ]
    assert fold([*started_and_failed("A", 100, "7"), *BY_HAND], once) == once


def test_a_start_that_the_limit_refused_is_told_from_the_next_attempt_that_it_refused() -> None:
    failed = started_and_failed("A", 100, "7")
    retry = [
        told(What.RESTARTING, "A", 200),
        told(What.FAILED, "A", 201, result="exit-code"),
        told(What.START_FAILED, "A", 202, result="failed", job_id="8"),
    ]
    track = fold([*failed, *retry])
    assert [run.key for run in runs(track)] == [invocation("A")]
    assert track.runs[0].ended
    # Once judged, what is told again of it is asked about apart; its own end is among that.
    judged = track.without(invocation("A"))
    for entry in (failed[2], retry[2]):
        assert isinstance(entry, Told)
        judged = tracker.hear_of_refused_start(judged, entry)
        assert not judged.runs
    by_hand = BY_HAND[1]
    for _ in range(2):
        judged = tracker.hear_of_refused_start(judged, by_hand)
        assert [run.key for run in runs(judged)] == [f"{BOOT}:9"]


def test_a_start_that_the_limit_refused_is_one_run_where_both_entries_say_so() -> None:
    said = [
        told(What.STARTING, "A", 100, job_id="7"),
        told(What.STARTED, "A", 110, job_id="7", message="Finished x.service."),
        told(What.FAILED, "A", LIMIT, result="start-limit-hit"),
        told(What.START_FAILED, "A", LIMIT + 1, result="failed", job_id="9"),
    ]
    assert [run.key for run in runs(fold(said))] == [invocation("A"), f"{BOOT}:limit:{LIMIT}"]


def test_a_start_limit_ends_a_run_that_waits_for_its_next_attempt() -> None:
    waiting = [
        told(What.STARTING, "A", 100),
        told(What.FAILED, "A", 110, result="exit-code"),
        told(What.RESTARTING, "A", 200),
    ]
    limit = told(What.FAILED, "A", 210, result="start-limit-hit")
    assert not fold(waiting).runs[0].ended
    for replayed in ([limit], [limit, limit], [limit, *waiting, limit]):
        track = fold([*waiting, *replayed])
        assert [ends(run) for run in runs(track)] == [Ends("A", "exit-code", trigger="unknown")]
        assert track.runs[0].ended


def test_a_start_limit_of_its_successor_is_no_result_of_a_run() -> None:
    limit = seen("A", "failed", "failed", result="start-limit-hit", code=1, left=100, idle=200)
    assert runs(fold([limit]))[0].result is None
    assert runs(fold([limit, told(What.ENDED_WELL, mono=200)]))[0].result == "success"


def test_252_says_skipped_in_other_words() -> None:
    for message in (
        "x.service was skipped because of an unmet condition check (ConditionPathExists=/x).",
        "x.service skipped, no trigger condition checks were met.",
    ):
        entry = told(What.STARTED, "A", job_id="7", result="done", message=message)
        assert tracker.is_refusal(entry)
        assert runs(fold([entry]))[0].key == f"{BOOT}:7"


def test_what_a_job_stopped_has_that_jobs_number() -> None:
    """A oneshot that is stopped halfway, as a shutdown does it (257)."""
    stopped = told(What.STOPPED, "A", 210, job_id="275")
    track = fold(
        [
            told(What.STARTING),
            seen("A"),
            seen("A", "deactivating", "stop-sigterm", job=True),
            told(What.PROCESS_ENDED, "A", 200, code="killed", status="TERM", command="ExecStart"),
            told(What.FAILED, "A", 200, result="signal"),
            seen("A", "failed", "failed", job=True, result="signal", code=2, status=15, idle=200),
            stopped,
        ]
    )
    (run,) = track.runs
    assert (run.last.told_to_stop, run.last.stop_job) == (True, 275)
    assert (run.ended, run.last.result) == (True, "signal")
    assert fold([stopped], track) == track


@pytest.mark.parametrize(
    "first",
    [
        told(What.STARTED, "A", 200, message="Finished x.service."),
        seen("A", "active", "exited", up=200),
    ],
)
def test_what_was_stopped_when_it_had_done_its_work_was_not_ended_by_that(
    first: Observation,
) -> None:
    """RemainAfterExit=yes: its end is over when it is stopped."""
    (run,) = fold([told(What.STARTING), first, told(What.STOPPED, "A", 300, job_id="275")]).runs
    assert run.last.stop_job is None


def test_a_stop_of_nobodys_run_or_without_a_number_says_nothing() -> None:
    assert fold([told(What.STOPPED, "A", job_id="275")]) == EMPTY
    begun = fold([told(What.STARTING)])
    assert fold([told(What.STOPPED, "A", job_id="")], begun) == begun


def test_a_host_that_goes_down_ends_what_ran_and_what_waited() -> None:
    running = fold([seen("A")])
    waiting = fold([seen("A", "activating", "auto-restart", result="exit-code", idle=200)])
    unknown = tracker.resume(EMPTY, replace(runs(running)[0], started=None))
    for track in (running, waiting, unknown):
        lost = tracker.lose(track, LATER_BOOT)
        assert lost.runs[0].ended
        (run,) = runs(lost)
        assert (run.result, run.finished, run.duration) == ("lost", None, None)
        assert tracker.lose(track, BOOT) == track
        assert tracker.lose(track, LATER_BOOT, BOOT) == track
    ended = fold([seen("A", "inactive", "dead", left=100, idle=200)])
    assert tracker.lose(ended, LATER_BOOT) == ended


def test_a_resumed_run_goes_on_where_it_was() -> None:
    begun = fold([seen("A", trigger="x.timer", trigger_at=90)])
    resumed = tracker.resume(EMPTY, runs(begun)[0])
    idle = seen("A", "inactive", "dead", code=1, left=100, idle=200)
    before, after = runs(fold([idle], begun)), runs(fold([idle], resumed))
    assert before == after


def test_a_resumed_run_keeps_its_first_attempts_id() -> None:
    heard = fold([told(What.STARTING), told(What.RESTARTING, mono=150), told(What.STARTING, "B")])
    (run,) = runs(tracker.resume(EMPTY, runs(heard)[0]))
    assert (run.key, run.invocation, run.last_invocation) == (
        invocation("A"),
        invocation("A"),
        invocation("B"),
    )


def test_a_run_that_ended_and_was_not_judged_is_taken_up_with_its_end() -> None:
    """How it exited well is said on the bus and nowhere else."""
    seen_to_end = fold([seen("A"), seen("A", "inactive", "dead", code=1, status=17, idle=200)])
    resumed = tracker.resume(EMPTY, runs(seen_to_end)[0])
    assert resumed.runs[0].ended
    assert runs(resumed) == runs(seen_to_end)
    # And what the journal says of it again gives it back its monotonic clock.
    again = [told(What.STARTING), told(What.ENDED_WELL, mono=200)]
    (attempt,) = fold(again, resumed).runs[0].attempts
    assert (attempt.started_mono, attempt.ended_mono, attempt.status) == (100, 200, 17)


def test_a_run_that_failed_before_its_main_process_is_taken_up_with_whom_to_blame() -> None:
    failed = fold(
        [
            told(What.STARTING),
            told(What.PROCESS_ENDED, code="exited", status="4", command="ExecStartPre"),
            told(What.FAILED, mono=200, result="exit-code"),
        ]
    )
    assert runs(tracker.resume(EMPTY, runs(failed)[0])) == runs(failed)


def test_a_resumed_run_knows_all_of_its_attempts() -> None:
    """An entry about one between the first and the last begins no run."""
    heard = fold([told(What.STARTING), told(What.RESTARTING, mono=150)])
    heard = fold([told(What.STARTING, "B", 160), told(What.RESTARTING, "B", 170)], heard)
    heard = fold([told(What.STARTING, "C", 180)], heard)
    (run,) = runs(heard)
    assert run.attempts == 3
    resumed = tracker.resume(EMPTY, run, [invocation(letter) for letter in "ABC"])
    assert runs(resumed) == [run]
    ended = [told(What.FAILED, "B", 165, result="exit-code"), told(What.ENDED_WELL, "C", 190)]
    assert [(one.result, one.finished) for one in runs(fold(ended, resumed))] == [
        ("success", wall(190))
    ]


def test_a_resumed_run_that_is_about_to_be_tried_again_waits_for_it() -> None:
    """systemd already queues the next attempt, which has no entry yet."""
    (run,) = runs(fold([seen("A")]))
    queued = seen("A", "activating", "auto-restart-queued", result="exit-code", code=1, status=1)
    asked = tracker.see(tracker.resume(EMPTY, run), queued, asked=True)
    (tried,) = runs(fold([seen("B", "activating", "auto-restart-queued"), seen("B")], asked))
    assert (tried.key, tried.attempts) == (run.key, 2)


FAILED_SO_FAR = [
    told(What.STARTING),
    told(What.FAILED, mono=200, result="exit-code"),
    told(What.START_FAILED, mono=210, job_id="78", result="failed"),
]


def test_the_next_attempt_may_be_seen_before_anybody_says_that_there_will_be_one() -> None:
    next_one = seen("B", left=205, restarts=1)
    (run,) = runs(fold([*FAILED_SO_FAR, next_one]))
    assert (run.key, run.attempts, run.started) == (invocation("A"), 2, wall(100))
    begun = told(What.STARTING, "B", mono=260)
    late = fold([*FAILED_SO_FAR, next_one, told(What.RESTARTING, mono=250), begun])
    assert runs(late) == [run]


@pytest.mark.parametrize(
    ("before", "restarts"),
    [
        (FAILED_SO_FAR, 0),  # somebody started it
        (FAILED_SO_FAR, 2),  # of another run, which is not known yet
        ([told(What.STARTING), told(What.ENDED_WELL, mono=200)], 1),
        ([seen("A"), seen("A", "failed", "failed", result="exit-code", idle=200)], 1),
    ],
)
def test_who_was_restarted_is_an_attempt_of_no_run_that_it_cannot_be_of(
    before: list[Observation], restarts: int
) -> None:
    assert len(runs(fold([*before, seen("B", left=300, restarts=restarts)]))) == 2


@pytest.mark.parametrize(
    ("before", "restarts", "unclear"),
    [
        ([], 0, False),
        ([], 1, True),
        (FAILED_SO_FAR, 0, False),
        (FAILED_SO_FAR, 1, True),
        ([*FAILED_SO_FAR, told(What.RESTARTING, mono=250)], 1, False),
        ([*FAILED_SO_FAR, told(What.RESTARTING, mono=250)], 0, True),
        ([*FAILED_SO_FAR, told(What.RESTARTING, mono=250)], 2, True),
        ([seen("B", restarts=3)], 3, False),  # it is known
    ],
)
def test_whose_attempt_it_is_may_be_for_the_journal_to_say(
    before: list[Observation], restarts: int, unclear: bool
) -> None:
    assert tracker.is_unclear(fold(before), seen("B", restarts=restarts)) is unclear


def test_a_runs_identity_is_its_first_invocation_id() -> None:
    (run,) = runs(fold([seen("A")]))
    assert run.id == run_id(JOB, invocation("A"))


def test_a_clock_that_ran_backwards_gives_no_duration() -> None:
    attempt = Attempt(invocation("A"), wall(200), Usec(200), wall(100), Usec(100), "success")
    run = tracker.as_run(EMPTY, Open(invocation("A"), BOOT, (attempt,)))
    assert run.duration is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("203", 203), ("TERM", 15), ("RTMIN+3", 37), ("RTMAX", 64), ("", None), ("½", None)],
)
def test_a_status_is_a_number_or_a_signals_name(text: str, expected: int | None) -> None:
    assert tracker.signal_or_status(text) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("3", 3), ("TERM", 15), ("RTMIN+3", 37), ("", None), ("NOPE", None), ("_DFL", None)),
        *(("RTMIN+x", None), ("TERM+²", None), ("²", None), ("9" * 5_000, None), ("-1", None)),
    ],
)
def test_a_status_that_systemd_does_not_write_is_none(text: str, number: int | None) -> None:
    assert tracker.signal_or_status(text) == number


def test_a_start_limit_that_ends_a_waiting_run_is_told_twice_without_a_second_run() -> None:
    def waiting(invocation: str, at: int) -> Seen:
        times = {"left_idle": Usec(at), "left_idle_mono": Usec(at)}
        ident = InvocationId(invocation * 32)
        return Seen(
            UnitName("x.service"), BootId("b"), ident, "activating", "auto-restart", **times
        )

    first, other = Open("f", BootId("b"), (Attempt(InvocationId("f" * 32)),)), waiting("c", 2)
    track = Track(JobName("x"), UnitName("x.service"), runs=(first,))
    track = tracker.see(tracker.see(track, waiting("f", 1)), replace(other, boot=BootId("a")))
    limit = Told(
        What.FAILED, UnitName("x.service"), BootId("b"), Usec(9), Usec(9),
        invocation=InvocationId("f" * 32), result="start-limit-hit",
    )  # fmt: skip
    once = tracker.hear(track, limit)
    assert once != track
    assert tracker.hear(once, limit) == once
