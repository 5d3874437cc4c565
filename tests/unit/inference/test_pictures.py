"""What is read of image files: pixels as other readers see them, upright, and all that stands beside them."""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from hat_arch.data.images import ImageError
from hat_arch.inference import pictures
from hat_arch.inference.pictures import open_picture, peek_picture

Y, X = np.mgrid[:12, :20]
RGB = np.stack([12 * X, 20 * Y, 4 * X + 9 * Y], -1).astype(np.uint8)  # smooth, and of no symmetry
ALPHA = np.tile(np.arange(0, 240, 12, dtype=np.uint8), (12, 1))


def encoded(image, format, **how):
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


def one(data, name="it"):
    picture = open_picture(data, name)
    [frame] = picture.frames
    return frame


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "deep PNG", "deep TIFF"])
def test_images_are_turned_upright_once(tmp_path, kind, orientation):
    image, format = Image.fromarray(RGB), kind.split()[-1]
    if kind == "deep PNG":
        data = cv2.imencode(".png", RGB[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
        exif = oriented(orientation).tobytes().removeprefix(b"Exif\0\0")
        chunk = (
            struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", __import__("zlib").crc32(b"eXIf" + exif))
        )
        data = data[:33] + chunk + data[33:]
    elif kind == "deep TIFF":
        file = io.BytesIO()
        extra = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(file, RGB.astype(np.uint16) * 257, photometric="rgb", extratags=extra, metadata=None)
        data = file.getvalue()
    else:
        data = encoded(image, format, exif=oriented(orientation))
    tagged = image.copy()
    tagged.getexif()[0x0112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(tagged))
    frame = one(data)
    assert frame.pixels.shape == wanted.shape
    scale = 257 if "deep" in kind else 1
    assert np.abs(frame.pixels.astype(int) / scale - wanted).mean() < (
        0.01 if format != "JPEG" and format != "WEBP" else 30
    )
    (tmp_path / "it").write_bytes(data)
    assert peek_picture(tmp_path / "it") == (*wanted.shape[:2], 1, format)
    assert 0x0112 not in open_picture(data, "it").metadata.exif


MODES = {
    "grey": (Image.fromarray(RGB[..., 0]), "PNG", (12, 20), None),
    "bits": (Image.fromarray(RGB[..., 0]).convert("1"), "PNG", (12, 20), None),
    "grey with alpha": (Image.fromarray(np.dstack([RGB[..., 0], ALPHA])), "PNG", (12, 20), ALPHA),
    "RGBA": (Image.fromarray(np.dstack([RGB, ALPHA])), "PNG", (12, 20, 3), ALPHA),
    "RGBA TIFF": (Image.fromarray(np.dstack([RGB, ALPHA])), "TIFF", (12, 20, 3), ALPHA),
    "opaque RGBA": (Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)])), "PNG", (12, 20, 3), None),
    "palette": (Image.fromarray(RGB).quantize(200), "PNG", (12, 20, 3), None),
    "YCbCr": (Image.fromarray(RGB).convert("YCbCr"), "TIFF", (12, 20, 3), None),
    "CMYK": (Image.fromarray(RGB).convert("CMYK"), "TIFF", (12, 20, 3), None),
    "Lab": (
        ImageCms.profileToProfile(
            Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        ),
        "TIFF",
        (12, 20, 3),
        None,
    ),
    "BMP": (Image.fromarray(RGB), "BMP", (12, 20, 3), None),
    "PPM": (Image.fromarray(RGB), "PPM", (12, 20, 3), None),
    "JPEG 2000": (Image.fromarray(RGB), "JPEG2000", (12, 20, 3), None),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_grey_or_rgb_and_alpha(name):
    image, format, shape, alpha = MODES[name]
    frame = one(encoded(image, format))
    assert frame.pixels.shape == shape and frame.pixels.dtype == np.uint8
    assert (frame.alpha is None) == (alpha is None) and (alpha is None or np.array_equal(frame.alpha, alpha))
    wanted = np.asarray(image.convert("L" if len(shape) == 2 else "RGB")) if image.mode != "LAB" else RGB
    assert np.abs(frame.pixels.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_stay(suffix, channels):
    if suffix == ".ppm" and channels == 4:
        pytest.skip("PPM has no alpha")
    image = np.random.default_rng(1).integers(0, 65536, (5, 6, channels)).astype(np.uint16)
    data = cv2.imencode(suffix if channels > 1 or suffix != ".ppm" else ".pgm", image)[1].tobytes()
    frame = one(data)
    assert frame.pixels.dtype == np.uint16
    assert np.array_equal(frame.pixels, image[..., 0] if channels == 1 else image[..., 2::-1])
    assert frame.alpha is None if channels < 4 else np.array_equal(frame.alpha, image[..., 3])


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_and_pages_come_one_by_one(format):
    images = [Image.fromarray(np.roll(RGB, 5 * i, 1)) for i in range(3)]
    how = {"duration": [50, 100, 150], "loop": 4} if format != "TIFF" else {}
    how |= {"lossless": True} if format == "WEBP" else {}
    picture = open_picture(encoded(images[0], format, save_all=True, append_images=images[1:], **how), "it")
    frames = list(picture.frames)
    assert (picture.count, len(frames)) == (3, 3)
    for image, frame in zip(images, frames):
        assert np.abs(frame.pixels.astype(int) - np.asarray(image)).mean() < (25 if format == "GIF" else 0.01)
    if format != "TIFF":
        assert picture.plays == 4 and [round(frame.milliseconds) for frame in frames] == [50, 100, 150]


def test_a_profile_of_cmyk_is_used_and_not_kept():
    grey = Image.new("CMYK", (3, 2), (0, 0, 0, 128))
    picture = open_picture(encoded(grey, "TIFF"), "it")
    list(picture.frames)
    assert "without a colour profile" in picture.notes[0]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # not of CMYK
    with pytest.raises(ImageError, match="it: its colour profile does not fit CMYK"):
        one(encoded(grey, "TIFF", icc_profile=profile))


def test_what_stands_beside_the_pixels_is_read():
    exif = oriented(6)
    exif[0x010F] = "camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:02:03 04:05:06"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6">kept</r></x:xmpmeta>'
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.fromarray(RGB), "JPEG", exif=exif, icc_profile=profile, dpi=(300, 300), xmp=xmp, comment=b"hi")
    found = open_picture(data, "it").metadata
    assert found.icc == profile and found.dpi == (300, 300) and found.comment == b"hi"
    assert found.exif[0x010F] == "camera" and found.exif.get_ifd(0x8769)[0x9003] == "2020:02:03 04:05:06"
    assert b"kept" in found.xmp and b'Orientation="6"' not in found.xmp


FLOAT = Image.fromarray(np.zeros((2, 3), np.float32))
GOOD = encoded(Image.fromarray(RGB), "PNG")
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"no image at all", "is not an image"),
    "cut PNG": (GOOD[:-40], "damaged"),
    "broken PNG": (GOOD[:80] + bytes([GOOD[80] ^ 1]) + GOOD[81:], "damaged"),
    "cut JPEG": (encoded(Image.fromarray(RGB), "JPEG")[:-30], "damaged"),
    "cut GIF": (encoded(Image.fromarray(RGB), "GIF")[:-60], "damaged"),
    "float TIFF": (encoded(FLOAT, "TIFF"), "floating-point"),
    "32 bits": (encoded(Image.fromarray(np.zeros((2, 3), np.int32)), "TIFF"), "32 bits"),
    "odd maximum": (b"P6 1 1 1023\n" + bytes(6), "maximum of 1023"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name):
    data, words = BAD[name]
    with pytest.raises(ImageError, match=rf"^folder/it\.png: .*{words}") as caught:
        one(data, "folder/it.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3)])
def test_odd_sizes_are_images(size):
    assert one(encoded(Image.new("RGB", size), "PNG")).pixels.shape == (*size[::-1], 3)


def test_a_bomb_is_refused_unless_it_is_allowed(tmp_path):
    data = encoded(Image.new("L", (2000, 1000)), "PNG")
    (tmp_path / "it").write_bytes(data)
    before = Image.MAX_IMAGE_PIXELS
    try:
        pictures.limit_pixels(1_000_000)
        for read in (lambda: one(data), lambda: peek_picture(tmp_path / "it")):
            with pytest.raises(ImageError, match="--max-pixels"):
                read()
        pictures.limit_pixels(None)
        assert one(data).pixels.shape == (1000, 2000)
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_heic_is_read_with_its_plugin_and_else_it_is_named():
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(RGB)).save(file, quality=-1)
    assert one(file.getvalue(), "a.heic").pixels.shape == RGB.shape


def test_without_its_plugin_heic_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"a\.heic: .*pip install pillow-heif"):
        one(b"\0\0\0\x18ftypheic" + bytes(50), "a.heic")


def test_reading_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one(GOOD)


def test_the_turn_of_a_png_that_xmp_tells_is_read_without_its_pixels(tmp_path, monkeypatch):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    Image.new("RGB", (6, 4)).save(file := tmp_path / "a.png", pnginfo=info)
    with monkeypatch.context() as patched:
        patched.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: pytest.fail("was decoded"))
        assert peek_picture(file)[:2] == (6, 4)
    assert next(open_picture(file, "a.png").frames).pixels.shape == (6, 4, 3)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch, turn, behind):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (6, 4)).save(file := tmp_path / "a.png", exif=exif)
    if behind:
        data = file.read_bytes()
        start = data.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        rest = data[:start] + data[end:]
        at = rest.index(b"IEND") - 4
        file.write_bytes(rest[:at] + data[start:end] + rest[at:])
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: pytest.fail("was decoded"))
    assert peek_picture(file) == ((6, 4) if turn == 6 else (4, 6)) + (1, "PNG")
