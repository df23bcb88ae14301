"""`python3 -m tests.bench`: measure, print a table, write build/bench.json."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    alerts,
    burst,
    catch_up,
    formats,
    idle,
    ledger,
    machine,
    noise,
    start,
    timers,
)
from tests.bench.figures import Results
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.nodes.build import CHECKOUT, BuildError, build_deb
from tests.nodes.root import RootError

PARTS: dict[str, Callable[[Path, Sizes, Results], None]] = {
    "alerts": alerts.measure,
    "idle": idle.measure,
    "noise": noise.measure,
    "catch-up": catch_up.measure,
    "burst": burst.measure,
    "start": start.measure,
    "timers": timers.measure,
    "ledger": ledger.measure,
    "formats": formats.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench", description="How fast, how big")
    parser.add_argument("--quick", action="store_true", help="prove that the bench works")
    parser.add_argument("--minutes", type=float, help="how long to watch the idle daemon")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; repeatable")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "build" / "bench.json")
    wanted = parser.parse_args()
    sizes = QUICK if wanted.quick else FULL
    if wanted.minutes is not None:
        sizes = sizes.with_idle(wanted.minutes)
    try:
        deb = build_deb()
    except (BuildError, RootError) as error:
        print(error, file=sys.stderr)
        return 1
    results = Results(machine.facts(deb), quick=wanted.quick)
    for name in wanted.only or PARTS:
        began = time.monotonic()
        print(f"measuring: {name} …", file=sys.stderr, flush=True)
        results.load(name)
        PARTS[name](deb, sizes, results)
        results.write(wanted.output)  # what is measured is not lost with a later part
        print(f"           {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(results.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
