"""A shell on a fresh node with the package installed. The node ends with the shell."""

import argparse
import subprocess
import sys

from tests.nodes.build import BuildError, build_deb
from tests.nodes.node import Node
from tests.nodes.root import RootError


def main() -> int:
    parser = argparse.ArgumentParser(description="A shell on a fresh node")
    parser.add_argument("--root", default="runtime", help="bare, runtime or full")
    parser.add_argument("--no-package", action="store_true", help="do not install outcomed")
    parser.add_argument("command", nargs="*", help="instead of a shell")
    wanted = parser.parse_args()
    try:
        deb = None if wanted.no_package else build_deb()
        with Node(wanted.root, deb=deb) as node:
            if not wanted.command:
                print(f"{node.name} is up; leave with exit or ^D, and it is gone")
            command = wanted.command or ["bash", "--login"]
            return subprocess.run(node.command_line(command, env={"TERM": "xterm"})).returncode
    except (BuildError, RootError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
