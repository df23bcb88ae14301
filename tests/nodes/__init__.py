"""Debian 13 machines for tests: cached roots, booted nodes, a real HTTP receiver, the package
build.

Standard library only, so that a bare Debian 12 or 13 with mmdebstrap and systemd-container is
enough.
"""

from tests.nodes.build import build_deb
from tests.nodes.machine import Machine
from tests.nodes.node import Node
from tests.nodes.receiver import Receiver, Request
from tests.nodes.root import cache_dir, overlay_run, root_layers
from tests.nodes.words import CommandFailedError, User, wait_for

__all__ = [
    "CommandFailedError",
    "Machine",
    "Node",
    "Receiver",
    "Request",
    "User",
    "build_deb",
    "cache_dir",
    "overlay_run",
    "root_layers",
    "wait_for",
]
