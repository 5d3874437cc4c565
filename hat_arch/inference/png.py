"""PNG written band by band, so that an image need not fit the memory (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..data.images import PNG

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: grey, grey and alpha, RGB, RGB and alpha
ROWS = 64  # that are filtered at a time
LEVEL = 3  # of zlib
SUB, UP = 1, 2  # filters: what is left after subtracting the pixel to the left, or above


class PngWriter:
    """Writes an image, or the images of an animation (APNG), to an open file, some rows at a time.

    Args:
        file: open for writing in binary.
        height, width: in pixels.
        channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
        bits: 8 or 16 a channel.
        chunks: more chunks, as kind and data, such as ``(b"iCCP", …)``.
        frames: number of images; more than one make an animation.
        plays: how often an animation is shown; 0: for ever.
    """

    def __init__(
        self,
        file: BinaryIO,
        height: int,
        width: int,
        channels: int,
        bits: int = 8,
        chunks: Iterable[tuple[bytes, bytes]] = (),
        frames: int = 1,
        plays: int = 0,
    ) -> None:
        self.file = file
        self.height, self.width = height, width
        self.pixel = channels * bits // 8  # bytes
        self.bits = bits
        self.frames, self.frame, self.sequence = frames, 0, 0
        file.write(PNG)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPES[channels], 0, 0, 0))
        for kind, data in chunks:
            self._chunk(kind, data)
        if frames > 1:
            self._chunk(b"acTL", struct.pack(">II", frames, plays))
        self.rows_left = 0

    def begin(self, milliseconds: float = 0) -> None:
        """Begins the next image, shown for so long."""
        self._end_image()
        self.frame += 1
        self.rows_left = self.height
        self.above = np.zeros((1, self.width * self.pixel), np.uint8)
        self.packer = zlib.compressobj(LEVEL)
        if self.frames > 1:
            shown = struct.pack(">HHBB", min(round(milliseconds), 65535), 1000, 0, 0)
            self._chunk(b"fcTL", self._number() + struct.pack(">IIII", self.width, self.height, 0, 0) + shown)

    def write(self, rows: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Adds rows, ``(n, width, channels)``."""
        if not self.frame:
            self.begin()
        self.rows_left -= len(rows)
        for first in range(0, len(rows), ROWS):
            part = rows[first : first + ROWS]
            data = part.astype(f">u{self.bits // 8}").reshape(len(part), -1).view(np.uint8)
            self._pixels(self.packer.compress(self._filtered(data)))

    def close(self) -> None:
        """Ends the image; the file stays open.

        Raises:
            ValueError: rows or images are missing.
        """
        self._end_image()
        if self.frame != self.frames:
            raise ValueError(f"{self.frames - self.frame} images are missing")
        self._chunk(b"IEND", b"")

    def _end_image(self) -> None:
        if self.rows_left:
            raise ValueError(f"{self.rows_left} rows are missing")
        if self.frame:
            self._pixels(self.packer.flush())

    def _pixels(self, data: bytes) -> None:
        if data and self.frame > 1:
            self._chunk(b"fdAT", self._number() + data)
        elif data:
            self._chunk(b"IDAT", data)

    def _number(self) -> bytes:
        """Chunks of an animation are numbered."""
        self.sequence += 1
        return struct.pack(">I", self.sequence - 1)

    def _filtered(self, rows: NDArray[np.uint8]) -> bytes:
        """Rows as differences to the pixel above or to the left, whichever are smaller in sum (specification, 12.7)."""
        above = np.concatenate([self.above, rows[:-1]])
        left = np.pad(rows, ((0, 0), (self.pixel, 0)))[:, : rows.shape[1]]
        self.above = rows[-1:].copy()
        sub, up = rows - left, rows - above  # modulo 256
        kinds = np.where(_size(sub) < _size(up), SUB, UP).astype(np.uint8)[:, None]
        return np.hstack([kinds, np.where(kinds == SUB, sub, up)]).tobytes()

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self.file.write(struct.pack(">I", len(data)) + kind)
        self.file.write(data)
        self.file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _size(differences: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sum over each row of the differences' magnitudes."""
    return np.minimum(differences, 0 - differences).sum(1, dtype=np.int64)
