"""RankingService at the front door's address, for clients that know one address only."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from kinoscore.recommend.backends import Backends
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.settings import ServerSettings
from kinoscore.v1 import ranking_pb2_grpc

__all__ = ["LibraryServicer"]

Context = grpc.aio.ServicerContext[Any, Any]


def _passed_on(method: str) -> Callable[["LibraryServicer", Any, Context], Awaitable[Any]]:
    async def pass_on(self: "LibraryServicer", request: Any, context: Context) -> Any:
        deadline = Deadline.of(context, self.default_seconds)
        return await self.ranking.ask(method, request, deadline)

    return pass_on


class LibraryServicer(ranking_pb2_grpc.RankingServiceServicer):
    """Passes each call on to the ranking service, with what is left of its deadline."""

    def __init__(self, backends: Backends, settings: ServerSettings) -> None:
        self.ranking = backends.ranking
        self.default_seconds = settings.default_deadline_seconds

    SearchTracks = _passed_on("SearchTracks")
    UpsertTrack = _passed_on("UpsertTrack")
    UpdateTrackMetadata = _passed_on("UpdateTrackMetadata")
    GetTrack = _passed_on("GetTrack")
    ListTracks = _passed_on("ListTracks")
    DeleteTracks = _passed_on("DeleteTracks")
    DescribeSpace = _passed_on("DescribeSpace")
    ListSpaces = _passed_on("ListSpaces")
    SwitchSpace = _passed_on("SwitchSpace")
    ListCatalogues = _passed_on("ListCatalogues")
