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

from hat_arch.data.folders import downsample, meta_info, modcrop, sub_images
from hat_arch.data.images import DataError, ImageError, encode, find, mod_crop
from hat_arch.data.sub_images import SubImages, sub_image_name
from hat_arch.degradations.resize import imresize

SIZES = {"a": (25, 31, 3), "b": (24, 36, 3), "deep/er/c.v2": (40, 22, 3), "grey": (30, 27)}
HOW = SubImages(16, 9, 2)


def image(name):
    return np.random.default_rng(len(name) + SIZES[name][0]).integers(0, 256, SIZES[name], np.uint8)


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, path.suffix))


def files(folder):
    """Path → pixels of what is in a folder, where nothing half done may be left."""
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file() and p.name != ".recipe.json"}
    return {name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for name, path in paths.items()}


def assert_files(folder, expected):
    there = files(folder)
    assert there.keys() == expected.keys()
    assert all(np.array_equal(there[name], expected[name]) for name in expected)


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


def expected_sub_images(name, pixels):
    return {f"{name}_s{n + 1:03d}.png": sub for n, sub in enumerate(naive_sub_images(pixels, 16, 9, 2))}


VERBS = {
    "modcrop": (
        lambda source, target, **more: modcrop(source, target, 6, **more),
        lambda name, pixels: {f"{name}.png": pixels[: len(pixels) // 6 * 6, : pixels.shape[1] // 6 * 6]},
    ),
    "downsample": (
        lambda source, target, **more: downsample(source, {3: target}, "double", **more),
        lambda name, pixels: {f"{name}.png": imresize(mod_crop(pixels, 3), 1 / 3)},
    ),
    "sub-images": (lambda source, target, **more: sub_images(source, target, HOW, **more), expected_sub_images),
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
    assert (outcome.written, outcome.there_already, outcome.bad) == (len(expectation(make)), 0, [])
    recipe = json.loads((tmp_path / "new/out/.recipe.json").read_text())
    assert recipe["source"] == str(source)


def test_a_rerun_leaves_what_is_there_and_repairs_the_rest(verb, source, tmp_path):
    run, make = verb
    out = tmp_path / "out"
    run(source, out)
    gone, old, *kept = made = sorted(out.rglob("*.png"))
    gone.unlink()
    (gone.parent / f".{gone.name}.partial").write_bytes(b"killed while it was written")
    changed = next(n for n in SIZES if old.relative_to(out).as_posix() in make(n, image(n)))
    put(source / f"{changed}.png", 255 - image(changed))  # newer than what was made of it
    later = old.stat().st_mtime_ns + 10**9
    os.utime(source / f"{changed}.png", ns=(later, later))
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in kept}
    outcome = run(source, out)
    again = make(changed, 255 - image(changed))
    assert_files(out, {**expectation(make), **again})
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
    bad = {line.split(": ")[0]: line for line in run(source, tmp_path / "out").bad}
    assert_files(tmp_path / "out", expectation(make))
    assert bad.keys() == {str(source / name) for name in ("bad.png", "link.png", "tiny.png", "zero.jpg")}
    assert "is 2x50, smaller than" in bad[f"{source}/tiny.png"] and "is empty" in bad[f"{source}/zero.jpg"]


def test_images_of_one_name_are_named_and_the_others_made(verb, source, tmp_path):
    run, make = verb
    for name in ("two.png", "two.bmp", "deep/two.png"):
        put(source / name, image("a"))
    outcome = run(source, tmp_path / "out")
    assert outcome.bad == [f"{source}/two.bmp, {source}/two.png: have the same name; keep or rename all but one"]
    made = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.png")}
    assert made >= expectation(make).keys() and any(name.startswith("deep/two") for name in made)
    assert not [name for name in made if name.startswith("two")]


def test_targets_and_sources_that_cannot_be_used_are_refused(verb, source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    for of, to, match in (
        (source, "out", "out: holds other files"),
        (source, "out/thesis.txt", r"thesis\.txt: is not a folder"),
        (source, "src/new", "new: is inside .*src"),
        (tmp_path / "gone", "new", "gone: no such folder"),
    ):
        with pytest.raises(DataError, match=match):
            verb[0](of, tmp_path / to)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists() and not (source / "new").exists()


def test_a_target_made_with_other_settings_is_refused(source, tmp_path):
    out = tmp_path / "out"
    downsample(source, {2: out}, "uint8")
    sub_images(source, tmp_path / "subs", HOW)
    before = (out / "a.png").read_bytes()
    for call, match in (
        (lambda: downsample(source, {2: out}, "double"), "made with convention 'uint8'"),
        (lambda: downsample(source, {3: out}, "uint8"), "made with scale 2"),
        (lambda: modcrop(source, out, 2), "made with convention 'uint8', made_by 'downsample'"),
        (lambda: downsample(source / "deep", {2: out}, "uint8"), "made with source '"),
        (lambda: sub_images(source, tmp_path / "subs", SubImages(16, 8, 0)), "made with step 9, threshold 2"),
    ):
        with pytest.raises(DataError, match=match):
            call()
    assert (out / "a.png").read_bytes() == before


def test_a_run_killed_before_its_recipe_was_written_goes_on(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/..recipe.json.partial").write_text("{")
    assert modcrop(source, tmp_path / "out", 2).written == len(SIZES)


@pytest.mark.parametrize("convention", ["uint8", "double"])
def test_downsample_makes_several_scales(source, tmp_path, convention):
    targets = {scale: tmp_path / f"x{scale}" for scale in (2, 3, 4)}
    assert downsample(source, targets, convention).written == 3 * len(SIZES)
    for scale, target in targets.items():
        lr = {name: imresize(mod_crop(image(name), scale), 1 / scale, convention=convention) for name in SIZES}
        assert_files(target, {f"{name}.png": pixels for name, pixels in lr.items()})


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(*(st.integers(1, 90) for _ in range(4)), st.integers(0, 40))
def test_sub_images_lie_where_basicsr_puts_them(height, width, size, step, threshold):
    assume(min(height, width) >= size)
    places = np.arange(height * width).reshape(height, width)
    squares = SubImages(size, step, threshold).cut(places)
    naive = naive_sub_images(places, size, step, threshold)
    assert len(squares) == len(naive) and all(map(np.array_equal, squares, naive))
    with pytest.raises(ImageError, match=f"it: is {height}x{width}, smaller than a sub-image of {height + width}"):
        SubImages(height + width, step, threshold).corners(height, width, "it")


def test_sub_images_are_named_as_basicsr_names_them():
    for name in ("0001", "0001x2", "0001x3", "0001x4", "0001x8", "0001x5"):
        basicsr = name.replace("x2", "").replace("x3", "").replace("x4", "").replace("x8", "")
        assert sub_image_name(name, 7) == f"{basicsr}_s007"
    assert sub_image_name("0001", 1234) == "0001_s1234"
    assert sub_image_name("max4_box2d", 1) == "max4_box2d_s001"  # where BasicSR's would no longer be the same name


def test_sources_whose_sub_images_would_overwrite_each_other_are_refused(tmp_path):
    for name in ("0001", "0001x4"):
        put(tmp_path / f"src/{name}.png", image("a"))
    with pytest.raises(DataError, match=r"0001\.png and .*0001x4\.png: .*same name"):
        sub_images(tmp_path / "src", tmp_path / "out", HOW)


def test_a_turned_photograph_is_cut_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "src").mkdir()
    Image.fromarray(image("b")[..., ::-1]).save(tmp_path / "src/b.png", exif=exif)  # 24x36, shown 36x24
    sub_images(tmp_path / "src", tmp_path / "out", HOW)
    assert_files(tmp_path / "out", expected_sub_images("b", np.rot90(image("b"), -1)))


def test_an_image_too_large_to_be_true_is_named(tmp_path, monkeypatch):
    put(tmp_path / "src/large.png", np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (line,) = sub_images(tmp_path / "src", tmp_path / "out", HOW).bad
    assert "large.png: is " in line


def test_meta_info_is_what_basicsr_reads(source, tmp_path):
    file = tmp_path / "meta/info.txt"
    assert meta_info(source, file).written == 4
    assert file.read_text() == "a.png (25,31,3)\nb.png (24,36,3)\ndeep/er/c.v2.png (40,22,3)\ngrey.png (30,27,1)\n"
    paths = paired_paths_from_meta_info_file(["lq", str(source)], ["lq", "gt"], str(file), "{}x4")
    assert [path["gt_path"] for path in paths] == [str(p) for p in find(source)]
    assert paths[0]["lq_path"] == "lq/ax4.png"
    assert meta_info(source, file).there_already == 4
    put(source / "d.png", image("a"))
    with pytest.raises(DataError, match=r"info\.txt: exists and says otherwise; .*--overwrite"):
        meta_info(source, file)
    assert meta_info(source, file, overwrite=True).written == 5


def test_meta_info_is_not_written_with_names_that_basicsr_cuts_or_bad_images(source, tmp_path):
    put(source / "my photo.png", image("a"))
    (source / "zero.png").write_bytes(b"")
    space, zero = sorted(meta_info(source, tmp_path / "info.txt").bad)
    assert "my photo.png: " in space and "space" in space and "zero.png: is empty" in zero
    assert not (tmp_path / "info.txt").exists()
