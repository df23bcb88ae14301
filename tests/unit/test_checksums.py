"""The sum of a file, in the usual spellings of a sidecar."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed.checksums import Stated, sidecar_names, stated_for

SUM = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
PATH = "/srv/backups/shop.sql.gz"


@pytest.mark.parametrize(
    "text",
    [
        f"{SUM}\n",
        f"{SUM}",
        f"  {SUM.upper()}\r\n",
        f"{SUM}  shop.sql.gz\n",
        f"{SUM} *shop.sql.gz\n",
        f"{SUM} shop.sql.gz\n",
        f"{SUM}\tshop.sql.gz\n",
        f"\ufeff{SUM}  shop.sql.gz\r\n",
        f"{SUM}  ./shop.sql.gz\n",
        f"{SUM}  /srv/backups/shop.sql.gz\n",
        f"{SUM}  backups/shop.sql.gz\n",
        f"{SUM}  /mnt/elsewhere/shop.sql.gz\n",  # made where the disk was mounted otherwise
        f"SHA256 (shop.sql.gz) = {SUM}\n",
        f"SHA2-256(shop.sql.gz)= {SUM}\n",
        f"{OTHER}  another.gz\n{SUM}  shop.sql.gz\n{OTHER}  last.gz\n",
        f"{OTHER}  old/x-shop.sql.gz\n{SUM}  shop.sql.gz\n",
        f"{SUM}  shop.sql.gz\n{SUM}  ./shop.sql.gz\n",
        f"{SUM}  shop.sql.gz\0{OTHER}  another.gz\0",
        f"# made by night\n\n{SUM}  shop.sql.gz\n",
        f"MD5 (shop.sql.gz) = {'a' * 32}\nSHA256 (shop.sql.gz) = {SUM}\n",
        f"-----BEGIN PGP SIGNED MESSAGE-----\n\n{SUM}  shop.sql.gz\n-----BEGIN PGP SIGNATURE-----",
    ],
)
def test_sum_is_found_in_every_usual_spelling(text: str) -> None:
    assert stated_for(PATH, text.encode()) == Stated(sha256=SUM)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("sha256sum: shop.sql.gz: No such file or directory\n", "is no list of checksums"),
        (f"{SUM}  another.gz\n", "names another.gz, not shop.sql.gz"),
        (f"{SUM}  a\n{SUM}  b\n", "names 2 others, not shop.sql.gz"),
        (f"{SUM}  old/shop.sql.gz\n{SUM}  b\n", "names 2 others, not shop.sql.gz"),
        (f"{SUM}  shop.sql.gz.part\n", "names shop.sql.gz.part, not shop.sql.gz"),
        (f"\\{SUM}  a\\nb\n", r"names a\nb, not shop.sql.gz"),
        (f"{SUM}  shop.sql.gz\n{OTHER}  shop.sql.gz\n", "has 2 different sums for shop.sql.gz"),
        ("a" * 32 + "  shop.sql.gz\n", "has no SHA-256 of shop.sql.gz, but MD5"),
        ("a" * 128, "has no SHA-256 of shop.sql.gz, but SHA-512"),
        (
            f"BLAKE2b (shop.sql.gz) = {'a' * 128}",
            "has no SHA-256 of shop.sql.gz, but BLAKE2b",
        ),
        (SUM[:50] + "  shop.sql.gz\n", "has no SHA-256 of shop.sql.gz, but a sum of 50 digits"),
        (
            f"SHA256 (shop.sql.gz) = {SUM[:9]}",
            "has no SHA-256 of shop.sql.gz, but a sum of 9 digits",
        ),
    ],
)
def test_sidecar_without_the_sum_says_why(text: str, fault: str) -> None:
    assert stated_for(PATH, text.encode()) == Stated(fault=fault)


@given(st.binary(max_size=300))
def test_sidecar_of_any_bytes_never_raises(data: bytes) -> None:
    stated = stated_for(PATH, data)
    assert bool(stated.sha256) != bool(stated.fault)


def test_sidecars_are_looked_for_beside_the_file_first() -> None:
    names = sidecar_names("x.gz")
    assert names[:2] == ("x.gz.sha256", "x.gz.sha256sum")
    assert "SHA256SUMS" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name", ["plain", "with space", "a\nb", "back\\slash", "ü", "*star", "(x) = y"]
)
@pytest.mark.parametrize(
    "command",
    ["sha256sum", "sha256sum -b", "sha256sum --tag", "sha256sum -z", "openssl dgst -sha256"],
)
def test_what_the_tools_write_is_read(name: str, command: str, tmp_path: Path) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not installed")
    if command.startswith("openssl") and "\n" in name:
        pytest.skip("openssl writes such a name as it is")
    for other in ("first", name):
        (tmp_path / other).write_text(other)
    argv = [*command.split(), *(["--"] if command.startswith("sha") else []), "first", name]
    sums = subprocess.run(argv, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout
    own = hashlib.sha256(name.encode()).hexdigest()
    assert stated_for(str(tmp_path / name), sums) == Stated(sha256=own)
