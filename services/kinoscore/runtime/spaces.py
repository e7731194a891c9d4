"""The encoder services in several embedding spaces: each request is answered by the servicer of its space.

While a model is replaced, the old space and the new one are served side by side. A servicer knows one space
only; what stands here reads which one a request names and hands it on.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import grpc

from kinoscore.errors import KinoscoreError
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import in_space
from kinoscore.v1 import (
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2_grpc,
    video_pb2,
    video_pb2_grpc,
)

__all__ = ["FusionInSpaces", "MusicInSpaces", "VideoInSpaces"]

Context = grpc.aio.ServicerContext[Any, Any]


def _by_settings(method: str) -> Callable[["_InSpaces", AsyncIterator[Any], Context], Awaitable[Any]]:
    """A call with a stream of requests, whose settings at the head name the space."""

    async def answer(self: "_InSpaces", request_iterator: AsyncIterator[Any], context: Context) -> Any:
        servicer, requests = await self.chosen(request_iterator)
        return await getattr(servicer, method)(requests, context)

    return answer


class _InSpaces:
    """What the encoder services have in common: a servicer for each space."""

    def __init__(self, served: Mapping[str, Any]) -> None:
        self.served = served

    async def chosen(self, requests: AsyncIterator[Any]) -> tuple[Any, AsyncIterator[Any]]:
        """The servicer of the space that the settings at the head of a stream name, and the whole stream."""
        space, whole = await _space_of(requests)
        return in_space(self.served, space, field="settings.space"), whole

    async def check(self, deadline: Deadline) -> None:
        """As `check_any`."""
        await check_any(self.served.values(), deadline)


class VideoInSpaces(_InSpaces, video_pb2_grpc.VideoEncoderServiceServicer):
    """VideoEncoderService, by a servicer for each space."""

    EncodeClip = _by_settings("EncodeClip")

    async def EncodeLive(
        self, request_iterator: AsyncIterator[video_pb2.EncodeLiveRequest], context: Context
    ) -> AsyncIterator[video_pb2.EncodeLiveResponse]:
        servicer, requests = await self.chosen(request_iterator)
        async with aclosing(servicer.EncodeLive(requests, context)) as answers:
            async for answer in answers:
                yield answer


class MusicInSpaces(_InSpaces, music_pb2_grpc.MusicEncoderServiceServicer):
    """MusicEncoderService, by a servicer for each space."""

    EncodeTrack = _by_settings("EncodeTrack")


class FusionInSpaces(_InSpaces, fusion_pb2_grpc.FusionServiceServicer):
    """FusionService, by a servicer for each space."""

    async def Fuse(self, request: fusion_pb2.FuseRequest, context: Context) -> fusion_pb2.FuseResponse:
        answer: fusion_pb2.FuseResponse = await in_space(self.served, request.space).Fuse(request, context)
        return answer


async def check_any(servicers: Iterable[Any], deadline: Deadline) -> None:
    """Returns when one of the servicers can do its work: a new space that fails must not end the old one.

    Raises:
        KinoscoreError: none can; what the last one said.
    """
    failure: KinoscoreError | None = None
    for servicer in servicers:
        try:
            await servicer.check(deadline)
            return
        except KinoscoreError as error:
            failure = error
    if failure is not None:
        raise failure


async def _space_of(requests: AsyncIterator[Any]) -> tuple[str, AsyncIterator[Any]]:
    """The space that the settings at the head of a stream name, and the whole stream.

    Where the stream has no settings there, the space is empty: that is for the servicer to refuse.
    """
    stream = aiter(requests)
    first = await anext(stream, None)

    async def whole() -> AsyncIterator[Any]:
        if first is not None:
            yield first
            async for request in stream:
                yield request

    if first is None or first.WhichOneof("part") != "settings":
        return "", whole()
    return first.settings.space, whole()
