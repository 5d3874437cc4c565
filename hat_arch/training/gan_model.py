"""The model that trains a network against a discriminator, on pairs of LR and ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.losses import build_loss
from basicsr.losses.loss_util import get_refined_artifact_map
from torch import Tensor, nn

from ..compat.registration import build
from ..config.files import build_for_shapes
from ..utils.errors import in_one_line
from . import checkpoints
from .hat_model import HATModel

ARTIFACT_WINDOW = 7  # pixels of the side in which LDL looks for artifacts


class HATGANModel(HATModel):
    """`HATModel` with a discriminator: takes the options of BasicSR's SRGANModel, and all of `HATModel`'s.

    Beside ``network_d``, ``path: pretrain_network_d`` (``param_key_d``, ``strict_load_d``), ``train:`` ``optim_d``,
    ``gan_opt``, ``ldl_opt``, ``net_d_iters`` (the generator is updated in each n-th iteration) and ``net_d_init_iters``
    (and not before that many).

    A step is BasicSR's: both networks are updated by gradients at the weights that both had before. Precision,
    accumulation, clipping and bad steps hold for both; the moving average and ``compile`` are the generator's. The log
    has the losses by BasicSR's names, and ``grad_norm_d``.
    """

    needed_options: ClassVar = {"model_type": frozenset({"network_d"}), "train": frozenset({"optim_d", "gan_opt"})}
    """Section → keys without which it does not train, beside those of BasicSR's `SRModel`."""

    net_d: nn.Module
    cri_ldl: nn.Module | None

    @classmethod
    def option_problems(cls, opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().option_problems(opt)
        if opt["train"].get("ldl_opt") and not opt["train"].get("ema_decay"):
            yield ("train", "ldl_opt"), "compares with the moving average: set train: ema_decay"
        size = opt.get("gt_size") or opt["datasets"].get("train", {}).get("gt_size")
        if size and (problem := misfit(opt, size)):
            yield ("network_d",), f"{opt['network_d']['type']} does not take patches of {size}x{size}: {problem}"

    def init_training_settings(self) -> None:
        train, path = self.train_opt, self.opt["path"]
        # not compiled: torch.compile's backward would see the vectors of spectral norms one iteration too far
        self.net_d = self.model_to_device(build(self.opt["network_d"]), compiled=False)
        self.print_network(self.net_d)
        if file := path.get("pretrain_network_d"):
            self.load_network(self.net_d, file, path.get("strict_load_d", True), path.get("param_key_d", "params"))
        self.net_d.train()
        self.cri_gan = build_loss(train["gan_opt"]).to(self.device)
        self.cri_ldl = build_loss(ldl).to(self.device) if (ldl := train.get("ldl_opt")) else None
        self.generator_learns = True
        super().init_training_settings()

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        options = dict(self.train_opt["optim_d"])
        self.optimizer_d = self.get_optimizer(options.pop("type"), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def optimize_parameters(self, current_iter: int) -> None:
        every, after = self.train_opt.get("net_d_iters", 1), self.train_opt.get("net_d_init_iters", 0)
        self.generator_learns = current_iter % every == 0 and current_iter > after
        super().optimize_parameters(current_iter)

    def learners(self) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
        generator = super().learners() if self.generator_learns else {}
        return {**generator, "grad_norm_d": (self.net_d, self.optimizer_d)}

    def backward(self, part: slice, share: float) -> dict[str, Tensor]:
        """Both networks' forward and backward on a part of the batch; returns the losses, and what is only logged."""
        named: dict[str, Tensor] = {}
        if self.generator_learns:
            self.net_d.requires_grad_(False)
            named |= super().backward(part, share)
            self.net_d.requires_grad_(True)
        else:
            with torch.no_grad():
                self.output = self.result(self.net_g, self.lq[part])
        real, fake = self.target("gan")[part], self.output.detach()
        named |= self.judge("real", real, share, None)
        return named | self.judge("fake", fake, share, part)

    def judge(self, kind: str, images: Tensor, share: float, part: slice | None) -> dict[str, Tensor]:
        """The discriminator's forward and backward on images that are ``real`` or ``fake``; ``part`` as `exchange`."""
        with self.exchange(self.net_d, part):
            verdict = self.result(self.net_d, images)
            loss = {f"l_d_{kind}": self.cri_gan(verdict, kind == "real", is_disc=True)}
            self.add_gradient(loss, share)
        return {**loss, f"out_d_{kind}": verdict.detach().mean()}

    def losses(self, output: Tensor, part: slice) -> dict[str, Tensor]:
        named = self.pixel_losses(output, self.target("l1")[part])
        if self.cri_ldl:
            named["l_ldl"] = self.artifacts(output, part)
        named |= self.perceptual_losses(output, self.target("percep")[part])
        # not through DistributedDataParallel, which is for the discriminator's own gradients
        verdict = self.result(self.get_bare_model(self.net_d), output)
        named["l_gan"] = self.cri_gan(verdict, True, is_disc=False)
        return {name.replace("l_", "l_g_", 1): value for name, value in named.items()}

    def artifacts(self, output: Tensor, part: slice) -> Tensor:
        """The loss where the output has artifacts that the moving average has not (LDL, CVPR 2022)."""
        assert self.cri_ldl is not None
        gt = self.gt[part]
        with torch.no_grad():
            steady = self.result(self.net_g_ema, self.lq[part])
        weight = get_refined_artifact_map(gt, output, steady, ARTIFACT_WINDOW)
        return self.cri_ldl(weight * output, weight * gt)

    def target(self, loss: str) -> Tensor:
        """The ground truth of ``l1``, ``percep`` or ``gan``."""
        return self.gt

    def save_weights(self, label: str) -> dict[str, str]:
        """Writes ``net_d_<label>.pth`` too, from which the discriminator goes on."""
        written = super().save_weights(label)
        if written and not label.startswith("best_"):
            weights = {name: value.cpu() for name, value in self.get_bare_model(self.net_d).state_dict().items()}
            file = Path(self.opt["path"]["models"], f"net_d_{label}.pth")
            written[file.name] = checkpoints.write({"params": weights}, file)
        return written


def misfit(opt: dict[str, Any], size: int) -> str | None:
    """Why the discriminator does not take patches of that side, in pixels; None if it does, or cannot be built."""
    section, generator = opt["network_d"], opt["network_g"]
    channels = 1 if 1 in (generator.get("in_chans"), generator.get("num_in_ch")) else 3
    try:
        network = build_for_shapes(section)
    except Exception:  # said where all networks are tried
        return None
    for make in (lambda: network, lambda: build(section)):  # some networks need values, which the first has not
        try:
            net = make().eval()
            with torch.no_grad():
                net(torch.zeros(1, channels, size, size, device=next(net.parameters()).device))
        except Exception as error:  # a network may raise anything
            problem = in_one_line(error)
        else:
            return None
    return problem
