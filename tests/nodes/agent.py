"""What runs on a virtual machine: commands come in by a virtio port, what became of them goes out.

One line of JSON each. Bytes travel as the characters of the same numbers (Latin-1). Every command
has a thread, so one that hangs holds up no other.
"""

import json
import os
import subprocess
import threading
from typing import Any

BYTES = "latin-1"


def execute(wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            wanted["argv"],
            input=wanted["stdin"].encode(BYTES),
            capture_output=True,
            timeout=wanted["timeout"],
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"id": wanted["id"], "error": str(error)}
    said = {"stdout": done.stdout.decode(BYTES), "stderr": done.stderr.decode(BYTES)}
    return {"id": wanted["id"], "code": done.returncode, **said}


def main() -> None:
    port = os.open("/dev/vport0p1", os.O_RDWR)  # which can be opened only once
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock, os.fdopen(os.dup(port), "wb") as out:
            out.write(json.dumps(message).encode() + b"\n")

    say({"id": "ready"})
    with os.fdopen(port, "rb", closefd=False) as lines:
        for line in lines:
            wanted = json.loads(line)
            threading.Thread(target=lambda wanted=wanted: say(execute(wanted))).start()


if __name__ == "__main__":
    main()
