"""HAT in PyTorch, OpenVINO and ONNX Runtime: spandrel's network as a careful user runs it, and ours by each engine."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import common
import numpy as np
import torch
from common import DTYPES, PEER, Result, progress, show_size
from numpy.typing import NDArray
from torch import Tensor, nn

from hat_arch.inference import engines
from hat_arch.inference.engines import EngineError
from hat_arch.inference.prepared import Prepared
from hat_arch.utils import extras
from hat_arch.utils.errors import UserError
from hat_arch.utils.files import write_file
from hat_arch.utils.peak_memory import PeakMemory, peak_memory
from hat_arch.utils.text_tables import aligned

Forward = Callable[[Tensor], Tensor]
CANDIDATES = (PEER, "spandrel openvino", "spandrel onnxruntime", *extras.ENGINES)
"""``peer`` is spandrel's network in PyTorch. A single word is ours, by that engine."""
TOLERANCES = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of an output from the peer's in fp32, as a share of the range of that."""
WARM_UP = (64, 64)


class Candidate:
    """A network and what runs it, for images of one size, in a process of its own."""

    def __init__(
        self,
        name: str,
        network: dict[str, Any],
        size: tuple[int, int],
        precision: str,
        device: str,
        threads: int | None,
    ) -> None:
        common.settle(threads, ours=" " not in name and name != PEER)
        self.name, self.dtype, self.device = name, DTYPES[precision], torch.device(device)
        self.network = common.build(network, peer=name.startswith(("spandrel", PEER))).to(self.device)
        self.image = common.random_image(size, self.device)
        self.kept = tempfile.TemporaryDirectory()
        os.environ["HAT_ARCH_ENGINES"] = self.kept.name
        self.multiple = network["window_size"]

    def made(self) -> Forward:
        """What computes images of this size, from the network on."""
        if self.name == PEER:
            return self.plain
        if " " in self.name:
            runtime = {"openvino": in_openvino, "onnxruntime": in_onnxruntime}[self.name.split()[1]]
            return runtime(self.network, self.image, self.dtype)
        how: dict[str, Any] = {"multiple": self.multiple, "channels": 3, "report": lambda line: None}
        return engines.build(self.name, self.network, self.dtype, self.device, **how)

    def plain(self, image: Tensor) -> Tensor:
        """The module itself; autocast for any precision but fp32."""
        autocast = torch.autocast(image.device.type, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), autocast:
            return self.network(image)

    def begin(self) -> dict[str, float] | str:
        """Seconds until the first result, and until that of a second start; or why there is none."""
        before = time.perf_counter()
        try:
            self.forward = self.made()
            self.forward(self.image)
        except EngineError as error:
            return str(error)
        first = time.perf_counter() - before
        self.forward(self.image)  # engines compile for a shape when it comes the second time
        before = time.perf_counter()
        if isinstance(self.forward, Prepared) or " " in self.name or self.name == PEER:
            return {"first": first}
        self.forward = self.made()
        self.forward(self.image)
        return {"first": first, "second": time.perf_counter() - before}

    def memory(self) -> PeakMemory:
        """Of a call, with all that is beside the network in PyTorch; what is compiled was so before."""
        if self.name == PEER or isinstance(self.forward, Prepared):
            self.forward(common.random_image(WARM_UP, self.device))
            return peak_memory(lambda: self.forward(self.image), self.device)
        release: Callable[[], object] = getattr(self.forward, "release", lambda: None)
        release()
        return peak_memory(lambda: self.forward(self.image), self.device)

    def output(self) -> NDArray[np.float32]:
        return self.forward(self.image).float().cpu().numpy()

    def exact(self) -> NDArray[np.float32]:
        """The output of the network itself, in fp32."""
        with torch.inference_mode():
            return self.network(self.image).cpu().numpy()

    def seconds(self) -> float:
        return common.seconds_of(lambda: self.forward(self.image))


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Compiled:
    """Spandrel's network in a runtime, compiled for one size; as an engine, it can give back its memory."""

    def __init__(self, compile: Callable[[], Run]) -> None:
        self.compile = compile
        self.run: Run | None = None

    def __call__(self, image: Tensor) -> Tensor:
        if self.run is None:
            self.run = self.compile()
        return torch.from_numpy(self.run(image.cpu().numpy()))

    def release(self) -> None:
        self.run = None


def in_openvino(network: nn.Module, image: Tensor, dtype: torch.dtype | None) -> Forward:
    """A network in OpenVINO, converted and compiled for images of one size."""
    import openvino

    from hat_arch.inference.engines.openvino import CAPABILITIES, HINTS, without_telemetry

    core, hint = openvino.Core(), HINTS[dtype]
    if CAPABILITIES[hint] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError(f"OpenVINO has no {hint} on this processor")
    with without_telemetry(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about other sizes than this one
        model = openvino.convert_model(network, example_input=image, input=list(image.shape))
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", **threads}

    def compile() -> Run:
        request = core.compile_model(model, "CPU", config).create_infer_request()
        return lambda image: request.infer([image], share_inputs=True)[0]

    return Compiled(compile)


def in_onnxruntime(network: nn.Module, image: Tensor, dtype: torch.dtype | None) -> Forward:
    """A network in ONNX Runtime, exported for images of one size."""
    from hat_arch.inference.engines.onnxruntime import opened, providers
    from hat_arch.inference.graphs import to_onnx

    use = providers(image.device, dtype, None)
    data = to_onnx(network, image, fixed=True).SerializeToString()

    def compile() -> Run:
        session = opened(data, use)
        return lambda image: session.run(None, {"image": image})[0]

    return Compiled(compile)


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    common.peer_class()
    for name in {word for candidate in args.candidates for word in candidate.split()} & extras.EXTRAS.keys():
        extras.require(name)
    results = []
    for name, size, precision in itertools.product(args.network, args.size, args.precision):
        progress(f"{name} at {show_size(size)}, {precision}")
        result = measure_one(args, device, common.network_options(name, args.groups), size, precision)
        result |= {"suite": "engines", "network": name, "size": list(size), "precision": precision}
        results.append(result)
        yield f"engines_{device.type}_{name}_{'x'.join(map(str, size))}_{precision}", result
    lines = [" | ".join(row) for row in table(results)]
    lines.insert(1, " | ".join(["---"] * len(HEADER)))
    write_file(args.out / f"engines_{device.type}.md", "".join(f"| {line} |\n" for line in lines).encode())


def measure_one(
    args: argparse.Namespace, device: torch.device, network: dict[str, Any], size: tuple[int, int], precision: str
) -> Result:
    names = list(dict.fromkeys([PEER, *args.candidates]))
    why_not, start = {}, {}
    with contextlib.ExitStack() as stack:
        how = (Candidate, names, network, size, precision, device.type, args.threads)
        workers = stack.enter_context(common.workers(*how))
        for name, worker in list(workers.items()):
            progress(f"  {name}")
            begun = worker.call("begin")
            if isinstance(begun, str):
                why_not[name] = begun
                workers.pop(name).shutdown()
            else:
                start[name] = begun
        peaks: dict[str, PeakMemory] = {name: worker.call("memory") for name, worker in workers.items()}
        exact = workers[PEER].call("exact")
        differences = {}
        for name, worker in workers.items():
            differences[name] = float(np.abs(worker.call("output") - exact).max())
            if not differences[name] <= TOLERANCES[precision] * np.ptp(exact):  # also NaN
                raise UserError(f"{name}: the output differs from the peer's in fp32 by {differences[name]:.1e}")
        times = common.idle_and_busy({name: partial(w.call, "seconds") for name, w in workers.items()}, args)
    return {
        "config": network,
        **times,
        "start_seconds": start,
        "difference": differences,
        "memory": {
            "method": peaks[PEER].method,
            "extra_mib": {name: peak.extra_mib for name, peak in peaks.items()},
        },
        "not_measured": why_not,
    }


HEADER = ["network", "input", "precision", "candidate", "ms", "times as fast", "peak extra MiB", "of the peer's"]
HEADER += ["first result after, s", "second start, s", "max difference"]


def table(results: list[Result]) -> list[list[str]]:
    """A row of text for each candidate, after the header."""
    rows = [HEADER]
    for result in results:
        mib = result["memory"]["extra_mib"]
        for name, times in result["seconds"].items():
            start = result["start_seconds"][name]
            fast = "1" if name == PEER else f"{1 / result['time_ratio'][name]['median']:.2f}"
            row = [result["network"], show_size(result["size"]), result["precision"]]
            row += ["spandrel torch" if name == PEER else name, f"{1000 * times['median']:.0f}", fast]
            row += [f"{mib[name]:.0f}", f"{mib[name] / mib[PEER]:.2f}", f"{start['first']:.1f}"]
            second = f"{start['second']:.1f}" if "second" in start else ""
            rows.append([*row, second, f"{result['difference'][name]:.1e}"])
    return rows


def report(result: Result) -> str:
    lines = [aligned(HEADER, table([result])[1:], left=range(4))]
    return "\n".join([*lines, *(f"{name}: {why}" for name, why in result["not_measured"].items())])


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    common.add_busy(made)
    common.add_network(made, nargs="+")
    add = made.add_argument
    size = "sides of the input, or HEIGHTxWIDTH; 64 by default"
    add("--size", nargs="+", type=common.image_size, default=[(64, 64)], metavar="PX", help=size)
    add("--precision", nargs="+", choices=list(DTYPES), default=["fp32"], help="fp32 by default")
    candidates = f"beside spandrel's network in PyTorch; all by default: {', '.join(CANDIDATES[1:])}"
    add(
        "--candidates", nargs="+", choices=CANDIDATES[1:], default=list(CANDIDATES[1:]), metavar="NAME", help=candidates
    )
    made.set_defaults(busy=0)
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
