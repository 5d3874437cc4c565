"""What the machine can do, and the least a forward pass takes."""

from __future__ import annotations

import pytest
import torch

from hat_arch.bench import NETWORKS, candidates, peak

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(64, 64), (50, 61)])
def test_flops_are_the_papers(size):
    """Table of the paper: 103.88 G multiply-adds at 64×64; other sizes are filled up to whole windows."""
    network = candidates.build(candidates.PEER, NETWORKS["HAT"], CPU)
    work = peak.count_work(network, (1, 3, *size), "fp32")
    assert work.flops / 2 == pytest.approx(103.88e9, rel=1e-4)


def test_flops_by_hand(tiny):
    """Every product of the tiny network, in closed form."""
    network = candidates.build(candidates.PEER, tiny, CPU)
    c, n, h, w = 12, 8 * 8, 16, 24
    narrow, squeezed, heads_and_width = c // 3, c // 4, c
    pixels, windows, m = h * w, h * w // n, 12 * 12
    linear = 3 * c * c + c * c + 2 * c * 2 * c  # qkv, proj, MLP
    hab = pixels * (linear + 2 * 9 * c * narrow) + 2 * c * squeezed + 2 * windows * n * n * heads_and_width
    ocab = pixels * linear + 2 * windows * n * m * heads_and_width
    body = 2 * hab + ocab + pixels * 9 * c * c
    ends = pixels * 9 * (3 * c + c * c + c * 64 + 64 * 4 * 64) + 4 * pixels * 9 * 64 * 3
    work = peak.count_work(network, (1, 3, h, w), "fp32")
    assert work.flops == 2 * (body + ends)
    assert peak.count_work(network, (2, 3, h, w), "fp32").flops == 2 * work.flops


def test_bytes_by_hand(tiny):
    network = candidates.build(candidates.PEER, tiny, CPU)
    weights = sum(p.numel() for p in network.parameters())
    values = weights + 3 * 16 * 24 * (1 + 2 * 2) + 2 * 4 * 12 * 16 * 24  # two HABs, OCAB and RHAG
    assert peak.count_work(network, (1, 3, 16, 24), "fp32").bytes == 4 * values
    assert peak.count_work(network, (1, 3, 16, 24), "bf16").bytes == 2 * values
    assert not any(p.is_meta for p in network.parameters())


def test_floor_is_what_binds():
    machine = peak.Peak("fp32", matmul=1e9, convolution=2e9, copy=1e9)
    assert peak.Work(flops=4 * 10**9, bytes=10**9).floor(machine) == 2
    assert peak.Work(flops=4 * 10**9, bytes=3 * 10**9).floor(machine) == 3
    there = peak.against_floor(peak.Work(4 * 10**9, 10**9), machine, 8)
    assert there["share_of_peak"] == 0.25 and there["times_the_floor"] == 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_peak_counts_what_runs(precision, monkeypatch):
    monkeypatch.setattr(peak, "_best", lambda call, device: (call(), 2.0)[1])
    monkeypatch.setattr(peak, "MATMULS", {"cpu": (8, 16)})
    measured = peak.measure_peak(CPU, precision)
    assert measured.matmul == 2 * 16**3 / 2
    assert measured.convolution == 2 * 9 * 8 * 8 * 16 * 16 / 2
    assert measured.copy == 2 * 2**20 / 2
    assert measured.flops == measured.convolution
