"""The two ways to reach Milvus: Milvus Lite in this process over a folder, or a server over the network."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.exceptions import DataDirLockedError
from pymilvus import MilvusClient, MilvusException

from kinoscore.errors import DataFolderInUse, InternalError, KinoscoreError, StorageFull, Unavailable

FREE_BYTES = 64 * 1024 * 1024
"""Below this the disk counts as full: Milvus Lite must still be able to write down what it holds in
memory.
"""

_REFUSED_AS_WRONG = frozenset({6, 1100})
"""Milvus's codes for an illegal argument: a defect of ours, not a lost engine."""


class Engine(Protocol):
    """A connection to Milvus; used from the threads of the store."""

    embedded: bool
    client: MilvusClient

    def open(self, seconds: float) -> bool:
        """Opens, or opens anew what a failed write has left in doubt; False when there was nothing to do."""
        ...

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Surrounds a write; what fails inside leaves the engine in doubt."""
        ...

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, seconds: float
    ) -> list[dict[str, Any]]:
        """Every row of a partition for which the expression holds."""
        ...

    def close(self) -> None: ...


class LiteEngine:
    """Milvus Lite over a folder, which this process then owns.

    pymilvus would start it too, for a path that ends in `.db`, but tells nothing of why it could not.
    """

    embedded = True
    client: MilvusClient

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self._database: Any = None
        self._in_doubt = False

    def open(self, seconds: float) -> bool:
        if self._server is not None and not self._in_doubt:
            return False
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._server, self._database, port = start_server_in_thread(str(self._folder))
        except DataDirLockedError as error:
            raise DataFolderInUse(
                f"another process uses the vector store {self._folder}; stop it, or choose another folder"
            ) from error
        self.client = MilvusClient(f"http://127.0.0.1:{port}", timeout=seconds)
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

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, seconds: float
    ) -> list[dict[str, Any]]:
        # Milvus Lite has no limit, and runs each query of an iterator twice.
        found: list[dict[str, Any]] = self.client.query(
            collection, expression, output_fields=columns, partition_names=[partition], timeout=seconds
        )
        return found

    def close(self) -> None:
        if self._server is None:
            return
        server, database, self._server = self._server, self._database, None
        self.client.close()
        server.stop(grace=2).wait()
        database.close()


class ServerEngine:
    """A Milvus server. A write that fails there leaves nothing in doubt: it can be repeated."""

    embedded = False
    client: MilvusClient

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened = False

    def open(self, seconds: float) -> bool:
        if self._opened:
            return False
        self.client = MilvusClient(self._url, timeout=seconds)
        self._opened = True
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def query_all(
        self, collection: str, expression: str, columns: list[str], partition: str, seconds: float
    ) -> list[dict[str, Any]]:
        pages = self.client.query_iterator(
            collection,
            filter=expression,
            output_fields=columns,
            partition_names=[partition],
            timeout=seconds,
        )
        found: list[dict[str, Any]] = []
        while page := pages.next():
            found.extend(page)
        pages.close()
        return found

    def close(self) -> None:
        if self._opened:
            self.client.close()
            self._opened = False


def open_engine(location: str) -> Engine:
    """The engine for a folder, or for the URL of a server; it is not open yet."""
    return ServerEngine(location) if "://" in location else LiteEngine(Path(location))


def to_our_error(error: Exception) -> KinoscoreError:
    """What pymilvus, gRPC or the file system raised, as one of our errors."""
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text or "quota exceeded" in text:
        return StorageFull("the disk of the vector store is full; make room there")
    if isinstance(error, MilvusException) and error.code in _REFUSED_AS_WRONG:
        return InternalError(f"the vector store refused a call as wrong: {error.message}")
    cause = error.code().name if isinstance(error, grpc.RpcError) and hasattr(error, "code") else text
    return Unavailable(f"the vector store does not answer ({' '.join(cause.split())[:200]}); try again")
