"""Attention within windows with a position bias, by all the kernels of PyTorch: where a GPU's time goes in HAT."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial

import common
import torch
from common import DTYPES, PEER, Result, progress
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from hat_arch.archs.attention import attention, fast_attention
from hat_arch.archs.window_attention import overlap_size
from hat_arch.utils.errors import UserError
from hat_arch.utils.peak_memory import peak_memory
from hat_arch.utils.text_tables import aligned

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
HEADS, WIDTH = 6, 32
"""Of HAT, whose heads of 30 are computed as 32."""
TOLERANCES = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 4e-3}
"""Largest difference from the plain formula in fp32, as a share of the largest value."""


def fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, bias[None], scale=scale)


def flex(compiled: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    def with_bias(score: Tensor, window: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + bias[head, query, key]

    return compiled(q, k, v, score_mod=with_bias, scale=scale)


class Candidate:
    """A kernel on the windows of an image."""

    def __init__(
        self, name: str, shape: tuple[int, int, int], precision: str, learning: bool, device: str, threads: int | None
    ) -> None:
        common.settle(threads, ours=name == "ours")
        windows, queries, keys = shape
        self.device, generator = torch.device(device), torch.Generator().manual_seed(0)
        sizes = [(windows, HEADS, count, WIDTH) for count in (queries, keys, keys)] + [(HEADS, queries, keys)]
        values = [torch.randn(*size, generator=generator).to(self.device) for size in sizes]
        q, k, v, bias = values
        self.exact = attention(q, k, v, bias, WIDTH**-0.5)
        dtype = DTYPES[precision] or torch.float32
        self.inputs = [value.to(dtype).requires_grad_(learning) for value in values]
        self.slopes = torch.ones_like(self.exact, dtype=dtype) if learning else None
        kernels: dict[str, Kernel] = {PEER: attention, "fused": fused, "ours": fast_attention}
        self.kernel = kernels[name] if name in kernels else partial(flex, torch.compile(flex_attention))

    def begin(self) -> str | None:
        """Computes once, which compiles; returns why it cannot."""
        try:
            self.call()
        except (RuntimeError, NotImplementedError, torch._dynamo.exc.TorchDynamoException) as error:
            return str(error).strip().partition("\n")[0][:200]
        return None

    def call(self) -> Tensor:
        with torch.set_grad_enabled(self.slopes is not None):
            q, k, v, bias = self.inputs
            out = self.kernel(q, k, v, bias, WIDTH**-0.5)
        if self.slopes is not None:
            torch.autograd.grad(out, self.inputs, self.slopes)
        return out

    def difference(self) -> float:
        return float((self.call() - self.exact).abs().max() / self.exact.abs().max())

    def memory(self) -> float:
        return peak_memory(self.call, self.device).extra_mib

    def seconds(self) -> float:
        return common.seconds_of(self.call)


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    for window, precision in itertools.product(args.window, args.precision):
        cases = {}
        for key, learning in itertools.product((window, overlap_size(window, 0.5)), (False, True)):
            case = f"windows of {window}, keys of {key}{', gradients' if learning else ''}"
            progress(f"{case}, {precision}")
            shape = ((args.side // window) ** 2, window**2, key**2)
            cases[case] = measure_one(args, device, shape, precision, learning)
        result = {"suite": "windows", "precision": precision, "cases": cases}
        yield f"windows_{device.type}_{window}_{precision}", result


def measure_one(
    args: argparse.Namespace, device: torch.device, shape: tuple[int, int, int], precision: str, learning: bool
) -> Result:
    names, why_not = [PEER, "fused", "flex", "ours"], {}
    how = (shape, precision, learning, device.type, args.threads)
    with common.workers(Candidate, names, *how) as workers:
        for name in names:
            if why := workers[name].call("begin"):
                why_not[name] = why
                workers.pop(name).shutdown()
        differences = {name: worker.call("difference") for name, worker in workers.items()}
        for name, difference in differences.items():
            if not difference <= TOLERANCES[precision]:  # also NaN
                raise UserError(f"{name}: differs from the plain formula by {difference:.1e} of the largest value")
        mib = {name: worker.call("memory") for name, worker in workers.items()}
        clocks = {name: partial(worker.call, "seconds") for name, worker in workers.items()}
        times = common.idle_and_busy(clocks, args)
    return {**times, "difference": differences, "extra_mib": mib, "not_measured": why_not}


HEADER = ["case", "kernel", "ms", "times as fast", "peak extra MiB", "max difference"]


def report(result: Result) -> str:
    rows, not_measured = [], []
    for case, measured in result["cases"].items():
        for name, times in measured["seconds"].items():
            fast = "1" if name == PEER else f"{1 / measured['time_ratio'][name]['median']:.2f}"
            mib, difference = measured["extra_mib"][name], measured["difference"][name]
            label = "plain formula" if name == PEER else name
            rows.append([case, label, f"{1000 * times['median']:.2f}", fast, f"{mib:.0f}", f"{difference:.1e}"])
        not_measured += [f"{case}: {name}: {why}" for name, why in measured["not_measured"].items()]
    return "\n".join([aligned(HEADER, rows, left=range(2)), *not_measured])


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    common.add_busy(made)
    add = made.add_argument
    add("--window", nargs="+", type=common.count, default=[16], metavar="N", help="sides of windows; 16 by default")
    add("--side", type=common.count, default=64, metavar="PX", help="of the image that the windows fill; 64 by default")
    add("--precision", nargs="+", choices=list(DTYPES), default=["fp32"], help="fp32 by default")
    made.set_defaults(busy=0)
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
