"""LMDB stores: BasicSR reads them, and a build that stopped in any way goes on to the same store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils import FileClient
from hypothesis import given, settings
from hypothesis import strategies as st

from hat_arch.data import check, lmdb_store
from hat_arch.data.images import DataError, EncodedImage, Header, encoded
from hat_arch.data.lmdb_store import StoreWriter, to_key, to_name, write_store
from hat_arch.utils.files import digest

RECIPE = {"made_by": "a test", "scale": 1}


def image(n, shape=(24, 20, 3)):
    return np.random.default_rng(n).integers(0, 256, shape, np.uint8)


def content(store):
    """All that a user has of a store: keys, bytes, and the texts beside them."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = {key.decode("ascii"): value for key, value in transaction.cursor()}
    texts = {file.name: file.read_text() for file in store.iterdir() if file.suffix != ".mdb"}
    assert texts.keys() == {"meta_info.txt", "checksums.tsv", "recipe.json"}
    return values, texts


def add(writer, numbers):
    for n in numbers:
        if writer.lacks(f"i{n:04d}"):
            writer.add(encoded(f"i{n:04d}", image(n)))


def make(store, count):
    with StoreWriter(store, RECIPE) as writer:
        add(writer, range(count))
        writer.finish()
    return content(store)


def test_basicsrs_paired_dataset_reads_stores(tmp_path):
    names = ["a", "café/été.v2", "b c", "日本", "p%q", "n01/x_(1)"]
    options = {"name": "pairs", "type": "PairedImageDataset", "phase": "val", "scale": 4}
    options["io_backend"] = {"type": "lmdb"}
    for part, scale in (("gt", 4), ("lq", 1)):
        pixels = {name: image(n, (8 * scale, 6 * scale, 3)) for n, name in enumerate(names)}
        assert write_store(tmp_path / f"{part}.lmdb", pixels.items()) == len(names)
        options[f"dataroot_{part}"] = str(tmp_path / f"{part}.lmdb")
    dataset = build_dataset(options)
    seen = {to_name(sample["gt_path"]): sample for sample in (dataset[n] for n in range(len(dataset)))}
    assert seen.keys() == set(names)
    for n, name in enumerate(names):
        for part, scale in (("gt", 4), ("lq", 1)):
            pixels = (seen[name][part].numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)[..., ::-1]
            assert np.array_equal(pixels, image(n, (8 * scale, 6 * scale, 3)))


def test_store_grows_beyond_its_first_map_and_returns_every_image(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_store, "BATCH", 3 * 2**20)
    data = [os.urandom(2**20) for _ in range(70)]
    assert sum(map(len, data)) > lmdb_store.FIRST_MAP
    store = tmp_path / "s.lmdb"
    with StoreWriter(store, RECIPE) as writer:
        for n, value in enumerate(data):
            writer.add(EncodedImage(f"k{n}", value, Header(1, 1, 3, ".png")))
        writer.finish()
    client = FileClient("lmdb", db_paths=[str(store)], client_keys=["gt"])
    assert all(client.get(f"k{n}", "gt") == value for n, value in enumerate(data))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(min_size=1, max_size=30))
def test_keys_are_what_basicsr_can_read_and_give_the_name_back(name):
    name = name.encode("utf-8", "replace").decode()
    key = to_key(name)
    assert to_name(key) == name
    assert key.isascii() and key.isprintable() and "." not in key and " " not in key
    assert f"{key}.png (1,1,3) 1".split(".")[0] == key  # what BasicSR does with a line of meta_info.txt


def test_plain_names_stay_as_they_are_and_endless_ones_are_refused():
    assert to_key("n01/0001x4_s001-(a)~") == "n01/0001x4_s001-(a)~"
    with pytest.raises(DataError, match=r"xxx: is too long for a key"):
        to_key("x" * 600)


def test_what_is_beside_the_images(tmp_path):
    grey = image(0, (5, 7))
    write_store(tmp_path / "s.lmdb", [("b", image(1)), ("a.b", grey)])
    values, texts = content(tmp_path / "s.lmdb")
    assert texts["meta_info.txt"] == "a%2Eb.png (5,7,1) 1\nb.png (24,20,3) 1\n"
    assert texts["checksums.tsv"] == "".join(
        f"{key}\t{digest(values[key])}\t{sides}\t.png\n" for key, sides in (("a%2Eb", "5\t7\t1"), ("b", "24\t20\t3"))
    )
    assert json.loads(texts["recipe.json"]) == {}
    assert np.array_equal(cv2.imdecode(np.frombuffer(values["a%2Eb"], np.uint8), cv2.IMREAD_UNCHANGED), grey)


def test_a_store_is_never_overwritten_unasked(tmp_path):
    store = tmp_path / "s.lmdb"
    before = make(store, 3)
    with pytest.raises(DataError, match=r"s\.lmdb: exists; .*--overwrite"):
        StoreWriter(store, RECIPE)
    assert content(store) == before and [p.name for p in tmp_path.iterdir()] == ["s.lmdb"]
    with StoreWriter(store, {"other": 1}, overwrite=True) as writer:
        add(writer, [7])
        assert content(store) == before  # until the new one is complete
        writer.finish()
    assert list(content(store)[0]) == ["i0007"] and [p.name for p in tmp_path.iterdir()] == ["s.lmdb"]


def test_a_build_goes_on_only_with_the_same_recipe_and_one_process_at_a_time(tmp_path):
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        add(writer, [0])
        with pytest.raises(DataError, match="another process"):
            StoreWriter(tmp_path / "s.lmdb", RECIPE)
    with pytest.raises(DataError, match=r"\.s\.lmdb\.partial: was begun with scale 1; delete it"):
        StoreWriter(tmp_path / "s.lmdb", {**RECIPE, "scale": 2})
    assert list(make(tmp_path / "s.lmdb", 1)[0]) == ["i0000"]


def test_images_whose_sources_are_gone_are_removed_and_missing_ones_refused(tmp_path):
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        add(writer, range(3))
        with pytest.raises(DataError, match="1 images were never added, such as i0009"):
            writer.finish(["i0000", "i0009"])
        writer.finish(["i0000", "i0002"])
    values, texts = content(tmp_path / "s.lmdb")
    assert list(values) == ["i0000", "i0002"] and "i0001" not in "".join(texts.values())
    assert check.read_store(tmp_path / "s.lmdb").problems == []


@pytest.mark.parametrize("stop", [0, 1, 7, 39])
def test_after_an_exception_a_build_goes_on_to_the_same_store(tmp_path, monkeypatch, stop):
    whole = make(tmp_path / "whole.lmdb", 40)
    monkeypatch.setattr(lmdb_store, "BATCH", 4000)  # three images
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        add(writer, range(stop))
        raise KeyboardInterrupt
    assert not (tmp_path / "s.lmdb").exists()
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        assert len(writer.records) == stop  # nothing that was done is lost
    assert make(tmp_path / "s.lmdb", 40) == whole


def test_a_build_that_was_killed_before_its_last_rename_is_not_made_again(tmp_path, monkeypatch):
    def killed(self, target, replace=Path.replace):
        if self.name == ".s.lmdb.partial":
            raise KeyboardInterrupt
        return replace(self, target)

    whole = make(tmp_path / "whole.lmdb", 6)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        make(tmp_path / "s.lmdb", 6)
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        assert len(writer.records) == 6
    assert make(tmp_path / "s.lmdb", 6) == whole


CHILD = """
import sys, resource
from pathlib import Path
import hat_arch
from hat_arch.data import lmdb_store
sys.path.insert(0, {folder!r})
import test_lmdb_store as tests
lmdb_store.BATCH = 20000
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with lmdb_store.StoreWriter(Path(sys.argv[1]), tests.RECIPE) as writer:
        for n in range(0, 400, 20):
            tests.add(writer, range(n, n + 20))
            if sys.argv[2] == "slow":
                print(n, flush=True)
                sys.stdin.readline()
except lmdb_store.OutOfSpace as error:
    print(error)
"""


def child(store, mode):
    code = CHILD.format(folder=os.path.dirname(__file__))  # noqa: PTH120
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code, str(store), mode], env=environment, text=True, **pipes)


@pytest.mark.parametrize("mode", ["slow", "full"])
def test_after_sigkill_or_a_full_disk_a_build_goes_on_to_the_same_store(tmp_path, mode):
    whole, store = make(tmp_path / "whole.lmdb", 400), tmp_path / "s.lmdb"
    with child(store, mode) as process:
        if mode == "full":
            out, err = process.communicate(timeout=120)
            assert out.startswith(f"{store}: no space left on the disk") and out.count("\n") == 1
            assert "Traceback" not in err and process.returncode == 0
        else:
            for _ in range(10):
                process.stdout.readline()
                process.stdin.write("\n")
                process.stdin.flush()
            process.send_signal(signal.SIGKILL)
    with StoreWriter(store, RECIPE) as writer:
        assert 20 < len(writer.records) < 400
    assert make(store, 400) == whole
