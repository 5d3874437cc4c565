"""OpenVINO, Intel's runtime for processors of any maker."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...utils.errors import in_one_line
from ...utils.machine import cpu_name
from ..exported_file import ExportedFile
from ..prepared import evaluating
from . import cache
from .base import EngineError, Report, Unfit, check, runtime_errors, trial_images

HINTS = {None: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
KEPT = 2
"""Compiled graphs that are kept."""
KEPT_PIXELS = 2**18
"""Of images up to which more than one graph is kept, with the memory of its results."""
ONCE_PIXELS = 2**13
"""Of images up to which compiling takes longer than running once in the graph for all shapes."""

Shape = tuple[int, ...]


class Graph(NamedTuple):
    """A compiled graph."""

    request: openvino.InferRequest
    weights: NDArray[np.uint8] | None = None
    """The file that it lies in, which it reads them from."""


class OpenVINO:
    """Runs a network as OpenVINO compiles it.

    A graph for one shape is faster than that for all, in less memory, but takes seconds to compile:
    small images run in the graph for all the first time, and in their own when their shape comes again.

    Args:
        network: converted at the first image, and again when its weights have changed.
        dtype: None for fp32, or the type to compute in; results are fp32.
        device: of the network; the CPU.
        multiple: what the sides of images are multiples of.
        channels: of the images.
        kept: where graphs are kept for the next start.
        report: called with a line before what takes long.

    Raises:
        EngineError: the processor has no arithmetic of that type, or, at the first call, the network cannot be
            converted, or is another when it is.
    """

    name = "openvino"
    one_shape = True

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype | None,
        device: torch.device,
        multiple: int,
        channels: int,
        kept: cache.Cache,
        report: Report,
    ) -> None:
        self.network, self.dtype, self.multiple, self.channels = network, dtype, multiple, channels
        self.kept, self.report = kept, report
        if device.type != "cpu":
            raise EngineError(f"engine openvino: is for the CPU here, not for {device.type}; --device cpu")
        self.core = openvino.Core()
        hint = HINTS[dtype]
        if CAPABILITIES[hint] not in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError(f"engine openvino: has no {hint} on this processor; take --precision fp32, or auto")
        self.config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self.state: list[object] | None = None
        self.key = ""
        self.model: openvino.Model | None = None
        self.graphs: dict[Shape, Graph] = {}
        """By shape; that for all shapes is ``()``. The last is the one used last."""
        self.seen: set[Shape] = set()

    def follow(self) -> None:
        """Forgets what was made of weights that are others now."""
        state = cache.state(self.network)
        if state != self.state:
            self.release()
            self.state, self.model, self.seen = state, None, set()
            facts = cache.versions("openvino"), cpu_name(), sorted(self.config.items())
            self.key = cache.key(cache.identity(self.network), *facts)

    def release(self) -> None:
        """Drops the compiled graphs."""
        self.graphs.clear()

    def __call__(self, images: Tensor) -> Tensor:
        if self.state is None:
            self.follow()
        with runtime_errors(self.name):
            return self._infer(self._graph(tuple(images.shape)).request, images)

    @staticmethod
    def _infer(request: openvino.InferRequest, images: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([images.contiguous().numpy()], share_inputs=True)[0])

    def _graph(self, shape: Shape) -> Graph:
        """What runs images of a shape."""
        file = f"{self.key}-{'x'.join(map(str, shape))}.blob"
        pixels = shape[0] * shape[2] * shape[3]
        if pixels <= ONCE_PIXELS and shape not in self.seen and not self.kept.has(file):
            self.seen.add(shape)
            shape, file = (), f"{self.key}.blob"
        graph = self.graphs.pop(shape, None)
        if graph is None:
            keeps = KEPT - 1 if pixels <= KEPT_PIXELS else 0
            for other in list(self.graphs)[: len(self.graphs) - keeps]:
                del self.graphs[other]
            graph = self._compiled(shape, file)
        self.graphs[shape] = graph
        return graph

    def _compiled(self, shape: Shape, file: str) -> Graph:
        """That for a shape, or for all: as it was kept, or compiled."""
        data = self.kept.mapped(file)
        if data is not None:
            with contextlib.suppress(RuntimeError):  # it is damaged
                tensor = openvino.Tensor(data, shared_memory=True)
                return Graph(self.core.import_model(tensor, "CPU", self.config).create_infer_request(), data)
        model = self._model()
        if shape:
            model = model.clone()
            model.reshape(shape)
        compiled = self.core.compile_model(model, "CPU", self.config)
        self.kept.write(file, compiled.export_model().getbuffer())
        return Graph(compiled.create_infer_request())

    def _model(self) -> openvino.Model:
        """OpenVINO's graph for images of every size: of a file, as it was kept, or converted."""
        if self.model is not None:
            return self.model
        if isinstance(self.network, ExportedFile):
            self.model = self.core.read_model(self.network.path)
            return self.model
        graph, weights = (self.kept.read(f"{self.key}.{ending}") for ending in ("xml", "bin"))
        if graph and weights:
            self.model = self.core.read_model(graph, weights)
            return self.model
        self.report("engine openvino: the network is converted, once for this machine")
        images = trial_images(self.multiple, self.channels)
        model = converted(self.network, images[0])
        request = self.core.compile_model(model, "CPU", self.config).create_infer_request()
        check(self.name, lambda x: self._infer(request, x), self.network, images, self.dtype)
        self.model = model
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.xml")
            openvino.save_model(self.model, path, compress_to_fp16=False)
            for ending in ("bin", "xml"):
                self.kept.write(f"{self.key}.{ending}", path.with_suffix(f".{ending}").read_bytes())
        return self.model


def converted(network: nn.Module, image: Tensor) -> openvino.Model:
    """A network as OpenVINO's graph for images of every size and batch.

    Raises:
        Unfit: it has operators, or does things, that OpenVINO does not know.
    """
    try:
        with evaluating(network), torch.no_grad(), without_telemetry(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer: whether the graph is right is seen by running it
            return openvino.convert_model(network, example_input=image, input=[-1, image.shape[1], -1, -1])
    except (MemoryError, OSError):
        raise
    except Exception as error:
        unknown = re.findall(r"(?:aten|prim|torchvision|[a-z_]+)::\w+", str(error))
        what = f"does not know {', '.join(sorted(set(unknown)))}" if unknown else in_one_line(error)[:200]
        raise Unfit(f"engine openvino: {what}; take --engine torch") from error


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Keeps OpenVINO's converter from telling its makers of each use, as it does by default: not in CI."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
