"""The bus as it really is: hundreds of units, units that are not loaded, aliases, a restart."""

import select
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("pystemd", reason="runs on a node: make check")

from outcomed import bus
from outcomed.bus import Calls, Lost, Reloading, Signal, UnitNew, Watch
from outcomed.errors import BusError, RefusedError
from outcomed.journal import Journal
from outcomed.model import DAY, MINUTE, SECOND, BootId, JobName, UnitName, Usec
from outcomed.timers import Service, Timer
from outcomed.tracker import Seen

UNITS = Path("/run/systemd/system")


@pytest.fixture(scope="module")
def boot() -> BootId:
    with Journal() as source:
        return source.boot_id()


@pytest.fixture
def calls() -> Iterator[Calls]:
    one = Calls()
    yield one
    one.close()


@pytest.fixture
def unit() -> Iterator[Callable[..., UnitName]]:
    """Write a unit file that is gone after the test."""
    made: list[Path] = []

    def make(
        text: str = "[Service]\nType=oneshot\nExecStart=/bin/true\n", name: str = ""
    ) -> UnitName:
        path = UNITS / (name or f"bus-{uuid.uuid4().hex[:8]}.service")
        path.write_text(text)
        made.append(path)
        systemctl("daemon-reload")
        return UnitName(path.name)

    yield make
    for path in made:
        systemctl("stop", path.name)
        path.unlink(missing_ok=True)
    systemctl("daemon-reload")
    systemctl("reset-failed")


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=False, capture_output=True)


def wait_for(watch: Watch, wanted: Callable[[Signal], bool], timeout: float = 10) -> list[Signal]:
    """All signals up to the first one that is wanted."""
    found: list[Signal] = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for signal in watch.signals():
            found.append(signal)
            if wanted(signal):
                return found
        select.select(watch.filenos(), [], [], max(0.0, deadline - time.monotonic()))
    raise AssertionError(f"what was awaited did not come; {found}")


def loaded() -> str:
    """The units that systemd has in memory."""
    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "bus-*"]
    return subprocess.run(listing, check=True, capture_output=True, text=True).stdout


def is_end(unit: UnitName) -> Callable[[Signal], bool]:
    return lambda one: (
        isinstance(one, Seen)
        and one.unit == unit
        and not one.has_job
        and one.active in ("inactive", "failed")
    )


def test_the_end_of_a_unit_that_is_gone_at_once_has_its_exit_status(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 5'\nSuccessExitStatus=5\n")
    with Watch(boot, [name]) as watch:
        for _ in range(5):
            calls.start(name)
            *_, end = wait_for(watch, is_end(name))
            assert isinstance(end, Seen)
            assert (end.result, end.code, end.status) == ("success", 1, 5)
            assert end.boot == boot
            assert len(end.invocation) == 32
            assert 0 < end.left_idle_mono <= end.became_idle_mono
            assert abs(end.left_idle - time.time_ns() // 1000) < 10_000_000


def test_pid_1_is_still_known_after_it_was_executed_again(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit()
    with Watch(boot, [name]) as watch:
        calls.start(name)
        wait_for(watch, is_end(name))
        systemctl("daemon-reexec")
        wait_for(watch, lambda one: isinstance(one, Reloading) and not one.begins)
        systemctl("start", name)
        wait_for(watch, is_end(name))


def test_more_units_are_watched_than_one_connection_may_match(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    first, last = unit(), unit()
    others = [UnitName(f"bus-other-{number}.service") for number in range(1_100)]
    with Watch(boot, [first, *others, last]) as watch:
        assert len(watch.filenos()) == 3
        for name in (first, last):
            calls.start(name)
            wait_for(watch, is_end(name))
        watch.add(first)
        watch.add(UnitName("bus-one-more.service"))
        assert len(watch.filenos()) == 3


def test_a_watch_closes_twice_and_says_that_it_is_closed(boot: BootId) -> None:
    watch = Watch(boot, [])
    watch.close()
    watch.close()
    assert watch.filenos() == []


def test_names_are_resolved_to_what_signals_come_from(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    real = unit()
    alias = UNITS / f"alias-of-{real}"
    alias.symlink_to(real)
    try:
        systemctl("daemon-reload")
        asked = [UnitName(alias.name), real, UnitName("bus-nowhere.service"), real]
        found = calls.resolve(asked)
        assert found[UnitName(alias.name)] == (real, "loaded")
        assert found[real] == (real, "loaded")
        assert found[UnitName("bus-nowhere.service")] == ("bus-nowhere.service", "not-found")
    finally:
        alias.unlink()


def test_hundreds_of_names_are_resolved_each_to_its_own(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    real = unit()
    names = [UnitName(f"bus-none-{number}.service") for number in range(350)]
    names.insert(170, real)
    found = calls.resolve(names)
    assert len(found) == 351
    assert found[real] == (real, "loaded")
    assert all(found[name] == (name, "not-found") for name in names if name != real)
    assert calls.states(names)[real] == "inactive"


def test_names_that_need_escaping_are_watched(boot: BootId, calls: Calls) -> None:
    name = UnitName(r"bus-a\x2db:c.d@e-f.service")
    template = UNITS / r"bus-a\x2db:c.d@.service"
    template.write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    systemctl("daemon-reload")
    try:
        with Watch(boot, [name]) as watch:
            calls.start(name)
            wait_for(watch, is_end(name))
    finally:
        template.unlink()
        systemctl("daemon-reload")


def test_instances_are_those_that_are_loaded_or_that_a_timer_starts(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    stem = f"bus-{uuid.uuid4().hex[:6]}@"
    template = unit("[Service]\nType=simple\nExecStart=/bin/sleep 60\n", name=f"{stem}.service")
    unit(f"[Timer]\nOnCalendar=2099-01-01\nUnit={stem}timed.service\n", name=f"{stem}x.timer")
    systemctl("start", f"{stem}x.timer", f"{stem}running.service")
    try:
        found = calls.instances(template)
        assert found == [f"{stem}running.service", f"{stem}timed.service"]
    finally:
        systemctl("stop", f"{stem}running.service", f"{stem}x.timer")


def test_a_new_instance_is_announced(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    template = unit(name=f"bus-{uuid.uuid4().hex[:6]}@.service")
    instance = UnitName(template.replace("@.", "@new."))
    with Watch(boot, [], new_units=True) as watch:
        calls.start(instance)
        wait_for(watch, lambda one: one == UnitNew(instance))


def test_a_reload_is_bracketed(boot: BootId) -> None:
    with Watch(boot, []) as watch:
        systemctl("daemon-reload")
        found = wait_for(watch, lambda one: one == Reloading(False))
        assert [one for one in found if isinstance(one, Reloading)] == [
            Reloading(True),
            Reloading(False),
        ]


def test_a_unit_is_looked_at_without_a_signal(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n")
    systemctl("start", name)
    seen = calls.look(name, boot)
    assert (seen.active, seen.sub, seen.result) == ("failed", "failed", "exit-code")
    assert (seen.code, seen.status, seen.has_job) == (1, 3, False)
    assert calls.invocation(name) == seen.invocation


def test_an_answer_is_of_one_moment(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    """A failed run's id must not come with what the next one, which has just begun, shows."""
    limit = "[Unit]\nStartLimitIntervalSec=0\n"
    name = unit(f"{limit}[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n")
    script = f"for run in $(seq 60); do systemctl start {name}; done"
    with subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL) as load:
        found = []
        while load.poll() is None:
            found.append(calls.look(name, boot))
    states = {(one.active, one.result, one.pid != 0) for one in found}
    assert ("failed", "exit-code", False) in states
    assert {state for state in states if state[0] == "failed"} == {("failed", "exit-code", False)}


def test_a_slot_is_told_with_the_run_that_answers_it(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit()
    timer = name.replace(".service", ".timer")
    unit("[Timer]\nAccuracySec=1ms\nOnActiveSec=300ms\n", name=timer)
    begin = time.time_ns() // 1000
    with Watch(boot, [name]) as watch:
        systemctl("start", timer)
        *_, end = wait_for(watch, is_end(name))
    assert isinstance(end, Seen)
    assert end.trigger == timer
    assert begin < end.trigger_at <= end.left_idle
    assert calls.timers(name) == (timer,)
    assert abs(calls.last_trigger(UnitName(timer)) - end.trigger_at) < 1_000_000
    systemctl("stop", timer)


TIMED = "[Service]\nType=oneshot\nExecStart=/bin/true\n"


@pytest.fixture
def timed(unit: Callable[..., UnitName]) -> Callable[..., tuple[UnitName, UnitName]]:
    """A service with a timer of its name beside it."""

    def make(settings: str, service: str = TIMED) -> tuple[UnitName, UnitName]:
        name = unit(service)
        timer = name.replace(".service", ".timer")
        return name, unit(f"[Timer]\nAccuracySec=1ms\n{settings}\n", name=timer)

    return make


def flags(timer: Timer) -> set[str]:
    return {name for name, value in msgspec.structs.asdict(timer).items() if value is True}


def timer_when(
    calls: Calls, timer: UnitName, wanted: Callable[[Timer], bool], timeout: float = 10
) -> Timer:
    deadline = time.monotonic() + timeout
    while not wanted(found := calls.timer(timer)):
        assert time.monotonic() < deadline, found
        select.select([], [], [], 0.02)
    return found


def test_a_timer_shows_its_whole_schedule_in_the_order_of_its_file(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed(
        "OnCalendar=daily\nOnCalendar=Mon 02:30 Europe/Berlin\nOnCalendar=2099-01-01 04:00:00.5\n"
        "OnBootSec=400d\nOnUnitActiveSec=401d\nOnUnitInactiveSec=402d\nOnActiveSec=403d\n"
        "OnStartupSec=404d\nAccuracySec=30s\nRandomizedDelaySec=5min\nFixedRandomDelay=yes\n"
        "OnClockChange=yes\nOnTimezoneChange=yes\nRemainAfterElapse=no\n"
    )
    systemctl("start", timer)
    now = Usec(time.time_ns() // 1000)
    found = calls.timer(timer)
    assert (found.unit, found.triggers) == (timer, name)
    assert (found.load, found.active, found.sub, found.file) == (
        *("loaded", "active", "waiting"),
        "static",
    )
    assert found.calendar == (
        "*-*-* 00:00:00",
        "Mon *-*-* 02:30:00 Europe/Berlin",
        "2099-01-01 04:00:00.500000",
    )
    assert found.monotonic == (
        ("OnBootSec", 400 * DAY),
        ("OnUnitActiveSec", 401 * DAY),
        ("OnUnitInactiveSec", 402 * DAY),
        ("OnActiveSec", 403 * DAY),
        ("OnStartupSec", 404 * DAY),
    )
    assert found.next_realtime is not None
    assert now < found.next_realtime < now + DAY + 5 * MINUTE + 30 * SECOND
    assert found.next_monotonic is not None
    assert found.next_monotonic > 399 * DAY
    assert (found.accuracy, found.random_delay) == (30 * SECOND, 5 * MINUTE)
    assert flags(found) == {"is_fixed_random", "on_clock_change", "on_timezone_change"}


def test_a_timer_that_wakes_the_system_and_catches_up_shows_it(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    _, timer = timed("OnCalendar=2099-01-01\nPersistent=yes\nWakeSystem=yes\nDeferReactivation=yes")
    found = calls.timer(timer)
    assert flags(found) == {
        *("is_persistent", "wakes_system", "defers_reactivation"),
        "remains_after_elapse",
    }
    assert (found.active, found.sub, found.next_realtime) == ("inactive", "dead", None)


def test_a_timer_that_wakes_the_system_counts_from_the_boot_only_where_it_is_told_to() -> None:
    """As systemd 257 shows it on a machine; on a node such a timer cannot be started."""
    shown = {b"NextElapseUSecRealtime": 4070908800000000, b"NextElapseUSecMonotonic": 2}
    state = Service(unit=UnitName("wakes.timer"), active="active", sub="waiting")
    found = bus._timer(state, shown)
    assert (found.next_realtime, found.next_monotonic) == (4070908800000000, None)
    found = bus._timer(state, shown | {b"TimersMonotonic": [(b"OnBootUSec", 2, 2)]})
    assert found.next_monotonic == 2


def test_a_timer_that_has_elapsed_for_good_shows_no_next_moment(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed("OnActiveSec=100ms")
    systemctl("start", timer)
    found = timer_when(calls, timer, lambda one: one.sub == "elapsed")
    assert (found.active, found.next_realtime, found.next_monotonic) == ("active", None, None)
    assert found.last == calls.last_trigger(timer)
    _, never = timed("OnCalendar=2020-01-01")
    systemctl("start", never)
    found = calls.timer(never)
    assert (found.active, found.sub, found.last) == ("active", "elapsed", None)
    assert calls.schedule(name) == (calls.timer(timer),)


def test_a_timer_whose_service_runs_shows_no_next_moment(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    _, timer = timed("OnCalendar=*:*:*", "[Service]\nType=oneshot\nExecStart=/bin/sleep 60\n")
    systemctl("start", timer)
    found = timer_when(calls, timer, lambda one: one.sub == "running")
    assert (found.active, found.next_realtime) == ("active", None)
    assert found.last is not None
    systemctl("stop", timer)


def test_a_timer_made_on_the_spot_is_found_with_its_service(calls: Calls) -> None:
    name = f"bus-{uuid.uuid4().hex[:8]}"
    command = ["systemd-run", f"--unit={name}", "--on-calendar=2099-01-01", "--on-active=1000d"]
    subprocess.run([*command, "/bin/true"], check=True, capture_output=True)
    try:
        (found,) = calls.schedule(UnitName(f"{name}.service"))
        assert (found.unit, found.file) == (f"{name}.timer", "transient")
        assert found.calendar == ("2099-01-01 00:00:00",)
        assert found.monotonic == (("OnActiveSec", 1000 * DAY),)
    finally:
        systemctl("stop", f"{name}.timer")


def test_a_service_masked_under_its_timer_shows_on_both(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed("OnActiveSec=2s")
    state = calls.service_state(name)
    assert (state.load, state.active, state.file, state.error) == (
        *("loaded", "inactive", "static"),
        "",
    )
    systemctl("start", timer)
    (UNITS / name).unlink()
    systemctl("mask", "--runtime", name)
    state = calls.service_state(name)
    assert (state.load, state.file) == ("masked", "masked-runtime")
    assert state.error == f"Unit {name} is masked."
    assert [one.active for one in calls.schedule(name)] == ["active"]
    found = timer_when(calls, timer, lambda one: one.active == "failed")
    assert (found.result, found.last, found.triggers) == ("resources", None, name)


def test_a_service_that_cannot_be_loaded_says_why(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    bad = calls.service_state(unit("[Service]\nType=oneshot\nExecStart=true-that-is-no-path/\n"))
    assert bad.load == "bad-setting"
    assert "bad unit file setting" in bad.error
    gone = calls.service_state(UnitName("bus-nowhere.service"))
    assert (gone.load, gone.file) == ("not-found", "")
    assert gone.error == "Unit bus-nowhere.service not found."
    with pytest.raises(RefusedError, match="no name of a unit"):
        calls.service_state(UnitName("no name"))


def test_the_timer_beside_a_service_is_found_stopped_disabled_masked_and_broken(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed("OnCalendar=2099-01-01\n[Install]\nWantedBy=timers.target")
    assert calls.timers(name) == ()
    (found,) = calls.schedule(name)
    assert (found.unit, found.load, found.active, found.file) == (
        *(timer, "loaded", "inactive"),
        "disabled",
    )
    systemctl("enable", "--runtime", "--now", timer)
    (found,) = calls.schedule(name)
    assert (found.active, found.file) == ("active", "enabled-runtime")
    (UNITS / timer).write_text("[Timer]\nOnCalendar=whenever\n")
    systemctl("stop", timer)
    systemctl("daemon-reload")
    (found,) = calls.schedule(name)
    assert (found.load, found.triggers) == ("bad-setting", name)
    (UNITS / timer).unlink()
    systemctl("disable", "--runtime", timer)
    systemctl("mask", "--runtime", timer)
    (found,) = calls.schedule(name)
    assert (found.unit, found.load, found.file) == (timer, "masked", "masked-runtime")
    assert (found.triggers, found.calendar) == ("", ())


def test_a_timer_that_is_gone_is_found_only_by_who_remembers_it(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed("OnCalendar=2099-01-01")
    systemctl("start", timer)
    (UNITS / timer).unlink()
    (found,) = calls.schedule(name)
    assert (found.load, found.active) == ("loaded", "active")
    systemctl("daemon-reload")
    systemctl("stop", timer)
    assert calls.schedule(name) == ()
    (found,) = calls.schedule(name, [timer])
    assert (found.unit, found.load) == (timer, "not-found")


def test_a_timer_counts_for_the_unit_that_it_starts(
    timed: Callable[..., tuple[UnitName, UnitName]], unit: Callable[..., UnitName], calls: Calls
) -> None:
    other = unit()
    name, timer = timed(f"OnCalendar=2099-01-01\nUnit={other}")
    systemctl("start", timer)
    assert calls.schedule(name, [timer]) == ()
    assert calls.schedule(other) == (calls.timer(timer),)
    systemctl("stop", timer)
    assert calls.schedule(other) == ()
    (found,) = calls.schedule(other, [timer])
    assert (found.unit, found.active) == (timer, "inactive")


def test_a_timer_of_another_name_that_never_ran_is_found_by_its_file(
    timed: Callable[..., tuple[UnitName, UnitName]], unit: Callable[..., UnitName], calls: Calls
) -> None:
    """Once: what files there are is asked again when systemd has read them again."""
    other, late = unit(), unit()
    _, timer = timed(f"OnCalendar=2099-01-01\nUnit={other}")
    assert calls.schedule(other) == ()
    (found,) = calls.schedule(other, search=True)
    assert (found.unit, found.load, found.active) == (timer, "loaded", "inactive")
    assert found.calendar == ("2099-01-01 00:00:00",)
    name, second = timed(f"OnCalendar=2099-01-01\nUnit={late}")
    assert calls.schedule(late, search=True) == ()
    calls.forget_files()
    assert [one.unit for one in calls.schedule(late, search=True)] == [second]
    assert calls.schedule(name, search=True) == ()  # its own one starts another
    systemctl("start", second)
    assert [one.active for one in calls.schedule(late, search=True)] == ["active"]
    systemctl("stop", second)
    (UNITS / second).unlink()
    systemctl("mask", "--runtime", second)
    calls.forget_files()
    assert calls.schedule(late, search=True) == ()


def test_an_alias_of_a_timer_is_the_timer(
    timed: Callable[..., tuple[UnitName, UnitName]], calls: Calls
) -> None:
    name, timer = timed("OnCalendar=2099-01-01")
    alias = UNITS / f"alias-of-{timer}"
    alias.symlink_to(timer)
    try:
        systemctl("daemon-reload")
        assert calls.schedule(name, [UnitName(alias.name)]) == (calls.timer(timer),)
    finally:
        alias.unlink()


def test_what_a_later_systemd_says_otherwise_is_as_good_as_absent() -> None:
    service = Service(UnitName("a.timer"))
    odd = {
        b"Unit": 3,
        b"TimersCalendar": [(b"OnCalendar", 1, 2), (b"OnCalendar", b"daily", 0, 9), b"x", (), 4],
        b"TimersMonotonic": {b"OnBootUSec": 1},
        b"NextElapseUSecRealtime": "soon",
        b"NextElapseUSecMonotonic": 2**64 - 1,
        b"LastTriggerUSec": -1,
        b"AccuracyUSec": None,
        b"Persistent": 1,
    }
    bare = bus._timer(service, {})
    assert bus._timer(service, odd) == msgspec.structs.replace(bare, calendar=("daily",))
    assert (bare.triggers, bare.result, bare.remains_after_elapse) == ("", "", True)


def test_a_units_settings_for_its_output_are_read(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit(
        "[Service]\nType=oneshot\nExecStart=/bin/true\nLogLevelMax=notice\nStandardOutput=null\n"
        "LogFilterPatterns=~x\nLogRateLimitBurst=7\nLogRateLimitIntervalSec=2s\nLogNamespace=n\n"
    )
    settings = calls.log_settings(name)
    assert (settings.level_max, settings.has_filters) == (5, True)
    assert (settings.stdout, settings.namespace) == ("null", "n")
    assert (settings.burst, settings.interval) == (7, Usec(2_000_000))
    plain = calls.log_settings(unit())
    assert (plain.level_max, plain.has_filters, plain.stdout) == (-1, False, "journal")


def test_a_unit_is_kept_for_some_questions_and_no_longer(
    unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit()
    assert name not in loaded()
    with calls.keeping(name):
        assert calls.timers(name) == ()
        assert name in loaded()
    assert name not in loaded()
    with calls.keeping(UnitName("bus-nowhere.service")):
        assert not calls.log_settings(UnitName("bus-nowhere.service")).is_loaded


def test_asking_about_a_unit_does_not_keep_its_count_of_starts(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit()
    with Watch(boot, [name]) as watch:
        for _ in range(8):  # more than the five in ten seconds that systemd allows
            calls.start(name)
            *_, end = wait_for(watch, is_end(name))
            assert isinstance(end, Seen)
            assert end.result == "success"
            with calls.keeping(name):
                calls.log_settings(name)
            assert name not in loaded()


def test_starting_what_is_not_there_is_an_error(calls: Calls) -> None:
    with pytest.raises(BusError, match="not found"):
        calls.start(UnitName("bus-nowhere.service"))


def test_forgetting_the_failure_of_what_is_not_there_is_done(calls: Calls) -> None:
    calls.reset_failed(UnitName("bus-nowhere.service"))


def test_forgetting_a_failure_makes_a_unit_inactive(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    name = unit("[Service]\nType=oneshot\nExecStart=/bin/false\n")
    systemctl("start", name)
    assert calls.look(name, boot).active == "failed"
    calls.reset_failed(name)
    assert calls.states([name])[name] == "inactive"


def test_signals_that_come_while_another_unit_is_added_are_known_of(
    boot: BootId, unit: Callable[..., UnitName]
) -> None:
    """The library has read them then, so that nobody is woken for them."""
    name = unit()
    with Watch(boot, [name]) as watch:
        list(watch.signals())
        assert not watch.has_more
        systemctl("start", name)
        watch.add(UnitName("another.service"))
        assert watch.has_more
        assert any(map(is_end(name), watch.signals()))
        assert not watch.has_more


def test_our_own_units_are_named_by_the_job_as_it_is() -> None:
    name = JobName(r"a\x2db@c")
    assert bus.check_unit(name) == r"outcomed-check@a\x2db@c.service"
    assert bus.outcome_unit(name) == r"outcome@a\x2db@c.service"


def test_a_bus_that_restarts_is_lost_and_can_be_opened_again(
    boot: BootId, unit: Callable[..., UnitName], calls: Calls
) -> None:
    """Last in this file: everything else on the node loses its connection too."""
    name = unit()
    watch = Watch(boot, [name])
    systemctl("restart", "dbus.service")
    lost = False
    deadline = time.monotonic() + 10
    while not lost:
        assert time.monotonic() < deadline
        try:
            lost = any(isinstance(one, Lost) for one in watch.signals())
            watch.filenos()
        except BusError:
            lost = True
    watch.close()
    with pytest.raises(BusError):
        calls.states([name])
    systemctl("stop", "dbus.socket", "dbus.service")
    for _ in range(3):  # what is closed already is not closed again
        with pytest.raises(BusError):
            calls.reopen()
        with pytest.raises(BusError):
            calls.states([name])
    systemctl("start", "dbus.socket", "dbus.service")
    while True:
        try:
            calls.reopen()
            calls.states([name])
            break
        except BusError:
            assert time.monotonic() < deadline
    with Watch(boot, [name]) as again:
        calls.start(name)
        wait_for(again, is_end(name))
