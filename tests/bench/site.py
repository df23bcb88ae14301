"""A node with outcomed and jobs on it, and how its daemon is looked at from outside."""

from dataclasses import dataclass
from pathlib import Path

from tests.nodes import Node

BENCH = Path(__file__).parent
ON_NODE = "/bench"
SINKS = """
defaults: {alerts: {to: [ops]}}
sinks:
  ops: {type: webhook, url: "http://127.0.0.1:8080/outcomed"}
"""

# Rules that the daemon judges itself: two over a file, one over time, one over output.
RULES = """
outcome:
  - artifact: /srv/%p.out
    min_size: 100
  - artifact: /srv/%p.out
    max_size: 1M
  - duration: {at_most: 1h}
  - journal: {never: "(?i)no space left|permission denied"}
"""

# Nothing but built-ins until its last act, which says when it ended. It lasts long enough for
# whoever started it to be gone.
JOB = """#!/bin/bash
if [ -e /run/bench/bad ]; then size=1; else size=200; fi
printf "%0${size}d" 0 > "/srv/$1.out"
echo "copied $size bytes to the other side"
read -rt 0.05 <> <(:)
if [ "$2" = loud ] && [ -e /run/bench/bad ]; then status=1; else status=0; fi
echo "$INVOCATION_ID $EPOCHREALTIME" >> "/run/bench/$1.ends"
exit $status
"""


def node(deb: Path, *, durable: bool = True) -> Node:
    """With a disk that syncs: a commit costs here what it costs in earnest."""
    return Node(deb=deb, durable=durable, binds={BENCH / "on_node": ON_NODE})


def service(command: str, more: str = "") -> str:
    return (
        f"[Unit]\nStartLimitIntervalSec=0\n{more}\n[Service]\nType=oneshot\nExecStart={command}\n"
    )


def make_jobs(node: Node, count: int, command: str) -> list[str]:
    """So many units `job-N.service`, each with a job file of four rules."""
    node.write("/run/bench/unit", service(command))
    node.write("/run/bench/rules", RULES)
    node.run(["python3", f"{ON_NODE}/make_jobs.py", str(count)], timeout=120)
    node.systemctl("daemon-reload")
    return [f"job-{number:05}" for number in range(count)]


@dataclass(frozen=True)
class Memory:
    """Megabytes. What a process maps of the journal's files is in none of these but `pss`."""

    private: float
    anonymous: float
    pss: float
    cgroup: float | None  # None: the node has no memory controller


class Daemon:
    """outcomed.service of a node, by what the kernel says about it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        shown = node.show("outcomed.service", "MainPID", "ControlGroup")
        self._process = node.path(f"/proc/{shown['MainPID']}")
        self._cgroup = node.path(f"/sys/fs/cgroup{shown['ControlGroup']}")

    @classmethod
    def restart(cls, node: Node) -> "Daemon":
        node.run("systemctl reset-failed outcomed; systemctl restart outcomed", timeout=180)
        return cls(node)

    def memory(self) -> Memory:
        lines = (self._process / "smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        current = self._cgroup / "memory.current"
        return Memory(
            private=(kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1024,
            anonymous=kilobytes["Pss_Anon"] / 1024,
            pss=kilobytes["Pss"] / 1024,
            cgroup=int(current.read_text()) / 2**20 if current.exists() else None,
        )

    def cpu(self) -> float:
        """Seconds that the kernel gave to its threads: to the nanosecond, where ticks have ten
        milliseconds."""
        files = self._process.glob("task/*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def ticks(self) -> float:
        """utime + stime, in seconds."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def cgroup_cpu(self) -> float:
        """Seconds of the whole service, children included."""
        text = (self._cgroup / "cpu.stat").read_text()
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6

    def switches(self) -> int:
        """Each wake-up ends in one."""
        lines = (self._process / "status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
