"""The seams that BasicSR's pipelines lack, one function each; in force only while `training.pipeline` runs one."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from multiprocessing import queues
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from ..data.sampling import DrawSampler


class Hooks(Protocol):
    """What a pipeline of BasicSR tells as it goes; see `hat_arch.training.pipeline.Watch`."""

    def started(self, opt: dict[str, Any]) -> None:
        """``opt`` is the very dict that BasicSR's loop reads."""

    def sampler(self, sampler: DrawSampler) -> None: ...

    def loader(self, loader: Any) -> None: ...

    def logger(self, tb_logger: Any) -> None: ...

    def model(self, model: Any) -> None: ...


@contextlib.contextmanager
def pipeline_seams(opt: dict[str, Any], argv: list[str], hooks: Hooks) -> Iterator[None]:
    """Puts the functions below, and our sampler, into BasicSR's modules for the length of the context.

    Args:
        opt: the checked options.
        argv: BasicSR's own command line for this run, without the program's name.
        hooks: are told what the pipeline makes.
    """
    import basicsr.test
    import basicsr.train
    from basicsr.data.prefetch_dataloader import PrefetchGenerator
    from basicsr.utils import options
    from torch.utils.data._utils import signal_handling

    from ..data.sampling import DrawSampler
    from . import wandb_log

    def parse(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        pipeline_opt, args = parse_checked_options(opt, argv, root_path, is_train)
        if "train" in pipeline_opt["datasets"]:
            pipeline_opt["datasets"]["train"].setdefault("seed", pipeline_opt["manual_seed"])
        hooks.started(pipeline_opt)
        return pipeline_opt, args

    def told(tell: Callable[[Any], None], make: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            tell(made)
            return made

        return call

    def build_loader(*args: Any, **kwargs: Any) -> Any:
        loader = build_dataloader(*args, **kwargs)
        # each epoch's start draws a number; without this, from the generator that the network draws from
        loader.generator = torch.Generator().manual_seed(0)
        if loader.num_workers:
            loader.worker_init_fn = functools.partial(start_worker, loader.worker_init_fn)
        return loader

    def resume_state(pipeline_opt: dict[str, Any]) -> dict[str, Any] | None:
        return load_resume_state(pipeline_opt, opt)

    build_dataloader = basicsr.train.build_dataloader
    changes = [
        (basicsr.train, "parse_options", parse),
        (basicsr.test, "parse_options", parse),
        (basicsr.train, "build_model", told(hooks.model, basicsr.train.build_model)),
        (basicsr.test, "build_model", told(hooks.model, basicsr.test.build_model)),
        (basicsr.train, "load_resume_state", resume_state),
        (basicsr.train, "EnlargedSampler", told(hooks.sampler, DrawSampler)),
        (basicsr.train, "build_dataloader", told(hooks.loader, build_loader)),
        (basicsr.train, "init_tb_loggers", told(hooks.logger, basicsr.train.init_tb_loggers)),
        (basicsr.train, "init_wandb_logger", wandb_log.start),
        (options, "init_dist", init_dist),
        # a dead worker is found where the loader waits for it, not by a signal in the middle of anything else
        (signal_handling, "_set_SIGCHLD_handler", lambda: None),
        (PrefetchGenerator, "run", prefetch),
        (PrefetchGenerator, "__next__", next_prefetched),
    ]
    originals = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in originals:
            setattr(module, name, value)


def start_worker(then: Callable[[int], None] | None, number: int) -> None:
    """Has a data-loading worker leave Ctrl-C and SIGTERM, which go to all processes, to the one that it works for.

    It also ends if it cannot send a sample, where Python's queue would say so and leave the other side waiting forever.
    """
    queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()
    if then is not None:
        then(number)


def _end_unsent(error: Exception, sample: Any) -> None:
    print(f"basicsr: a data-loading worker cannot send a sample: {error}", file=sys.stderr)
    if "AF_UNIX path too long" in str(error):
        print(f"  set TMPDIR to a shorter path than {tempfile.gettempdir()}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def _end_when_told() -> None:
    """Obeys SIGTERM from the process that a worker works for, which waits for its end, and from no other."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def init_dist(launcher: str, backend: str | None = None, port: int | None = None, **kwargs: Any) -> None:
    """Replaces BasicSR's function, which divides by the number of GPUs, and has the loaders' workers start anew.

    Takes NCCL for GPUs and Gloo for CPUs; under SLURM, finds out the addresses that `torchrun` would set.
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
    torch.distributed.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"), **kwargs)


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


def parse_checked_options(
    opt: dict[str, Any], argv: list[str], root_path: str, is_train: bool
) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options`, given options that were read and checked already.

    Its own reading is unsafe: a YAML tag can run any code, and ``--force_yml`` is passed to ``exec``. All else that it
    does (seeds, process groups, paths, debug mode) is kept.
    """
    from basicsr.utils import options

    class Checked:  # what yaml.load() wants of a loader
        def __init__(self, stream: Any) -> None:
            del stream

        def get_single_data(self) -> dict[str, Any]:
            return deepcopy(opt)

        def dispose(self) -> None:
            pass

    ordered_yaml, command_line = options.ordered_yaml, sys.argv
    options.ordered_yaml, sys.argv = lambda: (Checked, None), [command_line[0], *argv]
    try:
        return options.parse_options(root_path, is_train)
    finally:
        options.ordered_yaml, sys.argv = ordered_yaml, command_line


def load_resume_state(opt: dict[str, Any], checked: dict[str, Any]) -> dict[str, Any] | None:
    """Replaces BasicSR's function, which asks for the CUDA device and so cannot resume on a CPU.

    It also looks for states in the run's own folder rather than in ``experiments/`` of the current one, passes over
    checkpoints that are not whole, and compares the options.

    Args:
        opt: the pipeline's options.
        checked: the option file's.

    Raises:
        CheckpointError: the state asked for cannot be used, or not with these options.
    """
    from basicsr.utils import check_resume

    from . import checkpoints as training_state

    states, models = Path(opt["path"]["training_states"]), Path(opt["path"]["models"])
    if opt["auto_resume"]:
        found = training_state.newest(states, models)
    elif given := opt["path"].get("resume_state"):
        found = Path(given), training_state.load(Path(given))
    else:
        found = None
    if found is None:
        return None
    path, state = found
    before = training_state.options_of(state)
    fatal, harmless = training_state.changed_options(before, checked) if before else ([], [])
    if fatal:
        lines = "\n  ".join(fatal)
        raise training_state.CheckpointError(
            f"{path}: was trained with other options, and cannot go on with these:\n  {lines}\n"
            "  change them back, or give the run another name"
        )
    if opt["rank"] == 0:
        for line in harmless:
            print(f"option changed since {path.name}: {line}", file=sys.stderr)
    opt["path"]["resume_state"] = str(path)
    check_resume(opt, state["iter"])
    return state
