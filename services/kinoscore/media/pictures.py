"""Single pictures to arrays, in this process; `picture_pool` is the place for untrusted ones."""

import threading
from collections.abc import Callable, Iterator
from typing import Literal

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, MediaTooLarge
from kinoscore.media.container import check_pixels
from kinoscore.media.frames import to_picture
from kinoscore.media.types import FrameSpec, Limits, PictureFormat

__all__ = ["decode_picture"]

Buffer = bytes | memoryview

_own = threading.local()

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
# Start-of-frame markers: C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_picture(
    picture_format: PictureFormat, data: Buffer, width: int, height: int, spec: FrameSpec, limits: Limits
) -> NDArray[np.uint8]:
    """Decodes one picture and squashes it as video frames are: uint8 RGB [spec.height, spec.width, 3].

    Args:
        width: pixels; read for RGB24 and I420 only.
        height: pixels; read for RGB24 and I420 only.

    Raises:
        InvalidMedia: the bytes are not a picture of this format.
        MediaTooLarge: more bytes or pixels than the limits allow; told by the header, before decoding.
    """
    if len(data) > limits.max_bytes:
        raise MediaTooLarge(f"the picture has {len(data)} bytes, the limit is {limits.max_bytes}")
    if picture_format in (PictureFormat.RGB24, PictureFormat.I420):
        frame = _raw_frame(picture_format, data, width, height, limits)
    else:
        frame = _compressed_frame(picture_format, data, limits)
    return to_picture(frame, _own_scaler(), spec.width, spec.height)


def _own_scaler() -> VideoReformatter:
    """This thread's: one is set up anew only where the sizes change."""
    if not hasattr(_own, "scaler"):
        _own.scaler = VideoReformatter()
    scaler: VideoReformatter = _own.scaler
    return scaler


def _raw_frame(
    picture_format: PictureFormat, data: Buffer, width: int, height: int, limits: Limits
) -> VideoFrame:
    name = picture_format.upper()
    if width < 1 or height < 1:
        raise InvalidMedia(f"an {name} picture needs its width and height")
    check_pixels(width, height, limits)
    is_planar = picture_format is PictureFormat.I420
    if is_planar and (width % 2 or height % 2):
        raise InvalidMedia(f"an I420 picture has an even width and height, not {width} x {height}")
    size = width * height * 3 // 2 if is_planar else width * height * 3
    if len(data) != size:
        raise InvalidMedia(
            f"an {name} picture of {width} x {height} pixels has {size} bytes, not {len(data)}"
        )
    pixels = np.frombuffer(data, np.uint8)
    if is_planar:
        return VideoFrame.from_ndarray(pixels.reshape(height * 3 // 2, width), "yuv420p")
    return VideoFrame.from_ndarray(pixels.reshape(height, width, 3), "rgb24")


def _compressed_frame(picture_format: PictureFormat, data: Buffer, limits: Limits) -> VideoFrame:
    codec_name, read_size = _CODECS[picture_format]
    size = read_size(data)
    if size is None:
        raise InvalidMedia(f"the bytes are not a {picture_format.upper()} picture")
    check_pixels(*size, limits)
    codec: VideoCodecContext = CodecContext.create(codec_name, "r")
    codec.thread_type = "NONE"
    # A header may tell less than what follows it.
    codec.options = {"max_pixels": str(limits.max_pixels)}
    try:
        # Any buffer will do; the type says less.
        frames = codec.decode(Packet(data)) or codec.decode(None)  # type: ignore[arg-type]
    except MemoryError as error:
        raise MediaTooLarge("the picture needs more memory to decode than there is") from error
    except av.FFmpegError as error:
        raise InvalidMedia(f"the {picture_format.upper()} picture is damaged: {error.strerror}") from error
    if not frames:
        raise InvalidMedia(f"the {picture_format.upper()} picture is cut off or damaged")
    return frames[0]


def _png_size(data: Buffer) -> tuple[int, int] | None:
    if len(data) < 24 or data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE:
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _jpeg_size(data: Buffer) -> tuple[int, int] | None:
    if data[: len(JPEG_SIGNATURE)] != JPEG_SIGNATURE:
        return None
    for marker, position in _jpeg_segments(data):
        if marker in JPEG_FRAME_MARKERS:
            height, width = data[position + 3 : position + 5], data[position + 5 : position + 7]
            return int.from_bytes(width), int.from_bytes(height)
    return None


def _jpeg_segments(data: Buffer) -> Iterator[tuple[int, int]]:
    """The marker of each segment before the pixels, and where its length field stands."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        yield data[position + 1], position + 2
        position += 2 + int.from_bytes(data[position + 2 : position + 4])


def _webp_size(data: Buffer) -> tuple[int, int] | None:
    """Of the canvas (VP8X), or of the one lossless (VP8L) or lossy (VP8) picture."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    return width & 0x3FFF, height & 0x3FFF


_CODECS: dict[
    PictureFormat, tuple[Literal["mjpeg", "png", "webp"], Callable[[Buffer], tuple[int, int] | None]]
] = {
    PictureFormat.JPEG: ("mjpeg", _jpeg_size),
    PictureFormat.PNG: ("png", _png_size),
    PictureFormat.WEBP: ("webp", _webp_size),
}
