"""Option files of HAT's restoration, of the journal version, for ``generate.py``: Gaussian noise, JPEG's artefacts.

Two stages (journal, section 6.1): 800K iterations with 32 patches of 64 x 64, then 500K with 8 of 128 x 128. It prints
"800" and "500", and neither learning rates nor milestones: those here are a choice, and the files say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from templates import (
    HEAD,
    METRICS,
    TEST,
    TRAINING,
    commented,
    network,
    starts_from,
    weights_of,
    yaml_value,
)

from hat_arch.data.benchmark_sets import RESTORATION_SETS
from hat_arch.paper.networks import RESTORERS

FOLDERS = {one.name: one.folder for one in RESTORATION_SETS}
DATA = """\
    name: DFWB
    type: DegradedImageDataset # degrades while it trains
    # DIV2K, Flickr2K, BSD500 (without the images of BSD68) and WED, in sub-images; made by:
    #   basicsr data sub-images FOLDER_OF_ALL datasets/DFWB/HR_sub --size 288 --step 144
    #   basicsr data lmdb datasets/DFWB/HR_sub datasets/DFWB/DFWB_HR_sub.lmdb
    dataroot_gt: datasets/DFWB/DFWB_HR_sub.lmdb
    recipe: {recipe}
    color: {color}
"""
TESTED = """\
  {phase}_{number}:
    name: {name}
    type: DegradedImageDataset
    dataroot_gt: datasets/{folder}/HR
    recipe: {recipe}
    color: {color}
    io_backend:
      type: disk
"""
PSNR_B = """\
    psnrb:
      type: calculate_psnrb
      crop_border: 0
      test_y_channel: false
"""
HEAD_OF_NETWORK = (
    'The journal says of the network: no upsampling, two convolutions to the output. upsampler: "" is these, and adds '
    "the input, which the journal does not say (basicsr archs HAT)."
)
LR = (
    'The journal prints "800" and "500" iterations, read here as thousands, and no learning rates: those are a choice, '
    "of HAT's schedule for as many iterations."
)


class Task(NamedTuple):
    """What is to be removed from which images."""

    name: str
    """In names of files: ``denoise_gray_25``."""
    what: str
    network: str
    """Of `RESTORERS`."""
    recipe: str
    tested_recipe: Any
    """In validation and tests."""
    sets: tuple[str, ...]
    watched: str
    """The set that a training is validated on."""
    color: str

    @property
    def metrics(self) -> str:
        """PSNR and SSIM of all channels and pixels; PSNR-B where there are blocks."""
        plain = METRICS.format(scale=0).replace("test_y_channel: true", "test_y_channel: false")
        return plain + (PSNR_B if self.recipe.startswith("jpeg") else "")


def tasks() -> Iterator[Task]:
    """All of the journal's tables XI to XIII."""
    for sigma in (15, 25, 50):
        noise, tested = f"noise:{sigma}", {"type": "noise", "sigma": sigma, "seed": 0}
        what = f"Gaussian noise of sigma {sigma} in"
        gray, color = ("Set12", "BSD68", "Urban100"), ("CBSD68", "Kodak24", "McMaster", "Urban100")
        yield Task(f"denoise_gray_{sigma}", f"{what} grey images", "HAT gray", noise, tested, gray, "Set12", "y")
        yield Task(f"denoise_color_{sigma}", f"{what} colours", "HAT color", noise, tested, color, "McMaster", "rgb")
    for quality in (10, 20, 30, 40):
        jpeg, sets = f"jpeg:{quality}", ("Classic5", "LIVE1")
        what = f"JPEG's artefacts, quality {quality}, in grey images"
        yield Task(f"jpeg_gray_q{quality}", what, "HAT gray", jpeg, jpeg, sets, "Classic5", "y")


def training(task: Task, stage: int) -> tuple[str, str]:
    """Name and text of a training option file of stage 1 or 2."""
    first = f"train_HAT_{task.name}"
    name = first if stage == 1 else f"{first}_stage2"
    batch, patch = ((4, 64), (1, 128))[stage - 1]
    lr, iterations, milestones = (
        ("2e-4", 800_000, (300_000, 500_000, 650_000, 700_000, 750_000)),
        ("1e-4", 500_000, (250_000, 400_000, 450_000, 475_000)),
    )[stage - 1]
    comment = [
        f"HAT that removes {task.what}, stage {stage} of 2 (journal version of HAT's paper).",
        HEAD_OF_NETWORK,
        LR,
        f"Start on 8 GPUs, {batch} image{'s' if batch > 1 else ''} each (a batch of {8 * batch}):",
        f"  basicsr train -opt {name}.yml --gpus 8",
    ]
    return name, TRAINING.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=1),
        data=DATA.format(recipe=task.recipe, color=task.color),
        gt_size=patch,
        patches="",
        batch=batch,
        validation=datasets("val", task, (task.watched,)),
        network=network(RESTORERS[task.network]),
        path=starts_from(first if stage == 2 else None),
        lr=lr,
        milestones=yaml_value(milestones),
        iterations=iterations,
        val_freq=5000,
        metrics=task.metrics,
    )


def test(task: Task) -> tuple[str, str]:
    """Name and text of a test option file."""
    name, trained = f"test_HAT_{task.name}", f"train_HAT_{task.name}_stage2"
    measured = "PSNR, SSIM and PSNR-B" if task.recipe.startswith("jpeg") else "PSNR and SSIM"
    channels = "of the grey images" if task.color == "y" else "of all colours"
    degraded = "Compressed by OpenCV; the journal says MATLAB's encoder."
    if task.recipe.startswith("noise"):
        degraded = "Noise of NumPy's legacy generator, seed 0 for each image, as in evaluations by KAIR and SwinIR."
    comment = [
        f"Measures HAT that removes {task.what}: {measured} {channels}, no border left out.",
        f"{degraded} Grey files are taken as they are, of colours MATLAB's Y." if task.color == "y" else degraded,
        f"Weights: those that {trained}.yml leaves; there are no official ones.",
        f"  basicsr test -opt {name}.yml",
    ]
    return name, TEST.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=1),
        datasets=datasets("test", task, task.sets),
        network=network(RESTORERS[task.network]),
        weights=weights_of(trained),
        val="  save_img: false\n" + task.metrics,
    )


def datasets(phase: str, task: Task, names: tuple[str, ...]) -> str:
    """Sections of a task's sets for validation (``val``) or testing (``test``)."""
    recipe = yaml_value(task.tested_recipe)
    return "\n".join(
        TESTED.format(phase=phase, number=number, name=name, folder=FOLDERS[name], recipe=recipe, color=task.color)
        for number, name in enumerate(names, 1)
    )


def files() -> Iterator[tuple[str, str]]:
    """Name and text of each."""
    for task in tasks():
        yield training(task, 1)
        yield training(task, 2)
        yield test(task)
