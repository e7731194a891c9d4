"""The bytes of a live stream to sampled pictures, in this process: for the processes of `live_worker`.

What is damaged is passed over and counted. Where a demuxer gives up, another one goes on at the next place at
which a stream can be taken up.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia
from kinoscore.media.container import video_stream
from kinoscore.media.frames import to_picture
from kinoscore.media.groups import begins_group
from kinoscore.media.live_feed import ByteFeed
from kinoscore.media.live_sampling import LiveGate, LiveSampler, StreamClock
from kinoscore.media.salvage import StreamReader
from kinoscore.media.sampling import LOOKAHEAD_PACKETS, MOST_HELD_PACKETS
from kinoscore.media.stream_filters import KNOWN_FORMS
from kinoscore.media.stream_forms import StreamForm
from kinoscore.media.types import FrameSpec, Limits

__all__ = ["Degradation", "LiveCounts", "LivePicture", "LiveVideo"]

# FFmpeg reads no more than this, and the first packet, before it gives one, and keeps it in memory. Where
# there are no times to be learnt, it would read all of it.
_PROBE_BYTES = {StreamForm.H264: 1 << 10}
_MOST_PROBE_BYTES = 1 << 16
_FORMATS = {
    StreamForm.MP4: "mov,mp4,m4a,3gp,3g2,mj2",
    StreamForm.MATROSKA: "matroska,webm",
    StreamForm.MPEG_TS: "mpegts",
    StreamForm.H264: "h264",
}
# A stream of which so many demuxers in a row gave no frame holds none; nor one of so many bytes without any.
_FRUITLESS_OPENINGS = 64
_FRUITLESS_BYTES = 64 << 20
_SKIP_LEVELS: tuple[Literal["DEFAULT", "NONREF", "NONKEY"], ...] = ("DEFAULT", "NONREF", "NONKEY")


@dataclass(slots=True)
class LiveCounts:
    """What a stream has lost so far.

    Attributes:
        dropped: samples left out because the stream was behind.
        damaged: packets and stretches that could not be read.
    """

    dropped: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LivePicture:
    """A frame that samples show.

    Attributes:
        numbers: of the samples.
        pixels: uint8 RGB [height, width, 3]; None for those of the picture before it.
        arrived: when its last byte came, on the monotonic clock, as far as that is known.
    """

    numbers: range
    pixels: NDArray[np.uint8] | None
    arrived: float


class Degradation:
    """How much of a stream that is behind is decoded: all, what other frames refer to, or key frames.

    Args:
        lag_seconds: how far it may be behind; None where it may be so by any time.
    """

    def __init__(self, lag_seconds: float | None) -> None:
        self._lag_seconds = lag_seconds
        self.level = 0

    def update(self, lag_seconds: float, waiting: float, *, is_key: bool) -> int:
        """The level, 0 to 2, for the next packet, which came `lag_seconds` ago.

        Args:
            waiting: how full the buffer is, 0 to 1; more than half counts as behind.
        """
        if self._lag_seconds is None:
            return 0
        load = max(lag_seconds / self._lag_seconds, 2 * waiting)
        wanted = 2 if load > 1.5 else 1 if load > 1 else self.level if load > 0.5 else 0
        # After key frames alone, decoding can only begin with the next one.
        if self.level < 2 or wanted == 2 or is_key:
            self.level = wanted
        return self.level


class LiveVideo:
    """Decodes one stream. `clock` and `counts` are those up to the last picture.

    Args:
        feed: the bytes.
        spec: how pictures are wanted.
        limits: of single pictures.
        clock: where the stream is.
        next_sample: the first that is still to be given.
        lag_seconds: how far the stream may be behind before decoding is degraded; None for any.
    """

    def __init__(
        self,
        feed: ByteFeed,
        spec: FrameSpec,
        limits: Limits,
        clock: StreamClock,
        next_sample: int,
        lag_seconds: float | None,
    ) -> None:
        self._feed = feed
        self._spec = spec
        self._limits = replace(limits, max_duration_seconds=math.inf)
        self._rate = spec.frames_per_second
        self._sampler = LiveSampler(self._rate, next_sample)
        self._gate = LiveGate(self._rate)
        self._degradation = Degradation(lag_seconds)
        self._reformatter = VideoReformatter()
        self._shown: _Frame | None = None
        self._is_first_frame = True
        # Of packets on their way through the decoder: time stamp and arrival; times that may be skipped.
        self._arrivals: deque[tuple[int | None, float]] = deque(maxlen=LOOKAHEAD_PACKETS)
        self._risky: deque[float] = deque(maxlen=4 * LOOKAHEAD_PACKETS)
        # Those that no sample asks for yet, each with what its decoding may leave out.
        self._held: list[tuple[Packet[VideoStream], int]] = []
        self._passed_over = 0
        self._lost = 0
        self._frame_seconds = 0.04
        self._time_base = 0.0
        self.clock = clock
        self.counts = LiveCounts()

    @property
    def next_sample(self) -> int:
        return self._sampler.next_sample

    def pictures(self) -> Iterator[LivePicture]:
        """The pictures of the stream, each as soon as it can be given.

        Raises:
            InvalidMedia: the bytes are of no known form, hold no video, or nothing that can be decoded.
            MediaTooLarge: the pictures have too many pixels.
        MemoryError: there is no memory to go on.
        """
        form = self._feed.form()
        if form is None:
            return
        fruitless = 0
        while True:
            seen = self._shown
            yield from self._one_container(form)
            fruitless = 0 if self._shown is not seen else fruitless + 1
            if self._feed.has_ended:
                break
            if fruitless == _FRUITLESS_OPENINGS:
                raise self._nothing_decoded()
            if not self._go_on():
                break
        if self._shown is None:
            raise self._nothing_decoded()
        if rest := self._sampler.finish(self._shown.end_seconds):
            yield self._picture(self._shown, rest)

    def _go_on(self) -> bool:
        """Whether another demuxer can read on."""
        is_damage = not self._feed.is_renewed
        try:
            self._feed.restart()
        except InvalidMedia:
            # An ordinary MP4 ends where its index says; what follows is none of it.
            self._feed.pass_over()
            return False
        self._lost += is_damage
        self._count()
        self._is_first_frame = True
        return True

    def _one_container(self, form: StreamForm) -> Iterator[LivePicture]:
        options = {
            "format_whitelist": _FORMATS[form],
            # Nothing but the bytes at hand may be opened.
            "protocol_whitelist": "none",
            "probesize": str(_PROBE_BYTES.get(form, _MOST_PROBE_BYTES)),
            "fpsprobesize": "0",
        }
        try:
            container = av.open(
                self._feed, "r", format=form.value, options=options, metadata_errors="replace"
            )
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            return
        with container:
            yield from self._decoded(container)

    def _decoded(self, container: InputContainer) -> Iterator[LivePicture]:
        try:
            stream = video_stream(container, self._limits)
        except InvalidMedia as error:
            if self._shown is None and not self._feed.damaged:
                raise InvalidMedia(error.message.replace("the file", "the stream")) from error
            return
        reader = StreamReader(container, stream)
        self._time_base = float(stream.time_base or 0)
        self._frame_seconds = 1 / float(stream.guessed_rate or 25)
        context = stream.codec_context
        context.thread_type, context.thread_count = "NONE", 1
        self._arrivals.clear()
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        try:
            for packet in reader.packets():
                for frame in self._frames(packet, reader, context):
                    yield from self._offer(frame)
                self._count(reader)
                if self._shown is None and self._feed.received > _FRUITLESS_BYTES:
                    raise self._nothing_decoded()
            for frame in [*self._release(reader, context), *reader.decode(None)]:
                yield from self._offer(frame)
        finally:
            self._held.clear()
            self._lost += reader.damaged
        self._count()

    def _frames(
        self, packet: "Packet[VideoStream]", reader: StreamReader, context: "CodecContext"
    ) -> Iterator[VideoFrame]:
        """The frames that can be had now; none of packets that need not or may not be decoded.

        What follows the last sampled frame of a group of pictures is decoded for nothing. So packets wait
        until a sample is due, or a new group begins.
        """
        end = packet.pos + packet.size if packet.pos is not None and packet.pos >= 0 else None
        arrived = self._feed.arrival_of(end)
        self._arrivals.append((packet.pts, arrived))
        if packet.duration:
            self._frame_seconds = packet.duration * self._time_base or self._frame_seconds
        level = self._degradation.update(
            time.monotonic() - arrived, self._feed.waiting, is_key=packet.is_keyframe
        )
        if packet.pts is None:
            yield from self._unstamped(packet, reader, context, level)
            return
        seconds = packet.pts * self._time_base + (self.clock.offset_seconds or 0.0)
        is_first = self.clock.offset_seconds is None or self._is_first_frame
        is_wanted = self._gate.wants(seconds) or is_first
        if is_wanted and level:
            self._risky.append(seconds)
        now = (seconds, self.clock.last_seconds, self._sampler.next_sample)
        if self._held and self._gate.is_on_time(*now) and begins_group(packet, context):
            self._held.clear()
        if is_wanted or not context.codec.intra_only:
            self._held.append((packet, max(level, 0 if is_wanted else 1)))
        if is_first or not self._gate.may_wait(*now) or len(self._held) > MOST_HELD_PACKETS:
            yield from self._release(reader, context)

    def _release(self, reader: StreamReader, context: "CodecContext") -> Iterator[VideoFrame]:
        held, self._held = self._held, []
        for packet, level in held:
            context.skip_frame = _SKIP_LEVELS[level]
            yield from reader.decode(packet)

    def _unstamped(
        self, packet: "Packet[VideoStream]", reader: StreamReader, context: "CodecContext", level: int
    ) -> Iterator[VideoFrame]:
        """Without times, a frame that is skipped must be counted: the next ones come that much later."""
        yield from self._release(reader, context)
        if level and not packet.is_keyframe:
            self._degradation.level = 2
            self._passed_over += 1
            self._arrivals.pop()
            return
        if self._passed_over:
            yield from reader.decode(None)
            context.flush_buffers()
            self._pass_time()
        yield from reader.decode(packet)

    def _pass_time(self) -> None:
        """Leaves out the samples of the frames that were skipped."""
        self.clock.last_seconds += self._passed_over * self._frame_seconds
        self._passed_over = 0
        number = self._sampler.next_sample
        self._sampler.offer(self.clock.last_seconds)
        self.counts.dropped += self._sampler.next_sample - number

    def _offer(self, frame: VideoFrame) -> Iterator[LivePicture]:
        seconds = self._place(frame)
        if seconds is None:
            return
        duration = (frame.duration or 0) * self._time_base or self._frame_seconds
        samples = self._sampler.offer(seconds)
        before, self._shown = self._shown, _Frame(frame, seconds, seconds + duration, self._arrival_of(frame))
        if before is not None and (numbers := self._without_dropped(samples.before, before)):
            yield self._picture(before, numbers)
        if samples.now:
            yield self._picture(self._shown, samples.now)
        while self._risky and self._risky[0] <= seconds:
            self._risky.popleft()

    def _place(self, frame: VideoFrame) -> float | None:
        may_restart, self._is_first_frame = self._is_first_frame, False
        if frame.pts is not None:
            timestamp = frame.pts * self._time_base
            return self.clock.place(timestamp, self._frame_seconds, may_restart=may_restart)
        return self.clock.place_next(self._frame_seconds)

    def _without_dropped(self, numbers: range, frame: "_Frame") -> range:
        """The samples that a frame shows, without those at which a skipped frame was on the screen."""
        skipped = [seconds for seconds in self._risky if seconds > frame.seconds]
        if not skipped:
            return numbers
        kept = [number for number in numbers if number / self._rate < min(skipped)]
        self.counts.dropped += len(numbers) - len(kept)
        return numbers[: len(kept)]

    def _arrival_of(self, frame: VideoFrame) -> float:
        if frame.pts is None:
            return self._arrivals.popleft()[1] if self._arrivals else time.monotonic()
        return next((at for pts, at in self._arrivals if pts == frame.pts), self._arrivals[-1][1])

    def _picture(self, frame: "_Frame", numbers: range) -> LivePicture:
        pixels = None
        if not frame.is_given:
            frame.is_given = True
            pixels = to_picture(frame.frame, self._reformatter, self._spec.width, self._spec.height)
        return LivePicture(numbers, pixels, frame.arrived)

    def _count(self, reader: StreamReader | None = None) -> None:
        self.counts.damaged = self._feed.damaged + self._lost + (reader.damaged if reader else 0)

    def _nothing_decoded(self) -> InvalidMedia:
        return InvalidMedia(
            "no frame of the stream could be decoded: it is damaged, or its pictures are too large; "
            f"send {KNOWN_FORMS}"
        )


@dataclass(slots=True, eq=False)
class _Frame:
    """The frame that is on the screen, from `seconds` to `end_seconds` as far as is known."""

    frame: VideoFrame
    seconds: float
    end_seconds: float
    arrived: float
    is_given: bool = False
