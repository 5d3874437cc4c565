"""``--dry_run``: an option file as far as the first step and a validation, on made-up images, in a temporary folder.

All is real but for the images, their number and size, and weights that are not there: the checks, the registered
classes, the loaders, the network, the loss, the optimizer's step, the metrics.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch import nn

from .. import config
from ..compat.registration import registered
from ..config import shipped_options
from ..config.files import absent_weights, build_for_shapes, model_of, without_absent_weights
from ..config.keys import networks
from ..config.reading import Options
from ..config.source import reads
from ..config.vgg import is_vgg, untrained_vgg
from ..data.benchmark_sets import BENCHMARK_SETS, RESTORATION_SETS
from ..data.stand_ins import stand_in
from ..utils.errors import UserError, in_one_line
from ..utils.files import from_home
from . import pipeline
from .measuring import where
from .run import Stopped, TrainingRun
from .start_summary import discriminator, network, training

LEAST_PATCH = 16  # pixels of LR
VALIDATED = (20, 14)  # pixels of LR: no whole windows
NIQE_SIDE = 256  # pixels of SR; it looks at blocks of 96x96
GROWTH = (1, 2, 4, 8)  # of both, tried one after the other
MIB = 2**20

MAKE = {
    "DF2K": "basicsr data prepare df2k FOLDER_OF_DIV2K_AND_FLICKR2K",
    "ImageNet": "basicsr data prepare imagenet FOLDER_OF_ILSVRC2012_TRAIN --skip_bad",
    "demo": "basicsr data demo",
    "DFWB": "basicsr data sub-images FOLDER_OF_ALL datasets/DFWB/HR_sub --size 288 --step 144; "
    "basicsr data lmdb datasets/DFWB/HR_sub datasets/DFWB/DFWB_HR_sub.lmdb",
    "DFO": "basicsr data sub-images FOLDER_OF_ALL datasets/DFO/HR_sub --size 480 --step 240; "
    "basicsr data lmdb datasets/DFO/HR_sub datasets/DFO/DFO_HR_sub.lmdb",
    **{f"{one.folder}/HR": f"put its {one.images} images there, whole" for one in RESTORATION_SETS},
    **{one.folder: "basicsr data prepare benchmarks FOLDER_WITH_ALL" for one in BENCHMARK_SETS},
}
"""Folder below ``datasets/``, or the last two folders → the command that makes it."""


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
    if videos := [dataset["type"] for dataset in opt["datasets"].values() if _is_video(dataset)]:
        tried = f"nothing but the checks: no videos can be made up for {videos[0]}"
        return "\n".join(_summary(Path(file), opt, tried, None, absent))
    for growth in GROWTH:  # some networks take no small images
        with TemporaryDirectory(prefix="basicsr_dry_run_") as folder, _quiet(), _missing_vgg(absent):
            small = reduced(opt, Path(folder), absent, growth)
            run = TrainingRun(small, dry=True)
            try:
                (pipeline.train if is_train else pipeline.test)(small, ["-opt", str(file)], Path(folder), run)
                done = _steps(small, run.model, growth)
                tried = f"{'; '.join(done)}; on {run.model.device}, with made-up images"
                return "\n".join(_summary(Path(file), opt, tried, run.model, absent))
            except (UserError, Stopped):
                raise
            except Exception as error:  # of a foreign network, model, data set, loss or metric
                failed, place, steps = error, where(opt, error), " and ".join(_steps(small, None, growth))
                if not _is_the_networks(error, run.model):
                    break
    raise UserError(f"{file}: {place} fails in {steps}: {in_one_line(failed)}") from failed


def _is_video(dataset: Options) -> bool:
    return "num_frame" in reads(registered(DATASET_REGISTRY, dataset["type"])).keys


def _missing_vgg(absent: list[Path]) -> contextlib.AbstractContextManager[object]:
    """Lets perceptual losses do with an untrained VGG, if the weights of a trained one are not there."""
    return untrained_vgg() if any(map(is_vgg, absent)) else contextlib.nullcontext()


def _is_the_networks(error: BaseException | None, model: Any) -> bool:
    """Whether an error, or what caused it, came from inside of a network."""
    kinds = {type(getattr(model, name)) for name in ("net_g", "net_d") if hasattr(model, name)}
    while error is not None:
        if any(type(frame.f_locals.get("self")) in kinds for frame, _ in traceback.walk_tb(error.__traceback__)):
            return True
        error = error.__cause__
    return False


def reduced(opt: Options, folder: Path, absent: list[Path], growth: int = 1) -> Options:
    """The options with images made in ``folder``, one step, batch 1, the smallest patch, and without absent weights.

    With ``growth``, patches are larger, up to those of the option file, and images for validation too.
    """
    small = deepcopy(opt)
    for key, value in opt["path"].items():
        if key == "resume_state" or (key.startswith("pretrain_") and value is not None and Path(value) in absent):
            small["path"][key] = None
    for phase, dataset in small["datasets"].items():
        size, scale = _validated(opt, growth), opt.get("scale", 1)
        if phase == "train":
            if dataset.get("gt_size"):
                dataset["gt_size"] = _gt_size(opt, growth)
                size = (dataset["gt_size"] // scale + 4,) * 2
            dataset.update(batch_size_per_gpu=1, num_worker_per_gpu=min(1, dataset["num_worker_per_gpu"]))
            dataset["dataset_enlarge_ratio"] = 1
        small["datasets"][phase] = stand_in(dataset, folder / phase, scale, size)
    for name, section in networks(small).items():
        small[name] = without_absent_weights(section)
    small |= {"gt_size": _gt_size(opt)} if "gt_size" in opt else {}
    small |= {"queue_size": 1} if opt.get("queue_size") else {}  # of the pairs that Real-ESRGAN's models mix
    if "train" in small:
        small["train"]["total_iter"] = 1
        if "net_d_iters" in small["train"] or "net_d_init_iters" in small["train"]:  # the generator learns too
            small["train"].update(net_d_iters=1, net_d_init_iters=0)
        small["logger"].update(use_tb_logger=False, wandb=None)
        if small.get("val"):
            small["val"]["val_freq"] = 2  # after the last step alone
    return small


def _gt_size(opt: Options, growth: int = 1) -> int:
    """Side of the GT patches: one window of the network; as given if there is a discriminator of one size alone."""
    given = opt["datasets"]["train"].get("gt_size") or opt["gt_size"]
    others = [section["type"] for name, section in networks(opt).items() if name != "network_g"]
    if not all(str(kind).startswith("UNetDiscriminatorSN") for kind in others):
        return given
    window = opt["network_g"].get("window_size", 1)
    return min(given, math.ceil(LEAST_PATCH / window) * window * growth * opt.get("scale", 1))


def _validated(opt: Options, growth: int = 1) -> tuple[int, int]:
    metrics = (opt.get("val") or {}).get("metrics") or {}
    if any(metric["type"] == "calculate_niqe" for metric in metrics.values()):
        return (math.ceil(NIQE_SIDE / opt.get("scale", 1)),) * 2
    return VALIDATED[0] * growth, VALIDATED[1] * growth


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without BasicSR's log, but for warnings; its log file, in the temporary folder, is closed in the end.

    A log that was open before stays open.
    """
    logger, disabled = logging.getLogger("basicsr"), logging.root.manager.disable
    before, known = list(logger.handlers), "basicsr" in basicsr_logger.initialized_logger
    logging.disable(max(logging.INFO, disabled))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        for handler in [handler for handler in logger.handlers if handler not in before]:
            logger.removeHandler(handler)
            handler.close()
        if not known:
            basicsr_logger.initialized_logger.pop("basicsr", None)


# what it says


def _summary(file: Path, opt: Options, tried: str, model: Any, absent: list[Path]) -> list[str]:
    count = sum(weights.numel() for weights in _network(opt, model).parameters())
    rows = [("network", f"{network(opt)}, {count:,} parameters"), *discriminator(opt, model)]
    rows += _weights(file, opt, absent)
    if "train" in opt:
        rows += [("training", training(opt)), *([("memory", _memory(model))] if model else [])]
    commands: dict[str, None] = {}  # in their order
    for phase, dataset in opt["datasets"].items():
        named = [key for key in dataset if key.startswith(("dataroot", "meta_info"))]
        roots = [root for key in named for root in _as_list(dataset[key])]
        missing = [root for root in roots if from_home(root) in absent]
        commands |= dict.fromkeys(filter(None, map(_how_to_make, missing)))
        label = "missing: " if missing else ""
        rows.append((phase, f"{dataset['name']}, {dataset['type']}; {label}{', '.join(missing or roots)}"))
    rows += [("" if n else "to make", command) for n, command in enumerate(commands)]
    rows.append(("tried", tried))
    width = max(len(name) for name, _ in rows) + 2
    return [f"{file}, dry run", *(f"  {name:{width}}{text}" for name, text in rows), "OK"]


def _how_to_make(root: str) -> str | None:
    """What makes the folder of a data set, if it is one that is known."""
    *_, parent, name = ("", *Path(root).parts)
    return next((MAKE[part] for part in (f"{parent}/{name}", *Path(root).parts) if part in MAKE), None)


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value is not None else []


def _network(opt: Options, model: Any) -> nn.Module:
    return model.get_bare_model(model.net_g) if model else build_for_shapes(without_absent_weights(opt["network_g"]))


def _weights(file: Path, opt: Options, absent: list[Path]) -> list[tuple[str, str]]:
    url = "https://download.pytorch.org/models"
    rows = [("weights", f"missing: {path}, of a perceptual loss: {url}/{path.name}") for path in absent if is_vgg(path)]
    for section in networks(opt).values():
        rows += [("weights", f"missing: {section[argument]}") for argument in absent_weights(section)]
    for path in (Path(value) for key, value in opt["path"].items() if key.startswith("pretrain_") and value):
        maker = shipped_options.find(file.parent / f"{path.parent.parent.name}.yml")
        if path not in absent:
            text = f"{path}, loaded"
        elif maker.is_file():
            text = f"missing: {path}; to make it: basicsr train -opt {maker}"
        elif model := model_of(path):
            text = f"missing: {path}; to have it: basicsr models get {model.name}"
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


def _steps(small: Options, model: Any, growth: int) -> list[str]:
    """What was done, and, with a model, the losses."""
    done = []
    if "train" in small:
        side = small["datasets"]["train"].get("gt_size") or small.get("gt_size")
        step = f"a step (batch 1{f', GT patch {side}x{side}' if side else ''})"
        log = model.get_current_log() if model else {}
        losses = ", ".join(f"{name} {value:.4g}" for name, value in log.items() if name.startswith("l_"))
        done.append(f"{step}: {losses}" if losses else step)
    if small.get("val") and any(phase != "train" for phase in small["datasets"]):
        height, width = _validated(small, growth)
        done.append(f"a validation (LR {height}x{width})")
    return done
