"""Completion, with real keys: Tab in an interactive bash and zsh on a node."""

import argparse
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from outcomed.ctl.main import VERBS
from outcomed.ctl.options import add_common
from tests.nodes import Node

TAB = "\t"
ALL = "\x18*"  # put every candidate into the line
HOME = "\x01"

FILES = {
    "/etc/outcomed/outcomed.yaml": "sinks:\n"
    "  ops: {type: webhook, url: 'http://127.0.0.1:8080/'}\n"
    "  pager: {type: webhook, url: 'http://127.0.0.1:8080/'}\n",
    "/etc/outcomed/jobs.d/db-backup.yaml": "description: default unit\n",
    "/usr/lib/outcomed/jobs.d/db-vacuum.yaml": "unit: shop-vacuum.service\n",
    "/run/outcomed/jobs.d/mail@shop:1.yaml": "unit: 'mail@shop:1.service'\n",
    r"/etc/outcomed/jobs.d/srv-a\x2db.yaml": "description: an escaped name\n",
    "/var/lib/outcomed/state/nightly@eu.json": "{}",
    "/var/tmp/some where/job file.yaml": "unit: a.service\n",
    # What the line has become, word by word.
    "/var/tmp/said": "said() { printf '<%s>' \"$@\"; echo ' end'; }\n",
    "/var/tmp/bashrc": ". /usr/share/bash-completion/bash_completion\n. /var/tmp/said\n"
    r"""bind '"\C-x*": insert-completions'"""
    "\n",
    "/var/tmp/zsh/.zshrc": """. /var/tmp/said
autoload -Uz compinit
compinit -D
bindkey -e
zle -C all-matches complete-word _generic
bindkey '^X*' all-matches
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
""",
}

SHELLS = {
    "bash": ["bash", "--rcfile", "/var/tmp/bashrc", "-i"],
    "zsh": ["zsh", "--no-globalrcs", "-i"],
}


class Shell:
    """An interactive shell on a node, at a terminal of ours."""

    def __init__(self, node: Node, argv: list[str]) -> None:
        self._terminal, side = pty.openpty()
        environment = {"TERM": "dumb", "HOME": "/root", "ZDOTDIR": "/var/tmp/zsh"}
        self._process = subprocess.Popen(
            node.command_line(["setsid", "--ctty", "--wait", *argv], env=environment),
            stdin=side,
            stdout=side,
            stderr=side,
        )
        os.close(side)

    def becomes(self, keys: str) -> list[str]:
        """The words of the line that begins with `outcomectl` once these keys were pressed."""
        os.write(self._terminal, f"outcomectl {keys}{HOME}said \n".encode())
        shown = self._until(" end\r\n")
        (line,) = re.findall(r"<outcomectl>(.*) end\r\n", shown)
        return re.findall(r"<(.*?)>", line)

    def _until(self, last: str, patience: float = 20) -> str:
        shown, deadline = "", time.monotonic() + patience
        while not shown.endswith(last) and last not in shown:
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, f"{last!r} was awaited, and this came: {shown!r}"
            shown += os.read(self._terminal, 4096).decode(errors="replace")
        return shown

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@pytest.fixture(scope="module")
def machine(deb: Path) -> Iterator[Node]:
    with Node("full", deb=deb) as node:
        for path, text in FILES.items():
            node.write(path, text)
        node.systemctl("reload", "outcomed.service")
        yield node


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, machine: Node) -> Iterator[Shell]:
    one = Shell(machine, SHELLS[request.param])
    yield one
    one.close()


COMPLETED = {
    f"exp{TAB}": ["explain"],
    f"explain db-b{TAB}": ["explain", "db-backup"],
    f"explain mail@s{TAB}": ["explain", "mail@shop:1"],
    f"explain mail@shop:{TAB}": ["explain", "mail@shop:1"],
    f"explain sr{TAB}": ["explain", r"srv-a\x2db"],
    rf"explain srv-a\\x{TAB}": ["explain", r"srv-a\x2db"],
    f"explain night{TAB}": ["explain", "nightly@eu"],
    f"status db-backup db-v{TAB}": ["status", "db-backup", "db-vacuum"],
    # a unit's name, where no job is called so
    f"explain db-backup.s{TAB}": ["explain", "db-backup.service"],
    f"explain shop{TAB}": ["explain", "shop-vacuum.service"],
    f"test o{TAB}": ["test", "ops"],
    f"check-config /var/tmp/som{TAB}job{TAB}": [
        "check-config",
        "/var/tmp/some where/job file.yaml",
    ],
    f"--no-pager exp{TAB}": ["--no-pager", "explain"],
    f"--json=sh{TAB}": ["--json=short"],
    f"--json=short explain db-b{TAB}": ["--json=short", "explain", "db-backup"],
    f"explain --json pr{TAB}": ["explain", "--json", "pretty"],
    f"explain --json=pretty db-b{TAB}": ["explain", "--json=pretty", "db-backup"],
    f"history -n 3 db-b{TAB}": ["history", "-n", "3", "db-backup"],
    f"explain zzz{TAB}": ["explain", "zzz"],
}


@pytest.mark.parametrize("keys", COMPLETED, ids=lambda keys: keys.replace(TAB, "<Tab>"))
def test_tab_completes(shell: Shell, keys: str) -> None:
    assert shell.becomes(keys) == COMPLETED[keys]


def test_all_jobs_are_offered(shell: Shell) -> None:
    jobs = {"db-backup", "db-vacuum", "mail@shop:1", "nightly@eu", r"srv-a\x2db"}
    assert set(shell.becomes(f"explain {ALL}")[1:]) == jobs


def test_all_sinks_are_offered(shell: Shell) -> None:
    assert set(shell.becomes(f"test {ALL}")[1:]) == {"ops", "pager"}


def options_of(verb: str) -> set[str]:
    parser = argparse.ArgumentParser()
    import_module(f"outcomed.ctl.{VERBS[verb][0]}").arguments(parser, verb)
    add_common(parser)
    return set(re.findall(r"--[a-z-]+", parser.format_usage())) | {"--help"}


def test_all_verbs_are_offered_and_their_options(shell: Shell) -> None:
    assert set(shell.becomes(ALL)) == set(VERBS)
    for verb in VERBS:
        offered = shell.becomes(f"{verb} --{ALL}")[1:]
        assert {option.rstrip("=") for option in offered} == options_of(verb), verb
