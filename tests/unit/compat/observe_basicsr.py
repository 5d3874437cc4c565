"""What BasicSR does in a process, in numbers and names: alone, after ``import hat_arch``, and after one of its runs.

``python observe_basicsr.py FOLDER`` writes ``observed.json`` there. It is a process of its own, since an import can be
tried only once in each. BasicSR alone is made importable by `hat_arch.compat.importable`, loaded as a single file.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import json
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

SCALE = 4
PAIRED = {"name": "pairs", "type": "PairedImageDataset", "dataroot_gt": "gt", "dataroot_lq": "lq", "scale": SCALE}
TRAIN = {"phase": "train", "gt_size": 32, "use_hflip": True, "use_rot": True}
LOADER = {"num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "dataset_enlarge_ratio": 2}
METRICS = {f"calculate_{name}": {"crop_border": 2, "test_y_channel": True} for name in ("psnr", "ssim")}
OPTIONS = {
    "name": "run",
    "model_type": "SRModel",
    "scale": SCALE,
    "num_gpu": 0,
    "manual_seed": 3,
    "datasets": {
        "train": PAIRED | LOADER | {"gt_size": 32, "use_hflip": True, "use_rot": True, "io_backend": {"type": "lmdb"}},
        "val": PAIRED | {"io_backend": {"type": "disk"}},
    },
    "network_g": {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 4},
    "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
    "train": {
        "ema_decay": 0.9,
        "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [1], "gamma": 0.5},
        "total_iter": 3,
        "warmup_iter": -1,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    },
    "val": {
        "val_freq": 2,
        "save_img": True,
        "suffix": None,
        "metrics": {name: {"type": name} | METRICS[name] for name in METRICS},
    },
    "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
}
OURS = {"name": "ours", "model_type": "HATModel"}
HAT = {
    "type": "HAT",
    "upscale": 4,
    "window_size": 4,
    "depths": [1],
    "embed_dim": 12,
    "num_heads": [2],
    "squeeze_factor": 4,
}


def digest(value: Any) -> str:
    """Of an array, a tensor, or weights by name."""
    parts = value.items() if isinstance(value, dict) else [("", value)]
    arrays = [(name, np.ascontiguousarray(torch.as_tensor(part).detach().numpy())) for name, part in parts]
    return hashlib.md5(repr([(name, array.shape, array.tobytes()) for name, array in arrays]).encode()).hexdigest()


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What a call returns or raises."""
    try:
        value = call(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return digest(value) if isinstance(value, torch.Tensor | np.ndarray) else repr(value)


def make_data() -> None:
    """Two pairs in ``gt/`` and ``lq/``, the same in LMDB stores by BasicSR's own function, and the list of the GT."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    draw = np.random.default_rng(0)
    names, sizes = ("a.png", "b.png"), {"gt": (48, 64), "lq": (12, 16)}
    for part, size in sizes.items():
        Path(part).mkdir()
        for name in names:
            cv2.imwrite(f"{part}/{name}", cv2.resize(draw.integers(0, 256, (6, 8, 3), np.uint8), size[::-1]))
        make_lmdb_from_imgs(part, f"{part}.lmdb", names, [name[0] for name in names], map_size=1 << 20)
    Path("list.txt").write_text("a.png (48,64,3)\n")


def pipelines(folder: Path) -> dict[str, Any]:
    """A run of BasicSR's own training pipeline and one of its test pipeline: options, weights, images, metrics."""
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage().partition("[eta")[0])

    logger, keep = logging.getLogger("basicsr"), Keep()
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    options = copy.deepcopy(OPTIONS)
    for section in options["datasets"].values():
        for root in ("dataroot_gt", "dataroot_lq"):
            section[root] += ".lmdb" if section["io_backend"]["type"] == "lmdb" else ""
    file, command_line = folder.with_suffix(".yml"), sys.argv
    try:
        file.write_text(yaml.safe_dump(options, sort_keys=False))
        sys.argv = ["train.py", "-opt", str(file), "--force_yml", "train:ema_decay=0.5"]
        train_pipeline(str(folder))
        options["datasets"] = {"test": options["datasets"]["val"]}
        options["path"]["pretrain_network_g"] = f"{folder}/experiments/run/models/net_g_latest.pth"
        file.write_text(yaml.safe_dump(options, sort_keys=False))
        sys.argv = ["test.py", "-opt", str(file)]
        test_pipeline(str(folder))
    finally:
        sys.argv = command_line
        logger.removeHandler(keep)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".pth", ".png", ".state"))
    return {
        "log": [line for line in lines if folder.name not in line],
        "files": list(map(str, files)),
        "weights": {
            path.name: {key: digest(weights) for key, weights in torch.load(folder / path, weights_only=True).items()}
            for path in files
            if path.suffix == ".pth"
        },
        "images": {str(path): digest(cv2.imread(str(folder / path))) for path in files if path.suffix == ".png"},
    }


def model(folder: Path) -> dict[str, Any]:
    """`SRModel`, driven by hand: a step, a test, a validation, a checkpoint, and one that goes on from it."""
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    torch.manual_seed(0)
    paths = {key: str(folder) for key in ("models", "training_states", "visualization")}
    options = copy.deepcopy(OPTIONS) | {"is_train": True, "dist": False, "rank": 0, "world_size": 1}
    options["path"] |= paths
    folder.mkdir()
    sr = build_model(options)
    pair = next(iter(dataset := build_dataset(OPTIONS["datasets"]["val"] | {"phase": "val"})))
    sr.feed_data({key: value[None] for key, value in pair.items() if key in ("lq", "gt")})
    sr.update_learning_rate(1)
    sr.optimize_parameters(1)
    seen: dict[str, Any] = {"class": str(type(sr)), "log": dict(sr.get_current_log()), "methods": sorted(dir(sr))}
    sr.test()
    seen["visuals"] = {name: digest(image) for name, image in sr.get_current_visuals().items()}
    sr.validation(torch.utils.data.DataLoader(dataset), 1, None, save_img=True)
    seen["metrics"] = {name: float(value) for name, value in sr.metric_results.items()}
    sr.save(0, 1)
    seen["files"] = sorted(path.name for path in folder.rglob("*"))
    state = torch.load(folder / "1.state", weights_only=False)
    seen["state"] = sorted(state)
    sr.resume_training(state)
    seen["learning rate"] = sr.get_current_learning_rate()
    return seen


def data_sets() -> dict[str, Any]:
    """Items of BasicSR's data sets, from folders, by a list and from LMDB stores."""
    from basicsr.data import build_dataset

    single = {"name": "single", "type": "SingleImageDataset", "dataroot_lq": "lq", "phase": "test"}
    sections = {
        "pairs": PAIRED | TRAIN,
        "listed": PAIRED | TRAIN | {"meta_info_file": "list.txt"},
        "stored": PAIRED | {"dataroot_gt": "gt.lmdb", "dataroot_lq": "lq.lmdb", "phase": "val", "color": "y"},
        "single": single,
        "absent": PAIRED | {"dataroot_gt": "absent", "phase": "val"},
    }
    seen = {}
    for name, section in sections.items():
        random.seed(0)
        backend = {"io_backend": {"type": "lmdb" if name == "stored" else "disk"}}
        try:
            seen[name] = [
                {key: value if isinstance(value, str) else digest(value) for key, value in item.items()}
                for dataset in [build_dataset(section | backend)]
                for item in map(dataset.__getitem__, range(len(dataset)))
            ]
        except FileNotFoundError as error:
            seen[name] = str(error)
    return seen


def losses_and_metrics() -> dict[str, str]:
    """BasicSR's losses and metrics on one pair of images, and what they raise for wrong arguments."""
    from basicsr.losses import build_loss
    from basicsr.metrics import calculate_metric

    draw = torch.Generator().manual_seed(0)
    sr, gt = (torch.rand(1, 3, 16, 16, generator=draw) for _ in range(2))
    images = {"img": (sr[0].numpy().transpose(1, 2, 0) * 255), "img2": (gt[0].numpy().transpose(1, 2, 0) * 255)}
    seen = {}
    for loss in ("L1Loss", "MSELoss", "CharbonnierLoss", "WeightedTVLoss"):
        for reduction in ("mean", "sum", "unknown"):
            built = {"type": loss, "loss_weight": 0.5, "reduction": reduction}
            pair = (sr,) if loss == "WeightedTVLoss" else (sr, gt)
            seen[f"{loss} {reduction}"] = outcome(lambda built=built, pair=pair: build_loss(built)(*pair))
    for metric, arguments in METRICS.items():
        for order in ("HWC", "unknown"):
            asked = {"type": metric, "input_order": order} | arguments
            seen[f"{metric} {order}"] = outcome(calculate_metric, images, asked)
    seen["sizes"] = outcome(calculate_metric, images | {"img2": images["img2"][1:]}, asked)
    return seen


def schedulers() -> dict[str, list[float]]:
    """The learning rates of BasicSR's own schedulers."""
    from basicsr.models import lr_scheduler

    seen = {}
    for cls, arguments in (
        (
            lr_scheduler.MultiStepRestartLR,
            {"milestones": [2, 5], "gamma": 0.5, "restarts": [4], "restart_weights": [2]},
        ),
        (lr_scheduler.CosineAnnealingRestartLR, {"periods": [3, 5], "restart_weights": [1, 0.5], "eta_min": 1e-7}),
    ):
        optimizer = torch.optim.Adam([torch.zeros(1)], lr=1e-3)
        scheduler = cls(optimizer, **arguments)
        rates = seen[cls.__name__] = []
        for _ in range(8):
            optimizer.step()
            scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
    return seen


def registries(names: dict[str, list[str]]) -> dict[str, Any]:
    """What BasicSR's names stand for, with and without their ending ``_basicsr``; unknown and doubled ones."""
    from basicsr.utils import registry

    seen: dict[str, Any] = {}
    for kind, known in names.items():
        table = getattr(registry, kind)
        for name in known:
            entry = table.get(name)
            ancestors = entry.__mro__ if entry.__module__.startswith("hat_arch.") else (entry,)
            theirs = next((one for one in ancestors if one.__module__.startswith("basicsr.")), entry)
            seen[f"{kind} {name}"] = str(id(theirs))  # subclasses count as theirs
        seen[f"{kind} unknown"] = outcome(table.get, "Unknown")
        seen[f"{kind} twice"] = outcome(table.register, table.get(known[0]))
    return seen


def names_of_basicsr() -> dict[str, list[str]]:
    from basicsr.utils import registry

    kinds = [name for name in dir(registry) if name.endswith("_REGISTRY")]
    tables = {kind: list(getattr(registry, kind).keys()) for kind in kinds}
    return {kind: sorted({*names, *(n.removesuffix("_basicsr") for n in names)}) for kind, names in tables.items()}


def attributes() -> dict[str, int]:
    """Identity of all that BasicSR's modules and classes hold."""
    seen = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "basicsr":
            for key, value in vars(module).items():
                seen[f"{name}.{key}"] = id(value)
                if inspect.isclass(value) and value.__module__ == name:
                    seen |= {f"{name}.{key}.{inner}": id(held) for inner, held in vars(value).items()}
    return {key: value for key, value in seen.items() if not key.endswith("__")}


def process() -> dict[str, str]:
    """Settings of the process that are no one package's own."""
    import matplotlib
    from PIL import Image, ImageFile

    handlers = [(type(handler).__name__, handler.level, handler.filters) for handler in _logger().handlers]
    seen = {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "command line": sys.argv,
        "import path": sys.path,
        "hooks": (sys.excepthook, sys.displayhook, warnings.showwarning),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": warnings.filters,
        "logging": (logging.root.level, logging.root.handlers, logging.root.manager.disable),
        "BasicSR's logger": (_logger().level, _logger().propagate, _logger().filters, handlers),
        "threads": (torch.get_num_threads(), cv2.getNumThreads()),
        "types": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_autocast_enabled()),
        "precision": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "NumPy": (np.geterr(), np.get_printoptions()),
        "YAML": (sorted(map(str, yaml.SafeLoader.yaml_constructors)), sorted(map(str, yaml.Loader.yaml_constructors))),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "Matplotlib": dict.__getitem__(matplotlib.rcParams, "backend"),  # without choosing one, as rcParams[…] does
    }
    return {name: repr(value) for name, value in seen.items()}


def _logger() -> logging.Logger:
    return logging.getLogger("basicsr")


def observe(folder: Path, names: dict[str, list[str]]) -> dict[str, Any]:
    """All of the above; BasicSR writes below ``folder``."""
    return {
        "pipelines": pipelines(folder),
        "model": model(folder / "by hand"),
        "data sets": data_sets(),
        "losses and metrics": losses_and_metrics(),
        "schedulers": schedulers(),
        "registries": registries(names),
        "attributes": attributes(),
        "process": process(),
    }


def run_ours() -> None:
    """A dry run and a training of this project's in the same process."""
    from hat_arch import config
    from hat_arch.training import dry_run, pipeline

    options = copy.deepcopy(OPTIONS) | OURS | {"network_g": HAT}
    options["datasets"]["train"]["io_backend"] = {"type": "disk"}
    for section in options["datasets"].values():
        section["type"] = "SeededPairedDataset"
    file = Path("ours.yml")
    file.write_text(yaml.safe_dump(options, sort_keys=False))
    dry_run.dry_run(file, is_train=True)
    pipeline.train(config.load(str(file), is_train=True), ["-opt", str(file)], Path("ours").absolute())


def random_states() -> str:
    return repr([digest(torch.get_rng_state()), np.random.get_state(), random.getstate()])


def main(folder: Path) -> None:
    os.chdir(folder)
    source = Path(__file__).parents[3] / "hat_arch/compat/importable.py"
    spec = importlib.util.spec_from_file_location("importable", source)
    importable = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(importable)
    importable.make_importable()
    make_data()
    names = names_of_basicsr()
    observed = {"alone": observe(Path("alone").absolute(), names)}

    before = random_states()
    import hat_arch  # noqa: F401

    drawn = before != random_states()
    observed["imported"] = observe(Path("imported").absolute(), names)
    run_ours()
    observed["after a run"] = observe(Path("after").absolute(), names)
    Path("observed.json").write_text(json.dumps(observed | {"drawn by the import": drawn}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
