"""Encoding of live streams: each picture is decoded once and passes the frame encoder once.

    reading     requests -> frames in order, sampled -> a bounded queue; a decoder process does so with bytes
    encoding    queue -> pictures -> frame encoder -> the window
    answering   the window -> clip encoder -> one answer, every interval of the stream

An answer costs what its window costs, however long the stream has been. Batches are shared with all other
streams and clips of the process: the engine forms them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import (
    DeadlineExceeded,
    InvalidRequest,
    KinoscoreError,
    ResourceExhausted,
    Unavailable,
)
from kinoscore.inference.engine import InferenceEngine
from kinoscore.inference.repository import Manifest
from kinoscore.media.live_channel import LiveJob
from kinoscore.media.live_pool import LiveDecoding
from kinoscore.media.live_sampling import LiveSampler, StreamClock
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import FrameSpec, Limits
from kinoscore.runtime.live_queue import LiveQueue
from kinoscore.runtime.requests import ChunkForm, require_between
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, video_pb2
from kinoscore.video.assembly import WindowAssembler
from kinoscore.video.clip_head import encode_windows, key_frame_messages
from kinoscore.video.live_window import EncodedRow, LiveWindow
from kinoscore.video.pictures import FRAME_FORMATS, decode_frames

__all__ = ["LiveEncoding", "LiveParts"]

# Frames that are decoded and encoded together; a stream that is not behind has those of one answer.
_BATCH_FRAMES = 8
# An engine that does not answer in this time is taken for lost: what it was asked is left out.
_ENGINE_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_LOST = (Unavailable, DeadlineExceeded, ResourceExhausted)


@dataclass(frozen=True, slots=True)
class LiveParts:
    """What all streams of a service share.

    Attributes:
        pool: decodes pictures and streams of bytes.
        engine: runs the frame encoder and the clip encoder.
        manifest: of the engine's models.
        limits: of single pictures.
        lag_seconds: how much of a stream may wait to be encoded.
    """

    pool: DecodePool
    engine: InferenceEngine
    manifest: Manifest
    limits: Limits
    lag_seconds: float


@dataclass(slots=True, eq=False)
class _Picture:
    """One frame of the stream: as it came, or decoded, and then what the models made of it."""

    arrived: float
    frame: common_pb2.Frame | None = None
    pixels: NDArray[np.uint8] | None = None
    encoded: "EncodedRow | None" = None
    is_done: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Sampled:
    """A picture and the numbers of the samples that it shows."""

    picture: _Picture
    numbers: range


class LiveEncoding:
    """One live stream. Close the generator of `answers` (`contextlib.aclosing`) to free all of it.

    Args:
        parts: what it shares with others.
        settings: the first message of the call.

    Raises:
        InvalidRequest: the interval or the window is out of bounds; the resumed window is none of this space.
    """

    def __init__(self, parts: LiveParts, settings: video_pb2.EncodeLiveSettings) -> None:
        spec = parts.manifest.video
        self._parts = parts
        self._spec = FrameSpec(spec.frame_width, spec.frame_height, spec.frames_per_second)
        self._interval = require_between(
            settings.interval_seconds or 1.0, 0.25, 60.0, field="settings.interval_seconds"
        )
        window_seconds = require_between(
            settings.window_seconds or 4.0, 1.0, 120.0, field="settings.window_seconds"
        )
        self._is_lossless = settings.flow != video_pb2.LIVE_FLOW_LATEST
        self._window = LiveWindow(spec, window_seconds)
        self._window.restore(settings.resumed)
        self._clock = StreamClock()
        self._is_resumed = settings.resumed.HasField("clock")
        if self._is_resumed:
            given = settings.resumed.clock
            self._clock = StreamClock(given.offset_seconds, given.last_seconds)
        self._sampler = LiveSampler(spec.frames_per_second, settings.resumed.clock.next_sample)
        self._answered_until = self._sampler.next_sample / spec.frames_per_second
        capacity = max(2, round(parts.lag_seconds * spec.frames_per_second))
        self._queue: LiveQueue[_Sampled] = LiveQueue(capacity)
        # Set where the stream comes as bytes.
        self._decoding: LiveDecoding | None = None
        self._timer = StageTimer()
        self._damaged = 0
        self._lost_seconds = 0.0
        self._newest_arrival = time.monotonic()
        self._warnings: list[str] = []
        self._told_losses = video_pb2.LiveLosses()

    async def answers(
        self, chunks: AsyncIterator[common_pb2.MediaChunk]
    ) -> AsyncGenerator[video_pb2.EncodeLiveResponse, None]:
        """An answer for each interval of the stream, and one for what is left at its end.

        Where nothing of an interval can be encoded, the answer tells the losses only. A consumer that is slow
        lets the queue fill.

        Raises:
            InvalidRequest: a chunk is of another form than the first, or not a frame of a known format.
            InvalidMedia: bytes are no stream that can be read, or hold no video that can be decoded.
            MediaTooLarge: the pictures of a stream of bytes have too many pixels.
            Exception: whatever `chunks` raised.
        """
        reading = asyncio.create_task(self._read(chunks))
        try:
            # What no answer tells yet is not urgent: so it is encoded together.
            while batch := await self._queue.take(_BATCH_FRAMES, self._completes_interval):
                for seconds, row in await self._encode(batch):
                    self._window.add(seconds, row)
                    # One that is behind must not be held up by answers that are old already.
                    if self._is_lossless and self._is_due() and (answer := await self._answer()):
                        yield answer
                if self._is_due() and (answer := await self._answer()):
                    yield answer
                elif self._is_interval_over(self._seen_until(batch[-1])):
                    self._answered_until = self._seen_until(batch[-1])
                    yield self._report()
            if self._window.has_news and (answer := await self._answer()):
                yield answer
            await reading
            if self._losses() != self._told_losses:
                yield self._report()
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading

    async def _read(self, chunks: AsyncIterator[common_pb2.MediaChunk]) -> None:
        form = ChunkForm()
        try:
            first = await anext(chunks, None)
            if first is None:
                return
            if form.check(first) == "data":
                await self._read_bytes(first, chunks, form)
            else:
                await self._read_frames(first, chunks, form)
        finally:
            self._queue.end()

    async def _read_frames(
        self, first: common_pb2.MediaChunk, chunks: AsyncIterator[common_pb2.MediaChunk], form: ChunkForm
    ) -> None:
        shown: _Picture | None = None
        step = 1 / self._spec.frames_per_second
        async for chunk in _from(first, chunks):
            form.check(chunk)
            frame = chunk.frame
            if frame.format not in FRAME_FORMATS:
                raise InvalidRequest(
                    "a frame of a live stream is JPEG, PNG, WebP, RGB24 or I420", field="chunk.frame.format"
                )
            seconds = self._clock.place(frame.timestamp_seconds, step)
            if seconds is None:
                continue
            picture = _Picture(time.monotonic(), frame=frame)
            samples = self._sampler.offer(seconds)
            if shown is not None and samples.before:
                await self._put(shown, samples.before)
            elif shown is None:
                self._miss(samples.before)
            if samples.now:
                await self._put(picture, samples.now)
            shown = picture

    async def _read_bytes(
        self, first: common_pb2.MediaChunk, chunks: AsyncIterator[common_pb2.MediaChunk], form: ChunkForm
    ) -> None:
        job = LiveJob(
            spec=self._spec,
            limits=self._parts.limits,
            offset_seconds=self._clock.offset_seconds,
            last_seconds=self._clock.last_seconds,
            next_sample=self._sampler.next_sample,
            lag_seconds=None if self._is_lossless else self._parts.lag_seconds,
            is_resumed=self._is_resumed,
        )
        shown: _Picture | None = None
        async with self._parts.pool.decode_live(job) as decoding:
            self._decoding = decoding
            feeding = asyncio.create_task(_feed(decoding, _from(first, chunks), form))
            try:
                async for decoded in decoding:
                    report = decoded.report
                    self._clock.offset_seconds = report.offset_seconds
                    self._clock.last_seconds = report.last_seconds
                    self._sampler.next_sample = report.next_sample
                    if shown is None:
                        self._miss(range(job.next_sample, report.first))
                    if shown is None or decoded.pixels is not None:
                        shown = _Picture(report.arrived, pixels=decoded.pixels)
                    await self._put(shown, range(report.first, report.end))
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    def _miss(self, numbers: range) -> None:
        """Counts what was not sent again to a stream that is taken up again."""
        self._lost_seconds += len(numbers) / self._spec.frames_per_second

    async def _put(self, picture: _Picture, numbers: range) -> None:
        seconds = numbers[0] / self._spec.frames_per_second
        await self._queue.put(seconds, _Sampled(picture, numbers), may_drop=not self._is_lossless)

    async def _encode(self, batch: Sequence[_Sampled]) -> list[tuple[float, EncodedRow]]:
        """The samples of a batch, each with its time; without those whose picture cannot be had."""
        pictures = list(dict.fromkeys(sampled.picture for sampled in batch if not sampled.picture.is_done))
        try:
            await self._encode_pictures(pictures)
        except _LOST:
            self._lost_seconds += (
                sum(len(sampled.numbers) for sampled in batch) / self._spec.frames_per_second
            )
            await asyncio.sleep(_PAUSE_SECONDS)
        self._newest_arrival = batch[-1].picture.arrived
        return [
            (number / self._spec.frames_per_second, sampled.picture.encoded)
            for sampled in batch
            if sampled.picture.encoded is not None
            for number in sampled.numbers
        ]

    async def _encode_pictures(self, pictures: Sequence[_Picture]) -> None:
        started = time.perf_counter()
        decoded = await self._decoded(pictures)
        self._timer.decode_seconds += time.perf_counter() - started
        for picture in pictures:
            picture.is_done = True
            picture.frame = picture.pixels = None
        self._damaged += len(pictures) - len(decoded)
        if not decoded:
            return
        frames = np.stack([pixels for _, pixels in decoded])
        inference = await self._parts.engine.infer(
            "frame_encoder", {"frames": frames}, timeout=_ENGINE_SECONDS
        )
        self._timer.queue_seconds += inference.queue_seconds
        self._timer.inference_seconds += inference.compute_seconds
        outputs = inference.outputs
        for number, (picture, _) in enumerate(decoded):
            picture.encoded = EncodedRow(
                outputs["features"][number],
                outputs["valence_arousal"][number],
                float(outputs["salience"][number]),
            )

    async def _decoded(self, pictures: Sequence[_Picture]) -> list[tuple[_Picture, NDArray[np.uint8]]]:
        """The pixels of those pictures that have some; a stream of bytes brings them decoded."""
        if self._decoding is None:
            frames = [picture.frame for picture in pictures if picture.frame is not None]
            answers = await decode_frames(self._parts.pool, frames, self._spec, self._parts.limits)
            for picture, answer in zip(pictures, answers, strict=True):
                if isinstance(answer, KinoscoreError):
                    # The first one tells the cause; the count tells the rest.
                    self._warnings = self._warnings or [answer.message]
                else:
                    picture.pixels = answer
        return [(picture, picture.pixels) for picture in pictures if picture.pixels is not None]

    def _completes_interval(self, sampled: _Sampled) -> bool:
        return self._is_interval_over(self._seen_until(sampled))

    def _seen_until(self, sampled: _Sampled) -> float:
        return sampled.numbers.stop / self._spec.frames_per_second

    def _is_due(self) -> bool:
        return self._window.has_news and self._is_interval_over(self._window.end_seconds)

    def _is_interval_over(self, seconds: float) -> bool:
        return seconds - self._answered_until >= self._interval - 1e-6

    async def _answer(self) -> video_pb2.EncodeLiveResponse | None:
        """One answer; none where the engine is lost."""
        self._answered_until = self._window.end_seconds
        assembler = WindowAssembler(self._parts.manifest.video)
        assembler.add(self._window.frames())
        windows = assembler.finish()
        manifest = self._parts.manifest
        seconds = self._window.end_seconds - self._window.start_seconds
        try:
            clip = await encode_windows(
                self._parts.engine,
                manifest,
                windows,
                seconds,
                timeout=_ENGINE_SECONDS,
                timer=self._timer,
            )
        except _LOST:
            return None
        answer = self._report()
        answer.clip.CopyFrom(clip.whole)
        answer.windows.extend(clip.windows)
        answer.window_key_frames.extend(key_frame_messages(windows.key_frames))
        answer.new_frames.extend(self._window.take_news())
        return answer

    def _report(self) -> video_pb2.EncodeLiveResponse:
        """What an answer tells besides what the models made of the window."""
        timings, self._timer = self._timer.timings(), StageTimer()
        warnings, self._warnings = self._warnings, []
        self._told_losses = self._losses()
        return video_pb2.EncodeLiveResponse(
            space=self._parts.manifest.space,
            window_start_seconds=self._window.start_seconds,
            window_duration_seconds=self._window.end_seconds - self._window.start_seconds,
            key_frames=self._window.key_frames(),
            clock=self._clock_now(),
            lag_seconds=time.monotonic() - self._newest_arrival,
            losses=self._told_losses,
            timings=timings,
            warnings=warnings,
        )

    def _clock_now(self) -> video_pb2.LiveClock:
        """Where the stream is as of what was answered: pictures that wait to be encoded are to come again."""
        rate = self._spec.frames_per_second
        next_sample = min(self._sampler.next_sample, round(self._answered_until * rate))
        return video_pb2.LiveClock(
            offset_seconds=self._clock.offset_seconds,
            last_seconds=min(self._clock.last_seconds, max(0.0, (next_sample - 1) / rate)),
            next_sample=next_sample,
        )

    def _losses(self) -> video_pb2.LiveLosses:
        losses = video_pb2.LiveLosses(
            frames_dropped=self._queue.dropped,
            frames_damaged=self._damaged,
            times_repaired=self._clock.repaired,
            gap_seconds=self._lost_seconds,
        )
        if (decoding := self._decoding) is not None:
            losses.frames_dropped += decoding.dropped
            losses.frames_damaged += decoding.damaged
            losses.times_repaired += decoding.repaired
            losses.gap_seconds += decoding.gap_seconds
        return losses


async def _from(
    first: common_pb2.MediaChunk, rest: AsyncIterator[common_pb2.MediaChunk]
) -> AsyncIterator[common_pb2.MediaChunk]:
    yield first
    async for chunk in rest:
        yield chunk


async def _feed(
    decoding: LiveDecoding, chunks: AsyncIterator[common_pb2.MediaChunk], form: ChunkForm
) -> None:
    """Hands the bytes to the decoder; what goes wrong meanwhile ends the decoding."""
    try:
        async for chunk in chunks:
            form.check(chunk)
            await decoding.send(chunk.data, time.monotonic())
        await decoding.end()
    except Exception as error:
        decoding.fail(error)
