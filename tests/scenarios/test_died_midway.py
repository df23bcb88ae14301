"""The host goes down while a job runs: each run has a verdict that says so, whoever saw it end."""

import json
from typing import Any

from tests.scenarios.conftest import Site

SHUT_DOWN = "the host was shut down while it ran"
# A unit stops before what it is ordered after.
SEEN_TO_END = "[Unit]\nAfter=outcomed.service\n"
ENDS_LATER = "[Unit]\nBefore=outcomed.service\n"


def explained(site: Site, name: str) -> dict[str, Any]:
    text = site.node.run(f"outcomectl explain {name} --json=short", check=False).stdout
    run: dict[str, Any] = json.loads(text)
    return run


def begin(site: Site, *names: str) -> None:
    """Each of them runs, and the ledger knows."""
    units = [f"{name}.service" for name in names]
    site.node.systemctl("start", "--no-block", *units)
    site.node.wait_for(
        lambda: all(site.state(name)["under_way"] for name in names), 20, "every run on record"
    )


def is_told_once(site: Site, name: str, reason: str) -> None:
    (event,) = site.messages(name)
    data = event["data"]
    assert (data["state"], data["verdict"], data["reason"]) == ("firing", "interrupted", reason)
    site.shows_as_failed(name, True)


def test_run_that_a_shutdown_ends_is_interrupted_whoever_saw_it(own_site: Site) -> None:
    site = own_site
    ends = "trap '{}' TERM\ndate > /srv/{}\nsleep infinity & wait\n"
    for name, script, order in (
        ("killed", "sleep infinity\n", SEEN_TO_END),
        ("says-so", ends.format("exit 1", "says-so"), SEEN_TO_END),
        ("half", ends.format("exit 0", "quarter"), SEEN_TO_END),
        ("brought-home", ends.format("date > /srv/home; exit 0", "way"), SEEN_TO_END),
        ("unseen", "sleep infinity\n", ENDS_LATER),
        ("simple", "date > /srv/simple; sleep infinity\n", f"{ENDS_LATER}[Service]\nType=simple\n"),
        ("by-hand", "sleep infinity\n", ""),
    ):
        site.unit(name, script, service=order)
    for name in ("killed", "says-so", "unseen", "by-hand"):
        site.job_file(name)
    for name in ("half", "simple"):
        site.job_file(name, f"- artifact: /srv/{name}\n")
    # The check unit cannot be started while the host goes down: that is left to the next start.
    site.job_file("brought-home", "- artifact: /srv/home\n- command: 'true'\n")
    site.reload()
    lost = ("killed", "says-so", "half", "unseen", "simple")
    begin(site, *lost, "brought-home", "by-hand")
    before = site.state("by-hand")
    site.node.systemctl("stop", "by-hand.service")
    site.say("by-hand", site.judged("by-hand", before), "failed", "signal")
    site.node.reboot()

    for name in lost:
        what = f"a verdict on {name}"
        site.node.wait_for(lambda name=name: site.state(name)["verdict"], 20, what)
        assert site.say(name, site.state(name), "interrupted", "shutdown") == SHUT_DOWN
        is_told_once(site, name, "shutdown")
    site.say("brought-home", site.state("brought-home"), "verified", "held")
    site.say("by-hand", site.state("by-hand"), "failed", "signal")
    assert explained(site, "killed")["witness"] == "live"
    assert explained(site, "unseen")["witness"] == "replayed"
    killed = explained(site, "killed")
    assert (killed["result"], killed["exit_status"]) == ("signal", 15), "systemd's word stays"


def test_run_of_a_host_that_falls_down_is_interrupted_and_the_next_good_one_ends_it(
    own_site: Site,
) -> None:
    site = own_site
    site.job("fell", "test -e /srv/again || sleep infinity\n")
    begin(site, "fell")
    site.node.crash()
    site.node.start()
    state = site.node.wait_for(
        lambda: (now := site.state("fell"))["verdict"] and now, 20, "a verdict on fell"
    )
    assert site.say("fell", state, "interrupted", "lost") == "the host went down while it ran"
    is_told_once(site, "fell", "lost")
    site.node.write("/srv/again", "")
    site.say("fell", site.run("fell"), "unproven", "no-rule")
    assert [event["data"]["state"] for event in site.messages("fell")] == ["firing", "resolved"]
