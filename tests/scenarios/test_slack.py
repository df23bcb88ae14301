"""The real delivery process tells a Slack that holds to its documented limits."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import slack as slacklike
from tests.nodes import Node
from tests.nodes.receiver import Answer, Request
from tests.scenarios.conftest import Site

CONFIG = """
defaults: {alerts: {to: [chat]}}
sinks:
  chat: {type: webhook, url_credential: chat-url, format: slack, log_lines: 5}
"""
PATH = "/services/T0/B0/S3CRET"
WORK = """
echo "pg_dump: <!channel> starting *all* & sundry"
test -e /srv/{name} || echo short > /srv/{name}.sql
test ! -e /srv/{name} || head -c 4096 /dev/zero > /srv/{name}.sql
"""


def slack(request: Request) -> Answer:
    """What Slack would say."""
    faults = slacklike.faults(request.body)
    return Answer(400, faults[0].partition(":")[0].encode()) if faults else Answer(200, b"ok")


@pytest.fixture
def chat(boot: Callable[..., Node], deb: Path) -> Site:
    node = boot(deb=deb)
    node.write("/etc/credstore/outcomed.chat-url", f"http://127.0.0.1:8080{PATH}\n")
    node.run("ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime")
    node.systemctl("restart", "outcomed-deliver.service")  # it has credentials as it was started
    site = Site(node, CONFIG)
    site.receiver.answer_by(slack)
    return site


def screen(site: Site, number: int) -> str:
    """The message as its reader has it, not wrapped."""
    request = site.receiver.wait_for(number, 20)[number - 1]
    assert request.path == PATH
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert not any(name.startswith("webhook-") for name in request.headers)
    assert slacklike.faults(request.body) == []
    payload: dict[str, Any] = json.loads(request.body)
    text = slacklike.screen({"text": payload["text"]}, None)
    print(slacklike.screen(payload))
    return text + "\n\n" + slacklike.screen(payload, None)


def test_a_lie_and_its_end_are_told_to_slack(chat: Site) -> None:
    site, name = chat, "nightly"
    rules = "- artifact: /srv/nightly.sql\n  min_size: 1K\n- duration: {at_most: 1min}\n"
    site.job(name, WORK.format(name=name), rules, top="runbook: https://wiki.example.com/n")
    site.run(name)
    fired = screen(site, 1)
    first = fired.partition("\n")[0]
    what = f"🔴 {name} on {site.node.name}: silent-failure: /srv/nightly.sql: 6B, expected at least"
    assert first.startswith(what)
    assert re.search(rf"; since ... [-0-9]+ [:0-9]+ CES?T; type: outcomectl explain {name}$", first)
    command = first.rpartition("; type: ")[2]
    assert "silent-failure" in site.node.run(command, check=False).stdout
    assert "pg_dump: <!channel> starting *all* & sundry" in fired
    assert "⚠" not in fired
    site.node.write(f"/srv/{name}", "")
    site.run(name)
    resolved = screen(site, 2)
    assert resolved.startswith(f"🟢 {name} on {site.node.name}: recovered: ")
    assert "; was bad for " in resolved.partition("\n")[0]
    assert resolved.partition("\n")[0].endswith("; nothing to do")
    assert len(site.receiver.requests) == 2


def test_a_unit_without_job_file_is_told_with_a_command_that_shows_why(chat: Site) -> None:
    site = chat
    hook = "[Unit]\nOnFailure=outcomed-alert@%n.service\n"
    site.unit("loner", "echo that is why >&2; exit 4", service=hook)
    site.reload()
    site.node.systemctl("start", "loner.service", check=False)
    first = screen(site, 1).partition("\n")[0]
    assert f"loner.service on {site.node.name}: failed: exited with status 4; since " in first
    command = first.rpartition("; type: ")[2]
    assert "that is why" in site.node.run(command).stdout


def test_the_sink_can_be_tried(chat: Site) -> None:
    site = chat
    said = site.node.run("outcomectl test chat").stdout
    assert said.startswith("chat: delivered after ")
    assert screen(site, 1).startswith(f"⚪ outcomectl-test on {site.node.name}: test: a test of")
    site.receiver.answer(404, b"no_service")
    tried = site.node.run("outcomectl test chat", check=False, timeout=60)
    assert tried.returncode == 1
    assert "404: nothing is there at present (no_service)" in tried.stdout
    assert "S3CRET" not in tried.stdout
    told = site.node.journal("_SYSTEMD_UNIT=outcomed-deliver.service")
    assert any("(no_service)" in entry["MESSAGE"] for entry in told)
    assert not any("S3CRET" in entry["MESSAGE"] for entry in told)
