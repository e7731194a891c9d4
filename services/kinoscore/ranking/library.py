"""The tracks of one space without their vectors: told, listed, changed and deleted.

This needs no models, so that the tracks of a space can be listed whose models are gone.
"""

import asyncio
import hashlib
import json
from bisect import bisect_right
from collections.abc import Coroutine
from typing import Any, TypeVar

from kinoscore.errors import NotFound
from kinoscore.ranking import requests
from kinoscore.ranking.answers import CatalogueAnswers
from kinoscore.ranking.filters import Filter, parse_filter
from kinoscore.ranking.rows import Passage, Track, TrackRecord
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import CACHE_LOOKUPS
from kinoscore.runtime.requests import catalogue_name
from kinoscore.v1 import common_pb2, ranking_pb2

__all__ = ["TrackLibrary"]

T = TypeVar("T")


class TrackLibrary:
    """Answers out of the store of one space; every write makes the cached answers of before unreachable."""

    def __init__(self, store: MilvusStore, answers: CatalogueAnswers, space: str) -> None:
        self._store = store
        self._answers = answers
        self._space = space
        self._writes: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Waits for the writes that go on, and closes the cached answers."""
        if self._writes:
            await asyncio.wait(self._writes)
        await self._answers.close()

    async def get(
        self, request: ranking_pb2.GetTrackRequest, deadline: Deadline
    ) -> ranking_pb2.GetTrackResponse:
        """What is stored of a track.

        Raises:
            NotFound: there is no such track.
        """
        catalogue = catalogue_name(request.catalogue)
        requests.check_track_id(request.track_id, "track_id")
        record = await self._record(catalogue, request.track_id, "track_id", deadline)
        numbers = range(record.passage_count)
        stored = await self._store.passages(catalogue, {request.track_id: numbers}, deadline)
        passages = stored.get(request.track_id, {})
        curve = [_to_point(passages[number]) for number in sorted(passages)]
        return ranking_pb2.GetTrackResponse(
            space=self._space,
            track=ranking_pb2.StoredTrack(metadata=record.metadata, emotion=record.emotion, passages=curve),
        )

    async def page(
        self, request: ranking_pb2.ListTracksRequest, deadline: Deadline
    ) -> ranking_pb2.ListTracksResponse:
        """One page of the tracks that pass a filter, in order of track id."""
        catalogue = catalogue_name(request.catalogue)
        size = requests.to_page_size(request.page_size)
        last = requests.from_page_token(request.page_token)
        condition = parse_filter(request.filter)
        ids = await self._track_ids(catalogue, request.filter, condition, deadline)
        ids = ids[bisect_right(ids, last) :]
        page = ids[:size]
        records = await self._store.records(catalogue, page, deadline)
        return ranking_pb2.ListTracksResponse(
            space=self._space,
            tracks=[records[track_id].metadata for track_id in page if track_id in records],
            next_page_token=requests.to_page_token(page[-1]) if len(ids) > size else "",
        )

    async def describe(
        self, request: ranking_pb2.DescribeSpaceRequest, deadline: Deadline
    ) -> ranking_pb2.DescribeSpaceResponse:
        """How many tracks a catalogue has."""
        ids = await self._track_ids(catalogue_name(request.catalogue), "", None, deadline)
        return ranking_pb2.DescribeSpaceResponse(space=self._space, track_count=len(ids))

    async def catalogues(self, deadline: Deadline) -> ranking_pb2.ListCataloguesResponse:
        """The catalogues that have tracks."""
        counts = await self._store.catalogues(deadline)
        return ranking_pb2.ListCataloguesResponse(
            space=self._space,
            catalogues=[
                ranking_pb2.CatalogueSize(catalogue=name, track_count=count) for name, count in counts.items()
            ],
        )

    async def upsert(self, catalogue: str, track: Track, deadline: Deadline) -> bool:
        """Stores a track in place of the one with the same id; True when there was none."""
        return await self._write(catalogue, self._store.upsert(catalogue, track, deadline))

    async def update(
        self, request: ranking_pb2.UpdateTrackMetadataRequest, deadline: Deadline
    ) -> ranking_pb2.UpdateTrackMetadataResponse:
        """Changes what is known of a track.

        Raises:
            NotFound: there is no such track.
        """
        catalogue = catalogue_name(request.catalogue)
        requests.check_metadata(request.metadata)
        track_id = request.metadata.track_id
        record = await self._record(catalogue, track_id, "metadata.track_id", deadline)
        metadata = _updated(record.metadata, request.metadata)
        changed = metadata != record.metadata
        if changed:
            await self._write(catalogue, self._store.update_metadata(catalogue, metadata, deadline))
        return ranking_pb2.UpdateTrackMetadataResponse(space=self._space, track=metadata, changed=changed)

    async def delete(
        self, request: ranking_pb2.DeleteTracksRequest, deadline: Deadline
    ) -> ranking_pb2.DeleteTracksResponse:
        """Deletes tracks; those that do not exist are passed over."""
        catalogue = catalogue_name(request.catalogue)
        requests.check_track_ids(request.track_ids)
        deleted = await self._write(catalogue, self._store.delete(catalogue, request.track_ids, deadline))
        return ranking_pb2.DeleteTracksResponse(space=self._space, deleted_track_ids=deleted)

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


def _updated(stored: common_pb2.TrackMetadata, given: common_pb2.TrackMetadata) -> common_pb2.TrackMetadata:
    """What is stored with what may be changed without encoding the track again."""
    updated = common_pb2.TrackMetadata()
    updated.CopyFrom(stored)
    updated.ClearField("tags")
    updated.tags.extend(given.tags)
    for name in ("title", "artist", "licence", "attribution", "source_uri"):
        setattr(updated, name, getattr(given, name))
    # One that is not told does not unsay what was measured.
    updated.tempo = given.tempo or stored.tempo
    return updated


def _to_point(passage: Passage) -> common_pb2.EmotionPoint:
    return common_pb2.EmotionPoint(
        start_seconds=passage.start_seconds,
        duration_seconds=passage.duration_seconds,
        valence=passage.emotion.valence,
        arousal=passage.emotion.arousal,
    )
