"""Sending a stream of requests on a gRPC call and waiting for its answer, or its answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from kinoscore.errors import Unavailable

__all__ = ["REASON_LOST", "answer_to_stream", "answers_to_stream"]

REASON_LOST = "Internal error from Core"
"""What grpc.aio writes over the receiver's status where the call ends while a message waits to be sent."""


async def answer_to_stream(call: Any, requests: AsyncIterator[object]) -> Any:
    """Sends the requests on a `grpc.aio` stream-unary call and returns its answer.

    The next request is drawn only when gRPC has taken the last one, so a slow receiver slows the source. An
    answer that comes before all is sent (a refusal, mostly) ends the sending. Where gRPC's own request
    iterators hide an error of the source behind a cancellation, this raises it.

    Raises:
        grpc.aio.AioRpcError: the call failed.
        Unavailable: the call was ended in the midst of a message, and the reason is lost.
        Exception: whatever `requests` raised; the call is cancelled then.
    """
    async with _sent(call, requests):
        return await call


async def answers_to_stream(call: Any, requests: AsyncIterator[object]) -> AsyncGenerator[Any, None]:
    """Sends the requests on a `grpc.aio` stream-stream call and yields its answers as they come.

    As `answer_to_stream`. Close the generator (`contextlib.aclosing`) to cancel the call.

    Raises:
        grpc.aio.AioRpcError: the call failed.
        Unavailable: the call was ended in the midst of a message, and the reason is lost.
        Exception: whatever `requests` raised; the call is cancelled then.
    """
    async with _sent(call, requests) as sending:
        try:
            async for answer in call:
                yield answer
        finally:
            sending.cancel()
            call.cancel()
            await asyncio.gather(sending, return_exceptions=True)


@asynccontextmanager
async def _sent(call: Any, requests: AsyncIterator[object]) -> "AsyncIterator[asyncio.Task[None]]":
    """Sends the requests while the block takes what the call gives, in a task that ends with the block.

    What the block meets comes out as what it was: the receiver's status, or the error of the source.
    """
    refusals: list[grpc.aio.AioRpcError] = []
    call.add_done_callback(lambda _: refusals.extend(_refusal(call)))
    sending = asyncio.create_task(_send(call, requests))
    sending.add_done_callback(lambda task: call.cancel() if _failure(task) else None)
    try:
        yield sending
    except grpc.aio.AioRpcError as error:
        raise _with_reason(error, refusals) from error
    except asyncio.CancelledError:
        if failure := _failure(sending):
            raise failure from None
        raise
    finally:
        sending.cancel()


def _with_reason(error: grpc.aio.AioRpcError, refusals: list[grpc.aio.AioRpcError]) -> Exception:
    """The error of a call that says why, where that is known."""
    if error.details() != REASON_LOST:
        return error
    return refusals[0] if refusals else Unavailable("the receiver ended the upload early; try again")


def _refusal(call: Any) -> Iterator[grpc.aio.AioRpcError]:
    """The status of a call that has just ended in an error, read before grpc.aio can write over it.

    This runs inside the callback that tells the end: a task would come too late.
    """
    reading = _read_status(call)
    try:
        reading.send(None)
    except StopIteration as end:
        if end.value.code() is not grpc.StatusCode.OK:
            yield end.value
    finally:
        reading.close()


async def _read_status(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(), grpc.aio.Metadata(), await call.trailing_metadata(), await call.details()
    )


async def _send(call: Any, requests: AsyncIterator[object]) -> None:
    """Sends the requests on a `grpc.aio` call and ends its sending side; stops where the call has ended."""
    async for request in requests:
        try:
            await call.write(request)
        except (asyncio.InvalidStateError, grpc.RpcError):
            # The call has ended before its requests did; its answer tells why.
            return
    if not call.done():
        await call.done_writing()


def _failure(task: "asyncio.Task[None]") -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None
