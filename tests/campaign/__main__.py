"""Kill the daemon at random moments and cut its power, under a load of good and bad runs.

Three ways to end it: SIGKILL at a random moment; SIGKILL at the nth call that writes (strace
injects it, so the fault comes between two statements of ours that nobody has chosen); and a power
cut under its ledger and the journal, after which the node boots again. At the end everything is
counted against PID 1's own journal and against what the receiver got.

`--seed` repeats the moments; the runs beside them are the machine's.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.campaign import account, site
from tests.nodes import Node
from tests.nodes.build import CHECKOUT, build_deb

# What a write is: of the ledger, its commit, of the spool and of files beside, to other processes.
WRITES = ("pwrite64", "fdatasync,fsync", "rename,renameat", "write", "sendmsg,sendto", "unlink")
LATEST = 2.5  # seconds after the daemon's start, at which it is killed
PATIENCE = 180.0


@dataclass(frozen=True)
class Plan:
    kills: int
    writes: int
    cuts: int
    seed: int


FULL, SHORT = (220, 110, 30), (12, 8, 3)


def main() -> int:
    plan = _plan()
    print(f"campaign: {plan}", flush=True)
    began = time.monotonic()
    wrong: list[str] | None = None
    with site.campaign_node(build_deb()) as node:
        try:
            done = _carry_out(node, plan)
            books = account.read(node)
            wrong = account.faults(books) + account.leftovers(node)
        finally:
            if wrong is None or wrong:
                _keep(node, plan)
    print(f"{done}; {account.summary(books)}; {time.monotonic() - began:.0f} s")
    for fault in wrong:
        print(f"wrong: {fault}")
    print(f"seed {plan.seed}: {len(wrong)} wrong")
    return 1 if wrong else 0


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python3 -m tests.campaign")
    parser.add_argument("--short", action="store_true", help="less than a minute of it")
    parser.add_argument("--kills", type=int, help="at random moments")
    parser.add_argument("--writes", type=int, help="kills at the nth call that writes")
    parser.add_argument("--cuts", type=int, help="of the power")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    usual = SHORT if chosen.short else FULL
    asked = (chosen.kills, chosen.writes, chosen.cuts)
    kills, writes, cuts = (one if one is not None else usual[n] for n, one in enumerate(asked))
    return Plan(kills, writes, cuts, chosen.seed)


def _carry_out(node: Node, plan: Plan) -> str:
    chance = random.Random(plan.seed)
    site.start_load(node, plan.seed)
    acts: list[Callable[[Node, random.Random], str]] = [
        *[_kill] * plan.kills,
        *[_kill_at_write] * plan.writes,
        *[_cut_power] * plan.cuts,
    ]
    chance.shuffle(acts)
    at: dict[str, int] = {}
    for number, act in enumerate(acts, 1):
        how = act(node, chance)
        at[how] = at.get(how, 0) + 1
        if number % 20 == 0:
            print(f"  {number} of {len(acts)}: {at}", flush=True)
    site.stop_load(node)
    _until_all_is_told(node)
    kills = sum(times for how, times in at.items() if how.startswith("killed"))
    ways = ", ".join(f"{times} x {how}" for how, times in sorted(at.items()))
    return f"{kills} kills, {at.get('power cut', 0)} power cuts ({ways})"


def _keep(node: Node, plan: Plan) -> None:
    """What it takes to find out what went wrong."""
    kept = CHECKOUT / "build" / f"campaign-{plan.seed}"
    kept.mkdir(parents=True, exist_ok=True)
    for path in site.DISKS:
        shutil.copytree(node.path(path), kept / Path(path).name, dirs_exist_ok=True)
    print(f"ledger and journal of the node: {kept}")


def _daemon(node: Node) -> str:
    """The living daemon's process, once there is one; systemd starts it again by itself."""

    def pid() -> str | None:
        found = node.show("outcomed.service", "MainPID")["MainPID"]
        return found if found != "0" else None

    return node.wait_for(pid, PATIENCE, "the daemon to be started again")


def _kill(node: Node, chance: random.Random) -> str:
    pid = _daemon(node)
    result = node.run(f"sleep {chance.uniform(0, LATEST):.3f}; kill -KILL {pid}", check=False)
    _is_gone(node, pid)
    return "killed" if result.returncode == 0 else "ended by itself"


def _kill_at_write(node: Node, chance: random.Random) -> str:
    """strace sees to it; where the daemon does not come to so many, it is killed all the same."""
    pid = _daemon(node)
    calls, number = chance.choice(WRITES), int(chance.paretovariate(0.7))
    strace = f"strace -f -qq -o /dev/null -e trace={calls} -p {pid}"
    inject = f"-e inject={calls}:signal=SIGKILL:when={min(number, 400)}"
    result = node.run(f"timeout --signal=KILL {LATEST * 2} {strace} {inject}", check=False)
    is_hit = node.run(f"kill -KILL {pid}", check=False).returncode != 0
    _is_gone(node, pid)
    assert result.returncode in (0, 1, 137), result.stderr
    return f"killed at {calls}" if is_hit else "killed after fewer writes"


def _cut_power(node: Node, chance: random.Random) -> str:
    _daemon(node)
    node.run(f"sleep {chance.uniform(0, LATEST):.3f}")
    node.power_cut()
    node.start()
    site.start_load(node, chance.randrange(1 << 32))
    return "power cut"


def _is_gone(node: Node, pid: str) -> None:
    node.wait_for(lambda: not node.path(f"/proc/{pid}").exists(), PATIENCE, f"the end of {pid}")


def _until_all_is_told(node: Node) -> None:
    """The daemon has caught up with all that happened, and the spool is empty."""
    node.run("systemctl reset-failed; systemctl start outcomed.service")

    def is_done() -> bool:
        books = account.read(node)
        newest = [ids[-1] for ids in books.started.values() if ids]
        judged = {one.run.last_invocation for all_ in books.judgements.values() for one in all_}
        out = node.path("/var/lib/outcomed/spool/out")
        is_told = not books.folded and not list(out.glob("*.json"))
        return not books.under_way and set(newest) <= judged and is_told

    node.wait_for(is_done, PATIENCE, "all runs to be judged and told")
    node.systemctl("stop", "outcomed.service")  # with its last turn


sys.exit(main())
