"""How an option file looks: templates, and functions that fill them in, for ``generate.py``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hat_arch.paper.networks import NETWORKS, Options

BENCHMARKS = {"Set5": "Set5", "Set14": "Set14", "BSD100": "BSDS100", "Urban100": "urban100", "Manga109": "manga109"}
"""Data set, as the paper names it → its folder below ``datasets/``."""
ALL, WATCHED = tuple(BENCHMARKS), ("Set5", "Set14")
"""Data sets to test on, and those that a training of the main results is validated on."""


class Schedule(NamedTuple):
    """Learning rate, iterations, and the iterations at which the learning rate is halved."""

    lr: str
    iterations: int
    milestones: tuple[int, ...]


class Start(NamedTuple):
    """Weights that a training starts from."""

    run: str
    """The run that leaves them; its EMA weights are taken."""
    unlike: str = ""
    """Why they do not fit the whole network; empty if they do."""


HEAD = """\
name: {name}
model_type: HATModel
scale: {scale}
num_gpu: auto
manual_seed: 0
"""
DF2K_STORES = """\
    name: DF2K
    type: SeededPairedDataset
    # made by: basicsr data prepare df2k FOLDER_OF_DIV2K_AND_FLICKR2K
    dataroot_gt: datasets/DF2K/DF2K_HR_sub.lmdb
    dataroot_lq: datasets/DF2K/DF2K_bicx{scale}_sub.lmdb
"""
IMAGENET_STORE = """\
    name: ImageNet
    type: ImageNetPairedDataset # makes the LR while it trains
    # made by: basicsr data prepare imagenet FOLDER_OF_ILSVRC2012_TRAIN --skip_bad
    dataroot_gt: datasets/ImageNet/GT.lmdb
"""
MULTI_SCALE_STORE = (
    IMAGENET_STORE.replace("ImageNetPairedDataset", "MultiScaleImageNetDataset") + "    scales: [2, 3, 4]\n"
)
TRAINING = """\
{comment}{head}
datasets:
  train:
{data}\
    io_backend:
      type: lmdb
    gt_size: {gt_size}{patches}
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: {batch}
    dataset_enlarge_ratio: 1
    prefetch_mode: ~

{validation}
{network}
path:
{path}\
  resume_state: ~

train:
  ema_decay: 0.999
  optim_g:
    type: Adam
    lr: {lr}
    weight_decay: 0
    betas: [0.9, 0.99]
  scheduler:
    type: MultiStepLR
    milestones: {milestones}
    gamma: 0.5
  total_iter: {iterations}
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean

val:
  val_freq: {val_freq}
  save_img: false
{metrics}
logger:
  print_freq: 100
  save_checkpoint_freq: 5000
  use_tb_logger: true
"""
STARTS_FROM_A_MODEL = """\
  pretrain_network_g: {model}
  strict_load_g: true
"""
STARTS_FROM_A_RUN = """\
  # left by: basicsr train -opt {run}.yml
  pretrain_network_g: {weights}
  param_key_g: params_ema
  strict_load_g: {strict}
"""
TEST = """\
{comment}{head}
datasets:
{datasets}
{network}
path:
  pretrain_network_g: {weights}
  strict_load_g: true
  param_key_g: params_ema

val:
{val}"""
IMAGE_NAMES = """\
  save_img: true
  suffix: ~ # the saved images are named IMAGE_NAME.png, after the name above
"""
DATASET = """\
  {phase}_{number}:
    name: {name}
    type: SeededPairedDataset
    dataroot_gt: datasets/{folder}/GTmod{scale}
    dataroot_lq: datasets/{folder}/LRbicx{scale}
    io_backend:
      type: disk
"""
METRICS = """\
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: {scale}
      test_y_channel: true
    ssim:
      type: calculate_ssim
      crop_border: {scale}
      test_y_channel: true
"""
PUBLISHED_HEAD = """
published: # by HAT's paper, for the table of results
"""
PUBLISHED = """\
  {set}: {{psnr: {psnr:.2f}, ssim: {ssim:.4f}}}
"""
OWN_IMAGES = """\
  test_1:
    name: mine
    type: SingleImageDataset
    dataroot_lq: datasets/mine/LR # a folder of images and nothing else
    io_backend:
      type: disk
"""


def training(
    name: str,
    network_g: Options,
    scale: int,
    schedule: Schedule,
    comment: Sequence[str],
    start: Start | None = None,
    data: str = DF2K_STORES,
    validation: Sequence[str] = WATCHED,
) -> str:
    """A training option file.

    Args:
        name: of the run, and with ``.yml`` of the file.
        network_g: the network, as `hat_arch.paper.networks` gives it.
        scale: GT side / LR side.
        schedule: learning rate and iterations.
        comment: paragraphs for the top of the file; how to start it is added.
        start: weights to start from.
        data: one of the ``…_STORE`` templates.
        validation: names of the data sets to validate on; on all five only half as often.
    """
    starting = [
        "Start on 8 GPUs, 4 images each (the paper's batch of 32):",
        f"  basicsr train -opt {name}.yml --gpus 8",
        "or on one, the same batch in 8 parts:",
        f"  basicsr train -opt {name}.yml --force_yml datasets:train:batch_size_per_gpu=32 train:accumulate=8",
    ]
    return TRAINING.format(
        comment=commented([*comment, *starting]),
        head=HEAD.format(name=name, scale=scale),
        data=data.format(scale=scale),
        gt_size=64 * scale,
        patches=" # LR patches of 64x64",
        batch=4,
        validation=datasets("val", validation, scale),
        network=network(network_g),
        path=starts_from(start.run if start else None, start.unlike if start else None),
        lr=schedule.lr,
        milestones=yaml_value(schedule.milestones),
        iterations=schedule.iterations,
        val_freq=5000 if validation == WATCHED else 10_000,
        metrics=METRICS.format(scale=scale),
    )


def starts_from(run: str | None = None, unlike: str | None = None, model: str = "~") -> str:
    """What a training starts from, for its section ``path``: averaged weights of a run, a model, or nothing.

    Args:
        run: that has left them.
        unlike: why some weights of that run do not fit.
        model: of the package.
    """
    if run is None:
        return STARTS_FROM_A_MODEL.format(model=model)
    strict = f"false # {unlike}" if unlike else "true"
    return STARTS_FROM_A_RUN.format(run=run, weights=weights_of(run), strict=strict)


def benchmark(
    name: str,
    what: str,
    network_g: Options,
    scale: int,
    weights: str,
    comment: Sequence[str],
    published: Mapping[str, tuple[float, float]] | None,
) -> str:
    """A test option file for the five benchmark sets; arguments as for `training`.

    Args:
        what: is measured, for the comment.
        weights: file of EMA weights.
        published: data set → PSNR and SSIM that HAT's paper prints for this network.
    """
    scores = "".join(
        PUBLISHED.format(set=name, psnr=psnr, ssim=ssim) for name, (psnr, ssim) in (published or {}).items()
    )
    measures = (
        f"Measures {what} on the paper's five benchmark sets: PSNR and SSIM on the Y channel, {scale} border pixels "
        "left out."
    )
    return TEST.format(
        comment=commented([measures, *comment, f"  basicsr test -opt {name}.yml"]),
        head=HEAD.format(name=name, scale=scale),
        datasets=datasets("test", ALL, scale),
        network=network(network_g),
        weights=weights,
        val=IMAGE_NAMES + METRICS.format(scale=scale) + (PUBLISHED_HEAD + scores if scores else ""),
    )


def without_gt() -> str:
    """The test option file for images without ground truth."""
    name = "test_HAT_SRx4_no_gt"
    comment = [
        f"Upscales all images of a folder by HAT x4, to results/{name}/visualization/. Without ground truth nothing is "
        "measured.",
        f"  basicsr test -opt {name}.yml",
    ]
    return TEST.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=4),
        datasets=OWN_IMAGES,
        network=network(NETWORKS["HAT"]),
        weights="experiments/pretrained_models/HAT_SRx4.pth",
        val="  save_img: true\n  suffix: ~\n",
    )


def weights_of(run: str) -> str:
    """Where a training leaves its weights."""
    return f"experiments/{run}/models/net_g_latest.pth"


def commented(paragraphs: Sequence[str]) -> str:
    """Paragraphs as comment lines; those that begin with spaces, commands and files, are not wrapped."""
    lines: list[str] = []
    for paragraph in paragraphs:
        is_command = paragraph.startswith(" ")
        lines += [paragraph] if is_command else textwrap.wrap(paragraph, 116, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def datasets(phase: str, names: Sequence[str], scale: int) -> str:
    """Sections of benchmark sets for validation (``val``) or testing (``test``)."""
    sections = (
        DATASET.format(phase=phase, number=number, name=name, folder=BENCHMARKS[name], scale=scale)
        for number, name in enumerate(names, 1)
    )
    return "\n".join(sections)


def network(network_g: Options) -> str:
    """The section ``network_g``."""
    return "".join(["network_g:\n", *(f"  {key}: {yaml_value(value)}\n" for key, value in network_g.items())])


def yaml_value(value: Any) -> str:
    """A value as a person would write it in YAML."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {yaml_value(one)}' for key, one in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
