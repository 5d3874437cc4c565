"""The folder verbs: what they make, that they can be repeated at any point, and what they refuse."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
from basicsr.data.data_util import paired_paths_from_meta_info_file
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from hat_arch.data import folders
from hat_arch.data.folders import SubImages, downsample, meta_info, modcrop, sub_image_name, sub_images
from hat_arch.data.images import DataError, ImageError, encode
from hat_arch.data.resize import imresize

SIZES = {"a": (25, 31), "b": (24, 36), "deep/er/c.v2": (40, 22), "grey": (30, 27)}


def image(name, shape=None):
    shape = shape or ((*SIZES[name], 3) if name != "grey" else SIZES[name])
    return np.random.default_rng(len(name) + shape[0]).integers(0, 256, shape, np.uint8)


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels))


def files(folder):
    """Path → pixels of what is visible in a folder."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return {p.relative_to(folder).as_posix(): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in paths}


def assert_files(folder, expected):
    there = files(folder)
    assert there.keys() == expected.keys()
    for name, pixels in expected.items():
        assert np.array_equal(there[name], pixels), name
    assert not [p for p in folder.rglob(".*") if p.name != ".recipe.json"]  # nothing half done is left


@pytest.fixture
def source(tmp_path):
    for name in SIZES:
        put(tmp_path / f"src/{name}.png", image(name))
    return tmp_path / "src"


def naive_sub_images(pixels, size, step, threshold):
    """BasicSR's extract_subimages.py: all squares, in its order."""
    spaces = []
    for side in pixels.shape[:2]:
        space = np.arange(0, side - size + 1, step)
        if side - (space[-1] + size) > threshold:
            space = np.append(space, side - size)
        spaces.append(space)
    return [pixels[top : top + size, left : left + size] for top in spaces[0] for left in spaces[1]]


VERBS = {
    "modcrop": (
        lambda source, target, **more: modcrop(source, target, 6, **more),
        lambda name, pixels: {f"{name}.png": pixels[: len(pixels) // 6 * 6, : pixels.shape[1] // 6 * 6]},
    ),
    "downsample": (
        lambda source, target, **more: downsample(source, {3: target}, "double", **more),
        lambda name, pixels: {
            f"{name}.png": imresize(pixels[: len(pixels) // 3 * 3, : pixels.shape[1] // 3 * 3], 1 / 3)
        },
    ),
    "sub-images": (
        lambda source, target, **more: sub_images(source, target, SubImages(16, 9, 2), **more),
        lambda name, pixels: {
            f"{name}_s{n + 1:03d}.png": sub for n, sub in enumerate(naive_sub_images(pixels, 16, 9, 2))
        },
    ),
}


@pytest.fixture(params=VERBS)
def verb(request):
    """A verb, and what it should make of an image."""
    return VERBS[request.param]


def expectation(make):
    return {path: pixels for name in SIZES for path, pixels in make(name, image(name)).items()}


def test_makes_what_it_should_of_mixed_sizes_in_sub_folders(verb, source, tmp_path):
    run, make = verb
    outcome = run(source, tmp_path / "new/out")
    assert_files(tmp_path / "new/out", expectation(make))
    assert (outcome.written, outcome.there_already) == (len(expectation(make)), 0)
    assert not outcome.bad and not outcome.unexpected
    recipe = json.loads((tmp_path / "new/out/.recipe.json").read_text())
    assert recipe["source"] == str(source)


def test_a_rerun_passes_over_what_is_there_and_repairs_the_rest(verb, source, tmp_path):
    run, make = verb
    out = tmp_path / "out"
    run(source, out)
    made = sorted(p for p in out.rglob("*.png"))
    gone, old, *kept = made
    gone.unlink()
    (gone.parent / f".{gone.name}.partial").write_bytes(b"killed while it was written")
    changed = next(n for n in SIZES if old.relative_to(out).as_posix() in make(n, image(n)))
    put(source / f"{changed}.png", 255 - image(changed))  # newer than what was made of it
    later = old.stat().st_mtime_ns + 10**9
    os.utime(source / f"{changed}.png", ns=(later, later))
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in kept}
    outcome = run(source, out)
    expected = {p: x for n in SIZES for p, x in make(n, 255 - image(n) if n == changed else image(n)).items()}
    assert_files(out, expected)
    again = make(changed, image(changed))
    assert outcome.written == len(again.keys() | {gone.relative_to(out).as_posix()})
    assert outcome.there_already == len(made) - outcome.written
    untouched = [p for p in kept if p.relative_to(out).as_posix() not in again]
    assert untouched and all((p.stat().st_mtime_ns, p.stat().st_ino) == before[p] for p in untouched)


def test_with_overwrite_everything_is_made_again(verb, source, tmp_path):
    run, make = verb
    run(source, tmp_path / "out")
    put(next((tmp_path / "out").rglob("*.png")), np.zeros((3, 3, 3), np.uint8))
    outcome = run(source, tmp_path / "out", overwrite=True)
    assert (outcome.written, outcome.there_already) == (len(expectation(make)), 0)
    assert_files(tmp_path / "out", expectation(make))


def test_bad_and_too_small_images_are_named_and_the_others_made(verb, source, tmp_path):
    run, make = verb
    (source / "bad.png").write_bytes((source / "a.png").read_bytes()[:900])
    (source / "zero.jpg").write_bytes(b"")
    put(source / "tiny.png", np.zeros((2, 50, 3), np.uint8))
    (source / "link.png").symlink_to("nowhere.png")
    outcome = run(source, tmp_path / "out")
    assert_files(tmp_path / "out", expectation(make))
    assert sorted(line.split(": ")[0] for line in outcome.bad) == [
        str(source / name) for name in ("bad.png", "link.png", "tiny.png", "zero.jpg")
    ]
    assert any("tiny.png: is 2x50, smaller than" in line for line in outcome.bad)
    assert any("zero.jpg: is empty" in line for line in outcome.bad)


def test_images_that_it_does_not_make_are_reported(verb, source, tmp_path):
    run, _ = verb
    run(source, tmp_path / "out")
    put(tmp_path / "out/deep/stray.png", image("a"))
    assert run(source, tmp_path / "out").unexpected == [str(tmp_path / "out/deep/stray.png")]


def test_two_sources_of_one_name_are_refused(verb, source, tmp_path):
    (source / "a.bmp").write_bytes(encode(image("a"), ".bmp"))
    with pytest.raises(DataError, match=r"src/a\.bmp and a\.png: have the same name"):
        verb[0](source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_target_that_holds_other_files_or_is_a_file_is_refused(verb, source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="out: holds other files"):
        verb[0](source, tmp_path / "out")
    with pytest.raises(DataError, match=r"thesis\.txt: is not a folder"):
        verb[0](source, tmp_path / "out/thesis.txt")
    with pytest.raises(DataError, match="gone: no such folder"):
        verb[0](tmp_path / "gone", tmp_path / "new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"] and not (tmp_path / "new").exists()


def test_a_target_inside_the_source_does_not_become_a_source(verb, source):
    run, make = verb
    try:
        run(source, source / "out")
        run(source, source / "out")
    except DataError:
        assert not (source / "out").exists()  # refused before anything is made
    else:
        assert_files(source / "out", expectation(make))


def test_a_target_made_with_other_settings_is_refused(source, tmp_path):
    out = tmp_path / "out"
    downsample(source, {2: out}, "uint8")
    before = (out / "a.png").read_bytes()
    for call, match in (
        (lambda: downsample(source, {2: out}, "double"), "made with convention 'uint8'"),
        (lambda: downsample(source, {3: out}, "uint8"), "made with scale 2"),
        (lambda: modcrop(source, out, 2), "made with convention 'uint8', made_by 'downsample'"),
        (lambda: downsample(source / "deep", {2: out}, "uint8"), "made with source '"),
    ):
        with pytest.raises(DataError, match=match):
            call()
    assert (out / "a.png").read_bytes() == before
    sub_images(source, tmp_path / "subs", SubImages(16, 9, 2))
    with pytest.raises(DataError, match="made with step 9, threshold 2"):
        sub_images(source, tmp_path / "subs", SubImages(16, 8, 0))


def test_a_run_killed_before_its_recipe_was_written_goes_on(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/..recipe.json.partial").write_text("{")
    assert modcrop(source, tmp_path / "out", 2).written == len(SIZES)


def test_downsample_makes_several_scales_by_each_convention(source, tmp_path):
    for convention in ("uint8", "double"):
        targets = {scale: tmp_path / convention / f"x{scale}" for scale in (2, 3, 4)}
        assert downsample(source, targets, convention).written == 3 * len(SIZES)
        for scale, target in targets.items():
            for name in SIZES:
                gt = folders.cut(image(name), scale)
                lr = imresize(gt, 1 / scale, convention=convention)
                assert np.array_equal(files(target)[f"{name}.png"], lr)
                assert tuple(side * scale for side in lr.shape[:2]) == gt.shape[:2]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(*(st.integers(1, 90) for _ in range(4)), st.integers(0, 40))
def test_sub_images_lie_where_basicsr_puts_them(height, width, size, step, threshold):
    assume(min(height, width) >= size)
    places = np.arange(height * width).reshape(height, width)
    corners = SubImages(size, step, threshold).corners(height, width, "it")
    naive = naive_sub_images(places, size, step, threshold)
    assert [places[corner] for corner in corners] == [sub[0, 0] for sub in naive]
    with pytest.raises(ImageError, match=f"it: is {height}x{width}, smaller than a sub-image of {height + width}"):
        SubImages(height + width, step, threshold).corners(height, width, "it")


def test_sub_images_are_named_as_basicsr_names_them():
    names = ["0001", "0001x2", "0001x3", "0001x4", "0001x8", "0001x5"]
    for name in names:
        basicsr = name.replace("x2", "").replace("x3", "").replace("x4", "").replace("x8", "")
        assert sub_image_name(name, 7) == f"{basicsr}_s007"
    assert sub_image_name("0001", 1234) == "0001_s1234"
    assert sub_image_name("max4_box2d", 1) == "max4_box2d_s001"  # where BasicSR's would no longer be the same name


def test_sources_whose_sub_images_would_overwrite_each_other_are_refused(tmp_path):
    for name in ("0001", "0001x4"):
        put(tmp_path / f"src/{name}.png", image("a"))
    with pytest.raises(DataError, match=r"0001\.png and .*0001x4\.png: .*same name"):
        sub_images(tmp_path / "src", tmp_path / "out", SubImages(16, 9, 2))


def test_a_turned_photograph_is_cut_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "src").mkdir()
    Image.fromarray(image("b")[..., ::-1]).save(tmp_path / "src/b.png", exif=exif)  # 24x36, shown 36x24
    sub_images(tmp_path / "src", tmp_path / "out", SubImages(16, 9, 2))
    shown = np.rot90(image("b"), -1)
    expected = {f"b_s{n + 1:03d}.png": sub for n, sub in enumerate(naive_sub_images(shown, 16, 9, 2))}
    assert_files(tmp_path / "out", expected)


def test_an_image_too_large_to_be_true_is_named(tmp_path, monkeypatch):
    put(tmp_path / "src/large.png", np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    outcome = sub_images(tmp_path / "src", tmp_path / "out", SubImages(16, 9, 2))
    assert len(outcome.bad) == 1 and "large.png: is " in outcome.bad[0]


def test_meta_info_is_what_basicsr_reads(source, tmp_path):
    assert meta_info(source, tmp_path / "meta/info.txt").written == 4
    text = (tmp_path / "meta/info.txt").read_text()
    assert text == ("a.png (25,31,3)\nb.png (24,36,3)\ndeep/er/c.v2.png (40,22,3)\ngrey.png (30,27,1)\n")
    paths = paired_paths_from_meta_info_file(["lq", str(source)], ["lq", "gt"], str(tmp_path / "meta/info.txt"), "{}x4")
    assert [path["gt_path"] for path in paths] == [str(p) for p in folders.find(source)]
    assert paths[0]["lq_path"] == "lq/ax4.png"
    assert meta_info(source, tmp_path / "meta/info.txt").there_already == 4
    put(source / "d.png", image("a"))
    with pytest.raises(DataError, match=r"info\.txt: exists and says otherwise; .*--overwrite"):
        meta_info(source, tmp_path / "meta/info.txt")
    assert meta_info(source, tmp_path / "meta/info.txt", overwrite=True).written == 5


def test_meta_info_is_not_written_with_names_that_basicsr_cuts_or_bad_images(source, tmp_path):
    put(source / "my photo.png", image("a"))
    (source / "zero.png").write_bytes(b"")
    outcome = meta_info(source, tmp_path / "info.txt")
    assert sorted(outcome.bad) == [
        f"{source}/my photo.png: BasicSR cuts names in a meta info file at the first space; rename it",
        f"{source}/zero.png: is empty (0 bytes)",
    ]
    assert outcome.written == 0 and not (tmp_path / "info.txt").exists()
