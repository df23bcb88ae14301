"""Jobs that say they worked and did not: each of these has happened to somebody."""

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.conftest import Site, Story

ROWS = 20_000


@pytest.fixture(scope="module")
def root() -> str:
    return "full"  # PostgreSQL


@pytest.fixture(scope="module")
def database(shared_site: Site) -> Iterator[None]:
    """A shop with orders in it, on a real PostgreSQL 17."""
    node = shared_site.node
    node.systemctl("start", "postgresql@17-main.service")
    node.run("createdb shop", user="postgres")
    orders = (
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        f"INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, {ROWS}) AS n;"
    )
    node.run(["psql", "--quiet", "shop", "--command", orders], user="postgres")
    yield
    node.systemctl("stop", "postgresql@17-main.service")


def dump_job(site: Site, name: str, outcome: str) -> None:
    """The usual wrapper: dump, compress, move, and say that all is well."""
    site.node.write(f"/etc/{name}.options", "")
    site.job(
        name,
        f"""
        mkdir -p /srv/backups
        pg_dump $(cat /etc/{name}.options) shop | gzip > /srv/backups/{name}.tmp
        mv /srv/backups/{name}.tmp /srv/backups/{name}.sql.gz
        echo backup completed successfully
        """,
        outcome,
        service="User=postgres\nPermissionsStartOnly=yes\nExecStartPre=install -d -o postgres"
        " /srv/backups\n",
    )


@pytest.mark.usefixtures("database")
def test_empty_dump_is_far_below_its_floor(site: Site, story: Callable[[str], Story]) -> None:
    dump_job(site, "small-dump", "- artifact: /srv/backups/small-dump.sql.gz\n  min_size: 100K\n")
    dump = story("small-dump")
    dump.stays_quiet()
    site.node.write("/etc/small-dump.options", "--schema-only")
    told = dump.goes_wrong(r"small-dump\.sql\.gz: \d+B, expected at least 100\.0K")
    artifact = told["findings"][1]
    assert artifact["state"] == "broken"
    assert f": {artifact['evidence']['size']}B," in told["summary"]
    site.node.write("/etc/small-dump.options", "")
    dump.is_put_right()


@pytest.mark.usefixtures("database")
def test_empty_dump_is_whole_and_lists_no_table_data(
    site: Site, story: Callable[[str], Story]
) -> None:
    dump_job(site, "bare-dump", "- artifact: /srv/backups/bare-dump.sql.gz\n  format: pg_dump\n")
    dump = story("bare-dump")
    dump.stays_quiet()
    site.node.write("/etc/bare-dump.options", "--schema-only")
    told = dump.goes_wrong(r"a complete dump without table data: \d tables?, no row")
    assert told["findings"][1]["evidence"]["rows"] == 0
    site.node.write("/etc/bare-dump.options", "")
    dump.is_put_right()
    assert f"{ROWS:,} rows in 1 table" in site.messages("bare-dump")[-1]["data"]["summary"]


@pytest.mark.usefixtures("database")
def test_empty_dump_of_a_pg_dump_that_failed_in_a_pipe(
    site: Site, story: Callable[[str], Story]
) -> None:
    dump_job(site, "no-dump", "- artifact: /srv/backups/no-dump.sql.gz\n  format: pg_dump\n")
    site.node.write("/etc/no-dump.options", "--table=gone")
    dump = story("no-dump")
    dump.goes_wrong(r"no-dump\.sql\.gz: the gzip stream is whole and holds not one byte")
    site.node.write("/etc/no-dump.options", "")
    dump.is_put_right()


def test_empty_dump_that_is_an_empty_file(site: Site, story: Callable[[str], Story]) -> None:
    site.node.write("/srv/source.txt", "")
    site.job(
        "empty-file",
        "cp /srv/source.txt /srv/empty-file.txt",
        "- artifact: /srv/empty-file.txt\n  min_size: 1\n",
    )
    story("empty-file").goes_wrong(r"/srv/empty-file\.txt: 0B, expected at least 1B")
    site.node.write("/srv/source.txt", "not much, but something\n")
    story("empty-file").is_put_right()


@pytest.mark.parametrize(
    ("form", "command", "sentence"),
    [
        ("gzip", "gzip < /srv/big/file > {out} || true", "gzip stream ends early"),
        ("zstd", "zstd -q -c /srv/big/file > {out} || true", "zstd stream ends early"),
        ("tar", "tar -cf {out} -C /srv big || true", "archive ends inside"),
    ],
)
def test_truncated_archive_on_a_full_disk(
    site: Site, story: Callable[[str], Story], form: str, command: str, sentence: str
) -> None:
    name, disk = f"full-disk-{form}", f"/mnt/{form}"
    site.node.run(f"mkdir -p /srv/big {disk} && mount -t tmpfs -o size=256k small {disk}")
    site.node.run("test -e /srv/big/file || head -c 1M /dev/urandom > /srv/big/file")
    out = f"{disk}/archive"
    script = f"rm -f {out}\n{command.format(out=out)}\necho archive complete"
    site.job(name, script, f"- artifact: {out}\n  format: {form}\n  min_size: 100K\n")
    archive = story(name)
    archive.goes_wrong(sentence)
    site.node.run(f"mount -o remount,size=16M {disk}")
    archive.is_put_right()


POSTMAN = """
#!/usr/bin/python3
import smtplib, sys
sent, generated = 0, 0
for number in range(347):
    generated += 1
    try:
        with smtplib.SMTP("127.0.0.1", 2525) as server:
            server.sendmail("shop@example.com", ["you@example.com"], f"Invoice {number}")
        sent += 1
    except OSError:
        pass
"""

MAIL_SERVER = """
import socketserver

class Server(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 hello\\r\\n")
        in_data = False
        for line in self.rfile:
            word = line.strip().upper()
            if in_data and word != b".":
                continue
            in_data = word == b"DATA"
            answer = b"354 go on" if in_data else b"221 bye" if word == b"QUIT" else b"250 fine"
            self.wfile.write(answer + b"\\r\\n")

socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Server).serve_forever()
"""


@pytest.mark.parametrize("way", ["line", "outcomectl"])
def test_swallowed_mail(site: Site, story: Callable[[str], Story], way: str) -> None:
    if way == "outcomectl" and site.node.run("outcomectl report --help", check=False).returncode:
        pytest.skip("this package has no outcomectl report")
    name = f"invoices-{way}"
    report = (
        "import json; print('OUTCOME', json.dumps({'generated': generated, 'sent': sent}))"
        if way == "line"
        else "import subprocess\nsubprocess.run(['outcomectl', 'report', f'sent={sent}',"
        " f'generated={generated}'], check=True)"
    )
    site.job(name, POSTMAN.lstrip() + report + "\n", "- report: sent == generated and sent > 0")
    invoices = story(name)
    invoices.goes_wrong(
        "sent == generated and sent > 0 does not hold: generated=347, sent=0", reason="report"
    )
    server = site.node.popen(["python3", "-c", MAIL_SERVER])
    site.node.wait_for(lambda: ":2525 " in site.node.run("ss -ltn").stdout, what="a mail server")
    invoices.is_put_right()
    server.kill()
    server.wait()


# The shell's own `set -C` refuses to overwrite, and ends with 2: "cannot create …: File exists".
NO_CLOBBER = "set -C\ntar -cC /srv/data . > /srv/{name}.tar\n"


def archive_job(site: Site, name: str, already: str, service: str = "") -> Story:
    site.node.run("mkdir -p /srv/data && head -c 20000 /dev/urandom > /srv/data/file")
    site.job(
        name,
        NO_CLOBBER.format(name=name),
        f"- artifact: /srv/{name}.tar\n  min_size: 10K\n- duration: {{at_least: 1us}}\n",
        top=f"already_done:\n  - {already}",
        service=service,
    )
    return Story(site, name)


@pytest.mark.parametrize(
    ("way", "already"), [("text", "journal: 'File exists'"), ("status", "exit_status: 2")]
)
def test_already_there_with_its_proof_is_good(site: Site, way: str, already: str) -> None:
    name = f"there-by-{way}"
    archive = archive_job(site, name, already, "SuccessExitStatus=2\n")
    archive.stays_quiet()
    archive.stays_quiet("already-done", "proof-holds")
    site.node.run(f"truncate --size=100 /srv/{name}.tar")
    archive.goes_wrong("said that the work exists already, but .*: 100B, expected at least 10.0K")
    site.node.run(f"rm /srv/{name}.tar")
    archive.is_put_right()
    archive.stays_quiet("already-done", "proof-holds")


def test_already_there_in_a_unit_that_systemd_counts_as_failed(site: Site) -> None:
    archive = archive_job(site, "there-failed", "exit_status: 2")
    archive.stays_quiet()
    state = site.run("there-failed", exits=1)
    site.say("there-failed", state, "already-done", "proof-holds")
    assert state["incident"] is None
    assert "outcome@there-failed.service" not in site.failed_units()
    assert not site.messages("there-failed")


def test_stale_artifact(site: Site, story: Callable[[str], Story]) -> None:
    site.node.run("touch --date='30 hours ago' /srv/stale.tar")
    site.job(
        "stale",
        "test ! -e /srv/source-is-back || echo fresh > /srv/stale.tar",
        "- artifact: /srv/stale.tar\n",
    )
    stale = story("stale")
    stale.goes_wrong(r"/srv/stale\.tar: not written by this run, 1 (d|day) 6 h older")
    site.node.write("/srv/source-is-back", "")
    stale.is_put_right()


def test_wrong_place(site: Site, story: Callable[[str], Story]) -> None:
    site.node.run("mkdir -p /srv/offsite")
    site.job(
        "offsite",
        "echo much data > /srv/offsite/backup",
        "- artifact: /srv/offsite/backup\n  on_filesystem: /srv/offsite\n",
    )
    offsite = story("offsite")
    offsite.goes_wrong(r"/srv/offsite/backup: nothing is mounted on /srv/offsite")
    site.node.run("mount -t tmpfs offsite /srv/offsite")
    offsite.is_put_right()


def test_too_fast(site: Site, story: Callable[[str], Story]) -> None:
    site.node.run("mkdir -p /srv/inbox")
    site.job(
        "inbox",
        "for file in $(ls /srv/inbox); do gzip -c /srv/inbox/$file >/dev/null; sleep 0.2; done",
        "- duration: {at_least: 1s}\n",
    )
    inbox = story("inbox")
    told = inbox.goes_wrong(r"ran [\d.]+ (ms|s), expected at least 1s", reason="duration")
    assert told["findings"][1]["evidence"]["duration_s"] < 1
    site.node.run("cd /srv/inbox && touch a b c d e f")
    inbox.is_put_right()
