"""Arrays and PIL images to what networks take, and their output back to the same kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
FLOATS = (np.float16, np.float32, np.float64)
MODES = ("L", "RGB", "I;16")
"""Of PIL images, whose pixels are grey or colours and nothing else."""

Array = TypeVar("Array", bound=NDArray)


def pixels(image: Image.Image) -> NDArray:
    """The array of a PIL image.

    Raises:
        ValueError: of a mode that has more than grey or colours, such as alpha or a palette.
    """
    if image.mode not in MODES:
        raise ValueError(f"a PIL image has mode {image.mode}; it may be {', '.join(MODES)}: image.convert('RGB')")
    return np.asarray(image)


def to_images(array: NDArray, channels: int) -> Tensor:
    """An image as a batch of one, ``(1, channels, H, W)``, of the array's type.

    Args:
        array: ``(H, W)``, or ``(H, W, C)`` with C 1 or ``channels``; uint8, uint16 or float.
        channels: of the network; a grey image is repeated for each.

    Raises:
        ValueError: another shape or type.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, channels):
        raise ValueError(f"an image of shape {array.shape}; it may be (H, W), (H, W, 1) or (H, W, {channels})")
    native = array.dtype.newbyteorder("=")
    if native not in WHITE and native not in FLOATS:
        raise ValueError(f"an image of {array.dtype}; it may be of uint8, uint16, float16, float32 or float64")
    images = torch.from_numpy(np.array(array, native, order="C"))
    return images.permute(2, 0, 1)[None].expand(-1, channels, -1, -1)


def from_bands(bands: Iterable[Tensor], like: Array) -> Array:
    """The output in bands of rows, float32 ``(1, C, n, W)``, as one array of the type and dimensions of ``like``.

    Integers are rounded, and cut to their range.
    """
    white, grey = WHITE.get(like.dtype.newbyteorder("=")), like.ndim == 2 or like.shape[2] == 1
    rows = []
    for band in bands:
        values = band[0].mean(0, keepdim=True) if grey else band[0]
        del band  # it is the largest thing in memory, and the next is made while this one is held
        if white:
            values = values.clamp(0, 1).mul_(white).round_()
        rows.append(values.permute(1, 2, 0).cpu().numpy().astype(like.dtype))
    output = np.concatenate(rows, dtype=like.dtype)  # else in the machine's byte order
    return output[..., 0] if like.ndim == 2 else output  # type: ignore[return-value]
