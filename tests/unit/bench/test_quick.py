"""``basicsr bench --quick``: what it prints, and that it stays short."""

from __future__ import annotations

import json

import pytest

from hat_arch.archs.hat_arch import HAT
from hat_arch.bench import NETWORKS, data, quick

LIMIT = 60
"""Forward passes of HAT ×4 at 64×64, of 2 seconds each on two cores; the rest of three minutes starts processes."""
BACKWARD = 3  # times a forward pass, with it


@pytest.fixture
def passes(monkeypatch, tiny, here):
    """Forward passes of both networks so far, in those of a whole HAT at 64×64."""
    from spandrel.architectures.HAT import HAT as PeerHAT

    for name in ("HAT", "HAT-S"):
        groups = len(NETWORKS["HAT-L"]["depths"]) // 2
        monkeypatch.setitem(NETWORKS, name, {**tiny, "upscale": 4, "depths": [1] * groups, "num_heads": [2] * groups})
    counted = []
    for network in (HAT, PeerHAT):

        def forward(self, x, forward=network.forward):
            share = len(self.layers) / groups * (BACKWARD if self.training else 1)
            counted.append(x.shape.numel() / (3 * 64 * 64) * share)
            return forward(self, x)

        monkeypatch.setattr(network, "forward", forward)
    monkeypatch.setattr(data, "PHOTOGRAPHS", ("astronaut",))
    monkeypatch.setitem(quick.PLAN, "data", lambda progress: data.run(1, 2, workers=1, loader_seconds=0.1))
    return counted


def test_quick_is_short_and_says_all(tmp_path, passes, run_cli, capsys):
    assert run_cli("--quick", "--out", str(tmp_path / "q.json")) == 0
    assert 20 < sum(passes) < LIMIT
    result = json.loads((tmp_path / "q.json").read_text())
    assert list(result["results"]) == ["infer fp32", "infer bf16", "train", "data", "tile", "scaling"]
    assert set(result["took_seconds"]) == set(result["results"])
    assert {part["suite"] for part in result["results"].values()} == {"infer", "train", "data", "tile", "scaling"}
    assert [result["results"][f"infer {p}"]["precision"] for p in ("fp32", "bf16")] == ["fp32", "bf16"]
    table = capsys.readouterr().out
    for start in (
        "infer fp32, HAT, prepared",
        "infer bf16",
        "train, HAT-S, bf16",
        "data: LMDB of PNG",
        "tile",
        "scaling",
    ):
        assert f"\n{start}" in table
    ratio = result["results"]["infer fp32"]["time_ratio"]["prepared"]["median"]
    assert f"{1 / ratio:.2f}× as fast" in table and "slope" in table
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")


def test_data_of_quick_is_short():
    assert quick.DATA["samples"] <= 20 and quick.DATA["runs"] == 1 and quick.DATA["loader_seconds"] <= 2
