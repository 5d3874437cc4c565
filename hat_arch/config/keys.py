"""Every key must be read by something, and have an effect here; what a ``type`` names must be registered."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Set
from functools import cache
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from . import schema
from .problems import Key, Problems, did_you_mean
from .reading import Options

OF_NETWORKS = ("pretrain_network", "param_key", "strict_load")  # each with _g, _d, … below path:
OPTIMIZERS = {name: cls for name, cls in vars(torch.optim).items() if isinstance(cls, type) and name != "Optimizer"}
SCHEDULERS = {  # that BasicSR's models know
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
}


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
        hint = did_you_mean(str(name), entries.keys()) or f"; there are: {known}"
        problems.add(key, f"no {kind} '{name}' is registered{hint}")
    return False


def _check_call(
    key: Key, section: Options, kind: str, entries: Any, problems: Problems, passed: Set[str] = frozenset()
) -> None:
    """A section's ``type`` is called with its other keys, beside ``passed``, the arguments that BasicSR adds."""
    if not _is_registered((*key, "type"), section.get("type"), kind, entries, problems):
        return
    parameters = inspect.signature(entries.get(section["type"])).parameters.values()
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    allowed = named.keys() - passed
    given = section.keys() - {"type", "better"}  # BasicSR's models read whether a lower or higher metric is better
    for name in sorted(given - allowed):
        if not takes_any or difflib.get_close_matches(name, allowed, 1, 0.8):  # a typo, even if others are allowed
            problems.add_unknown((*key, name), allowed)
    for name in sorted(allowed - given):
        if named[name].default is inspect.Parameter.empty:
            problems.add(key, f"'{name}' is missing")


def check_keys(opt: Options, model: type[schema.Section], problems: Problems) -> None:
    """Every key must be in the schema, or be read by the class that its section is for."""
    of_model = words_in_source(MODEL_REGISTRY.get(opt["model_type"]))
    of_networks = {f"{stem}_{name.removeprefix('network_')}" for name in networks(opt) for stem in OF_NETWORKS}
    if "tile" in opt:
        problems.add(("tile",), _instead_of_official(opt["tile"]))
    logger = opt.get("logger") or {}
    sections: list[tuple[Key, Options | None, type[schema.Section], Iterable[str]]] = [
        ((), opt, model, {*networks(opt), *of_model, "tile"}),
        (("path",), opt["path"], schema.PathOptions, of_networks),
        (("train",), opt.get("train"), schema.Train, of_model),
        (("val",), opt.get("val"), schema.Val, of_model),
        (("logger",), logger, schema.Logger, ()),
        (("logger", "wandb"), logger.get("wandb"), schema.Wandb, ()),
    ]
    for name, dataset in opt["datasets"].items():
        if name.split("_")[0] not in ("train", "val", "test"):
            problems.add(("datasets", name), "a data set is named train, val, val_2, …, or test_1, test_2, …")
        of_dataset = words_in_source(DATASET_REGISTRY.get(dataset["type"]))
        sections.append((("datasets", name), dataset, schema.Dataset, of_dataset))
    for key, values, section, others in sections:
        for name in values or ():
            if name not in section.model_fields and name not in others:
                problems.add_unknown((*key, name), section.model_fields)


def _instead_of_official(tile: Any) -> str:
    """What to write in place of the official HAT's section ``tile``, whose sizes do not include the pads."""
    try:
        size, pad = int(tile["tile_size"]), int(tile["tile_pad"])
    except (KeyError, TypeError, ValueError):
        size, pad = 512, 32
    same = f"tile: {size + 2 * pad}, tile_overlap: {2 * pad}, tile_blend: false"
    return f"is of the official HAT's option files; here the same is, below val: {same}"


@cache
def words_in_source(cls: type) -> frozenset[str]:
    """Strings that could be keys in the modules that define a class and its bases: the options that it may read."""
    words: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "torch", "abc", "typing"):
            continue
        try:
            tree = ast.parse(inspect.getsource(inspect.getmodule(base) or base))
        except (OSError, TypeError):  # defined in a notebook or the like
            continue
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        words.update(value for value in constants if isinstance(value, str) and value.isidentifier())
    return frozenset(words)


def check_effect(opt: Options, problems: Problems) -> None:
    """Settings must have an effect with this model, these data sets and packages, and on this machine."""
    _settle_num_gpu(opt, problems)
    if not getattr(MODEL_REGISTRY.get(opt["model_type"]), "reads_hat_options", False):
        for section, keys in schema.HAT_MODEL_ONLY.items():
            for name in sorted(keys & (opt.get(section) or {}).keys()):
                if opt[section][name] not in (None, False, "fp32"):  # as other models do it
                    problems.add((section, name), f"is for model_type HATModel, not {opt['model_type']}")
    logger = opt.get("logger") or {}
    if (logger.get("wandb") or {}).get("project"):
        if not logger.get("use_tb_logger"):
            problems.add(("logger", "wandb"), "copies TensorBoard's log: set use_tb_logger: true too")
        if "wandb" not in sys.modules and importlib.util.find_spec("wandb") is None:
            problems.add(("logger", "wandb"), "needs a package: pip install wandb")
    validated = [dataset["name"] for name, dataset in opt["datasets"].items() if name.split("_")[0] == "val"]
    metrics = (opt.get("val") or {}).get("metrics") or {}
    measured = sorted(f"{dataset}/{metric}" for dataset in validated for metric in metrics)
    for name in sorted(set(logger.get("keep_best") or ()) - set(measured)):
        listed = ", ".join(measured) or "none is validated"
        problems.add(("logger", "keep_best"), f"no validation measures '{name}'; there are: {listed}")


def _settle_num_gpu(opt: Options, problems: Problems) -> None:
    """Without a GPU, ``num_gpu`` becomes 0."""
    wanted, count = opt["num_gpu"], torch.cuda.device_count()
    if not count:
        if wanted not in (0, "auto"):
            print(f"num_gpu: {wanted}, but PyTorch sees no GPU: running on the CPU", file=sys.stderr)
        opt["num_gpu"] = 0
    elif wanted != "auto" and wanted > count:
        problems.add(("num_gpu",), f"is {wanted}, but there are {count} here; 'auto' takes all")
