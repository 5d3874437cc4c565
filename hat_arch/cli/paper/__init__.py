"""``basicsr paper``: the papers' tables, studies and figures. One module a verb."""

from __future__ import annotations

import argparse
from types import ModuleType

from . import ablate, attribution, complexity, figure, table

VERBS: tuple[ModuleType, ...] = (table, ablate, complexity, attribution, figure)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "paper",
        help="the papers' tables, studies and figures",
        description="Reproduces the HAT papers: what can be run is run, what is missing is named, and the papers' "
        "numbers stand beside ours.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for module in VERBS:
        module.add_parser(verbs)
