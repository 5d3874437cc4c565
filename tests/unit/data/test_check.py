"""Checking: a healthy store or folder has no problem, and every kind of damage is named."""

from __future__ import annotations

import os
import shutil
import signal

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from hat_arch.data import check, prepare
from hat_arch.data.folders import SubImages
from hat_arch.data.images import DataError, encode
from hat_arch.data.lmdb_store import write_store

KEYS = ["a", "b%2Ev1", "c", "d"]


def image(n, shape=(24, 20, 3)):
    return np.random.default_rng(n).integers(0, 256, shape, np.uint8)


@pytest.fixture
def store(tmp_path):
    """A healthy store of four images."""
    write_store(tmp_path / "s.lmdb", [(key.replace("%2E", "."), image(n)) for n, key in enumerate(KEYS)])
    return tmp_path / "s.lmdb"


@pytest.fixture
def basicsr_store(tmp_path):
    """One that BasicSR made: no checksums, no recipe."""
    (tmp_path / "src").mkdir()
    for n, name in enumerate("abc"):
        cv2.imwrite(str(tmp_path / f"src/{name}.png"), image(n))
    names = [f"{name}.png" for name in "abc"]
    make_lmdb_from_imgs(str(tmp_path / "src"), str(tmp_path / "b.lmdb"), names, list("abc"), map_size=2**22)
    return tmp_path / "b.lmdb"


def change(store, key, value):
    """Writes past our own code: a value, or None to delete it."""
    with lmdb.open(str(store), map_size=2**26, lock=False) as environment, environment.begin(write=True) as transaction:
        old = bytes(transaction.get(key.encode()) or b"")
        data = value(old) if callable(value) else value
        if data is None:
            transaction.delete(key.encode())
        else:
            transaction.put(key.encode(), data)
    return old


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 4]) + data[middle + 4 :]


def rewrite(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def only_problem(path):
    problems = check.contents(path).problems
    assert len(problems) == 1, problems
    assert problems[0].startswith(str(path)) and "\n" not in problems[0]
    return problems[0]


def test_a_healthy_store_has_no_problem(store):
    found = check.contents(store)
    assert found.problems == [] and found.notes == []
    assert found.sizes == dict.fromkeys(KEYS, (24, 20))


def test_a_healthy_store_of_basicsr_has_none_either(basicsr_store):
    found = check.contents(basicsr_store)
    assert found.problems == [] and found.notes == []
    assert found.sizes == dict.fromkeys("abc", (24, 20))


def test_a_healthy_df2k_has_none_and_its_pairs_fit(tmp_path):
    (tmp_path / "src").mkdir()
    for n, shape in enumerate([(40, 61, 3), (36, 24), (50, 50, 3)]):
        (tmp_path / f"src/{n}.png").write_bytes(encode(image(n, shape)))
    prepare.df2k(tmp_path / "src", tmp_path, how=SubImages(24, 12, 0))
    gt = check.contents(tmp_path / "DF2K_HR_sub.lmdb")
    for scale in (2, 3, 4):
        lq = check.contents(tmp_path / f"DF2K_bicx{scale}_sub.lmdb")
        assert gt.problems == lq.problems == gt.notes == lq.notes == [] and len(gt.sizes) == len(lq.sizes) > 8
        assert check.pairs(gt, lq, scale) == []
        assert len(check.pairs(gt, lq, scale + 1)) == len(gt.sizes)


@pytest.mark.parametrize("kept", [0, 100, 4096, 8192, 0.5, -4096, -1])
def test_a_truncated_store(store, kept):
    file = store / "data.mdb"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept) if 0 < kept < 1 else kept])
    assert "data.mdb: is " in only_problem(store)


@pytest.mark.parametrize("missing", ["data.mdb", "meta_info.txt"])
def test_a_store_without_one_of_its_files(store, missing):
    (store / missing).unlink()
    assert only_problem(store) == f"{store}: has no {missing}; make the store anew"


def test_a_data_file_that_is_no_lmdb(store):
    (store / "data.mdb").write_bytes(b"<html>404</html>" * 1000)
    assert "data.mdb: is damaged" in only_problem(store)


def test_a_missing_key(store):
    change(store, "c", None)
    assert only_problem(store) == f"{store}: has no key 'c', which meta_info.txt lists"


def test_a_key_that_only_the_checksums_list(store):
    change(store, "c", None)
    rewrite(store / "meta_info.txt", "c.png (24,20,3) 1\n", "")
    assert only_problem(store) == f"{store}: has no key 'c', which checksums.tsv lists"


def test_a_key_listed_twice(store):
    rewrite(store / "meta_info.txt", "c.png (24,20,3) 1\n", "c.png (24,20,3) 1\n" * 2)
    assert only_problem(store) == f"{store}/meta_info.txt, line 4: 'c' is listed twice"


def test_a_key_that_basicsr_would_not_see(store):
    rewrite(store / "meta_info.txt", "c.png (24,20,3) 1\n", "")
    assert only_problem(store).startswith(f"{store}: key 'c' is not in meta_info.txt")


def test_a_size_that_meta_info_says_otherwise(store):
    rewrite(store / "meta_info.txt", "c.png (24,20,3)", "c.png (20,24,3)")
    assert "'c' is 24x20, and meta_info.txt says otherwise" in only_problem(store)


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
        value = bytes(transaction.get(key.encode()))
    file = store / "data.mdb"
    data = file.read_bytes()
    assert value in data  # perhaps twice, where a page was split
    file.write_bytes(data.replace(value, flipped(value)))
    assert f"'{key}' is damaged" in only_problem(store)


@pytest.mark.parametrize("bad", [lambda data: b"", flipped, lambda data: data[: len(data) // 2], lambda data: b"text"])
def test_without_checksums_images_are_decoded(basicsr_store, bad):
    change(basicsr_store, "b", bad)
    assert only_problem(basicsr_store).startswith(f"{basicsr_store}: 'b': is ")


def test_without_checksums_sizes_are_compared_too(basicsr_store):
    change(basicsr_store, "b", encode(image(7, (8, 8, 3))))
    assert "'b' is 8x8, and meta_info.txt says otherwise" in only_problem(basicsr_store)


def test_identical_images_are_a_note(tmp_path):
    write_store(tmp_path / "s.lmdb", [("a", image(0)), ("b", image(1)), ("c", image(0))])
    found = check.contents(tmp_path / "s.lmdb")
    assert found.problems == [] and found.notes == [f"{tmp_path}/s.lmdb: 'c' is the same as 'a'"]
    for name in "ab":
        (tmp_path / f"src/{name}").mkdir(parents=True)
        (tmp_path / f"src/{name}/same.png").write_bytes(encode(image(0)))
    found = check.contents(tmp_path / "src")
    assert found.problems == [] and found.notes == [f"{tmp_path}/src: 'b/same' is the same as 'a/same'"]


def test_folders_name_bad_images_and_those_of_one_name(tmp_path):
    for n, name in enumerate(("a.png", "a.bmp", "b.png")):
        (tmp_path / name).write_bytes(encode(image(n), name[1:]))
    (tmp_path / "cut.png").write_bytes(encode(image(3))[:300])
    problems = check.contents(tmp_path).problems
    assert len(problems) == 2
    assert problems[0] == f"{tmp_path}: a.bmp and a.png have the same name"
    assert problems[1].startswith(f"{tmp_path}/cut.png: is damaged")


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
    gt = contents("GT", {"a": (8, 12), "n/b": (8, 8)})
    assert check.pairs(gt, contents("LR", {"ax4": (2, 3), "n/bx4": (2, 2)}), 4, "{}x4") == []
    assert len(check.pairs(gt, contents("LR", {"ax4": (2, 3), "n/bx4": (2, 2)}), 4)) == 4


def test_a_benchmark_with_an_image_too_few(tmp_path):
    for part in ("GTmod4", "LRbicx4"):
        (tmp_path / "Set5" / part).mkdir(parents=True)
        for n in range(5):
            (tmp_path / f"Set5/{part}/{n}.png").write_bytes(encode(image(n)))
    assert check.contents(tmp_path / "Set5/GTmod4").problems == []
    (tmp_path / "Set5/LRbicx4/3.png").unlink()
    assert check.contents(tmp_path / "Set5/LRbicx4").problems == [f"{tmp_path}/Set5/LRbicx4: has 4 images; Set5 has 5"]


def test_df2k_of_other_photographs_is_a_note_and_of_too_few_sub_images_a_problem(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    for n in range(2):
        (tmp_path / f"src/{n}.png").write_bytes(encode(image(n, (480, 720, 3))))
    prepare.df2k(tmp_path / "src", tmp_path, scales=[4])
    stores = [tmp_path / f"DF2K_{part}_sub.lmdb" for part in ("HR", "bicx4")]
    for store in stores:
        found = check.contents(store)
        assert found.problems == [] and len(found.notes) == 1
        assert f"{store}: was made from 2 images; DF2K has 3,450" in found.notes[0]
    monkeypatch.setattr(check, "DF2K_SOURCES", 2)
    assert only_problem(stores[0]) == f"{stores[0]}: has 4 sub-images; DF2K has 139,995"
    monkeypatch.setattr(check, "DF2K_SUB_IMAGES", 4)
    assert check.contents(stores[0]).problems == []


def test_checking_writes_nothing(store, basicsr_store):
    for root in (store, basicsr_store):
        before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.iterdir()}
        check.contents(root)
        assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.iterdir()} == before
    shutil.copytree(store, store.with_name("copy.lmdb"))  # and leaves nothing open or locked
    assert check.contents(store.with_name("copy.lmdb")).problems == []


def test_a_store_that_crashes_its_reader_is_damaged(store, monkeypatch):
    monkeypatch.setattr(check, "_store", lambda root: os.kill(os.getpid(), signal.SIGBUS))
    assert "data.mdb: is damaged (reading it ended with signal" in check.contents(store).problems[0]
