"""What an artifact takes to read, beside its tool's own test: megabytes a second of a core."""

import json
from pathlib import Path

from tests.bench.figures import Figure, Results
from tests.bench.sizes import Sizes
from tests.nodes import Node
from tests.nodes.build import CHECKOUT

SOURCE = "/src"


def measure(deb: Path, sizes: Sizes, results: Results) -> None:
    with Node("full", deb=deb, binds={CHECKOUT: SOURCE}) as node:
        script = f"{SOURCE}/tests/bench/on_node/formats.py"
        command = ["python3", script, f"{SOURCE}/src", str(sizes.artifact)]
        found = json.loads(node.run(command, timeout=1800).stdout)
    for name, seen in found.items():
        results.figures(
            "formats",
            Figure(f"{name}: the reader, of {seen['mb']:.0f} MB", seen["reader"], "MB/s"),
            Figure(f"{name}: the tool's own", seen["tool"], "MB/s"),
            Figure(f"{name}: the reader's memory", seen["peak_mb"], "MB"),
        )
