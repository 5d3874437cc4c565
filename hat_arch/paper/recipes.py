"""How the papers train each network: one table, from which the option files are written.

Figures are those of ``tables.yml``, section ``training``, which are the official option files'. Where these and the
paper disagree (``conflicts`` C4, C5, C6), `hat_arch.paper.option_files` says so in a comment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .published import paper_data

Stage = Literal["scratch", "imagenet", "finetune", "from_x2"]

SUFFIX: dict[Stage, str] = {
    "scratch": "",
    "imagenet": "_ImageNet",
    "finetune": "_finetune_from_ImageNet",
    "from_x2": "_finetune_from_SRx2",
}
"""End of a run's name, by stage."""

FAMILY = ("HAT-S", "HAT", "HAT-L")
COMPARED: dict[str, tuple[int, ...]] = {
    "SwinIR": (2, 3, 4),
    "RCAN": (2, 3, 4),
    "EDSR": (2, 3, 4),
    "RRDBNet": (4,),
    "MSRResNet": (2, 3, 4),
}
"""Networks to compare with, and their scales. ESRGAN's RRDBNet is for ×4."""

LR_PATCH, BATCH_PER_GPU, GPUS = 64, 4, 8  # tables.yml: training.shared.lr_patch, batch

_FIGURES: dict[Stage, str] = {
    "scratch": "HAT_x2_scratch",
    "imagenet": "ImageNet_pretrain_HAT_and_HAT-L",
    "finetune": "DF2K_finetune_HAT_and_HAT-L",
    "from_x2": "HAT_x4_from_x2",
}
_IN_THE_PAPER: set[tuple[str, Stage]] = {
    ("HAT-S", "scratch"),
    ("HAT", "scratch"),
    ("HAT-S", "from_x2"),
    ("HAT", "from_x2"),
    ("HAT", "imagenet"),
    ("HAT", "finetune"),
    ("HAT-L", "imagenet"),
    ("HAT-L", "finetune"),
}


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from."""

    run: str
    """The run that makes them; its EMA weights at the end are taken."""
    strict: bool
    """Whether they fit the network wholly; ×2 weights lack a layer of ×4 (C6)."""

    @property
    def file(self) -> str:
        return weights_of(self.run)


@dataclass(frozen=True)
class Recipe:
    """All that a training needs to know beside its network."""

    scale: int
    data: Literal["DF2K", "ImageNet"]
    lr: float
    iterations: int
    milestones: tuple[int, ...]
    """Iterations at which the learning rate is halved."""
    start: Start | None = None
    batch_per_gpu: int = BATCH_PER_GPU

    @property
    def gt_size(self) -> int:
        """Side of the GT patches in pixels."""
        return LR_PATCH * self.scale


def run_name(network: str, scale: int, stage: Stage = "scratch") -> str:
    """Name of a training and, with ``.yml``, of its option file."""
    return f"train_{network}_SRx{scale}{SUFFIX[stage]}"


def weights_of(run: str) -> str:
    """Where a training leaves its weights."""
    return f"experiments/{run}/models/net_g_latest.pth"


def recipe(network: str, scale: int, stage: Stage = "scratch") -> Recipe:
    """How a network is trained, in one of the stages of `stages`."""
    figures: dict[str, Any] = paper_data()["training"][_FIGURES[stage]]
    start = None
    if stage == "finetune":
        start = Start(run_name(network, scale, "imagenet"), strict=True)
    elif stage == "from_x2":
        start = Start(run_name(network, 2), strict=False)
    return Recipe(scale, figures["data"], figures["lr"], figures["iters"], tuple(figures["milestones"]), start)


def stages(scale: int) -> tuple[Stage, ...]:
    """Stages that there are for HAT-S, HAT and HAT-L at a scale."""
    always: tuple[Stage, ...] = ("scratch", "imagenet", "finetune")
    return (*always, "from_x2") if scale == 4 else always


def of_the_paper(network: str, stage: Stage) -> bool:
    """Whether the paper trains this network in this way; else the option file has HAT's recipe."""
    return (network, stage) in _IN_THE_PAPER
