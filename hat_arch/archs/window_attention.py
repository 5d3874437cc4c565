"""Windowed multi-head attention with a relative position bias, written for fused kernels.

Features arrive and leave as ``(B, H, W, C)``; windows exist only in here. Three ideas carry the speed:

* Windows are ordered column by column, so that those of the last column are contiguous. A cyclically shifted map
  then needs no mask per window: interior windows need none, and the last row, the last column and the corner share
  one mask each (`shift_masks`).
* Attention is fused, or computed in chunks that stay in the cache (`fast_attention`), with bias and mask in one.
* Fused kernels want head widths in multiples of 8, HAT's is 30. Zero rows are added to the *weights* of the
  projections (`Attention.projections`): the result is the same. Where a projection has been replaced, or has hooks,
  it is called as it is, and zeros are added to its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import MASK_VALUE, fast_attention
from .exported import Places, masked_by_products
from .linear import is_plain_linear, linear, through
from .strips import is_exported, is_traced, join, strips

Projection = Callable[[Tensor], Tensor]
HEAD_DIM_MULTIPLE = 8


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


def as_computed(x: Tensor) -> Tensor:
    """``x`` in the type that autocast computes in, if it is on: cast once, not for each strip of the image."""
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if autocast else x


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
        """Bias of each head for each query and key, ``(heads, n, m)``, from rows of the table (0 or more)."""
        table = self.relative_position_bias_table.t()
        if torch.is_grad_enabled() and not is_exported():
            if table.device.type != "cpu":
                return table[:, index]
            rows = index.flatten().expand(len(table), -1)
            return table.gather(1, rows).unflatten(1, index.shape)  # its gradient takes a fifth as long
        return table.contiguous().index_select(1, index.flatten()).unflatten(1, index.shape)  # takes a quarter as long

    def projections(self) -> tuple[Projection, Projection]:
        """`qkv`, and `proj` with dropout, for heads as wide as fused kernels want them (`padding`).

        If both are plain linear layers, they are so by zeros in their weights; else they are called as they are, and
        `attend` pads their output.
        """
        qkv, proj, extra = self.qkv, self.proj, self.padding(self.head_dim)
        if not (extra and is_plain_linear(qkv) and is_plain_linear(proj)):
            return partial(through, qkv), lambda x: self.proj_drop(through(proj, x))
        heads = -1, self.head_dim
        weight_in = as_computed(F.pad(qkv.weight.unflatten(0, heads), (0, 0, 0, extra)).flatten(0, 1))
        bias_in = None if qkv.bias is None else F.pad(qkv.bias.unflatten(0, heads), (0, extra)).flatten()
        weight_out = as_computed(F.pad(proj.weight.unflatten(1, heads), (0, extra)).flatten(1))
        project_in = partial(linear, weight=weight_in, bias=bias_in)
        return project_in, lambda x: self.proj_drop(linear(x, weight_out, proj.bias))

    def padding(self, width: int) -> int:
        """By how much heads are widened; not at all where a plain formula is recorded on a CPU, as by exporters."""
        if self.relative_position_bias_table.device.type == "cpu" and is_traced():
            return 0
        return -width % HEAD_DIM_MULTIPLE

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
        width = q.shape[-1]
        if extra := self.padding(width):
            q, k, v = (F.pad(z, (0, extra)) for z in (q, k, v))
        out = fast_attention(q, k, v, bias.to(q.dtype), self.scale, drop)
        return out[..., :width].transpose(1, 2).flatten(2)

    def split_parts(self, x: Tensor, tokens: int, count: int) -> Tensor:
        """``(N · tokens, count · heads · d)`` to ``(count, N, heads, tokens, d)``, such as q, k and v, by one view."""
        return x.reshape(-1, tokens, count, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)

    def attend_at_once(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """`attend` and `proj` as they are exported: without padding, and in PyTorch's function, which exporters know.

        Args:
            q, k, v: as for `attend`.
            bias: ``(heads, n, m)``.

        Returns:
            ``(N · n, heads · d)``.
        """
        drop = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, bias[None].to(q.dtype), drop, scale=self.scale)
        out = out.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # a view would depend on the kernel
        return self.proj_drop(self.proj(out.flatten(2).flatten(0, 1)))


class WindowAttention(Attention):
    """(Shifted) window multi-head self-attention, (S)W-MSA (paper section 3.2, after Swin)."""

    def __init__(self, dim: int, window_size: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(dim, num_heads, 2 * window_size - 1, **kwargs)
        self.window_size = window_size

    def forward(self, x: Tensor, index: Tensor, shift: int, masks: Tensor, places: Places | None = None) -> Tensor:
        """Attends within windows of the map, rolled by ``shift`` tokens up and left.

        Args:
            x: ``(B, H, W, C)``, H and W multiples of the window size.
            index: ``(n, n)`` from `relative_position_index`.
            shift: 0 for regular windows.
            masks: ``(2, 2, n, n)`` from `shift_masks`; not read if ``shift`` is 0.
            places: of the tokens in windows, while the network is exported; then ``masks`` is not read.
        """
        bias = self.position_bias(index)
        if places is not None:
            return self.at_once(x, bias, shift, places)
        height = x.shape[1]
        attend = partial(self.attend_rows, *self.projections(), shift)
        if not shift:
            biases = [as_computed(bias)]
            return join((attend(biases, x[:, i:j]) for i, j in strips(x, self.window_size)), height)

        wrapped = height - self.window_size + shift  # first of the rows that lie in the last row of windows
        upper, last_row = x[:, shift:wrapped], torch.cat([x[:, wrapped:], x[:, :shift]], 1)
        biases = [as_computed(bias), as_computed(bias + masks[0, 1])]
        biases_of_last_row = [as_computed(bias + mask) for mask in masks[1]]

        def parts() -> Iterator[Tensor]:
            bottom, top = attend(biases_of_last_row, last_row).split([height - wrapped, shift], 1)
            yield top
            for i, j in strips(upper, self.window_size):
                if j:
                    yield attend(biases, upper[:, i:j])
            yield bottom

        return join(parts(), height)

    def at_once(self, x: Tensor, bias: Tensor, shift: int, places: Places) -> Tensor:
        """`forward` for all windows at once."""
        in_map, in_windows = places.in_map, places.in_windows
        if shift:
            in_map, in_windows = places.shifted_in_map, places.shifted_in_windows
        windows = x.flatten(0, -2).index_select(0, in_map)
        q, k, v = self.split_parts(self.qkv(windows), self.window_size**2, 3).unbind()
        if shift:
            q, k = masked_by_products(q, k, places.regions, self.scale)
        return self.attend_at_once(q, k, v, bias).index_select(0, in_windows).reshape(x.shape)

    def attend_rows(
        self, project_in: Projection, project_out: Projection, shift: int, biases: Sequence[Tensor], x: Tensor
    ) -> Tensor:
        """Attention within the windows of whole rows of windows, with columns rolled by ``shift``.

        Args:
            project_in, project_out: from `projections`.
            biases: ``(heads, n, n)``, of all windows; or, with a shift, of those in all columns but the last, and of
                those in the last one.
            x: ``(B, h, W, C)``, h and W multiples of the window size.
        """
        windows = window_partition(x.roll(-shift, 2) if shift else x, self.window_size)
        in_last_column = len(windows) * self.window_size // x.shape[2]
        sizes = [len(windows) - in_last_column, in_last_column] if shift else [len(windows)]
        qkv = (self.split_heads(z).split(sizes) for z in project_in(windows).chunk(3, -1))
        out = join((self.attend(q, k, v, bias) for q, k, v, bias in zip(*qkv, biases) if len(q)), len(windows), 0)
        x = window_reverse(project_out(out), self.window_size, *x.shape[:3])
        return x.roll(shift, 2) if shift else x


class CrossAttention(Attention):
    """Attention from each window to a larger one of side ``key_size`` around it (paper equation 5)."""

    def __init__(self, dim: int, window_size: int, key_size: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(dim, num_heads, window_size + key_size - 1, **kwargs)
        self.window_size = window_size
        self.key_size = key_size

    def cross_attention(self, x: Tensor, index: Tensor, places: Places | None = None) -> Tensor:
        """The attention alone, without what a block adds to it; beyond the map are zeros.

        Args:
            x: ``(B, H, W, C)``, H and W multiples of the window size.
            index: ``(n, m)`` from `relative_position_index`; negative rows count from the end of the table.
            places: of the tokens in windows, while the network is exported.
        """
        before = (self.key_size - self.window_size) // 2
        after = self.key_size - self.window_size - before
        height = x.shape[1]
        bias = as_computed(self.position_bias(index % (self.window_size + self.key_size - 1) ** 2))
        if places is not None:
            return self.at_once(x, bias, places)
        project_in, project_out = self.projections()

        def attended(i: int, j: int) -> Tensor:
            top, bottom = max(0, i - before), min(height, j + after)
            q, k, v = project_in(x[:, top:bottom]).chunk(3, -1)
            q = window_partition(q[:, i - top : j - top], self.window_size)
            margins = (0, 0, before, after, before - (i - top), after - (bottom - j))
            k, v = (overlapping_windows(F.pad(z, margins), self.window_size, self.key_size) for z in (k, v))
            out = self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), bias)
            return window_reverse(project_out(out), self.window_size, len(x), j - i, x.shape[2])

        return join((attended(i, j) for i, j in strips(x, self.window_size)), height)

    def at_once(self, x: Tensor, bias: Tensor, places: Places) -> Tensor:
        """`cross_attention` for all windows at once."""
        dim = self.num_heads * self.head_dim
        qkv = self.qkv(x.flatten(0, -2))
        q = qkv[:, :dim].index_select(0, places.in_map)
        kv = F.pad(qkv[:, dim:], (0, 0, 0, 1)).index_select(0, places.keys_in_map)  # the last token is zero
        q, kv = self.split_parts(q, self.window_size**2, 1), self.split_parts(kv, self.key_size**2, 2)
        return self.attend_at_once(q[0], kv[0], kv[1], bias).index_select(0, places.in_windows).reshape(x.shape)
