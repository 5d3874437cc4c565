"""The model that trains and validates HAT, and any other network of the registry, in BasicSR's loop."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, tensor2img
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from ..data.resize import imresize
from ..inference.upscaler import Upscaler
from ..utils.errors import UserError
from ..utils.files import digest
from ..weights.files import WeightsError, fitting, read_weights, save_safetensors
from . import checkpoints as training_state
from .checkpoints import CheckpointError

PANELS, PANEL = 3, 192  # pictures of a validation in TensorBoard, and their side in pixels of SR
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(UserError):
    """Training cannot go on; the message says why and what to do."""


def panel(visuals: dict[str, Tensor], scale: int) -> NDArray[np.uint8]:
    """The middle of an image, side by side: LR, bicubic, SR, and GT if it is there; ``(H, W, 3)`` RGB."""
    lr, sr = (tensor2img(visuals[name], rgb2bgr=False) for name in ("lq", "result"))
    pictures = [lr.repeat(scale, 0).repeat(scale, 1), imresize(lr, scale), sr]
    if "gt" in visuals:
        pictures.append(tensor2img(visuals["gt"], rgb2bgr=False))
    (height, width), side = sr.shape[:2], PANEL
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return np.hstack([picture[top : top + side, left : left + side] for picture in pictures])


class HATModel(SRModel):
    """BasicSR's `SRModel` for any registered network, with what HAT needs.

    * Options under ``train:`` (see `hat_arch.config.schema.Train`): ``precision``, ``accumulate``, ``compile``,
      ``channels_last``, ``clip_grad_norm``, ``max_bad_steps``. Weights, losses, updates, the EMA and its validation
      stay in fp32 whatever the precision.
    * ``train: optim_g: type`` may name any optimizer of `torch.optim`.
    * Steps whose loss or gradient is not finite are passed over and counted.
    * Checkpoints are written whole or not at all, and training goes on from them exactly (`training_state`).
    * Images of a validation are spread over all processes, and upscaled as `hat_arch.config.schema.Val` says (``tile``,
      ``precision``, ``self_ensemble``); those without ground truth are not scored.
    * The network is in training mode after every validation, also after one that failed.
    """

    reads_hat_options = True
    """For the check of option files: keys of `hat_arch.config.schema.HAT_MODEL_ONLY` have an effect."""
    opt: dict[str, Any]
    net_g: nn.Module
    lq: Tensor
    gt: Tensor
    output: Tensor
    metric_results: dict[str, float]

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt: dict[str, Any] = opt.get("train") or {}
        precision = self.train_opt.get("precision", "fp32")
        self.bad_steps, self.bad_steps_in_a_row = 0, 0
        self.run_options: dict[str, Any] = {}
        """The option file, for checkpoints; set by the pipeline."""
        self.position: Callable[[], dict[str, int]] | None = None
        """Tells the place in the epoch, for checkpoints; set by the pipeline."""
        self.last_metrics: dict[str, dict[str, float]] = {}
        """Data set → metrics of its last validation."""
        self.panels: list[NDArray[np.uint8]] = []
        self.saved: int | None = None
        """Iteration of the last checkpoint."""
        self.scaler = torch.amp.GradScaler("cuda" if opt["num_gpu"] else "cpu", enabled=precision == "fp16")
        if precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        net = net.to(self.device)
        if self.is_train:
            dtype = AUTOCAST.get(self.train_opt.get("precision", "fp32"))
            if dtype is not None:
                forward = torch.autocast(self.device.type, dtype)(net.forward)
                net.forward = lambda x: forward(x).float()
            if self.train_opt.get("channels_last"):
                net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if mode := self.train_opt.get("compile"):
                net.compile(mode=None if mode is True else mode)
        if self.opt["dist"]:
            ids = [torch.cuda.current_device()] if self.device.type == "cuda" else None
            unused = self.opt.get("find_unused_parameters", False)
            return DistributedDataParallel(net, device_ids=ids, find_unused_parameters=unused)
        return super().model_to_device(net)

    def print_network(self, net: nn.Module) -> None:
        count = sum(parameter.numel() for parameter in net.parameters())
        get_root_logger().info(f"Network: {self.get_bare_model(net).__class__.__name__}, with parameters: {count:,d}")

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Loads ``.pth`` or ``.safetensors``; without ``strict`` all that fits, and logs what does not."""
        logger, net = get_root_logger(), self.get_bare_model(net)
        try:
            content = read_weights(Path(load_path))
        except WeightsError as error:
            raise WeightsError(f"{load_path}: {error}") from error
        key = param_key if param_key in content else "params"
        fit = fitting(content[key], net.state_dict())
        logger.info(f"Loading {key} of {load_path}: {fit.summary()}")
        for line in fit.lines():
            logger.warning(line)
        net.load_state_dict(content[key] if strict else fit.weights, strict=strict)

    def get_optimizer(
        self, optim_type: str, params: Iterable[Tensor], lr: float, **kwargs: Any
    ) -> torch.optim.Optimizer:
        return getattr(torch.optim, optim_type)(params, lr=lr, **kwargs)

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(data)
        if self.is_train and self.train_opt.get("channels_last"):
            self.lq = self.lq.to(memory_format=torch.channels_last)

    def optimize_parameters(self, current_iter: int) -> None:
        """One update from the batch that was fed, computed in ``accumulate`` parts.

        Raises:
            TrainingError: too many steps in a row that are not finite.
        """
        self.optimizer_g.zero_grad()
        losses: OrderedDict[str, Tensor] = OrderedDict()
        for lq, gt, share, context in self._parts():
            with context:
                self.output = self.net_g(lq)
                named = self._losses(self.output, gt)
                total = torch.stack(tuple(named.values())).sum() if len(named) > 1 else next(iter(named.values()))
                self.scaler.scale(total if share == 1 else total * share).backward()
            for name, value in named.items():
                losses[name] = losses.get(name, 0) + value.detach() * share

        self.scaler.unscale_(self.optimizer_g)
        gradients = [p.grad for p in self.net_g.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        finite = self._all_agree(math.isfinite(norm) and all(map(torch.isfinite, losses.values())))
        if finite:
            if (limit := self.train_opt.get("clip_grad_norm")) is not None:
                nn.utils.clip_grads_with_norm_(self.net_g.parameters(), limit, torch.tensor(norm, device=self.device))
            self.scaler.step(self.optimizer_g)
            self.bad_steps_in_a_row = 0
        self.scaler.update()
        self.log_dict = self.reduce_loss_dict(losses)
        self.log_dict["grad_norm"] = norm
        if not finite:
            self._pass_over(current_iter)
        elif self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        if self.bad_steps:
            self.log_dict["bad_steps"] = self.bad_steps

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, float, AbstractContextManager]]:
        """LR, GT and share of the parts of a batch; gradients are exchanged between processes after the last."""
        count = min(self.train_opt.get("accumulate", 1), len(self.lq))
        lqs, gts = self.lq.tensor_split(count), self.gt.tensor_split(count)
        for n, (lq, gt) in enumerate(zip(lqs, gts)):
            alone = isinstance(self.net_g, DistributedDataParallel) and n < count - 1
            yield lq, gt, len(lq) / len(self.lq), self.net_g.no_sync() if alone else nullcontext()  # type: ignore[operator]

    def _losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        if self.cri_pix:
            named["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(output, gt)
            named |= {k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None}
        return named

    def _all_agree(self, here: bool) -> bool:
        """Whether something is so in all processes."""
        if self.opt["dist"]:
            everywhere = torch.tensor(int(here), device=self.device)
            distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
            return bool(everywhere)
        return here

    def _pass_over(self, current_iter: int) -> None:
        self.bad_steps += 1
        self.bad_steps_in_a_row += 1
        get_root_logger().warning(f"iteration {current_iter}: loss or gradient is not finite; the step is passed over")
        if self.bad_steps_in_a_row >= self.train_opt.get("max_bad_steps", 20):
            raise TrainingError(
                f"iteration {current_iter}: {self.bad_steps_in_a_row} steps in a row were not finite. Look for NaN "
                "in the data, lower the learning rate, set train: clip_grad_norm, or take precision: bf16 instead of "
                "fp16; then go on from the last checkpoint"
            )

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """BasicSR's moving average in a few calls for all weights; buffers are copied."""
        net, ema = self.get_bare_model(self.net_g), self.net_g_ema
        averages, weights = list(ema.parameters()), list(net.parameters())
        torch._foreach_mul_(averages, decay)
        torch._foreach_add_(averages, weights, alpha=1 - decay)
        if buffers := list(ema.buffers()):
            torch._foreach_copy_(buffers, list(net.buffers()))

    def test(self) -> None:
        """Runs the network (its EMA, if there is one) on ``self.lq`` and sets ``self.output``."""
        self.output = self.upscaler(self.lq)

    @cached_property
    def upscaler(self) -> Upscaler:
        """What ``val:`` asks for: tiles, precision, self-ensemble; by default the whole image in fp32."""
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        return Upscaler.from_options(net, self.opt, get_root_logger().info)

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validates on all processes; draws no random number that training would have drawn."""
        opt = self.opt
        if self.is_train:  # BasicSR's loop counts on beyond the end
            current_iter = min(current_iter, int(self.train_opt["total_iter"]))
        if dataloader.dataset.opt.get("dataroot_gt") is None:
            self.opt = {**opt, "val": {**opt["val"], "metrics": None}}
        self.panels.clear()
        try:
            with training_state.same_random_numbers_after():
                super().validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.opt = opt

    def dist_validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Each process takes every n-th image; then all have the metrics of all images."""
        dataset, rank, world = dataloader.dataset, self.opt["rank"], self.opt["world_size"]
        part: Any = Subset(dataset, range(rank, len(dataset), world))
        part.opt = dataset.opt
        self.own_images = len(part)
        if self.own_images:
            self.nondist_validation(DataLoader(part, batch_size=1), current_iter, None, save_img)
        if self.opt["val"].get("metrics") is None:
            distributed.barrier()
            return
        names = list(self.opt["val"]["metrics"])
        sums = [self.metric_results[name] * self.own_images if self.own_images else 0.0 for name in names]
        total = torch.tensor(sums, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        self.metric_results = {name: value / len(dataset) for name, value in zip(names, total.tolist())}
        self.own_images = None
        self._initialize_best_metric_results(dataset.opt["name"])
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset.opt["name"], name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset.opt["name"], tb_logger)

    own_images: int | None = None
    """Images of this process in a validation that several share; None while metrics are those of all images."""

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """Also for metrics that a resumed run did not have."""
        known = getattr(self, "best_metric_results", {}).pop(dataset_name, {})
        super()._initialize_best_metric_results(dataset_name)
        record = self.best_metric_results[dataset_name]
        record |= {name: best for name, best in known.items() if name in record}

    def _update_best_metric_result(self, dataset_name: str, metric: str, val: float, current_iter: int) -> None:
        if self.own_images is not None:
            return
        before = self.best_metric_results[dataset_name][metric]["val"]
        super()._update_best_metric_result(dataset_name, metric, val, current_iter)
        wanted = self.opt.get("logger", {}).get("keep_best", []) if self.is_train else []
        if f"{dataset_name}/{metric}" in wanted and self.best_metric_results[dataset_name][metric]["val"] != before:
            try:
                self._save_weights(f"best_{dataset_name}_{metric}")
            except CheckpointError as error:
                get_root_logger().error(str(error))

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        if self.own_images is not None:
            return
        self.last_metrics[dataset_name] = {name: float(value) for name, value in self.metric_results.items()}
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        if tb_logger:
            for n, picture in enumerate(self.panels):
                tb_logger.add_image(
                    f"{dataset_name}/{n}: LR, bicubic, SR, GT", picture, current_iter, dataformats="HWC"
                )
            tb_logger.flush()  # a run that is killed keeps its curves

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        visuals = super().get_current_visuals()
        if self.is_train and self.opt["rank"] == 0 and len(self.panels) < PANELS:
            self.panels.append(panel(visuals, self.opt.get("scale", 1)))
        return visuals

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes a checkpoint; ``current_iter`` -1 is the end of training: weights alone, as ``net_g_latest.pth``.

        If it cannot be written, earlier ones are left as they are, and training goes on.

        Raises:
            CheckpointError: the weights at the end cannot be written.
        """
        own = training_state.random_states()
        states = [own]
        if self.opt["dist"]:
            states = [None] * self.opt["world_size"]  # type: ignore[list-item]
            distributed.all_gather_object(states, own)
        if self.opt["rank"] != 0:
            self.saved = current_iter
            return
        try:
            weights = self._save_weights("latest" if current_iter == -1 else str(current_iter))
            if current_iter != -1:
                content = self.state(epoch, current_iter, states, weights)
                folder = Path(self.opt["path"]["training_states"])
                training_state.write(content, folder / f"{current_iter}.state")
                if keep := self.opt.get("logger", {}).get("keep_last"):
                    training_state.prune(folder, Path(self.opt["path"]["models"]), keep)
            self.saved = current_iter
        except CheckpointError as error:
            if current_iter == -1:
                raise
            get_root_logger().error(f"{error}. No checkpoint of iteration {current_iter}; earlier ones are intact")

    def _save_weights(self, label: str) -> dict[str, str]:
        """Writes ``net_g_<label>.pth``; returns its name and checksum. On the first process alone."""
        if self.opt["rank"] != 0:
            return {}
        networks = {"params": self.net_g}
        if hasattr(self, "net_g_ema"):
            networks["params_ema"] = self.net_g_ema
        content = {
            key: {name: value.cpu() for name, value in self.get_bare_model(net).state_dict().items()}
            for key, net in networks.items()
        }
        folder = Path(self.opt["path"]["models"])
        if self.opt.get("logger", {}).get("safetensors"):
            save_safetensors(content[list(content)[-1]], folder / f"net_g_{label}.safetensors")
        return {f"net_g_{label}.pth": training_state.write(content, folder / f"net_g_{label}.pth")}

    def state(self, epoch: int, current_iter: int, random: list[Any], weights: dict[str, str]) -> dict[str, Any]:
        """All that a checkpoint holds beside the weights (see `training_state`)."""
        options = yaml.safe_dump(self.run_options)
        return {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict(),
            "random": random,
            "position": self.position() if self.position else None,
            "best_metrics": {
                dataset: {
                    metric: {**best, "val": float(best["val"])} for metric, best in metrics.items()
                }  # not NumPy's
                for dataset, metrics in getattr(self, "best_metric_results", {}).items()
            },
            "bad_steps": self.bad_steps,
            "options": options,
            "options_checksum": digest(options.encode()),
            "versions": training_state.versions(),
            "weights": weights,
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        super().resume_training(resume_state)
        self.saved = resume_state["iter"]
        if "random" not in resume_state:
            get_root_logger().warning(
                "the state is BasicSR's own: random numbers and the place in the epoch start anew"
            )
            return
        if resume_state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(resume_state["scaler"])
        self.best_metric_results = resume_state["best_metrics"]
        self.bad_steps = resume_state["bad_steps"]
        if self.opt["rank"] < len(resume_state["random"]):
            training_state.set_random_states(resume_state["random"][self.opt["rank"]])
