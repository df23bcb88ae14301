"""Put so many runs on record, by turns among so many jobs, through the daemon's own writer.

Each is made after a run that was really judged, with times, a size and a duration of its own, as a
nightly backup has them. Prints how many bytes a run takes in the end.
"""

import random
import sys
import time
import uuid
from pathlib import Path

from msgspec.structs import replace

from outcomed.ledger import Ledger, Reader, Turn
from outcomed.model import BootId, Finding, InvocationId, JobName, Judgement, UnitName, Usec, run_id

LEDGER = Path("/var/lib/outcomed/ledger.db")
BATCH = 500
SECOND = 1_000_000
BOOTS = [BootId(uuid.uuid4().hex) for _ in range(50)]

runs, jobs = int(sys.argv[1]), int(sys.argv[2])
with Reader(LEDGER) as reader:
    real = reader.history(JobName("job-00000"), 1)[0].judgement
apart = 365 * 86_400 * SECOND // runs  # a year's worth
first = time.time_ns() // 1000 - runs * apart


def another(number: int) -> Judgement:
    name, invocation = JobName(f"job-{number % jobs:05}"), InvocationId(uuid.uuid4().hex)
    slot = Usec(first + number * apart)
    started = Usec(slot + random.randrange(SECOND))
    took = Usec(random.randrange(60 * SECOND, 3600 * SECOND))
    size = random.randrange(10**9, 10**10)
    run = replace(
        real.run,
        id=run_id(name, invocation),
        job=name,
        unit=UnitName(f"{name}.service"),
        key=invocation,
        boot=BOOTS[number * len(BOOTS) // runs],
        invocation=invocation,
        last_invocation=invocation,
        trigger=f"{name}.timer",
        slot=slot,
        started=started,
        finished=Usec(started + took),
        duration=took,
    )
    seen = tuple(_seen(one, name, size, Usec(started + took), took) for one in real.findings)
    summary = f"{seen[1].summary} (and 3 more)"
    return replace(real, run=run, findings=seen, summary=summary, at=Usec(started + took + 5_000))


def _seen(finding: Finding, name: JobName, size: int, end: Usec, took: Usec) -> Finding:
    evidence = dict(finding.evidence)
    summary = finding.summary
    if "size" in evidence:
        evidence |= {"path": f"/srv/{name}.out", "size": size, "mtime": end - took // 100}
        summary = f"/srv/{name}.out: {size / 2**30:.1f}G"
    if "duration_s" in evidence:
        evidence |= {"duration_s": took / SECOND}
        summary = f"ran {took // (60 * SECOND)} min"
    return replace(finding, summary=summary, evidence=evidence)


before = LEDGER.stat().st_size
with Ledger(LEDGER) as ledger:
    for begin in range(0, runs, BATCH):
        end = min(begin + BATCH, runs)
        turn = Turn(judgements=[another(number) for number in range(begin, end)])
        turn.attempts = [
            (one.run.job, one.run.id, one.run.invocation, 1)
            for one in turn.judgements
            if one.run.invocation is not None
        ]
        seqs = ledger.commit(turn)
    # Or the daemon would write the journal lines of all of them when it starts.
    ledger.commit(Turn(progress=replace(ledger.progress(), told=seqs[-1])))
print((LEDGER.stat().st_size - before) / runs)
