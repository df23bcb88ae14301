"""Start so many jobs within so many seconds, as timers would that elapse together.

Prints how many seconds it took to ask for all of them.
"""

import sys
import time

from pystemd import dbuslib
from pystemd.dbuslib import DBus

MANAGER = (b"org.freedesktop.systemd1", b"/org/freedesktop/systemd1")
INTERFACE = b"org.freedesktop.systemd1.Manager"

number, seconds = int(sys.argv[1]), float(sys.argv[2])
with DBus() as bus:
    bus.open()
    began = time.monotonic()
    for started in range(number):
        time.sleep(max(0.0, began + started * seconds / number - time.monotonic()))
        arguments = dbuslib.apply_signature(b"ss", [b"job-%05d.service" % started, b"replace"])
        bus.call_method(*MANAGER, INTERFACE, b"StartUnit", arguments)
    print(time.monotonic() - began)
