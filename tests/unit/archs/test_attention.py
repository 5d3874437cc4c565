"""Attention in chunks against the plain formula."""

from __future__ import annotations

import pytest
import torch

from hat_arch.archs import attention as module
from hat_arch.archs.attention import attention, fast_attention
from hat_arch.archs.kernels import Kernels, computed_by

NAMES = ("q", "k", "v", "bias")


def tensors(n: int = 5, m: int = 7, windows: int = 5, heads: int = 3, d: int = 4, dtype=torch.float64) -> list:
    """q, k, v as the views that `Attention.split_heads` makes, and a bias."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(windows, size, heads, d, generator=generator).to(dtype).transpose(1, 2) for size in (n, m, m)]
    made.append(torch.randn(heads, n, m, generator=generator).to(dtype))
    return [z.requires_grad_() for z in made]


@pytest.fixture(params=[1, 3 * 5 * 7 * 8 * 2, 2**22], ids=["one window", "two windows", "all windows"])
def chunks(request, monkeypatch):
    """Bytes of attention weights at a time; the five windows of `tensors` in chunks of 1, 2 (and a rest), 5."""
    monkeypatch.setattr(module, "SCORES_IN_CACHE", request.param)


@pytest.mark.parametrize("m", [5, 7])
@pytest.mark.parametrize("kernel", ["fused", "products"])
def test_equals_the_plain_formula_with_all_gradients(chunks, m, kernel):
    inputs = tensors(m=m)
    grad = torch.randn(5, 3, 5, 4, dtype=torch.float64)
    with computed_by(Kernels(attention=kernel)):
        expected, out = attention(*inputs, 0.3), fast_attention(*inputs, 0.3)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    slopes = zip(NAMES, torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad))
    for name, ours, plain in slopes:
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_no_gradient_of_a_bias_that_does_not_learn(chunks):
    *inputs, bias = tensors()
    frozen, grad = bias.detach(), torch.randn(5, 3, 5, 4, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(fast_attention(*inputs, z, 0.3), inputs, grad) for z in (bias, frozen))):
        assert torch.equal(a, b)


def test_gradients_against_finite_differences(chunks):
    assert torch.autograd.gradcheck(lambda *z: fast_attention(*z, 0.5), tensors(n=2, m=3, d=2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_as_exact_as_the_plain_formula_in_half_precision(chunks, dtype):
    inputs = tensors(n=64, m=100, d=8, dtype=dtype)
    exact = [z.detach().double().requires_grad_() for z in inputs]
    grad = torch.randn(5, 3, 64, 8).to(dtype)
    expected = attention(*exact, 0.3)
    outs = fast_attention(*inputs, 0.3), attention(*inputs, 0.3)
    wanted = expected, *torch.autograd.grad(expected, exact, grad.double())
    ours, plain = ((out, *torch.autograd.grad(out, inputs, grad)) for out in outs)
    for name, a, b, c in zip(("out", *NAMES), ours, plain, wanted):
        assert a.dtype == dtype
        assert (a - c).abs().mean() <= 1.1 * (b - c).abs().mean(), name


def test_computes_as_it_is_told_under_autocast():
    inputs = tensors(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out = fast_attention(*inputs, 0.3)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, fast_attention(*inputs, 0.3), rtol=0, atol=0)


def test_keeps_no_attention_weights():
    kept = []
    q, k, v, bias = tensors(n=64, m=64)
    with torch.autograd.graph.saved_tensors_hooks(lambda z: kept.append(z.numel()) or z, lambda z: z):
        fast_attention(q, k, v, bias, 0.3)
    assert max(kept) <= max(z.numel() for z in (q, k, v, bias))


@pytest.mark.parametrize("bias_learns", [True, False])
def test_fp32_on_a_cpu_runs_the_fused_kernel_in_training_too(bias_learns):
    q, k, v, bias = tensors(n=64, m=64, d=8, dtype=torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fast_attention(q, k, v, bias.requires_grad_(bias_learns), 0.3)
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in {event.key for event in profile.key_averages()}


def test_drops_weights_only_when_asked():
    inputs = tensors()
    assert torch.equal(fast_attention(*inputs, 0.3), fast_attention(*inputs, 0.3))
    torch.manual_seed(0)
    dropped = fast_attention(*inputs, 0.3, 0.5)
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, attention(*inputs, 0.3, 0.5))
    assert not torch.allclose(dropped, fast_attention(*inputs, 0.3))
