"""A timer as systemd shows it, with the schedule in it, and the service it starts. Values only;
`bus` reads them."""

from __future__ import annotations

from outcomed.model import Record, UnitName, Usec


class Timer(Record, frozen=True):
    """What org.freedesktop.systemd1(5) calls the properties of a timer unit.

    A moment is None where systemd has none: 0, or its "infinity".
    """

    unit: UnitName
    triggers: UnitName  # Unit=; empty where systemd has not read the timer's file
    load: str = "loaded"  # LoadState: loaded, not-found, masked, bad-setting, error
    error: str = ""  # LoadError, systemd's words for it where it is not loaded
    active: str = "active"  # ActiveState
    sub: str = "waiting"  # SubState: waiting, running, elapsed, dead, failed
    file: str = ""  # UnitFileState: enabled, disabled, masked, static, transient, …
    result: str = "success"  # Result
    calendar: tuple[str, ...] = ()  # OnCalendar=, as systemd spells it
    monotonic: tuple[tuple[str, Usec], ...] = ()  # ("OnBootSec", 900000000)
    # Both None while the service runs (SubState running), and where nothing comes any more.
    next_realtime: Usec | None = None  # NextElapseUSecRealtime, its random delay included
    next_monotonic: Usec | None = None  # NextElapseUSecMonotonic, of CLOCK_MONOTONIC
    last: Usec | None = None  # LastTriggerUSec
    accuracy: Usec = Usec(0)
    random_delay: Usec = Usec(0)
    is_fixed_random: bool = False
    is_persistent: bool = False
    wakes_system: bool = False
    on_clock_change: bool = False
    on_timezone_change: bool = False
    remains_after_elapse: bool = True  # else it is unloaded with its last elapse
    defers_reactivation: bool = False  # no run at once for what elapsed while the service ran


class Service(Record, frozen=True):
    """What tells whether systemd would start a service at all; everything is systemd's word."""

    unit: UnitName
    load: str = "loaded"  # LoadState
    error: str = ""  # LoadError
    active: str = "inactive"  # ActiveState
    sub: str = "dead"  # SubState
    file: str = ""  # UnitFileState
