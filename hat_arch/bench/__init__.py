"""Benchmarks of HAT beside another implementation of it, for ``basicsr bench``.

`measure` times, weighs and reports; every other module is one suite.
"""

from __future__ import annotations

from typing import Any

_HAT: dict[str, Any] = {
    "img_size": 64,
    "in_chans": 3,
    "embed_dim": 180,
    "depths": [6] * 6,
    "num_heads": [6] * 6,
    "window_size": 16,
    "compress_ratio": 3,
    "squeeze_factor": 30,
    "conv_scale": 0.01,
    "overlap_ratio": 0.5,
    "mlp_ratio": 2,
    "upscale": 4,
    "resi_connection": "1conv",
    "upsampler": "pixelshuffle",
}

NETWORKS: dict[str, dict[str, Any]] = {
    "HAT": _HAT,
    "HAT-S": {**_HAT, "embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24},
    "HAT-L": {**_HAT, "depths": [6] * 12, "num_heads": [6] * 12},
}
"""The official ×4 networks: what their option files give to the constructor."""
