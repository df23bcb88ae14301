"""The package itself: what lintian says, what it needs, that it is built the same twice."""

from collections.abc import Callable
from pathlib import Path

from tests.nodes import Node
from tests.nodes.build import Way, build_into

BootNode = Callable[..., Node]

SOURCE = Way(command="dpkg-buildpackage --build=source --no-sign", whole=True)

# All that must not matter to a package is another: place, files around it, host, user, umask, time
# and its zone, language, number of jobs. Turkish has no I that becomes an i.
ELSEWHERE = Way(
    directory="/srv/another/place/outcomed-checkout",
    command="""
chown -R nobody:nogroup /srv/another
exec unshare --uts sh -c 'hostname elsewhere; umask 002; exec "$@"' sh \\
    setpriv --reuid=nobody --regid=nogroup --clear-groups \\
    env HOME=/nonexistent LC_ALL=tr_TR.UTF-8 LANGUAGE=tr TZ=Pacific/Kiritimati \\
    DEB_BUILD_OPTIONS="nocheck parallel=3" \\
    faketime "2031-02-03 04:05:06" dpkg-buildpackage --build=binary --no-sign
""",
    whole=True,
)


def test_lintian_has_nothing_to_say(boot: BootNode, deb: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    build_into(source, way=SOURCE)
    node = boot("full", binds={deb.parent: "/debs", source: "/source"})
    # What it shows is what counts: for the source its exit code was 2 with nothing shown.
    result = node.run(
        "lintian --fail-on none --display-info --pedantic /debs/*.changes /source/*.changes",
        user="nobody",
        check=False,
        timeout=300,
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


def test_built_elsewhere_it_is_the_same_byte_for_byte(deb: Path, tmp_path: Path) -> None:
    build_into(tmp_path / "again", way=ELSEWHERE)
    again = tmp_path / "again" / deb.name
    assert again.read_bytes() == deb.read_bytes()
