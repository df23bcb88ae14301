"""The system bus: wakes the daemon, shows units, starts ours. Decides nothing.

One match a unit path costs nothing for the units of others; a broad one slows PID 1 for everybody.
The bus allows 512 matches for one connection, so there are as many connections as it takes.
Watching must not change what is watched: no unit is referenced for longer than some questions take,
and none is asked what its signals already said.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from outcomed.errors import BusError, RefusedError
from outcomed.model import (
    BootId,
    InvocationId,
    JobName,
    Record,
    UnitName,
    Usec,
    invocation_id,
)
from outcomed.timers import Service, Timer
from outcomed.tracker import Seen


def _dbuslib() -> Any:
    """pystemd's binding of sd-bus, without the package around it, which loads lxml: 10 MB."""
    if "pystemd" not in sys.modules:
        found = importlib.util.find_spec("pystemd")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("python3-pystemd is not installed", name="pystemd")
        package = types.ModuleType("pystemd")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["pystemd"] = package
    return importlib.import_module("pystemd.dbuslib")


dbuslib = _dbuslib()
# dbuslib.DBusError is a function that picks one of these.
_DBusError: type[Exception] = importlib.import_module("pystemd.dbusexc").DBusBaseError

MATCHES_A_CONNECTION = 500  # of the 512 that dbus-daemon allows; the rest are for Reloading etc.

STRANGERS = 1000  # of those who forge signals, so many are remembered

_SYSTEMD = b"org.freedesktop.systemd1"
_MANAGER_PATH = b"/org/freedesktop/systemd1"
_MANAGER = b"org.freedesktop.systemd1.Manager"
_PEER = b"org.freedesktop.DBus.Peer"
_BUS = b"org.freedesktop.DBus"
_BUS_PATH = b"/org/freedesktop/DBus"
_UNIT = b"org.freedesktop.systemd1.Unit"
_SERVICE = b"org.freedesktop.systemd1.Service"
_TIMER = b"org.freedesktop.systemd1.Timer"
_PROPERTIES = b"org.freedesktop.DBus.Properties"
_UNIT_PREFIX = b"/org/freedesktop/systemd1/unit"


class Reloading(Record, frozen=True):
    """systemd reads its units again (`begins`), or has (not `begins`)."""

    begins: bool


class UnitNew(Record, frozen=True):
    """A unit was loaded; only watched for where a template job may get an instance."""

    unit: UnitName


class Lost(Record, frozen=True):
    """The connection is gone; whatever was said since is unknown."""

    reason: str


Signal = Seen | Reloading | UnitNew | Lost


def unit_path(unit: UnitName) -> bytes:
    """Where a unit's object lives, loaded or not."""
    return bytes(dbuslib.path_encode(_UNIT_PREFIX, unit.encode()))


def _open() -> Any:
    bus = dbuslib.DBus()
    try:
        bus.open()
        # The bus closes a connection that has said nothing for half a minute: it only greets it
        # when it is first used.
        bus.call_method(_SYSTEMD, _MANAGER_PATH, _PEER, b"Ping", [])
    except _DBusError as error:
        raise BusError(f"the system bus does not answer: {_words(error)}") from error
    return bus


def _words(error: Exception) -> str:
    """What happened, without what pystemd has to say about its own classes."""
    if isinstance(error, BusError):
        return error.fault
    name, number = getattr(error, "err_name", b""), getattr(error, "errno", 0)
    detail = getattr(error, "err_message", b"") or os.strerror(abs(number))
    parts = [part.decode() if isinstance(part, bytes) else str(part) for part in (name, detail)]
    return ": ".join(part for part in parts if part)


class _Connection:
    """One connection with its share of the matches. Callbacks only append."""

    def __init__(self) -> None:
        self.raw: list[Any] = []
        self.matches = 0
        # match_signal() keeps no reference to the callback, and refuses bound methods.
        raw = self.raw

        def append(message: Any, error: object = None, userdata: object = None) -> None:
            raw.append(message)

        self._append = append
        self._bus = _open()

    def match(self, path: bytes, interface: bytes, member: bytes) -> None:
        self._bus.match_signal(_SYSTEMD, path, interface, member, self._append, None)
        self.matches += 1

    def subscribe(self) -> None:
        self._bus.call_method(_SYSTEMD, _MANAGER_PATH, _MANAGER, b"Subscribe", [])

    def owner(self) -> bytes:
        """The unique name of PID 1's own connection, which is another after `daemon-reexec`."""
        name = dbuslib.apply_signature(b"s", [_SYSTEMD])
        return bytes(self._bus.call_method(_BUS, _BUS_PATH, _BUS, b"GetNameOwner", name).body)

    def fileno(self) -> int:
        return int(self._bus.get_fd())

    def take(self) -> bool:
        """Move everything that has arrived into `raw`; whether that is anything."""
        while not self._bus.process().is_empty():
            pass
        return bool(self.raw)

    def close(self) -> None:
        self._bus.close()


class Watch:
    """Signals of the units of our jobs, and of systemd itself."""

    def __init__(self, boot: BootId, units: Sequence[UnitName], *, new_units: bool = False) -> None:
        self._boot = boot
        self._units: dict[bytes, UnitName] = {}
        self._service: dict[bytes, dict[bytes, Any]] = {}
        self._connections: list[_Connection] = []
        self._systemd = b""  # the unique name that PID 1 speaks under
        self._strangers: set[bytes] = set()
        # While a connection waits for an answer, signals arrive that nobody is woken for.
        self.has_more = True
        try:
            first = self._connection()
            first.match(_MANAGER_PATH, _MANAGER, b"Reloading")
            if new_units:
                first.match(_MANAGER_PATH, _MANAGER, b"UnitNew")
            for unit in units:
                self.add(unit)
        except (BusError, _DBusError) as error:
            self.close()
            raise BusError(f"the system bus does not answer: {_words(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, unit: UnitName) -> None:
        """Watch one more unit, loaded or not. Twice is once."""
        path = unit_path(unit)
        if path in self._units:
            return
        try:
            last = self._connections[-1]
            if last.matches >= MATCHES_A_CONNECTION:
                last = self._connection()
            last.match(path, _PROPERTIES, b"PropertiesChanged")
        except _DBusError as error:
            raise BusError(f"the system bus does not answer: {_words(error)}") from error
        self._units[path] = unit
        self.has_more = True

    def _connection(self) -> _Connection:
        connection = _Connection()
        self._connections.append(connection)
        connection.subscribe()
        return connection

    def filenos(self) -> list[int]:
        """To be polled. BusError: a connection is gone."""
        try:
            numbers = [connection.fileno() for connection in self._connections]
        except _DBusError as error:
            raise BusError(_words(error)) from error
        if any(number < 0 for number in numbers):
            raise BusError("the connection is closed")
        return numbers

    def close(self) -> None:
        """May be called twice."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def signals(self) -> Iterator[Signal]:
        """Everything that has arrived, in the order of each connection."""
        self.has_more = False
        for connection in self._connections:
            try:
                # Again until nothing is left: while PID 1's name is asked for, signals arrive that
                # nobody would be woken for.
                while connection.take():
                    raw, connection.raw[:] = list(connection.raw), []
                    for message in raw:
                        if self._is_from_systemd(message.get_sender(), connection):
                            message.process_reply(True)  # not a stranger's, which may be anything
                            yield from self._decode(message)
            except _DBusError as error:
                yield Lost(_words(error))
                return

    def _is_from_systemd(self, sender: bytes, connection: _Connection) -> bool:
        """A match says what the bus is to hand us. What any user sends to our own name reaches us
        without one, and sd-bus cannot tell a well-known name's signals from a stranger's."""
        if sender != self._systemd and sender not in self._strangers:
            self._systemd = connection.owner()
            if sender != self._systemd:
                # Names are never given twice. One that comes again costs no more questions.
                self._strangers = {sender, *list(self._strangers)[:STRANGERS]}
        return sender == self._systemd

    def _decode(self, message: Any) -> Iterator[Signal]:
        headers = message.headers
        member = headers["Member"]
        if member == b"Reloading":
            yield Reloading(bool(_body(message)))
        elif member == b"UnitNew":
            yield UnitNew(UnitName(_body(message)[0].decode()))
        else:
            yield from self._decode_properties(headers["Path"], _body(message))

    def _decode_properties(self, path: bytes, body: Any) -> Iterator[Signal]:
        interface, changed = body[0], body[1]
        unit = self._units.get(path)
        if unit is None:
            return
        if interface == _SERVICE:
            # Always comes just before the pair's other half, which has the rest.
            self._service[path] = changed
        elif interface == _UNIT:
            service = self._service.pop(path, {})
            yield _seen(unit, self._boot, changed, service)


def _body(message: Any) -> Any:
    return message.body


def _seen(
    unit: UnitName, boot: BootId, properties: dict[bytes, Any], service: dict[bytes, Any]
) -> Seen:
    trigger, at = _activation(properties.get(b"ActivationDetails", ()))
    return Seen(
        unit=unit,
        boot=boot,
        invocation=_identity(properties.get(b"InvocationID")),
        active=_text(properties, b"ActiveState"),
        sub=_text(properties, b"SubState"),
        has_job=_has_job(properties.get(b"Job")),
        result=_text(service, b"Result"),
        code=_integer(service, b"ExecMainCode"),
        status=_integer(service, b"ExecMainStatus"),
        errno=_integer(service, b"StatusErrno"),
        pid=_integer(
            service, b"MainPID"
        ),  # ExecMainPID is the last run's until it is the next one's
        restarts=_integer(service, b"NRestarts"),
        left_idle=_usec(properties, b"InactiveExitTimestamp"),
        left_idle_mono=_usec(properties, b"InactiveExitTimestampMonotonic"),
        became_idle=_usec(properties, b"InactiveEnterTimestamp"),
        became_idle_mono=_usec(properties, b"InactiveEnterTimestampMonotonic"),
        became_active=_usec(properties, b"ActiveEnterTimestamp"),
        became_active_mono=_usec(properties, b"ActiveEnterTimestampMonotonic"),
        trigger=trigger,
        trigger_at=at,
    )


# What has another type than systemd has today is as good as absent: a later systemd must not end
# the daemon.


def _text(properties: dict[bytes, Any], name: bytes) -> str:
    value = properties.get(name)
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _integer(properties: dict[bytes, Any], name: bytes) -> int:
    value = properties.get(name)
    return value if type(value) is int else 0


def _usec(properties: dict[bytes, Any], name: bytes) -> Usec:
    value = _integer(properties, name)
    return Usec(value if 0 <= value < 2**63 else 0)  # systemd's "infinity" is its largest number


def _moment(properties: dict[bytes, Any], name: bytes) -> Usec | None:
    return _usec(properties, name) or None


def _flag(properties: dict[bytes, Any], name: bytes) -> bool:
    return properties.get(name) is True


def _specifications(rows: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Of TimersCalendar= or TimersMonotonic=: the setting and what it is set to, in file order."""
    for row in reversed(
        rows if isinstance(rows, list) else []
    ):  # systemd puts each one before those that it has
        match row:
            case (bytes(name), value, *_) if isinstance(value, kind):
                yield name.decode(errors="replace").replace("USec", "Sec"), value


def _identity(value: Any) -> InvocationId:
    if not isinstance(value, list | tuple | bytes):
        return InvocationId("")
    try:
        return invocation_id(bytes(value).hex()) or InvocationId("")
    except (TypeError, ValueError):
        return InvocationId("")


def _has_job(value: Any) -> bool:
    return isinstance(value, tuple) and value[:1] != (0,) and value != ()


def _activation(pairs: Any) -> tuple[str, Usec]:
    if not isinstance(pairs, list | tuple):
        return "", Usec(0)
    details = {pair[0]: pair[1] for pair in pairs if isinstance(pair, tuple) and len(pair) == 2}
    at = _text(details, b"trigger_timer_realtime_usec")
    return _text(details, b"trigger_unit"), Usec(int(at) if _DIGITS.fullmatch(at) else 0)


_DIGITS = re.compile(r"[0-9]{1,18}")


def _timer(state: Service, properties: dict[bytes, Any]) -> Timer:
    calendar = _specifications(properties.get(b"TimersCalendar"), bytes)
    monotonic = tuple(_specifications(properties.get(b"TimersMonotonic"), int))
    return Timer(
        unit=state.unit,
        triggers=UnitName(_text(properties, b"Unit")),
        load=state.load,
        error=state.error,
        active=state.active,
        sub=state.sub,
        file=state.file,
        result=_text(properties, b"Result"),
        calendar=tuple(value.decode(errors="replace") for _, value in calendar),
        monotonic=tuple((name, Usec(value)) for name, value in monotonic),
        next_realtime=_moment(properties, b"NextElapseUSecRealtime"),
        # Of a WakeSystem= timer that has only the calendar, systemd shows some microseconds here.
        next_monotonic=_moment(properties, b"NextElapseUSecMonotonic") if monotonic else None,
        last=_moment(properties, b"LastTriggerUSec"),
        accuracy=_usec(properties, b"AccuracyUSec"),
        random_delay=_usec(properties, b"RandomizedDelayUSec"),
        is_fixed_random=_flag(properties, b"FixedRandomDelay"),
        is_persistent=_flag(properties, b"Persistent"),
        wakes_system=_flag(properties, b"WakeSystem"),
        on_clock_change=_flag(properties, b"OnClockChange"),
        on_timezone_change=_flag(properties, b"OnTimezoneChange"),
        remains_after_elapse=properties.get(b"RemainAfterElapse") is not False,
        defers_reactivation=_flag(properties, b"DeferReactivation"),
    )


class LogSettings(Record, frozen=True):
    """What of a unit's settings decides whether its output can be complete."""

    level_max: int
    has_filters: bool
    stdout: str
    stderr: str
    namespace: str
    burst: int
    interval: Usec
    is_loaded: bool = True  # else these are only systemd's defaults
    is_transient: bool = False  # the next unit of this name may have others


class Calls:
    """Questions to systemd, and the starting of our own units. Its own connection."""

    def __init__(self) -> None:
        self._bus: Any = _open()
        self._at_rest: dict[UnitName, list[UnitName]] | None = None

    def reopen(self) -> None:
        """After the bus was restarted. BusError: it is not there yet."""
        self.close()
        self._bus = _open()

    def close(self) -> None:
        """May be called twice: libsystemd itself may not, it would end the process."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    def _manager(self, method: bytes, signature: bytes, *values: Any) -> Any:
        arguments = dbuslib.apply_signature(signature, list(values))
        return self._ask(
            lambda: self._bus.call_method(_SYSTEMD, _MANAGER_PATH, _MANAGER, method, arguments).body
        )

    def _property(self, unit: UnitName, interface: bytes, name: bytes, kind: bytes) -> Any:
        return self._ask(
            lambda: self._bus.get_property(_SYSTEMD, unit_path(unit), interface, name, kind)
        )

    def _ask(self, question: Callable[[], Any]) -> Any:
        if self._bus is None:
            raise BusError("the system bus is gone")
        try:
            return question()
        except _DBusError as error:
            name = bytes(getattr(error, "err_name", b"") or b"")
            if name.startswith(b"org.freedesktop.systemd1."):
                raise RefusedError(_words(error)) from error
            raise BusError(f"systemd does not answer: {_words(error)}") from error

    @contextlib.contextmanager
    def keeping(self, unit: UnitName) -> Iterator[None]:
        """Have systemd keep this unit in memory while it is asked about.

        One that nothing refers to is unloaded as soon as it is at rest, and read from its files
        anew for each question: 1.5 ms each, 20 of them a run, while everybody waits. Milliseconds
        later it may go; a reference that stays would keep its count of starts.
        """
        try:
            self._manager(b"RefUnit", b"s", unit.encode())
        except BusError:  # there is nothing to keep; or nobody to ask, as the questions will find
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(BusError):  # it went with the connection
                self._manager(b"UnrefUnit", b"s", unit.encode())

    def resolve(self, units: Sequence[UnitName]) -> dict[UnitName, tuple[UnitName, str]]:
        """The `Id` and the `LoadState` of each of these names: an alias has neither signals nor
        entries. Loads what is not loaded."""
        found: dict[UnitName, tuple[UnitName, str]] = {}
        for begin in range(0, len(units), 100):
            part = units[begin : begin + 100]
            rows = self._manager(b"ListUnitsByNames", b"as", [unit.encode() for unit in part])
            for asked, row in zip(part, rows, strict=False):
                found[asked] = (UnitName(row[0].decode()), row[2].decode())
        return found

    def states(self, units: Sequence[UnitName]) -> dict[UnitName, str]:
        """The ActiveState of each of these units. Loads none: one that is not loaded is at rest,
        and to hear that from systemd it would have to read its files anew."""
        rows = self._manager(b"ListUnitsByPatterns", b"asas", [], [b"*.service"])
        loaded = {row[0].decode(): row[3].decode() for row in rows}
        return {unit: loaded.get(unit, "inactive") for unit in units}

    def instances(self, template: UnitName) -> list[UnitName]:
        """The instances of `x@.service` that systemd knows: loaded, or that a timer starts."""
        stem = template.removesuffix(".service")
        services = self._by_pattern(f"{stem}*.service")
        for timer in self._by_pattern("*.timer"):
            target = self._property(timer, _TIMER, b"Unit", b"s")
            name = UnitName(bytes(target).decode())
            if name.startswith(stem) and name.endswith(".service"):
                services.append(name)
        return sorted(set(services) - {template})

    def _by_pattern(self, pattern: str) -> list[UnitName]:
        rows = self._manager(b"ListUnitsByPatterns", b"asas", [], [pattern.encode()])
        return [UnitName(row[0].decode()) for row in rows]

    def look(self, unit: UnitName, boot: BootId) -> Seen:
        """A unit's state now."""
        # All interfaces at once: between two answers the next run may begin.
        found = self._all(unit, b"")
        return _seen(unit, boot, found, found)

    def _all(self, unit: UnitName, interface: bytes) -> dict[bytes, Any]:
        arguments = dbuslib.apply_signature(b"s", [interface])
        reply = self._ask(
            lambda: (
                self._bus.call_method(
                    _SYSTEMD, unit_path(unit), _PROPERTIES, b"GetAll", arguments
                ).body
            )
        )
        return dict(reply)

    def sub_state(self, unit: UnitName) -> str:
        return bytes(self._property(unit, _UNIT, b"SubState", b"s")).decode()

    def invocation(self, unit: UnitName) -> InvocationId:
        """Of the unit's current or last run, as far as systemd remembers; else empty."""
        return InvocationId(bytes(self._property(unit, _UNIT, b"InvocationID", b"ay")).hex())

    def log_settings(self, unit: UnitName) -> LogSettings:
        def text(name: bytes) -> str:
            return bytes(self._property(unit, _SERVICE, name, b"s")).decode()

        return LogSettings(
            level_max=int(self._property(unit, _SERVICE, b"LogLevelMax", b"i")),
            has_filters=bool(self._property(unit, _SERVICE, b"LogFilterPatterns", b"a(bs)")),
            stdout=text(b"StandardOutput"),
            stderr=text(b"StandardError"),
            namespace=text(b"LogNamespace"),
            burst=int(self._property(unit, _SERVICE, b"LogRateLimitBurst", b"u")),
            interval=Usec(int(self._property(unit, _SERVICE, b"LogRateLimitIntervalUSec", b"t"))),
            is_loaded=self._property(unit, _UNIT, b"LoadState", b"s") == b"loaded",
            is_transient=bool(self._property(unit, _UNIT, b"Transient", b"b")),
        )

    def tells_of_starts(self) -> bool:
        """Whether PID 1's entries about starts and ends that went well are logged at all."""
        level = self._ask(
            lambda: self._bus.get_property(_SYSTEMD, _MANAGER_PATH, _MANAGER, b"LogLevel", b"s")
        )
        return bytes(level) in (b"info", b"debug", b"6", b"7")

    def timers(self, unit: UnitName) -> tuple[UnitName, ...]:
        """The timers that start this unit, as far as they are loaded."""
        names = self._property(unit, _UNIT, b"TriggeredBy", b"as")
        return tuple(UnitName(bytes(name).decode()) for name in names if name.endswith(b".timer"))

    def timer(self, unit: UnitName) -> Timer:
        """A timer with its schedule, loaded or not. Loads what is not loaded."""
        state = self.service_state(unit)
        return _timer(state, self._all(state.unit, _TIMER))

    def active_since(self, unit: UnitName) -> Usec:
        """When it became active last; 0 if it never was."""
        return Usec(int(self._property(unit, _UNIT, b"ActiveEnterTimestamp", b"t")))

    def announced(self, timer: Timer) -> Timer | None:
        """The same timer with what it announces now; None: it announces nothing, look closer."""
        state = Service(unit=timer.unit, file=timer.file, active="active", sub="waiting")
        found = _timer(state, self._all(timer.unit, _TIMER))
        is_alive = found.next_realtime is not None or found.next_monotonic is not None
        return found if is_alive else None

    def schedule(
        self, unit: UnitName, remembered: Iterable[UnitName] = (), *, search: bool = False
    ) -> tuple[Timer, ...]:
        """The timers that should start this unit: those that are loaded, the one of its own name,
        and those that once did, unless they have come to start another. `TriggeredBy=` alone has
        no timer that was disabled before the boot, is masked, or was removed. `search`: where there
        is none of these, any whose file says so."""
        own = UnitName(f"{unit.rpartition('.')[0]}.timer")
        loaded, once = self.timers(unit), tuple(remembered)
        found = [self.timer(name) for name in dict.fromkeys((*loaded, *once, own))]
        if search and not any(timer.triggers == unit for timer in found):
            found += [self.timer(name) for name in self._timers_at_rest().get(unit, ())]
        known = {*loaded, *once}
        return tuple(
            {
                timer.unit: timer
                for timer in found
                if timer.triggers == unit
                or (not timer.triggers and (timer.load != "not-found" or timer.unit in known))
            }.values()
        )

    def _timers_at_rest(self) -> dict[UnitName, list[UnitName]]:
        """The timers that do not run, by the unit that each would start; of one that is masked
        nobody knows it. systemd has to read the files of all of them, so it is asked once."""
        if self._at_rest is not None:
            return self._at_rest
        rows = self._manager(b"ListUnitsByPatterns", b"asas", [], [b"*.timer"])
        running = {row[0].decode() for row in rows if row[3] != b"inactive"}
        rows = self._manager(b"ListUnitFilesByPatterns", b"asas", [], [b"*.timer"])
        names = {row[0].decode(errors="replace").rpartition("/")[2] for row in rows}
        found: dict[UnitName, list[UnitName]] = {}
        for name in sorted(name for name in names - running if "@." not in name):
            with contextlib.suppress(RefusedError):
                target = bytes(self._property(UnitName(name), _TIMER, b"Unit", b"s")).decode()
                found.setdefault(UnitName(target), []).append(UnitName(name))
        self._at_rest = found
        return found

    def forget_files(self) -> None:
        """systemd read its units again."""
        self._at_rest = None

    def service_state(self, unit: UnitName) -> Service:
        """Whether systemd would start it, by its own words. Loads what is not loaded."""
        rows = self._manager(b"ListUnitsByNames", b"as", [unit.encode()])
        if not rows:  # passed over by systemd
            raise RefusedError(f"{unit!r} is no name of a unit")
        name, load, active, sub = (rows[0][part].decode(errors="replace") for part in (0, 2, 3, 4))
        error = () if load == "loaded" else self._property(unit, _UNIT, b"LoadError", b"(ss)")
        return Service(
            unit=UnitName(name),
            load=load,
            error=bytes(error[1]).decode(errors="replace") if error else "",
            active=active,
            sub=sub,
            file=bytes(self._property(unit, _UNIT, b"UnitFileState", b"s")).decode(),
        )

    def last_trigger(self, timer: UnitName) -> Usec:
        """When this timer elapsed last; 0 if it has not."""
        return Usec(int(self._property(timer, _TIMER, b"LastTriggerUSec", b"t")))

    def last_trigger_mono(self, timer: UnitName) -> Usec:
        """The same by the monotonic clock; 0 if it has not in this boot."""
        return Usec(int(self._property(timer, _TIMER, b"LastTriggerUSecMonotonic", b"t")))

    def job(self, unit: UnitName) -> int:
        """The number of the job that systemd has for this unit; 0 if it has none."""
        return int(self._property(unit, _UNIT, b"Job", b"(uo)")[0])

    def user(self, unit: UnitName) -> str | None:
        """Its User=, empty for root; None where systemd has not read the unit's file."""
        try:
            if bytes(self._property(unit, _UNIT, b"LoadState", b"s")) != b"loaded":
                return None
            return bytes(self._property(unit, _SERVICE, b"User", b"s")).decode()
        except BusError:
            return None

    def restart(self, unit: UnitName) -> None:
        """Queue a start, of a unit that runs after it was stopped."""
        self._manager(b"RestartUnit", b"ss", unit.encode(), b"replace")

    def start(self, unit: UnitName) -> None:
        """Queue a start; what becomes of it shows in the unit's signals."""
        self._manager(b"StartUnit", b"ss", unit.encode(), b"replace")

    def reset_failed(self, unit: UnitName) -> None:
        """Forget that it failed; a unit that is not loaded has nothing to forget."""
        try:
            self._manager(b"ResetFailedUnit", b"s", unit.encode())
        except BusError as error:
            if "NoSuchUnit" not in str(error) and "not loaded" not in str(error):
                raise


def check_unit(job: JobName) -> UnitName:
    return UnitName(f"outcomed-check@{job}.service")


def outcome_unit(job: JobName) -> UnitName:
    return UnitName(f"outcome@{job}.service")
