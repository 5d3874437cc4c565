"""The checks that `hat_arch.config.reading.load` makes once the types of the options are right."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry
from pydantic import BaseModel

from ..inference.upscaler import OPTIONS
from ..training import wandb_log
from ..training.hat_model import HATModel
from ..weights.files import LEAST, WeightsError, fitting, read_weights
from . import schema
from .reading import DATA_REMEDY, SCHEDULERS, Key, Report, parameters, words_in_source

Options = dict[str, Any]


def networks(opt: Options) -> list[str]:
    """Keys of the networks: ``network_g``, and ``network_d`` and others where the model has them."""
    return [key for key in opt if key.startswith("network_") and isinstance(opt[key], dict)]


def registered_names(opt: Options, report: Report) -> None:
    """Every ``type`` must be in its registry."""
    registered(registry.MODEL_REGISTRY, ("model_type",), opt["model_type"], report)
    for name in networks(opt):
        registered(registry.ARCH_REGISTRY, (name, "type"), opt[name].get("type"), report)
    for name, dataset in opt["datasets"].items():
        registered(registry.DATASET_REGISTRY, ("datasets", name, "type"), dataset["type"], report)
    for name, metric in ((opt.get("val") or {}).get("metrics") or {}).items():
        registered(registry.METRIC_REGISTRY, ("val", "metrics", name, "type"), metric.get("type"), report)
    for name, loss in _losses(opt):
        registered(registry.LOSS_REGISTRY, ("train", name, "type"), loss.get("type"), report)


def _losses(opt: Options) -> list[tuple[str, Options]]:
    return [(k, v) for k, v in (opt.get("train") or {}).items() if k.endswith("_opt") and isinstance(v, dict)]


def registered(names: registry.Registry, key: Key, name: Any, report: Report) -> None:
    """``name`` must be in a registry."""
    if name is None:
        report.add(key, "is missing")
    elif name not in names and f"{name}_basicsr" not in names:  # Registry.get tries both
        known = sorted(names.keys())
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else "`basicsr archs` lists all"
        report.add(key, f"no {names._name} '{name}' is registered; {hint}")


def unknown_keys(opt: Options, model: type[BaseModel], report: Report) -> None:
    """Every key must be in the schema, or read by the class that the section is for."""
    of_model = words_in_source(registry.MODEL_REGISTRY.get(opt["model_type"]))
    of_networks = {
        f"{stem}_{name.removeprefix('network_')}"
        for name in networks(opt)
        for stem in ("pretrain_network", "param_key", "strict_load")
    }
    of_networks.add("ignore_resume_networks")

    if "tile" in opt:
        report.add(("tile",), _official_tile(opt["tile"]))
    _section(opt, (), model, {*networks(opt), *of_model, "find_unused_parameters", "tile"}, report)
    _section(opt["path"], ("path",), schema.PathOptions, of_networks, report)
    if "train" in opt:
        _section(opt["train"], ("train",), schema.Train, of_model, report)
        _section(opt["logger"], ("logger",), schema.Logger, (), report)
        _section(opt["logger"].get("wandb") or {}, ("logger", "wandb"), schema.Wandb, (), report)
    if opt.get("val"):
        _section(opt["val"], ("val",), schema.Val, of_model, report)
    for name, dataset in opt["datasets"].items():
        key = ("datasets", name)
        if name.split("_")[0] not in ("train", "val", "test"):
            report.add(key, "a data set is named train, val, val_2, …, or test_1, test_2, …")
        extra = words_in_source(registry.DATASET_REGISTRY.get(dataset["type"]))
        _section(dataset, key, schema.Dataset, {*extra, "num_prefetch_queue", "persistent_workers"}, report)


def _official_tile(section: Any) -> str:
    """What to write for the section of the official HAT's option files, whose size is without the pads."""
    try:
        size, pad = int(section["tile_size"]), int(section["tile_pad"])
    except (KeyError, TypeError, ValueError):
        size, pad = 512, 32
    same = f"tile: {size + 2 * pad}, tile_overlap: {2 * pad}, tile_blend: false"
    return f"is of the official HAT's option files; here the same is, below val: {same}"


def _section(values: Options, key: Key, model: type[BaseModel], extra: Iterable[str], report: Report) -> None:
    known = {*model.model_fields, *extra}
    for name in values:
        if name not in known:
            report.unknown((*key, name), model.model_fields)


def arguments(opt: Options, report: Report) -> None:
    """Arguments of networks, optimizers, schedulers, losses and metrics against the signatures of what they name."""
    for name in networks(opt):
        cls = registry.ARCH_REGISTRY.get(opt[name]["type"])
        _call(opt[name], (name,), cls.__init__, 1, report)
    for name, metric in ((opt.get("val") or {}).get("metrics") or {}).items():
        extra = {"better"}  # read by BasicSR's models
        function = registry.METRIC_REGISTRY.get(metric["type"])
        _call(metric, ("val", "metrics", name), function, 0, report, ignored=extra, given={"img", "img2"})
    for name, loss in _losses(opt):
        _call(loss, ("train", name), registry.LOSS_REGISTRY.get(loss["type"]).__init__, 1, report)

    train = opt.get("train") or {}
    for name, optimizer in ((k, v) for k, v in train.items() if k.startswith("optim_") and isinstance(v, dict)):
        cls = getattr(torch.optim, str(optimizer.get("type")), None)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
            report.add(("train", name, "type"), f"torch.optim has no optimizer {optimizer.get('type')!r}; try 'Adam'")
            continue
        _call(optimizer, ("train", name), cls.__init__, 2, report)
    if train:
        kind = train["scheduler"].get("type")
        if kind not in SCHEDULERS:
            report.add(("train", "scheduler", "type"), f"is {kind!r}; it may be {', '.join(SCHEDULERS)}")
        else:
            _call(train["scheduler"], ("train", "scheduler"), getattr(lr_scheduler, SCHEDULERS[kind]), 1, report)


def _call(
    values: Options,
    key: Key,
    function: Any,
    skip: int,
    report: Report,
    ignored: Iterable[str] = (),
    given: Iterable[str] = (),
) -> None:
    named, needed, takes_any = parameters(function, skip)
    passed = set(values) - {"type", *ignored}
    for name in sorted(passed - named):
        if not takes_any or difflib.get_close_matches(name, named, 1, 0.8):  # a typo, even where others are allowed
            report.unknown((*key, name), named - set(given))
    for name in sorted(needed - passed - set(given)):
        report.add(key, f"'{name}' is missing")


def datasets(opt: Options, report: Report, is_train: bool) -> None:
    """Folders, stores and files must exist; patches must fit the scale."""
    phases = {name.split("_")[0] for name in opt["datasets"]}
    if is_train and "train" not in phases:
        report.add(("datasets",), "has no 'train'")
    if is_train and opt.get("val") and not opt["val"].get("val_freq"):
        report.add(("val", "val_freq"), "is missing")
    for name, dataset in opt["datasets"].items():
        key = ("datasets", name)
        words = words_in_source(registry.DATASET_REGISTRY.get(dataset["type"]))
        for root in ("dataroot_gt", "dataroot_lq"):
            if dataset.get(root) is None and root in words:
                report.add(key, f"'{root}' is missing")
        for option, value in dataset.items():
            if option.startswith("dataroot") and value is not None:
                for folder in value if isinstance(value, list) else [value]:
                    _data_folder((*key, option), Path(folder).expanduser(), dataset, report)
        meta = dataset.get("meta_info_file")
        if meta and not Path(meta).is_file():
            report.missing((*key, "meta_info_file"), meta, "file")
        if name == "train":
            for needed in ("batch_size_per_gpu", "num_worker_per_gpu", "gt_size", "use_hflip", "use_rot"):
                if dataset.get(needed) is None and (needed in words or needed.endswith("_per_gpu")):
                    report.add(key, f"'{needed}' is missing")
            gt_size = dataset.get("gt_size")
            if gt_size and gt_size % opt["scale"]:
                report.add((*key, "gt_size"), f"{gt_size} is not a multiple of scale {opt['scale']}")


def _data_folder(key: Key, folder: Path, dataset: Options, report: Report) -> None:
    if dataset["io_backend"]["type"] == "lmdb":
        if folder.suffix != ".lmdb":
            report.add(key, f"'{folder}' is no LMDB store; its name must end in .lmdb")
        elif not folder.is_dir():
            report.missing(key, folder, "LMDB store", DATA_REMEDY)
        else:
            for needed in ("data.mdb", "meta_info.txt"):
                if not (folder / needed).is_file():
                    report.add(key, f"LMDB store '{folder}' has no {needed}; make it anew")
    elif not folder.is_dir():
        report.missing(key, folder, "folder", DATA_REMEDY)
    elif not any(folder.iterdir()):
        report.add(key, f"folder '{folder}' is empty")


def devices(opt: Options, report: Report) -> None:
    """Settles ``num_gpu``: without a GPU, 0."""
    if not torch.cuda.is_available():
        if opt["num_gpu"] not in (0, "auto"):
            print(f"num_gpu: {opt['num_gpu']}, but PyTorch sees no GPU: running on the CPU", file=sys.stderr)
        opt["num_gpu"] = 0
    elif opt["num_gpu"] != "auto" and opt["num_gpu"] > torch.cuda.device_count():
        count = torch.cuda.device_count()
        report.add(("num_gpu",), f"is {opt['num_gpu']}, but there are {count} here; 'auto' takes all")


def network(opt: Options, report: Report) -> None:
    """Networks must be buildable, enlarge by the scale, and fit their weights."""
    upscale = opt["network_g"].get("upscale", opt["scale"])
    if upscale != opt["scale"]:
        report.add(("network_g", "upscale"), f"is {upscale}, but scale is {opt['scale']}")
        return
    for name in networks(opt):
        try:
            cls = registry.ARCH_REGISTRY.get(opt[name]["type"])
            net = cls(**{key: value for key, value in opt[name].items() if key != "type"})
        except Exception as error:  # a constructor may raise anything
            report.add((name,), f"{opt[name]['type']} cannot be built: {' '.join(str(error).split())}")
            continue
        short = name.removeprefix("network_")
        weights = opt["path"].get(f"pretrain_network_{short}")
        if weights:
            strict = opt["path"].get(f"strict_load_{short}", True)
            _weights(("path", f"pretrain_network_{short}"), weights, net, opt, short, strict, report)
    resume = opt["path"].get("resume_state")
    if resume and not Path(resume).expanduser().is_file():
        report.missing(("path", "resume_state"), resume, "file")


def _weights(key: Key, file: str, net: torch.nn.Module, opt: Options, short: str, strict: bool, report: Report) -> None:
    path = Path(file).expanduser()
    if not path.is_file():
        report.missing(key, file, "file")
        return
    try:
        content = read_weights(path)
    except WeightsError as error:
        report.add(key, f"'{file}' {error}")
        return
    wanted = opt["path"].get(f"param_key_{short}") or "params"
    if wanted not in content and "params" in content:
        wanted = "params"
    if wanted not in content:
        names = ", ".join(list(content)[:4]) or "none"
        report.add(("path", f"param_key_{short}"), f"'{file}' has no '{wanted}'; it has: {names}")
        return
    fit = fitting(content[wanted], net.state_dict())
    if (strict and not fit.complete) or len(fit.weights) < LEAST * fit.needed:
        remedy = "give the arguments that it was trained with"
        if strict and len(fit.weights) >= LEAST * fit.needed:
            remedy += f", or set strict_load_{short}: false to take what fits"
        report.add(key, f"'{file}' does not fit network_{short}: {'; '.join(fit.lines())}; {remedy}")


def training(opt: Options, report: Report) -> None:
    """Options of `HATModel` that have no effect, or cannot work."""
    train, logger = opt.get("train") or {}, opt.get("logger") or {}
    own = [
        name
        for name in ("accumulate", "compile", "channels_last", "clip_grad_norm", "max_bad_steps")
        if train.get(name)
    ]
    if train.get("precision", "fp32") != "fp32":
        own.append("precision")
    if not issubclass(registry.MODEL_REGISTRY.get(opt["model_type"]), HATModel):
        in_val = [("val", name) for name in OPTIONS if name in (opt.get("val") or {})]
        for key in [*(("train", name) for name in own), *in_val]:
            report.add(key, f"is for model_type HATModel, not {opt['model_type']}")
    known = {
        f"{dataset['name']}/{metric}"
        for name, dataset in opt["datasets"].items()
        if name.split("_")[0] == "val"
        for metric in (opt.get("val") or {}).get("metrics") or {}
    }
    if (logger.get("wandb") or {}).get("project"):
        if not logger.get("use_tb_logger"):
            report.add(("logger", "wandb"), "copies TensorBoard's log: set use_tb_logger: true too")
        if not wandb_log.installed():
            report.add(("logger", "wandb"), "needs a package: pip install wandb")
    for name in logger.get("keep_best") or ():
        if name not in known:
            listed = ", ".join(sorted(known)) or "none is validated"
            report.add(("logger", "keep_best"), f"no validation measures '{name}'; there are: {listed}")
