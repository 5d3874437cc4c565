"""ONNX Runtime: on the CPU, and with CUDA or TensorRT where the installed package has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its makers are told of each use

import onnxruntime
import torch
from torch import Tensor, nn

from ...utils.errors import in_one_line
from ..exported_file import ExportedFile
from ..graphs import to_onnx
from . import cache
from .base import EngineError, Report, check, runtime_errors, trial_images

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class OnnxRuntime:
    """Runs a network as an ONNX file.

    The arguments are those of `hat_arch.inference.engines.openvino.OpenVINO`; the device may be a CUDA device too. Only
    TensorRT computes in bf16 and fp16.
    """

    name = "onnxruntime"
    one_shape = False

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
        self.device, self.kept, self.report = device, kept, report
        self.providers = providers(device, dtype, kept.folder)
        self.state: list[object] | None = None
        self.session: onnxruntime.InferenceSession | None = None

    def follow(self) -> None:
        """Forgets what was made of weights that are others now."""
        state = cache.state(self.network)
        if state != self.state:
            self.state = state
            self.release()

    def release(self) -> None:
        """Ends the session, which keeps the memory of the largest image so far."""
        self.session = None

    def __call__(self, images: Tensor) -> Tensor:
        if self.state is None:
            self.follow()
        with runtime_errors(self.name):
            if self.session is None:
                self.session = self._session()
            return self._run(self.session, images)

    @staticmethod
    def _run(session: onnxruntime.InferenceSession, images: Tensor) -> Tensor:
        values = {session.get_inputs()[0].name: images.cpu().contiguous().numpy()}
        return torch.from_numpy(session.run(None, values)[0]).to(images.device)

    def _session(self) -> onnxruntime.InferenceSession:
        if isinstance(self.network, ExportedFile):
            return opened(self.network.path, self.providers)
        name = f"{cache.key(cache.identity(self.network), cache.versions('onnxscript'))}.onnx"
        if data := self.kept.read(name):
            try:
                return opened(data, self.providers)
            except EngineError:  # it is damaged
                pass
        self.report("engine onnxruntime: the network is exported, once for this machine")
        images = [image.to(self.device) for image in trial_images(self.multiple, self.channels)]
        data = to_onnx(self.network, images[1]).SerializeToString()
        session = opened(data, self.providers)
        check(self.name, lambda x: self._run(session, x), self.network, images, self.dtype)
        self.kept.write(name, data)
        return session


def providers(device: torch.device, dtype: torch.dtype | None, folder: Path | None) -> list[Any]:
    """What computes, by preference, with its options.

    Raises:
        EngineError: nothing in the installed package computes on that device, or in that type.
    """
    there = onnxruntime.get_available_providers()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and CUDA not in there):
        raise EngineError(f"engine onnxruntime: the installed package has nothing for {device.type}; --device cpu")
    found: list[Any] = [CPU]
    if device.type == "cuda":
        found = [(CUDA, {"device_id": device.index or 0, "use_tf32": 0}), *found]
        if TENSORRT in there:
            options: dict[str, Any] = {"device_id": device.index or 0}
            options |= {"trt_bf16_enable": dtype is torch.bfloat16, "trt_fp16_enable": dtype is torch.float16}
            if folder is not None:
                options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}
            found = [(TENSORRT, options), *found]
    if dtype is not None and TENSORRT not in (name[0] for name in found):
        raise EngineError("engine onnxruntime: computes in fp32 here; take --precision fp32, or another engine")
    return found


def opened(source: Path | bytes, use: list[Any]) -> onnxruntime.InferenceSession:
    """A session for an ``.onnx`` file or its content.

    Raises:
        EngineError: it is damaged, or of another format.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # as `hat_arch.utils.denormals` does
    try:
        return onnxruntime.InferenceSession(source if isinstance(source, bytes) else str(source), options, use)
    except Exception as error:  # ONNX Runtime's have no class in common
        if isinstance(source, bytes):
            raise EngineError(f"engine onnxruntime: {in_one_line(error)[:200]}") from error
        raise EngineError(f"{source}: cannot be read as ONNX: it is damaged, or of another format") from error
