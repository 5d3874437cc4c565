"""Files of weights: what they hold, and how it fits a network."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ..utils.errors import UserError
from . import content

Weights = dict[str, Tensor]

SHOWN = 6  # names of tensors in a message
LEAST = 0.1  # share of a network's tensors that must be in a file, else it is of another network
KEYS = ("params_ema", "params", "state_dict", "model", "net")
"""State dicts to take from a file, by preference: BasicSR's names, then those of other programs."""
GENERATOR = "net_g."
"""Before the names of a network's tensors, where a file holds a whole model, discriminator and all."""
SAFE: list[Any] = [np.dtype, np.ndarray, type(np.dtype("f8")), type(np.dtype("f4")), type(np.dtype("i8"))]
"""What files may hold beside tensors: numbers of NumPy, such as the best PSNR so far."""
SAFE += [(np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


class WeightsError(UserError):
    """A file cannot be read as weights; the message says why."""


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


def read_weights(path: Path) -> dict[str, Weights]:
    """Reads the state dicts of a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file, without running code in it.

    Returns:
        State dicts by their names in the file, such as ``params`` and ``params_ema``. The only one of a file without
        names, and that of ``.safetensors``, is called ``params``. ``module.`` (DDP), ``_orig_mod.`` (torch.compile)
        and ``net_g.`` (whole models) are taken off the names of tensors.

    Raises:
        WeightsError: the file is damaged, or holds something else; the message does not name the file.
    """
    try:
        if problem := content.problem(path):
            raise WeightsError(problem)
        loaded = _load(path)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged file makes a reader raise
        raise WeightsError(_why(error)) from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"holds no weights, but an object of type {type(loaded).__name__}")
    if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        loaded = {"params": loaded}
    return {key: _plain(weights) for key, weights in loaded.items() if isinstance(weights, dict)}


def _load(path: Path) -> Any:
    if content.is_safetensors(path):
        return {"params": safetensors.torch.load_file(path)}
    with torch.serialization.safe_globals(SAFE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles of other programs, which are refused
        return torch.load(path, map_location="cpu", weights_only=True)


def _why(error: Exception) -> str:
    """Why a file of weights cannot be loaded. PyTorch's own message advises to run the code in the file."""
    if found := re.search(r"GLOBAL ([\w.]+)|(?:Unsupported|forbidden)\D*?((?:\w+\.)+\w+)", str(error)):
        name = found[1] or found[2]
        return (
            f"cannot be read as weights: it holds code ({name}) beside tensors, which is not run; ask its author for"
            " the tensors alone"
        )
    if "operand" in str(error):
        return "cannot be read as weights: it is a pickle of another program, not opened since it may hold code"
    return f"cannot be read as weights: it is damaged; {content.AGAIN}"


def _plain(weights: dict[Any, Any]) -> Weights:
    """The tensors of a state dict, by the names that the network itself gives them."""
    tensors = {name: tensor for name, tensor in weights.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    tensors = {name.removeprefix("module.").replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    if any(name.startswith(GENERATOR) for name in tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(GENERATOR)}
        tensors = {name.removeprefix(GENERATOR).removeprefix("module."): tensor for name, tensor in tensors.items()}
    tensors.pop("n_averaged", None)  # of torch.optim.swa_utils.AveragedModel
    return tensors


def choose(
    content: dict[str, Weights], key: str | None = None, preferred: tuple[str, ...] = KEYS
) -> tuple[str, Weights]:
    """Name and state dict of what a file holds: that named ``key``, else by preference, else the only one.

    Raises:
        WeightsError: there is none of that name, or several of others; the message lists them.
    """
    there = [name for name, weights in content.items() if weights]
    wanted = [key] if key else [*preferred, *(there if len(there) == 1 else [])]
    for name in wanted:
        if name in there:
            return name, content[name]
    names = f" named {key}" if key else ""
    raise WeightsError(f"holds no weights{names}; it has: {', '.join(there) or 'none'}")


def choose_to_start_from(content: dict[str, Weights], key: str | None) -> tuple[str, Weights]:
    """`choose` for option files: BasicSR's default is ``params``, which it also takes if ``key`` is not there."""
    by_preference = key in (None, "params") or (key not in content and "params" in content)
    return choose(content, None if by_preference else key, ("params", *KEYS))


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
