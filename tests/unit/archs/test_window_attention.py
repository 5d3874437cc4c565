"""Windows, position indices, masks and fused attention, each beside a plain definition of it."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hat_arch import HAT
from hat_arch.archs import strips as strips_module
from hat_arch.archs.strips import saving_memory, strips
from hat_arch.archs.window_attention import (
    WindowAttention,
    relative_position_index,
    shift_masks,
    window_partition,
    window_reverse,
)

# isort: split
# After hat_arch, which repairs torchvision.
from spandrel.architectures.HAT.__arch.HAT import HAT as SpandrelHAT


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- relative positions


def tokens(size: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(size), repeat=2))


@pytest.mark.parametrize("window, key", [(2, 3), (4, 4), (4, 6), (5, 10), (7, 10), (8, 10)])
def test_cross_attention_index_counts_from_the_official_corner(window, key):
    side, corner = window + key - 1, window - key + 1
    expected = [[(v - y + corner) * side + u - x + corner for v, u in tokens(key)] for y, x in tokens(window)]
    assert relative_position_index(window, key).tolist() == expected


@pytest.mark.parametrize("window", [4, 7, 8, 13, 16])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75, 1])
def test_indices_are_the_official_buffers(window, overlap):
    config = {"embed_dim": 4, "depths": [], "num_heads": [], "window_size": window, "overlap_ratio": overlap}
    buffers = dict(HAT(**config, use_cab=False).named_buffers())
    for name, expected in SpandrelHAT(**config).named_buffers():
        assert torch.equal(buffers[name], expected), name


# ---- windows


@settings(deadline=None, derandomize=True)
@given(b=st.integers(1, 3), rows=st.integers(1, 4), columns=st.integers(1, 4), window=st.integers(1, 5))
def test_partition_is_column_by_column_and_reverse_undoes_it(b, rows, columns, window):
    x = torch.arange(b * rows * columns * window**2 * 2).view(b, rows * window, columns * window, 2)
    windows = window_partition(x, window)
    assert torch.equal(window_reverse(windows, window, *x.shape[:3]), x)
    expected = [
        image[row * window : (row + 1) * window, column * window : (column + 1) * window].reshape(window**2, 2)
        for column, row, image in itertools.product(range(columns), range(rows), x)
    ]
    assert torch.equal(windows, torch.stack(expected))


@settings(deadline=None, derandomize=True)
@given(
    b=st.integers(1, 3),
    rows=st.integers(1, 6),
    w=st.integers(1, 64),
    multiple=st.integers(1, 8),
    budget=st.integers(1, 2000),
)
def test_strips_cover_the_rows_in_whole_windows_within_the_budget(b, rows, w, multiple, budget):
    x = torch.empty(b, rows * multiple, w, 1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(strips_module, "STRIP_TOKENS_CPU", budget)
        ranges = saving_memory(lambda net, x: strips(x, multiple))(nn.Identity(), x)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(rows * multiple))
    assert all(start % multiple == stop % multiple == 0 for start, stop in ranges)
    assert all(b * w * (stop - start) <= max(budget, b * w * multiple) for start, stop in ranges)


def swin_masks(window: int, shift: int, rows: int, columns: int) -> Tensor:
    """``(rows, columns, n, n)``: the masks of all windows, from labels of the regions of a rolled map."""
    labels = torch.zeros(rows * window, columns * window)
    cuts = slice(0, -window), slice(-window, -shift), slice(-shift, None)
    for label, (h, w) in enumerate(itertools.product(cuts, repeat=2)):
        labels[h, w] = label
    masks = torch.empty(rows, columns, window**2, window**2)
    for row, column in itertools.product(range(rows), range(columns)):
        region = labels[row * window : (row + 1) * window, column * window : (column + 1) * window].flatten()
        masks[row, column] = torch.where(region[:, None] == region, 0.0, -100.0)
    return masks


# ---- attention


def plain_attention(attn: WindowAttention, x: Tensor, shift: int) -> Tensor:
    """(S)W-MSA written out: window by window, head by head, softmax in full."""
    window, heads = attn.window_size, attn.num_heads
    b, h, w, c = x.shape
    rows, columns = h // window, w // window
    masks = swin_masks(window, shift, rows, columns) if shift else torch.zeros(rows, columns, 1, 1)
    index = relative_position_index(window)
    x = x.roll((-shift, -shift), (1, 2))
    out = torch.empty_like(x)
    for i, row, column in itertools.product(range(b), range(rows), range(columns)):
        place = i, slice(row * window, (row + 1) * window), slice(column * window, (column + 1) * window)
        q, k, v = F.linear(x[place].reshape(-1, c), attn.qkv.weight, attn.qkv.bias).chunk(3, -1)
        parts = []
        for head, (qh, kh, vh) in enumerate(zip(*(z.chunk(heads, -1) for z in (q, k, v)))):
            bias = attn.relative_position_bias_table[:, head][index] + masks[row, column]
            parts.append((qh @ kh.T * attn.scale + bias).softmax(-1) @ vh)
        out[place] = F.linear(torch.cat(parts, -1), attn.proj.weight, attn.proj.bias).view(window, window, c)
    return out.roll((shift, shift), (1, 2))


def make_attention(dim: int, window: int, heads: int, **kwargs) -> WindowAttention:
    attn = WindowAttention(dim, window, heads, **kwargs).eval()
    for i, parameter in enumerate(attn.parameters()):
        parameter.data = random(*parameter.shape, seed=i) / (dim**0.5 if parameter.shape[-1:] == (dim,) else 1)
    return attn


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize(
    "dim, heads, options",
    [(12, 2, {}), (16, 2, {}), (9, 3, {"qkv_bias": False}), (12, 1, {"qk_scale": 0.9})],
    ids=["width 6", "width 8", "width 3 without bias", "scaled"],
)
def test_fused_attention_is_the_plain_one(shift, rows, columns, dim, heads, options, monkeypatch):
    window = 4
    attn = make_attention(dim, window, heads, **options).double()
    x = random(2, rows * window, columns * window, dim).double()
    shared = relative_position_index(window), shift, shift_masks(window, shift)
    expected = plain_attention(attn, x, shift).detach()
    torch.testing.assert_close(attn(x, *shared), expected, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(strips_module, "STRIP_TOKENS_CPU", 1)
    with torch.no_grad():
        in_strips = saving_memory(lambda attn, x: attn(x, *shared))
        torch.testing.assert_close(in_strips(attn, x), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(in_strips(attn.float(), x.float()), expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_dropout_on_attention_weights_keeps_their_mean(grad):
    attn = WindowAttention(4, 1, 1, attn_drop=0.4).train()
    ones = torch.ones(20_000, 1, 1, 4)  # a single key, of weight 1
    torch.manual_seed(0)
    with torch.set_grad_enabled(grad):
        kept = attn.attend(ones, ones, ones, torch.zeros(1, 1, 1))
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 1 / 0.6]))
    assert abs(kept.mean() - 1) < 0.025  # four standard deviations


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("window", [7, 16])
def test_fused_attention_on_a_gpu(dtype, tolerance, window, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    attn = make_attention(60, window, 2).double()
    x = random(2, 3 * window, 2 * window, 60).double()
    shift = window // 2
    expected = plain_attention(attn, x, shift).detach()
    shared = relative_position_index(window).cuda(), shift, shift_masks(window, shift).cuda()
    out = attn.cuda().to(dtype)(x.cuda().to(dtype), *shared)
    torch.testing.assert_close(out.double().cpu(), expected, rtol=tolerance, atol=tolerance)
