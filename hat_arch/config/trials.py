"""A trial of what a training and its validations will make: optimizers, schedules, losses and metrics, in small.

What these classes refuse, they refuse here, with a line of the option file, not in the middle of a run.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from torch import nn

from ..compat.registration import registered
from .keys import SCHEDULERS
from .problems import Key, Problems
from .reading import Options
from .values import attempt, last_good
from .vgg import check_vgg, untrained_vgg

SHAPES = ((2,), (2, 2), (2, 2, 3, 3))  # of weights: a bias, a linear layer, a convolution
MEASURED = 256  # pixels of the side of the images that metrics are tried on; NIQE needs some
OF_TWO_IMAGES = ("pixel_opt", "fft_opt")
"""Losses that models call with output and ground truth, and take the gradient of."""


def check_recipe(opt: Options, problems: Problems) -> None:
    """Makes optimizers, schedule, losses and metrics as the model will, and tries them."""
    train = opt.get("train") or {}
    optimizers = []
    for name, section in train.items():
        if name.startswith("optim_") and isinstance(section, dict):
            optimizers.append(attempt(("train", name), section, partial(_optimizer, opt, section), problems))
        elif name.endswith("_opt") and isinstance(section, dict):
            _check_loss(("train", name), section, problems)
    if optimizers and optimizers[0] is not None:
        _check_schedule(optimizers[0], train, problems)
    for name, section in ((opt.get("val") or {}).get("metrics") or {}).items():
        attempt(("val", "metrics", name), section, partial(_metric, section), problems)


def _optimizer(opt: Options, section: Options, arguments: Options) -> torch.optim.Optimizer:
    """The optimizer that the model makes of a section, after a step; on a GPU only if the CPU refuses it."""
    model = registered(MODEL_REGISTRY, opt["model_type"])

    def stepped(device: str) -> torch.optim.Optimizer:
        weights = [nn.Parameter(torch.zeros(shape, device=device)) for shape in SHAPES]
        optimizer = model.get_optimizer(object.__new__(model), section["type"], weights, **arguments)
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        return optimizer

    try:
        return stepped("cpu")
    except Exception:
        if not opt["num_gpu"]:
            raise
    return stepped("cuda")


def _metric(section: Options, arguments: Options) -> float:
    images = np.random.default_rng(0).integers(0, 256, (2, MEASURED, MEASURED, 3), dtype=np.uint8)
    arguments.pop("better", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of what is said here
        value = float(registered(METRIC_REGISTRY, section["type"])(img=images[0], img2=images[1], **arguments))
    if math.isnan(value):
        raise ValueError(f"makes no number of two images of {MEASURED}x{MEASURED}")
    return value


def _check_loss(key: Key, section: Options, problems: Problems) -> None:
    with untrained_vgg() as asked:
        cls = registered(LOSS_REGISTRY, section["type"])
        loss = attempt(key, section, lambda arguments: cls(**arguments), problems)
        if loss is not None and key[-1] in OF_TWO_IMAGES:
            images = torch.zeros(2, 1, 3, 64, 64)
            try:
                value = loss(images[0], images[1])
            except Exception:  # of another size or kind of image than the run's
                value = torch.zeros(())
            if torch.is_tensor(value) and value.numel() != 1:
                problems.add((*key, "reduction"), "makes no single number, which training needs")
    for network in sorted(asked):
        check_vgg(key, network, problems)


def _check_schedule(optimizer: torch.optim.Optimizer, train: Options, problems: Problems) -> None:
    """A schedule must give a learning rate in every iteration; it is asked for where it changes and at the end."""
    key, section = ("train", "scheduler"), train["scheduler"]
    scheduler = attempt(key, section, lambda given: SCHEDULERS[section["type"]](deepcopy(optimizer), **given), problems)
    if scheduler is None:
        return
    end = int(train["total_iter"])
    steps = sorted({step for step in _steps(section) if 0 < step < end} | {end - 1})
    for step in steps:
        try:
            rates = _rates(scheduler, step)
        except Exception:
            last = last_good(partial(_has_rate, scheduler), step + 1)
            problems.add(key, f"{section['type']} ends after {last} iterations, total_iter is {end}")
            return
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            problems.add(key, f"{section['type']} makes a learning rate of {rates[0]:g} at iteration {step}")
            return


def _steps(section: Options) -> Iterator[int]:
    """Iterations at which a schedule may change: the numbers in its lists, and their sums so far."""
    for value in section.values():
        numbers = [int(number) for number in value] if isinstance(value, list) else []
        yield from numbers
        yield from (sum(numbers[: n + 1]) for n in range(len(numbers)))


def _rates(scheduler: Any, step: int) -> list[float]:
    """Learning rates of the parameter groups at an iteration, which become the optimizer's."""
    scheduler.last_epoch = step
    rates = scheduler.get_lr()
    for group, rate in zip(scheduler.optimizer.param_groups, rates):
        group["lr"] = rate
    return [float(rate) for rate in rates]


def _has_rate(scheduler: Any, step: int) -> bool:
    try:
        return bool(_rates(scheduler, step))
    except Exception:
        return False
