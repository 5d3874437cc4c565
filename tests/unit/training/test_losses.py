"""The loss on spectra beside its definition, and in a training."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss

from hat_arch import SpectralL1Loss


def test_fft_loss_is_the_l1_distance_of_the_spectra():
    output, gt = torch.rand(2, 2, 3, 8, 13)
    spectra = [torch.fft.rfft2(x) for x in (output, gt)]
    real, imaginary = ((getattr(spectra[0], part) - getattr(spectra[1], part)).abs() for part in ("real", "imag"))
    expected = (real.mean() + imaginary.mean()) / 2
    loss = build_loss({"type": "SpectralL1Loss", "loss_weight": 0.05})(output, gt)
    torch.testing.assert_close(loss, 0.05 * expected)
    torch.testing.assert_close(SpectralL1Loss(reduction="sum")(output, gt), real.sum() + imaginary.sum())
    assert SpectralL1Loss()(gt, gt) == 0


def test_fft_loss_takes_what_a_network_gives_in_half_precision():
    output = torch.rand(1, 3, 8, 8).bfloat16().requires_grad_()
    SpectralL1Loss()(output, torch.rand(1, 3, 8, 8)).backward()
    assert output.grad is not None and output.grad.isfinite().all()


def test_another_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction is 'none'"):
        SpectralL1Loss(reduction="none")
