"""Fixtures that boot machines, and what a test that failed on one has to show."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Machine, Node, build_deb

NODE_DIRECTORIES = ("scenarios", "package")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lies in scenarios/ and package/ needs nodes: the marker says so."""
    missing = _missing_for_nodes()
    for item in items:
        if Path(item.path).relative_to(Path(__file__).parent).parts[0] not in NODE_DIRECTORIES:
            continue
        item.add_marker(pytest.mark.node)
        if missing is not None:
            item.add_marker(pytest.mark.skip(reason=missing))


def _missing_for_nodes() -> str | None:
    if os.geteuid() != 0:
        return "nodes need root"
    absent = [tool for tool in ("systemd-nspawn", "mmdebstrap") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not installed (make host)" if absent else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows the end of the journal of each node it has running."""
    report = yield
    if report.when == "call" and report.failed:
        for node in item.stash.get(NODES, []):
            report.sections.append((f"journal of {node.name}", node.last_words()))
    return report


NODES: pytest.StashKey[list[Node | Machine]] = pytest.StashKey()


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A thread that a test forgot keeps Python from ending, when nobody knows whose it was."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(1)
            assert not thread.is_alive(), f"the test left {thread.name} running"


@pytest.fixture(scope="session")
def deb() -> Path:
    """The node package of this checkout."""
    return build_deb()


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> Iterator[Callable[..., Node]]:
    """Boot a node that ends with the test: `boot()`, `boot("full", deb=deb)`, like `Node`."""
    nodes = request.node.stash.setdefault(NODES, [])

    def boot_one(*arguments: Any, **options: Any) -> Node:
        node = Node(*arguments, **options)
        node.__enter__()
        nodes.append(node)
        return node

    yield boot_one
    for node in nodes:
        node.close()


@pytest.fixture
def node(boot: Callable[..., Node], deb: Path) -> Node:
    """A booted node with the package installed."""
    return boot(deb=deb)
