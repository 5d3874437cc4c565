"""Tiles of the official HAT's option files."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hat_arch.inference.padded_tiles import in_padded_tiles


@pytest.mark.parametrize("shape", [(13, 30), (32, 16), (5, 7), (33, 17)])
@pytest.mark.parametrize(("size", "pad", "multiple"), [(8, 4, 4), (16, 8, 8), (12, 0, 4), (64, 8, 8)])
def test_each_pixel_comes_from_its_tile_with_the_pad_around_it(shape, size, pad, multiple):
    scale = 2
    lq = torch.rand(1, 3, *shape)

    def sum_of_what_is_seen(x):
        return x.sum((-2, -1), keepdim=True).expand(-1, -1, x.shape[-2] * scale, x.shape[-1] * scale)

    output = in_padded_tiles(sum_of_what_is_seen, lq, scale, size, pad, multiple)
    assert output.shape == (1, 3, shape[0] * scale, shape[1] * scale)
    sides = [-(-side // multiple) * multiple for side in shape]
    mode = "reflect" if all(side - given < given for side, given in zip(sides, shape)) else "replicate"
    padded = F.pad(lq, (0, sides[1] - shape[1], 0, sides[0] - shape[0]), mode)
    for y in range(shape[0]):
        for x in range(shape[1]):
            seen = padded
            for dim, place, side in ((2, y, sides[0]), (3, x, sides[1])):
                tile = place // size
                first, last = max(0, tile * size - pad), min(side, (tile + 1) * size + pad)
                seen = seen.narrow(dim, first, last - first)
            torch.testing.assert_close(output[..., y * scale, x * scale], seen.sum((-2, -1)))


def test_a_network_that_sees_no_further_than_the_pad_gives_the_whole_image():
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))
    net = nn.Sequential(*convolutions).double()
    lq = torch.rand(2, 3, 37, 21, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(in_padded_tiles(net, lq, 2, 8, 2), net(lq))
