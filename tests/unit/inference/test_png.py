"""PNG written in bands is what every reader expects."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hat_arch.data.images import verify
from hat_arch.inference.png import PngWriter


def written(image, cuts):
    file = io.BytesIO()
    writer = PngWriter(file, *image.shape, 8 * image.itemsize)
    for band in np.split(image, sorted(cuts)):
        writer.write(band)
    writer.close()
    return file.getvalue()


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_any_reader_gets_the_same_pixels(height, width, channels, seed, data):
    rng = np.random.default_rng(seed)
    rough, smooth = rng.integers(0, 256, (height, width, channels)), np.arange(width)[None, :, None] * 3 + seed
    image = (rough if seed % 2 else smooth + rough % 4).astype(np.uint8)
    cuts = data.draw(st.sets(st.integers(0, height), max_size=4))
    png = written(image, cuts)
    assert verify(png, "it").channels == channels
    pillow = np.asarray(Image.open(io.BytesIO(png))).reshape(image.shape)
    opencv = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).reshape(image.shape)[..., ::-1]
    assert np.array_equal(pillow, image) and np.array_equal(opencv, image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_16_bits_and_alpha(channels, bits):
    image = np.random.default_rng(0).integers(0, 2**bits, (70, 13, channels)).astype(f"u{bits // 8}")
    png = written(image, {11, 12})
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).reshape(70, 13, -1)
    assert read.dtype == image.dtype
    order = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]  # OpenCV's BGR; grey with alpha as BGRA
    assert np.array_equal(read[..., order], image)


def test_an_animation():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 4)).astype(np.uint8)
    file = io.BytesIO()
    writer = PngWriter(file, 8, 9, 4, frames=3, plays=2)
    for frame, milliseconds in zip(frames, (40, 100, 250)):
        writer.begin(milliseconds)
        writer.write(frame)
    writer.close()
    with Image.open(file) as read:
        assert (read.n_frames, read.info["loop"]) == (3, 2)
        for i, milliseconds in enumerate((40, 100, 250)):
            read.seek(i)
            assert read.info["duration"] == milliseconds
            assert np.array_equal(np.asarray(read.convert("RGBA")), frames[i])
    file.seek(0)
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)[..., 3], frames[0, ..., 3]
    )


def test_missing_images_are_an_error():
    writer = PngWriter(io.BytesIO(), 1, 2, 1, frames=2)
    writer.begin()
    writer.write(np.zeros((1, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="1 images are missing"):
        writer.close()


def test_filters_make_a_photograph_small():
    from skimage.data import astronaut

    image = astronaut()
    png = written(image, {100, 300})
    assert len(png) < 1.02 * len(cv2.imencode(".png", image[..., ::-1])[1])
    assert len(png) < 0.7 * image.size


def test_missing_rows_are_an_error():
    writer = PngWriter(io.BytesIO(), 3, 2, 1)
    writer.write(np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="1 rows are missing"):
        writer.close()
