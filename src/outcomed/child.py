"""A forked child that looks at what may take its life: rid of all its parent's, and limited."""

from __future__ import annotations

import resource
import signal


def shed(memory: int, cpu_seconds: int) -> None:
    """Call it first. Whoever forks calls os._exit() last, so that nothing of the parent's runs."""
    signal.set_wakeup_fd(-1)  # it is the parent's socket
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_DATA, memory)
    _lower(resource.RLIMIT_CPU, cpu_seconds)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
