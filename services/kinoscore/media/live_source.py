"""The pictures of whatever plays: a file, a pipe, or an address on the network; for the user's own sources.

Unlike `decoding` this runs in the caller's process and opens what it is told to, so it is not for uploads.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from kinoscore.errors import FailedPrecondition, InvalidMedia, NotFound
from kinoscore.media.recording import StreamRecorder
from kinoscore.media.sampling import FrameClock

__all__ = ["CameraInput", "LivePicture", "camera_input", "iter_pictures"]

# As low as pictures can be without the models seeing less: they see about 100 lines.
_HEIGHT = 240
_SILENT_SECONDS = 10.0
_CAMERA = "camera:"


@dataclass(frozen=True, slots=True)
class CameraInput:
    """How FFmpeg is told to read a camera: its name for the device, the format and its options."""

    name: str
    format: str
    options: tuple[tuple[str, str], ...] = ()


def camera_input(device: str, platform: str) -> CameraInput:
    """The camera that a system (`sys.platform`) knows by this name: a path, a number, or a title.

    Raises:
        FailedPrecondition: cameras of that system cannot be read.
    """
    if platform.startswith("linux"):
        return CameraInput(device, "v4l2")
    if platform == "darwin":
        # Without a rate it asks for 29.97, which few cameras take; without `none` it opens a microphone.
        return CameraInput(f"{device}:none", "avfoundation", (("framerate", "30"),))
    if platform == "win32":
        return CameraInput(f"video={device}", "dshow")
    raise FailedPrecondition(f"cameras cannot be read on {platform}; pipe the stream to `kinoscore live -`")


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One picture of a stream.

    Attributes:
        timestamp_seconds: since the first; strictly increasing.
        jpeg: at most 240 pixels high.
    """

    timestamp_seconds: float
    jpeg: bytes


def iter_pictures(
    source: str | BinaryIO, rate: float, recorder: StreamRecorder | None = None
) -> Iterator[LivePicture]:
    """The pictures of a stream while it plays, at most `rate` a second. Blocks while it waits for the next.

    Args:
        source: a path, an address (`rtsp://`, `rtmp://`, `http://`, ...), `camera:` and the name of a device
            as this system names it, or a file opened in binary mode, which is read once from where it is.
        recorder: is given every picture of the stream, not only those of `rate`.

    Raises:
        NotFound: there is no such file, or camera.
        FailedPrecondition: cameras cannot be read on this system.
        InvalidMedia: it cannot be opened, or holds no video.
        StorageFull: there is no room for what is recorded.
    """
    container = _opened(source)
    with container:
        if not container.streams.video:
            raise InvalidMedia(f"{_name(source)} has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        clock = FrameClock(1 / float(stream.guessed_rate or 25))
        reformatter = VideoReformatter()
        due = 0.0
        last = -1.0
        for frame in _frames(container, stream, _name(source)):
            seconds = clock.place(frame.time)
            if recorder is not None:
                recorder.add(frame, seconds)
            if seconds >= due and seconds > last:
                yield LivePicture(seconds, _jpeg(frame, reformatter))
                last = seconds
                due = max(due + 1 / rate, seconds)


def _name(source: str | BinaryIO) -> str:
    return source if isinstance(source, str) else "the pipe"


def _frames(container: InputContainer, stream: VideoStream, name: str) -> Iterator[VideoFrame]:
    is_empty = True
    try:
        for frame in container.decode(stream):
            is_empty = False
            yield frame
    except av.FFmpegError as error:
        if is_empty:
            raise InvalidMedia(
                f"no picture of {name} can be decoded: {_cause(error)}; what is piped must be fragmented, or "
                "have its index first (ffmpeg: `-movflags +faststart`)"
            ) from error
        # What has been seen has been seen: a stream that breaks off has ended.


def _opened(source: str | BinaryIO) -> InputContainer:
    if isinstance(source, str) and source.startswith(_CAMERA):
        return _opened_camera(source.removeprefix(_CAMERA))
    try:
        return av.open(source, "r", timeout=_SILENT_SECONDS)
    except FileNotFoundError as error:
        raise NotFound(f"{source}: no such file") from error
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidMedia(
            f"{_name(source)} cannot be opened as video: {_cause(error)}; it is empty, damaged, or no video"
        ) from error


def _opened_camera(device: str) -> InputContainer:
    camera = camera_input(device, sys.platform)
    try:
        return av.open(
            camera.name, "r", format=camera.format, options=dict(camera.options), timeout=_SILENT_SECONDS
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise NotFound(
            f"the camera {device!r} cannot be opened: {_cause(error)}; see that it is there, that nothing "
            "else uses it and that you may"
        ) from error


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
