"""The index in Milvus, behind asyncio, deadlines and the errors of kinoscore.

A folder opens Milvus Lite in this process, a URL a Milvus server; schema and operators are those that both
have. A store works on the collection of one space, by its name: an answer can never mix two, wherever the
alias moves meanwhile.

What was acknowledged as written is found by each search that begins after it, whoever searches. Writes to one
track follow each other; those to others overlap while a server settles.

Milvus Lite searches unflushed rows slowly (5,000 rows: 316 ms), so they are flushed before a search.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import KinoscoreError, NotFound
from kinoscore.ranking import rows, spaces
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.engines import MOST_FOUND, Limit, Search, open_engine
from kinoscore.ranking.expressions import quote, to_milvus
from kinoscore.ranking.filters import Filter
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage, Row, Track, TrackRecord
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

ROWS_TO_FLUSH_WHILE_WRITING = 4096
ROWS_TO_FLUSH_BEFORE_SEARCH = 256
OPEN_SECONDS = 30.0

T = TypeVar("T")

logger = logging.getLogger(__name__)

# They log, with a traceback, what is raised here as one of our errors; and Milvus Lite's server (it logs as
# grpc._server; our own servers are of grpc.aio) that it has no clock to ask.
for _name in ("pymilvus", "milvus_lite", "grpc._server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Found:
    """A row that a search found; `similarity` is the inner product with the query."""

    track_id: str
    passage: int
    passage_count: int
    similarity: float
    valence: float
    artist: str


class MilvusStore:
    """Stores and searches the tracks of one space. Open it with `open` or `within`, close it with `close`.

    Every method takes the deadline of its caller and raises Unavailable when Milvus does not answer
    within it; writes raise StorageFull when the disk is full.

    Args:
        dimension: of the vectors; None for a store that is only read, which is not made where it is missing.
        owner: closes the connection with the store.
    """

    def __init__(
        self, connection: Connection, space: str, dimension: int | None, *, owner: bool = False
    ) -> None:
        self._connection = connection
        self._engine = connection.engine
        self._space = space
        self._dimension = dimension
        self._owner = owner
        self._collection = spaces.collection_name(space)
        self._unflushed = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(cls, location: str, space: str, dimension: int) -> Self:
        """Opens Milvus for one space only; see `within`.

        Args:
            location: a folder for Milvus Lite, or the http URL of a Milvus server.

        Raises:
            DataFolderInUse: another process has opened the folder.
        """
        store = cls(Connection(open_engine(location)), space, dimension, owner=True)
        await store._begin()
        return store

    @classmethod
    async def within(cls, connection: Connection, space: str, dimension: int | None) -> Self:
        """Opens the collection of `space`; in a folder, makes it where there is none.

        Raises:
            DataFolderInUse: another process has opened the folder.
            SpaceMismatch: the collection exists with another dimension or other columns.
            FailedPrecondition: a server, or a store that is only read, has no collection of that space.
            Unavailable: the server does not answer.
        """
        store = cls(connection, space, dimension)
        await store._begin()
        return store

    async def close(self) -> None:
        """Finishes what is being written."""
        self._connection.remove(self._prepare)
        try:
            if self._unflushed and self._engine.embedded:
                await self._connection.run(self._flush, Deadline.after(OPEN_SECONDS))
        except KinoscoreError as error:
            # Nothing is lost: the rows are in Milvus Lite's log and are read again when it opens.
            logger.warning("the vector store was not flushed: %s", error)
        finally:
            if self._owner:
                await self._connection.close()

    async def check(self, deadline: Deadline) -> None:
        """Returns when Milvus answers and has the collection; in a folder, which nobody else can change, at
        once.

        Raises:
            FailedPrecondition: the collection is not there, or no space is active.
        """
        if not self._engine.embedded:
            await self._read(
                lambda limit: spaces.require_presence(self._engine, self._space, limit), deadline
            )

    async def upsert(self, catalogue: str, track: Track, deadline: Deadline) -> bool:
        """Stores a track in place of the one with the same id; True when there was none.

        The new rows are written before what is left of the old track is deleted: whenever the process
        dies, the track is there.
        """
        keys = [rows.track_key(catalogue, track.metadata.track_id)]
        return await self._write(keys, lambda limit: self._upsert(catalogue, track, limit), deadline)

    async def update_metadata(
        self, catalogue: str, metadata: common_pb2.TrackMetadata, deadline: Deadline
    ) -> None:
        """Replaces the metadata of a stored track in all its rows; the vectors stay.

        Raises:
            NotFound: there is no such track.
        """
        keys = [rows.track_key(catalogue, metadata.track_id)]
        await self._write(keys, lambda limit: self._update_metadata(catalogue, metadata, limit), deadline)

    async def delete(self, catalogue: str, track_ids: Iterable[str], deadline: Deadline) -> list[str]:
        """Deletes tracks; returns the ids of those that existed."""
        wanted = list(dict.fromkeys(track_ids))
        keys = [rows.track_key(catalogue, track_id) for track_id in wanted]
        return await self._write(keys, lambda limit: self._delete(catalogue, wanted, limit), deadline)

    async def records(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, TrackRecord]:
        """The stored tracks among `track_ids`, by id."""
        wanted = list(track_ids)
        return await self._read(lambda limit: self._records(catalogue, wanted, limit), deadline)

    async def metadata(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, common_pb2.TrackMetadata]:
        """What is known of the stored tracks among `track_ids`, by id."""
        keys = [rows.track_key(catalogue, track_id) for track_id in track_ids]
        columns = ["track_id", "metadata"]
        found = await self._read(lambda limit: self._fetch(keys, columns, TRACKS, limit), deadline)
        return {row["track_id"]: rows.to_metadata(row) for row in found}

    async def passages(
        self, catalogue: str, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> dict[str, dict[int, Passage]]:
        """Passages by track id and number; those that do not exist are left out."""
        keys = [
            rows.passage_key(catalogue, track_id, number)
            for track_id, numbers in wanted.items()
            for number in numbers
        ]
        columns = ["track_id", "passage", "start_seconds", "duration_seconds", "emotion", "vector"]
        found: dict[str, dict[int, Passage]] = {}
        for row in await self._read(lambda limit: self._fetch(keys, columns, PASSAGES, limit), deadline):
            found.setdefault(row["track_id"], {})[row["passage"]] = rows.to_passage(row)
        return found

    async def valences(
        self, catalogue: str, condition: Filter | None, deadline: Deadline
    ) -> dict[str, float]:
        """The valence of each track that passes the filter, by id, in order of id."""
        return await self._read(lambda limit: self._valences(catalogue, condition, limit), deadline)

    async def search(
        self,
        catalogue: str,
        queries: NDArray[np.float32],
        condition: Filter | None,
        *,
        partition: str,
        limit: int,
        deadline: Deadline,
    ) -> list[list[Found]]:
        """The rows of a partition nearest to each query by inner product, best first.

        Args:
            queries: float32 [n, dimension].
            partition: `rows.TRACKS` or `rows.PASSAGES`.
            limit: rows a query, at most `MOST_FOUND`.
        """
        expression = _in_catalogue(catalogue, condition)
        return await self._read(
            lambda seconds: self._search(queries, expression, partition, limit, seconds), deadline
        )

    async def catalogues(self, deadline: Deadline) -> dict[str, int]:
        """The catalogues that have tracks, in order of their names, with how many."""
        return await self._read(self._catalogues, deadline)

    async def _begin(self) -> None:
        try:
            await self._connection.run(self._prepare, Deadline.after(OPEN_SECONDS))
        except BaseException:
            await self.close()
            raise
        self._connection.add(self._prepare)

    async def _read(self, operation: Callable[[Limit], T], deadline: Deadline) -> T:
        return await self._connection.read(operation, deadline)

    async def _write(self, tracks: Iterable[str], operation: Callable[[Limit], T], deadline: Deadline) -> T:
        """Writes, and returns when every search finds what was written.

        Args:
            tracks: the keys of the tracks concerned; no other write touches them meanwhile.
        """

        def write(limit: Limit) -> T:
            written = operation(limit)
            self._engine.settle(self._collection, limit)
            return written

        async with AsyncExitStack() as held:
            # In order: two writes that wait for each other's tracks would wait for ever.
            for key in sorted(tracks):
                await held.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            return await self._connection.run(write, deadline)

    # What follows runs in a thread.

    def _prepare(self, limit: Limit) -> None:
        self._unflushed = 0
        if self._engine.embedded and self._dimension is not None:
            spaces.with_collection(self._engine, self._space, self._dimension, limit)
        else:
            spaces.require_collection(self._engine, self._space, self._dimension, limit)

    def _flush(self, limit: Limit) -> None:
        with self._engine.writing():
            self._engine.client.flush(self._collection, timeout=limit())
        self._unflushed = 0

    def _upsert(self, catalogue: str, track: Track, limit: Limit) -> bool:
        track_id = track.metadata.track_id
        before = self._records(catalogue, [track_id], limit).get(track_id)
        self._put(list(rows.passage_rows(catalogue, track)), PASSAGES, limit)
        self._put([rows.track_row(catalogue, track)], TRACKS, limit)
        if before is None:
            return True
        stale = range(len(track.passages), before.passage_count)
        self._remove([rows.passage_key(catalogue, track_id, number) for number in stale], PASSAGES, limit)
        return False

    def _update_metadata(self, catalogue: str, metadata: common_pb2.TrackMetadata, limit: Limit) -> None:
        track_id = metadata.track_id
        record = self._records(catalogue, [track_id], limit).get(track_id)
        if record is None:
            raise NotFound(f"there is no track {track_id!r} in the catalogue {catalogue!r}", field="track_id")
        keys = [rows.passage_key(catalogue, track_id, number) for number in range(record.passage_count)]
        # The track's own row, which is what is read back, comes last: until then the update did not happen.
        for partition, wanted in ((PASSAGES, keys), (TRACKS, [rows.track_key(catalogue, track_id)])):
            stored = self._fetch(wanted, ["*"], partition, limit)
            self._put([rows.with_metadata(row, metadata) for row in stored], partition, limit)

    def _delete(self, catalogue: str, track_ids: Sequence[str], limit: Limit) -> list[str]:
        existing = self._records(catalogue, track_ids, limit)
        passages = [
            rows.passage_key(catalogue, track_id, number)
            for track_id, record in existing.items()
            for number in range(record.passage_count)
        ]
        # The track's own row goes last: a delete that was interrupted can be repeated.
        self._remove(passages, PASSAGES, limit)
        self._remove([rows.track_key(catalogue, track_id) for track_id in existing], TRACKS, limit)
        return [track_id for track_id in track_ids if track_id in existing]

    def _records(self, catalogue: str, track_ids: Sequence[str], limit: Limit) -> dict[str, TrackRecord]:
        keys = [rows.track_key(catalogue, track_id) for track_id in track_ids]
        columns = ["track_id", "metadata", "emotion", "passage_count"]
        return {row["track_id"]: rows.to_record(row) for row in self._fetch(keys, columns, TRACKS, limit)}

    def _valences(self, catalogue: str, condition: Filter | None, limit: Limit) -> dict[str, float]:
        columns = ["track_id", "track_valence"]
        wanted = _in_catalogue(catalogue, condition)
        pages = self._engine.query_all(self._collection, wanted, columns, TRACKS, limit)
        return dict(sorted((row["track_id"], row["track_valence"]) for page in pages for row in page))

    def _catalogues(self, limit: Limit) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for page in self._engine.query_all(self._collection, "passage == -1", ["catalogue"], TRACKS, limit):
            counts.update(row["catalogue"] for row in page)
        return dict(sorted(counts.items()))

    def _search(
        self, queries: NDArray[np.float32], expression: str, partition: str, most: int, limit: Limit
    ) -> list[list[Found]]:
        if self._unflushed >= ROWS_TO_FLUSH_BEFORE_SEARCH and self._engine.embedded:
            self._flush(limit)
        columns = ["track_id", "passage", "passage_count", "valence", "artist"]
        wanted = Search(self._collection, queries, expression, partition, most, columns)
        answers = self._engine.search(wanted, limit)
        return [[_to_found(row) for row in found] for found in answers]

    def _fetch(self, keys: Sequence[str], columns: list[str], partition: str, limit: Limit) -> list[Row]:
        fetched: list[Row] = []
        for start in range(0, len(keys), MOST_FOUND):
            some = keys[start : start + MOST_FOUND]
            fetched += self._engine.fetch(self._collection, some, columns, partition, limit)
        return fetched

    def _put(self, new: list[Row], partition: str, limit: Limit) -> None:
        with self._engine.writing():
            self._engine.client.upsert(self._collection, new, partition_name=partition, timeout=limit())
        self._unflushed += len(new)
        if self._unflushed >= ROWS_TO_FLUSH_WHILE_WRITING and self._engine.embedded:
            self._flush(limit)

    def _remove(self, keys: list[str], partition: str, limit: Limit) -> None:
        if keys:
            listed = ", ".join(quote(key) for key in keys)
            with self._engine.writing():
                self._engine.client.delete(
                    self._collection, filter=f"pk in [{listed}]", partition_name=partition, timeout=limit()
                )


def _to_found(row: Row) -> Found:
    return Found(
        track_id=row["track_id"],
        passage=row["passage"],
        passage_count=row["passage_count"],
        similarity=row["distance"],
        valence=row["valence"],
        artist=row["artist"],
    )


def _in_catalogue(catalogue: str, condition: Filter | None) -> str:
    inside = f"catalogue == {quote(catalogue)}"
    return inside if condition is None else f"{inside} and {to_milvus(condition)}"
