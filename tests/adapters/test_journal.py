"""The journal as it really is: late lines, foreign lines, drops, lost cursors, rotation."""

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("systemd", reason="runs on a node: make check")

from outcomed import entry, journal
from outcomed.errors import JournalError
from outcomed.journal import Drop, Halt, Journal, Line, Synchronizing
from outcomed.model import InvocationId, UnitName, Usec
from outcomed.tracker import What

SOURCE = Path(__file__).parents[2] / "src"


def now() -> Usec:
    return Usec(time.time_ns() // 1000)


def new_unit() -> UnitName:
    return UnitName(f"journal-{uuid.uuid4().hex[:8]}.service")


def run(command: str, *properties: str, unit: UnitName | None = None) -> UnitName:
    """Run a shell command as a unit, to its end."""
    unit = unit or new_unit()
    settings = [f"--property={one}" for one in ("Type=oneshot", *properties)]
    subprocess.run(
        [
            *["systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit}"],
            *[*settings, "/bin/sh", "-c", command],
        ],
        check=False,
    )
    return unit


def told(unit: UnitName, begin: Usec) -> list[journal.Told]:
    journal.synchronize()
    with Journal() as source:
        return list(source.told_since(begin, unit))


def lines(unit: UnitName, begin: Usec) -> list[Line | Drop]:
    """The lines of this unit's only run since then."""
    (invocation,) = {one.invocation for one in told(unit, begin) if one.invocation is not None}
    with Journal() as source:
        return list(source.lines(unit, [invocation], begin, (begin, None)))


def messages(found: list[Line | Drop]) -> list[bytes]:
    return [one.message for one in found if isinstance(one, Line) and one.own]


@pytest.fixture
def begin() -> Usec:
    return now()


def test_pid_1_tells_of_a_run_in_order(begin: Usec) -> None:
    unit = run("exit 3")
    found = told(unit, begin)
    assert [one.what for one in found] == [
        What.STARTING,
        What.PROCESS_ENDED,
        What.FAILED,
        What.START_FAILED,
    ]
    ended = found[1]
    assert (ended.code, ended.status, ended.command) == ("exited", "3", "ExecStart")
    assert len({one.invocation for one in found}) == 1
    assert found[0].job_id
    with Journal() as source:
        tail = source.tail()
    assert tail is not None
    assert {one.boot for one in found} == {tail.boot}


def test_what_somebody_else_says_in_pid_1s_words_is_not_heard(begin: Usec) -> None:
    unit = new_unit()
    entry.send(
        {
            "MESSAGE": "Failed",
            "MESSAGE_ID": "d9b373ed55a64feb8242e02dbe79a49c",
            "UNIT": unit,
            "INVOCATION_ID": "a" * 32,
            "UNIT_RESULT": "exit-code",
            "_PID": "1",
        },
        wait=5,
    )
    assert told(unit, begin) == []


def test_the_last_line_before_the_end_is_there_after_synchronizing(begin: Usec) -> None:
    for number in range(10):
        unit = run(f"echo first; echo last {number}")
        assert messages(lines(unit, begin)) == [b"first", b"last %d" % number]


def test_another_runs_lines_are_not_this_ones(begin: Usec) -> None:
    unit = run("echo one")
    between = now()
    run("echo two", unit=unit)
    starts = [one for one in told(unit, begin) if one.what is What.STARTING]
    first, second = (one.invocation for one in starts)
    assert first is not None
    assert second is not None
    # What is said after the next run began is read in that run's turn.
    for wanted, own, text, number in (
        (first, (begin, between), b"one", 1),
        (second, (between, None), b"two", 2),
    ):
        with Journal() as source:
            found = list(source.lines(unit, [wanted], begin, own))
        assert messages(found) == [text]
        assert len([one for one in found if isinstance(one, Line)]) == number


def test_main_processes_tell_whose_a_late_line_is(begin: Usec) -> None:
    unit = run("echo $$$$; echo one")
    between = now()
    run("echo $$$$; echo two", unit=unit)  # systemd makes one $ of two
    starts = [one for one in told(unit, begin) if one.what is What.STARTING]
    first = starts[0].invocation
    assert first is not None
    with Journal() as source:
        found = source.lines(unit, [first], begin, (begin, None))
        pids = [
            int(one.message) for one in found if isinstance(one, Line) and one.message.isdigit()
        ]
    assert len(pids) == 2
    # Those of the second run, if it had been the first one's process that wrote them.
    with Journal() as source:
        mains = {pids[0]: False, pids[1]: True}
        found = list(source.lines(unit, [first], begin, (begin, between), mains=mains))
    assert messages(found) == [b"%d" % pids[1], b"two"]
    assert [one.strayed for one in found if isinstance(one, Line)] == [True, True, False, False]


def test_a_line_after_the_next_start_is_not_this_runs_though_it_has_no_id(begin: Usec) -> None:
    """Also where nobody has told us yet that there is a next run."""
    unit = run("echo first")
    link = f"/run/systemd/units/invocation:{unit}"  # where journald finds the id
    # Not over before journald has it: of a process that is gone it learns no unit.
    run(f"rm {link}; exec systemd-cat sh -c 'echo second; journalctl --sync'", unit=unit)
    starts = [one for one in told(unit, begin) if one.what is What.STARTING]
    first = starts[0].invocation
    assert first is not None
    with Journal() as source:
        found = list(source.lines(unit, [first], starts[0].at, (starts[0].at, None), words=True))
    assert messages(found) == [b"first"]
    assert [one.message for one in found if isinstance(one, Line) and not one.own] == [b"second"]


def test_pid_1_was_there_when_journald_was_not(begin: Usec) -> None:
    """What it says has the time at which it was said."""
    show = ["systemctl", "show", "--value", "--property=MainPID", journal.JOURNALD]
    journald = int(subprocess.check_output(show))
    os.kill(journald, signal.SIGSTOP)
    try:
        mono = time.monotonic_ns() // 1000
        unit = run("true")
        over = now()
        time.sleep(0.3)  # is how late it will be
    finally:
        os.kill(journald, signal.SIGCONT)
    said = told(unit, begin)
    assert len(said) == 3
    assert all(begin <= one.at <= over for one in said)
    assert all(mono <= one.mono <= mono + over - begin for one in said)


def test_a_stranger_with_the_units_name_is_not_heard(begin: Usec) -> None:
    unit = run("echo mine")
    (invocation,) = {one.invocation for one in told(unit, begin)}
    assert invocation is not None
    entry.send(
        {"MESSAGE": "theirs", "_SYSTEMD_UNIT": unit, "_SYSTEMD_INVOCATION_ID": invocation}, wait=5
    )
    run("echo theirs too")
    assert messages(lines(unit, begin)) == [b"mine"]


def test_lines_of_any_bytes_are_read(begin: Usec) -> None:
    unit = run(r"printf 'a\377b\n\001\002\n'; head -c 30000 /dev/zero | tr '\0' x")
    assert messages(lines(unit, begin)) == [b"a\xffb", b"\001\002", b"x" * 30_000]


def test_priorities_are_read_from_a_lines_prefix(begin: Usec) -> None:
    unit = run("echo '<3>bad'; echo plain")
    found = [one for one in lines(unit, begin) if isinstance(one, Line)]
    assert [(one.priority, one.message) for one in found] == [(3, b"bad"), (6, b"plain")]


def test_what_journald_dropped_is_counted_for_the_run_that_lost_it(begin: Usec) -> None:
    unit = run(
        "for i in $(seq 3000); do echo line $i; done; sleep 1.2; echo end",
        "LogRateLimitBurst=2",
        "LogRateLimitIntervalSec=1s",
    )
    found = lines(unit, begin)
    dropped = sum(one.number for one in found if isinstance(one, Drop))
    assert dropped > 0
    assert dropped + len(messages(found)) == 3_001


def run_python(script: str) -> UnitName:
    """Run a script that may use our own modules as a unit, to its end."""
    unit = new_unit()
    prelude = f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(SOURCE)!r})\n"
    subprocess.run(
        [
            *["systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit}"],
            *[sys.executable, "-c", f"{prelude}from outcomed import entry, messages\n{script}"],
        ],
        check=True,
    )
    return unit


def test_a_field_that_no_programme_writes_hurts_nobody(begin: Usec) -> None:
    """Anybody may send any field but the trusted ones, twice and of any length."""
    unit = run_python(
        "for fields in ({'PRIORITY': '9' * 5_000}, {'PRIORITY': '-1'}, {'PRIORITY': ''},\n"
        "               {'MESSAGE_ID': messages.JOB_REPORT}, {'N_DROPPED': 'x'}):\n"
        "    entry.send({'MESSAGE': 'said', **fields}, wait=10)\n"
        "entry.send({'MESSAGE': 'first\\nMESSAGE=second', 'PRIORITY': '3\\nPRIORITY=4'}, wait=10)\n"
    )
    found = [one for one in lines(unit, begin) if isinstance(one, Line)]
    assert [one.message for one in found] == [*[b"said"] * 5, b"first\nMESSAGE=second"]
    assert {one.priority for one in found} == {6}
    assert [one.report for one in found] == [None, None, None, b"", None, None]


def private_memory() -> int:
    """Bytes that are this process's alone."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024
        for line in rollup.splitlines()
        if line.startswith(("Private_Dirty:", "Private_Clean:"))
    )


# Compressed, 100 MB fit into any journal; what cannot be compressed lies in it as it is.
@pytest.mark.parametrize("message", ["'x' * 100_000_000", "os.urandom(20_000_000).hex()"])
def test_a_line_that_is_too_long_takes_neither_memory_nor_time(begin: Usec, message: str) -> None:
    unit = run_python(
        f"import os\nentry.send({{'MESSAGE': {message}}}, wait=60)\n"
        f"entry.send({{'MESSAGE': 'short', 'ANOTHER': {message}}}, wait=60)\n"
    )
    (invocation,) = {one.invocation for one in told(unit, begin) if one.invocation is not None}
    before, start = private_memory(), time.process_time()
    with Journal() as source:
        found = [
            (one.message, one.too_long)
            for one in source.lines(unit, [invocation], begin, (begin, None))
            if isinstance(one, Line) and one.own
        ]
    assert time.process_time() - start < 0.5
    assert found == [(b"", True), (b"short", False)]
    assert private_memory() - before < journal.ENTRY_MEMORY
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_a_line_of_some_megabytes_is_read_and_its_memory_given_back(begin: Usec) -> None:
    unit = run_python("entry.send({'MESSAGE': 'x' * 3_000_000}, wait=60)")
    with Journal() as source:
        (one,) = [told.invocation for told in source.told_since(begin, unit)][:1]
        assert one is not None
        journal.synchronize()
        (line,) = source.lines(unit, [one], begin, (begin, None))
        assert isinstance(line, Line)
        assert len(line.message) == 3_000_000
        assert not source.is_open


def test_sent_from_a_process_that_ends_at_once_it_stays_the_units(begin: Usec) -> None:
    unit = new_unit()
    script = (
        f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(SOURCE)!r})\n"
        "import os\n"
        "from outcomed import entry\n"
        "for number in range(50):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        entry.send({'MESSAGE': f'number {number}', 'PRIORITY': '5'}, wait=10)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    subprocess.run(
        [
            *["systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit}"],
            *["--property=Type=oneshot", sys.executable, "-c", script],
        ],
        check=True,
    )
    assert messages(lines(unit, begin)) == [b"number %d" % number for number in range(50)]


def test_a_large_entry_arrives_whole(begin: Usec) -> None:
    marker = uuid.uuid4().hex
    entry.send({"MESSAGE": "large", "OUTCOMED_TEST": marker + "x" * 700_000}, wait=10)
    journal.synchronize()
    found = subprocess.run(
        ["journalctl", "--all", "--output=export", f"_PID={os.getpid()}", "MESSAGE=large"],
        capture_output=True,
        check=True,
    )
    assert marker.encode() + b"x" * 700_000 in found.stdout


# --- cursors ---------------------------------------------------------------------------------


def tail_cursor() -> str:
    journal.synchronize()
    with Journal() as source:
        tail = source.tail()
    assert tail is not None
    return tail.cursor


def told_since_cursor(cursor: str, fallback: Usec) -> tuple[bool, list[journal.Told]]:
    journal.synchronize()
    with Journal() as source:
        intact = source.at(cursor) is not None
        found = source.told_after(cursor) if intact else source.told_since(fallback)
        return intact, list(found)


def test_reading_goes_on_after_the_cursor(begin: Usec) -> None:
    before = run("true")
    cursor = tail_cursor()
    unit = run("true")
    intact, found = told_since_cursor(cursor, begin)
    assert intact
    assert [one.what for one in found if one.unit == unit] == [
        What.STARTING,
        What.ENDED_WELL,
        What.STARTED,
    ]
    assert len([one for one in found if one.unit == before]) <= 1  # the cursor's own entry


@pytest.mark.parametrize("cursor", ["", "garbled", "s=00;i=zz"])
def test_a_garbled_cursor_is_a_gap_and_reading_begins_where_it_is_told_to(
    cursor: str, begin: Usec
) -> None:
    unit = run("true")
    intact, found = told_since_cursor(cursor, begin)
    assert not intact
    assert unit in {one.unit for one in found}


def test_a_cursor_that_vacuuming_took_is_a_gap(begin: Usec) -> None:
    cursor = tail_cursor()
    subprocess.run(["journalctl", "--rotate"], check=True)
    unit = run("true")
    subprocess.run(["journalctl", "--quiet", "--vacuum-files=1"], check=True)
    intact, found = told_since_cursor(cursor, begin)
    assert not intact
    assert unit in {one.unit for one in found}


def test_a_reader_that_was_open_before_a_rotation_sees_what_came_after(begin: Usec) -> None:
    with Journal() as source:
        assert source.tail() is not None
        for _ in range(3):
            subprocess.run(["journalctl", "--rotate"], check=True)
            unit = run("true")
            journal.synchronize()
            assert len(list(source.told_since(begin, unit))) == 3
        subprocess.run(["journalctl", "--quiet", "--vacuum-files=1"], check=True)
        unit = run("true")
        journal.synchronize()
        assert len(list(source.told_since(begin, unit))) == 3


def test_a_file_that_is_damaged_while_it_is_open_is_no_silence(begin: Usec) -> None:
    """libsystemd drops it where it comes upon the damage, and says nothing; also of what it has
    read before, when it is asked again."""
    unit = run("for number in $(seq 2000); do echo line $number; done")
    journal.synchronize()
    subprocess.run(["journalctl", "--rotate"], check=True)
    archive = next(
        file
        for file in Path("/var/log/journal").glob("*/system@*.journal")
        if b"MESSAGE=line 1000" in file.read_bytes()
    )

    def read(source: Journal) -> int:
        return sum(isinstance(one, Line) for one in source.lines(unit, [], begin, (begin, None)))

    try:
        with Journal() as source:
            assert read(source) == 2000
            with archive.open("r+b") as file:
                found = file.read().index(b"MESSAGE=line 1000")
                file.seek(found)
                file.write(bytes(archive.stat().st_size - found))
            for _ in range(2):
                with pytest.raises(JournalError, match="damaged"):
                    read(source)
    finally:
        archive.unlink()


def test_a_restart_of_journald_hurts_nobody(begin: Usec) -> None:
    with Journal() as source:
        assert source.tail() is not None
        subprocess.run(["systemctl", "restart", "systemd-journald"], check=True)
        unit = run("echo after")
        journal.synchronize()
        assert len(list(source.told_since(begin, unit))) == 3
        assert messages(lines(unit, begin)) == [b"after"]


def test_an_idle_journal_holds_no_file_open() -> None:
    source = Journal()
    source.tail()
    assert open_journals()
    source.close()
    source.close()
    assert not source.is_open
    assert not open_journals()
    assert source.tail() is not None
    source.close()


def open_journals() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # the listing's own
        found += [target] * target.endswith((".journal", ".journal~"))
    return found


def test_this_boot_is_known() -> None:
    with Journal() as source:
        boot = source.boot_id()
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert boot == kernel


# --- synchronizing ---------------------------------------------------------------------------


def test_this_boot_is_the_only_one_and_its_timers_elapse(begin: Usec) -> None:
    run("true")
    journal.synchronize()
    with Journal() as source:
        (boot,) = source.boots(begin)
        assert source.boots(Usec(boot.end + 1)) == []
    assert boot.begin <= boot.timers_from < begin <= boot.end
    assert boot.timers_to == boot.end


def test_sleep_is_what_root_says_about_it(begin: Usec) -> None:
    """systemd-sleep does; a stranger's word is not heard."""
    script = "entry.send({'MESSAGE': 'x', 'MESSAGE_ID': %r})"
    ids = (journal.SLEEP_BEGINS, journal.SLEEP_ENDS)
    for ident in ids:
        run_python(script % ident)
    prefix = f"MESSAGE=x\nMESSAGE_ID={ids[0]}\n"
    subprocess.run(
        ["setpriv", "--reuid=65534", "logger", "--journald"], input=prefix.encode(), check=True
    )
    run_python(script % ids[0])  # and it sleeps still
    journal.synchronize()
    with Journal() as source:
        ((slept, woke),) = source.sleeps(begin)
    assert begin <= slept <= woke <= now()


def test_journald_answers_when_all_can_be_read(begin: Usec) -> None:
    question = Synchronizing()
    try:
        deadline = time.monotonic() + 10
        while not question.done():
            assert time.monotonic() < deadline
            journal.select.select([question], [], [], 1)
    finally:
        question.close()


def test_a_namespace_that_is_not_there_does_not_answer() -> None:
    with pytest.raises(JournalError, match="journald does not answer"):
        Synchronizing("nowhere")


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"n{uuid.uuid4().hex[:6]}"
    yield name
    subprocess.run(["systemctl", "stop", f"systemd-journald@{name}.service"], check=False)


def test_a_runs_lines_are_read_from_its_namespace(begin: Usec, namespace: str) -> None:
    unit = run("echo hidden", f"LogNamespace={namespace}")
    (invocation,) = {one.invocation for one in told(unit, begin)}
    assert invocation is not None
    deadline = time.monotonic() + 10
    found: list[bytes] = []
    while not found and time.monotonic() < deadline:
        with Journal(namespace) as source:
            found = messages(list(source.lines(unit, [invocation], begin, (begin, None))))
    assert found == [b"hidden"]
    assert messages(lines(unit, begin)) == []


def test_journalds_settings_are_those_in_force() -> None:
    assert journal.journald_settings() == journal.JournaldSettings()
    dropin = Path("/etc/systemd/journald.conf.d/50-test.conf")
    dropin.parent.mkdir(exist_ok=True)
    dropin.write_text("[Journal]\nRateLimitBurst=7\n# Storage=none\nRateLimitIntervalSec=1min\n")
    try:
        settings = journal.journald_settings()
    finally:
        dropin.unlink()
    assert (settings.burst, settings.interval) == (7, 60_000_000)
    assert settings.storage == "auto"


def test_an_id_that_nobody_has_has_no_lines(begin: Usec) -> None:
    with Journal() as source:
        found = source.lines(new_unit(), [InvocationId("f" * 32)], begin, (begin, None))
        assert [one for one in found if not isinstance(one, Halt)] == []  # of other tests
