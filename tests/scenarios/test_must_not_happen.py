"""Honest jobs of every kind are left alone, and what cannot be known is never called good."""

from tests.scenarios.conftest import Site, quiet

HUNDRED = 100


def test_one_hundred_honest_runs_are_one_hundred_times_verified(site: Site) -> None:
    site.job(
        "honest",
        """
        seq 5000 | gzip > /srv/honest.tmp && mv /srv/honest.tmp /srv/honest.gz
        echo 'OUTCOME {"sent": 347, "generated": 347}'
        echo all done
        """,
        r"""
        - artifact: /srv/honest.gz
          min_size: 1K
        - report: sent == generated
        - journal: {never: 'ERROR|partial'}
        - journal: {expect: 'all done'}
        - duration: {at_most: 1min}
        """,
        service="[Unit]\nStartLimitIntervalSec=0\n",
    )
    site.node.run(f"for run in $(seq {HUNDRED}); do systemctl start honest.service; done")
    site.node.wait_for(lambda: len(site.verdicts("honest")) >= HUNDRED, 60, "100 verdicts")
    verdicts = site.verdicts("honest")
    assert {entry["OUTCOMED_VERDICT"] for entry in verdicts} == {"verified"}
    assert len({entry["OUTCOMED_RUN"] for entry in verdicts}) == len(verdicts) == HUNDRED
    assert not site.messages("honest")
    assert site.state("honest")["incident"] is None
    assert not [line for line in quiet(site.node) if "honest" in line]


def test_honest_runs_whose_archive_is_read_are_verified(site: Site) -> None:
    site.job(
        "read",
        "seq 5000 | gzip > /srv/read.tmp && mv /srv/read.tmp /srv/read.gz",
        "- artifact: /srv/read.gz\n  format: gzip\n",
        service="[Unit]\nStartLimitIntervalSec=0\n",
    )
    for _ in range(10):
        state = site.run("read")
        assert (state["verdict"], state["reason"]) == ("verified", "held")
    assert not site.messages("read")
    assert not [line for line in quiet(site.node) if line.startswith("read:")]


def test_failing_units_without_a_job_file_are_nobodys_business(site: Site) -> None:
    names = [f"nobody-{number}" for number in range(10)]
    for name in names:
        site.unit(name, "echo OUTCOME '{\"sent\": 0}'; exit 1")
    site.job("witness", "true", "- duration: {at_most: 1min}")
    for name in names:
        assert site.node.systemctl("start", f"{name}.service", check=False).returncode == 1
    site.run("witness")  # whatever there was to say about the others has been said by now
    for name in names:
        assert not site.verdicts(name, f"--unit={name}.service")
        assert not site.messages(name)
        assert site.state(name)["verdict"] is None
    assert site.failed_units() >= {f"{name}.service" for name in names}
    assert not {unit for unit in site.failed_units() if unit.startswith("outcome@nobody")}


def test_unit_with_log_level_max_is_judged_without_its_journal(site: Site) -> None:
    site.job(
        "hushed",
        "echo ERROR; test -e /srv/hushed.lazy || date > /srv/hushed",
        "- artifact: /srv/hushed\n",
        service="LogLevelMax=notice\n",
    )
    site.say("hushed", site.run("hushed"), "verified", "held")
    site.node.write("/srv/hushed.lazy", "")
    site.say("hushed", site.run("hushed"), "silent-failure", "artifact")


def test_unit_with_log_level_max_has_output_that_proves_nothing(site: Site) -> None:
    # journald may look for the limit of a unit that is gone by then, and keep the line: an ERROR in
    # it would be one that was seen.
    site.job("mute", "echo fine", "- journal: {never: ERROR}\n", service="LogLevelMax=notice\n")
    sentence = site.say("mute", site.run("mute"), "unknown", "journal")
    assert "LogLevelMax=" in sentence


def test_unit_whose_output_goes_elsewhere_proves_nothing(site: Site) -> None:
    site.job(
        "to-file",
        "echo ERROR",
        "- journal: {never: ERROR}\n",
        service="StandardOutput=file:/srv/to-file.log\n",
    )
    assert "not to the journal" in site.say("to-file", site.run("to-file"), "unknown", "journal")


ODD_INSTANCES = ["user@host", "srv-data", r"srv-with\x2ddash", "a@b-c\\x2dd"]


def test_template_instances_with_odd_names_are_jobs_of_their_own(site: Site) -> None:
    site.unit("backup", 'echo "$1" > "/srv/backup-$1"', unit="backup@.service")
    unit = "[Service]\nType=oneshot\nExecStart=/usr/local/bin/backup %i\n"
    site.node.write("/etc/systemd/system/backup@.service", unit.replace("%i", '"%i"'))
    site.job_file("backup@", "- artifact: /srv/backup-%i\n")
    site.reload()
    for instance in ODD_INSTANCES:
        name = f"backup@{instance}"
        site.say(name, site.run(name), "verified", "held")
        site.say(name, site.run(name), "verified", "held")
    assert not any(site.messages(f"backup@{instance}") for instance in ODD_INSTANCES)


def test_instance_whose_first_run_is_over_before_we_hear_of_it_is_judged(site: Site) -> None:
    site.node.write(
        "/etc/systemd/system/brief@.service", "[Service]\nType=oneshot\nExecStart=true\n"
    )
    site.job_file("brief@", "- duration: {at_most: 1min}\n")
    site.reload()
    before = site.state("brief@first")
    site.node.systemctl("kill", "--signal=STOP", "outcomed.service")
    site.node.systemctl("start", "brief@first.service")
    site.node.systemctl("kill", "--signal=CONT", "outcomed.service")
    assert site.judged("brief@first", before)["verdict"] == "verified"


def test_template_instance_with_an_odd_name_goes_wrong_and_is_put_right(site: Site) -> None:
    name = "fetch@srv-a\\x2db@c"
    unit = "[Service]\nType=oneshot\nExecStart=/bin/sh /srv/fetch %i\n"
    site.node.write("/etc/systemd/system/fetch@.service", unit)
    site.node.write("/srv/fetch", "echo nothing fetched\n")
    site.job_file("fetch@", "- artifact: /srv/never\n")
    site.job_file(name, "- artifact: /srv/fetched\n")  # its own file counts, not the template's
    site.reload()
    state = site.run(name)
    assert "/srv/fetched: no such file" in site.say(name, state, "silent-failure", "artifact")
    site.shows_as_failed(name, True)
    site.node.write("/srv/fetch", "date > /srv/fetched\n")
    site.say(name, site.run(name), "verified", "held")
    site.shows_as_failed(name, False)
    assert [event["data"]["state"] for event in site.messages(name)] == ["firing", "resolved"]


def test_template_instance_that_is_unloaded_keeps_its_incident(site: Site) -> None:
    unit = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    site.node.write("/etc/systemd/system/instance@.service", unit)
    site.job_file("instance@", "- artifact: /srv/no-instance-%i\n")
    site.reload()
    name = "instance@one"
    state = site.run(name)
    site.shows_as_failed(name, True)
    site.reload()
    assert site.state(name) == state
    site.shows_as_failed(name, True)
    assert [event["data"]["state"] for event in site.messages(name)] == ["firing"]


def test_alias_is_watched_by_the_unit_that_it_stands_for(site: Site) -> None:
    site.unit("real", "date > /srv/real")
    site.node.run("ln -s real.service /etc/systemd/system/nickname.service")
    site.job_file("nickname", "- artifact: /srv/real\n")
    site.reload()
    for started in ("real.service", "nickname.service"):
        state = site.run("nickname", unit=started)
        site.say("nickname", state, "verified", "held", unit="real.service")


def test_output_that_is_not_utf_8_is_read(site: Site) -> None:
    site.job(
        "latin",
        r"""
        printf 'caf\351 \377\376 done\n'
        printf 'OUTCOME {"place": "caf\351"}\n'
        printf 'OUTCOME {"sent": 3}\n'
        """,
        "- journal: {expect: 'done$'}\n- journal: {never: ERROR}\n- report: sent == 3\n",
    )
    site.say("latin", site.run("latin"), "verified", "held")


def test_unit_that_is_collected_at_once_when_it_failed(site: Site) -> None:
    site.job(
        "collected",
        "test -e /srv/collected",
        "- journal: {never: ERROR}\n",
        service="[Unit]\nCollectMode=inactive-or-failed\n",
    )
    sentence = site.say("collected", site.run("collected", exits=1), "failed", "exit-code")
    assert sentence == "exited with status 1"
    site.node.write("/srv/collected", "")
    site.say("collected", site.run("collected"), "verified", "held")


def test_unit_that_ends_within_a_millisecond(site: Site) -> None:
    site.job("blink", "", "- duration: {at_most: 10s}\n- journal: {never: ERROR}\n")
    unit = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    site.node.units({"blink.service": unit})
    for _ in range(5):
        site.say("blink", site.run("blink"), "verified", "held")


def test_simple_service_is_judged_at_its_end(site: Site) -> None:
    site.node.run("mkfifo /srv/simple.fifo")
    site.job(
        "simple",
        "read word < /srv/simple.fifo; echo $word > /srv/simple",
        "- artifact: /srv/simple\n",
        service="Type=simple\n",
    )
    before = site.state("simple")
    site.node.systemctl("start", "simple.service")
    site.node.wait_for(lambda: site.state("simple")["under_way"], what="a run under way")
    assert site.state("simple")["verdict"] is None
    site.node.run("echo go > /srv/simple.fifo")
    site.say("simple", site.judged("simple", before), "verified", "held")


def test_unit_that_remains_after_exit_is_judged_when_it_is_done(site: Site) -> None:
    site.job(
        "remains",
        "date > /srv/remains",
        "- artifact: /srv/remains\n",
        service="RemainAfterExit=yes\n",
    )
    site.say("remains", site.run("remains"), "verified", "held")
    site.node.systemctl("stop", "remains.service")
    site.say("remains", site.run("remains"), "verified", "held")
    assert len(site.verdicts("remains")) == 2


def test_output_that_was_rate_limited_is_never_good(site: Site) -> None:
    site.job("chatty", "seq 80000; echo ERROR disk full", "- journal: {never: ERROR}\n")
    state = site.run("chatty", timeout=40)
    (last,) = site.node.journal("_SYSTEMD_UNIT=chatty.service", "--lines=1")
    assert last["MESSAGE"] != "ERROR disk full", "journald kept it: that is another case"
    sentence = site.say("chatty", state, "unknown", "journal")
    assert "rate limit" in sentence or "dropped" in sentence


def test_rate_limit_that_a_unit_raised_is_not_relied_on(site: Site) -> None:
    """journald forgets it when the unit ends, and the last lines come later than that."""
    site.job(
        "raised",
        "seq 12000; echo ERROR disk full",
        "- journal: {never: ERROR}\n",
        service="LogRateLimitIntervalSec=30s\nLogRateLimitBurst=1000000\n",
    )
    verdicts = {site.run("raised", timeout=40)["verdict"] for _ in range(4)}
    assert verdicts <= {"unknown", "silent-failure"}


def test_attempts_of_a_unit_that_restarts_are_one_run(site: Site) -> None:
    site.job(
        "stubborn",
        """
        echo try >> /srv/stubborn.tries
        test $(wc -l < /srv/stubborn.tries) -ge 3 || exit 1
        date > /srv/stubborn
        """,
        "- artifact: /srv/stubborn\n",
        service="Restart=on-failure\nRestartSec=100ms\n",
    )
    before = site.state("stubborn")
    site.node.systemctl("start", "--no-block", "stubborn.service")
    state = site.judged("stubborn", before)
    assert site.node.read("/srv/stubborn.tries") == "try\n" * 3
    assert (state["verdict"], state["reason"]) == ("verified", "held")
    (verdict,) = site.verdicts("stubborn")
    starts = site.node.journal("UNIT=stubborn.service", "JOB_TYPE=start", "_PID=1")
    assert state["run"] == starts[0]["INVOCATION_ID"] != verdict["OBJECT_SYSTEMD_INVOCATION_ID"]
    assert not site.messages("stubborn")


def test_attempts_that_all_fail_are_one_failed_run(site: Site) -> None:
    site.job(
        "hopeless",
        "exit 3",
        "- duration: {at_most: 1min}\n",
        service="Restart=on-failure\nRestartSec=100ms\n"
        "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=1min\n",
    )
    before = site.state("hopeless")
    site.node.systemctl("start", "--no-block", "hopeless.service")
    site.say("hopeless", site.judged("hopeless", before), "failed", "exit-code")
    site.shows_as_failed("hopeless", True)
    assert [event["data"]["state"] for event in site.messages("hopeless")] == ["firing"]


def test_long_output_is_read_to_its_end_while_other_jobs_are_judged(site: Site) -> None:
    site.job(
        "long",
        "seq 1800; echo ERROR at the very end",
        "- journal: {never: ERROR}\n",
    )
    site.job(
        "short",
        "echo done",
        "- journal: {expect: done}\n",
        service="[Unit]\nStartLimitIntervalSec=0\n",
    )
    others = site.node.popen("while systemctl start short.service; do :; done")
    for _ in range(5):
        site.say("long", site.run("long"), "silent-failure", "journal")
    others.kill()
    others.wait()
    # Its runs follow each other so closely that a line may come under the next run's id.
    assert {entry["OUTCOMED_VERDICT"] for entry in site.verdicts("short")} <= {
        "verified",
        "unknown",
    }
