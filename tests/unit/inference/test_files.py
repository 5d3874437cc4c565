"""Many images at once: workers that share them, and writing behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from hat_arch.inference.behind import Writing
from hat_arch.inference.files import Wish, upscale_files
from hat_arch.inference.formats import Page
from hat_arch.inference.metadata import Metadata
from hat_arch.inference.sources import plan
from hat_arch.inference.upscaler import Upscaler
from hat_arch.utils.files import OutOfSpace

PAGE = Page(4, 2, 1, 8, Metadata())


class Nearest(torch.nn.Module):
    """Notes in which threads it runs."""

    def __init__(self, barrier=None):
        super().__init__()
        self.threads, self.barrier = set(), barrier

    def forward(self, x):
        self.threads.add(threading.get_ident())
        if self.barrier:
            self.barrier.wait(20)
        return torch.nn.functional.interpolate(x, scale_factor=2)


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"in/{i}.png"), np.full((5, 7, 3), 20 * i, np.uint8))
    return plan([str(tmp_path / "in")], str(tmp_path / "out"), None, None, "").jobs


def test_workers_share_the_images(jobs):
    barrier = threading.Barrier(2)  # both must be at work at the same time
    networks = [Nearest(barrier), Nearest(barrier)]
    outcome = upscale_files([Upscaler(network, 2) for network in networks], jobs, Wish())
    assert (outcome.written, outcome.bad) == (6, [])
    for i, job in enumerate(jobs):
        assert np.array_equal(cv2.imread(str(job.target)), np.full((10, 14, 3), 20 * i, np.uint8))
    assert all(len(network.threads) == 1 for network in networks) and networks[0].threads != networks[1].threads


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_all(jobs, workers, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hat_arch.inference.png.PngWriter.close", full)
    with pytest.raises(OutOfSpace):
        upscale_files([Upscaler(Nearest(), 2) for _ in range(workers)], jobs, Wish())
    assert not list(jobs[0].target.parent.glob("*"))


def test_one_file_is_written_while_the_next_is_put():
    written, may_end = [], threading.Event()

    def save(pages):
        for page, rows in pages:
            written.append((page.height, [row.tolist() for row in rows]))
        may_end.wait(20)

    with ThreadPoolExecutor(1) as pool:
        first, second = Writing(pool, save), Writing(pool, save)
        for writing, rows in ((first, [1, 2]), (second, [3])):
            writing.begin(PAGE)
            for row in rows:
                writing.rows(np.array([row]))
        first.end()
        assert not first.done.done()
        may_end.set()
        second.end()
    assert written == [(4, [[1], [2]]), (4, [[3]])]


def test_an_error_of_the_writer_reaches_who_puts_rows():
    def save(pages):
        next(pages)
        raise OSError(28, "full")

    with ThreadPoolExecutor(1) as pool:
        writing = Writing(pool, save)
        writing.begin(PAGE)
        with pytest.raises(OSError, match="full"):
            for _ in range(10):
                writing.rows(np.zeros((1, 2, 1)))


def test_giving_up_makes_the_writer_tidy_up():
    tidied = []

    def save(pages):
        try:
            for _, rows in pages:
                list(rows)
        finally:
            tidied.append(True)

    with ThreadPoolExecutor(1) as pool:
        writing = Writing(pool, save)
        writing.begin(PAGE)
        for _ in range(3):
            writing.rows(np.zeros((1, 2, 1)))
        writing.give_up(KeyboardInterrupt())
        assert tidied == [True] and isinstance(writing.done.exception(), KeyboardInterrupt)
