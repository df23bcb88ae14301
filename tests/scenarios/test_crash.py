"""What took the daemon's life does not take it again; the rest is judged as usual.

What kills here is what would in earnest: a library written in C that dies on certain bytes. Its
Python face is replaced on the node by one that does; nothing of ours is.
"""

from collections.abc import Iterator
from textwrap import dedent

import pytest

from tests.nodes import Node
from tests.scenarios.conftest import Site, State

LIBRARIES = "/usr/lib/python3/dist-packages"
DIED = "outcomed died twice while looking at this, left out"

# RE2 dies of lines with POISON; and of those with BOMB while there is a file, in the daemon alone.
RE2 = """
import os
import signal

_compile = compile


class _Deadly:
    def __init__(self, pattern):
        self._pattern = pattern

    def __getattr__(self, name):
        return getattr(self._pattern, name)

    def search(self, line):
        if b"POISON" in line:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"BOMB" in line and os.path.exists("/srv/bomb") and os.getppid() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._pattern.search(line)


def compile(*arguments, **options):
    return _Deadly(_compile(*arguments, **options))
"""


@pytest.fixture(scope="module")
def deadly(shared_site: Site) -> Iterator[Site]:
    node = shared_site.node
    node.run(f"cp {LIBRARIES}/re2/__init__.py /var/tmp/re2.py")
    node.run(["sh", "-c", f"cat >> {LIBRARIES}/re2/__init__.py"], stdin=dedent(RE2))
    node.systemctl("restart", "outcomed.service")
    forget_starts(node)
    yield shared_site
    node.run(f"cp /var/tmp/re2.py {LIBRARIES}/re2/__init__.py")


def restarts(node: Node) -> int:
    return int(node.show("outcomed.service", "NRestarts")["NRestarts"])


def forget_starts(node: Node) -> None:
    """systemd counts those of the tests before, too."""
    node.systemctl("reset-failed", "outcomed.service")


def run_beside_a_death(site: Site, name: str) -> State:
    """The daemon may die of it, and has to come back and judge it."""
    before = site.state(name)
    site.node.systemctl("start", f"{name}.service")
    return site.judged(name, before, 60)


def said_of(site: Site, what: str) -> list[str]:
    entries = site.node.journal("_SYSTEMD_UNIT=outcomed.service", "OUTCOMED_REASON=crash")
    return [entry["MESSAGE"] for entry in entries if what in entry["MESSAGE"]]


def test_output_that_kills_is_unknown_and_the_next_run_is_judged(deadly: Site) -> None:
    site = deadly
    outcome = "- artifact: /srv/poisoned\n- journal: {never: ERROR}\n"
    script = "date > /srv/poisoned; cat /srv/poisoned.text\n"
    site.node.write("/srv/poisoned.text", "fine\nPOISON\n")
    site.job("poisoned", script, outcome)
    site.job("beside", "date > /srv/beside", "- artifact: /srv/beside\n")
    before = restarts(site.node)
    said = site.say("poisoned", run_beside_a_death(site, "poisoned"), "unknown", "journal")
    assert DIED in said
    assert restarts(site.node) == before + 1
    site.say("beside", site.run("beside"), "verified", "held")
    explained = site.node.run("outcomectl explain poisoned", check=False).stdout
    assert "✓ outcome[0].artifact" in explained  # the rest of it was looked at
    assert f"Output: incomplete: {DIED}" in explained
    # Once when it came back, and once when a process of its own had died as well.
    assert len(said_of(site, "poisoned: its output")) == 2

    # The next such run takes no life.
    site.say("poisoned", run_beside_a_death(site, "poisoned"), "unknown", "journal")
    assert restarts(site.node) == before + 1
    # Nor one after a restart.
    site.node.systemctl("restart", "outcomed.service")
    pid = site.node.show("outcomed.service", "MainPID")
    site.say("poisoned", run_beside_a_death(site, "poisoned"), "unknown", "journal")
    assert site.node.show("outcomed.service", "MainPID") == pid
    # And what does not kill is looked at.
    site.node.write("/srv/poisoned.text", "fine\n")
    site.say("poisoned", site.run("poisoned"), "verified", "held")
    site.node.write("/srv/poisoned.text", "ERROR\n")
    site.say("poisoned", site.run("poisoned"), "silent-failure", "journal")


def test_daemon_that_is_killed_by_chance_at_the_same_place_leaves_nothing_out(
    deadly: Site,
) -> None:
    """The child lives: what it looked at is healthy, however often the daemon was killed there."""
    site = deadly
    site.node.write("/srv/chance.text", "BOMB\nall done\n")
    site.job("chance", "cat /srv/chance.text\n", "- journal: {expect: all done}\n")
    site.node.write("/srv/bomb", "")
    forget_starts(site.node)
    before, begun = restarts(site.node), site.state("chance")
    site.node.systemctl("start", "chance.service")
    site.node.wait_for(lambda: restarts(site.node) >= before + 2, 60, "two deaths")
    site.node.run("rm /srv/bomb")
    site.say("chance", site.judged("chance", begun, 60), "verified", "held")
    assert not [said for said in said_of(site, "chance") if "left out" in said]


def test_rule_that_kills_is_left_out_and_the_others_are_not(site: Site) -> None:
    node = site.node
    forget_starts(node)
    outcome = "- artifact: /srv/ruled\n- report: sent == 3\n- duration: {at_most: 1h}\n"
    site.job("ruled", """date > /srv/ruled; echo 'OUTCOME {"sent": 3}'\n""", outcome)
    node.run(f"cp {LIBRARIES}/simpleeval.py /var/tmp/simpleeval.py")
    node.systemctl("restart", "outcomed.service")
    kill = "\nimport os as _os\n_os.kill(_os.getpid(), 11)\n"
    node.run(["sh", "-c", f"cat >> {LIBRARIES}/simpleeval.py"], stdin=kill)
    before = restarts(node)
    said = site.say("ruled", run_beside_a_death(site, "ruled"), "unknown", "report")
    assert said == DIED
    assert restarts(node) == before + 1
    explained = node.run("outcomectl explain ruled", check=False).stdout
    assert "✓ outcome[0].artifact" in explained
    assert "? outcome[1].report" in explained
    assert "✓ outcome[2].duration" in explained
    assert "Output: complete" in explained
    node.run(f"cp /var/tmp/simpleeval.py {LIBRARIES}/simpleeval.py")
    site.say("ruled", site.run("ruled"), "verified", "held")


def test_state_file_takes_no_life_or_one(own_site: Site) -> None:
    """Too large for the memory that the daemon may have."""
    node = own_site.node
    own_site.job("calm", "date > /srv/calm", "- artifact: /srv/calm\n")
    node.systemctl("stop", "outcomed.service")
    node.write("/etc/systemd/system/outcomed.service.d/memory.conf", "[Service]\nLimitDATA=150M\n")
    node.systemctl("daemon-reload")
    for file in ("/var/lib/outcomed/config.json", "/var/lib/outcomed/spool/in/big.service.alert"):
        node.run(["truncate", "--size=300M", file])
    node.systemctl("start", "--no-block", "outcomed.service")
    node.wait_for(
        lambda: node.show("outcomed.service", "ActiveState")["ActiveState"] == "active",
        60,
        "the daemon in spite of its files",
    )
    assert restarts(node) <= 2  # one for each file, at the most
    own_site.say("calm", own_site.run("calm"), "verified", "held")
