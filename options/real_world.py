"""Option files of real-world training, for ``generate.py``: HAT's, and those of the models for photographs.

HAT's numbers are those of the official option files (``hat_arch/paper/tables.yml``: ``training``, ``Real_HAT_mse`` and
``Real_HAT_GAN``), which are for x4; a test compares them. The files for photographs repeat how the models in the
package were made.
"""

from __future__ import annotations

from collections.abc import Iterator

import compact_models
from compact_models import COSINE, PSNR_RGB
from templates import (
    BENCHMARKS,
    HEAD,
    METRICS,
    OWN_IMAGES,
    TEST,
    commented,
    network,
    starts_from,
    weights_of,
    yaml_value,
)

from hat_arch.degradations.realesrgan import RealESRGAN
from hat_arch.paper.networks import network_options

SCALES = (4, 2)
MSE, GAN = "RealHATMSEModel", "RealHATGANModel"
NIQE = """\
    niqe: # without ground truth; smaller is better
      type: calculate_niqe
      crop_border: {scale}
"""
PHOTO_ITERATIONS = {4: 2_000, 2: 1_000}
COMPACT_ITERATIONS = 4_000
POOL = " # pairs that batches are mixed from"
OFFICIAL = {key: field.default for key, field in RealESRGAN.model_fields.items() if key != "scale"}
"""The degradation of the official option files, in the order of its steps."""
BLUR = {key: value for key, value in OFFICIAL.items() if key.startswith(("blur", "kernel", "sinc", "beta", "final"))}
"""What of it BasicSR reads in the section of the data set."""
DEGRADATION = {key: value for key, value in OFFICIAL.items() if key not in BLUR}

TRAINING = """\
{comment}{head}
{degradation}
datasets:
  train:
{data}\
    io_backend:
      type: lmdb
    use_hflip: true
    use_rot: {rot}
{loader}\

{validation}
{network}
{discriminator}\
path:
{path}\
  resume_state: ~

train:
  ema_decay: 0.999
  optim_g:
{adam}\
{optim_d}\
  scheduler:
{scheduler}\
  total_iter: {iterations}
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean
{losses}\

val:
  val_freq: {val_freq}
  save_img: false
{metrics}
logger:
  print_freq: 100
{checkpoints}\
  use_tb_logger: true
"""
SIZE = """\
gt_size: {gt_size} # LR patches of {lq_size}x{lq_size}
queue_size: {queue_size}{why}
"""
DFO = """\
    name: DFO
    type: RealESRGANDataset # ground truth alone: the model makes the LR
    # DIV2K, Flickr2K and OutdoorSceneTraining, in sub-images; made by:
    #   basicsr data sub-images FOLDER_OF_ALL datasets/DFO/HR_sub --size 480 --step 240
    #   basicsr data lmdb datasets/DFO/HR_sub datasets/DFO/DFO_HR_sub.lmdb
    dataroot_gt: datasets/DFO/DFO_HR_sub.lmdb
"""
LOADER = """\
    num_worker_per_gpu: {workers}
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: {ratio}
"""
VALIDATION = """\
  val:
    name: {name}
    type: DegradedImageDataset # each image always in the same way
    recipe: {recipe}
    dataroot_gt: {folder}
    io_backend:
      type: disk
"""
DISCRIMINATOR = """\
network_d:
  type: UNetDiscriminatorSN
  num_in_ch: 3
  num_feat: 64
  skip_connection: true

"""
ADAM = """\
    type: Adam
    lr: 1e-4
    weight_decay: 0
    betas: [0.9, 0.99]
"""
LOSSES = """\
  perceptual_opt:
    type: PerceptualLoss # its VGG19 is downloaded, or found in ~/.cache/torch/hub/checkpoints
    layer_weights: # before the activation
      conv1_2: 0.1
      conv2_2: 0.1
      conv3_4: 1
      conv4_4: 1
      conv5_4: 1
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt:
    type: GANLoss
    gan_type: vanilla
    real_label_val: 1.0
    fake_label_val: 0.0
    loss_weight: 0.1
  net_d_iters: 1
  net_d_init_iters: 0
"""
CONSTANT = """\
    type: MultiStepLR
    milestones: [{iterations}]
    gamma: 0.5
"""
PHOTO_DATA = """\
    name: light
    type: RealESRGANDataset # ground truth alone: the model makes the LR
    dataroot_gt: datasets/light/light_HR_sub.lmdb
    crop_pad_size: {around} # what is degraded, and the patch then cut out of
    use_channel_permutation: true # two hundred photographs do not show all the colours that others have
"""
USM = {
    "mse": {"gt_usm": True},
    "gan": {"l1_gt_usm": False, "percep_gt_usm": False, "gan_gt_usm": False},
    "gan_sharper": {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False},
}
"""Stage → whether losses compare with ground truth that was sharpened."""
WHAT = {
    "mse": "first stage: L1 alone.",
    "gan": "second stage, against a discriminator; the losses compare with the ground truth as it is.",
    "gan_sharper": "second stage, against a discriminator; L1 and perceptual loss compare with sharpened ground truth.",
}


def training(stage: str, scale: int) -> tuple[str, str]:
    """Name and text of a training of HAT; ``stage`` is one of `USM`."""
    name, is_gan = f"train_RealHAT_SRx{scale}_{stage}", stage != "mse"
    whose = "The settings are the official option file's" if scale == 4 else "The official settings for x4"
    comment = [f"HAT x{scale} for real-world images, {WHAT[stage]} {whose}."]
    if stage == "gan":
        comment.append(
            "The official option file is that of train_RealHAT_SRx4_gan_sharper.yml; of this variant its README says "
            "only that the ground truth is not sharpened."
        )
    comment += ["Start on 8 GPUs:", f"  basicsr train -opt {name}.yml --gpus 8"]
    iterations, before = (400_000, f"train_RealHAT_SRx{scale}_mse") if is_gan else (1_000_000, None)
    lines = [*USM[stage].items(), *DEGRADATION.items()]
    size = SIZE.format(gt_size=256, lq_size=256 // scale, queue_size=180, why=POOL)
    return name, TRAINING.format(
        comment=commented(comment),
        head=head(name, scale, GAN if is_gan else MSE),
        degradation="".join(f"{key}: {yaml_value(value)}\n" for key, value in lines) + size,
        data=DFO + "".join(f"    {key}: {yaml_value(value)}\n" for key, value in BLUR.items()),
        rot="false",
        loader=LOADER.format(workers=6, ratio=1),
        validation=degraded("Set14_degraded", "realesrgan", f"datasets/{BENCHMARKS['Set14']}/GTmod{scale}"),
        network=network(network_options("HAT", scale)),
        adam=ADAM,
        **second_stage(is_gan),
        path=starts_from(before),
        scheduler=CONSTANT.format(iterations=iterations),
        iterations=iterations,
        val_freq=5000,
        metrics=METRICS.format(scale=scale),
        checkpoints="  save_checkpoint_freq: 5000\n",
    )


def compact(name: str, stage: str, scale: int, what: str, recipe: str, before: str | None) -> tuple[str, str]:
    """Name and text of a training of the compact HAT that the model degrades images for.

    Args:
        name: of the file, without ``.yml``.
        stage: one of `USM`.
        scale: GT side / LR side.
        what: it is, for the comment.
        recipe: that degrades.
        before: run whose averaged weights it starts from; else it starts from the model in the package.
    """
    is_gan, patch = stage != "mse", 32
    comment = [what, *compact_models.DATA, "Start:", f"  basicsr train -opt {name}.yml"]
    usm = "".join(f"{key}: {yaml_value(value)}\n" for key, value in USM[stage].items())
    pool, why = (0, " # each image has its own degradation") if recipe == "photo" else (180, POOL)
    size = SIZE.format(gt_size=patch * scale, lq_size=patch, queue_size=pool, why=why)
    return name, TRAINING.format(
        comment=commented(comment),
        head=head(name, scale, GAN if is_gan else MSE),
        degradation=f"recipe: {recipe}\n{usm}{size}",
        data=PHOTO_DATA.format(around=(patch + 8) * scale),
        rot="true",
        loader=LOADER.format(workers=1, ratio=50),
        validation=degraded("held_out", recipe, "datasets/photos/val"),
        network=network(network_options("HAT-light", scale)),
        adam=ADAM,
        **second_stage(is_gan),
        path=starts_from(before, model=f"hat-light-x{scale}"),
        scheduler=CONSTANT.format(iterations=COMPACT_ITERATIONS),
        iterations=COMPACT_ITERATIONS,
        val_freq=500,
        metrics=(METRICS + PSNR_RGB).format(scale=scale),
        checkpoints="  save_checkpoint_freq: 500\n  keep_last: 3\n",
    )


def compact_stages(scale: int) -> Iterator[tuple[str, str]]:
    """Of the compact HAT: both stages by Real-ESRGAN's recipe, and the second one for photographs."""
    real, photos = f"train_hat_light_real_x{scale}", f"train_hat_light_photo_x{scale}"
    what = f"HAT-light x{scale} for real-world images, {{}}"
    yield compact(f"{real}_mse", "mse", scale, what.format(WHAT["mse"]), "realesrgan", None)
    yield compact(f"{real}_gan", "gan", scale, what.format(WHAT["gan"]), "realesrgan", f"{real}_mse")
    what = f"HAT-light x{scale} for photographs, second stage, against a discriminator: sharper, and less true."
    yield compact(f"{photos}_gan", "gan", scale, what, "photo", photos)


def photo(scale: int) -> tuple[str, str]:
    """Name and text of the first stage of a model for photographs, which is trained for PSNR."""
    name, iterations = f"train_hat_light_photo_x{scale}", PHOTO_ITERATIONS[scale]
    comment = [
        f"HAT-light x{scale} for photographs, trained for PSNR on mild degradations: the model "
        f"hat-light-photo-x{scale}.",
        *compact_models.DATA,
        "Start, also on a machine without GPU:",
        f"  basicsr train -opt {name}.yml",
    ]
    return name, compact_models.TRAINING.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=scale),
        data=compact_models.DEGRADED.format(recipe="photo") + "    dataroot_gt: datasets/light/light_HR_sub.lmdb\n",
        gt_size=f"{32 * scale} # LR patches of 32x32",
        held_out=compact_models.DEGRADED.format(recipe="photo"),
        workers=1,
        batch=compact_models.BATCH,
        network=network(network_options("HAT-light", scale)),
        path=starts_from(model=f"hat-light-x{scale}"),
        start="",
        lr="7e-4",
        scheduler=COSINE.format(iterations=iterations),
        iterations=iterations,
        warmup=compact_models.WARMUP,
        ema=0.99,
        val_freq=iterations // 2,
        spectral=compact_models.SPECTRAL,
        best="psnr",
        metrics=(METRICS + PSNR_RGB).format(scale=scale),
    )


def test(scale: int) -> tuple[str, str]:
    """Name and text of the file that tests HAT on degraded images, and on images of one's own."""
    name = f"test_RealHAT_SRx{scale}"
    weights, own = weights_of(f"train_RealHAT_SRx{scale}_gan"), "your own"
    if scale == 4:
        weights, own = "experiments/pretrained_models/Real_HAT_GAN_SRx4.pth", "of the official release, or your own"
    comment = [
        f"HAT x{scale} for real-world images: enlarges a folder of one's own, and measures what becomes of Set14, "
        "degraded by Real-ESRGAN's recipe. PSNR says little of a network that was trained against a discriminator.",
        f"Weights: {own}; sharper: train_RealHAT_SRx{scale}_gan_sharper.yml.",
        f"  basicsr test -opt {name}.yml",
    ]
    section = degraded("Set14_degraded", "realesrgan", f"datasets/{BENCHMARKS['Set14']}/GTmod{scale}")
    return name, TEST.format(
        comment=commented(comment),
        head=head(name, scale, GAN),
        datasets=OWN_IMAGES + "\n" + section.replace("  val:", "  test_2:"),
        network=network(network_options("HAT", scale)),
        weights=weights,
        val="  save_img: true\n  suffix: ~\n" + METRICS.format(scale=scale),
    )


def photo_test(scale: int) -> tuple[str, str]:
    """Name and text of the file that measures a model for photographs."""
    model = f"hat-light-photo-x{scale}"
    name = compact_models.file_of("test", model)
    comment = [
        f"Measures {model} on Set5 and Set14, reduced by bicubic, and on held-out photographs, reduced by bicubic and "
        f"mildly degraded: PSNR and SSIM of luma, PSNR of all colours, NIQE, {scale} border pixels left out. Its "
        f"numbers go into the model's card by: python experiments/models/evaluate.py {model}",
        f"  basicsr test -opt {name}.yml",
    ]
    section = degraded("held_out_degraded", "photo", "datasets/photos/val").replace("  val:", "\n  test_4:")
    return name, TEST.format(
        comment=commented(comment),
        head=HEAD.format(name=name, scale=scale),
        datasets=compact_models.datasets("test", ("Set5", "Set14"), scale) + compact_models.HELD_OUT + section,
        network=network(network_options("HAT-light", scale)),
        weights=model,
        val="  save_img: false\n" + (METRICS + PSNR_RGB + NIQE).format(scale=scale),
    )


def head(name: str, scale: int, model: str) -> str:
    """The first lines of a file for a model."""
    return HEAD.format(name=name, scale=scale).replace("HATModel", model)


def degraded(name: str, recipe: str, folder: str) -> str:
    """A section of images to validate on, which are degraded."""
    return VALIDATION.format(name=name, recipe=recipe, folder=folder)


def second_stage(is_gan: bool) -> dict[str, str]:
    """The sections of a discriminator; empty of a first stage."""
    if not is_gan:
        return dict.fromkeys(("discriminator", "optim_d", "losses"), "")
    return {"discriminator": DISCRIMINATOR, "optim_d": f"  optim_d:\n{ADAM}", "losses": LOSSES}


def files() -> Iterator[tuple[str, str]]:
    """Path below ``options/``, without ``.yml``, and text of each."""
    for scale in SCALES:
        for name, text in (*(training(stage, scale) for stage in USM), test(scale)):
            yield f"real_world/{name}", text
        for name, text in (photo(scale), photo_test(scale), *compact_stages(scale)):
            yield f"models/{name}", text
