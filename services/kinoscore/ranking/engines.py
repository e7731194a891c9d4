"""The two ways to reach Milvus: Milvus Lite in this process over a folder, or a server over the network.

Both hold the same collections (see `spaces`); they differ in the index, in how they are opened, and in what
it takes until all see a write.
"""

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusClient, MilvusException

from kinoscore.errors import (
    DataFolderInUse,
    FailedPrecondition,
    InternalError,
    KinoscoreError,
    StorageFull,
    Unavailable,
)
from kinoscore.ranking.expressions import quote

FREE_BYTES = 64 * 1024 * 1024
"""Below this the disk counts as full: Milvus Lite must still be able to write down what it holds in
memory.
"""
CONNECT_SECONDS = 5.0
"""How long pymilvus may take to connect anew to a server that has gone."""
EF = 256
EF_PER_ROW = 2
MOST_EF = 32768
"""Breadth of the search in HNSW: at least 256, twice the rows that are wanted, at most what Milvus takes."""
PAGE_ROWS = 1000
MOST_FOUND = 16384
"""The most rows that Milvus answers to one query."""

MISSING = frozenset({100, 1600})
"""Milvus's codes for a collection, or an alias, that is not there."""
_REFUSED_AS_WRONG = frozenset({6, 1100})
"""Milvus's codes for an illegal argument: a defect of ours, not a lost engine."""

Row = dict[str, Any]
Limit = Callable[[], float]
"""Tells the seconds that are left, each time it is called; raises DeadlineExceeded when none are."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What is wanted of a partition: the `most` rows nearest to each query, among those that pass.

    Attributes:
        queries: float32 [n, dimension].
        columns: what is told of each row.
    """

    collection: str
    queries: NDArray[np.float32]
    expression: str
    partition: str
    most: int
    columns: list[str]


class Engine(Protocol):
    """A connection to Milvus; used from the threads of the store."""

    embedded: bool
    index: dict[str, Any]
    """The index of the vectors, as `add_index` takes it."""
    client: MilvusClient

    @property
    def location(self) -> str:
        """The folder, or the URL without its password: for messages."""
        ...

    def open(self, seconds: float) -> bool:
        """Opens, or opens anew what a failed write has left in doubt; False when there was nothing to do."""
        ...

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Surrounds a write; what fails inside leaves the engine in doubt."""
        ...

    def settle(self, collection: str, limit: Limit) -> None:
        """Returns when every search, of any client, finds what this process has written so far."""
        ...

    def search(self, wanted: Search, limit: Limit) -> list[list[Row]]:
        """For each query the `most` nearest rows by inner product that pass the expression, or all where
        there are fewer; best first, each with its columns and `distance`.
        """
        ...

    def fetch(
        self, collection: str, keys: Sequence[str], columns: list[str], partition: str, limit: Limit
    ) -> list[Row]:
        """The rows with these primary keys, at most `MOST_FOUND`; those that are not there are left out."""
        ...

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, limit: Limit
    ) -> Iterator[list[Row]]:
        """Every row of a partition for which the expression holds, page by page."""
        ...

    def close(self) -> None: ...


class LiteEngine:
    """Milvus Lite over a folder, which this process then owns.

    pymilvus would start it too, for a path that ends in `.db`, but tells nothing of why it could not. With
    any index but FLAT it loses results under a filter. It is written to as a server is; rows are read from
    it in this process, without a way there and back over gRPC that took as long as the reading.
    """

    embedded = True
    client: MilvusClient

    def __init__(self, folder: Path) -> None:
        self.index = {"index_type": "FLAT", "metric_type": "IP"}
        self._folder = folder
        self._server: Any = None
        self._database: Any = None
        self._in_doubt = False

    @property
    def location(self) -> str:
        return str(self._folder)

    def open(self, seconds: float) -> bool:
        if self._server is not None and not self._in_doubt:
            return False
        # Where a server holds the vectors, Milvus Lite need not be installed, nor loaded: it is large.
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError

        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._server, self._database, port = start_server_in_thread(str(self._folder))
        except DataDirLockedError as error:
            raise DataFolderInUse(
                f"another process uses the vector store {self._folder}; stop it, or choose another folder"
            ) from error
        self.client = MilvusClient(f"http://127.0.0.1:{port}", timeout=seconds, dedicated=True)
        self._in_doubt = False
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        if shutil.disk_usage(self._folder).free < FREE_BYTES:
            raise StorageFull(f"less than {FREE_BYTES >> 20} MiB are free in {self._folder}; make room there")
        try:
            yield
        except BaseException:
            self._in_doubt = True
            raise

    def settle(self, collection: str, limit: Limit) -> None:
        """Nothing is to be waited for: a write is seen when it returns."""

    def search(self, wanted: Search, limit: Limit) -> list[list[Row]]:
        with self._reading(wanted.collection, limit) as collection:
            answers = collection.search(
                list(wanted.queries),
                wanted.most,
                expr=wanted.expression,
                output_fields=wanted.columns,
                partition_names=[wanted.partition],
            )
        return _with_distances(answers)

    def fetch(
        self, collection: str, keys: Sequence[str], columns: list[str], partition: str, limit: Limit
    ) -> list[Row]:
        with self._reading(collection, limit) as held:
            rows: list[Row] = held.get(list(keys), [partition], output_fields=columns)
        return rows

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, limit: Limit
    ) -> Iterator[list[Row]]:
        with self._reading(collection, limit) as held:
            yield held.query(expression, columns, [partition])

    @contextmanager
    def _reading(self, collection: str, limit: Limit) -> Iterator[Any]:
        """The collection as Milvus Lite holds it; what it raises comes out as its server would tell it."""
        from milvus_lite.adapter.grpc.errors import to_status_kwargs
        from milvus_lite.exceptions import MilvusLiteError

        limit()
        try:
            yield self._database.get_collection(collection)
        except MilvusLiteError as error:
            status = to_status_kwargs(error)
            raise MilvusException(status["code"], status["reason"]) from error

    def close(self) -> None:
        if self._server is None:
            return
        server, database, self._server = self._server, self._database, None
        self.client.close()
        server.stop(grace=2).wait()
        database.close()


class ServerEngine:
    """A Milvus server. A write that fails there leaves nothing in doubt: it can be repeated.

    Reads are of the level Bounded, the collections' default: they do not wait, and so miss what was written
    a moment ago (measured: each of 15 reads right after its write). `settle` closes that gap on the side of
    the writer, who waits for one read of the level Strong, some 200 ms (Session would be as slow, and forgets
    deletions). After it the reads of every client find the write, for a collection is held in memory once
    (`load_collection` with its default, one replica).
    """

    embedded = False
    client: MilvusClient

    def __init__(self, url: str) -> None:
        self.index = {
            "index_type": "HNSW",
            "metric_type": "IP",
            "params": {"M": 32, "efConstruction": 256},
        }
        self._url = url
        self._opened = False

    @property
    def location(self) -> str:
        return urlsplit(self._url)._replace(netloc=self._url.split("://")[1].rpartition("@")[2]).geturl()

    def open(self, seconds: float) -> bool:
        if self._opened:
            return False
        self.client = MilvusClient(self._url, timeout=min(seconds, CONNECT_SECONDS), dedicated=True)
        self._opened = True
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def settle(self, collection: str, limit: Limit) -> None:
        self.client.query(
            collection, 'pk == ""', output_fields=["pk"], consistency_level="Strong", timeout=limit()
        )

    def search(self, wanted: Search, limit: Limit) -> list[list[Row]]:
        """HNSW may reach fewer rows than there are when a filter keeps few of them. A list that came out
        short is searched again as broadly as Milvus can; if that is not enough, all rows that pass are
        compared.
        """

        client, most, place = self.client, wanted.most, (wanted.collection, wanted.expression)
        found = _nearest(client, wanted, limit, ef=min(max(EF, EF_PER_ROW * most), MOST_EF))
        if _shortest(found) == most:
            return found
        enough = min(most, count_rows(client, *place, limit, wanted.partition))
        if _shortest(found) < enough:
            found = _nearest(client, wanted, limit, ef=MOST_EF)
        if _shortest(found) < enough:
            pages = self.query_all(*place, [*wanted.columns, "vector"], wanted.partition, limit)
            found = compare_all(wanted.queries, pages, most)
        return found

    def fetch(
        self, collection: str, keys: Sequence[str], columns: list[str], partition: str, limit: Limit
    ) -> list[Row]:
        rows: list[Row] = self.client.query(
            collection,
            filter=f"pk in [{', '.join(quote(key) for key in keys)}]",
            output_fields=columns,
            partition_names=[partition],
            timeout=limit(),
        )
        return rows

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, limit: Limit
    ) -> Iterator[list[Row]]:
        pages = self.client.query_iterator(
            collection,
            batch_size=PAGE_ROWS,
            filter=expression,
            output_fields=columns,
            partition_names=[partition],
            timeout=limit(),
        )
        try:
            while page := pages.next():
                limit()
                yield page
        finally:
            pages.close()

    def close(self) -> None:
        if self._opened:
            self.client.close()
            self._opened = False


def open_engine(location: str) -> Engine:
    """The engine for a folder, or for the URL of a server; it is not open yet."""
    return ServerEngine(location) if "://" in location else LiteEngine(Path(location))


def count_rows(
    client: MilvusClient, collection: str, expression: str, limit: Limit, partition: str | None = None
) -> int:
    """The rows for which the expression holds; Milvus Lite counts those of all partitions in any case."""
    [counted] = client.query(
        collection,
        expression,
        output_fields=["count(*)"],
        partition_names=[partition] if partition else None,
        timeout=limit(),
    )
    return int(counted["count(*)"])


def compare_all(queries: NDArray[np.float32], pages: Iterator[list[Row]], most: int) -> list[list[Row]]:
    """The `most` rows nearest to each query, found by comparing it with every row; no more than a page and
    the best so far are held.

    Args:
        queries: float32 [n, dimension].
        pages: rows with their `vector`, float32 [dimension].
    """
    best: list[list[Row]] = [[] for _ in queries]
    for page in pages:
        distances = queries @ np.array([row.pop("vector") for row in page], dtype=np.float32).T
        for number, own in enumerate(distances):
            rows = [{**row, "distance": float(distance)} for row, distance in zip(page, own, strict=True)]
            ranked = sorted([*best[number], *rows], key=lambda row: -row["distance"])
            best[number] = ranked[:most]
    return best


@contextmanager
def translated() -> Iterator[None]:
    """What pymilvus, gRPC or the file system raises inside comes out as one of our errors."""
    try:
        yield
    except (MilvusException, grpc.RpcError, OSError) as error:
        raise to_our_error(error) from error


def to_our_error(error: Exception) -> KinoscoreError:
    """What pymilvus, gRPC or the file system raised, as one of our errors."""
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text or "quota exceeded" in text:
        return StorageFull("the disk of the vector store is full; make room there")
    if isinstance(error, MilvusException) and error.code in MISSING:
        return FailedPrecondition(
            "the vector store has lost the collection of this space, or never had it; restore it, or make an "
            "empty one with `kinoscore ranking migrate`"
        )
    if isinstance(error, MilvusException) and error.code in _REFUSED_AS_WRONG:
        return InternalError(f"the vector store refused a call as wrong: {error.message}")
    cause = error.code().name if isinstance(error, grpc.RpcError) and hasattr(error, "code") else text
    return Unavailable(f"the vector store does not answer ({' '.join(cause.split())[:200]}); try again")


def _shortest(found: Sequence[Sequence[Row]]) -> int:
    return min(len(rows) for rows in found)


def _nearest(client: MilvusClient, wanted: Search, limit: Limit, **parameters: int) -> list[list[Row]]:
    """One search of a server; the parameters are those of the index."""
    answers = client.search(
        wanted.collection,
        data=list(wanted.queries),
        limit=wanted.most,
        filter=wanted.expression,
        search_params={"params": parameters},
        output_fields=wanted.columns,
        partition_names=[wanted.partition],
        timeout=limit(),
    )
    return _with_distances(answers)


def _with_distances(answers: Any) -> list[list[Row]]:
    return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in answers]
