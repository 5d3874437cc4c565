"""Between images and a network: alpha, grey, 16 bits, and resizing in bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from hat_arch.data.images import ImageError
from hat_arch.inference.bands import bounded_alpha, resized, to_network, to_rows
from hat_arch.inference.pictures import Frame
from hat_arch.inference.upscaler import as_float


def random(*shape, bits=8):
    return np.random.default_rng(sum(shape)).integers(0, 2**bits, shape).astype(f"u{bits // 8}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("alpha", [False, True])
def test_there_and_back_is_the_same(bits, shape, alpha):
    frame = Frame(random(*shape, bits=bits), random(5, 7, bits=bits) | 2 ** (bits - 1) if alpha else None)
    images = to_network(frame, 3, "it")
    assert images.shape == (1 + alpha, 3, 5, 7)
    [rows] = to_rows(iter([as_float(images)]), len(shape) == 2, bits)
    assert rows.dtype == frame.pixels.dtype and rows.shape == (5, 7, (1 if len(shape) == 2 else 3) + alpha)
    colours = rows[..., :-1] if alpha else rows
    tolerance = 2 if alpha and bits == 16 else 0  # what colours lose where alpha is small
    assert np.abs(colours.reshape(shape).astype(int) - frame.pixels).max() <= tolerance
    assert not alpha or np.array_equal(rows[..., -1], frame.alpha)


def test_what_a_transparent_pixel_hides_does_not_bleed():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3], pixels[:, 3:] = (200, 10, 20), (0, 255, 0)  # hidden green
    alpha = np.zeros((4, 6), np.uint8)
    alpha[:, :3] = 255
    images = as_float(to_network(Frame(pixels, alpha), 3, "it"))
    larger = torch.nn.functional.interpolate(images, scale_factor=4, mode="bilinear")
    [rows] = to_rows(iter([larger]), False, 8)
    seen = rows[rows[..., 3] > 20]
    assert np.abs(seen[:, :3].astype(int) - (200, 10, 20)).max() <= 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_network_that_overshoots_at_the_edge_of_a_cut_out_leaves_no_lines_beside_it(dtype):
    white = np.iinfo(dtype).max
    pixels, alpha = np.full((8, 12, 3), white // 5, dtype), np.zeros((8, 12), dtype)
    alpha[:, :6] = white
    images = as_float(to_network(Frame(pixels, alpha), 3, "it"))
    rough = torch.nn.functional.interpolate(images, scale_factor=4, mode="bicubic")
    rough = rough + (0.3 * torch.rand(1, 1, 32, 48) - 0.15) * rough.clamp_min(0.01)
    bands = bounded_alpha(iter([rough[:, :, :13], rough[:, :, 13:]]), alpha, 4)
    rows = np.concatenate([*to_rows(bands, False, 8)])
    assert (rows[:, :20, 3] == 255).all() and not rows[:, 28:].any()  # 4 pixels, one of the original, from the edge
    seen = rows[rows[..., 3] > 20]
    assert np.abs(seen[:, :3].astype(int) - 51).max() <= 2


def test_an_alpha_that_is_soft_already_is_left_as_it_is():
    frame = Frame(random(5, 7, 3, bits=16), random(5, 7, bits=16))
    images = as_float(to_network(frame, 3, "it"))
    [before] = to_rows(iter([images.clone()]), False, 16)
    [after] = to_rows(bounded_alpha(iter([images]), frame.alpha, 1), False, 16)
    assert np.abs(after.astype(int) - before).max() <= 1


def test_opaque_frames_of_an_animation_get_an_alpha():
    [rows] = to_rows(iter([torch.rand(1, 3, 2, 2)]), False, 8, opaque=True)
    assert rows.shape == (2, 2, 4) and (rows[..., 3] == 255).all()


def test_a_grey_network_takes_no_colours():
    assert to_network(Frame(random(2, 3)), 1, "it").shape == (1, 1, 2, 3)
    with pytest.raises(ImageError, match=r"a\.png: has colours"):
        to_network(Frame(random(2, 3, 3)), 1, "a.png")


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 20), st.integers(1, 150), st.integers(1, 40), st.data())
def test_resizing_in_bands_is_resizing_the_whole(height, width, new_height, new_width, data):
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    cuts = sorted(data.draw(st.sets(st.integers(1, height), max_size=5)) - {height})
    pieces = np.split(image.numpy(), cuts, -2)
    bands = list(resized((torch.from_numpy(p) for p in pieces), height, width, new_height, new_width))
    plane = PillowImage.fromarray(image[1, 2].numpy())
    whole = np.asarray(plane.resize((new_width, new_height), PillowImage.Resampling.LANCZOS))
    assert torch.cat(bands, -2).shape == (2, 3, new_height, new_width)
    assert np.abs(torch.cat(bands, -2)[1, 2].numpy() - whole).max() < 1e-3
