"""The bus as it really is: hundreds of units, units that are not loaded, aliases, a restart."""

import select
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pystemd", reason="runs on a node: make check")

from outcomed import bus
from outcomed.bus import Calls, Lost, Reloading, Signal, UnitNew, Watch
from outcomed.errors import BusError
from outcomed.journal import Journal
from outcomed.model import BootId, JobName, UnitName, Usec
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
        path.unlink()
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
