"""MATLAB's imresize: parity with BasicSR's, with a naive one written here, and with committed pixels."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from basicsr.utils import matlab_functions
from hypothesis import given, settings
from hypothesis import strategies as st

from hat_arch.degradations.resize import Region, contributions, imresize

SCALES = [1 / 2, 1 / 3, 1 / 4, 2, 3, 4, 0.37, 1.7]
CALM = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def noise(*shape, dtype=np.uint8):
    image = np.random.default_rng(sum(shape)).integers(0, 256, shape)
    return image.astype(dtype) if dtype == np.uint8 else (image / 255).astype(dtype)


def basicsr_imresize(monkeypatch, image, scale):
    """BasicSR's function, whose arithmetic is float32 wherever it says so, in float64."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "FloatTensor", torch.DoubleTensor)
        torch.set_default_dtype(torch.float64)
        try:
            return matlab_functions.imresize(image, scale)
        finally:
            torch.set_default_dtype(torch.float32)


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def naive_matrix(n, out, scale):
    """Dense ``(out, n)`` weights of one side, pixel by pixel."""
    shrink = min(scale, 1.0)
    matrix = np.zeros((out, n))
    for i in range(out):
        centre = (i + 0.5) / scale - 0.5
        reach = math.ceil(2 / shrink) + 2
        for tap in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            place = tap % (2 * n)  # the image, and its mirror image, again and again
            matrix[i, place if place < n else 2 * n - 1 - place] += cubic((centre - tap) * shrink)
    return matrix / matrix.sum(1, keepdims=True)


def naive_imresize(image, size, scales, rounds):
    """MATLAB's imresize of ``(H, W, C)`` in float64; ``rounds`` to whole numbers after each side, else at the end."""
    image = image.astype(np.float64)
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        matrix = naive_matrix(image.shape[axis], size[axis], scales[axis])
        image = np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis)
        if rounds or axis == max((0, 1), key=lambda axis: (scales[axis], axis)):
            image = np.clip(np.floor(image + 0.5), 0, 255)
    return image.astype(np.uint8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("height,width", [(24, 36), (17, 23), (31, 16)])
def test_is_basicsrs_imresize(monkeypatch, scale, height, width):
    image = torch.from_numpy(noise(2, height, width, dtype=np.float64))
    expected = basicsr_imresize(monkeypatch, image, scale)
    assert expected.dtype == torch.float64
    torch.testing.assert_close(imresize(image, scale), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("convention", ["double", "uint8"])
@pytest.mark.parametrize("shape", [(24, 36, 3), (37, 29, 1)])
def test_uint8_equals_a_naive_matlab_to_the_pixel(scale, convention, shape):
    image = noise(*shape)
    size = [math.ceil(side * scale) for side in shape[:2]]
    expected = naive_imresize(image, size, (scale, scale), convention == "uint8")
    result = imresize(image, scale, convention=convention)
    assert result.dtype == np.uint8 and np.array_equal(result, expected)


@pytest.mark.parametrize("size", [(12, 8), (8, 12), (48, 9), (9, 48), (108, 144), (144, 12)])
@pytest.mark.parametrize("convention", ["double", "uint8"])
def test_the_side_reduced_most_comes_first(size, convention):
    image = noise(36, 36, 3)
    expected = naive_imresize(image, size, (size[0] / 36, size[1] / 36), convention == "uint8")
    assert np.array_equal(imresize(image, size=size, convention=convention), expected)


@pytest.mark.parametrize("shape,scale", [((33, 26, 3), 0.37), ((300, 301, 3), 1.7)])
def test_uint8_is_the_float64_result_rounded_once_or_after_each_side(shape, scale):
    def rounded(image, size):
        return np.clip(np.floor(imresize(image.astype(np.float64), size=size) + 0.5), 0, 255).astype(np.uint8)

    image, (height, width) = noise(*shape), (math.ceil(side * scale) for side in shape[:2])
    assert np.array_equal(imresize(image, size=(height, width)), rounded(image, (height, width)))
    rows_first = rounded(rounded(image, (height, shape[1])), (height, width))
    columns_first = rounded(rounded(image, (shape[0], width)), (height, width))
    first = rows_first if height / shape[0] <= width / shape[1] else columns_first
    assert np.array_equal(imresize(image, size=(height, width), convention="uint8"), first)
    assert not np.array_equal(rows_first, columns_first)


def test_a_half_is_rounded_up():
    checks = np.tile(np.array([[0, 1], [1, 0]], np.uint8), (8, 8))
    assert (imresize(checks.astype(np.float64), 0.5)[2:-2, 2:-2] == 0.5).all()
    assert (imresize(checks, 0.5)[2:-2, 2:-2] == 1).all()


def test_overshoot_of_uint8_is_clipped_and_of_floats_is_kept():
    edge = np.zeros((16, 16), np.uint8)
    edge[:, 8:] = 255
    floats = imresize(edge.astype(np.float64), 2)
    assert floats.min() < -1 and floats.max() > 256
    for convention in ("double", "uint8"):
        result = imresize(edge, 2, convention=convention)
        assert result[8, 14] == 0 and result[8, 17] == 255
        assert (np.diff(result[8].astype(int)) >= 0).all()  # nothing wrapped round


@pytest.mark.parametrize("scale", [1 / 3, 1 / 4, 2, 1.7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_and_tensors_of_any_layout_give_the_same(scale, dtype):
    image = noise(3, 25, 38, 3, dtype=dtype)  # a batch of (H, W, C)
    copy = image.copy()
    image.flags.writeable = False
    close = {"rtol": 0, "atol": {np.uint8: 0, np.float32: 2e-6, np.float64: 1e-14}[dtype]}
    batch = imresize(torch.from_numpy(copy).permute(0, 3, 1, 2).contiguous(), scale)
    assert batch.shape[:2] == (3, 3)
    for n in range(3):
        array = imresize(image[n], scale)
        assert isinstance(array, np.ndarray) and array.dtype == dtype == batch.numpy().dtype
        np.testing.assert_allclose(array, batch[n].permute(1, 2, 0).numpy(), **close)
        np.testing.assert_allclose(imresize(image[n, :, :, 0], scale), array[..., 0], **close)
        flipped = image[n, ::-1, ::-1]
        np.testing.assert_allclose(imresize(flipped, scale), imresize(flipped.copy(), scale), **close)
        np.testing.assert_allclose(imresize(np.asfortranarray(image[n]), scale), array, **close)
        if dtype == np.float32:
            np.testing.assert_allclose(array, imresize(image[n].astype(np.float64), scale), **close)
    assert np.array_equal(image, copy)


@CALM
@given(st.data())
def test_a_region_is_the_crop_of_the_whole(data):
    height, width = (data.draw(st.integers(1, 60)) for _ in range(2))
    scale = data.draw(st.sampled_from([s for s in SCALES if min(height, width) * s > 0]))
    dtype, convention = data.draw(st.sampled_from([(np.uint8, "uint8"), (np.uint8, "double"), (np.float64, "double")]))
    image = noise(height, width, 3, dtype=dtype)
    whole = imresize(image, scale, convention=convention)
    top, left = (data.draw(st.integers(0, side - 1)) for side in whole.shape[:2])
    rows = data.draw(st.integers(1, whole.shape[0] - top))
    columns = data.draw(st.integers(1, whole.shape[1] - left))
    part = imresize(image, scale, convention=convention, region=Region(top, left, rows, columns))
    np.testing.assert_allclose(part, whole[top : top + rows, left : left + columns], rtol=0, atol=1e-14)


@CALM
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from(SCALES), st.integers(0, 255))
def test_constant_images_stay_constant(height, width, scale, value):
    image = np.full((height, width), value, np.uint8)
    for convention in ("double", "uint8"):
        result = imresize(image, scale, convention=convention)
        assert result.shape == (math.ceil(height * scale), math.ceil(width * scale))
        assert (result == value).all()
    assert np.abs(imresize(image.astype(np.float64), scale) - value).max() < 1e-11


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 2, 1.7])
def test_gradients_flow(scale):
    image = torch.rand(1, 2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale), image)
    assert torch.autograd.gradcheck(lambda x: imresize(x[0], scale), image)


@CALM
@given(st.integers(1, 300), st.sampled_from(SCALES))
def test_contributions_are_inside_the_image_and_sum_to_one(n, scale):
    indices, weights = contributions(n, scale, np.arange(math.ceil(n * scale)))
    assert indices.min() >= 0 and indices.max() < n
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-13)


@pytest.mark.parametrize(
    "error,match,image,options",
    [
        (TypeError, "takes uint8, float32 or float64, not torch.int64", np.zeros((4, 4), np.int64), {"scale": 2}),
        (TypeError, "convention 'uint8'", np.zeros((4, 4)), {"scale": 2, "convention": "uint8"}),
        (ValueError, "neither 'double' nor 'uint8'", np.zeros((4, 4)), {"scale": 2, "convention": "single"}),
        (ValueError, "either scale or size", np.zeros((4, 4)), {}),
        (ValueError, "either scale or size", np.zeros((4, 4)), {"scale": 2, "size": (8, 8)}),
        (ValueError, "0x4 pixels", np.zeros((0, 4)), {"scale": 2}),
        (ValueError, "no pixel would be left", np.zeros((4, 4)), {"scale": 0}),
        (ValueError, "no pixel would be left", np.zeros((4, 4)), {"size": (0, 4)}),
        (ValueError, r"\(H, W\) or \(H, W, C\)", np.zeros((1, 1, 4, 4)), {"scale": 2}),
        (ValueError, "not inside the output of 8x8", np.zeros((4, 4)), {"scale": 2, "region": Region(1, 0, 8, 8)}),
        (ValueError, "not inside the output of 8x8", np.zeros((4, 4)), {"scale": 2, "region": Region(-1, 0, 2, 2)}),
        (ValueError, "not inside the output of 8x8", np.zeros((4, 4)), {"scale": 2, "region": Region(0, 0, 0, 2)}),
    ],
)
def test_what_cannot_be_resized_is_refused(error, match, image, options):
    with pytest.raises(error, match=match):
        imresize(image, **options)


def synthetic(height, width):
    """An image that anyone can make: stripes that wrap, so that it overshoots."""
    i, j = np.mgrid[:height, :width]
    return ((i * i * 11 + j * 37 + i * j * 5) % 256).astype(np.uint8)


EXPECTED = {
    (2, "uint8"): [
        [21, 107, 178, 82, 84, 143, 127, 81, 133, 172, 107, 107],
        [103, 179, 123, 106, 118, 102, 101, 134, 125, 113, 122, 110],
        [129, 120, 112, 104, 103, 148, 142, 120, 129, 152, 115, 146],
        [98, 134, 138, 107, 140, 125, 160, 99, 183, 118, 102, 103],
        [122, 127, 135, 132, 93, 97, 122, 146, 153, 121, 116, 141],
        [118, 155, 178, 132, 82, 107, 131, 118, 144, 100, 112, 103],
    ],
    (2, "double"): [
        [21, 107, 178, 82, 84, 143, 127, 81, 133, 171, 107, 107],
        [103, 179, 123, 106, 118, 102, 101, 134, 125, 113, 122, 110],
        [129, 120, 112, 104, 103, 148, 142, 120, 129, 152, 115, 146],
        [98, 134, 138, 107, 140, 125, 160, 99, 183, 118, 102, 103],
        [122, 128, 135, 131, 93, 97, 122, 145, 153, 121, 116, 141],
        [118, 155, 178, 132, 82, 107, 131, 118, 144, 100, 112, 103],
    ],
    (3, "uint8"): [
        [64, 156, 91, 119, 110, 121, 143, 104],
        [133, 123, 105, 127, 127, 128, 130, 126],
        [110, 135, 116, 126, 134, 148, 128, 110],
        [129, 159, 115, 97, 125, 138, 111, 116],
    ],
    (3, "double"): [
        [64, 156, 91, 119, 110, 121, 143, 104],
        [133, 123, 105, 127, 127, 128, 130, 126],
        [110, 136, 116, 126, 134, 147, 128, 110],
        [129, 159, 115, 97, 125, 138, 111, 116],
    ],
    (4, "uint8"): [[98, 124, 110, 113, 135, 116], [124, 116, 127, 134, 138, 119], [132, 141, 101, 130, 128, 113]],
    (4, "double"): [[98, 123, 110, 113, 135, 115], [124, 116, 127, 134, 138, 119], [132, 140, 101, 130, 129, 113]],
}  # computed with fractions, without any rounding but the last of each side


@pytest.mark.parametrize("scale,convention", EXPECTED)
def test_committed_pixels(scale, convention):
    result = imresize(synthetic(12, 24), 1 / scale, convention=convention)
    assert result.tolist() == EXPECTED[scale, convention]


def test_committed_digests():
    colour = np.stack([synthetic(96, 120), synthetic(97, 120)[1:], synthetic(96, 121)[:, 1:]], -1)
    lr = {scale: imresize(colour, 1 / scale, convention="uint8") for scale in (2, 3, 4)}
    digests = {scale: hashlib.sha256(image.tobytes()).hexdigest()[:16] for scale, image in lr.items()}
    assert digests == {2: "da63648821e54c3a", 3: "7deab97ae3ec5fe2", 4: "491554eaabc1fddc"}
