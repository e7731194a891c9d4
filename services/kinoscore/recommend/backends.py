"""The four services behind the front door, and the two ways to call each of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from kinoscore.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from kinoscore.runtime.channels import channel_options
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.relay import answer_to_stream, answers_to_stream
from kinoscore.runtime.status import from_rpc_error
from kinoscore.runtime.telemetry import outgoing_metadata
from kinoscore.v1 import fusion_pb2_grpc, music_pb2_grpc, ranking_pb2_grpc, video_pb2_grpc

__all__ = ["LOST", "Backend", "Backends", "StreamCall"]

LOST = (Unavailable, DeadlineExceeded, ResourceExhausted)
"""What says that a service is away, late or full: it may answer later."""


class Backend:
    """One of the services, and how an error names it.

    Args:
        name: `video`, `music`, `fusion` or `ranking`.
        address: `host:port`.
        stub: of its gRPC service.
    """

    def __init__(self, name: str, address: str, stub: Any) -> None:
        self._stub = stub
        self._silent = f"the {name} service at {address} does not answer; see that it runs, then try again"

    async def ask(self, method: str, request: object, deadline: Deadline) -> Any:
        """One answer for one request, within what is left of the deadline.

        Raises:
            KinoscoreError: what the service raised, as the same class.
        """
        call = getattr(self._stub, method)
        try:
            return await call(request, timeout=deadline.require(), metadata=outgoing_metadata())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, silent=self._silent) from error

    async def ask_with_stream(self, method: str, requests: AsyncIterator[object], deadline: Deadline) -> Any:
        """One answer for a stream of requests, within what is left of the deadline.

        Raises:
            KinoscoreError: what the service raised, as the same class.
            Exception: whatever `requests` raised.
        """
        async with self.stream(method, requests, deadline) as call:
            return await call.answer()

    async def answers(self, method: str, requests: AsyncIterator[object]) -> AsyncGenerator[Any, None]:
        """The answers to a stream of requests, as they come, for as long as it takes.

        Close the generator (`contextlib.aclosing`) to cancel the call.

        Raises:
            KinoscoreError: what the service raised, as the same class.
        """
        call = getattr(self._stub, method)(metadata=outgoing_metadata())
        try:
            async with aclosing(answers_to_stream(call, requests)) as answers:
                async for answer in answers:
                    yield answer
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, silent=self._silent) from error

    @asynccontextmanager
    async def stream(
        self, method: str, requests: AsyncIterator[object], deadline: Deadline
    ) -> "AsyncIterator[StreamCall]":
        """A call that sends a stream of requests, within what is left of the deadline.

        A call without an answer at the end of the block is cancelled: the service stops.
        """
        call = getattr(self._stub, method)(timeout=deadline.require(), metadata=outgoing_metadata())
        answering = asyncio.create_task(answer_to_stream(call, requests))
        try:
            yield StreamCall(call, answering, self._silent)
        finally:
            answering.cancel()
            call.cancel()
            await asyncio.gather(answering, return_exceptions=True)


class StreamCall:
    """A call under way.

    Attributes:
        answering: done when the call has ended.
    """

    def __init__(self, call: Any, answering: "asyncio.Task[Any]", silent: str) -> None:
        self._call = call
        self._silent = silent
        self.answering = answering

    async def answer(self) -> Any:
        """The one answer.

        Raises:
            KinoscoreError: what the service raised, as the same class.
            Exception: whatever the requests raised.
        """
        try:
            return await self.answering
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, silent=self._silent) from error


class Backends:
    """The four services; equal addresses share a channel.

    Who makes one, closes it.
    """

    def __init__(self, *, video: str, music: str, fusion: str, ranking: str) -> None:
        self._channels = {
            address: grpc.aio.insecure_channel(address, options=channel_options(address))
            for address in (video, music, fusion, ranking)
        }
        channels = self._channels
        self.video = Backend("video", video, video_pb2_grpc.VideoEncoderServiceStub(channels[video]))
        self.music = Backend("music", music, music_pb2_grpc.MusicEncoderServiceStub(channels[music]))
        self.fusion = Backend("fusion", fusion, fusion_pb2_grpc.FusionServiceStub(channels[fusion]))
        self.ranking = Backend("ranking", ranking, ranking_pb2_grpc.RankingServiceStub(channels[ranking]))

    async def close(self) -> None:
        """Closes the connections; calls that still run are cancelled."""
        for channel in self._channels.values():
            await channel.close()
