"""What the benchmarks compute from what they measure; no test looks at how fast anything is."""

from __future__ import annotations

import itertools
import math
import os

import common
import inference
import numpy as np
import pytest
import scaling
import tiles
import torch
import training

from hat_arch.utils.errors import UserError

SMALL = {**common.network_options("HAT", 1), "embed_dim": 12, "depths": [1], "num_heads": [2], "squeeze_factor": 4}


def test_candidates_are_timed_in_turn():
    order: list[str] = []

    def clock(name):
        return lambda: order.append(name) or float(len(order))

    seconds = common.in_turn({name: clock(name) for name in (common.PEER, "ours")}, rounds=3)
    assert order == [common.PEER, "ours"] * 3
    assert seconds == {common.PEER: [1, 3, 5], "ours": [2, 4, 6]}
    assert common.ratios(seconds) == {"ours": common.summary([2 / 1, 4 / 3, 6 / 5])}
    assert common.summary([3, 1, 2]) == {"median": 2, "min": 1, "max": 3, "runs": [3, 1, 2]}


def test_the_peer_has_the_same_weights():
    ours, peer = common.build(SMALL).state_dict(), common.build(SMALL, peer=True).state_dict()
    assert ours.keys() == peer.keys() and all(ours[name].equal(peer[name]) for name in ours)


class Candidate:
    def __init__(self, text):
        self.letters = list(text)

    def pop(self):
        return self.letters.pop(), os.getpid()

    def die(self):
        os._exit(1)

    def fill(self):
        raise torch.OutOfMemoryError("no memory\nfor this")


def test_a_worker_keeps_its_candidate_and_names_a_lack_of_memory():
    with common.Worker(Candidate, "ab") as worker:
        (last, process), (first, same) = worker.call("pop"), worker.call("pop")
        assert (first, last) == ("a", "b") and process == same != os.getpid()
        with pytest.raises(IndexError):
            worker.call("pop")
        for method in ("fill", "die"):
            with pytest.raises(UserError, match=r"memory[^\n]*$"):
                worker.call(method)


@pytest.mark.parametrize("size", [(64, 64), (50, 61)])
def test_flops_are_the_papers(size):
    """Table of the paper: 103.88 G multiply-adds at 64×64; other sizes are filled up to whole windows."""
    assert inference.count_flops(common.network_options("HAT"), size) / 2 == pytest.approx(103.88e9, rel=1e-4)


def test_a_wrong_output_or_loss_is_refused():
    peer = np.linspace(0, 2, 9, dtype=np.float32)
    assert inference.compare("ours", peer + np.float32(1e-6), peer, "fp32")["relative"] < 1e-5
    for wrong in (peer + 0.001, peer * np.nan):
        with pytest.raises(UserError, match=r"^ours: "):
            inference.compare("ours", wrong, peer, "fp32")
    training.compare({"peer": 0.5, "bf16": 0.501})
    for wrong in ({"peer": 0.5, "fp32": 0.501}, {"peer": 0.5, "bf16": math.nan}):
        with pytest.raises(UserError, match="first loss"):
            training.compare(wrong)


def test_sizes_double():
    shapes = scaling.sizes(0.0625, 4)
    assert shapes[:3] == [(256, 256), (256, 512), (512, 512)] and shapes[-1] == (2048, 2048)
    assert all(math.prod(b) == 2 * math.prod(a) for a, b in itertools.pairwise(shapes))
    with pytest.raises(UserError, match="--max_megapixels"):
        scaling.sizes(0.0625, 0.1)


@pytest.mark.parametrize("power", [1, 1.5])
def test_slope_is_the_power(power):
    points = [{"size": [side, 2 * side], "seconds": {"median": 3e-6 * (2 * side**2) ** power}} for side in (16, 32, 64)]
    assert scaling.fit(points)[0] == pytest.approx(power)


def test_worst_step_sees_a_border_wherever_it_is():
    torch.manual_seed(0)
    whole = torch.rand(1, 3, 40, 60)
    assert tiles.worst_step(whole, whole) == 1
    for dim, position in ((-2, 7), (-1, 33)):
        tiled = whole.clone()
        tiled.narrow(dim, position, tiled.shape[dim] - position).add_(0.5)  # one step; the mean of others is 1/3
        assert tiles.worst_step(tiled, whole) == pytest.approx(1.6, abs=0.2)
    flat = torch.zeros(1, 3, 8, 8)
    assert tiles.worst_step(flat, flat) == 1
