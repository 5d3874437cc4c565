"""Writes all option files but those of the demo: ``python options/generate.py``.

Each file is complete in itself, as BasicSR's are; one template keeps them alike. The networks are those of
`hat_arch.paper.networks`. The recipes' numbers are the official option files' (``hat_arch/paper/tables.yml``, section
``training``). Where these and the paper disagree (there, ``conflicts`` C4, C5, C6), a comment in the file says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import compact_models
import real_world
import restoration
from templates import (
    ALL,
    BENCHMARKS,
    IMAGENET_STORE,
    MULTI_SCALE_STORE,
    Schedule,
    Start,
    benchmark,
    training,
    weights_of,
    without_gt,
    yaml_value,
)

from hat_arch.paper.networks import HAT, STUDIES, network_options, variant_name
from hat_arch.paper.published import look_up

OPTIONS = Path(__file__).parent
SCALES = (2, 3, 4)
FAMILY = ("HAT-S", "HAT", "HAT-L")
COMPARED = {
    "SwinIR": (
        SCALES,
        "BasicSR's own option file for SwinIR differs in data (DIV2K) and patches (LR 48x48).",
    ),
    "RCAN": (
        SCALES,
        "RCAN's paper: DIV2K, batches of 16, LR patches of 48x48, Adam with betas [0.9, 0.999], lr 1e-4 halved every "
        "200,000 iterations.",
    ),
    "EDSR": (
        SCALES,
        "EDSR's paper: DIV2K, batches of 16, LR patches of 48x48, Adam with betas [0.9, 0.999], lr 1e-4 halved every "
        "200,000 iterations; x3 and x4 start from x2 weights.",
    ),
    "RRDBNet": (
        (4,),
        "The network of ESRGAN, here trained for PSNR. ESRGAN's paper: batches of 16, GT patches of 128x128, lr 2e-4 "
        "halved every 200,000 iterations.",
    ),
    "MSRResNet": (
        SCALES,
        "SRResNet without batch normalization, a small network of BasicSR's; its option file has batches of 16, GT "
        "patches of 128x128 and 1,000,000 iterations with cosine restarts, on DIV2K.",
    ),
}
"""Networks to compare with: their scales, and how others train them."""
PRETRAINED, FINETUNED, FROM_X2 = "_ImageNet", "_finetune_from_ImageNet", "_finetune_from_SRx2"
"""Ends of names: pre-trained on ImageNet; on DF2K after that; on DF2K from the ×2 network's weights."""


SCRATCH = Schedule("2e-4", 500_000, (250_000, 400_000, 450_000, 475_000))
IMAGENET = Schedule("2e-4", 800_000, (300_000, 500_000, 650_000, 700_000, 750_000))
AFTER_IMAGENET = Schedule("1e-5", 250_000, (125_000, 200_000, 225_000, 240_000))
AFTER_X2 = Schedule("1e-4", 250_000, (125_000, 200_000, 225_000, 240_000))


def files() -> dict[str, str]:
    """Path below ``options/`` → content of every option file."""
    made: dict[str, str] = {}
    for scale in SCALES:
        for network in FAMILY:
            made |= {f"{name}.yml": text for name, text in (*family(network, scale), *family_tests(network, scale))}
        for network in COMPARED:
            made |= {f"other_networks/{name}.yml": text for name, text in compared(network, scale)}
    made |= {f"{name}.yml": text for network in FAMILY for name, text in from_x2(network)}
    made |= {f"ablations/{name}.yml": text for name, text in ablations()}
    made |= {f"models/{name}.yml": text for name, text in compact_models.files()}
    made |= {f"{path}.yml": text for path, text in real_world.files()}
    made |= {f"restoration/{name}.yml": text for name, text in restoration.files()}
    return {**made, "test_HAT_SRx4_no_gt.yml": without_gt()}


# the files of each kind, as name and content


def family(network: str, scale: int) -> Iterator[tuple[str, str]]:
    """HAT-S, HAT or HAT-L: trained from scratch; pre-trained on ImageNet, and fine-tuned after that."""
    alone, pretrained = network != "HAT-L", network != "HAT-S"  # what the paper does with it
    net, what = network_options(network, scale), f"{network} x{scale}"
    run = f"train_{network}_SRx{scale}"

    whose = ("the recipe of x2 and x3." if scale == 4 else RECIPE) if alone else applied_to(network)
    comment = [f"{what}, trained from scratch on DF2K: {whose}"]
    if scale == 4 and alone:
        comment.append(f"The paper itself starts x4 from x2 weights, for half the iterations: {run}{FROM_X2}.yml.")
    yield run, training(run, net, scale, SCRATCH, comment)

    whose = RECIPE if pretrained else applied_to(network)
    comment = [
        f"{what}, pre-trained on ImageNet from scratch: {whose}",
        f"Then go on with {run}{FINETUNED}.yml.",
        "All images of the store are used: the list that the official file names, meta_info_ImageNet_GT.txt, is not "
        "published.",
    ]
    if pretrained:
        comment.append(f"The authors say: about {4 if network == 'HAT' else 8} days on 8 A100.")
    yield run + PRETRAINED, training(run + PRETRAINED, net, scale, IMAGENET, comment, data=IMAGENET_STORE)

    comment = [
        f"{what}, pre-trained on ImageNet, fine-tuned on DF2K: {whose}",
        "Milestones are those of the official option file; the paper prints [125000, 200000, 230000, 240000].",
    ]
    if pretrained:
        official = f"{network}_SRx{scale}_ImageNet-pretrain.pth"
        comment.append(f"The official {official} is what comes out of this, not what goes in.")
    yield run + FINETUNED, training(run + FINETUNED, net, scale, AFTER_IMAGENET, comment, Start(run + PRETRAINED))


def from_x2(network: str) -> Iterator[tuple[str, str]]:
    """HAT-S, HAT or HAT-L ×4, from the weights of ×2."""
    alone = network != "HAT-L"
    whose = RECIPE if alone else applied_to(network)
    comment = [
        f"{network} x4, trained on DF2K from x2 weights, for half the iterations: {whose}",
        "lr and milestones are those of the official option file. The paper says only that iterations are halved, "
        "which would give milestones [125000, 200000, 225000, 237500], and prints no lr.",
    ]
    if network == "HAT-S":
        comment.append("The official file has no param_key_g, and so takes params; this takes the EMA, as HAT's does.")
    if network == "HAT":
        comment.append("The official strict_load_g: true cannot load x2 weights: x4 has layers that x2 lacks.")
    if alone:
        official = f"experiments/pretrained_models/{network}_SRx2.pth"
        comment.append(f"Instead of weights of your own: the official {official}.")
    run = f"train_{network}_SRx4{FROM_X2}"
    start = Start(f"train_{network}_SRx2", "x4 has layers that x2 lacks")
    yield run, training(run, network_options(network, 4), 4, AFTER_X2, comment, start)


def applied_to(network: str) -> str:
    """What a comment says of a training that the paper does not have."""
    return f"HAT's recipe applied to {network}. The paper has no such training."


def family_tests(network: str, scale: int) -> Iterator[tuple[str, str]]:
    """Tests of HAT-S, HAT or HAT-L, without and with ImageNet pre-training."""
    run = f"train_{network}_SRx{scale}"
    for suffix, row, last in (
        ("", network, FROM_X2 if scale == 4 else ""),
        (PRETRAINED, f"{network}_dagger", FINETUNED),
    ):
        name = f"test_{network}_SRx{scale}{suffix}"
        measures = f"{network} x{scale}{' with ImageNet pre-training' if suffix else ''}"
        scores = published(row, scale)
        weights = own = weights_of(run + last)
        comment = ["The paper has no such row, and there are no official weights."]
        if scores is not None:
            official = f"{network}_SRx{scale}{suffix and '_ImageNet-pretrain'}.pth"
            weights = f"experiments/pretrained_models/{official}"
            comment = [
                f"Weights: {official} of the official release, or instead of them your own:",
                f"  {own}",
            ]
        yield name, benchmark(name, measures, network_options(network, scale), scale, weights, comment, scores)


def published(row: str, scale: int) -> dict[str, tuple[float, float]] | None:
    """Data set → PSNR and SSIM of a row of the paper's main table, if they were read in it."""
    scores = look_up(f"main_table/x{scale}/{row}")
    return dict(zip(BENCHMARKS, scores)) if scores else None


def compared(network: str, scale: int) -> Iterator[tuple[str, str]]:
    """Training and test of a network to compare with: HAT's, but for name, ``network_g`` and weights."""
    scales, theirs = COMPARED[network]
    if scale not in scales:
        return
    run, name, net = f"train_{network}_SRx{scale}", f"test_{network}_SRx{scale}", network_options(network, scale)
    recipe = f"{network} x{scale} by HAT's recipe: train_HAT_SRx{scale}.yml with another name and network_g."
    yield run, training(run, net, scale, SCRATCH, [recipe, theirs])
    comment = [f"Weights: those that {run}.yml leaves."]
    scores = published(network, scale)
    yield name, benchmark(name, f"{network} x{scale}", net, scale, weights_of(run), comment, scores)


RECIPE = "the paper's recipe."
ABLATION = (
    "The papers say of their ablations: x4, DF2K, no ImageNet pre-training. This is the recipe of their main results; "
    "that the ablations have it too is a reading. There x4 starts from x2 weights of the same network, for half the "
    "iterations; its lr of 1e-4 and the last milestone are those of the official option file, not printed in the "
    "papers."
)
CAB_ALONE = (
    "The authors' own network of \"CAB without OCAB\" (LAM_Demo) has compress_ratio 6; the papers' default, here, is 3."
)
MULTI_TASK = (
    "HAT pre-trained on x2, x3 and x4 together (multi-related-task, after EDT): one head and one tail for each scale "
    'around a shared body. The papers say: full ImageNet, and "the same training settings as" EDT. Read here: the '
    "schedule of HAT's own ImageNet pre-training, the scales in one batch, their losses weighted alike, LR patches of "
    "64x64 for each."
)


def ablations() -> Iterator[tuple[str, str]]:
    """What ``basicsr paper ablate --budget full`` trains: ×2, and ×4 from it, of each variant of HAT."""
    variants = {variant_name(changes): changes for study in STUDIES.values() for changes in study.variants.values()}
    for variant, changes in sorted(variants.items()):
        if variant == "HAT":  # the main results
            continue
        studies = [name for name, study in STUDIES.items() if variant in map(variant_name, study.variants.values())]
        what = ", ".join(f"{key}: {yaml_value(value)}" for key, value in changes.items() if HAT.get(key, True) != value)
        comment = [f"Ablation: HAT with {what}. Of the studies: {', '.join(studies)}.", ABLATION]
        comment += [CAB_ALONE] if variant == "HAT_no_ocab" else []
        comment += [f"Studies, with all their runs: basicsr paper ablate {studies[0]} --budget full"]
        x2, x4 = f"ablation_{variant}_SRx2", f"ablation_{variant}_SRx4"
        yield x2, training(x2, {**network_options("HAT", 2), **changes}, 2, SCRATCH, comment)
        start = Start(x2, "x4 has layers that x2 lacks")
        yield x4, training(x4, {**HAT, **changes}, 4, AFTER_X2, comment, start, validation=ALL)

    before, after = "ablation_HAT_multi_task_SRx4_ImageNet", "ablation_HAT_multi_task_SRx4_finetune"
    net = {"type": "MultiTaskHAT", "scales": [2, 3, 4], **{key: value for key, value in HAT.items() if key != "type"}}
    text = training(before, net, 4, IMAGENET, [MULTI_TASK], data=MULTI_SCALE_STORE, validation=ALL)
    yield before, text.replace("model_type: HATModel", "model_type: MultiTaskHATModel")
    start = Start(before, "heads and tails of x2 and x3 are left behind")
    comment = ["Fine-tuning on DF2K; heads and tails of x2 and x3 are left behind.", MULTI_TASK]
    yield after, training(after, HAT, 4, AFTER_IMAGENET, comment, start, validation=ALL)


if __name__ == "__main__":
    made = files()
    for path, text in made.items():
        (OPTIONS / path).write_text(text, encoding="utf-8")
    print(f"{OPTIONS}: {len(made)} option files")
