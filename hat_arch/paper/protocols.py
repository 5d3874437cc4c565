"""How the images of a table are degraded and read, at each of its levels: a scale, a noise level, a JPEG quality.

Images are uint8 ``(H, W, 3)`` BGR, or ``(H, W)`` where a table is of grey images; what goes into a network that
restores is float32 ``(H, W, 3)`` RGB, or ``(H, W)``, in 0…1, beyond which noise may go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from basicsr.utils import bgr2ycbcr
from numpy.typing import NDArray

from ..data import images
from ..data.patches import from_pixels
from ..degradations import recipe_named, rng_of_image
from ..degradations.resize import imresize
from .evaluation_images import Image, ImageFiles, read_images
from .trained_networks import Enlarge, to_8_bits

BICUBIC, INPUT = "Bicubic", "Input"


@dataclass(frozen=True)
class Protocol:
    """One level of a table."""

    level: int
    scale: int
    """By which the networks enlarge."""
    title: str
    """The level, as ``×4`` or ``σ = 25``."""
    recipe: Mapping[str, Any] | None = None
    """The degradation (see `hat_arch.degradations.recipe_named`); None: MATLAB's bicubic."""
    grey: bool = False
    """Whether images become grey: MATLAB's Y of colours, on 8 bits; grey files are taken as they are."""

    @property
    def border(self) -> int:
        """Pixels at each side that metrics leave out: as many as the scale, or none where an image is restored."""
        return 0 if self.recipe else self.scale

    @property
    def key(self) -> object:
        """What makes scores another protocol's."""
        return [dict(self.recipe), self.grey] if self.recipe else self.scale

    def read(self, files: ImageFiles) -> tuple[Image, NDArray[Any]]:
        """Ground truth, and what is to be enlarged or restored.

        Raises:
            ImageError: one of the files cannot be used.
        """
        if self.recipe is None:
            return read_images(files, self.scale)
        gt: Any = images.read(files.gt)
        if self.grey and gt.ndim == 3:
            gt = bgr2ycbcr(gt, y_only=True)
        elif not self.grey and gt.ndim == 2:
            gt = cv2.cvtColor(gt, cv2.COLOR_GRAY2BGR)
        recipe = recipe_named(self.recipe, self.scale)
        lq = recipe(from_pixels(np.atleast_3d(gt)), rng_of_image(0, files.name)).permute(1, 2, 0).numpy()
        return gt, lq[..., 0] if self.grey else lq

    def plain(self) -> Enlarge:
        """What a table's first row is of: bicubic, or the input itself."""
        return to_8_bits if self.recipe else partial(imresize, scale=self.scale)
