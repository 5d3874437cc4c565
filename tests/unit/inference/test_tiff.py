"""TIFF written in bands is what every reader expects."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hat_arch.inference import tiff
from hat_arch.inference.tiff import TiffWriter, TooLargeError, dots_per_inch


def written(pages, cuts=(), **tags):
    file = io.BytesIO()
    writer = TiffWriter(file)
    for page in pages:
        writer.begin(*page.shape, 8 * page.itemsize, tags)
        for band in np.split(page, sorted(cuts)):
            writer.write(band)
        writer.end()
    return file.getvalue()


def random(height, width, channels, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels)).astype(f"u{bits // 8}")


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]), st.sampled_from([8, 16]), st.data())
def test_any_reader_gets_the_same_pixels(height, width, channels, bits, data):
    image = random(height, width, channels, bits)
    cuts = data.draw(st.sets(st.integers(0, height), max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff, "STRIP", data.draw(st.sampled_from([100, 5000, 10**6])))
        file = written([image, image[::-1]], cuts)
    with tifffile.TiffFile(io.BytesIO(file)) as read:
        assert len(read.pages) == 2
        assert np.array_equal(read.pages[0].asarray().reshape(image.shape), image)
        assert np.array_equal(read.pages[1].asarray().reshape(image.shape), image[::-1])
    if bits == 8:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))).reshape(image.shape), image)


def test_tags_are_kept():
    tags = {34675: b"profile", 700: b"<xmp>", 271: "camera", 34665: {0x9003: "2020:02:03 04:05:06"}}
    file = io.BytesIO()
    writer = TiffWriter(file)
    writer.begin(3, 2, 3, 8, tags | dots_per_inch((300, 150)))
    writer.write(random(3, 2, 3, 8))
    writer.end()
    with Image.open(file) as image:
        assert image.info["dpi"] == (300, 150) and image.info["icc_profile"] == b"profile"
        assert image.info["xmp"] == b"<xmp>"
        assert image.getexif()[271] == "camera" and image.getexif().get_ifd(34665) == {0x9003: "2020:02:03 04:05:06"}


def test_what_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(tiff, "BIG", 500)
    with pytest.raises(TooLargeError, match="4 GiB"):
        written([random(30, 30, 3, 8)])


def test_missing_rows_are_an_error():
    writer = TiffWriter(io.BytesIO())
    writer.begin(3, 2, 1, 8, {})
    writer.write(random(2, 2, 1, 8))
    with pytest.raises(ValueError, match="1 rows are missing"):
        writer.end()
