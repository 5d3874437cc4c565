"""What is about to run, in about ten lines: for the terminal, in place of BasicSR's banner and all options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..config.reading import Options
from ..utils.machine import cpu_name


def start_summary(opt: Options, model: Any, datasets: Sequence[tuple[str, str, int]]) -> str:
    """A line for each thing that matters of a run.

    Args:
        opt: the pipeline's options.
        model: with all its weights.
        datasets: phase, name and number of images of each.
    """
    path, train = opt["path"], opt.get("train") if opt["is_train"] else None
    weights = path.get("pretrain_network_g")
    if train:
        shown = path.get("resume_state") or weights or "none to start from"
    else:
        shown = weights or "none: the network is untrained"
    device = torch.cuda.get_device_name() if model.device.type == "cuda" else cpu_name()
    rows = [
        ("network", f"{network(opt)}, {parameters(model):,} parameters"),
        *discriminator(opt, model),
        ("weights", os.path.relpath(shown) if Path(shown).exists() else shown),
        *([("training", training(opt)), ("precision", train.get("precision", "fp32"))] if train else []),
        *((phase, f"{name}, {images:,} images") for phase, name, images in datasets),
        ("device", f"{device}, {opt['world_size']} process{'es' if opt['world_size'] > 1 else ''}"),
        ("folder", f"{os.path.relpath(path['log'])}; its log has all options"),
    ]
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join([opt["name"], *(f"  {label:{width}}{text}" for label, text in rows)])


def network(opt: Options) -> str:
    scale = f" x{opt['scale']}" if "scale" in opt else ""
    return f"{opt['network_g']['type']}{scale}"


def discriminator(opt: Options, model: Any) -> list[tuple[str, str]]:
    """A row about the discriminator, if the model has one."""
    if not hasattr(model, "net_d"):
        return []
    count = sum(parameter.numel() for parameter in model.net_d.parameters())
    return [("discriminator", f"{opt['network_d']['type']}, {count:,} parameters")]


def parameters(model: Any) -> int:
    """Number of the parameters of a model's network."""
    return sum(parameter.numel() for parameter in model.get_bare_model(model.net_g).parameters())


def training(opt: Options) -> str:
    """Length, batch, optimizer and schedule of a training."""
    train, data = opt["train"], opt["datasets"]["train"]
    size = data.get("gt_size") or opt.get("gt_size")
    optimizer, schedule = train["optim_g"], train["scheduler"]
    steps = schedule.get("milestones") or schedule.get("periods") or []
    return (
        f"{int(train['total_iter']):,} iterations, batch {data['batch_size_per_gpu']} a process"
        + (f", GT patches {size}x{size}" if size else "")
        + f", {optimizer['type']}, lr {optimizer['lr']:g}, {schedule['type']} {', '.join(f'{n:,}' for n in steps)}"
    )
