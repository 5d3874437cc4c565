"""One object between images and networks: everything that upscales goes through `Upscaler`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..archs.layers import pad_to_multiple
from ..archs.strips import joined_one_by_one
from ..utils import extras
from ..utils.errors import UserError
from ..utils.machine import fast_in_bf16
from . import arrays, engines, exported, memory
from .engines.choice import fastest
from .symmetries import symmetry, undo_symmetry
from .tiles import Span, plan, weights

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
WHITE = {torch.uint8: 255, torch.uint16: 65535}
LOG = logging.getLogger(__name__)

SMALLEST_TILE = 32  # pixels of a side, below which a lack of memory is an error
TILE_IF_UNKNOWN = 256  # where the system does not tell how much memory is free
AMPLE = 2**16  # bytes for each pixel of the input, more than the networks of BasicSR take at any scale up to 4
USABLE = 0.8  # share of the free memory that is planned with
OPTIONS = ("tile", "tile_overlap", "tile_blend", "tile_batch", "self_ensemble", "precision", "compile", "engine")
"""Names in an option file's ``val:``. `Upscaler`'s arguments are called the same, without ``tile_``."""

Report = Callable[[str], object]
Progress = Callable[[float], object]
Result = TypeVar("Result")


class UpscaleError(UserError):
    """An image cannot be upscaled; the message says why and what to do."""


class Upscaler:
    """Upscales images with a network, whole or in tiles, in a precision, with or without self-ensemble.

    ``tile="whole"`` is exact: what the network itself would return. HAT computes attention and MLPs in strips of
    windows, so its temporary memory is constant and only the feature maps grow with the image. Tiles bound the memory
    but change the result, for HAT even far from their borders: its channel attention averages over the tile, not the
    image. An exact result with tiles would need every layer to be finished on all tiles before the next begins, with
    the feature maps kept elsewhere meanwhile; ``whole`` in bf16 serves instead.

    Images are tensors, arrays or PIL images, of colours in the order that the network was trained with, RGB:

        upscaler = Upscaler(network, 4, multiple=16)
        upscaler(torch.rand(1, 3, 64, 64))  # float32 (1, 3, 256, 256), not cut to 0..1
        upscaler(np.zeros((64, 64, 3), np.uint8))  # uint8 (256, 256, 3)
        upscaler(Image.open("photo.png").convert("RGB")).save("large.png")

    Args:
        network: the name of a model (``basicsr models``), a file of HAT's weights, or a module that takes
            ``(B, C, H, W)`` in 0..1 and returns ``(B, C, scale · H, scale · W)``. It runs in evaluation mode; the modes
            of its modules are restored. Later changes of its weights, settings and layers are followed.
        scale: by how much it enlarges; by default what a HAT says of itself.
        multiple: the network gets images whose sides are multiples of it: they are mirrored at the bottom and right up
            to that, and tiles lie on its grid. For networks of attention windows it is the window size, also if they
            pad images themselves; so it is by default, and 1 for networks without ``window_size``.
        tile: ``whole``; a side in pixels of the input, overlaps included; or ``auto``: whole if that fits the free
            memory, else the largest tile that does, by the network's own need, measured once on two small images.
        overlap: least number of input pixels that neighbouring tiles share (see `hat_arch.inference.tiles.plan`).
        blend: whether tiles pass smoothly into each other, or are cut in the middle of their overlap.
        batch: tiles that go through the network together.
        precision: ``fp32``; ``bf16`` or ``fp16`` by autocast; ``auto`` is bf16 where the device is made for it, else
            fp32. The output is fp32 in each. If it is not finite, as fp16 may overflow in networks of this family,
            this and all later images are computed in fp32, which is reported.
        self_ensemble: mean over the eight flips and transpositions of the image (of each tile), in eight times the
            time.
        compile: whether to use `torch.compile`; for CUDA (see `hat_arch.inference.prepared.Prepared`).
        engine: what computes the network: ``torch``; ``openvino`` or ``onnxruntime``, if they are installed, which
            convert it at the first image; or ``auto``: the fastest of them, by a measurement that is kept. Only
            ``torch`` follows later changes of settings and layers.
        channels: C, for arrays and PIL images; by default the network's ``in_chans``, or 3.
        report: called with a line about what was chosen or had to change; by default a warning in the log.
    """

    def __init__(
        self,
        network: nn.Module | str | Path,
        scale: int | None = None,
        *,
        multiple: int | None = None,
        tile: Literal["auto", "whole"] | int = "auto",
        overlap: int = 32,
        blend: bool = True,
        batch: int = 1,
        precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32",
        self_ensemble: bool = False,
        compile: bool = False,
        engine: Literal["torch", "openvino", "onnxruntime", "auto"] = "torch",
        channels: int | None = None,
        report: Report = LOG.warning,
    ) -> None:
        if isinstance(network, str | Path):
            network = exported.load(network, scale).network
        scale = getattr(network, "upscale", 1) if scale is None else scale
        multiple = getattr(network, "window_size", 1) if multiple is None else multiple
        if tile not in ("auto", "whole") and (not isinstance(tile, int) or tile < 1):
            raise ValueError(f"tile is {tile!r}; it may be 'whole', 'auto', or 1 or more")
        if overlap < 0 or batch < 1 or scale < 1 or multiple < 1:
            raise ValueError(
                f"overlap {overlap}, batch {batch}, scale {scale}, multiple {multiple}: must be 0 or 1 at least"
            )
        if precision not in (*DTYPES, "auto"):
            raise ValueError(f"precision is {precision!r}; it may be {', '.join(DTYPES)}, auto")
        if engine not in (*extras.ENGINES, "auto"):
            raise ValueError(f"engine is {engine!r}; it may be {', '.join(extras.ENGINES)}, auto")
        self.network = network
        self.scale = scale
        self.multiple = multiple
        self.smallest = math.ceil(SMALLEST_TILE / multiple) * multiple
        self.tile = tile
        self.overlap = overlap
        self.blend = blend
        self.batch = batch
        self.self_ensemble = self_ensemble
        self.channels: int = getattr(network, "in_chans", 3) if channels is None else channels
        self.report = report
        device = self._device(torch.device("cpu"))
        if precision == "auto":
            precision = "bf16" if fast_in_bf16(device) else "fp32"
            report(f"precision: {precision}")
        self.dtype = DTYPES[precision]
        self.how: dict[str, Any] = {"network": network, "device": device, "multiple": multiple, "compile": compile}
        self.how |= {"channels": self.channels, "report": report}
        one = engine != "auto"
        self.run = engines.build(engine, dtype=self.dtype, **self.how) if one else fastest(self.how, self.dtype)
        self.model: memory.MemoryModel | None = None
        self.limit: int | None = getattr(network, "largest_tile", None)
        """Largest side of a tile that is tried: what an exported file takes; or once memory was not enough for more."""
        self.announced: int | None = None

    @classmethod
    def from_options(cls, network: nn.Module, opt: dict[str, Any], report: Report | None = None) -> Upscaler:
        """For the network of an option file, with what ``val:`` says (`config.schema.Val`); by default whole."""
        val = opt.get("val") or {}
        options = {"tile": "whole"} | {key.removeprefix("tile_"): value for key, value in val.items() if key in OPTIONS}
        if report is not None:
            options["report"] = report
        section = opt["network_g"]
        options["channels"] = section.get("in_chans", section.get("num_in_ch"))
        return cls(network, opt.get("scale", 1), multiple=section.get("window_size", 1), **options)

    @overload
    def __call__(self, lq: Tensor) -> Tensor: ...

    @overload
    def __call__(self, lq: arrays.Array) -> arrays.Array: ...

    @overload
    def __call__(self, lq: Image.Image) -> Image.Image: ...

    def __call__(self, lq: Any) -> Any:
        """Upscales an image, or a batch of them as a tensor; the result is of the same kind.

        Args:
            lq: one of

                * a tensor ``(B, C, H, W)``, on any device: floating-point, or uint8 or uint16.
                * an array ``(H, W)`` or ``(H, W, C)``: uint8, uint16 or floating-point.
                * a PIL image, of mode L, RGB or I;16.

                Any H and W from 1. Integers are divided by 255 or 65,535. Floating-point values are taken as they are,
                0 is black and 1 is white; values beyond are passed to the network, which was not trained on any.
                A grey array or PIL image goes to each channel of the network, and the mean of the output is taken.

        Returns:
            For a tensor: float32 ``(B, C, scale · H, scale · W)`` on the device of ``lq``, not clamped. For an array:
            of its type and number of dimensions, integers rounded and cut to their range, floating-point not clamped
            (computed in fp32). For a PIL image: of its mode, with a copy of its ``info``.

        Raises:
            UpscaleError: not even the smallest tile fits the memory, or ``whole`` does not, or the network's output
                is not finite in fp32.
            ValueError: no pixels, or another type, shape or mode; the message says what there may be.
        """
        if isinstance(lq, Image.Image):
            result = Image.fromarray(self(arrays.pixels(lq)))
            result.info = lq.info.copy()
            return result
        if isinstance(lq, np.ndarray):
            images = arrays.to_images(lq, self.channels)
            return self.in_bands(images, lambda bands: arrays.from_bands(bands, lq))
        if not isinstance(lq, Tensor):
            raise ValueError(f"an image is {type(lq).__name__}; it may be a tensor, a NumPy array or a PIL image")
        return self.in_bands(lq, lambda bands: joined_one_by_one(bands, lq.shape[-2] * self.scale, -2), streamed=False)

    def in_bands(
        self,
        lq: Tensor,
        use: Callable[[Iterator[Tensor]], Result],
        progress: Progress = lambda share: None,
        *,
        streamed: bool = True,
    ) -> Result:
        """Upscales images whose output need not fit the memory.

        Args:
            lq: a tensor, as for a call.
            use: called with the output in bands of whole rows, from top to bottom. If memory runs out, it is called
                again with all bands, from smaller tiles.
            progress: called with the share that is done, 0 to 1, after each tile.
            streamed: whether ``use`` keeps no more than a band. Then, beside ``lq`` and what the network takes for a
                batch of tiles, memory holds one row of tiles and what it shares with the next.

        Returns:
            What ``use`` returns.

        Raises:
            UpscaleError: as for a call.
        """
        if lq.dim() != 4:
            raise ValueError(f"images of shape {tuple(lq.shape)}; it must be (B, C, H, W)")
        if not lq.numel():
            raise ValueError(f"an image of {tuple(lq.shape)} has no pixels")
        self.run.follow()
        while True:
            side = self._side(lq, streamed)
            try:
                return use(self._bands(lq, side, progress))
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            if torch.cuda.is_available():  # not while the error is handled: it holds on to the tensors of the call
                torch.cuda.empty_cache()
            self._reduce(side, lq)

    # sizes of tiles

    def _side(self, lq: Tensor, streamed: bool) -> int:
        """Side of the tiles for these images, in pixels."""
        side = self._whole(lq)
        if self.tile == "whole":
            return side
        side = min(side, self.limit or side)
        return min(side, self.tile if isinstance(self.tile, int) else self._largest(lq, streamed))

    def _whole(self, lq: Tensor) -> int:
        """Side of a tile that holds a whole image."""
        return math.ceil(max(lq.shape[-2:]) / self.multiple) * self.multiple

    def _largest(self, lq: Tensor, streamed: bool) -> int:
        """Largest side of a tile that fits the free memory."""
        device = self._device(lq.device)
        free = memory.available(device)
        if free is None:
            return self._announce(TILE_IF_UNKNOWN, lq, "the system does not tell how much memory is free")
        b, c, h, w = lq.shape
        free = int(USABLE * free)
        side = self._whole(lq)
        if AMPLE * b * h * w < free / 2:
            return side
        try:
            self.model = self.model or memory.measure(self._forward, c, self.multiple, device, self.run.release)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            return self._announce(self.smallest, lq, "memory is not enough to measure what the network takes")
        need = self.model
        pixel = b * c * 4 * self.scale**2  # bytes of the output for each pixel of the input
        if need.bytes(b * h * w) + 2 * pixel * h * w <= free:
            return side
        here = device == lq.device  # else the output, and what is added up, is in another memory
        free -= pixel * h * w if here and not streamed else 0
        while side > self.smallest and need.bytes(self.batch * b * side**2) + 3 * here * pixel * side * w > free:
            side -= self.multiple
        why = f"the network takes {need.per_pixel / 2**10:.1f} KiB a pixel and {max(0, free) / 2**30:.1f} GiB are free"
        return self._announce(side, lq, why)

    def _announce(self, side: int, lq: Tensor, why: str) -> int:
        if side != self.announced and side < max(lq.shape[-2:]):
            self.report(f"tile: {side}, since {why}")
            self.announced = side
        return side

    def _reduce(self, side: int, lq: Tensor) -> None:
        """After memory was not enough: halves the number of tiles at a time, then the side of a tile.

        Raises:
            UpscaleError: there is nothing smaller.
        """
        h, w = lq.shape[-2:]
        if self.tile == "whole":
            raise UpscaleError(
                f"not enough memory for a whole image of {h}x{w}; take tile: auto, or a number of pixels"
            )
        if self.batch > 1 and side < max(h, w):
            self.batch //= 2
            self.report(f"out of memory: {self.batch} tiles at a time from here on")
            return
        if side <= self.smallest:
            raise UpscaleError(
                f"not enough memory even for a tile of {side}x{side}; free some, or take a smaller network"
            )
        self.limit = max(self.smallest, side // 2 // self.multiple * self.multiple)
        self.report(f"out of memory: tiles of {self.limit} from here on")

    # tiles to bands

    def _bands(self, lq: Tensor, side: int, progress: Progress) -> Iterator[Tensor]:
        """The output in bands of whole rows. A band ends where the next row of tiles begins."""
        h, w = lq.shape[-2:]
        rows, columns = (plan(size, side, self.overlap, self.multiple) for size in (h, w))
        row_weights = weights(rows, self.scale, self.blend)
        overlap: Tensor | None = None  # what the rows of tiles so far give to pixels that the next one covers too
        for i, row in enumerate(rows):
            strip = self._strip(lq, row, columns, lambda done, i=i: progress((i + done) / len(rows)))  # type: ignore[misc]
            if len(rows) > 1:
                strip *= row_weights[i][:, None].to(strip.device)
            if overlap is not None:
                strip[..., : overlap.shape[-2], :] += overlap
            end = rows[i + 1].start if i + 1 < len(rows) else h
            finished = self.scale * (end - row.start)
            overlap = strip[..., finished:, :].clone()
            yield strip[..., :finished, :]
            del strip  # before the next is made

    def _strip(self, lq: Tensor, row: Span, columns: list[Span], progress: Progress) -> Tensor:
        """One row of tiles, put together along the row: ``(B, C, rows, W)`` of the output."""
        h, w = lq.shape[-2:]
        if row == (0, h) and columns == [(0, w)]:
            strip = self._run(as_float(lq))
            progress(1)
            return strip
        images = pad_to_multiple(as_float(lq[..., row.start : row.stop, :]), self.multiple)
        column_weights = weights(columns, self.scale, self.blend)
        sides = images.shape[-2] * self.scale, columns[-1].stop * self.scale
        strip = images.new_zeros(*images.shape[:-2], *sides)
        for first in range(0, len(columns), self.batch):
            group = columns[first : first + self.batch]
            count = min(self.batch, len(columns)) if self.run.one_shape else len(group)
            spans = [*group, *group[-1:] * (count - len(group))]
            tiles = self._run(torch.cat([images[..., span.start : span.stop] for span in spans])).chunk(count)
            for span, tile, weight in zip(group, tiles, column_weights[first:]):
                strip[..., span.start * self.scale : span.stop * self.scale].addcmul_(tile, weight.to(tile.device))
            progress((first + len(group)) / len(columns))
        return strip[..., : w * self.scale]

    # one call of the network

    def _run(self, images: Tensor) -> Tensor:
        """The network on ``(N, C, H, W)``, in fp32 on the device of the images."""
        output = self._ensemble(images) if self.self_ensemble else self._forward(images)
        if not torch.isfinite(output).all():
            if self.dtype is None:
                raise UpscaleError("the network's output is not finite; its weights, or the image, are damaged")
            self.report(f"{str(self.dtype).removeprefix('torch.')} overflows in this network: fp32 from here on")
            self.dtype = None
            self.run = engines.build(self.run.name, dtype=None, **self.how)
            return self._run(images)
        return output.to(images.device)

    def _ensemble(self, images: Tensor) -> Tensor:
        return reduce(torch.add, (undo_symmetry(self._forward(symmetry(images, k)), k) for k in range(8))) / 8

    @torch.no_grad()
    def _forward(self, images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        device = self._device(images.device)
        images = pad_to_multiple(images.to(device), self.multiple)
        output = self.run(images)
        expected = *images.shape[:2], images.shape[2] * self.scale, images.shape[3] * self.scale
        if output.shape != expected:
            raise ValueError(f"of {tuple(images.shape)} the network made {tuple(output.shape)}, not {expected}")
        return output[..., : h * self.scale, : w * self.scale].float()

    def _device(self, default: torch.device) -> torch.device:
        return next((parameter.device for parameter in self.network.parameters()), default)


def as_float(images: Tensor) -> Tensor:
    """Images in float32: uint8 and uint16 divided by 255 and 65,535, floating-point values as they are.

    Raises:
        ValueError: another type, of which it is not known what stands for white.
    """
    if images.dtype in WHITE:
        return images.float() / WHITE[images.dtype]
    if not images.is_floating_point():
        raise ValueError(f"images are of {images.dtype}; they may be of uint8, uint16 or a floating-point type")
    return images.float()
