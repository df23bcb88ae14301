"""Which module may import which: the floors of the house, as a test.

Imports are read from the source, inside functions too, and nothing is imported for it. A module
that is on no floor fails: it has to be put somewhere, on purpose.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "outcomed"

# From the bottom up. Names with a dot at the end are packages: all that is in them.
FLOORS: dict[str, tuple[str, ...]] = {
    "foundation": (
        "child",
        "model",
        "errors",
        "quantities",
        "specifiers",
        "commands",
        "paths",
        "patterns",
        "config",
        "faults",
        "jobfiles",
        "parsed",
        "yamltext",
        "readers",
        "schema",
        "messages",
    ),
    "pure": (
        *("tracker", "expressions", "rules", "verdicts", "alerts", "output", "notify"),
        *("wording", "slack", "checksums", "timers", "slots"),
    ),
    "sources": ("bus", "calendar", "journal", "probes", "formats."),
    "ledger": ("ledger", "spool", "entry", "checks", "orders", "guard"),
    "delivery": ("delivery", "sinks"),
    "check": ("check", "children"),
    "hook": ("hook",),
    "daemon": (
        "daemon",
        "engine",
        "timekeeping",
        "waits",
        "alarm",
        "listening",
        "effects",
        "refused",
    ),
    "ctl": ("ctl.",),
}

# A floor may import itself and these.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "foundation": (),
    "pure": ("foundation",),
    "sources": ("foundation", "pure"),
    "ledger": ("foundation", "pure"),
    "delivery": ("foundation", "pure", "ledger"),
    # Requests and answers are files, which the daemon and the check unit hand each other.
    "check": ("foundation", "pure", "sources", "ledger"),
    "hook": ("foundation", "pure", "sources", "ledger"),
    "daemon": ("foundation", "pure", "sources", "ledger"),
    "ctl": ("foundation", "pure", "sources", "ledger", "check"),
}

# Beyond the floors, each with its reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("readers", "expressions"): "an unknown name in a rule is an error of the configuration",
    ("daemon", "hook"): "the daemon stands behind units that have a hook and no job file",
    ("hook", "effects"): "its entries in the journal are those that the daemon writes",
}

# What decides has no doors to the outside: no clock, no files, no processes, no logging.
NO_DOORS = {
    *("asyncio", "logging", "os", "pathlib", "pystemd", "requests", "select", "socket"),
    *("sqlite3", "subprocess", "systemd", "threading", "time"),
}

# Costly libraries, and who alone may load them: the daemon must stay small, check units may not.
ONLY_IN: dict[str, set[str]] = {
    "requests": {"delivery", "sinks"},
    "apprise": {"sinks"},
    "sqlite3": {"ledger", "formats.sqlitefile"},
    "re2": {"patterns"},
    "simpleeval": {"expressions"},
    "isal": {"formats.layers"},
    "zstandard": {"formats.zstd"},
    "yaml": {"yamltext"},
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:  # the package itself only has a version
            found[name] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Whole dotted names; of `from outcomed import x`, `outcomed.x`."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module in ("outcomed", "outcomed.ctl"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def floor_of(module: str) -> str | None:
    for floor, names in FLOORS.items():
        if any(module == n.rstrip(".") or (n[-1] == "." and module.startswith(n)) for n in names):
            return floor
    return None


def own(path: Path) -> set[str]:
    """What a module imports of ours, as module names; names inside a module are cut off."""
    known = modules()
    found = set()
    for name in imports(path):
        top, _, rest = name.partition(".")
        while top == "outcomed" and rest and rest not in known:
            rest = rest.rpartition(".")[0]
        if top == "outcomed" and rest:
            found.add(rest)
    return found


@pytest.mark.parametrize("module", modules())
def test_module_is_on_a_floor(module: str) -> None:
    assert floor_of(module) is not None, f"{module} is on no floor: add it to FLOORS"


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_only(module: str) -> None:
    floor = floor_of(module)
    if floor is None:
        pytest.skip("test_module_is_on_a_floor says it")
    allowed = {floor, *MAY_IMPORT[floor]}
    wrong = [
        f"{module} ({floor}) imports {other} ({floor_of(other)})"
        for other in sorted(own(modules()[module]))
        if floor_of(other) not in allowed and (module, other) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [m for m in modules() if m in FLOORS["pure"]])
def test_pure_module_has_no_doors(module: str) -> None:
    opened = {name.partition(".")[0] for name in imports(modules()[module])} & NO_DOORS
    assert not opened, f"{module} is pure, and imports {sorted(opened)}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_costly_library_is_loaded_in_its_place_only(library: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if library in {name.partition(".")[0] for name in imports(path)}
    }
    assert users <= ONLY_IN[library]


def test_no_exception_outlives_its_need() -> None:
    unused = [pair for pair in EXCEPTIONS if pair[1] not in own(modules()[pair[0]])]
    assert not unused
