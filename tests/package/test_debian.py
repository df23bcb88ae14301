"""What Debian itself tests packages with: piuparts, and the package's own autopkgtest."""

from collections.abc import Callable
from pathlib import Path

from tests.nodes import Node
from tests.nodes.build import CHECKOUT
from tests.nodes.root import root_layers

BootNode = Callable[..., Node]

# An archive in which this package has an earlier version, to be upgraded from; and a machine on
# which our dependencies are installed already, or unpacking these would be most of the time.
PREPARE = """
set -e
pool=/var/tmp/archive/dists/trixie/main/binary-amd64
mkdir -p $pool /var/tmp/base
dpkg-deb -R /debs/outcomed_*.deb /var/tmp/earlier
sed -i 's/^Version: .*/Version: 0.0.1/' /var/tmp/earlier/DEBIAN/control
dpkg-deb --root-owner-group -b /var/tmp/earlier $pool
(cd /var/tmp/archive && dpkg-scanpackages . > $pool/Packages)
printf '[trixie]\\nuri = [trusted=yes] file:/var/tmp/archive\\ncomponents = main\\n' \\
    > /etc/piuparts/distros.conf
mount -t overlay -o lowerdir=LOWERS overlay /var/tmp/base
"""

PIUPARTS = [
    *["piuparts", "--distribution=trixie", "--bindmount=/var/tmp/archive"],
    *["--existing-chroot=/var/tmp/base", "--tmpdir=/var/tmp", "--no-eatmydata"],
    *["--install-remove-install", "--pedantic-purge-test"],
    # There are none, and looking for them takes as long as all the rest.
    *["--skip-cronfiles-test", "--skip-logrotatefiles-test"],
]


def test_piuparts_finds_nothing_left_behind(boot: BootNode, deb: Path) -> None:
    lowers = root_layers("runtime")
    names = {lower: f"/lower/{number}" for number, lower in enumerate(lowers)}
    node = boot("full", binds={deb.parent: "/debs", **names})
    node.run(PREPARE.replace("LOWERS", ":".join(names.values())))
    result = node.run([*PIUPARTS, f"/debs/{deb.name}"], check=False, timeout=300)
    assert result.returncode == 0, result.stdout[-5000:]
    for passed in ("Installation and purging test", "Installation, upgrade and purging tests"):
        assert f"PASS: {passed}." in result.stdout


def test_autopkgtest_passes_on_the_installed_package(boot: BootNode, deb: Path) -> None:
    node = boot("full", binds={deb.parent: "/debs", CHECKOUT / "debian": "/src/debian"})
    result = node.run(
        # Such a node is a container; "null" cannot know.
        "autopkgtest --no-built-binaries --ignore-restrictions=isolation-container"
        f" /debs/{deb.name} /src/ -- null",
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "judges               PASS" in result.stdout
