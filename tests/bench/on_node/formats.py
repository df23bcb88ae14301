"""On a node: how much CPU an artifact takes to read, beside its tool's own test. Prints JSON.

Arguments: where the package's source is, and how many megabytes of text to make artifacts of.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

READ = (
    "import sys, time; sys.path.insert(0, sys.argv[1]); from outcomed import formats;"
    "began = time.process_time();"
    "found = formats.read_once(open(sys.argv[2], 'rb'), sys.argv[3:], digest={digest});"
    "assert all(one.state == 'whole' for one in found.by_format.values()), found;"
    "print(time.process_time() - began)"  # without what it takes to start Python
)
TEXT = "base64 -w 30 /dev/urandom | sed 's/$/ some words that every line has/'"
DATABASE = (
    "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t (b); INSERT INTO t "
    "SELECT value, printf('%040d', value * 7919) FROM generate_series(1, {rows})"
)
# A server that lives as long as it takes to fill a table and dump it.
DUMP = """
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
chmod 755 . && install -d -o postgres pg && chmod 644 text
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@" >>log; }
as initdb -D pg/data -A trust --locale=C.UTF-8
as pg_ctl -D pg/data -w -o "-c listen_addresses= -c fsync=off -k $PWD/pg" start
export PGHOST=$PWD/pg
as psql -qXc 'CREATE TABLE t (line text)' -c '\\copy t FROM text' postgres
as pg_dump -Fc -f pg/x postgres
as pg_ctl -D pg/data -m immediate stop
mv pg/x x && rm -r pg
"""
# What makes it of the file `text`, and the tool's own test.
FORMATS = {
    "gzip": ("gzip -k text; mv text.gz x", "gzip -t <x"),
    "zstd": ("zstd -q text -o x", "zstd -qt <x"),
    "xz": ("xz -2 -c text >x", "xz -t <x"),
    "bzip2": ("bzip2 -c text >x", "bzip2 -t <x"),
    "tar": ("tar -cf x text", "tar -tf x >log"),
    "zip": ("zip -q x.zip text; mv x.zip x", "unzip -tqq x"),
    "json": ("jq -cR '{line: ., ok: true}' text >x", "jq empty x"),
    "sqlite": ("sqlite3 x <sql", "sqlite3 x 'PRAGMA integrity_check'"),
    "pg_custom": (DUMP, "pg_restore --file=/dev/null x"),
}


def timed(argv: Sequence[str]) -> tuple[float, int]:
    """Seconds of a core, which others on the machine do not change, and kilobytes at the peak."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    used = float(said) if argv[0] == sys.executable else usage.ru_utime + usage.ru_stime
    return used, usage.ru_maxrss


def measure(source: str, name: str, tool: str) -> dict[str, float]:
    size = os.stat("x").st_size / 1e6
    shell = ["sh", "-c", tool]
    ours = [sys.executable, "-c", READ.format(digest=False), source, "x", name]
    # By turns, each twice: the first one reads what is not in memory yet.
    seconds = [(timed(shell)[0], *timed(ours)) for _ in range(2)]
    theirs, own, peak = (min(column) for column in zip(*seconds, strict=True))
    return {"mb": size, "tool": size / theirs, "reader": size / own, "peak_mb": peak / 1e3}


def main() -> None:
    source, megabytes = sys.argv[1], int(sys.argv[2])
    found = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        os.chdir(work)
        subprocess.run(["sh", "-c", f"{TEXT} 2>/dev/null | head -c {megabytes}M >text"], check=True)
        with open("sql", "w") as sql:
            sql.write(DATABASE.format(rows=megabytes * 8000))
        for name, (make, tool) in FORMATS.items():
            subprocess.run(["sh", "-ec", f"rm -f x; {make}"], check=True)
            found[name] = measure(source, name, tool)
        hashed = [sys.executable, "-c", READ.format(digest=True), source, "text"]
        size = os.stat("text").st_size / 1e6
        own, peak = timed(hashed)
        found["sha256"] = {
            "mb": size,
            "tool": size / timed(["sha256sum", "text"])[0],
            "reader": size / own,
            "peak_mb": peak / 1e3,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
