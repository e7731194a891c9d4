"""Live sessions that are opened and abandoned, and what is left of them in this process."""

import asyncio
import gc
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from support.live_sessions import SECONDS, picture, tasks_of_live_sessions
from support.waiting import until

from kinoscore.runtime.relay import REASON_LOST
from kinoscore.v1 import common_pb2, recommend_pb2, recommend_pb2_grpc

__all__ = ["Held", "abandon"]

SETTINGS = recommend_pb2.RecommendLiveRequest(settings=recommend_pb2.RecommendLiveSettings())
# Wake: what counts a session as running.
_OF_SESSIONS = {"Wake", "_Session", "StreamEncoder", "StableList", "LiveEncoding", "LiveQueue"}


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds: tasks, file descriptors, threads, and resident memory in MiB."""

    tasks: int
    descriptors: int
    threads: int
    memory: float

    @classmethod
    async def now(cls) -> "Held":
        """Once no task and no object of a live session is left; TimeoutError where that does not come."""
        await until(lambda: not tasks_of_live_sessions(), seconds=SECONDS)
        await until(lambda: not _objects_of_live_sessions(), seconds=SECONDS)
        return cls(
            len(asyncio.all_tasks()),
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            psutil.Process(os.getpid()).memory_info().rss / 2**20,
        )


def _objects_of_live_sessions() -> int:
    gc.collect()
    return sum(type(one).__name__ in _OF_SESSIONS for one in gc.get_objects())


def _frame() -> recommend_pb2.RecommendLiveRequest:
    one = picture(0.0)
    frame = common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_RGB24, data=one.data, width=one.width, height=one.height
    )
    return recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(frame=frame))


async def abandon(address: str, count: int, at_once: int) -> None:
    """Opens sessions and leaves them, `at_once` at a time.

    They are left in turn at three moments: with the settings sent, with a frame under way, and with the first
    update.
    A session that is refused, since one that was left still counts, is opened again.
    """
    frame = _frame()
    numbers = iter(range(count))

    async def visit(stub: Any) -> None:
        for number in numbers:
            while not await _left(stub, frame, number % 3):
                pass

    async with grpc.aio.insecure_channel(address) as channel:
        stub = recommend_pb2_grpc.RecommenderServiceStub(channel)
        await asyncio.gather(*(visit(stub) for _ in range(at_once)))


async def _left(stub: Any, frame: recommend_pb2.RecommendLiveRequest, moment: int) -> bool:
    """One session; False when there was no room for it."""
    call = stub.RecommendLive()
    try:
        await call.write(SETTINGS)
        if moment:
            await call.write(frame)
        if moment == 2:
            second = recommend_pb2.RecommendLiveRequest()
            second.CopyFrom(frame)
            second.chunk.frame.timestamp_seconds = 0.5
            await call.write(second)
            await call.read()
        return True
    except grpc.aio.AioRpcError as error:
        is_refused = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED or error.details() == REASON_LOST
        if not is_refused:
            raise
        return False
    except asyncio.InvalidStateError:
        return False
    finally:
        call.cancel()
