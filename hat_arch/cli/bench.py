"""``basicsr bench``: this project beside others, measured in the same run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path("experiments/benchmarks")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``bench`` and its suites; ``args.run(args)`` returns the exit code."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory against spandrel's HAT and BasicSR's data loading",
        description="Measures this project beside others, in the same run. Prints a table, and writes JSON and a plot.",
    )
    parser.add_argument("--quick", action="store_true", help="a short form of all suites, in three minutes")
    where = "JSON file of --quick, with a PNG beside it; by default in experiments/benchmarks"
    parser.add_argument("--out", dest="quick_out", type=Path, metavar="FILE", help=where)
    parser.set_defaults(run=run, measure=_quick)
    suites = parser.add_subparsers(dest="suite", metavar="SUITE")
    for add in (_add_infer, _add_table, _add_train, _add_data, _add_tile, _add_scaling, _add_resize):
        add(suites)


def _add_network(parser: argparse.ArgumentParser) -> None:
    """What suites that measure a network share."""
    add = parser.add_argument
    add(
        "--network",
        choices=["HAT", "HAT-S", "HAT-L"],
        default="HAT",
        help="official ×4 network to measure, HAT by default",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="by default CUDA where there is one")


def _add_no_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no_memory", action="store_true", help="measure time alone")


def _add_run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], None],
    runs: int,
    what: str,
    threads: bool = True,
) -> None:
    """What suites that time something share."""
    parser.add_argument("--runs", type=int, default=runs, metavar="N", help=f"{what}, {runs} by default")
    _add_threads_and_out(parser, measure, threads)


def _add_threads_and_out(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], None], threads: bool = True
) -> None:
    """What all suites share."""
    if threads:
        parser.add_argument(
            "--threads", type=int, metavar="N", help="CPU threads, by default as many as PyTorch chooses"
        )
    where = "JSON file to write, with a PNG beside it; by default in experiments/benchmarks"
    parser.add_argument("--out", type=Path, metavar="FILE", help=where)
    parser.set_defaults(measure=measure)


def _add_precision(parser: argparse.ArgumentParser, what: str = "") -> None:
    names = ["fp32", "bf16", "fp16"]
    parser.add_argument("--precision", choices=names, default="fp32", help=f"fp32 by default; others by autocast{what}")


def _add_infer(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "infer",
        help="time and memory of one forward pass",
        description="Times one forward pass of both networks in turn, measures the memory it needs, and compares both "
        "with the machine's own peak.",
    )
    sides = "pixels: one side, or height and width"
    add = parser.add_argument
    _add_network(parser)
    _add_no_memory(parser)
    add(
        "--size",
        nargs="+",
        type=int,
        default=[64],
        metavar="PX",
        help=f"input that is timed, in {sides}; 64 by default",
    )
    add(
        "--memory_size",
        nargs="+",
        type=int,
        default=[256],
        metavar="PX",
        help=f"input for memory, in {sides}; 256 by default",
    )
    _add_precision(parser, " for both networks")
    add("--peer_precision", choices=["fp32", "bf16", "fp16"], help="another one for the peer")
    add(
        "--variant",
        nargs="+",
        default=["prepared"],
        metavar="NAME",
        help="how ours runs: prepared (default), plain, compile",
    )
    add("--context", action="store_true", help="measure spandrel's SwinIR too; half as long again")
    add("--warmups", type=int, default=2, metavar="N", help="forward passes of each before, 2 by default")
    _add_run(parser, _infer, 7, "timed forward passes of each network")


def _add_table(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "table",
        help="the rows that HAT's speed is judged by, as a Markdown table",
        description="Measures forward passes row by row (networks, sizes, precisions) and writes a JSON file for each. "
        "Rows of CUDA stay unmeasured where there is none. All rows of the CPU take half an hour on two cores.",
    )
    add = parser.add_argument
    add(
        "--rows",
        nargs="+",
        default=[],
        metavar="NAME",
        help="which, such as cpu_HAT_64_fp32 or 'cuda_*'; all by default",
    )
    add("--variant", nargs="+", metavar="NAME", help="how ours runs, in place of what the rows say")
    add("--context", action="store_true", help="measure spandrel's SwinIR too")
    add("--keep", action="store_true", help="leave out what is measured: same settings, versions and device")
    add("--show", action="store_true", help="measure nothing, print what was measured")
    add("--runs", type=int, metavar="N", help="timed forward passes of each, in place of what the rows say")
    add("--threads", type=int, metavar="N", help="CPU threads, by default as many as PyTorch chooses")
    add("--out", type=Path, default=FOLDER, metavar="FOLDER", help="of the JSON files and table.png")
    parser.set_defaults(measure=_table)


def _add_train(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "train",
        help="time and memory of one training step",
        description="Times a step (forward, backward, Adam, EMA) of HATModel, in several settings, beside BasicSR's "
        "SRModel with spandrel's HAT, and measures the memory it needs.",
    )
    add = parser.add_argument
    _add_network(parser)
    _add_no_memory(parser)
    add("--batch", type=int, default=1, metavar="N", help="patches of a step, 1 by default")
    add("--patch", type=int, default=64, metavar="PX", help="side of the LR patches, 64 by default")
    add("--case", nargs="+", metavar="NAME", help="settings, such as 'fp32' 'bf16, compile'; a choice by default")
    _add_run(parser, _train, 5, "timed steps of each")


def _add_data(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "data",
        help="training samples a second and core, from folders and LMDB stores",
        description="Reads training pairs with BasicSR's data set and with ours on one core, then with a loader.",
    )
    add = parser.add_argument
    add("--samples", type=int, default=60, metavar="N", help="read in a round, 60 by default")
    add("--batch", type=int, default=4, metavar="N", help="images of a training iteration, 4 by default")
    add(
        "--iteration", type=float, metavar="S", help="seconds of a training iteration: says whether the loader keeps up"
    )
    add("--workers", type=int, metavar="N", help="of the loader, by default what --iteration needs")
    _add_run(parser, _data, 5, "timed rounds of each", threads=False)


def _add_resize(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser("resize", help="MATLAB's bicubic on an image of 2K, ours beside BasicSR's")
    _add_run(parser, _resize, 7, "timed runs of each")


def _add_tile(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "tile",
        help="what tiles change in the result, against their size and overlap",
        description="Upscales photographs whole and in tiles: PSNR of tiled to whole, how visible borders are, and "
        "with --weights PSNR-Y against the ground truth.",
    )
    add = parser.add_argument
    _add_network(parser)
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="of a HAT; without it --network with random weights, which says little",
    )
    add("--images", type=Path, metavar="FOLDER", help="ground truth, by default two photographs of scikit-image")
    add(
        "--gt_size", type=int, default=512, metavar="PX", help="side of the centre of each that is used, 512 by default"
    )
    add(
        "--tile",
        nargs="+",
        type=int,
        default=[64, 96],
        metavar="PX",
        help="sides of tiles in the input, 64 96 by default",
    )
    add("--overlap", nargs="+", type=int, default=[0, 16, 32], metavar="PX", help="0 16 32 by default")
    add("--crop", action="store_true", help="cut tiles in the middle of their overlap, in place of blending")
    _add_precision(parser)
    _add_threads_and_out(parser, _tile)


def _add_scaling(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "scaling",
        help="how time and memory grow with the image in tiles",
        description="Upscales images of doubling size in tiles, each in a process of its own. On two cores HAT takes "
        "minutes to 0.25 megapixels (of 2²⁰) and an hour to 4; --groups 1 and bf16 shorten that.",
    )
    add = parser.add_argument
    _add_network(parser)
    _add_no_memory(parser)
    add("--groups", type=int, metavar="N", help="keep the first N residual groups of the network; all by default")
    add("--min_megapixels", type=float, default=0.0625, metavar="M", help="of the smallest input, 0.0625 by default")
    add("--max_megapixels", type=float, metavar="M", help="of the largest; by default 0.25 on a CPU, 4 on CUDA")
    add("--tile", type=int, default=128, metavar="PX", help="side of tiles in the input, 128 by default")
    add("--overlap", type=int, default=32, metavar="PX", help="32 by default")
    add("--batch", type=int, default=1, metavar="N", help="tiles that go through the network together, 1 by default")
    _add_precision(parser)
    _add_run(parser, _scaling, 1, "timed runs at each size")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen suite: 0, or 1 for a wrong result, 2 for what cannot be measured."""
    from hat_arch.bench.measure import BenchmarkError, require_folder

    try:
        if args.quick == bool(args.suite) or (args.suite and args.quick_out):
            raise BenchmarkError("basicsr bench: give a SUITE, then its options, or --quick; see basicsr bench --help")
        if args.quick:
            args.out = args.quick_out
        require_folder(_folder(args))
        args.measure(args)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _folder(args: argparse.Namespace) -> Path:
    """Where results will be written."""
    if args.out is None:
        return FOLDER
    return args.out if args.suite == "table" else args.out.parent


def _progress(message: str) -> None:
    print(f"{message} …", file=sys.stderr, flush=True)


def _infer(args: argparse.Namespace) -> None:
    from hat_arch.bench import infer

    settings = infer.InferSettings(
        network=args.network,
        size=_size("--size", args.size),
        memory_size=None if args.no_memory else _size("--memory_size", args.memory_size),
        precision=args.precision,
        peer_precision=args.peer_precision,
        variants=tuple(args.variant),
        context=args.context,
        device=args.device,
        runs=args.runs,
        warmups=args.warmups,
        threads=args.threads,
    )
    _finish(infer, infer.run(settings, progress=_progress), args.out)


def _table(args: argparse.Namespace) -> None:
    from hat_arch.bench import infer, plot, rows
    from hat_arch.bench.measure import BenchmarkError, write_json

    names = rows.choose(args.rows)
    failed: dict[str, BenchmarkError] = {}
    if args.show:
        results = {name: rows.read(args.out / f"{name}.json") for name in names}
    else:
        change: dict[str, Any] = {"context": args.context, "runs": args.runs, "threads": args.threads}
        change["variants"] = args.variant and tuple(args.variant)

        def done(result: dict[str, Any], path: Path) -> None:
            write_json(result, path)
            print(infer.report(result), path, "", sep="\n", flush=True)

        given = {field: value for field, value in change.items() if value}
        results, failed = rows.run(names, args.out, args.keep, given, _progress, done)
    print(rows.report(results))
    picture = rows.draw(results)
    if picture is not None:
        plot.save(picture, args.out / "table.png")
        print(args.out / "table.png")
    if failed:
        raise next(iter(failed.values()))


def _train(args: argparse.Namespace) -> None:
    from hat_arch.bench import train

    settings = train.TrainSettings(
        network=args.network,
        batch=args.batch,
        patch=args.patch,
        cases=tuple(args.case) if args.case else None,
        memory=not args.no_memory,
        device=args.device,
        runs=args.runs,
        threads=args.threads,
    )
    _finish(train, train.run(settings, progress=_progress), args.out)


def _data(args: argparse.Namespace) -> None:
    from hat_arch.bench import data

    _finish(data, data.run(args.runs, args.samples, args.batch, args.iteration, args.workers), args.out)


def _resize(args: argparse.Namespace) -> None:
    from hat_arch.bench import resize

    _finish(resize, resize.run(args.runs, args.threads), args.out)


def _tile(args: argparse.Namespace) -> None:
    from hat_arch.bench import tile

    settings = tile.TileSettings(
        weights=args.weights,
        network=args.network,
        images=args.images,
        gt_size=args.gt_size,
        tiles=tuple(args.tile),
        overlaps=tuple(args.overlap),
        blend=not args.crop,
        precision=args.precision,
        device=args.device,
        threads=args.threads,
    )
    _finish(tile, tile.run(settings, progress=_progress), args.out)


def _scaling(args: argparse.Namespace) -> None:
    from hat_arch.bench import scaling

    settings = scaling.ScalingSettings(
        network=args.network,
        groups=args.groups,
        min_megapixels=args.min_megapixels,
        max_megapixels=args.max_megapixels,
        tile=args.tile,
        overlap=args.overlap,
        batch=args.batch,
        precision=args.precision,
        device=args.device,
        runs=args.runs,
        memory=not args.no_memory,
        threads=args.threads,
    )
    _finish(scaling, scaling.run(settings, progress=_progress), args.out)


def _quick(args: argparse.Namespace) -> None:
    from hat_arch.bench import quick

    _finish(quick, quick.run(_progress), args.out)


def _finish(suite: Any, result: dict[str, Any], out: Path | None) -> None:
    """Prints a result, and writes and draws it."""
    from hat_arch.bench import plot
    from hat_arch.bench.measure import write_json

    print(suite.report(result))
    path = out or suite.default_path(result)
    write_json(result, path)
    plot.save(suite.draw(result), path.with_suffix(".png"))
    print(path, path.with_suffix(".png"), sep="\n")


def _size(option: str, sides: list[int]) -> tuple[int, int]:
    """Height and width from one side or both."""
    from hat_arch.bench.measure import BenchmarkError

    if len(sides) > 2:
        raise BenchmarkError(f"{option} {' '.join(map(str, sides))}: give one side, or height and width")
    return sides[0], sides[-1]
