"""A timer as systemd shows it, and the schedule in it. Values only; `bus` reads them."""

from __future__ import annotations

from outcomed.model import Record, UnitName, Usec


class Timer(Record, frozen=True):
    """What org.freedesktop.systemd1(5) calls the properties of a timer unit.

    A moment is None where systemd has none: 0, or its "infinity".
    """

    unit: UnitName
    triggers: UnitName  # Unit=
    load: str = "loaded"  # LoadState: loaded, not-found, masked, bad-setting, error
    active: str = "active"  # ActiveState
    sub: str = "waiting"  # SubState: waiting, running, elapsed, dead, failed
    file: str = ""  # UnitFileState: enabled, disabled, masked, static, generated, …
    result: str = "success"  # Result
    calendar: tuple[str, ...] = ()  # OnCalendar=, as systemd spells it
    monotonic: tuple[tuple[str, Usec], ...] = ()  # OnBootSec, 900000000
    next_realtime: Usec | None = None  # NextElapseUSecRealtime, its random delay included
    next_monotonic: Usec | None = None  # NextElapseUSecMonotonic
    last: Usec | None = None  # LastTriggerUSec
    accuracy: Usec = Usec(0)
    random_delay: Usec = Usec(0)
    is_fixed_random: bool = False
    is_persistent: bool = False
    wakes_system: bool = False
    on_clock_change: bool = False
    on_timezone_change: bool = False
