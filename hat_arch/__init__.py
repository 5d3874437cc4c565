"""HAT, the Hybrid Attention Transformer, as a plugin of BasicSR.

Importing this package makes BasicSR importable on current PyTorch and Python, and puts HAT's network, models and data
sets into BasicSR's registries.
"""

from .compat import importable

importable.make_importable()

from basicsr.utils.registry import (  # noqa: E402
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

from .archs.hat_arch import HAT  # noqa: E402
from .archs.multi_task_arch import MultiTaskHAT  # noqa: E402
from .compat.registration import register, replace  # noqa: E402
from .data.bicubic_dataset import BicubicLRDataset, ImageNetPairedDataset  # noqa: E402
from .data.degraded_dataset import DegradedImageDataset  # noqa: E402
from .data.multi_scale_dataset import MultiScaleImageNetDataset  # noqa: E402
from .data.paired_dataset import SeededPairedDataset  # noqa: E402
from .data.real_world_dataset import RealESRGANDataset  # noqa: E402
from .inference.upscaler import Upscaler  # noqa: E402
from .training.gan_model import HATGANModel  # noqa: E402
from .training.hat_model import HATModel  # noqa: E402
from .training.losses import SpectralL1Loss  # noqa: E402
from .training.metrics import calculate_psnrb  # noqa: E402
from .training.multi_task_model import MultiTaskHATModel  # noqa: E402
from .training.real_gan_model import RealHATGANModel  # noqa: E402
from .training.real_mse_model import RealHATMSEModel  # noqa: E402
from .weights.pretrained import hat, hat_l, hat_s  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "HAT",
    "BicubicLRDataset",
    "DegradedImageDataset",
    "HATGANModel",
    "HATModel",
    "ImageNetPairedDataset",
    "MultiScaleImageNetDataset",
    "MultiTaskHAT",
    "MultiTaskHATModel",
    "RealESRGANDataset",
    "RealHATGANModel",
    "RealHATMSEModel",
    "SeededPairedDataset",
    "SpectralL1Loss",
    "Upscaler",
    "calculate_psnrb",
    "hat",
    "hat_l",
    "hat_s",
]

for arch in (HAT, MultiTaskHAT):
    register(ARCH_REGISTRY, arch)
for model in (HATGANModel, HATModel, MultiTaskHATModel, RealHATGANModel, RealHATMSEModel):
    register(MODEL_REGISTRY, model)
register(LOSS_REGISTRY, SpectralL1Loss)
register(METRIC_REGISTRY, calculate_psnrb)
for dataset in (
    BicubicLRDataset,
    DegradedImageDataset,
    ImageNetPairedDataset,
    MultiScaleImageNetDataset,
    SeededPairedDataset,
):
    register(DATASET_REGISTRY, dataset)
replace(DATASET_REGISTRY, RealESRGANDataset)
