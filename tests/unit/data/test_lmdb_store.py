"""LMDB stores: BasicSR reads them, and a build that stopped in any way goes on to the same store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils import FileClient
from hypothesis import given, settings
from hypothesis import strategies as st

from hat_arch.data import lmdb_store
from hat_arch.data.images import DataError, encode
from hat_arch.data.lmdb_store import Entry, StoreWriter, to_key, to_name, write_store
from hat_arch.utils.files import OutOfSpace, digest

RECIPE = {"made_by": "a test", "scale": 1}
SHAPE = (24, 20, 3)


def image(n, shape=SHAPE):
    return np.random.default_rng(n).integers(0, 256, shape, np.uint8)


def entry(n, shape=SHAPE):
    return Entry(f"i{n:04d}", encode(image(n, shape)), *shape)


def content(store):
    """All that a user has of a store: keys, bytes, and the texts beside them."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = {bytes(key).decode("ascii"): bytes(value) for key, value in transaction.cursor()}
    texts = {file.name: file.read_text() for file in store.iterdir() if file.suffix != ".mdb"}
    assert texts.keys() == {"meta_info.txt", "checksums.tsv", "recipe.json"}
    return values, texts


def make(store, count):
    with StoreWriter(store, RECIPE) as writer:
        for n in range(count):
            writer.add(entry(n))
        return writer.finish()


def test_basicsrs_paired_dataset_reads_stores(tmp_path):
    names = ["a", "café/été.v2", "b c", "日本", "p%q", "n01/x_(1)"]
    for part, scale in (("gt", 4), ("lq", 1)):
        pixels = {name: image(n, (8 * scale, 6 * scale, 3)) for n, name in enumerate(names)}
        assert write_store(tmp_path / f"{part}.lmdb", pixels.items()) == len(names)
    dataset = build_dataset(
        {
            "name": "pairs",
            "type": "PairedImageDataset",
            "phase": "val",
            "scale": 4,
            "dataroot_gt": str(tmp_path / "gt.lmdb"),
            "dataroot_lq": str(tmp_path / "lq.lmdb"),
            "io_backend": {"type": "lmdb"},
        }
    )
    assert len(dataset) == len(names)
    seen = {to_name(sample["gt_path"]): sample for sample in (dataset[n] for n in range(len(names)))}
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
            writer.add(Entry(f"k{n}", value, 1, 1, 3))
        assert writer.finish() == 70
    client = FileClient("lmdb", db_paths=[str(store)], client_keys=["gt"])
    assert all(client.get(f"k{n}", "gt") == value for n, value in enumerate(data))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(min_size=1, max_size=30))
def test_keys_are_what_basicsr_can_read_and_give_the_name_back(name):
    key = to_key(name.encode("utf-8", "replace").decode())
    assert to_name(key) == name.encode("utf-8", "replace").decode()
    assert key.isascii() and key.isprintable() and "." not in key and " " not in key
    assert f"{key}.png (1,1,3) 1".split(".")[0] == key  # what BasicSR does with a line of meta_info.txt


def test_plain_names_stay_as_they_are_and_endless_ones_are_refused():
    assert to_key("n01/0001x4_s001-(a)~") == "n01/0001x4_s001-(a)~"
    with pytest.raises(DataError, match=r"xxx: is too long for a key of an LMDB store \(600 > 511 bytes\)"):
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
    make(store, 3)
    before = content(store)
    with pytest.raises(DataError, match=r"s\.lmdb: exists; .*--overwrite"):
        StoreWriter(store, RECIPE)
    assert content(store) == before and [p.name for p in tmp_path.iterdir()] == ["s.lmdb"]
    with StoreWriter(store, {"other": 1}, overwrite=True) as writer:
        writer.add(entry(7))
        assert content(store) == before  # until the new one is complete
        writer.finish()
    assert list(content(store)[0]) == ["i0007"]
    assert [p.name for p in tmp_path.iterdir()] == ["s.lmdb"]


def test_wrong_name_other_recipe_and_second_writer_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"must end in \.lmdb"):
        StoreWriter(tmp_path / "s", RECIPE)
    store = tmp_path / "s.lmdb"
    with StoreWriter(store, RECIPE) as writer:
        writer.add(entry(0))
        with pytest.raises(DataError, match=r"s\.lmdb: another process is making it"):
            StoreWriter(store, RECIPE)
    with pytest.raises(DataError, match="was begun with scale 1; delete it"):
        StoreWriter(store, {**RECIPE, "scale": 2})
    assert not store.exists()
    assert make(store, 2) == 2  # the refusals hinder nobody


def test_missing_keys_are_an_error_and_those_no_longer_wanted_are_removed(tmp_path):
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        for n in range(3):
            writer.add(entry(n))
        with pytest.raises(DataError, match="1 images were never added, such as other"):
            writer.finish(["i0000", "other"])
        assert writer.finish(["i0000", "i0002"]) == 2
    values, texts = content(tmp_path / "s.lmdb")
    assert list(values) == ["i0000", "i0002"]
    assert "i0001" not in "".join(texts.values())


@pytest.mark.parametrize("stop", [0, 1, 7, 39])
def test_after_an_exception_a_build_goes_on_to_the_same_store(tmp_path, monkeypatch, stop):
    make(tmp_path / "whole.lmdb", 40)
    monkeypatch.setattr(lmdb_store, "BATCH", 4000)  # three images
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        for n in range(stop):
            writer.add(entry(n))
        raise KeyboardInterrupt
    assert not (tmp_path / "s.lmdb").exists()
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        assert len(writer.records) == stop  # nothing that was done is lost
        for n in range(40):
            writer.add(entry(n))
        writer.finish()
    assert content(tmp_path / "s.lmdb") == content(tmp_path / "whole.lmdb")


def test_a_torn_last_line_of_the_journal_is_made_again(tmp_path):
    make(tmp_path / "whole.lmdb", 6)
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        for n in range(4):
            writer.add(entry(n))
    journal = tmp_path / ".s.lmdb.partial/checksums.tsv"
    text = journal.read_text()
    for torn in (text[:-1], text[:-9], text[:-1].rpartition("\n")[0]):
        journal.write_text(torn)
        with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
            assert len(writer.records) == torn.count("\n") < 4
            writer.add(entry(3))
    assert make(tmp_path / "s.lmdb", 6) == 6
    assert content(tmp_path / "s.lmdb") == content(tmp_path / "whole.lmdb")


CHILD = """
import sys, resource
from pathlib import Path
import hat_arch
from hat_arch.data import lmdb_store
sys.path.insert(0, {folder!r})
import test_lmdb_store as tests
store, mode = Path(sys.argv[1]), sys.argv[2]
lmdb_store.BATCH = 20000
if mode == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with lmdb_store.StoreWriter(store, tests.RECIPE) as writer:
        for n in range(400):
            writer.add(tests.entry(n))
            if mode == "slow" and n % 20 == 19:
                print(n, flush=True)
                sys.stdin.readline()
except lmdb_store.OutOfSpace as error:
    print(error)
"""


def child(tmp_path, mode, **options):
    code = CHILD.format(folder=os.path.dirname(__file__))  # noqa: PTH120
    command = [sys.executable, "-c", code, str(tmp_path / "s.lmdb"), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


def test_after_sigkill_a_build_goes_on_to_the_same_store(tmp_path):
    make(tmp_path / "whole.lmdb", 400)
    with child(tmp_path, "slow", stdin=subprocess.PIPE) as process:
        for _ in range(10):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        with pytest.raises(DataError, match="another process"):
            StoreWriter(tmp_path / "s.lmdb", RECIPE)
        process.send_signal(signal.SIGKILL)
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        assert 150 < len(writer.records) < 400
    make(tmp_path / "s.lmdb", 400)
    assert content(tmp_path / "s.lmdb") == content(tmp_path / "whole.lmdb")


def test_with_no_space_left_it_says_so_and_goes_on_when_there_is_room(tmp_path):
    make(tmp_path / "whole.lmdb", 400)
    with child(tmp_path, "full", stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=120)
    assert out.startswith(f"{tmp_path / 's.lmdb'}: no space left on the disk") and out.count("\n") == 1
    assert "Traceback" not in err and process.returncode == 0
    with StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        assert 20 < len(writer.records) < 400
    make(tmp_path / "s.lmdb", 400)
    assert content(tmp_path / "s.lmdb") == content(tmp_path / "whole.lmdb")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_disk_that_is_full_only_for_the_journal_is_said_so_too(tmp_path):
    with pytest.raises(OutOfSpace, match="no space left"), StoreWriter(tmp_path / "s.lmdb", RECIPE) as writer:
        writer._journal.close()
        writer._journal = open("/dev/full", "a")  # noqa: PTH123, SIM115
        writer.add(entry(0))
        writer.flush()
    assert make(tmp_path / "s.lmdb", 3) == 3  # not locked any more
