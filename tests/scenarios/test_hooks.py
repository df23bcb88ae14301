"""`OnFailure=outcomed-alert@%n.service`: for units without job file, and for when we are down."""

from tests.scenarios.conftest import Message, Site

HOOK = "[Unit]\nOnFailure=outcomed-alert@%n.service\n"
SWITCH = "test -e /srv/{name} || exit 4"


def states(messages: list[Message]) -> list[str]:
    return [event["data"]["state"] for event in messages]


def hooked(site: Site, name: str, *, has_job: bool) -> None:
    """A unit that fails until its file is there, and reports it itself."""
    site.unit(name, SWITCH.format(name=name), service=HOOK)
    if has_job:
        site.job_file(name, "- duration: {at_most: 1min}\n")
    site.reload()


def start(site: Site, name: str, *, exits: int) -> None:
    assert site.node.systemctl("start", f"{name}.service", check=False).returncode == exits


def hook_has_run(site: Site, name: str, times: int) -> None:
    """The hook's own end, so many times."""
    unit = f"outcomed-alert@{name}.service.service"
    finished = ("MESSAGE_ID=39f53479d3a045ac8e11786248231fbf", f"UNIT={unit}", "_PID=1")
    site.node.wait_for(
        lambda: len(site.node.journal(*finished)) >= times, 20, f"{unit} {times} times"
    )


def test_hook_of_a_unit_without_job_file_tells_once_and_of_the_recovery(site: Site) -> None:
    hooked(site, "loner", has_job=False)
    unit = "loner.service"
    for times in (1, 2):
        start(site, "loner", exits=1)
        hook_has_run(site, "loner", times)
        (fired,) = site.messages(unit)
    data = fired["data"]
    assert (data["state"], data["verdict"], data["unit"]) == ("firing", "failed", unit)
    assert data["summary"] == "exited with status 4"
    site.node.write("/srv/loner", "")
    start(site, "loner", exits=0)
    site.receiver.wait_for(2, 20, lambda request: request.json()["subject"] == unit)
    resolved = site.messages(unit)[-1]
    assert states(site.messages(unit)) == ["firing", "resolved"]
    assert resolved["data"]["alert_id"] == data["alert_id"]
    # The next good run, and then the next bad one: a story of its own.
    start(site, "loner", exits=0)
    site.node.run("rm /srv/loner")
    start(site, "loner", exits=1)
    hook_has_run(site, "loner", 3)
    assert states(site.messages(unit)) == ["firing", "resolved", "firing"]
    assert site.messages(unit)[-1]["data"]["alert_id"] != data["alert_id"]


def test_hook_of_a_unit_without_job_file_with_the_daemon_stopped(own_site: Site) -> None:
    site = own_site
    hooked(site, "orphan", has_job=False)
    unit = "orphan.service"
    site.node.systemctl("stop", "outcomed.service")
    for times in (1, 2):
        start(site, "orphan", exits=1)
        hook_has_run(site, "orphan", times)
        assert states(site.messages(unit)) == ["firing"]
    site.node.systemctl("start", "outcomed.service")
    site.node.write("/srv/orphan", "")
    start(site, "orphan", exits=0)
    site.receiver.wait_for(2, 20)
    assert states(site.messages(unit)) == ["firing", "resolved"]


def test_hook_of_a_job_is_silent_while_the_daemon_lives(site: Site) -> None:
    hooked(site, "pair", has_job=True)
    state = site.run("pair", exits=1)
    hook_has_run(site, "pair", 1)
    (fired,) = site.messages("pair")
    assert fired["data"]["alert_id"] == state["incident"]
    assert not site.messages("pair.service")
    site.node.write("/srv/pair", "")
    site.run("pair")
    assert states(site.messages("pair")) == ["firing", "resolved"]


def test_hook_of_a_job_speaks_for_a_daemon_that_is_down_and_under_its_id(own_site: Site) -> None:
    site = own_site
    hooked(site, "alone", has_job=True)
    before = site.state("alone")
    site.node.systemctl("stop", "outcomed.service")
    start(site, "alone", exits=1)
    hook_has_run(site, "alone", 1)
    (fired,) = site.messages("alone")
    assert (fired["data"]["state"], fired["data"]["verdict"]) == ("firing", "failed")
    site.node.systemctl("start", "outcomed.service")
    state = site.judged("alone", before)
    site.say("alone", state, "failed", "exit-code")
    assert state["incident"] == fired["data"]["alert_id"]
    assert [event["id"] for event in site.messages("alone")] == [fired["id"]]
    site.shows_as_failed("alone", True)
    site.node.write("/srv/alone", "")
    site.run("alone")
    assert states(site.messages("alone")) == ["firing", "resolved"]
    assert site.messages("alone")[-1]["data"]["alert_id"] == fired["data"]["alert_id"]


def test_hook_that_comes_when_the_daemon_has_told_of_it_and_is_down_says_nothing(
    own_site: Site,
) -> None:
    """It took its time; meanwhile the daemon told of the failure and of its end, and went."""
    site = own_site
    hooked(site, "slow", has_job=True)
    site.node.run("mkfifo /srv/go")
    site.node.write(
        "/etc/systemd/system/outcomed-alert@slow.service.service.d/slow.conf",
        "[Service]\nExecStartPre=cat /srv/go\n",
    )
    site.reload()
    site.run("slow", exits=1)
    site.node.write("/srv/slow", "")
    site.run("slow")
    assert states(site.messages("slow")) == ["firing", "resolved"]
    site.node.systemctl("stop", "outcomed.service")
    site.node.run("echo > /srv/go")
    hook_has_run(site, "slow", 1)
    site.node.systemctl("start", "outcomed.service")
    site.run("slow")
    assert states(site.messages("slow")) == ["firing", "resolved"]
