"""Whole data sets: DF2K's stores, benchmarks, ImageNet, and packing a folder."""

from __future__ import annotations

import io
import shutil

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from PIL import Image

from hat_arch.data import prepare
from hat_arch.data.folders import SubImages, downsample, modcrop, sub_images
from hat_arch.data.images import DataError, decode, encode
from hat_arch.data.lmdb_store import to_key
from hat_arch.data.resize import imresize

HOW = SubImages(24, 12, 0)
SIZES = {"DIV2K/0001": (61, 50), "DIV2K/0002x4": (48, 75), "Flickr2K/000001": (36, 24), "Flickr2K/grey.v1": (40, 40)}


def image(name):
    height, width = SIZES[name]
    shape = (height, width) if "grey" in name else (height, width, 3)
    return np.random.default_rng(height).integers(0, 256, shape, np.uint8)


def content(store):
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = {bytes(key).decode("ascii"): bytes(value) for key, value in transaction.cursor()}
    return values, {file.name: file.read_text() for file in store.iterdir() if file.suffix != ".mdb"}


def pixels(store):
    return {key: decode(data, key) for key, data in content(store)[0].items()}


def assert_same(there, expected):
    assert there.keys() == expected.keys()
    assert all(np.array_equal(there[key], expected[key]) for key in expected)


@pytest.fixture
def source(tmp_path):
    for name in SIZES:
        file = tmp_path / f"src/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(image(name)))
    return tmp_path / "src"


def df2k(source, target, **options):
    return prepare.df2k(source, target, how=HOW, **options)


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
    outcome = df2k(source, tmp_path / "out", convention=convention, suffix=suffix)
    assert not outcome.bad
    expected = {1: {}, 2: {}, 3: {}, 4: {}}
    for name in SIZES:
        gt = image(name)
        gt = gt[: len(gt) // 12 * 12, : gt.shape[1] // 12 * 12]
        for scale, of_scale in expected.items():
            lr = imresize(gt, 1 / scale, convention=convention) if scale > 1 else gt
            of_scale.update(squares(lr, name.split("/")[1].removesuffix("x4"), scale))
    stores = {1: "DF2K_HR_sub", 2: "DF2K_bicx2_sub", 3: "DF2K_bicx3_sub", 4: "DF2K_bicx4_sub"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{name}.lmdb" for name in stores.values()}
    for scale, name in stores.items():
        assert_same(pixels(tmp_path / f"out/{name}.lmdb"), expected[scale])
        values, texts = content(tmp_path / f"out/{name}.lmdb")
        lines = texts["meta_info.txt"].splitlines()
        side = HOW.size // scale
        assert lines[0] == f"000001_s001{suffix} ({side},{side},3) 1" and len(lines) == len(expected[1])
        assert all(decode(data, key).shape[0] == side for key, data in values.items())
    assert outcome.written == len(expected[1]) and outcome.there_already == 0


def test_basicsrs_dataset_reads_df2k(source, tmp_path):
    df2k(source, tmp_path, scales=[2])
    options = {"name": "DF2K", "type": "PairedImageDataset", "phase": "val", "scale": 2, "io_backend": {"type": "lmdb"}}
    options["dataroot_gt"] = str(tmp_path / "DF2K_HR_sub.lmdb")
    options["dataroot_lq"] = str(tmp_path / "DF2K_bicx2_sub.lmdb")
    dataset = build_dataset(options)
    shapes = {(tuple(dataset[n]["gt"].shape), tuple(dataset[n]["lq"].shape)) for n in range(len(dataset))}
    assert shapes == {((3, 24, 24), (3, 12, 12))}


def test_a_bad_image_leaves_df2k_unfinished_until_it_is_mended(source, tmp_path):
    df2k(source, tmp_path / "whole", scales=[4])
    file = source / "Flickr2K/000001.png"
    data = file.read_bytes()
    for bad in (b"", data[:700]):  # found by its header, and only when it is decoded
        file.write_bytes(bad)
        outcome = df2k(source, tmp_path / "out", scales=[4])
        assert len(outcome.bad) == 1 and outcome.bad[0].startswith(f"{file}: is ")
        assert not [p for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")]
    file.write_bytes(data)
    outcome = df2k(source, tmp_path / "out", scales=[4])
    assert not outcome.bad and outcome.there_already > outcome.written > 0
    for name in ("DF2K_HR_sub.lmdb", "DF2K_bicx4_sub.lmdb"):
        assert content(tmp_path / "out" / name) == content(tmp_path / "whole" / name)


def test_a_bad_image_may_be_removed_as_the_command_advises(source, tmp_path):
    file = source / "Flickr2K/000001.png"
    file.write_bytes(file.read_bytes()[:700])
    assert df2k(source, tmp_path / "out", scales=[4]).bad
    file.unlink()
    assert not df2k(source, tmp_path / "out", scales=[4]).bad
    assert not [key for key in pixels(tmp_path / "out/DF2K_HR_sub.lmdb") if key.startswith("000001")]


def test_with_skip_bad_df2k_is_finished_without_bad_and_small_images(source, tmp_path):
    expected = df2k(source, tmp_path / "whole", scales=[4])
    (source / "broken.png").write_bytes(encode(image("DIV2K/0001"))[:700])
    (source / "small.png").write_bytes(encode(image("DIV2K/0001")[:23]))
    outcome = df2k(source, tmp_path / "out", scales=[4], skip_bad=True)
    assert sorted(line.split(": ")[0] for line in outcome.bad) == [f"{source}/broken.png", f"{source}/small.png"]
    assert outcome.written == expected.written
    for name in ("DF2K_HR_sub.lmdb", "DF2K_bicx4_sub.lmdb"):
        assert content(tmp_path / "out" / name)[0] == content(tmp_path / "whole" / name)[0]
    again = df2k(source, tmp_path / "out", scales=[4], skip_bad=True)
    assert (again.written, again.there_already) == (0, expected.written)


def test_a_scale_can_be_added_later(source, tmp_path):
    df2k(source, tmp_path / "whole")
    df2k(source, tmp_path / "out", scales=[4])
    before = (tmp_path / "out/DF2K_HR_sub.lmdb/data.mdb").stat()
    df2k(source, tmp_path / "out", scales=[2, 3, 4])
    for store in (tmp_path / "whole").iterdir():
        assert content(tmp_path / "out" / store.name) == content(store)
    after = (tmp_path / "out/DF2K_HR_sub.lmdb/data.mdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_df2k_made_otherwise_is_refused(source, tmp_path):
    df2k(source, tmp_path / "out", scales=[4])
    for change, match in (
        ({"convention": "double"}, "bicx4_sub.lmdb: exists, made with convention 'uint8'"),
        ({"suffix": ".bmp"}, "HR_sub.lmdb: exists, made with format '.png'"),
        ({"scales": [5]}, "--size 24: is not a multiple of 60"),
    ):
        with pytest.raises(DataError, match=match):
            df2k(source, tmp_path / "out", **{"scales": [4], **change})
    with pytest.raises(DataError, match="exists, made with size 24"):
        prepare.df2k(source, tmp_path / "out", [4], SubImages(36, 12, 0))
    with pytest.raises(DataError, match="--threshold 5: is not a multiple of 12"):
        prepare.df2k(source, tmp_path / "new", [4], SubImages(24, 12, 5))
    (source / "more.png").write_bytes(encode(image("DIV2K/0001")))
    with pytest.raises(DataError, match=r"HR_sub\.lmdb: exists, "):
        df2k(source, tmp_path / "out", scales=[4])
    assert not (tmp_path / "new").exists()
    assert not df2k(source, tmp_path / "out", scales=[4], convention="double", overwrite=True).bad


@pytest.mark.parametrize("other", ["DIV2K/0002.png", "Flickr2K/0001.png"])
def test_photographs_whose_sub_images_would_have_one_name_are_refused(source, tmp_path, other):
    shutil.copy(source / "DIV2K/0001.png", source / other)
    with pytest.raises(DataError, match=r"\.png and .*\.png: would get the same names"):
        df2k(source, tmp_path / "out", scales=[4])
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_said_so_early(source, tmp_path, monkeypatch):
    for n in range(20):
        shutil.copy(source / "DIV2K/0001.png", source / f"copy{n}.png")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(DataError, match=r"out: needs about .* GiB more, and 0\.0 GiB are free"):
            df2k(source, tmp_path / "out")
    outcome = df2k(source, tmp_path / "out")
    assert not outcome.bad and len(pixels(tmp_path / "out/DF2K_HR_sub.lmdb")) == outcome.written + outcome.there_already


def test_pack_and_imagenet_keep_the_bytes(tmp_path):
    files = {"n01/b.v1.JPEG": "JPEG", "n01/a.png": "PNG", "n02/b.webp": "WEBP", "café.jpg": "JPEG", "bx4.bmp": "BMP"}
    for n, (name, format) in enumerate(files.items()):
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(image("DIV2K/0001")[: 30 + n]).save(buffer, format)
        file.write_bytes(buffer.getvalue())
    assert prepare.imagenet(tmp_path / "src", tmp_path / "out").written == 5
    values, texts = content(tmp_path / "out/GT.lmdb")
    assert values == {to_key(n.rpartition(".")[0]): (tmp_path / "src" / n).read_bytes() for n in files}
    assert texts["meta_info.txt"].splitlines()[-2:] == ["n01/b%2Ev1.jpg (30,50,3) 1", "n02/b.webp (32,50,3) 1"]
    prepare.pack(tmp_path / "src", tmp_path / "lq.lmdb", strip="x4")
    assert content(tmp_path / "lq.lmdb")[0].keys() == {"b" if key == "bx4" else key for key in values}
    assert prepare.imagenet(tmp_path / "src", tmp_path / "out").there_already == 5
    (tmp_path / "src/n01/a.png").unlink()
    with pytest.raises(DataError, match=r"GT\.lmdb: exists, with 5 images, and 4 would be made"):
        prepare.imagenet(tmp_path / "src", tmp_path / "out")


def test_pack_leaves_out_what_is_bad_only_if_told(source, tmp_path):
    (source / "bad.png").write_bytes(b"not an image")
    (source / "link.png").symlink_to("nowhere.png")
    outcome = prepare.pack(source, tmp_path / "s.lmdb")
    assert outcome.bad == [f"{source}/bad.png: is not an image", f"{source}/link.png: No such file or directory"]
    assert not (tmp_path / "s.lmdb").exists()
    (source / "DIV2K/0001.png").unlink()  # packed already, and no longer wanted
    assert prepare.pack(source, tmp_path / "s.lmdb", skip_bad=True).there_already == len(SIZES) - 1
    assert content(tmp_path / "s.lmdb")[0].keys() == {to_key(name) for name in SIZES if name != "DIV2K/0001"}


def tree(folder):
    return {p.relative_to(folder).as_posix(): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in folder.rglob("*.png")}


@pytest.fixture
def sets(tmp_path):
    """Two benchmarks, by the names and in the folders that their copies have."""
    for folder in ("sets/Set5/original", "sets/BSD100"):
        (tmp_path / folder).mkdir(parents=True)
        for n, name in enumerate(SIZES):
            (tmp_path / folder / f"img_{n}.png").write_bytes(encode(image(name)))
    (tmp_path / "sets/Set5/LRbicx9").mkdir()
    (tmp_path / "sets/Set5/LRbicx9/other.png").write_bytes(encode(image("DIV2K/0001")))
    return tmp_path / "sets"


def assert_benchmarks(out, names, scales):
    expected = {}
    for n, name in enumerate(SIZES):
        for scale in scales:
            gt = image(name)
            gt = gt[: len(gt) // scale * scale, : gt.shape[1] // scale * scale]
            lr = imresize(gt, 1 / scale, convention="uint8")
            for of_set in names:
                expected[f"{of_set}/GTmod{scale}/img_{n}.png"] = gt
                expected[f"{of_set}/LRbicx{scale}/img_{n}.png"] = lr
    assert_same(tree(out), expected)


def test_benchmarks_are_laid_out_as_the_option_files_expect(sets, tmp_path):
    outcomes = prepare.benchmarks(sets, tmp_path / "out")
    assert list(outcomes) == ["Set5", "BSDS100"]
    assert all(o.written == 24 and not o.bad and not o.unexpected for o in outcomes.values())
    assert_benchmarks(tmp_path / "out", ["Set5", "BSDS100"], [2, 3, 4])
    again = prepare.benchmarks(sets, tmp_path / "out")
    assert all((o.written, o.there_already) == (0, 24) for o in again.values())
    assert list(prepare.benchmarks(sets / "Set5", tmp_path / "one", [4])) == ["Set5"]
    assert_benchmarks(tmp_path / "one", ["Set5"], [4])


def test_benchmarks_may_lie_where_they_are_made(tmp_path):
    (tmp_path / "datasets/Set5").mkdir(parents=True)
    for n, name in enumerate(SIZES):
        (tmp_path / f"datasets/Set5/img_{n}.png").write_bytes(encode(image(name)))
    try:
        prepare.benchmarks(tmp_path / "datasets", tmp_path / "datasets")
    except DataError:
        assert [p for p in (tmp_path / "datasets/Set5").iterdir() if p.is_dir()] == []  # refused, nothing made
        return
    for file in (tmp_path / "datasets/Set5").glob("*.png"):
        file.unlink()
    assert_benchmarks(tmp_path / "datasets", ["Set5"], [2, 3, 4])


def test_a_bad_benchmark_image_is_named_once_and_no_benchmark_is_an_error(sets, tmp_path):
    (sets / "BSD100/img_0.png").write_bytes(b"")
    outcomes = prepare.benchmarks(sets, tmp_path / "out")
    assert outcomes["BSDS100"].bad == [f"{sets}/BSD100/img_0.png: is empty (0 bytes)"] and not outcomes["Set5"].bad
    with pytest.raises(DataError, match="none of Set5, Set14, BSDS100, urban100, manga109 is below it"):
        prepare.benchmarks(sets / "Set5/original", tmp_path / "out")


def test_the_verbs_one_after_another_make_df2ks_pixels(source, tmp_path):
    df2k(source, tmp_path / "stores", scales=[4])
    modcrop(source, tmp_path / "hr", 12)
    downsample(tmp_path / "hr", {4: tmp_path / "lr"}, "uint8")
    sub_images(tmp_path / "lr", tmp_path / "lr_sub", HOW.divided(4))
    files = {to_key(p.stem): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / "lr_sub").rglob("*.png")}
    assert_same(pixels(tmp_path / "stores/DF2K_bicx4_sub.lmdb"), files)
