"""Code that names CUDA, on the CPU."""

from __future__ import annotations

import pytest
import torch
from basicsr.utils import DiffJPEG

from hat_arch.compat.without_cuda import cuda_is_cpu


def test_tensors_and_modules_stay_on_the_cpu():
    with cuda_is_cpu(True):
        assert torch.zeros(2, device="cuda").device.type == torch.rand(2).cuda().device.type == "cpu"
        assert torch.zeros(2, device=torch.device("cuda", 0)).device.type == "cpu"
        jpeg = DiffJPEG(differentiable=False).cuda()
        assert jpeg(torch.rand(1, 3, 16, 16), quality=torch.tensor([50.0])).device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_it_lasts_no_longer_than_it_should():
    with cuda_is_cpu(True):
        pass
    with cuda_is_cpu(False), pytest.raises((AssertionError, RuntimeError)):
        torch.rand(2).cuda()
