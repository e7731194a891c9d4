"""RecommenderService: relays an upload to its encoder, has it fused, then asks ranking."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc

from kinoscore.cache import Cache
from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.recommend.admission import caller_of
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.clips import ClipEncodings
from kinoscore.recommend.fusing import fused
from kinoscore.recommend.live import LiveSessions, LiveSessionSettings
from kinoscore.recommend.spaces import space_to_index_in, space_to_search_in
from kinoscore.recommend.wishes import check_filter, check_wishes
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import first_settings, track_id_of
from kinoscore.runtime.status import abort
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import (
    common_pb2,
    music_pb2,
    ranking_pb2,
    recommend_pb2,
    recommend_pb2_grpc,
    video_pb2,
)

__all__ = ["RecommenderServicer"]

T = TypeVar("T")


class Settings(LiveSessionSettings, Protocol):
    """What the service takes of its settings."""

    @property
    def default_deadline_seconds(self) -> float: ...
    @property
    def cache_seconds(self) -> float: ...


class RecommenderServicer(recommend_pb2_grpc.RecommenderServiceServicer):
    """The front door.

    An upload is never held here: each chunk goes on to the encoder before the next one is read, so a slow
    encoder slows the client. Of a clip the embeddings are kept in the cache. The deadline and the
    cancellation of the caller hold for everything asked on its behalf.
    """

    def __init__(self, backends: Backends, cache: Cache, settings: Settings) -> None:
        self._backends = backends
        self._default_seconds = settings.default_deadline_seconds
        self._clips = ClipEncodings(backends, cache, seconds=settings.cache_seconds)
        self._live = LiveSessions(backends, cache, settings)

    async def Recommend(
        self,
        request_iterator: AsyncIterator[recommend_pb2.RecommendRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> recommend_pb2.RecommendResponse:
        timer = StageTimer()
        deadline = Deadline.of(context, self._default_seconds)
        settings = await first_settings(request_iterator)
        check_wishes(settings)
        space = await space_to_search_in(self._backends, settings.space, deadline)
        clip = await _unless_refused(
            self._clips.encode(
                video_pb2.EncodeClipSettings(
                    catalogue=settings.catalogue, space=space, total_bytes=settings.total_bytes
                ),
                _chunks(request_iterator),
                deadline,
                timer,
            ),
            check_filter(self._backends, settings.catalogue, space, settings.filter, deadline),
        )
        found: ranking_pb2.SearchTracksResponse = await self._backends.ranking.ask(
            "SearchTracks",
            ranking_pb2.SearchTracksRequest(
                catalogue=settings.catalogue,
                space=clip.space,
                clip=clip.clip,
                windows=clip.windows,
                k=settings.k if settings.HasField("k") else None,
                weights=settings.weights,
                filter=settings.filter,
                max_per_artist=settings.max_per_artist,
            ),
            deadline,
        )
        timer.include(found.timings)
        return recommend_pb2.RecommendResponse(
            space=found.space,
            hits=found.hits,
            clip_duration_seconds=clip.duration_seconds,
            clip_emotion=clip.clip.emotion,
            key_frames=clip.key_frames,
            emotion_curve=clip.emotion_curve,
            warnings=clip.warnings,
            timings=timer.timings(),
            stale=found.stale,
        )

    async def RecommendLive(
        self,
        request_iterator: AsyncIterator[recommend_pb2.RecommendLiveRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[recommend_pb2.RecommendLiveResponse]:
        serving = self._live.serve(request_iterator, caller_of(context.peer()), partial(abort, context))
        async with aclosing(serving) as updates:
            async for update in updates:
                yield update

    def drain(self) -> None:
        """Ends the live sessions, each with an update that tells how to go on elsewhere."""
        self._live.drain()

    async def IndexTrack(
        self,
        request_iterator: AsyncIterator[recommend_pb2.IndexTrackRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> recommend_pb2.IndexTrackResponse:
        timer = StageTimer()
        deadline = Deadline.of(context, self._default_seconds)
        settings = await first_settings(request_iterator)
        settings.space = await space_to_index_in(self._backends, settings.space, deadline)
        sound = await self._encode_track(settings, request_iterator, deadline, timer)
        _check_digest(settings, sound)
        embeddings = [sound.track, *sound.passages]
        whole, *passages = await fused(
            self._backends, settings.catalogue, sound.space, embeddings, deadline, timer
        )
        stored: ranking_pb2.UpsertTrackResponse = await self._backends.ranking.ask(
            "UpsertTrack",
            ranking_pb2.UpsertTrackRequest(
                catalogue=settings.catalogue,
                space=sound.space,
                metadata=_completed(settings.metadata, sound),
                track=whole,
                passages=passages,
            ),
            deadline,
        )
        timer.include(stored.timings)
        return recommend_pb2.IndexTrackResponse(
            space=stored.space,
            track=stored.track,
            created=stored.created,
            emotion=sound.track.emotion,
            passage_count=len(sound.passages),
            warnings=sound.warnings,
            timings=timer.timings(),
        )

    async def _encode_track(
        self,
        settings: recommend_pb2.IndexTrackSettings,
        requests: AsyncIterator[recommend_pb2.IndexTrackRequest],
        deadline: Deadline,
        timer: StageTimer,
    ) -> music_pb2.EncodeTrackResponse:
        async def relayed() -> AsyncIterator[music_pb2.EncodeTrackRequest]:
            first = music_pb2.EncodeTrackSettings(
                catalogue=settings.catalogue, space=settings.space, total_bytes=settings.total_bytes
            )
            yield music_pb2.EncodeTrackRequest(settings=first)
            async for chunk in _chunks(requests):
                yield music_pb2.EncodeTrackRequest(chunk=chunk)

        answer: music_pb2.EncodeTrackResponse = await self._backends.music.ask_with_stream(
            "EncodeTrack", relayed(), deadline
        )
        timer.include(answer.timings)
        return answer


async def _chunks(requests: AsyncIterator[Any]) -> AsyncIterator[common_pb2.MediaChunk]:
    """The chunks of a stream after its settings; the encoder checks what they hold.

    Raises:
        InvalidRequest: settings came again.
    """
    async for request in requests:
        if request.WhichOneof("part") == "settings":
            raise InvalidRequest("the settings came twice; they open the stream once", field="settings")
        yield request.chunk


def _check_digest(settings: recommend_pb2.IndexTrackSettings, sound: music_pb2.EncodeTrackResponse) -> None:
    """Refuses another sound than the one that was meant.

    Raises:
        FailedPrecondition: its digest is not the expected one.
    """
    expected = settings.expected_digest
    if expected and sound.digest != expected:
        raise FailedPrecondition(
            f"this is another sound: its digest is {sound.digest[:12]}..., not {expected[:12]}...",
            field="settings.expected_digest",
            metadata={"digest": sound.digest, "expected": expected},
        )


def _completed(
    given: common_pb2.TrackMetadata, sound: music_pb2.EncodeTrackResponse
) -> common_pb2.TrackMetadata:
    """What is known of a track with what was measured of its sound; the measured digest and duration win."""
    metadata = common_pb2.TrackMetadata()
    metadata.CopyFrom(given)
    metadata.digest = sound.digest
    metadata.duration_seconds = sound.duration_seconds
    metadata.track_id = given.track_id or track_id_of(sound.digest)
    metadata.tempo = given.tempo or sound.tempo
    return metadata


async def _unless_refused(work: Coroutine[Any, Any, T], check: Coroutine[Any, Any, None]) -> T:
    """The result of the work. The check runs beside it: its error ends the work, but nobody waits for it."""
    working, checking = asyncio.create_task(work), asyncio.create_task(check)
    try:
        await asyncio.wait([working, checking], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            checking.result()
        return await working
    finally:
        working.cancel()
        checking.cancel()
        await asyncio.gather(working, checking, return_exceptions=True)
