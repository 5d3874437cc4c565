"""Recipes by their names: sizes, reproducibility, independence of global random state, and bad input."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hat_arch.data.stand_ins import picture
from hat_arch.degradations import RecipeError, operations, option_keys, photo, realesrgan, recipe_named, rng_of_image
from hat_arch.degradations.kernels import Kernel
from hat_arch.degradations.registry import RECIPES
from hat_arch.degradations.resize import imresize
from hat_arch.utils.files import digest

SPECS = ["bicubic", "jpeg:40", "jpeg:10-40", "noise:25", "noise:0-50", "realesrgan", "bsrgan", "photo"]
SEEDS = range(8)


def image(height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    pixels = picture(height, width)[..., :channels]
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_result_has_the_size_and_the_range(spec, scale, channels):
    recipe = recipe_named(spec, scale)
    for seed in SEEDS:
        gt = image(channels=channels)
        result = recipe(gt, np.random.default_rng(seed))
        assert result.shape == (channels, 64 // scale, 96 // scale) and result.dtype == torch.float32
        assert torch.equal(gt, image(channels=channels)), "the image that came in is as it was"
        if not spec.startswith("noise"):
            assert result.min() >= 0 and result.max() <= 1
            torch.testing.assert_close(result * 255, (result * 255).round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_with_a_seed_noise_is_that_of_published_evaluations(channels):
    gt = image(channels=channels)
    state = np.random.get_state()
    np.random.seed(0)  # as KAIR does it, image for image, on (H, W, C)
    pixels = gt.permute(1, 2, 0).numpy()
    expected = pixels + np.random.normal(0, 25 / 255.0, pixels.shape)
    np.random.set_state(state)
    recipe = recipe_named({"type": "noise", "sigma": 25, "seed": 0}, 1)
    for seed in SEEDS:  # of no effect
        made = recipe(gt, np.random.default_rng(seed)).permute(1, 2, 0).numpy()
        assert np.array_equal(made, expected.astype(np.float32))
    assert not torch.equal(
        recipe_named({"type": "noise", "sigma": 25, "seed": 1}, 1)(gt, np.random.default_rng(0)),
        recipe(gt, np.random.default_rng(0)),
    )
    with pytest.raises(RecipeError, match="seed"):
        recipe_named({"type": "noise", "sigma": 25, "seed": -1}, 1)


@pytest.mark.parametrize("spec", ["realesrgan", "bsrgan", "photo", "jpeg:30"])
@pytest.mark.parametrize("size", [(4, 4), (8, 20), (100, 12)])
def test_tiny_images_keep_their_shape(spec, size):
    for seed in range(20):
        result = recipe_named(spec, 4)(image(*size), np.random.default_rng(seed))
        assert result.shape == (3, size[0] // 4, size[1] // 4) and result.isfinite().all()


@pytest.mark.parametrize("spec", SPECS)
def test_the_steps_end_with_the_result(spec):
    recipe = recipe_named(spec, 2)
    for seed in SEEDS:
        steps = list(recipe.steps(image(), np.random.default_rng(seed)))
        assert torch.equal(steps[0].image, image()) and len(steps) >= 2 and all(step.label for step in steps)
        assert torch.equal(steps[-1].image, recipe(image(), np.random.default_rng(seed)))


@pytest.mark.parametrize("spec", ["noise:0-50", "jpeg:10-90", "realesrgan", "bsrgan", "photo"])
def test_another_seed_gives_another_image_and_no_global_state_is_touched(spec):
    def state() -> tuple[object, ...]:
        return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()

    recipe = recipe_named(spec, 2)
    results = []
    for seed in (0, 1, 2, 3, 0, 1, 2, 3):
        before = state()
        results.append(recipe(image(), np.random.default_rng(seed)))
        assert state() == before
        for reseed in (random.seed, np.random.seed, torch.seed):
            reseed()
    assert all(torch.equal(a, b) for a, b in zip(results[:4], results[4:]))
    assert len({digest(result.numpy().tobytes()) for result in results[:4]}) > 1


@pytest.mark.parametrize("spec", ["realesrgan", "photo"])
@pytest.mark.parametrize("scale", [2, 4])
def test_filters_of_another_device_give_the_same_image_up_to_rounding(spec, scale, monkeypatch):
    """With PyTorch's convolutions, as on a GPU; where a coefficient of JPEG lies at a half, some pixels may differ."""
    recipe = recipe_named(spec, scale)
    expected = [recipe(image(), np.random.default_rng(seed)) for seed in range(30)]

    def convolved(image: torch.Tensor, kernel: Kernel) -> torch.Tensor:
        return operations._convolved(image, [torch.from_numpy(part) for part in operations._parts(kernel)])

    for module in (realesrgan, photo):
        monkeypatch.setattr(module, "filtered", convolved)
    results = [recipe(image(), np.random.default_rng(seed)) for seed in range(30)]
    off = torch.stack([(a - b).abs() * 255 for a, b in zip(results, expected)])
    assert (off > 0.5).float().mean() < 0.01 and (off > 3).float().mean() < 0.001


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("spec", SPECS)
def test_a_gpu_gives_the_same_image_up_to_rounding(spec):
    recipe = recipe_named(spec, 4)
    for seed in range(30):
        expected = recipe(image(256, 256), np.random.default_rng(seed))
        result = recipe(image(256, 256).cuda(), np.random.default_rng(seed))
        assert result.is_cuda and ((result.cpu() - expected).abs() * 255 > 0.5).float().mean() < 0.02


def digests() -> list[str]:
    return [digest(recipe_named(spec, 4)(image(), rng_of_image(3, "a/ä")).numpy().tobytes()) for spec in SPECS]


def test_another_process_gives_the_same_images():
    program = (
        "import hat_arch, sys; sys.path.insert(0, sys.argv[1]); import test_recipes; print(*test_recipes.digests())"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == digests()


def test_the_generator_of_an_image_depends_on_seed_and_name_alone():
    def first(seed: int, name: str) -> float:
        return rng_of_image(seed, name).random()

    assert first(1, "a") == first(1, "a")
    assert len({first(seed, name) for seed in range(20) for name in ("a", "b", "a/b", "\udcff")}) == 80


def test_bicubic_is_matlabs_on_8_bits():
    pixels = picture(64, 96)
    expected = imresize(pixels, 1 / 4, convention="uint8").transpose(2, 0, 1)
    result = recipe_named("bicubic", 4)(image(), np.random.default_rng(0))
    np.testing.assert_array_equal((result.numpy() * 255).round(), expected)


@pytest.mark.parametrize("channels", [3, 1])
def test_jpeg_is_that_of_a_file(channels):
    pixels = picture(50, 61)[..., :channels]
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 23])[1]
    expected = np.atleast_3d(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))[..., ::-1].transpose(2, 0, 1)
    result = recipe_named("jpeg:23", 1)(image(50, 61, channels), np.random.default_rng(0))
    np.testing.assert_array_equal((result.numpy() * 255).round(), expected)


def test_jpeg_takes_every_quality_of_its_range():
    labels = [list(recipe_named("jpeg:10-13", 1).steps(image(), np.random.default_rng(n)))[-1].label for n in range(99)]
    assert {label.split()[-1] for label in labels} == {"10", "11", "12", "13"}


@pytest.mark.parametrize("sigma", [0, 15, 25, 50])
def test_noise_is_white_gaussian_and_neither_clipped_nor_rounded(sigma):
    gt = torch.zeros(3, 200, 200)
    noise = recipe_named(f"noise:{sigma}", 1)(gt, np.random.default_rng(0)).numpy() * 255
    assert noise.std() == pytest.approx(sigma, rel=0.01) and abs(noise.mean()) < 0.02 * sigma + 1e-9
    if sigma:
        assert noise.min() < -2 * sigma and len(np.unique(noise)) > 50_000
        correlations = np.corrcoef([*noise.reshape(3, -1), noise[0].T.ravel(), np.roll(noise[0], 1).ravel()])
        assert np.abs(correlations - np.eye(5)).max() < 0.03


def test_noise_of_a_range_has_all_levels_of_it():
    recipe, gt = recipe_named("noise:5-50", 1), torch.zeros(1, 64, 64)
    found = np.array([recipe(gt, np.random.default_rng(n)).std().item() * 255 for n in range(200)])
    assert 4.5 < found.min() < 8 and 47 < found.max() < 53 and found.mean() == pytest.approx(27.5, abs=3)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("realesgan", "did you mean 'realesrgan'"),
        ("blur", "bicubic, bsrgan"),
        ("", "there are"),
        ("bicubic:3", "takes no value"),
        ("jpeg", "jpeg:40"),
        ("jpeg:", "jpeg:40"),
        ("jpeg:0", "1 to 100"),
        ("jpeg:101", "1 to 100"),
        ("jpeg:40-10", "lower one first"),
        ("jpeg:40.5", "whole numbers"),
        ("jpeg:many", "jpeg:40"),
        ("noise:-1", "noise:25"),
        ("noise:50-0", "lower one first"),
        ("noise:nan", "noise:25"),
        ({"type": "photo", "blur_sigm": [1, 2]}, "did you mean 'blur_sigma'"),
        ({"type": "photo", "jpeg_range": [0, 90]}, "jpeg_range should be within 1 to 100"),
        ({"type": "photo", "jpeg_prob": 1.5}, "jpeg_prob"),
        ({"type": "realesrgan", "blur_sigma": [3, 0.2]}, "blur_sigma should be a range"),
        ({"type": "realesrgan", "blur_sigma2": [0, 1]}, "blur_sigma2 should begin above 0"),
        ({"type": "realesrgan", "resize_prob": [0.5, 0.5]}, "resize_prob should be three shares"),
        ({"type": "realesrgan", "resize_range2": [1.2, 1.5]}, "resize_range2 should begin above 0 and hold 1"),
        ({"type": "realesrgan", "kernel_prob": [1, 1]}, "kernel_prob should be 6 shares"),
        ({"type": "realesrgan", "kernel_list": ["round"]}, "kernel_list"),
        ({"type": "realesrgan", "blur_kernel_size": 20}, "blur_kernel_size should be odd"),
        ({"type": "realesrgan", "blur_kernel_size": 5}, "blur_kernel_size"),
        ({"type": "realesrgan", "jpeg_range": "30-95"}, "jpeg_range should be a range"),
        ({"type": "realesrgan", "noise_range": [1, float("inf")]}, "noise_range should be a range"),
        ({"recipe": "photo"}, "there is no recipe"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(spec, word):
    with pytest.raises(RecipeError) as refused:
        recipe_named(spec, 4)
    assert word in str(refused.value) and "\n" not in str(refused.value)


def test_a_mapping_says_the_same_as_a_name():
    for name, mapping in (
        ("noise:25", {"type": "noise", "sigma": 25}),
        ("jpeg:10-40", {"type": "jpeg", "quality": [10, 40]}),
        ("jpeg:10-40", {"type": "jpeg:10-40"}),
        ("photo", {"type": "photo", "jpeg_range": [40, 95]}),
    ):
        assert recipe_named(name, 2) == recipe_named(mapping, 2)


def test_the_options_of_every_recipe_are_those_it_takes():
    for name in set(RECIPES) - {"jpeg", "noise"}:
        recipe = recipe_named(name, 2)
        values = {key: getattr(recipe, key) for key in option_keys(name)}
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        assert recipe_named({"type": name, **lists}, 2) == recipe


@pytest.mark.parametrize("shape", [(64, 96), (2, 64, 96), (1, 3, 64, 96), (3, 62, 96), (3, 0, 96)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(RecipeError, match="multiples of 4"):
        recipe_named("photo", 4)(torch.zeros(shape), np.random.default_rng(0))
