"""`python -m tests.fuzz`: see `--help`. On a node, everything; elsewhere, what needs no libsystemd.

Each target's inputs are made in chunks, each chunk by a process of its own, from the seed, the
target's and the chunk's number: the same Python makes the same ones. From 3.12 on, an input that
reaches a line which none has reached joins those that others are made of.
"""

import argparse
import hashlib
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import mutate, mutate_tree
from tests.fuzz.targets import Target, targets

CHECKOUT = Path(__file__).parents[2]
CHUNK = 10_000
CPU_SECONDS = 0.25  # for one input; a daemon that is held up so long is late for others
HANG_SECONDS = 60
MEMORY = 512 << 20
ROOM = 1 << 20  # for the input at which a process dies
KEPT = 400  # inputs that reached something new


@dataclass(frozen=True)
class Failure:
    """An input, and what became of it."""

    target: str
    data: bytes
    what: str
    where: str

    @property
    def file(self) -> Path:
        name = f"{self.target}-{hashlib.sha1(self.data).hexdigest()[:10]}"
        return Path(os.environ.get("FUZZ_RESULTS", CHECKOUT / "build" / "fuzz")) / name


def inputs(target: Target, seeds: list[bytes], rng: random.Random, number: int) -> Iterator[bytes]:
    for _ in range(number):
        if target.trees and rng.random() < 0.5:
            yield mutate_tree(rng, target.trees)
        else:
            yield mutate(rng, seeds, target.words)


def fuzz_chunk(
    target: Target,
    seed: int,
    chunk: int,
    number: int,
    room: mmap.mmap,
    say: Callable[[bytes], None],
) -> None:
    """In a process of its own. What it dies of lies in `room`."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rng = random.Random(f"{seed}:{target.name}:{chunk}")
    seeds = list(target.seeds)
    is_new = _watch_lines()
    known: set[str] = set()
    with target.prepared():
        for data in inputs(target, seeds, rng, number):
            room[:8] = len(data).to_bytes(8, "little")
            room[8 : 8 + len(data)] = data
            signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
            failure = run_one(target, data)
            if failure is not None and failure.where not in known:
                known.add(failure.where)
                _save(failure)
                say(f"{failure.where}\0{_shown(failure)}\n".encode())
            if is_new() and len(seeds) < len(target.seeds) + KEPT:
                seeds.append(data)
    signal.setitimer(signal.ITIMER_REAL, 0)


def run_one(target: Target, data: bytes) -> Failure | None:
    for again in (True, False):
        begin = time.thread_time()
        try:
            target.run(data)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
            where = _place(error)
            return Failure(target.name, data, traceback.format_exc(limit=-6), where)
        took = time.thread_time() - begin
        if took < CPU_SECONDS:
            return None
        if not again:  # the first time may have paid for an import
            what = f"took {took:.2f} s"
            return Failure(target.name, data, what, f"{target.name}: slow")
    return None


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "outcomed" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _watch_lines() -> Callable[[], bool]:
    """Whether a line of ours was reached for the first time since the last question."""
    if sys.version_info < (3, 12):
        return lambda: False
    news: list[object] = []
    monitoring = sys.monitoring

    def reached(code: object, _: int) -> object:
        if "outcomed" in getattr(code, "co_filename", ""):
            news.append(code)
        return monitoring.DISABLE

    def asked() -> bool:
        found = bool(news)
        news.clear()
        return found

    monitoring.use_tool_id(monitoring.PROFILER_ID, "fuzz")
    monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.LINE, reached)
    monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.LINE)
    return asked


def _save(failure: Failure) -> None:
    failure.file.parent.mkdir(parents=True, exist_ok=True)
    failure.file.write_bytes(failure.data)


def _shown(failure: Failure) -> str:
    return (
        f"\n{failure.target}: {failure.where}\n{failure.what.rstrip()}\n"
        f"  input: {failure.data[:200]!r}{'…' if len(failure.data) > 200 else ''}\n"
        f"  again: python3 -m tests.fuzz --input {failure.target}:{failure.file}"
    )


# --- many processes ------------------------------------------------------------------------------


@dataclass
class Worker:
    """One chunk under way."""

    target: Target
    pipe: int
    room: mmap.mmap


def fuzz(chosen: Sequence[Target], number: int, seed: int, jobs: int) -> int:
    """So many inputs over all of these; how many different failures there were."""
    shares = sum(target.share for target in chosen)
    waiting = [
        (target, chunk, min(CHUNK, wanted - chunk * CHUNK))
        for target in chosen
        for wanted in [max(1, number * target.share // shares)]
        for chunk in range((wanted + CHUNK - 1) // CHUNK)
    ]
    total, failures = sum(one[2] for one in waiting), set[str]()
    workers: dict[int, Worker] = {}
    spent: dict[str, float] = {}
    while waiting or workers:
        while waiting and len(workers) < jobs:
            target, chunk, size = waiting.pop()
            pid, worker = _start(target, seed, chunk, size)
            workers[pid] = worker
        pid, status, usage = os.wait4(-1, 0)
        worker = workers.pop(pid)
        name = worker.target.name
        spent[name] = spent.get(name, 0) + usage.ru_utime + usage.ru_stime
        for where, text in _ended(worker, os.waitstatus_to_exitcode(status)):
            if where not in failures:
                print(text, flush=True)
            failures.add(where)
    slowest = sorted(spent.items(), key=lambda item: -item[1])
    print("CPU: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in slowest))
    print(f"{total} inputs, {len(chosen)} targets, {len(failures)} failures")
    return len(failures)


def _start(target: Target, seed: int, chunk: int, number: int) -> tuple[int, Worker]:
    room = mmap.mmap(-1, ROOM)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fuzz_chunk(target, seed, chunk, number, room, lambda text: _write(writer, text))
            code = 0
        except BaseException:  # noqa: BLE001  # nothing of the parent's may run after this
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    return pid, Worker(target, reader, room)


def _write(writer: int, text: bytes) -> None:
    os.write(writer, text[:4000].rstrip(b"\n") + b"\1")


def _ended(worker: Worker, code: int) -> Iterator[tuple[str, str]]:
    with open(worker.pipe, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    for text in filter(None, said.split("\1")):
        where, _, shown = text.partition("\0")
        yield where, shown
    if code != 0:
        size = int.from_bytes(worker.room[:8], "little")
        how = "hangs" if code == -signal.SIGALRM else f"ended with {code}"
        failure = Failure(worker.target.name, worker.room[8 : 8 + size], how, how)
        _save(failure)
        yield f"{worker.target.name}: {how}", _shown(failure)


# --- for people ----------------------------------------------------------------------------------


def main() -> int:
    known = {target.name: target for target in targets()}
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many, over all targets")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--target", choices=[*known, ""], default="", help="only this one")
    parser.add_argument("--input", default="", help="TARGET:FILE, an input that failed")
    parser.add_argument("--on-node", action="store_true", help="on a Debian 13 machine, as root")
    options = parser.parse_args()
    if options.on_node:
        return _on_node([word for word in sys.argv[1:] if word != "--on-node"])
    if options.input:
        name, _, file = options.input.partition(":")
        with known[name].prepared():
            failure = run_one(known[name], Path(file).read_bytes())
        print(_shown(failure) if failure else "nothing happens")
        return int(failure is not None)
    chosen = [known[options.target]] if options.target else list(known.values())
    return int(fuzz(chosen, options.inputs, options.seed, options.jobs) > 0)


def _on_node(arguments: Sequence[str]) -> int:
    """There are Debian's own Python and libraries, and libsystemd for the journal and the bus."""
    import subprocess

    from tests.nodes import Node

    results = CHECKOUT / "build" / "fuzz"
    with Node("full", binds={CHECKOUT: "/src"}) as node:
        argv = node.command_line(
            ["python3", "-m", "tests.fuzz", *arguments],
            env={"PYTHONDONTWRITEBYTECODE": "1", "FUZZ_RESULTS": "/var/tmp/fuzz"},
            cwd="/src",
        )
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
        for found in node.run("ls /var/tmp/fuzz", check=False).stdout.split():
            results.mkdir(parents=True, exist_ok=True)
            (results / found).write_bytes(node.path(f"/var/tmp/fuzz/{found}").read_bytes())
    return code


if __name__ == "__main__":
    sys.exit(main())
