"""The measure that needs no configuration, the steps of a run, and a person's word on one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.conftest import Site, State, Story

REQUESTS = "/var/lib/outcomed/spool/in"


def accept(site: Site, what: str, because: str, *, exits: int = 0) -> str:
    """What `outcomectl accept` says, to alice under sudo."""
    done = site.node.run(
        ["outcomectl", "accept", what, f"--because={because}"],
        env={"SUDO_USER": "alice"},
        check=False,
    )
    assert done.returncode == exits, done.stderr
    return " ".join((done.stdout or done.stderr).split())


def history(site: Site, name: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(
        site.node.run(["outcomectl", "history", name, "--json=short"]).stdout
    )
    return runs


def words(site: Site, name: str) -> list[str]:
    """What people said about the job's runs, as the journal has it.

    By the verdicts' own numbers: whoever is killed before it could note that a line was written
    writes it again.
    """
    said = {
        entry["OUTCOMED_VERDICT_SEQ"]: entry["MESSAGE"]
        for entry in site.verdicts(name)
        if entry["OUTCOMED_VERDICT"] == "accepted" and entry["OUTCOMED_BY"] == "alice"
    }
    return list(said.values())


def dump_job(site: Site, name: str) -> Story:
    """A dump as large as its shop is, of which nobody has said how large it has to be."""
    site.node.run(f"head -c 300K /dev/urandom > /srv/{name}-shop")
    site.job(
        name,
        f"""
        rm -f /srv/{name}-dump-*
        gzip -c /srv/{name}-shop > /srv/{name}-dump-$(date +%s%N).gz
        echo backup completed successfully
        """,
        f"- artifact: /srv/{name}-dump-*.gz\n"
        "  size_vs_median: {at_least: 0.5, at_most: 3}\n"
        "  format: gzip\n",
    )
    return Story(site, name)


def empty_the_shop(site: Site, name: str) -> None:
    site.node.run(f"head -c 1K /dev/urandom > /srv/{name}-shop")


def test_empty_dump_is_found_by_the_jobs_own_past_alone(site: Site) -> None:
    dump = dump_job(site, "own-past")
    for number in range(3):
        dump.stays_quiet()
        assert f"learning, {number} of 3" in site.verdicts("own-past")[-1]["MESSAGE"]
    empty_the_shop(site, "own-past")
    sentence = r"1\.0K, expected at least 0\.5 times the median of 3 runs, 300\.\dK"
    told = dump.goes_wrong(sentence)
    evidence = told["findings"][1]["evidence"]
    assert evidence["median_runs"] == 3
    assert 300 * 1024 < evidence["median_size"] < 301 * 1024
    assert 0 < evidence["of_median"] < 0.01
    figures = site.state("own-past")["medians"]["outcome[0].artifact"]
    assert figures == {"median_runs": 3, "median_size": evidence["median_size"]}

    said = accept(site, "own-past", "orders before 2024 are archived")
    assert "it was silent-failure; the alert is closed; its medians begin anew" in said
    resolved = site.messages("own-past")[-1]["data"]
    assert (resolved["state"], resolved["verdict"]) == ("resolved", "accepted")
    assert resolved["summary"].startswith("orders before 2024 are archived (says alice;")
    assert resolved["alert_id"] == told["alert_id"]
    site.shows_as_failed("own-past", False)
    state = site.state("own-past")
    assert (state["verdict"], state["incident"], state["medians"]) == ("accepted", None, {})
    (word,) = words(site, "own-past")
    assert word.startswith("own-past: accepted: orders before 2024 are archived")

    for number in (1, 2):
        dump.stays_quiet()
        assert f"learning, {number} of 3" in site.verdicts("own-past")[-1]["MESSAGE"]
    # The accepted one and two more: known again, and the large ones are forgotten.
    dump.stays_quiet()
    assert "times the median of 3 runs, 1.0K" in site.verdicts("own-past")[-1]["MESSAGE"]
    shown = [(run["verdict"], run["was"]) for run in history(site, "own-past")]
    assert shown[3:5] == [("accepted", "silent-failure"), ("silent-failure", None)]


def test_too_fast_for_the_jobs_own_past_also_when_nobody_watched(
    site: Site, story: Callable[[str], Story]
) -> None:
    site.node.run("mkdir -p /srv/queue && touch /srv/queue/1 /srv/queue/2 /srv/queue/3")
    site.job(
        "queue",
        "for file in $(ls /srv/queue); do sleep 0.6; done",
        "- duration: {vs_median: {at_least: 0.3}}\n",
    )
    queue = story("queue")
    for _ in range(3):
        queue.stays_quiet()
    site.node.run("mkdir -p /srv/away && mv /srv/queue/* /srv/away")
    sentence = r"ran [\d.]+ m?s, expected at least 0\.3 times the median of 3 runs, [\d.]+ s"
    told = queue.goes_wrong(sentence, reason="duration")
    assert told["findings"][1]["evidence"]["median_runs"] == 3
    site.node.run("mv /srv/away/* /srv/queue")
    queue.is_put_right()

    before = site.state("queue")
    site.node.systemctl("stop", "outcomed.service")
    site.node.systemctl("start", "queue.service")
    site.node.run("mv /srv/queue/* /srv/away")
    site.node.systemctl("start", "queue.service")
    site.node.systemctl("start", "outcomed.service")

    def both() -> list[dict[str, Any]] | None:
        runs = history(site, "queue")[:2]
        return runs if runs[0]["verdict"] == "silent-failure" else None

    last, good = site.node.wait_for(both, 20, "both runs judged")
    assert (good["verdict"], good["witness"], last["witness"]) == (
        *("verified", "replayed", "replayed"),
    )
    assert "the median of 4 runs" in good["summary"]
    assert "the median of 5 runs" in last["summary"]
    assert site.state("queue")["run"] != before["run"]


def test_a_step_that_is_missing_names_the_last_one(
    site: Site, story: Callable[[str], Story]
) -> None:
    site.job(
        "stepping",
        """
        outcomectl step dump
        outcomectl step 'something else'
        test ! -e /srv/remote || outcomectl step upload
        echo backup completed successfully
        """,
        "- steps: [dump, upload]\n",
    )
    stepping = story("stepping")
    told = stepping.goes_wrong(
        "step upload was not reached; the last was something else", reason="steps"
    )
    assert told["steps"] == ["dump", "something else"]
    assert told["findings"][1]["evidence"] == {"last": "something else", "missing": "upload"}
    site.node.write("/srv/remote", "")
    stepping.is_put_right()


def bad_run(site: Site, name: str) -> State:
    state = site.state(name)
    if state["verdict"] is None:
        site.job(name, f"echo -n small > /srv/{name}", f"- artifact: /srv/{name}\n  min_size: 1M\n")
    return site.run(name)


def test_accepted_while_the_daemon_is_down_and_then_only_once(site: Site) -> None:
    state = bad_run(site, "word")
    assert state["incident"] is not None
    site.node.systemctl("stop", "outcomed.service")
    said = accept(site, state["run"], "small on purpose", exits=3)
    assert said == "outcomectl: outcomed.service is not running: it is done when it next does"
    (order,) = [path.name for path in site.node.path(REQUESTS).glob("*.order")]
    content = site.node.read(f"{REQUESTS}/{order}")
    assert site.state("word")["verdict"] == "silent-failure"

    site.node.systemctl("start", "outcomed.service")
    state = site.judged("word", state)
    assert (state["verdict"], state["incident"]) == ("accepted", None)
    site.shows_as_failed("word", False)
    assert [event["data"]["state"] for event in site.messages("word")] == ["firing", "resolved"]

    # As if it had been killed before it could remove the order; and then it is.
    for _ in range(2):
        site.node.write(f"{REQUESTS}/{order}", content, mode=0o600)
        site.node.systemctl("kill", "--signal=KILL", "outcomed.service")
        site.node.wait_for(lambda: not site.node.exists(f"{REQUESTS}/{order}"), 20, "it is taken")
    assert len(words(site, "word")) == 1
    assert len(site.messages("word")) == 2
    assert [run["verdict"] for run in history(site, "word")] == ["accepted"]
    assert site.state("word") == state


def test_an_older_run_that_is_accepted_says_nothing_of_those_after_it(site: Site) -> None:
    first, last = bad_run(site, "older"), bad_run(site, "older")
    said = accept(site, first["run"], "that one was tried by hand")
    assert "the alert stays open, since later runs are bad" in said
    assert site.state("older") == last
    site.shows_as_failed("older", True)
    assert [run["verdict"] for run in history(site, "older")] == ["silent-failure", "accepted"]
    assert "the alert is closed" in accept(site, "older", "and so was this")
    site.shows_as_failed("older", False)
    assert site.state("older")["verdict"] == "accepted"


HOSTILE = {
    "nonsense.order": "[" * 10_000,
    "nobody.order": '{"order":"accept","job":"nobody","run":"%s","because":"x","by":"x"}'
    % ("0" * 32),
    "accept-x.order": '{"order":"accept","job":"../x","run":"x","because":"x","by":"x"}',
}


def test_what_is_no_order_is_told_once_and_stops_nobody(site: Site) -> None:
    bad_run(site, "calm")
    for name, content in HOSTILE.items():
        site.node.write(f"{REQUESTS}/{name}", content)
    site.node.run(["mkfifo", f"{REQUESTS}/fifo.order"])
    site.node.run(["mkdir", f"{REQUESTS}/directory.order"])
    for because in ("it is right", "yes it is"):  # each wakes the daemon
        assert "accepted" in accept(site, "calm", because)
        bad_run(site, "calm")
        accept(site, "calm", because)
    refused = site.node.journal("MESSAGE_ID=f4163d823acc4d22a2d196c5bd8183c3")
    files = sorted(entry["OUTCOMED_FILE"].rpartition("/")[2] for entry in refused)
    assert files == sorted([*HOSTILE, "fifo.order", "directory.order"])
    assert not list(site.node.path(REQUESTS).glob("*.order"))
    kept = {path.name for path in site.node.path(REQUESTS).glob("*.refused")}
    assert kept >= {"nonsense.order.refused", "fifo.order.refused", "directory.order.refused"}


def test_only_root_has_a_word(site: Site) -> None:
    state = bad_run(site, "closed")
    site.node.run("id eve 2>/dev/null || useradd --groups adm eve")
    refused = site.node.run(
        ["outcomectl", "accept", "closed", "--because=x"], user="eve", check=False
    )
    assert refused.returncode == 3
    assert "only root may accept a run" in refused.stderr
    for try_it in (f"ls {REQUESTS}", f"touch {REQUESTS}/x.order", "echo > /run/outcomed/wake"):
        assert site.node.run(try_it, user="eve", check=False).returncode != 0
    assert site.state("closed") == state


@pytest.fixture(autouse=True)
def on_its_feet(site: Site) -> None:
    """A test that failed halfway may have left it stopped."""
    site.node.systemctl("start", "outcomed.service")
