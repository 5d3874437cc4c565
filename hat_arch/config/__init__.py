"""Option files, read and checked before anything is created: ``config.load(file, is_train=True)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# The command's parsers import this package, and must start at once: all else is imported where it is needed.
from .problems import ConfigError, Problems

__all__ = ["ConfigError", "load", "read_datasets", "read_network"]


def load(
    file: str | Path,
    is_train: bool,
    overrides: Iterable[str] = (),
    absent: list[Path] | None = None,
    build_networks: bool = True,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Reads and checks an option file.

    Args:
        file: path of the YAML file, or the name of one that comes with the package.
        is_train: whether it is for training or for testing.
        overrides: assignments of ``--force_yml``, such as ``train:ema_decay=0.999``; the value is read as YAML.
        absent: if given, data and weights that are not on the disk are added to it, and are no errors.
        build_networks: whether to try if the networks can be built and fit their weights. One process of a run does.
        change: is called with the content of the file before it is checked, and may change it.

    Returns:
        A plain dict for BasicSR, with defaults filled in.

    Raises:
        ConfigError: something in it cannot work; lines of file, line, key and remedy.
    """
    from . import reading, shipped_options

    file = shipped_options.find(file)
    raw, lines = reading.read(file)
    for assignment in overrides:
        reading.override(raw, assignment)
    if change is not None:
        change(raw)
    problems = Problems(file, lines, absent)
    opt = check(raw, is_train, problems, build_networks)
    if build_networks:
        problems.say_notes()
    return opt


def check(
    raw: dict[str, Any], is_train: bool, problems: Problems, build_networks: bool = True, here: bool = True
) -> dict[str, Any]:
    """Checks the content of an option file: see `load`. ``here``: for this machine too, and what is installed on it.

    Raises:
        ConfigError: something in it cannot work.
    """
    from . import files, keys, schema, trials, values

    values.check_finite(raw, problems)
    problems.raise_if_any()
    model = schema.TrainOptions if is_train else schema.TestOptions
    opt = schema.validate(model, raw, problems)
    keys.check_model_and_datasets(opt, problems)
    problems.raise_if_any()
    keys.check_calls(opt, problems)
    keys.check_keys(opt, model, problems)
    keys.check_needed(opt, problems)
    keys.check_effect(opt, problems)
    if here:
        keys.check_here(opt, problems)
    files.check_datasets(opt, is_train, problems)
    files.find_models(opt, problems)
    problems.raise_if_any()
    if build_networks:
        trials.check_recipe(opt, problems)
        files.check_networks(opt, problems)
        problems.raise_if_any()
    return opt


def read_datasets(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The sections of ``datasets:`` of an option file, which may lack all else, and its ``scale``, 1 by default.

    Raises:
        ConfigError: no such file, or they are no such sections.
    """
    from . import reading, schema

    raw, lines = reading.read(file)
    opt = schema.validate(schema.DataOptions, raw, Problems(file, lines))
    return opt["datasets"], opt["scale"]


def read_network(file: Path) -> tuple[dict[str, Any], int]:
    """``network_g`` and ``scale`` of an option file, which may lack all else.

    Raises:
        ConfigError: they are missing, or name no registered network with such arguments.
    """
    from . import keys, reading, schema

    raw, lines = reading.read(file)
    problems = Problems(file, lines)
    opt = schema.validate(schema.NetworkOptions, raw, problems)
    keys.check_calls({"network_g": opt["network_g"]}, problems)
    problems.raise_if_any()
    return opt["network_g"], opt["scale"]
