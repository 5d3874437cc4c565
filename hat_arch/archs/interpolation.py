"""A start for compact networks: weights with which the network interpolates, so that training adds detail to that.

From random weights, a network spends its first thousand iterations on learning to return the colours that it is given.
The idea is that of ICNR for sub-pixel convolutions (arXiv 1707.02937, section 3), taken through the whole network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .hat_arch import HAT


@torch.no_grad()
def begin_as_interpolation(net: nn.Module) -> None:
    """Sets weights of a compact HAT so that it returns its input, interpolated, or of one without upsampler, as it is.

    With ``upsampler: pixelshuffledirect``, ``in_chans`` features carry the image from ``conv_first`` past all groups to
    the last convolution, which takes them alone. Without upsampler, where the image itself is added, the last
    convolution is zero. All other weights stay random, and the first steps begin to use them.

    Raises:
        ValueError: it is another network.
    """
    needed = "needs a HAT with upsampler: '', or with pixelshuffledirect and resi_connection: 1conv"
    if isinstance(net, HAT) and net.adds_image and isinstance(net.conv_last, nn.Sequential):
        for weight in net.conv_last[-1].parameters():
            weight.zero_()
        return
    if not isinstance(net, HAT) or not isinstance(net.conv_last, nn.Identity):
        raise ValueError(needed)
    last, after = next(net.upsample.children()), net.conv_after_body
    if not isinstance(last, nn.Conv2d) or not isinstance(after, nn.Conv2d):
        raise ValueError(needed)
    channels, scale = net.in_chans, net.upscale
    net.conv_first.weight[:channels] = 0
    net.conv_first.bias[:channels] = 0  # type: ignore[index]
    after.weight[:channels] = 0
    after.bias[:channels] = 0  # type: ignore[index]
    last.weight.zero_()
    last.bias.zero_()  # type: ignore[union-attr]
    taps = quadratic_taps(scale).to(last.weight)
    kernels = torch.einsum("iy,jx->ijyx", taps, taps).reshape(scale * scale, 3, 3)
    for channel in range(channels):
        net.conv_first.weight[channel, channel, 1, 1] = 1
        last.weight[channel * scale * scale : (channel + 1) * scale * scale, channel] = kernels


def quadratic_taps(scale: int) -> Tensor:
    """Weights of the pixels before, at and after a pixel for each of the ``scale`` that replace it: ``(scale, 3)``.

    Those of the parabola through the three.
    """
    t = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    return torch.stack([t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2], 1)
