"""The check unit: a request in, findings out, and no answer for another run."""

import grp
import gzip
import hashlib
import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcomed import check, checks, children, rules
from outcomed.checks import Request
from outcomed.errors import EXIT_FINE, EXIT_NO_ANSWER, EXIT_USAGE
from outcomed.model import (
    HOUR,
    Artifact,
    Command,
    Count,
    Finding,
    Held,
    JobName,
    RunId,
    UnitName,
    Usec,
)
from outcomed.paths import Paths

JOB = JobName("backup")
UNIT = UnitName("backup.service")
RUN, EARLIER = RunId("a" * 32), RunId("b" * 32)
ME = pwd.getpwuid(os.geteuid()).pw_name
# Python 3.12 and later warn about any fork beside a thread, and pytest-xdist has one.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(state=tmp_path, runtime=tmp_path)
    made.checks.mkdir()
    return made


def request(*asked: Artifact | Command, start: int = HOUR, run: RunId = RUN) -> Request:
    window = rules.Window(Usec(start), Usec(start), Usec(start))
    labelled = {rules.name(number, one): one for number, one in enumerate(asked)}
    return Request(JOB, run, UNIT, "", ME, window, labelled)


def found(asked: Request, paths: Paths) -> dict[str, Finding]:
    checks.ask(asked, paths)
    assert check.run(JOB, paths) == EXIT_FINE
    return {finding.rule: finding for finding in checks.read_answer(asked, paths)}


def answered(asked: Request, paths: Paths) -> list[tuple[Held, str]]:
    findings = found(asked, paths).values()
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
    asked = request(Artifact("/nowhere"))
    assert found(asked, paths)
    checks.ask(asked, paths)
    assert checks.read_answer(asked, paths) == ()


def test_an_answer_to_another_question_is_none(paths: Paths) -> None:
    earlier = request(Artifact("/nowhere"), run=EARLIER)
    asked = request(Artifact("/nowhere"))
    assert found(earlier, paths)
    assert checks.read_answer(asked, paths) == ()
    assert checks.is_asked(earlier, paths)
    assert not checks.is_asked(asked, paths)
    checks.forget(JOB, paths)
    assert not checks.is_asked(earlier, paths)


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"run": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_is_none(paths: Paths, garbage: bytes) -> None:
    checks.answer_path(JOB, paths).write_bytes(garbage)
    assert checks.read_answer(request(), paths) == ()


def test_what_killed_the_check_leaves_what_was_found_until_then(paths: Paths) -> None:
    """The answer grows with each finding: a second process waits in the second rule."""
    asked = request(Artifact("/nowhere"), Command("sleep 60", timeout=Usec(HOUR)))
    checks.ask(asked, paths)
    child = os.fork()
    if child == 0:
        try:
            check.run(JOB, paths)
        finally:
            os._exit(0)
    try:
        until = time.monotonic() + 20
        while not checks.read_answer(asked, paths) and time.monotonic() < until:
            time.sleep(0.01)  # for another process, which has no way to call
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    (finding,) = checks.read_answer(asked, paths)
    assert (finding.rule, finding.state) == ("outcome[0].artifact", Held.BROKEN)


# --- artifacts -----------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read_is_unknown(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.gz"
    file.write_bytes(gzip.compress(os.urandom(1 << 20)))

    def content(
        path: bytes, identity: tuple[int, ...], wanted: list[Artifact], beat: Any
    ) -> check.Content:
        with file.open("ab") as more:
            more.write(b"more")
        return real(path, identity, wanted, beat)

    real = check.content
    monkeypatch.setattr(check, "content", content)
    found = answered(request(Artifact(str(file), format="gzip")), paths)
    assert found == [(Held.UNKNOWN, "it was replaced while it was looked at")]


def test_a_pipe_of_somebody_else_hangs_nobody(paths: Paths, tmp_path: Path) -> None:
    """It takes the file's place between the look and the reading."""
    os.mkfifo(tmp_path / "pipe")
    limits = children.Limits(total=1)
    artifact = Artifact(str(tmp_path / "pipe"), format="gzip")

    def work(beat: children.Beat) -> bytes:
        path = os.fsencode(artifact.path)
        return msgspec.json.encode(check.content(path, (), [artifact], beat))

    with pytest.raises(children.NoAnswerError, match="not done within 1s"):
        children.answer_of(work, limits)


def test_count_is_of_those_that_this_run_has_written(paths: Paths, tmp_path: Path) -> None:
    for name in ("old.gz", "new-1.gz", "new-2.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"data"))
    os.utime(tmp_path / "old.gz", (1, 1))
    pattern = f"{tmp_path}/*.gz"

    def judged(low: int | None, high: int | None, written_by: Any = "run") -> tuple[Held, str]:
        rule = Artifact(pattern, written_by=written_by, count=Count(low, high))
        return answered(request(rule, start=time.time_ns() // 1000 - HOUR), paths)[0]

    assert judged(2, 2)[0] is Held.HELD
    assert judged(3, 3, "any")[0] is Held.HELD
    assert judged(3, 3) == (Held.BROKEN, "2 files written by this run, expected 3")
    assert judged(3, None)[1] == "2 files written by this run, expected at least 3"
    assert judged(None, 1)[1] == "2 files written by this run, expected at most 1"


def test_owner_and_mode_are_the_files(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"data")
    file.chmod(0o640)
    group = grp.getgrgid(file.stat().st_gid).gr_name
    for owner in (ME, f"{ME}:{group}", f":{group}", str(os.geteuid()), f"{os.geteuid()}:{group}"):
        rule = Artifact(str(file), owner=owner, mode=0o640)
        assert answered(request(rule), paths)[0][0] is Held.HELD, owner
    wrong = answered(request(Artifact(str(file), owner="nobody:nogroup")), paths)
    assert wrong == [(Held.BROKEN, f"owned by {ME}:{group}, expected nobody:nogroup")]
    wrong = answered(request(Artifact(str(file), mode=0o600)), paths)
    assert wrong == [(Held.BROKEN, "mode 0640, expected 0600")]


def test_checksum_is_of_the_whole_file(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "file.gz"
    file.write_bytes(gzip.compress(b"data"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    right = Artifact(str(file), format="gzip", sha256=digest)
    assert found(request(right), paths)["outcome[0].artifact"].evidence["sha256"] == digest
    wrong = Artifact(str(file), format="gzip", sha256="0" * 64)
    ((state, sentence),) = answered(request(wrong), paths)
    assert state is Held.BROKEN
    assert sentence == f"its SHA-256 is {digest[:12]}…, expected 000000000000…"


@pytest.mark.parametrize(
    ("sidecar", "text", "state", "sentence"),
    [
        ("file.gz.sha256", "{sum}  file.gz\n", Held.HELD, ""),
        ("SHA256SUMS", "{zero}  other\n{sum} *./file.gz\n", Held.HELD, ""),
        ("SHA256SUMS", "SHA256 (file.gz) = {sum}\n", Held.HELD, ""),
        ("file.gz.sha256", "{zero}  file.gz\n", Held.BROKEN, "file.gz.sha256 says 0000"),
        ("file.gz.sha256", "{sum}  other.gz\n", Held.BROKEN, "names other.gz, not file.gz"),
        ("elsewhere", "{sum}  file.gz\n", Held.BROKEN, "no sidecar with its SHA-256"),
    ],
)
def test_checksum_may_stand_beside_the_file(
    paths: Paths, tmp_path: Path, sidecar: str, text: str, state: Held, sentence: str
) -> None:
    file = tmp_path / "file.gz"
    file.write_bytes(gzip.compress(b"data"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / sidecar).write_text(text.format(sum=digest, zero="0" * 64))
    asked = request(Artifact(str(file), format="gzip", sha256="sidecar"))
    finding = found(asked, paths)["outcome[0].artifact"]
    assert (finding.state, sentence in finding.summary) == (state, True), finding


def test_file_of_several_rules_is_read_once(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.tar.gz"
    subprocess.run(["tar", "-C", "/etc", "-czf", str(file), "passwd"], check=True)
    reads = tmp_path / "reads"

    def content(
        path: bytes, identity: tuple[int, ...], wanted: list[Artifact], beat: Any
    ) -> check.Content:
        with reads.open("a") as log:
            log.write("x")
        return real(path, identity, wanted, beat)

    real = check.content
    monkeypatch.setattr(check, "content", content)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    asked = request(
        Artifact(str(file), format="gzip"),
        Artifact(f"{tmp_path}/*.gz", format="tar", sha256=digest),
        Artifact(str(file), sha256="0" * 64),
    )
    states = [finding.state for finding in found(asked, paths).values()]
    assert states == [Held.HELD, Held.HELD, Held.BROKEN]
    assert reads.read_text() == "x"


def test_what_is_too_small_is_not_read(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "file.gz"
    file.write_bytes(gzip.compress(b"data"))
    rule = Artifact(str(file), min_size=1 << 30, format="gzip", sha256="0" * 64)
    finding = found(request(rule), paths)["outcome[0].artifact"]
    assert finding.state is Held.BROKEN
    assert "bytes_read" not in finding.evidence


# --- commands ------------------------------------------------------------------------------------


def test_command_is_judged_by_its_status(paths: Paths) -> None:
    found = answered(
        request(
            Command("true"),
            Command("sh -c 'echo what is wrong; echo more; exit 3'"),
            Command("/nonexistent/program"),
            Command("sh -c 'kill -SEGV $$'"),
            Command("sh -c 'echo begun; exec sleep 60'", timeout=Usec(300_000)),
        ),
        paths,
    )
    assert found == [
        (Held.HELD, "it exited with 0"),
        (Held.BROKEN, "what is wrong"),
        (Held.UNKNOWN, "No such file or directory"),
        (Held.UNKNOWN, "sh was killed by SIGSEGV"),
        (Held.UNKNOWN, "sh gave no answer within 300ms"),
    ]


@pytest.mark.parametrize(
    ("status", "said", "state", "sentence"),
    [
        (0, "DISK OK - free | /=3MB;;;0", Held.HELD, "DISK OK - free"),
        (1, "DISK WARNING - half", Held.BROKEN, "DISK WARNING - half"),
        (2, "all of it is full", Held.BROKEN, "CRITICAL: all of it is full"),
        (3, "no such disk", Held.UNKNOWN, "UNKNOWN: no such disk"),
        (4, "what", Held.UNKNOWN, "UNKNOWN: status 4 is none of a plugin's; what"),
        (0, "", Held.HELD, "OK: it said nothing"),
    ],
)
def test_plugin_is_judged_by_the_protocol(
    paths: Paths, status: int, said: str, state: Held, sentence: str
) -> None:
    rule = Command(f"sh -c 'echo \"{said}\"; exit {status}'", protocol="nagios")
    finding = found(request(rule), paths)["outcome[0].command"]
    assert (finding.state, finding.summary) == (state, sentence)
    assert finding.evidence.get("perfdata") == ("/=3MB;;;0" if "|" in said else None)


def test_command_is_handed_the_artifact_before_it(paths: Paths, tmp_path: Path) -> None:
    for name in ("a b.gz", "c.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"data"))
    shown = request(
        Command("printf %%s {artifact}"),
        Artifact(f"{tmp_path}/a*.gz"),
        Command("printf [%%s] x={artifact} 'not split'"),
        Artifact(f"{tmp_path}/c*.gz"),
        Command("sh -c 'printf %%s $OUTCOMED_ARTIFACT:$OUTCOMED_JOB:$MONITOR_UNIT'"),
    )
    outputs = [
        finding.evidence.get("output")
        for label, finding in sorted(found(shown, paths).items())
        if label.endswith("command")
    ]
    assert outputs == [
        f"{tmp_path}/a b.gz",
        f"[x={tmp_path}/a b.gz][not split]",
        f"{tmp_path}/c.gz:backup:backup.service",
    ]


def test_command_is_not_handed_a_broken_artifact(paths: Paths) -> None:
    found = answered(request(Artifact("/nowhere"), Command("touch {artifact}")), paths)
    assert found[1] == (Held.UNKNOWN, "not run, since outcome[0].artifact is broken")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_command_runs_as_its_user(paths: Paths) -> None:
    script = "sh -c 'id -un; id -G; echo $HOME $USER'"
    finding = found(request(Command(script, user="daemon")), paths)["outcome[0].command"]
    user = pwd.getpwnam("daemon")
    assert finding.evidence["output"] == f"daemon\n{user.pw_gid}\n{user.pw_dir} daemon\n"


def test_command_of_nobody_is_unknown(paths: Paths) -> None:
    wrong = request(Command("true", user="no-such-user"))
    assert answered(wrong, paths)[0][1] == "there is no user no-such-user to run it as"
    unasked = msgspec.structs.replace(request(Command("true")), user=None)
    ((state, sentence),) = answered(unasked, paths)
    assert (state, sentence) == (Held.UNKNOWN, "the User= of backup.service is not known")


def test_only_the_beginning_of_what_a_command_says_is_kept(paths: Paths) -> None:
    rule = Command("sh -c 'seq 1000000; exit 1'")
    finding = found(request(rule), paths)["outcome[0].command"]
    output, cut = finding.evidence["output"], finding.evidence["output_cut"]
    assert isinstance(output, str)
    assert isinstance(cut, int)
    assert output.startswith("1\n2\n")
    assert len(output) == children.OUTPUT_LIMIT
    assert len(output) + cut == sum(len(f"{number}\n") for number in range(1, 1_000_001))


def test_background_child_keeps_nobody_waiting(paths: Paths) -> None:
    """It holds the pipe, and goes on talking."""
    rule = Command("sh -c 'yes & exit 0'", timeout=Usec(20_000_000))
    began = time.monotonic()
    finding = found(request(rule), paths)["outcome[0].command"]
    assert finding.state is Held.HELD
    assert time.monotonic() - began < 10


def test_without_a_request_there_is_nothing_to_do(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.run(JOB, paths) == EXIT_NO_ANSWER
    assert capsys.readouterr().err == "<4>no request for backup, nothing to look at\n"


def test_a_request_that_cannot_be_read_is_said(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    checks.request_path(JOB, paths).write_bytes(b"{}")
    assert check.run(JOB, paths) == EXIT_NO_ANSWER
    assert "backup.request" in capsys.readouterr().err


def test_the_program_wants_one_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["outcomed-check"])
    assert check.main() == EXIT_USAGE
    assert capsys.readouterr().err == "usage: outcomed-check JOB\n"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("oom 0\noom_kill 0\n", "it exited"),
        (
            "oom 1\noom_kill 1\n",
            "took more memory than MemoryMax= of outcomed-check@.service allows",
        ),
        ("oom 0\noom_kill 1\n", "was killed when the host had no memory left"),
        (None, "it exited"),
    ],
)
def test_memory_is_to_blame_where_the_kernel_says_so(
    tmp_path: Path, after: str | None, said: str
) -> None:
    around = check.Around(oom=lambda: children.oom(str(tmp_path)))
    before = around.oom()
    if after is not None:
        (tmp_path / "memory.events").write_text(f"low 0\nhigh 3\nmax 9\n{after}")
    assert around.blamed(before, "it exited") == said
