"""Attention with an additive bias, in the way that suits device and precision; nothing in here knows of windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .kernels import chosen
from .strips import is_traced

MASK_VALUE = -100.0  # of the official code, kept for equal results; added where a query must not see a key
SCORES_IN_CACHE = 2**22  # bytes of attention weights that are worked on at a time on a CPU


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, drop: float = 0.0) -> Tensor:
    """The plain formula, ``softmax(scale · q kᵀ + bias) v``: the reference for all the others.

    Args:
        q: ``(N, heads, n, d)``; k, v: ``(N, heads, m, d)``.
        bias: ``(heads, n, m)``.
        drop: share of the weights to drop.

    Returns:
        ``(N, heads, n, d)``.
    """
    weights = torch.softmax((q * scale) @ k.transpose(-1, -2) + bias, -1)
    return (F.dropout(weights, drop) if drop else weights) @ v


def fast_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, drop: float = 0.0) -> Tensor:
    """`attention` by the fastest way, chosen by device and type.

    * CUDA and others: PyTorch's fused attention, which has a gradient of the bias there.
    * CPU: `_ChunkedAttention`, since PyTorch's fused CPU kernel has no gradient of the bias, and in bf16 takes twice as
      long as two matrix products with a softmax between them; in fp32 that differs (`kernels.Kernels`).
    * On a CPU with dropout, and where layers must be plain (`is_traced`), the plain formula.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, bias[None], drop, scale=scale)
    if drop or is_traced():
        return attention(q, k, v, bias, scale, drop)
    return _ChunkedAttention.apply(q, k, v, bias, scale)


class _ChunkedAttention(torch.autograd.Function):
    """Attention on a CPU, a few windows at a time, so that their weights stay in the cache and none are kept.

    The backward pass computes the weights again; by the plain formula if it is to be differentiated itself, or for many
    gradients at once. Both passes use one buffer for all chunks: the system would clear fresh memory for each.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, bias)
        ctx.scale = scale
        with torch.autocast("cpu", enabled=False):
            if q.dtype not in (torch.bfloat16, torch.float16) and chosen().attention == "fused":
                bias = bias.detach()[None]  # else PyTorch does not fuse, though no gradient is kept
                return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
            out = torch.empty_like(q)
            for part, weights in _chunks(q, k, bias, scale):
                out[part] = torch.bmm(weights, v[part].flatten(0, 1)).view_as(q[part])
            return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias = ctx.saved_tensors
        again = torch.is_grad_enabled()  # second derivatives are wanted
        if again or is_traced() or torch._C._functorch.is_legacy_batchedtensor(grad):
            learning = [z for z in ctx.saved_tensors if z.requires_grad]
            with torch.enable_grad():
                out = attention(q, k, v, bias, ctx.scale)
            grads = iter(torch.autograd.grad(out, learning, grad, create_graph=again))
            return *(next(grads) if z.requires_grad else None for z in ctx.saved_tensors), None
        q, k, v, grad = (z.contiguous() for z in (q, k, v, grad))
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dbias = None
        if ctx.needs_input_grad[3]:
            dbias = torch.zeros(bias.shape, dtype=torch.promote_types(bias.dtype, torch.float32))
        buffer = None
        for part, weights in _chunks(q, k, bias, ctx.scale):
            q_, k_, v_, grad_ = (z[part].flatten(0, 1) for z in (q, k, v, grad))
            torch.bmm(weights.transpose(1, 2), grad_, out=dv[part].flatten(0, 1))
            buffer = torch.empty_like(weights) if buffer is None else buffer
            slopes = torch.bmm(grad_, v_.transpose(1, 2), out=buffer[: len(weights)])
            slopes = torch.ops.aten._softmax_backward_data.out(slopes, weights, -1, weights.dtype, grad_input=slopes)
            if dbias is not None:
                for of_window in slopes.view(-1, *bias.shape):
                    dbias += of_window
            torch.bmm(slopes, k_, out=dq[part].flatten(0, 1))
            torch.bmm(slopes.transpose(1, 2), q_, out=dk[part].flatten(0, 1))
        return dq.mul_(ctx.scale), dk.mul_(ctx.scale), dv, None if dbias is None else dbias.to(bias.dtype), None


def _chunks(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> Iterator[tuple[slice, Tensor]]:
    """Ranges of windows, and their attention weights ``(windows · heads, n, m)``.

    The weights share one buffer: those of a range are overwritten by the next.
    """
    size = max(1, SCORES_IN_CACHE // (bias.numel() * q.element_size()))
    size = -(-len(q) // -(-len(q) // size))  # chunks alike
    buffer = bias.new_empty(size, *bias.shape)
    for start in range(0, len(q), size):
        part = slice(start, min(start + size, len(q)))
        q_, k_ = q[part].flatten(0, 1), k[part].flatten(0, 1)
        weights = buffer[: len(q[part])].copy_(bias).flatten(0, 1)
        torch.baddbmm(weights, q_, k_.transpose(1, 2), alpha=scale, out=weights)
        yield part, torch.softmax(weights, -1, out=weights)
