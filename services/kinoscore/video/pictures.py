"""Uploads of single frames: checks their times and samples them as a video file is sampled.

Sample number i takes the last frame whose time is not later than i / rate seconds after the first frame's.
Frames that no sample takes are not decoded.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, InvalidRequest, KinoscoreError, MediaTooLarge
from kinoscore.media.decoding import BATCH_FRAMES
from kinoscore.media.picture_pool import Picture, Pixels
from kinoscore.media.types import FrameBatch, FrameSpec, Limits, PictureFormat
from kinoscore.v1 import common_pb2

__all__ = ["FRAME_FORMATS", "PictureDecoder", "SampleCounter", "decode_frames", "sampled_batches"]

FRAME_FORMATS = {
    common_pb2.FRAME_FORMAT_JPEG: PictureFormat.JPEG,
    common_pb2.FRAME_FORMAT_PNG: PictureFormat.PNG,
    common_pb2.FRAME_FORMAT_RGB24: PictureFormat.RGB24,
    common_pb2.FRAME_FORMAT_I420: PictureFormat.I420,
    common_pb2.FRAME_FORMAT_WEBP: PictureFormat.WEBP,
}
# A sample whose frame comes this part of a sampling interval too late still takes it: timestamps are rounded.
_ROUNDING = 1e-6


class SampleCounter:
    """Tells how many samples each frame of a stream gives, with one frame's delay.

    Args:
        rate: samples a second.
        max_seconds: the longest clip.
    """

    def __init__(self, rate: float, max_seconds: float) -> None:
        self._rate = rate
        self._max_seconds = max_seconds
        self._first = 0.0
        self._last: float | None = None
        self._given = 0

    def offer(self, timestamp: float) -> int:
        """Takes the next frame's time; returns how many samples the frame before it gives.

        Raises:
            InvalidRequest: the time is not finite, negative, or before the last frame's.
            MediaTooLarge: the clip is too long.
        """
        field = "chunk.frame.timestamp_seconds"
        if not math.isfinite(timestamp) or timestamp < 0:
            raise InvalidRequest(f"a frame's time must be 0 or more seconds, not {timestamp}", field=field)
        if self._last is None:
            self._first = self._last = timestamp
            return 0
        if timestamp < self._last:
            raise InvalidRequest(
                f"frames must come in order of time: {timestamp} s came after {self._last} s", field=field
            )
        self._last = timestamp
        if timestamp - self._first > self._max_seconds:
            raise MediaTooLarge(
                f"the frames span more than the {self._max_seconds:g} s allowed; send a shorter clip",
                field=field,
                metadata={"limit": f"{self._max_seconds:g}"},
            )
        return self._take(math.ceil((timestamp - self._first) * self._rate - _ROUNDING))

    def finish(self) -> int:
        """How many samples the last frame gives."""
        span = 0.0 if self._last is None else self._last - self._first
        return self._take(math.floor(span * self._rate + _ROUNDING) + 1)

    def _take(self, total: int) -> int:
        count = max(0, total - self._given)
        self._given += count
        return count


class PictureDecoder(Protocol):
    """What `DecodePool` does for single pictures."""

    async def decode_pictures(
        self, pictures: Sequence[Picture], spec: FrameSpec, limits: Limits
    ) -> list[Pixels | KinoscoreError]: ...


async def sampled_batches(
    decoder: PictureDecoder, frames: AsyncIterator[common_pb2.Frame], spec: FrameSpec, limits: Limits
) -> AsyncGenerator[FrameBatch, None]:
    """The sampled frames in batches; times count from the first frame.

    Raises:
        InvalidRequest: a frame's time or format is wrong; the message names the field.
        InvalidMedia: a picture is not what its format says.
        MediaTooLarge: a picture has too many pixels, or the frames span too long a time.
    """
    counter = SampleCounter(spec.frames_per_second, limits.max_duration_seconds)
    waiting: list[NDArray[np.uint8]] = []
    given = 0
    async for frame, count in _with_counts(frames, counter):
        [picture] = await decode_frames(decoder, [frame], spec, limits)
        if isinstance(picture, KinoscoreError):
            raise picture
        for _ in range(count):
            waiting.append(picture)
            if len(waiting) == BATCH_FRAMES:
                yield _batch(waiting, given, spec)
                given += len(waiting)
                waiting = []
    if waiting:
        yield _batch(waiting, given, spec)


async def _with_counts(
    frames: AsyncIterator[common_pb2.Frame], counter: SampleCounter
) -> AsyncIterator[tuple[common_pb2.Frame, int]]:
    """The frames that give samples, each with how many."""
    last: common_pb2.Frame | None = None
    async for frame in frames:
        count = counter.offer(frame.timestamp_seconds)
        if last is not None and count:
            yield last, count
        last = frame
    if last is not None and (count := counter.finish()):
        yield last, count


async def decode_frames(
    decoder: PictureDecoder, frames: Sequence[common_pb2.Frame], spec: FrameSpec, limits: Limits
) -> list[Pixels | KinoscoreError]:
    """The picture of each frame, uint8 RGB [spec.height, spec.width, 3].

    In place of a picture InvalidMedia says that it is not what its format says, MediaTooLarge that it has too
    many pixels.

    Raises:
        InvalidRequest: a format is none that can be read.
    """
    pictures = [_picture(frame) for frame in frames]
    answers = await decoder.decode_pictures(pictures, spec, limits)
    return [
        InvalidMedia(
            f"the frame at {frame.timestamp_seconds:g} s: {answer.message}", field="chunk.frame.data"
        )
        if isinstance(answer, InvalidMedia)
        else answer
        for frame, answer in zip(frames, answers, strict=True)
    ]


def _picture(frame: common_pb2.Frame) -> Picture:
    picture_format = FRAME_FORMATS.get(frame.format)
    if picture_format is None:
        raise InvalidRequest(
            "a frame's format must be JPEG, PNG, WebP, RGB24 or I420", field="chunk.frame.format"
        )
    return Picture(picture_format, frame.data, frame.width, frame.height)


def _batch(pictures: list[NDArray[np.uint8]], first: int, spec: FrameSpec) -> FrameBatch:
    numbers = np.arange(first, first + len(pictures), dtype=np.float64)
    return FrameBatch(numbers / spec.frames_per_second, np.stack(pictures))
