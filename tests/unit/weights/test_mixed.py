"""Strength of a model for photographs: its weights mixed with those that it was trained from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hat_arch import HAT
from hat_arch.utils.errors import UserError
from hat_arch.weights import named
from hat_arch.weights.load import load
from hat_arch.weights.mixed import load_mixed

TINY = {"embed_dim": 12, "depths": [1], "num_heads": [2], "window_size": 4, "squeeze_factor": 4, "upscale": 2}
PHOTO, CLEAN = "hat-light-photo-x2", "hat-light-x2"


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """A package with two models, of which one was trained from the other."""
    for name in (PHOTO, CLEAN):
        save_file(HAT(**TINY).state_dict(), tmp_path / f"{name}.safetensors")
    (tmp_path / f"{PHOTO}.md").write_text(f"---\nscale: 2\nmixes_with: {CLEAN}\n---\n")
    monkeypatch.setattr(named, "INSIDE", tmp_path)


@pytest.mark.parametrize(("strength", "like"), [(0, CLEAN), (1, PHOTO)])
def test_the_ends_are_the_two_models(strength, like):
    mixed, model = load_mixed(PHOTO, strength), load(like)
    lr = torch.rand(1, 3, 12, 12)
    assert torch.equal(mixed.network(lr), model.network(lr))
    assert (mixed.name, mixed.scale, mixed.multiple) == (PHOTO, 2, 4)


def test_between_them_every_weight_lies_between(strength=0.25):
    mixed, photo, clean = (dict(one.network.named_parameters()) for one in
                           (load_mixed(PHOTO, strength), load(PHOTO), load(CLEAN)))  # fmt: skip
    for name, value in mixed.items():
        torch.testing.assert_close(value, strength * photo[name] + (1 - strength) * clean[name])


@pytest.mark.parametrize(
    ("name", "strength", "said"),
    [
        (PHOTO, 1.5, "--denoise 1.5: must be"),
        (PHOTO, -0.1, "--denoise -0.1: must be"),
        (PHOTO, float("nan"), "--denoise nan: must be"),
        (CLEAN, 0.5, f"{CLEAN} has no strength to choose; those that have: {PHOTO}"),
        ("nothing", 0.5, "nothing has no strength"),
    ],
)
def test_what_cannot_be_mixed_is_said(name, strength, said):
    with pytest.raises(UserError, match=said):
        load_mixed(name, strength)
