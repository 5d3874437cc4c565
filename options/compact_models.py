"""Option files of the models in the package, such as ``hat-light-x4``, for ``generate.py``.

They repeat how the models were made: `ITERATIONS` and `BATCH` are those of that training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from templates import (
    HEAD,
    METRICS,
    TEST,
    commented,
    datasets,
    network,
    starts_from,
    yaml_value,
)

from hat_arch.paper.networks import RESTORERS, network_options

FIRST, SECOND, OTHER_SCALE = "train_hat_light_x4", "train_hat_light_x4_cosine", "train_hat_light_x2"
ON_GPU = "train_hat_light_x4_gpu"
DENOISING, DEBLOCKING = "hat-light-denoise-25", "hat-light-jpeg"
ITERATIONS = {FIRST: 14_000, SECOND: 1_200, ON_GPU: 3_600, OTHER_SCALE: 1_000}
ITERATIONS |= {"train_hat_light_denoise_25": 700, "train_hat_light_jpeg": 500}
WARMUP = 30  # iterations, of a short training
BATCH = 4
TRAINING = """\
{comment}{head}
datasets:
  train:
    name: light
{data}\
    io_backend:
      type: lmdb
    gt_size: {gt_size}
    use_hflip: true
    use_rot: true
    use_channel_permutation: true # two hundred photographs do not show all the colours that others have
    num_worker_per_gpu: {workers}
    batch_size_per_gpu: {batch}
    dataset_enlarge_ratio: 50

  val:
    name: held_out
{held_out}\
    dataroot_gt: datasets/photos/val
    io_backend:
      type: disk

{network}
path:
{path}\
  resume_state: ~

train:
{start}\
  ema_decay: {ema}
  optim_g:
    type: Adam
    lr: {lr}
    weight_decay: 0
    betas: [0.9, 0.99]
  scheduler:
{scheduler}\
  total_iter: {iterations}
  warmup_iter: {warmup}
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean
{spectral}\

val:
  val_freq: {val_freq}
  save_img: false
{metrics}
logger:
  print_freq: 100
  save_checkpoint_freq: 500
  keep_last: 3
  keep_best: [held_out/{best}]
  use_tb_logger: true
"""
PAIRS = """\
    type: SeededPairedDataset
    dataroot_gt: {folder}/light_HR_sub.lmdb
    dataroot_lq: {folder}/light_bicx{scale}_sub.lmdb
"""
BICUBIC = """\
    type: BicubicLRDataset # makes the LR
"""
DEGRADED = """\
    type: DegradedImageDataset # degrades on the fly
    recipe: {recipe}
"""
SPECTRAL = """\
  fft_opt:
    type: SpectralL1Loss
    loss_weight: 0.05
    reduction: mean
"""
CONSTANT = """\
    type: MultiStepLR # constant: it may be stopped at any time, and what comes next starts from the average
    milestones: [{iterations}]
    gamma: 0.5
"""
COSINE = """\
    type: CosineAnnealingRestartLR
    periods: [{iterations}]
    restart_weights: [1]
    eta_min: 1e-6
"""
PSNR_RGB = """\
    psnr_rgb:
      type: calculate_psnr
      crop_border: {scale}
      test_y_channel: false
"""
HELD_OUT = """
  test_3:
    name: held_out
    type: BicubicLRDataset # makes the LR
    dataroot_gt: datasets/photos/val
    io_backend:
      type: disk
"""
DATA = [
    "Data: photographs in datasets/photos/train, and others, to validate on, in datasets/photos/val:",
    "  basicsr data prepare df2k datasets/photos/train --out datasets/light --name light --scale 2 4 --format bmp "
    "--size 288 --step 144",
]
LARGER = [
    DATA[0],
    "  basicsr data prepare df2k datasets/photos/train --out datasets/light384 --name light --scale 2 4 --format bmp "
    "--size 384 --step 192 --skip_bad",
]


def file_of(verb: str, model: str) -> str:
    """Name of the option file, without ``.yml``, that trains or tests a model of the package."""
    return f"{verb}_{model.replace('-', '_')}"


def training(name: str, scale: int, what: str, lr: str, start: str | None = None, unlike: str | None = None) -> str:
    """A training option file.

    Args:
        name: of the run, and with ``.yml`` of the file.
        scale: GT side / LR side.
        what: it is, for the comment.
        lr: the highest learning rate.
        start: the run whose averaged weights it starts from.
        unlike: why some of them do not fit.
    """
    iterations = ITERATIONS[name]
    run = [
        "Start, also on a machine without GPU:",
        f"  basicsr train -opt {name}.yml",
        "or, on two cores that have other work too, two processes of one thread, which wait for each other less often:",
        f"  OMP_NUM_THREADS=1 basicsr train -opt {name}.yml --gpus 2 --force_yml "
        f"datasets:train:batch_size_per_gpu={BATCH // 2}",
    ]
    return TRAINING.format(
        comment=commented([what, *DATA, *run]),
        head=HEAD.format(name=name, scale=scale),
        scale=scale,
        data=PAIRS.format(scale=scale, folder="datasets/light"),
        gt_size=f"{32 * scale} # LR patches of 32x32",
        held_out=BICUBIC,
        spectral=SPECTRAL,
        best="psnr",
        workers=1,
        batch=BATCH,
        network=network(network_options("HAT-light", scale)),
        path=starts_from(start, unlike),
        start="" if start else "  begin_as_interpolation: true # so that the colours are right from the start\n",
        lr=lr,
        scheduler=(COSINE if start else CONSTANT).format(iterations=iterations),
        iterations=iterations,
        warmup=WARMUP if start else 300,
        ema=0.99 if start else 0.999,
        val_freq=iterations // 2 if start else 1000,
        metrics=(METRICS + PSNR_RGB).format(scale=scale),
    )


def on_a_gpu() -> str:
    """The training option file for a GPU: larger batches of larger patches, from what a slower machine has begun."""
    iterations = ITERATIONS[ON_GPU]
    comment = [
        "HAT-light x4 on a GPU, in minutes: from the averaged weights of the first stage, along a cosine: the model "
        "hat-light-x4.",
        *LARGER,
        f"  basicsr train -opt {ON_GPU}.yml",
    ]
    return TRAINING.format(
        comment=commented(comment),
        head=HEAD.format(name=ON_GPU, scale=4),
        data=PAIRS.format(scale=4, folder="datasets/light384"),
        gt_size="256 # LR patches of 64x64",
        held_out=BICUBIC,
        workers="12\n    persistent_workers: true\n    pin_memory: true\n    prefetch_mode: cuda",
        batch=32,
        network=network(network_options("HAT-light", 4)),
        path=starts_from(FIRST),
        start="  precision: bf16\n  cuda_graph: true\n",
        ema=0.999,
        lr="1e-3\n    fused: true",
        scheduler=COSINE.format(iterations=iterations),
        iterations=iterations,
        warmup=200,
        spectral=SPECTRAL,
        best="psnr",
        val_freq=iterations // 2,
        metrics=(METRICS + PSNR_RGB).format(scale=4),
    )


def restoration(model: str, what: str, recipe: str, held_out: Any, start: str | None = None) -> tuple[str, str]:
    """Name and text of the training option file of a model that keeps the size of images.

    Args:
        model: its name.
        what: it removes, for the comment.
        recipe: that degrades the training patches.
        held_out: that degrades the photographs to validate on.
        start: the model that it starts from; by default it begins by returning its input.
    """
    name = file_of("train", model)
    iterations = ITERATIONS[name]
    comment = [
        f"HAT-light x1, of 1.0M parameters, which removes {what}: the model {model}.",
        *DATA,
        "Start, also on a machine without GPU:",
        f"  basicsr train -opt {name}.yml",
    ]
    return name, TRAINING.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=1),
        data=DEGRADED.format(recipe=recipe) + "    dataroot_gt: datasets/light/light_HR_sub.lmdb\n",
        gt_size=48,
        held_out=DEGRADED.format(recipe=yaml_value(held_out)),
        workers=1,
        batch=BATCH,
        network=network(RESTORERS["HAT-light color"]),
        path=starts_from(model=start or "~"),
        start="" if start else "  begin_as_interpolation: true # so that it begins at what it is given\n",
        lr="5e-4" if start else "8e-4",
        scheduler=COSINE.format(iterations=iterations),
        iterations=iterations,
        warmup=WARMUP,
        ema=0.99,
        val_freq=iterations // 2,
        spectral="",
        best="psnr_rgb",
        metrics=(METRICS + PSNR_RGB).format(scale=0),
    )


def restoration_test(model: str, what: str, recipes: dict[str, Any]) -> tuple[str, str]:
    """Name and text of the option file that measures a model that keeps the size.

    Args:
        model: its name.
        what: it removes, for the comment.
        recipes: that degrade the photographs, by the ends of the data sets' names.
    """
    name, sections = file_of("test", model), []
    images = (("Set5", "Set5/GTmod4"), ("Set14", "Set14/GTmod4"), ("held_out", "photos/val"))
    for ending, recipe in recipes.items():
        for one, folder in images:
            section = DEGRADED.format(recipe=yaml_value(recipe)) + f"    dataroot_gt: datasets/{folder}\n"
            head = f"  test_{len(sections) + 1}:\n    name: {one}{ending}\n"
            sections.append(f"{head}{section}    io_backend:\n      type: disk\n")
    comment = [
        f"Measures {model}, which removes {what}, on Set5, Set14 and held-out photographs: PSNR and SSIM of luma, "
        "PSNR of all colours, no border left out. Its numbers go into the model's card by: python "
        f"experiments/models/evaluate.py {model}",
        f"  basicsr test -opt {name}.yml",
    ]
    return name, TEST.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=1),
        datasets="\n".join(sections),
        network=network(RESTORERS["HAT-light color"]),
        weights=model,
        val="  save_img: false\n" + (METRICS + PSNR_RGB).format(scale=0),
    )


def test(scale: int) -> tuple[str, str]:
    """Name and text of the option file that measures a model."""
    model = f"hat-light-x{scale}"
    name = file_of("test", model)
    comment = [
        f"Measures {model} on Set5, Set14 and held-out photographs: PSNR and SSIM of luma, PSNR of all colours, "
        f"{scale} border pixels left out. Its numbers go into the model's card by: python "
        f"experiments/models/evaluate.py {model}",
        f"  basicsr test -opt {name}.yml",
    ]
    return name, TEST.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=scale),
        datasets=datasets("test", ("Set5", "Set14"), scale) + HELD_OUT,
        network=network(network_options("HAT-light", scale)),
        weights=model,
        val="  save_img: false\n" + (METRICS + PSNR_RGB).format(scale=scale),
    )


def files() -> Iterator[tuple[str, str]]:
    """Name and text of each."""
    what = "HAT-light x4, of 1.0M parameters, first of two stages: from nothing, with a constant learning rate."
    yield FIRST, training(FIRST, 4, what, "8e-4")
    what = "HAT-light x4, second stage: from the averaged weights of the first, along a cosine. On a GPU, take "
    yield SECOND, training(SECOND, 4, f"{what}{ON_GPU}.yml instead.", "8e-4", FIRST)
    yield ON_GPU, on_a_gpu()
    what = "HAT-light x2, from the weights of x4, along a cosine: the model hat-light-x2."
    yield OTHER_SCALE, training(OTHER_SCALE, 2, what, "8e-4", ON_GPU, "x2 has another last convolution")
    yield from map(test, (4, 2))
    noise, tested = "Gaussian noise of sigma 25", {"type": "noise", "sigma": 25, "seed": 0}
    yield restoration(DENOISING, noise, "noise:25", tested)
    yield restoration_test(DENOISING, noise, {"": tested})
    jpeg = "the artefacts of JPEG of quality 10 to 40"
    yield restoration(DEBLOCKING, jpeg, "jpeg:10-40", "jpeg:10", DENOISING)  # from nothing it stays at its input
    yield restoration_test(DEBLOCKING, jpeg, {f"_q{quality}": f"jpeg:{quality}" for quality in (10, 20, 40)})
