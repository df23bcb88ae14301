"""What a job says through outcomectl, with the real journald: whose word it is, what is kept."""

import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("systemd", reason="runs on a node: make check")

from outcomed import entry, journal, messages, output
from outcomed.ctl import check_config, systemctl
from outcomed.model import AlreadyDone, Artifact, Job, JobName, UnitName, Usec

SOURCE = Path(__file__).parents[2] / "src"
SCRIPT = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
sys.dont_write_bytecode = True
from outcomed.ctl.main import main
sys.exit(main())
"""
OUTCOMECTL = [sys.executable, "-c", SCRIPT]
UNITS = Path("/run/systemd/system")


def in_a_unit(*argv: str, properties: tuple[str, ...] = ()) -> tuple[str, int]:
    """Run a command as a unit of its own: the unit's name and its exit status."""
    unit = f"ctl-{uuid.uuid4().hex[:8]}.service"
    settings = [f"--property={one}" for one in properties]
    command = ["systemd-run", "--wait", "--collect", "--quiet", f"--unit={unit}", *settings, *argv]
    return unit, subprocess.run(command, check=False).returncode


def entries(unit: str, message_id: str) -> list[dict[str, Any]]:
    subprocess.run(["journalctl", "--sync"], check=True)
    found = subprocess.run(
        ["journalctl", "-o", "json", f"_SYSTEMD_UNIT={unit}", f"MESSAGE_ID={message_id}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_a_step_is_the_words_of_the_unit_that_took_it() -> None:
    unit, status = in_a_unit(*OUTCOMECTL, "step", "upload to the other side")
    assert status == 0
    (entry,) = entries(unit, messages.JOB_STEP)
    assert entry["OUTCOMED_STEP"] == "upload to the other side"
    assert entry["MESSAGE"] == "step: upload to the other side"
    assert entry["PRIORITY"] == "5"
    assert len(entry["_SYSTEMD_INVOCATION_ID"]) == 32


def test_a_report_is_read_back_with_its_types() -> None:
    facts = ["sent=347", "ratio=0.5", "ok=true", "left=null", "who=a\nb", "id=007"]
    unit, status = in_a_unit(*OUTCOMECTL, "report", *facts, "--url", "https://x.example/")
    assert status == 0
    (entry,) = entries(unit, messages.JOB_REPORT)
    said = output.Output({}, None)
    said.take_report(entry["OUTCOMED_REPORT"].encode())
    assert said.faults == []
    assert said.report == {
        "sent": 347,
        "ratio": 0.5,
        "ok": True,
        "left": None,
        "who": "a\nb",
        "id": "007",
        "url": "https://x.example/",
    }


def test_the_readers_of_the_journal_see_step_and_report_of_a_run() -> None:
    say = shlex.join(OUTCOMECTL)
    unit, status = in_a_unit("/bin/sh", "-c", f"{say} step one && {say} report n=1")
    assert status == 0
    (entry,) = entries(unit, messages.JOB_STEP)
    begin = Usec(int(entry["__REALTIME_TIMESTAMP"]) - 1_000_000)
    with journal.Journal() as source:
        invocations = [entry["_SYSTEMD_INVOCATION_ID"]]
        lines = list(source.lines(UnitName(unit), invocations, begin, (begin, None)))
    own = [line for line in lines if isinstance(line, journal.Line) and line.own]
    assert [line.step for line in own if line.step is not None] == [b"one"]
    assert [line.report for line in own if line.report is not None] == [b'{"n":1}']


def test_a_user_without_privileges_may_say_it_too() -> None:
    unit, status = in_a_unit(*OUTCOMECTL, "step", "mine", properties=("User=nobody",))
    assert status == 0
    assert len(entries(unit, messages.JOB_STEP)) == 1


def test_a_notice_passes_where_only_notices_do() -> None:
    unit, _ = in_a_unit(*OUTCOMECTL, "step", "seen", properties=("LogLevelMax=notice",))
    assert len(entries(unit, messages.JOB_STEP)) == 1


def test_every_last_word_is_attributed() -> None:
    """A process that has ended has no unit: ours waits until its entry was read."""
    for number in range(10):
        unit, _ = in_a_unit(*OUTCOMECTL, "step", f"last-{number}")
        assert len(entries(unit, messages.JOB_STEP)) == 1


def test_outside_of_a_unit_nothing_is_sent_and_it_says_so() -> None:
    if entry.own_unit() is not None:
        pytest.skip("these tests run inside of a unit")
    result = subprocess.run(
        [*OUTCOMECTL, "report", "a=1"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 3
    assert "not inside a unit" in result.stderr


@pytest.fixture
def units() -> Iterator[list[Path]]:
    made: list[Path] = []
    yield made
    for file in made:
        file.unlink()
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def test_systemd_itself_is_asked_in_one_go(units: list[Path]) -> None:
    texts = {
        "ctl-a.service": "[Service]\nType=oneshot\nExecStart=true\nDynamicUser=yes\n",
        "ctl-b.service": "[Service]\nType=oneshot\nExecStart=true\nSuccessExitStatus=17\n",
        "ctl-b.timer": "[Timer]\nOnCalendar=daily\n",
    }
    for name, text in texts.items():
        (UNITS / name).write_text(text)
        units.append(UNITS / name)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", "ctl-b.timer"], check=True)
    jobs = [
        Job(
            name=JobName(name),
            unit=UnitName(f"{name}.service"),
            already_done=(AlreadyDone(exit_status=17),),
            outcome=(Artifact("/tmp/x"),),
        )
        for name in ("ctl-a", "ctl-b", "ctl-none")
    ]
    answer = systemctl.show([job.unit for job in jobs], check_config._PROPERTIES)
    subprocess.run(["systemctl", "stop", "ctl-b.timer"], check=True)
    assert answer is not None
    found = [
        [key for key, _, _ in check_config.about_unit(job, properties)]
        for job, properties in zip(jobs, answer, strict=True)
    ]
    assert found == [
        ["unit", "already_done[0].exit_status", "outcome[0].artifact"],
        [],
        ["unit"],
    ]


def test_what_systemd_says_of_time_is_understood() -> None:
    (answer,) = systemctl.show(["-.mount"], ["ActiveEnterTimestamp"]) or [{}]
    assert systemctl.moment(answer["ActiveEnterTimestamp"])
    assert systemctl.moment("") is None
