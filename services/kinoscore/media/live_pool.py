"""Live streams of bytes in decoder processes, for asyncio: a few processes, each with many streams.

    async with processes.decode(job) as decoding:
        ... await decoding.send(data, arrived) ... await decoding.end() ...    # in one task
        async for picture in decoding: ...                                     # in another

A process that crashes or hangs costs its streams a gap: each goes on in another process, at the next place at
which its form can be taken up. Processes start when they are first needed.
"""

import asyncio
import logging
import socket
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, Unavailable
from kinoscore.media.live_channel import (
    PIECE_BYTES,
    PIECE_HEADER,
    REPORT_HEADER,
    SIZE,
    LiveJob,
    LiveReport,
)
from kinoscore.media.process import end_process, start_process, told_error
from kinoscore.media.stream_filters import InitialisationFinder

__all__ = ["DecodedPicture", "LiveDecoding", "LiveProcesses"]

logger = logging.getLogger(__name__)

# Bytes of a stream that may wait for its decoder.
BUFFER_BYTES = 2 << 20
# A process that does not say in so many seconds that it lives is replaced.
SILENT_SECONDS = 10.0
# A stream whose decoder is lost so often, without a picture between, is itself the cause.
MOST_CRASHES = 3


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """A frame of a stream that samples show.

    Attributes:
        pixels: uint8 RGB [height, width, 3]; None for the same ones as last time.
        report: which samples, when it came, and where the stream is.
    """

    pixels: NDArray[np.uint8] | None
    report: LiveReport


class _Process:
    """One process of `kinoscore.media.live_worker`."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._ended = False
        self.streams = 0

    @classmethod
    async def start(cls, memory_limit_bytes: int) -> "_Process":
        own, other = socket.socketpair()
        try:
            with other:
                process, _, output = await start_process(
                    "kinoscore.media.live_worker", other.fileno(), memory_limit_bytes
                )
        except BaseException:
            own.close()
            raise
        # Never full: a byte for each new stream.
        own.setblocking(False)
        started = cls(process, own)
        started.watching = asyncio.create_task(started._watch(output))
        return started

    watching: "asyncio.Task[None]"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not self._ended

    def give(self, stream: socket.socket) -> None:
        """Hands the decoder's end of a stream's socket over. Raises OSError when the process is gone."""
        socket.send_fds(self._control, [b"s"], [stream.fileno()])

    async def end(self) -> None:
        """Kills the process; its streams see that."""
        self._ended = True
        self._control.close()
        await end_process(self._process)

    async def _watch(self, output: asyncio.StreamReader) -> None:
        try:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    if not await output.readline():
                        break
        except TimeoutError:
            logger.warning("a decoder process of live streams hangs; it is replaced")
        await self.end()


class LiveProcesses:
    """Up to `size` processes; a new stream goes to the one with the fewest.

    Args:
        memory_limit_bytes: how far each may grow above its idle size, in address space; on Linux only.
    """

    def __init__(self, size: int, memory_limit_bytes: int) -> None:
        self._size = size
        self._memory_limit_bytes = memory_limit_bytes
        self._processes: list[_Process] = []
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, for doctors and tests."""
        return tuple(sorted(process.pid for process in self._processes if process.is_running))

    def decode(self, job: LiveJob) -> "LiveDecoding":
        """Decodes a stream from where the job says it is."""
        return LiveDecoding(self, job)

    async def close(self) -> None:
        """Ends all processes. Streams that run raise Unavailable."""
        self._closed = True
        async with self._starting:
            for process in self._processes:
                await process.end()
                await process.watching
            self._processes.clear()

    # What follows is for LiveDecoding.

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def connect(self) -> tuple[_Process, asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a process that will decode one stream.

        Raises:
            Unavailable: the decoders are shutting down, or none starts.
        """
        while True:
            process = await self._least_busy()
            # Counted at once: others choose while this one is being connected.
            process.streams += 1
            own, other = socket.socketpair()
            try:
                with other:
                    process.give(other)
                reader, writer = await asyncio.open_unix_connection(sock=own)
            except OSError:
                own.close()
                await process.end()
                continue
            except BaseException:
                own.close()
                process.streams -= 1
                raise
            return process, reader, writer

    async def _least_busy(self) -> _Process:
        async with self._starting:
            if self._closed:
                raise Unavailable("the decoders are shutting down")
            self._processes = [process for process in self._processes if process.is_running]
            if len(self._processes) < self._size and all(process.streams for process in self._processes):
                self._processes.append(await _Process.start(self._memory_limit_bytes))
            return min(self._processes, key=lambda process: process.streams)


class LiveDecoding:
    """One stream: an asynchronous context manager, and inside it an asynchronous iterator over its pictures.

    Leaving the context frees the decoder, whatever it does.

    Raises:
        InvalidMedia: the bytes are no stream that can be read, or its decoder was lost again and again.
        MediaTooLarge: the pictures have too many pixels.
        Unavailable: the decoders are shutting down.

    Attributes:
        dropped, damaged, repaired: as `LiveReport`, over all decoders that the stream had.
        gap_seconds: how long it was without one.
    """

    def __init__(self, processes: LiveProcesses, job: LiveJob) -> None:
        self._processes = processes
        self._job = job
        self._finder = InitialisationFinder(anywhere=job.is_resumed)
        self._process: _Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._connected = asyncio.Event()
        self._has_ended = False
        self._failure: Exception | None = None
        self._crashes = 0
        self._has_pictures = False
        self._lost_at: float | None = None
        # Those of the decoders that are gone, and the last report of the one at work.
        self._past = np.zeros(3, np.int64)
        self._now = np.zeros(3, np.int64)
        self.gap_seconds = 0.0

    @property
    def dropped(self) -> int:
        return int(self._past[0] + self._now[0])

    @property
    def damaged(self) -> int:
        return int(self._past[1] + self._now[1])

    @property
    def repaired(self) -> int:
        return int(self._past[2] + self._now[2])

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    def __aiter__(self) -> Self:
        return self

    async def send(self, data: bytes, arrived: float) -> None:
        """Hands the next bytes over; waits while too many wait already.

        Args:
            arrived: when they came, on the monotonic clock.
        """
        self._finder.push(data)
        for start in range(0, len(data), PIECE_BYTES):
            await self._send_piece(data[start : start + PIECE_BYTES], arrived)

    async def end(self) -> None:
        """All bytes were sent."""
        self._has_ended = True
        await self._connected.wait()
        if not self._writer.is_closing():
            self._writer.write_eof()

    def fail(self, error: Exception) -> None:
        """Ends the stream: the iterator raises this."""
        self._failure = error
        self._disconnect()

    async def __anext__(self) -> DecodedPicture:
        while True:
            try:
                sizes = REPORT_HEADER.unpack(await self._reader.readexactly(REPORT_HEADER.size))
                report = LiveReport.decode(await self._reader.readexactly(sizes[0]))
                pixels = await self._reader.readexactly(sizes[1])
            except (asyncio.IncompleteReadError, OSError):
                await self._reconnect()
                continue
            self._now[:] = report.dropped, report.damaged, report.repaired
            if report.error:
                raise told_error(report.error, report.message, report.metadata)
            if report.is_end:
                raise StopAsyncIteration
            self._took(report)
            if not pixels:
                return DecodedPicture(None, report)
            shape = (self._job.spec.height, self._job.spec.width, 3)
            return DecodedPicture(np.frombuffer(pixels, np.uint8).reshape(shape), report)

    async def _send_piece(self, data: bytes, arrived: float) -> None:
        while True:
            await self._connected.wait()
            writer = self._writer
            waiting = min(1.0, writer.transport.get_write_buffer_size() / BUFFER_BYTES)
            try:
                writer.write(PIECE_HEADER.pack(arrived, waiting, len(data)) + data)
                await writer.drain()
                return
            except OSError:
                # Who reads the pictures finds another decoder, and ends the wait.
                if writer is self._writer:
                    self._connected.clear()

    def _took(self, report: LiveReport) -> None:
        if self._lost_at is not None:
            self.gap_seconds += time.monotonic() - self._lost_at
            self._lost_at = None
        self._crashes = 0
        self._has_pictures = True
        self._job = replace(
            self._job,
            offset_seconds=report.offset_seconds,
            last_seconds=report.last_seconds,
            next_sample=report.next_sample,
        )

    async def _connect(self) -> None:
        self._process, self._reader, self._writer = await self._processes.connect()
        self._writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        job = self._job.encode()
        self._writer.write(SIZE.pack(len(job)) + job)
        if self._job.is_resumed and (first := self._finder.initialisation):
            self._writer.write(PIECE_HEADER.pack(time.monotonic(), 0.0, len(first)) + first)
        self._connected.set()

    def _disconnect(self) -> None:
        self._connected.clear()
        process, self._process = self._process, None
        if process is not None:
            process.streams -= 1
            # Not `close`: what waits to be sent is no longer wanted.
            self._writer.transport.abort()

    async def _reconnect(self) -> None:
        """Goes on with another decoder."""
        self._disconnect()
        if self._failure is not None:
            raise self._failure
        if self._processes.is_closed:
            raise Unavailable("the decoders are shutting down")
        self._crashes += 1
        self._lost_at = self._lost_at or time.monotonic()
        self._past += self._now
        self._past[1] += 1
        self._now[:] = 0
        if self._has_ended and self._has_pictures:
            raise StopAsyncIteration
        if self._has_ended or self._crashes >= MOST_CRASHES:
            raise InvalidMedia("the decoder crashed on this stream: it is damaged, or needs too much memory")
        self._job = replace(self._job, is_resumed=True)
        await self._connect()
