"""A network's forward and backward as CUDA graphs: recorded once, replayed at each step.

The thousands of small kernels of a step take a fast GPU less time than Python needs to launch them one by one; a graph
launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WARM_UP = 3
"""Passes before the recording, in which libraries set themselves up and choose their kernels."""


class RecordedPasses:
    """Computes a network on images of one shape by graphs of its forward and backward.

    The weights are read where they lie, so updates show at the next call. Their gradients lie in memory of the graphs:
    each backward overwrites those of the one before, so they must be set to None between. No hook of the network is
    called in a replay, and whatever it decides in Python stays as it was recorded.

    Args:
        compute: the forward from images to output, as training calls it, with autocast if it is on (and then without
            autocast's cache).
        network: on a CUDA device, in training mode.
        images: ``(B, C, H, W)``, an example.

    Raises:
        RuntimeError: something in the network cannot be recorded, such as a value that Python waits for.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], network: nn.Module, images: Tensor) -> None:
        self.images = images.clone()
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.forwards, self.backwards = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # in thread_local mode, threads that load data may ask the driver for memory meanwhile
        how: dict[str, Any] = {"pool": torch.cuda.graph_pool_handle(), "capture_error_mode": "thread_local"}
        backward = partial(torch.autograd.grad, inputs=self.weights, allow_unused=True)
        buffers = [buffer.clone() for buffer in network.buffers()]

        def once() -> None:
            output = compute(self.images)
            backward(output, grad_outputs=torch.zeros_like(output))

        stream = torch.cuda.Stream(images.device)
        stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.random.fork_rng([images.device]), torch.enable_grad():
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    once()
            torch.cuda.current_stream(images.device).wait_stream(stream)
            with torch.cuda.graph(self.forwards, **how):
                output = compute(self.images)
            self.slopes = torch.zeros_like(output)
            with torch.cuda.graph(self.backwards, **how):
                self.gradients = backward(output, grad_outputs=self.slopes)
            self.output = output.detach()
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), buffers):
                buffer.copy_(before)

    def __call__(self, images: Tensor) -> Tensor:
        """The output for images of the recorded shape, with its gradient."""
        return _Replay.apply(self, images, *self.weights)


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, passes: RecordedPasses, images: Tensor, *weights: Tensor) -> Tensor:
        ctx.passes = passes
        passes.images.copy_(images)
        passes.forwards.replay()
        return passes.output.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        passes: RecordedPasses = ctx.passes
        if any(weight.grad is not None for weight in passes.weights):
            raise RuntimeError("gradients must be set to None before a recorded backward, which overwrites them")
        passes.slopes.copy_(slopes)
        passes.backwards.replay()
        return None, None, *(None if gradient is None else gradient.detach() for gradient in passes.gradients)
