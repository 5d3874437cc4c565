"""Suite ``train``: time and memory of one training step, HATModel beside BasicSR's SRModel with spandrel's HAT."""

from __future__ import annotations

import contextlib
import logging
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY
from matplotlib.figure import Figure

from hat_arch.training.hat_model import HATModel

from ..utils.peak_memory import PeakMemory, peak_memory
from . import NETWORKS, plot
from .candidates import PEER, require_peer, settle
from .measure import (
    WrongResultError,
    alternate,
    describe,
    environment,
    median_ratio,
    pick_device,
    require_name,
    require_positive,
    settings_of_torch,
    summary,
    table,
    timed,
)
from .processes import Worker

TOLERANCE = 1e-4  # of the loss, in fp32
CASES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16, checkpoint": {"precision": "bf16", "use_checkpoint": True},
    "tf32": {"precision": "tf32"},
    "fp16": {"precision": "fp16"},
    "fp32, compile": {"compile": True},
    "bf16, compile": {"precision": "bf16", "compile": True},
}
"""What ours may be set to: options of ``train:``, and ``use_checkpoint`` of the network."""
DEFAULT = {"cpu": ["fp32", "bf16", "bf16, checkpoint"], "cuda": list(CASES)}


@dataclass(frozen=True)
class TrainSettings:
    """What is measured."""

    network: str = "HAT"
    """A key of `hat_arch.bench.NETWORKS`."""
    batch: int = 1
    patch: int = 64
    """Side of the LR patches, in pixels."""
    cases: tuple[str, ...] | None = None
    """Keys of `CASES`; None: those of `DEFAULT`."""
    memory: bool = True
    device: str = "auto"
    runs: int = 5
    threads: int | None = None

    def command(self) -> str:
        words = ["basicsr", "bench", "train", "--network", self.network, "--batch", str(self.batch)]
        words += ["--patch", str(self.patch), "--device", self.device, "--runs", str(self.runs)]
        words += ["--case", *self.cases] if self.cases else []
        words += [] if self.threads is None else ["--threads", str(self.threads)]
        return shlex.join(words + ([] if self.memory else ["--no_memory"]))


def run(
    settings: TrainSettings,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Measures a step (forward, backward, optimizer, EMA) of the peer and of each case.

    Returns:
        What the JSON file holds: seconds, MiB, and ratios, ours / peer.

    Raises:
        BenchmarkError: spandrel or the device is missing, or there is no such case.
        WrongResultError: in fp32 the first loss is another one than the peer's.
    """
    require_peer()
    require_positive(runs=settings.runs, batch=settings.batch, patch=settings.patch, threads=settings.threads)
    device = pick_device(settings.device)
    names = list(settings.cases or DEFAULT[device.type])
    for name in names:
        require_name("case", name, CASES)
    config = dict(NETWORKS[settings.network] if config is None else config)
    with settings_of_torch(settings.threads):
        machine = environment(device, "basicsr", "spandrel", "hat-arch")
    everyone = [PEER, *names]
    memory: dict[str, float | None] = dict.fromkeys(everyone)
    with contextlib.ExitStack() as stack:
        workers = {n: stack.enter_context(Worker(Candidate, n, settings, config, device.type)) for n in everyone}
        progress(f"a first step of {', '.join(everyone)}")
        losses = {name: worker.call("loss") for name, worker in workers.items()}  # compiles, too
        compare(losses)
        for name in everyone if settings.memory else []:
            progress(f"memory of {name}")
            memory[name] = workers[name].call("weigh").extra_mib
        progress(f"timing, {settings.runs} steps of each")
        seconds = alternate({n: partial(worker.call, "seconds") for n, worker in workers.items()}, settings.runs, 0)
    return {
        "suite": "train",
        "network": settings.network,
        "config": config,
        "batch": settings.batch,
        "patch": settings.patch,
        "runs": settings.runs,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "time_ratio": {name: median_ratio(seconds[name], seconds[PEER]) for name in names},
        "first_loss": losses,
        "extra_mib": memory,
        "environment": machine,
        "command": settings.command(),
    }


class Candidate:
    """A model that trains, alone in a process; its first step is the one whose `loss` is asked for."""

    def __init__(self, name: str, settings: TrainSettings, config: Mapping[str, Any], device_type: str) -> None:
        settle(name, settings.threads)
        self.device = torch.device(device_type)
        self.step = make_step(config, name, settings, self.device)

    def loss(self) -> float:
        """Makes a step and returns its loss."""
        return self.step()

    def weigh(self) -> PeakMemory:
        """Peak memory of a step, beyond model, gradients, optimizer and EMA, which the first step has made."""
        return peak_memory(self.step, self.device)

    def seconds(self) -> float:
        """Of a step."""
        return timed(self.step, self.device)


def make_step(
    config: Mapping[str, Any], name: str, settings: TrainSettings, device: torch.device
) -> Callable[[], float]:
    """A training step that returns its loss; the same first weights and data for all names."""
    logging.getLogger("basicsr").setLevel(logging.WARNING)
    case = {} if name == PEER else dict(CASES[name])
    network = {"type": "HAT", **config, "drop_path_rate": 0.0}
    if case.pop("use_checkpoint", False):
        network["use_checkpoint"] = True
    train = {
        "ema_decay": 0.999,
        "optim_g": {"type": "Adam", "lr": 1e-6, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [10**9]},
        "total_iter": 10**9,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        **case,
    }
    opt: dict[str, Any] = {
        "num_gpu": int(device.type == "cuda"),
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
    }
    opt |= {"path": {}, "scale": config["upscale"], "network_g": network, "train": train}
    torch.manual_seed(0)
    model = _peer_model(opt) if name == PEER else HATModel(opt)
    generator = torch.Generator().manual_seed(0)
    side = settings.patch
    shapes = {"lq": side, "gt": side * config["upscale"]}
    data = {key: torch.rand(settings.batch, 3, n, n, generator=generator) for key, n in shapes.items()}

    def step() -> float:
        model.feed_data(data)
        model.optimize_parameters(1)
        return model.log_dict["l_pix"]

    return step


def _peer_model(opt: dict[str, Any]) -> SRModel:
    """BasicSR's own model with spandrel's HAT, which starts from the weights that ours starts from."""
    from spandrel.architectures.HAT import HAT as PeerHAT

    class SpandrelHAT(PeerHAT):
        pass

    ours = ARCH_REGISTRY.get("HAT")(**{k: v for k, v in opt["network_g"].items() if k != "type"})
    ARCH_REGISTRY._obj_map["SpandrelHAT"] = SpandrelHAT
    try:
        model = SRModel({**opt, "network_g": {**opt["network_g"], "type": "SpandrelHAT"}})
    finally:
        del ARCH_REGISTRY._obj_map["SpandrelHAT"]
    model.net_g.load_state_dict(ours.state_dict(), strict=True)
    model.model_ema(0)
    return model


def compare(losses: Mapping[str, float]) -> None:
    """Raises `WrongResultError` if a loss is not finite, or fp32's is not the peer's."""
    for name, loss in losses.items():
        off = abs(loss - losses[PEER]) / losses[PEER]
        if not math.isfinite(loss) or (name.startswith("fp32") and off > TOLERANCE):
            raise WrongResultError(f"{name}: the first loss is {loss}, the peer's {losses[PEER]}; nothing was measured")


def default_path(result: Mapping[str, Any]) -> Path:
    parts = result["suite"], result["network"], f"{result['batch']}x{result['patch']}", result["environment"]["device"]
    return Path("experiments/benchmarks") / f"{'_'.join(parts)}.json"


def report(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    rows = []
    for name, times in result["seconds"].items():
        mib, peer = result["extra_mib"][name], result["extra_mib"][PEER]
        fast = "" if name == PEER else f"{1 / result['time_ratio'][name]:.2f}"
        weight = [f"{mib:.0f}", f"{mib / peer:.2f}"] if mib else ["-", "-"]
        rows.append([name, f"{1000 * times['median']:.0f}", fast, *weight])
    return "\n".join(
        [
            f"{_title(result)}, {result['runs']} runs each",
            table(["", "median ms", "times as fast", "peak extra MiB", "of the peer's"], rows),
            describe(result["environment"]),
            result["command"],
        ]
    )


def _title(result: Mapping[str, Any]) -> str:
    patches = f"batch {result['batch']}, patches of {result['patch']}"
    return f"{result['network']} ×{result['config']['upscale']}, a training step, {patches}"


def draw(result: Mapping[str, Any]) -> Figure:
    """Speed and memory of every case against the peer's."""
    mib = result["extra_mib"]
    figure, axes = plot.figure(_title(result), 10 if mib[PEER] else 6, 2.8, 2 if mib[PEER] else 1)
    plot.bars(axes[0], plot.speedups(result["seconds"], PEER), "times as fast as the peer, median and range")
    if mib[PEER]:
        plot.bars(axes[1], {name: (value,) * 3 for name, value in mib.items()}, "peak extra MiB")
    return figure
