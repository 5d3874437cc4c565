"""Metrics: equal to BasicSR's, and clear about what they cannot measure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim

from hat_arch.paper import metrics

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 24, 30, 3), np.uint8)


@pytest.mark.parametrize("crop", [0, 3])
def test_psnr_and_ssim_are_basicsrs_of_luma(crop: int) -> None:
    scores = metrics.measure(*PICTURES, crop, ["psnr", "ssim"])
    for name, theirs in (("psnr", calculate_psnr), ("ssim", calculate_ssim)):
        assert scores[name] == pytest.approx(theirs(*PICTURES, crop_border=crop, test_y_channel=True), abs=1e-6, rel=0)
        assert scores[name] != theirs(*PICTURES, crop_border=crop)
    assert metrics.measure(PICTURES[0], PICTURES[0], crop, ["psnr", "ssim"]) == {"psnr": float("inf"), "ssim": 1}


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    image, gt = PICTURES
    with pytest.raises(metrics.MetricError, match="cannot be compared"):
        metrics.METRICS[name](image[:, 1:], gt, 0)
    with pytest.raises(metrics.MetricError, match=r"24x30 pixels are too few.* 25x25"):
        metrics.METRICS[name](image, gt, 7)


def test_niqe_is_basicsrs() -> None:
    image = np.random.default_rng(0).integers(0, 256, (104, 200, 3), np.uint8)
    assert metrics.niqe(image, crop_border=4) == pytest.approx(calculate_niqe(image, crop_border=4))
    assert np.isfinite(metrics.niqe(image, crop_border=4))
    with pytest.raises(metrics.MetricError, match="103x200 pixels are too few for NIQE"):
        metrics.niqe(image[1:], crop_border=4)


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_without_pyiqa_the_remedy_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    metrics._pyiqa.cache_clear()
    assert metrics.unavailable(name) == f"{name.upper()} needs pyiqa: pip install 'hat-arch[paper]'"
    assert metrics.unavailable("psnr") is None


def test_pyiqa_is_given_rgb_in_0_to_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metrics take (B, 3, H, W), the image first; mean of red minus mean of blue tells the order of channels."""
    made = []

    def create_metric(name: str, device: torch.device) -> object:
        made.append((name, device.type))
        return lambda image, gt: (image[:, 0] - image[:, 2] + 10 * gt.amax()).mean()

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    metrics._pyiqa.cache_clear()
    red, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    red[..., 2] = 255
    assert metrics.measure(red, white, 0, ["lpips", "dists"]) == {"lpips": 11.0, "dists": 11.0}
    assert made == [("lpips", "cpu"), ("dists", "cpu")]
    metrics._pyiqa.cache_clear()


def test_a_network_that_pyiqa_cannot_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_metric(name: str, device: torch.device) -> object:
        raise OSError("no route\nto host")

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    metrics._pyiqa.cache_clear()
    problem = "LPIPS: pyiqa cannot load its networks (no route to host); it downloads them once, to "
    assert metrics.unavailable("lpips") == problem + torch.hub.get_dir()


def test_lpips_of_pyiqa_is_the_distance_of_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Zhang et al., equation 1, with weights made up: pyiqa's own are downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    pytest.importorskip("pyiqa", reason="pyiqa is an extra: pip install 'hat-arch[paper]'")
    from pyiqa.archs.lpips_arch import default_model_urls
    from torchvision.models import AlexNet_Weights, alexnet

    torch.manual_seed(0)
    net, depths, widths = alexnet().eval(), (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)
    lines = [torch.rand(width) for width in widths]
    heads = {f"lin{n}.model.1.weight": line.view(1, -1, 1, 1) for n, line in enumerate(lines)}
    for folder, url, state in (
        ("checkpoints", AlexNet_Weights.DEFAULT.url, net.state_dict()),
        ("pyiqa", default_model_urls["0.1_alex"], heads),
    ):
        (tmp_path / "hub" / folder).mkdir(parents=True)
        torch.save(state, tmp_path / "hub" / folder / url.rpartition("/")[2])

    image, gt = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), np.uint8)
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).view(2, 1, 3, 1, 1)
    rgb = torch.from_numpy(np.stack([image, gt])[..., ::-1].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    x, expected = (rgb - shift) / scale, 0.0
    with torch.no_grad():
        for n, layer in enumerate(net.features):
            x = layer(x)
            if n in depths:
                unit = x / x.norm(dim=1, keepdim=True)
                expected += torch.einsum("chw,c->hw", (unit[0] - unit[1]) ** 2, lines[depths.index(n)]).mean().item()
    metrics._pyiqa.cache_clear()
    capfd.readouterr()
    assert metrics.measure(image, gt, 4, ["lpips"])["lpips"] == pytest.approx(expected, rel=1e-4)
    assert capfd.readouterr().out == ""
    metrics._pyiqa.cache_clear()
