"""RankingService in one embedding space: checks requests, keeps answers in the cache, and leaves the rest to
the library and the search.

An answer that the cache holds is given at once. Equal requests that come together are searched for once. When
the store is silent, the last answer to the very same request stands in for it, marked as stale, as long as
nothing was written to the catalogue since.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from kinoscore.cache import Cache
from kinoscore.errors import DeadlineExceeded, Unavailable
from kinoscore.inference.repository import Manifest
from kinoscore.ranking import requests
from kinoscore.ranking.answers import MOST_CATALOGUES, CatalogueAnswers
from kinoscore.ranking.filters import parse_filter
from kinoscore.ranking.library import TrackLibrary
from kinoscore.ranking.neighbours import Place
from kinoscore.ranking.reasons import Feeling, explain
from kinoscore.ranking.rows import Passage
from kinoscore.ranking.scoring import Blocks, valence_centre
from kinoscore.ranking.search import Query, Ranked, TrackSearch
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import CACHE_LOOKUPS, STALE_ANSWERS
from kinoscore.runtime.requests import catalogue_name, require_space
from kinoscore.runtime.single_flight import SingleFlight
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc

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
    """Answers in one embedding space, out of one store, whichever space is the active one.

    Attributes:
        library: the tracks without their vectors.
    """

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
        self.library = TrackLibrary(store, self._answers, manifest.space)
        self._searches = SingleFlight[bytes]("search")
        self._centres: dict[str, tuple[int, float]] = {}

    async def close(self) -> None:
        """Waits for the writes that go on; the store and the cache are closed by who opened them."""
        await self.library.close()

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
        created = await self.library.upsert(catalogue, track, deadline)
        return ranking_pb2.UpsertTrackResponse(
            space=self._manifest.space, track=track.metadata, created=created, timings=timer.timings()
        )

    async def UpdateTrackMetadata(
        self, request: ranking_pb2.UpdateTrackMetadataRequest, context: Context
    ) -> ranking_pb2.UpdateTrackMetadataResponse:
        return await self.library.update(request, self._deadline(context))

    async def GetTrack(
        self, request: ranking_pb2.GetTrackRequest, context: Context
    ) -> ranking_pb2.GetTrackResponse:
        return await self.library.get(request, self._deadline(context))

    async def ListTracks(
        self, request: ranking_pb2.ListTracksRequest, context: Context
    ) -> ranking_pb2.ListTracksResponse:
        return await self.library.page(request, self._deadline(context))

    async def DeleteTracks(
        self, request: ranking_pb2.DeleteTracksRequest, context: Context
    ) -> ranking_pb2.DeleteTracksResponse:
        return await self.library.delete(request, self._deadline(context))

    async def DescribeSpace(
        self, request: ranking_pb2.DescribeSpaceRequest, context: Context
    ) -> ranking_pb2.DescribeSpaceResponse:
        return await self.library.describe(request, self._deadline(context))

    def _deadline(self, context: Context) -> Deadline:
        return Deadline.within(context, self._settings.search_seconds)

    async def _search_or_cached(
        self, catalogue: str, request: ranking_pb2.SearchTracksRequest, deadline: Deadline
    ) -> ranking_pb2.SearchTracksResponse:
        """The answer without timings. Only a request that was found right has one in the cache."""
        if request.is_passing:
            version = await self._answers.version(catalogue)
            return await self._answer(request, self._to_query(catalogue, request), version, deadline)
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
        requests.require_compared(request)
        clip = requests.to_passage(request.clip, self._blocks, "clip")
        return Query(
            catalogue=catalogue,
            clip=clip,
            windows=requests.to_windows(request, self._blocks) or (clip,),
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
        if request.is_passing and version is not None:
            place = Place(query.catalogue, version, query.condition, query.weights)
            query = replace(query, place=place)
        ranked = await self._search.rank(query, deadline)
        found = {one.metadata.track_id for one in ranked}
        wanted = set(request.compared_track_ids)
        missing = wanted - found
        compared, barred = await self._search.score(query, missing, deadline) if missing else ([], [])
        clip = request.clip.emotion
        video = self._manifest.calibration.video
        feeling = self._feeling(clip, (video.valence_mean, video.arousal_mean))
        hits = [
            self._to_hit(rank, one, query)
            if request.is_brief and one.metadata.track_id not in wanted
            else self._to_telling_hit(rank, one, clip, feeling, query)
            for rank, one in enumerate([*ranked, *compared], start=1)
        ]
        return ranking_pb2.SearchTracksResponse(
            space=self._manifest.space,
            hits=hits[: len(ranked)],
            compared=hits[len(ranked) :],
            barred_track_ids=barred,
            typical_score=await self._search.typical_score(query, deadline),
        )

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

    def _to_hit(self, rank: int, ranked: Ranked, query: Query) -> ranking_pb2.Hit:
        """A hit without emotions and reasons."""
        fused, content, emotion = ranked.cosines
        start = ranked.passages[0].start_seconds
        last = query.windows[-1]
        clip_seconds = max(
            query.clip.duration_seconds,
            last.start_seconds + last.duration_seconds - query.windows[0].start_seconds,
        )
        end = min(ranked.metadata.duration_seconds, start + clip_seconds)
        return ranking_pb2.Hit(
            rank=rank,
            track=ranked.metadata,
            passage_start_seconds=start,
            passage_duration_seconds=max(0.0, end - start),
            score=ranked.score,
            fused_score=fused,
            content_score=content,
            emotion_score=emotion,
        )

    def _to_telling_hit(
        self,
        rank: int,
        ranked: Ranked,
        clip_emotion: common_pb2.Emotion,
        clip_feeling: Feeling,
        query: Query,
    ) -> ranking_pb2.Hit:
        hit = self._to_hit(rank, ranked, query)
        passage_emotion = _mean_emotion(ranked.passages, ranked.shares)
        hit.track_emotion.CopyFrom(passage_emotion)
        hit.clip_emotion.CopyFrom(clip_emotion)
        _, content, emotion = ranked.cosines
        hit.reasons.extend(
            explain(
                clip_feeling,
                self._feeling(passage_emotion, (query.centre, self._manifest.calibration.music.arousal_mean)),
                content,
                emotion,
                [query.windows[number].emotion.arousal for number in ranked.windows],
                [passage.emotion.arousal for passage in ranked.passages],
            )
        )
        return hit

    def _feeling(self, emotion: common_pb2.Emotion, centre: tuple[float, float]) -> Feeling:
        return Feeling.of(emotion, centre, self._manifest.calibration.neutral_band)


def _mean_emotion(passages: Sequence[Passage], shares: NDArray[np.float64]) -> common_pb2.Emotion:
    """The mean emotion of passages; their uncertainty is that of the model, the same for all."""
    if len(passages) == 1:
        return passages[0].emotion
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
