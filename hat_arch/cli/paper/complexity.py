"""``basicsr paper complexity``: parameters and multi-adds, beside the papers'."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...config import ConfigError

NAME = "complexity"

LARGEST = 2**14  # pixels a side


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        NAME,
        help="parameters and multi-adds of all networks and ablations, beside the papers'",
        description="Counts parameters and multi-adds (convolutions, linear layers, both products of attention) of the "
        "papers' networks and of every ablation, and prints them beside what the papers print. Nothing is read. About "
        "a minute for all.",
    )
    add = parser.add_argument
    add("--size", type=int, default=64, metavar="PX", help="side of the LR image, 64 by default, as in the papers")
    add("--scale", nargs="+", type=int, choices=(2, 3, 4), default=[2, 3, 4], help="all three by default")
    add(
        "--networks", nargs="+", metavar="NAME", help="networks and studies, such as HAT SwinIR overlap; by default all"
    )
    add("--out", type=Path, metavar="FOLDER", help="write complexity.md, .csv and .json there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...data.folders import write_file
    from ...paper import complexity
    from ...paper.networks import NETWORKS, STUDIES
    from ...utils.text_table import table

    names = args.networks or [*NETWORKS, *STUDIES]
    for name in names:
        if name not in NETWORKS and name not in STUDIES:
            raise ConfigError(
                f"--networks {name}: unknown; networks: {', '.join(NETWORKS)}; studies: {', '.join(STUDIES)}"
            )
    if not 1 <= args.size <= LARGEST:
        raise ConfigError(f"--size {args.size}: must be 1 to {LARGEST}")

    quiet = not sys.stderr.isatty()
    rows = complexity.rows(
        names,
        args.scale,
        args.size,
        lambda name: None if quiet else print(f"\r\033[K{name} …", end="", file=sys.stderr),
    )
    if not quiet:
        print("\r\033[K", end="", file=sys.stderr)
    print(f"Parameters (millions) and multi-adds (10⁹) for an LR image of {args.size}×{args.size}")
    for group in dict.fromkeys(row.group for row in rows):
        header = [group, *complexity.HEADER[1:]]
        print(f"\n{table(header, [complexity.cells(row) for row in rows if row.group == group])}")
    print("\n" + "\n".join(complexity.footnotes(rows)))
    if args.out:
        command = f"basicsr paper complexity --size {args.size} --scale {' '.join(map(str, args.scale))}"
        command += f" --networks {' '.join(args.networks)}" if args.networks else ""
        for suffix, text in (
            ("md", complexity.markdown(rows, args.size)),
            ("csv", complexity.as_csv(rows)),
            ("json", complexity.as_json(rows, args.size, command)),
        ):
            file = args.out / f"complexity.{suffix}"
            write_file(file, text.encode())
            print(file)
    return 0
