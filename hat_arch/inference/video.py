"""Videos to larger videos, frame by frame; audio and subtitles are copied. By PyAV: ``pip install hat-arch[video]``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.images import ImageError
from ..utils.errors import in_one_line
from ..utils.files import replacing
from .pictures import Frame, Pixels

CONTAINERS = {"mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi"}
"""FFmpeg's names, by suffixes."""
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0"})
H264 = ("libx264", {"crf": "16"})
BT709, UNSPECIFIED = 1, 2  # numbers of colour spaces
HD = 720  # lines from which videos are of BT.709 if they do not say

Enlarge = Callable[[Frame, int], Pixels]
"""Makes the larger frame of a frame and its number."""


def peek_video(path: Path) -> tuple[int, int, int]:
    """Height and width, upright, of the first frame, and the number of frames as the container says.

    Raises:
        ImageError: it is no video, or PyAV is not installed.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        seconds = float(container.duration or 0) / 1e6
        frames = stream.frames or round(seconds * float(stream.average_rate or 25))
        height, width = _rgb(next(container.decode(stream))).shape[:2]
        return height, width, max(1, frames)


def upscale_video(source: Path, target: Path, height: int, width: int, enlarge: Enlarge) -> None:
    """Makes a larger video.

    Args:
        source: a video.
        target: ends in ``.mp4``, ``.mov`` or ``.mkv`` (H.264), or ``.webm`` (VP9).
        height, width: of the new video; odd ones are made even, since these codecs halve the colours.
        enlarge: makes each frame.

    Raises:
        ImageError: it cannot be read, or not be written in that container.
    """
    import av

    name = target.suffix.lower()[1:]
    codec, options = VP9 if name == "webm" else H264
    with _open(source) as container, replacing(target) as file:
        try:
            with av.open(file, "w", format=CONTAINERS[name]) as output:
                output.metadata.update(container.metadata)
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                made = output.add_stream(codec, rate=stream.average_rate, options=options)
                made.width, made.height, made.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
                made.codec_context.time_base = stream.time_base
                made.codec_context.colorspace = BT709
                copied = {
                    other.index: output.add_stream_from_template(other)
                    for other in (*container.streams.audio, *container.streams.subtitles)
                }
                number = 0
                for packet in container.demux(stream, *(container.streams[index] for index in copied)):
                    if packet.stream.index in copied:
                        if packet.dts is not None:
                            packet.stream = copied[packet.stream.index]
                            output.mux(packet)
                        continue
                    for frame in packet.decode():
                        rows = enlarge(Frame(_rgb(frame)), number)
                        output.mux(made.encode(_frame(rows, frame)))
                        number += 1
                output.mux(made.encode(None))
        except (av.FFmpegError, ValueError) as error:
            raise ImageError(f"{source}: cannot become {target.name} ({in_one_line(error)}); try .mkv") from error


def _open(path: Path) -> Any:
    if not importlib.util.find_spec("av"):
        raise ImageError(f"{path}: is a video, for which PyAV is needed: pip install hat-arch[video]")
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise ImageError(f"{path}: is no video, or damaged ({in_one_line(error)})") from error
    if not container.streams.video:
        raise ImageError(f"{path}: has no pictures")
    return container


def _rgb(frame: Any) -> NDArray[np.uint8]:
    """RGB ``(H, W, 3)``, upright."""
    space = (
        frame.colorspace
        if frame.colorspace not in (None, UNSPECIFIED)
        else "ITU709"
        if frame.height >= HD
        else "ITU601"
    )
    # Pixels of no stated space are taken as players take them: by the number of lines.
    array = frame.to_ndarray(format="rgb24", src_colorspace=space, dst_color_range="JPEG")
    return np.ascontiguousarray(np.rot90(array, round(frame.rotation / 90)))


def _frame(rows: Pixels, original: Any) -> Any:
    """A frame to encode, at the time of the original."""
    import av

    even = np.pad(rows, ((0, rows.shape[0] % 2), (0, rows.shape[1] % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    frame.pts, frame.time_base = original.pts, original.time_base
    return frame
