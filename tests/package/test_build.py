"""The package itself: what lintian says, what it needs, that it is built the same twice."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.nodes import Node
from tests.nodes.build import CHECKOUT, _build, build_deb, sources

BootNode = Callable[..., Node]


def test_lintian_has_nothing_to_say(boot: BootNode, deb: Path) -> None:
    node = boot("full", binds={deb.parent: "/debs"})
    result = node.run(
        "lintian --fail-on error,warning,info,pedantic --info --pedantic /debs/*.changes",
        user="nobody",
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_nothing_that_it_imports_is_missing_from_its_dependencies(
    boot: BootNode, deb: Path
) -> None:
    node = boot("bare")
    node.install(deb)
    modules = ["daemon", "check", "delivery", "hook", "config", "formats", "sinks", "ctl.main"]
    node.run(["python3", "-I", "-c", "".join(f"import outcomed.{m}\n" for m in modules)])
    for library in ("re2", "isal.igzip", "zstandard", "requests", "simpleeval"):
        node.run(["python3", "-I", "-c", f"import {library}"])


def test_same_sources_make_the_same_package_byte_for_byte(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for path in sources(CHECKOUT):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / path, copy / path)  # with other times
    once = build_deb(copy)
    again = tmp_path / "again"
    _build(copy, again)
    assert (again / once.name).read_bytes() == once.read_bytes()
