"""A network as it is run for inference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..archs.kernels import PLAIN, Kernels, computed_by


class Prepared:
    """Runs a network in evaluation mode, without gradients, in a precision.

    The network itself runs, no copy of it: whatever becomes of its weights, settings, layers and hooks shows at the
    next call.

    Args:
        network: any module that takes and returns one tensor.
        dtype: None for fp32, else the type for autocast.
        compile: whether to compile it with `torch.compile`, for the first size of images and then for any. It finds on
            the disk what another process has compiled. For CUDA: on a CPU, HAT is slower so, and takes more memory.
        kernels: by what PyTorch computes in fp32 on a CPU (see `engines.kernels.fastest_kernels`).
    """

    name = "torch"
    one_shape = False

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        kernels: Kernels = PLAIN,
    ) -> None:
        self.network = network
        self.dtype = dtype
        self.compile = compile
        self.kernels = kernels
        self.forward: Callable[[Tensor], Tensor] = torch.compile(network) if compile else network

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        autocast = torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None)
        watching = watching_hooks() if self.compile else contextlib.nullcontext()
        with evaluating(self.network), autocast, watching, computed_by(self.kernels):
            return self.forward(images)

    def follow(self) -> None:
        """See `hat_arch.inference.engines.base.Engine`; the network itself runs, so there is nothing to do."""

    def release(self) -> None:
        """PyTorch keeps nothing from call to call that the next network could not have."""


def watching_hooks() -> contextlib.AbstractContextManager[object]:
    """What runs inside is compiled again after hooks were added or removed, which PyTorch overlooks by default."""
    return torch._dynamo.config.patch(skip_nnmodule_hook_guards=False)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode that it was in."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
