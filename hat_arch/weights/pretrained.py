"""The networks of the paper by name, with fresh weights or those of a file: `hat_s`, `hat` and `hat_l`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..archs.hat_arch import HAT
from ..archs.presets import PRESETS
from .files import WeightsError, choose, fitting, read_weights
from .load import another_task
from .named import find


def hat_s(scale: int = 4, weights: str | Path | None = None, **options: Any) -> HAT:
    """HAT-S, 9.6M parameters at ×4.

    Args:
        scale: 1, 2, 3, 4 or 8; ``upscale``, as `HAT` calls it, will do too.
        weights: a file, or the name of a model (``basicsr models``); by default the weights are fresh.
        options: arguments of `HAT` in place of the preset's.

    Raises:
        UserError: the weights are not there, cannot be read, or are of another network.
    """
    return _preset("HAT-S", scale, weights, options)


def hat(scale: int = 4, weights: str | Path | None = None, **options: Any) -> HAT:
    """HAT, 20.8M parameters at ×4. Arguments as for `hat_s`."""
    return _preset("HAT", scale, weights, options)


def hat_l(scale: int = 4, weights: str | Path | None = None, **options: Any) -> HAT:
    """HAT-L, 40.8M parameters at ×4. Arguments as for `hat_s`."""
    return _preset("HAT-L", scale, weights, options)


def _preset(name: str, scale: int, weights: str | Path | None, options: dict[str, Any]) -> HAT:
    network = HAT(**{**PRESETS[name], "upscale": scale, **options})
    if weights is None:
        return network
    path = find(weights)
    try:
        _, state = choose(read_weights(path))
        if not (fit := fitting(state, network.state_dict())).complete:
            why = [*another_task(state, network), *fit.lines()]
            raise WeightsError(f"does not fit {name} x{network.upscale}: {'; '.join(why)}")
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    network.load_state_dict(state)
    return network.eval()
