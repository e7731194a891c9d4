"""A service of this process is called as one behind a network is: what a caller sees, and what the service
sees, does not tell the two apart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc
import pytest

from kinoscore.errors import InvalidRequest
from kinoscore.runtime.calls import LocalService, RemoteService, Service
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import VideoSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.runtime.telemetry import REQUEST_ID_KEY, current_request
from kinoscore.v1 import video_pb2, video_pb2_grpc

Clips = AsyncIterator[video_pb2.EncodeClipRequest]
Lives = AsyncIterator[video_pb2.EncodeLiveRequest]
METADATA = ((REQUEST_ID_KEY, "from-the-caller"),)


class Scripted(video_pb2_grpc.VideoEncoderServiceServicer):
    """Answers with what it was sent; the space of the settings says what else happens."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.identities: list[str] = []

    async def EncodeClip(
        self, request_iterator: Clips, context: grpc.aio.ServicerContext
    ) -> video_pb2.EncodeClipResponse:
        first = await anext(request_iterator)
        await self._act(first.settings.space)
        rest = [request async for request in request_iterator]
        return video_pb2.EncodeClipResponse(space=first.settings.space, duration_seconds=len(rest))

    async def EncodeLive(
        self, request_iterator: Lives, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[video_pb2.EncodeLiveResponse]:
        first = await anext(request_iterator)
        number = 0
        async for _ in request_iterator:
            number += 1
            yield video_pb2.EncodeLiveResponse(space=str(number))
        await self._act(first.settings.space)

    async def _act(self, script: str) -> None:
        identity = current_request.get()
        assert identity is not None
        self.identities.append(identity.id)
        self.entered.set()
        if script == "refuse":
            raise InvalidRequest("not like this", field="settings.space")
        if script == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise


@asynccontextmanager
async def called(way: str) -> AsyncIterator[tuple[Service, Scripted]]:
    server, servicer = Server(VideoSettings.load(port=0, grace_seconds=0)), Scripted()
    local = server.add(servicer)
    assert isinstance(local, LocalService)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            stub = video_pb2_grpc.VideoEncoderServiceStub(channel)
            yield local if way == "local" else RemoteService(stub), servicer
        finally:
            await server.stop()


@pytest.fixture(params=["local", "remote"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def clip(script: str, chunks: int) -> Clips:
    yield video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(space=script))
    for _ in range(chunks):
        yield video_pb2.EncodeClipRequest()


async def live(script: str, chunks: int) -> Lives:
    yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings(space=script))
    for _ in range(chunks):
        yield video_pb2.EncodeLiveRequest()


async def test_a_stream_of_requests_is_answered_once_or_as_it_goes(way: str) -> None:
    async with called(way) as (service, _):
        answer = await service.answer_to_stream("EncodeClip", clip("s", 3), 9, METADATA)
        assert (answer.space, answer.duration_seconds) == ("s", 3)
        answers = service.answers_to_stream("EncodeLive", live("s", 3), METADATA)
        assert [answer.space async for answer in answers] == ["1", "2", "3"]


async def test_the_identity_of_a_request_goes_with_it_and_stays_there(way: str) -> None:
    async with called(way) as (service, servicer):
        await service.answer_to_stream("EncodeClip", clip("s", 0), 9, METADATA)
        assert [
            answer async for answer in service.answers_to_stream("EncodeLive", live("s", 0), METADATA)
        ] == []
        assert servicer.identities == ["from-the-caller"] * 2
        assert current_request.get() is None


async def test_a_refusal_comes_as_it_was_raised(way: str) -> None:
    async with called(way) as (service, _):
        with pytest.raises(grpc.aio.AioRpcError) as once:
            await service.answer_to_stream("EncodeClip", clip("refuse", 3), 9, METADATA)
        with pytest.raises(grpc.aio.AioRpcError) as after_answers:
            async for _ in service.answers_to_stream("EncodeLive", live("refuse", 2), METADATA):
                pass
    for caught in (once, after_answers):
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidRequest)
        assert (error.message, error.field) == ("not like this", "settings.space")


async def test_a_call_ends_at_its_deadline_and_the_service_stops(way: str) -> None:
    async with called(way) as (service, servicer):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.answer_to_stream("EncodeClip", clip("hang", 0), 2, METADATA)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_a_caller_who_leaves_stops_the_service(way: str) -> None:
    async with called(way) as (service, servicer):
        call = asyncio.create_task(service.answer_to_stream("EncodeClip", clip("hang", 0), 9, METADATA))
        await asyncio.wait_for(servicer.entered.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_a_consumer_who_closes_the_answers_stops_the_service(way: str) -> None:
    async with called(way) as (service, servicer):
        async with aclosing(service.answers_to_stream("EncodeLive", live("hang", 1), METADATA)) as answers:
            assert (await anext(answers)).space == "1"
            await asyncio.wait_for(servicer.entered.wait(), 5)
        await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_an_error_of_the_requests_is_the_callers_and_cancels_the_call(way: str) -> None:
    async def broken() -> AsyncIterator[object]:
        yield video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(space="s"))
        raise ConnectionError("the client went away")

    async def broken_live() -> AsyncIterator[object]:
        yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings(space="s"))
        yield video_pb2.EncodeLiveRequest()
        raise ConnectionError("the client went away")

    async with called(way) as (service, _):
        with pytest.raises(ConnectionError, match="went away"):
            await service.answer_to_stream("EncodeClip", broken(), 9, METADATA)
        with pytest.raises(ConnectionError, match="went away"):
            async for _ in service.answers_to_stream("EncodeLive", broken_live(), METADATA):
                pass


async def test_a_consumer_that_does_not_take_answers_stops_the_requests() -> None:
    drawn = 0

    async def endless() -> AsyncIterator[object]:
        nonlocal drawn
        yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings(space="s"))
        while True:
            drawn += 1
            yield video_pb2.EncodeLiveRequest()

    async with (
        called("local") as (service, _),
        aclosing(service.answers_to_stream("EncodeLive", endless(), METADATA)) as answers,
    ):
        await anext(answers)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert drawn <= 4
