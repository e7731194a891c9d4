"""One open Milvus for the stores of all its spaces, behind asyncio, deadlines and our errors."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kinoscore.errors import Unavailable
from kinoscore.ranking.engines import Engine, Limit, translated
from kinoscore.runtime.deadline import Deadline

__all__ = ["Connection"]

SERVER_CALLS = 16
"""Calls to a Milvus server at once."""

T = TypeVar("T")


class Connection:
    """Runs what its stores ask of Milvus, in threads.

    Milvus Lite answers without the rows that it is flushing, so all calls to it go through one thread, in
    turn. A failed write leaves it without rows that are safe on the disk, so it is opened anew then, and
    every store that was added prepares itself again.

    Args:
        engine: not open yet; closed with the connection.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(
            1 if engine.embedded else SERVER_CALLS, thread_name_prefix="milvus"
        )
        self._stores: list[Callable[[Limit], None]] = []

    def add(self, prepare: Callable[[Limit], None]) -> None:
        """Adds a store, which prepares itself whenever Milvus was opened anew."""
        self._stores.append(prepare)

    def remove(self, prepare: Callable[[Limit], None]) -> None:
        """Takes a store out again; one that never was added, too."""
        if prepare in self._stores:
            self._stores.remove(prepare)

    async def read(self, operation: Callable[[Limit], T], deadline: Deadline) -> T:
        """Runs an operation that may be abandoned.

        Raises:
            Unavailable: Milvus did not answer in time.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self.run(operation, deadline)
        except TimeoutError:
            raise Unavailable("the vector store did not answer in time; try again") from None

    async def run(self, operation: Callable[[Limit], T], deadline: Deadline) -> T:
        """Runs `operation` in a thread; a caller that leaves takes back what has not begun.

        Each call of Milvus ends by the deadline, so a write needs no other limit: it is over when it returns.
        """

        def attempt() -> T:
            with translated():
                if self.engine.open(deadline.require()):
                    for prepare in self._stores:
                        prepare(deadline.require)
                return operation(deadline.require)

        return await asyncio.get_running_loop().run_in_executor(self._threads, attempt)

    async def close(self) -> None:
        """Waits for what runs and releases the folder or the connection to the server."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        self.engine.close()
