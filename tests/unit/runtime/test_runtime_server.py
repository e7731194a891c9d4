"""A server admits, limits, answers, and goes down in good order."""

import asyncio
import itertools
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kinoscore.errors import FailedPrecondition, InvalidRequest, QueueFull, Unavailable
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import catalogue_name
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import FusionSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.runtime.telemetry import JsonFormatter, StageTimer, current_request, outgoing_metadata
from kinoscore.v1 import common_pb2, fusion_pb2, fusion_pb2_grpc

Behaviour = Callable[[grpc.aio.ServicerContext], Awaitable[object]]


class ScriptedFusion(fusion_pb2_grpc.FusionServiceServicer):
    """A service that does what the test says."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def Fuse(
        self, request: fusion_pb2.FuseRequest, context: grpc.aio.ServicerContext
    ) -> fusion_pb2.FuseResponse:
        await self._behaviour(context)
        return fusion_pb2.FuseResponse(space="s")


@asynccontextmanager
async def serving(
    behaviour: Behaviour, **changes: object
) -> AsyncIterator[tuple[Server, fusion_pb2_grpc.FusionServiceStub, grpc.aio.Channel]]:
    server = Server(FusionSettings.load(port=0, **{"grace_seconds": 5.0, **changes}))
    server.add(ScriptedFusion(behaviour))
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield server, fusion_pb2_grpc.FusionServiceStub(channel), channel
        finally:
            await server.stop()


async def nothing(context: grpc.aio.ServicerContext) -> None:
    pass


class Gate:
    """A behaviour that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, context: grpc.aio.ServicerContext) -> None:
        self.entered.release()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def error_of(call: Awaitable[object]) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_an_error_of_the_tree_reaches_the_client_as_itself() -> None:
    async def fail(context: grpc.aio.ServicerContext) -> None:
        raise InvalidRequest("k must be 1 to 1000", field="settings.k")

    async with serving(fail) as (_, stub, _):
        error = await error_of(stub.Fuse(fusion_pb2.FuseRequest()))
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.field) == ("k must be 1 to 1000", "settings.k")


async def test_a_defect_is_internal_and_tells_nothing_of_the_inside() -> None:
    async def fail(context: grpc.aio.ServicerContext) -> None:
        raise KeyError("secret")

    async with serving(fail) as (_, stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fuse(fusion_pb2.FuseRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")


async def test_a_request_without_deadline_gets_the_default_one() -> None:
    gate = Gate()
    async with serving(gate, default_deadline_seconds=0.05) as (_, stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fuse(fusion_pb2.FuseRequest())
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(gate.cancelled.wait(), 5)


async def test_the_callers_own_deadline_wins_over_the_default() -> None:
    seen = []

    async def look(context: grpc.aio.ServicerContext) -> None:
        seen.append(Deadline.of(context, 1.0).remaining())

    async with serving(look, default_deadline_seconds=1.0) as (_, stub, _):
        await stub.Fuse(fusion_pb2.FuseRequest(), timeout=60)
        await stub.Fuse(fusion_pb2.FuseRequest())
    # gRPC rounds a timeout up on its way, by a tenth of a second at this length.
    assert 50 < seen[0] <= 61
    assert 0 < seen[1] <= 1


async def test_work_stops_when_its_caller_has_left() -> None:
    gate = Gate()
    async with serving(gate) as (_, stub, _):
        call = stub.Fuse(fusion_pb2.FuseRequest())
        waiting = asyncio.ensure_future(call)
        await asyncio.wait_for(gate.entered.acquire(), 5)
        call.cancel()
        await asyncio.wait_for(gate.cancelled.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_more_requests_than_allowed_are_refused_and_the_others_answered() -> None:
    gate = Gate()
    async with serving(gate, max_concurrent_requests=2) as (_, stub, _):
        running = [asyncio.ensure_future(stub.Fuse(fusion_pb2.FuseRequest())) for _ in range(2)]
        for _ in running:
            await asyncio.wait_for(gate.entered.acquire(), 5)
        refusal = await error_of(stub.Fuse(fusion_pb2.FuseRequest()))
        assert isinstance(refusal, QueueFull)
        assert refusal.metadata["retry_seconds"] == "1"
        gate.open.set()
        assert [reply.space for reply in await asyncio.gather(*running)] == ["s", "s"]
        assert (await stub.Fuse(fusion_pb2.FuseRequest())).space == "s"


async def test_what_a_request_asks_of_its_own_server_does_not_count() -> None:
    gate, numbers = Gate(), itertools.count()

    async def first_asks_second(context: grpc.aio.ServicerContext) -> None:
        number = next(numbers)
        if number == 0:
            await stub.Fuse(fusion_pb2.FuseRequest(), metadata=outgoing_metadata())
        elif number == 1:
            await gate(context)

    async with serving(first_asks_second, max_concurrent_requests=2) as (_, stub, _):
        first = asyncio.ensure_future(stub.Fuse(fusion_pb2.FuseRequest()))
        await asyncio.wait_for(gate.entered.acquire(), 5)
        assert (await stub.Fuse(fusion_pb2.FuseRequest())).space == "s"
        gate.open.set()
        await first


async def test_stopping_refuses_new_requests_and_finishes_the_running_ones() -> None:
    gate = Gate()
    async with serving(gate) as (server, stub, channel):
        running = asyncio.ensure_future(stub.Fuse(fusion_pb2.FuseRequest()))
        await asyncio.wait_for(gate.entered.acquire(), 5)
        stopping = asyncio.create_task(server.stop())
        await until_not_serving(channel)
        assert isinstance(await error_of(stub.Fuse(fusion_pb2.FuseRequest())), Unavailable)
        gate.open.set()
        assert (await running).space == "s"
        await stopping


async def test_a_running_request_may_call_its_own_server_while_it_stops() -> None:
    gate, replies = Gate(), []

    async def call_again(context: grpc.aio.ServicerContext) -> None:
        if replies == [] and not gate.open.is_set():
            await gate(context)
            replies.append(await stub.Fuse(fusion_pb2.FuseRequest(), metadata=outgoing_metadata()))

    async with serving(call_again, max_concurrent_requests=1) as (server, stub, channel):
        running = asyncio.ensure_future(stub.Fuse(fusion_pb2.FuseRequest()))
        await asyncio.wait_for(gate.entered.acquire(), 5)
        stopping = asyncio.create_task(server.stop())
        await until_not_serving(channel)
        gate.open.set()
        assert (await running).space == "s"
        await stopping
    assert len(replies) == 1


async def test_what_outlasts_the_grace_is_cancelled() -> None:
    gate = Gate()
    async with serving(gate, grace_seconds=0.05) as (server, stub, _):
        running = asyncio.ensure_future(stub.Fuse(fusion_pb2.FuseRequest()))
        await asyncio.wait_for(gate.entered.acquire(), 5)
        await server.stop()
        assert isinstance(await error_of(running), Unavailable)
        await asyncio.wait_for(gate.cancelled.wait(), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_in_good_order(number: signal.Signals) -> None:
    async with serving(nothing) as (server, stub, _):
        running = asyncio.create_task(server.run_until_signal())
        assert (await stub.Fuse(fusion_pb2.FuseRequest())).space == "s"
        os.kill(os.getpid(), number)
        await asyncio.wait_for(running, 5)


async def test_health_is_known_for_the_whole_and_for_each_service() -> None:
    async with serving(nothing) as (_, _, channel):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "kinoscore.v1.FusionService"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_service() -> None:
    async with serving(nothing) as (_, _, channel):
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        names = {service.name for service in (await call.read()).list_services_response.service}
    assert "kinoscore.v1.FusionService" in names


async def test_a_taken_port_is_refused_with_a_remedy() -> None:
    async with serving(nothing) as (_, _, _):
        first = Server(FusionSettings.load(port=0))
        port = int((await first.start()).rpartition(":")[2])
        second = Server(FusionSettings.load(port=port))
        with pytest.raises(FailedPrecondition, match="choose another"):
            await second.start()
        await first.stop()


async def test_one_request_id_runs_through_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    async def look(context: grpc.aio.ServicerContext) -> None:
        logging.getLogger("kinoscore.test").warning("inside")
        request = current_request.get()
        assert request is not None
        assert request.id == "from-the-caller"

    lines = []
    handler = logging.Handler()
    handler.setFormatter(JsonFormatter())
    handler.emit = lambda record: lines.append(json.loads(handler.format(record)))  # type: ignore[method-assign]
    logger = logging.getLogger("kinoscore")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        async with serving(look) as (_, stub, _):
            await stub.Fuse(fusion_pb2.FuseRequest(), metadata=(("kinoscore-request-id", "from-the-caller"),))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    ours = [line for line in lines if line.get("request_id") == "from-the-caller"]
    assert [line["message"] for line in ours] == ["inside", "request"]
    assert ours[1]["method"] == "/kinoscore.v1.FusionService/Fuse"
    assert ours[1]["status"] == "OK"


def test_stages_add_up_over_services() -> None:
    timer = StageTimer()
    timer.include(
        common_pb2.Timings(queue_seconds=1, decode_seconds=2, inference_seconds=3, search_seconds=4)
    )
    timer.include(common_pb2.Timings(decode_seconds=1, total_seconds=100))
    with timer.searching():
        pass
    timings = timer.timings()
    assert (timings.queue_seconds, timings.decode_seconds, timings.inference_seconds) == (1, 3, 3)
    assert timings.search_seconds > 4
    assert 0 < timings.total_seconds < 10


def test_a_catalogue_name_is_checked() -> None:
    assert catalogue_name("") == "default"
    assert catalogue_name("films_2026.a-b") == "films_2026.a-b"
    for wrong in ("a b", "ä", "x" * 65, "a/b", "a\n"):
        with pytest.raises(InvalidRequest, match="catalogue name"):
            catalogue_name(wrong)


async def until_not_serving(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(5):
        async for reply in watch:
            if reply.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                break
    watch.cancel()
