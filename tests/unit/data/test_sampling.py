"""Random choices depend on seed, draw and index alone; broken items are named, or replaced and reported."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.paired_image_dataset import PairedImageDataset
from torch.utils.data import DataLoader

from hat_arch.data.folders import downsample
from hat_arch.data.images import DataError
from hat_arch.data.prepare import pack
from hat_arch.data.sampling import DrawSampler, ItemError

COUNT = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of 48x64 and 12x16, as folders and as stores."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "gt").mkdir()
    rng = np.random.default_rng(0)
    for n in range(COUNT):
        cv2.imwrite(str(root / f"gt/im{n}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
    downsample(root / "gt", {4: root / "lq"})
    for which in ("gt", "lq"):
        pack(root / which, root / f"{which}.lmdb")
    return root


def make(folders: Path, lmdb: bool = False, **changes: Any) -> Any:
    end = ".lmdb" if lmdb else ""
    opt = {
        "name": "pairs",
        "type": "SeededPairedDataset",
        "phase": "train",
        "scale": 4,
        "gt_size": 16,
        "use_hflip": True,
        "use_rot": True,
        "dataroot_gt": f"{folders}/gt{end}",
        "dataroot_lq": f"{folders}/lq{end}",
        "io_backend": {"type": "lmdb" if lmdb else "disk"},
        "seed": 3,
    }
    return build_dataset({**opt, **changes})


def epoch(dataset: Any, number: int, workers: int = 0, ratio: int = 1, replicas: int = 1, **loader: Any) -> list[Any]:
    """The samples of one epoch, of all replicas in turn."""
    samplers = [DrawSampler(dataset, replicas, rank, ratio) for rank in range(replicas)]
    loaders = [
        DataLoader(dataset, sampler=sampler, num_workers=workers, batch_size=None, **loader) for sampler in samplers
    ]
    for sampler in samplers:
        sampler.set_epoch(number)
    return [sample for loader in loaders for sample in loader]


def prints(samples: list[Any]) -> Counter[bytes]:
    return Counter(sample["gt"].numpy().tobytes() + sample["lq"].numpy().tobytes() for sample in samples)


@pytest.mark.parametrize("lmdb,workers,start", [(False, 2, "fork"), (True, 2, "fork"), (True, 1, "spawn")])
def test_samples_do_not_depend_on_workers_nor_on_how_they_are_started(folders, lmdb, workers, start):
    dataset = make(folders, lmdb, skip_broken=True)
    alone, shared = epoch(dataset, 1), epoch(dataset, 1, workers, multiprocessing_context=start)
    assert all(torch.equal(a["gt"], b["gt"]) and torch.equal(a["lq"], b["lq"]) for a, b in zip(alone, shared))


def test_samples_do_not_depend_on_the_number_of_gpus(folders):
    dataset = make(folders)
    assert prints(epoch(dataset, 2, ratio=3)) == prints(epoch(dataset, 2, ratio=3, replicas=2))


def test_workers_that_live_on_draw_anew(folders):
    dataset = make(folders)
    sampler = DrawSampler(dataset, 1, 0)
    loader = DataLoader(dataset, sampler=sampler, num_workers=1, batch_size=None, persistent_workers=True)
    seen: Counter[bytes] = Counter()
    for number in range(3):
        sampler.set_epoch(number)
        seen.update(prints(list(loader)))
    assert max(seen.values()) == 1


def test_no_two_draws_repeat_a_crop_not_even_in_an_enlarged_epoch(folders):
    dataset = make(folders, gt_size=8)
    samples = [sample for number in range(3) for sample in epoch(dataset, number, ratio=3)]
    assert len(samples) == 9 * COUNT
    repeated = sum(count - 1 for count in prints(samples).values())
    assert repeated <= 2  # by chance: 11 * 15 places, 8 ways to turn


def test_seed_changes_the_crops_and_nothing_else_does(folders):
    first, again, other = (prints(epoch(make(folders, seed=seed), 0)) for seed in (3, 3, 4))
    assert first == again != other


def test_channels_change_places_alike_in_both_images_and_nothing_else_changes(folders):
    plain, permuted = (epoch(make(folders, use_channel_permutation=on), 0, ratio=20) for on in (False, True))
    again = epoch(make(folders, use_channel_permutation=True), 0, workers=1, ratio=20)
    orders = Counter()
    for a, b, c in zip(plain, permuted, again):
        assert torch.equal(b["gt"], c["gt"]) and torch.equal(b["lq"], c["lq"])
        fitting = [
            order
            for order in itertools.permutations(range(3))
            if torch.equal(b["gt"], a["gt"][list(order)]) and torch.equal(b["lq"], a["lq"][list(order)])
        ]
        assert len(fitting) == 1
        orders.update(fitting)
    assert len(orders) == 6 and min(orders.values()) >= 5  # of 120


def test_order_is_basicsrs(folders):
    dataset = make(folders)
    ours, basicsrs = DrawSampler(dataset, 2, 1, 3), EnlargedSampler(dataset, 2, 1, 3)
    for sampler in (ours, basicsrs):
        sampler.set_epoch(5)
    assert [position % COUNT for position in ours] == list(basicsrs)
    other = PairedImageDataset({**dataset.opt, "io_backend": {"type": "disk"}})
    assert list(DrawSampler(other, 2, 1, 3)) == list(EnlargedSampler(other, 2, 1, 3))


@pytest.mark.parametrize("flips", [False, True])
def test_patches_are_aligned_and_turned_alike(folders, flips):
    dataset = make(folders, use_hflip=flips, use_rot=flips)
    gts = {path["gt_path"]: cv2.imread(path["gt_path"])[..., ::-1] for path in dataset.paths}
    seen = set()
    for position in range(40 * COUNT):
        sample = dataset[position]
        patch = np.rint(sample["gt"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        gt, lq = gts[sample["gt_path"]], cv2.imread(sample["lq_path"])[..., ::-1]
        for turn in range(8) if flips else [0]:
            candidate = np.rot90(patch, turn % 4)[:, :: 1 if turn < 4 else -1]
            windows = np.lib.stride_tricks.sliding_window_view(gt, candidate.shape)[::4, ::4, 0]
            places = np.argwhere((windows == candidate).all((2, 3, 4)))
            if len(places):
                (y, x), small = places[0], np.rint(sample["lq"].numpy().transpose(1, 2, 0) * 255)
                assert np.array_equal(np.rot90(small, turn % 4)[:, :: 1 if turn < 4 else -1], lq[y : y + 4, x : x + 4])
                seen.add((turn, y, x))
                break
        else:
            raise AssertionError("a patch is not of its image")
    assert {turn for turn, _, _ in seen} == set(range(8 if flips else 1))
    assert {y for _, y, _ in seen} == set(range(9)) and {x for _, _, x in seen} == set(range(13))  # every place


@pytest.mark.parametrize("lmdb", [False, True])
@pytest.mark.parametrize("extra", [{}, {"color": "y"}, {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}])
def test_whole_images_are_basicsrs(folders, lmdb, extra):
    ours = make(folders, lmdb, phase="val", **extra)
    basicsrs = PairedImageDataset({**ours.opt, "io_backend": {"type": "disk"}, **_folders(folders)})
    theirs_by_name = {Path(sample["gt_path"]).stem: sample for sample in (basicsrs[n] for n in range(COUNT))}
    for mine in ours:
        theirs = theirs_by_name[Path(mine["gt_path"]).stem]
        for key in ("gt", "lq"):
            torch.testing.assert_close(mine[key], theirs[key], rtol=0, atol=1e-6)
    with pytest.raises(IndexError):
        ours[COUNT]


def _folders(folders: Path) -> dict[str, str]:
    return {f"dataroot_{which}": str(folders / which) for which in ("gt", "lq")}


@pytest.fixture
def broken(folders: Path, tmp_path: Path) -> Path:
    """The same pairs, with one GT cut off and one LR gone."""
    for which in ("gt", "lq"):
        (tmp_path / which).mkdir()
        for file in (folders / which).glob("*.png"):
            (tmp_path / which / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "gt/im2.png"
    file.write_bytes(file.read_bytes()[:-400])
    (tmp_path / "lq/im4.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_item_is_named_in_one_line(broken, workers):
    with pytest.raises(ItemError) as error:
        epoch(make(broken), 0, workers)
    assert "\n" not in str(error.value)
    assert any(name in str(error.value) for name in ("gt/im2.png: is damaged", "lq/im4.png: is damaged"))


def test_a_key_that_is_gone_is_named(folders):
    dataset = make(folders, lmdb=True)
    dataset.paths[0]["gt_path"] = "im99"
    with pytest.raises(ItemError, match=r"gt\.lmdb: has no key 'im99'"):
        dataset[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_broken_goes_on_and_reports_at_the_end_of_the_epoch(broken, workers, caplog):
    dataset = make(broken, skip_broken=True)
    sampler = DrawSampler(dataset, 1, 0, ratio=2)
    loader = DataLoader(dataset, sampler=sampler, num_workers=workers, batch_size=None)
    caplog.clear()  # of what the making of the data set said
    with caplog.at_level(logging.ERROR, "basicsr"):
        samples = list(loader)
        assert len(samples) == 2 * COUNT and not caplog.records
        assert not any(name in str(sample["gt_path"]) for sample in samples for name in ("im2", "im4"))
        sampler.set_epoch(1)
    assert "pairs: 2 of 6 items are broken" in caplog.text
    assert "gt/im2.png" in caplog.text and "gt/im4.png" in caplog.text
    caplog.clear()
    sampler.set_epoch(2)
    assert not caplog.records  # once
    assert prints(samples) == prints(epoch(make(broken, skip_broken=True), 0, ratio=2))  # replaced reproducibly


def test_skip_broken_gives_up_where_nothing_is_left(broken):
    for file in (broken / "gt").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(ItemError, match="nor can any of 6 others"):
        make(broken, skip_broken=True)[0]


def test_sizes_that_do_not_fit_are_named(broken):
    cv2.imwrite(str(broken / "gt/im0.png"), np.zeros((52, 64, 3), np.uint8))
    with pytest.raises(ItemError, match=r"im0\.png: is 52x64, its LR 12x16: not 4 times smaller"):
        make(broken)[0]
    with pytest.raises(ItemError, match=r"im1\.png: is smaller than gt_size 64"):
        make(broken, gt_size=64)[1]


def test_sets_that_do_not_pair_are_named(broken):
    (broken / "lq/im1.png").unlink()
    with pytest.raises(DataError, match=r"/lq: has no 'im1', the LR of .*/gt/im1\.png"):
        make(broken)
    (broken / "gt/im1.png").unlink()
    (broken / "gt/im3.png").unlink()
    with pytest.raises(DataError, match=r"/gt: has no GT for .*/lq/im3\.png"):
        make(broken)


def test_stores_that_do_not_pair_are_named(folders, tmp_path):
    pack(folders / "lq", tmp_path / "other.lmdb", strip="5")
    with pytest.raises(DataError, match=r"gt\.lmdb and .*other\.lmdb: do not pair"):
        make(folders, lmdb=True, dataroot_lq=str(tmp_path / "other.lmdb"))


def test_folders_in_folders_and_names_with_a_scale_pair(folders, tmp_path):
    for which, end in (("gt", ""), ("lq", "x4")):
        (tmp_path / which / "sub").mkdir(parents=True)
        for file in (folders / which).iterdir():
            if file.suffix == ".png":
                (tmp_path / which / "sub" / f"{file.stem}{end}.png").write_bytes(file.read_bytes())
    nested, flat = make(tmp_path, filename_tmpl="{}x4"), make(folders)
    assert len(nested) == COUNT and all(torch.equal(nested[n]["lq"], flat[n]["lq"]) for n in range(2 * COUNT))


@pytest.mark.parametrize("kind", ["SeededPairedDataset", "PairedImageDataset"])
@pytest.mark.parametrize(("ratio", "replicas"), [(1, 1), (3, 2)])
def test_without_shuffling_images_come_in_their_order(folders, kind, ratio, replicas):
    dataset = make(folders, type=kind, use_shuffle=False)
    samplers = [DrawSampler(dataset, replicas, rank, ratio) for rank in range(replicas)]
    for epoch_number in (0, 4):
        for sampler in samplers:
            sampler.set_epoch(epoch_number)
        drawn = [index % COUNT for together in zip(*samplers) for index in together]
        assert drawn == [n % COUNT for n in range(COUNT * ratio)]
    as_ever = make(folders, type=kind)
    for rank in range(replicas):
        sampler, shuffled = (kind(as_ever, replicas, rank, ratio) for kind in (DrawSampler, EnlargedSampler))
        assert [index % COUNT for index in sampler] == list(shuffled)
