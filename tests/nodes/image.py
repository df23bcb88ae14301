"""The disk and the kernel of a virtual machine, made from the layers of a node's root.

Kept by what they were made from. A machine writes to an overlay of the disk, never to the disk.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.nodes.root import (
    RootError,
    built_aside,
    cache_dir,
    clean_environment,
    forget_unused,
    locked,
    overlay_options,
    root_layers,
)

SIZE = "4G"  # of the file system; the file has holes

AGENT = Path(__file__).with_name("agent.py")

UNIT = r"""
[Unit]
Description=Commands of the test

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/agent.py
# What a test starts may take all the memory, and the way to ask about it stays.
OOMPolicy=continue
OOMScoreAdjust=-900
"""

# What nobody asks for there, and costs a quarter of a boot. logind comes when it is called.
LEFT_OUT = (
    *("dev-hugepages.mount", "dev-mqueue.mount", "run-lock.mount", "sys-fs-fuse-connections.mount"),
    *("sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service"),
    *("modprobe@fuse.service", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service"),
    *("kmod-static-nodes.service", "systemd-modules-load.service", "systemd-random-seed.service"),
    *("systemd-sysctl.service", "systemd-tmpfiles-setup-dev-early.service"),
    *("systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
    *("systemd-creds.socket", "systemd-initctl.socket", "systemd-sysext.socket"),
)

# Arguments: overlay options, the root, the directory of the image, the size of the disk.
# What only apt and the boot loader would look at stays out.
MAKE = """
set -e
mount -t overlay overlay -o "$1" "$2"
cp "$2"/boot/vmlinuz-* "$3/kernel"
rm -rf "$2"/boot/* "$2"/var/cache/apt/* "$2"/var/lib/apt/lists/*
rm -f "$2"/usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service
# Newer than /usr: its caches are the packages' work, not the first boot's.
touch "$2/etc/.updated" "$2/var/.updated"
mkfs.ext4 -q -m 0 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 -d "$2" "$3/disk" "$4"
"""


@dataclass(frozen=True)
class Image:
    """What a machine boots from."""

    disk: Path
    kernel: Path


def image(deb: Path | None = None) -> Image:
    """With the package, if one is given; made if need be."""
    lowers = root_layers("machine", deb=deb)
    recipe = "\n".join([*map(str, lowers), SIZE, UNIT, MAKE, *LEFT_OUT, AGENT.read_text()])
    images = cache_dir() / "images"
    target = images / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    with locked("images"):
        if target.is_dir():
            os.utime(target)
        else:
            # Half a gigabyte each. One that is in use stays open, and so on the disk, for its user.
            forget_unused(images, hours=2)
            _make(lowers, target)
    return Image(target / "disk", target / "kernel")


def _make(lowers: list[Path], target: Path) -> None:
    with built_aside(target) as aside, tempfile.TemporaryDirectory(dir=aside) as scratch:
        upper, work, merged = (Path(scratch) / name for name in ("upper", "work", "merged"))
        for directory in (upper, work, merged):
            directory.mkdir()
        _write_agent(upper)
        options = overlay_options(lowers, upper, work)
        arguments = [options, str(merged), str(aside), SIZE]
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-c", MAKE, "sh", *arguments],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise RootError(f"making the disk of a machine failed:\n{result.stdout}")


def _write_agent(upper: Path) -> None:
    library, system = upper / "usr/local/lib", upper / "etc/systemd/system"
    wants = system / "multi-user.target.wants"
    library.mkdir(parents=True)
    wants.mkdir(parents=True)
    shutil.copyfile(AGENT, library / "agent.py")
    (system / "agent.service").write_text(UNIT)
    (wants / "agent.service").symlink_to("../agent.service")
    for unit in LEFT_OUT:
        (system / unit).symlink_to("/dev/null")
    # Its identity is given to the kernel at each boot.
    (upper / "etc/machine-id").touch()
    (upper / "etc/hostname").touch()
    (upper / "etc/hosts").write_text("127.0.0.1 localhost\n")
