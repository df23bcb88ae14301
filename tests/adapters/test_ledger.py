"""The ledger where it lives: root without privileges, in the sandbox of the daemon."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcomed.ledger import Ledger, Reader, Turn
from outcomed.model import Delivery, Usec

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/run/systemd/system").exists(),
    reason="runs on a node: make check",
)

SOURCE = Path(__file__).parents[2] / "src"
BEGIN = f"""
import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(SOURCE)!r})
import os, signal
from pathlib import Path
from outcomed.ledger import Ledger, Reader, Turn
from outcomed.model import Delivery, Usec
path = Path(os.environ["STATE_DIRECTORY"], "ledger.db")
"""


def delivery(number: int) -> Delivery:
    return Delivery(str(number), "ops", Usec(number), {})


@pytest.fixture
def state() -> Iterator[str]:
    name = f"outcomed-test-{uuid.uuid4().hex[:8]}"
    yield name
    subprocess.run(["rm", "-r", f"/var/lib/{name}"], check=False)


def in_sandbox(state: str, script: str) -> subprocess.CompletedProcess[str]:
    """As outcomed.service: root's uid and one capability, nothing writable but its state."""
    properties = [
        f"StateDirectory={state}",
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service ~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
    ]
    return subprocess.run(
        ["systemd-run", "--quiet", "--collect", "--wait", "--pipe"]
        + [f"--property={one}" for one in properties]
        + [sys.executable, "-c", BEGIN + script],
        capture_output=True,
        text=True,
        check=False,
    )


KILLED = """
book = Ledger(path)
book.commit(Turn(deliveries=[Delivery("1", "ops", Usec(1), {})]))
book._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
book.commit(Turn(deliveries=[Delivery("2", "ops", Usec(2), {})]))
os.kill(os.getpid(), signal.SIGKILL)
"""
GOES_ON = """
with Ledger(path) as book:
    book.commit(Turn(deliveries=[Delivery("3", "ops", Usec(3), {})]))
    print(*[one.id for one in book.due()])
"""


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_daemon_in_its_sandbox_goes_on_where_another_was_killed(
    state: str, shared_memory: bool
) -> None:
    path = Path("/var/lib", state, "ledger.db")
    in_sandbox(state, KILLED)
    assert Path(f"{path}-wal").stat().st_size > 0
    if not shared_memory:
        Path(f"{path}-shm").unlink()
    with Reader(path) as reader:
        assert reader.undelivered() == [delivery(1), delivery(2)]
    result = in_sandbox(state, GOES_ON)
    assert (result.stdout, result.stderr) == ("1 2 3\n", "")
    assert not Path(f"{path}-wal").exists()
    with Reader(path) as reader:
        assert len(reader.undelivered()) == 3


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_file_system_costs_a_turn_and_no_more(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)], check=True)
    try:
        with Ledger(tmp_path / "ledger.db") as book:
            book.commit(Turn(deliveries=[delivery(1)]))
            blocker = tmp_path / "blocker"
            with pytest.raises(OSError, match="space"):
                fill(blocker)
            with pytest.raises(Exception, match="could not be committed"):
                book.commit(Turn(deliveries=[delivery(number) for number in range(2, 500)]))
            assert book.due() == [delivery(1)]
            blocker.unlink()
            book.commit(Turn(deliveries=[delivery(2)]))
            assert book.due() == [delivery(1), delivery(2)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_writer_that_is_killed_in_the_middle_leaves_whole_turns(tmp_path: Path) -> None:
    script = BEGIN + (
        "with Ledger(path) as book:\n"
        "    print('ready', flush=True)\n"
        "    for n in range(0, 10**9, 2):\n"
        "        pair = [Delivery(str(m), 'ops', Usec(m), {}) for m in (n, n + 1)]\n"
        "        book.commit(Turn(deliveries=pair))\n"
        "        print(n, flush=True)\n"
    )
    environment = os.environ | {"STATE_DIRECTORY": str(tmp_path)}
    for _ in range(5):
        path = tmp_path / "ledger.db"
        path.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = -1
            for line in writer.stdout:
                told = told if line == "ready\n" else int(line)
                if told >= 40:
                    writer.send_signal(signal.SIGKILL)
                    break
        with Reader(path) as reader:
            count = len(reader.undelivered())
        assert count % 2 == 0
        assert count >= told + 2
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
