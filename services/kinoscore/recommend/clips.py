"""Clips to fused embeddings; a clip whose bytes came before is neither decoded nor encoded again.

A file is known by the digest of its bytes when its last chunk has passed, and the video service decodes it
when its stream ends. So the end of the stream is held back until it is known that the cache has nothing and
that no equal clip is being encoded; where one has or is, the call is left. No part of an upload stays here.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from kinoscore import __version__
from kinoscore.cache import Cache
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.fusing import fused
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import CACHE_LOOKUPS
from kinoscore.runtime.single_flight import SingleFlight
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, video_pb2

__all__ = ["ClipEncodings"]

# Above this size a chunk is hashed in a thread: a smaller one takes less than going there does.
_LARGE_BYTES = 256 * 1024


class ClipEncodings:
    """Asks the video and the fusion service, or the cache.

    Single frames are always encoded: the video service has decoded them by the time the last one comes.

    Args:
        seconds: how long the embeddings of a clip are kept; 0 for no time.
    """

    def __init__(self, backends: Backends, cache: Cache, *, seconds: float) -> None:
        self._backends = backends
        self._cache = cache
        self._seconds = seconds
        self._flights = SingleFlight[bytes]("clip")

    async def encode(
        self,
        settings: video_pb2.EncodeClipSettings,
        chunks: AsyncIterator[common_pb2.MediaChunk],
        deadline: Deadline,
        timer: StageTimer,
    ) -> video_pb2.EncodeClipResponse:
        """The video service's answer with each embedding fused, without timings.

        Args:
            settings: of the clip; they name the embedding space.
            timer: takes the stages of what had to be done for this very request.

        Raises:
            KinoscoreError: what a service raised.
            Exception: whatever `chunks` raised.
        """
        upload = _HeldUpload(settings, chunks)

        async def work() -> bytes:
            upload.release()
            clip = await self._encoded(call, settings.catalogue, deadline, timer)
            return clip.SerializeToString()

        async def kept_work() -> bytes:
            encoded = await work()
            if self._seconds > 0:
                await self._cache.set(key, encoded, self._seconds)
            return encoded

        async with self._backends.video.stream("EncodeClip", upload.requests(), deadline) as call:
            await asyncio.wait([upload.arrived, call], return_when=asyncio.FIRST_COMPLETED)
            key = _cache_key(upload, settings.space)
            if not key:
                return video_pb2.EncodeClipResponse.FromString(await work())
            encoded = await self._cache.get(key)
            CACHE_LOOKUPS.labels("clip", "miss" if encoded is None else "hit").inc()
            if encoded is None:
                encoded = await self._flights.run(key, kept_work, deadline)
            return video_pb2.EncodeClipResponse.FromString(encoded)

    async def _encoded(
        self, call: "asyncio.Task[Any]", catalogue: str, deadline: Deadline, timer: StageTimer
    ) -> video_pb2.EncodeClipResponse:
        clip: video_pb2.EncodeClipResponse = await call
        timer.include(clip.timings)
        clip.ClearField("timings")
        embeddings = [clip.clip, *clip.windows]
        whole, *windows = await fused(self._backends, catalogue, clip.space, embeddings, deadline, timer)
        clip.clip.CopyFrom(whole)
        del clip.windows[:]
        clip.windows.extend(windows)
        return clip


class _HeldUpload:
    """The requests of an upload, whose end does not come before `release`.

    Attributes:
        arrived: done when the last chunk has passed; the digest of the file in hexadecimal, empty for what is
            no whole file.
    """

    def __init__(
        self, settings: video_pb2.EncodeClipSettings, chunks: AsyncIterator[common_pb2.MediaChunk]
    ) -> None:
        self._settings = settings
        self._chunks = chunks
        self._released = asyncio.Event()
        self.arrived: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        self._released.set()

    async def requests(self) -> AsyncIterator[video_pb2.EncodeClipRequest]:
        yield video_pb2.EncodeClipRequest(settings=self._settings)
        digest = hashlib.sha256()
        size = 0
        whole = True
        async for chunk in self._chunks:
            whole = whole and chunk.WhichOneof("form") == "data"
            size += len(chunk.data)
            if len(chunk.data) <= _LARGE_BYTES:
                digest.update(chunk.data)
            else:
                await asyncio.to_thread(digest.update, chunk.data)
            yield video_pb2.EncodeClipRequest(chunk=chunk)
        # What is not as it should be is for the video service to refuse.
        whole = whole and 0 < size == (self._settings.total_bytes or size)
        self.arrived.set_result(digest.hexdigest() if whole else "")
        await self._released.wait()


def _cache_key(upload: _HeldUpload, space: str) -> str:
    """What the cache knows the clip by; empty where it has no name."""
    if not upload.arrived.done() or not upload.arrived.result():
        return ""
    # Another version of kinoscore may decode otherwise.
    return f"kinoscore:clip:{space}:{__version__}:{upload.arrived.result()}"
