"""Checkpoints of a model: what is written, and how training goes on from it. Their files are in `checkpoints`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import distributed, nn

from ..utils.files import digest
from ..weights.files import WeightsError, fitting, read_weights
from . import checkpoints
from .checkpoints import CheckpointError
from .random_state import random_states, set_random_states
from .run import TrainingRun


class SavingModel(SRModel):
    """BasicSR's `SRModel`, with checkpoints that are written whole or not at all, and resumed from exactly."""

    opt: dict[str, Any]
    run: TrainingRun
    scaler: torch.amp.GradScaler
    bad_steps: int

    def __init__(self, opt: dict[str, Any]) -> None:
        self.saved: int | None = None
        """Iteration of the last checkpoint."""
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
        except WeightsError as error:
            raise WeightsError(f"{load_path}: {error}") from error
        key = param_key if param_key in content else "params"
        fit = fitting(content[key], net.state_dict())
        logger.info(f"Loading {key} of {load_path}: {fit.summary()}")
        for line in fit.lines():
            logger.warning(line)
        net.load_state_dict(content[key] if strict else fit.weights, strict=strict)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes a checkpoint; ``current_iter`` -1 is the end of training: weights alone, as ``net_g_latest.pth``.

        If it cannot be written, earlier ones are left as they are, and training goes on.

        Raises:
            CheckpointError: the weights at the end cannot be written.
        """
        if self.run.dry:
            return
        states = [random_states()]
        if self.opt["dist"]:
            own, states = states[0], states * self.opt["world_size"]
            distributed.all_gather_object(states, own)
        if self.opt["rank"] != 0:
            self.saved = current_iter
            return
        try:
            weights = self.save_weights("latest" if current_iter == -1 else str(current_iter))
            if current_iter != -1:
                content = self.state(epoch, current_iter, states, weights)
                folder = Path(self.opt["path"]["training_states"])
                checkpoints.write(content, folder / f"{current_iter}.state")
                if keep := self.opt.get("logger", {}).get("keep_last"):
                    checkpoints.prune(folder, Path(self.opt["path"]["models"]), keep)
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
            checkpoints.write_bytes(safetensors.torch.save(last), folder / f"net_g_{label}.safetensors")
        return {f"net_g_{label}.pth": checkpoints.write(content, folder / f"net_g_{label}.pth")}

    def state(self, epoch: int, current_iter: int, random: list[Any], weights: dict[str, str]) -> dict[str, Any]:
        """All that a checkpoint holds beside the weights (see `checkpoints`)."""
        options = yaml.safe_dump(self.run.options)
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
            "options": options,
            "options_checksum": digest(options.encode()),
            "versions": checkpoints.versions(),
            "weights": weights,
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Goes on from a checkpoint: optimizers, schedulers, random numbers, the place in the data."""
        super().resume_training(resume_state)
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
        if self.opt["rank"] < len(resume_state["random"]):
            set_random_states(resume_state["random"][self.opt["rank"]])
        self.run.resume(resume_state)
