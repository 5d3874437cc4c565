"""The pool of training pairs: what goes in comes out, at another time, and a checkpoint has all of it."""

from __future__ import annotations

import pytest
import torch

from hat_arch.training.pool import Pool

CPU = torch.device("cpu")


def batches(count, size=2):
    """LR and GT whose values are the number of the pair."""
    for n in range(count):
        numbers = torch.arange(n * size, (n + 1) * size, dtype=torch.uint8)
        yield numbers.view(-1, 1, 1, 1).expand(-1, 3, 2, 2), numbers.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def test_every_pair_is_used_once_or_still_there():
    pool, used = Pool(6, seed=0), []
    for n, (lq, gt) in enumerate(batches(40)):
        pair = pool.exchange(lq, gt)
        assert numbers(pair[0]) == numbers(pair[1]) and pair[0].shape == lq.shape and pair[1].shape == gt.shape
        if n < 3:  # it is being filled
            assert numbers(pair[0]) == numbers(lq)
        else:
            used += numbers(pair[0])
    assert pool.pairs is not None
    assert sorted(used + numbers(pool.pairs[0])) == list(range(80))
    waited = [abs(place - number) for place, number in enumerate(used)]
    assert max(waited) > 6


def test_without_a_pool_a_batch_is_used_as_it_is():
    pool = Pool(0, seed=0)
    lq, gt = next(batches(1))
    assert pool.exchange(lq, gt) == (lq, gt)


@pytest.mark.parametrize("after", [0, 1, 2, 7])
def test_goes_on_from_a_checkpoint(after, tmp_path):
    def used(pool, data):
        return [numbers(pool.exchange(*pair)[0]) for pair in data]

    data = list(batches(20))
    whole = used(Pool(4, seed=1), data)
    first = Pool(4, seed=1)
    assert used(first, data[:after]) == whole[:after]
    torch.save(first.state(), tmp_path / "state")
    second = Pool(4, seed=2)
    second.restore(torch.load(tmp_path / "state", weights_only=True), CPU)
    assert used(second, data[after:]) == whole[after:]


def test_is_filled_anew_if_its_size_has_changed():
    pool = Pool(4, seed=1)
    for pair in batches(3):
        pool.exchange(*pair)
    other = Pool(2, seed=1)
    other.restore(pool.state(), CPU)
    assert other.pairs is None and other.filled == 0
