"""The model that trains HAT, and any other network of the registry, in BasicSR's loop: one step of training.

Validation is in `validation`, checkpoints are in `checkpoints`; each has a base class of `HATModel`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..archs.interpolation import begin_as_interpolation
from ..archs.kernels import PLAIN, Kernels, computed_by
from ..inference.engines.kernels import fastest_kernels
from ..inference.memory import is_out_of_memory
from ..utils.errors import UserError, in_one_line
from ..utils.machine import fast_in_bf16
from .checkpoints import SavingModel
from .recorded_passes import RecordedPasses
from .run import SIGNALS, TrainingRun
from .validation import ValidatingModel

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(UserError):
    """Training cannot go on; the message says why and what to do."""


class HATModel(SavingModel, ValidatingModel):
    """BasicSR's `SRModel` for any registered network, with what HAT needs.

    * Options under ``train:`` (see `hat_arch.config.schema.Train`): ``precision``, ``accumulate``, ``compile``,
      ``cuda_graph``, ``channels_last``, ``clip_grad_norm``, ``max_bad_steps``.
    * ``train: optim_g: type`` may name any optimizer of `torch.optim`.
    * ``train: fft_opt`` names a loss that is added to ``pixel_opt``'s, such as `losses.SpectralL1Loss`.
    * Steps whose loss or gradient is not finite are passed over and counted.

    BasicSR's loop calls, for each iteration, ``update_learning_rate``, `feed_data` and `optimize_parameters`.
    """

    hat_sections = frozenset({"train", "val", "logger"})
    """Sections of option files in which keys of `hat_arch.config.schema.HAT_MODEL_ONLY` have an effect."""

    lq: Tensor
    gt: Tensor
    recorded: RecordedPasses | None = None
    """Of the network that is trained, from the first step on, if ``train: cuda_graph`` says so."""

    @classmethod
    def option_problems(cls, opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Key and problem of each setting that cannot work."""
        train, place = opt["train"], ("train", "cuda_graph")
        if not train.get("cuda_graph"):
            return
        if train.get("compile"):
            yield place, "does not go with train: compile, which has the mode reduce-overhead for it"
        if train.get("accumulate", 1) > 1:
            yield place, "does not go with train: accumulate"
        if opt["network_g"].get("use_checkpoint"):
            yield place, "does not go with network_g: use_checkpoint"

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt: dict[str, Any] = opt.get("train") or {}
        self.run = TrainingRun()
        self.bad_steps, self.bad_steps_in_a_row = 0, 0
        device, precision = "cuda" if opt["num_gpu"] else "cpu", self.train_opt.get("precision", "fp32")
        if precision == "auto":
            precision = "bf16" if fast_in_bf16(torch.device(device)) else "fp32"
            get_root_logger().info(f"precision: {precision}")
        self.records = bool(opt["is_train"] and self.train_opt.get("cuda_graph"))
        if self.records and opt["dist"]:
            raise TrainingError("train: cuda_graph: is for one process; it does not go with --gpus or --launcher")
        if self.records and device == "cpu":
            get_root_logger().info("train: cuda_graph: there is no GPU, and nothing to record")
            self.records = False
        self.autocast: Callable[[], AbstractContextManager] = (
            partial(torch.autocast, device, AUTOCAST[precision], cache_enabled=not self.records)
            if precision in AUTOCAST
            else nullcontext
        )
        """The context in which the network runs. Weights, losses, updates and the EMA stay in fp32."""
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        if precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        super().__init__(opt)

    def follow(self, run: TrainingRun) -> None:
        """Takes the run that this model is trained in, once, before the first iteration."""
        self.run = run

    def init_training_settings(self) -> None:
        if self.train_opt.get("begin_as_interpolation") and not self.opt["path"].get("pretrain_network_g"):
            try:
                begin_as_interpolation(self.get_bare_model(self.net_g))
            except ValueError as error:
                raise TrainingError(f"train: begin_as_interpolation: {error}") from error
        self.cri_fft = build_loss(fft).to(self.device) if (fft := self.train_opt.get("fft_opt")) else None
        super().init_training_settings()

    def model_to_device(self, net: nn.Module, compiled: bool = True) -> nn.Module:
        """A network as training needs it; ``compiled``, if the option file says so."""
        net = net.to(self.device)
        if self.is_train and self.train_opt.get("channels_last"):
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.is_train and compiled and (mode := self.train_opt.get("compile")):
            net.compile(mode=None if mode is True else mode)
        if self.opt["dist"]:
            ids = [torch.cuda.current_device()] if self.device.type == "cuda" else None
            unused = self.opt.get("find_unused_parameters", False)
            return DistributedDataParallel(net, device_ids=ids, find_unused_parameters=unused)
        return super().model_to_device(net)

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
            Stopped: a signal came; the state is saved.
        """
        learners = self.learners()
        for _, optimizer in learners.values():
            optimizer.zero_grad()
        self.kernels = self.kernels or self.fastest_kernels()
        with computed_by(self.kernels):
            losses = self.compute_gradients()
        norms = {}
        for name, (net, optimizer) in learners.items():
            self.scaler.unscale_(optimizer)
            norms[name] = nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])

        self.log_dict, finite, stop_signal = self.read_back({**losses, **norms})
        if finite:
            self.update(learners, norms)
        else:
            self.pass_over(current_iter)
        self.scaler.update()
        if self.bad_steps:
            self.log_dict["bad_steps"] = self.bad_steps
        self.run.step_done(self, current_iter, stop_signal)

    def fastest_kernels(self) -> Kernels:
        """By what PyTorch computes on the CPU: as before it was interrupted, or as the first process measures it."""
        if self.device.type != "cpu" or self.autocast is not nullcontext or self.train_opt.get("compile"):
            return PLAIN
        found: list[Kernels | None] = [self.earlier_kernels]
        if found == [None] and self.opt["rank"] == 0:
            net, part = self.get_bare_model(self.net_g), next(self.parts())[0]
            found = [fastest_kernels(net, self.lq[part].shape, get_root_logger().info, learning=True)]
        if self.opt["dist"]:
            distributed.broadcast_object_list(found)
        return found[0] or PLAIN

    def learners(self) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
        """The networks that this step updates, with their optimizers, by the name of their gradient's norm in the log.

        All gradients are computed before any network is updated.
        """
        return {"grad_norm": (self.net_g, self.optimizer_g)}

    def compute_gradients(self) -> OrderedDict[str, Tensor]:
        """Adds up the gradients of the parts of the batch; returns each loss, a mean over the batch."""
        losses: OrderedDict[str, Tensor] = OrderedDict()
        for part, share in self.parts():
            for name, value in self.backward(part, share).items():
                losses[name] = losses.get(name, 0) + value.detach() * share
        return losses

    def parts(self) -> Iterator[tuple[slice, float]]:
        """The parts of the batch, as places in it, and their shares of it."""
        total = len(self.lq)
        count = min(self.train_opt.get("accumulate", 1), total)
        size, larger = divmod(total, count)
        start = 0
        for n in range(count):
            stop = start + size + (n < larger)
            yield slice(start, stop), (stop - start) / total
            start = stop

    def backward(self, part: slice, share: float) -> dict[str, Tensor]:
        """Runs the network and the losses forward and backward on a part of the batch; returns the losses."""
        with self.exchange(self.net_g, part):
            self.output = self.result(self.net_g, self.lq[part])
            losses = self.losses(self.output, part)
            self.add_gradient(losses, share)
        return losses

    def exchange(self, net: nn.Module, part: slice | None) -> AbstractContextManager:
        """The context of a network's forward and backward: processes exchange gradients after the batch's last part.

        None stands for a part after which another backward of the network comes.
        """
        last = part is not None and part.stop == len(self.lq)
        return nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync()

    def result(self, net: nn.Module, images: Tensor) -> Tensor:
        """What a network makes of images ``(B, C, H, W)``, computed in ``precision``, returned in fp32."""
        if self.records and net is self.net_g:
            self.recorded = self.recorded or self.record(images)
            if images.shape == self.recorded.images.shape:
                return self.recorded(images)
        return self.computed(net, images)

    def record(self, images: Tensor) -> RecordedPasses:
        """The passes of the network that is trained, on images of a shape, in the GPU's memory.

        Raises:
            TrainingError: the network does what cannot be recorded.
        """
        try:
            return RecordedPasses(partial(self.computed, self.net_g), self.net_g, images)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            network = self.opt["network_g"]["type"]
            raise TrainingError(f"train: cuda_graph: {network} cannot be recorded: {in_one_line(error)}") from error

    def computed(self, net: nn.Module, images: Tensor) -> Tensor:
        """`result`, one kernel after the other."""
        with self.autocast():
            output = net(images)
        return output.float() if output.dtype in AUTOCAST.values() else output

    def add_gradient(self, losses: Mapping[str, Tensor], share: float) -> None:
        """Runs the sum of losses backward, weighted by the share that they are of the batch."""
        total = torch.stack(tuple(losses.values())).sum() if len(losses) > 1 else next(iter(losses.values()))
        self.scaler.scale(total if share == 1 else total * share).backward()

    def losses(self, output: Tensor, part: slice) -> dict[str, Tensor]:
        """The losses of ``train:`` by the names of BasicSR's log, each a scalar: of a part of the batch."""
        gt = self.gt[part]
        return {**self.pixel_losses(output, gt), **self.perceptual_losses(output, gt)}

    def pixel_losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """``pixel_opt``'s and ``fft_opt``'s."""
        named: dict[str, Tensor] = {}
        if self.cri_pix:
            named["l_pix"] = self.cri_pix(output, gt)
        if self.cri_fft:
            named["l_fft"] = self.cri_fft(output, gt)
        return named

    def perceptual_losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """``perceptual_opt``'s."""
        if not self.cri_perceptual:
            return {}
        perceptual, style = self.cri_perceptual(output, gt)
        return {name: value for name, value in (("l_percep", perceptual), ("l_style", style)) if value is not None}

    def read_back(self, values: dict[str, Tensor]) -> tuple[OrderedDict[str, float], bool, int]:
        """Waits for the device, once in a step, and lets all processes decide alike.

        Args:
            values: losses and norms of gradients, by their names.

        Returns:
            them as means over the processes; whether all are finite in all processes; and the signal for which all
            processes stop, 0 for none.
        """
        stacked = torch.stack([value.to(self.device) for value in values.values()])
        bad = stacked.isfinite().all().logical_not().to(stacked.dtype)
        if not self.opt["dist"]:
            *numbers, any_bad = torch.cat([stacked, bad[None]]).tolist()
            stop_signal = self.run.stop_signal
        else:
            stops = stacked.new_tensor([self.run.stop_signal == number for number in SIGNALS])
            packed = torch.cat([stacked / self.opt["world_size"], bad[None], stops])
            distributed.all_reduce(packed)
            *numbers, any_bad, interrupted, terminated = packed.tolist()
            stop_signal = SIGNALS[0] if interrupted else SIGNALS[1] if terminated else 0
        return OrderedDict(zip(values, numbers)), not any_bad, int(stop_signal)

    def update(self, learners: dict[str, tuple[nn.Module, torch.optim.Optimizer]], norms: Mapping[str, Tensor]) -> None:
        """Updates networks and the moving average by gradients that are finite, of norms that are known."""
        for name, (net, optimizer) in learners.items():
            if (limit := self.train_opt.get("clip_grad_norm")) is not None:
                nn.utils.clip_grads_with_norm_(net.parameters(), limit, norms[name])
            optimizer.step()  # not through the scaler, which would wait for the device to know what is known
        self.bad_steps_in_a_row = 0
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def pass_over(self, current_iter: int) -> None:
        """Counts a step that is not finite, which changes nothing."""
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
