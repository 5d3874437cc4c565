"""Time and memory of one forward pass: our HAT beside spandrel's with the same weights."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import common
import numpy as np
import torch
from common import DTYPES, PEER, Result, progress, show_size
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hat_arch.inference import engines
from hat_arch.inference.prepared import Prepared
from hat_arch.utils.errors import UserError
from hat_arch.utils.peak_memory import PeakMemory, peak_memory
from hat_arch.utils.text_tables import aligned

WARM_UP = (64, 64)
"""Input that a network has run on before its memory is measured, in pixels."""
TOLERANCES = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of an output from the peer's, as a share of the range of the peer's."""
MATMUL = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product shows what the machine can do."""

Forward = Callable[[Tensor], Tensor]


def plain(network: nn.Module, precision: str) -> Forward:
    """The module itself; autocast for any precision but fp32."""
    dtype = DTYPES[precision]

    def forward(image: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            return network(image)

    return forward


def prepared(network: nn.Module, precision: str) -> Forward:
    """As ``basicsr upscale --engine torch`` and validation run it, by the kernels that are faster here."""
    device = next(network.parameters()).device
    how: dict[str, Any] = {"multiple": WARM_UP[0], "channels": 3, "report": progress}
    return engines.build("torch", network, DTYPES[precision], device, **how)


def compiled(network: nn.Module, precision: str) -> Forward:
    """`prepared` under `torch.compile`."""
    return Prepared(network, DTYPES[precision], compile=True)


class Graphed:
    """`prepared`, recorded as a CUDA graph for images of one size, as tiles are: no kernel waits for Python."""

    def __init__(self, network: nn.Module, precision: str) -> None:
        self.forward = prepared(network, precision)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, image: Tensor) -> Tensor:
        if self.graph is None or self.image.shape != image.shape:
            self.record(image)
        assert self.graph is not None
        self.image.copy_(image)
        self.graph.replay()
        return self.output

    def record(self, image: Tensor) -> None:
        self.image = image.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up outside the recording
            for _ in range(3):
                self.forward(self.image)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = self.forward(self.image)


VARIANTS: dict[str, Callable[[nn.Module, str], Forward]] = {
    "plain": plain,
    "prepared": prepared,
    "compile": compiled,
    "graph": Graphed,
}
"""Ways to run our HAT."""


class Candidate:
    """One way to run a network on an image of one size."""

    def __init__(
        self, name: str, network: dict[str, Any], size: tuple[int, int], precision: str, device: str, threads: int
    ) -> None:
        common.settle(threads, ours=name != PEER)
        self.name, self.device = name, torch.device(device)
        module = common.build(network, peer=name == PEER).to(self.device)
        self.forward = VARIANTS.get(name, plain)(module, precision)
        self.image = common.random_image(size, self.device)

    def memory(self) -> PeakMemory:
        """Of a forward pass after a small one."""
        self.forward(common.random_image(WARM_UP, self.device))
        if self.name in ("compile", "graph"):  # for this size
            self.forward(self.image)
        return peak_memory(lambda: self.forward(self.image), self.device)

    def output(self) -> NDArray[np.float32]:
        return self.forward(self.image).float().cpu().numpy()

    def seconds(self) -> float:
        return common.seconds_of(lambda: self.forward(self.image))


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    common.peer_class()
    if "graph" in args.variant and device.type != "cuda":
        raise UserError("--variant graph: CUDA graphs need a CUDA device")
    peaks = {precision: best_flops(device, precision) for precision in args.precision}
    for name, size, precision in itertools.product(args.network, args.size, args.precision):
        network = common.network_options(name, args.groups)
        if any(-side % network["window_size"] >= side for side in size):
            raise UserError(f"--size {show_size(size)}: too small for spandrel's HAT, which mirrors half a window")
        progress(f"{name} at {show_size(size)}, {precision}")
        result = measure_one(args, device, network, size, precision)
        result |= {"suite": "infer", "network": name, "size": list(size), "precision": precision}
        floor = count_flops(network, size) / peaks[precision]
        result["floor"] = {
            who: {"floor_seconds": floor, "share_of_peak": floor / times["median"]}
            for who, times in result["seconds"].items()
        }
        sides = "x".join(map(str, size if size[0] != size[1] else size[:1]))
        yield f"{device.type}_{name}_{sides}_{precision}", result


def measure_one(
    args: argparse.Namespace, device: torch.device, network: dict[str, Any], size: tuple[int, int], precision: str
) -> Result:
    """Time and memory of the peer and of ours, whose output is compared with the peer's."""
    names = [PEER, *args.variant]
    with common.workers(Candidate, names, network, size, precision, device.type, args.threads) as workers:
        peaks: dict[str, PeakMemory] = {name: worker.call("memory") for name, worker in workers.items()}
        outputs = {name: worker.call("output") for name, worker in workers.items()}
        difference = {name: compare(name, outputs[name], outputs[PEER], precision) for name in args.variant}
        clocks = {name: partial(worker.call, "seconds") for name, worker in workers.items()}
        times = common.idle_and_busy(clocks, args)
    return {
        "config": network,
        **times,
        "difference": difference,
        "memory": {
            "method": peaks[PEER].method,
            "extra_mib": {name: peak.extra_mib for name, peak in peaks.items()},
            "ratio": {name: peaks[name].extra_mib / peaks[PEER].extra_mib for name in args.variant},
        },
    }


def compare(name: str, ours: NDArray[np.float32], peer: NDArray[np.float32], precision: str) -> dict[str, float]:
    """Largest difference of two outputs, and the same relative to the range (max - min) of the peer's.

    Raises:
        UserError: it is more than `TOLERANCES` allow, or an output is not finite.
    """
    absolute = float(np.abs(ours - peer).max())
    relative = absolute / float(np.ptp(peer))
    if not relative <= TOLERANCES[precision]:  # also NaN
        raise UserError(f"{name}: the output differs from the peer's by {relative:.1e} of its range")
    return {"absolute": absolute, "relative": relative, "tolerance": TOLERANCES[precision]}


def best_flops(device: torch.device, precision: str) -> float:
    """FLOP/s of a large matrix product and of a 3×3 convolution, whichever is faster: what the machine can do."""
    dtype, side = DTYPES[precision] or torch.float32, MATMUL[device.type]
    with torch.inference_mode():
        matrix = torch.randn(side, side, device=device).to(dtype)
        layer = nn.Conv2d(256, 256, 3, padding=1).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        features = torch.randn(1, 256, 128, 128, device=device).to(dtype, memory_format=torch.channels_last)
        product = 2 * side**3 / common.seconds_of(lambda: matrix @ matrix)
        return max(product, 2 * 9 * (256 * 128) ** 2 / common.seconds_of(lambda: layer(features)))


def count_flops(network: Mapping[str, Any], size: tuple[int, int]) -> int:
    """FLOPs of the products and convolutions of a forward pass; a multiply-add is two.

    They are those of the peer, whose operators are the paper's: windows are filled up, head widths are not.
    """
    peer = common.build(network, peer=True).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peer(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops()


def report(result: Result) -> str:
    rows = []
    for name, times in result["seconds"].items():
        fast = "" if name == PEER else f"{1 / result['time_ratio'][name]['median']:.2f}"
        memory = "" if name == PEER else f"{result['memory']['ratio'][name]:.2f}"
        mib, share = f"{result['memory']['extra_mib'][name]:.0f}", result["floor"][name]["share_of_peak"]
        if name == "graph":
            memory, mib = "", "in the graph"
        ms = f"{1000 * times['median']:.1f}"
        rows.append([name, ms, fast, common.busy_cell(result, name), f"{share:.0%}", mib, memory])
    header = ["", "ms", "times as fast", "ms when busy", "of peak", "peak extra MiB", "of the peer's"]
    return f"{result['network']} at {show_size(result['size'])}, {result['precision']}\n{aligned(header, rows)}"


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    common.add_busy(made)
    common.add_network(made, nargs="+")
    add = made.add_argument
    size = "sides of the input, or HEIGHTxWIDTH; 64 by default"
    add("--size", nargs="+", type=common.image_size, default=[(64, 64)], metavar="PX", help=size)
    add("--precision", nargs="+", choices=list(DTYPES), default=["fp32"], help="of both networks; fp32 by default")
    add("--variant", nargs="+", choices=list(VARIANTS), default=["prepared"], help="of ours; prepared by default")
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
