"""What a ``type`` names must be registered, and take the other keys of its section as arguments."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

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


class Choice(NamedTuple):
    """A section whose ``type`` names a class or function that is called with the other keys."""

    key: Key
    section: Options
    kind: str
    entries: Any
    """A registry, or a dict."""
    passed: frozenset[str] = frozenset()
    """Arguments that BasicSR passes by itself."""


def networks(opt: Options) -> dict[str, Options]:
    """The sections of networks: ``network_g``, and ``network_d`` and others where the model has them."""
    return {key: value for key, value in opt.items() if key.startswith("network_") and isinstance(value, dict)}


def _choices(opt: Options) -> Iterator[Choice]:
    for name, section in networks(opt).items():
        yield Choice((name,), section, "arch", ARCH_REGISTRY)
    for name, section in ((opt.get("val") or {}).get("metrics") or {}).items():
        yield Choice(("val", "metrics", name), section, "metric", METRIC_REGISTRY, frozenset(("img", "img2")))
    for name, section in (opt.get("train") or {}).items():
        key = ("train", name)
        if not isinstance(section, dict):
            continue
        if name == "scheduler":
            yield Choice(key, section, "scheduler", SCHEDULERS, frozenset(("optimizer",)))
        elif name.startswith("optim_"):
            yield Choice(key, section, "optimizer", OPTIMIZERS, frozenset(("params",)))
        elif name.endswith("_opt"):
            yield Choice(key, section, "loss", LOSS_REGISTRY)


def check_names(opt: Options, problems: Problems) -> None:
    """Model, data sets, networks, metrics, losses, optimizers and scheduler must be registered."""
    if "model_type" in opt:
        _check_name(("model_type",), opt["model_type"], "model", MODEL_REGISTRY, problems)
    for name, dataset in opt.get("datasets", {}).items():
        _check_name(("datasets", name, "type"), dataset["type"], "dataset", DATASET_REGISTRY, problems)
    for choice in _choices(opt):
        _check_name((*choice.key, "type"), choice.section.get("type"), choice.kind, choice.entries, problems)


def _check_name(key: Key, name: Any, kind: str, entries: Any, problems: Problems) -> None:
    if name is None:
        problems.add(key, "is missing")
    elif name not in entries and f"{name}_basicsr" not in entries:  # Registry.get tries both
        known = ", ".join(entries) if isinstance(entries, dict) else "`basicsr archs` lists all"
        hint = did_you_mean(str(name), entries.keys()) or f"; there are: {known}"
        problems.add(key, f"no {kind} '{name}' is registered{hint}")


def check_arguments(opt: Options, problems: Problems) -> None:
    """Arguments must be in the signature of what they are for, and those that it needs must be there."""
    for key, section, _, entries, passed in _choices(opt):
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
