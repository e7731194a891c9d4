"""RankingService: checks requests, keeps answers in the cache, and leaves the rest to the store and the
search.

An answer that the cache holds is given at once. Equal requests that come together are searched for once. When
the store is silent, the last answer to the very same request stands in for it, marked as stale, as long as
nothing was written to the catalogue since.
"""

import asyncio
import hashlib
import json
from bisect import bisect_right
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from kinoscore.cache import Cache
from kinoscore.errors import DeadlineExceeded, NotFound, Unavailable
from kinoscore.inference.repository import Manifest
from kinoscore.ranking import requests
from kinoscore.ranking.answers import MOST_CATALOGUES, CatalogueAnswers
from kinoscore.ranking.filters import Filter, parse_filter
from kinoscore.ranking.reasons import Mood, explain
from kinoscore.ranking.rows import Passage, TrackRecord
from kinoscore.ranking.scoring import Blocks, valence_centre
from kinoscore.ranking.search import Query, Ranked, TrackSearch
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import CACHE_LOOKUPS, STALE_ANSWERS
from kinoscore.runtime.requests import catalogue_name, require_space
from kinoscore.runtime.single_flight import SingleFlight
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

STORE_SHARE = 0.8
"""The part of a caller's time that the store gets when an old answer could stand in for its own: our
choice."""


class Settings(Protocol):
    """What the service takes of its settings."""

    @property
    def cache_seconds(self) -> float: ...
    @property
    def cache_stale_seconds(self) -> float: ...
    @property
    def search_seconds(self) -> float: ...


class RankingServicer(ranking_pb2_grpc.RankingServiceServicer):
    """Answers for one embedding space, out of one store."""

    def __init__(self, store: MilvusStore, cache: Cache, manifest: Manifest, settings: Settings) -> None:
        dimensions = manifest.dimensions
        self._store = store
        self._manifest = manifest
        self._settings = settings
        self._blocks = Blocks(dimensions.fused, dimensions.content, dimensions.emotion)
        self._search = TrackSearch(store, manifest)
        self._answers = CatalogueAnswers(
            cache,
            manifest.space,
            fresh_seconds=settings.cache_seconds,
            stale_seconds=settings.cache_stale_seconds,
        )
        self._searches = SingleFlight[bytes]("search")
        self._writes: set[asyncio.Task[Any]] = set()
        self._centres: dict[str, tuple[int, float]] = {}

    async def close(self) -> None:
        """Waits for the writes that go on; the store and the cache are closed by who opened them."""
        if self._writes:
            await asyncio.wait(self._writes)
        await self._answers.close()

    async def check(self, deadline: Deadline) -> None:
        """Returns when the store has the index.

        Raises:
            FailedPrecondition: it has not.
            Unavailable: it does not answer.
        """
        await self._store.check(deadline)

    async def SearchTracks(
        self, request: ranking_pb2.SearchTracksRequest, context: Context
    ) -> ranking_pb2.SearchTracksResponse:
        timer = StageTimer()
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        require_space(request.space, self._manifest.space)
        with timer.searching():
            await self._store.require_last_active(deadline)
            answer = await self._search_or_cached(catalogue, request, deadline)
        answer.timings.CopyFrom(timer.timings())
        return answer

    async def UpsertTrack(
        self, request: ranking_pb2.UpsertTrackRequest, context: Context
    ) -> ranking_pb2.UpsertTrackResponse:
        timer = StageTimer()
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        require_space(request.space, self._manifest.space)
        track = requests.to_track(request, self._blocks)
        created = await self._write(catalogue, self._store.upsert(catalogue, track, deadline))
        return ranking_pb2.UpsertTrackResponse(
            space=self._manifest.space, track=track.metadata, created=created, timings=timer.timings()
        )

    async def UpdateTrackMetadata(
        self, request: ranking_pb2.UpdateTrackMetadataRequest, context: Context
    ) -> ranking_pb2.UpdateTrackMetadataResponse:
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        requests.check_metadata(request.metadata)
        track_id = request.metadata.track_id
        record = await self._record(catalogue, track_id, "metadata.track_id", deadline)
        metadata = _updated(record.metadata, request.metadata)
        changed = metadata != record.metadata
        if changed:
            await self._write(catalogue, self._store.update_metadata(catalogue, metadata, deadline))
        return ranking_pb2.UpdateTrackMetadataResponse(
            space=self._manifest.space, track=metadata, changed=changed
        )

    async def GetTrack(
        self, request: ranking_pb2.GetTrackRequest, context: Context
    ) -> ranking_pb2.GetTrackResponse:
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        requests.check_track_id(request.track_id, "track_id")
        record = await self._record(catalogue, request.track_id, "track_id", deadline)
        numbers = range(record.passage_count)
        stored = await self._store.passages(catalogue, {request.track_id: numbers}, deadline)
        passages = stored.get(request.track_id, {})
        curve = [_to_point(passages[number]) for number in sorted(passages)]
        return ranking_pb2.GetTrackResponse(
            space=self._manifest.space,
            track=ranking_pb2.StoredTrack(metadata=record.metadata, emotion=record.emotion, passages=curve),
        )

    async def ListTracks(
        self, request: ranking_pb2.ListTracksRequest, context: Context
    ) -> ranking_pb2.ListTracksResponse:
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        size = requests.to_page_size(request.page_size)
        last = requests.from_page_token(request.page_token)
        condition = parse_filter(request.filter)
        ids = await self._track_ids(catalogue, request.filter, condition, deadline)
        ids = ids[bisect_right(ids, last) :]
        page = ids[:size]
        records = await self._store.records(catalogue, page, deadline)
        return ranking_pb2.ListTracksResponse(
            space=self._manifest.space,
            tracks=[records[track_id].metadata for track_id in page if track_id in records],
            next_page_token=requests.to_page_token(page[-1]) if len(ids) > size else "",
        )

    async def DeleteTracks(
        self, request: ranking_pb2.DeleteTracksRequest, context: Context
    ) -> ranking_pb2.DeleteTracksResponse:
        deadline = self._deadline(context)
        catalogue = catalogue_name(request.catalogue)
        requests.check_track_ids(request.track_ids)
        deleted = await self._write(catalogue, self._store.delete(catalogue, request.track_ids, deadline))
        return ranking_pb2.DeleteTracksResponse(space=self._manifest.space, deleted_track_ids=deleted)

    async def DescribeSpace(
        self, request: ranking_pb2.DescribeSpaceRequest, context: Context
    ) -> ranking_pb2.DescribeSpaceResponse:
        deadline = self._deadline(context)
        ids = await self._track_ids(catalogue_name(request.catalogue), "", None, deadline)
        return ranking_pb2.DescribeSpaceResponse(space=self._manifest.space, track_count=len(ids))

    async def _write(self, catalogue: str, write: Coroutine[Any, Any, T]) -> T:
        """Runs a write to its end though the caller leaves, then makes the cached answers unreachable.

        In this order only: an answer that was found during the write is of the version before.
        """

        async def run() -> T:
            try:
                return await write
            finally:
                await self._answers.invalidate(catalogue)

        task = asyncio.create_task(run())
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    def _deadline(self, context: Context) -> Deadline:
        """The caller's deadline, or that of a search where it comes first: the store must not hold a
        caller.
        """
        own = self._settings.search_seconds
        given = Deadline.of(context, own)
        return Deadline.after(min(own, given.remaining()))

    async def _track_ids(
        self, catalogue: str, text: str, condition: Filter | None, deadline: Deadline
    ) -> list[str]:
        """The ids that pass a filter, in order; one scan serves all pages, until the catalogue changes."""
        question = hashlib.sha256(b"ids " + text.encode()).hexdigest()
        kept = await self._answers.find(catalogue, question)
        if kept.answer is not None and kept.fresh:
            CACHE_LOOKUPS.labels("track_ids", "hit").inc()
            listed: list[str] = json.loads(kept.answer)
            return listed
        CACHE_LOOKUPS.labels("track_ids", "miss").inc()
        ids = list(await self._store.valences(catalogue, condition, deadline))
        if kept.version is not None:
            await self._answers.keep(catalogue, question, kept.version, json.dumps(ids).encode())
        return ids

    async def _record(self, catalogue: str, track_id: str, field: str, deadline: Deadline) -> TrackRecord:
        records = await self._store.records(catalogue, [track_id], deadline)
        if track_id not in records:
            raise NotFound(f"there is no track {track_id!r} in the catalogue {catalogue!r}", field=field)
        return records[track_id]

    async def _search_or_cached(
        self, catalogue: str, request: ranking_pb2.SearchTracksRequest, deadline: Deadline
    ) -> ranking_pb2.SearchTracksResponse:
        """The answer without timings. Only a request that was found right has one in the cache."""
        question = self._question(catalogue, request)
        kept = await self._answers.find(catalogue, question)
        if kept.answer is not None and kept.fresh:
            CACHE_LOOKUPS.labels("search", "hit").inc()
            return ranking_pb2.SearchTracksResponse.FromString(kept.answer)
        CACHE_LOOKUPS.labels("search", "miss").inc()
        query = self._to_query(catalogue, request)
        version = kept.version
        if version is None:
            # Whether an equal request that runs was there before the last write cannot be known.
            return await self._answer(request, query, None, deadline)
        if kept.answer is not None:
            deadline = Deadline.after(STORE_SHARE * deadline.remaining())

        async def search() -> bytes:
            found = await self._answer(request, query, version, deadline)
            answer = found.SerializeToString()
            await self._answers.keep(catalogue, question, version, answer)
            return answer

        try:
            answer = await self._searches.run((catalogue, version, question), search, deadline)
        except (Unavailable, DeadlineExceeded):
            if kept.answer is None or not await self._answers.is_current(catalogue, version):
                raise
            STALE_ANSWERS.inc()
            old = ranking_pb2.SearchTracksResponse.FromString(kept.answer)
            old.stale = True
            return old
        return ranking_pb2.SearchTracksResponse.FromString(answer)

    def _question(self, catalogue: str, request: ranking_pb2.SearchTracksRequest) -> str:
        """Equal for requests that mean the same: defaults are filled in before the request is hashed."""
        canonical = ranking_pb2.SearchTracksRequest()
        canonical.CopyFrom(request)
        canonical.catalogue = catalogue
        canonical.space = self._manifest.space
        if not canonical.HasField("k"):
            canonical.k = requests.DEFAULT_TRACKS
        for name in ("fused", "content", "emotion"):
            if not canonical.weights.HasField(name):
                setattr(canonical.weights, name, getattr(self._manifest.weights, name))
        return hashlib.sha256(b"search " + canonical.SerializeToString(deterministic=True)).hexdigest()

    def _to_query(self, catalogue: str, request: ranking_pb2.SearchTracksRequest) -> Query:
        """The request, checked; its centre is filled in when it comes to a search."""
        return Query(
            catalogue=catalogue,
            clip=requests.to_passage(request.clip, self._blocks, "clip"),
            windows=requests.to_windows(request, self._blocks),
            k=requests.to_track_count(request),
            weights=requests.to_weights(request.weights, self._manifest.weights),
            condition=parse_filter(request.filter),
            max_per_artist=request.max_per_artist,
            centre=0.0,
        )

    async def _answer(
        self,
        request: ranking_pb2.SearchTracksRequest,
        query: Query,
        version: int | None,
        deadline: Deadline,
    ) -> ranking_pb2.SearchTracksResponse:
        query = replace(query, centre=await self._centre(query.catalogue, version, deadline))
        ranked = await self._search.rank(query, deadline)
        records = await self._store.records(query.catalogue, [one.track_id for one in ranked], deadline)
        # A track that was deleted since it was found is left out.
        present = [(one, records[one.track_id]) for one in ranked if one.track_id in records]
        hits = [
            self._to_hit(rank, one, record.metadata, request.clip.emotion, query)
            for rank, (one, record) in enumerate(present, start=1)
        ]
        return ranking_pb2.SearchTracksResponse(space=self._manifest.space, hits=hits)

    async def _centre(self, catalogue: str, version: int | None, deadline: Deadline) -> float:
        """The valence that counts as neutral, found once for each version of a catalogue."""
        held = self._centres.get(catalogue)
        if held is not None and held[0] == version:
            return held[1]
        valences = await self._store.valences(catalogue, None, deadline)
        centre = valence_centre(valences.values(), self._manifest.calibration.music.valence_mean)
        if version is not None:
            if len(self._centres) >= MOST_CATALOGUES:
                self._centres.clear()
            self._centres[catalogue] = (version, centre)
        return centre

    def _to_hit(
        self,
        rank: int,
        ranked: Ranked,
        metadata: common_pb2.TrackMetadata,
        clip_emotion: common_pb2.Emotion,
        query: Query,
    ) -> ranking_pb2.Hit:
        fused, content, emotion = ranked.cosines
        start = ranked.passages[0].start_seconds
        last = query.windows[-1]
        clip_seconds = max(
            query.clip.duration_seconds,
            last.start_seconds + last.duration_seconds - query.windows[0].start_seconds,
        )
        end = min(metadata.duration_seconds, start + clip_seconds)
        passage_emotion = _mean_emotion(ranked.passages, ranked.shares)
        return ranking_pb2.Hit(
            rank=rank,
            track=metadata,
            passage_start_seconds=start,
            passage_duration_seconds=max(0.0, end - start),
            score=ranked.score,
            fused_score=fused,
            content_score=content,
            emotion_score=emotion,
            track_emotion=passage_emotion,
            clip_emotion=clip_emotion,
            reasons=self._reasons(ranked, clip_emotion, passage_emotion, query),
        )

    def _reasons(
        self,
        ranked: Ranked,
        clip_emotion: common_pb2.Emotion,
        passage_emotion: common_pb2.Emotion,
        query: Query,
    ) -> list[str]:
        calibration = self._manifest.calibration
        video, music, band = calibration.video, calibration.music, calibration.neutral_band
        clip_centre = (video.valence_mean, video.arousal_mean)
        track_centre = (query.centre, music.arousal_mean)
        _, content, emotion = ranked.cosines
        return explain(
            Mood.of(clip_emotion.valence, clip_emotion.arousal, clip_centre, band),
            Mood.of(passage_emotion.valence, passage_emotion.arousal, track_centre, band),
            content,
            emotion,
            np.array([query.windows[number].emotion.arousal for number in ranked.windows]),
            np.array([passage.emotion.arousal for passage in ranked.passages]),
        )


def _updated(stored: common_pb2.TrackMetadata, given: common_pb2.TrackMetadata) -> common_pb2.TrackMetadata:
    """What is stored with what may be changed without encoding the track again."""
    updated = common_pb2.TrackMetadata()
    updated.CopyFrom(stored)
    updated.ClearField("tags")
    updated.tags.extend(given.tags)
    for name in ("title", "artist", "licence", "attribution", "source_uri"):
        setattr(updated, name, getattr(given, name))
    return updated


def _to_point(passage: Passage) -> common_pb2.EmotionPoint:
    return common_pb2.EmotionPoint(
        start_seconds=passage.start_seconds,
        duration_seconds=passage.duration_seconds,
        valence=passage.emotion.valence,
        arousal=passage.emotion.arousal,
    )


def _mean_emotion(passages: Sequence[Passage], shares: NDArray[np.float64]) -> common_pb2.Emotion:
    """The mean emotion of passages; their uncertainty is that of the model, the same for all."""
    mean = common_pb2.Emotion(
        valence_deviation=passages[0].emotion.valence_deviation,
        arousal_deviation=passages[0].emotion.arousal_deviation,
    )
    probabilities: dict[str, float] = {}
    for passage, share in zip(passages, shares, strict=True):
        mean.valence += share * passage.emotion.valence
        mean.arousal += share * passage.emotion.arousal
        for one in passage.emotion.shares:
            probabilities[one.label] = probabilities.get(one.label, 0.0) + share * one.probability
    mean.shares.extend(
        common_pb2.EmotionShare(label=label, probability=probability)
        for label, probability in probabilities.items()
    )
    return mean
