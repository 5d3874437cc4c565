"""A model for photographs, made weaker: its weights mixed with those of the model that it was trained from."""

from __future__ import annotations

import torch

from ..utils.errors import UserError
from . import named
from .load import Loaded, load


def load_mixed(name: str, strength: float) -> Loaded:
    """A model of the package of which every weight is ``strength`` · its own + (1 - ``strength``) · its counterpart's.

    Two networks can be mixed so where one was trained on from the other's weights: what lies between them then works
    too (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Args:
        name: of a model whose card names a counterpart (``mixes_with``): those for photographs.
        strength: 0, the counterpart, which takes noise and blocks of JPEG for detail, to 1, the model itself.

    Raises:
        UserError: there is no such model, it has no counterpart, or the strength is not from 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"--denoise {strength:g}: must be from 0 to 1")
    model = named.named(name)
    if model is None or not model.mixes_with:
        able = [other.name for other in named.models().values() if other.mixes_with]
        raise UserError(f"--denoise: {name} has no strength to choose; those that have: {', '.join(able) or 'none'}")
    mixed, other = load(model.name), load(model.mixes_with)
    weights = other.network.state_dict()
    for key, value in mixed.network.state_dict().items():
        if torch.is_floating_point(value):
            value.copy_(torch.lerp(weights[key], value, strength))  # a state dict holds the weights themselves
    return mixed
