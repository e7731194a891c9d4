"""What surrounds every request: identity, admission, a deadline, errors turned into statuses, a log line."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from kinoscore.errors import DeadlineExceeded, InternalError, KinoscoreError, QueueFull, Unavailable
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import RequestMetrics
from kinoscore.runtime.status import abort
from kinoscore.runtime.telemetry import REQUEST_ID_KEY, REQUEST_TOKEN_KEY, RequestIdentity, current_request

__all__ = ["RequestInterceptor"]

_logger = logging.getLogger(__name__)
_OURS = "/kinoscore."
_RETRY_SECONDS = 1
# Tokens that nobody can guess, without asking the system for randomness at every request.
_SECRET = secrets.token_hex(16)
_numbers = itertools.count()
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_REBUILD: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds every request to a kinoscore service; health checks and reflection pass untouched.

    Args:
        default_deadline_seconds: the time for a request with one reply whose caller set no deadline.
        max_concurrent_requests: more at once are refused with QueueFull. A call that a request running
            here makes to this very server (it carries `outgoing_metadata`) is part of it: always admitted,
            never counted.
    """

    def __init__(self, *, default_deadline_seconds: float, max_concurrent_requests: int) -> None:
        self._default_deadline_seconds = default_deadline_seconds
        self._max_concurrent_requests = max_concurrent_requests
        # The tokens of all, and how many of them are parts of no other.
        self._running: set[str] = set()
        self._whole = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, grace_seconds: float) -> bool:
        """Refuses new requests and waits for the running ones; True when all ended within `grace_seconds`."""
        self._draining = True
        try:
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        serve = self._one_reply if not handler.response_streaming else self._many_replies
        rebuild = _REBUILD[handler.request_streaming, handler.response_streaming]
        return rebuild(
            serve(handler, handler_call_details), handler.request_deserializer, handler.response_serializer
        )

    def _one_reply(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def serve(request: Any, context: Any) -> Any:
            async with self._surrounding(details, context) as metrics:
                deadline = Deadline.of(context, self._default_deadline_seconds)
                async with _time_limit(deadline.remaining()):
                    reply = await behaviour(request, context)
                metrics.answered(reply)
                return reply

        return serve

    def _many_replies(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._surrounding(details, context):
                async for reply in behaviour(request, context):
                    yield reply

        return serve

    @asynccontextmanager
    async def _surrounding(
        self, details: grpc.HandlerCallDetails, context: Any
    ) -> AsyncIterator[RequestMetrics]:
        metadata = {key: str(value) for key, value in details.invocation_metadata or ()}
        identity = _identity(metadata.get(REQUEST_ID_KEY))
        current_request.set(identity)
        metrics = RequestMetrics(details.method)
        parent_token = metadata.get(REQUEST_TOKEN_KEY)
        # A part of a request that is told itself: a live session would fill the log with them.
        level = logging.DEBUG if parent_token in self._running else logging.INFO
        with _told(details.method, metrics, level) as outcome:
            try:
                with self._admitted(identity, parent_token):
                    yield metrics
            except GeneratorExit:
                # Nobody takes the rest of the replies; where the call was ended from here, this is why.
                outcome["status"] = _code_name(context.code()) if context.code() else "CANCELLED"
                raise
            except grpc.aio.AbortError:
                outcome["status"] = _code_name(context.code())
                raise
            except KinoscoreError as error:
                outcome["status"] = error.status
                outcome["error"] = error.message
                await abort(context, error)
            except Exception:
                outcome["status"] = InternalError.status
                _logger.exception("a defect ended a request", extra={"facts": {"method": details.method}})
                await abort(context, InternalError("a defect of kinoscore ended the request; see its log"))

    @contextmanager
    def _admitted(self, identity: RequestIdentity, parent_token: str | None) -> Iterator[None]:
        is_whole = parent_token not in self._running
        if is_whole:
            if self._draining:
                raise Unavailable("the server is shutting down; try again, or another server")
            if self._whole >= self._max_concurrent_requests:
                limit = self._max_concurrent_requests
                raise QueueFull(
                    f"{limit} requests are running already; try again later",
                    metadata={"limit": str(limit), "retry_seconds": str(_RETRY_SECONDS)},
                )
        self._running.add(identity.token)
        self._whole += is_whole
        self._idle.clear()
        try:
            yield
        finally:
            self._running.discard(identity.token)
            self._whole -= is_whole
            if not self._running:
                self._idle.set()


def _identity(requested_id: str | None) -> RequestIdentity:
    wellformed = requested_id is not None and _REQUEST_ID.fullmatch(requested_id)
    return RequestIdentity(
        id=requested_id if requested_id and wellformed else secrets.token_hex(16),
        token=f"{_SECRET}.{next(_numbers)}",
    )


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(f"the request took longer than {seconds:.1f} s") from None
        raise


@contextmanager
def _told(method: str, metrics: RequestMetrics, level: int) -> Iterator[dict[str, Any]]:
    """Tells the log and the metrics how the request ends, from what the block writes into the outcome."""
    started = time.perf_counter()
    outcome: dict[str, Any] = {"method": method, "status": "OK"}
    try:
        yield outcome
    except asyncio.CancelledError:
        outcome["status"] = "CANCELLED"
        raise
    finally:
        seconds = time.perf_counter() - started
        outcome["seconds"] = round(seconds, 6)
        metrics.ended(outcome["status"], seconds)
        _logger.log(level, "request", extra={"facts": outcome})


def _code_name(code: Any) -> str:
    """grpc.aio tells the status of an aborted call as a number."""
    names = {number.value[0]: number.name for number in grpc.StatusCode}
    return code.name if isinstance(code, grpc.StatusCode) else names.get(code, "UNKNOWN")
