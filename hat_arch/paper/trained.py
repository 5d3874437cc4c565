"""Networks with their weights, as ``--arch`` of ``basicsr paper`` names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ..archs.layers import pad_to_multiple
from ..compat.plugins import in_one_line
from ..compat.registration import build
from ..config import reading as config
from ..config.reading import ConfigError
from ..data.images import DataError
from ..weights.files import WeightsError, fitting, read_weights
from ..weights.load import Weights, choose, load_network
from .networks import NETWORKS, Options, network_options, scale_of

HOW = "give NAME=WEIGHTS, NAME one of " + ", ".join(NETWORKS) + ", [LABEL=] and a HAT's weights, or an option file"
SEED = 0  # of untrained networks


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode whose weights take no gradients."""

    label: str
    network: nn.Module
    options: Options
    """Its ``network_g``."""
    weights: str
    """The file, or ``untrained``."""
    declared: int = 1
    """Scale of its option file, which counts if its ``network_g`` names none."""

    @property
    def scale(self) -> int:
        return scale_of(self.options, self.declared)

    @contextlib.contextmanager
    def explaining(self, remedy: str) -> Iterator[None]:
        """Names the network where something fails in it, or in what it made.

        Raises:
            DataError: it does; the message ends with ``remedy`` if there is too little memory.
        """
        try:
            yield
        except ConfigError:
            raise
        except DataError as error:
            raise DataError(f"{self.label}: {error}") from error
        except Exception as error:  # a network may raise anything
            short = isinstance(error, MemoryError) or "memory" in str(error).lower()
            problem = f"the network fails: {in_one_line(error)[:300]}{f'; {remedy}' if short else ''}"
            raise DataError(f"{self.label}: {problem}") from error

    def __call__(self, lr: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0..1 of any size to ``(B, 3, scale · H, scale · W)``, padded to windows on the way."""
        height, width = (side * self.scale for side in lr.shape[-2:])
        sr = self.network(pad_to_multiple(lr, self.options.get("window_size", 1)))
        if sr.shape[-2] < height or sr.shape[-1] < width:
            raise ConfigError(f"{self.label}: makes {tuple(sr.shape)} of {tuple(lr.shape)}, not ×{self.scale}")
        return sr[..., :height, :width]


def load_all(specs: list[str], scale: int, untrained: bool = False) -> list[Trained]:
    """Loads what ``--arch`` names, in order, each under its own label.

    Args:
        specs: each ``NAME=WEIGHTS``, the weights of a HAT alone, ``[LABEL=]OPTIONS.yml``, or with ``untrained`` also a
            NAME alone.
        scale: what all of them must enlarge by.
        untrained: give fresh weights to those that name no file.

    Raises:
        ConfigError: a name, file or option that does not work, two of one label, or another scale.
        WeightsError: a file that is no weights, or of another network.
    """
    networks = [load(spec, scale, untrained) for spec in specs]
    labels = [network.label for network in networks]
    for network in networks:
        if labels.count(network.label) > 1:
            raise ConfigError(f"--arch: two are called '{network.label}'; write LABEL=FILE to tell them apart")
        if network.scale != scale:
            raise ConfigError(f"--arch {network.label}: enlarges by {network.scale}, not by --scale {scale}")
    return networks


def load(spec: str, scale: int, untrained: bool = False) -> Trained:
    """One network of `load_all`."""
    label, equals, file = ("", "", spec) if "=" not in spec or Path(spec).is_file() else spec.partition("=")
    if Path(file).suffix in (".yml", ".yaml"):
        return _from_option_file(Path(file), label, untrained)
    if not equals and Path(file).suffix in (".pth", ".safetensors"):
        _require(Path(file), Path(file).stem)
        return by_weights(Path(file).stem, Path(file))
    name = label or file
    if equals and name not in NETWORKS and Path(file).is_file():
        return by_weights(label, Path(file))
    if name not in NETWORKS:
        raise ConfigError(f"--arch {spec}: unknown network '{name}'; {HOW}")
    return _prepared(name, network_options(name, scale), Path(file) if equals else None, None, untrained)


def by_weights(label: str, file: Path) -> Trained:
    """A HAT by its weights alone.

    Raises:
        WeightsError: there is no such file, or it is of no HAT.
    """
    network = load_network(file).requires_grad_(False)
    options = {"type": "HAT", "upscale": network.upscale, "window_size": network.window_size}
    return Trained(label, network, options, str(file))


def _from_option_file(file: Path, label: str, untrained: bool) -> Trained:
    """The network of an option file: with ``path: pretrain_network_g``, else with what its own training has left."""
    opt, _ = config.read(file)
    options = opt.get("network_g")
    if not isinstance(options, dict) or str(options.get("type")) not in ARCH_REGISTRY:
        raise ConfigError(f"{file}: network_g must name a network of the registry; basicsr archs lists them")
    path: dict[str, Any] = opt.get("path") or {}
    keys = ("pretrain_network_g", "param_key_g")
    if not isinstance(path, dict) or not all(isinstance(path.get(key), str | None) for key in keys):
        raise ConfigError(f"{file}: path: {' and '.join(keys)} must be names")
    pretrained, key = (path.get(key) for key in keys)
    name = str(opt.get("name", file.stem))
    trained = Path("experiments") / name / "models/net_g_latest.pth"
    weights: Path | None = trained
    if trained.is_file():
        key = None
    elif pretrained:
        weights = Path(pretrained).expanduser()
    elif untrained:
        weights = None
    made = _prepared(label or name, options, weights, key, untrained, str(file))
    scale = opt.get("scale")
    return replace(made, declared=scale) if isinstance(scale, int) else made


def _prepared(
    label: str, options: Options, file: Path | None, key: str | None, untrained: bool, source: str = "--arch"
) -> Trained:
    if file is None and not untrained:
        raise ConfigError(f"--arch {label}: no weights; {HOW} (--untrained to see the network as it begins)")
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        try:
            network = build(options).eval().requires_grad_(False)
        except Exception as error:  # a constructor may raise anything
            raise ConfigError(f"{source}: {label}: cannot be built: {' '.join(str(error).split())}") from error
    if file is not None:
        network.load_state_dict(_weights_for(network, label, file, key))
    return Trained(label, network, options, str(file or "untrained"))


def _weights_for(network: nn.Module, label: str, file: Path, key: str | None) -> Weights:
    """The weights of a file under ``key``, by default the averaged ones if it has them; all must fit."""
    _require(file, label)
    try:
        state = choose(read_weights(file), key)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    if not (fit := fitting(state, network.state_dict())).complete:
        raise WeightsError(f"{file}: does not fit {label}: {'; '.join(fit.lines())}")
    return state


def _require(file: Path, label: str) -> None:
    if not file.is_file():
        raise ConfigError(f"{label}: no file '{file}'")
