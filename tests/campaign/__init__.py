"""Kill the daemon, cut the power, and then count: `make campaign`."""

import sys
from pathlib import Path

# Whoever counts reads the ledger as we do: it need not be installed for that.
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
