"""Run with ``pytest``, after ``pip install -e .`` in this folder."""

from __future__ import annotations

import torch
from my_plugin.loss import MyEdgeLoss
from my_plugin.network import MyNet

from hat_arch import cli


def test_the_network_enlarges_by_its_scale():
    network = MyNet(upscale=3, num_feat=8, num_block=1)
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 15, 21)


def test_the_loss_is_zero_for_the_same_image_alone():
    loss, image = MyEdgeLoss(edge_weight=1.0), torch.rand(1, 3, 8, 8)
    assert loss(image, image) == 0
    assert loss(image, image + 0.5).isclose(torch.tensor(0.5)), "a shift has no edges"


def test_the_command_lists_both(capsys):
    assert cli.main(["archs", "MyNet", "MyEdgeLoss"]) == 0
    said = capsys.readouterr().out
    assert "num_block: 4" in said and "edge_weight: 0.5" in said
