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
from PIL import Image as PillowImage
from PIL import ImageCms
from safetensors.torch import save_file

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
    (folder / "float.tif").write_bytes(cv2.imencode(".tiff", image.astype(np.float32))[1].tobytes())
    (folder / "page.jpg").write_text("<html>")
    (folder / "raw.nef").write_text("raw")
    (folder / "readme.txt").write_text("no image")
    cv2.imwrite("photos/opaque.png", np.dstack([image, np.full_like(image[..., :1], 255)]))
    code, out, err = run("photos", "large")
    assert code == 1 and out.startswith("4 images")
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.startswith("basicsr: ")]
    assert lines.pop().startswith("basicsr: 5 of")
    wrong = {
        "raw.nef": ".nef",
        "cut.png": "damaged",
        "empty.png": "empty",
        "float.tif": "floating",
        "page.jpg": "not an",
    }
    for name, reason in wrong.items():
        assert sum(line.startswith(f"basicsr: photos/{name}: ") and reason in line for line in lines) == 1, name
    assert any("passed over" in line and "1 .txt" in line for line in lines) and len(lines) == 6
    assert files(tmp_path / "large") == ["a.png", "b.png", "opaque.png", "sub/grey.png"]
    assert np.array_equal(cv2.imread("large/opaque.png"), cv2.imread("large/a.png"))


def test_the_last_of_several_names_is_the_output_and_stays_if_it_is_there(hat, run, tmp_path):
    before = (tmp_path / "photos/b.jpg").read_bytes()
    code, out, _ = run("photos/a.png", "photos/b.jpg")
    assert code == 0 and out.startswith("0 images") and "photos/b.jpg itself too, name the output by -o" in out
    assert (tmp_path / "photos/b.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "made"),
    [
        (["photos/a.png"], ["photos/a_x2.png"]),
        (["photos/a.png", "--suffix", "_big", "--format", "webp"], ["photos/a_big.webp"]),
        (["photos/a.png", "photos/b.jpg", "large"], ["large/a.png", "large/b.png"]),
        (["photos/a.png", "photos/b.jpg", "-o", "large"], ["large/a.png", "large/b.png"]),
        (["photos/*.jpg", "-o", "large/"], ["large/b.png"]),
        (["photos"], ["photos_x2/a.png", "photos_x2/b.png", "photos_x2/sub/grey.png"]),
    ],
)
def test_where_outputs_go(hat, run, tmp_path, args, made):
    before = files(tmp_path)
    assert run(*args)[0] == 0
    assert sorted(set(files(tmp_path)) - set(before)) == made


def test_everything_that_a_file_holds_is_kept(hat, run, tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    exif.get_ifd(0x8769).update({0x9003: "2020:02:03 04:05:06", 0xA002: 30, 0xA003: 20})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    how = {"exif": exif, "icc_profile": profile, "dpi": (300, 300), "xmp": b"<x>kept</x>"}
    PillowImage.open("photos/a.png").save("photo.jpg", quality=100, subsampling=0, **how)
    for target in ("large.png", "large.jpg", "large.webp", "large.tif", "large.avif"):
        assert run("photo.jpg", target)[0] == 0
        with PillowImage.open(target) as image:
            assert image.size == (40, 60), target  # upright
            kept = image.getexif()
            assert kept.get(0x0112, 1) == 1 and kept[0x010F].strip("\0") == "camera", target
            assert re.fullmatch(r"hat_arch [\d.]+ \(hat, x2\)", kept[0x0131].strip("\0")), target
            details = kept.get_ifd(0x8769)
            assert (details[0x9003], details[0xA002], details[0xA003]) == ("2020:02:03 04:05:06", 40, 60), target
            assert image.info["icc_profile"] == profile and b"kept" in (image.info.get("xmp") or b""), target
            if target not in ("large.webp", "large.avif"):  # which hold no resolution
                assert [round(dots) for dots in image.info["dpi"]] == [300, 300], target
        assert run("photo.jpg", target, "--no-metadata", "--overwrite")[0] == 0
        with PillowImage.open(target) as image:
            assert 0x010F not in image.getexif() and 0x0131 not in image.getexif(), target
            assert image.info["icc_profile"] == profile and "xmp" not in image.info, target


def test_16_bits_and_alpha_stay(hat, run, tmp_path):
    image = np.random.default_rng(2).integers(0, 65536, (12, 20, 4)).astype(np.uint16)
    image[..., 3] |= 0x8000
    for source in ("deep.png", "deep.tif"):
        cv2.imwrite(source, image)
        for target in ("out.png", "out.tif"):
            assert run(source, target, "--overwrite", "--tile", 8)[0] == 0
            larger = cv2.imread(target, cv2.IMREAD_UNCHANGED)
            assert (larger.dtype, larger.shape) == (np.uint16, (24, 40, 4))
            assert len(np.unique(larger[..., :3] % 257)) > 100  # not 8 bits spread out
    cv2.imwrite("grey.png", image[..., 0])
    assert run("grey.png", "grey2.png")[0] == 0
    assert cv2.imread("grey2.png", cv2.IMREAD_UNCHANGED).shape == (24, 40)
    assert cv2.imread("grey2.png", cv2.IMREAD_UNCHANGED).dtype == np.uint16
    code, _, err = run("deep.png", "deep.jpg")
    assert code == 1 and "deep.png: is transparent" in err and not (tmp_path / "deep.jpg").exists()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_animations_and_pages(hat, run, suffix):
    frames = [PillowImage.new("RGB", (10, 6), colour) for colour in ("red", "blue", "white")]
    how = {} if suffix == "tif" else {"duration": [50, 100, 150], "loop": 0}
    frames[0].save(f"moving.{suffix}", save_all=True, append_images=frames[1:], **how)
    code, out, _ = run(f"moving.{suffix}", "large/")
    assert (code, out) == (0, "1 image upscaled ×2 to large/\n")
    with PillowImage.open(f"large/moving.{suffix}") as image:
        assert (image.n_frames, image.size) == (3, (20, 12))
        for i, milliseconds in enumerate((50, 100, 150)):
            image.seek(i)
            image.load()
            assert suffix == "tif" or round(image.info["duration"]) == milliseconds
    code, _, err = run(f"moving.{suffix}", "still.jpg")
    assert code == 1 and f"moving.{suffix}: has 3 frames" in err


@pytest.mark.parametrize(
    ("args", "size", "words"),
    [
        (["--scale", 3], (90, 60), "×3 by hat, ×2, and resized"),
        (["--scale", "1.5"], (45, 30), "×1.5"),
        (["--scale", 8], (240, 160), "×8"),
        (["--max-side", 50], (50, 33), "×2"),
        (["--max-side", 20], (20, 13), "×2"),
    ],
)
def test_any_scale_by_resizing(hat, run, args, size, words):
    code, out, _ = run("photos/a.png", "large.png", *args)
    assert code == 0 and words in out
    with PillowImage.open("large.png") as image:
        assert image.size == size
    whole = PillowImage.fromarray(expected(hat, "photos/a.png", tile="whole")[..., ::-1])
    reference = np.asarray(whole.resize(size, PillowImage.Resampling.LANCZOS)).astype(int)
    if args[0] == "--scale":  # a smaller image needs no network
        assert np.abs(cv2.imread("large.png")[..., ::-1] - reference).max() <= 2


@pytest.fixture
def restorer(hat):
    """A HAT ×1 of colours, in ``clean.pth``."""
    network = HAT(**TINY, upscale=1, upsampler="").eval()
    torch.save({"params_ema": network.state_dict()}, "clean.pth")
    return network


def test_a_model_of_scale_1_keeps_the_size(restorer, capsys, tmp_path):
    how = ["--model", "clean.pth", "--precision", "fp32"]
    assert cli.main(["upscale", "photos/a.png", *how, "--compare"]) == 0
    assert capsys.readouterr().out == "1 image restored by clean to photos/a_restored.png\n"
    lq = torch.from_numpy(cv2.imread("photos/a.png")[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        assert np.array_equal(cv2.imread("photos/a_restored.png"), tensor2img(restorer(lq)))
    assert (tmp_path / "photos/a_restored_compare.png").is_file()
    assert cli.main(["upscale", "photos", "clean", *how, "--scale", "1", "--tile", "16", "--overlap", "8"]) == 0
    assert files(tmp_path / "clean")[0] == "a.png"
    with PillowImage.open("clean/sub/grey.png") as image:
        assert (image.size, image.mode) == ((14, 12), "L")
    capsys.readouterr()
    assert cli.main(["upscale", "photos", "--dry-run", *how]) == 0
    assert re.search(r"\b30x20 +30x20\b", capsys.readouterr().out)


@pytest.mark.parametrize("scale", ["4", "0.5"])
def test_a_model_of_scale_1_is_not_asked_for_another(restorer, capsys, tmp_path, scale):
    assert cli.main(["upscale", "photos/a.png", "--model", "clean.pth", "--scale", scale]) == 2
    error = capsys.readouterr().err
    assert f"--scale {scale}: clean is x1" in error and error.count("\n") == 1
    assert not (tmp_path / "photos/a_restored.png").exists()


def test_a_network_for_grey_images_refuses_colours_and_does_the_others(hat, capsys, tmp_path):
    torch.save({"params_ema": HAT(**TINY, upscale=1, upsampler="", in_chans=1).state_dict()}, "grey.pth")
    assert cli.main(["upscale", "photos", "clean", "--model", "grey.pth", "--precision", "fp32"]) == 1
    said = capsys.readouterr()
    assert "photos/a.png: has colours, and the network is for grey images" in said.err
    assert files(tmp_path / "clean") == ["sub/grey.png"] and "1 image restored" in said.out


def test_standard_input_and_output(hat, tmp_path):
    command = [sys.executable, "-m", "hat_arch", "upscale", "-", "--weights", "hat.pth", "--precision", "fp32"]
    data = (tmp_path / "photos/a.png").read_bytes()
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    image = cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(image, expected(hat, "photos/a.png", tile="whole"))
    assert "1 image upscaled ×2 to standard output" in done.stderr.decode()
    done = subprocess.run(command, input=b"nothing", capture_output=True)
    assert done.returncode == 1 and b"standard input: is not an image" in done.stderr and done.stdout == b""


def test_images_that_differ_in_their_suffix_alone(hat, run, tmp_path):
    cv2.imwrite("photos/a.bmp", cv2.imread("photos/a.png"))
    assert run("photos", "large")[0] == 0
    assert files(tmp_path / "large") == ["a.bmp.png", "a.png.png", "b.png", "sub/grey.png"]


REFUSING = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class Refusing(torch.nn.Upsample):
    def __init__(self):
        super().__init__(scale_factor=2)
        self.register_buffer("nothing", torch.zeros(1))

    def forward(self, x):
        assert x.shape[-1] != 9, "not nine"
        return super().forward(x)
"""


def test_whatever_one_image_does_the_others_are_done(hat, run, tmp_path):
    (tmp_path / "refusing.py").write_text(REFUSING)
    (tmp_path / "it.yml").write_text("scale: 2\nnetwork_g: {type: Refusing}\n")
    torch.save({"nothing": torch.zeros(1)}, "hat.pth")
    (tmp_path / "large/sub/grey.png").mkdir(parents=True)
    code, out, err = run("photos", "large", "--arch_opt", "it.yml", "--plugin", "refusing.py")
    assert code == 1 and out.startswith("1 image")
    assert "photos/b.jpg: cannot be upscaled by this network at 17x9 (AssertionError: not nine)" in err
    assert "large/sub/grey.png: is a folder" in err


def test_a_comparison_and_a_rehearsal(hat, run, tmp_path):
    before = files(tmp_path)
    code, out, _ = run("photos", "large", "--dry-run")
    assert code == 0 and files(tmp_path) == before
    assert re.search(r"photos/a\.png +large/a\.png +30x20 +60x40", out) and "3 images" in out
    assert run("photos/a.png", "large.png", "--compare")[0] == 0
    with PillowImage.open("large_compare.png") as image:
        assert image.width > 100 and image.height > 60


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_standard_output_will_do(hat, tmp_path, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "hat_arch", "upscale", "photos/a.png", "large.png", "--weights", "hat.pth"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout.startswith(b"1 image upscaled ") and b"Traceback" not in done.stderr


def test_a_model_by_name_or_what_to_do(hat, run, capsys, tmp_path, monkeypatch):
    from hat_arch.weights import named

    monkeypatch.setattr(named, "INSIDE", tmp_path / "models")
    code = cli.main(["upscale", "photos/a.png"])
    assert code == 2 and "basicsr models" in capsys.readouterr().err
    (tmp_path / "models").mkdir()
    save_file(hat.state_dict(), tmp_path / "models/hat-light-x2.safetensors")
    assert cli.main(["upscale", "photos/a.png", "--precision", "fp32"]) == 0
    assert "×4 by hat-light-x2, ×2, and resized" in capsys.readouterr().out
    assert cv2.imread("photos/a_x4.png").shape == (80, 120, 3)
    for name, words in (("hat-light-x3", "hat-light-x2"), ("HAT_SRx4", "models get HAT_SRx4"), ("hta.pth", "hat.pth")):
        assert cli.main(["upscale", "photos/a.png", "--model", name]) == 2
        assert words in capsys.readouterr().err


def test_a_video_keeps_its_sound(hat, run, tmp_path):
    av = pytest.importorskip("av")
    with av.open("moving.mkv", "w") as container:
        pictures, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=48000)
        pictures.width, pictures.height, pictures.pix_fmt = 30, 20, "yuv420p"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((20, 30, 3), 60 * i, np.uint8), format="rgb24")
            frame.pts = i
            container.mux(pictures.encode(frame))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 14400), np.int16), format="s16", layout="mono")
        tone.rate, tone.pts = 48000, 0
        for encoded in (pictures.encode(None), sound.encode(tone), sound.encode(None)):
            container.mux(encoded)
    for target in ("large.mp4", "large.mkv"):
        assert run("moving.mkv", target)[0] == 0
        with av.open(target) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]
            frames = list(container.decode(video=0))
        assert [(frame.width, frame.height) for frame in frames] == [(60, 40)] * 3
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    code, _, err = run("broken.mp4", "large2.mp4")
    assert code == 1 and "broken.mp4: is no video" in err


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
        (["photos/a.png", "b.xyz"], "b.xyz: "),
        (["photos", "large", "--quality", "80"], "--quality 80: "),
        (["photos/a.png", "b.jpg", "--quality", "0"], "--quality 0: "),
        (["photos", "large", "--max-side", "0"], "--max-side 0: "),
        (["photos", "large", "--device", "abacus"], "--device abacus: "),
        (["-", "-o", "-", "--compare"], "--compare: "),
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
    for args, words in ((["--device", "cuda"], "--device cuda: "), (["--gpus", "2"], "--gpus 2: --device cuda:0: ")):
        code, _, err = run("photos", "large", *args)
        assert code == 2 and err.startswith(f"basicsr: {words}")


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
        assert err.splitlines()[-1] == "basicsr: stopped; the same command goes on after the images that are done"

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
PEAKS = """
import sys
from hat_arch import cli
from hat_arch.utils.peak_memory import resident_mib
for name in ("small", "large"):
    assert cli.main(["upscale", f"{name}.png", f"{name}x8.png", *sys.argv[1:]]) == 0
    print("peak", resident_mib("VmHWM"))
"""


def test_memory_does_not_grow_with_the_output(tmp_path, monkeypatch):
    """In one process that gives freed memory back, since the peaks of two differ by 20 MiB for reasons of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bilinear.py").write_text(PLUGIN)
    (tmp_path / "it.yml").write_text(yaml.safe_dump({"scale": 8, "network_g": {"type": "Bilinear"}}))
    torch.save({"nothing": torch.zeros(1)}, "it.pth")
    heights = {"small": 800, "large": 4000}
    for name, height in heights.items():
        (tmp_path / f"{name}.png").write_bytes(encode(np.full((height, 256, 3), 99, np.uint8)))
    command = [sys.executable, "-c", PEAKS, "--weights", "it.pth", "--arch_opt", "it.yml", "--plugin", "bilinear.py"]
    command += ["--tile", "64", "--overlap", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for name, height in heights.items():
        enlarged = cv2.imread(f"{name}x8.png")
        assert enlarged.shape == (8 * height, 8 * 256, 3) and (enlarged == 99).all()
    small, large = (float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("peak"))
    output = 8 * 8 * 256 * (4000 - 800) * 3 / 2**20  # MiB in 8 bits; in fp32 four times that
    assert large - small < 0.2 * output
