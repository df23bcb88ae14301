"""Write messages to the journal at a pace, in a unit of nobody's concern. Prints how many went."""

import socket
import sys
import time

rate, seconds = int(sys.argv[1]), float(sys.argv[2])
STEP = 0.01

sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("/run/systemd/journal/socket")
began = time.monotonic()
sent = 0
while (elapsed := time.monotonic() - began) < seconds:
    while sent < elapsed * rate:
        sender.send(b"MESSAGE=message %d of no importance to anybody\nPRIORITY=6\n" % sent)
        sent += 1
    time.sleep(STEP)
print(sent / (time.monotonic() - began))
