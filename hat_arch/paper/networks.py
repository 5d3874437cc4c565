"""The networks that the papers compare and the variants of their ablations, as option files name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..archs.presets import PRESETS, RESTORATION

Options = dict[str, Any]

HAT: Options = {"type": "HAT", **PRESETS["HAT"]}
_SWINIR: Options = {
    "type": "SwinIR",
    "upscale": 4,
    "in_chans": 3,
    "img_size": 64,
    "window_size": 8,
    "img_range": 1.0,
    "depths": [6] * 6,
    "embed_dim": 180,
    "num_heads": [6] * 6,
    "mlp_ratio": 2,
    "upsampler": "pixelshuffle",
    "resi_connection": "1conv",
}
_CNN: Options = {"num_in_ch": 3, "num_out_ch": 3}
_RGB: Options = {"img_range": 255.0, "rgb_mean": [0.4488, 0.4371, 0.4040]}

NETWORKS: dict[str, Options] = {
    **{name: {"type": "HAT", **options} for name, options in PRESETS.items()},
    "SwinIR": _SWINIR,
    "RCAN": {
        "type": "RCAN",
        **_CNN,
        "num_feat": 64,
        "num_group": 10,
        "num_block": 20,
        "squeeze_factor": 16,
        "upscale": 4,
        "res_scale": 1,
        **_RGB,
    },
    "EDSR": {"type": "EDSR", **_CNN, "num_feat": 256, "num_block": 32, "upscale": 4, "res_scale": 0.1, **_RGB},
    "EDSR-baseline": {"type": "EDSR", **_CNN, "num_feat": 64, "num_block": 16, "upscale": 4, "res_scale": 1, **_RGB},
    "RRDBNet": {"type": "RRDBNet", **_CNN, "num_feat": 64, "num_block": 23, "num_grow_ch": 32, "scale": 4},
    "MSRResNet": {"type": "MSRResNet", **_CNN, "num_feat": 64, "num_block": 16, "upscale": 4},
}
"""``network_g`` at ×4 by the papers' names: the settings of the papers that introduced them."""

RESTORERS: dict[str, Options] = {
    "HAT gray": {**HAT, **RESTORATION, "in_chans": 1},
    "HAT color": {**HAT, **RESTORATION},
    "HAT-light color": {**NETWORKS["HAT-light"], **RESTORATION},
}
"""``network_g`` of networks that remove noise and JPEG's artefacts, of grey images and of colours."""


@dataclass(frozen=True)
class Study:
    """An ablation: variants of HAT that differ in one thing."""

    title: str
    variants: dict[str, Options]
    """By label, what differs from ``NETWORKS["HAT"]``."""


_NO_CAB: Options = {"use_cab": False}
_NO_OCAB: Options = {"use_ocab": False}

STUDIES: dict[str, Study] = {
    "window": Study(
        "Window size, without CAB and OCAB",
        {f"window {m}": {**_NO_CAB, **_NO_OCAB, "window_size": m} for m in (8, 16)},
    ),
    "ocab_cab": Study(
        "OCAB and CAB",
        {"neither": {**_NO_CAB, **_NO_OCAB}, "OCAB": _NO_CAB, "CAB": _NO_OCAB, "both": {}},
    ),
    "overlap": Study(
        "Overlap ratio γ of OCAB, without CAB",
        {f"γ = {ratio}": {**_NO_CAB, "overlap_ratio": ratio} for ratio in (0, 0.25, 0.5, 0.75)},
    ),
    "cab_weight": Study(
        "Weight α of CAB",
        {f"α = {alpha}": {"conv_scale": alpha} for alpha in (0, 1, 0.1, 0.01)},
    ),
    "cab_size": Study(
        "Compress ratio β of CAB, without OCAB",
        {
            **{f"β = {beta}": {**_NO_OCAB, "compress_ratio": beta} for beta in (1, 2, 3, 6)},
            "no CAB": {**_NO_OCAB, **_NO_CAB},
        },
    ),
    "channel_attention": Study(
        "Channel attention in CAB",
        {"without": {"use_channel_attention": False}, "with": {}},
    ),
}


_PARTS = {"use_cab": "no_cab", "use_ocab": "no_ocab", "use_channel_attention": "no_ca"}
_SIZES = {"window_size": "window", "overlap_ratio": "overlap", "conv_scale": "cab_weight", "compress_ratio": "compress"}


def variant_name(changes: Options) -> str:
    """ASCII name of a variant of HAT (see `Study`), for files and runs: equal networks of several studies have one."""
    words = ["HAT"]
    words += [f"{_SIZES[key]}_{changes[key]:g}" for key in _SIZES if changes.get(key, HAT[key]) != HAT[key]]
    words += [_PARTS[key] for key in _PARTS if not changes.get(key, True)]
    return "_".join(words)


def network_options(name: str, scale: int = 4) -> Options:
    """``network_g`` of one of `NETWORKS` for a scale."""
    return at_scale(NETWORKS[name], scale)


def at_scale(options: Options, scale: int) -> Options:
    """A ``network_g`` for another scale."""
    return {**options, "scale" if options["type"] == "RRDBNet" else "upscale": scale}


def scale_of(options: Options, default: int = 1) -> int:
    """By how much the network of a ``network_g`` section enlarges; ``default`` if it does not say."""
    return int(options.get("upscale") or options.get("scale") or default)
