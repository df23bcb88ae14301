"""How much of everything: for figures, and for a proof that the bench works."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Sizes:
    alerts: int  # of each kind
    few_jobs: int
    many_jobs: int
    settle: float  # seconds between a start and the look at an idle daemon
    idle: float  # seconds
    noise: float  # seconds
    replayed: int  # runs
    job_files: tuple[int, int]
    starts: int
    recorded: int  # runs in the ledger
    calls: int  # of outcomectl status
    burst: int  # runs
    burst_seconds: float
    steady: int  # runs of a turn, when turns are compared
    pace: float  # a second
    rounds: int
    artifact: int  # megabytes of text that artifacts are made of

    def with_idle(self, minutes: float) -> Self:
        return replace(self, idle=minutes * 60)


FULL = Sizes(
    alerts=200,
    few_jobs=10,
    many_jobs=1000,
    settle=65,  # the journal's files are let go after 61
    idle=600,
    noise=60,
    replayed=10_000,
    job_files=(1000, 10_000),
    starts=5,
    recorded=1_000_000,
    calls=50,
    burst=1000,
    burst_seconds=10,
    steady=100,
    pace=10,
    rounds=7,
    artifact=64,
)
QUICK = Sizes(
    alerts=2,
    few_jobs=10,
    many_jobs=50,
    settle=1,
    idle=2,
    noise=2,
    replayed=50,
    job_files=(20, 100),
    starts=1,
    recorded=2000,
    calls=3,
    burst=30,
    burst_seconds=1,
    steady=10,
    pace=10,
    rounds=2,
    artifact=8,
)
