"""Start units in a random order until there is nobody to start them for.

A run decides by its own invocation id what it does (`word`), so that whoever reads about it later
knows the truth without having been there.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

PAUSE = 0.25  # seconds, at most
STOP = Path("/run/campaign.stop")

names, seed = sys.argv[1].split(","), int(sys.argv[2])
chance = random.Random(seed)
while not STOP.exists():
    several = chance.sample(names, chance.choice((1, 1, 1, 2, 4)))
    subprocess.run(["systemctl", "start", *several], stderr=subprocess.DEVNULL)
    time.sleep(chance.random() * PAUSE)
