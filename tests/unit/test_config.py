"""Configuration files in, one value or located sentences out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outcomed import config, jobfiles, model
from outcomed.errors import UsageError
from outcomed.model import JobName, UnitName
from outcomed.paths import Paths

CONFIGS = Path(__file__).parent.parent / "configs"
MAIN = (
    "sinks: {ops: {type: webhook, url_credential: o}, pager: {type: webhook, url_credential: p}}\n"
)

# Python 3.12 and later warn about any fork beside a thread, and pytest-xdist has one.
may_fork = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Node:
    """The configuration directories of one machine."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(
            config=root / "etc", state=root / "var", runtime=root / "run", vendor=root / "usr"
        )

    def write(self, place: str, text: str | bytes) -> Path:
        """`place` is such as `etc/backup.yaml`, below jobs.d but for outcomed.yaml."""
        where, _, name = place.partition("/")
        root = {"etc": self.paths.config, "run": self.paths.runtime, "usr": self.paths.vendor}
        file = root[where] / (name if name == "outcomed.yaml" else f"jobs.d/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def link(self, place: str, target: str) -> None:
        file = self.write(place, "")
        file.unlink()
        file.symlink_to(target)

    def load(self) -> config.Loaded:
        return config.load(self.paths)

    def job(self, name: str = "backup") -> model.Job:
        loaded = self.load()
        assert loaded.problems == ()
        return {job.name: job for job in loaded.config.jobs}[JobName(name)]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def faults(loaded: config.Loaded) -> list[str]:
    return [problem.fault for problem in loaded.problems]


# --- one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((CONFIGS / "good").glob("*.yaml")), ids=lambda f: f.stem)
def test_good_file_has_no_problem(file: Path) -> None:
    assert config.check(Paths(config=CONFIGS / "good"), [file]) == []


@pytest.mark.parametrize("file", sorted((CONFIGS / "bad").glob("*.yaml")), ids=lambda f: f.stem)
def test_bad_file_says_what_is_expected_of_it(file: Path) -> None:
    problems = config.check(Paths(config=CONFIGS / "good"), [file])
    said = "".join(f"{config.render(problem)}\n" for problem in problems)
    expected = file.with_suffix(".expected").read_text()
    assert said.replace(f"outcomectl: {file}:", "") == expected


def test_a_schedule_is_merged_key_by_key(node: Node) -> None:
    node.write("usr/a.yaml", "schedule: {start_within: 5min, finish_within: 2h, every: 1h}\n")
    node.write("etc/a.yaml.d/10.yaml", "schedule: {finish_within: 3h, every: }\n")
    assert node.job("a").schedule == model.Schedule(
        start_within=model.Usec(5 * model.MINUTE), finish_within=model.Usec(3 * model.HOUR)
    )
    node.write("etc/a.yaml.d/20.yaml", "schedule:\n")
    assert node.job("a").schedule == model.Schedule()


def test_the_longest_tolerance_is_ten_years(node: Node) -> None:
    node.write("etc/a.yaml", "schedule: {verified_within: 10y, every: 1s}\n")
    node.write("etc/b.yaml", "schedule: {verified_within: 10y 1s}\n")
    node.write("etc/c.yaml", "schedule: {verified_within: 999ms}\n")
    loaded = node.load()
    assert [job.name for job in loaded.config.jobs] == ["a"]
    assert sorted(loaded.broken) == ["b", "c"]


def test_every_key_arrives(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN)
    node.write("etc/shop.yaml", (CONFIGS / "good/every-key.yaml").read_text())
    assert node.job("shop") == model.Job(
        name=JobName("shop"),
        unit=UnitName("db-backup.service"),
        description="Nightly dump of the shop database",
        runbook="https://wiki.example.com/runbooks/db-backup",
        severity="warning",
        schedule=model.Schedule(
            start_within=model.Usec(10 * model.MINUTE),
            finish_within=model.Usec(2 * model.HOUR),
            verified_within=model.Usec(50 * model.HOUR),
            every=model.Usec(model.DAY),
        ),
        already_done=(
            model.AlreadyDone(exit_status=17),
            model.AlreadyDone(journal="archive .* already exists"),
        ),
        outcome=(
            model.Artifact(
                path="/srv/backups/shop-%H-*.sql.gz",
                written_by="period",
                min_size=500 * 1024**2,
                max_size=3 * 1024**4 // 2,
                size_vs_median=model.Median(of=30, at_least=0.5, at_most=3),
                format="gzip",
                allow_empty=True,
                on_filesystem="/srv/backups",
                sha256="sidecar",
                count=model.Count(1, 9),
                owner="root:backup",
                mode=0o640,
                timeout=model.Usec(3 * model.HOUR),
            ),
            model.Artifact(
                path="/srv/backups/globals.sql",
                count=model.Count(1, 1),
                sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
            model.Command(
                """sh -c 'pg_restore --file=/dev/null "$0" && true' {artifact}""",
                user="postgres",
                timeout=model.Usec(10 * model.MINUTE),
            ),
            model.Command(
                "/usr/lib/nagios/plugins/check_disk -w 20%% -c 10%% -p /srv/%p", protocol="nagios"
            ),
            model.Duration(
                at_least=model.Usec(180_000_000),
                at_most=model.Usec(5_400_000_000),
                vs_median=model.Median(of=14, at_most=2.5),
            ),
            model.Report("sent == generated and failed == 0"),
            model.Journal(never="ERROR|partial"),
            model.Journal(expect="dump complete"),
            model.Steps(("dump", "compress", "upload to: elsewhere")),
        ),
        alerts=model.Alerts(after=2, to=("ops", "pager")),
    )


def test_error_is_spelled_as_promised(node: Node) -> None:
    file = node.write("etc/backup.yaml", "outcome:\n  - artifact: /srv/x\n    min_size: big\n")
    (problem,) = node.load().problems
    assert config.render(problem) == (
        f"outcomectl: {file}:3:15: outcome[0].artifact.min_size: "
        "expected a size such as 500M, got 'big'"
    )


def test_hint_stands_on_its_own_line(node: Node) -> None:
    file = node.write("etc/backup.yaml", "unit: backup\n")
    (problem,) = node.load().problems
    assert config.render(problem, "outcomed").splitlines() == [
        f"outcomed: {file}:1:7: unit: expected a service unit such as backup.service, got 'backup'",
        "  hint: write backup.service",
    ]


def test_file_without_rules_is_a_job_and_says_so_when_it_is_empty(node: Node) -> None:
    node.write("etc/named.yaml", "unit: a.service\n")
    node.write("etc/empty.yaml", "")
    node.write("etc/comments.yaml", "# nothing yet\n")
    loaded = node.load()
    assert [job.name for job in loaded.config.jobs] == ["comments", "empty", "named"]
    assert [problem.severity for problem in loaded.problems] == ["warning", "warning"]
    assert loaded.broken == frozenset()


def test_file_full_of_faults_is_cut_short(node: Node) -> None:
    node.write("etc/backup.yaml", "outcome:\n" + "- x\n" * 1000)
    said = faults(node.load())
    assert len(said) == 101
    assert said[-1] == "has 900 further faults"


def test_broken_url_is_not_quoted(node: Node) -> None:
    node.write("etc/outcomed.yaml", "sinks: {ops: {type: webhook, url: 'htp://SECRET'}}\n")
    loaded = node.load()
    assert loaded.main_broken
    assert "SECRET" not in repr(loaded)


def test_huge_file_is_refused_without_being_read(node: Node) -> None:
    node.write("etc/backup.yaml", b"#" * (jobfiles.MAX_FILE + 1))
    assert faults(node.load()) == ["is larger than 1.0M"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "{" * 500_000,
        "- " * 500_000,
        "? " * 300_000,
        "a: " * 300_000,
        "a: {" * 200_000,
        "&a " * 300_000,
        "!a " * 300_000,
        "*a " * 300_000,
        '"' * 1_000_000,
        "%" * 1_000_000,
        "\n" * 1_000_000 + "a",
        "a:\n" + "\n".join(f"  k{n}: v" for n in range(60_000)),
        "outcome:\n" + "  - x\n" * 150_000,
        "x" * 1_000_000,
        "\n".join(f"&a{n} k{n}: *a{max(n - 1, 0)}" for n in range(40_000)),
    ],
    ids=lambda text: text[:6].strip(),
)
def test_no_megabyte_takes_long(node: Node, text: str) -> None:
    node.write("etc/backup.yaml", text[: jobfiles.MAX_FILE])
    began = time.process_time()
    assert node.load().problems
    assert time.process_time() - began < 20


def test_fifo_is_not_waited_for(node: Node) -> None:
    node.write("etc/good.yaml", "unit: a.service\n")
    os.mkfifo(node.paths.config / "jobs.d/pipe.yaml")
    loaded = node.load()
    assert faults(loaded) == ["is not a regular file"]
    assert loaded.broken == {"pipe"}


# --- which files ---------------------------------------------------------------------------------


def test_no_directory_has_to_exist(node: Node) -> None:
    assert node.load() == config.Loaded()


def test_later_place_replaces_the_earlier_one(node: Node) -> None:
    for place in ("etc", "usr", "run"):
        node.write(f"{place}/backup.yaml", f"description: {place}\n")
    assert node.job().description == "etc"
    (node.paths.config / "jobs.d/backup.yaml").unlink()
    assert node.job().description == "run"


def test_broken_file_is_not_stood_in_for_by_the_one_it_replaces(node: Node) -> None:
    node.write("usr/backup.yaml", "description: vendor\n")
    node.write("etc/backup.yaml", "descriptoin: mine\n")
    loaded = node.load()
    assert loaded.config.jobs == ()
    assert loaded.broken == {"backup"}


def test_link_to_dev_null_masks(node: Node) -> None:
    node.write("usr/backup.yaml", "unit: a.service\n")
    node.link("etc/backup.yaml", "/dev/null")
    loaded = node.load()
    assert loaded == config.Loaded(masked=frozenset({JobName("backup")}))
    with pytest.raises(UsageError, match="masked"):
        config.cat(node.paths, "backup")


def test_link_to_a_file_elsewhere_is_followed(node: Node, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("description: linked\n")
    node.link("etc/backup.yaml", str(tmp_path / "real"))
    assert node.job().description == "linked"


def test_dangling_link_is_a_problem(node: Node) -> None:
    node.link("etc/backup.yaml", "/nowhere/at/all")
    loaded = node.load()
    assert faults(loaded) == ["cannot be read: dangling link"]
    assert loaded.broken == {"backup"}


def test_leftovers_of_editors_and_dpkg_are_not_read(node: Node) -> None:
    for name in ("a.yaml~", "a.yaml.dpkg-new", "#a.yaml#", ".a.yaml", ".a.yaml.swp", "README"):
        node.write(f"etc/{name}", "nonsense: 1\n")
    assert node.load() == config.Loaded()


def test_yml_and_directories_are_pointed_out(node: Node) -> None:
    node.write("etc/backup.yml", "")
    (node.paths.config / "jobs.d/folder.yaml").mkdir()
    loaded = node.load()
    assert sorted(faults(loaded)) == [
        "ends in .yml and not in .yaml, ignoring",
        "is a directory, ignoring",
    ]
    assert {problem.severity for problem in loaded.problems} == {"warning"}


@pytest.mark.parametrize("name", ["a b", "ü", "a%b", "x" * 201])
def test_file_name_that_cannot_be_a_job_name(node: Node, name: str) -> None:
    node.write(f"etc/{name}.yaml", "")
    loaded = node.load()
    assert "cannot be a job's name" in faults(loaded)[0]
    assert loaded.config.jobs == ()


def test_file_name_of_any_bytes_is_reported_as_text(node: Node) -> None:
    node.write("etc/good.yaml", "unit: a.service\n")
    os.close(os.open(os.fsencode(node.paths.config) + b"/jobs.d/\xff\x1b.yaml", os.O_CREAT))
    loaded = node.load()
    assert [job.name for job in loaded.config.jobs] == ["good"]
    assert config.render(loaded.problems[0]).isprintable() or "hint" in config.render(
        loaded.problems[0]
    )
    assert msgspec.json.encode(loaded)


def test_job_named_like_a_unit_has_to_say_which(node: Node) -> None:
    node.write("etc/backup.service.yaml", "severity: warning\n")
    (problem,) = node.load().problems
    assert problem.hint == "name the file backup.yaml, or say which unit: it is"


def test_two_jobs_on_one_unit_are_pointed_out(node: Node) -> None:
    node.write("etc/a.yaml", "unit: x.service\n")
    node.write("etc/b.yaml", "unit: x.service\n")
    loaded = node.load()
    assert faults(loaded) == ["job a watches x.service too"]
    assert len(loaded.config.jobs) == 2


# --- drop-ins ------------------------------------------------------------------------------------


def test_drop_ins_merge_in_the_order_of_their_names(node: Node) -> None:
    node.write("usr/backup.yaml", "description: vendor\nalerts: {after: 3}\n")
    node.write("etc/backup.yaml.d/10-a.yaml", "description: ten\nseverity: warning\n")
    node.write("usr/backup.yaml.d/20-b.yaml", "description: twenty\n")
    job = node.job()
    assert (job.description, job.severity, job.alerts.after) == ("twenty", "warning", 3)


def test_drop_in_of_the_same_name_replaces_the_earlier_one(node: Node) -> None:
    node.write("usr/backup.yaml", "severity: warning\n")
    node.write("usr/backup.yaml.d/10-a.yaml", "description: vendor\nrunbook: here\n")
    node.write("etc/backup.yaml.d/10-a.yaml", "description: mine\n")
    assert (node.job().description, node.job().runbook) == ("mine", "")
    node.link("etc/backup.yaml.d/10-a.yaml", "/dev/null")
    assert node.job().description == ""


def test_drop_in_adds_a_rule(node: Node) -> None:
    node.write("usr/backup.yaml", "outcome:\n- report: a == 1\n")
    node.write("etc/backup.yaml.d/mine.yaml", "outcome:\n- report: b == 1\n")
    assert node.job().outcome == (model.Report("a == 1"), model.Report("b == 1"))


@pytest.mark.parametrize(
    ("drop_in", "left"),
    [
        ("outcome:\n-\n- report: b == 1\n", (model.Report("b == 1"),)),
        ("outcome: []\n", ()),
        ("outcome:\n", ()),
    ],
)
def test_empty_value_clears_the_rules_before_it(
    node: Node, drop_in: str, left: tuple[model.Rule, ...]
) -> None:
    node.write("usr/backup.yaml", "outcome:\n- report: a == 1\n")
    node.write("etc/backup.yaml.d/mine.yaml", drop_in)
    assert node.job().outcome == left


def test_fault_in_a_drop_in_is_placed_in_the_drop_in(node: Node) -> None:
    node.write("usr/backup.yaml", "outcome:\n- report: a == 1\n")
    file = node.write("etc/backup.yaml.d/mine.yaml", "\noutcome:\n- artifact: relative\n")
    (problem,) = node.load().problems
    assert (problem.file, problem.line, problem.column) == (str(file), 3, 13)
    assert problem.key == "outcome[1].artifact"


def test_drop_ins_without_a_job_are_pointed_out(node: Node) -> None:
    node.write("etc/backup.yaml.d/mine.yaml", "severity: warning\n")
    (problem,) = node.load().problems
    assert problem.fault == "there is no job file 'backup.yaml' to add to, ignoring"


# --- templates -----------------------------------------------------------------------------------


def test_instance_is_made_from_the_template(node: Node) -> None:
    node.write("etc/backup@.yaml", "outcome:\n- artifact: /srv/%i\n")
    template = node.job("backup@")
    assert template.is_template
    job = config.instantiate(template, UnitName("backup@shop.service"))
    assert (job.name, job.unit) == ("backup@shop", "backup@shop.service")
    assert job.outcome == template.outcome


@pytest.mark.parametrize(
    "unit", ["backup@.service", "other@a.service", "backup@a.timer", "backup@a b.service", "x"]
)
def test_what_is_no_instance_is_refused(unit: str) -> None:
    template = model.Job(JobName("backup@"), UnitName("backup@.service"))
    with pytest.raises(UsageError):
        config.instantiate(template, UnitName(unit))


def test_instance_name_may_be_too_long_for_a_job() -> None:
    template = model.Job(JobName("b@"), UnitName("b@.service"))
    with pytest.raises(UsageError):
        config.instantiate(template, UnitName(f"b@{'x' * 230}.service"))


def test_own_file_of_an_instance_wins_over_the_template(node: Node) -> None:
    node.write("etc/backup@.yaml", "description: any\n")
    node.write("etc/backup@shop.yaml", "description: shop\n")
    loaded = node.load()
    found = [
        config.job_of_unit(loaded.config, UnitName(unit))
        for unit in ("backup@shop.service", "backup@x.service", "backup.service")
    ]
    assert [job and job.description for job in found] == ["shop", "any", None]


def test_template_does_not_stand_in_for_a_masked_instance(node: Node) -> None:
    node.write("etc/backup@.yaml", "severity: warning\n")
    node.link("etc/backup@shop.yaml", "/dev/null")
    loaded = node.load()
    unit = UnitName("backup@shop.service")
    assert config.job_of_unit(loaded.config, unit, without=loaded.masked) is None


def test_drop_ins_of_template_and_instance_meet(node: Node) -> None:
    node.write("usr/backup@.yaml", "unit: backup@.service\noutcome: [{report: a == 1}]\n")
    node.write("etc/backup@.yaml.d/10.yaml", "outcome: [{report: b == 1}]\n")
    node.write("etc/backup@shop.yaml.d/20.yaml", "outcome: [{report: c == 1}]\n")
    job = node.job("backup@shop")
    assert job.unit == "backup@shop.service"
    assert [rule.expression for rule in job.outcome if isinstance(rule, model.Report)] == [
        "a == 1",
        "b == 1",
        "c == 1",
    ]
    assert len(node.job("backup@").outcome) == 2


def test_template_is_named_after_its_unit(node: Node) -> None:
    node.write("etc/nightly@.yaml", "unit: backup@.service\n")
    (problem,) = node.load().problems
    assert problem.hint == "name the file backup@.yaml"


# --- outcomed.yaml -------------------------------------------------------------------------------


def test_defaults_reach_the_jobs_that_say_nothing(node: Node) -> None:
    node.write(
        "etc/outcomed.yaml", MAIN + "defaults: {severity: warning, alerts: {after: 2, to: [ops]}}\n"
    )
    node.write("etc/plain.yaml", "alerts: {}\n")
    node.write("etc/own.yaml", "severity: critical\nalerts: {after: 1, to: [pager, pager]}\n")
    node.write("etc/silent.yaml", "alerts: {to: []}\n")
    assert node.job("plain").alerts == model.Alerts(2, ("ops",))
    assert node.job("plain").severity == "warning"
    assert node.job("own").alerts == model.Alerts(1, ("pager",))
    assert node.job("own").severity == "critical"
    assert node.job("silent").alerts == model.Alerts(2, ())
    assert node.load().config.default_to == ("ops",)


def test_default_sink_has_to_exist(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN + "defaults: {alerts: {to: [opps]}}\n")
    (problem,) = node.load().problems
    assert (problem.key, problem.line, problem.column) == ("defaults.alerts.to", 2, 26)
    assert problem.hint == "did you mean ops?"


def test_broken_main_file_breaks_no_job(node: Node) -> None:
    node.write("etc/outcomed.yaml", "sinks: [\n")
    node.write("etc/backup.yaml", "alerts: {to: [ops]}\n")
    loaded = node.load()
    assert loaded.main_broken
    assert loaded.broken == frozenset()
    assert loaded.config.sinks == ()
    assert loaded.config.jobs[0].alerts.to == ("ops",)


def test_broken_main_file_is_stood_in_for_by_the_last_good_sinks(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN + "defaults: {alerts: {to: [ops]}}\n")
    node.write("etc/backup.yaml", "severity: warning\n")
    good = node.load().config
    node.write("etc/outcomed.yaml", "defaults: {alerts: {after: 3, to: [new]}}\nsinks: {new: {}}\n")
    loaded = config.load(node.paths, last_good=good)
    assert loaded.main_broken
    assert (loaded.config.sinks, loaded.config.default_to) == (good.sinks, ("ops",))
    assert loaded.config.jobs[0].alerts == model.Alerts(3, ("ops",))


# --- what a caller gets --------------------------------------------------------------------------


def test_all_errors_of_all_files_come_at_once(node: Node) -> None:
    node.write("etc/a.yaml", "severity: bad\nalerts: {after: 0}\n")
    node.write("etc/b.yaml", "nonsense: 1\n")
    node.write("etc/good.yaml", "severity: warning\n")
    loaded = node.load()
    assert len(loaded.problems) == 3
    assert loaded.broken == {"a", "b"}
    assert [job.name for job in loaded.config.jobs] == ["good"]


def test_hash_changes_with_the_rules_and_with_nothing_else(node: Node) -> None:
    node.write("etc/backup.yaml", "outcome: [{report: a == 1}]\n")
    first = node.load().hashes[JobName("backup")]
    node.write("etc/backup.yaml", "description: x\noutcome:\n  - {report: a == 1}\n")
    assert node.load().hashes[JobName("backup")] == first
    node.write("etc/backup.yaml", "outcome: [{report: a == 2}]\n")
    assert node.load().hashes[JobName("backup")] != first


def test_config_survives_a_round_trip(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN)
    node.write("etc/shop.yaml", (CONFIGS / "good/every-key.yaml").read_text())
    whole = node.load().config
    assert config.decode_config(config.encode_config(whole)) == whole


def test_cat_lists_the_parts_in_the_order_of_merging(node: Node) -> None:
    main = node.write("usr/backup.yaml", "severity: warning\n")
    second = node.write("usr/backup.yaml.d/20.yaml", "# two\n")
    first = node.write("etc/backup.yaml.d/10.yaml", "# one\n")
    assert config.cat(node.paths, "backup") == [
        (main, "severity: warning\n"),
        (first, "# one\n"),
        (second, "# two\n"),
    ]
    with pytest.raises(UsageError, match="did you mean backup"):
        config.cat(node.paths, "bakcup")


def test_cat_of_an_instance_shows_its_template(node: Node) -> None:
    main = node.write("usr/backup@.yaml", "severity: warning\n")
    assert [file for file, _ in config.cat(node.paths, "backup@x")] == [main]


def test_check_of_a_file_elsewhere_knows_the_node_s_sinks(node: Node, tmp_path: Path) -> None:
    node.write("etc/outcomed.yaml", MAIN)
    file = tmp_path / "draft.yaml"
    file.write_text("alerts: {to: [ops, nobody]}\n")
    assert [problem.fault for problem in config.check(node.paths, [file])] == [
        "there is no sink 'nobody'"
    ]


def test_check_of_a_missing_or_misnamed_file(node: Node, tmp_path: Path) -> None:
    problems = config.check(node.paths, [tmp_path / "none.yaml", tmp_path / "none.txt"])
    assert [problem.fault for problem in problems] == [
        "cannot be read: No such file or directory",
        "the name of a job file ends in .yaml",
    ]


def test_check_of_a_drop_in_alone(node: Node) -> None:
    file = node.write("etc/backup.yaml.d/mine.yaml", "outcome: [{report: a = 1}]\n")
    (problem,) = config.check(node.paths, [file])
    assert problem.fault == "not an expression: write == to compare"


# --- in a child ----------------------------------------------------------------------------------


@may_fork
def test_child_gives_what_load_gives(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN)
    node.write("etc/shop.yaml", (CONFIGS / "good/every-key.yaml").read_text())
    node.write("etc/bad.yaml", "severity: bad\n")
    assert config.load_isolated(node.paths) == node.load()


HEAVY = ("yaml", "re2", "simpleeval", "difflib")
READERS = ("faults", "jobfiles", "yamltext", "readers", "schema")


def test_child_keeps_what_reads_the_files_out_of_the_parent(node: Node) -> None:
    node.write("etc/outcomed.yaml", MAIN)
    node.write("etc/shop.yaml", (CONFIGS / "good/every-key.yaml").read_text())
    node.write("etc/bad.yaml", "severity: bad\n")
    assert loaded_after("config.load_isolated(p)", node) == set()


def test_list_of_what_must_not_be_loaded_is_the_list_of_what_reads_the_files(node: Node) -> None:
    node.write("etc/shop.yaml", (CONFIGS / "good/every-key.yaml").read_text())
    node.write("etc/bad.yaml", "severity: bad\n")
    heavy = {*HEAVY} - {"simpleeval"}  # it evaluates, and nothing is evaluated here
    assert loaded_after("config.load(p)", node) == {*heavy, *READERS}


def test_showing_a_job_s_files_needs_no_parser(node: Node) -> None:
    node.write("etc/shop.yaml", "severity: bad\n")
    assert loaded_after("config.cat(p, 'shop')", node) == {"faults", "jobfiles"}


def loaded_after(statement: str, node: Node) -> set[str]:
    """Which of the modules that read files a new process has in memory after this."""
    program = (
        "import sys; from pathlib import Path; from outcomed import config, paths\n"
        f"p = paths.Paths(config=Path({str(node.paths.config)!r}))\n"
        f"{statement}\n"
        f"print(*{{*{HEAVY!r}}} & sys.modules.keys())\n"
        f"print(*(m for m in {READERS!r} if f'outcomed.{{m}}' in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(config.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@may_fork
@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGUSR1), "was killed by SIGUSR1"),
        (lambda: os._exit(7), "ended with status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGXCPU), "used up its processor time"),
        (lambda: bytearray(1 << 33), "ran out of memory"),
        (lambda: 1 / 0, "ended with ZeroDivisionError: division by zero"),
    ],
)
def test_death_of_the_child_is_a_problem_and_no_more(
    node: Node, monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object], said: str
) -> None:
    monkeypatch.setattr(config, "load", lambda *_, **__: deed())
    loaded = config.load_isolated(node.paths)
    assert (loaded.unread, loaded.main_broken) == (True, True)
    assert said in faults(loaded)[0]


@may_fork
def test_child_that_never_answers_is_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CHILD_SECONDS", 0.2)
    monkeypatch.setattr(config, "load", lambda *_, **__: time.sleep(600))
    loaded = config.load_isolated(node.paths)
    assert loaded.unread
    assert "took longer than" in faults(loaded)[0]


@may_fork
def test_child_leaves_no_process_and_no_descriptor(node: Node) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    config.load_isolated(node.paths)
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- anything at all -----------------------------------------------------------------------------

yaml_words = st.sampled_from(
    [
        "unit",
        "description",
        "runbook",
        "severity",
        "already_done",
        "outcome",
        "alerts",
        "artifact",
        "min_size",
        "format",
        "written_by",
        "duration",
        "at_least",
        "report",
        "journal",
        "never",
        "expect",
        "after",
        "to",
        "exit_status",
        "schedule",
        "start_within",
        "every",
        "sinks",
        "defaults",
        "type",
        "webhook",
        "url",
        ":",
        "-",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&",
        "*",
        "!",
        "|",
        ">",
        "'",
        '"',
        "#",
        "%",
        "@",
        "`",
        "~",
        "null",
        "true",
        "1",
        "5M",
        "1h",
        "/srv/%i",
        "a==1",
        "<<",
    ]
)
yaml_noise = st.lists(
    st.tuples(yaml_words, st.sampled_from(["", " ", "\n", "\n  ", "\n    ", ": ", "\t"])),
    max_size=30,
).map(lambda pairs: "".join(word + gap for word, gap in pairs).encode())

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(yaml_words | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | yaml_noise | values.map(msgspec.json.encode))
@example(b"outcome:\n- {artifact: , journal: }")
@example(b"&a [*a]")
@example(b"? [a]\n: b")
@example(b"alerts: {to: [[a], {b: c}]}")
@example(b"sinks: {a: b, c: [d]}")
def test_any_bytes_are_problems_or_a_job_and_never_hurt_the_good_file(
    node: Node, data: bytes
) -> None:
    node.write("etc/good.yaml", "severity: warning\n")
    node.write("etc/any.yaml", data)
    node.write("usr/good.yaml.d/ignored.txt", data)
    loaded = node.load()
    names = {job.name for job in loaded.config.jobs}
    assert "good" in names
    assert ("any" in names) != ("any" in loaded.broken)
    assert all(config.render(problem).isprintable() or problem.hint for problem in loaded.problems)
    node.write("etc/outcomed.yaml", data)
    loaded = node.load()
    assert msgspec.json.decode(msgspec.json.encode(loaded), type=config.Loaded) == loaded
    shutil.rmtree(node.paths.config)
