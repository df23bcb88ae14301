"""Figures beside their goals: the table and the file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.bench import machine
from tests.bench.samples import Samples

WIDTH = 80


@dataclass(frozen=True)
class Figure:
    """One line of the table. Without a goal it explains another one."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["less", "more"] = "less"

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "less" else self.value >= self.goal


class Results:
    """Everything that one run of the bench found out."""

    def __init__(self, facts: dict[str, Any], *, quick: bool) -> None:
        self.facts = facts
        self.quick = quick
        self.sections: dict[str, list[Figure]] = {}
        self.samples: dict[str, Samples] = {}
        self.notes: list[str] = []

    def load(self, part: str) -> None:
        """How busy the machine was when this part began."""
        self.facts["load"][part] = machine.load()

    def figures(self, section: str, *figures: Figure) -> None:
        self.sections.setdefault(section, []).extend(figures)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": self.facts,
            "quick": self.quick,
            "figures": {
                section: [asdict(each) | {"reached": each.reached} for each in figures]
                for section, figures in self.sections.items()
            },
            "samples": {name: samples.summary() for name, samples in self.samples.items()},
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")

    def table(self) -> str:
        lines: list[str] = []
        for section, figures in self.sections.items():
            lines += [
                "",
                f"{section:<46}{'measured':>12} {'goal':>12} reached",
                "-" * WIDTH,
            ]
            lines += map(_line, figures)
        lines += ["", *(f"· {note}" for note in self.notes)]
        if self.quick:
            lines.append("· --quick: these figures prove that the bench works, and nothing else")
        return "\n".join(lines)


def _line(figure: Figure) -> str:
    goal = "" if figure.goal is None else _quantity(figure.goal, figure.unit)
    if goal and figure.better == "more":
        goal = f"≥ {goal}"
    said = {None: "", True: "yes", False: "NO"}[figure.reached]
    return f"{figure.what:<46}{_quantity(figure.value, figure.unit):>12} {goal:>12} {said}".rstrip()


def _quantity(value: float, unit: str) -> str:
    if unit == "times":
        return f"{value:.1f} times"
    digits = (
        0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2 if value >= 0.1 else 3
    )
    return f"{value:,.{digits}f} {unit}".rstrip()
