"""Build the package on Debian 13, whatever the host is, from a copy of the checkout, into `build/`.

Without a network, as Debian's own builders do it: what the build needs has to be in debian/control
and in the root. The result is kept by the hash of the sources, so that every test may ask for it.
"""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.nodes.root import RootError, built_aside, cache_dir, locked, overlay_run, root_layers

CHECKOUT = Path(__file__).resolve().parents[2]

# What no build looks at, and no source package has.
LEFT_OUT = {".git", "build", "__pycache__", ".hypothesis"}
LEFT_OUT_ENDS = (".pyc", ".egg-info", "_cache", ".swp", "~")

# A changed test makes no other package; it runs in `make check`.
NOT_BUILT = {".ci", "tests"}


@dataclass(frozen=True)
class Way:
    """Where and how a package is built, and whether from all of the source or without its tests."""

    directory: str = "/build/checkout"
    command: str = "DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage --build=binary --no-sign"
    whole: bool = False


ORDINARY = Way()


class BuildError(Exception):
    """The package could not be built; the message has the end of the build log."""


def build_deb(checkout: Path = CHECKOUT) -> Path:
    """The node package `outcomed_*.deb`, built if these sources have not been built before."""
    return next(deb for deb in build_debs(checkout) if deb.name.startswith("outcomed_"))


def build_debs(checkout: Path = CHECKOUT) -> list[Path]:
    """All packages of the source; the build log and the .changes are beside them."""
    if not (checkout / "debian" / "control").exists():
        raise BuildError(f"{checkout} has no debian/control")
    target = cache_dir() / "debs" / source_hash(checkout)
    if not target.is_dir():
        with locked("debs"):
            if not target.is_dir():
                build_into(target, checkout)
    return sorted(target.glob("*.deb"))


def sources(checkout: Path, *, whole: bool = False) -> Iterator[Path]:
    """The files that go into a build, as paths relative to the checkout, in a fixed order."""
    for directory, names, files in os.walk(checkout):
        left_out = LEFT_OUT | (NOT_BUILT if Path(directory) == checkout and not whole else set())
        names[:] = sorted(n for n in names if n not in left_out and not n.endswith(LEFT_OUT_ENDS))
        for name in sorted(files):
            if name not in left_out and not name.endswith(LEFT_OUT_ENDS):
                yield (Path(directory) / name).relative_to(checkout)


def source_hash(checkout: Path = CHECKOUT) -> str:
    digest = hashlib.sha256()
    for path in sources(checkout):
        file = checkout / path
        mode = file.lstat().st_mode
        content = str(file.readlink()).encode() if stat.S_ISLNK(mode) else file.read_bytes()
        digest.update(f"{path}\0{mode & 0o111:o}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def build_into(target: Path, checkout: Path = CHECKOUT, way: Way = ORDINARY) -> None:
    """Build, and put what came of it into a directory that is made when all went well."""
    began = time.monotonic()
    print("building the package on Debian 13 …", file=sys.stderr, flush=True)
    lowers = root_layers("full")
    scratch = Path(tempfile.mkdtemp(prefix="build.", dir=cache_dir()))
    try:
        upper = scratch / "upper"
        copy = upper / way.directory.lstrip("/")
        for path in sources(checkout, whole=way.whole):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / path, copy / path, follow_symlinks=False)
        script = f"set -e\ncd {way.directory}\n{way.command}"
        result = overlay_run(lowers, upper, ["sh", "-c", script])
        if result.returncode != 0:
            log = checkout / "build" / "deb.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text(result.stdout)
            tail = "\n".join(result.stdout.splitlines()[-40:])
            raise BuildError(f"the package was not built; the whole log is {log}\n{tail}")
        with built_aside(target) as aside:
            (aside / "build.log").write_text(result.stdout)
            for file in copy.parent.iterdir():
                if file.is_file():
                    shutil.copy2(file, aside)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    try:
        debs = build_debs()
    except (BuildError, RootError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    for file in debs[0].parent.iterdir():
        shutil.copy2(file, build)
    for deb in debs:
        print(build / deb.name)
    return 0
