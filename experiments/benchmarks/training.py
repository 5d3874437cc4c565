"""Time and memory of a training step: HATModel in several settings beside BasicSR's SRModel with spandrel's HAT."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import common  # before basicsr, which can be imported since hat_arch has been

# isort: split
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY
from common import PEER, Result, progress

from hat_arch.training.hat_model import HATModel
from hat_arch.utils.errors import UserError
from hat_arch.utils.peak_memory import PeakMemory, peak_memory
from hat_arch.utils.text_tables import aligned
from hat_arch.weights import named
from hat_arch.weights.files import fitting
from hat_arch.weights.load import load_network

CASES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16, checkpoint": {"precision": "bf16", "use_checkpoint": True},
    "tf32": {"precision": "tf32"},
    "fp16": {"precision": "fp16"},
    "fp32, compile": {"compile": True},
    "bf16, compile": {"precision": "bf16", "compile": True},
    "fp32, graph": {"cuda_graph": True},
    "bf16, graph": {"precision": "bf16", "cuda_graph": True},
}
"""What ours may be set to: options of ``train:``, and ``use_checkpoint`` of the network."""
DEFAULT = {"cpu": ["fp32", "bf16", "bf16, checkpoint"], "cuda": list(CASES)}
TOLERANCE = 1e-4
"""Largest difference of the first loss in fp32 from the peer's, as a share of it."""


class Candidate:
    """A model that trains on the same batch again and again."""

    def __init__(self, name: str, network: dict[str, Any], args: argparse.Namespace, device: str) -> None:
        common.settle(args.threads, ours=name != PEER)
        logging.getLogger("basicsr").setLevel(logging.WARNING)
        self.device = torch.device(device)
        opt = model_options(network, CASES.get(name, {}), device)
        torch.manual_seed(0)
        self.model = peer_model(opt) if name == PEER else HATModel(opt)
        if args.weights:
            begin_from(args.weights, self.model)
        generator = torch.Generator().manual_seed(0)
        sides = {"lq": args.patch, "gt": args.patch * network["upscale"]}
        self.data = {key: torch.rand(args.batch, 3, side, side, generator=generator) for key, side in sides.items()}

    def step(self) -> float:
        """Forward, backward, Adam, EMA; returns the loss."""
        self.model.feed_data(self.data)
        self.model.optimize_parameters(1)
        return float(self.model.get_current_log()["l_pix"])

    def memory(self) -> PeakMemory:
        """Of a step, beyond model, gradients, optimizer and EMA, which an earlier step has made."""
        return peak_memory(self.step, self.device)

    def seconds(self) -> float:
        return common.seconds_of(self.step)


def model_options(network: Mapping[str, Any], case: Mapping[str, Any], device: str) -> dict[str, Any]:
    """An option file's content for one of `CASES`; without ``drop_path``, which is random."""
    case = dict(case)
    checkpoint = case.pop("use_checkpoint", False)
    train = {
        "ema_decay": 0.999,
        "optim_g": {"type": "Adam", "lr": 1e-6, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [10**9]},
        "total_iter": 10**9,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }
    return {
        "num_gpu": int(device == "cuda"),
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "path": {},
        "scale": network["upscale"],
        "network_g": {"type": "HAT", **network, "drop_path_rate": 0.0, "use_checkpoint": checkpoint},
        "train": {**train, **case},
    }


def peer_model(opt: dict[str, Any]) -> SRModel:
    """BasicSR's own model with spandrel's HAT, which starts from the weights that ours starts from."""
    ours = ARCH_REGISTRY.get("HAT")(**{key: value for key, value in opt["network_g"].items() if key != "type"})
    ARCH_REGISTRY.register(type("SpandrelHAT", (common.peer_class(),), {}))
    model = SRModel({**opt, "network_g": {**opt["network_g"], "type": "SpandrelHAT"}})
    model.net_g.load_state_dict(ours.state_dict(), strict=True)
    model.model_ema(0)
    return model


def begin_from(weights: str, model: SRModel) -> None:
    """Gives a model the trained weights that have the names and shapes of its own; the others stay random."""
    network = model.get_bare_model(model.net_g)
    fit = fitting(load_network(named.find(weights)).state_dict(), network.state_dict())
    if len(fit.weights) < fit.needed / 2:
        raise UserError(f"--weights {weights}: {len(fit.weights)} of the network's {fit.needed} tensors fit")
    network.load_state_dict(fit.weights, strict=False)
    model.model_ema(0)


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    common.peer_class()
    cases = args.case or DEFAULT[device.type]
    names = [PEER, *cases]
    network = common.network_options(args.network, args.groups)
    progress(f"training {args.network}, {', '.join(names)}")
    with common.workers(Candidate, names, network, args, device.type) as workers:
        losses = {name: worker.call("step") for name, worker in workers.items()}
        compare(losses)
        memory = {name: worker.call("memory").extra_mib for name, worker in workers.items()}
        clocks = {name: partial(worker.call, "seconds") for name, worker in workers.items()}
        times = common.idle_and_busy(clocks, args)
    yield (
        f"train_{args.network}_{args.batch}x{args.patch}{'_trained' if args.weights else ''}_{device.type}",
        {
            "suite": "train",
            "config": network,
            **times,
            "time_ratio": {name: ratio["median"] for name, ratio in times["time_ratio"].items()},
            "first_loss": losses,
            "extra_mib": memory,
        },
    )


def compare(losses: Mapping[str, float]) -> None:
    """Raises `UserError` if a loss is not finite, or in fp32 another one than the peer's."""
    for name, loss in losses.items():
        off = abs(loss - losses[PEER]) / losses[PEER]
        if not math.isfinite(loss) or (name.startswith("fp32") and off > TOLERANCE):
            raise UserError(f"{name}: the first loss is {loss}, the peer's {losses[PEER]}")


def report(result: Result) -> str:
    rows = []
    for name, times in result["seconds"].items():
        mib, peer = result["extra_mib"][name], result["extra_mib"][PEER]
        fast = "" if name == PEER else f"{1 / result['time_ratio'][name]:.2f}"
        ms, when_busy = f"{1000 * times['median']:.0f}", common.busy_cell(result, name)
        memory = ["in the graph", ""] if name.endswith("graph") else [f"{mib:.0f}", f"{mib / peer:.2f}"]
        rows.append([name, ms, fast, when_busy, *memory])
    title = f"{result['network']} ×4, a training step, batch {result['batch']}, LR patches of {result['patch']}"
    title += f", from {result['weights']}" if result.get("weights") else ""
    return f"{title}\n{aligned(['', 'ms', 'times as fast', 'ms when busy', 'peak extra MiB', 'of the peer'], rows)}"


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    common.add_busy(made)
    common.add_network(made)
    add = made.add_argument
    add("--batch", type=common.positive, default=1, metavar="N", help="patches of a step; 1 by default")
    add("--patch", type=common.positive, default=64, metavar="PX", help="side of the LR patches; 64 by default")
    add("--weights", metavar="FILE", help="trained ones to begin from, such as hat-light-x4 with --network HAT-light")
    add("--case", nargs="+", choices=list(CASES), help="settings of ours; by default " + ", ".join(DEFAULT["cpu"]))
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
