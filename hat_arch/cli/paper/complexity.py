"""``basicsr paper complexity``: parameters and multi-adds, beside the papers'."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...utils.errors import UserError
from ..parser import add_plugin_option
from .options import positive

LARGEST = 2**14  # pixels a side


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "complexity",
        help="parameters and multi-adds of all networks and ablations, beside the papers'",
        description="Counts parameters and multi-adds (convolutions, linear layers, both products of attention) of the "
        "papers' networks and of every ablation, and prints them beside what the papers print; of others by --network. "
        "No image and no weights are read. About a minute for all.",
    )
    add = parser.add_argument
    add("--size", type=positive, default=64, metavar="PX", help="side of the LR image, 64 by default, as in the papers")
    add("--scale", nargs="+", type=int, choices=(2, 3, 4), default=[2, 3, 4], help="all three by default")
    add("--networks", nargs="+", metavar="NAME", help="networks and studies, such as HAT SwinIR overlap; default: all")
    add("--network", action="append", default=[], metavar="[LABEL=]FILE", help="a network of an option file, at its "
        "scale; again for each. The papers' are then counted only if --networks names them")  # fmt: skip
    add_plugin_option(parser)
    add("--out", type=Path, metavar="FOLDER", help="write complexity.md and .csv there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...paper import complexity
    from ...paper.networks import NETWORKS, STUDIES
    from ...utils.files import write_file

    names = args.networks or ([] if args.network else [*NETWORKS, *STUDIES])
    if unknown := [name for name in names if name not in (*NETWORKS, *STUDIES)]:
        known = f"networks: {', '.join(NETWORKS)}; studies: {', '.join(STUDIES)}"
        raise UserError(f"--networks {unknown[0]}: unknown; {known}")
    if args.size > LARGEST:
        raise UserError(f"--size {args.size}: must be {LARGEST} at most")

    costs = complexity.costs(names, args.scale, args.size) + [complexity.own(spec, args.size) for spec in args.network]
    print(f"Parameters (millions) and multi-adds (10⁹) for an LR image of {args.size}×{args.size}")
    for group, table in complexity.tables(costs, "simple"):
        print(f"\n{group}\n{table}")
    print("\n" + "\n".join(complexity.footnotes(costs)))
    if args.out:
        command = f"basicsr paper complexity --size {args.size} --scale {' '.join(map(str, args.scale))}"
        command += f" --networks {' '.join(args.networks)}" if args.networks else ""
        command += "".join(f" --network {spec}" for spec in args.network)
        command += "".join(f" --plugin {plugin}" for plugin in args.plugin)
        write_file(args.out / "complexity.md", complexity.markdown(costs, args.size, command).encode())
        write_file(args.out / "complexity.csv", complexity.csv_lines(costs).encode())
        print(f"{args.out}/complexity.md, .csv")
    return 0
