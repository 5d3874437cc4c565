"""``basicsr paper table``: the papers' tables, with our numbers beside theirs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.errors import UserError
from ..upscale import tile_side
from .options import FOLDER

if TYPE_CHECKING:
    from ...paper.evaluation import Method, Results, Settings
    from ...paper.tables import Table

SHOWN = 12  # lines of what is missing


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "table",
        help="fill a table of the papers: ours, theirs, the difference",
        description="Reads the benchmark sets in ./datasets and the weights in ./experiments, measures every cell that "
        "they allow by the papers' protocol, and writes OUT/NAME.md, .csv, .tex, .html and NAME_images.csv with the "
        "papers' numbers beside ours. What is missing is named; without any weights there is the row of bicubic (or of "
        "the noisy or compressed input), without images the papers' side. Stop it at any time: the same command goes "
        "on from there. Exit code 1: something that is there cannot be used.",
        epilog="basicsr paper table main --scale 4 --only HAT Set5 Set14   (docs/paper.md has more)",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="main, window, ocab_cab, overlap, cab_weight, cab_size, channel_attention, "
        "pretraining, depth_width, realworld, gray_denoise, color_denoise, jpeg")  # fmt: skip
    add("--scale", type=int, nargs="+", metavar="S", help="default: all of the table's; where noise or artefacts of "
        "JPEG are removed, σ or the quality")  # fmt: skip
    add("--weights", type=Path, metavar="FOLDER", help="released weights, and runs as below experiments/; default: "
        "experiments/pretrained_models and experiments")  # fmt: skip
    add("--data", type=Path, default=Path("datasets"), metavar="FOLDER", help="default: datasets")
    add("--out", type=Path, default=FOLDER, metavar="FOLDER", help=f"default: {FOLDER}; scores go to its cache/")
    add("--only", nargs="+", default=[], metavar="ROW|SET", help="measure these rows, these sets, alone: HAT Set5")
    add("--network", action="append", default=[], metavar="LABEL=FILE", help="a row of your own, by an option file, "
        "the weights of a HAT, or the name of a model; again for each network and scale")  # fmt: skip
    add("--tile", type=tile_side, default="whole", metavar="whole|auto|N", help="pixels of LR a side; whole (default) "
        "is the papers', tiles take less memory and change the numbers")  # fmt: skip
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is")
    add("--plugin", action="append", default=[], help="file or module to import first")
    parser.set_defaults(run=run, after_stop="; the same command goes on from there")


def run(args: argparse.Namespace) -> int:
    from filelock import FileLock, Timeout

    from ...paper import evaluation, table_formats
    from ...paper.tables import ALIASES, TABLES
    from ...utils.files import write_file
    from ...utils.machine import pick_device

    name = ALIASES.get(args.name, args.name)
    if name not in TABLES:
        raise UserError(f"paper table {args.name}: unknown; there are {', '.join(TABLES)}")
    table = TABLES[name]
    scales = args.scale or list(table.scales)
    if unknown := set(scales) - set(table.scales):
        raise UserError(f"--scale {min(unknown)}: table {name} has {', '.join(map(str, table.scales))}")
    for folder in (args.data, args.weights):
        if folder is not None and folder != Path("datasets") and not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    device, only = pick_device(args.device).type, frozenset(args.only)
    settings = evaluation.Settings(args.data, args.out / "cache", args.weights, args.tile, device, only)
    extra = _own(args, table, scales, settings)
    known = [table.baseline, *(row.label for row in table.rows), *(method.label for method in extra), *table.all_sets]
    if strange := [word for word in args.only if word not in known]:
        raise UserError(f"--only {strange[0]}: neither row nor set; there are {', '.join(known)}")

    settings.cache.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.cache / "lock", timeout=0):
            results = evaluation.evaluate(table, scales, extra, settings)
    except Timeout:
        what = "another basicsr paper table is at work there; wait for it, or name another --out"
        raise UserError(f"{settings.cache}: {what}") from None
    for file, content in table_formats.files(table, results, scales).items():
        write_file(args.out / file, content.encode())
    print(table_formats.text(table, results, scales))
    _report(results)
    print(f"{args.out}/{name}.md, .csv, .tex, .html; images: {name}_images.csv")
    return 1 if results.problems else 0


def _own(args: argparse.Namespace, table: Table, scales: list[int], settings: Settings) -> list[Method]:
    """The rows of ``--network``."""
    from ...paper import evaluation

    methods = [evaluation.own(spec, args.plugin, settings) for spec in args.network]
    enlarging = {table.protocol(scale).scale for scale in scales}
    taken = {(scale, label) for scale in enlarging for label in (table.baseline, *(row.label for row in table.rows))}
    for method in methods:
        if method.scale not in enlarging:
            what = f"the scales are {scales}" if not table.recipe else f"table {table.name} takes x1, which restores"
            raise UserError(f"--network {method.label}: enlarges by {method.scale}; {what}")
        if (method.scale, method.label) in taken:
            raise UserError(f"--network {method.label}: there is a row of that name; take another")
        taken.add((method.scale, method.label))
    return methods


def _report(results: Results) -> None:
    """What could not be measured."""
    for line in results.problems:
        print(f"basicsr: {line}", file=sys.stderr)
    if results.problems:
        print("basicsr: mend or replace what is named, and repeat; what was measured is kept", file=sys.stderr)
    if results.missing:
        print("missing, for more cells:")
    for line in results.missing[:SHOWN]:
        print(f"  {line}")
    if len(results.missing) > SHOWN:
        print(f"  … and {len(results.missing) - SHOWN} more, listed in the files")
