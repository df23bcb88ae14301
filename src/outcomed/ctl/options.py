"""What every verb takes, and what every verb is given."""

from __future__ import annotations

import argparse

from outcomed.ctl.term import Json, Screen
from outcomed.model import Record, Usec
from outcomed.paths import Paths


class Call(Record, frozen=True):
    """One call of outcomectl: what was asked, where the answer is read, and when it is now."""

    options: argparse.Namespace
    screen: Screen
    paths: Paths
    now: Usec

    @property
    def json(self) -> Json | None:
        """How the answer is to be spelled as JSON, if it is."""
        form: Json = self.options.json
        return None if form == "off" else form

    @property
    def legend(self) -> bool:
        return bool(self.options.legend)

    @property
    def pager(self) -> bool:
        return bool(self.options.pager)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as systemd's tools print it: wide enough for an option and its meaning."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=80)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every verb takes."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json",
        choices=("short", "pretty", "off"),
        default="off",
        metavar="FORM",
        help="JSON instead of text: short, pretty, off",
    )
    group.add_argument(
        "--no-legend", dest="legend", action="store_false", help="no header and no last line"
    )
    group.add_argument("--no-pager", dest="pager", action="store_false", help="do not use a pager")
