"""The check unit: a request in, findings out, and no answer for another run."""

import gzip
import os
from pathlib import Path

import msgspec
import pytest

from outcomed import check, rules
from outcomed.check import Answer, Request
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER, EXIT_USAGE
from outcomed.model import HOUR, Artifact, Held, JobName, RunId, UnitName, Usec
from outcomed.paths import Paths

JOB = JobName("backup")
UNIT = UnitName("backup.service")
RUN, EARLIER = RunId("a" * 32), RunId("b" * 32)
WINDOW = rules.Window(Usec(0), Usec(0), Usec(0))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(state=tmp_path, runtime=tmp_path)
    made.checks.mkdir()
    return made


def request(*artifacts: Artifact, start: int = HOUR) -> Request:
    window = rules.Window(Usec(start), Usec(start), Usec(start))
    labelled = {f"outcome[{number}].artifact": one for number, one in enumerate(artifacts)}
    return Request(RUN, UNIT, window, labelled)


def answered(asked: Request, paths: Paths) -> list[tuple[Held, str]]:
    check.ask(JOB, asked, paths)
    assert check.run(JOB, paths) == EXIT_FINE
    findings = check.read_answer(JOB, asked.run, paths)
    assert findings is not None
    return [(finding.state, finding.summary.rpartition(": ")[2]) for finding in findings]


def test_every_artifact_is_answered_by_its_label(paths: Paths, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.gz", tmp_path / "cut.gz"
    whole.write_bytes(gzip.compress(b"data" * 100))
    cut.write_bytes(whole.read_bytes()[:-9])
    found = answered(
        request(
            Artifact(str(whole), format="gzip"),
            Artifact(str(cut), format="gzip"),
            Artifact(str(tmp_path / "none.gz"), format="gzip"),
            Artifact(str(whole)),
        ),
        paths,
    )
    assert [state for state, _ in found] == [Held.HELD, Held.BROKEN, Held.BROKEN, Held.HELD]
    assert found[2][1] == "no such file"


def test_an_old_file_is_broken_however_whole_it_is(paths: Paths, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gz"
    whole.write_bytes(gzip.compress(b"data"))
    os.utime(whole, (1, 1))
    ((state, sentence),) = answered(request(Artifact(str(whole), format="gzip")), paths)
    assert state is Held.BROKEN
    assert "not written by this run" in sentence


def test_a_name_of_any_bytes_is_answered(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\n.gz")).write_bytes(gzip.compress(b"data"))
    ((state, _),) = answered(request(Artifact(f"{tmp_path}/*.gz", format="gzip")), paths)
    assert state is Held.HELD


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_unknown(paths: Paths, tmp_path: Path) -> None:
    secret = tmp_path / "secret.gz"
    secret.write_bytes(b"x")
    secret.chmod(0)
    found = answered(request(Artifact(str(secret), format="gzip")), paths)
    assert found == [(Held.UNKNOWN, "Permission denied")]


def test_a_question_takes_the_last_answer_away(paths: Paths) -> None:
    answered(request(), paths)
    check.ask(JOB, request(), paths)
    assert check.read_answer(JOB, RUN, paths) is None


def test_an_answer_to_another_question_is_none(paths: Paths) -> None:
    check.answer_path(JOB, paths).write_bytes(msgspec.json.encode(Answer(EARLIER, ())))
    assert check.read_answer(JOB, RUN, paths) is None
    assert check.read_answer(JOB, EARLIER, paths) == ()


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"run": 1}', b"\xff"])
def test_what_is_no_answer_is_none(paths: Paths, garbage: bytes) -> None:
    check.answer_path(JOB, paths).write_bytes(garbage)
    assert check.read_answer(JOB, RUN, paths) is None


def test_without_a_request_there_is_nothing_to_do(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.run(JOB, paths) == EXIT_NO_ANSWER
    assert capsys.readouterr().err == "<4>no request for backup, nothing to look at\n"


def test_a_request_that_cannot_be_read_is_said(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    check.request_path(JOB, paths).write_bytes(b"{}")
    assert check.run(JOB, paths) == EXIT_NO_ANSWER
    assert "backup.request" in capsys.readouterr().err


def test_the_program_wants_one_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["outcomed-check"])
    assert check.main() == EXIT_USAGE
    assert capsys.readouterr().err == "usage: outcomed-check JOB\n"
