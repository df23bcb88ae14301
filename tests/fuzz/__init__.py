"""Whatever the daemon parses, with inputs that nobody in his right mind would write.

`python -m tests.fuzz` makes as many as it is told, the same ones for the same seed, and runs each
against what reads such bytes: no exception but the documented ones, no more time or memory than a
daemon has for it, nothing in a one-line summary that a terminal would obey.
"""

import sys
from pathlib import Path

# Where pytest's `pythonpath` does not say it: this checkout's, and no installed package's.
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
