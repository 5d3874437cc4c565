"""The papers' ablations: which runs each consists of, at the papers' budget or that of a demonstration."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from ..config import ConfigError, reading, shipped_options
from ..data.demo import make_demo
from ..data.images import DataError
from ..utils.files import write_file
from .networks import STUDIES, Options, variant_name
from .trials import Run, Trial

PRETRAINING = "pretraining"
NAMES = (*STUDIES, PRETRAINING)
DEMO_DATA = Path("datasets/demo")
DEMO_ITERATIONS, DEMO_SEEDS = 1000, 3
DEMO_NOTE = (
    "**A demonstration of the harness, no evidence for or against the paper's ordering**: compact variants of HAT, {} "
    "iterations each on six photographs, measured on two held-out photographs. The paper's networks have tens of "
    "millions of weights and were trained on DF2K for 250,000 iterations and more."
)
LATEST = "models/net_g_latest.pth"

FULL_PRETRAINING: dict[str, tuple[str, ...]] = {
    "none": ("train_HAT_SRx2", "train_HAT_SRx4_finetune_from_SRx2"),
    "same task": ("train_HAT_SRx4_ImageNet", "train_HAT_SRx4_finetune_from_ImageNet"),
    "multi-related-task": ("ablation_HAT_multi_task_SRx4_ImageNet", "ablation_HAT_multi_task_SRx4_finetune"),
}
"""Option files of the study of pre-training, in their order."""


@dataclass(frozen=True)
class Plan:
    """What a study trains, and where that goes."""

    study: str
    title: str
    out: Path
    """Folder of the table, the curves, and at the demo budget of all runs."""
    trials: list[Trial]
    demo: bool
    note: str
    """What the results are worth, for the report."""
    networks: dict[str, Options]
    """Variant → ``network_g`` of what counts."""

    @property
    def runs(self) -> list[Run]:
        """All runs, each once: variants may share one."""
        return [*{run.name: run for trial in self.trials for run in trial.stages}.values()]


def title(study: str) -> str:
    return "Pre-training strategy" if study == PRETRAINING else STUDIES[study].title


def option_files(study: str) -> dict[str, tuple[str, ...]]:
    """Variant → its option files at the papers' budget, without ``.yml``, in the order in which they are trained.

    A ×4 network starts from a ×2 network of its own kind. Equal networks of several studies share their runs, and the
    unchanged HAT shares those of the papers' main results.
    """
    if study == PRETRAINING:
        return FULL_PRETRAINING
    names = {variant: variant_name(changes) for variant, changes in STUDIES[study].variants.items()}
    return {
        variant: FULL_PRETRAINING["none"] if name == "HAT" else (f"ablation_{name}_SRx2", f"ablation_{name}_SRx4")
        for variant, name in names.items()
    }


def plan_full(study: str, out: Path, seeds: int = 1, iterations: int | None = None) -> Plan:
    """The papers' recipes, from the option files that come with the package. Runs go to ``./experiments``.

    Args:
        study: one of `NAMES`.
        out: folder for the table and for option files with another seed or length, whose runs have other names.
        seeds: number of seeds, beginning with that of the option files.
        iterations: of each stage, for a trial.
    """
    trials, networks = [], {}
    for variant, names in option_files(study).items():
        for seed in range(seeds):
            stages: list[Run] = []
            for name in names:
                file = shipped_options.named(name)
                options, _ = reading.read(file)
                suffix = f"_seed{seed}" * bool(seed) + f"_{iterations}_iterations" * bool(iterations)
                length = iterations or int(options["train"]["total_iter"])
                changed = _changed(options, name + suffix, seed, length, stages)
                stages.append(Run(name + suffix, _write(changed, out) if suffix else file, length, Path.cwd()))
            networks[variant] = changed["network_g"]
            trials.append(Trial(variant, seed, tuple(stages)))
    note = "The papers' main recipe; they state none for their ablations beyond ×4, DF2K and no ImageNet pre-training."
    if iterations:
        note = f"**A trial** of {iterations:,} iterations a stage, not to be compared with the papers' numbers."
    return Plan(study, title(study), out, trials, False, note, networks)


def plan_demo(study: str, out: Path, seeds: int = DEMO_SEEDS, iterations: int = DEMO_ITERATIONS) -> Plan:
    """A compact HAT on the demo's photographs; everything goes to ``out``. Arguments as of `plan_full`, but that
    ``iterations`` are those of all stages together.

    Raises:
        ConfigError: ``out`` holds runs with other options.
        DataError: there is a damaged ``datasets/demo``.
    """
    if not DEMO_DATA.is_dir():
        make_demo(DEMO_DATA)
    data = DEMO_DATA.resolve()
    if not all((data / part).exists() for part in ("train_GT.lmdb", "train_LRx4.lmdb", "val_GT", "val_LRx4")):
        raise DataError(f"{DEMO_DATA}: is not whole; delete it, and it is made anew")
    base = demo_options(data)
    variants = (
        _demo_pretraining(base)
        if study == PRETRAINING
        else {
            variant: [{**base, "name": variant_name(changes), "network_g": {**base["network_g"], **changes}}]
            for variant, changes in STUDIES[study].variants.items()
        }
    )
    trials = []
    for seed in range(seeds):
        for variant, stages in variants.items():
            runs: list[Run] = []
            for options in stages:
                length, name = max(1, iterations // len(stages)), f"{options['name']}_seed{seed}"
                changed = _changed(options, name, seed, length, runs)
                changed["train"]["scheduler"]["periods"] = [length]
                changed["val"]["val_freq"] = max(1, length // 4)
                changed["logger"]["save_checkpoint_freq"] = max(1, length // 10)
                changed["logger"]["print_freq"] = min(10, max(1, length // 4))
                runs.append(Run(name, _write(changed, out), length, out.resolve()))
            trials.append(Trial(variant, seed, tuple(runs)))
    note = DEMO_NOTE.format(f"{sum(run.iterations for run in trials[0].stages):,}")
    networks = {name: stages[-1]["network_g"] for name, stages in variants.items()}
    return Plan(study, title(study), out, trials, True, note, networks)


def demo_options(data: Path) -> Options:
    """Options of ``train_HAT_demo_SRx4.yml``, with data in this folder.

    The HAT is smaller still: the paper's, but for width and depth. Takes minutes a core. What the demo has beyond the
    paper's recipe is left out.
    """
    options, _ = reading.read(shipped_options.named("train_HAT_demo_SRx4"))
    train, val = options["datasets"]["train"], options["datasets"]["val"]
    train.update(dataroot_gt=str(data / "train_GT.lmdb"), dataroot_lq=str(data / "train_LRx4.lmdb"))
    train.update(num_worker_per_gpu=0, batch_size_per_gpu=1)  # a process and a thread for each run
    val.update(dataroot_gt=str(data / "val_GT"), dataroot_lq=str(data / "val_LRx4"))
    options["network_g"].update(img_size=64, window_size=16, embed_dim=24, num_heads=[2, 2], upsampler="pixelshuffle")
    options["path"].update(param_key_g="params_ema", strict_load_g=False)
    options["train"].update(precision="fp32", warmup_iter=-1)
    del (
        options["train"]["begin_as_interpolation"],
        train["use_channel_permutation"],
        options["val"]["metrics"]["psnr_rgb"],
    )
    options["logger"]["keep_last"] = 2
    return options


def _demo_pretraining(base: Options) -> dict[str, list[Options]]:
    """Pre-training and fine-tuning on the same photographs: there is nothing like ImageNet at hand."""
    images = {key: value for key, value in base["datasets"]["train"].items() if key != "dataroot_lq"}

    def pretraining(name: str, dataset: str, **changes: Any) -> Options:
        return {**base, "name": name, "datasets": {**base["datasets"], "train": {**images, "type": dataset}}, **changes}

    def finetuning(name: str) -> Options:
        train = copy.deepcopy(base["train"])
        train["optim_g"]["lr"] /= 4
        return {**base, "name": name, "train": train}

    multi = {"model_type": "MultiTaskHATModel", "network_g": {**base["network_g"], "type": "MultiTaskHAT"}}
    return {
        "none": [{**base, "name": "HAT"}],
        "same task": [pretraining("HAT_pretrain", "ImageNetPairedDataset"), finetuning("HAT_finetune")],
        "multi-related-task": [
            pretraining("HAT_multi_task_pretrain", "MultiScaleImageNetDataset", **multi),
            finetuning("HAT_multi_task_finetune"),
        ],
    }


def _changed(options: Options, name: str, seed: int, iterations: int, before: Sequence[Run]) -> Options:
    """Options of a run with this name, seed and length, which starts from the last of the runs before it."""
    changed = copy.deepcopy(options)
    changed["name"] = name
    changed["manual_seed"] += seed
    changed["train"]["total_iter"] = iterations
    if before:
        changed["path"]["pretrain_network_g"] = f"experiments/{before[-1].name}/{LATEST}"
    return changed


def _write(options: Options, out: Path) -> Path:
    """Writes an option file; one that is there must be the same.

    Raises:
        ConfigError: it is not.
    """
    file = out / "options" / f"{options['name']}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):  # two commands may have the same folder
        if not file.exists():
            write_file(file, yaml.safe_dump(options, sort_keys=False, allow_unicode=True).encode())
        elif reading.read(file)[0] != options:
            raise ConfigError(f"{file}: was trained with other settings; give another --out, or delete {out}")
    return file
