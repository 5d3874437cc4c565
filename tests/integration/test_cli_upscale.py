"""``basicsr upscale`` as its user sees it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import tensor2img

from hat_arch import HAT, cli
from hat_arch.compat.registration import build
from hat_arch.data.images import encode
from hat_arch.inference.upscaler import Upscaler

TINY = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "squeeze_factor": 4, "mlp_ratio": 2}


@pytest.fixture
def hat(tmp_path, monkeypatch):
    """A HAT ×2, its weights in ``hat.pth``, and ``photos/`` with a colour, a grey and a nested image."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = HAT(**TINY, upscale=2).eval()
    torch.save({"params_ema": network.state_dict()}, "hat.pth")
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (20, 30, 3)), ("b.jpg", (17, 9, 3)), ("sub/grey.png", (12, 14))):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 256, shape).astype(np.uint8))
    return network


@pytest.fixture
def run(capsys):
    def run(*args):
        code = cli.main(["upscale", *map(str, args), "--weights", "hat.pth", "--precision", "fp32"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def expected(network, file, **how):
    """What BasicSR would save."""
    image = cv2.imread(str(file))
    lq = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    return tensor2img(Upscaler(network, 2, multiple=4, **how)(lq))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_becomes_a_folder(hat, run, tmp_path):
    code, out, _ = run("photos", "large")
    assert (code, out) == (0, "3 images upscaled ×2 to large\n")
    assert files(tmp_path / "large") == ["a.png", "b.png", "sub/grey.png"]
    for name, source in (("a.png", "a.png"), ("b.png", "b.jpg")):
        saved = cv2.imread(f"large/{name}", cv2.IMREAD_UNCHANGED)
        assert np.array_equal(saved, expected(hat, f"photos/{source}", tile="whole"))
    grey = cv2.imread("large/sub/grey.png", cv2.IMREAD_UNCHANGED)
    assert grey.shape == (24, 28)
    mean = expected(hat, "photos/sub/grey.png", tile="whole").mean(-1)
    assert np.abs(grey - mean).max() <= 1


@pytest.mark.parametrize("name", ["one.png", "one.webp", "one.jpg"])
def test_an_image_becomes_an_image(hat, run, name):
    code, out, _ = run("photos/a.png", name, "--tile", 16, "--overlap", 8, "--self_ensemble", "--batch", 2)
    assert (code, out) == (0, f"1 image upscaled ×2 to {name}\n")
    wanted = expected(hat, "photos/a.png", tile=16, overlap=8, self_ensemble=True)
    difference = np.abs(cv2.imread(name).astype(int) - wanted)
    assert difference.max() == 0 if name != "one.jpg" else 0 < difference.mean() < 20


def test_what_is_there_stays_unless_overwritten(hat, run, tmp_path):
    run("photos", "large")
    (tmp_path / "large/a.png").write_bytes(b"mine")
    (tmp_path / "large/b.png").unlink()
    code, out, _ = run("photos", "large")
    assert (code, out) == (0, "1 image upscaled ×2 to large, 2 were there (--overwrite makes them again)\n")
    assert (tmp_path / "large/a.png").read_bytes() == b"mine"
    assert run("photos", "large", "--overwrite")[0] == 0
    assert np.array_equal(cv2.imread("large/a.png"), expected(hat, "photos/a.png", tile="whole"))


def test_what_cannot_be_used_is_named_and_passed_over(hat, run, tmp_path):
    folder, image = tmp_path / "photos", cv2.imread("photos/a.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:700])
    (folder / "empty.png").write_bytes(b"")
    cv2.imwrite("photos/deep.png", image.astype(np.uint16) * 257)
    cv2.imwrite("photos/clear.png", np.dstack([image, image[..., :1]]))
    cv2.imwrite("photos/opaque.png", np.dstack([image, np.full_like(image[..., :1], 255)]))
    code, out, err = run("photos", "large")
    assert code == 1 and out.startswith("4 images")
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.startswith("basicsr: ")]
    assert lines.pop().startswith("basicsr: 4 of")
    wrong = {"clear": "transparent", "cut": "damaged", "deep": "8 bits", "empty": "empty"}
    for line, (name, reason) in zip(lines, wrong.items(), strict=True):
        assert line.startswith(f"basicsr: photos/{name}.png: ") and reason in line
    assert files(tmp_path / "large") == ["a.png", "b.png", "opaque.png", "sub/grey.png"]
    assert np.array_equal(cv2.imread("large/opaque.png"), cv2.imread("large/a.png"))


def test_an_image_too_large_for_whole_is_named_and_others_go_on(hat, run, monkeypatch):
    forward = HAT.forward

    def limited(self, x):
        if x.shape[-1] > 24:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")
        return forward(self, x)

    monkeypatch.setattr(HAT, "forward", limited)
    code, out, err = run("photos", "large", "--tile", "whole")
    assert code == 1 and "2 images" in out
    assert "photos/a.png: not enough memory" in err


@pytest.mark.parametrize(
    "args, message",
    [
        (["none", "large"], "none: "),
        (["photos", "photos/large"], "photos/large: "),
        (["photos/a.png", "photos/a.png"], "photos/a.png: "),
        (["photos/a.png", "photos"], "photos/a.png: "),
        (["photos", "hat.pth"], "hat.pth: "),
        (["photos/a.png", "b.jpg", "--format", "png"], "b.jpg: "),
        (["photos", "large", "--overlap", "-1"], "--overlap -1"),
        (["photos", "large", "--param_key", "params"], "hat.pth: "),
        (["photos", "large", "--arch_opt", "none.yml"], "none.yml: "),
    ],
)
def test_mistakes_get_one_line(hat, run, args, message, tmp_path):
    before = files(tmp_path)
    code, out, err = run(*args)
    assert code == 2 and out == "" and err.startswith(f"basicsr: {message}") and err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(hat, run):
    code, _, err = run("photos", "large", "--device", "cuda")
    assert code == 2 and err.startswith("basicsr: --device cuda: ")


def test_another_network_by_its_option_file(hat, run, tmp_path):
    options = {"type": "SwinIR", **TINY, "window_size": 8, "img_size": 8, "upscale": 2, "upsampler": "pixelshuffle"}
    options.pop("squeeze_factor")
    network = build(options).eval()
    torch.save(network.state_dict(), "hat.pth")
    assert "option file" in run("photos", "large")[2]
    (tmp_path / "it.yml").write_text(yaml.safe_dump({"scale": 2, "network_g": options}))
    assert run("photos/a.png", "large", "--arch_opt", "it.yml")[0] == 0
    image = torch.from_numpy(cv2.imread("photos/a.png")[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    wanted = tensor2img(Upscaler(network, 2, multiple=8)(image))
    assert np.array_equal(cv2.imread("large/a.png"), wanted)

    for text, message in (
        ({"scale": 2, "network_g": {**options, "type": "SwimIR"}}, "network_g.type: .*'SwinIR'"),
        ({"scale": 2, "network_g": {**options, "embed_dims": 12}}, "network_g.embed_dims: .*'embed_dim'"),
        ({"network_g": options}, "scale: .*missing"),
        ({"scale": 2}, "network_g: .*missing"),
    ):
        (tmp_path / "it.yml").write_text(yaml.safe_dump(text))
        code, _, err = run("photos/a.png", "other", "--arch_opt", "it.yml")
        assert code == 2 and re.match(rf"basicsr: it\.yml(:\d+)?: {message}", err), err


@pytest.mark.parametrize("how, code", [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_stop_in_the_middle_leaves_no_half_file_and_goes_on(hat, run, tmp_path, how, code):
    rng = np.random.default_rng(1)
    (tmp_path / "photos/large.png").write_bytes(encode(rng.integers(0, 256, (600, 600, 3)).astype(np.uint8)))
    command = [sys.executable, "-m", "hat_arch", "upscale", "photos", "large", "--weights", "hat.pth"]
    command += ["--precision", "fp32", "--tile", "32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "large/.large.png.partial"
    while not (partial.exists() and partial.stat().st_size > 10_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == code and "Traceback" not in err
    assert not (tmp_path / "large/large.png").exists()
    assert partial.exists() == (how == signal.SIGKILL)  # nothing can be tidied up after that
    if how == signal.SIGINT:
        assert err.splitlines()[-1] == "basicsr: stopped; the same command goes on from there"

    cv2.imwrite("photos/large.png", cv2.imread("photos/large.png")[:40, :40])
    assert run("photos", "large")[0] == 0
    assert files(tmp_path / "large") == ["a.png", "b.png", "large.png", "sub/grey.png"]


def test_a_full_disk_is_one_line(hat, run, monkeypatch, tmp_path):
    from hat_arch.inference.png import PngWriter

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PngWriter, "close", full)
    code, _, err = run("photos", "large")
    assert code == 2 and "large/a.png: no space left" in err
    assert files(tmp_path / "large") == []


PLUGIN = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class Bilinear(torch.nn.Upsample):
    def __init__(self):
        super().__init__(scale_factor=8, mode="bilinear")
        self.register_buffer("nothing", torch.zeros(1))
"""
PEAK = """
import sys
from hat_arch import cli
from hat_arch.utils.peak_memory import resident_mib
assert cli.main(sys.argv[1:]) == 0
print("peak", resident_mib("VmHWM"))
"""


def test_memory_does_not_grow_with_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bilinear.py").write_text(PLUGIN)
    (tmp_path / "it.yml").write_text(yaml.safe_dump({"scale": 8, "network_g": {"type": "Bilinear"}}))
    torch.save({"nothing": torch.zeros(1)}, "it.pth")

    def peak(height):
        (tmp_path / f"{height}.png").write_bytes(encode(np.full((height, 256, 3), 99, np.uint8)))
        command = [sys.executable, "-c", PEAK, "upscale", f"{height}.png", f"{height}x8.png", "--weights", "it.pth"]
        command += ["--arch_opt", "it.yml", "--plugin", "bilinear.py", "--tile", "64", "--overlap", "8"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert (cv2.imread(f"{height}x8.png") == 99).all()
        return float(done.stdout.split()[-1])

    growth = peak(4000) - peak(800)
    output = 8 * 8 * 256 * (4000 - 800) * 3 / 2**20  # MiB in 8 bits; in fp32 four times that
    assert growth < 0.2 * output
