"""Writes the option files of the papers' recipes: ``python -m hat_arch.paper.option_files [FOLDER]``.

Each is complete in itself, as BasicSR's are; this keeps them alike.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.benchmark_sets import BENCHMARK_SETS
from ..data.folders import write_file
from .networks import Options, network_options
from .published import paper_data
from .recipes import (
    BATCH_PER_GPU,
    COMPARED,
    FAMILY,
    GPUS,
    LR_PATCH,
    Recipe,
    Stage,
    of_the_paper,
    recipe,
    run_name,
    stages,
    weights_of,
)

SCALES = (2, 3, 4)
BENCHMARKS = {one.name: one.folder for one in BENCHMARK_SETS}
"""Data set, as the paper names it → its folder below ``datasets/``."""

_WHAT: dict[Stage, str] = {
    "scratch": "trained from scratch on DF2K",
    "imagenet": "pre-trained on ImageNet from scratch",
    "finetune": "pre-trained on ImageNet, fine-tuned on DF2K",
    "from_x2": "trained on DF2K from x2 weights, for half the iterations",
}
_OF_OTHERS = {
    "SwinIR": "BasicSR's own option file for SwinIR differs in data (DIV2K) and patches (LR 48x48).",
    "RCAN": "RCAN's paper: DIV2K, batches of 16, LR patches of 48x48, Adam with betas [0.9, 0.999], lr 1e-4 halved "
    "every 200,000 iterations.",
    "EDSR": "EDSR's paper: DIV2K, batches of 16, LR patches of 48x48, Adam with betas [0.9, 0.999], lr 1e-4 halved "
    "every 200,000 iterations; x3 and x4 start from x2 weights.",
    "RRDBNet": "The network of ESRGAN, here trained for PSNR. ESRGAN's paper: batches of 16, GT patches of 128x128, "
    "lr 2e-4 halved every 200,000 iterations.",
    "MSRResNet": "SRResNet without batch normalization, a small network of BasicSR's; its option file has batches of "
    "16, GT patches of 128x128 and 1,000,000 iterations with cosine restarts, on DIV2K.",
}


def option_files() -> dict[str, str]:
    """Name → content of every option file of the papers' recipes."""
    files: dict[str, str] = {}
    for scale in SCALES:
        for network in FAMILY:
            for stage in stages(scale):
                name = run_name(network, scale, stage)
                comment = _family_comment(network, scale, stage)
                files[name] = render_training(
                    name, network_options(network, scale), recipe(network, scale, stage), comment
                )
            files |= _family_tests(network, scale)
        for network in (name for name, scales in COMPARED.items() if scale in scales):
            files |= _compared(network, scale)
    files["test_HAT_SRx4_no_gt"] = _without_gt()
    return {f"{name}.yml": text for name, text in files.items()}


def render_training(name: str, network_g: Options, how: Recipe, comment: Sequence[str]) -> str:
    """A training option file.

    Args:
        name: of the run; the file is expected to be ``options/NAME.yml``.
        network_g: the network, as `hat_arch.paper.networks` gives it.
        how: data, scale, schedule, weights to start from.
        comment: paragraphs for the top of the file; how to start it is added.
    """
    shared = paper_data()["training"]["shared"]
    adam, steps = shared["optimizer"], shared["scheduler"]
    batch = GPUS * how.batch_per_gpu
    starting = [
        f"Start on {GPUS} GPUs, {how.batch_per_gpu} images each (the paper's batch of {BATCH_PER_GPU * GPUS}):",
        f"  basicsr train -opt options/{name}.yml --gpus {GPUS}",
        f"or on one, the same batch in {GPUS} parts:",
        f"  basicsr train -opt options/{name}.yml --force_yml datasets:train:batch_size_per_gpu={batch} "
        f"train:accumulate={GPUS}",
    ]
    sections = [
        f"{_comment([*comment, *starting])}{_head(name, how.scale)}",
        "datasets:\n" + "\n\n".join([_training_set(how), *_validation_sets("val", ("Set5", "Set14"), how.scale)]),
        _network(network_g),
        _path(how),
        f"""\
train:
  ema_decay: {shared["ema_decay"]}
  optim_g:
    type: {adam["type"]}
    lr: {yaml_value(how.lr)}
    weight_decay: {adam["weight_decay"]}
    betas: {yaml_value(adam["betas"])}
  scheduler:
    type: {steps["type"]}
    milestones: {yaml_value(how.milestones)}
    gamma: {steps["gamma"]}
  total_iter: {how.iterations}
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: {shared["loss"]["weight"]}
    reduction: {shared["loss"]["reduction"]}""",
        f"val:\n  val_freq: 5000\n  save_img: false\n{_metrics(how.scale)}",
        "logger:\n  print_freq: 100\n  save_checkpoint_freq: 5000\n  use_tb_logger: true",
    ]
    return "\n\n".join(sections) + "\n"


def render_test(name: str, network_g: Options, scale: int, weights: str, comment: Sequence[str]) -> str:
    """A test option file for the five benchmark sets; arguments as for `render_training`.

    Args:
        weights: file of EMA weights.
    """
    sections = [
        f"{_comment([*comment, f'  basicsr test -opt options/{name}.yml'])}{_head(name, scale)}",
        "datasets:\n" + "\n\n".join(_validation_sets("test", BENCHMARKS, scale)),
        _network(network_g),
        _weights(weights),
        "val:\n  save_img: true\n  suffix: ~ # the saved images are named IMAGE_NAME.png, after the name above\n"
        + _metrics(scale),
    ]
    return "\n\n".join(sections) + "\n"


def yaml_value(value: Any) -> str:
    """A value as a person would write it in YAML."""
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return str(value)


# the parts of a file


def _comment(paragraphs: Sequence[str]) -> str:
    """Paragraphs as comment lines; those that begin with spaces, commands, are not wrapped."""
    lines = []
    for paragraph in paragraphs:
        is_command = paragraph.startswith(" ")
        lines += [paragraph] if is_command else textwrap.wrap(paragraph, 116, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _head(name: str, scale: int) -> str:
    return f"name: {name}\nmodel_type: HATModel\nscale: {scale}\nnum_gpu: auto\nmanual_seed: 0"


def _training_set(how: Recipe) -> str:
    if how.data == "ImageNet":
        source = """\
    type: ImageNetPairedDataset # makes the LR while it trains
    # made by: basicsr data prepare imagenet FOLDER_OF_ILSVRC2012_TRAIN --skip_bad
    dataroot_gt: datasets/ImageNet/GT.lmdb"""
    else:
        source = f"""\
    type: SeededPairedDataset
    # made by: basicsr data prepare df2k FOLDER_OF_DIV2K_AND_FLICKR2K
    dataroot_gt: datasets/DF2K/DF2K_HR_sub.lmdb
    dataroot_lq: datasets/DF2K/DF2K_bicx{how.scale}_sub.lmdb"""
    return f"""\
  train:
    name: {how.data}
{source}
    io_backend:
      type: lmdb
    gt_size: {how.gt_size} # LR patches of {LR_PATCH}x{LR_PATCH}
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: {how.batch_per_gpu}
    dataset_enlarge_ratio: 1
    prefetch_mode: ~"""


def _validation_sets(phase: str, names: Sequence[str] | dict[str, str], scale: int) -> list[str]:
    return [
        f"""\
  {phase}_{number}:
    name: {name}
    type: SeededPairedDataset
    dataroot_gt: datasets/{BENCHMARKS[name]}/GTmod{scale}
    dataroot_lq: datasets/{BENCHMARKS[name]}/LRbicx{scale}
    io_backend:
      type: disk"""
        for number, name in enumerate(names, 1)
    ]


def _network(network_g: Options) -> str:
    return "\n".join(["network_g:", *(f"  {key}: {yaml_value(value)}" for key, value in network_g.items())])


def _path(how: Recipe) -> str:
    if how.start is None:
        return "path:\n  pretrain_network_g: ~\n  strict_load_g: true\n  resume_state: ~"
    reason = "" if how.start.strict else " # x4 has layers that x2 lacks"
    return f"""\
path:
  # left by: basicsr train -opt options/{how.start.run}.yml
  pretrain_network_g: {how.start.file}
  param_key_g: params_ema
  strict_load_g: {yaml_value(how.start.strict)}{reason}
  resume_state: ~"""


def _weights(file: str) -> str:
    return f"path:\n  pretrain_network_g: {file}\n  strict_load_g: true\n  param_key_g: params_ema"


def _metrics(scale: int) -> str:
    metrics = (
        f"    {name}:\n      type: calculate_{name}\n      crop_border: {scale}\n      test_y_channel: true"
        for name in ("psnr", "ssim")
    )
    return "\n".join(["  metrics:", *metrics])


# what the files say of themselves


def _family_comment(network: str, scale: int, stage: Stage) -> list[str]:
    theirs = of_the_paper(network, stage)
    if not theirs:
        whose = f"HAT's recipe applied to {network}. The paper has no such training."
    elif (scale, stage) == (4, "scratch"):
        whose = "the recipe of x2 and x3."
    else:
        whose = "the paper's recipe."
    notes = {"scratch": _scratch, "imagenet": _imagenet, "finetune": _finetune, "from_x2": _from_x2}[stage]
    return [f"{network} x{scale}, {_WHAT[stage]}: {whose}", *notes(network, scale, theirs)]


def _scratch(network: str, scale: int, theirs: bool) -> list[str]:
    if scale != 4 or not theirs:
        return []
    instead = run_name(network, 4, "from_x2")
    return [f"The paper itself starts x4 from x2 weights, for half the iterations: {instead}.yml."]


def _imagenet(network: str, scale: int, theirs: bool) -> list[str]:
    return [
        f"Then go on with {run_name(network, scale, 'finetune')}.yml.",
        "All images of the store are used: the list that the official file names, meta_info_ImageNet_GT.txt, is not "
        "published.",
        *([f"The authors say: about {4 if network == 'HAT' else 8} days on 8 A100."] if theirs else []),
    ]


def _finetune(network: str, scale: int, theirs: bool) -> list[str]:
    comment = [
        "Milestones are those of the official option file; the paper prints [125000, 200000, 230000, 240000].",
    ]
    if theirs:
        official = f"{network}_SRx{scale}_ImageNet-pretrain.pth"
        comment.append(f"The official {official} is what comes out of this, not what goes in.")
    return comment


def _from_x2(network: str, scale: int, theirs: bool) -> list[str]:
    del scale
    comment = [
        "lr and milestones are those of the official option file. The paper says only that iterations are halved, "
        "which would give milestones [125000, 200000, 225000, 237500], and prints no lr.",
    ]
    if network == "HAT-S":
        comment.append("The official file has no param_key_g, and so takes params; this takes the EMA, as HAT's does.")
    if network == "HAT":
        comment.append("The official strict_load_g: true cannot load x2 weights: x4 has layers that x2 lacks.")
    if theirs:
        official = f"experiments/pretrained_models/{network}_SRx2.pth"
        comment.append(f"Instead of weights of your own: the official {official}.")
    return comment


def _family_tests(network: str, scale: int) -> dict[str, str]:
    """The test files of HAT-S, HAT or HAT-L: with and without ImageNet pre-training."""
    files = {}
    for suffix, dagger in (("", ""), ("_ImageNet", "_dagger")):
        row = paper_data()["main_table"][f"x{scale}"].get(f"{network}{dagger}")
        last: Stage = "finetune" if dagger else "from_x2" if scale == 4 else "scratch"
        own = weights_of(run_name(network, scale, last))
        if row is not None:
            official = f"{network}_SRx{scale}{suffix and '_ImageNet-pretrain'}.pth"
            weights = f"experiments/pretrained_models/{official}"
            comment = [
                f"Weights: {official} of the official release, or instead of them your own:",
                f"  {own}",
                f"The paper: {'; '.join(_cell(name, cell) for name, cell in zip(BENCHMARKS, row))}.",
            ]
        else:
            weights, comment = own, ["The paper has no such row, and there are no official weights."]
        name = f"test_{network}_SRx{scale}{suffix}"
        how = " with ImageNet pre-training" if dagger else ""
        comment = [_measures(f"{network} x{scale}{how}", scale), *comment]
        files[name] = render_test(name, network_options(network, scale), scale, weights, comment)
    return files


def _cell(name: str, cell: Sequence[float]) -> str:
    return f"{name} {cell[0]:.2f}/{cell[1]:.4f}"


def _measures(what: str, scale: int) -> str:
    return (
        f"Measures {what} on the paper's five benchmark sets: PSNR and SSIM on the Y channel, {scale} border pixels "
        "left out."
    )


def _compared(network: str, scale: int) -> dict[str, str]:
    """Training and test files of a network to compare with: those of HAT, but for name and ``network_g``."""
    net, run = network_options(network, scale), run_name(network, scale)
    test = f"test_{network}_SRx{scale}"
    return {
        run: render_training(
            run,
            net,
            recipe("HAT", scale),
            [
                f"{network} x{scale} by HAT's recipe: {run_name('HAT', scale)}.yml with another name and network_g.",
                _OF_OTHERS[network],
            ],
        ),
        test: render_test(
            test,
            net,
            scale,
            weights_of(run),
            [_measures(f"{network} x{scale}", scale), f"Weights: those that {run}.yml leaves."],
        ),
    }


def _without_gt() -> str:
    name, scale = "test_HAT_SRx4_no_gt", 4
    comment = [
        "Upscales all images of a folder by HAT x4, to results/test_HAT_SRx4_no_gt/visualization/. Without ground "
        "truth nothing is measured.",
        f"  basicsr test -opt options/{name}.yml",
    ]
    sections = [
        _comment(comment) + _head(name, scale),
        """\
datasets:
  test_1:
    name: mine
    type: SingleImageDataset
    dataroot_lq: datasets/mine/LR # a folder of images and nothing else
    io_backend:
      type: disk""",
        _network(network_options("HAT", scale)),
        _weights("experiments/pretrained_models/HAT_SRx4.pth"),
        "val:\n  save_img: true\n  suffix: ~",
    ]
    return "\n\n".join(sections) + "\n"


def write_all(folder: Path) -> int:
    """Writes all files into a folder; returns their number."""
    files = option_files()
    for name, text in files.items():
        write_file(folder / name, text.encode())
    return len(files)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "options")
    print(f"{target}: {write_all(target)} option files")
