"""Put so many runs on record, by turns among so many jobs, through the daemon's own writer.

Each is a copy of a run that was really judged, with an id and a time of its own. Prints how many
bytes a run takes in the end.
"""

import sys
import time
import uuid
from pathlib import Path

from msgspec.structs import replace

from outcomed.ledger import Ledger, Reader, Turn
from outcomed.model import InvocationId, JobName, Judgement, UnitName, Usec, run_id

LEDGER = Path("/var/lib/outcomed/ledger.db")
BATCH = 500

runs, jobs = int(sys.argv[1]), int(sys.argv[2])
with Reader(LEDGER) as reader:
    real = reader.history(JobName("job-00000"), 1)[0].judgement
apart = 365 * 86_400 * 1_000_000 // runs  # a year's worth
first = time.time_ns() // 1000 - runs * apart


def copy(number: int) -> Judgement:
    name = f"job-{number % jobs:05}"
    invocation = InvocationId(uuid.uuid4().hex)
    shift = Usec(first + number * apart - (real.run.started or 0))
    run = replace(
        real.run,
        id=run_id(JobName(name), invocation),
        job=JobName(name),
        unit=UnitName(f"{name}.service"),
        key=invocation,
        invocation=invocation,
        last_invocation=invocation,
        started=Usec((real.run.started or 0) + shift),
        finished=Usec((real.run.finished or 0) + shift),
    )
    return replace(real, run=run, at=Usec(real.at + shift))


before = LEDGER.stat().st_size
with Ledger(LEDGER) as ledger:
    for begin in range(0, runs, BATCH):
        turn = Turn(judgements=[copy(number) for number in range(begin, min(begin + BATCH, runs))])
        turn.attempts = [
            (one.run.job, one.run.id, one.run.invocation, 1)
            for one in turn.judgements
            if one.run.invocation is not None
        ]
        ledger.commit(turn)
print((LEDGER.stat().st_size - before) / runs)
