"""What Prometheus reads is what happened."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.servers import free_ports
from support.waiting import until

from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.runtime.metrics import REGISTRY
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import FusionSettings
from kinoscore.v1 import common_pb2, fusion_pb2, fusion_pb2_grpc

LABELS = {"service": "kinoscore.v1.FusionService", "method": "Fuse"}


class Fusion(fusion_pb2_grpc.FusionServiceServicer):
    """Answers after `gate`; an empty request is wrong, and the space `leave` is a defect."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()

    async def Fuse(self, request: Any, context: Any) -> fusion_pb2.FuseResponse:
        self.entered.set()
        if request.space == "defect":
            raise KeyError
        if request.space == "wrong":
            raise InvalidRequest("wrong")
        if request.space == "abort":
            await context.abort(grpc.StatusCode.ABORTED, "aborted")
        if request.space == "wait":
            await self.gate.wait()
        timings = common_pb2.Timings(
            queue_seconds=0.5, decode_seconds=1, inference_seconds=2, search_seconds=4
        )
        return fusion_pb2.FuseResponse(space="s", timings=timings)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {**LABELS, **labels}) or 0.0


def growth(name: str, **labels: str) -> Callable[[], float]:
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


@pytest.fixture
async def server() -> Any:
    running = Server(FusionSettings(port=0, metrics_port=free_ports(1)[0], grace_seconds=5.0))
    fusion = Fusion()
    running.add(fusion)
    async with grpc.aio.insecure_channel(await running.start()) as channel:
        yield running, fusion, fusion_pb2_grpc.FusionServiceStub(channel)
    await running.stop()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server._settings.metrics_port}/metrics"


async def page(server: Server) -> str:
    def read() -> str:
        with urlopen(url(server), timeout=20) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


@pytest.mark.parametrize(
    ("space", "status"),
    [("", "OK"), ("wrong", "INVALID_ARGUMENT"), ("defect", "INTERNAL"), ("abort", "ABORTED")],
)
async def test_every_request_is_counted_by_its_status_and_timed(server: Any, space: str, status: str) -> None:
    _, _, stub = server
    counted, timed = (
        growth("kinoscore_requests_total", status=status),
        growth("kinoscore_request_seconds_count"),
    )
    call = stub.Fuse(fusion_pb2.FuseRequest(space=space), timeout=20)
    assert (await call.code()).name == status
    # A status may reach the client before the server has written down that it sent it.
    await until(lambda: value("kinoscore_requests_in_flight") == 0, seconds=20)
    assert (counted(), timed()) == (1, 1)


async def test_requests_in_flight_are_told_and_one_that_left_is_counted_as_cancelled(server: Any) -> None:
    _, fusion, stub = server
    cancelled = growth("kinoscore_requests_total", status="CANCELLED")
    call = stub.Fuse(fusion_pb2.FuseRequest(space="wait"), timeout=20)
    waiting = asyncio.ensure_future(call)
    async with asyncio.timeout(20):
        await fusion.entered.wait()
        assert value("kinoscore_requests_in_flight") == 1
        call.cancel()
        await until(lambda: value("kinoscore_requests_in_flight") == 0, seconds=20)
    assert cancelled() == 1
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_stages_of_a_reply_are_added_up(server: Any) -> None:
    _, _, stub = server
    sums = {
        stage: growth("kinoscore_stage_seconds_sum", stage=stage)
        for stage in ("queue", "decode", "inference", "search")
    }
    for _ in range(2):
        await stub.Fuse(fusion_pb2.FuseRequest(), timeout=20)
    assert {stage: grown() for stage, grown in sums.items()} == {
        "queue": 1.0,
        "decode": 2.0,
        "inference": 4.0,
        "search": 8.0,
    }


async def test_prometheus_reads_all_of_it_over_http_until_the_server_has_stopped(server: Any) -> None:
    running, _, stub = server
    await stub.Fuse(fusion_pb2.FuseRequest(), timeout=20)
    families = {family.name for family in text_string_to_metric_families(await page(running))}
    assert {
        "kinoscore_requests",
        "kinoscore_requests_in_flight",
        "kinoscore_request_seconds",
        "kinoscore_stage_seconds",
        "kinoscore_batch_rows",
        "kinoscore_cache_lookups",
        "kinoscore_shared_answers",
        "kinoscore_stale_answers",
        "process_resident_memory_bytes",
    } <= families
    threads = threading.active_count()
    await running.stop()
    assert threading.active_count() < threads
    with pytest.raises(URLError):
        await page(running)


async def test_a_taken_port_for_metrics_is_refused_and_the_server_does_not_start(server: Any) -> None:
    running, _, _ = server
    second = Server(FusionSettings(port=0, metrics_port=running._settings.metrics_port))
    with pytest.raises(FailedPrecondition, match="for metrics") as refusal:
        await second.start()
    assert refusal.value.field == "metrics_port"


def test_no_port_for_metrics_is_the_default() -> None:
    assert FusionSettings.load().metrics_port == 0
