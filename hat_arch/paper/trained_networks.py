"""Networks with their weights, as ``--arch`` and ``--network`` of ``basicsr paper`` name them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY
from numpy.typing import NDArray
from torch import Tensor, nn

from ..archs.layers import pad_to_multiple
from ..compat.registration import build
from ..config import reading
from ..inference.upscaler import Upscaler
from ..utils.errors import UserError, in_one_line
from ..utils.files import from_home
from ..weights import named
from ..weights.load import load_network
from .evaluation_images import Image, to_tensor
from .networks import NETWORKS, Options, network_options, scale_of

HOW = (
    f"give NAME=WEIGHTS, NAME one of {', '.join(NETWORKS)}, [LABEL=] and a HAT's weights, or the name of a model "
    "(basicsr models), or an option file"
)
SEED = 0  # of untrained networks
UNTRAINED = "untrained"

Enlarge = Callable[[NDArray[Any]], Image]
"""LR to SR, uint8 ``(H, W, 3)`` BGR; or, of networks that restore, float32 ``(H, W, 3)`` RGB or ``(H, W)`` to such."""


class NetworkError(UserError):
    """A network fails on an image; the message names it and says how."""


@contextlib.contextmanager
def naming_failures(what: str, remedy: str) -> Iterator[None]:
    """Turns whatever a network raises into a `NetworkError` of one line that begins with ``what``, the network.

    ``remedy`` says what to do when there is too little memory.
    """
    try:
        yield
    except Exception as error:  # a network may raise anything
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            problem = f"not enough memory; {remedy}"
        elif isinstance(error, UserError):
            problem = str(error)
        else:
            problem = f"the network fails: {in_one_line(error)[:300]}"
        raise NetworkError(f"{what}: {problem}") from error


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode whose weights take no gradients."""

    label: str
    network: nn.Module
    options: Options
    """Its ``network_g``; for a HAT that is known by its weights, the scale and the window size alone."""
    scale: int
    weights: str
    """The file, or `UNTRAINED`."""

    def __call__(self, lr: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0..1 to ``(B, 3, scale · H, scale · W)``, differentiable; pads to windows on the way."""
        height, width = (side * self.scale for side in lr.shape[-2:])
        return self.network(pad_to_multiple(lr, self._multiple))[..., :height, :width]

    def enlarger(self, tile: Literal["whole", "auto"] | int = "whole", device: str = "cpu") -> Enlarge:
        """The network as a function of images, in fp32; ``tile`` as of `Upscaler`, ``whole`` is exact."""
        channels = self.options.get("in_chans", self.options.get("num_in_ch"))
        how: Any = {"multiple": self._multiple, "tile": tile, "precision": "fp32", "channels": channels}
        upscaler = Upscaler(self.network.to(device), self.scale, **how)

        def enlarge(lr: NDArray[Any]) -> Image:
            if lr.dtype == np.uint8:
                return tensor2img(upscaler(to_tensor(lr).to(device)))
            return to_8_bits(upscaler(lr))

        return enlarge

    @property
    def _multiple(self) -> int:
        return self.options.get("window_size", 1)


def to_8_bits(image: NDArray[Any]) -> Image:
    """float32 ``(H, W, 3)`` RGB in 0…1 to uint8 BGR, cut and rounded as BasicSR does it; or ``(H, W)``, grey."""
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])


def load_all(specs: list[str], scale: int, untrained: bool = False) -> list[TrainedNetwork]:
    """Loads what ``--arch`` names, in order, each under its own label; see `load`.

    Raises:
        UserError: as `load`, or two of one label, or one that enlarges by another scale.
    """
    networks = [load(spec, scale, untrained) for spec in specs]
    labels = [network.label for network in networks]
    for network in networks:
        if labels.count(network.label) > 1:
            raise UserError(f"--arch: two are called '{network.label}'; write LABEL=FILE to tell them apart")
        if network.scale != scale:
            raise UserError(f"--arch {network.label}: enlarges by {network.scale}, not by --scale {scale}")
    return networks


def load(spec: str, scale: int = 4, untrained: bool = False, option: str = "--arch") -> TrainedNetwork:
    """A network with its weights; the averaged ones, if the file has them.

    Args:
        spec: ``NAME=WEIGHTS`` with a name of `NETWORKS`; ``[LABEL=]`` and the weights of a HAT, or a model's name;
            ``[LABEL=]`` and an option file; with ``untrained`` also a NAME alone.
        scale: of a network that is known by its NAME; others have their own.
        untrained: give fresh weights to those that name no file.
        option: that the message of an error names.

    Raises:
        UserError: a name, file or option that does not work, or weights that do not fit.
    """
    label, _, file = ("", "", spec) if "=" not in spec or Path(spec).is_file() else spec.partition("=")
    path, name = Path(file), label or file
    try:
        if path.suffix in (".yml", ".yaml"):
            return _from_option_file(path, label, untrained)
        if name in NETWORKS:
            return _make(name, network_options(name, scale), scale, path if label else None, None, untrained)
        if model := None if path.is_file() else named.named(file):
            path = named.find(model.name)
        elif path.suffix not in (".pth", ".safetensors") and not path.is_file():
            raise UserError(f"unknown network '{file}'; {HOW}")
        network: Any = load_network(path).requires_grad_(False)
        options = {"type": "HAT", "upscale": network.upscale, "window_size": network.window_size}
        return TrainedNetwork(label or path.stem, network, options, network.upscale, str(path))
    except UserError as error:
        raise UserError(f"{option} {spec}: {error}") from error


def _from_option_file(file: Path, label: str, untrained: bool) -> TrainedNetwork:
    """The network of an option file: with what its own training has left, else with ``path: pretrain_network_g``."""
    opt, _ = reading.read(file)
    options = opt.get("network_g")
    if not isinstance(options, dict) or str(options.get("type")) not in ARCH_REGISTRY:
        raise UserError("network_g must name a network of the registry; basicsr archs lists them")
    path: Any = opt.get("path") or {}
    keys = ("pretrain_network_g", "param_key_g")
    if not isinstance(path, dict) or not all(isinstance(path.get(key), str | None) for key in keys):
        raise UserError(f"path: {' and '.join(keys)} must be names")
    pretrained, key = (path.get(key) for key in keys)
    name = str(opt.get("name", file.stem))
    trained = Path("experiments", name, "models/net_g_latest.pth")
    weights: Path | None = trained
    if trained.is_file():
        key = None
    elif pretrained:
        weights = from_home(pretrained)
    elif untrained:
        weights = None
    declared = opt.get("scale")
    scale = scale_of(options, declared if isinstance(declared, int) else 1)
    return _make(label or name, options, scale, weights, key, untrained)


def _make(
    label: str, options: Options, scale: int, weights: Path | None, key: str | None, untrained: bool
) -> TrainedNetwork:
    if weights is not None:
        network = load_network(weights, key, options)
    elif untrained:
        with torch.random.fork_rng([]):
            torch.manual_seed(SEED)
            try:
                network = build(options).eval()
            except Exception as error:  # a constructor may raise anything
                raise UserError(f"{options['type']} cannot be built: {in_one_line(error)}") from error
    else:
        raise UserError(f"no weights; {HOW} (--untrained to see the network as it begins)")
    return TrainedNetwork(label, network.requires_grad_(False), options, scale, str(weights or UNTRAINED))
