"""See it: a nightly backup that lies, on a real node, as its administrator would meet it.

Boots a Debian 13 machine with the package, PostgreSQL 17 and a few hundred MB of rows, and lets a
timer run the same `pg_dump` job through six nights. Everything that is shown was said by the
machine; nothing is made up here but the headings.
"""

import argparse
import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Sequence

from tests.nodes import CommandFailedError, Node, Receiver, Request, build_deb, wait_for
from tests.nodes.build import BuildError
from tests.nodes.root import RootError

WIDTH = 80
ROWS = 1_500_000  # some 300 MB of them

BACKUP = """\
#!/bin/sh
# The nightly backup. Like many, it does not look at what its commands say.
archive=/srv/backups/shop-$NIGHT.sql.gz
if [ -e "$archive" ]; then
    echo "archive $archive already exists"
    exit 2
fi
echo "dumping shop to $archive"
pg_dump $OPTIONS shop | gzip -1 > "$archive"
echo "backup completed successfully"
exit 0
"""

SERVICE = """\
[Unit]
Description=Nightly dump of the shop database

[Service]
Type=oneshot
User=postgres
EnvironmentFile=/etc/default/db-backup
ExecStart=/usr/local/bin/db-backup
"""

# A night comes when the timer is started: nobody wants to wait for 03:10.
TIMER = """\
[Timer]
OnCalendar=*-*-* 03:10:00
OnActiveSec=0
AccuracySec=1ms

[Install]
WantedBy=timers.target
"""

JOB = """\
# /etc/outcomed/jobs.d/db-backup.yaml
description: Nightly dump of the shop database
already_done:
  - exit_status: 2
outcome:
  - artifact: /srv/backups/shop-*.sql.gz
    min_size: 1M
    format: pg_dump
    on_filesystem: /srv/backups
  - journal: {expect: completed successfully}
alerts: {to: [ops]}
"""

SINKS = """\
# /etc/outcomed/outcomed.yaml
sinks:
  ops: {type: webhook, url: "http://127.0.0.1:8080/ops"}
"""

SIZE = "SELECT pg_size_pretty(pg_database_size(current_database()))"
FILL = f"""
CREATE TABLE orders (id int, customer text, placed timestamptz, total numeric(9,2), note text);
INSERT INTO orders
    SELECT n, 'customer ' || n % 9973, timestamptz '2026-01-01' + n * interval '17 s',
           (n % 90000) / 100.0, repeat('sold ', 20) || md5(n::text)
    FROM generate_series(1, {ROWS}) AS n;
"""


class Demo:
    """A node, its administrator's eyes, and the receiver's."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.receiver: Receiver = node.receiver(8080)
        self.seen = 0

    def prepare(self) -> None:
        """What the administrator had before: a database, a script, a unit, a timer."""
        node = self.node
        # The backups have a disk of their own; a small one, which can be filled.
        node.run("mkdir -p /srv/backups && mount -t tmpfs -o size=400M tmpfs /srv/backups")
        node.run("chown postgres /srv/backups")
        node.write("/usr/local/bin/db-backup", BACKUP, mode=0o755)
        self.tonight("sunday")
        node.units({"db-backup.service": SERVICE, "db-backup.timer": TIMER})
        node.systemctl("start", "postgresql@17-main.service")
        node.run("createdb shop", user="postgres")
        node.run(["psql", "--quiet", "--no-psqlrc", "shop", "--command", FILL], user="postgres")
        # Sunday's backup ran before anybody watched: history, which nobody is alarmed about.
        node.systemctl("enable", "--now", "db-backup.timer")
        wait_for(
            lambda: (
                node.show("db-backup.service", "ExecMainExitTimestampMonotonic")
                != {"ExecMainExitTimestampMonotonic": "0"}
            ),
            60,
        )

    def configure(self) -> None:
        """The ten lines."""
        self.node.write("/etc/outcomed/jobs.d/db-backup.yaml", JOB)
        self.node.write("/etc/outcomed/outcomed.yaml", SINKS)
        show_text(JOB)
        show_text(SINKS)
        self.shell("outcomectl check-config && systemctl reload outcomed")

    def tonight(self, night: str, options: str = "") -> None:
        self.node.write("/etc/default/db-backup", f"NIGHT={night}\nOPTIONS={options}\n")

    def run_timer(self, night: str = "", options: str = "") -> None:
        """The timer elapses; returns when outcomed has said what it thinks of the run."""
        if night:
            self.tonight(night, options)
        before = self.node.read("/var/lib/outcomed/state/db-backup.json")
        self.node.systemctl("restart", "db-backup.timer")
        self.wait_for_verdict(before)

    def wait_for_verdict(self, before: str) -> None:
        old = json.loads(before)["at"]

        def judged() -> bool:
            now = json.loads(self.node.read("/var/lib/outcomed/state/db-backup.json"))
            return now["at"] != old and now["under_way"] is None

        wait_for(judged, 60)

    # What is seen

    def shell(self, command: str) -> None:
        """A command and what it says, in a terminal 80 columns wide."""
        print(f"\n# {command}", flush=True)
        environment = {"TERM": "xterm", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}
        if not sys.stdout.isatty():
            environment["SYSTEMD_COLORS"] = "0"
        screen, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        line = self.node.command_line(command, env=environment)
        with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal):
            os.close(terminal)
            with open(screen, "rb", buffering=0) as shown, contextlib.suppress(OSError):
                while piece := shown.read(4096):  # a terminal without processes is an EIO
                    sys.stdout.write(piece.decode(errors="replace").replace("\r\n", "\n"))
        sys.stdout.flush()

    def what_systemd_claims(self) -> None:
        self.shell("systemctl show db-backup.service -p Result -p ExecMainStatus")

    def what_outcomed_says(self, lines: int = 6) -> None:
        self.shell("outcomectl explain db-backup")
        self.shell(f"journalctl -u db-backup.service -n {lines} -o cat")

    def what_failed(self) -> None:
        self.shell("systemctl --failed --no-legend --plain")

    def what_arrived(self, expected: int) -> None:
        """The messages since the last time; says so if there is none."""
        requests = self.receiver.wait_for(self.seen + expected, timeout=20)[self.seen :]
        self.seen += len(requests)
        if not requests:
            print("\nno message")
        for request in requests:
            show_message(request)


def show_text(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(f"  {line}")


def show_message(request: Request) -> None:
    """The webhook as it came in, without what an earlier line has shown."""
    body = request.json()
    data = body["data"]
    print(f"\nPOST {request.path}   {request.headers['content-type']}")
    for key, value in {"id": body["id"], **data}.items():
        if value not in ("", None, []) and key not in ("machine_id", "findings", "host"):
            show_text(fold(f'"{key}": {json.dumps(value)}'))
    show_text(f'  "findings": … {len(data["findings"])} of them')


def fold(text: str) -> str:
    return "\n".join(
        textwrap.wrap(text, WIDTH - 6, initial_indent="  ", subsequent_indent="      ")
    )


def heading(text: str) -> None:
    print(f"\n{'─' * WIDTH}\n{text}\n{'─' * WIDTH}")


def say(text: str) -> None:
    print()
    print(textwrap.fill(" ".join(text.split()), WIDTH))


def honest(demo: Demo) -> None:
    heading("Monday: an honest night")
    demo.run_timer("monday")
    demo.what_systemd_claims()
    demo.what_outcomed_says()
    demo.what_arrived(0)


def empty_dump(demo: Demo) -> None:
    heading("Tuesday, empty-dump: somebody left --schema-only in the options")
    demo.run_timer("tuesday", "--schema-only")
    demo.what_systemd_claims()
    say("Exit status 0, and the log says “completed successfully”. There is not one row in it.")
    demo.what_outcomed_says()
    demo.what_failed()
    demo.what_arrived(1)


def truncated(demo: Demo) -> None:
    heading("Wednesday, truncated-archive: the disk is full, the script does not look")
    demo.node.run("fallocate -l $(($(stat -f -c '%a*%S' /srv/backups) - 4000000)) /srv/backups/old")
    demo.run_timer("wednesday")
    demo.what_systemd_claims()
    demo.what_outcomed_says(8)
    say("The alert has been open since Tuesday. One incident is one message, so there is:")
    demo.what_arrived(0)


def repaired(demo: Demo) -> None:
    heading("Wednesday morning: the disk is cleared, and the backup run by hand")
    demo.node.run("rm /srv/backups/old /srv/backups/shop-wednesday.sql.gz")
    before = demo.node.read("/var/lib/outcomed/state/db-backup.json")
    demo.shell("systemctl start db-backup.service; echo exit status $?")
    demo.wait_for_verdict(before)
    demo.shell("outcomectl status")
    demo.what_failed()
    say("The recovery, to the same sink, with the same alert_id:")
    demo.what_arrived(1)


def already_there(demo: Demo) -> None:
    heading("A minute later, already-there: the timer runs the same backup again")
    demo.run_timer()
    demo.what_systemd_claims()
    say(
        "systemd counts a failure. The job file says what status 2 means, and outcomed has looked "
        "whether it is true: the archive exists, and is whole."
    )
    demo.what_outcomed_says(4)
    demo.what_arrived(0)


def honest_again(demo: Demo) -> None:
    heading("Thursday: an honest night again")
    demo.run_timer("thursday")
    demo.shell("outcomectl history db-backup")
    demo.what_arrived(0)


NIGHTS = (honest, empty_dump, truncated, repaired, already_there, honest_again)

YOURS = """
Try it on a job of your own, on a Debian 13 machine:

    apt install ./build/outcomed_*_all.deb
    printf 'outcome:\\n  - artifact: /path/of/what/it/makes*\\n' \\
        > /etc/outcomed/jobs.d/YOUR-JOB.yaml
    systemctl reload outcomed

and after its next run: outcomectl explain YOUR-JOB
"""


def play() -> None:
    began = time.monotonic()
    deb = build_deb()
    heading("A Debian 13 node with PostgreSQL 17, a nightly pg_dump, and outcomed")
    with Node("full", deb=deb, name="shop") as node:
        demo = Demo(node)
        print(f"\nbooted; filling a database with {ROWS:,} rows …", flush=True)
        demo.prepare()
        demo.shell(f"su postgres -c 'psql -Atc \"{SIZE}\" shop'")
        demo.shell("cat /usr/local/bin/db-backup")
        say("The job says that it works. What counts as its outcome is now written down:")
        print()
        demo.configure()
        for night in NIGHTS:
            night(demo)
    heading(f"That was it, in {time.monotonic() - began:.0f} s. The node is gone.")
    print(YOURS)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.parse_args(arguments)
    try:
        play()
    except (BuildError, RootError, CommandFailedError) as error:
        print(f"\nmake demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
