"""TIFF written band by band, page after page, in 8 or 16 bits, with all that is known of the image (TIFF 6.0)."""

from __future__ import annotations

import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import TiffTags
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

BIG = 2**32 - 2**20  # bytes; places in a file have 32 bits
STRIP = 2**18  # bytes that are compressed together
INCHES, DEFLATE, DIFFERENCES, UNASSOCIATED = 2, 8, 2, 2  # values of tags below


class TooLargeError(ValueError):
    """A TIFF file cannot hold more than 4 GiB."""


class TiffWriter:
    """Writes pages to an open file, some rows at a time, each band compressed as a strip.

    Args:
        file: open for writing in binary, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        self.link = 4  # where the place of the next page is to be written

    def begin(self, height: int, width: int, channels: int, bits: int, tags: dict[int, Any]) -> None:
        """Begins a page.

        Args:
            height, width, channels, bits: as for `hat_arch.inference.png.PngWriter`.
            tags: more tags, such as 34675: the colour profile, 282: pixels per inch; 34665: a dict of EXIF's.
        """
        self.bits, self.rows_left = bits, height
        self.rows_per_strip = max(1, STRIP // (width * channels * bits // 8))
        self.waiting: list[NDArray[Any]] = []  # rows that are no whole strip yet
        self.strips: list[tuple[int, int]] = []  # place and size
        directory = self.directory = ImageFileDirectory_v2(prefix=b"II")
        for tag, value in tags.items():
            directory[tag] = value
        directory[256], directory[257] = width, height
        directory[258] = (bits,) * channels
        directory[259], directory[317] = DEFLATE, DIFFERENCES
        directory[262] = 1 if channels < 3 else 2  # grey, black is 0; RGB
        directory[277], directory[284] = channels, 1
        directory[339] = (1,) * channels  # unsigned
        if channels in (2, 4):
            directory[338] = UNASSOCIATED

    def write(self, rows: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Adds rows, ``(n, width, channels)``."""
        self.rows_left -= len(rows)
        rows = np.concatenate([*self.waiting, rows])
        whole = len(rows) // self.rows_per_strip * self.rows_per_strip if self.rows_left else len(rows)
        for start in range(0, whole, self.rows_per_strip):
            self._strip(rows[start : min(start + self.rows_per_strip, whole)])
        self.waiting = [rows[whole:]]

    def _strip(self, rows: NDArray[Any]) -> None:
        differences = rows.astype(f"<u{self.bits // 8}")
        differences[:, 1:] -= rows[:, :-1]  # modulo 2^bits
        data = zlib.compress(differences.tobytes(), 3)
        place = self.file.tell()
        if place + len(data) > BIG:
            raise TooLargeError("TIFF cannot hold more than 4 GiB")
        self.file.write(data)
        self.strips.append((place, len(data)))

    def end(self) -> None:
        """Ends a page.

        Raises:
            ValueError: it has not all of its rows.
        """
        if self.rows_left:
            raise ValueError(f"{self.rows_left} rows are missing")
        self.directory[278] = self.rows_per_strip
        for tag, values in ((273, [0] * len(self.strips)), (279, [size for _, size in self.strips])):
            self.directory.tagtype[tag] = TiffTags.LONG
            self.directory[tag] = tuple(values)
        self.file.write(b"\0" * (self.file.tell() % 2))
        place = self.file.tell()
        data = bytearray(self.directory.tobytes(place))
        entries = struct.unpack_from("<H", data)[0]
        entry = next(at for at in range(2, 2 + 12 * entries, 12) if struct.unpack_from("<H", data, at)[0] == 273)
        # Pillow moves the places of strips to behind the directory; ours are before it, and so written here.
        at = entry + 8 if len(self.strips) == 1 else struct.unpack_from("<I", data, entry + 8)[0] - place
        struct.pack_into(f"<{len(self.strips)}I", data, at, *(strip for strip, _ in self.strips))
        self.file.write(data)
        end = self.file.tell()
        self.file.seek(self.link)
        self.file.write(struct.pack("<I", place))
        self.file.seek(end)
        self.link = place + 2 + 12 * entries


def dots_per_inch(dpi: tuple[float, float]) -> dict[int, Any]:
    """Tags of a resolution."""
    return {282: IFDRational(dpi[0]), 283: IFDRational(dpi[1]), 296: INCHES}
