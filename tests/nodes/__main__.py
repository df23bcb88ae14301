"""`python3 -m tests.nodes deb | shell | check`: what the Makefile calls."""

import sys

from tests.nodes import build, shell, suite

COMMANDS = {"deb": build.main, "shell": shell.main, "check": suite.main}

if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
    sys.exit(f"usage: python3 -m tests.nodes {'|'.join(COMMANDS)}")
sys.exit(COMMANDS[sys.argv.pop(1)]())
