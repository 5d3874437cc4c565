"""A network as it runs fastest without gradients: what depends on the weights alone is computed once."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..archs.hat_arch import HAT, OCAB
from ..archs.window_attention import Attention


class Prepared:
    """Runs a network in evaluation mode and without gradients; a HAT through a prepared copy.

    The copy shares all tensors that it does not change. It is made at the first call, and again after the weights (or
    the device) of the network have changed, as they do between two validations of a training. In it

    * weights of convolutions and linear layers are in the precision of the computation, in place of a cast for each
      call;
    * attention has its padded weights, and the position bias of each head, query and key. This takes memory: for HAT
      35 MiB in bf16 and 70 MiB in fp32 beside those weights.

    The result is the network's own under autocast, to the last bit, if it is not compiled.

    Args:
        network: any module that takes and returns one tensor.
        dtype: None for fp32, else the type for autocast.
        compile: whether to compile it with `torch.compile`, for the first size of images and then for any. It finds on
            the disk what another process has compiled. For CUDA: on a CPU, HAT is slower so, and takes more memory.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype | None = None, compile: bool = False) -> None:
        self.network = network
        self.dtype = dtype
        self.compile = compile
        self.state: object = None
        self.prepared: nn.Module = network
        self.run: Callable[[Tensor], Tensor] = network

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        state = [(id(tensor), tensor.data_ptr(), version(tensor)) for tensor in tensors(self.network)]
        if state != self.state:
            self.prepared = prepare(self.network, self.dtype)
            self.run = torch.compile(self.prepared) if self.compile else self.prepared
            self.state = state
        autocast = torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None)
        with evaluating(self.prepared), autocast:
            return self.run(images)


def tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def version(tensor: Tensor) -> int:
    """How often a tensor was written to; 0 for those of inference mode, which does not count."""
    return 0 if tensor.is_inference() else tensor._version


def prepare(network: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """The prepared copy (see `Prepared`) for the weights as they are now; what is no HAT, as it is."""
    if not isinstance(network, HAT):
        return network
    made = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors(network)})
    with torch.no_grad():
        fold(made, dtype)
        for module in made.modules() if dtype is not None else ():
            if isinstance(module, nn.Conv2d | nn.Linear):
                for name, tensor in module.named_parameters(recurse=False):
                    setattr(module, name, constant(tensor.to(dtype)))
    return made


def fold(network: HAT, dtype: torch.dtype | None) -> None:
    """Replaces the projections of a HAT's attention by padded ones, and its position biases by gathered ones."""
    indices = {True: network.relative_position_index_OCA, False: network.relative_position_index_SA}
    for module in network.modules():
        if not isinstance(module, Attention):
            continue
        index = cast(Tensor, indices[isinstance(module, OCAB)])
        bias = module.position_bias(index).to(dtype).contiguous()
        setattr(module, "position_bias", partial(given, bias))  # noqa: B010 (it takes the place of a method)
        module.qkv, module.proj = (linear(*padded) for padded in (module.padded_qkv(), module.padded_proj()))
        module.head_dim = module.qkv.out_features // (3 * module.num_heads)


def given(bias: Tensor, index: Tensor) -> Tensor:
    return bias


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with these parameters."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = constant(weight)
    if bias is not None:
        made.bias = constant(bias)
    return made


def constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode that it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
