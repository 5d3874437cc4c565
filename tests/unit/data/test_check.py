"""Checking: a healthy store or folder has no problem, and every kind of damage is named."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import lmdb
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from hat_arch.data import check, lmdb_store, prepare
from hat_arch.data.images import DataError, EncodedImage, Header, encode
from hat_arch.data.lmdb_store import write_store
from hat_arch.data.sub_images import SubImages

KEYS = ["a", "b%2Ev1", "c", "d"]
LINE = "c.png (24,20,3) 1\n"  # of meta_info.txt


def image(n, shape=(24, 20, 3)):
    return np.random.default_rng(n).integers(0, 256, shape, np.uint8)


def folder_of(folder, images):
    folder.mkdir(parents=True)
    for name, pixels in images.items():
        (folder / name).write_bytes(encode(pixels, os.path.splitext(name)[1]))  # noqa: PTH122
    return folder


@pytest.fixture
def store(tmp_path):
    """A healthy store of four images."""
    write_store(tmp_path / "s.lmdb", [(key.replace("%2E", "."), image(n)) for n, key in enumerate(KEYS)])
    return tmp_path / "s.lmdb"


@pytest.fixture
def basicsr_store(tmp_path):
    """One that BasicSR made: no checksums, no recipe."""
    names = [f"{name}.png" for name in "abc"]
    source = folder_of(tmp_path / "src", {name: image(n) for n, name in enumerate(names)})
    make_lmdb_from_imgs(str(source), str(tmp_path / "b.lmdb"), names, list("abc"), map_size=2**22)
    return tmp_path / "b.lmdb"


def change(store, key, value):
    """Writes past our own code: bytes, a function of those before, or None to delete them."""
    with lmdb.open(str(store), map_size=2**26, lock=False) as environment, environment.begin(write=True) as transaction:
        data = value(transaction.get(key.encode())) if callable(value) else value
        if data is None:
            transaction.delete(key.encode())
        else:
            transaction.put(key.encode(), data)


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 4]) + data[middle + 4 :]


def rewrite(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def only_problem(path, read=check.read_store):
    problems = read(path).problems
    assert len(problems) == 1, problems
    assert problems[0].startswith(str(path)) and "\n" not in problems[0]
    return problems[0]


def test_healthy_stores_have_no_problem_and_are_left_as_they_are(store, basicsr_store):
    for root, keys in ((store, KEYS), (basicsr_store, "abc")):
        before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.iterdir()}
        found = check.contents(root)
        assert found.problems == found.notes == [] and found.sizes == dict.fromkeys(keys, (24, 20))
        assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.iterdir()} == before


def test_a_healthy_df2k_has_no_problem_and_its_pairs_fit(tmp_path):
    shapes = [(40, 61, 3), (36, 24), (50, 50, 3)]
    source = folder_of(tmp_path / "src", {f"{n}.png": image(n, shape) for n, shape in enumerate(shapes)})
    prepare.df2k(source, tmp_path, how=SubImages(24, 12, 0))
    gt = check.read_store(tmp_path / "DF2K_HR_sub.lmdb")
    for scale in (2, 3, 4):
        lq = check.read_store(tmp_path / f"DF2K_bicx{scale}_sub.lmdb")
        assert gt.problems == lq.problems == [] and len(gt.sizes) == len(lq.sizes) > 8
        assert check.pairs(gt, lq, scale) == []
        assert len(check.pairs(gt, lq, scale + 1)) == len(gt.sizes)


@pytest.mark.parametrize("kept", [0, 100, 4096, 8192, 0.5, -4096, -1])
def test_a_truncated_store(store, kept):
    data = (store / "data.mdb").read_bytes()
    (store / "data.mdb").write_bytes(data[: int(len(data) * kept) if 0 < kept < 1 else kept])
    assert "data.mdb: is " in only_problem(store)


@pytest.mark.parametrize("kept", [1, 3, 300])
def test_a_store_whose_last_pages_are_free_is_not_taken_for_truncated(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(lmdb_store, "BATCH", 20_000)
    rng = np.random.default_rng(0)
    names = [f"{number}" for number in rng.random(300)]
    with lmdb_store.StoreWriter(tmp_path / "s.lmdb", {}) as writer:
        for name in names:
            writer.add(EncodedImage(name, rng.bytes(rng.integers(1, 4090)), Header(1, 1, 3, ".png")))
        writer.finish(names[:kept])
    assert check.read_store(tmp_path / "s.lmdb").problems == []


@pytest.mark.parametrize("missing", ["data.mdb", "meta_info.txt"])
def test_a_store_without_one_of_its_files(store, missing):
    (store / missing).unlink()
    assert f"has no {missing}" in only_problem(store)


@pytest.mark.parametrize("file", ["checksums.tsv", "recipe.json"])
@pytest.mark.parametrize("data", [b"torn", b"\xff\x00"])
def test_a_damaged_text_beside_the_images_is_named(store, monkeypatch, file, data):
    (store / file).write_bytes(data)
    monkeypatch.setattr(check, "_read_store_apart", check.read_store)
    assert f"{file}: is damaged" in only_problem(store, check.contents)


def test_a_data_file_that_is_no_lmdb(store):
    (store / "data.mdb").write_bytes(b"<html>404</html>" * 1000)
    assert "data.mdb: is damaged" in only_problem(store, check.contents)


def test_a_store_that_crashes_its_reader_is_damaged(store, monkeypatch):
    def crashing(command, **options):
        return popen([command[0], "-c", f"import os; os.kill(os.getpid(), {signal.SIGBUS:d})"], **options)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", crashing)
    assert f"data.mdb: is damaged (reading it ended with signal {signal.SIGBUS:d}" in only_problem(
        store, check.contents
    )


@pytest.mark.parametrize(
    "key,old,new,problem",
    [
        ("c", "", "", "has no key 'c', which meta_info.txt"),
        ("c", LINE, "", "has no key 'c', which checksums.tsv"),
        ("", LINE, LINE * 2, "line 4: 'c' is listed twice"),
        ("", LINE, "", "key 'c' is not in meta_info.txt"),
        ("", LINE, LINE.replace("24,20", "20,24"), "'c' is 24x20, and meta_info.txt says otherwise"),
    ],
)
def test_keys_that_are_missing_repeated_or_listed_otherwise(store, key, old, new, problem):
    if key:
        change(store, key, None)
    rewrite(store / "meta_info.txt", old, new)
    assert problem in only_problem(store)


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_image_is_named_by_its_checksum(store, key):
    change(store, key, flipped)
    assert f"'{key}' is damaged (its checksum is " in only_problem(store)


def test_an_image_that_was_exchanged_is_named_though_it_is_whole(store):
    change(store, "c", encode(image(99)))
    assert "'c' is damaged" in only_problem(store)


@pytest.mark.parametrize("key", KEYS)
def test_bytes_that_rotted_in_the_data_file(store, key):
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        value = transaction.get(key.encode())
    data = (store / "data.mdb").read_bytes()
    assert value in data  # perhaps twice, where a page was split
    (store / "data.mdb").write_bytes(data.replace(value, flipped(value)))
    assert f"'{key}' is damaged" in only_problem(store)


@pytest.mark.parametrize("bad", [lambda data: b"", flipped, lambda data: data[: len(data) // 2], lambda data: b"text"])
def test_without_checksums_images_are_decoded(basicsr_store, bad):
    change(basicsr_store, "b", bad)
    assert ": 'b': is " in only_problem(basicsr_store)


def test_without_checksums_sizes_are_compared_too(basicsr_store):
    change(basicsr_store, "b", encode(image(7, (8, 8, 3))))
    assert "'b' is 8x8, and meta_info.txt says otherwise" in only_problem(basicsr_store)


def test_folders_name_bad_images_and_those_of_one_name(tmp_path):
    folder = folder_of(tmp_path / "src", {name: image(n) for n, name in enumerate(("a.png", "a.bmp", "b.png"))})
    (folder / "cut.png").write_bytes(encode(image(3))[:300])
    same, cut = check.contents(folder).problems
    assert same.startswith(f"{folder}/a.bmp and {folder}/a.png: have the same name") and cut.startswith(
        f"{folder}/cut.png: is damaged"
    )


def test_what_is_not_there_is_an_error(tmp_path):
    for name in ("gone.lmdb", "gone"):
        with pytest.raises(DataError, match=f"{name}: no such"):
            check.contents(tmp_path / name)


def contents(name, sizes):
    return check.Contents(check.Path(name), sizes=sizes)


def test_pairs_that_do_not_fit_are_named():
    gt = contents("GT", {"a": (8, 12), "b": (8, 12), "n/caf%C3%A9": (4, 4), "d": (8, 8)})
    lq = contents("LR", {"a": (2, 3), "b": (2, 4), "d": (2, 2), "e": (2, 2)})
    assert check.pairs(gt, lq, 4) == [
        "GT: 'b' is 8x12, its LR in LR is 2x4: not 4 times smaller",
        "LR: has no 'n/caf%C3%A9', the LR of 'n/café' in GT",
        "GT: has no GT for 'e' in LR",
    ]


def test_pairs_follow_basicsrs_template():
    gt, lq = contents("GT", {"a": (8, 12), "n/b": (8, 8)}), contents("LR", {"ax4": (2, 3), "n/bx4": (2, 2)})
    assert check.pairs(gt, lq, 4, "{}x4") == [] and len(check.pairs(gt, lq, 4)) == 4


def test_a_benchmark_with_an_image_too_few(tmp_path):
    folder = folder_of(tmp_path / "Set5/GTmod4", {f"{n}.png": image(n, (24, 228, 3)) for n in range(5)})
    assert check.contents(folder).problems == []
    (folder / "3.png").unlink()
    assert check.contents(folder).problems == [f"{folder}: has 4 images; Set5 has 5"]


def test_lr_images_in_place_of_a_benchmarks_ground_truth(tmp_path):
    images = {f"{n}.png": image(n, (24, 128, 3)) for n in range(5)}
    problem = only_problem(folder_of(tmp_path / "Set5/GTmod2", images), check.contents)
    assert "GTmod2: holds an image of 24x128" in problem and "LR" in problem
    assert check.contents(folder_of(tmp_path / "Set5/LRbicx2", images)).problems == []


def test_df2k_of_other_photographs_is_a_note_and_of_too_few_sub_images_a_problem(tmp_path, monkeypatch):
    source = folder_of(tmp_path / "src", {f"{n}.png": image(n, (480, 720, 3)) for n in range(2)})
    prepare.df2k(source, tmp_path, scales=[4])
    monkeypatch.setattr(check, "_read_store_apart", check.read_store)
    store = tmp_path / "DF2K_HR_sub.lmdb"
    found = check.contents(store)
    assert found.problems == [] and len(found.notes) == 1 and "2 images; DF2K has 3,450" in found.notes[0]
    monkeypatch.setattr(check, "DF2K_SOURCES", 2)
    assert "has 4 sub-images; DF2K has 139,995" in only_problem(store, check.contents)
    monkeypatch.setattr(check, "DF2K_SUB_IMAGES", 4)
    assert check.contents(store).problems == []
    shutil.copytree(store, tmp_path / "copy.lmdb")  # nothing is left open or locked
    assert check.contents(tmp_path / "copy.lmdb").problems == []
