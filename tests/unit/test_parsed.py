"""Job files that did not change are not parsed again, and one that did always is."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from outcomed import config, parsed, schema
from outcomed.config import Loaded, Problem
from outcomed.jobfiles import Source
from outcomed.model import Job
from outcomed.paths import Paths

JOB = "description: Nightly\noutcome:\n  - artifact: /srv/a\n    min_size: 100\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in ("etc/jobs.d", "state", "run"):
        (tmp_path / name).mkdir(parents=True)
    return Paths(
        config=tmp_path / "etc",
        state=tmp_path / "state",
        runtime=tmp_path / "run",
        vendor=tmp_path / "vendor",
    )


@pytest.fixture
def parsings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of jobs whose files were really parsed."""
    names: list[str] = []
    load_job = schema.load_job

    def counted(source: Source, defaults: schema.Defaults, problems: list[Problem]) -> Job | None:
        names.append(source.name)
        return load_job(source, defaults, problems)

    monkeypatch.setattr(schema, "load_job", counted)
    return names


def load(paths: Paths) -> Loaded:
    """As the daemon does, and the same as without what was kept."""
    loaded = config.load(paths, kept=paths.parsed)
    assert loaded == config.load(paths)
    return loaded


def job(paths: Paths, name: str, text: str = JOB) -> Path:
    file = paths.config / "jobs.d" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def read_again(paths: Paths, parsings: list[str]) -> set[str]:
    """Which jobs were parsed, besides for the comparison."""
    parsings.clear()
    config.load(paths, kept=paths.parsed)
    names = set(parsings)
    load(paths)
    return names


def test_files_that_did_not_change_are_parsed_once(paths: Paths, parsings: list[str]) -> None:
    for number in range(5):
        job(paths, f"job-{number}.yaml")
    assert read_again(paths, parsings) == {f"job-{number}" for number in range(5)}
    assert read_again(paths, parsings) == set()
    job(paths, "new.yaml")
    assert read_again(paths, parsings) == {"new"}
    (paths.config / "jobs.d" / "new.yaml").unlink()
    assert read_again(paths, parsings) == set()
    assert "new" not in paths.parsed.read_text()


def test_change_that_no_time_or_size_shows_is_seen(paths: Paths, parsings: list[str]) -> None:
    file = job(paths, "backup.yaml")
    read_again(paths, parsings)
    before = file.stat()
    with file.open("r+") as opened:
        opened.write(JOB.replace("100", "900"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    assert load(paths).config.jobs[0].outcome[0].min_size == 900  # type: ignore[union-attr]


CHANGES: dict[str, Callable[[Paths], object]] = {
    "drop-in": lambda paths: job(paths, "backup.yaml.d/a.yaml", "severity: warning\n"),
    "defaults": lambda paths: (paths.config / "outcomed.yaml").write_text(
        "defaults: {alerts: {after: 3}}\n"
    ),
    "main file": lambda paths: job(paths, "backup.yaml", JOB + "severity: warning\n"),
    "broken": lambda paths: job(paths, "backup.yaml", JOB + "nonsense: 1\n"),
    "mask": lambda paths: (
        (paths.config / "jobs.d/backup.yaml").unlink(),
        (paths.config / "jobs.d/backup.yaml").symlink_to("/dev/null"),
    ),
    "kept is torn": lambda paths: paths.parsed.write_bytes(paths.parsed.read_bytes()[:-9]),
    "kept is altered": lambda paths: paths.parsed.write_bytes(
        paths.parsed.read_bytes().replace(b"Nightly", b"Monthly")
    ),
    "kept is empty": lambda paths: paths.parsed.write_bytes(b""),
    "kept is gone": lambda paths: paths.parsed.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_in_force(paths: Paths, parsings: list[str], change: str) -> None:
    job(paths, "backup.yaml")
    read_again(paths, parsings)
    CHANGES[change](paths)
    load(paths)
    load(paths)


def test_another_program_reads_anew(
    paths: Paths, parsings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job(paths, "backup.yaml")
    read_again(paths, parsings)
    monkeypatch.setattr(parsed, "_program", lambda: "another version")
    assert read_again(paths, parsings) == {"backup"}


def test_warning_is_said_each_time(paths: Paths, parsings: list[str]) -> None:
    job(paths, "empty.yaml", "")
    for _ in range(2):
        assert [problem.severity for problem in load(paths).problems] == ["warning"]


def test_any_series_of_edits_is_in_force_after_each(paths: Paths) -> None:
    chance = random.Random(4)
    names = [f"job-{number}.yaml" for number in range(4)]
    texts = [JOB, JOB.replace("100", "900"), "", "outcome: [}\n", "severity: warning\n"]
    for _ in range(60):
        name, text = chance.choice(names), chance.choice(texts)
        if chance.random() < 0.2:
            (paths.config / "jobs.d" / name).unlink(missing_ok=True)
        else:
            job(paths, name, text)
        load(paths)
