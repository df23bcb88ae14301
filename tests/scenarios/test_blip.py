"""`blip`: the first attempt fails and a later one does not; and many runs close to each other.

systemd tries again by itself (Restart=), and calls OnFailure= for each attempt, or once at the end
with RestartMode=direct. Neither is anybody's business: all of it is one run, and the last attempt
is its outcome.
"""

import json
from typing import Any

import pytest

from tests.scenarios.conftest import Site

# The nth attempt of a run is the first that works; what is counted, the next run begins anew.
SCRIPT = """
echo try >> /srv/{name}.tries
if [ $(wc -l < /srv/{name}.tries) -lt $(cat /srv/{name}.works) ]; then
    echo the network is down
    exit 6
fi
rm /srv/{name}.tries
date > /srv/{name}.done
"""
RULE = "- artifact: /srv/{name}.done\n- journal: {{never: disk full}}\n"
SERVICE = """
Restart=on-failure
RestartSec=200ms
RestartMode={mode}
[Unit]
StartLimitBurst=5
StartLimitIntervalSec=1h
OnFailure=outcomed-alert@%n.service
"""
NEVER = 99
MODES = ["normal", "direct"]


def blip(site: Site, name: str, mode: str, works: int) -> None:
    site.node.write(f"/srv/{name}.works", f"{works}\n")
    service = SERVICE.format(mode=mode)
    site.job(name, SCRIPT.format(name=name), RULE.format(name=name), service=service)


def history(site: Site, name: str) -> list[dict[str, Any]]:
    """Oldest first."""
    shown = site.node.run(["outcomectl", "history", name, "-n", "99", "--json=short"]).stdout
    runs: list[dict[str, Any]] = json.loads(shown)
    return runs[::-1]


def hook_has_ended(site: Site, name: str) -> None:
    """However often it was called; nothing is left that could still speak."""
    unit = f"outcomed-alert@{name}.service.service"
    site.node.wait_for(
        lambda: site.node.show(unit, "ActiveState")["ActiveState"] == "inactive", 20, unit
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_later_attempt_works_and_nobody_is_told(site: Site, mode: str) -> None:
    name = f"blip-{mode}"
    blip(site, name, mode, works=3)
    before = site.state(name)
    site.node.systemctl("start", "--no-block", f"{name}.service")
    site.say(name, site.judged(name, before), "verified", "held")
    (run,) = history(site, name)
    assert (run["attempts"], run["verdict"], run["exit_status"]) == (3, "verified", 0)
    assert len(site.verdicts(name)) == 1
    hook_has_ended(site, name)
    assert not site.messages(name)
    assert f"outcome@{name}.service" not in site.failed_units()
    explained = site.node.run(["outcomectl", "explain", name]).stdout
    assert "Attempts: 3, the last is what counts" in explained


@pytest.mark.parametrize("mode", MODES)
def test_all_attempts_fail_and_it_is_told_once(site: Site, mode: str) -> None:
    name = f"down-{mode}"
    blip(site, name, mode, works=NEVER)
    before = site.state(name)
    site.node.systemctl("start", "--no-block", f"{name}.service")
    state = site.judged(name, before)
    assert site.say(name, state, "failed", "exit-code") == "exited with status 6"
    hook_has_ended(site, name)
    (run,) = history(site, name)
    assert (run["attempts"], run["verdict"]) == (5, "failed")
    (fired,) = site.messages(name)
    assert fired["data"]["alert_id"] == state["incident"]

    # Somebody starts it by hand, and systemd will not: that is no attempt of the run before.
    refused = site.node.systemctl("start", f"{name}.service", check=False)
    assert refused.returncode == 1
    said = site.say(name, site.judged(name, state), "failed", "start-limit-hit")
    assert said == "started too often, systemd refused"
    again = site.state(name)
    site.node.systemctl("start", f"{name}.service", check=False)
    assert site.judged(name, again)["reason"] == "start-limit-hit"
    assert [run["attempts"] for run in history(site, name)] == [5, 1, 1]
    assert len(site.messages(name)) == 1

    # And it works again.
    site.node.run(f"rm /srv/{name}.tries; echo 1 > /srv/{name}.works")
    site.node.systemctl("reset-failed", f"{name}.service")
    state = site.run(name)
    assert (state["verdict"], state["incident"]) == ("verified", None)
    assert [one["data"]["state"] for one in site.messages(name)] == ["firing", "resolved"]


@pytest.mark.parametrize("mode", MODES)
def test_daemon_that_is_killed_between_the_attempts_knows_all_of_them(
    site: Site, mode: str
) -> None:
    name = f"killed-{mode}"
    site.node.write(f"/srv/{name}.works", "4\n")
    service = SERVICE.format(mode=mode).replace("200ms", "1s")
    script = SCRIPT.format(name=name)
    site.job(name, script, RULE.format(name=name), service=service)
    before = site.state(name)
    site.node.systemctl("start", "--no-block", f"{name}.service")
    for tries in (2, 3):
        site.node.wait_for(
            lambda n=tries: (site.node.content(f"/srv/{name}.tries") or b"").count(b"\n") >= n,
            20,
            f"attempt {tries}",
        )
        site.node.systemctl("kill", "--signal=KILL", "outcomed.service")
        site.node.systemctl("reset-failed", "outcomed.service")
    state = site.judged(name, before, 30)
    site.say(name, state, "verified", "held")
    (run,) = history(site, name)
    assert (run["attempts"], run["verdict"]) == (4, "verified")
    hook_has_ended(site, name)
    assert not [one for one in site.messages(name) if one["data"]["state"] == "firing"]


def test_several_runs_a_minute_and_those_by_hand_are_each_a_record(site: Site) -> None:
    site.node.write("/srv/often.word", "good\n")
    site.unit("often", "grep -q good /srv/often.word && date > /srv/often.done")
    timer = "[Timer]\nOnCalendar=*:*:*\nAccuracySec=10ms\n"
    site.node.write("/etc/systemd/system/often.timer", timer)
    site.node.write(
        "/etc/systemd/system/often.service.d/limit.conf", "[Unit]\nStartLimitIntervalSec=0\n"
    )
    site.job_file("often", "- artifact: /srv/often.done\n")
    site.reload()
    site.node.systemctl("start", "often.timer")
    for word in ("good", "bad", "good"):
        site.node.write("/srv/often.word", f"{word}\n")
        count = len(history(site, "often"))
        site.node.wait_for(
            lambda n=count: len(history(site, "often")) >= n + 3, 20, f"three {word} runs"
        )
        site.node.systemctl("start", "often.service", check=False)
    site.node.systemctl("stop", "often.timer")
    starts = site.node.journal(
        "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5", "UNIT=often.service", "_PID=1"
    )
    ids = [one["INVOCATION_ID"] for one in starts]
    site.node.wait_for(lambda: len(history(site, "often")) == len(ids), 20, "all verdicts")
    runs = history(site, "often")
    assert [run["run"] for run in runs] == ids
    assert {run["trigger"] for run in runs} == {"often.timer", "none"}
    assert sum(run["trigger"] == "none" for run in runs) == 3
    slots = [run["slot"] for run in runs if run["trigger"] == "often.timer"]
    assert len(set(slots)) == len(slots)
    assert all(run["slot"] is None for run in runs if run["trigger"] == "none")
    states = [one["data"]["state"] for one in site.messages("often")]
    assert states == ["firing", "resolved"]
