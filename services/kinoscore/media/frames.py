"""The frames of a video that a sampling rate asks for, as small upright RGB pictures."""

from collections.abc import Iterator

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia
from kinoscore.media.container import declared_seconds, too_long, video_stream
from kinoscore.media.groups import begins_group
from kinoscore.media.salvage import StreamReader
from kinoscore.media.sampling import FrameClock, FrameSampler, PacketGate, Shown
from kinoscore.media.types import FrameSpec, Limits, MediaSummary

__all__ = ["SampledVideo", "to_picture"]

# Each frame thread holds pictures of its own. Eight of 4K fit; eight of 8K are more than a decoder may hold.
_PIXELS_OF_ALL_THREADS = 8 * 4096 * 2304


class SampledVideo:
    """Samples the video of an open container.

    Raises what `kinoscore.media.decoding.iter_frames` raises.
    """

    def __init__(self, container: InputContainer, spec: FrameSpec, limits: Limits, threads: int) -> None:
        self._rate = spec.frames_per_second
        self._limits = limits
        self._stream = video_stream(container, limits)
        self._declared_seconds = declared_seconds(container, self._stream)
        self._reader = StreamReader(container, self._stream)
        # Not the frame's own time base: frames that come when the decoder is emptied have none.
        self._time_base = float(self._stream.time_base or 0)
        self._frame_seconds = 1 / float(self._stream.guessed_rate or 25)
        self._clock = FrameClock(self._frame_seconds)
        self._gate: PacketGate[Packet[VideoStream]] = PacketGate(self._rate)
        self._end_seconds = 0.0
        context = self._stream.codec_context
        threads = min(threads, max(1, _PIXELS_OF_ALL_THREADS // (context.width * context.height or 1)))
        context.thread_type = "AUTO" if threads > 1 else "NONE"
        context.thread_count = threads
        # The picture may grow in mid-stream: the codec itself then refuses it.
        context.options = {"max_pixels": str(limits.max_pixels)}

    def shown(self) -> Iterator[Shown[VideoFrame]]:
        """The sampled frames in order, each once, with the samples that it serves."""
        sampler: FrameSampler[VideoFrame] = FrameSampler(self._rate)
        for number, frame in enumerate(self._decoded()):
            timestamp = None if frame.pts is None else frame.pts * self._time_base
            if number == 0 and timestamp is not None:
                self._gate.start_at(timestamp)
            seconds = self._clock.place(timestamp)
            if seconds > self._limits.max_duration_seconds:
                raise too_long(self._limits)
            if shown := sampler.offer(seconds, frame):
                yield shown
            self._end_seconds = seconds + (frame.duration * self._time_base or self._frame_seconds)
        if self._end_seconds == 0:
            # Codecs call it invalid data, too, when memory or FFmpeg's own limit (16380 x 16380) is exceeded.
            raise InvalidMedia(
                "no frame of the video could be decoded: it is damaged, or its pictures are too large"
            )
        self._end_seconds = max(self._end_seconds, self._gate.end_seconds)
        if shown := sampler.finish(self._end_seconds):
            yield shown

    def summary(self) -> MediaSummary:
        warnings = self._reader.warnings(self._end_seconds, self._declared_seconds)
        if self._clock.repaired:
            warnings.append(
                f"frames without a timestamp or out of order: {self._clock.repaired}; they were put in order"
            )
        return MediaSummary(self._end_seconds, 0.0, tuple(warnings))

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames in order of display: all that are sampled, and those that the codec needs for them."""
        context = self._stream.codec_context
        for packet, wanted in self._gated():
            if wanted or not context.codec.intra_only:
                context.skip_frame = "DEFAULT" if wanted else "NONREF"
                yield from self._reader.decode(packet)
        yield from self._reader.decode(None)

    def _gated(self) -> "Iterator[tuple[Packet[VideoStream], bool]]":
        for number, packet in enumerate(self._reader.packets()):
            timestamp = None if packet.pts is None else packet.pts * self._time_base
            if number == 0 and timestamp is not None and packet.is_keyframe and not packet.is_discard:
                self._gate.expect_start(timestamp)
            end = None
            if timestamp is not None and not packet.is_discard:
                end = timestamp + ((packet.duration or 0) * self._time_base or self._frame_seconds)
            restarts = begins_group(packet, self._stream.codec_context)
            yield from self._gate.offer(timestamp, packet, end=end, restarts=restarts)
        yield from self._gate.finish()


def to_picture(
    frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int
) -> NDArray[np.uint8]:
    """The whole frame, turned upright and squashed, as uint8 RGB [height, width, 3].

    Args:
        reformatter: reused from frame to frame, so that the scaler is set up once.
    """
    quarters = round(frame.rotation / 90) % 4
    if quarters % 2:
        width, height = height, width
    # AREA averages all the pixels that fall into a new one; other filters alias when they shrink this much.
    scaled = reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
    return np.rot90(np.asarray(scaled.to_ndarray(), np.uint8), quarters)
