"""Health says whether a service has what it needs."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.repository import write_tiny_repository

from kinoscore.errors import FailedPrecondition, Unavailable
from kinoscore.fusion.servicer import FusionServicer
from kinoscore.inference import ModelRepository
from kinoscore.music.servicer import MusicEncoderServicer
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.server import CHECK_SECONDS, Server
from kinoscore.runtime.settings import RankingSettings, StackSettings
from kinoscore.v1 import fusion_pb2_grpc, ranking_pb2_grpc
from kinoscore.video.servicer import VideoEncoderServicer

RANKING = "kinoscore.v1.RankingService"
FUSION = "kinoscore.v1.FusionService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Ranking(ranking_pb2_grpc.RankingServiceServicer):
    """A service whose store may be lost, hang, or bring a defect to light."""

    def __init__(self) -> None:
        self.state = "well"
        self.asked = asyncio.Event()

    async def check(self, deadline: Deadline) -> None:
        self.asked.set()
        match self.state:
            case "lost":
                raise FailedPrecondition("the vector store has lost it")
            case "hung":
                await asyncio.Event().wait()
            case "defect":
                raise LookupError("nobody thought of that")


@pytest.mark.parametrize("state", ["lost", "hung", "defect"])
async def test_a_service_that_lacks_what_it_needs_does_not_serve_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr("kinoscore.runtime.server.CHECK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr("kinoscore.runtime.server.CHECK_SECONDS", 0.01)
    monkeypatch.setattr("kinoscore.runtime.server.CHECK_OVERRUN_SECONDS", 0.04)
    ranking, server = Ranking(), Server(RankingSettings(port=0))
    server.add(ranking)
    server.add(fusion_pb2_grpc.FusionServiceServicer())
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
        stub = health_pb2_grpc.HealthStub(channel)

        async def states() -> list[int]:
            requests = [health_pb2.HealthCheckRequest(service=name) for name in (RANKING, "", FUSION)]
            return [(await stub.Check(request)).status for request in requests]

        async def become(expected: list[int]) -> None:
            while await states() != expected:  # noqa: ASYNC110 - health is asked, it tells nothing by itself
                await asyncio.sleep(0.01)

        assert await states() == [SERVING, SERVING, SERVING]
        ranking.state = state
        await become([NOT_SERVING, NOT_SERVING, SERVING])
        ranking.state = "well"
        await become([SERVING, SERVING, SERVING])
    await server.stop()


async def test_a_check_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinoscore.runtime.server.CHECK_EVERY_SECONDS", 0.0)
    ranking, server = Ranking(), Server(RankingSettings(port=0))
    ranking.state = "hung"
    server.add(ranking)
    await server.start()
    await ranking.asked.wait()
    async with asyncio.timeout(CHECK_SECONDS):
        await server.stop()


class Engine:
    """Models that may be lost."""

    def __init__(self) -> None:
        self.lost = False

    async def check(self) -> None:
        if self.lost:
            raise Unavailable("Triton does not answer")


@pytest.mark.parametrize("kind", [VideoEncoderServicer, MusicEncoderServicer, FusionServicer])
async def test_an_encoder_is_as_well_as_its_models(kind: type, tmp_path: Path) -> None:
    manifest = ModelRepository.load(write_tiny_repository(tmp_path)).manifest
    engine = Engine()
    others = (object(),) if kind is not FusionServicer else ()
    servicer = kind(*others, engine, manifest, StackSettings())
    await servicer.check(Deadline.after(1.0))
    engine.lost = True
    with pytest.raises(Unavailable):
        await servicer.check(Deadline.after(1.0))
