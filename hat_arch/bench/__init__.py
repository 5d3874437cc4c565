"""Benchmarks of HAT beside another implementation of it, for ``basicsr bench``.

`measure` times, weighs and reports, `candidates` builds what is compared, `peak` knows what the machine can do, `plot`
draws; `rows` and `quick` run the other modules, which are one suite each.
"""

from __future__ import annotations

from typing import Any

from hat_arch.paper.networks import NETWORKS as _ALL

NETWORKS: dict[str, dict[str, Any]] = {
    name: {key: value for key, value in _ALL[name].items() if key not in ("type", "img_range")}
    for name in ("HAT", "HAT-S", "HAT-L")
}
"""The official ×4 networks: what their option files give to the constructor."""
