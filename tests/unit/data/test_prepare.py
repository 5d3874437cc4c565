"""Whole data sets: DF2K's stores, benchmarks, and packing a folder."""

from __future__ import annotations

import io
import re
import shutil

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from PIL import Image

from hat_arch.data import prepare
from hat_arch.data.benchmark_sets import BENCHMARK_SETS, BenchmarkSet
from hat_arch.data.folders import downsample, modcrop, sub_images
from hat_arch.data.images import DataError, decode, encode, mod_crop
from hat_arch.data.lmdb_store import to_key
from hat_arch.data.sub_images import SubImages
from hat_arch.degradations.resize import imresize

HOW = SubImages(24, 12, 0)
SIZES = {"DIV2K/0001": (61, 50), "DIV2K/0002x4": (48, 75), "Flickr2K/000001": (36, 24), "Flickr2K/grey.v1": (40, 40)}


def image(name):
    height, width = SIZES[name]
    shape = (height, width) if "grey" in name else (height, width, 3)
    return np.random.default_rng(height).integers(0, 256, shape, np.uint8)


def content(store):
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = {key.decode("ascii"): value for key, value in transaction.cursor()}
    return values, {file.name: file.read_text() for file in store.iterdir() if file.suffix != ".mdb"}


def pixels(store):
    return {key: decode(data, key) for key, data in content(store)[0].items()}


def tree(folder):
    return {p.relative_to(folder).as_posix(): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in folder.rglob("*.png")}


def assert_same(there, expected):
    assert there.keys() == expected.keys()
    assert all(np.array_equal(there[key], expected[key]) for key in expected)


def assert_same_stores(folder, whole):
    for store in whole.iterdir():
        assert content(folder / store.name)[0] == content(store)[0]


@pytest.fixture
def source(tmp_path):
    for name in SIZES:
        file = tmp_path / f"src/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(image(name)))
    return tmp_path / "src"


def df2k(source, target, **options):
    return prepare.df2k(source, target, **{"how": HOW, "scales": [4], **options})


@pytest.fixture
def whole(source, tmp_path):
    """Stores of the HR and the LR x4."""
    assert not df2k(source, tmp_path / "whole").bad
    return tmp_path / "whole"


def squares(array, name, divisor=1):
    """What BasicSR's script would cut: key → pixels."""
    size, step = HOW.size // divisor, HOW.step // divisor
    starts = [[*range(0, side - size + 1, step)] for side in array.shape[:2]]
    for start, side in zip(starts, array.shape[:2]):
        start += [side - size] * (side > start[-1] + size)
    found = [array[y : y + size, x : x + size] for y in starts[0] for x in starts[1]]
    return {to_key(f"{name}_s{n + 1:03d}"): square for n, square in enumerate(found)}


@pytest.mark.parametrize("convention,suffix", [("uint8", ".png"), ("double", ".bmp")])
def test_df2k_is_whole_images_reduced_and_then_cut(source, tmp_path, convention, suffix):
    outcome = df2k(source, tmp_path / "out", scales=[2, 3, 4], convention=convention, suffix=suffix)
    expected = {1: {}, 2: {}, 3: {}, 4: {}}
    for name in SIZES:
        gt = mod_crop(image(name), 12)
        for scale, of_scale in expected.items():
            lr = imresize(gt, 1 / scale, convention=convention) if scale > 1 else gt
            of_scale.update(squares(lr, name.split("/")[1].removesuffix("x4"), scale))
    stores = {1: "DF2K_HR_sub", 2: "DF2K_bicx2_sub", 3: "DF2K_bicx3_sub", 4: "DF2K_bicx4_sub"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{name}.lmdb" for name in stores.values()}
    for scale, name in stores.items():
        assert_same(pixels(tmp_path / f"out/{name}.lmdb"), expected[scale])
        lines = content(tmp_path / f"out/{name}.lmdb")[1]["meta_info.txt"].splitlines()
        side = HOW.size // scale
        assert lines[0] == f"000001_s001{suffix} ({side},{side},3) 1" and len(lines) == len(expected[1])
    assert (outcome.written, outcome.there_already, outcome.bad) == (4 * len(expected[1]), 0, [])


def test_basicsrs_dataset_reads_df2k(whole):
    options = {"name": "DF2K", "type": "PairedImageDataset", "phase": "val", "scale": 4, "io_backend": {"type": "lmdb"}}
    options["dataroot_gt"] = str(whole / "DF2K_HR_sub.lmdb")
    options["dataroot_lq"] = str(whole / "DF2K_bicx4_sub.lmdb")
    dataset = build_dataset(options)
    shapes = {(tuple(dataset[n]["gt"].shape), tuple(dataset[n]["lq"].shape)) for n in range(len(dataset))}
    assert shapes == {((3, 24, 24), (3, 6, 6))}


def test_a_bad_image_leaves_df2k_unfinished_until_it_is_mended_or_removed(source, whole, tmp_path):
    file, out = source / "Flickr2K/000001.png", tmp_path / "out"
    data = file.read_bytes()
    for bad in (b"", data[:700]):  # found by its header, and only when it is decoded
        file.write_bytes(bad)
        (line,) = df2k(source, out).bad
        assert line.startswith(f"{file}: is ")
        assert not [p for p in out.iterdir() if not p.name.startswith(".")]
    shutil.copytree(out, tmp_path / "other")
    file.write_bytes(data)
    outcome = df2k(source, out)
    assert not outcome.bad and outcome.there_already > outcome.written > 0
    assert_same_stores(out, whole)
    file.unlink()
    assert not df2k(source, tmp_path / "other").bad
    assert not [key for key in pixels(tmp_path / "other/DF2K_HR_sub.lmdb") if key.startswith("000001")]


def test_with_skip_bad_df2k_is_finished_without_bad_and_small_images(source, whole, tmp_path):
    (source / "broken.png").write_bytes(encode(image("DIV2K/0001"))[:700])
    (source / "small.png").write_bytes(encode(image("DIV2K/0001")[:23]))
    outcome = df2k(source, tmp_path / "out", skip_bad=True)
    assert sorted(line.split(": ")[0] for line in outcome.bad) == [f"{source}/broken.png", f"{source}/small.png"]
    assert_same_stores(tmp_path / "out", whole)
    assert df2k(source, tmp_path / "out", skip_bad=True).written == 0


def test_heic_goes_into_the_store_as_an_image_that_basicsr_reads(source, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    phone = np.random.default_rng(7).integers(0, 256, (48, 36, 3), np.uint8)
    heif.from_pillow(Image.fromarray(phone)).save(
        tmp_path / "src/IMG_0001.HEIC", quality=-1, chroma=444, matrix_coefficients=0
    )
    prepare.df2k(source, tmp_path / "out", (4,), HOW)
    made = pixels(tmp_path / "out/DF2K_HR_sub.lmdb")
    assert np.array_equal(made["IMG_0001_s001"], phone[:24, :24, ::-1])


@pytest.mark.parametrize("content", [b"", b"no image", b"\0\0\0\x18ftypheic" + bytes(40)])
def test_damaged_heic_and_heic_without_its_plugin_are_named(source, tmp_path, monkeypatch, content):
    (tmp_path / "src/IMG_0001.HEIC").write_bytes(content)
    for plugin, remedy in ((True, "IMG_0001.HEIC: "), (False, "IMG_0001.HEIC: .*pip install 'hat-arch.heic.'")):
        if not plugin:
            monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        made = prepare.df2k(source, tmp_path / f"out{plugin}", (4,), HOW)
        assert len(made.bad) == 1 and re.search(remedy, made.bad[0])


def test_a_photograph_that_is_too_small_is_named_with_its_own_size(source, tmp_path):
    Image.fromarray(np.zeros((23, 31, 3), np.uint8)).save(tmp_path / "src/small.png")
    (line,) = prepare.df2k(source, tmp_path / "out", (4,), HOW).bad
    assert line.endswith("small.png: is 23x31, smaller than a sub-image of 24")


def test_a_scale_can_be_added_later(source, whole, tmp_path):
    before = (whole / "DF2K_HR_sub.lmdb/data.mdb").stat()
    df2k(source, whole, scales=[2, 3, 4])
    df2k(source, tmp_path / "out", scales=[2, 3, 4])
    assert_same_stores(tmp_path / "out", whole)
    after = (whole / "DF2K_HR_sub.lmdb/data.mdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_df2k_made_otherwise_is_refused(source, whole, tmp_path):
    for change, match in (
        ({"convention": "double"}, "bicx4_sub.lmdb: exists, made with convention 'uint8'"),
        ({"suffix": ".bmp"}, "HR_sub.lmdb: exists, made with format '.png'"),
        ({"scales": [5]}, "--size 24: is not a multiple of 60"),
        ({"scales": [1]}, "--scale 1"),
        ({"how": SubImages(36, 12, 0)}, "exists, made with size 24"),
        ({"how": SubImages(24, 12, 5)}, "--threshold 5: is not a multiple of 12, which scales 2, 3, 4 need"),
    ):
        with pytest.raises(DataError, match=match):
            df2k(source, whole, **change)
    (source / "more.png").write_bytes(encode(image("DIV2K/0001")))
    with pytest.raises(DataError, match=r"HR_sub\.lmdb: exists, "):
        df2k(source, whole, scales=[2, 4])
    assert {p.name for p in whole.iterdir()} == {"DF2K_HR_sub.lmdb", "DF2K_bicx4_sub.lmdb"}
    assert not df2k(source, whole, convention="double", overwrite=True).bad


@pytest.mark.parametrize("other", ["DIV2K/0002.png", "Flickr2K/0001.png"])
def test_photographs_whose_sub_images_would_have_one_name_are_refused(source, tmp_path, other):
    shutil.copy(source / "DIV2K/0001.png", source / other)
    with pytest.raises(DataError, match=r"\.png and .*\.png: .* same names"):
        df2k(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pack_keeps_the_bytes(tmp_path):
    files = {"n01/b.v1.JPEG": "JPEG", "n01/a.png": "PNG", "n02/b.webp": "WEBP", "café.jpg": "JPEG", "bx4.bmp": "BMP"}
    source, store = tmp_path / "src", tmp_path / "out/GT.lmdb"
    for n, (name, format) in enumerate(files.items()):
        buffer = io.BytesIO()
        Image.fromarray(image("DIV2K/0001")[: 30 + n]).save(buffer, format)
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(buffer.getvalue())
    assert prepare.pack(source, store).written == 5
    values, texts = content(store)
    assert values == {to_key(n.rpartition(".")[0]): (source / n).read_bytes() for n in files}
    assert texts["meta_info.txt"].splitlines()[-2:] == ["n01/b%2Ev1.jpg (30,50,3) 1", "n02/b.webp (32,50,3) 1"]
    prepare.pack(source, tmp_path / "lq.lmdb", strip="x4")
    assert content(tmp_path / "lq.lmdb")[0].keys() == {"b" if key == "bx4" else key for key in values}
    assert prepare.pack(source, store).there_already == 5
    (source / "n01/a.png").unlink()
    with pytest.raises(DataError, match=r"GT\.lmdb: exists, with 5 images, and 4 would be made"):
        prepare.pack(source, store)


def test_pack_leaves_out_what_is_bad_only_if_told(source, tmp_path):
    (source / "bad.png").write_bytes(b"not an image")
    (source / "link.png").symlink_to("nowhere.png")
    outcome = prepare.pack(source, tmp_path / "s.lmdb")
    assert outcome.bad == [f"{source}/bad.png: is not an image", f"{source}/link.png: No such file or directory"]
    assert not (tmp_path / "s.lmdb").exists()
    (source / "DIV2K/0001.png").unlink()  # packed already, and no longer wanted
    assert prepare.pack(source, tmp_path / "s.lmdb", skip_bad=True).there_already == len(SIZES) - 1
    assert content(tmp_path / "s.lmdb")[0].keys() == {to_key(name) for name in SIZES if name != "DIV2K/0001"}


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Two benchmarks, by the names and in the folders that their copies have, one beside LR images."""
    for folder in ("sets/Set5/original", "sets/BSD100", "sets/Set5/LRbicx9"):
        (tmp_path / folder).mkdir(parents=True)
        for n, name in enumerate(SIZES):
            (tmp_path / folder / f"img_{n}.png").write_bytes(encode(image(name)))
    small = [BenchmarkSet(one.name, one.folder, len(SIZES), 0, one.other_folders) for one in BENCHMARK_SETS]
    monkeypatch.setattr(prepare, "BENCHMARK_SETS", small)
    return tmp_path / "sets"


def expected_benchmarks(names, scales):
    expected = {}
    for n, name in enumerate(SIZES):
        for scale in scales:
            gt = mod_crop(image(name), scale)
            for of_set in names:
                expected[f"{of_set}/GTmod{scale}/img_{n}.png"] = gt
                expected[f"{of_set}/LRbicx{scale}/img_{n}.png"] = imresize(gt, 1 / scale, convention="uint8")
    return expected


def test_benchmarks_are_laid_out_as_the_option_files_expect(sets, tmp_path):
    for written, there_already in ((24, 0), (0, 24)):
        outcomes = prepare.benchmarks(sets, tmp_path / "out")
        assert list(outcomes) == ["Set5", "BSDS100"]
        assert all((o.written, o.there_already, o.bad) == (written, there_already, []) for o in outcomes.values())
    assert_same(tree(tmp_path / "out"), expected_benchmarks(["Set5", "BSDS100"], [2, 3, 4]))
    assert list(prepare.benchmarks(sets / "Set5", tmp_path / "one", [4])) == ["Set5"]
    assert_same(tree(tmp_path / "one"), expected_benchmarks(["Set5"], [4]))


def test_benchmarks_are_not_made_among_their_own_images(sets):
    (sets / "BSD100").rename(sets / "BSDS100")
    with pytest.raises(DataError, match="GTmod2: is inside"):
        prepare.benchmarks(sets, sets)
    assert not [path for path in (sets / "BSDS100").iterdir() if path.is_dir()]


def test_a_bad_benchmark_image_is_named_once_and_no_benchmark_is_an_error(sets, tmp_path):
    (sets / "BSD100/img_0.png").write_bytes(b"")
    outcomes = prepare.benchmarks(sets, tmp_path / "out")
    assert outcomes["BSDS100"].bad == [f"{sets}/BSD100/img_0.png: is empty (0 bytes)"] and not outcomes["Set5"].bad
    with pytest.raises(DataError, match="none of Set5, Set14, BSDS100, urban100, manga109 is below it"):
        prepare.benchmarks(sets / "Set5/original", tmp_path / "out")


def test_the_verbs_one_after_another_make_df2ks_pixels(source, whole, tmp_path):
    modcrop(source, tmp_path / "hr", 12)
    downsample(tmp_path / "hr", {4: tmp_path / "lr"}, "uint8")
    sub_images(tmp_path / "lr", tmp_path / "lr_sub", HOW.divided(4))
    files = {to_key(name.rpartition("/")[2][:-4]): array for name, array in tree(tmp_path / "lr_sub").items()}
    assert_same(pixels(whole / "DF2K_bicx4_sub.lmdb"), files)
