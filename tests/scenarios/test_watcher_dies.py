"""`watcher-dies`: the daemon is stopped, killed, or loses its sources, across good and bad runs.

Whatever journal and ledger still prove is reached afterwards, in the same order; of the rest it is
said why it is not known. What is of no use any more is told in one message.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.scenarios.conftest import Message, Site

# A run does what its word says; its rule is about output, which can be looked at later too.
SCRIPT = """
read word < /srv/{name}.word
echo "begin $word"
if [ "$word" = lie ]; then echo ERROR disk full; fi
if [ "$word" = fail ]; then exit 3; fi
echo all done
"""
RULE = "- journal: {never: ERROR}\n"
VERDICTS = {"good": "verified", "lie": "silent-failure", "fail": "failed"}


def jobs(site: Site, *names: str, service: str = "", top: str = "") -> None:
    for name in names:
        site.unit(name, SCRIPT.format(name=name), service=service)
        site.job_file(name, RULE, top=top)
    site.reload()


def up(site: Site) -> None:
    """However often it was started before."""
    site.node.run("systemctl reset-failed outcomed.service; systemctl start outcomed.service")


def start(site: Site, name: str, *words: str) -> None:
    """So many runs, each ended when the next begins."""
    for word in words:
        site.node.run(
            f"echo {word} > /srv/{name}.word; systemctl reset-failed {name} 2>/dev/null;"
            f" systemctl start {name}.service || test {word} = fail"
        )


def live(site: Site, name: str, word: str) -> None:
    before = site.state(name)
    start(site, name, word)
    assert site.judged(name, before)["verdict"] == VERDICTS[word]


def history(site: Site, name: str) -> list[dict[str, Any]]:
    shown = site.node.run(
        ["outcomectl", "history", name, "-n", "999", "--json=short"], check=False
    ).stdout
    runs: list[dict[str, Any]] = json.loads(shown or "[]")
    return runs[::-1]


def judged(site: Site, name: str, words: Sequence[str], timeout: float = 30) -> None:
    """Every run has one verdict, in the order in which they ran, and it is the right one."""
    on_record(site, name, words, timeout)
    expected = [VERDICTS[word] for word in words]
    said = {entry["OUTCOMED_VERDICT_SEQ"]: entry for entry in site.verdicts(name)}
    assert [said[seq]["OUTCOMED_VERDICT"] for seq in sorted(said, key=int)] == expected


def on_record(site: Site, name: str, words: Sequence[str], timeout: float = 30) -> None:
    """The same by the ledger alone: the journal has lost what it had of the first ones."""
    expected = [VERDICTS[word] for word in words]
    site.node.wait_for(
        lambda: len(history(site, name)) >= len(expected), timeout, f"{len(expected)} verdicts"
    )
    assert [run["verdict"] for run in history(site, name)] == expected


def told(site: Site, name: str) -> list[tuple[str, str]]:
    return [(one["data"]["state"], one["data"]["alert_id"]) for one in site.messages(name)]


def meanwhile(site: Site) -> list[Message]:
    events = site.messages("outcomed.service")
    return [one["data"] for one in events if one["data"]["reason"] == "meanwhile"]


def incident_lines(site: Site, name: str) -> list[str]:
    """Alerts of the job, as the journal shows them opening and closing."""
    lines = site.node.journal(f"OUTCOMED_JOB={name}")
    return [one["MESSAGE"] for one in lines if "OUTCOMED_ALERT" in one]


# --- what is told ----------------------------------------------------------------------------


def test_what_went_wrong_and_recovered_meanwhile_is_one_message(own_site: Site) -> None:
    site = own_site
    names = [f"night-{number}" for number in range(12)]
    jobs(site, *names, "calm")
    site.node.systemctl("stop", "outcomed.service")
    for name in names:
        start(site, name, "lie", "good", "fail", "fail", "good")
    start(site, "calm", "good", "good")
    up(site)
    for name in names:
        judged(site, name, ["lie", "good", "fail", "fail", "good"])
    judged(site, "calm", ["good", "good"])
    site.receiver.wait_for(1, 20)
    (data,) = meanwhile(site)
    assert [one["job"] for one in data["jobs"]] == sorted(names)
    assert [one["bad"] for one in data["jobs"]] == [{"silent-failure": 1, "failed": 2}] * 12
    assert not any(one["again"] for one in data["jobs"])
    assert data["summary"].startswith("12 jobs went wrong and recovered while outcomed was not")
    assert len(site.receiver.requests) == 1
    for name in names:
        assert site.state(name)["incident"] is None
        assert incident_lines(site, name) == []
        site.shows_as_failed(name, False)
    (said,) = site.node.journal("_SYSTEMD_UNIT=outcomed.service", "OUTCOMED_REASON=meanwhile")
    assert said["MESSAGE"] == data["summary"]

    # And it is told once: neither a restart nor a kill brings it again.
    site.node.systemctl("restart", "outcomed.service")
    site.node.systemctl("kill", "--signal=KILL", "outcomed.service")
    live(site, "calm", "good")
    site.messages("calm")
    assert len(site.receiver.requests) == 1


def test_what_is_bad_after_a_downtime_is_told_as_ever(site: Site) -> None:
    jobs(site, "told-before", "stays", "is-new", "is-held", "again")
    live(site, "told-before", "fail")
    live(site, "stays", "lie")
    ((_, before),) = told(site, "told-before")
    site.node.systemctl("stop", "outcomed.service")
    start(site, "told-before", "fail", "good")
    start(site, "stays", "fail", "fail")
    start(site, "is-new", "good", "lie", "fail")
    start(site, "again", "fail", "good", "lie")
    # Its last run is skipped, and says nothing about what went wrong before.
    start(site, "is-held", "fail", "lie")
    drop_in = "/etc/systemd/system/is-held.service.d/skip.conf"
    site.node.write(drop_in, "[Unit]\nConditionPathExists=/srv/nowhere\n")
    site.node.run("systemctl daemon-reload; systemctl start is-held")
    up(site)
    judged(site, "is-new", ["good", "lie", "fail"])
    site.receiver.wait_for(6, 20)
    assert told(site, "told-before") == [("firing", before), ("resolved", before)]
    assert [state for state, _ in told(site, "stays")] == ["firing"]
    for name in ("is-new", "again", "is-held"):
        incident = site.node.wait_for(lambda n=name: site.state(n)["incident"], 10, "an incident")
        assert told(site, name) == [("firing", incident)], name
        site.shows_as_failed(name, True)
        assert len(incident_lines(site, name)) == 1
    (held,) = site.messages("is-held")
    assert (held["data"]["verdict"], held["data"]["summary"]) == ("failed", "exited with status 3")
    (data,) = meanwhile(site)
    assert [(one["job"], one["bad"], one["again"]) for one in data["jobs"]] == [
        ("again", {"failed": 1}, True)
    ]
    for name in ("stays", "is-new", "again"):
        live(site, name, "good")
        assert [state for state, _ in told(site, name)] == ["firing", "resolved"]
        site.shows_as_failed(name, False)


HOOK = "[Unit]\nOnFailure=outcomed-alert@%n.service\n"
STARTING = "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5"
FINISHED = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf"


def test_what_the_hook_has_told_is_told_to_be_over(site: Site) -> None:
    """And it speaks once in a downtime: later failures may be the same incident's."""
    jobs(site, "hooked", service=HOOK)
    site.node.systemctl("stop", "outcomed.service")
    unit = "UNIT=outcomed-alert@hooked.service.service"
    for times, words in enumerate((["fail"], ["fail"], ["good", "fail"]), 1):
        start(site, "hooked", *words)
        site.node.wait_for(
            lambda n=times: len(site.node.journal(FINISHED, unit, "_PID=1")) == n, 30, "the hook"
        )
    start(site, "hooked", "good")
    ((_, alert),) = told(site, "hooked")
    up(site)
    judged(site, "hooked", ["fail", "fail", "good", "fail", "good"])
    site.node.wait_for(lambda: len(told(site, "hooked")) == 2, 20, "the end of what was told")
    assert told(site, "hooked") == [("firing", alert), ("resolved", alert)]
    assert [one["job"] for one in meanwhile(site)[-1]["jobs"]] == ["hooked"]
    assert not site.node.exists("/var/lib/outcomed/spool/in/hooked.told")
    live(site, "hooked", "fail")
    assert len(told(site, "hooked")) == 3


def test_what_the_hook_has_told_is_the_alert_also_where_worse_came_before(site: Site) -> None:
    """A run that lied before has no hook: it is part of what was told of the one that failed."""
    jobs(site, "lied-before", service=HOOK)
    site.node.systemctl("stop", "outcomed.service")
    start(site, "lied-before", "lie", "fail")
    site.receiver.wait_for(1, 30, lambda one: one.json()["subject"] == "lied-before")
    ((_, alert),) = told(site, "lied-before")
    up(site)
    judged(site, "lied-before", ["lie", "fail"])
    site.node.wait_for(lambda: site.state("lied-before")["incident"], 20, "an incident")
    assert site.state("lied-before")["incident"] == alert
    site.shows_as_failed("lied-before", True)
    assert told(site, "lied-before") == [("firing", alert)]
    live(site, "lied-before", "good")
    assert told(site, "lied-before") == [("firing", alert), ("resolved", alert)]


def test_killed_while_it_catches_up_it_loses_and_repeats_nothing(own_site: Site) -> None:
    site = own_site
    names = [f"kill-{number}" for number in range(8)]
    jobs(site, *names)
    site.node.systemctl("stop", "outcomed.service")
    words = ["fail", "good", "lie", "good", "fail", "lie", "good", "good"] * 4
    for name in names:
        start(site, name, *words)
    start(site, names[0], "lie")
    kill = (
        "systemctl reset-failed outcomed; systemctl start --no-block outcomed;"
        " for n in $(seq {wait}); do :; done; systemctl kill --signal=KILL outcomed"
    )
    for wait in range(10_000, 400_000, 40_000):
        site.node.run(kill.format(wait=wait), check=False)
    site.node.run("systemctl reset-failed outcomed; systemctl start outcomed")
    judged(site, names[0], [*words, "lie"], 60)
    for name in names[1:]:
        judged(site, name, words, 60)
    site.receiver.wait_for(2, 20)
    assert [state for state, _ in told(site, names[0])] == ["firing"]
    for name in names[1:]:
        assert told(site, name) == []
    (data,) = meanwhile(site)
    expected = {"failed": 8, "silent-failure": 8}
    assert {one["job"]: one["bad"] for one in data["jobs"]} == dict.fromkeys(names, expected)
    assert [one["job"] for one in data["jobs"] if one["again"]] == [names[0]]


# --- slots -----------------------------------------------------------------------------------

TIMER = "[Timer]\nOnCalendar=*:*:0/3\nAccuracySec=1us\n[Install]\nWantedBy=timers.target\n"
SLOTS_PASS = "until=$(($(date +%s) + 7)); while [ $(date +%s) -lt $until ]; do :; done"


def timed(site: Site, *names: str) -> None:
    """Jobs whose timers have each started a good run."""
    for name in names:
        site.node.write(f"/srv/{name}.word", "good\n")
        site.node.write(f"/usr/lib/systemd/system/{name}.timer", TIMER)
    jobs(site, *names, top="schedule: {start_within: 2s}")
    site.node.systemctl("enable", "--now", *(f"{name}.timer" for name in names))
    for name in names:
        site.node.wait_for(lambda n=name: site.state(n)["verdict"] == "verified", 30, "a run")


def missed(site: Site, name: str) -> int:
    found = [run for run in history(site, name) if run["verdict"] == "missed"]
    return len([run for run in found if run["judged"] is not None])


def test_slots_that_were_missed_and_made_good_meanwhile_are_in_the_same_message(
    own_site: Site,
) -> None:
    """With what runs are in it; and what still is missing is told by itself, once."""
    site = own_site
    names = ("made-good", "stays-dead", "dead-again", "had-failed")
    timed(site, *names)
    live(site, "had-failed", "fail")
    site.node.systemctl("stop", "had-failed.timer")
    ((_, alert),) = told(site, "had-failed")
    timers = " ".join(f"{name}.timer" for name in names)
    site.node.run(f"systemctl stop outcomed; systemctl mask --now {timers}; {SLOTS_PASS}")
    start(site, "made-good", "fail")
    start(site, "dead-again", "good")
    site.node.run(SLOTS_PASS)
    for name in ("made-good", "had-failed"):
        timer = f"systemctl unmask {name}.timer; systemctl start {name}.timer"
        site.node.run(f"echo good > /srv/{name}.word; {timer}")
        start(site, name, "good")
    up(site)
    site.node.wait_for(lambda: meanwhile(site), 30, "what happened meanwhile")
    (data,) = meanwhile(site)
    assert [(one["job"], one["bad"], one["again"]) for one in data["jobs"]] == [
        ("dead-again", {"missed": 1}, True),
        ("made-good", {"failed": 1, "missed": 1}, False),
    ]
    assert told(site, "made-good") == []
    assert told(site, "had-failed") == [("firing", alert), ("resolved", alert)]
    for name in ("stays-dead", "dead-again"):
        incident = site.state(name)["incident"]
        assert incident is not None
        assert told(site, name) == [("firing", incident)]
        site.shows_as_failed(name, True)
    assert [missed(site, name) for name in names] == [1, 1, 2, 1]
    for name in ("made-good", "had-failed"):
        state = site.state(name)
        assert (state["verdict"], state["incident"]) == ("verified", None)
        site.shows_as_failed(name, False)
        site.node.run(["outcomectl", "status", name])

    # And neither a restart nor a kill brings any of it again.
    sent = len(site.receiver.requests)
    site.node.systemctl("restart", "outcomed.service")
    site.node.systemctl("kill", "--signal=KILL", "outcomed.service")
    live(site, "made-good", "good")
    site.messages("made-good")
    assert len(site.receiver.requests) == sent


# --- what happens meanwhile, and loses nothing -----------------------------------------------

HARMLESS = {
    "journald": "systemctl restart systemd-journald",
    "dbus": "systemctl restart dbus",
    "reexec": "systemctl daemon-reexec",
    "rotate": "journalctl --sync; journalctl --rotate; journalctl --vacuum-size=1G",
}


@pytest.mark.parametrize("what", HARMLESS)
def test_a_downtime_with_a_restart_in_it_loses_no_verdict(site: Site, what: str) -> None:
    name = f"down-{what}"
    jobs(site, name)
    site.node.systemctl("stop", "outcomed.service")
    start(site, name, "good", "lie", "fail")
    site.node.run(HARMLESS[what])
    start(site, name, "good", "fail", "lie")
    up(site)
    judged(site, name, ["good", "lie", "fail", "good", "fail", "lie"])
    assert [state for state, _ in told(site, name)] == ["firing"]


@pytest.mark.parametrize("what", HARMLESS)
def test_a_living_daemon_loses_no_verdict_by_it_either(site: Site, what: str) -> None:
    """Without a pause: runs are over before, while and after it happens."""
    name = f"live-{what}"
    jobs(site, name)
    site.node.run(f"echo fail > /srv/{name}.word; systemctl start --no-block {name}", check=False)
    site.node.run(f"{HARMLESS[what]} & systemctl start --wait {name}; wait", check=False)
    start(site, name, "good", "lie", "good", "fail")
    starts = site.node.journal(STARTING, f"UNIT={name}.service", "_PID=1")
    ids = [one["INVOCATION_ID"] for one in starts]
    site.node.wait_for(lambda: len(history(site, name)) >= len(ids), 30, "all verdicts")
    shown = history(site, name)
    # journald, started again, may have lost a word of PID 1's; the bus said it as well.
    known = [run["run"] for run in shown]
    assert [run for run in known if run in ids] == ids
    assert len(set(known)) == len(known)
    assert [run["verdict"] for run in shown[-4:]] == [
        *("verified", "silent-failure", "verified", "failed"),
    ]
    assert {run["verdict"] for run in shown[:-4]} == {"failed"}


# --- what is lost, and is never good ---------------------------------------------------------


def open_run(site: Site, name: str) -> None:
    """A run that has begun, which the ledger knows; it lies when something is written to it."""
    site.node.run(["mkfifo", f"/srv/{name}.word"])
    jobs(site, name)
    site.node.systemctl("start", "--no-block", f"{name}.service")
    site.node.wait_for(lambda: site.state(name)["under_way"], what="a run under way")


def ends(site: Site, name: str, word: str) -> None:
    site.node.run(
        f"echo {word} > /srv/{name}.word; rm /srv/{name}.word;"
        f" while systemctl --quiet is-active {name} ||"
        f" [ $(systemctl show -P ActiveState {name}) = activating ]; do :; done"
    )


def gaps(site: Site, reason: str) -> list[str]:
    lines = site.node.journal("_SYSTEMD_UNIT=outcomed.service", f"OUTCOMED_REASON={reason}")
    return [line["MESSAGE"] for line in lines]


VACUUM = "journalctl --sync; journalctl --rotate; journalctl --vacuum-files=1"


DAMAGE = """
for file in /*/log/journal/*/system.journal; do
    size=$(stat -c %s "$file")
    dd if=/dev/zero of="$file" bs=4096 seek=1 count=$((size / 4096)) conv=notrunc 2>/dev/null
done
"""


def test_file_of_the_journal_that_was_damaged_meanwhile_proves_nothing_good(
    own_site: Site,
) -> None:
    site = own_site
    jobs(site, "damaged")
    open_run(site, "half")
    live(site, "damaged", "good")
    site.node.systemctl("stop", "outcomed.service")
    ends(site, "half", "lie")
    start(site, "damaged", "lie", "lie")
    site.node.run(f"journalctl --sync; {DAMAGE} systemctl restart systemd-journald")
    start(site, "damaged", "fail", "good")
    before = site.state("half")
    up(site)
    assert site.judged("half", before)["verdict"] in ("unknown", "silent-failure")
    site.node.wait_for(
        lambda: history(site, "damaged")[-1]["verdict"] == "verified", 20, "the last"
    )
    verdicts = [run["verdict"] for run in history(site, "damaged")]
    # What is left of the file may or may not show the two that lied; good they never are.
    assert verdicts[0] == "verified"
    assert verdicts[-2:] == ["failed", "verified"]
    assert set(verdicts[1:-2]) <= {"silent-failure", "unknown"}


def test_the_first_start_on_a_node_judges_no_history(own_site: Site) -> None:
    """Also where its ledger was moved aside: what was before is nobody's business."""
    site = own_site
    jobs(site, "history")
    site.node.systemctl("stop", "outcomed.service")
    start(site, "history", "fail", "lie", "good", "fail")
    site.node.run("mkdir /srv/old; mv /var/lib/outcomed/ledger.db* /srv/old")
    up(site)
    live(site, "history", "good")
    judged(site, "history", ["good"])
    assert site.messages("history") == []
    assert meanwhile(site) == []


@pytest.fixture(autouse=True)
def on_its_feet(request: pytest.FixtureRequest) -> None:
    """A test that failed halfway may have left it stopped."""
    if "site" in request.fixturenames:
        site: Site = request.getfixturevalue("site")
        up(site)


def test_journal_that_was_vacuumed_meanwhile_proves_nothing_good(own_site: Site) -> None:
    """The run that the ledger knows is unknown; those that left no trace are in no history; those
    after it are judged as ever. And the cursor that points at nothing is noticed."""
    site = own_site
    jobs(site, "vacuumed")
    open_run(site, "half")
    live(site, "vacuumed", "good")
    site.node.systemctl("stop", "outcomed.service")
    ends(site, "half", "lie")
    start(site, "vacuumed", "lie", "fail", "good")
    site.node.run(VACUUM)
    assert not site.node.journal(STARTING, "UNIT=vacuumed.service")
    before = site.state("half")
    start(site, "vacuumed", "fail", "good", "lie")
    up(site)
    on_record(site, "vacuumed", ["good", "fail", "good", "lie"])
    state = site.judged("half", before)
    assert state["verdict"] == "unknown"
    assert state["run"] == before["under_way"]
    (said,) = gaps(site, "cursor")
    assert "going on with what it still holds" in said
    assert [state for state, _ in told(site, "vacuumed")] == ["firing"]
    assert told(site, "half") == []
    (data,) = meanwhile(site)
    assert [(one["job"], one["bad"]) for one in data["jobs"]] == [("vacuumed", {"failed": 1})]

    # By time as well as by size or number.
    site.node.systemctl("stop", "outcomed.service")
    start(site, "vacuumed", "lie")
    site.node.run("journalctl --sync; journalctl --rotate; journalctl --vacuum-time=1us")
    start(site, "vacuumed", "good")
    up(site)
    on_record(site, "vacuumed", ["good", "fail", "good", "lie", "good"])
    assert len(gaps(site, "cursor")) == 1  # the first one's line went with the journal


def test_journal_in_memory_is_gone_after_a_crash_and_the_ledger_is_not(own_site: Site) -> None:
    site = own_site
    site.node.write("/etc/systemd/journald.conf.d/50.conf", "[Journal]\nStorage=volatile\n")
    site.node.run("systemctl restart systemd-journald; rm -rf /var/log/journal")
    jobs(site, "volatile")
    open_run(site, "half")
    for word in ("good", "fail"):
        live(site, "volatile", word)
    site.node.systemctl("stop", "outcomed.service")
    start(site, "volatile", "lie", "good")
    site.node.crash()
    site.node.start()
    site.node.wait_for(lambda: site.state("half")["verdict"], 20, "a verdict on what ran")
    site.say("half", site.state("half"), "interrupted", "lost")
    assert len(gaps(site, "cursor")) == 1
    on_record(site, "volatile", ["good", "fail"])
    live(site, "volatile", "good")
    on_record(site, "volatile", ["good", "fail", "good"])
    assert [state for state, _ in told(site, "volatile")] == ["firing", "resolved"]
    assert [state for state, _ in told(site, "half")] == ["firing"]


def test_lines_that_were_dropped_meanwhile_make_nothing_good(site: Site) -> None:
    """The second run's are dropped one and all: the first has used up what may be said."""
    file = "/etc/systemd/journald.conf.d/50-rate.conf"
    site.node.write(file, "[Journal]\nRateLimitBurst=200\nRateLimitIntervalSec=30s\n")
    site.node.systemctl("restart", "systemd-journald")
    site.unit("flood", "yes working | head -n 5000; echo ERROR disk full")
    site.job_file("flood", RULE)
    site.reload()
    site.node.systemctl("stop", "outcomed.service")
    site.node.run("systemctl start flood; systemctl start flood")
    up(site)
    site.node.wait_for(lambda: len(history(site, "flood")) == 2, 20, "both verdicts")
    before = site.state("flood")
    site.node.systemctl("start", "flood.service")  # and a living daemon is not deceived either
    site.judged("flood", before)
    runs = history(site, "flood")
    assert {run["verdict"] for run in runs} == {"unknown"}
    assert all("rate limit" in run["summary"] for run in runs)
    site.node.run(f"rm {file}; systemctl restart systemd-journald")
