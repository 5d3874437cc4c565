"""What is taken for a picture, and what is refused."""

import importlib.util
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import GifImagePlugin, PngImagePlugin, TiffImagePlugin, features
from PIL import Image as PillowImage
from visitors import picture

from hat_arch.inference import pictures
from hat_arch.web import uploads
from hat_arch.web.limits import Limits, Refused
from hat_arch.web.uploads import check

KINDS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp"}
KINDS |= {"AVIF": ".avif"} if features.check("avif") else {}
KINDS |= {"HEIF": ".heic"} if importlib.util.find_spec("pillow_heif") else {}
pictures.add_heif()


@pytest.fixture
def checked(tmp_path):
    def checked(data, name="a.png", **limits):
        file = tmp_path / "upload"
        file.write_bytes(data)
        return check(file, name, Limits(**limits))

    return checked


def refused(call, *args, **kwargs):
    with pytest.raises(Refused) as error:
        call(*args, **kwargs)
    return error.value.code


def test_heic_without_its_plugin_is_told_as_such(checked, monkeypatch):
    monkeypatch.setattr(uploads, "add_heif", lambda: False)
    assert refused(checked, b"\0\0\0\x20ftypheic" + bytes(60), "a.heic") == "kind"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.png", "no suffix", "lie.txt"])
def test_pictures_are_known_by_their_content(checked, kind, name):
    found = checked(picture(kind), name)
    assert (found.suffix, found.width, found.height, found.frames, found.pixels) == (KINDS[kind], 12, 10, 1, 120)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello", "not_a_picture"),
        (b"<html><script>alert(1)</script></html>", "not_a_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b" \n<?xml version='1.0'?><svg/>", "svg"),
        (b"%PDF-1.7", "not_a_picture"),
        (b"PK\3\4", "not_a_picture"),
        (b"\x7fELF" + bytes(60), "not_a_picture"),
        (b"\0\0\0\x20ftypisom" + bytes(60), "not_a_picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "damaged"),
        (b"GIF89a", "damaged"),
        (b"BM" + bytes(60), "damaged"),
        (picture()[:20], "damaged"),
    ],
)
def test_what_is_no_picture_is_refused(checked, data, code):
    assert refused(checked, data) == code


@pytest.mark.parametrize(("name", "code"), [("a.SVG", "svg"), ("a.nef", "kind"), ("a.psd", "kind")])
def test_kinds_that_are_not_read_are_named(checked, name, code):
    assert refused(checked, picture("TIFF"), name) == code


def with_text(text):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text)
    return picture(pnginfo=info)


def with_archive():
    file = io.BytesIO(picture("GIF"))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("Main.class", b"\xca\xfe\xba\xbe")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        with_text("<script>alert(1)</script>"),
        with_text("<?php system($_GET['c']); ?>"),
        with_text("<HTML ><body>"),
        with_text("<svg onload=alert(1)>"),
        with_text("%PDF-1.7"),
        with_archive(),
        picture("JPEG", comment=b"<!DOCTYPE html>"),
    ],
)
def test_what_is_also_something_else_is_refused(checked, data):
    assert refused(checked, data) == "polyglot"


def test_what_cameras_add_is_no_disguise(checked):
    film = b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(20_000)
    xmp = b"<?xpacket?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF/></x:xmpmeta>"
    assert checked(picture("JPEG", xmp=xmp) + film).suffix == ".jpg"
    assert checked(picture("MPO", size=(9, 5))).suffix == ".jpg"


def bomb(width, height):
    """A PNG of some hundred bytes that says it is huge."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_code_is_found_wherever_it_lies(checked, monkeypatch):
    monkeypatch.setattr(uploads, "PART", 1000)
    for place in range(980, 1010):
        assert refused(checked, picture("BMP", (400, 5)) + bytes(place - 54) + b"<script>" + bytes(99)) == "polyglot"
    assert checked(picture("BMP", (400, 5)) + bytes(5000)).suffix == ".bmp"


@pytest.mark.parametrize("process_limit", [None, 1000])
def test_bombs_are_refused_by_their_header(checked, process_limit, monkeypatch):
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", PillowImage.MAX_IMAGE_PIXELS)
    pictures.limit_pixels(process_limit)
    assert refused(checked, bomb(60_000, 60_000), pixels=1000) in ("pixels", "too_many_pixels")
    assert refused(checked, bomb(60, 60), pixels=1000) in ("pixels", "too_many_pixels")
    assert checked(bomb(30, 30), pixels=1000).pixels == 900


def test_every_page_of_a_tiff_counts(checked):
    pages = [PillowImage.new("RGB", size) for size in ((4, 4), (40, 50))]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    assert checked(file.getvalue()).pixels == 16 + 2000
    assert refused(checked, file.getvalue(), pixels=1000) == "pixels"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_frames_are_counted(checked, kind):
    frames = [PillowImage.new("RGB", (8, 8), (30 * number, 9, 9)) for number in range(5)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    found = checked(file.getvalue())
    assert (found.frames, found.pixels) == (5, 320)
    assert refused(checked, file.getvalue(), frames=4) == "frames"
    assert refused(checked, file.getvalue(), pixels=300) == "pixels"


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_frames_without_end_are_not_counted_to_the_end(checked, kind, monkeypatch):
    file = io.BytesIO()
    frames = [PillowImage.new("L", (1, 1), number) for number in range(200)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    gone_to = []
    plugin = {"GIF": GifImagePlugin.GifImageFile, "TIFF": TiffImagePlugin.TiffImageFile}[kind]
    seek = plugin.seek
    monkeypatch.setattr(plugin, "seek", lambda image, frame: gone_to.append(frame) or seek(image, frame))
    assert refused(checked, file.getvalue(), frames=20) == "frames" and max(gone_to) <= 20
