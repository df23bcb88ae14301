"""Watch the daemon until so many runs are judged, or so many seconds have passed.

Prints the peak of its private memory in kB, the time of the last verdict, and how many there are.
"""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

SAMPLE = 0.1  # seconds

runs, until = int(sys.argv[1]), time.time() + float(sys.argv[2])


def main_pid() -> str:
    command = ["systemctl", "show", "--property=MainPID", "--value", "outcomed.service"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def private(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


while (pid := main_pid()) == "0":
    time.sleep(SAMPLE)
db = sqlite3.connect("file:/var/lib/outcomed/ledger.db?mode=ro", uri=True, timeout=10)
peak = judged = at = 0
while judged < runs and time.time() < until:
    peak = max(peak, private(pid))
    judged, at = db.execute("SELECT count(*), coalesce(max(at), 0) FROM verdict").fetchone()
    time.sleep(SAMPLE)
print(peak, at / 1e6, judged)
