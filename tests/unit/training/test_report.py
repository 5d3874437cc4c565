"""What ``basicsr report`` compares: bicubic, the network, and, if it was fine-tuned, what it started from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hat_arch.cli.report import start_of
from hat_arch.compat.registration import build
from hat_arch.training import report


@pytest.fixture
def two(options, tmp_path):
    """A network, and its file."""
    torch.manual_seed(0)
    network = build(options["network_g"]).eval()
    torch.save({"params": network.state_dict(), "params_ema": {}}, tmp_path / "start.pth")
    return network, str(tmp_path / "start.pth")


def test_a_fine_tuned_network_is_shown_beside_what_it_started_from(options, two):
    network, file = two
    assert start_of(options) is None  # from nothing
    options["path"] = {"pretrain_network_g": file, "strict_load_g": False}
    assert start_of(options) is None  # from a part of other weights
    options["path"] = {"pretrain_network_g": file}
    before = start_of(options)
    assert all(torch.equal(one, other) for one, other in zip(before.parameters(), network.parameters()))

    with torch.no_grad():
        network.conv_last.bias += 0.5
    comparisons = report.compare(options, {"before": before, "after": network})
    assert [comparison.name for comparison in comparisons] == ["coffee", "rocket"]
    for comparison in comparisons:
        assert [*comparison.scores] == ["bicubic", "before", "after"]
        titles = [*comparison.parts]
        assert (titles[0], titles[-1]) == ("LR", "GT: PSNR of Y / of RGB")
        assert titles[1:-1] == [f"{name} {score}" for name, score in comparison.scores.items()]
        assert {part.shape for part in comparison.parts.values()} == {(96, 96, 3)}
    mean = report.means(comparisons)
    assert mean["after"].rgb == pytest.approx(np.mean([comparison.scores["after"].rgb for comparison in comparisons]))
    assert mean["after"].y != mean["before"].y


def test_the_detail_is_where_two_images_differ_most():
    one = np.zeros((200, 300, 3), np.uint8)
    other = one.copy()
    other[150:160, 250:260] = 9
    top, left = report.where_they_differ(one, other)
    assert top <= 150 and 160 <= top + report.CROP <= 200
    assert left <= 250 and 260 <= left + report.CROP <= 300
