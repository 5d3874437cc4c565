"""``--dry_run``: an option file as far as the first step and a validation, on made-up images, in a temporary folder.

All is real but for the images, their number and size, and weights that are not there: the checks, the registered
classes, the loaders, the network, the loss, the optimizer's step, the metrics.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from basicsr.utils import logger as basicsr_logger

from .. import config
from ..config import shipped_options
from ..config.keys import networks
from ..config.reading import Options
from ..data.benchmark_sets import BENCHMARK_SETS
from ..data.stand_ins import stand_in
from . import pipeline
from .run import TrainingRun
from .start_summary import network, parameters, training

LEAST_PATCH = 16  # pixels of LR
VALIDATED = (20, 14)  # pixels of LR: no whole windows
NIQE_SIDE = 256  # pixels of SR; it looks at blocks of 96x96
MIB = 2**20

MAKE = {
    "DF2K": "basicsr data prepare df2k FOLDER_OF_DIV2K_AND_FLICKR2K",
    "ImageNet": "basicsr data prepare imagenet FOLDER_OF_ILSVRC2012_TRAIN --skip_bad",
    "demo": "basicsr data demo",
    **{one.folder: "basicsr data prepare benchmarks FOLDER_WITH_ALL" for one in BENCHMARK_SETS},
}
"""Folder below ``datasets/`` → the command that makes it."""
OFFICIAL = "https://github.com/XPixelGroup/HAT"


def dry_run(
    file: str | Path,
    is_train: bool,
    overrides: Sequence[str] = (),
    change: Callable[[dict[str, Any]], None] | None = None,
) -> str:
    """Tries an option file and returns what it says of the run, for printing; arguments as of `config.load`.

    Raises:
        ConfigError: it cannot work, for another reason than data or weights that are not there.
    """
    absent: list[Path] = []
    opt = config.load(file, is_train, overrides, absent, change=change)
    with TemporaryDirectory(prefix="basicsr_dry_run_") as folder, _quiet():
        small = reduced(opt, Path(folder), absent)
        run = TrainingRun(small, dry=True)
        (pipeline.train if is_train else pipeline.test)(small, ["-opt", str(file)], Path(folder), run)
    return "\n".join(_summary(Path(file), opt, small, run.model, absent))


def reduced(opt: Options, folder: Path, absent: list[Path]) -> Options:
    """The options with images made in ``folder``, one step, batch 1, the smallest patch, and without absent weights."""
    small = deepcopy(opt)
    for key, value in opt["path"].items():
        if key == "resume_state" or (key.startswith("pretrain_") and value is not None and Path(value) in absent):
            small["path"][key] = None
    for phase, dataset in small["datasets"].items():
        size = _validated(opt)
        if phase == "train":
            if dataset.get("gt_size"):
                dataset["gt_size"] = _gt_size(opt)
                size = (dataset["gt_size"] // opt["scale"] + 4,) * 2
            dataset.update(batch_size_per_gpu=1, num_worker_per_gpu=min(1, dataset["num_worker_per_gpu"]))
            dataset["dataset_enlarge_ratio"] = 1
        small["datasets"][phase] = stand_in(dataset, folder / phase, opt["scale"], size)
    if "train" in small:
        small["train"]["total_iter"] = 1
        small["logger"].update(use_tb_logger=False, wandb=None)
        if small.get("val"):
            small["val"]["val_freq"] = 2  # after the last step alone
    return small


def _gt_size(opt: Options) -> int:
    """Side of the GT patches: one window of the network; as given if there is a discriminator, which has its own."""
    given = opt["datasets"]["train"]["gt_size"]
    if len(networks(opt)) > 1:
        return given
    window = opt["network_g"].get("window_size", 1)
    return min(given, math.ceil(LEAST_PATCH / window) * window * opt["scale"])


def _validated(opt: Options) -> tuple[int, int]:
    metrics = (opt.get("val") or {}).get("metrics") or {}
    if any(metric["type"] == "calculate_niqe" for metric in metrics.values()):
        return (math.ceil(NIQE_SIDE / opt["scale"]),) * 2
    return VALIDATED


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without BasicSR's log, but for warnings; its log file, in the temporary folder, is closed in the end."""
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        logger = logging.getLogger("basicsr")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        basicsr_logger.initialized_logger.pop("basicsr", None)


# what it says


def _summary(file: Path, opt: Options, small: Options, model: Any, absent: list[Path]) -> list[str]:
    rows = [("network", f"{network(opt)}, {parameters(model):,} parameters"), *_weights(file, opt, absent)]
    if "train" in opt:
        rows += [("training", training(opt)), ("memory", _memory(model))]
    commands: dict[str, None] = {}  # in their order
    for phase, dataset in opt["datasets"].items():
        roots = [root for key in dataset if key.startswith("dataroot") for root in _as_list(dataset[key])]
        missing = [root for root in roots if Path(root).expanduser() in absent]
        commands |= {MAKE[part]: None for root in missing for part in Path(root).parts if part in MAKE}
        label = "missing: " if missing else ""
        rows.append((phase, f"{dataset['name']}, {dataset['type']}; {label}{', '.join(missing or roots)}"))
    rows += [("" if n else "to make", command) for n, command in enumerate(commands)]
    rows.append(("tried", _tried(small, model)))
    width = max(len(name) for name, _ in rows) + 2
    return [f"{file}, dry run", *(f"  {name:{width}}{text}" for name, text in rows), "OK"]


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value is not None else []


def _weights(file: Path, opt: Options, absent: list[Path]) -> list[tuple[str, str]]:
    rows = []
    for path in (Path(value) for key, value in opt["path"].items() if key.startswith("pretrain_") and value):
        maker = shipped_options.find(file.parent / f"{path.parent.parent.name}.yml")
        if path not in absent:
            text = f"{path}, loaded"
        elif maker.is_file():
            text = f"missing: {path}; to make it: basicsr train -opt {maker}"
        elif path.parent.name == "pretrained_models" and "HAT" in path.name:
            text = f"missing: {path}; get it from {OFFICIAL}"
        else:
            text = f"missing: {path}"
        rows.append(("weights", text))
    return rows or [("weights", "none to start from" if "train" in opt else "none: the network is untrained")]


def _memory(model: Any) -> str:
    tensors: list[torch.Tensor] = []
    for optimizer in model.optimizers:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        tensors += weights + [weight.grad for weight in weights if weight.grad is not None]
        tensors += [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    if hasattr(model, "net_g_ema"):
        tensors += model.net_g_ema.parameters()
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return f"{held / MIB:,.0f} MiB for weights, gradients, optimizer and EMA; the activations of a batch come on top"


def _tried(small: Options, model: Any) -> str:
    done = []
    if "train" in small:
        side = small["datasets"]["train"].get("gt_size")
        log = model.get_current_log()
        losses = ", ".join(f"{name} {value:.4g}" for name, value in log.items() if name.startswith("l_"))
        done.append(f"a step (batch 1{f', GT patch {side}x{side}' if side else ''}): {losses}")
    if small.get("val") and any(phase != "train" for phase in small["datasets"]):
        height, width = _validated(small)
        done.append(f"a validation (LR {height}x{width})")
    return f"{'; '.join(done)}; on {model.device}, with made-up images"
