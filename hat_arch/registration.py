"""Puts classes into BasicSR's registries, each once."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import Registry


def register(registry: Registry, cls: type) -> None:
    """Registers ``cls`` under its name; again, if its module is imported again.

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
