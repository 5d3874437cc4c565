"""The papers' tables: which rows and columns each has, where its numbers stand, and which weights fill our side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .ablation import LATEST, PRETRAINING, option_files
from .facts import conflict, facts, look_up
from .networks import NETWORKS, STUDIES, Options, at_scale

SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")
SCALES = (2, 3, 4)
BICUBIC = "Bicubic"
NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "dists": "DISTS", "niqe": "NIQE"}
DIGITS = {"psnr": 2, "ssim": 4, "lpips": 3, "dists": 3, "niqe": 2}
"""Digits after the point, as the papers print them."""

EXPERIMENTS = Path("experiments")
PRETRAINED = EXPERIMENTS / "pretrained_models"

Scores = dict[str, dict[str, float]]
"""Set → metric → value."""


@dataclass(frozen=True)
class Row:
    """A method of a table."""

    label: str
    paper: str = ""
    """Place of the paper's numbers in ``tables.yml``, with ``{scale}``; empty: none."""
    network: Options | None = None
    """Its ``network_g``; None: none in the registry."""
    files: Mapping[int, str] = field(default_factory=dict)
    """Scale → name of the released weights."""
    runs: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Scale → runs of our option files that train it."""

    def weights(self, scale: int, folder: Path | None = None) -> list[Path]:
        """Where its weights are looked for, the first first.

        Args:
            scale: of the table.
            folder: holds released weights and runs; by default ``experiments/pretrained_models`` and ``experiments``.
        """
        released = [(folder or PRETRAINED) / self.files[scale]] if scale in self.files else []
        return released + [(folder or EXPERIMENTS) / run / LATEST for run in self.runs.get(scale, ())]

    def options(self, scale: int) -> Options:
        """Its ``network_g`` at a scale."""
        assert self.network is not None
        return at_scale(self.network, scale)


@dataclass(frozen=True)
class Table:
    """A table of the papers. Our side has a row for bicubic besides."""

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    sets: tuple[str, ...] = SETS
    """Those that the paper prints; ours are measured on all of `SETS` that there are, if these are of them."""
    scales: tuple[int, ...] = (4,)
    metrics: tuple[str, ...] = ("psnr", "ssim")
    notes: tuple[str, ...] = ()
    lr_folder: str = "LRbicx{scale}"
    bicubic_lr: bool = True
    """Whether LR images are MATLAB's bicubic, and can be made."""

    @property
    def all_sets(self) -> tuple[str, ...]:
        return SETS if set(self.sets) <= set(SETS) else self.sets

    def paper(self, row: Row, scale: int) -> Scores:
        """The verified numbers that the paper prints for a row."""
        found = look_up(row.paper.format(scale=scale)) if row.paper else None
        if found is None:
            return {}
        if not isinstance(found, list):
            found = [found]
        cells = found if isinstance(found[0], list) else [found]
        return {
            name: {metric: value for metric, value in zip(self.metrics, cell) if value is not None}
            for name, cell in zip(self.sets, cells)
        }


def _readable(note: str) -> str:
    return f"{note.replace('_dagger', '†').rstrip('.')}."


def _conflict(number: int) -> str:
    return _readable(conflict(number))


def _each(name: str, scales: tuple[int, ...] = SCALES) -> dict[int, str]:
    return {scale: name.format(scale) for scale in scales}


_EDSR = {2: "be38e77d", 3: "3660f70d", 4: "76ee1c8f"}
_FILES: dict[str, dict[int, str]] = {
    "EDSR": {scale: f"EDSR_Lx{scale}_f256b32_DIV2K_official-{end}.pth" for scale, end in _EDSR.items()},
    "RCAN": _each("RCAN_BIX{}-official.pth"),
    "RRDB": {4: "ESRGAN_PSNR_SRx4_DF2K_official-150ff491.pth"},
    "SwinIR": _each("001_classicalSR_DF2K_s64w8_SwinIR-M_x{}.pth"),
    "HAT-S": _each("HAT-S_SRx{}.pth"),
    "HAT": _each("HAT_SRx{}.pth"),
    "HAT_dagger": _each("HAT_SRx{}_ImageNet-pretrain.pth"),
    "HAT-L_dagger": _each("HAT-L_SRx{}_ImageNet-pretrain.pth"),
}
"""Weights as their authors, and BasicSR, released them."""
_TYPES = {"RRDB": "RRDBNet", "HAT_dagger": "HAT", "HAT-L_dagger": "HAT-L"}


def _runs(key: str) -> dict[int, tuple[str, ...]]:
    """Scale → runs that train a network of the main table, by the names of the files in ``options/``."""
    network = _TYPES.get(key, key)
    if network not in NETWORKS:
        return {}
    if key.endswith("_dagger"):
        return {scale: (f"train_{network}_SRx{scale}_finetune_from_ImageNet",) for scale in SCALES}
    runs: dict[int, tuple[str, ...]] = {scale: (f"train_{network}_SRx{scale}",) for scale in SCALES}
    if network.startswith("HAT"):
        runs[4] = (f"train_{network}_SRx4_finetune_from_SRx2", *runs[4])
    return runs


def _main() -> Table:
    rows = []
    for key in facts()["main_table"]["x4"]:
        network = NETWORKS.get(_TYPES.get(key, key))
        label = key.replace("_dagger", "†")
        rows.append(Row(label, f"main_table/x{{scale}}/{key}", network, _FILES.get(key, {}), _runs(key)))
    return Table(
        "main",
        "Classical super-resolution",
        "CVPR 2023, Table 6",
        tuple(rows),
        scales=SCALES,
        notes=("† pre-trained on ImageNet.", *(_conflict(number) for number in (1, 2, 9))),
    )


_PAPER_OF_VARIANT = {
    "window": {f"window {m}": f"ablations/window_size/w{m}/psnr_ssim" for m in (8, 16)},
    "ocab_cab": {
        variant: f"ablations/ocab_cab/{key}"
        for variant, key in {"neither": "baseline", "OCAB": "ocab", "CAB": "cab", "both": "both"}.items()
    },
    "overlap": {
        f"γ = {ratio}": f"ablations/overlap_ratio_gamma/values/{ratio}" for ratio in ("0", "0.25", "0.5", "0.75")
    },
    "cab_weight": {f"α = {alpha}": f"ablations/cab_weight_alpha/values/{alpha}" for alpha in ("0", "1", "0.1", "0.01")},
    "cab_size": {
        **{f"β = {beta}": f"ablations/cab_size_beta/rows/{beta}/psnr" for beta in (1, 2, 3, 6)},
        "no CAB": "ablations/cab_size_beta/rows/none/psnr",
    },
    "channel_attention": {
        "without": "ablations/channel_attention/without_CA/psnr",
        "with": "ablations/channel_attention/with_CA/psnr",
    },
}
"""Study → variant → place of the paper's numbers, which are printed once they are verified."""
_SOURCES = {
    "window": "CVPR 2023, Table 1",
    "ocab_cab": "CVPR 2023, Table 2",
    "channel_attention": "CVPR 2023, Table 3",
    "cab_weight": "CVPR 2023, Table 4",
    "overlap": "CVPR 2023, Table 5",
    "cab_size": "journal version, Table VI",
}
_UNVERIFIED = "The numbers of this table could not be verified and are left empty. The text says: "
_NOTES = {
    "window": (_readable(look_up("ablations/window_size/note")),),
    "ocab_cab": (
        "CAB here has β = 3, as in the method; the authors' published ablation network has β = 6.",
        _conflict(11),
    ),
    "overlap": (f"{_UNVERIFIED}γ = 0.5 is best; 0 is a plain Transformer block; 0.25 and 0.75 gain little or lose.",),
    "cab_weight": (f"{_UNVERIFIED}α = 0.01 is best; 0 is without CAB.",),
    "cab_size": (f"{_UNVERIFIED}a smaller β is better and larger; β = 6 already helps much; 3 is the default.",),
    "channel_attention": (
        f"{_UNVERIFIED}channel attention gains {look_up('ablations/channel_attention/gain_dB/value')} dB.",
    ),
}


def _study(name: str) -> Table:
    rows = []
    for variant, changes in STUDIES[name].variants.items():
        network = {**NETWORKS["HAT"], **changes}
        run = option_files(name)[variant][-1]
        rows.append(Row(variant, _PAPER_OF_VARIANT[name][variant], network, runs={4: (run,)}))
    sets = SETS if name == "window" else ("Urban100",)
    return Table(name, STUDIES[name].title, _SOURCES[name], tuple(rows), sets, notes=_NOTES[name])


def _pretraining() -> Table:
    place, hat = "ablations/pretraining_strategy", NETWORKS["HAT"]
    runs = option_files(PRETRAINING)
    same, multi = runs["same task"], runs["multi-related-task"]
    rows = (
        Row("DF2K alone", "main_table/x{scale}/HAT", hat, _FILES["HAT"], {4: runs["none"][-1:]}),
        Row("same task, ImageNet", f"{place}/same_task_pretrain", hat, runs={4: same[:1]}),
        Row("same task, fine-tuned", f"{place}/same_task_finetune", hat, runs={4: same[1:]}),
        Row("multi-related-task, ImageNet", f"{place}/multi_related_task_pretrain"),
        Row("multi-related-task, fine-tuned", f"{place}/multi_related_task_finetune", hat, runs={4: multi[1:]}),
    )
    notes = (
        _conflict(12),
        _readable(look_up(f"{place}/note")),
        "The network of several tasks is measured fine-tuned alone.",
    )
    return Table(PRETRAINING, "Pre-training strategy", "CVPR 2023, Table 7", rows, notes=notes)


def _depth_width() -> Table:
    rows = tuple(
        Row(
            label,
            f"ablations/depth_width/rows/{label}/psnr",
            NETWORKS.get(label),
            _FILES.get(label, {}),
            _runs(label),
        )
        for label in facts()["ablations"]["depth_width"]["rows"]
    )
    notes = ("L1, L2: SwinIR made wider, deeper. Their numbers could not be verified and are left empty.",)
    return Table(
        "depth_width", "A larger SwinIR beside HAT", "journal version, Table VII", rows, ("Urban100",), notes=notes
    )


def _realworld() -> Table:
    place = "journal_extra/real_world_sr"
    rrdb = NETWORKS["RRDBNet"]
    ours = {
        "ESRGAN": (rrdb, {4: "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth"}),
        "Real-ESRGAN": (rrdb, {4: "RealESRGAN_x4plus.pth"}),
        "HAT-2": (NETWORKS["HAT"], {4: "Real_HAT_GAN_SRx4.pth"}),
    }
    columns = tuple(look_up(f"{place}/columns"))
    labels = [key for key, value in facts()["journal_extra"]["real_world_sr"].items() if _is_row(value, len(columns))]
    rows = tuple(Row(label, f"{place}/{label}", *ours.get(label, (None, {}))) for label in labels)
    notes = (
        "HAT-1: degradations of BSRGAN; HAT-2: of Real-ESRGAN. Lower LPIPS is better.",
        "The paper does not say whether its PSNR is of luma or of RGB; ours is of luma. NIQE is not in the paper.",
        "Images: datasets/SET/GT and datasets/SET/LRx4, of the same names.",
    )
    return Table(
        "realworld",
        "Real-world super-resolution",
        "journal version, Table X",
        rows,
        columns,
        metrics=("psnr", "lpips", "niqe"),
        notes=notes,
        lr_folder="LRx{scale}",
        bicubic_lr=False,
    )


def _is_row(value: object, columns: int) -> bool:
    return isinstance(value, list) and len(value) == columns and all(isinstance(cell, list) for cell in value)


TABLES: dict[str, Table] = {
    table.name: table for table in (_main(), *map(_study, STUDIES), _pretraining(), _depth_width(), _realworld())
}
ALIASES = {"ocab": "ocab_cab", "cab": "cab_weight"}
"""Short names of tables."""
