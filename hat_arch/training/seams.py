"""What BasicSR 1.4.2's pipelines lack, one function each; in force only while `pipeline` runs one of them.

BasicSR's `train_pipeline` calls functions of its own modules by name and takes none of them as an argument. So each of
these takes the place of one of them, for the length of a run.
"""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.utils import FileClient, check_resume, get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from ..compat.registration import registered
from ..config.reading import Options
from ..data import named_errors
from ..data.sampling import DrawSampler
from ..utils.errors import UserError
from . import checkpoints, run_folder, wandb_log
from .run import FollowsRun, TrainingRun

LOADER_TIMEOUT = 1800  # seconds without a batch after which a data-loading worker counts as dead


@contextlib.contextmanager
def seams(opt: Options, argv: list[str], run: TrainingRun) -> Iterator[None]:
    """Puts the functions below into BasicSR's modules, and takes them out again.

    Args:
        opt: the checked options.
        argv: BasicSR's own command line for this run, without the program's name.
        run: is told what the pipeline makes, and given to the model.
    """
    import basicsr.test
    import basicsr.train
    from basicsr.data.prefetch_dataloader import PrefetchGenerator
    from basicsr.utils import options

    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # PyTorch's, of each run that goes on, and of steps that are left out
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for module, name, value in (
            (basicsr.train, "parse_options", partial(parse_options, opt, argv, run)),
            (basicsr.test, "parse_options", partial(parse_options, opt, argv, run)),
            (options, "init_dist", init_dist),
            (basicsr.train, "load_resume_state", partial(load_resume_state, opt, run)),
            (basicsr.train, "get_root_logger", partial(get_logger, run)),
            (basicsr.test, "get_root_logger", partial(get_logger, run)),
            (basicsr.train, "build_dataset", partial(build_dataset, run)),
            (basicsr.test, "build_dataset", partial(build_dataset, run)),
            (basicsr.train, "init_wandb_logger", wandb_log.start),
            (basicsr.train, "init_tb_loggers", partial(init_tb_loggers, basicsr.train.init_tb_loggers, run)),
            (basicsr.train, "EnlargedSampler", DrawSampler),
            (
                basicsr.train,
                "create_train_val_dataloader",
                partial(create_loaders, basicsr.train.create_train_val_dataloader, run),
            ),
            (FileClient, "get", named_errors.remembering(FileClient.get)),
            (PrefetchGenerator, "run", prefetch),
            (PrefetchGenerator, "__next__", next_prefetched),
            (basicsr.train, "build_model", partial(build_model, run)),
            (basicsr.test, "build_model", partial(build_model, run)),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def parse_options(
    opt: Options, argv: list[str], run: TrainingRun, root_path: str, is_train: bool = True
) -> tuple[Options, Any]:
    """BasicSR's function, on options that were read and checked already.

    BasicSR reads a file with a YAML loader that runs any code a tag names, and passes ``--force_yml`` to ``exec``
    (``basicsr/utils/options.py``). All else that it does is kept: seeds, process groups, paths, debug mode.
    """
    from basicsr.utils import options

    def checked_options(stream: Any) -> Any:  # a YAML loader, as yaml.load() calls it
        return SimpleNamespace(get_single_data=lambda: deepcopy(opt), dispose=lambda: None)

    ordered_yaml, command_line = options.ordered_yaml, sys.argv
    options.ordered_yaml, sys.argv = lambda: (checked_options, None), [command_line[0], *argv]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints whether the run is distributed
            completed, args = options.parse_options(root_path, is_train)
    finally:
        options.ordered_yaml, sys.argv = ordered_yaml, command_line
    if "train" in completed["datasets"]:
        completed["datasets"]["train"].setdefault("seed", completed["manual_seed"])
    if not completed["dist"] and completed["num_gpu"] > 1:  # BasicSR would take DataParallel, which is slow
        print(f"One of {completed['num_gpu']} GPUs is used; all with: --gpus {completed['num_gpu']}", file=sys.stderr)
        completed["num_gpu"] = 1
    run.opt = completed
    run.claimed = run_folder.claim(completed)
    return completed, args


def init_dist(launcher: str, backend: str | None = None, port: int | None = None, **kwargs: Any) -> None:
    """Replaces BasicSR's function, which divides by the number of GPUs, and so fails without one.

    Takes NCCL for GPUs and Gloo for CPUs. Under SLURM, finds out the addresses that `torchrun` would set.
    """
    if launcher == "slurm":
        tasks = os.environ["SLURM_NTASKS"]
        hosts = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        first = subprocess.run(hosts, check=True, capture_output=True, text=True).stdout.split()[0]
        os.environ.setdefault("MASTER_ADDR", first)
        os.environ.setdefault("MASTER_PORT", str(port or 29500))
        os.environ.update(WORLD_SIZE=tasks, RANK=os.environ["SLURM_PROCID"], LOCAL_RANK=os.environ["SLURM_LOCALID"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # of a reducer that must copy gradients of 1x1 convolutions: nothing that a user could mend
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    gpu = torch.cuda.is_available()  # files name NCCL, also for runs on the CPU
    torch.distributed.init_process_group((backend or "nccl") if gpu else "gloo", **kwargs)


def load_resume_state(checked: Options, run: TrainingRun, opt: Options) -> Options | None:
    """Replaces BasicSR's function, which asks for the CUDA device and so cannot resume on a CPU.

    It also looks for states in the run's own folder rather than in ``experiments/`` of the current one, passes over
    checkpoints that are not whole, takes the weights that lie beside the state, and compares the options.

    Args:
        checked: the option file's.
        run: says whether to begin again.
        opt: the pipeline's options.

    Raises:
        CheckpointError: the state asked for cannot be used, or not with these options.
        RunIsDone, UserError: as `run_folder.starting_point`.
    """
    found = run_folder.first_decides(opt, lambda: run_folder.starting_point(opt, checked, run.restart))
    if found is None:
        return None
    path, weights = found
    state = checkpoints.load(path)
    before = checkpoints.options_of(state)
    fatal, harmless = checkpoints.changed_options(before, checked) if before else ([], [])
    if fatal:
        lines = "\n  ".join(fatal)
        raise checkpoints.CheckpointError(
            f"{path}: was trained with other options, and cannot go on with these:\n  {lines}\n"
            "  change them back, or give the run another name"
        )
    if opt["rank"] == 0:
        for line in harmless:
            print(f"option changed since {path.name}: {line}", file=sys.stderr)
    opt["path"]["resume_state"] = str(path)
    own = opt["path"]["models"]
    if weights != Path(own):
        run_folder.first_decides(opt, lambda: run_folder.make(opt))
        if opt["rank"] == 0:
            print(f"goes on from {path}, with the weights in {weights}", file=sys.stderr)
    opt["path"]["models"] = str(weights)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints each path that it sets
        check_resume(opt, state["iter"])
    opt["path"]["models"] = own
    return state


def get_logger(run: TrainingRun, logger_name: str = "basicsr", **kwargs: Any) -> logging.Logger:
    """BasicSR's function; its terminal shows the run's own summary in place of all that is logged before it.

    That is some 150 lines: a banner, all options, the layers. They are in the log file.
    """
    logger = get_root_logger(logger_name, **kwargs)
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(run.shows)
    return logger


def init_tb_loggers(original: Callable[[Options], Any], run: TrainingRun, opt: Options) -> Any:
    """BasicSR's function; tells the run its TensorBoard writer, which BasicSR closes only after a whole training."""
    run.tb_logger = original(opt)
    return run.tb_logger


def build_dataset(run: TrainingRun, opt: Options) -> Any:
    """BasicSR's function, for data sets that name what they cannot use; tells the run their sizes."""
    dataset = named_errors.build_dataset(opt)
    run.datasets.append((opt["phase"], opt["name"], len(dataset)))
    return dataset


def create_loaders(original: Callable[..., Any], run: TrainingRun, opt: Options, logger: Any) -> Any:
    """BasicSR's function; tells the run its data, and prepares the training loader's workers.

    BasicSR's loader draws its workers' seed from the generator that the network draws from, so that a resumed run would
    draw other numbers. A worker that cannot send a batch leaves the training waiting forever: it is given a time limit.
    """
    with naming_the_key("a data set"):
        created = original(opt, logger)
    loader, run.sampler, run.val_loaders, *_ = created
    run.batch_size = loader.batch_size * opt["world_size"]
    loader.generator = torch.Generator().manual_seed(0)
    if loader.num_workers:
        require_sockets()
        loader.timeout = LOADER_TIMEOUT
        if multiprocessing.get_start_method() == "forkserver":  # Linux's default since Python 3.14
            loader.multiprocessing_context = "fork"  # workers begin at once, and know what --plugin has imported
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
    return created


@contextlib.contextmanager
def naming_the_key(reader: str) -> Iterator[None]:
    """Raises `UserError` where a class does not find a key of the option file that it needs."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{reader} needs the key {error}, which the option file lacks") from error


def require_sockets() -> None:
    """Raises `UserError` where data-loading workers cannot send, since the names of their sockets would be too long."""
    if sys.platform == "win32":
        return  # there, they send through pipes
    folder, longest = tempfile.gettempdir(), 103 if sys.platform == "darwin" else 107
    if len(os.fsencode(f"{folder}/pymp-12345678/listener-12345678")) > longest:
        raise UserError(f"{folder}: data-loading workers need a TMPDIR with a shorter path")


def start_worker(then: Callable[[int], None] | None, number: int) -> None:
    """Begins a data-loading worker, which leaves Ctrl-C and SIGTERM to the process that it works for.

    Terminals and SLURM send both to all processes of a run. A SIGTERM that its own parent sends ends the worker: so
    Python ends its children before it exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, daemon=True).start()
    if then is not None:
        then(number)


def _end_when_parent_says() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)


def prefetch(self: Any) -> None:
    """Replaces `PrefetchGenerator.run` (``prefetch_mode: cpu``), which ends without a word if an item raises.

    Training would wait for the next item forever.
    """
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except BaseException as error:  # raised again where the item is wanted
        self.queue.put(error)


def next_prefetched(self: Any) -> Any:
    """Replaces `PrefetchGenerator.__next__`: raises what `prefetch` passed on."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, BaseException):
        raise item
    return item


def build_model(run: TrainingRun, opt: Options) -> Any:
    """BasicSR's function; gives the model the run that it is to follow."""
    cls = registered(MODEL_REGISTRY, opt["model_type"])
    if not hasattr(cls, "follow"):
        cls = type(cls.__name__, (FollowsRun, cls), {})
    with naming_the_key(opt["model_type"]):
        model = cls(deepcopy(opt))
    get_root_logger().info(f"Model [{cls.__name__}] is created.")
    model.follow(run)
    run.begin(model)
    return model
