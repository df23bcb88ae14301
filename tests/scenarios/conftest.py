"""What the scenarios share: a node with outcomed and a real receiver, and the words for what is
expected of them.

Nothing waits for a time to pass. A run is judged when its state file says so; what was to be sent
has been sent when the spool is empty.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from tests.conftest import NODES
from tests.nodes import Machine, Node, Receiver

OUTCOMED_YAML = """
defaults: {alerts: {to: [ops]}}
sinks:
  ops: {type: webhook, url: "http://127.0.0.1:8080/hook"}
"""

STATE = "/var/lib/outcomed/state"
SPOOL = "/var/lib/outcomed/spool"

State = dict[str, Any]
Message = dict[str, Any]


class Site:
    """A node on which outcomed watches jobs and tells a receiver; on a machine, nobody listens."""

    def __init__(self, node: Node | Machine, config: str = OUTCOMED_YAML) -> None:
        self.node: Any = node
        if isinstance(node, Node):
            self.receiver: Receiver = node.receiver(8080)
        node.write("/etc/outcomed/outcomed.yaml", config)
        self.reload()

    def reload(self) -> None:
        """Both systemd and outcomed have read their files when this returns."""
        self.node.run("systemctl daemon-reload && systemctl reload outcomed.service")

    # Jobs

    def job(
        self,
        name: str,
        script: str,
        outcome: str = "",
        *,
        service: str = "",
        top: str = "",
        unit: str | None = None,
    ) -> str:
        """A unit that runs a shell script, and its job file. `outcome` is the list of rules."""
        self.unit(name, script, service=service, unit=unit)
        self.job_file(name, outcome, top=top)
        self.reload()
        return name

    def unit(self, name: str, script: str, *, service: str = "", unit: str | None = None) -> None:
        """Only the unit: nobody counts on it yet. systemd is not told either."""
        program = f"/usr/local/bin/{name}"
        shebang = "" if script.lstrip().startswith("#!") else "#!/bin/sh\n"
        self.node.write(program, shebang + dedent(script).lstrip(), mode=0o755)
        text = f"[Service]\nType=oneshot\nExecStart={program}\n{dedent(service)}"
        self.node.write(f"/etc/systemd/system/{unit or f'{name}.service'}", text)

    def job_file(self, name: str, outcome: str = "", *, top: str = "") -> None:
        text = dedent(top).strip() + "\n"
        if outcome:
            text += "outcome:\n" + indent(dedent(outcome).strip(), "  ") + "\n"
        self.node.write(f"/etc/outcomed/jobs.d/{name}.yaml", text)

    # Runs

    def state(self, name: str) -> State:
        """`state/JOB.json`, which any script may read."""
        text = self.node.content(f"{STATE}/{name}.json")
        if text is None:
            return {"at": None, "under_way": None, "verdict": None, "incident": None}
        state: State = json.loads(text)
        return state

    def judged(self, name: str, since: State, timeout: float = 20) -> State:
        """The state after the next verdict."""

        def judged() -> State | None:
            state = self.state(name)
            is_new = state["at"] is not None and state["at"] != since["at"]
            return state if is_new and state["under_way"] is None else None

        return self.node.wait_for(judged, timeout, f"a verdict on {name}")

    def run(
        self, name: str, *, exits: int = 0, unit: str | None = None, timeout: float = 20
    ) -> State:
        """Start the unit, as a timer would, and wait for what outcomed says about it."""
        before = self.state(name)
        result = self.node.systemctl("start", unit or f"{name}.service", check=False)
        assert result.returncode == exits, result.stderr
        return self.judged(name, before, timeout)

    # What people see

    def messages(self, subject: str) -> list[Message]:
        """Everything that the receiver took about this job, once the spool is empty."""
        out = self.node.path(f"{SPOOL}/out")
        self.node.wait_for(
            lambda: not list(out.glob("*.json")), 20, "an empty spool after the last verdict"
        )
        events = [request.json() for request in self.receiver.requests]
        return [event for event in events if event["subject"] == subject]

    def failed_units(self) -> set[str]:
        listed = self.node.systemctl("--failed", "--plain", "--no-legend", "--full").stdout
        return {line.split()[0] for line in listed.splitlines()}

    def shows_as_failed(self, name: str, expected: bool) -> None:
        """`systemctl --failed` lists the outcome's unit, or soon does not."""
        what = f"outcome@{name}.service {'failed' if expected else 'fine'}"
        self.node.wait_for(
            lambda: (f"outcome@{name}.service" in self.failed_units()) is expected, 10, what
        )

    def verdicts(self, name: str, *arguments: str) -> list[dict[str, Any]]:
        """The verdicts among the job's lines, as journalctl shows them."""
        entries = self.node.journal(*(arguments or (f"OUTCOMED_JOB={name}",)))
        return [entry for entry in entries if "OUTCOMED_VERDICT_SEQ" in entry]

    def say(self, name: str, state: State, verdict: str, reason: str, *, unit: str = "") -> str:
        """The verdict is where people look; returns its sentence."""
        assert (state["verdict"], state["reason"]) == (verdict, reason)
        unit = unit or f"{name}.service"
        last = self.verdicts(name, f"--unit={unit}")[-1]
        assert (last["OUTCOMED_VERDICT"], last["OUTCOMED_REASON"]) == (verdict, reason)
        if (invocation := last.get("OBJECT_SYSTEMD_INVOCATION_ID")) is not None:
            of_run = self.verdicts(name, f"--unit={unit}", f"--invocation={invocation}")
            assert [entry["MESSAGE"] for entry in of_run] == [last["MESSAGE"]]
        prefix = f"{name}: {verdict}: "
        assert last["MESSAGE"].startswith(prefix)
        return str(last["MESSAGE"].removeprefix(prefix))


class Story:
    """A job that goes wrong, twice, and is put right: one incident, as everybody has to see it."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name

    def goes_wrong(
        self,
        sentence: str,
        *,
        verdict: str = "silent-failure",
        reason: str = "artifact",
        exits: int = 0,
    ) -> Message:
        """Two bad runs are one message, one failed unit; returns the message's data."""
        site, name = self.site, self.name
        earlier = len(site.messages(name))
        for _ in range(2):
            state = site.run(name, exits=exits)
            said = site.say(name, state, verdict, reason)
            assert re.search(sentence, said), said
            site.shows_as_failed(name, True)
            assert state["incident"] is not None
        (event,) = site.messages(name)[earlier:]
        data: Message = event["data"]
        assert (data["state"], data["verdict"], data["reason"]) == ("firing", verdict, reason)
        assert re.search(sentence, data["summary"]), data["summary"]
        assert data["unit"] == f"{name}.service"
        assert data["host"] == site.node.name
        assert data["alert_id"] == state["incident"]
        assert event["specversion"] == "1.0"
        return data

    def is_put_right(self, verdict: str = "verified", reason: str = "held") -> State:
        """One good run ends it: one message, of the same alert, and no failed unit."""
        site, name = self.site, self.name
        fired = site.messages(name)[-1]
        earlier = len(site.messages(name))
        state = site.run(name)
        site.say(name, state, verdict, reason)
        assert state["incident"] is None
        site.shows_as_failed(name, False)
        (event,) = site.messages(name)[earlier:]
        assert (event["data"]["state"], event["data"]["verdict"]) == ("resolved", verdict)
        assert event["data"]["alert_id"] == fired["data"]["alert_id"]
        assert event["id"] != fired["id"]
        return state

    def stays_quiet(self, verdict: str = "verified", reason: str = "held") -> State:
        """A good run when nothing is open: nobody is told anything."""
        site, name = self.site, self.name
        earlier = len(site.messages(name))
        state = site.run(name)
        site.say(name, state, verdict, reason)
        assert state["incident"] is None
        assert f"outcome@{name}.service" not in site.failed_units()
        assert len(site.messages(name)) == earlier
        return state


def quiet(node: Node, units: Sequence[str] = ("outcomed", "outcomed-deliver")) -> list[str]:
    """What our own processes said above info: nothing, as long as nothing is wrong."""
    matches = [f"_SYSTEMD_UNIT={unit}.service" for unit in units]
    return [entry["MESSAGE"] for entry in node.journal("--priority=notice", *matches)]


@pytest.fixture(scope="module")
def shared_site(root: str, deb: Path) -> Iterator[Site]:
    """One node for the tests of a module that cannot disturb each other."""
    with Node(root, deb=deb) as node:
        yield Site(node)


@pytest.fixture(scope="module")
def root() -> str:
    """The root of the module's node; a module that needs more than `runtime` says so."""
    return "runtime"


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    """The module's node; a test that fails shows its journal."""
    request.node.stash.setdefault(NODES, []).append(shared_site.node)
    return shared_site


@pytest.fixture
def story(site: Site) -> Callable[[str], Story]:
    return lambda name: Story(site, name)


@pytest.fixture
def own_site(boot: Callable[..., Node], deb: Path) -> Site:
    """A node for one test alone, which may stop what it likes."""
    return Site(boot(deb=deb))
