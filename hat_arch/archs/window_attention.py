"""Windowed multi-head attention with a relative position bias, written for fused kernels.

Features arrive and leave as ``(B, H, W, C)``; windows exist only in here. Three ideas carry the speed:

* Windows are ordered column by column, so that those of the last column are contiguous. A cyclically shifted map
  then needs no mask per window: interior windows need none, and the last row, the last column and the corner share
  one mask each (`shift_masks`).
* Attention is fused, or computed in chunks that stay in the cache (`fast_attention`), with bias and mask in one.
* Fused kernels want head widths in multiples of 8, HAT has 30 or 24. Zero rows are added to the *weights* of the
  projections (`Attention.project_qkv`), never to the activations: the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import fast_attention
from .layers import join, strips

HEAD_DIM_MULTIPLE = 8
MASK_VALUE = -100.0  # the value of the official code, kept for equal results


def relative_position_index(window_size: int, key_size: int | None = None) -> Tensor:
    """Row of the bias table for each query and key of a window (paper section 3.2; the official buffers).

    Args:
        window_size: side of the query window, in tokens.
        key_size: side of the key window around the same centre, for overlapping cross-attention; None for
            self-attention.

    Returns:
        int64 of shape ``(window_size², key_size²)``. For self-attention the values are Swin's. Those of the official
        cross-attention run the other way, and some are negative and count from the end of the table: take them
        modulo ``(window_size + key_size - 1)²``.
    """
    query = _grid(window_size)  # n, 2
    if key_size is None:
        offset = query[:, None] - query[None] + window_size - 1
        key_size = window_size
    else:
        key = _grid(key_size)  # m, 2
        offset = key[None] - query[:, None] + window_size - key_size + 1
    return offset[..., 0] * (window_size + key_size - 1) + offset[..., 1]


def _grid(size: int) -> Tensor:
    steps = torch.arange(size)
    return torch.cartesian_prod(steps, steps).reshape(-1, 2)


def shift_masks(window_size: int, shift: int) -> Tensor:
    """Additive masks for the windows of a map rolled by ``shift`` that hold tokens from both of its ends.

    Returns:
        ``(2, 2, n, n)`` with ``n = window_size²``, indexed by *is in the last row* and *is in the last column*:
        0 where query and key are neighbours in the image, -100 where only the roll brought them together.
    """
    wrapped = _grid(window_size) >= window_size - shift  # n, 2
    apart = wrapped[:, None] != wrapped[None]  # n, n, 2
    rows, columns = apart.unbind(-1)
    never = torch.zeros_like(rows)
    masks = torch.stack([torch.stack([never, columns]), torch.stack([rows, rows | columns])])
    return masks * MASK_VALUE


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """Cuts ``(B, H, W, C)`` into ``(W/w · H/w · B, w², C)``, column by column; H and W are multiples of ``w``."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window_size, window_size, w // window_size, window_size, c)
    return x.permute(3, 1, 0, 2, 4, 5).reshape(-1, window_size * window_size, c)


def window_reverse(windows: Tensor, window_size: int, b: int, h: int, w: int) -> Tensor:
    """Inverse of `window_partition`: back to ``(B, H, W, C)``."""
    x = windows.reshape(w // window_size, h // window_size, b, window_size, window_size, -1)
    return x.permute(2, 1, 3, 0, 4, 5).reshape(b, h, w, -1)


def overlap_size(window_size: int, overlap_ratio: float) -> int:
    """Side of the key window, ``M_o = (1 + γ) M`` (paper equation 5; as in the official code, not as in arXiv v1)."""
    return window_size + int(window_size * overlap_ratio)


def overlapping_windows(x: Tensor, window_size: int, key_size: int) -> Tensor:
    """Like `window_partition`, with larger windows of side ``key_size``, still ``window_size`` apart.

    Returns:
        ``(windows, key_size², C)``.
    """
    x = x.unfold(1, key_size, window_size).unfold(2, key_size, window_size)  # B, nH, nW, C, key, key
    return x.permute(2, 1, 0, 4, 5, 3).reshape(-1, key_size * key_size, x.shape[3])


class Attention(nn.Module):
    """What self-attention and overlapping cross-attention share: projections and the relative position bias.

    Args:
        dim: width C of the features.
        num_heads: number of heads; divides ``dim``.
        table_side: side of the square table of relative positions.
        qkv_bias: whether the joint projection has a bias.
        qk_scale: factor on the products of queries and keys; ``head_dim ** -0.5`` if None.
        attn_drop, proj_drop: dropout on the attention weights and on the output.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        table_side: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"embed_dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = qk_scale or self.head_dim**-0.5
        self.attn_drop = attn_drop
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table_side**2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def position_bias(self, index: Tensor) -> Tensor:
        """Bias of each head for each query and key: ``(heads, n, m)``. A negative index counts from the end."""
        return self.relative_position_bias_table.t()[:, index]

    def project_qkv(self, x: Tensor) -> Tensor:
        """``(…, C)`` to ``(…, 3 · heads · d)``, where d is the head width with its padding."""
        return F.linear(x, *self.padded_qkv())

    def padded_qkv(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the joint projection, with zeros so that heads have a width that kernels want."""
        extra = -self.head_dim % HEAD_DIM_MULTIPLE
        weight: Tensor = self.qkv.weight
        bias: Tensor | None = self.qkv.bias
        if extra:
            weight = F.pad(weight.view(3 * self.num_heads, self.head_dim, -1), (0, 0, 0, extra)).flatten(0, 1)
            bias = None if bias is None else F.pad(bias.view(-1, self.head_dim), (0, extra)).flatten()
        return weight, bias

    def project_out(self, x: Tensor) -> Tensor:
        """``(…, heads · d)`` to ``(…, C)``."""
        return self.proj_drop(F.linear(x, *self.padded_proj()))

    def padded_proj(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the output's projection, for the padded heads."""
        extra = -self.head_dim % HEAD_DIM_MULTIPLE
        weight: Tensor = self.proj.weight
        if extra:
            weight = F.pad(weight.view(len(weight), self.num_heads, self.head_dim), (0, extra)).flatten(1)
        return weight, self.proj.bias

    def split_heads(self, x: Tensor) -> Tensor:
        """``(N, n, heads · d)`` to ``(N, heads, n, d)``, a view."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Attention with a position bias (paper equation 4).

        Args:
            q: ``(N, heads, n, d)``; k, v: ``(N, heads, m, d)``.
            bias: ``(heads, n, m)``, position bias and mask in one.

        Returns:
            ``(N, n, heads · d)``.
        """
        drop = self.attn_drop if self.training else 0.0
        out = fast_attention(q, k, v, bias.to(q.dtype), self.scale, drop)
        return out.transpose(1, 2).flatten(2)


class WindowAttention(Attention):
    """(Shifted) window multi-head self-attention, (S)W-MSA (paper section 3.2, after Swin)."""

    def __init__(self, dim: int, window_size: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(dim, num_heads, 2 * window_size - 1, **kwargs)
        self.window_size = window_size

    def forward(self, x: Tensor, index: Tensor, shift: int, masks: Tensor) -> Tensor:
        """Attends within windows of the map, rolled by ``shift`` tokens up and left.

        Args:
            x: ``(B, H, W, C)``, H and W multiples of the window size.
            index: ``(n, n)`` from `relative_position_index`.
            shift: 0 for regular windows.
            masks: ``(2, 2, n, n)`` from `shift_masks`; not read if ``shift`` is 0.
        """
        bias = self.position_bias(index)
        height = x.shape[1]
        if not shift:
            return join((self.attend_windows(x[:, i:j], bias) for i, j in strips(x, self.window_size)), height)

        wrapped = height - self.window_size + shift  # first of the rows that lie in the last row of windows
        upper, last_row = x[:, shift:wrapped], torch.cat([x[:, wrapped:], x[:, :shift]], 1)
        biases = bias, bias + masks[0, 1]

        def parts() -> Iterator[Tensor]:
            bottom, top = self.attend_shifted(last_row, shift, bias + masks[1, 0], bias + masks[1, 1]).split(
                [height - wrapped, shift], 1
            )
            yield top
            for i, j in strips(upper, self.window_size):
                if j:
                    yield self.attend_shifted(upper[:, i:j], shift, *biases)
            yield bottom

        return join(parts(), height)

    def attend_windows(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attention within the windows of ``(B, h, W, C)``, h a multiple of the window size."""
        q, k, v = self.project_qkv(window_partition(x, self.window_size)).chunk(3, -1)
        out = self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), bias)
        return window_reverse(self.project_out(out), self.window_size, *x.shape[:3])

    def attend_shifted(self, x: Tensor, shift: int, bias: Tensor, bias_last_column: Tensor) -> Tensor:
        """`attend_windows` with columns rolled by ``shift`` and a bias of its own for windows of the last column."""
        windows = window_partition(x.roll(-shift, 2), self.window_size)
        in_last_column = len(windows) * self.window_size // x.shape[2]
        sizes = [len(windows) - in_last_column, in_last_column]
        qkv = (self.split_heads(z).split(sizes) for z in self.project_qkv(windows).chunk(3, -1))
        parts = zip(*qkv, (bias, bias_last_column))
        out = join((self.attend(q, k, v, b) for q, k, v, b in parts if len(q)), len(windows), 0)
        return window_reverse(self.project_out(out), self.window_size, *x.shape[:3]).roll(shift, 2)
