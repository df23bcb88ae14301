"""Watch the daemon until so many runs are judged, or so many seconds have passed.

Prints, as JSON: the peaks of its private and of its anonymous memory in kB (pages of the journal
are in the first alone), the time of the last verdict, how many there are of which kind, and what
one that is a false alarm says: every one of these runs did its work.
"""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from outcomed.ledger import Reader
from outcomed.model import Klass

SAMPLE = 0.1  # seconds
LEDGER = Path("/var/lib/outcomed/ledger.db")

runs, until = int(sys.argv[1]), time.time() + float(sys.argv[2])


def main_pid() -> str:
    command = ["systemctl", "show", "--property=MainPID", "--value", "outcomed.service"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def memory(pid: str, kind: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))


while (pid := main_pid()) == "0":
    time.sleep(SAMPLE)
db = sqlite3.connect(f"file:{LEDGER}?mode=ro", uri=True, timeout=10)
peak = anonymous = judged = at = 0
while judged < runs and time.time() < until:
    peak = max(peak, memory(pid, "Private_"))
    anonymous = max(anonymous, memory(pid, "Pss_Anon:"))
    judged, at = db.execute("SELECT count(*), coalesce(max(at), 0) FROM verdict").fetchone()
    time.sleep(SAMPLE)
kinds = dict(db.execute("SELECT verdict, count(*) FROM verdict GROUP BY verdict"))
with Reader(LEDGER) as reader:
    lasts = [row.last.judgement for row in reader.jobs() if row.last is not None]
alarm = next((one.summary for one in lasts if one.verdict.klass is Klass.BAD), "")
peaks = {"peak": peak, "anonymous": anonymous}
print(json.dumps({**peaks, "last": at / 1e6, "kinds": kinds, "alarm": alarm}))
