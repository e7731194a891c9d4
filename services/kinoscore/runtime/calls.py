"""Two ways to call a service: over gRPC, or, where it runs in this very process, without a network.

Both end in the status that the service gave, a `grpc.aio.AioRpcError`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc

from kinoscore.runtime.interceptor import RequestInterceptor
from kinoscore.runtime.relay import answer_to_stream, answers_to_stream

__all__ = ["LocalService", "Metadata", "RemoteService", "Service"]

Metadata = tuple[tuple[str, str], ...]


class Service(Protocol):
    """A service that can be called; `timeout` is in seconds.

    Whoever cancels a call, or closes the generator of one (`contextlib.aclosing`), makes the service stop.
    """

    async def answer(self, method: str, request: Any, timeout: float, metadata: Metadata) -> Any:
        """The answer to one request.

        Raises:
            grpc.aio.AioRpcError: the call failed.
        """

    async def answer_to_stream(
        self, method: str, requests: AsyncIterator[Any], timeout: float, metadata: Metadata
    ) -> Any:
        """The answer to a stream of requests, each drawn when the service is ready for it.

        Raises:
            grpc.aio.AioRpcError: the call failed.
            Exception: whatever `requests` raised; the call is cancelled then.
        """

    def answers_to_stream(
        self, method: str, requests: AsyncIterator[Any], metadata: Metadata
    ) -> AsyncGenerator[Any, None]:
        """The answers to a stream of requests, as they come; for the rest as `answer_to_stream`."""


class RemoteService:
    """A service over gRPC.

    Args:
        stub: of the service.
    """

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def answer(self, method: str, request: Any, timeout: float, metadata: Metadata) -> Any:
        return await getattr(self._stub, method)(request, timeout=timeout, metadata=metadata)

    async def answer_to_stream(
        self, method: str, requests: AsyncIterator[Any], timeout: float, metadata: Metadata
    ) -> Any:
        call = getattr(self._stub, method)(timeout=timeout, metadata=metadata)
        try:
            return await answer_to_stream(call, requests)
        finally:
            call.cancel()

    def answers_to_stream(
        self, method: str, requests: AsyncIterator[Any], metadata: Metadata
    ) -> AsyncGenerator[Any, None]:
        return answers_to_stream(getattr(self._stub, method)(metadata=metadata), requests)


class LocalService:
    """A service of this process: what a server and a channel to it do, less the bytes.

    The servicer registers itself here as at a `grpc.aio.Server`, and what surrounds its requests there does
    so here. Messages are handed over, not copied: who has sent one keeps no hand on it.
    """

    def __init__(self, interceptor: RequestInterceptor) -> None:
        self._interceptor = interceptor
        self._handlers: dict[str, tuple[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same handlers as those that are registered by their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Takes the methods of a service; called by its `add_..._to_server`."""
        self._handlers = {name: (f"/{service}/{name}", handler) for name, handler in handlers.items()}

    async def answer(self, method: str, request: Any, timeout: float, metadata: Metadata) -> Any:
        handler = await self._handler(method, metadata)
        # A task of its own has a context of its own: the request's identity stays in there.
        return await asyncio.create_task(handler.unary_unary(request, _LocalContext(timeout)))

    async def answer_to_stream(
        self, method: str, requests: AsyncIterator[Any], timeout: float, metadata: Metadata
    ) -> Any:
        handler = await self._handler(method, metadata)
        source = _Source(requests)
        context = _LocalContext(timeout)
        return await source.unless_broken(
            asyncio.create_task(handler.stream_unary(source.requests(), context))
        )

    async def answers_to_stream(
        self, method: str, requests: AsyncIterator[Any], metadata: Metadata
    ) -> AsyncGenerator[Any, None]:
        handler = await self._handler(method, metadata)
        source = _Source(requests)
        answers: asyncio.Queue[Any] = asyncio.Queue()

        async def serve() -> None:
            async with aclosing(handler.stream_stream(source.requests(), _LocalContext())) as found:
                async for answer in found:
                    # One answer may wait.
                    await answers.join()
                    answers.put_nowait(answer)

        serving = asyncio.create_task(serve())
        serving.add_done_callback(lambda _: answers.put_nowait(None))
        try:
            while (answer := await answers.get()) is not None:
                answers.task_done()
                yield answer
            await source.unless_broken(serving)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _handler(self, method: str, metadata: Metadata) -> Any:
        path, handler = self._handlers[method]

        async def found(_: grpc.HandlerCallDetails) -> Any:
            return handler

        return await self._interceptor.intercept_service(found, _CallDetails(path, metadata))


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: Metadata


class _LocalContext:
    """What a servicer takes of its context."""

    def __init__(self, timeout: float | None = None) -> None:
        self._ends = None if timeout is None else asyncio.get_running_loop().time() + timeout

    def code(self) -> None:
        """No status was set from here; an abort raises."""

    def time_remaining(self) -> float | None:
        return None if self._ends is None else self._ends - asyncio.get_running_loop().time()

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> NoReturn:
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing_metadata, details)


class _Source:
    """The requests of a call, on their way to the servicer."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests
        self._failure: Exception | None = None

    async def requests(self) -> AsyncIterator[Any]:
        """The requests; where they break off, the servicer finds itself cancelled, as at a gRPC server."""
        try:
            async for request in self._requests:
                yield request
        except Exception as error:
            self._failure = error
            raise asyncio.CancelledError from error

    async def unless_broken(self, serving: "asyncio.Task[Any]") -> Any:
        """What the servicer gives. Raises what the requests raised, where they did."""
        try:
            return await serving
        except BaseException:
            if self._failure is not None:
                raise self._failure from None
            raise
