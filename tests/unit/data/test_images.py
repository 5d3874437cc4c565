"""Reading images: what BasicSR would misread is refused by name, everything else is read as it looks."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hat_arch.data.images import DataError, ImageError, decode, encode, find, find_named, peek, read, verify

GREY = (np.add.outer(np.arange(40) * 4, np.arange(30) * 3) % 256).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, np.full_like(GREY, 60)], -1)
BGR = RGB[..., ::-1]
NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def encoded(pixels, format="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, format, **options)
    return buffer.getvalue()


def opencv(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


DEEP = RGB.astype(np.uint16) * 257
ALPHA = np.dstack([RGB, GREY])
NOISY_PNG, NOISY_JPEG = encoded(NOISE), encoded(NOISE, "JPEG")
NOISY_WEBP = encoded(NOISE, "WEBP", lossless=True)
BAD = {
    "zero.png": (b"", "is empty"),
    "text.png": (b"<html>404 Not Found</html>\n", "is not an image"),
    "header_only.png": (NOISY_PNG[:8], "is not an image|is damaged"),
    "truncated.png": (NOISY_PNG[: len(NOISY_PNG) // 2], "is damaged"),
    "truncated.jpg": (NOISY_JPEG[: len(NOISY_JPEG) // 2], "is damaged"),
    "truncated.webp": (NOISY_WEBP[: len(NOISY_WEBP) // 2], "is damaged|is not an image"),
    "flipped.png": (flipped(NOISY_PNG, len(NOISY_PNG) // 2), "is damaged"),
    "deep_grey.png": (opencv(".png", DEEP[..., 0]), "more than 8 bits"),
    "deep_colour.png": (opencv(".png", DEEP), "more than 8 bits"),
    "deep_alpha.png": (opencv(".png", np.dstack([DEEP, DEEP[..., 0] | 0xFFFF])), "more than 8 bits"),
    "deep_grey.pgm": (opencv(".pgm", DEEP[..., 0]), "more than 8 bits"),
    "deep_grey.tif": (opencv(".tif", DEEP[..., 0]), "more than 8 bits"),
    "deep_colour.tif": (opencv(".tif", DEEP), "more than 8 bits"),
    "deep_colour.ppm": (opencv(".ppm", DEEP), "more than 8 bits"),
    "cmyk.jpg": (encoded(RGB, "JPEG", "CMYK"), "is CMYK"),
    "lab.tif": (encoded(RGB, "TIFF", "LAB"), "is LAB"),
    "transparent.png": (encoded(ALPHA), "is transparent"),
    "transparent_grey.png": (encoded(np.dstack([GREY, GREY])), "is transparent"),
    "transparent_colour.png": (encoded(RGB, transparency=tuple(map(int, RGB[3, 4]))), "is transparent"),
    "transparent_palette.png": (encoded(np.zeros_like(RGB), mode="P", transparency=0), "is transparent"),
    "transparent.webp": (encoded(ALPHA, "WEBP", lossless=True), "is transparent"),
    "animated.png": (encoded(RGB, save_all=True, append_images=[Image.fromarray(NOISE)]), "several images"),
    "animated.webp": (encoded(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(NOISE)]), "several images"),
    "pages.tif": (encoded(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(NOISE)]), "several images"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_an_error_of_one_line_that_names_it(tmp_path, name):
    data, match = BAD[name]
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(ImageError, match=match) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=match):
        verify(data, file)  # what packs images byte for byte


def test_a_missing_image_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name in ("gone.png", "folder.png"):
        with pytest.raises(ImageError, match=f"{name}: [A-Z]"):
            read(tmp_path / name)


@pytest.fixture
def unreadable():
    """A file and a folder that the user who runs the test may not read."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "secret").mkdir()
        (folder / "a.png").write_bytes(NOISY_PNG)
        (folder / "secret/b.png").write_bytes(NOISY_PNG)
        folder.chmod(0o755)
        (folder / "a.png").chmod(0)
        (folder / "secret").chmod(0)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            if os.access(folder / "a.png", os.R_OK, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("this user may read everything")
            yield folder
        finally:
            if root:
                os.seteuid(0)
    finally:
        (folder / "secret").chmod(0o700)
        shutil.rmtree(folder)


def test_an_unreadable_image_or_folder_is_named(unreadable):
    with pytest.raises(ImageError, match=r"a\.png: Permission denied"):
        read(unreadable / "a.png")
    with pytest.raises(DataError, match="secret: Permission denied"):
        find(unreadable)


@pytest.mark.parametrize("data", [NOISY_PNG, NOISY_JPEG, NOISY_WEBP], ids=["png", "jpg", "webp"])
def test_a_download_that_stopped_anywhere_is_refused(data):
    for length in {*range(1, len(data), len(data) // 20 + 1), *range(len(data) - 20, len(data))}:
        with pytest.raises(ImageError):
            verify(data[:length], f"first {length} of {len(data)} bytes")


def test_a_flipped_bit_anywhere_in_a_png_is_refused_or_harmless():
    header, pixels = verify(NOISY_PNG, "it"), decode(NOISY_PNG, "it")
    end = len(NOISY_PNG)
    undetected = []
    for place in {*range(60), *range(60, end, 97), *range(end - 20, end)}:
        data = flipped(NOISY_PNG, place)
        try:
            assert verify(data, "it") == header
        except ImageError:
            continue
        read_by_basicsr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if not np.array_equal(read_by_basicsr, pixels):
            undetected.append(place - end)
    assert not undetected


GOOD = {
    "rgb.png": (encoded(RGB), BGR, ".png"),
    "opaque_alpha.png": (encoded(np.dstack([RGB, np.full_like(GREY, 255)])), BGR, ".png"),
    "opaque_alpha.webp": (encoded(np.dstack([RGB, np.full_like(GREY, 255)]), "WEBP", lossless=True), BGR, ".webp"),
    "palette.png": (encoded(RGB // 64 * 85, mode="P", colors=256), None, ".png"),
    "grey.png": (encoded(GREY), GREY, ".png"),
    "opaque_grey.png": (encoded(np.dstack([GREY, np.full_like(GREY, 255)])), GREY, ".png"),
    "bits.png": (encoded(GREY > 99), np.where(GREY > 99, 255, 0), ".png"),
    "rgb.bmp": (encoded(RGB, "BMP"), BGR, ".bmp"),
    "rgb.tif": (encoded(RGB, "TIFF"), BGR, ".tif"),
    "rgb.ppm": (encoded(RGB, "PPM"), BGR, ".ppm"),
    "webp_named.png": (encoded(RGB, "WEBP", lossless=True), BGR, ".webp"),
    "rgb.JPG": (encoded(RGB, "JPEG"), None, ".jpg"),
    "grey.jpg": (encoded(GREY, "JPEG"), None, ".jpg"),
    "progressive.jpg": (encoded(RGB, "JPEG", progressive=True), None, ".jpg"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_is_read_as_it_looks(tmp_path, name):
    data, expected, suffix = GOOD[name]
    (tmp_path / name).write_bytes(data)
    image = read(tmp_path / name)
    header = verify(data, name)
    assert image.dtype == np.uint8 and header.suffix == suffix
    assert (*image.shape, 1)[:3] == (header.height, header.width, header.channels)
    if expected is None:  # lossy, or of few colours: as Pillow reads it
        expected = np.array(Image.open(io.BytesIO(data)).convert("L" if image.ndim == 2 else "RGB"))
        expected = expected if image.ndim == 2 else expected[..., ::-1]
        assert np.abs(image.astype(int) - expected).max() <= 2
    else:
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("format,options", [("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {})])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_read_upright(format, options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(RGB, format, exif=exif, **options)
    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))[..., ::-1]
    assert upright.shape[:2] == ((30, 40) if orientation > 4 else (40, 30))
    image, header = decode(data, "it"), verify(data, "it")
    assert image.shape == upright.shape == (header.height, header.width, 3)
    assert np.abs(image.astype(int) - upright).max() < 16


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("image", [NOISE, GREY, np.zeros((1, 1, 3), np.uint8)])
def test_encoding_loses_nothing(suffix, image):
    data = encode(image, suffix)
    assert verify(data, "it").suffix == suffix
    read_again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read_again, image)


def test_find_goes_below_sorts_and_passes_over_what_is_hidden_or_no_image(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", ".hidden.png", ".cache/3.png", "notes.txt", "b/c/4.tiff", "._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in find(tmp_path)] == [
        "a.webp",
        "b/1.png",
        "b/2.JPG",
        "b/c/4.tiff",
    ]


def test_find_says_what_is_wrong_with_the_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(NOISY_PNG)
    for name, message in (
        ("gone", "no such folder"),
        ("empty", "holds no image"),
        ("file.png", "is not a folder"),
    ):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            find(tmp_path / name)


@pytest.mark.parametrize("size", [(1, 1), (7, 20), (20, 7), (8, 8), (1, 300)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_small_jpegs_are_whole(size, mode):
    data = encoded(np.zeros((*size, 3), np.uint8), "JPEG", mode)
    header = verify(data, "small.jpg")
    assert (header.height, header.width) == size == decode(data, "small.jpg").shape[:2]


def test_whatever_a_decoder_raises_is_said_of_the_image(monkeypatch):
    def load(self):
        raise ZeroDivisionError("in a decoder")

    monkeypatch.setattr(Image.Image, "load", load)
    monkeypatch.setattr(Image, "open", lambda file: Image.fromarray(NOISE))
    with pytest.raises(ImageError, match=r"x\.png: "):
        verify(NOISY_PNG, "x.png")


@pytest.mark.parametrize(
    "name,data", [("a.gif", encoded(RGB, "GIF")), ("a.heic", b"\0\0\0\x18ftypheic"), ("a.png", encoded(RGB, "GIF"))]
)
def test_images_of_other_kinds_are_found_and_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert find(tmp_path) == [tmp_path / name]
    for reads in (read, peek):
        with pytest.raises(ImageError, match=name):
            reads(tmp_path / name)


def test_links_are_followed(tmp_path):
    for name in ("here/a.png", "there/b.png", "there/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(NOISY_PNG)
    (tmp_path / "here/more").symlink_to("../there")
    (tmp_path / "here/d.png").symlink_to("../there/b.png")
    (tmp_path / "linked").symlink_to("here")
    names = ["a.png", "d.png", "more/b.png", "more/deep/c.png"]
    for folder in ("here", "linked"):
        assert find(tmp_path / folder) == [tmp_path / folder / name for name in names]


@pytest.mark.parametrize("target", ["..", "../..", ".", "/"])
def test_a_link_in_a_circle_is_refused(tmp_path, target):
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x/y/back").symlink_to(target)
    with pytest.raises(DataError, match="y/back: is a link to a folder that it lies in"):
        find(tmp_path / "x")


def test_two_links_in_a_circle_are_refused(tmp_path):
    for name, other in (("x", "y"), ("y", "x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        find(tmp_path / "x")


def test_a_link_to_what_is_not_there_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(NOISY_PNG)
    (tmp_path / "more").symlink_to("gone")
    with pytest.raises(DataError, match="more: is a link to gone, which is not there"):
        find(tmp_path)


def test_names_that_several_files_have(tmp_path):
    for name in ("a.png", "a.jpg", "a.BMP", "b.png", "cx4.png", "c.png"):
        (tmp_path / name).write_bytes(NOISY_PNG)
    bad = []
    assert find_named(tmp_path, bad=bad) == {tmp_path / f"{name}.png": name for name in ("b", "c", "cx4")}
    (line,) = bad
    assert line.startswith(", ".join(f"{tmp_path}/a.{suffix}" for suffix in ("BMP", "jpg", "png")) + ": have the same")
    with pytest.raises(DataError, match=r"a\.BMP.* have the same name.*\(1 more"):
        find_named(tmp_path, strip="x4")
