"""Checkpoints: what they hold, how they are written, and how a run goes on from one exactly.

A checkpoint is two files, as in BasicSR: ``models/net_g_<iter>.pth`` with the weights (``params``, ``params_ema``), and
``training_states/<iter>.state`` with all the rest: optimizers, schedulers, gradient scaler, every process's random
numbers, the place in the epoch, the best metrics, the options, versions, and the checksum of the weights. The state is
written last, so that a checkpoint without one, or whose weights have another checksum, is known to be incomplete.
"""

from __future__ import annotations

import errno
import importlib.metadata
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from ..utils.errors import UserError
from ..utils.files import DamagedWrite, OutOfSpace, checksum, write_file

PACKAGES = ("hat-arch", "basicsr", "torch", "numpy")
FIXED = ("model_type", "scale", "network_g", "train.optim_g.type", "train.scheduler.type")
"""Options without which a state means nothing; a run does not go on when one of them has changed."""


class CheckpointError(UserError):
    """A checkpoint cannot be written or used; the message says which, why, and what to do."""


def write(content: Any, path: Path) -> str:
    """Writes ``content`` with `torch.save`, wholly or not at all; returns the file's `checksum`.

    Raises:
        CheckpointError: the disk is full, or what was written does not read back.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return write_bytes(buffer.getbuffer(), path)


def write_bytes(data: bytes | memoryview, path: Path) -> str:
    """`write` for content that is in bytes already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_file(path, data, durable=True)
    except DamagedWrite as error:
        raise CheckpointError(str(error)) from error
    except (OSError, OutOfSpace) as error:
        reason = getattr(error.__cause__ or error, "strerror", error)
        mib = len(data) / 2**20
        raise CheckpointError(f"{path}: cannot be written ({reason}; it takes {mib:.0f} MiB)") from error


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch.load raise
        raise CheckpointError(f"{path} is damaged") from error


def load(path: Path) -> dict[str, Any]:
    """Reads a state, without running any code in it; `CheckpointError` if it is damaged, or no training state."""
    state = _load(path)
    if not isinstance(state, dict) or not {"epoch", "iter", "optimizers", "schedulers"} <= state.keys():
        raise CheckpointError(f"{path} is no training state")
    return state


def check_weights(state: dict[str, Any], models: Path) -> None:
    """Raises `CheckpointError` unless the weights that belong to a state are there and whole."""
    names = state.get("weights") or {f"net_g_{state['iter']}.pth": None}  # BasicSR's own states name none
    for name, wanted in names.items():
        path = models / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
        if wanted is None:
            _load(path)
        elif checksum(path) != wanted:
            raise CheckpointError(f"{path} is damaged")


def iterations(states: Path) -> list[int]:
    """Iterations of the states in a folder, newest first."""
    return sorted((int(file.stem) for file in states.glob("*.state") if file.stem.isdigit()), reverse=True)


def newest(states: Path, models: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest complete checkpoint of a run; says on standard error which ones it passes over, and why."""
    for iteration in iterations(states):
        path = states / f"{iteration}.state"
        try:
            state = load(path)
            check_weights(state, models)
            return path, state
        except CheckpointError as error:
            print(f"{error}, looking for an earlier state", file=sys.stderr)
    return None


def prune(states: Path, models: Path, keep: int) -> None:
    """Deletes all checkpoints but the newest ``keep``; the state first, so that none is left without weights."""
    for iteration in iterations(states)[keep:]:
        (states / f"{iteration}.state").unlink(missing_ok=True)
        for file in models.glob(f"net_?_{iteration}.*"):  # net_g and net_d, none of the best
            file.unlink()


def changed_options(before: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A line for each option that has changed: those with which a run cannot go on, and those with which it can."""
    old, new = dict(_flat(before)), dict(_flat(now))
    fatal: list[str] = []
    harmless: list[str] = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            before_and_now = (repr(options[key]) if key in options else "absent" for options in (old, new))
            line = f"{key}: {' → '.join(before_and_now)}"
            (fatal if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED) else harmless).append(line)
    return fatal, harmless


def _flat(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def options_of(state: dict[str, Any]) -> dict[str, Any] | None:
    """The options that a state was written with; None for BasicSR's own."""
    return yaml.safe_load(state["options"]) or None if "options" in state else None
