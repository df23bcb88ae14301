"""A few thousand of the inputs of `make fuzz`, in each run of the tests."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_nothing_that_is_parsed_ends_the_daemon(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs=4000", "--jobs=1"],
        cwd=CHECKOUT,
        env={**os.environ, "FUZZ_RESULTS": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
