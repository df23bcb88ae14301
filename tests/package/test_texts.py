"""What the package says to people: manual pages, the message catalog, the example configuration."""

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outcomed import config, messages, schema
from outcomed.paths import Paths
from tests.nodes import Node
from tests.nodes.build import CHECKOUT

BootNode = Callable[..., Node]

CATALOG = CHECKOUT / "packaging" / "outcomed.catalog"
EXAMPLE = CHECKOUT / "packaging" / "outcomed.yaml"
PAGES = sorted(path.stem for path in (CHECKOUT / "man").glob("*.scd"))
IDS = {
    name: value
    for name, value in vars(messages).items()
    if name.isupper() and isinstance(value, str)
}


def catalog() -> dict[str, str]:
    """Each entry's text by its id."""
    parts = re.split(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    assert len(set(IDS.values())) == len(IDS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in IDS.values())


def test_the_catalog_explains_every_event_and_no_other() -> None:
    assert list(catalog()) == list(IDS.values())


@pytest.mark.parametrize("name", IDS)
def test_an_explanation_is_complete_and_fits_a_terminal(name: str) -> None:
    header, _, text = catalog()[IDS[name]].strip().partition("\n\n")
    assert header.startswith("Subject: ")
    assert "Defined-By: outcomed" in header
    assert text
    assert max(len(line) for line in text.splitlines()) <= 79


def test_journalctl_knows_all_events_of_the_installed_package(node: Node) -> None:
    listed = node.run(["journalctl", "--list-catalog", *IDS.values()]).stdout
    assert {line.split()[0] for line in listed.splitlines()} == set(IDS.values())


def test_journalctl_explains_a_verdict_with_the_names_filled_in(node: Node) -> None:
    entry = {
        "MESSAGE": "db-backup: silent-failure",
        "MESSAGE_ID": messages.VERDICT_BAD,
        "OUTCOMED_JOB": "db-backup",
        "OUTCOMED_RUN": "f" * 32,
        "OUTCOMED_VERDICT": "silent-failure",
        "OUTCOMED_REASON": "artifact",
    }
    text = "".join(f"{field}={value}\n" for field, value in entry.items())
    node.run(["logger", "--journald"], stdin=text)
    node.run(["journalctl", "--sync"])
    shown = node.run(["journalctl", "-x", "--no-pager", "OUTCOMED_JOB=db-backup"]).stdout
    assert "A run of db-backup did not do what it is for" in shown
    assert f"outcomectl explain {'f' * 32}" in shown
    assert "@" not in shown.replace("█", "")


def test_manual_pages_are_rendered_without_warnings(boot: BootNode, deb: Path) -> None:
    node = boot("full", deb=deb)
    for page in PAGES:
        name, _, section = page.rpartition(".")
        shown = node.run(
            ["man", "--warnings", "--encoding=UTF-8", section, name],
            env={"MANWIDTH": "80", "PAGER": "cat", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""},
        )
        assert shown.stderr == ""
        for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
            assert f"\n{heading}\n" in shown.stdout


def test_every_verb_is_in_the_manual() -> None:
    page = (CHECKOUT / "man" / "outcomectl.1.scd").read_text()
    verbs = ["status", "history", "explain", "verify", "check-config", "cat"]
    verbs += ["accept", "step", "report", "test"]
    assert [verb for verb in verbs if not re.search(rf"^\*{verb}\*", page, re.MULTILINE)] == []


def test_the_manual_lists_the_id_of_every_event() -> None:
    page = (CHECKOUT / "man" / "outcomed.8.scd").read_text()
    listed = re.findall(r"^\*([0-9a-f]{32})\* ([A-Z_]+)$", page, re.MULTILINE)
    assert {name: ident for ident, name in listed} == IDS


# --- examples --------------------------------------------------------------------------------

TEXTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "man").glob("*.scd"))]
BLOCK = re.compile(r"^([ \t]*)```\w*\n(.*?)^[ \t]*```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (/etc/outcomed/\S+)\n", re.MULTILINE)
MAIN = "defaults:", "sinks:"
JOB_KEYS = tuple(f"{key}:" for key in schema._JOB)

# Every sink that an example of a job names.
NAMED = "".join(
    f"  {name}: {{type: webhook, url: 'http://localhost/'}}\n" for name in ("chat", "ops", "pager")
)


def examples() -> Iterator[tuple[str, str, str]]:
    """Each YAML example: where it stands, the file that it is (a part of), and its text."""
    for text in TEXTS:
        for number, block in enumerate(BLOCK.finditer(text.read_text()), 1):
            body = textwrap.dedent(block[2].expandtabs(8))
            parts = FILE.split("\n" + body)
            for file, part in [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]:
                yaml = textwrap.dedent(part.strip("\n"))
                if not file and yaml.startswith("- "):
                    yaml = "outcome:\n" + textwrap.indent(yaml, "  ")
                if file:
                    yield f"{text.name}-{number}", file, yaml
                elif yaml.startswith(MAIN):
                    yield f"{text.name}-{number}", "/etc/outcomed/outcomed.yaml", yaml
                elif yaml.startswith(JOB_KEYS):
                    yield f"{text.name}-{number}", "/etc/outcomed/jobs.d/job.yaml", yaml


EXAMPLES = list(examples())


def test_there_are_examples_in_every_text_about_files() -> None:
    shown = {where.rpartition("-")[0] for where, _, _ in EXAMPLES}
    assert shown >= {"README.md", "outcomed.8.scd", "outcomed.job.5.scd", "outcomed.yaml.5.scd"}
    assert len(EXAMPLES) >= 20


@pytest.mark.parametrize(("where", "file", "text"), EXAMPLES)
def test_an_example_is_a_file_without_errors(
    where: str, file: str, text: str, tmp_path: Path
) -> None:
    paths = Paths(config=tmp_path / "etc", runtime=tmp_path / "run", vendor=tmp_path / "lib")
    target = tmp_path / "etc" / Path(file).relative_to("/etc/outcomed")
    if ".yaml.d/" in file:
        target.parent.mkdir(parents=True)
        target.parent.with_suffix("").write_text("outcome: [{duration: {at_least: 1s}}]\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    sinks = "sinks:\n" + NAMED
    if target == paths.config_file and text.startswith("defaults:") and "sinks:" not in text:
        text += "\n" + sinks
    elif target != paths.config_file:
        paths.config_file.write_text(sinks)
    target.write_text(text + "\n")
    assert config.check(paths) == []


def test_the_example_configuration_does_nothing_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "outcomed.yaml").write_text(EXAMPLE.read_text())
    loaded = config.load(Paths(config=tmp_path, runtime=tmp_path, vendor=tmp_path))
    assert loaded.problems == ()
    assert loaded.config.sinks == ()
    assert all(line.startswith("#") or not line for line in EXAMPLE.read_text().splitlines())
    assert max(len(line) for line in EXAMPLE.read_text().splitlines()) <= 80


def test_the_example_configuration_is_right_once_it_is_uncommented(tmp_path: Path) -> None:
    blocks = [b for b in EXAMPLE.read_text().split("\n\n") if re.match(r"#[a-z]+:\n", b)]
    assert len(blocks) == 2
    text = "\n".join(re.sub(r"^#", "", block, flags=re.MULTILINE) for block in blocks)
    (tmp_path / "outcomed.yaml").write_text(text)
    loaded = config.load(Paths(config=tmp_path, runtime=tmp_path, vendor=tmp_path))
    assert loaded.problems == ()
    assert {sink.name for sink in loaded.config.sinks} == {"ops", "chat", "local"}
    assert loaded.config.default_to == ("ops",)
