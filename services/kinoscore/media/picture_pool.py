"""Single pictures in decoder processes, for asyncio.

    answers = await processes.decode([Picture(PictureFormat.JPEG, data), ...], spec, limits)

A picture that crashes or hangs its decoder costs itself only: those that wait behind it go to another
process. Threads would be slower besides: a decoder asks for the interpreter several times a picture, and
waits each time while the event loop has work.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, KinoscoreError, MediaTooLarge, Unavailable
from kinoscore.media.picture_channel import (
    MESSAGE_BYTES,
    SLOT_BYTES,
    SLOTS,
    PictureReply,
    PictureRequest,
    SharedSlots,
)
from kinoscore.media.process import end_process, start_process
from kinoscore.media.types import FrameSpec, Limits, PictureFormat

__all__ = ["Picture", "PictureProcesses", "Pixels"]

logger = logging.getLogger(__name__)

HANG_SECONDS = 10.0
_LOOK_SECONDS = 1.0
# A picture that was being decoded when so many decoders were lost is itself the cause.
_MOST_CRASHES = 2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """What `kinoscore.media.pictures.decode_picture` takes of each picture; sizes for RGB24 and I420 only."""

    picture_format: PictureFormat
    data: bytes
    width: int = 0
    height: int = 0


class _LostError(Exception):
    """The process has ended.

    Attributes:
        is_suspect: the picture was being decoded.
    """

    def __init__(self, *, is_suspect: bool) -> None:
        super().__init__()
        self.is_suspect = is_suspect


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    request: PictureRequest
    answer: "asyncio.Future[Pixels]"


class _Process:
    """One process of `kinoscore.media.picture_worker`. It decodes pictures in the order in which they come.

    Args:
        freed: called whenever a slot becomes free.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        channel: socket.socket,
        slots: SharedSlots,
        freed: Callable[[], None],
    ) -> None:
        self._process = process
        self._channel = channel
        self._slots = slots
        self._freed = freed
        self._free = list(range(SLOTS))
        # By slot, the oldest first.
        self._waiting: dict[int, _Waiting] = {}
        # When the oldest became the oldest.
        self._since = 0.0
        self._ending: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel.fileno(), self._receive)
        self._looking = self._loop.call_later(_LOOK_SECONDS, self._look)

    @classmethod
    async def start(cls, memory_limit_bytes: int, freed: Callable[[], None]) -> "_Process":
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with other:
                slots = SharedSlots.shared_over(own)
                process, _, _ = await start_process(
                    "kinoscore.media.picture_worker", other.fileno(), memory_limit_bytes
                )
        except BaseException:
            own.close()
            raise
        # Never full: it holds a short message for each slot.
        own.setblocking(False)
        return cls(process, own, slots, freed)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._ending is None

    @property
    def waiting(self) -> int:
        """Pictures that are not decoded yet; never more than SLOTS."""
        return len(self._waiting)

    def decode(self, picture: Picture, spec: FrameSpec, limits: Limits) -> "asyncio.Future[Pixels]":
        """Begins to decode a picture, in a slot that must be free. The answer may be _LostError."""
        slot = self._free.pop()
        request = PictureRequest(
            slot,
            len(picture.data),
            picture.picture_format,
            picture.width,
            picture.height,
            spec,
            limits.max_pixels,
        )
        answer: asyncio.Future[Pixels] = self._loop.create_future()
        if not self._waiting:
            self._since = self._loop.time()
        self._waiting[slot] = _Waiting(request, answer)
        self._slots.write(slot, picture.data)
        try:
            self._channel.send(request.encode())
        except OSError:
            self._lose()
        return answer

    async def end(self) -> None:
        """Kills the process, whatever it does; pictures that wait raise _LostError."""
        self._lose()
        if self._ending is not None:
            await self._ending

    def _receive(self) -> None:
        """Takes all answers that have come."""
        with suppress(BlockingIOError):
            while message := self._next_message():
                self._take(PictureReply.decode(message))
            self._lose()

    def _next_message(self) -> bytes:
        """Empty when the process has ended. Raises BlockingIOError while there is none."""
        try:
            return self._channel.recv(MESSAGE_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def _take(self, reply: PictureReply) -> None:
        waiting = self._waiting.pop(reply.slot)
        self._since = self._loop.time()
        request, answer = waiting.request, waiting.answer
        if not answer.done():
            if reply.error is None:
                answer.set_result(self._slots.read_pixels(reply.slot, request.spec))
            else:
                answer.set_exception(reply.error)
        self._slots.forget(reply.slot, request.size)
        self._free.append(reply.slot)
        self._freed()

    def _look(self) -> None:
        self._looking = self._loop.call_later(_LOOK_SECONDS, self._look)
        if self._waiting and self._loop.time() - self._since > HANG_SECONDS:
            logger.warning("a decoder of single pictures hangs; it is replaced")
            oldest = next(iter(self._waiting.values())).answer
            if not oldest.done():
                oldest.set_exception(
                    InvalidMedia(f"the picture took longer than {HANG_SECONDS:g} s to decode")
                )
            self._lose()

    def _lose(self) -> None:
        if self._ending is not None:
            return
        self._looking.cancel()
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._ending = asyncio.create_task(end_process(self._process))
        for number, waiting in enumerate(self._waiting.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(_LostError(is_suspect=number == 0))
            self._freed()
        self._waiting.clear()


class PictureProcesses:
    """Up to `size` processes, started when they are needed; a picture goes to the one with the fewest.

    Args:
        memory_limit_bytes: how far each may grow above its idle size, in address space; on Linux only.
    """

    def __init__(self, size: int, memory_limit_bytes: int) -> None:
        self._size = size
        self._memory_limit_bytes = memory_limit_bytes
        self._processes: list[_Process] = []
        self._room = asyncio.Semaphore(size * SLOTS)
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, for doctors and tests."""
        return tuple(sorted(process.pid for process in self._processes if process.is_running))

    async def decode(
        self, pictures: Sequence[Picture], spec: FrameSpec, limits: Limits
    ) -> list[Pixels | KinoscoreError]:
        """`kinoscore.media.pictures.decode_picture` of each: its pixels, or why it has none.

        Raises:
            Unavailable: the decoders are shutting down, or none starts.
        """
        answers: list[asyncio.Future[Pixels] | KinoscoreError] = []
        try:
            for picture in pictures:
                # One by one: what has begun is given up where another one cannot begin.
                answers.append(await self._begin(picture, spec, limits))  # noqa: PERF401
            return [
                await self._answered(answer, picture, spec, limits)
                for answer, picture in zip(answers, pictures, strict=True)
            ]
        finally:
            for answer in answers:
                if isinstance(answer, asyncio.Future):
                    _give_up(answer)

    async def close(self) -> None:
        """Ends all processes. Pictures that wait raise Unavailable."""
        self._closed = True
        if self._starting is not None:
            await asyncio.wait([self._starting])
        for process in self._processes:
            await process.end()
        self._processes.clear()

    async def _begin(
        self, picture: Picture, spec: FrameSpec, limits: Limits
    ) -> "asyncio.Future[Pixels] | KinoscoreError":
        if len(picture.data) > min(limits.max_bytes, SLOT_BYTES):
            limit = min(limits.max_bytes, SLOT_BYTES)
            return MediaTooLarge(f"the picture has {len(picture.data)} bytes, the limit is {limit}")
        await self._room.acquire()
        try:
            process = await self._least_busy()
        except BaseException:
            self._room.release()
            raise
        return process.decode(picture, spec, limits)

    async def _answered(
        self,
        answer: "asyncio.Future[Pixels] | KinoscoreError",
        picture: Picture,
        spec: FrameSpec,
        limits: Limits,
    ) -> Pixels | KinoscoreError:
        crashes = 0
        while not isinstance(answer, KinoscoreError):
            try:
                return await answer
            except KinoscoreError as error:
                return error
            except _LostError as lost:
                crashes += lost.is_suspect
            if crashes == _MOST_CRASHES:
                return InvalidMedia(
                    "the decoder crashed on this picture: it is damaged, or needs too much memory"
                )
            answer = await self._begin(picture, spec, limits)
        return answer

    async def _least_busy(self) -> _Process:
        """A process with a free slot; one more is started where all have work."""
        while not self._closed:
            self._processes = [process for process in self._processes if process.is_running]
            best = min(self._processes, key=lambda process: process.waiting, default=None)
            if (best is None or best.waiting) and len(self._processes) < self._size:
                self._start_one()
            if best is not None and best.waiting < SLOTS:
                return best
            assert self._starting is not None
            await asyncio.shield(self._starting)
        raise Unavailable("the decoders are shutting down")

    def _start_one(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._has_started)

    async def _start(self) -> None:
        try:
            process = await _Process.start(self._memory_limit_bytes, self._room.release)
        except OSError as error:
            raise Unavailable(f"a decoder process cannot start: {error}") from error
        self._processes.append(process)

    def _has_started(self, starting: "asyncio.Task[None]") -> None:
        self._starting = None
        if not starting.cancelled() and (error := starting.exception()):
            logger.warning("a decoder of single pictures did not start: %s", error)


def _give_up(answer: "asyncio.Future[Pixels]") -> None:
    """Nobody waits for it any more, nor wants to hear why it failed."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
