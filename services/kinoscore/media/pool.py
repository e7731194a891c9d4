"""Decoding in worker processes, for asyncio: a file that crashes or hangs a codec costs its own request only.

    async with DecodePool(workers=2) as pool:
        async with pool.decode_frames(path, spec, timeout=5) as job:
            async for batch in job:
                ...
        print(job.summary.warnings)

Each worker has a memory limit of its own and is replaced when it crashes, hangs, or does not stop when told
to. Pixels and samples come through a file in memory that has no name, so nothing is left behind in
/dev/shm, whatever dies.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np

from kinoscore.errors import (
    DeadlineExceeded,
    InvalidMedia,
    KinoscoreError,
    QueueFull,
    Unavailable,
)
from kinoscore.media.live_channel import LiveJob
from kinoscore.media.live_pool import LiveDecoding, LiveProcesses
from kinoscore.media.picture_pool import Picture, PictureProcesses, Pixels
from kinoscore.media.process import anonymous_file, end_process, start_process, told_error
from kinoscore.media.types import AudioBlock, FrameBatch, FrameSpec, Limits, MediaProbe, MediaSummary, Tags

__all__ = ["DecodeJob", "DecodePool"]

Item = TypeVar("Item")
Message = dict[str, Any]
logger = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()

# A worker that is told to stop does so at its next batch; one that takes longer is replaced.
CANCEL_GRACE_SECONDS = 1.0
RESTART_PAUSE_SECONDS = 1.0
# Frame threads wait for one another, so it takes more of them than cores to keep the cores busy: two on two
# cores are no faster than one. Beyond the most they gain little and cost memory.
THREADS_A_CORE = 4
MOST_THREADS = 8


class _Worker:
    """One process of `kinoscore.media.worker`, seen from the pool."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        given: asyncio.StreamWriter,
        output: asyncio.StreamReader,
        shared_file: int,
    ) -> None:
        self._process = process
        self._input = given
        self._output = output
        self._shared_file = shared_file
        self._ended = False

    @classmethod
    async def start(cls, memory_limit_bytes: int) -> "_Worker":
        """Starts a process and waits until it can take a job. Raises InternalError when it cannot start."""
        shared_file = anonymous_file()
        try:
            started = await start_process("kinoscore.media.worker", shared_file, memory_limit_bytes)
        except BaseException:
            os.close(shared_file)
            raise
        return cls(*started, shared_file)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Message) -> None:
        # Never drained: a job and its acknowledgements are far smaller than the pipe.
        if not self._input.is_closing():
            self._input.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> Message | None:
        """The next message; None when the process has ended."""
        try:
            line = await self._output.readline()
        except ValueError:
            return None
        if not line.endswith(b"\n"):
            return None
        message: Message = json.loads(line)
        return message

    def read(self, array: "np.ndarray[Any, Any]", offset: int) -> bool:
        """Fills an array from the shared file; False when there is not so much, or the process was ended."""
        return not self._ended and os.preadv(self._shared_file, [array.data], offset) == array.nbytes

    def forget(self) -> None:
        """Gives the memory of the last job's slots back."""
        os.ftruncate(self._shared_file, 0)

    async def end(self) -> None:
        """Kills the process, whatever it does, and frees what it held."""
        await end_process(self._process)
        if not self._ended:
            self._ended = True
            os.close(self._shared_file)


class DecodePool:
    """A fixed number of decoder processes behind a bounded queue.

    Args:
        workers: decoder processes, for files; as many for live streams, and for single pictures, once there
            are some.
        memory_limit_bytes: how far a worker may grow above its idle size, in address space; on Linux only.
        time_limit_seconds: how long a worker may take for one file, without its consumer's own time.
        limits: what a file may ask for.
        queue_limit: requests that may wait for a worker; one more raises QueueFull.
    """

    def __init__(
        self,
        workers: int,
        *,
        memory_limit_bytes: int = 1 << 30,
        time_limit_seconds: float = 60.0,
        limits: Limits = DEFAULT_LIMITS,
        audio_limits: Limits | None = None,
        queue_limit: int = 64,
    ) -> None:
        self._size = workers
        self._memory_limit_bytes = memory_limit_bytes
        self._time_limit_seconds = time_limit_seconds
        self._limits = limits
        self._audio_limits = audio_limits or limits
        self._queue_limit = queue_limit
        self._workers: set[_Worker] = set()
        # None wakes a waiting request after the pool was closed.
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        self._live = LiveProcesses(workers, memory_limit_bytes)
        self._pictures = PictureProcesses(workers, memory_limit_bytes)
        self._waiting = 0
        self._leased = 0
        self._errands: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts the workers and waits until all of them can take a job."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._size):
                    group.create_task(self._add_worker())
        except BaseException as error:
            await self.close()
            raise (error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error) from None

    async def close(self) -> None:
        """Ends all workers. Requests that wait or run raise Unavailable."""
        self._closed = True
        for _ in range(self._waiting):
            self._idle.put_nowait(None)
        errands = list(self._errands)
        for errand in errands:
            errand.cancel()
        await asyncio.gather(*errands, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))
        self._workers.clear()
        await self._live.close()
        await self._pictures.close()

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers, for doctors and tests."""
        return tuple(sorted(worker.pid for worker in self._workers))

    @property
    def live_pids(self) -> tuple[int, ...]:
        """The process ids of those that decode live streams, for doctors and tests."""
        return self._live.pids

    @property
    def picture_pids(self) -> tuple[int, ...]:
        """The process ids of those that decode single pictures, for doctors and tests."""
        return self._pictures.pids

    def decode_frames(
        self, path: str | os.PathLike[str], spec: FrameSpec, timeout: float | None = None
    ) -> "DecodeJob[FrameBatch]":
        """`kinoscore.media.decoding.iter_frames` in a worker.

        Args:
            timeout: seconds from now until the last batch, waiting and the consumer's own time included.
        """
        job = {"job": "frames", "path": os.fspath(path), "spec": asdict(spec)}

        def read(worker: _Worker, message: Message) -> FrameBatch | None:
            timestamps = np.array(message["timestamps"], np.float64)
            frames = np.empty((len(timestamps), spec.height, spec.width, 3), np.uint8)
            return FrameBatch(timestamps, frames) if worker.read(frames, message["offset"]) else None

        return DecodeJob(self, job, read, timeout)

    def decode_audio(
        self, path: str | os.PathLike[str], sample_rate: int, timeout: float | None = None
    ) -> "DecodeJob[AudioBlock]":
        """`kinoscore.media.decoding.iter_audio` in a worker; `timeout` as for frames."""
        job = {"job": "audio", "path": os.fspath(path), "sample_rate": sample_rate}

        def read(worker: _Worker, message: Message) -> AudioBlock | None:
            samples = np.empty(message["samples"], np.float32)
            return AudioBlock(samples) if worker.read(samples, message["offset"]) else None

        return DecodeJob(self, job, read, timeout)

    def decode_live(self, job: LiveJob) -> LiveDecoding:
        """`kinoscore.media.live_decoding.LiveVideo` in a process that decodes many streams."""
        if self._closed:
            raise Unavailable("the decoders are shutting down")
        return self._live.decode(job)

    async def decode_pictures(
        self, pictures: Sequence[Picture], spec: FrameSpec, limits: Limits
    ) -> list[Pixels | KinoscoreError]:
        """`kinoscore.media.pictures.decode_picture` of each, in processes that do nothing else.

        Raises:
            Unavailable: the decoders are shutting down, or none starts.
        """
        return await self._pictures.decode(pictures, spec, limits)

    async def probe(self, path: str | os.PathLike[str], timeout: float | None = None) -> MediaProbe:
        """`kinoscore.media.decoding.probe` in a worker."""
        # A probe has no items, only a last message.
        job: DecodeJob[None] = DecodeJob(
            self, {"job": "probe", "path": os.fspath(path)}, lambda worker, message: None, timeout
        )
        async with job:
            return _read_probe((await job.next_message())["probe"])

    # What follows is for DecodeJob.

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def time_limit_seconds(self) -> float:
        return self._time_limit_seconds

    async def lease(self) -> _Worker:
        """Waits for a worker that is free."""
        if self._closed or not (self._workers or self._errands):
            raise Unavailable("the decoders are not running")
        if self._idle.empty() and self._waiting >= self._queue_limit:
            raise QueueFull(
                f"{self._waiting} requests wait for a decoder already; try again later",
                metadata={"limit": str(self._queue_limit)},
            )
        self._waiting += 1
        try:
            worker = await self._idle.get()
            if worker is None:
                raise Unavailable("the decoders are shutting down")
            self._leased += 1
            return worker
        finally:
            self._waiting -= 1

    def complete(self, job: Message) -> Message:
        """The job with what the pool knows: the limits, and the share of the cores that is free now."""
        limits = self._limits if job["job"] == "frames" else self._audio_limits
        return {**job, "limits": asdict(limits), "threads": _threads(_cores() // self._leased)}

    def give_back(self, worker: _Worker, *, finished: bool) -> None:
        """Takes a worker back that has finished its job, or that must be stopped first."""
        self._leased -= 1
        if self._closed:
            return
        if finished:
            self._put_idle(worker)
        else:
            self._run_errand(self._stop_job(worker))

    def discard(self, worker: _Worker) -> None:
        """Takes a worker back that crashed or hangs."""
        self._leased -= 1
        if not self._closed:
            self._run_errand(self._replace(worker))

    def _put_idle(self, worker: _Worker) -> None:
        worker.forget()
        self._idle.put_nowait(worker)

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _stop_job(self, worker: _Worker) -> None:
        worker.send({"cancel": True})
        try:
            async with asyncio.timeout(CANCEL_GRACE_SECONDS):
                while message := await worker.receive():
                    if "offset" not in message and "started" not in message:
                        self._put_idle(worker)
                        return
        except TimeoutError:
            pass
        await self._replace(worker)

    async def _replace(self, worker: _Worker) -> None:
        await worker.end()
        self._workers.discard(worker)
        while True:
            try:
                await self._add_worker()
                return
            except (OSError, TimeoutError, KinoscoreError):
                logger.exception("a decoder process did not start; trying again")
                await asyncio.sleep(RESTART_PAUSE_SECONDS)

    async def _add_worker(self) -> None:
        worker = await _Worker.start(self._memory_limit_bytes)
        self._workers.add(worker)
        self._idle.put_nowait(worker)


class DecodeJob(Generic[Item]):
    """One file in one worker: an asynchronous context manager, and inside it an asynchronous iterator.

    Leaving the context early stops the work.

    Raises:
        QueueFull, Unavailable: on entering.
        DeadlineExceeded: the timeout is over, while waiting for a worker or while decoding.
        InvalidMedia: also when the codec crashed, or took longer than the pool's time limit.
        NotFound, InvalidRequest, MediaTooLarge: as the functions of `kinoscore.media.decoding`.

    Attributes:
        queue_seconds: how long the job waited for a worker.
    """

    def __init__(
        self,
        pool: DecodePool,
        job: Message,
        read: Callable[[_Worker, Message], Item | None],
        timeout: float | None,
    ) -> None:
        self._pool = pool
        self._job = job
        self._read = read
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._working_seconds = 0.0
        self._worker: _Worker | None = None
        self._summary: MediaSummary | None = None
        self.queue_seconds = 0.0

    @property
    def summary(self) -> MediaSummary:
        """Known once the iterator has ended."""
        if self._summary is None:
            raise RuntimeError("the summary is known only after the last item")
        return self._summary

    async def __aenter__(self) -> Self:
        started = time.monotonic()
        try:
            while not await self._start():
                pass
        except BaseException:
            self._leave()
            raise
        self.queue_seconds = time.monotonic() - started
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __aiter__(self) -> Self:
        return self

    async def _start(self) -> bool:
        """Hands the job to a worker; False when that one died before, of something else."""
        try:
            async with asyncio.timeout(self._remaining_seconds()):
                worker = self._worker = await self._pool.lease()
        except TimeoutError as error:
            raise DeadlineExceeded("no decoder became free in time") from error
        worker.send(self._pool.complete(self._job))
        if await self._receive(worker) is not None:
            return True
        self._worker = None
        self._pool.discard(worker)
        return False

    def _leave(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._pool.give_back(worker, finished=False)

    async def __anext__(self) -> Item:
        if self._worker is None:
            raise StopAsyncIteration
        worker = self._worker
        message = await self.next_message()
        if "summary" in message:
            summary = message["summary"]
            self._summary = MediaSummary(**{**summary, "warnings": tuple(summary["warnings"])})
            raise StopAsyncIteration
        item = self._read(worker, message)
        if item is None:
            raise self._crashed(worker)
        worker.send({"acknowledge": True})
        return item

    async def next_message(self) -> Message:
        """What the worker says next; its errors are raised. For DecodePool."""
        worker = self._worker
        if worker is None:
            raise RuntimeError("the job has ended")
        message = await self._receive(worker)
        if message is None:
            raise self._crashed(worker)
        if "offset" not in message:
            self._worker = None
            self._pool.give_back(worker, finished=True)
        if "error" in message:
            raise told_error(message["error"], message["message"], message["metadata"])
        return message

    async def _receive(self, worker: _Worker) -> Message | None:
        budget = self._pool.time_limit_seconds - self._working_seconds
        remaining = self._remaining_seconds()
        started = time.monotonic()
        try:
            async with asyncio.timeout(budget if remaining is None else min(budget, remaining)):
                return await worker.receive()
        except TimeoutError as error:
            if remaining is not None and remaining < budget:
                raise DeadlineExceeded("the time was up before the file was decoded") from error
            self._worker = None
            self._pool.discard(worker)
            limit = self._pool.time_limit_seconds
            raise InvalidMedia(f"the file took longer than the limit of {limit:g} s to decode") from error
        finally:
            self._working_seconds += time.monotonic() - started

    def _crashed(self, worker: _Worker) -> KinoscoreError:
        self._worker = None
        self._pool.discard(worker)
        if self._pool.is_closed:
            return Unavailable("the decoders are shutting down")
        return InvalidMedia("the decoder crashed on this file: it is damaged, or needs too much memory")

    def _remaining_seconds(self) -> float | None:
        if self._deadline is None:
            return None
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("the time was up before the file was decoded")
        return remaining


def _read_probe(fields: Message) -> MediaProbe:
    tags = fields["tags"]
    return MediaProbe(**{**fields, "tags": Tags(**{**tags, "tags": tuple(tags["tags"])})})


def _threads(cores: int) -> int:
    """Of a decoder that has so many cores to itself."""
    return min(THREADS_A_CORE * cores, MOST_THREADS) if cores > 1 else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
