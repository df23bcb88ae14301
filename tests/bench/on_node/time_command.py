"""Run a command so many times. Prints how long each took, in milliseconds."""

import subprocess
import sys
import time

for _ in range(int(sys.argv[1])):
    began = time.perf_counter()
    subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    print((time.perf_counter() - began) * 1000)
