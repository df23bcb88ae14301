"""That a run did not say something proves something only if all that it said arrived.

One node, many jobs, each losing output in another way; beside them jobs that lose none. What was
found counts either way.
"""

import json
from typing import Any

import pytest

from tests.scenarios.conftest import Site

NEVER = "- journal: {never: ERROR}\n"
EXPECT = "- journal: {expect: all done}\n"
REPORT = "- report: sent == 3\n"
STEPS = "- steps: [dump]\n"
RULES = {"never": NEVER, "expect": EXPECT, "report": REPORT, "steps": STEPS}
JOURNALD = "/etc/systemd/journald.conf.d/50-test.conf"


def explained(site: Site, name: str) -> tuple[str, dict[str, Any]]:
    """What `outcomectl explain` says of the output, for a person and for a script."""
    text = site.node.run(["outcomectl", "explain", name], check=False).stdout
    lines = [line.strip() for line in text.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("Output: "))
    said = [lines[begin].removeprefix("Output: ")]
    for line in lines[begin + 1 :]:
        if not line or ": " in line.split("  ")[0][:12]:
            break
        said.append(line)
    shown = site.node.run(["outcomectl", "explain", name, "--json=short"], check=False).stdout
    output: dict[str, Any] = json.loads(shown)["output"]
    return " ".join(said), output


def is_complete(site: Site, name: str) -> None:
    assert explained(site, name) == ("complete", {"complete": True, "reason": None})


def is_incomplete(site: Site, name: str, reason: str) -> None:
    text, shown = explained(site, name)
    assert shown["complete"] is False
    assert reason in shown["reason"]
    assert text == f"incomplete: {shown['reason']}"


def proves_nothing(site: Site, name: str, reason: str, kind: str = "journal") -> None:
    """It ended well, and what was not found in its output may have been in it."""
    state = site.run(name, timeout=60)
    assert reason in site.say(name, state, "unknown", kind)
    is_incomplete(site, name, reason)


# --- settings of the unit --------------------------------------------------------------------

LOSING = {
    "level": ("LogLevelMax=notice", "LogLevelMax= of the unit keeps lines from the journal"),
    "filter": ("LogFilterPatterns=~secret", "LogFilterPatterns= of the unit"),
    "null": ("StandardOutput=null", "its output goes to null (StandardOutput=), not to the"),
    "file": ("StandardOutput=file:/srv/file.log", "its output goes to file"),
    "append": ("StandardError=append:/srv/errors.log", "its errors go to append (StandardError=)"),
    "tty": ("StandardOutput=tty\nTTYPath=/dev/pts/ptmx", "its output goes to tty"),
    "socket": ("StandardOutput=socket", "its output goes to socket (StandardOutput=)"),
}


@pytest.fixture(scope="module")
def lossy(shared_site: Site) -> Site:
    """Jobs for each setting, one for each kind of rule over what was not found."""
    for name, (setting, _) in LOSING.items():
        for kind, rule in RULES.items():
            shared_site.unit(f"{name}-{kind}", "echo working\n", service=setting)
            shared_site.job_file(f"{name}-{kind}", rule)
    shared_site.reload()
    return shared_site


@pytest.mark.parametrize("name", LOSING)
@pytest.mark.parametrize(
    ("kind", "rule"),
    [("never", "journal"), ("expect", "journal"), ("report", "report"), ("steps", "steps")],
)
def test_setting_of_the_unit_that_keeps_output_away(
    lossy: Site, name: str, kind: str, rule: str
) -> None:
    proves_nothing(lossy, f"{name}-{kind}", LOSING[name][1], rule)


def test_all_of_it_arrived_and_what_is_missing_is_broken(site: Site) -> None:
    script = """echo all done; echo 'OUTCOME {"sent": 3}'\n"""
    site.job("healthy", script, NEVER + EXPECT + REPORT)
    site.say("healthy", site.run("healthy"), "verified", "held")
    is_complete(site, "healthy")
    site.job("silent", "true", EXPECT)
    assert "no line matches" in site.say("silent", site.run("silent"), "silent-failure", "journal")
    is_complete(site, "silent")
    site.job("no-report", "echo nothing", REPORT)
    said = site.say("no-report", site.run("no-report"), "silent-failure", "report")
    assert "did not report sent" in said
    is_complete(site, "no-report")
    site.job("no-step", "echo nothing", STEPS)
    site.say("no-step", site.run("no-step"), "silent-failure", "steps")
    is_complete(site, "no-step")


@pytest.mark.parametrize(
    "setting",
    [
        "StandardOutput=journal+console",
        "StandardOutput=kmsg",
        "StandardOutput=inherit",
        "LogLevelMax=debug",
        "RemainAfterExit=yes",
        "Type=simple",
        "Type=exec",
    ],
)
def test_setting_that_keeps_nothing_away(site: Site, setting: str) -> None:
    name = "fine-" + setting.partition("=")[2].replace("+", "-")
    site.job(name, "echo all done\n", NEVER + EXPECT, service=setting)
    site.say(name, site.run(name), "verified", "held")
    is_complete(site, name)


def test_what_was_found_counts_in_incomplete_output_too(site: Site) -> None:
    """Errors get past LogLevelMax=; so a run that says them is found out, the others stay open."""
    service = "LogLevelMax=err"
    site.job("found", "echo '<3>ERROR 28'\n", NEVER, service=service)
    said = site.say("found", site.run("found"), "silent-failure", "journal")
    assert "said what it never must: ERROR 28" in said
    is_incomplete(site, "found", "LogLevelMax=")
    site.job("heard", "echo '<3>all done'\n", EXPECT, service=service)
    site.say("heard", site.run("heard"), "verified", "held")
    is_incomplete(site, "heard", "LogLevelMax=")


def test_no_rule_depends_on_it(site: Site) -> None:
    site.job("indifferent", "date > /srv/indifferent", "- artifact: /srv/indifferent\n")
    site.say("indifferent", site.run("indifferent"), "verified", "held")
    text, shown = explained(site, "indifferent")
    assert text == "not looked at, no rule depends on it"
    assert shown == {"complete": None, "reason": None}


def test_unit_that_is_gone_took_its_settings_with_it(site: Site) -> None:
    site.job_file("gone", NEVER)
    site.reload()
    before = site.state("gone")
    daemon = site.node.show("outcomed.service", "MainPID")["MainPID"]
    site.node.run(
        f"kill -STOP {daemon}; systemd-run --quiet --wait --unit=gone echo working;"
        f" kill -CONT {daemon}"  # it is too late to be asked about
    )
    state = site.judged("gone", before)
    assert "settings for its output are not known" in site.say("gone", state, "unknown", "journal")
    is_incomplete(site, "gone", "settings for its output are not known")


def test_settings_of_a_unit_that_will_be_gone_are_asked_for_while_it_runs(site: Site) -> None:
    site.job_file("passing", NEVER)
    site.reload()
    waits = "until [ -e /run/passing ]; do sleep 0.1; done"  # it is known by then
    command = f"systemd-run --quiet --unit=passing --property=%s sh -c '{waits}'"
    for setting, verdict in (("LogLevelMax=debug", "verified"), ("LogLevelMax=err", "unknown")):
        before = site.state("passing")
        site.node.run(f"rm -f /run/passing; {command % setting}")
        site.node.wait_for(lambda: site.state("passing")["under_way"], what="a run under way")
        site.node.write("/run/passing", "")
        assert site.judged("passing", before)["verdict"] == verdict


def test_word_for_already_done_that_may_not_have_been_heard(site: Site) -> None:
    rule = "- artifact: /srv/never-there\n"
    top = "already_done: [{journal: exists}]"
    site.job("deaf", "echo it exists", rule, top=top, service="StandardOutput=null")
    said = site.say("deaf", site.run("deaf"), "unknown", "output")
    assert "may have said that the work existed already" in said


# --- the run after it ------------------------------------------------------------------------


def test_last_lines_may_stand_under_the_next_run(site: Site) -> None:
    site.job("twice", "true\n", EXPECT)
    site.node.systemctl("stop", "outcomed.service")
    site.node.run("systemctl start twice.service; systemctl start twice.service")
    site.node.systemctl("start", "outcomed.service")
    site.node.wait_for(lambda: len(site.verdicts("twice")) == 2, what="both verdicts")
    first, second = site.verdicts("twice")
    assert first["OUTCOMED_VERDICT"] == "unknown"
    assert "the next run began before all of its lines were read" in first["MESSAGE"]
    assert second["OUTCOMED_VERDICT"] == "silent-failure"
    text, shown = explained(site, first["OUTCOMED_RUN"])
    assert shown["complete"] is True
    assert "the next run began" in shown["reason"]
    assert text.startswith("complete, unless a last line strayed: ")


def test_late_lines_are_those_of_the_run_whose_process_wrote_them(site: Site) -> None:
    """journald hears all three only when the last has begun: no id says whose is whose."""
    script = "read n < /srv/crowd; echo $((n + 1)) > /srv/crowd\n[ $n != 1 ] || echo ERROR\n"
    site.node.write("/srv/crowd", "0\n")
    site.job("crowd", f"{script}echo all done\n", NEVER + EXPECT, service="ExecStartPre=true\n")
    journald = site.node.show("systemd-journald.service", "MainPID")["MainPID"]
    starts = "systemctl start crowd.service; " * 3
    site.node.run(f"kill -STOP {journald}; {starts} kill -CONT {journald}")
    site.node.wait_for(lambda: len(site.verdicts("crowd")) == 3, what="three verdicts")
    found = [
        (entry["OUTCOMED_VERDICT"], entry["OUTCOMED_REASON"]) for entry in site.verdicts("crowd")
    ]
    assert found == [("verified", "held"), ("silent-failure", "journal"), ("verified", "held")]


# --- after a downtime ------------------------------------------------------------------------


def test_runs_that_are_read_back_are_as_complete_as_the_journal(site: Site) -> None:
    site.job("back", "echo all done\n", NEVER + EXPECT)
    site.job("back-lossy", "echo all done\n", NEVER, service="StandardOutput=null")
    before = site.state("back"), site.state("back-lossy")
    site.node.systemctl("stop", "outcomed.service")
    site.node.run("for n in 1 2 3; do systemctl start back; systemctl start back-lossy; done")
    site.node.systemctl("start", "outcomed.service")
    state = site.judged("back", before[0])
    site.say("back", state, "verified", "held")
    is_complete(site, "back")
    assert {entry["OUTCOMED_VERDICT"] for entry in site.verdicts("back")} == {"verified"}
    assert len(site.verdicts("back")) == 3
    state = site.judged("back-lossy", before[1])
    assert "goes to null" in site.say("back-lossy", state, "unknown", "journal")
    is_incomplete(site, "back-lossy", "goes to null")


# --- journald --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journald(shared_site: Site) -> Site:
    """Jobs for what happens to journald itself; the ones here say what they have to say."""
    site = shared_site
    for name in ("storage", "levels", "rate", "marker", "own-limit", "in-place"):
        site.unit(name, f"cat /srv/{name}.text\n")
        site.node.write(f"/srv/{name}.text", "working\n")
    for name in ("storage", "levels", "rate", "marker", "own-limit", "in-place"):
        site.job_file(name, NEVER)
    site.reload()
    return site


def with_journald(site: Site, *settings: str) -> None:
    """journald with these settings, and nobody tells outcomed."""
    site.node.write(JOURNALD, "\n".join(["[Journal]", *settings, ""]))
    site.node.systemctl("restart", "systemd-journald.service")


@pytest.fixture
def plain_again(site: Site) -> Any:
    """What a test did to journald, undone."""
    yield
    site.node.run(f"rm -f {JOURNALD}; systemctl reset-failed systemd-journald.service")
    site.node.systemctl("restart", "systemd-journald.service")


@pytest.mark.usefixtures("plain_again")
def test_journald_keeps_nothing(journald: Site) -> None:
    site = journald
    site.say("storage", site.run("storage"), "verified", "held")
    with_journald(site, "Storage=none")
    before = site.state("storage")
    site.node.systemctl("start", "storage.service")
    assert site.judged("storage", before)["verdict"] == "unknown"  # where would journalctl show it?
    is_incomplete(site, "storage", "journald keeps nothing (Storage=none)")
    with_journald(site, "Storage=volatile")
    site.say("storage", site.run("storage"), "verified", "held")
    is_complete(site, "storage")


@pytest.mark.usefixtures("plain_again")
def test_journald_keeps_only_what_is_important(journald: Site) -> None:
    with_journald(journald, "MaxLevelStore=notice")
    before = journald.state("levels")
    journald.node.systemctl("start", "levels.service")
    assert journald.judged("levels", before)["verdict"] == "unknown"
    is_incomplete(journald, "levels", "journald keeps nothing below notice (MaxLevelStore=)")


@pytest.mark.usefixtures("plain_again")
def test_rate_limit_is_reached_and_journald_says_nothing_about_it(journald: Site) -> None:
    with_journald(journald, "RateLimitBurst=200", "RateLimitIntervalSec=30s")
    journald.node.write("/srv/rate.text", "working\n" * 5000 + "ERROR disk full\n")
    state = journald.run("rate")
    invocation = state["run"]
    assert not journald.node.journal(
        "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e",
        f"OBJECT_SYSTEMD_INVOCATION_ID={invocation}",
    )
    said = journald.say("rate", state, "unknown", "journal")
    assert "lines reached journald's rate limit" in said
    is_incomplete(journald, "rate", "lines reached journald's rate limit")


@pytest.mark.usefixtures("plain_again")
def test_rate_limit_of_the_unit_is_reached(journald: Site) -> None:
    service = "LogRateLimitBurst=100\nLogRateLimitIntervalSec=30s"
    journald.unit("own-limit", "yes working | head -n 99999\n", service=service)
    journald.reload()
    proves_nothing(journald, "own-limit", "lines reached journald's rate limit")


@pytest.mark.usefixtures("plain_again")
def test_journald_says_what_it_dropped(journald: Site) -> None:
    """The marker comes with the first line after the interval."""
    with_journald(journald, "RateLimitBurst=200", "RateLimitIntervalSec=1s")
    journald.unit("marker", "yes working | head -n 50000; sleep 2; echo and more\n")
    journald.reload()
    state = journald.run("marker")
    assert "journald dropped " in journald.say("marker", state, "unknown", "journal")
    is_incomplete(journald, "marker", "messages of this run")


def test_restart_of_journald_during_a_run_loses_nothing(journald: Site) -> None:
    script = "echo working; systemctl restart systemd-journald.service; echo all done\n"
    journald.job("carried", script, NEVER + EXPECT)
    journald.say("carried", journald.run("carried"), "verified", "held")
    is_complete(journald, "carried")


STOP = "systemctl stop systemd-journald.service 2>/dev/null\n"
AGAIN = "systemctl start systemd-journald.service\n"


def test_journald_that_was_stopped_during_a_run(journald: Site) -> None:
    """It is there again before the run ends; whether it still has its stream, no line shows."""
    journald.job("cut", f"echo working; {STOP}{AGAIN}", NEVER)
    before = journald.state("cut")
    journald.node.systemctl("start", "cut.service")
    assert journald.judged("cut", before, 60)["verdict"] == "unknown"
    is_incomplete(journald, "cut", "journald was stopped while it ran")


@pytest.mark.usefixtures("plain_again")
def test_journald_is_not_there_at_the_end_of_a_run(journald: Site) -> None:
    sockets = "systemd-journald.socket systemd-journald-dev-log.socket"
    journald.job("alone", "echo working\n", NEVER)
    before = journald.state("alone")
    journald.node.run(f"systemctl stop {sockets} systemd-journald.service; systemctl start alone")
    try:
        assert journald.judged("alone", before, 90)["verdict"] == "unknown"
    finally:
        journald.node.run(f"systemctl start {sockets} systemd-journald.service")
    is_incomplete(journald, "alone", "journald does not answer")


@pytest.mark.usefixtures("plain_again")
def test_journald_does_not_answer(journald: Site) -> None:
    journald.job("frozen", "true\n", NEVER)
    before = journald.state("frozen")
    journald.node.run("systemctl start frozen & systemctl kill --signal=STOP systemd-journald")
    try:
        assert journald.judged("frozen", before, 90)["verdict"] == "unknown"
    finally:
        journald.node.systemctl("kill", "--signal=CONT", "systemd-journald.service")
    is_incomplete(journald, "frozen", "journald did not synchronize within")


# --- the journal's files ---------------------------------------------------------------------


def during_a_run(site: Site, name: str, meanwhile: str, rest: str = "echo all done\n") -> None:
    """A job in the middle of whose run this happens to the journal."""
    site.job(name, f"echo working\n{meanwhile}\n{rest}", NEVER)


def test_journal_was_vacuumed_during_a_run(journald: Site) -> None:
    vacuum = "journalctl --sync; journalctl --rotate; journalctl --vacuum-files=1"
    during_a_run(journald, "vacuumed", f"{vacuum} >/dev/null 2>&1")
    proves_nothing(journald, "vacuumed", "systemd's entry about its start is not in the journal")


def test_file_of_the_journal_was_damaged_during_a_run(journald: Site) -> None:
    """Zeros over its middle: journald takes another file, and readers let go of this one."""
    script = """
    journalctl --sync
    for file in /*/log/journal/*/system.journal; do
        size=$(stat -c %s "$file")
        dd if=/dev/zero of="$file" bs=4096 seek=1 count=$((size / 4096)) conv=notrunc 2>/dev/null
    done
    """
    during_a_run(journald, "damaged", script)
    before = journald.state("damaged")
    journald.node.systemctl("start", "damaged.service")
    assert journald.judged("damaged", before, 90)["verdict"] == "unknown"
    _, shown = explained(journald, "damaged")
    assert shown["complete"] is False
    journald.node.systemctl("restart", "systemd-journald.service")


# --- namespaces ------------------------------------------------------------------------------


def test_journal_of_a_namespace_is_read_as_well(site: Site) -> None:
    service = "LogNamespace=apart"
    site.job("apart", "echo all done\n", NEVER + EXPECT, service=service)
    site.say("apart", site.run("apart"), "verified", "held")
    is_complete(site, "apart")
    site.job("apart-bad", "echo ERROR 28\n", NEVER, service=service)
    said = site.say("apart-bad", site.run("apart-bad"), "silent-failure", "journal")
    assert "ERROR 28" in said
    is_complete(site, "apart-bad")


def test_namespace_has_settings_of_its_own(site: Site) -> None:
    site.node.write("/etc/systemd/journald@narrow.conf", "[Journal]\nMaxLevelStore=err\n")
    site.job("narrow", "echo working\n", NEVER, service="LogNamespace=narrow")
    proves_nothing(site, "narrow", "journald keeps nothing below err (MaxLevelStore=)")


def test_journald_of_the_namespace_is_gone(site: Site) -> None:
    site.job("missing", "true\n", NEVER, service="LogNamespace=missing")
    site.say("missing", site.run("missing"), "verified", "held")
    # Its socket file, since to stop the units would take the job that needs them with them.
    gone = "rm /run/systemd/journal.missing/io.systemd.journal"
    site.job("missing", f"{gone}\n", NEVER, service="LogNamespace=missing")
    proves_nothing(site, "missing", "journald does not answer")
