"""The pictures of whatever plays: a file, a pipe, or an address on the network; for the user's own sources.

Unlike `decoding` this runs in the caller's process and opens what it is told to, so it is not for uploads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.codec.context import CodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from kinoscore.errors import InvalidMedia, NotFound
from kinoscore.media.sampling import FrameClock

__all__ = ["LivePicture", "iter_pictures"]

# As low as pictures can be without the models seeing less: they see about 100 lines.
_HEIGHT = 240
_SILENT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One picture of a stream.

    Attributes:
        timestamp_seconds: since the first; strictly increasing.
        jpeg: at most 240 pixels high.
    """

    timestamp_seconds: float
    jpeg: bytes


def iter_pictures(source: str | BinaryIO, rate: float) -> Iterator[LivePicture]:
    """The pictures of a stream while it plays, at most `rate` a second. Blocks while it waits for the next.

    Args:
        source: a path, an address (`rtsp://`, `rtmp://`, `http://`, ...), or a file opened in binary mode,
            which is read once from where it is.

    Raises:
        NotFound: there is no such file.
        InvalidMedia: it cannot be opened, or holds no video.
    """
    try:
        container = av.open(source, "r", timeout=_SILENT_SECONDS)
    except FileNotFoundError as error:
        raise NotFound(f"{source}: no such file") from error
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidMedia(f"the source cannot be opened as video: {_cause(error)}") from error
    with container:
        if not container.streams.video:
            raise InvalidMedia("the source has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        clock = FrameClock(1 / float(stream.guessed_rate or 25))
        reformatter = VideoReformatter()
        due = 0.0
        last = -1.0
        try:
            for frame in container.decode(stream):
                seconds = clock.place(frame.time)
                if seconds >= due and seconds > last:
                    yield LivePicture(seconds, _jpeg(frame, reformatter))
                    last = seconds
                    due = max(due + 1 / rate, seconds)
        except av.FFmpegError as error:
            if last < 0:
                raise InvalidMedia(f"no picture of the source can be decoded: {_cause(error)}") from error
            # What has been seen has been seen: a stream that breaks off has ended.


def _jpeg(frame: VideoFrame, reformatter: VideoReformatter) -> bytes:
    height = min(_HEIGHT, frame.height)
    width = max(16, round(frame.width * height / frame.height / 2) * 2)
    small = reformatter.reformat(frame, width, height, "yuvj420p", interpolation="AREA", threads=1)
    codec = CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.time_base = Fraction(1, 1000)
    codec.options = {"qmin": "3", "qmax": "5"}
    small.pts = None
    return b"".join(bytes(packet) for packet in [*codec.encode(small), *codec.encode(None)])


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
