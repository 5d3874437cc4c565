"""The model that trains and validates HAT, and any other network of the registry, in BasicSR's loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from ..archs.layers import pad_to_multiple


def upscale(net: nn.Module, lq: Tensor, opt: dict[str, Any]) -> Tensor:
    """Runs ``net`` without gradients on ``(B, C, H, W)`` padded to whole windows; returns ``(B, C, H·s, W·s)``."""
    h, w = lq.shape[-2:]
    scale = opt.get("scale", 1)
    with torch.no_grad():
        output = net(pad_to_multiple(lq, opt["network_g"].get("window_size", 1)))
    return output[..., : h * scale, : w * scale]


class HATModel(SRModel):
    """BasicSR's `SRModel` for any registered network, with what HAT needs.

    * ``train: precision: bf16`` runs the trained network in bfloat16 autocast. Its weights, losses and updates stay
      in fp32, and so do the EMA and its validation. Default ``fp32``.
    * ``train: optim_g: type`` may name any optimizer of `torch.optim`.
    * In validation, images are padded to whole windows for networks that cannot do it themselves (SwinIR).
    * The network is in training mode after every validation, also after one that failed.
    * Data sets without ground truth are upscaled and not scored.
    """

    opt: dict[str, Any]
    net_g: nn.Module
    lq: Tensor
    output: Tensor

    def model_to_device(self, net: nn.Module) -> nn.Module:
        if self.is_train and self.opt["train"].get("precision", "fp32") == "bf16":
            forward = torch.autocast(self.device.type, torch.bfloat16)(net.forward)
            net.forward = lambda x: forward(x).float()
        return super().model_to_device(net)

    def print_network(self, net: nn.Module) -> None:
        count = sum(parameter.numel() for parameter in net.parameters())
        get_root_logger().info(f"Network: {self.get_bare_model(net).__class__.__name__}, with parameters: {count:,d}")

    def get_optimizer(
        self, optim_type: str, params: Iterable[Tensor], lr: float, **kwargs: Any
    ) -> torch.optim.Optimizer:
        return getattr(torch.optim, optim_type)(params, lr=lr, **kwargs)

    def test(self) -> None:
        """Runs the network (its EMA, if there is one) on ``self.lq`` and sets ``self.output``."""
        net = getattr(self, "net_g_ema", self.net_g)
        was_training = net.training
        net.eval()
        try:
            self.output = upscale(net, self.lq, self.opt)
        finally:
            net.train(was_training)

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        opt = self.opt
        if dataloader.dataset.opt.get("dataroot_gt") is None:
            self.opt = {**opt, "val": {**opt["val"], "metrics": None}}
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.opt = opt
