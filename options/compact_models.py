"""Option files of the models in the package, ``hat-light-x4`` and ``hat-light-x2``, for ``generate.py``.

They repeat how the models were made: `ITERATIONS` and `BATCH` are those of that training.
"""

from __future__ import annotations

from collections.abc import Iterator

from templates import (
    HEAD,
    METRICS,
    STARTS_FROM_A_RUN,
    STARTS_FROM_NOTHING,
    TEST,
    commented,
    datasets,
    network,
    weights_of,
)

from hat_arch.paper.networks import network_options

FIRST, SECOND, OTHER_SCALE = "train_hat_light_x4", "train_hat_light_x4_cosine", "train_hat_light_x2"
ITERATIONS = {FIRST: 20_000, SECOND: 6_000, OTHER_SCALE: 10_000}
BATCH = 4
TRAINING = """\
{comment}{head}
datasets:
  train:
    name: light
    type: SeededPairedDataset
    dataroot_gt: datasets/light/light_HR_sub.lmdb
    dataroot_lq: datasets/light/light_bicx{scale}_sub.lmdb
    io_backend:
      type: lmdb
    gt_size: {gt_size} # LR patches of 32x32
    use_hflip: true
    use_rot: true
    use_channel_permutation: true # two hundred photographs do not show all the colours that others have
    num_worker_per_gpu: 1
    batch_size_per_gpu: {batch}
    dataset_enlarge_ratio: 50

  val:
    name: held_out
    type: BicubicLRDataset # makes the LR
    dataroot_gt: datasets/photos/val
    io_backend:
      type: disk

{network}
path:
{path}\
  resume_state: ~

train:
{start}\
  ema_decay: 0.999
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
  fft_opt:
    type: SpectralL1Loss
    loss_weight: 0.05
    reduction: mean

val:
  val_freq: 1000
  save_img: false
{metrics}
logger:
  print_freq: 100
  save_checkpoint_freq: 500
  keep_last: 3
  keep_best: [held_out/psnr]
  use_tb_logger: true
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


def training(name: str, scale: int, what: str, lr: str, start: str | None = None, strict: str = "true") -> str:
    """A training option file.

    Args:
        name: of the run, and with ``.yml`` of the file.
        scale: GT side / LR side.
        what: it is, for the comment.
        lr: the highest learning rate.
        start: the run whose averaged weights it starts from.
        strict: the value of ``strict_load_g``.
    """
    iterations, path = ITERATIONS[name], STARTS_FROM_NOTHING
    if start:
        path = STARTS_FROM_A_RUN.format(run=start, weights=weights_of(start), strict=strict)
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
        gt_size=32 * scale,
        batch=BATCH,
        network=network(network_options("HAT-light", scale)),
        path=path,
        start="" if start else "  begin_as_interpolation: true # so that the colours are right from the start\n",
        lr=lr,
        scheduler=(COSINE if start else CONSTANT).format(iterations=iterations),
        iterations=iterations,
        warmup=100 if start else 300,
        metrics=(METRICS + PSNR_RGB).format(scale=scale),
    )


def test(scale: int) -> tuple[str, str]:
    """Name and text of the option file that measures a model."""
    name, model = f"test_hat_light_x{scale}", f"hat-light-x{scale}"
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
    what = "HAT-light x4, second stage: from the averaged weights of the first, along a cosine: the model hat-light-x4."
    yield SECOND, training(SECOND, 4, what, "8e-4", FIRST)
    what = "HAT-light x2, from the weights of x4, along a cosine: the model hat-light-x2."
    yield OTHER_SCALE, training(OTHER_SCALE, 2, what, "8e-4", SECOND, "false # x2 has another last convolution")
    yield from map(test, (4, 2))
