"""What the suites run side by side: spandrel's HAT, ours in its variants, and spandrel's SwinIR for context."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hat_arch.archs.hat_arch import HAT
from hat_arch.inference.prepared import Prepared
from hat_arch.paper.networks import NETWORKS as PAPER_NETWORKS
from hat_arch.utils import allocator

from .measure import BenchmarkError, set_torch

Forward = Callable[[Tensor], Tensor]
"""One forward pass, without gradients, of ``(1, in_chans, H, W)``."""

PEER, CONTEXT = "peer", "SwinIR"
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTOCAST = {name: dtype if name != "fp32" else None for name, dtype in PRECISIONS.items()}
SEED = 0
NOISE = 0.02
SWINIR = {key: value for key, value in PAPER_NETWORKS["SwinIR"].items() if key != "type"}


def plain(network: nn.Module, precision: str) -> Forward:
    """The module as it is; autocast for any precision but fp32."""

    def forward(image: Tensor) -> Tensor:
        dtype = PRECISIONS[precision]
        with torch.inference_mode(), torch.autocast(image.device.type, dtype, enabled=precision != "fp32"):
            return network(image)

    return forward


def compiled(network: nn.Module, precision: str) -> Forward:
    """`prepared` under `torch.compile`."""
    return Prepared(network, AUTOCAST[precision], compile=True)


def prepared(network: nn.Module, precision: str) -> Forward:
    """As ``basicsr upscale`` and validation run it: what depends on the weights alone is computed once."""
    return Prepared(network, AUTOCAST[precision])


VARIANTS: dict[str, Callable[[nn.Module, str], Forward]] = {"plain": plain, "prepared": prepared, "compile": compiled}
"""Ways to run our HAT: from the network and a key of `PRECISIONS` to its forward pass.

Every one is measured beside the peer, and its output compared with the peer's; a new one needs an entry here alone.
"""


def require_peer() -> None:
    """Raises `BenchmarkError` if spandrel is not installed."""
    if importlib.util.find_spec("spandrel") is None:
        raise BenchmarkError("basicsr bench needs spandrel: pip install spandrel")


def build_networks(config: Mapping[str, Any], device: torch.device) -> tuple[nn.Module, HAT]:
    """Peer and ours with the same random weights, the same in every process; ready for inference.

    To the usual initial values a little noise is added, so that no bias is 0 and no part can be wrong unnoticed.
    """
    from spandrel.architectures.HAT import HAT as PeerHAT

    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        ours = HAT(**config)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=NOISE)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            peer = PeerHAT(**config)
    peer.load_state_dict(ours.state_dict(), strict=True)
    return peer.to(device).eval(), ours.to(device).eval()


def build_context(device: torch.device) -> nn.Module:
    """SwinIR, classical ×4, from spandrel, with random weights."""
    from spandrel.architectures.SwinIR import SwinIR

    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        torch.manual_seed(SEED)
        return SwinIR(**SWINIR).to(device).eval()


def build(name: str, config: Mapping[str, Any], device: torch.device) -> nn.Module:
    """The network of a candidate alone: `PEER`, `CONTEXT`, or one of `VARIANTS`."""
    if name == CONTEXT:
        return build_context(device)
    peer, ours = build_networks(config, device)
    return peer if name == PEER else ours


def prepare(name: str, network: nn.Module, precision: str) -> Forward:
    """The forward pass of a candidate whose network is built."""
    return VARIANTS.get(name, plain)(network, precision)


def settle(name: str, threads: int | None) -> None:
    """Sets up this process, a candidate's own: threads, and for ours memory kept as by ``basicsr``."""
    set_torch(threads)
    if name not in (PEER, CONTEXT):
        allocator.keep()


def make_image(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """Random image ``(1, channels, H, W)``, values 0 to 1, the same for the same size."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.rand(1, channels, *size, generator=generator).to(device)
