"""PNG written band by band, so that an image need not fit the memory (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..data.images import PNG

COLOUR_TYPES = {1: 0, 3: 2}  # channels: grey, RGB
ROWS = 64  # that are filtered at a time
LEVEL = 3  # of zlib
SUB, UP = 1, 2  # filters: what is left after subtracting the pixel to the left, or above


class PngWriter:
    """Writes an image to an open file, some rows at a time.

    Args:
        file: open for writing in binary.
        height, width: in pixels.
        channels: 1 (grey) or 3 (RGB), of 8 bits.
    """

    def __init__(self, file: BinaryIO, height: int, width: int, channels: int) -> None:
        self.file = file
        self.rows_left = height
        self.channels = channels
        self.above = np.zeros((1, width * channels), np.uint8)
        self.packer = zlib.compressobj(LEVEL)
        file.write(PNG)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0))

    def write(self, rows: NDArray[np.uint8]) -> None:
        """Adds rows, ``(n, width, channels)``."""
        self.rows_left -= len(rows)
        for first in range(0, len(rows), ROWS):
            part = rows[first : first + ROWS]
            data = self.packer.compress(self._filtered(part.reshape(len(part), -1)))
            if data:
                self._chunk(b"IDAT", data)

    def close(self) -> None:
        """Ends the image; the file stays open.

        Raises:
            ValueError: it has not all of its rows.
        """
        if self.rows_left:
            raise ValueError(f"{self.rows_left} rows are missing")
        self._chunk(b"IDAT", self.packer.flush())
        self._chunk(b"IEND", b"")

    def _filtered(self, rows: NDArray[np.uint8]) -> bytes:
        """Rows as differences to the pixel above or to the left, whichever are smaller in sum (specification, 12.7)."""
        above = np.concatenate([self.above, rows[:-1]])
        left = np.pad(rows, ((0, 0), (self.channels, 0)))[:, : rows.shape[1]]
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
