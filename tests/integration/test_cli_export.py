"""``basicsr export`` and ``basicsr upscale --engine``, as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY_HAT

from hat_arch import HAT, cli
from hat_arch.utils.files import sha256

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with weights and a photograph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "kept"))
    torch.manual_seed(0)
    network = HAT(**{key: value for key, value in TINY_HAT.items() if key != "type"})
    torch.save({"params": network.state_dict()}, "w.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 14, 3), np.uint8)).save("photo.png")
    return tmp_path


def pixels(file: str) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


def upscale(out: str, *words: str) -> np.ndarray:
    assert cli.main(["upscale", "photo.png", "-o", out, "--precision", "fp32", *words]) == 0
    return pixels(out)


def test_a_network_is_exported_and_upscales(folder, capsys):
    assert cli.main(["export", "w.pth", "--dtype", "fp16"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6 and all("max |difference|" in line for line in out[:5])
    assert out[5].startswith("w.onnx: w, x4, for images of every size")
    told = {entry.key: entry.value for entry in onnx.load("w.onnx").metadata_props}
    facts = json.loads(told["hat_arch"])
    assert (facts["scale"], facts["window"], facts["channels"], facts["range"]) == (4, 4, 3, "0..1")
    assert facts["source"] == "w.pth" and facts["sha256"] == sha256(folder / "w.pth") and facts["version"]
    expected = upscale("torch.png", "--weights", "w.pth")
    assert np.abs(upscale("onnx.png", "--weights", "w.onnx", "--engine", "onnxruntime") - expected).max() <= 1
    assert upscale("x2.png", "--weights", "w.onnx", "--engine", "onnxruntime", "--scale", "2").shape == (22, 28, 3)


def test_the_fastest_engine_is_chosen_once(folder, basicsr):
    expected = upscale("torch.png", "--weights", "w.pth")
    kept = {"HAT_ARCH_ENGINES": str(folder / "kept")}
    words = ["upscale", "photo.png", "--weights", "w.pth", "--precision", "fp32", "--engine", "auto", "-o"]
    first, second = (basicsr(*words, f"{i}.png", env=kept) for i in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "engine: measuring torch" in first.stderr and "the fastest here" in first.stderr
    assert "engine: measuring" not in second.stderr and "the fastest when it was measured" in second.stderr
    assert all(np.abs(pixels(f"{i}.png") - expected).max() <= 1 for i in range(2))
