"""Weights in files: what they hold, and what of it fits a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..utils.errors import UserError
from ..utils.files import write_file

SHOWN = 6  # names in a line
LEAST = 0.1  # of a network's tensors must fit a file, else it is the wrong one


class WeightsError(UserError):
    """A file cannot be read as weights; the message says why."""


def read_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """Weights by key (``params``, ``params_ema``), of a ``.pth`` or ``.safetensors`` file.

    A file of one state dict alone, and every ``.safetensors``, gives ``params``. Runs no code of the file.

    Raises:
        WeightsError: damaged, or something else.
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
    """Those that fit."""
    needed: int
    """Tensors of the network."""
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
    """Compares weights with a network's state dict, by names and shapes."""
    both = weights.keys() & network.keys()
    fits = {name for name in both if weights[name].shape == network[name].shape}
    return Fit(
        weights={name: weights[name] for name in weights if name in fits},
        needed=len(network),
        missing=sorted(network.keys() - weights.keys()),
        unknown=sorted(weights.keys() - network.keys()),
        other_shape=sorted(f"{n} {list(weights[n].shape)} for {list(network[n].shape)}" for n in both - fits),
    )


def save_safetensors(weights: dict[str, Tensor], path: Path) -> None:
    """Writes weights as ``.safetensors``, whole or not at all.

    Raises:
        OutOfSpace: the disk is full.
    """
    content = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_file(path, safetensors.torch.save(content), durable=True)
