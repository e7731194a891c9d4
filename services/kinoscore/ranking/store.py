"""The index in Milvus, behind asyncio, deadlines and the errors of kinoscore.

A collection a space, named `kinoscore_<space>`. A folder opens Milvus Lite in this process, a URL a Milvus
server; schema and operators are those that both have.

Three facts about Milvus Lite shape this module. It answers without the rows that it is flushing, so all
its calls go through one thread, in turn. It searches unflushed rows slowly (5,000 rows: 316 ms), so they
are flushed before a search. And a failed flush leaves it without rows that are safe on the disk, so it is
opened anew after any failed write.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient, MilvusException

from kinoscore.errors import NotFound, SpaceMismatch, Unavailable
from kinoscore.ranking import rows
from kinoscore.ranking.engines import Engine, open_engine, to_our_error
from kinoscore.ranking.expressions import quote, to_milvus
from kinoscore.ranking.filters import Filter
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage, Row, Track, TrackRecord
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

MOST_FOUND = 16384
"""The most rows that Milvus answers to one query."""
ROWS_TO_FLUSH_WHILE_WRITING = 4096
ROWS_TO_FLUSH_BEFORE_SEARCH = 256
SERVER_READERS = 8
"""Calls to a Milvus server at once, besides the one that writes."""
OPEN_SECONDS = 30.0

T = TypeVar("T")
Limit = Callable[[], float]
"""Tells the seconds that are left, each time it is called; raises DeadlineExceeded when none are."""

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
    """Stores and searches tracks. Open it with `open`, close it with `close`.

    Every method takes the deadline of its caller and raises Unavailable when Milvus does not answer
    within it; writes raise StorageFull when the disk is full.
    """

    def __init__(self, engine: Engine, collection: str) -> None:
        self._engine = engine
        self._collection = collection
        self._unflushed = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="milvus-writer")
        self._readers = (
            self._writer
            if engine.embedded
            else ThreadPoolExecutor(SERVER_READERS, thread_name_prefix="milvus-reader")
        )

    @classmethod
    async def open(cls, location: str, space: str, dimension: int) -> Self:
        """Opens the collection of `space` and makes it where there is none.

        Args:
            location: a folder for Milvus Lite, or the http URL of a Milvus server.
            space: the embedding space id.
            dimension: of the vectors.

        Raises:
            DataFolderInUse: another process has opened the folder.
            SpaceMismatch: the collection exists with another dimension or other columns.
            Unavailable: the server does not answer.
        """
        store = cls(open_engine(location), f"kinoscore_{space}")
        try:
            await store._write(lambda limit: store._prepare(dimension, limit), Deadline.after(OPEN_SECONDS))
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Finishes what is being written and releases the folder or the connection."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._close)
        self._writer.shutdown()
        self._readers.shutdown()

    async def check(self, deadline: Deadline) -> None:
        """Returns when Milvus answers."""
        await self._read(
            lambda limit: self._engine.client.has_collection(self._collection, timeout=limit()), deadline
        )

    async def upsert(self, catalogue: str, track: Track, deadline: Deadline) -> bool:
        """Stores a track in place of the one with the same id; True when there was none.

        The new rows are written before what is left of the old track is deleted: whenever the process
        dies, the track is there.
        """
        return await self._write(lambda limit: self._upsert(catalogue, track, limit), deadline)

    async def update_metadata(
        self, catalogue: str, metadata: common_pb2.TrackMetadata, deadline: Deadline
    ) -> None:
        """Replaces the metadata of a stored track in all its rows; the vectors stay.

        Raises:
            NotFound: there is no such track.
        """
        await self._write(lambda limit: self._update_metadata(catalogue, metadata, limit), deadline)

    async def delete(self, catalogue: str, track_ids: Iterable[str], deadline: Deadline) -> list[str]:
        """Deletes tracks; returns the ids of those that existed."""
        wanted = list(dict.fromkeys(track_ids))
        return await self._write(lambda limit: self._delete(catalogue, wanted, limit), deadline)

    async def records(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, TrackRecord]:
        """The stored tracks among `track_ids`, by id."""
        wanted = list(track_ids)
        return await self._read(lambda limit: self._records(catalogue, wanted, limit), deadline)

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

    async def _read(self, operation: Callable[[Limit], T], deadline: Deadline) -> T:
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._run(self._readers, operation, deadline)
        except TimeoutError:
            raise Unavailable("the vector store did not answer in time; try again") from None

    async def _write(self, operation: Callable[[Limit], T], deadline: Deadline) -> T:
        return await self._run(self._writer, operation, deadline)

    async def _run(
        self, threads: ThreadPoolExecutor, operation: Callable[[Limit], T], deadline: Deadline
    ) -> T:
        """Runs `operation` in a thread; a caller that leaves takes back what has not begun.

        Each call of Milvus ends by the deadline, so a write needs no other limit: it is over when it returns.
        """

        def attempt() -> T:
            try:
                if self._engine.open(deadline.require()):
                    self._unflushed = 0
                    self._load(deadline.require)
                return operation(deadline.require)
            except (MilvusException, grpc.RpcError, OSError) as error:
                raise to_our_error(error) from error

        return await asyncio.get_running_loop().run_in_executor(threads, attempt)

    # What follows runs in a thread.

    def _load(self, limit: Limit) -> None:
        if self._engine.client.has_collection(self._collection, timeout=limit()):
            self._engine.client.load_collection(self._collection, timeout=limit())

    def _close(self) -> None:
        try:
            if self._unflushed and self._engine.embedded:
                self._flush(lambda: OPEN_SECONDS)
        except (MilvusException, grpc.RpcError, OSError) as error:
            # Nothing is lost: the rows are in Milvus Lite's log and are read again when it opens.
            logger.warning("the vector store was not flushed: %s", error)
        finally:
            self._engine.close()

    def _flush(self, limit: Limit) -> None:
        with self._engine.writing():
            self._engine.client.flush(self._collection, timeout=limit())
        self._unflushed = 0

    def _prepare(self, dimension: int, limit: Limit) -> None:
        client = self._engine.client
        if not client.has_collection(self._collection, timeout=limit()):
            self._create(dimension, limit)
        self._check_schema(dimension, limit)

    def _create(self, dimension: int, limit: Limit) -> None:
        client = self._engine.client
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=rows.KEY_BYTES)
        for name, size in rows.TEXT_COLUMNS.items():
            schema.add_field(name, DataType.VARCHAR, max_length=size)
        for name in rows.WHOLE_NUMBER_COLUMNS:
            schema.add_field(name, DataType.INT64)
        for name in rows.NUMBER_COLUMNS:
            schema.add_field(name, DataType.DOUBLE)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_collection(self._collection, schema=schema, index_params=index, timeout=limit())
        for partition in (TRACKS, PASSAGES):
            client.create_partition(self._collection, partition, timeout=limit())

    def _check_schema(self, dimension: int, limit: Limit) -> None:
        description = self._engine.client.describe_collection(self._collection, timeout=limit())
        fields = {field["name"]: field for field in description["fields"]}
        expected = {"pk", *rows.TEXT_COLUMNS, *rows.WHOLE_NUMBER_COLUMNS, *rows.NUMBER_COLUMNS, "vector"}
        if fields.keys() != expected:
            raise SpaceMismatch(
                f"the collection {self._collection} has other columns: another version of kinoscore made it; "
                "index into another vector store"
            )
        stored = int(fields["vector"]["params"]["dim"])
        if stored != dimension:
            raise SpaceMismatch(
                f"the collection {self._collection} holds vectors of dimension {stored}, not {dimension}; "
                "index into another vector store"
            )

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
        found = self._engine.query_all(
            self._collection,
            _in_catalogue(catalogue, condition),
            ["track_id", "track_valence"],
            TRACKS,
            limit(),
        )
        return dict(sorted((row["track_id"], row["track_valence"]) for row in found))

    def _search(
        self, queries: NDArray[np.float32], expression: str, partition: str, most: int, limit: Limit
    ) -> list[list[Found]]:
        if self._unflushed >= ROWS_TO_FLUSH_BEFORE_SEARCH and self._engine.embedded:
            self._flush(limit)
        answers = self._engine.client.search(
            self._collection,
            data=list(queries),
            limit=most,
            filter=expression,
            output_fields=["track_id", "passage", "passage_count", "valence", "artist"],
            partition_names=[partition],
            timeout=limit(),
        )
        return [[Found(similarity=hit["distance"], **hit["entity"]) for hit in hits] for hits in answers]

    def _fetch(self, keys: Sequence[str], columns: list[str], partition: str, limit: Limit) -> list[Row]:
        fetched: list[Row] = []
        for start in range(0, len(keys), MOST_FOUND):
            listed = ", ".join(quote(key) for key in keys[start : start + MOST_FOUND])
            fetched += self._engine.client.query(
                self._collection,
                filter=f"pk in [{listed}]",
                output_fields=columns,
                partition_names=[partition],
                timeout=limit(),
            )
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


def _in_catalogue(catalogue: str, condition: Filter | None) -> str:
    inside = f"catalogue == {quote(catalogue)}"
    return inside if condition is None else f"{inside} and {to_milvus(condition)}"
