"""Which images a user means, and which file is made of each."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from hat_arch.data.images import DataError
from hat_arch.inference.sources import plan


@pytest.fixture
def here(tmp_path, monkeypatch):
    """``photos/`` with images, links and other files."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/b.JPG", "photos/sub/deep/c.v2.png", "elsewhere/d.png", "photos/.hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(tmp_path / name)
    (tmp_path / "photos/notes.txt").write_text("no image")
    (tmp_path / "photos/film.mp4").write_text("no video")
    return tmp_path


def made(*inputs, out=None, format=None, suffix=None):
    found = plan(inputs, out, format, suffix, "_x4")
    return {str(job.source): str(job.target) for job in found.jobs}, found


def test_a_folder_keeps_its_hierarchy(here):
    assert made("photos", out="large")[0] == {
        "photos/a.png": "large/a.png",
        "photos/b.JPG": "large/b.png",
        "photos/sub/deep/c.v2.png": "large/sub/deep/c.v2.png",
    }
    assert made("photos", out="large", format="webp", suffix="!")[0]["photos/a.png"] == "large/a!.webp"
    assert made("photos/")[0]["photos/sub/deep/c.v2.png"] == "photos_x4/sub/deep/c.v2.png"


def test_links_are_followed_but_never_in_a_loop(here):
    (here / "photos/link").symlink_to("../elsewhere")
    (here / "photos/sub/up").symlink_to("..")
    (here / "photos/same.png").symlink_to(here / "photos/a.png")
    jobs = made("photos", out="large")[0]
    assert jobs["photos/link/d.png"] == "large/link/d.png" and jobs["photos/same.png"] == "large/same.png"
    assert len(jobs) == 5


def test_several_inputs_and_patterns(here):
    assert made("photos/a.png", "elsewhere", out="large")[0] == {
        "photos/a.png": "large/a.png",
        "elsewhere/d.png": "large/elsewhere/d.png",
    }
    assert set(made("photos/*.png", out="large")[0]) == {"photos/a.png"}
    assert set(made("**/*.png", out="large")[0]) == {"photos/a.png", "photos/sub/deep/c.v2.png", "elsewhere/d.png"}


@pytest.mark.parametrize(
    ("out", "target"),
    [
        (None, "photos/a_x4.png"),
        ("big.jpg", "big.jpg"),
        ("big.TIFF", "big.TIFF"),
        ("large", "large/a.png"),
        ("large.v2/", "large.v2/a.png"),
        ("elsewhere", "elsewhere/a.png"),
        ("-", "-"),
    ],
)
def test_what_becomes_of_one_file(here, out, target):
    assert made("photos/a.png", out=out)[0] == {"photos/a.png": target}


def test_files_that_differ_in_their_suffix_alone_keep_it(here):
    Image.new("RGB", (6, 4)).save("photos/A.bmp")
    jobs = made("photos", out="large")[0]
    assert jobs["photos/a.png"] == "large/a.png.png" and jobs["photos/A.bmp"] == "large/A.bmp.png"
    assert jobs["photos/b.JPG"] == "large/b.png"
    assert made("photos/a.png", "photos/A.bmp")[0] == {
        "photos/a.png": "photos/a.png_x4.png",
        "photos/A.bmp": "photos/A.bmp_x4.png",
    }


@pytest.mark.parametrize(("format", "suffix"), [("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")])
def test_animations_and_pages_stay_what_they_are(here, format, suffix):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(f"photos/moving.{suffix}", format, save_all=True, append_images=frames[1:])
    found = made(f"photos/moving.{suffix}", out="large")[1]
    [job] = found.jobs
    assert (str(job.target), job.frames, job.pixels) == (f"large/moving.{suffix}", 2, 48)


def test_what_else_lies_in_a_folder_is_told(here):
    (here / "photos/raw.CR2").write_bytes(b"")
    found = made("photos", out="large")[1]
    assert found.passed_over == {".txt": 1, ".mp4": 1}
    assert len(found.bad) == 1 and found.bad[0].startswith("photos/raw.CR2: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(here):
    (here / "photos/sub").chmod(0)
    assert made("photos", out="large")[1].bad == ["photos/sub: Permission denied"]
    (here / "photos/sub").chmod(0o700)


@pytest.mark.parametrize(
    ("inputs", "out", "format", "words"),
    [
        (["none"], "large", None, "none: no such"),
        (["none/*.png"], "large", None, "none/*.png: no file"),
        (["photos"], "photos/large", None, "photos/large: is inside"),
        (["photos/a.png"], "photos/a.png", None, "photos/a.png: would be overwritten"),
        (["photos"], "elsewhere/d.png", None, "elsewhere/d.png: is not a folder"),
        (["photos"], "big.png", None, "big.png: is named as an image"),
        (["photos/a.png"], "big.xyz", None, "big.xyz: is not named as one of"),
        (["photos/film.mp4"], "big.png", None, "big.png: is not named as one of the formats mp4"),
        (["photos/film.mp4"], "-", None, "-: is not named as one of the formats mp4"),
        (["photos/a.png"], "big.mp4", None, "big.mp4: is not named as one of the formats png"),
        (["photos/a.png"], "big.jpg", "png", "big.jpg: is not named as --format png"),
        (["photos/a.png", "photos/b.JPG"], "-", None, "-: standard output takes one"),
        (["-", "photos/a.png"], None, None, "-: say where"),
        (["photos/notes.txt/x"], "large", None, "photos/notes.txt/x: no such"),
        (["photos/a.png", "photos/sub/deep/../../a.png"], "large", None, "would both become"),
        (["elsewhere/d.png"], "photos/notes.txt/d.png", None, "photos/notes.txt: cannot be written"),
    ],
)
def test_what_cannot_be_is_said(here, inputs, out, format, words):
    with pytest.raises(DataError) as caught:
        plan(inputs, out, format, None, "_x4")
    assert words in str(caught.value)


def test_an_empty_folder_is_an_error(here):
    (here / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no image"):
        plan(["empty"], "large", None, None, "_x4")
