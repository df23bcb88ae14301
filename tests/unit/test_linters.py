"""The linters, run as ordinary tests: there is one way to check a change.

They run where build/venv put them; Debian has other versions of them, so nodes skip these.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LINTERS = {
    "ruff check": ["ruff", "check", "--quiet", "--output-format=concise", "--no-cache"],
    "ruff format": ["ruff", "format", "--check", "--diff", "--quiet", "--no-cache"],
    "mypy": ["mypy", "--no-error-summary", "--cache-dir=build/mypy"],
    # The machines are code too, though with fewer promises: checked from the root of the checkout.
    "mypy tests/nodes": ["mypy", "--no-error-summary", "--cache-dir=build/mypy", "tests/nodes"],
}


@pytest.mark.parametrize("linter", LINTERS)
def test_linter_has_nothing_to_say(linter: str) -> None:
    module, *arguments = LINTERS[linter]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed here; `make test` has it")
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"\n{result.stdout}{result.stderr}"
