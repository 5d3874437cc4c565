"""``basicsr train`` and ``basicsr test``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from .. import config, pipeline


def add_parser(commands: argparse._SubParsersAction) -> None:
    for name, what, where in (
        ("train", "train a network as an option file says", "experiments"),
        ("test", "upscale and measure with a trained network", "results"),
    ):
        parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}; writes to ./{where}/.")
        parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML), see options/")
        parser.add_argument(
            "--launcher",
            choices=["none", "pytorch", "slurm"],
            default="none",
            help="how several processes were started",
        )
        parser.add_argument(
            "--auto_resume", action="store_true", help="go on from the newest state of the run, if there is one"
        )
        parser.add_argument("--debug", action="store_true", help="validate and save every 8 iterations")
        parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers")
        parser.add_argument(
            "--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="change options: train:ema_decay=0.999"
        )
        parser.add_argument(
            "--plugin", action="append", default=[], help="file or module to import first, with networks of your own"
        )
        parser.set_defaults(run=run, is_train=name == "train")


def run(args: argparse.Namespace) -> int:
    opt = config.load(args.opt, args.is_train, args.force_yml, args.launcher)
    argv = ["-opt", args.opt, "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    argv += [flag for flag in ("--auto_resume", "--debug") if getattr(args, flag[2:])]
    try:
        (pipeline.train if args.is_train else pipeline.test)(opt, argv, Path.cwd())
    except pipeline.Stopped as stopped:
        print(f"basicsr: {stopped}; go on with: basicsr train -opt {args.opt} --auto_resume", file=sys.stderr)
        return 130
    except torch.cuda.OutOfMemoryError as error:
        print(
            f"basicsr: {str(error).splitlines()[0]}\n  lower datasets:train:batch_size_per_gpu, or set network_g:"
            "use_checkpoint: true (HAT), or train:precision: bf16",
            file=sys.stderr,
        )
        return 2
    return 0
