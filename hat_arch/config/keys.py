"""Every key must be read by something, and have an effect here; what a ``type`` names must be registered."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Set
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ..compat.registration import registered
from ..utils import extras
from . import schema
from .problems import Key, Problems, did_you_mean
from .reading import Options
from .source import needed, reads
from .values import check_types, number_in_quotes

FROM_BASICSR = {"dist", "is_train", "rank", "world_size"}  # that its pipelines add
OF_NETWORKS = ("pretrain_network", "param_key", "strict_load")  # each with _g, _d, … below path:
OPTIMIZERS = {name: cls for name, cls in vars(torch.optim).items() if isinstance(cls, type) and name != "Optimizer"}
SCHEDULERS = {  # that BasicSR's models know
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
}

RENAMED = {
    "pretrain_model_g": "pretrain_network_g",
    "pretrain_model_d": "pretrain_network_d",
    "strict_load": "strict_load_g",
    "use_flip": "use_hflip",
    "num_worker": "num_worker_per_gpu",
    "batch_size": "batch_size_per_gpu",
    "niter": "total_iter",
    "gpu_ids": "num_gpu",
    "artifacts_opt": "ldl_opt",
    "fix_iter": "fix_flow",
    "BasicVSRModel": "VideoRecurrentModel",
}
"""Keys and names of older option files of BasicSR → what they are called now."""
GONE = {"set_CUDA_VISIBLE_DEVICES", "crop_border", "suffix", "save_img"}
"""Keys on top of older option files of BasicSR that nothing reads any more."""
OF_LOADERS = {"name", "type", "io_backend", "dataroot_gt", "use_shuffle", "batch_size_per_gpu", "num_worker_per_gpu"}
OF_LOADERS |= {"dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers"}
"""Keys of a data set that its class need not read."""


def networks(opt: Options) -> dict[str, Options]:
    """The sections of networks: ``network_g``, and ``network_d`` and others where the model has them."""
    return {key: value for key, value in opt.items() if key.startswith("network_") and isinstance(value, dict)}


def check_model_and_datasets(opt: Options, problems: Problems) -> None:
    """The classes of the model and of the data sets must be registered."""
    _is_registered(("model_type",), opt["model_type"], "model", MODEL_REGISTRY, problems)
    for name, dataset in opt["datasets"].items():
        _is_registered(("datasets", name, "type"), dataset["type"], "dataset", DATASET_REGISTRY, problems)


def check_calls(opt: Options, problems: Problems) -> None:
    """Networks, metrics, losses, optimizers and scheduler must be registered, and take the arguments they are given."""
    for name, section in networks(opt).items():
        _check_call((name,), section, "arch", ARCH_REGISTRY, problems)
    for name, section in ((opt.get("val") or {}).get("metrics") or {}).items():
        _check_call(("val", "metrics", name), section, "metric", METRIC_REGISTRY, problems, {"img", "img2"})
    for name, section in (opt.get("train") or {}).items():
        key = ("train", name)
        if not isinstance(section, dict):
            continue
        if name == "scheduler":
            _check_call(key, section, "scheduler", SCHEDULERS, problems, {"optimizer"})
        elif name.startswith("optim_"):
            _check_call(key, section, "optimizer", OPTIMIZERS, problems, {"params"})
        elif name.endswith("_opt"):
            _check_call(key, section, "loss", LOSS_REGISTRY, problems)


def _is_registered(key: Key, name: Any, kind: str, entries: Any, problems: Problems) -> bool:
    """Whether a registry, or a dict, has an entry of that name."""
    if str(name) in entries or f"{name}_basicsr" in entries:  # Registry.get tries both
        return True
    if name is None:
        problems.add(key, "is missing")
    else:
        known = ", ".join(entries) if isinstance(entries, dict) else "`basicsr archs` lists all"
        now = RENAMED.get(str(name))
        hint = f"; it is {now} now" if now else did_you_mean(str(name), entries.keys()) or f"; there are: {known}"
        problems.add(key, f"no {kind} '{name}' is registered{hint}")
    return False


def _check_call(
    key: Key, section: Options, kind: str, entries: Any, problems: Problems, passed: Set[str] = frozenset()
) -> None:
    """A section's ``type`` is called with its other keys, beside ``passed``, the arguments that BasicSR adds."""
    if not _is_registered((*key, "type"), section.get("type"), kind, entries, problems):
        return
    owner = entries[section["type"]] if isinstance(entries, dict) else registered(entries, section["type"])
    parameters = inspect.signature(owner).parameters.values()
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    allowed = named.keys() - passed
    given = section.keys() - {"type"}
    if kind == "metric" and "better" in given:  # BasicSR takes whatever is not "higher" for "lower"
        given -= {"better"}
        if section["better"] not in ("higher", "lower"):
            problems.add((*key, "better"), f"should be higher or lower, is {section['better']!r}")
    for name in sorted(given - allowed):
        if not takes_any or difflib.get_close_matches(name, allowed, 1, 0.8):  # a typo, even if others are allowed
            problems.add_unknown((*key, name), allowed)
    for name in sorted(allowed - given):
        if named[name].default is inspect.Parameter.empty or (kind, name) == ("optimizer", "lr"):
            problems.add(key, f"'{name}' is missing")
    check_types(key, {name: section[name] for name in section if name in given}, owner, problems, kind == "arch")


def check_keys(opt: Options, model: type[schema.Section], problems: Problems) -> None:
    """Every key must be in the schema, or be read by the class that its section is for.

    One that only other classes read is noted, unless it is a loss, a network or a sharpened ground truth, without which
    a training is another.
    """
    of_model = reads(registered(MODEL_REGISTRY, opt["model_type"]))
    of_networks = {f"{stem}_{name.removeprefix('network_')}" for name in networks(opt) for stem in OF_NETWORKS}
    elsewhere = {section: schema.KNOWN - section.model_fields.keys() for section in (model, schema.Train, schema.Val)}
    logger, type_ = opt.get("logger") or {}, opt["model_type"]
    sections: list[tuple[Key, Options | None, type[schema.Section], Iterable[str], str]] = [
        ((), opt, model, of_model.words - (elsewhere[model] - of_model.top), type_),
        (("path",), opt["path"], schema.PathOptions, of_networks, type_),
        (("train",), opt.get("train"), schema.Train, of_model.words - elsewhere[schema.Train], type_),
        (("val",), opt.get("val"), schema.Val, of_model.words - elsewhere[schema.Val], type_),
        (("tile",), opt.get("tile"), schema.Tile, (), type_),
        (("dist_params",), opt.get("dist_params"), schema.DistParams, (), type_),
        (("logger",), logger, schema.Logger, (), type_),
        (("logger", "wandb"), logger.get("wandb"), schema.Wandb, (), type_),
    ]
    for name, dataset in opt["datasets"].items():
        if name.split("_")[0] not in ("train", "val", "test"):
            problems.add(("datasets", name), "a data set is named train, val, val_2, …, or test_1, test_2, …")
        words = reads(registered(DATASET_REGISTRY, dataset["type"])).words
        sections.append((("datasets", name), dataset, schema.Dataset, words, dataset["type"]))
        for option in sorted(dataset.keys() & schema.Dataset.model_fields.keys() - OF_LOADERS - words):
            if dataset[option] not in (None, False):
                problems.note(("datasets", name, option), f"{dataset['type']} does not read it")
    for key, values, section, others, reader in sections:
        for name, value in (values or {}).items():
            if name in section.model_fields:
                continue
            if name not in others:
                _unread((*key, name), value, reader, section, problems)
            elif not isinstance(value, dict) and (text := number_in_quotes(value)):
                problems.add((*key, name), f"{text!r} is text; a number has no quotes")


def _unread(key: Key, value: Any, reader: str, section: type[schema.Section], problems: Problems) -> None:
    """A key that neither the schema knows nor the class ``reader`` reads: a note, or a problem."""
    name, registry = key[-1], DATASET_REGISTRY if key[0] == "datasets" else MODEL_REGISTRY
    if now := RENAMED.get(name):
        problems.add(key, f"is called {now} now")
        return
    gone = name in GONE and len(key) == 1
    if not gone and (place := _place(name)) not in (None, key[0]):
        problems.add(key, f"belongs below {place}:")
        return
    others = [entry.removesuffix("_basicsr") for entry, cls in registry if name in reads(cls).keys]
    if value is None and (gone or others):
        return
    if name.startswith("network_") or name.endswith("_opt") or (name.endswith("gt_usm") and value):
        hint = f"; model_type may be: {', '.join(others)}" if others else did_you_mean(name, section.model_fields)
        problems.add(key, f"{reader} has no use for it{hint}")
    elif gone or others:
        problems.note(key, f"{reader} does not read it")
    else:
        problems.add_unknown(key, section.model_fields)


def _place(name: str) -> str | None:
    """The section that has a key; None if no section has, or a data set's."""
    sections: dict[str, type[schema.Section]]
    sections = {"train": schema.Train, "val": schema.Val, "logger": schema.Logger, "path": schema.PathOptions}
    return next((place for place, section in sections.items() if name in section.model_fields), None)


def check_needed(opt: Options, problems: Problems) -> None:
    """What the model, and the data sets, read without asking must be there. Drops an empty ``scale``.

    A model of this project says more of itself: in ``needed_options``, and by ``option_problems``.
    """
    cls = registered(MODEL_REGISTRY, opt["model_type"])
    datasets = [registered(DATASET_REGISTRY, dataset["type"]) for dataset in opt["datasets"].values()]
    if opt.get("scale") is None:
        opt.pop("scale", None)
    if "scale" not in opt and (_sections(cls) or any("scale" in reads(dataset).keys for dataset in datasets)):
        problems.add(("scale",), "is missing")
    if "train" not in opt:
        return
    top, train = needed(cls)
    on_top = top - schema.TrainOptions.model_fields.keys() - FROM_BASICSR - opt.keys()
    degrades = opt.get("high_order_degradation", True)  # without it, Real-ESRGAN's models need less
    own: dict[str, Set[str]] = getattr(cls, "needed_options", {})
    missing = {"model_type": on_top if degrades else set(), "train": train - opt["train"].keys()}
    missing["model_type"] |= own.get("model_type", set()) - opt.keys()
    missing["train"] |= own.get("train", set()) - opt["train"].keys()
    for key, names in missing.items():
        if names:
            problems.add((key,), f"{opt['model_type']} needs, and this file lacks: {', '.join(sorted(names))}")
    queue, batch = opt.get("queue_size", 180), opt["datasets"].get("train", {}).get("batch_size_per_gpu", 1)
    if hasattr(cls, "option_problems"):
        for place, problem in cls.option_problems(opt) if not problems.found else ():
            problems.add(place, problem)
    elif "queue_size" in reads(cls).top and queue % batch:
        problems.add(("queue_size",), f"{queue} is not a multiple of batch_size_per_gpu {batch}")


def check_effect(opt: Options, problems: Problems) -> None:
    """Settings must have an effect with this model and these data sets."""
    known = _sections(registered(MODEL_REGISTRY, opt["model_type"]))
    for section in schema.HAT_MODEL_ONLY.keys() - known:
        for name in sorted(schema.HAT_MODEL_ONLY[section] & (opt.get(section) or {}).keys()):
            if opt[section][name] not in (None, False, "fp32", "torch"):  # as other models do it
                problems.add((section, name), f"is for model_type HATModel, not {opt['model_type']}")
    if "tile" in opt and "val" not in known:
        problems.note(("tile",), f"{opt['model_type']} does not read it")
    elif "tile" in opt and (opt.get("val") or {}).get("tile") is not None:
        problems.add(("tile",), "val.tile is there too; keep one of them")
    logger = opt.get("logger") or {}
    if (logger.get("wandb") or {}).get("project") and not logger.get("use_tb_logger"):
        problems.add(("logger", "wandb"), "copies TensorBoard's log: set use_tb_logger: true too")
    validated = [dataset["name"] for name, dataset in opt["datasets"].items() if name.split("_")[0] == "val"]
    metrics = (opt.get("val") or {}).get("metrics") or {}
    measured = sorted(f"{dataset}/{metric}" for dataset in validated for metric in metrics)
    for name in sorted(set(logger.get("keep_best") or ()) - set(measured)):
        listed = ", ".join(measured) or "none is validated"
        problems.add(("logger", "keep_best"), f"no validation measures '{name}'; there are: {listed}")


def check_here(opt: Options, problems: Problems) -> None:
    """Settings must have an effect on this machine, with the packages that are installed."""
    _settle_num_gpu(opt, problems)
    if not extras.installed(engine := (opt.get("val") or {}).get("engine") or "torch"):
        problems.add(("val", "engine"), f"is not installed: {extras.remedy(engine)}")
    wandb = ((opt.get("logger") or {}).get("wandb") or {}).get("project")
    if wandb and "wandb" not in sys.modules and importlib.util.find_spec("wandb") is None:
        problems.add(("logger", "wandb"), "needs a package: pip install wandb")


def _sections(model: type) -> Set[str]:
    """The sections in which a model reads keys of `schema.HAT_MODEL_ONLY`."""
    return getattr(model, "hat_sections", frozenset())


def _settle_num_gpu(opt: Options, problems: Problems) -> None:
    """Without a GPU, ``num_gpu`` becomes 0, and what readies data for one is left out."""
    wanted, count = opt["num_gpu"], torch.cuda.device_count()
    if not count:
        if wanted not in (0, "auto"):
            print(f"num_gpu: {wanted}, but PyTorch sees no GPU: running on the CPU", file=sys.stderr)
        opt["num_gpu"] = 0
        for name, dataset in opt["datasets"].items():
            dataset.pop("pin_memory", None)  # is for the way to a GPU
            if dataset.get("prefetch_mode") == "cuda":
                problems.note(("datasets", name, "prefetch_mode"), "there is no GPU")
                del dataset["prefetch_mode"]
    elif wanted != "auto" and wanted > count:
        problems.add(("num_gpu",), f"is {wanted}, but there are {count} here; 'auto' takes all")
