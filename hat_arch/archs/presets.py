"""The arguments of HAT's sizes by name: those of the paper (section 4.1), and a compact one of this project."""

from __future__ import annotations

from typing import Any

HAT_OPTIONS: dict[str, Any] = {
    "upscale": 4,
    "in_chans": 3,
    "img_size": 64,
    "window_size": 16,
    "compress_ratio": 3,
    "squeeze_factor": 30,
    "conv_scale": 0.01,
    "overlap_ratio": 0.5,
    "img_range": 1.0,
    "depths": [6] * 6,
    "embed_dim": 180,
    "num_heads": [6] * 6,
    "mlp_ratio": 2,
    "upsampler": "pixelshuffle",
    "resi_connection": "1conv",
}
"""Arguments of `HAT` for the paper's HAT at ×4."""

PRESETS: dict[str, dict[str, Any]] = {
    "HAT-S": {**HAT_OPTIONS, "embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24},
    "HAT": HAT_OPTIONS,
    "HAT-L": {**HAT_OPTIONS, "depths": [6] * 12, "num_heads": [6] * 12},
    "HAT-light": {
        **HAT_OPTIONS,
        "window_size": 8,
        "squeeze_factor": 16,
        "depths": [4] * 3,
        "embed_dim": 64,
        "num_heads": [4] * 3,
        "drop_path_rate": 0.0,
        "upsampler": "pixelshuffledirect",
    },
}
"""Arguments of `HAT` at ×4; HAT-light, of 1.0M parameters, is not of the paper: the models in the package are such."""

RESTORATION: dict[str, Any] = {"upscale": 1, "upsampler": ""}
"""What differs in the arguments of a `HAT` that removes noise or artefacts and keeps the size."""
