"""What only systemd knows, asked by one `systemctl show`; where it does not answer, nothing."""

from __future__ import annotations

from collections.abc import Sequence

from outcomed.model import SECOND, Usec

_PATIENCE = 10  # seconds


def show(units: Sequence[str], properties: Sequence[str]) -> list[dict[str, str]] | None:
    """These properties of each of these units, in their order. None: systemd cannot be asked."""
    import subprocess

    command = ["systemctl", "--no-pager", "--timestamp=unix", "show"]
    command += [f"--property={','.join(properties)}", "--", *units]
    try:
        answer = subprocess.run(
            command, capture_output=True, check=False, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    blocks = answer.stdout.decode("utf-8", "replace").rstrip("\n").split("\n\n")
    found = [_values(block) for block in blocks]
    return found if len(found) == len(units) else None


def _values(block: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in block.splitlines())


def moment(value: str) -> Usec | None:
    """`@1795423176`, as `--timestamp=unix` has it."""
    seconds = value.removeprefix("@")
    return Usec(int(seconds) * SECOND) if seconds.isdigit() and int(seconds) else None
