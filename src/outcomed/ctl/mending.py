"""What to type next where nothing ran: by what was found to be the reason."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from outcomed.model import Judgement

Command = tuple[str, str]  # what to type, and why

# By the reason of a slot; {timer} and {unit} are quoted already.
_BY_REASON: dict[str, tuple[Command, ...]] = {
    "timer-disabled": (("systemctl enable --now {timer}", "let it run again"),),
    "timer-masked": (
        ("systemctl unmask {timer}", "let it be used again"),
        ("systemctl enable --now {timer}", "let it run again"),
    ),
    "timer-stopped": (("systemctl start {timer}", "let it run again"),),
    "timer-failed": (
        ("systemctl status {timer}", "why it failed"),
        ("systemctl restart {timer}", "let it run again"),
    ),
    "timer-elapsed": (
        ("systemctl cat {timer}", "it names no moment to come"),
        ("systemctl restart {timer}", "let it count anew"),
    ),
    "timer-gone": (("systemctl cat {timer}", "is there a file? 'systemctl daemon-reload'"),),
    "timer-load-error": (("systemd-analyze verify {timer}", "what is wrong with its file"),),
    "service-masked": (
        ("systemctl unmask {unit}", "let it be started again"),
        ("systemctl restart {timer}", "it gives up when it cannot start it"),
    ),
    "service-gone": (
        ("systemctl cat {unit}", "is there a file? 'systemctl daemon-reload'"),
        ("systemctl restart {timer}", "after that: it gives up when it cannot start it"),
    ),
    "service-load-error": (
        ("systemd-analyze verify {unit}", "what is wrong with its file"),
        ("systemctl restart {timer}", "after that: it gives up when it cannot start it"),
    ),
    "host-off": (
        ("journalctl --list-boots", "when it was on"),
        ("systemctl edit {timer}", "Persistent=yes makes up for it after a boot"),
    ),
    "suspended": (("systemctl edit {timer}", "WakeSystem=yes wakes the host for it"),),
}

REASONS = frozenset(_BY_REASON)


def commands(judgement: Judgement, unit: str) -> Iterator[Command]:
    """For a slot without a run, and for a job that is stale."""
    trigger = judgement.run.trigger
    timer = shlex.quote(trigger) if trigger != "none" else ""
    for command, why in _BY_REASON.get(judgement.reason, ()):
        if timer or "{timer}" not in command:
            yield command.format(timer=timer, unit=unit), why
    both = f"-u {timer} -u {unit}" if timer else f"-u {unit}"
    yield f"journalctl {both}", "what systemd said"
    yield f"systemctl start {unit}", "run it now"
