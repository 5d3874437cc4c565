"""Checkpoints: what they hold, how they are written, and how a run goes on from one exactly.

A checkpoint is two files, as in BasicSR: ``models/net_g_<iter>.pth`` with the weights (``params``, ``params_ema``), and
``training_states/<iter>.state`` with all the rest: optimizers, schedulers, gradient scaler, every process's random
numbers, the place in the epoch, the best metrics, the options, versions, the kernels of the CPU, and the checksum
of the weights. Those of a discriminator are in ``net_d_<iter>.pth``. The state is written last, so that a checkpoint
without one, or whose weights have another checksum, is known to be incomplete.
"""

from __future__ import annotations

import errno
import importlib.metadata
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import distributed, nn

from ..archs.kernels import Kernels
from ..utils.errors import UserError
from ..utils.files import DamagedWrite, OutOfSpace, checksum, write_file
from ..utils.machine import cpu_name
from ..weights.files import WeightsError, choose_to_start_from, fitting, read_weights
from .random_state import random_states, set_random_states
from .run import TrainingRun

PACKAGES = ("hat-arch", "basicsr", "torch", "numpy")
NETWORK = r"network_\w(?!\.use_checkpoint$)"  # which changes memory alone
OPTIMIZER = r"train\.optim_\w\.(type|amsgrad|centered|momentum)"  # what it keeps of each weight depends on them
FIXED = re.compile(rf"(model_type|scale|{NETWORK}|{OPTIMIZER}|train\.scheduler\.type)(\..*)?")
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
    with buffer.getbuffer() as data:  # released here, since an error's traceback would keep it beyond the buffer
        return write_bytes(data, path)


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


def check_weights(state: dict[str, Any], models: Path, letters: Iterable[str] = "g") -> None:
    """Raises `CheckpointError` unless the weights that belong to a state are there and whole.

    Args:
        state: of a checkpoint.
        models: the folder of its weights.
        letters: the networks, ``g`` and ``d``, that must be there for a state of BasicSR's own, which names none.
    """
    names = state.get("weights") or {f"net_{letter}_{state['iter']}.pth": None for letter in letters}
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


def newest(states: Path, models: Path, letters: Iterable[str] = "g") -> tuple[Path, dict[str, Any]] | None:
    """The newest complete checkpoint of a run; says on standard error which ones it passes over, and why.

    Args:
        states: the folder of its states.
        models: that of its weights.
        letters: as for `check_weights`.
    """
    for iteration in iterations(states):
        path = states / f"{iteration}.state"
        try:
            state = load(path)
            check_weights(state, models, letters)
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
            (fatal if FIXED.fullmatch(key) else harmless).append(line)
    return fatal, harmless


def _flat(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def schedule_of_file(saved: dict[str, Any], scheduler: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """A scheduler's saved state with the periods or milestones of the option file, which may have changed since.

    Args:
        saved: its state in a checkpoint; how far it is is taken from it.
        scheduler: as it was made for this start.
    """
    settings = {key: value for key, value in scheduler.state_dict().items() if not key.startswith("_")}
    return {**saved, **settings, "last_epoch": saved["last_epoch"]}


def settings_of_file(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state with the settings of the option file, which may have changed since.

    Its learning rate stays where the schedule is: as far below the first one as it was.

    Args:
        saved: its state in a checkpoint.
        optimizer: as it was made for this start.
    """
    groups = []
    for group, now in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        rate = group["lr"]
        if now["initial_lr"] != group["initial_lr"]:
            rate *= now["initial_lr"] / group["initial_lr"]
        groups.append({**group, **now, "lr": rate, "params": group["params"]})
    return {**saved, "param_groups": groups}


def options_of(state: dict[str, Any]) -> dict[str, Any] | None:
    """The options that a state was written with; None for BasicSR's own."""
    return yaml.safe_load(state["options"]) or None if "options" in state else None


class SavingModel(SRModel):
    """BasicSR's `SRModel`, with checkpoints that are written whole or not at all, and resumed from exactly."""

    opt: dict[str, Any]
    run: TrainingRun
    scaler: torch.amp.GradScaler
    bad_steps: int

    def __init__(self, opt: dict[str, Any]) -> None:
        self.saved: int | None = None
        """Iteration of the last checkpoint."""
        self.kernels: Kernels | None = None
        """By what PyTorch computes on the CPU; None until the first step."""
        self.earlier_kernels: Kernels | None = None
        """Those of the checkpoint, if a processor of this kind has written it."""
        super().__init__(opt)

    def print_network(self, net: nn.Module) -> None:
        count = sum(parameter.numel() for parameter in net.parameters())
        get_root_logger().info(f"Network: {self.get_bare_model(net).__class__.__name__}, with parameters: {count:,d}")

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Loads ``.pth`` or ``.safetensors``; without ``strict`` all that fits, and logs what does not."""
        logger, net = get_root_logger(), self.get_bare_model(net)
        try:
            content = read_weights(Path(load_path))
            # BasicSR asks for params_ema too, for the moving average, whatever the option file's key is.
            key, weights = choose_to_start_from(content, param_key if param_key in content else None)
        except WeightsError as error:
            raise WeightsError(f"{load_path}: {error}") from error
        fit = fitting(weights, net.state_dict())
        logger.info(f"Loading {key} of {load_path}: {fit.summary()}")
        for line in fit.lines():
            logger.warning(line)
        net.load_state_dict(weights if strict else fit.weights, strict=strict)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes a checkpoint; ``current_iter`` -1 is the end of training: weights alone, as ``net_g_latest.pth``.

        If it cannot be written, earlier ones are left as they are, and training goes on.

        Raises:
            CheckpointError: the weights at the end cannot be written.
        """
        if self.run.dry:
            return
        states = [] if current_iter == -1 else self.of_processes()
        if self.opt["rank"] != 0:
            self.saved = current_iter
            return
        try:
            weights = self.save_weights("latest" if current_iter == -1 else str(current_iter))
            if current_iter != -1:
                content = self.state(epoch, current_iter, states, weights)
                folder = Path(self.opt["path"]["training_states"])
                write(content, folder / f"{current_iter}.state")
                if keep := self.opt.get("logger", {}).get("keep_last"):
                    prune(folder, Path(self.opt["path"]["models"]), keep)
            self.saved = current_iter
        except CheckpointError as error:
            if current_iter == -1:
                raise
            get_root_logger().error(f"{error}. No checkpoint of iteration {current_iter}; earlier ones are intact")

    def best_so_far(self, dataset_name: str, metric: str) -> None:
        """Keeps the weights under a name of their own, if ``logger: keep_best`` asks for it."""
        if f"{dataset_name}/{metric}" in self.opt.get("logger", {}).get("keep_best", []):
            try:
                self.save_weights(f"best_{dataset_name}_{metric}")
            except CheckpointError as error:
                get_root_logger().error(str(error))

    def save_weights(self, label: str) -> dict[str, str]:
        """Writes ``net_g_<label>.pth``; returns its name and checksum. On the first process alone."""
        if self.opt["rank"] != 0:
            return {}
        networks = {"params": self.net_g}
        if hasattr(self, "net_g_ema"):
            networks["params_ema"] = self.net_g_ema
        content = {
            key: {name: value.cpu() for name, value in self.get_bare_model(net).state_dict().items()}
            for key, net in networks.items()
        }
        folder = Path(self.opt["path"]["models"])
        if self.opt.get("logger", {}).get("safetensors"):
            last = {name: value.contiguous() for name, value in content[list(content)[-1]].items()}
            write_bytes(safetensors.torch.save(last), folder / f"net_g_{label}.safetensors")
        return {f"net_g_{label}.pth": write(content, folder / f"net_g_{label}.pth")}

    def of_processes(self) -> list[dict[str, Any]]:
        """`of_process` of all processes, on the first; on the others nothing of use."""
        own = self.of_process()
        if not self.opt["dist"]:
            return [own]
        all_processes = [own] * self.opt["world_size"]
        distributed.gather_object(own, all_processes if self.opt["rank"] == 0 else None)
        return all_processes

    def of_process(self) -> dict[str, Any]:
        """What each process has of its own, for a checkpoint: its random numbers, and what subclasses add."""
        return random_states()

    def restore_process(self, state: dict[str, Any]) -> None:
        """Undoes `of_process`."""
        set_random_states(state)

    def state(self, epoch: int, current_iter: int, random: list[Any], weights: dict[str, str]) -> dict[str, Any]:
        """All that a checkpoint holds beside the weights (see the module)."""
        kernels = self.kernels or self.earlier_kernels
        return {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict(),
            "random": random,
            "position": self.run.position(),
            "best_metrics": {
                dataset: {metric: {**best, "val": float(best["val"])} for metric, best in metrics.items()}
                for dataset, metrics in getattr(self, "best_metric_results", {}).items()
            },
            "bad_steps": self.bad_steps,
            "kernels": kernels and [*kernels, cpu_name()],
            "options": yaml.safe_dump(self.run.options),
            "versions": versions(),
            "weights": weights,
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Goes on from a checkpoint: optimizers, schedulers, random numbers, the place in the data.

        Raises:
            CheckpointError: it is that of a training with another number of networks.
        """
        there, wanted = len(resume_state["optimizers"]), len(self.optimizers)
        if there != wanted:
            what = f"has {there} optimizer{'s' if there > 1 else ''}, {self.opt['model_type']} has {wanted}"
            raise CheckpointError(f"{self.opt['path']['resume_state']}: {what}: one of them trains a discriminator")
        optimizers = [settings_of_file(*both) for both in zip(resume_state["optimizers"], self.optimizers)]
        schedulers = [schedule_of_file(*both) for both in zip(resume_state["schedulers"], self.schedulers)]
        super().resume_training({**resume_state, "optimizers": optimizers, "schedulers": schedulers})
        self.saved = resume_state["iter"]
        if "random" not in resume_state:
            get_root_logger().warning(
                "the state is BasicSR's own: random numbers and the place in the epoch start anew"
            )
            return
        if resume_state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(resume_state["scaler"])
        self.best_metric_results = resume_state["best_metrics"]
        self.bad_steps = resume_state["bad_steps"]
        *kernels, processor = resume_state.get("kernels") or [None]
        if processor == cpu_name():  # another is measured, and gives other last digits anyway
            self.earlier_kernels = Kernels(*kernels)
        if self.opt["rank"] < len(resume_state["random"]):
            self.restore_process(resume_state["random"][self.opt["rank"]])
        self.run.resume(resume_state)
