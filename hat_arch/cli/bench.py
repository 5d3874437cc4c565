"""``basicsr bench``: this project beside others, measured in the same run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hat_arch.bench import NETWORKS


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``bench`` and its suites; ``args.run(args)`` returns the exit code."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory against spandrel's HAT and BasicSR's data loading",
        description="Measures this project beside others, in the same run.",
    )
    parser.set_defaults(run=run)
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    _add_infer(suites)
    _add_train(suites)
    _add_data(suites)
    _add_resize(suites)


def _add_network(parser: argparse.ArgumentParser) -> None:
    """What suites that measure a network share."""
    add = parser.add_argument
    add("--network", choices=list(NETWORKS), default="HAT", help="official ×4 network to measure, HAT by default")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="by default CUDA where there is one")
    add("--no_memory", action="store_true", help="measure time alone")


def _add_run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], None],
    runs: int,
    what: str,
    threads: bool = True,
) -> None:
    """What all suites share."""
    add = parser.add_argument
    add("--runs", type=int, default=runs, metavar="N", help=f"{what}, {runs} by default")
    if threads:
        add("--threads", type=int, metavar="N", help="CPU threads, by default as many as PyTorch chooses")
    add("--out", type=Path, metavar="FILE", help="JSON file to write, by default in experiments/benchmarks")
    parser.set_defaults(measure=measure)


def _add_infer(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "infer",
        help="time and memory of one forward pass",
        description="Times one forward pass of both networks in turn and measures the memory it needs.",
    )
    sides = "pixels: one side, or height and width"
    add = parser.add_argument
    _add_network(parser)
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
    add(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="fp32 by default; bf16 is autocast for both networks",
    )
    _add_run(parser, _infer, 7, "timed forward passes of each network")


def _add_train(suites: argparse._SubParsersAction) -> None:
    parser = suites.add_parser(
        "train",
        help="time and memory of one training step",
        description="Times a step (forward, backward, Adam, EMA) of HATModel, in several settings, beside BasicSR's "
        "SRModel with spandrel's HAT, and measures the memory it needs.",
    )
    add = parser.add_argument
    _add_network(parser)
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


def run(args: argparse.Namespace) -> int:
    """Runs the chosen suite: 0, or 1 for a wrong result, 2 for what cannot be measured."""
    from hat_arch.bench.measure import BenchmarkError

    try:
        args.measure(args)
    except (BenchmarkError, OSError) as error:
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


def _infer(args: argparse.Namespace) -> None:
    from hat_arch.bench import infer

    settings = infer.InferSettings(
        network=args.network,
        size=_size("--size", args.size),
        memory_size=None if args.no_memory else _size("--memory_size", args.memory_size),
        precision=args.precision,
        device=args.device,
        runs=args.runs,
        threads=args.threads,
    )
    result = infer.run(settings, progress=lambda message: print(f"{message} …", file=sys.stderr, flush=True))
    _finish(infer, result, args)


def _train(args: argparse.Namespace) -> None:
    from hat_arch.bench import train

    _refuse_nothing({"runs": args.runs, "batch": args.batch, "patch": args.patch, "threads": args.threads})
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
    result = train.run(settings, progress=lambda message: print(f"{message} …", file=sys.stderr, flush=True))
    _finish(train, result, args)


def _refuse_nothing(counts: dict[str, Any]) -> None:
    from hat_arch.bench.measure import BenchmarkError

    for option, value in counts.items():
        if value is not None and value <= 0:
            raise BenchmarkError(f"--{option} {value}: must be more than 0")


def _data(args: argparse.Namespace) -> None:
    from hat_arch.bench import data

    counts = {"runs": args.runs, "samples": args.samples, "batch": args.batch, "workers": args.workers}
    _refuse_nothing({**counts, "iteration": args.iteration})
    _finish(data, data.run(**counts, iteration=args.iteration), args)


def _resize(args: argparse.Namespace) -> None:
    from hat_arch.bench import resize

    _refuse_nothing({"runs": args.runs, "threads": args.threads})
    _finish(resize, resize.run(args.runs, args.threads), args)


def _finish(suite: Any, result: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints a result and writes it."""
    from hat_arch.bench.measure import write_json

    print(suite.report(result))
    path = args.out or suite.default_path(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, path)
    print(path)


def _size(option: str, sides: list[int]) -> tuple[int, int]:
    """Height and width from one side or both."""
    from hat_arch.bench.measure import BenchmarkError

    if len(sides) > 2:
        raise BenchmarkError(f"{option} {' '.join(map(str, sides))}: give one side, or height and width")
    return sides[0], sides[-1]
