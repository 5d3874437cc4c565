"""A network from its weights alone: HAT's hyper-parameters are read off the shapes."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.hat_arch import HAT
from ..compat.registration import build
from . import named, others
from .files import Weights, WeightsError, choose, fitting, read_weights

OTHER = "another network needs its option file (--arch_opt), or --loader spandrel"
ESSENTIAL = ("conv_first.weight", "relative_position_index_SA", "relative_position_index_OCA")


@dataclass
class Loaded:
    """A network with its weights, and what must be known to upscale with it."""

    name: str
    """Of the model, or of its file."""
    network: nn.Module
    scale: int
    multiple: int = 1
    """What the sides of its images are to be multiples of; more than 1 for networks of attention windows."""
    channels: int = 3


def load(
    name: str | Path,
    param_key: str | None = None,
    options: tuple[dict[str, Any], int] | None = None,
    by_spandrel: bool = False,
) -> Loaded:
    """Loads a network by the name of a model, or from a file of weights, on the CPU in evaluation mode.

    Args:
        name: as `hat_arch.weights.named.find` takes it.
        param_key: as for `load_network`.
        options: ``network_g`` and ``scale`` of an option file, for other networks than HAT.
        by_spandrel: whether spandrel is to recognise and load it.

    Raises:
        UserError: there is no such model or file, or it holds no weights, or those of another network.
    """
    path = named.find(name)
    if by_spandrel:
        try:
            _, state = choose(read_weights(path), param_key)
            return Loaded(path.stem, *others.load_with_spandrel(state))
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
    if options is not None:
        section, scale = options
        network = load_network(path, param_key, section)
        channels = section.get("in_chans", section.get("num_in_ch", 3))
        return Loaded(path.stem, network, scale, section.get("window_size") or _multiple(network, channels), channels)
    hat: Any = load_network(path, param_key)
    return Loaded(path.stem, hat, hat.upscale, hat.window_size, hat.in_chans)


@torch.no_grad()
def _multiple(network: nn.Module, channels: int) -> int:
    """What the sides of a network's images must be multiples of: the first power of 2 with which it runs."""
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        side = multiple * (32 // multiple + 1 | 1)  # an odd multiple
        with contextlib.suppress(Exception):  # a network may refuse an image in any way
            network(torch.zeros(1, channels, side, side))
            return multiple
    return 1


def load_network(path: Path, param_key: str | None = None, network: dict[str, Any] | None = None) -> nn.Module:
    """Builds a network and loads its weights, all of them, on the CPU in evaluation mode.

    Args:
        path: ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors``.
        param_key: name of the state dict in the file; by default the moving average, else the plain weights, else what
            other programs call them (`files.KEYS`).
        network: ``network_g`` of an option file, needed for other networks than HAT. Without it, the arguments of HAT
            that shapes do not tell are those of the papers (see `hyper_parameters`).

    Raises:
        WeightsError: there is no such file, or it holds no weights, or those of another network.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        _, state = choose(read_weights(path), param_key)
        net = _build(network, state)
        if not (fit := fitting(state, net.state_dict())).complete:
            what = f"do not fit {network['type']}" if network else "are of no HAT that this package knows"
            raise WeightsError(f"the weights {what}: {'; '.join([*another_task(state, net), *fit.lines()])}")
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    net.load_state_dict(state)
    return net.eval()


def _build(network: dict[str, Any] | None, state: Weights) -> nn.Module:
    try:
        return build(network or {"type": "HAT", **hyper_parameters(state)})
    except WeightsError:
        raise
    except Exception as error:  # a constructor may raise anything, and shapes may be none of a network's
        name = network["type"] if network else "HAT"
        raise WeightsError(f"{name} cannot be built: {' '.join(str(error).split())}") from error


def hyper_parameters(state: Weights) -> dict[str, Any]:
    """Reads the arguments of `hat_arch.HAT` off the shapes of its weights.

    Shapes do not tell ``conv_scale``, ``img_range``, ``qk_scale``, and, without ``ape``, ``img_size`` (which matters
    only where it does not exceed the window): these keep the papers' values, 0.01, 1, ``head_dim ** -0.5`` and 64.
    ``compress_ratio`` and ``squeeze_factor`` are the largest that give the same shapes. Dropout is for training.

    Raises:
        WeightsError: these are not the weights of a HAT.
    """
    direct = not any(name.startswith(("conv_before_upsample.", "conv_last.")) for name in state)
    restoring = not direct and not any(name.startswith("conv_before_upsample.") for name in state)
    last = "upsample.0.weight" if direct else "conv_last.2.weight" if restoring else "conv_last.weight"
    if missing := [name for name in (*ESSENTIAL, last) if name not in state]:
        kind = others.name_of(state)
        raise WeightsError(f"holds no HAT: {f'it is {kind}' if kind else f'it has no {missing[0]}'}; {OTHER}")
    embed_dim, in_chans = state["conv_first.weight"].shape[:2]
    window, key_window = (math.isqrt(side) for side in state["relative_position_index_OCA"].shape)
    depths, heads = zip(*(_group(state, i) for i in range(_count(state, "layers."))))
    hidden = _first(state, ".mlp.fc1.weight")
    narrowed = _first(state, ".conv_block.cab.0.weight")
    squeezed = _first(state, ".conv_block.cab.3.attention.1.weight")
    found: dict[str, Any] = {
        "upscale": math.isqrt(len(state[last]) // in_chans) if direct else _upscale(state),
        "upsampler": "pixelshuffledirect" if direct else "" if restoring else "pixelshuffle",
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
        "overlap_ratio": _ratio(key_window - window, window),
        "patch_norm": "patch_embed.norm.weight" in state,
        "resi_connection": "1conv" if "conv_after_body.weight" in state else "identity",
        "use_cab": narrowed is not None,
        "use_ocab": _first(state, ".overlap_attn.qkv.weight") is not None,
        "use_channel_attention": squeezed is not None,
        "qkv_bias": _first(state, ".qkv.bias") is not None,
        "ape": "absolute_pos_embed" in state,
    }
    if hidden is not None:
        found["mlp_ratio"] = _ratio(len(hidden), embed_dim)
    if narrowed is not None:
        found["compress_ratio"] = embed_dim // len(narrowed)
    if squeezed is not None:
        found["squeeze_factor"] = embed_dim // len(squeezed)
    if found["ape"]:
        found["img_size"] = math.isqrt(state["absolute_pos_embed"].shape[1])
    return found


def another_task(state: Weights, network: nn.Module) -> list[str]:
    """In a line, that weights are of a HAT of another scale or number of channels than ``network``; else nothing."""
    if not isinstance(network, HAT):
        return []
    try:
        theirs = hyper_parameters(state)
    except Exception:  # they are of no HAT, or damaged, which others say
        return []
    tasks = [
        f"x{scale}{' without upsampler' if restores else ''}, {channels} channel{'s' if channels > 1 else ''}"
        for scale, restores, channels in (
            (theirs["upscale"], not theirs["upsampler"], theirs["in_chans"]),
            (network.upscale, network.adds_image, network.in_chans),
        )
    ]
    return [f"they are of a HAT of {tasks[0]}, this is one of {tasks[1]}"] if tasks[0] != tasks[1] else []


def _first(state: Weights, ending: str) -> Tensor | None:
    return next((tensor for name, tensor in state.items() if name.endswith(ending)), None)


def _count(state: Weights, prefix: str) -> int:
    """Number of modules in the list whose weights begin with ``prefix``."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _group(state: Weights, i: int) -> tuple[int, int]:
    """Number of HABs of a group, and of attention heads."""
    prefix = f"layers.{i}.residual_group."
    table = next((t for n, t in state.items() if n.startswith(prefix) and n.endswith("bias_table")), None)
    return _count(state, f"{prefix}blocks."), 1 if table is None else table.shape[1]


def _ratio(part: int, whole: int) -> float:
    """The ratio r with ``int(whole · r) == part``: the quotient, or a little more where it would be rounded down."""
    ratio = part / whole
    return ratio if int(whole * ratio) == part else (part + 0.5) / whole


def _upscale(state: Weights) -> int:
    """The scale, a product of steps: before a step by s, a convolution multiplies the channels by s²."""
    steps = [tensor for name, tensor in state.items() if name.startswith("upsample.") and name.endswith(".weight")]
    return math.prod(math.isqrt(len(step) // step.shape[1]) for step in steps)
