"""What an unprivileged user writes into the journal, or sends on the bus, changes no verdict.

He sees everything that he needs: unit names and invocation ids are public. What he cannot write is
a field that begins with an underscore.
"""

import secrets
import time
from collections.abc import Iterator

import pytest

from tests.nodes import User
from tests.scenarios.conftest import Site

STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
STARTED = "39f53479d3a045ac8e11786248231fbf"
ENDED_WELL = "7ad2d189f7e94e70a38c781354912448"
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
START_FAILED = "be02cf6855d2428ba40df7e9d022f03d"
RESTARTING = "5eb03494b6584870a536b337290809b3"
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
JOB_REPORT = "ccf2a48feb724ff39a422239b4c2c41b"
JOB_STEP = "aaef3827c49149caa24ee82c0adf0f9d"

MALLORY = "mallory"


@pytest.fixture(scope="module")
def mallory(shared_site: Site) -> User:
    return shared_site.node.user(MALLORY)


def forge(site: Site, **fields: str) -> None:
    """As `logger --journald` does it: everybody may."""
    entry = "".join(f"{name}={value}\n" for name, value in {"PRIORITY": "6", **fields}.items())
    site.node.run(["logger", "--journald"], user=MALLORY, stdin=entry)


def forge_end(site: Site, unit: str, invocation: str, *, good: bool) -> None:
    """The whole story of a run, in PID 1's own words."""
    common = {"UNIT": unit, "INVOCATION_ID": invocation, "CODE_FILE": "src/core/job.c"}
    forge(site, **common, MESSAGE_ID=STARTING, MESSAGE=f"Starting {unit}...", JOB_TYPE="start")
    if good:
        forge(site, **common, MESSAGE_ID=ENDED_WELL, MESSAGE=f"{unit}: Deactivated successfully.")
        forge(site, **common, MESSAGE_ID=STARTED, MESSAGE=f"Finished {unit}.", JOB_RESULT="done")
    else:
        forge(site, **common, MESSAGE_ID=FAILED, MESSAGE=f"{unit}: Failed.", UNIT_RESULT="signal")
        forge(site, **common, MESSAGE_ID=RESTARTING, MESSAGE=f"{unit}: Scheduled restart job.")
        forge(site, **common, MESSAGE_ID=START_FAILED, MESSAGE="Failed.", JOB_RESULT="failed")


class UnderWay:
    """A run that waits until it is told to go on."""

    def __init__(self, site: Site, name: str, script: str, outcome: str) -> None:
        self.site, self.name = site, name
        self.fifo = f"/srv/{name}.fifo"
        site.node.run(["mkfifo", self.fifo])
        wait = f"read word < {self.fifo}\n"
        site.job(name, wait + script, outcome, service="[Unit]\nCollectMode=inactive-or-failed\n")
        self.before = site.state(name)
        site.node.systemctl("start", "--no-block", f"{name}.service")
        self.invocation: str = site.node.wait_for(
            lambda: site.state(name)["under_way"], what="a run under way"
        )

    def go_on(self) -> None:
        self.site.node.run(f"echo go > {self.fifo}")

    def verdict(self, verdict: str, reason: str) -> str:
        return self.site.say(self.name, self.site.judged(self.name, self.before), verdict, reason)


@pytest.fixture(params=["live", "replayed"])
def witness(request: pytest.FixtureRequest, site: Site) -> Iterator[str]:
    """Whether the daemon is there while it happens, or reads it afterwards."""
    yield request.param
    site.node.systemctl("start", "outcomed.service")


@pytest.mark.usefixtures("mallory")
def test_forged_success_does_not_hide_a_failure(site: Site, witness: str) -> None:
    run = UnderWay(site, f"bad-{witness}", "exit 3", "- duration: {at_most: 1h}\n")
    if witness == "replayed":
        site.node.systemctl("stop", "outcomed.service")
    unit = f"{run.name}.service"
    forge_end(site, unit, run.invocation, good=True)
    run.go_on()
    site.node.wait_for(
        lambda: site.node.journal(f"UNIT={unit}", f"MESSAGE_ID={FAILED}", "_PID=1"), what="its end"
    )
    forge_end(site, unit, run.invocation, good=True)
    site.node.systemctl("start", "outcomed.service")
    assert run.verdict("failed", "exit-code") == "exited with status 3"


@pytest.mark.usefixtures("mallory")
def test_forged_failure_does_not_spoil_a_success(site: Site, witness: str) -> None:
    run = UnderWay(site, f"good-{witness}", "true", "- duration: {at_most: 1h}\n")
    if witness == "replayed":
        site.node.systemctl("stop", "outcomed.service")
    unit = f"{run.name}.service"
    forge_end(site, unit, run.invocation, good=False)
    run.go_on()
    site.node.wait_for(
        lambda: site.node.journal(f"UNIT={unit}", f"MESSAGE_ID={ENDED_WELL}", "_PID=1"),
        what="its end",
    )
    forge_end(site, unit, run.invocation, good=False)
    site.node.systemctl("start", "outcomed.service")
    run.verdict("verified", "held")
    assert not site.messages(run.name)


@pytest.mark.usefixtures("mallory")
def test_forged_runs_are_no_runs(site: Site, witness: str) -> None:
    name = f"idle-{witness}"
    site.job(name, "true", "- artifact: /srv/never\n")
    if witness == "replayed":
        site.node.systemctl("stop", "outcomed.service")
    for good in (True, False):
        forge_end(site, f"{name}.service", secrets.token_hex(16), good=good)
    forge(
        site,
        UNIT=f"{name}.service",
        MESSAGE_ID=START_FAILED,
        MESSAGE="Dependency failed.",
        JOB_ID="4711",
        JOB_RESULT="dependency",
        INVOCATION_ID="",
    )
    site.node.systemctl("start", "outcomed.service")
    # A real run makes outcomed read what there is about this unit.
    assert "/srv/never" in site.say(name, site.run(name), "silent-failure", "artifact")
    assert len(site.verdicts(name)) == 1


def forge_signals(site: Site, unit: str, invocation: str) -> None:
    """The end of a run as PID 1 says it on the bus: sent straight to each connection of outcomed,
    which everybody may."""
    listed = site.node.run(["busctl", "list", "--unique", "--no-legend"]).stdout.splitlines()
    names = [line.split()[0] for line in listed if "outcomed.service" in line]
    assert names
    path = f"/org/freedesktop/systemd1/unit/{unit.replace('.', '_2e')}"
    identity = " ".join(str(byte) for byte in bytes.fromhex(invocation))
    ended, mono = time.time_ns() // 1000, time.monotonic_ns() // 1000
    signals = [
        "Service 3 Result s success ExecMainCode i 1 ExecMainStatus i 0",
        (
            f"Unit 6 ActiveState s inactive SubState s dead InvocationID ay 16 {identity}"
            f" InactiveExitTimestamp t 1 InactiveEnterTimestamp t {ended}"
            f" InactiveEnterTimestampMonotonic t {mono}"
        ),
        "Unit 3 Job s x InvocationID s y ActiveState t 1",  # PID 1's have other types
    ]
    for name in names:
        emit = f"busctl emit --destination={name} {path} org.freedesktop.DBus.Properties"
        for signal in signals:
            arguments = f"org.freedesktop.systemd1.{signal} 0"
            site.node.run(f"{emit} PropertiesChanged 'sa{{sv}}as' {arguments}", user=MALLORY)


@pytest.mark.usefixtures("mallory")
def test_forged_signal_ends_no_run(site: Site) -> None:
    run = UnderWay(site, "signalled", "exit 3", "- duration: {at_most: 1h}\n")
    restarts = site.node.show("outcomed.service", "NRestarts")
    forge_signals(site, f"{run.name}.service", run.invocation)
    # Another job's verdict: outcomed has read all that was sent before.
    site.job("after-signals", "true")
    site.run("after-signals")
    assert site.state(run.name)["under_way"] == run.invocation
    run.go_on()
    assert run.verdict("failed", "exit-code") == "exited with status 3"
    assert site.node.show("outcomed.service", "NRestarts") == restarts


@pytest.mark.usefixtures("mallory")
def test_forged_drops_do_not_make_a_complete_witness_doubtful(site: Site) -> None:
    run = UnderWay(site, "complete", "echo fine", "- journal: {never: ERROR}\n")
    forge(
        site,
        MESSAGE_ID=DROPPED,
        MESSAGE="Suppressed 500 messages from complete.service",
        N_DROPPED="500",
        OBJECT_SYSTEMD_UNIT="complete.service",
        OBJECT_SYSTEMD_INVOCATION_ID=run.invocation,
        UNIT="complete.service",
    )
    run.go_on()
    run.verdict("verified", "held")


@pytest.mark.usefixtures("mallory")
def test_forged_report_step_and_line_are_not_the_jobs(site: Site) -> None:
    run = UnderWay(
        site,
        "reports",
        """echo 'OUTCOME {"sent": 0, "generated": 347}'""",
        "- report: sent == generated\n",
    )
    others = {
        "UNIT": "reports.service",
        "OBJECT_SYSTEMD_UNIT": "reports.service",
        "OBJECT_SYSTEMD_INVOCATION_ID": run.invocation,
        "INVOCATION_ID": run.invocation,
        "SYSLOG_IDENTIFIER": "reports",
    }

    def lie() -> None:
        forge(site, **others, MESSAGE='OUTCOME {"sent": 347}')
        report = '{"sent": 347, "generated": 347}'
        forge(site, **others, MESSAGE="", MESSAGE_ID=JOB_REPORT, OUTCOMED_REPORT=report)
        forge(site, **others, MESSAGE="", MESSAGE_ID=JOB_STEP, OUTCOMED_STEP="upload")

    lie()
    run.go_on()
    lie()
    sentence = run.verdict("silent-failure", "report")
    assert sentence == "sent == generated does not hold: generated=347, sent=0"
    (event,) = site.messages("reports")
    assert event["data"]["steps"] == []


def test_forged_invocation_of_a_users_own_unit_is_not_the_jobs(site: Site, mallory: User) -> None:
    run = UnderWay(
        site,
        "linked",
        """echo 'OUTCOME {"sent": 0, "generated": 347}'""",
        "- report: sent == generated\n- journal: {never: ERROR}\n",
    )
    runtime = f"/run/user/{mallory.uid}"
    # Each time a process that journald has not met before (of a known one it remembers the
    # invocation), and that lives until it is looked at.
    lies = """
    while read word < "$1"; do
        (cat /srv/lies; read word < "$1") | systemd-cat
    done
    """
    site.node.write("/srv/liar", lies)
    site.node.write("/srv/lies", 'OUTCOME {"sent": 347}\nERROR\n')
    unit = "[Service]\nExecStart=/bin/sh /srv/liar %t/fifo\n"
    site.node.units({"liar.service": unit}, user=MALLORY)
    site.node.run(f"mkfifo {runtime}/fifo", user=MALLORY)
    site.node.systemctl("start", "liar.service", user=MALLORY)
    link = f"{runtime}/systemd/units/invocation:liar.service"
    lie = f"ln -sfn {run.invocation} {link}; echo go > {runtime}/fifo"

    def lied() -> bool:
        site.node.run(lie, user=MALLORY)
        of_victim = f"_SYSTEMD_INVOCATION_ID={run.invocation}"
        return bool(site.node.journal(of_victim, "MESSAGE=ERROR"))

    site.node.wait_for(lied, what="his lines under the other's invocation")
    run.go_on()
    sentence = run.verdict("silent-failure", "report")
    assert sentence == "sent == generated does not hold: generated=347, sent=0"
