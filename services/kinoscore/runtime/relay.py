"""Sending a stream of requests on a gRPC call and waiting for its one answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from kinoscore.errors import Unavailable

__all__ = ["answer_to_stream"]

# What grpc.aio puts in place of the receiver's status when the call ends while a message waits for flow
# control.
_REASON_LOST = "Internal error from Core"


async def answer_to_stream(call: Any, requests: AsyncIterator[object]) -> Any:
    """Sends the requests on a `grpc.aio` stream-unary call and returns its answer.

    The next request is drawn only when gRPC has taken the last one, so a slow receiver slows the source. An
    answer that comes before all is sent (a refusal, mostly) ends the sending. Where gRPC's own request
    iterators hide an error of the source behind a cancellation, this raises it.

    Raises:
        grpc.aio.AioRpcError: the call failed.
        Unavailable: the call was ended in the midst of a message, and gRPC lost the reason.
        Exception: whatever `requests` raised; the call is cancelled then.
    """
    sending = asyncio.create_task(_send(call, requests))
    sending.add_done_callback(lambda task: call.cancel() if _failure(task) else None)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.details() == _REASON_LOST:
            raise Unavailable("the receiver ended the upload early; try again") from error
        raise
    except asyncio.CancelledError:
        if failure := _failure(sending):
            raise failure from None
        raise
    finally:
        sending.cancel()


async def _send(call: Any, requests: AsyncIterator[object]) -> None:
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
