"""A receiver that is down, hangs or is refused loses no alert, and gets none of them twice."""

from collections.abc import Callable
from pathlib import Path

from tests.nodes import Node, Receiver
from tests.scenarios.conftest import SPOOL, Site

SWITCH = "test -e /srv/{name} || exit 1"


def jobs(site: Site, *names: str) -> None:
    for name in names:
        site.unit(name, SWITCH.format(name=name))
        site.job_file(name, "- duration: {at_most: 1min}\n")
    site.reload()


def spooled(site: Site, count: int) -> None:
    out = site.node.path(f"{SPOOL}/out")
    site.node.wait_for(lambda: len(list(out.glob("*.json"))) == count, 10, f"{count} in out/")


def arrived(receiver: Receiver) -> list[tuple[str, str]]:
    """Job and state of each message, once each, in the order of their first arrival."""
    seen = {}
    for request in receiver.requests:
        event = request.json()
        seen.setdefault(event["id"], (event["subject"], event["data"]["state"]))
    return list(seen.values())


def kill_delivery(site: Site) -> None:
    before = site.node.show("outcomed-deliver.service", "MainPID")["MainPID"]
    site.node.systemctl("kill", "--signal=KILL", "outcomed-deliver.service")
    site.node.wait_for(
        lambda: (
            site.node.show("outcomed-deliver.service", "MainPID")["MainPID"] not in ("0", before)
        ),
        20,
        "delivery to be started again",
    )


def test_nobody_listens_during_the_whole_incident(own_site: Site) -> None:
    site = own_site
    jobs(site, "first", "second")
    site.receiver.down()
    for name in ("first", "second"):
        site.say(name, site.run(name, exits=1), "failed", "exit-code")
        site.shows_as_failed(name, True)  # what shows it meanwhile
    kill_delivery(site)
    site.node.write("/srv/first", "")
    site.say("first", site.run("first"), "verified", "held")
    spooled(site, 3)
    assert not site.receiver.requests
    site.receiver.up()
    site.receiver.wait_for(3, 30)
    assert [event["data"]["state"] for event in site.messages("first")] == ["firing", "resolved"]
    assert [event["data"]["state"] for event in site.messages("second")] == ["firing"]
    assert arrived(site.receiver) == [
        ("first", "firing"),
        ("second", "firing"),
        ("first", "resolved"),
    ]
    assert len(site.receiver.requests) == 3


def test_nobody_listens_because_the_receiver_hangs_and_delivery_is_killed(own_site: Site) -> None:
    site = own_site
    jobs(site, "hung")
    site.receiver.hang()
    site.run("hung", exits=1)
    site.receiver.wait_for(1)  # it has the message, and does not say so
    kill_delivery(site)
    site.receiver.wait_for(2, 20)
    site.receiver.answer(200)
    site.node.write("/srv/hung", "")
    site.run("hung")
    assert {event["data"]["state"] for event in site.messages("hung")} == {"firing", "resolved"}
    assert arrived(site.receiver) == [("hung", "firing"), ("hung", "resolved")]
    repeated = [request.json() for request in site.receiver.requests[:2]]
    assert repeated[0] == repeated[1]  # a repeat can be known by its id


def test_nobody_listens_at_one_sink_and_the_other_is_told_at_once(
    boot: Callable[..., Node], deb: Path
) -> None:
    config = """
    defaults: {alerts: {to: [ops, pager]}}
    sinks:
      ops: {type: webhook, url: "http://127.0.0.1:8080/hook"}
      pager: {type: webhook, url: "http://127.0.0.1:8081/hook"}
    """
    site = Site(boot(deb=deb), config)
    pager = site.node.receiver(8081)
    jobs(site, "both")
    site.receiver.hang()
    site.run("both", exits=1)
    pager.wait_for(1)
    site.node.write("/srv/both", "")
    site.run("both")
    pager.wait_for(2)
    assert arrived(pager) == [("both", "firing"), ("both", "resolved")]
    site.receiver.answer(200)
    assert len(site.messages("both")) == 2
    assert arrived(site.receiver) == arrived(pager)


def test_nobody_listens_until_the_machine_has_been_restarted(own_site: Site) -> None:
    site = own_site
    jobs(site, "patient")
    site.receiver.down()
    state = site.run("patient", exits=1)
    site.node.reboot()
    site.receiver.wait_for(1, 30)
    assert [event["data"]["alert_id"] for event in site.messages("patient")] == [state["incident"]]
    site.shows_as_failed("patient", True)
    assert site.state("patient")["incident"] == state["incident"]
