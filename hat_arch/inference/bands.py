"""From images to what a network takes, and from the bands of its output to rows of pixels, resized on the way."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from ..data.images import ImageError
from .pictures import Frame, Pixels

LEAST_ALPHA = 0.5 / 65535  # that colours are divided by
TAPS = 3  # pixels of the coarser grid that Lanczos' filter reaches to each side


def to_network(frame: Frame, channels: int, name: str) -> Tensor:
    """What a network takes for a frame.

    Grey images are repeated for a network of three channels. With alpha, the colours are multiplied by it, so that
    what a transparent pixel hides does not bleed into its neighbours, and alpha is a second image.

    Returns:
        uint8 or uint16 ``(1, C, H, W)``, with alpha uint16 ``(2, C, H, W)``.

    Raises:
        ImageError: the network is for grey images, and the frame has colours.
    """
    grey = frame.pixels.ndim == 2
    if channels == 1 and not grey:
        raise ImageError(f"{name}: has colours, and the network is for grey images; make it grey, or name another")
    pixels = frame.pixels[..., None] if grey else frame.pixels
    if frame.alpha is not None:
        white = np.iinfo(frame.alpha.dtype).max
        premultiplied = pixels.astype(np.uint64) * frame.alpha[..., None] * 65535
        pixels = ((premultiplied + white * white // 2) // (white * white)).astype(np.uint16)
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].expand(-1, channels, -1, -1)
    if frame.alpha is None:
        return planes
    alpha = torch.from_numpy(frame.alpha.astype(np.uint16) * np.uint16(65535 // white))
    return torch.stack([planes[0], alpha.expand(channels, -1, -1)])


def bounded_alpha(bands: Iterator[Tensor], alpha: Pixels, scale: int) -> Iterator[Tensor]:
    """Bands of a larger image, as of `to_rows`, whose alpha stays in the range that the original has around each pixel.

    Networks draw faint lines beside hard edges, as of a cut-out: what is opaque, or transparent, with all its
    neighbours stays so. The colours of a pixel do not change.

    Args:
        alpha: of the original, uint8 or uint16 ``(H, W)``.
        scale: by which the bands are larger.
    """
    white, around = np.iinfo(alpha.dtype).max, np.ones((3, 3), np.uint8)
    least, most = cv2.erode(alpha, around), cv2.dilate(alpha, around)
    columns, top = np.arange(alpha.shape[1] * scale) // scale, 0
    for band in bands:
        rows = np.arange(top, top + band.shape[-2]) // scale
        low, high = (
            torch.from_numpy(edge[rows][:, columns].astype(np.float32) / white).to(band) for edge in (least, most)
        )
        bounded = band[1].mean(0).clamp(low, high)
        yield torch.stack([band[0] * bounded / band[1].clamp_min(LEAST_ALPHA), bounded.expand_as(band[1])])
        top += band.shape[-2]


def to_rows(bands: Iterator[Tensor], grey: bool, bits: int, opaque: bool = False) -> Iterator[Pixels]:
    """Rows of pixels of a network's output, rounded as BasicSR's `tensor2img` does.

    Args:
        bands: ``(1 or 2, C, n, W)`` in 0..1, the second image being alpha, which the first is multiplied by.
        grey: whether the mean over channels is taken.
        bits: 8 or 16.
        opaque: whether to add an alpha of all white where there is none.

    Yields:
        uint8 or uint16 ``(n, W, 1 to 4)``: grey or RGB, and alpha if there is one.
    """
    white = 2**bits - 1
    for band in bands:
        values = (band.mean(1, keepdim=True) if grey else band).clamp(0, 1)
        del band  # it is the largest thing in memory, and the next is made while the caller has this one
        if len(values) == 2:
            alpha = values[1].mean(0, keepdim=True)
            values = torch.cat([(values[0] / alpha.clamp_min(0.5 / white)).clamp_(0, 1), alpha])
        elif opaque:
            values = torch.cat([values[0], torch.ones_like(values[0, :1])])
        else:
            values = values[0]
        values = values.mul_(white).round_()
        rows = values.byte() if bits == 8 else values.int()
        yield rows.permute(1, 2, 0).cpu().numpy().astype(f"u{bits // 8}", copy=False)


def resized(bands: Iterator[Tensor], height: int, width: int, new_height: int, new_width: int) -> Iterator[Tensor]:
    """Bands of an image, resized by Lanczos' filter if need be; memory holds no more than a few rows beside them.

    Args:
        bands: float ``(B, C, n, W)``, from top to bottom.
        height, width: of all bands together.
        new_height, new_width: of the result.
    """
    if (height, width) == (new_height, new_width):
        yield from bands
        return
    step = height / new_height  # rows for each new one
    reach = TAPS * max(1.0, step) + 1
    rows = torch.empty(0)
    top = made = 0  # first row that is held; new rows made
    for band in bands:
        rows = torch.cat([rows, band.cpu()], -2) if rows.numel() else band.cpu()
        del band
        bottom = top + rows.shape[-2]
        ready = new_height if bottom >= height else max(made, int((bottom - reach) / step))
        if ready > made:
            yield _resized(rows, made * step - top, min(ready * step, height) - top, ready - made, new_width)
            made = ready
            drop = min(max(0, int(made * step - reach) - top), rows.shape[-2])
            rows, top = rows[..., drop:, :].clone(), top + drop


def _resized(rows: Tensor, first: float, last: float, height: int, width: int) -> Tensor:
    """Part of an image, from one height to another (between pixels), at another size."""
    box = (0, max(0.0, first), rows.shape[-1], min(last, rows.shape[-2]))
    planes = [
        np.array(PillowImage.fromarray(plane.numpy()).resize((width, height), PillowImage.Resampling.LANCZOS, box))
        for plane in rows.float().flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(planes)).unflatten(0, rows.shape[:2])
