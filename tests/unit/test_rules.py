"""What each rule says of any evidence, and in which words."""

import string
from itertools import combinations
from random import Random
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import expressions, model, rules
from outcomed.faults import printable
from outcomed.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Artifact,
    BootId,
    Command,
    Completeness,
    Count,
    Duration,
    Finding,
    Held,
    Job,
    JobName,
    Journal,
    Judgement,
    Median,
    Record,
    Report,
    Run,
    RunId,
    Steps,
    UnitName,
    Usec,
    Value,
    Verdict,
)
from outcomed.rules import COARSE, LEARNT, TICK, Digest, Earlier, FileSeen, Look, Ran, Window

START = Usec(1_790_000_000_000_000)
END = Usec(START + 10 * MINUTE)
WINDOW = Window(START, END, Usec(START - 24 * HOUR), looked=Usec(END + SECOND))
COMPLETE, INCOMPLETE = Completeness(), Completeness("journald dropped 3 messages of this run")
PATH = "/srv/backups/shop.gz"


class Reading(Record, frozen=True):
    """What formats.read returns, in its words."""

    state: str
    summary: str
    evidence: dict[str, Value] = msgspec.field(default_factory=dict)


def file(size: int = 1_000_000, mtime: int = END, *, coarse: bool = False) -> FileSeen:
    return FileSeen(PATH, size, Usec(mtime), coarse)


def artifact(
    rule: Artifact | None = None,
    seen: FileSeen | None = None,
    *,
    window: Window = WINDOW,
    read: Reading | None = None,
    look: Look | None = None,
) -> Finding:
    look = look or Look("/srv/backups/*.gz", int(seen is not None), seen)
    return rules.artifact(rule or Artifact(PATH), "outcome[0].artifact", look, window, read)


def said(finding: Finding) -> tuple[Held, str]:
    return finding.state, finding.summary


# --- artifact --------------------------------------------------------------------------------


def test_a_file_of_this_run_holds() -> None:
    found = artifact(seen=file())
    assert said(found) == (Held.HELD, f"{PATH}: 976.5K")
    assert found.evidence == {"path": PATH, "matches": 1, "size": 1_000_000, "mtime": END}


def test_no_file_is_broken_and_names_the_pattern() -> None:
    assert said(artifact()) == (Held.BROKEN, "/srv/backups/*.gz: no such file")


def test_what_nobody_could_look_at_is_unknown() -> None:
    look = Look(PATH, fault="/srv/backups: Permission denied")
    assert said(artifact(look=look)) == (Held.UNKNOWN, "/srv/backups: Permission denied")


@pytest.mark.parametrize(
    ("written_by", "mtime", "coarse", "state"),
    [
        ("run", START, False, Held.HELD),
        ("run", START - TICK, False, Held.HELD),
        ("run", START - TICK - 1, False, Held.BROKEN),
        ("run", START - TICK - 1, True, Held.HELD),
        ("run", START - COARSE, True, Held.HELD),
        ("run", START - COARSE - 1, True, Held.BROKEN),
        ("run", END + HOUR, False, Held.HELD),
        ("run", 0, False, Held.BROKEN),
        ("run", -5 * HOUR, True, Held.BROKEN),
        ("period", START - 24 * HOUR, False, Held.HELD),
        ("period", START - 24 * HOUR - TICK - 1, False, Held.BROKEN),
        ("any", 0, False, Held.HELD),
        ("any", END + 9_999 * HOUR, False, Held.HELD),
        # a time in the future would be the newest match for ever
        ("run", END + SECOND + HOUR, False, Held.HELD),
        ("run", END + SECOND + HOUR + 1, False, Held.UNKNOWN),
        ("period", END + SECOND + HOUR + 1, False, Held.UNKNOWN),
    ],
)
def test_a_files_time_says_whose_it_is(
    written_by: str, mtime: int, coarse: bool, state: Held
) -> None:
    rule = replace(Artifact(PATH), written_by=written_by)
    assert artifact(rule, file(mtime=mtime, coarse=coarse)).state is state


def test_an_older_file_is_said_to_be_older() -> None:
    found = artifact(seen=file(mtime=START - 25 * HOUR))
    assert found.summary == f"{PATH}: not written by this run, 1 d 1 h older than its start"
    found = artifact(Artifact(PATH, written_by="period"), file(mtime=START - 30 * HOUR))
    assert found.summary == f"{PATH}: not written by this period, 6 h older than its start"


def test_a_file_from_the_future_is_said_to_be() -> None:
    found = artifact(seen=file(mtime=END + SECOND + 48 * HOUR))
    assert found.summary == (
        f"{PATH}: its time lies 2 d in the future, nobody can tell who wrote it"
    )


def test_without_its_start_a_run_wrote_nothing_that_can_be_told() -> None:
    window = replace(WINDOW, run_start=Usec(0))
    found = artifact(seen=file(), window=window)
    assert said(found) == (Held.UNKNOWN, f"{PATH}: when the run began is not known")
    assert artifact(Artifact(PATH, written_by="any"), file(), window=window).state is Held.HELD


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (0, "0B, expected at least 1.0K"),
        (1_023, "1023B, expected at least 1.0K"),
        (1_024, None),
        (2_048, None),
        (2_049, "2049 bytes, expected at most 2048"),
        (2**50, "1.0P, expected at most 2.0K"),
    ],
)
def test_a_size_is_within_its_limits_or_is_said(size: int, sentence: str | None) -> None:
    found = artifact(Artifact(PATH, min_size=1_024, max_size=2_048), file(size))
    assert found.state is (Held.HELD if sentence is None else Held.BROKEN)
    if sentence is not None:
        assert found.summary == f"{PATH}: {sentence}"


def test_a_wrong_place_is_said_before_a_wrong_size() -> None:
    look = Look(PATH, 1, file(0), off_filesystem="nothing is mounted on /srv/backups")
    found = artifact(Artifact(PATH, min_size=1), look=look)
    assert said(found) == (Held.BROKEN, f"{PATH}: nothing is mounted on /srv/backups")


@pytest.mark.parametrize(
    ("reading", "allow_empty", "state", "sentence"),
    [
        (Reading("whole", "gzip, 3.0G inside"), False, Held.HELD, "976.5K, gzip, 3.0G inside"),
        (Reading("empty", "nothing in it"), False, Held.BROKEN, "nothing in it"),
        (Reading("empty", "nothing in it"), True, Held.HELD, "976.5K, nothing in it"),
        (Reading("damaged", "cut at byte 7"), True, Held.BROKEN, "cut at byte 7"),
        (Reading("unreadable", "a sparse file"), True, Held.UNKNOWN, "a sparse file"),
        (None, False, Held.UNKNOWN, "nobody read it"),
    ],
)
def test_what_is_inside_decides_where_a_format_is_named(
    reading: Reading | None, allow_empty: bool, state: Held, sentence: str
) -> None:
    rule = Artifact(PATH, format="gzip", allow_empty=allow_empty)
    assert said(artifact(rule, file(), read=reading)) == (state, f"{PATH}: {sentence}")


def test_a_reading_adds_to_the_evidence() -> None:
    read = Reading("whole", "gzip", {"bytes": 7})
    assert artifact(Artifact(PATH, format="gzip"), file(), read=read).evidence["bytes"] == 7


def test_a_name_of_any_bytes_can_be_said_and_written_down() -> None:
    name = b"/srv/\xff\n\x1b[31mred \xc3\xa4.gz".decode("utf-8", "surrogateescape")
    found = artifact(look=Look(name, 1, replace(file(), path=name)))
    assert found.summary == "/srv/\\udcff\\n\\x1b[31mred ä.gz: 976.5K"
    msgspec.json.encode(found)
    for look in (Look(name), Look(name, fault=f"{name}: Permission denied")):
        assert "\n" not in artifact(look=look).summary
        msgspec.json.encode(artifact(look=look))


@pytest.mark.parametrize(
    ("count", "counted", "sentence"),
    [
        (Count(2, 2), 2, None),
        (Count(2, 2), 1, "1 file written by this run, expected 2"),
        (Count(2, None), 1, "1 file written by this run, expected at least 2"),
        (Count(2, None), 9, None),
        (Count(None, 3), 4, "4 files written by this run, expected at most 3"),
        (Count(2, 3), 4, "4 files written by this run, expected at most 3"),
        (Count(2, 3), 0, "0 files written by this run, expected at least 2"),
    ],
)
def test_files_are_as_many_as_they_have_to_be(
    count: Count, counted: int, sentence: str | None
) -> None:
    look = Look("/srv/backups/*.gz", 12, file(), counted=counted)
    finding = artifact(Artifact(PATH, count=count), look=look)
    assert finding.evidence["counted"] == counted
    expected = f"/srv/backups/*.gz: {sentence}" if sentence else f"{PATH}: 976.5K"
    assert said(finding) == (Held.BROKEN if sentence else Held.HELD, expected)


@pytest.mark.parametrize(
    ("written_by", "begin"),
    [("run", START - SECOND), ("period", START - 24 * HOUR - TICK), ("any", 0)],
)
def test_only_what_is_new_enough_is_counted(
    written_by: Literal["run", "period", "any"], begin: int
) -> None:
    rule = Artifact(PATH, written_by=written_by, count=Count(9, 9))
    ((first, last),) = rules.spans(rule, replace(WINDOW, early=Usec(SECOND)))
    assert first == begin
    assert last >= WINDOW.looked + HOUR
    whose = {"run": " written by this run", "period": " written in this period", "any": ""}
    finding = artifact(rule, look=Look("/x/*", 1, file(), counted=1))
    assert finding.summary == f"/x/*: 1 file{whose[written_by]}, expected 9"


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        *(("root:adm", True), ("root", True), (":adm", True)),
        *(("root:root", False), ("adm", False), (":root", False)),
    ],
)
def test_a_file_has_its_owner(wanted: str, holds: bool) -> None:
    seen = replace(file(), owner="root:adm", mode=0o640)
    finding = artifact(Artifact(PATH, owner=wanted, mode=0o640), seen)
    assert (finding.state is Held.HELD) is holds
    if not holds:
        assert finding.summary == f"{PATH}: owned by root:adm, expected {wanted}"
    wrong = artifact(Artifact(PATH, owner="root", mode=0o600), seen)
    assert said(wrong) == (Held.BROKEN, f"{PATH}: mode 0640, expected 0600")


ONE, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("digest", "state", "sentence"),
    [
        (Digest(ONE, ONE), Held.HELD, "976.5K"),
        (Digest(ONE, OTHER), Held.BROKEN, "its SHA-256 is 222222222222…, expected 111111111111…"),
        (
            Digest(ONE, OTHER, "shop.gz.sha256"),
            Held.BROKEN,
            "its SHA-256 is 222222222222…, shop.gz.sha256 says 111111111111…",
        ),
        (Digest(actual=ONE, broken="no sidecar"), Held.BROKEN, "no sidecar"),
        (
            Digest(actual=ONE, unknown="its sidecar: Permission"),
            Held.UNKNOWN,
            "its sidecar: Permission",
        ),
        (Digest(ONE), Held.UNKNOWN, "nobody read it"),
        (None, Held.UNKNOWN, "nobody read it"),
    ],
)
def test_a_checksum_is_the_one_that_it_has_to_be(
    digest: Digest | None, state: Held, sentence: str
) -> None:
    rule = Artifact(PATH, sha256=ONE)
    assert rules.needs_reading(rule)
    look = Look("/srv/backups/*.gz", 1, file())
    finding = rules.artifact(rule, "x", look, WINDOW, None, digest)
    assert said(finding) == (state, f"{PATH}: {sentence}")


def test_what_needs_no_reading_is_not_read() -> None:
    assert not rules.needs_reading(Artifact(PATH, min_size=5, owner="root", count=Count(1)))
    assert rules.needs_reading(Artifact(PATH, format="gzip"))


def test_a_proof_may_be_of_the_whole_period() -> None:
    assert rules.as_proof(Artifact(PATH)) == Artifact(PATH, written_by="period")
    assert rules.as_proof(Command("true")) == Command("true")


@pytest.mark.parametrize(
    ("command", "artifacts", "handed"),
    [
        (2, (0, 1, 3), 1),
        (0, (1, 2), 1),
        (10, (2, 9, 11), 9),
    ],
)
def test_a_command_is_handed_the_artifact_before_it(
    command: int, artifacts: tuple[int, ...], handed: int
) -> None:
    labels = [f"outcome[{at}].artifact" for at in artifacts]
    of = rules.artifact_of(f"outcome[{command}].command", labels)
    assert of == f"outcome[{handed}].artifact"
    assert rules.artifact_of("outcome[0].command", []) == ""


NEXT = Usec(END + MINUTE)
BEFORE, AFTER = {"mtime": END}, {"mtime": NEXT + 1}


@pytest.mark.parametrize(
    ("state", "evidence", "stays"),
    [
        (Held.HELD, BEFORE, True),
        (Held.BROKEN, BEFORE, True),  # nobody has touched it since
        (Held.HELD, AFTER, True),  # it is there, and not older than the run
        (Held.BROKEN, AFTER, False),
        (Held.BROKEN, {}, False),  # missing: removed by the next, maybe
        (Held.UNKNOWN, AFTER, True),
    ],
)
def test_what_may_be_the_next_runs_is_no_fault_of_this_one(
    state: Held, evidence: dict[str, Value], stays: bool
) -> None:
    finding = Finding("outcome[0].x", state, "what was seen", evidence)
    after = rules.overtaken(finding, NEXT)
    if stays:
        assert after == finding
    else:
        assert after.state is Held.UNKNOWN
        assert after.summary.endswith("what was seen")
        assert after.evidence == {**evidence, "overtaken": True}


def test_an_earlier_runs_file_counts_late_only_if_it_is_that_runs() -> None:
    now = Usec(END + 14 * HOUR)
    own = artifact(seen=file())
    assert rules.seen_late(own, WINDOW, now) == own
    later = artifact(seen=file(mtime=END + MINUTE))
    found = rules.seen_late(later, WINDOW, now)
    assert said(found) == (Held.UNKNOWN, "looked at 14 h late")
    assert found.evidence["late"] is True
    missing = rules.seen_late(artifact(), WINDOW, now)
    assert missing.state is Held.UNKNOWN
    other = Finding("outcome[1].duration", Held.HELD, "ran 2 s")
    assert rules.seen_late(other, WINDOW, now) == other
    unknown = artifact(look=Look(PATH, fault="Input/output error"))
    assert rules.seen_late(unknown, WINDOW, now) == unknown


@pytest.mark.parametrize(
    ("written_by", "mtime", "state"),
    [
        # It began at START, the clock was set back by a day, and it ended a day before END.
        ("run", START + SECOND, Held.HELD),  # written before that
        ("run", END - SECOND, Held.HELD),
        ("run", START - DAY + SECOND, Held.HELD),  # and after that
        ("run", END - DAY, Held.HELD),
        ("run", START - DAY - SECOND, Held.BROKEN),  # too old for either
        ("run", START - HOUR, Held.BROKEN),  # between the two it did not run
        ("run", END + HOUR, Held.UNKNOWN),  # of a time that has never been
        ("period", START - 2 * DAY - SECOND, Held.BROKEN),
        ("period", START - DAY - SECOND, Held.HELD),
        ("any", START - DAY - SECOND, Held.HELD),
    ],
)
def test_what_is_written_while_the_clock_is_set_back_is_the_runs(
    written_by: Literal["run", "period", "any"], mtime: int, state: Held
) -> None:
    window = replace(
        WINDOW,
        set_back=Usec(DAY),
        run_end=Usec(END - DAY),
        looked=Usec(END - DAY + SECOND),
    )
    rule = Artifact(PATH, written_by=written_by)
    look = Look(PATH, 1, replace(file(), mtime=Usec(mtime)))
    finding = rules.artifact(rule, "x", look, window, None)
    assert finding.state is state, finding.summary
    if written_by == "run":
        late = rules.seen_late(finding, window, Usec(END))
        assert (late.state is Held.HELD) is (state is Held.HELD)


def test_where_an_earlier_run_ran_at_the_same_time_of_the_clock_nobody_can_tell() -> None:
    """Of an hourly job, and the clock set back by an hour: the file may be the last run's."""
    window = Window(
        START,
        Usec(END - HOUR),
        START,
        set_back=Usec(HOUR),
        looked=Usec(END - HOUR + SECOND),
    )
    look = Look(PATH, 1, replace(file(), mtime=Usec(START - HOUR + SECOND)))
    assert rules.artifact(Artifact(PATH), "x", look, window, None).state is Held.HELD
    contested = rules.artifact(Artifact(PATH), "x", look, replace(window, twice=True), None)
    sentence = "the clock was set back by 1 h while it ran, nobody can tell who wrote it"
    assert said(contested) == (Held.UNKNOWN, f"{PATH}: {sentence}")
    surely = Look(PATH, 1, replace(file(), mtime=START))
    assert rules.artifact(Artifact(PATH), "x", surely, replace(window, twice=True), None).state is (
        Held.HELD
    )


def test_a_run_shows_how_far_the_clock_was_set() -> None:
    took = Usec(END - START)
    whole = replace(ran(took), started=START, finished=END)
    assert rules.set_back(whole) == 0
    assert rules.set_back(replace(whole, finished=Usec(END - HOUR))) == HOUR
    assert rules.set_back(replace(whole, finished=Usec(END + HOUR))) == 0
    # Both clocks are read one after the other.
    assert rules.set_back(replace(whole, finished=Usec(END - 3))) == 0
    for unknown in (
        ran(took),
        replace(ran(None), started=START),
        replace(ran(took), started=START),
    ):
        assert rules.set_back(unknown) == 0
        assert rules.set_on(unknown) == 0
    assert rules.set_on(whole) == 0
    assert rules.set_on(replace(whole, finished=Usec(END - HOUR))) == 0
    assert rules.set_on(replace(whole, finished=Usec(END + HOUR))) == HOUR


@pytest.mark.parametrize(
    ("mtime", "is_own"),
    [
        (START + SECOND, True),
        (END - SECOND, True),
        (END + MINUTE, False),  # of the time that the clock was set over
        (START + HOUR - MINUTE, False),
        (START + HOUR, True),
        (END + HOUR, True),
        (END + HOUR + MINUTE, False),
    ],
)
def test_an_earlier_run_wrote_nothing_at_a_time_that_the_clock_was_set_over(
    mtime: int, is_own: bool
) -> None:
    """It may be another run's, if the clock was set back again."""
    end = Usec(END + HOUR)
    window = replace(WINDOW, set_on=Usec(HOUR), run_end=end, looked=end)
    finding = artifact(seen=file(mtime=mtime), window=window)
    late = rules.seen_late(finding, window, Usec(END + DAY))
    assert (late == finding) is is_own


# --- duration --------------------------------------------------------------------------------


def ran(duration: int | None) -> Run:
    return Run(
        id=RunId("r" * 32),
        job=JobName("x"),
        unit=UnitName("x.service"),
        key="k",
        boot=BootId("b"),
        duration=None if duration is None else Usec(duration),
    )


@pytest.mark.parametrize(
    ("duration", "state", "sentence"),
    [
        (None, Held.UNKNOWN, "how long it ran is not known"),
        (400_000, Held.BROKEN, "ran 0.4 s, expected at least 3min"),
        (3 * MINUTE - 1, Held.BROKEN, "ran 2 min 59 s, expected at least 3min"),
        (3 * MINUTE, Held.HELD, "ran 3 min"),
        (HOUR, Held.HELD, "ran 1 h"),
        (HOUR + SECOND, Held.BROKEN, "ran 1h 1s, expected at most 1h"),
        (2 * HOUR, Held.BROKEN, "ran 2 h, expected at most 1h"),
    ],
)
def test_a_run_takes_its_time_and_no_more(duration: int | None, state: Held, sentence: str) -> None:
    rule = Duration(at_least=Usec(3 * MINUTE), at_most=Usec(HOUR))
    assert said(rules.duration(rule, "outcome[0].duration", ran(duration))) == (state, sentence)


def test_a_duration_without_limits_holds() -> None:
    assert rules.duration(Duration(), "x", ran(0)).state is Held.HELD


# --- the job's own past ----------------------------------------------------------------------

HALF_TO_TRIPLE = Median(of=7, at_least=0.5, at_most=3)
BACKUPS = "/srv/backups/*.gz"


def nights(*sizes: int, pattern: str = BACKUPS) -> tuple[Earlier, ...]:
    """Newest first; a run takes as many seconds as it leaves bytes."""
    return tuple(
        Earlier(
            began=Usec(START - number * 24 * HOUR),
            duration=Usec(size * SECOND),
            sizes=((pattern, size),),
        )
        for number, size in enumerate(sizes, 1)
    )


@pytest.mark.parametrize(
    ("size", "past", "state", "sentence"),
    [
        (1, (), Held.HELD, "1B, learning, 0 of 3"),
        (1, (900, 1000), Held.HELD, "1B, learning, 2 of 3"),
        (1000, (900, 1000, 1100), Held.HELD, "1000B, 1 times the median of 3 runs, 1000B"),
        (500, (900, 1000, 1100), Held.HELD, "500B, 0.5 times the median of 3 runs, 1000B"),
        (
            *(499, (900, 1000, 1100), Held.BROKEN),
            "499B, expected at least 0.5 times the median of 3 runs, 1000B",
        ),
        (3000, (10**9, 1000, 0), Held.HELD, "2.9K, 3 times the median of 3 runs, 1000B"),
        (
            *(3001, (900, 1000, 1100), Held.BROKEN),
            "2.9K, expected at most 3 times the median of 3 runs, 1000B",
        ),
        # of an even number, the mean of the two in the middle
        (14, (10, 20, 30, 40), Held.HELD, "14B, 0.56 times the median of 4 runs, 25B"),
        # only the last seven count
        (1, (1,) * 4 + (1000,) * 9, Held.HELD, "1B, 1 times the median of 7 runs, 1B"),
        # nothing was left behind so far
        (0, (0, 0, 0), Held.HELD, "0B, as is the median of 3 runs, 0B"),
        (1, (0, 0, 0), Held.BROKEN, "1B, expected at most 3 times the median of 3 runs, 0B"),
    ],
)
def test_a_size_is_like_those_before(
    size: int, past: tuple[int, ...], state: Held, sentence: str
) -> None:
    rule = Artifact(BACKUPS, size_vs_median=HALF_TO_TRIPLE)
    window = replace(WINDOW, past=nights(*past))
    assert said(artifact(rule, file(size), window=window)) == (state, f"{PATH}: {sentence}")


def test_the_figures_of_a_comparison_are_evidence() -> None:
    rule = Artifact(BACKUPS, size_vs_median=HALF_TO_TRIPLE)
    found = artifact(rule, file(47_000), window=replace(WINDOW, past=nights(*[10**6] * 9)))
    assert found.state is Held.BROKEN
    assert found.evidence == {
        "path": PATH,
        "pattern": BACKUPS,
        "matches": 1,
        "size": 47_000,
        "mtime": END,
        "median_size": 10**6,
        "median_runs": 7,
        "of_median": 0.047,
    }
    learning = artifact(rule, file(), window=replace(WINDOW, past=nights(1)))
    assert learning.evidence["median_runs"] == 1
    assert "median_size" not in learning.evidence


def test_one_limit_is_enough() -> None:
    window = replace(WINDOW, past=nights(1000, 1000, 1000))
    most = Artifact(BACKUPS, size_vs_median=Median(of=7, at_most=3))
    assert artifact(most, file(0), window=window).state is Held.HELD
    least = Artifact(BACKUPS, size_vs_median=Median(of=7, at_least=0.5))
    assert artifact(least, file(10**9), window=window).state is Held.HELD


def test_what_is_inside_is_looked_at_as_well() -> None:
    rule = Artifact(PATH, format="gzip", size_vs_median=HALF_TO_TRIPLE)
    look = Look(PATH, 1, file(1000))
    window = replace(WINDOW, past=nights(1000, 1000, 1000, pattern=PATH))
    found = artifact(rule, look=look, window=window, read=Reading("whole", "gzip"))
    assert found.summary == f"{PATH}: 1000B, gzip, 1 times the median of 3 runs, 1000B"
    assert "pattern" not in found.evidence
    assert artifact(rule, look=look, window=window).state is Held.UNKNOWN
    cut = artifact(rule, look=look, window=window, read=Reading("damaged", "cut"))
    assert cut.state is Held.BROKEN


def test_a_fixed_limit_is_said_before_the_median() -> None:
    rule = Artifact(BACKUPS, min_size=600, size_vs_median=HALF_TO_TRIPLE)
    window = replace(WINDOW, past=nights(1000, 1000, 1000))
    assert artifact(rule, file(100), window=window).summary == (
        f"{PATH}: 100B, expected at least 600B"
    )


@pytest.mark.parametrize(
    ("duration", "past", "state", "sentence"),
    [
        (2 * SECOND, (), Held.HELD, "ran 2 s, learning, 0 of 3"),
        (
            *(1, (1200, 1200, 1200), Held.BROKEN),
            "ran 1 us, expected at least 0.3 times the median of 3 runs, 20 min",
        ),
        (
            360 * SECOND,
            (1200,) * 20,
            Held.HELD,
            "ran 6 min, 0.3 times the median of 14 runs, 20 min",
        ),
        (
            *(3601 * SECOND, (1200,) * 3, Held.BROKEN),
            "ran 1 h, expected at most 3 times the median of 3 runs, 20 min",
        ),
        (None, (1200,) * 3, Held.UNKNOWN, "how long it ran is not known"),
    ],
)
def test_a_run_takes_its_usual_time(
    duration: int | None, past: tuple[int, ...], state: Held, sentence: str
) -> None:
    rule = Duration(vs_median=Median(of=14, at_least=0.3, at_most=3))
    found = rules.duration(rule, "outcome[0].duration", ran(duration), nights(*past))
    assert said(found) == (state, sentence)
    if len(past) >= LEARNT and duration is not None:
        assert found.evidence["median_s"] == 1200.0


def judged(verdict: Verdict, *findings: Finding, began: int = START, took: int = 7) -> Judgement:
    run = replace(ran(took), started=Usec(began))
    return Judgement(run=run, verdict=verdict, reason="", summary="", findings=findings)


def sized(path: str, size: int, index: int = 0, pattern: str = "") -> Finding:
    evidence: dict[str, Value] = {"path": path, "size": size}
    evidence |= {"pattern": pattern} if pattern else {}
    return Finding(f"outcome[{index}].artifact", Held.HELD, "", evidence)


@pytest.mark.parametrize("verdict", Verdict)
def test_only_what_is_verified_or_accepted_is_a_measure(verdict: Verdict) -> None:
    found = rules.earlier(judged(verdict), [])
    assert (found is not None) is (verdict in (Verdict.VERIFIED, Verdict.ACCEPTED))
    if found is not None:
        assert found == Earlier(START, Usec(7), accepted=verdict is Verdict.ACCEPTED)


def test_a_run_without_a_start_has_its_place_by_its_end() -> None:
    run = ran(7)
    assert rules.began(replace(run, started=Usec(1), finished=Usec(2)), Usec(3)) == 1
    assert rules.began(replace(run, finished=Usec(2)), Usec(3)) == 2
    assert rules.began(run, Usec(3)) == 3


def test_a_size_is_found_by_its_pattern_wherever_its_rule_stands() -> None:
    all_of_it, shop = "/srv/*.gz", "/srv/shop-*.gz"
    before = judged(
        Verdict.VERIFIED,
        Finding("outcome[2].duration", Held.HELD, ""),
        sized("/srv/blog.gz", 1, 0, all_of_it),
        sized("/srv/shop-1.gz", 500, 1, shop),
    )
    swapped = replace(before, findings=before.findings[::-1])
    for one in (before, swapped):
        found = rules.earlier(one, [shop, all_of_it])
        assert found is not None
        assert dict(found.sizes) == {shop: 500, all_of_it: 1}


def test_a_size_from_before_it_was_compared_is_found_by_the_path() -> None:
    before = judged(
        Verdict.VERIFIED,
        Finding("outcome[0].artifact", Held.BROKEN, "", {"path": "/srv/shop-*.gz"}),
        sized("/srv/deep/shop-1.gz", 1, 1),
        sized("/srv/shop-1.gz", 500, 2),
        sized("/srv/other.gz", 2, 3),
    )
    found = rules.earlier(before, ["/srv/shop-*.gz", "/srv/other.gz", "/srv/none"])
    assert found is not None
    # the first has the pattern and no size: nothing was there
    assert found.sizes == (("/srv/other.gz", 2),)
    found = rules.earlier(replace(before, findings=before.findings[1:]), ["/srv/shop-*.gz"])
    assert found is not None
    assert found.sizes == (("/srv/shop-*.gz", 500),)


def test_a_slot_without_a_run_is_no_measure_though_it_was_accepted() -> None:
    """Else the medians would begin anew with it, and there is nothing to learn from."""
    one = judged(Verdict.ACCEPTED)
    for key in ("slot:x.timer:1", "stale:1"):
        assert rules.earlier(replace(one, run=replace(one.run, key=key)), []) is None


def test_the_past_begins_with_what_was_accepted_last() -> None:
    past = nights(1, 2, 3, 4)
    past = (past[0], replace(past[1], accepted=True), past[2], replace(past[3], accepted=True))
    assert rules.past_before(past, START) == past[:2]
    assert rules.past_before(past[::-1], START) == past[:2]
    assert rules.past_before(past, past[1].began) == past[2:]
    assert rules.past_before((), START) == ()


def test_what_another_unit_did_is_no_measure() -> None:
    one = judged(Verdict.VERIFIED)
    other = replace(one, run=replace(one.run, unit=UnitName("y.service")))
    bad = judged(Verdict.FAILED)
    assert len(rules.past_of([one, other, bad], UnitName("x.service"), [])) == 1


def test_a_jobs_past_reaches_as_far_as_its_rules_ask() -> None:
    def job(*outcome: Artifact | Duration | Report) -> Job:
        return Job(JobName("x"), UnitName("x.service"), outcome=outcome)

    plain = (Artifact("/%i"), Duration(at_least=Usec(1)), Report("a"))
    assert rules.median_reach(job(*plain)) == 0
    compared = Artifact("/a-%i", size_vs_median=HALF_TO_TRIPLE)
    slow = Duration(vs_median=Median(of=14, at_most=2))
    assert rules.median_reach(job(*plain, compared, slow)) == 14
    patterns = rules.measured_patterns(job(*plain, compared, slow), lambda path: path + "!")
    assert patterns == ["/a-%i!"]


def test_the_medians_of_a_verdict_are_those_of_its_findings() -> None:
    rule = Duration(vs_median=Median(of=14, at_least=0.3))
    slow = rules.duration(rule, "outcome[1].duration", ran(SECOND), nights(4, 5, 6))
    one = judged(Verdict.SILENT_FAILURE, sized(PATH, 1), slow)
    assert rules.medians(one) == {"outcome[1].duration": {"median_s": 5.0, "median_runs": 3}}
    assert rules.medians(replace(one, verdict=Verdict.ACCEPTED)) == {}


# --- report ----------------------------------------------------------------------------------


def report(
    expression: str,
    facts: dict[str, Value],
    faults: list[str] | None = None,
    completeness: Completeness = COMPLETE,
) -> Finding:
    return rules.report(Report(expression), "outcome[0].report", facts, faults or [], completeness)


def test_what_was_reported_holds_or_does_not() -> None:
    rule = "sent == generated and failed == 0"
    held = report(rule, {"sent": 3, "generated": 3, "failed": 0, "other": 1})
    assert said(held) == (Held.HELD, f"{rule} (failed=0, generated=3, sent=3)")
    assert held.evidence == {"failed": 0, "generated": 3, "sent": 3}
    broken = report(rule, {"sent": 2, "generated": 3, "failed": 0})
    assert said(broken) == (Held.BROKEN, f"{rule} does not hold: failed=0, generated=3, sent=2")


def test_a_missing_statement_is_broken_over_complete_output_and_unknown_over_less() -> None:
    assert said(report("sent == failed", {})) == (
        Held.BROKEN,
        "the run did not report failed, sent",
    )
    unknown = report("sent > 0", {}, ["not a JSON object: {\n"], INCOMPLETE)
    assert said(unknown) == (
        Held.UNKNOWN,
        (
            "the run did not report sent (not a JSON object: {\\n); "
            "journald dropped 3 messages of this run"
        ),
    )


def test_a_statement_of_the_wrong_kind_is_broken_and_shown() -> None:
    found = report("sent > 0", {"sent": "x" * 100})
    assert found.state is Held.BROKEN
    assert "…" in found.summary


# --- journal ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "line", "completeness", "state", "sentence"),
    [
        (Journal(never="E"), None, COMPLETE, Held.HELD, "no line matches E"),
        (Journal(never="E"), "a\nE", COMPLETE, Held.BROKEN, "said what it never must: a\\nE"),
        (Journal(never="E"), "E", INCOMPLETE, Held.BROKEN, "said what it never must: E"),
        (
            *(Journal(never="E"), None, INCOMPLETE, Held.UNKNOWN),
            "no line matches E; journald dropped 3 messages of this run",
        ),
        (Journal(expect="done"), "done 7", COMPLETE, Held.HELD, "said: done 7"),
        (Journal(expect="done"), "done 7", INCOMPLETE, Held.HELD, "said: done 7"),
        (Journal(expect="done"), None, COMPLETE, Held.BROKEN, "no line matches done"),
        (
            *(Journal(expect="done"), None, INCOMPLETE, Held.UNKNOWN),
            "no line matches done; journald dropped 3 messages of this run",
        ),
    ],
)
def test_silence_means_something_only_over_complete_output(
    rule: Journal, line: str | None, completeness: Completeness, state: Held, sentence: str
) -> None:
    found = rules.journal(rule, "outcome[0].journal", line, completeness)
    assert said(found) == (state, sentence)


def test_only_the_beginning_of_a_line_is_evidence() -> None:
    found = rules.journal(Journal(never="x"), "x", "x" * 2_000, COMPLETE)
    assert found.evidence == {"line": "x" * 200}


def test_a_rule_is_named_by_its_place() -> None:
    job = Job(JobName("x"), UnitName("x.service"), outcome=(Artifact("/a"), Report("a")))
    named = [rules.name(index, rule) for index, rule in enumerate(job.outcome)]
    assert named == ["outcome[0].artifact", "outcome[1].report"]


# --- steps -----------------------------------------------------------------------------------

BACKUP = Steps(("dump", "compress", "upload"))


@pytest.mark.parametrize(
    ("reached", "state", "sentence"),
    [
        (("dump", "compress", "upload"), Held.HELD, "reached dump, compress, upload"),
        # others in between, and repeats, do not matter
        (
            *(("a", "dump", "dump", "b", "compress", "dump", "upload", "c"), Held.HELD),
            "reached dump, compress, upload",
        ),
        ((), Held.BROKEN, "step dump was not reached, nor any other"),
        (("dump", "compress"), Held.BROKEN, "step upload was not reached; the last was compress"),
        (("compress", "upload"), Held.BROKEN, "step dump was not reached; the last was upload"),
        (
            *(("dump", "upload", "compress"), Held.BROKEN),
            "step upload was not reached after compress, only before; the last was compress",
        ),
    ],
)
def test_every_step_is_reached_in_its_order(
    reached: tuple[str, ...], state: Held, sentence: str
) -> None:
    found = rules.steps(BACKUP, "outcome[0].steps", reached, COMPLETE)
    assert said(found) == (state, sentence)
    assert found.evidence["last"] == (reached[-1] if reached else None)
    assert ("missing" in found.evidence) is (state is Held.BROKEN)


def test_a_step_that_is_named_twice_is_reached_twice() -> None:
    rule = Steps(("dump", "dump"))
    assert rules.steps(rule, "x", ("dump", "a", "dump"), COMPLETE).state is Held.HELD
    found = rules.steps(rule, "x", ("dump",), COMPLETE)
    assert found.summary == ("step dump was not reached after dump, only before; the last was dump")


@pytest.mark.parametrize("completeness", [INCOMPLETE, Completeness(strayed=INCOMPLETE.reason)])
def test_a_step_that_is_missing_in_less_than_all_output_is_unknown(
    completeness: Completeness,
) -> None:
    assert said(rules.steps(BACKUP, "x", ("dump", "a\nb"), completeness)) == (
        Held.UNKNOWN,
        (
            "step compress was not reached; the last was a\\nb; "
            "journald dropped 3 messages of this run"
        ),
    )
    assert rules.steps(BACKUP, "x", BACKUP.names, completeness).state is Held.HELD


# --- command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ran", "state", "sentence"),
    [
        (Ran(status=0), Held.HELD, "it exited with 0"),
        (Ran(status=0, output="\n  fine \nmore"), Held.HELD, "it exited with 0: fine"),
        (Ran(status=2, output="bad\x1b[2J"), Held.BROKEN, "look exited with 2: bad\\x1b[2J"),
        (Ran(status=1), Held.BROKEN, "look exited with 1"),
        (Ran(status=1, output="x" * 300), Held.BROKEN, "look exited with 1: " + "x" * 199 + "…"),
        (Ran("look gave no answer within 5s"), Held.UNKNOWN, "look gave no answer within 5s"),
        (Ran("killed", output="half"), Held.UNKNOWN, "killed"),
    ],
)
def test_a_command_says_by_its_status(ran: Ran, state: Held, sentence: str) -> None:
    assert said(rules.command(Command("/usr/bin/look -x"), "x", ran)) == (state, sentence)


def test_what_a_command_said_is_evidence() -> None:
    finding = rules.command(Command("true"), "x", Ran("", 0, "out", 12, 0.12345))
    assert finding.evidence == {
        "seconds": 0.123,
        "exit_status": 0,
        "output": "out",
        "output_cut": 12,
    }


@pytest.mark.parametrize(
    ("status", "output", "state", "sentence", "perfdata"),
    [
        (0, "DISK OK - free|/=3MB", Held.HELD, "DISK OK - free", "/=3MB"),
        (1, "half full", Held.BROKEN, "WARNING: half full", None),
        (2, "", Held.BROKEN, "CRITICAL: it said nothing", None),
        (3, "no disk", Held.UNKNOWN, "UNKNOWN: no disk", None),
        (42, "x", Held.UNKNOWN, "UNKNOWN: status 42 is none of a plugin's; x", None),
        (None, "x", Held.UNKNOWN, "UNKNOWN: status None is none of a plugin's; x", None),
    ],
)
def test_a_plugin_says_by_its_protocol(
    status: int | None, output: str, state: Held, sentence: str, perfdata: str | None
) -> None:
    rule = Command("plugin", protocol="nagios")
    finding = rules.command(rule, "x", Ran("", status, output))
    assert said(finding) == (state, sentence)
    assert finding.evidence.get("perfdata") == perfdata


# --- no rule raises --------------------------------------------------------------------------

times = st.integers(-(2**62), 2**62).map(Usec)
names = st.one_of(st.text(), st.binary().map(lambda text: text.decode("utf-8", "surrogateescape")))
looks = st.builds(
    Look,
    names,
    st.integers(0, 9),
    st.one_of(st.none(), st.builds(FileSeen, names, st.integers(0, 2**63), times, st.booleans())),
    names,
    names,
)
factors = st.one_of(st.none(), st.floats(1e-9, 1000))
medians = st.builds(Median, st.integers(3, 100), factors, factors)
sizes = st.integers(0, 2**63 - 1)
pasts = st.lists(
    st.builds(
        Earlier,
        times,
        st.one_of(st.none(), sizes.map(Usec)),
        st.one_of(st.just(()), sizes.map(lambda size: ((PATH, size),))),
        st.booleans(),
    ),
    max_size=5,
).map(tuple)
artifacts = st.builds(
    Artifact,
    st.just(PATH),
    st.sampled_from(["run", "period", "any"]),
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    st.one_of(st.none(), medians),
    st.sampled_from([None, "gzip"]),
    st.booleans(),
)
readings = st.one_of(
    st.none(),
    st.builds(Reading, st.sampled_from(["whole", "empty", "damaged", "odd"]), st.text()),
)
completenesses = st.builds(Completeness, st.text())
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


def readable(finding: Finding) -> None:
    """At 3 am, and by a machine."""
    assert "\n" not in finding.summary
    msgspec.json.encode(finding)


windows = st.builds(
    Window, *[times] * 4, set_back=times, set_on=times, twice=st.booleans(), past=pasts
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(artifacts, looks, windows, readings)
def test_an_artifact_rule_takes_any_evidence(
    rule: Artifact, look: Look, window: Window, read: Reading | None
) -> None:
    finding = rules.artifact(rule, "outcome[0].artifact", look, window, read)
    msgspec.json.encode(rules.seen_late(finding, window, Usec(0)))
    if read is None:
        readable(finding)
    if look.fault:
        assert finding.state is Held.UNKNOWN


limits = st.one_of(st.none(), st.integers(0, 2**63 - 1).map(Usec))


@given(
    st.builds(Duration, limits, limits, st.one_of(st.none(), medians)),
    st.one_of(st.none(), st.integers(0, 2**62)),
    pasts,
)
def test_a_duration_rule_takes_any_duration(
    rule: Duration, duration: int | None, past: tuple[Earlier, ...]
) -> None:
    readable(rules.duration(rule, "outcome[0].duration", ran(duration), past))


usual = st.builds(Median, st.integers(3, 100), st.floats(1e-9, 1), st.floats(1, 1000))
sane_sizes = st.integers(0, 2**52)


@given(usual, st.lists(sane_sizes, max_size=20), sane_sizes)
def test_a_run_like_all_before_is_never_broken_and_one_far_off_always(
    median: Median, past: list[int], size: int
) -> None:
    rule = Artifact(BACKUPS, size_vs_median=median)

    def state(of: int, window: Window) -> Held:
        return artifact(rule, file(of), window=window).state

    same = replace(WINDOW, past=nights(*[size] * len(past)))
    assert state(size, same) is Held.HELD
    window = replace(WINDOW, past=nights(*past))
    counted = sorted(past[: median.of])
    if len(past) < LEARNT:
        assert state(size, window) is Held.HELD
    else:
        assert state(counted[-1] * 1001 + 1, window) is Held.BROKEN
        if counted[(len(counted) - 1) // 2] > 0:
            assert state(0, window) is Held.BROKEN


@given(pasts, times, st.randoms(use_true_random=False))
def test_the_past_is_ordered_and_ends_with_the_first_acceptance(
    past: tuple[Earlier, ...], at: Usec, random: Random
) -> None:
    shuffled = list(past)
    random.shuffle(shuffled)
    found = rules.past_before(shuffled, at)
    moments = [one.began for one in found]
    assert moments == sorted(moments, reverse=True)
    assert all(moment < at for moment in moments)
    assert not any(one.accepted for one in found[:-1])
    older = [one for one in past if one.began < at and one not in found]
    if not any(one.accepted for one in past):
        assert older == []


EXPRESSIONS = [
    "a == b",
    "a > b and a < 10",
    "a + b * 2 > 0",
    "not a",
    "a in 'text'",
    "a",
    "a / b > 1",
]


@given(
    st.sampled_from(EXPRESSIONS),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), plain),
    st.lists(st.text(), max_size=2),
    completenesses,
)
def test_a_report_rule_takes_any_report(
    expression: str, facts: dict[str, Value], faults: list[str], completeness: Completeness
) -> None:
    try:
        expressions.parse(expression)
    except expressions.ExpressionError:
        return  # refused with the configuration
    finding = report(expression, facts, faults, completeness)
    msgspec.json.encode(finding)
    if not completeness.complete:
        assert finding.state is not Held.BROKEN or {"a", "b"} & set(facts)


@given(
    st.sampled_from([Journal(never="x"), Journal(expect="x")]),
    st.one_of(st.none(), st.text()),
    completenesses,
)
def test_a_journal_rule_takes_any_line(
    rule: Journal, line: str | None, completeness: Completeness
) -> None:
    finding = rules.journal(rule, "outcome[0].journal", line, completeness)
    msgspec.json.encode(finding)
    if not completeness.complete and line is None:
        assert finding.state is Held.UNKNOWN


few = st.lists(st.sampled_from("abc"), max_size=6).map(tuple)


@given(few.filter(bool), few, completenesses)
def test_a_steps_rule_takes_any_steps(
    order: tuple[str, ...], reached: tuple[str, ...], completeness: Completeness
) -> None:
    finding = rules.steps(Steps(order), "outcome[0].steps", reached, completeness)
    readable(finding) if completeness.reason.isprintable() else msgspec.json.encode(finding)
    is_there = any(subset == order for subset in combinations(reached, len(order)))
    assert (finding.state is Held.HELD) is is_there
    assert (finding.state is Held.UNKNOWN) is (not is_there and not completeness.complete)


@given(names)
def test_printable_text_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    if set(text) <= set(string.ascii_letters):
        assert shown == text


def test_no_word_of_a_job_file_moves_a_terminal_s_cursor() -> None:
    complete = model.Completeness()
    found = [
        rules.report(model.Report("(a ==\n\n 1)"), "r", {"a": value}, [], complete)
        for value in (1, 2, "x\x1b")
    ]
    found += [
        rules.journal(rule, "j", line, complete)
        for rule in (model.Journal(never="\x1b[2J"), model.Journal(expect="a\nb"))
        for line in (None, "\x1b[2J")
    ]
    assert all(one.summary.isprintable() for one in found)
