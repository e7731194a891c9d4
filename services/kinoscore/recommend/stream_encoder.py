"""The stream of a live session on its way through the video service.

A lost service is called again, and told what it must know to go on: the features of the last seconds, and
what a stream of bytes begins with.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from kinoscore.errors import MediaTooLarge
from kinoscore.media.stream_filters import InitialisationFinder
from kinoscore.recommend.backends import LOST, Backends
from kinoscore.runtime.live_queue import LiveQueue
from kinoscore.runtime.requests import ChunkForm
from kinoscore.v1 import common_pb2, recommend_pb2, video_pb2

__all__ = ["WINDOW_SECONDS", "StreamEncoder"]

WINDOW_SECONDS = 4.0
"""How much of the past counts where the client does not say."""
_RETRY_SECONDS = 0.25
_HELD_CHUNKS = 8
# Of a stream of bytes so many may be held besides; one chunk is always taken.
_HELD_BYTES = 2 << 20


class _Arrived(NamedTuple):
    """A chunk, and when it came on the monotonic clock."""

    chunk: common_pb2.MediaChunk
    arrived: float


class StreamEncoder:
    """The conversation with the video service about one stream: begun again where it breaks off.

    Args:
        settings: what the client wants.
        state: of an earlier session; its window and its losses count.
        wake: set when there is an answer.

    Attributes:
        taken_window: what must be known to go on after the answer that was taken last.
    """

    def __init__(
        self,
        backends: Backends,
        settings: recommend_pb2.RecommendLiveSettings,
        state: recommend_pb2.LiveSession,
        wake: asyncio.Event,
    ) -> None:
        self._backends = backends
        self._wake = wake
        self._settings = video_pb2.EncodeLiveSettings(
            catalogue=settings.catalogue,
            space=state.space,
            interval_seconds=settings.interval_seconds,
            window_seconds=settings.window_seconds or WINDOW_SECONDS,
            flow=settings.flow,
        )
        self._is_lossless = settings.flow != video_pb2.LIVE_FLOW_LATEST
        self._chunks: LiveQueue[_Arrived] = LiveQueue(_HELD_CHUNKS)
        self._held_bytes = 0
        self._has_room = asyncio.Event()
        self._form = ChunkForm()
        # What a stream of bytes is begun with in another call.
        self._beginning = InitialisationFinder(anywhere=state.window.HasField("clock"))
        self._has_begun = False
        self._answer: video_pb2.EncodeLiveResponse | None = None
        self._taken = asyncio.Event()
        self._frames = deque(state.window.frames)
        # What is kept besides the frames, and all of it as of the answer that was taken last.
        self._window = video_pb2.LiveWindow()
        self._window.CopyFrom(state.window)
        del self._window.frames[:]
        self.taken_window = state.window
        self._waited_seconds = 0.0
        # When the newest frame came that an answer reflects.
        self._newest_arrival = time.monotonic()
        # Those of calls that have ended, and those of the call that runs.
        self._past_losses = state.losses
        self._call_losses = video_pb2.LiveLosses()
        self._lost_at: float | None = None

    async def put(self, chunk: common_pb2.MediaChunk) -> None:
        """Takes the next chunk. Where frames may be left out, one that waits makes room.

        Raises:
            InvalidRequest: it is of another form than those before it.
        """
        arrived = time.monotonic()
        if self._form.check(chunk) == "data":
            while self._held_bytes and self._held_bytes + len(chunk.data) > _HELD_BYTES:
                self._has_room.clear()
                await self._has_room.wait()
            self._held_bytes += len(chunk.data)
        may_drop = not self._is_lossless and chunk.HasField("frame")
        await self._chunks.put(arrived, _Arrived(chunk, arrived), may_drop=may_drop)

    def end(self) -> None:
        """Nothing more will come."""
        self._chunks.end()

    def take(self) -> video_pb2.EncodeLiveResponse | None:
        """The newest answer that was not taken yet; `taken_window` is the window as of it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self.taken_window = self.window()
        self._taken.set()
        return answer

    def lag_seconds(self) -> float:
        """How long ago the newest frame came that any answer reflects."""
        return max(0.0, time.monotonic() - self._newest_arrival)

    def losses(self) -> video_pb2.LiveLosses:
        """All since the session began."""
        losses = self._counted_losses()
        losses.frames_dropped += self._chunks.dropped
        if self._lost_at is not None:
            losses.gap_seconds += time.monotonic() - self._lost_at
        return losses

    def window(self) -> video_pb2.LiveWindow:
        """What another video service must know to go on, now."""
        window = video_pb2.LiveWindow(frames=self._frames)
        window.MergeFrom(self._window)
        return window

    async def run(self) -> None:
        """Encodes until the stream ends.

        Raises:
            KinoscoreError: what the video service refused.
        """
        while True:
            try:
                await self._converse()
                return
            except MediaTooLarge:
                # Not for want of room at the service: the next one would say the same.
                raise
            except LOST:
                self._lost_at = self._lost_at or time.monotonic()
                self._past_losses = self._counted_losses()
                self._call_losses = video_pb2.LiveLosses()
                await asyncio.sleep(_RETRY_SECONDS)

    def _counted_losses(self) -> video_pb2.LiveLosses:
        """Those of all calls, not of what waited for one; a gap counts once it is over."""
        past, now = self._past_losses, self._call_losses
        return video_pb2.LiveLosses(
            frames_dropped=past.frames_dropped + now.frames_dropped,
            frames_damaged=past.frames_damaged + now.frames_damaged,
            times_repaired=past.times_repaired + now.times_repaired,
            gap_seconds=past.gap_seconds + now.gap_seconds,
        )

    async def _converse(self) -> None:
        async with aclosing(self._backends.video.answers("EncodeLive", self._requests())) as answers:
            async for answer in answers:
                while self._is_lossless and self._answer is not None:
                    self._taken.clear()
                    await self._taken.wait()
                self._take_in(answer)
                self._answer = answer
                self._wake.set()

    async def _requests(self) -> AsyncIterator[video_pb2.EncodeLiveRequest]:
        settings = video_pb2.EncodeLiveSettings()
        settings.CopyFrom(self._settings)
        settings.resumed.CopyFrom(self.window())
        yield video_pb2.EncodeLiveRequest(settings=settings)
        # The end may have gone into a call that broke off.
        if self._has_begun and (beginning := self._beginning.initialisation):
            yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(data=beginning))
        while taken := await self._chunks.take(1):
            [(chunk, arrived)] = taken
            self._waited_seconds = time.monotonic() - arrived
            if chunk.data:
                self._has_begun = True
                self._beginning.push(chunk.data)
                self._held_bytes -= len(chunk.data)
                self._has_room.set()
            yield video_pb2.EncodeLiveRequest(chunk=chunk)

    def _take_in(self, answer: video_pb2.EncodeLiveResponse) -> None:
        if self._lost_at is not None:
            self._past_losses.gap_seconds += time.monotonic() - self._lost_at
            self._lost_at = None
        self._call_losses = answer.losses
        self._newest_arrival = time.monotonic() - answer.lag_seconds - self._waited_seconds
        self._frames.extend(answer.new_frames)
        while self._frames and self._frames[0].timestamp_seconds < answer.window_start_seconds:
            self._frames.popleft()
        self._window = video_pb2.LiveWindow(key_frames=answer.key_frames, clock=answer.clock)
