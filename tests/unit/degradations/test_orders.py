"""Real-ESRGAN's, BSRGAN's and the mild degradation over many draws: the steps, their order and their values."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from hat_arch.data.stand_ins import picture
from hat_arch.degradations import recipe_named
from hat_arch.degradations.operations import matlab_bicubic
from hat_arch.degradations.recipe import Step

GT = torch.from_numpy(picture(64, 64).transpose(2, 0, 1).astype(np.float32) / 255)
DRAWS = 600


@cache
def drawn(name: str, scale: int = 4) -> list[list[Step]]:
    recipe = recipe_named(name, scale)
    return [list(recipe.steps(GT, np.random.default_rng(n))) for n in range(DRAWS)]


def share(what: Any, of: list[list[Step]]) -> float:
    return float(np.mean([what([step.label for step in steps]) for steps in of]))


def about(expected: float, draws: int = DRAWS) -> Any:
    """Within four standard deviations."""
    return pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / draws) + 1e-9)


def numbers(pattern: str, name: str, position: int | None = None) -> list[float]:
    chosen = slice(position, None if position is None else position + 1)
    labels = [step.label for steps in drawn(name) for step in steps[chosen]]
    return [float(found[1]) for label in labels if (found := re.search(pattern, label))]


# Real-ESRGAN


def letters(labels: list[str]) -> str:
    """blur, resize, noise, JPEG, sinc, 8 bits, input."""
    first = {
        "blur": "b",
        "resize": "r",
        "Gaussian": "n",
        "Poisson": "n",
        "JPEG": "j",
        "sinc": "s",
        "8": "8",
        "input": "i",
    }
    return "".join(first[re.match(r"\w+", label)[0]] for label in labels)


def test_realesrgan_has_its_two_orders():
    orders = Counter(letters([step.label for step in steps]) for steps in drawn("realesrgan"))
    assert all(re.fullmatch("ibrnjb?rn(jrs?|rs?j)8", order) for order in orders)
    assert share(lambda labels: letters(labels).startswith("ibrnjb"), drawn("realesrgan")) == about(0.8)
    assert share(lambda labels: letters(labels).endswith("j8"), drawn("realesrgan")) == about(0.5)
    assert share(lambda labels: "s" in letters(labels), drawn("realesrgan")) == about(0.8)


def test_realesrgan_draws_as_its_options_say():
    blurs, noises, qualities = ([steps[n].label for steps in drawn("realesrgan")] for n in (1, 3, 4))
    assert np.mean(["sinc" in label for label in blurs]) == about(0.1)
    assert np.mean([label.startswith("Gaussian") for label in noises]) == about(0.5)
    assert np.mean(["grey" in label for label in noises]) == about(0.4)
    found = [float(label.split()[-1]) for label in qualities]
    assert 30 <= min(found) < 34 and 91 < max(found) <= 95 and np.mean(found) == pytest.approx(62.5, abs=4)
    modes = Counter(steps[2].label.split()[-1] for steps in drawn("realesrgan"))
    assert set(modes) == {"area", "bilinear", "bicubic"} and min(modes.values()) > DRAWS / 4
    sigmas = numbers(r"Gaussian noise, σ ([\d.]+)", "realesrgan", 3)
    assert 1 <= min(sigmas) < 3 and 28 < max(sigmas) <= 30
    strengths = numbers(r"Poisson noise ×([\d.]+)", "realesrgan", 3)
    assert 0.05 <= min(strengths) < 0.2 and 2.8 < max(strengths) <= 3


def test_realesrgan_resizes_in_both_directions():
    first = np.array(numbers(r"resize ×([\d.]+)", "realesrgan", 2))
    second = np.array(numbers(r"resize to LR ×([\d.]+)", "realesrgan"))
    for factors, (up, down, keep), (least, most) in (
        (first, (0.2, 0.7, 0.1), (0.15, 1.5)),
        (second, (0.3, 0.4, 0.3), (0.3, 1.2)),
    ):
        assert np.mean(factors > 1) == pytest.approx(up, abs=0.08)  # a factor of 1.00 may be 1.004
        assert np.mean(factors < 1) == pytest.approx(down, abs=0.08)
        assert np.mean(factors == 1) == pytest.approx(keep, abs=0.08)
        assert least <= factors.min() < least + 0.05 and most - 0.05 < factors.max() <= most
    for steps in drawn("realesrgan"):
        factor = float(re.search(r"×([\d.]+)", steps[2].label)[1])
        assert abs(steps[2].image.shape[1] - 64 * factor) <= 1.5


def test_realesrgan_takes_basicsrs_options():
    always = {
        "type": "realesrgan",
        "sinc_prob": 1,
        "second_blur_prob": 0,
        "final_sinc_prob": 0,
        "jpeg_range2": [50, 50],
    }
    never_smaller = {"resize_prob": [0, 0, 1], "gaussian_noise_prob": 1.0, "noise_range": [7, 7], "gray_noise_prob": 1}
    recipe = recipe_named({**always, **never_smaller}, 2)
    for n in range(30):
        labels = [step.label for step in recipe.steps(GT, np.random.default_rng(n))]
        assert letters(labels) in ("ibrnjrnjr8", "ibrnjrnrj8")
        assert (
            labels[1].startswith("blur: sinc") and "×1.00" in labels[2] and labels[3] == "Gaussian noise, σ 7.0, grey"
        )
        assert "JPEG, quality 50" in labels[-3:]


def test_realesrgan_draws_basicsrs_kernels():
    recipe: Any = recipe_named("realesrgan", 4)
    sets = [recipe.kernels(np.random.default_rng(n)) for n in range(300)]
    assert all(kernel.shape == (21, 21) and kernel.dtype == np.float32 for kernels in sets for kernel in kernels)
    assert all(kernel.sum() == pytest.approx(1, abs=1e-5) for kernels in sets for kernel in kernels)
    pulses = [np.count_nonzero(kernels[2]) == 1 for kernels in sets]
    assert np.mean(pulses) == about(0.2, 300)


def test_realesrgan_does_to_images_what_basicsr_does():
    """Means over many draws: contrast, steps from pixel to pixel, brightness; beside those of BasicSR's model."""
    import random

    from basicsr.data.degradations import circular_lowpass_kernel, random_mixed_kernels
    from basicsr.models.realesrgan_model import RealESRGANModel
    from basicsr.utils import DiffJPEG

    recipe: Any = recipe_named("realesrgan", 4)
    options = {key: getattr(recipe, key) for key in type(recipe).model_fields}
    model = RealESRGANModel.__new__(RealESRGANModel)
    gt = torch.from_numpy(picture(128, 128).transpose(2, 0, 1).astype(np.float32) / 255)
    model.opt = {**options, "scale": 4, "gt_size": 128}
    model.is_train, model.device = True, torch.device("cpu")
    jpeg = DiffJPEG(differentiable=False)
    model.jpeger = lambda image, quality: jpeg(image, quality=quality).contiguous()
    model.usm_sharpener = lambda image: image
    model._dequeue_and_enqueue = lambda: None
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)

    def kernel(sigma: Any, sinc: float, lowest: float) -> torch.Tensor:
        size = random.choice(range(7, 22, 2))
        if np.random.uniform() < sinc:
            values = circular_lowpass_kernel(np.random.uniform(lowest, np.pi), size)
        else:
            kinds, shares = list(recipe.kernel_list), list(recipe.kernel_prob)
            values = random_mixed_kernels(kinds, shares, size, sigma, sigma, [-np.pi, np.pi], [0.5, 4], [1, 2])
        pad = (21 - size) // 2
        return torch.FloatTensor(np.pad(values, pad))[None]

    def basicsrs() -> torch.Tensor:
        pulse = torch.zeros(1, 21, 21)
        pulse[0, 10, 10] = 1
        last = kernel((1, 2), 1, np.pi / 3) if np.random.uniform() < recipe.final_sinc_prob else pulse
        kernels = {"kernel1": kernel((0.2, 3), 0.1, np.pi / 4), "kernel2": kernel((0.2, 1.5), 0.1, np.pi / 4)}
        model.feed_data({"gt": gt[None], **kernels, "sinc_kernel": last})
        return model.lq[0]

    def measured(images: list[torch.Tensor]) -> list[float]:
        pairs = [(image.std().item(), (image[:, 1:] - image[:, :-1]).abs().mean().item()) for image in images]
        return [*np.mean(pairs, 0).tolist(), float(np.mean([image.mean().item() for image in images]))]

    theirs = measured([basicsrs() for _ in range(300)])
    mine = measured([recipe(gt, np.random.default_rng(n)) for n in range(300)])
    assert mine == pytest.approx(theirs, rel=0.06)


# BSRGAN


def test_bsrgan_shuffles_its_steps():
    labels = [[step.label for step in steps] for steps in drawn("bsrgan")]
    assert all(steps[-1].startswith("JPEG") for steps in labels)
    assert share(lambda steps: steps[1].startswith("halve"), drawn("bsrgan")) == about(0.25)
    assert share(lambda steps: any(step.startswith("shifted") for step in steps), drawn("bsrgan")) == about(0.25)
    assert share(lambda steps: sum(step.startswith("JPEG") for step in steps) == 2, drawn("bsrgan")) == about(0.9)
    first = Counter(re.match(r"\w+", steps[1])[0] for steps in labels)
    assert {"blur", "reduce", "shifted", "JPEG", "halve", "correlated"} <= set(first), "each may be the first"
    for steps in labels:
        reductions = [n for n, step in enumerate(steps) if re.match("reduce ×|shifted", step)]
        last = [n for n, step in enumerate(steps) if step.startswith("reduce to LR")]
        assert len(reductions) == len(last) == 1 and reductions[0] < last[0]
        assert sum(step.startswith("blur") for step in steps) == 2
        assert sum("noise" in step for step in steps) == 1


def test_bsrgans_values_stay_in_their_ranges():
    sigmas, qualities = numbers(r"noise, σ (\d+)", "bsrgan"), numbers(r"quality (\d+)", "bsrgan")
    assert (min(sigmas), max(sigmas)) == (2, 25) and (min(qualities), max(qualities)) == (30, 95)
    kinds = Counter(
        step.label.partition(" noise")[0] for steps in drawn("bsrgan") for step in steps if "noise" in step.label
    )
    assert kinds["grey Gaussian"] / DRAWS == about(0.4) and kinds["colour Gaussian"] / DRAWS == about(0.4)
    assert kinds["correlated"] / DRAWS == about(0.2)
    assert all(step.image.min() >= 0 and step.image.max() <= 1.001 for steps in drawn("bsrgan") for step in steps)


def test_bsrgans_shifted_gaussian_does_not_move_the_image():
    """A ramp stays one: each pixel has the value in the middle of those that it stands for."""
    recipe: Any = recipe_named({"type": "bsrgan", "shifted_prob": 1}, 4)
    ramp = (torch.arange(128) / 128).expand(1, 64, 128).contiguous()
    expected = (torch.arange(32) * 4 + 1.5) / 128
    for n in range(10):
        result = recipe._reduce(ramp, 4, np.random.default_rng(n)).image
        assert torch.allclose(result[0, 8, 5:27], expected[5:27], atol=1e-4)


def test_bsrgan_halves_at_scale_4_alone():
    assert not any(step.label.startswith("halve") for steps in drawn("bsrgan", 2) for step in steps)


# photographs


@pytest.mark.parametrize("scale", [2, 4])
def test_a_fifth_of_photographs_is_clean_bicubic(scale):
    clean = [steps for steps in drawn("photo", scale) if "MATLAB" in steps[-1].label]
    assert len(clean) / DRAWS == about(0.2)
    assert all(torch.equal(steps[-1].image, matlab_bicubic(GT, scale)) for steps in clean)


@pytest.mark.parametrize("scale", [2, 4])
def test_photographs_are_degraded_mildly(scale):
    others = [steps for steps in drawn("photo", scale) if "MATLAB" not in steps[-1].label]
    for word, expected in (("blur", 0.5), ("noise", 0.5), ("JPEG", 0.75), ("reduce", 1)):
        assert share(lambda labels, word=word: any(word in label for label in labels), others) == about(
            expected, len(others)
        )
    labels = [step.label for steps in others for step in steps]
    blurs = [float(found[1]) for label in labels if (found := re.search(r"blur: Gaussian, σ ([\d.]+)", label))]
    noises = [float(found[1]) for label in labels if (found := re.search(r"noise, σ ([\d.]+)", label))]
    qualities = [float(label.split()[-1]) for label in labels if label.startswith("JPEG")]
    assert 0.1 * scale <= min(blurs) + 0.01 and max(blurs) <= 0.6 * scale + 0.01
    assert 0 <= min(noises) < 1 and 11 < max(noises) <= 12
    assert 40 <= min(qualities) < 43 and 92 < max(qualities) <= 95
    bicubic = matlab_bicubic(GT, scale)
    assert np.mean([(steps[-1].image - bicubic).abs().mean().item() for steps in others]) < 0.05
