#!/bin/sh
# Put on the host what nodes are made with, if it is not there: Debian 12 or 13, as root.
set -eu

if [ "$(id -u)" -ne 0 ]; then
    echo "this target boots machines and has to be run as root (make test does not)" >&2
    exit 1
fi

missing=
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need mmdebstrap mmdebstrap
need systemd-nspawn systemd-container
need nsenter util-linux
need losetup mount
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need mkfs.ext4 e2fsprogs
need python3 python3
# python3 without python3-venv has the module, but cannot put pip into what it makes
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing:$missing; this host has no apt to install them with" >&2
        exit 1
    fi
    echo "installing on this host:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086 # one word a package
    apt-get -qq -y --no-install-recommends install $missing >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "python3 is older than 3.11; Debian 12 or 13 is needed" >&2
    exit 1
}
