"""TensorBoard's log of a run, read on while it grows."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

HEADER, FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum
LARGEST = 2**28  # bytes of a record; more means that the file is damaged


class Place(NamedTuple):
    """Where a record lies."""

    file: Path
    start: int
    length: int


class Events:
    """Numbers and places of pictures, by tag and iteration. Pictures stay in the file until they are asked for.

    Args:
        folder: of the run, below ``tb_logger/``; it may come later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scalars: dict[str, dict[int, float]] = defaultdict(dict)
        self.pictures: dict[str, dict[int, Place]] = defaultdict(dict)
        self._read: dict[Path, int] = {}
        """File → bytes that have been read."""

    def read_on(self) -> bool:
        """Reads what has been added; whether there was any. What a run that went on repeats replaces what it was."""
        more = False
        for file in sorted(self.folder.glob("events.out.tfevents.*")):
            for place, event in self._records(file):
                more = True
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        self.scalars[value.tag][event.step] = value.simple_value
                    elif value.HasField("image"):
                        self.pictures[value.tag][event.step] = place
        return more

    def _records(self, file: Path) -> Iterator[tuple[Place, Event]]:
        """Records of a file that are whole by now (TFRecord: length, checksum, data, checksum)."""
        with file.open("rb") as stream:
            start = stream.seek(self._read.get(file, 0))
            while len(header := stream.read(HEADER)) == HEADER:
                (length,) = struct.unpack("<Q", header[:8])
                data = stream.read(length + FOOTER) if length < LARGEST else b""
                if len(data) < length + FOOTER:
                    break
                try:
                    yield Place(file, start + HEADER, length), Event.FromString(data[:length])
                except DecodeError:
                    break
                start += HEADER + length + FOOTER
                self._read[file] = start

    def picture(self, tag: str, iteration: int) -> bytes | None:
        """A picture as PNG, or None if there is none."""
        if (place := self.pictures.get(tag, {}).get(iteration)) is None:
            return None
        with place.file.open("rb") as stream:
            stream.seek(place.start)
            event = Event.FromString(stream.read(place.length))
        return next((value.image.encoded_image_string for value in event.summary.value if value.tag == tag), None)
