"""Files of weights: what they hold, and how it fits a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..utils.errors import UserError

SHOWN = 6  # names of tensors in a message
LEAST = 0.1  # share of a network's tensors that must be in a file, else it is of another network


class WeightsError(UserError):
    """A file cannot be read as weights; the message says why."""


def find_weights(name: str | Path) -> Path:
    """The file that a user means by ``--weights``: here names of trained models become files.

    Raises:
        WeightsError: there is none.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"{name}: no such file of weights")
    return path


def run_weights(run: Path) -> Path | None:
    """The weights that a training has left in its folder: those of its end, else the best, else the newest."""
    models = run / "models"
    latest = models / "net_g_latest.pth"
    if latest.is_file():
        return latest
    if best := sorted(models.glob("net_g_best_*.pth")):
        return best[0]
    checkpoints = [file for file in models.glob("net_g_*.pth") if file.stem.removeprefix("net_g_").isdigit()]
    return max(checkpoints, key=lambda file: int(file.stem.removeprefix("net_g_")), default=None)


def read_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """Reads the state dicts of a ``.pth`` or ``.safetensors`` file, without running any code in it.

    Returns:
        State dicts by their names in the file, such as ``params`` and ``params_ema``. The only one of a file without
        names, and that of ``.safetensors``, is called ``params``. ``module.`` in front of names, as DDP adds it, is
        taken off.

    Raises:
        WeightsError: the file is damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = {"params": safetensors.torch.load_file(path)}
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch.load raise
        raise WeightsError(
            f"cannot be read as weights: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"holds a {type(content).__name__}, no weights")
    if content and all(isinstance(value, Tensor) for value in content.values()):
        content = {"params": content}
    return {
        key: {
            name.removeprefix("module."): tensor
            for name, tensor in weights.items()
            if isinstance(name, str) and isinstance(tensor, Tensor)
        }
        for key, weights in content.items()
        if isinstance(weights, dict)
    }


@dataclass
class Fit:
    """How the weights of a file fit a network."""

    weights: dict[str, Tensor]
    """The tensors of the file that fit."""
    needed: int
    """Number of tensors of the network."""
    missing: list[str]
    unknown: list[str]
    other_shape: list[str]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unknown or self.other_shape)

    def summary(self) -> str:
        return f"{len(self.weights):,} of {self.needed:,} tensors of the network"

    def lines(self) -> list[str]:
        """What does not fit, a line for each kind."""
        kinds = {
            "not in the file": self.missing,
            "not in the network": self.unknown,
            "of another shape": self.other_shape,
        }
        return [
            f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
            for kind, names in kinds.items()
            if names
        ]


def fitting(weights: dict[str, Tensor], network: dict[str, Tensor]) -> Fit:
    """Compares weights with the state dict of a network, by names and shapes."""
    both = weights.keys() & network.keys()
    fits = {name for name in both if weights[name].shape == network[name].shape}
    return Fit(
        weights={name: weights[name] for name in weights if name in fits},
        needed=len(network),
        missing=sorted(network.keys() - weights.keys()),
        unknown=sorted(weights.keys() - network.keys()),
        other_shape=sorted(f"{n} {list(weights[n].shape)} for {list(network[n].shape)}" for n in both - fits),
    )
