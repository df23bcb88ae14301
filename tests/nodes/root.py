"""Make the Debian 13 roots that nodes boot from, once, and keep them.

Layers, each an overlay on the one below, so that a test says how much it takes for granted:

``bare``     systemd and a few tools, none of our dependencies, not even Python; what the
             dependencies need is in apt's archive, so that ``apt-get install ./outcomed.deb`` works
             without a network.
``runtime``  bare and our dependencies: installing the package takes two seconds. The default.
``full``     runtime and what builds and tests: debhelper, lintian, piuparts, pytest, PostgreSQL.
``machine``  runtime and a kernel, for a virtual machine.

A layer is known by the hash of everything that went into it, is built aside and renamed: a
half-built one is never used. Everything is mounted in a mount namespace of its own, so nothing
stays mounted, however we end.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"

BARE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    # Users' managers: pam_systemd makes the session, dbus-user-session its bus.
    "libpam-systemd",
    "dbus-user-session",
    "bzip2",
    "ca-certificates",
    "curl",
    "gzip",
    "iproute2",
    "less",
    "nftables",
    "procps",
    "strace",
    "tar",
    "tzdata",
    "util-linux",
    "xz-utils",
    "zstd",
)

# What the package depends on. tests/package installs it on `bare` with nothing but these in reach,
# which is how a dependency that debian/control forgot is found.
RUNTIME_PACKAGES = (
    "python3",
    "python3-isal",
    "python3-msgspec",
    "python3-pystemd",
    "python3-re2",
    "python3-requests",
    "python3-simpleeval",
    "python3-systemd",
    "python3-yaml",
    "python3-zstandard",
)

FULL_PACKAGES = (
    # to build the package
    "build-essential",
    "debhelper",
    "dh-python",
    "dh-sequence-installsysusers",
    "fakeroot",
    "lintian",
    "man-db",
    "pybuild-plugin-pyproject",
    "python3-all",
    "python3-setuptools",
    "python3-shtab",
    "scdoc",
    # to test it
    "autopkgtest",
    "bash-completion",
    "faketime",
    "locales",
    "monitoring-plugins-basic",
    "piuparts",
    "python3-hypothesis",
    "python3-pytest",
    "python3-pytest-xdist",
    "postgresql-17",
    "sqlite3",
    "zsh",
    # what artifacts are made with
    "7zip",
    "busybox",
    "jq",
    "lbzip2",
    "libarchive-tools",
    "pbzip2",
    "pigz",
    "pixz",
    "python3-lz4",
    "unzip",
    "zip",
)

# Timers of the distribution that would start something in the middle of a test, and consoles
# that nobody sits at. A test that wants one enables it.
QUIET = """
systemctl disable --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer || true
systemctl disable --quiet e2scrub_all.timer fstrim.timer nftables.service || true
systemctl mask --quiet console-getty.service getty.target systemd-firstboot.service
mkdir -p /var/log/journal
rm -f /etc/machine-id && : > /etc/machine-id
"""

POSTGRES = """
mkdir -p /etc/postgresql-common/createcluster.conf.d
# The cluster is made here, where its four seconds are spent once, and runs only in a test that
# starts it.
printf "start_conf = 'manual'\\n" > /etc/postgresql-common/createcluster.conf
"""

# The kernel alone. It has in it what finds its disk; an initrd, and a udev that loads a module for
# whatever there is, would be most of the boot of a machine that emulates its processor.
KERNEL = r"""
cd /var/tmp
apt-get -qq download "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*: linux-/linux-/p')"
dpkg-deb --extract linux-image-*.deb /
rm linux-image-*.deb
depmod "$(ls /usr/lib/modules)"
"""

APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends"


class RootError(Exception):
    """A root could not be made."""


@dataclass(frozen=True)
class Layer:
    """One step of the way from nothing to a root."""

    name: str
    below: str | None
    packages: tuple[str, ...]
    before: str = ""
    after: str = ""


LAYERS: Mapping[str, Layer] = {
    layer.name: layer
    for layer in (
        Layer(
            "bare",
            None,
            BARE_PACKAGES,
            after=f"{APT} update\n{APT} install --download-only {' '.join(RUNTIME_PACKAGES)}\n"
            f"{QUIET}",
        ),
        Layer("runtime", "bare", RUNTIME_PACKAGES),
        Layer(
            "machine",
            "runtime",
            ("kmod",),
            after=KERNEL,
        ),
        Layer(
            "full",
            "runtime",
            FULL_PACKAGES,
            before=POSTGRES,
            # The locale is one whose letters are not English, for the package to be built in.
            after="systemctl disable --quiet postgresql.service man-db.timer\n"
            "localedef -i tr_TR -f UTF-8 tr_TR.UTF-8\n"
            "rm -f /var/cache/apt/archives/*.deb",
        ),
    )
}


def cache_dir() -> Path:
    """Where roots, built packages and the nodes' overlays live."""
    named = os.environ.get("OUTCOMED_CACHE")
    base = Path(named) if named else Path(tempfile.gettempdir()) / f"outcomed-cache-{os.getuid()}"
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise RootError(f"{base} belongs to somebody else; set OUTCOMED_CACHE to another directory")
    return base.resolve()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time builds a thing; the others wait, and then find it built."""
    directory = cache_dir() / "locks"
    directory.mkdir(exist_ok=True)
    with (directory / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def built_aside(target: Path) -> Iterator[Path]:
    """A directory that takes its final name only when the block ended well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    aside.chmod(0o755)
    try:
        yield aside
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# Arguments: overlay options (or nothing: the directory itself), the root, online or offline, the
# command. /run and /tmp of the outside stay outside. PostgreSQL makes its cluster only where there
# is a /proc.
ENTER = """
set -e
if [ -n "$1" ]; then mount -t overlay overlay -o "$1" "$2"; else mount --bind "$2" "$2"; fi
mount -t proc proc "$2/proc"
mount --rbind /dev "$2/dev"
mount -t sysfs -o ro sysfs "$2/sys" 2>/dev/null || true
mount -t tmpfs tmpfs "$2/run"
mount -t tmpfs -o mode=1777 tmpfs "$2/tmp"
if [ "$3" = online ]; then mount -o bind,ro "$(realpath /etc/resolv.conf)" "$2/etc/resolv.conf"; fi
root=$2
shift 3
exec chroot "$root" "$@"
"""


def overlay_options(
    lowers: Sequence[Path], upper: Path, work: Path, *, durable: bool = False
) -> str:
    """The options of one overlay mount; `lowers` with the topmost first.

    Without `durable`, fsync of the overlay returns at once: tests do not cut the power.
    """
    for path in (*lowers, upper, work):
        if set(str(path)) & set(":,\\"):
            raise RootError(f"{path}: an overlay cannot be made of a path with : or , in it")
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
    return options if durable else f"{options},volatile"


def overlay_run(
    lowers: Sequence[Path],
    upper: Path,
    argv: Sequence[str],
    *,
    online: bool = False,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root that is not booted; what it writes stays in `upper`.

    The command gets pid and mount namespaces of its own, which take its mounts and any process that
    it left behind with them, and unless `online` a network without anything in it.
    """
    scratch = Path(tempfile.mkdtemp(prefix=".enter.", dir=upper.parent))
    try:
        work, merged = scratch / "work", scratch / "merged"
        work.mkdir()
        merged.mkdir()
        options = overlay_options(lowers, upper, work)
        return _enter(options, merged, argv, online=online, text=text)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _enter(
    options: str, root: Path, argv: Sequence[str], *, online: bool, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    network = "online" if online else "offline"
    return subprocess.run(
        [
            *(unshare if online else [*unshare, "--net"]),
            *["sh", "-c", ENTER, "sh", options, str(root), network, *argv],
        ],
        env=clean_environment(),
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """What a root sees of our environment: nothing but the way to the network."""
    kept = {k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy")}
    return kept | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
    }


def layer_key(name: str) -> str:
    """The hash of all that decides what is in a layer, so that a changed list is a new layer."""
    layer = LAYERS[name]
    below = layer_key(layer.below) if layer.below else f"{SUITE} {ENTER}"
    recipe = "\n".join((below, *layer.packages, layer.before, layer.after))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def root_layers(name: str = "runtime", *, deb: Path | None = None) -> list[Path]:
    """The directories of a root for an overlay's `lowerdir`, topmost first; built if need be.

    With `deb`, one more layer on top in which that package is installed: that costs its two seconds
    once for a build of the package, not once for a test.
    """
    layer = LAYERS[name]
    lowers = root_layers(layer.below) if layer.below else []
    target = cache_dir() / "roots" / f"{name}-{layer_key(name)}"
    if not target.is_dir():
        with locked("roots"):
            if not target.is_dir():
                _build(layer, lowers, target)
    lowers = [target, *lowers]
    return lowers if deb is None else [_package_layer(name, lowers, deb), *lowers]


def _build(layer: Layer, lowers: Sequence[Path], target: Path) -> None:
    began = time.monotonic()
    print(f"making the Debian 13 root “{layer.name}”, once …", flush=True)
    with built_aside(target) as aside:
        if lowers:
            install = f"{APT} update\n{APT} install {' '.join(layer.packages)}"
            script = f"set -e\n{layer.before}\n{install}\n{layer.after}"
            _checked(overlay_run(lowers, aside, ["sh", "-c", script], online=True), layer.name)
        else:
            _bootstrap(layer, aside)
    print(f"made “{layer.name}” in {time.monotonic() - began:.0f} s", flush=True)


def _bootstrap(layer: Layer, aside: Path) -> None:
    result = subprocess.run(
        [
            *["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory"],
            # A test root is thrown away: syncing every unpacked file would be most of the time.
            "--dpkgopt=force-unsafe-io",
            f"--include={','.join(layer.packages)}",
            *[SUITE, str(aside)],
        ],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    _checked(result, layer.name)
    # mmdebstrap leaves our own resolver and name in it: what a node knows of the network is its
    # loopback.
    for name in ("resolv.conf", "hostname"):
        (aside / "etc" / name).unlink(missing_ok=True)
        (aside / "etc" / name).write_text("")
    script = f"set -e\n{layer.before}\n{layer.after}"
    _checked(_enter("", aside, ["sh", "-c", script], online=True), layer.name)


def _package_layer(name: str, lowers: Sequence[Path], deb: Path) -> Path:
    content = hashlib.sha256(deb.read_bytes()).hexdigest()[:16]
    packages = cache_dir() / "packages"
    target = packages / f"{name}-{layer_key(name)}-{content}"
    with locked("packages"):
        if target.is_dir():
            os.utime(target)
            return target
        forget_unused(packages)
        with built_aside(target) as aside:
            (aside / "outcomed.deb").write_bytes(deb.read_bytes())
            install = f"{APT} install /outcomed.deb && rm /outcomed.deb"
            _checked(overlay_run(lowers, aside, ["sh", "-c", install]), f"{name} with {deb.name}")
    return target


def forget_unused(directory: Path, hours: int = 24) -> None:
    """Each change of the source makes another entry; those of yesterday are nobody's any more."""
    for entry in directory.glob("*") if directory.is_dir() else ():
        if entry.stat().st_mtime < time.time() - hours * 3600:
            shutil.rmtree(entry, ignore_errors=True)


def _checked(result: subprocess.CompletedProcess[str], what: str) -> None:
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-30:])
        raise RootError(f"making the root “{what}” failed ({result.returncode}):\n{tail}")
