"""Health says whether a service has what it needs."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kinoscore.errors import FailedPrecondition
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RankingSettings
from kinoscore.v1 import fusion_pb2_grpc, ranking_pb2_grpc

RANKING = "kinoscore.v1.RankingService"
FUSION = "kinoscore.v1.FusionService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Ranking(ranking_pb2_grpc.RankingServiceServicer):
    """A service whose store may be lost."""

    lost = False

    async def check(self, deadline: Deadline) -> None:
        if self.lost:
            raise FailedPrecondition("the vector store has lost it")


async def test_a_service_that_has_lost_its_store_does_not_serve_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kinoscore.runtime.server.CHECK_EVERY_SECONDS", 0.01)
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
        ranking.lost = True
        await become([NOT_SERVING, NOT_SERVING, SERVING])
        ranking.lost = False
        await become([SERVING, SERVING, SERVING])
    await server.stop()
