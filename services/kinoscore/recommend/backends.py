"""The four services behind the front door, and the two ways to call each of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import grpc

from kinoscore.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from kinoscore.runtime.calls import LocalService, RemoteService, Service
from kinoscore.runtime.channels import channel_options
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.status import from_rpc_error
from kinoscore.runtime.telemetry import outgoing_metadata
from kinoscore.v1 import fusion_pb2_grpc, music_pb2_grpc, ranking_pb2_grpc, video_pb2_grpc

__all__ = ["LOST", "Backend", "Backends"]

LOST = (Unavailable, DeadlineExceeded, ResourceExhausted)
"""What says that a service is away, late or full: it may answer later."""


class Backend:
    """One of the services, and how an error names it.

    Args:
        name: `video`, `music`, `fusion` or `ranking`.
        place: where it runs.
    """

    def __init__(self, name: str, place: str, service: Service) -> None:
        self._service = service
        self._silent = f"the {name} service at {place} does not answer; see that it runs, then try again"

    async def ask(self, method: str, request: object, deadline: Deadline) -> Any:
        """One answer for one request, within what is left of the deadline.

        Raises:
            KinoscoreError: what the service raised, as the same class.
        """
        with self._errors():
            return await self._service.answer(method, request, deadline.require(), outgoing_metadata())

    async def ask_with_stream(self, method: str, requests: AsyncIterator[object], deadline: Deadline) -> Any:
        """One answer for a stream of requests, within what is left of the deadline.

        Raises:
            KinoscoreError: what the service raised, as the same class.
            Exception: whatever `requests` raised.
        """
        with self._errors():
            return await self._service.answer_to_stream(
                method, requests, deadline.require(), outgoing_metadata()
            )

    async def answers(self, method: str, requests: AsyncIterator[object]) -> AsyncGenerator[Any, None]:
        """The answers to a stream of requests, as they come, for as long as it takes.

        Close the generator (`contextlib.aclosing`) to cancel the call.

        Raises:
            KinoscoreError: what the service raised, as the same class.
        """
        with self._errors():
            async with aclosing(
                self._service.answers_to_stream(method, requests, outgoing_metadata())
            ) as answers:
                async for answer in answers:
                    yield answer

    @asynccontextmanager
    async def stream(
        self, method: str, requests: AsyncIterator[object], deadline: Deadline
    ) -> "AsyncIterator[asyncio.Task[Any]]":
        """`ask_with_stream` as a task. One without an answer at the end of the block is cancelled."""
        answering = asyncio.create_task(self.ask_with_stream(method, requests, deadline))
        try:
            yield answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, silent=self._silent) from error


class Backends:
    """The four services: each at an address, or one of this process. Equal addresses share a channel.

    Who makes one, closes it.
    """

    def __init__(
        self,
        *,
        video: str | LocalService,
        music: str | LocalService,
        fusion: str | LocalService,
        ranking: str | LocalService,
    ) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.video = self._backend("video", video, video_pb2_grpc.VideoEncoderServiceStub)
        self.music = self._backend("music", music, music_pb2_grpc.MusicEncoderServiceStub)
        self.fusion = self._backend("fusion", fusion, fusion_pb2_grpc.FusionServiceStub)
        self.ranking = self._backend("ranking", ranking, ranking_pb2_grpc.RankingServiceStub)

    async def close(self) -> None:
        """Closes the connections; calls that still run over them are cancelled."""
        for channel in self._channels.values():
            await channel.close()

    def _backend(self, name: str, place: str | LocalService, stub: Callable[[Any], Any]) -> Backend:
        if isinstance(place, LocalService):
            return Backend(name, "this process", place)
        if place not in self._channels:
            self._channels[place] = grpc.aio.insecure_channel(place, options=channel_options(place))
        return Backend(name, place, RemoteService(stub(self._channels[place])))
