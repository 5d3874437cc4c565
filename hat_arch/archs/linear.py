"""Linear layers on a CPU by oneDNN, where PyTorch takes its BLAS, inside `kernels.computed_by`."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import chosen
from .strips import is_as_built, is_traced

IMAGES = 16
"""Into how many images tokens are arranged for a convolution: PyTorch gives small ones of fewer to no oneDNN."""


def has_onednn() -> bool:
    """Whether PyTorch was built with oneDNN, and nobody has switched it off."""
    return torch.backends.mkldnn.is_available() and bool(torch._C._get_mkldnn_enabled())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`: ``(…, K)`` to ``(…, N)`` by a weight ``(N, K)``; the same to rounding in either library.

    oneDNN computes fp32 on the CPU alone. Lower precisions are computed by it anyway, and what is recorded or
    transformed (`is_traced`) is to be the plain operation.
    """
    if torch.compiler.is_compiling() or chosen().linear == "blas" or not _for_onednn(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in (x, weight, bias)):
        return _as_convolution(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def through(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's output: by `linear` if it is a linear layer as PyTorch has it, else by calling the layer."""
    if torch.compiler.is_compiling() or chosen().linear == "blas" or not is_plain_linear(layer):
        return layer(x)
    return linear(x, layer.weight, layer.bias)


def is_plain_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether calling a layer is no more than `F.linear` with its weights."""
    return type(layer) is nn.Linear and is_as_built(layer)


def _for_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not is_traced()
    )


def _as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer as a 1×1 convolution on the same memory, whose gradients oneDNN computes, too."""
    tokens, width = x.numel() // x.shape[-1], x.shape[-1]
    images = IMAGES if tokens % IMAGES == 0 else 1
    pixels = x.reshape(images, -1, 1, width).permute(0, 3, 1, 2)  # channels last
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
