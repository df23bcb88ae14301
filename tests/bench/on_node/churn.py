"""Start and stop units that are nobody's jobs, at a pace. Prints how many starts and stops a second
there were, by PID 1's own count of the jobs it was given."""

import sys
import time

from pystemd import dbuslib
from pystemd.dbuslib import DBus

MANAGER = (b"org.freedesktop.systemd1", b"/org/freedesktop/systemd1")
INTERFACE = b"org.freedesktop.systemd1.Manager"
UNITS = 50

rate, seconds = int(sys.argv[1]), float(sys.argv[2])


def jobs(bus: DBus) -> int:
    """All that were ever installed."""
    return int(bus.get_property(*MANAGER, INTERFACE, b"NInstalledJobs", b"u"))


def call(bus: DBus, method: bytes, unit: bytes) -> None:
    arguments = dbuslib.apply_signature(b"ss", [unit, b"replace"])
    bus.call_method(*MANAGER, INTERFACE, method, arguments)


with DBus() as bus:
    bus.open()
    began, before, asked = time.monotonic(), jobs(bus), 0
    while (elapsed := time.monotonic() - began) < seconds:
        if asked >= elapsed * rate:
            time.sleep(0.002)
            continue
        unit = b"foreign-%d.target" % (asked // 2 % UNITS)
        call(bus, b"StopUnit" if asked % 2 else b"StartUnit", unit)
        asked += 1
    print((jobs(bus) - before) / (time.monotonic() - began))
