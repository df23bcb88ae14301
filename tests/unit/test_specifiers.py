"""Specifiers stand for what systemd.unit(5) says, and an error says where they do not."""

from __future__ import annotations

import fnmatch
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed.model import BootId, UnitName
from outcomed.specifiers import Host, expand, this_host, unescape, unescape_path

HOST = Host(
    hostname="db1.example.com",
    machine_id="a" * 32,
    boot_id="b" * 32,
    kernel="6.12.0-amd64",
    architecture="x86-64",
    os_release={"ID": "debian", "VERSION_ID": "13"},
)
UNIT = UnitName(r"shop-data\x2ddump@srv-a\x2db.service")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%n", UNIT),
        ("%N", r"shop-data\x2ddump@srv-a\x2db"),
        ("%p", r"shop-data\x2ddump"),
        ("%P", "shop/data-dump"),
        ("%i", r"srv-a\x2db"),
        ("%I", "srv/a-b"),
        ("%j", r"data\x2ddump"),
        ("%J", "data-dump"),
        ("%f", "/srv/a-b"),
        ("%d", f"/run/credentials/{UNIT}"),
        ("%H", "db1.example.com"),
        ("%l", "db1"),
        ("%q", "db1"),
        ("%m", "a" * 32),
        ("%b", "b" * 32),
        ("%v", "6.12.0-amd64"),
        ("%a", "x86-64"),
        ("%o%w", "debian13"),
        ("%W%A%B%M", ""),
        ("%S%C%L%E%t%T%V", "/var/lib/var/cache/var/log/etc/run/tmp/var/tmp"),
        ("%h%u%U%g%G%s", "/rootroot0root0/bin/sh"),
        ("100%%", "100%"),
        ("%%i", "%i"),
        ("%%%l", "%db1"),
        ("no specifier *", "no specifier *"),
        ("/srv/%l-*.gz", "/srv/db1-*.gz"),
    ],
)
def test_specifier_of_an_instance(text: str, expanded: str) -> None:
    assert expand(text, UNIT, host=HOST) == expanded


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("%i", ""), ("%I", ""), ("%p", "db-backup"), ("%j", "backup"), ("%f", "/db/backup")],
)
def test_specifier_of_a_plain_unit(text: str, expanded: str) -> None:
    assert expand(text, UnitName("db-backup.service"), host=HOST) == expanded


@pytest.mark.parametrize("instance", ["a*", "a?", "a[bc]", r"\x2a"])
def test_expanded_value_is_no_glob(instance: str) -> None:
    unit = UnitName(f"backup@{instance}.service")
    path = expand("/srv/%I", unit, host=HOST)
    assert fnmatch.fnmatchcase(f"/srv/{unescape(instance)}", path)
    assert not fnmatch.fnmatchcase("/srv/abc", path)


def test_glob_escaping_can_be_left_out() -> None:
    unit = UnitName("backup@a[b].service")
    assert expand("/srv/%i", unit, host=HOST, glob_safe=False) == "/srv/a[b]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%Z", "unknown specifier %Z"),
        ("%", "a % at the end"),
        ("a%%%", "a % at the end"),
        ("%é", "unknown specifier"),
        ("%y", "in unit files only"),
        ("%c", "in unit files only"),
    ],
)
def test_unknown_specifier_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(text, UNIT, host=HOST)


def test_fact_that_is_hidden_is_refused_and_not_left_empty() -> None:
    with pytest.raises(ValueError, match="the boot ID of this machine is not known"):
        expand("/srv/%b", UNIT, host=Host("db1"))


def test_escapes_become_bytes() -> None:
    assert unescape(r"a\xff-b") == os.fsdecode(b"a\xff/b")
    assert unescape(r"gr\xc3\xbcn") == "grün"


@pytest.mark.parametrize("name", [r"\x0", r"\n", "a\\", r"\xzz", r"\x00", r"\x٣٣"])
def test_what_systemd_escape_never_writes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|not escaped"):
        unescape(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "..", "a-..-b"])
def test_escaped_path_has_one_spelling(name: str) -> None:
    with pytest.raises(ValueError, match="not an escaped path"):
        unescape_path(name)


def test_root_directory_is_a_dash() -> None:
    assert unescape_path("-") == "/"


def test_this_host_knows_itself() -> None:
    host = this_host(BootId("c" * 32))
    assert host.hostname == socket.gethostname()
    assert host.boot_id == "c" * 32
    assert host.kernel == os.uname().release


@given(st.text(max_size=40) | st.text("%niIfjJpP\\x", max_size=20), st.text(max_size=20))
def test_any_text_expands_or_is_a_value_error(text: str, instance: str) -> None:
    try:
        expand(text, UnitName(f"a@{instance}.service"), host=HOST)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either way is right
