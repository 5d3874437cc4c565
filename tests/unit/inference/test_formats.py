"""What formats can hold, and what is said if they cannot."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from hat_arch.data.images import DataError, ImageError
from hat_arch.inference.formats import SUFFIXES, Page, check_quality, save
from hat_arch.inference.metadata import Metadata, of_larger


def saved(format, pixels, metadata=None, quality=None):
    file = io.BytesIO()
    height, width, channels = pixels.shape
    page = Page(height, width, channels, 8 * pixels.itemsize, metadata or Metadata())
    save(file, f"it.{format}", format, iter([(page, iter(np.array_split(pixels, 3)))]), quality)
    return file


def random(height, width, channels, bits=8):
    return np.random.default_rng(0).integers(0, 2**bits, (height, width, channels)).astype(f"u{bits // 8}")


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_read_again(format, channels):
    pixels = np.kron(random(4, 5, channels), np.ones((8, 8, 1), np.uint8))
    with Image.open(saved(format, pixels)) as image:
        read = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(pixels.shape)
    exact = format in ("png", "tif", "bmp", "webp")
    assert np.abs(read.astype(int) - pixels).mean() < (0.01 if exact else 12)


@pytest.mark.parametrize(("format", "size"), [("jpg", (1, 65536)), ("webp", (16384, 1)), ("gif", (1, 65536))])
def test_what_is_too_large_for_a_format_is_named(format, size):
    with pytest.raises(ImageError, match=rf"^it\.{format}: {format} cannot hold {size[0]}x{size[1]} pixels.*png$"):
        saved(format, np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize(("format", "low", "high"), [("jpg", 10, 95), ("webp", 10, 95), ("avif", 10, 95)])
def test_quality_is_obeyed(format, low, high):
    pixels = random(64, 64, 3)
    assert saved(format, pixels, quality=low).tell() < saved(format, pixels, quality=high).tell()


def test_grey_with_alpha_of_16_bits_is_for_every_reader():
    pixels = random(5, 6, 2, 16)
    read = tifffile.imread(io.BytesIO(saved("tif", pixels).getvalue()))
    assert np.array_equal(read[..., [0, 3]], pixels)


@pytest.mark.parametrize(("format", "quality"), [("png", 80), (None, 80), ("jpg", 0), ("jpg", 101)])
def test_quality_where_there_is_none(format, quality):
    with pytest.raises(DataError, match=f"--quality {quality}: "):
        check_quality(format, quality)
    check_quality("jpg", 80)


def test_the_original_metadata_stay_as_they_were():
    exif = Image.Exif()
    exif[0x0131] = "camera 1.0"
    original = Metadata(exif=exif)
    larger = of_larger(original, 8, 9, "hat_arch")
    assert larger.exif[0x0131] == "camera 1.0; hat_arch" and exif[0x0131] == "camera 1.0"
    assert of_larger(larger, 8, 9, "hat_arch").exif[0x0131] == "camera 1.0; hat_arch"
