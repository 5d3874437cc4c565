"""Puts classes and functions into BasicSR's registries, each once, and builds networks from them."""

from __future__ import annotations

import warnings
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, Registry
from torch import nn


def register(registry: Registry, cls: Any) -> None:
    """Registers ``cls``, a class or a function, under its name; again, if its module is imported again.

    Raises:
        ImportError: another package has registered another class under that name.
    """
    name = cls.__name__
    present: Any = registry._obj_map.get(name)
    if present is None:
        registry.register(cls)
    elif present.__module__ == cls.__module__:
        registry._obj_map[name] = cls  # the module was reloaded
    else:
        raise ImportError(
            f"{present.__module__} has already registered a {registry._name} named {name!r}; {cls.__module__} has one "
            "too. Only one of the two can be used in a process: uninstall the other, or do not load it."
        )


def replace(registry: Registry, cls: type) -> None:
    """Puts a subclass of a class of BasicSR's in its place, under BasicSR's name ``<name>_basicsr``.

    So another package may still register one of its own under the plain name, which then goes first.
    """
    registry._obj_map[f"{cls.__name__}_basicsr"] = cls


def registered(registry: Registry, name: str) -> Any:
    """The entry of that name; BasicSR has some of its own under ``<name>_basicsr``.

    Raises:
        KeyError: there is none.
    """
    entries: dict[str, Any] = registry._obj_map  # its own ``get`` prints a line when it adds the ending
    return entries[name] if name in entries else entries[f"{name}_basicsr"]


def build(options: dict[str, Any]) -> nn.Module:
    """The network of a ``network_g`` section, with fresh weights.

    Raises:
        TypeError: what is registered makes none, or takes other arguments. A constructor may raise anything else.
    """
    arguments = {key: value for key, value in options.items() if key != "type"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # of BasicSR's SwinIR
        network = registered(ARCH_REGISTRY, options["type"])(**arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(f"makes no torch.nn.Module, but {network!r}")
    return network
