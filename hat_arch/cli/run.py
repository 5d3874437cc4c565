"""``basicsr train`` and ``basicsr test``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed

from ..config import reading as config
from ..data.parallel import cores
from ..training import pipeline
from .options import option_file


def add_parser(commands: argparse._SubParsersAction) -> None:
    for name, what, where in (
        ("train", "train a network as an option file says", "experiments"),
        ("test", "upscale and measure with a trained network", "results"),
    ):
        parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}; writes to ./{where}/.")
        parser.add_argument(
            "-opt",
            "--opt",
            required=True,
            metavar="FILE",
            help="option file (YAML): a path, or a name of basicsr options",
        )
        parser.add_argument(
            "--launcher",
            choices=["none", "pytorch", "slurm"],
            default="none",
            help="how several processes were started",
        )
        parser.add_argument(
            "--gpus",
            type=int,
            metavar="N",
            help="start N processes, one a GPU (on a machine without GPUs, N processes on the CPU)",
        )
        parser.add_argument(
            "--auto_resume", action="store_true", help="go on from the newest state of the run, if there is one"
        )
        parser.add_argument("--debug", action="store_true", help="validate and save every 8 iterations")
        parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers")
        parser.add_argument(
            "--dry_run",
            action="store_true",
            help="try the option file without data, in half a minute: all checks, then one step (of train) and a "
            "validation with batch 1 on small made-up images; says what is missing, writes nothing",
        )
        parser.add_argument(
            "--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="change options: train:ema_decay=0.999"
        )
        parser.add_argument(
            "--plugin", action="append", default=[], help="file or module to import first, with networks of your own"
        )
        parser.set_defaults(run=run, is_train=name == "train")


def run(args: argparse.Namespace) -> int:
    args.opt = option_file(args.opt)
    if args.dry_run:
        from ..training import dry_run

        print(dry_run.dry_run(args.opt, args.is_train, args.force_yml))
        return 0
    if args.gpus is not None:
        return launch(args)
    opt = config.load(args.opt, args.is_train, args.force_yml)
    argv = ["-opt", args.opt, "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    argv += [flag for flag in ("--auto_resume", "--debug") if getattr(args, flag[2:])]
    gpus = f" --gpus {os.environ['WORLD_SIZE']}" if args.launcher == "pytorch" else ""
    again = f"go on with: basicsr train -opt {args.opt}{gpus} --auto_resume"
    try:
        (pipeline.train if args.is_train else pipeline.test)(opt, argv, Path.cwd())
    except pipeline.Stopped as stopped:
        if rank() == 0:
            print(f"basicsr: {stopped}; {again}", file=sys.stderr)
        return 128 + stopped.signal
    except torch.cuda.OutOfMemoryError as error:
        print(
            f"basicsr: {str(error).splitlines()[0]}\n  lower datasets:train:batch_size_per_gpu, or set "
            "train:accumulate, network_g:use_checkpoint: true (HAT), or train:precision: bf16",
            file=sys.stderr,
        )
        return 2
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            print(f"basicsr: process {rank()}: another process of this run has ended", file=sys.stderr)
            return 1
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        print(
            f"basicsr: {reason}\n  if memory ran out, lower datasets:train:num_worker_per_gpu; {again}", file=sys.stderr
        )
        return 1
    return 0


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def launch(args: argparse.Namespace) -> int:
    """Starts one process a GPU with torch's elastic launcher, as ``torchrun`` does."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    there = torch.cuda.device_count()
    if args.gpus < 1 or (there and args.gpus > there):
        raise config.ConfigError(f"--gpus {args.gpus}: there are {there} GPUs here")
    verb = "train" if args.is_train else "test"
    config.load(args.opt, args.is_train, args.force_yml)  # complains once, not from every process
    words = ["--standalone", "--nproc_per_node", str(args.gpus), "-m", "hat_arch", verb, "-opt", args.opt]
    words += ["--launcher", "pytorch"]
    words += [flag for flag in ("--auto_resume", "--debug") if getattr(args, flag[2:])]
    words += [word for plugin in args.plugin for word in ("--plugin", plugin)]
    words += ["--force_yml", *args.force_yml] if args.force_yml else []
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // args.gpus)))
    logging.disable(logging.CRITICAL)  # in this process, which only starts the others
    try:
        torchrun.main(words)
    except ChildFailedError as error:
        # the one that was killed, rather than those that miss it or that the launcher ended
        number, failure = min(error.failures.items(), key=lambda item: _rank_of_failure(item[1].exitcode))
        code = failure.exitcode
        how = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code not in (130, 143):
            again = (
                f"; go on with: basicsr {verb} -opt {args.opt} --gpus {args.gpus} --auto_resume"
                if args.is_train
                else ""
            )
            print(f"basicsr: process {number} {how}; the others were stopped{again}", file=sys.stderr)
        return code if code > 0 else 1
    except SignalException as error:
        return 128 + error.sigval
    return 0


def _rank_of_failure(exitcode: int) -> int:
    return 2 if exitcode == -signal.SIGTERM else int(exitcode > 0)
