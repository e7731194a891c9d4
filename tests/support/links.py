"""TCP links between the programs of a test, on which a bad network can be played."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

__all__ = ["Link", "Network"]

CHUNK_BYTES = 64 * 1024
CALL_SECONDS = 30.0
_HOST = "127.0.0.1"
# Closing with this sends a reset in place of a farewell.
_NO_LINGER = struct.pack("ii", 1, 0)


class Network:
    """Links, served by a thread as long as the block runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links")
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            link.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def link(self, port: int) -> "Link":
        """A link to a port of this machine."""
        link = Link(port, self._loop)
        self._links.append(link)
        return link


class Link:
    """Hands connections on to a port; its own port stays the same.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop
        self._delay = 0.0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self.port = 0
        self.open()

    @property
    def address(self) -> str:
        return f"{_HOST}:{self.port}"

    def open(self) -> None:
        """Takes connections, also again after `shut`."""
        self._run(self._open())

    def shut(self) -> None:
        """Resets all connections and refuses new ones, as the port of a program that has ended does."""
        self._run(self._shut())

    def reset(self) -> None:
        """Resets all connections; new ones are welcome."""
        self._run(self._reset())

    def delay(self, seconds: float) -> None:
        """All that comes back from now on comes later by so much; 0 for at once."""
        self._delay = seconds

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._hand_on, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        for task, connection in self._connections.items():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer.get_extra_info("socket")
        writers = [writer]
        try:
            there, onwards = await asyncio.open_connection(_HOST, self._target)
            writers.append(onwards)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, onwards, lambda: 0.0))
                both.create_task(_pump(there, writer, lambda: self._delay))
        except* (OSError, asyncio.CancelledError):
            pass  # either side has gone, or the connection was reset: both ends are told below
        finally:
            for end in writers:
                end.transport.abort()
            del self._connections[task]


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Callable[[], float]
) -> None:
    """Hands on what comes, each piece after the delay of the moment at which it came."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - time.monotonic())
            if not piece:
                raise ConnectionResetError("the other side has closed")
            writer.write(piece)
            await writer.drain()

    writing = asyncio.create_task(write())
    try:
        while not writing.done():
            piece = await reader.read(CHUNK_BYTES)
            pieces.put_nowait((time.monotonic() + delay(), piece))
            if not piece:
                break
        await writing
    finally:
        writing.cancel()
