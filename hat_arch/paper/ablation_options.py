"""The option files of the ablations at the papers' budget: ``python -m hat_arch.paper.ablation_options`` writes them.

They are the files of the main recipe with what a study changes, so that nothing else can differ.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..config import reading as config
from ..data.benchmark_sets import BENCHMARK_SETS
from .ablation import LATEST, OPTION_FILES
from .networks import HAT, STUDIES, Options, variant_name

_BENCHMARKS = {one.name: one.folder for one in BENCHMARK_SETS}
"""Name → folder."""

_RECIPE = """\
The papers say of their ablations: x4, DF2K, no ImageNet pre-training. This is the recipe of their main results; that
the ablations have it too is a reading. There x4 starts from x2 weights of the same network, for half the iterations;
its lr of 1e-4 and the last milestone are those of the official option file, not printed in the papers."""
_CAB_ALONE = """
The authors' own network of "CAB without OCAB" (LAM_Demo) has compress_ratio 6; the papers' default, here, is 3."""
_MULTI_TASK = """\
HAT pre-trained on x2, x3 and x4 together (multi-related-task, after EDT): one head and one tail for each scale around a
shared body. The papers say: full ImageNet, and "the same training settings as" EDT. Read here: the schedule of HAT's
own ImageNet pre-training, the scales in one batch, their losses weighted alike, LR patches of 64x64 for each."""


def files() -> Iterator[tuple[str, str]]:
    """Name and text of every option file of the ablations that is not one of the main recipe."""
    networks = {variant_name(changes): changes for study in STUDIES.values() for changes in study.variants.values()}
    for name, changes in sorted(networks.items()):
        if name != "HAT":
            yield _stage(name, changes, 2)
            yield _stage(name, changes, 4)
    yield _pretraining()
    yield _finetuning()


def _stage(name: str, changes: Options, scale: int) -> tuple[str, str]:
    options = _base(f"ablation_{name}_SRx{scale}", scale)
    options["network_g"].update(changes)
    if scale == 4:
        _start_from(options, f"ablation_{name}_SRx2")
        _shorten(options, 1e-4)
    what = ", ".join(f"{key}: {str(value).lower()}" for key, value in changes.items() if HAT.get(key, True) != value)
    of = [f"{study}" for study, one in STUDIES.items() if name in map(variant_name, one.variants.values())]
    comment = f"Ablation: HAT with {what}. Of the studies: {', '.join(of)}.\n{_RECIPE}"
    comment += _CAB_ALONE if name == "HAT_no_ocab" else ""
    return render(options, f"{comment}\nStudies, with all their runs: basicsr paper ablate {of[0]} --budget full")


def _pretraining() -> tuple[str, str]:
    options = _base("ablation_HAT_multi_task_SRx4_ImageNet", 4)
    options["model_type"] = "MultiTaskHATModel"
    train = options["datasets"]["train"]
    del train["dataroot_lq"]
    train.update(name="ImageNet", type="MultiScaleImageNetDataset", scales=[2, 3, 4])
    train["dataroot_gt"] = "datasets/ImageNet/GT.lmdb"
    options["network_g"] = {"type": "MultiTaskHAT", "scales": [2, 3, 4]} | {
        key: value for key, value in HAT.items() if key != "type"
    }
    options["train"]["total_iter"] = 800_000
    options["train"]["scheduler"]["milestones"] = [300_000, 500_000, 650_000, 700_000, 750_000]
    return render(options, _MULTI_TASK)


def _finetuning() -> tuple[str, str]:
    options = _base("ablation_HAT_multi_task_SRx4_finetune", 4)
    _start_from(options, "ablation_HAT_multi_task_SRx4_ImageNet")
    _shorten(options, 1e-5)
    return render(options, f"Fine-tuning on DF2K; heads and tails of x2 and x3 are left behind.\n{_MULTI_TASK}")


def _base(name: str, scale: int) -> Options:
    """The main recipe from scratch, validated at x4 on all five benchmarks."""
    options: dict[str, Any] = copy.deepcopy(config.read(OPTION_FILES / f"train_HAT_SRx{scale}.yml")[0])
    options["name"] = name
    if scale == 4:
        template = options["datasets"].pop("val_1")
        options["datasets"] = {"train": options["datasets"]["train"]}
        for n, (benchmark, folder) in enumerate(_BENCHMARKS.items(), 1):
            roots = {"dataroot_gt": f"datasets/{folder}/GTmod4", "dataroot_lq": f"datasets/{folder}/LRbicx4"}
            options["datasets"][f"val_{n}"] = {**template, "name": benchmark, **roots}
        options["val"]["val_freq"] = 10_000
    return options


def _start_from(options: Options, run: str) -> None:
    options["path"].update(
        pretrain_network_g=f"experiments/{run}/{LATEST}", param_key_g="params_ema", strict_load_g=False
    )


def _shorten(options: Options, lr: float) -> None:
    train = options["train"]
    train["optim_g"]["lr"] = lr
    train["scheduler"]["milestones"] = [125_000, 200_000, 225_000, 240_000]
    train["total_iter"] = 250_000


class _Dumper(yaml.SafeDumper):
    """Lists in one line, None as ~."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(list, lambda d, data: d.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))
_Dumper.add_representer(type(None), lambda d, _: d.represent_scalar("tag:yaml.org,2002:null", "~"))


def render(options: Options, comment: str) -> tuple[str, str]:
    """Name and text of an option file."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    body = yaml.dump(options, Dumper=_Dumper, sort_keys=False, width=120)
    return f"{options['name']}.yml", head + re.sub(r"^(?=\w+:$)", "\n", body, flags=re.MULTILINE)


if __name__ == "__main__":
    for file, text in files():
        Path(OPTION_FILES, file).write_text(text, encoding="utf-8")
