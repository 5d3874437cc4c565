"""What a ``type`` names must be registered, and take the other keys of its section as arguments."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Set
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from .problems import Key, Problems, did_you_mean
from .reading import Options

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
    """The classes of the model and of the data sets must be registered; `keys` says what else their sections hold."""
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
    if name in entries or f"{name}_basicsr" in entries:  # Registry.get tries both
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
