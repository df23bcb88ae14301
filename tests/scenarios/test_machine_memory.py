"""Memory that runs out, under the real limits of the real units; a node has no memory controller.

One virtual machine: a job with witnesses that eat, a job that is eaten itself, and a healthy one
beside them. Nobody listens there: what would have been sent lies in the spool.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Machine
from tests.scenarios.conftest import SPOOL, Site

# In one piece, by huge pages: small ones take an emulated processor half a minute.
EAT = """python3 -c "len('x' * (600 << 20))\""""

# The kernel kills what grows; a shell around it swallows that, and says something of its own.
GREEDY = f"""
- command: {EAT}
  timeout: 5min
- command: sh -c '/srv/eat; exit 1'
  timeout: 5min
- command: sh -c '/srv/eat || exit 137'
  timeout: 5min
- command: echo still looked at
"""
GROWING = [f"outcome[{at}].command" for at in (0, 1, 2)]
TOO_MUCH = "took more memory than MemoryMax= of outcomed-check@.service allows"


@pytest.fixture(scope="module")
def shared_site(deb: Path) -> Iterator[Site]:
    with Machine(deb=deb) as machine:
        yield Site(machine)


def findings(site: Site, name: str) -> dict[str, dict[str, Any]]:
    told = site.node.run(["outcomectl", "explain", name, "--json=short"], check=False).stdout
    return {one["rule"]: one for one in json.loads(told)["findings"]}


def told_about(site: Site) -> list[tuple[str, str]]:
    """Job and state of everything that was to be sent."""
    found = site.node.run(f"cat {SPOOL}/out/*.json", check=False).stdout
    events = [json.loads(line)["event"] for line in found.replace("}{", "}\n{").splitlines()]
    return [(event["subject"], event["data"]["state"]) for event in events]


def test_greedy_witness_is_unknown_and_a_greedy_job_failed(site: Site) -> None:
    node = site.node
    node.run("echo always > /sys/kernel/mm/transparent_hugepage/enabled")
    node.write("/srv/eat", f"#!/bin/sh\nexec {EAT}\n", mode=0o755)
    site.unit("greedy", "true")
    site.job_file("greedy", GREEDY)
    site.unit("eaten", EAT, service="MemoryMax=64M\n")
    site.job_file("eaten")
    site.unit("healthy", "date > /srv/healthy")
    site.job_file("healthy", "- artifact: /srv/healthy\n")
    site.reload()
    before = site.state("greedy")
    node.systemctl("start", "greedy.service")

    said = site.say("eaten", site.run("eaten", exits=1), "failed", "oom-kill")
    assert "the kernel's OOM killer ended it" in said
    assert site.run("healthy")["verdict"] == "verified"
    check = node.show("outcomed-check@greedy.service", "ActiveState", "MemoryMax")
    assert check == {"ActiveState": "activating", "MemoryMax": str(512 << 20)}, "it eats meanwhile"

    state = site.judged("greedy", before, timeout=60)
    assert (state["verdict"], state["incident"]) == ("unknown", None), "one unknown wakes nobody"
    found = findings(site, "greedy")
    seen = {rule: (found[rule]["state"], found[rule]["summary"]) for rule in GROWING}
    assert seen == dict.fromkeys(GROWING, ("unknown", TOO_MUCH))
    rest = found["outcome[3].command"]
    assert (rest["state"], rest["summary"]) == ("held", "it exited with 0: still looked at")
    node.wait_for(
        lambda: not node.run(["pgrep", "--full", "python3 -c|outcomed-check"], check=False).stdout,
        what="every process of the checks to be gone",
    )
    assert told_about(site) == [("eaten", "firing")]
