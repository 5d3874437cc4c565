"""``basicsr train`` and ``basicsr test``, in this process or, with ``--gpus N``, in N processes that it starts."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..utils.errors import UserError, in_one_line
from .parser import add_plugin_option


def add_parser(commands: argparse._SubParsersAction) -> None:
    for name, what, where in (
        ("train", "train a network as an option file says", "experiments"),
        ("test", "upscale and measure with a trained network", "results"),
    ):
        parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}; writes to ./{where}/.")
        add = parser.add_argument
        add("-opt", "--opt", required=True, metavar="FILE", help="option file: a path, or a name of basicsr options")
        launchers = ["none", "pytorch", "slurm"]
        add("--launcher", choices=launchers, default="none", help="how several processes were started")
        per_gpu = "start N processes, one a GPU (on a machine without GPUs, N processes on the CPU)"
        add("--gpus", type=int, metavar="N", help=per_gpu)
        hidden = argparse.SUPPRESS if name == "test" else None  # BasicSR's test takes them too, to no effect
        resume = "go on from the newest state of the run, if there is one"
        add("--auto_resume", action="store_true", help=hidden or resume)
        add("--debug", action="store_true", help=hidden or "validate and save every 8 iterations")
        add("--local_rank", "--local-rank", type=int, default=0, help="set by launchers")
        add("--checked", action="store_true", help=argparse.SUPPRESS)  # set by --gpus: see `launch`
        dry_run = "try the option file without data, in half a minute: all checks, then one step (of train) and a "
        dry_run += "validation with batch 1 on small made-up images; says what is missing, writes nothing"
        add("--dry_run", action="store_true", help=dry_run)
        example = "change options: train:ema_decay=0.999"
        add("--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help=example)
        if name == "train":
            add(
                "--restart", action="store_true", help="begin again where there is a run of this name, which is renamed"
            )
            parser.set_defaults(weights=None, untrained=False)
        else:
            add("--weights", metavar="FILE", help="weights to test, in place of those of the option file")
            add("--untrained", action="store_true", help="measure random weights where there are no others")
            parser.set_defaults(restart=False)
        add_plugin_option(parser)
        parser.set_defaults(run=run, is_train=name == "train")


def run(args: argparse.Namespace) -> int:
    """Runs BasicSR's training or test."""
    import torch

    from .. import config
    from ..config import shipped_options
    from ..training import dry_run, pipeline
    from ..training.measuring import is_of_loader
    from ..training.run import TrainingRun
    from ..training.tested_weights import for_test

    rank_variable = {"pytorch": "RANK", "slurm": "SLURM_PROCID"}.get(args.launcher, "")
    rank = int(os.environ.get(rank_variable, "0"))
    if not Path(args.opt).exists():
        args.opt = str(shipped_options.named(args.opt))
        if rank == 0:
            print(f"option file: {args.opt}", flush=True)
    if rank_variable and rank_variable not in os.environ:
        starter = {"pytorch": "torchrun", "slurm": "srun"}[args.launcher]
        raise config.ConfigError(
            f"--launcher {args.launcher}: is for processes that {starter} starts; else say --gpus N"
        )
    if args.restart and args.auto_resume:
        raise config.ConfigError("--restart begins again, --auto_resume goes on: leave out one of them")
    change = None if args.is_train else for_test(args.opt, args.weights, args.untrained)
    if args.dry_run:
        print(dry_run.dry_run(args.opt, args.is_train, args.force_yml, change))
        return 0
    if args.gpus is not None:
        return launch(args, change)
    build = rank == 0 and not args.checked
    opt = config.load(args.opt, args.is_train, args.force_yml, build_networks=build, change=change)
    argv = ["-opt", args.opt, "--launcher", args.launcher, "--local_rank", str(args.local_rank), *_flags(args)]
    again = f"go on with: {_again(args, os.environ['WORLD_SIZE'] if args.launcher == 'pytorch' else None)}"
    try:
        run_pipeline = pipeline.train if args.is_train else pipeline.test
        run_pipeline(opt, argv, Path.cwd(), TrainingRun(opt, restart=args.restart))
    except pipeline.RunIsDone as done:
        print(done)
    except SystemExit as end:  # of a process that leaves it to the first to say why
        return int(end.code or 0)
    except pipeline.Stopped as stopped:
        if rank == 0:
            _say(f"{stopped}; {again}")
        return 128 + stopped.signal
    except torch.cuda.OutOfMemoryError as error:
        remedy = "lower datasets:train:batch_size_per_gpu, or set train:accumulate, train:precision: bf16, or (HAT) "
        _say(f"{str(error).splitlines()[0]}\n  {remedy}network_g:use_checkpoint: true")
        return 2
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            _say(f"process {rank}: another process of this run has ended")
        elif is_of_loader(error):
            remedy = f"if memory ran out, lower datasets:train:num_worker_per_gpu; {again}"
            _say(f"{str(error).splitlines()[0]}\n  {remedy}")
        else:
            return _fails(args.opt, opt, error)
        return 1
    except (UserError, OSError):
        raise
    except Exception as error:  # of a foreign network, model, data set, loss or metric
        return _fails(args.opt, opt, error)
    return 0


def _fails(file: str, opt: dict[str, Any], error: Exception) -> int:
    """Says where code failed that may be a plugin's; its traceback goes to the log of the run alone."""
    from ..training.measuring import where

    logger = logging.getLogger("basicsr")
    logs = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    kept = (type(error), error, error.__traceback__)
    for log in logs:
        log.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "the run ends", (), kept))
    traceback = f"; the traceback is in {os.path.relpath(logs[0].baseFilename)}" if logs else ""
    _say(f"{file}: {where(opt, error)} fails: {in_one_line(error)}{traceback}")
    return 2


def _say(line: str) -> None:
    print(f"basicsr: {line}", file=sys.stderr)


def _flags(args: argparse.Namespace) -> list[str]:
    """The flags of this command that BasicSR has too."""
    return [flag for flag in ("--auto_resume", "--debug") if getattr(args, flag[2:])]


def _own_words(args: argparse.Namespace) -> list[str]:
    """The options of this command that BasicSR does not have."""
    words = [word for plugin in args.plugin for word in ("--plugin", plugin)]
    return words + (["--force_yml", *args.force_yml] if args.force_yml else [])


def _again(args: argparse.Namespace, gpus: object) -> str:
    """The command that goes on with a training."""
    words = ["basicsr", "train", "-opt", args.opt, *(["--gpus", str(gpus)] if gpus else []), "--auto_resume"]
    return shlex.join([*words, *_own_words(args)])


def launch(args: argparse.Namespace, change: Callable[[dict[str, Any]], None] | None) -> int:
    """Starts ``--gpus`` processes of this command with torch's elastic launcher, as ``torchrun`` does.

    Returns:
        Exit code: 0, or that of the process that failed first; 128 + n if signal n ended the run.
    """
    import torch
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from .. import config
    from ..utils.machine import cores

    there = torch.cuda.device_count()
    if args.gpus < 1:
        raise config.ConfigError(f"--gpus {args.gpus}: must be 1 or more")
    if there and args.gpus > there:
        raise config.ConfigError(f"--gpus {args.gpus}: there are {there} GPUs here")
    config.load(args.opt, args.is_train, args.force_yml, change=change)  # here, so that its problems are printed once
    verb = "train" if args.is_train else "test"
    words = ["--standalone", "--nproc_per_node", str(args.gpus), "-m", "hat_arch", verb, "-opt", args.opt, "--checked"]
    words += ["--launcher", "pytorch", *_flags(args)]
    words += ["--restart"] if args.restart else []
    words += ["--untrained"] if args.untrained else []
    words += ["--weights", args.weights] if args.weights else []
    words += _own_words(args)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // args.gpus)))
    logging.disable(logging.CRITICAL)  # in this process, which only starts the others
    try:
        torchrun.main(words)
    except ChildFailedError as error:
        # To blame is one that a signal killed; else one that ended by an error, as all do that miss another; those with
        # SIGTERM were stopped by the launcher.
        codes = {number: failure.exitcode for number, failure in error.failures.items()}
        number, code = min(codes.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[1] > 0))
        if code not in (2, 130, 143):  # what a user can mend, Ctrl-C, SIGTERM: the processes have told themselves
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            again = f"; go on with: {_again(args, args.gpus)}"
            _say(f"process {number} ended with {how}; the others were stopped{again if args.is_train else ''}")
        return code if code > 0 else 1
    except SignalException as error:
        return 128 + error.sigval
    return 0
