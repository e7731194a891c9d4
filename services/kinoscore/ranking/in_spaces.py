"""RankingService in several embedding spaces: each request is answered in the space that it names.

A request that names none is answered in the active space; where no models of that are here, in the first
space that is served, except for a search, which is refused. So the index of new models can be filled, and
looked at, before anything is searched in it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import grpc

from kinoscore.cache import Cache
from kinoscore.errors import NotFound
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.answers import CatalogueAnswers
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.library import TrackLibrary
from kinoscore.ranking.servicer import RankingServicer, Settings
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import in_space
from kinoscore.v1 import ranking_pb2, ranking_pb2_grpc

__all__ = ["RankingInSpaces"]

Context = grpc.aio.ServicerContext[Any, Any]


class RankingInSpaces(ranking_pb2_grpc.RankingServiceServicer):
    """RankingService, by a servicer for each space whose models are here.

    Changes and deletions that name no space happen in every one that is served: what a librarian takes out
    stays out, whichever space is active next.

    Args:
        served: at least one servicer, by space; closed with this one.
        connection: of the stores; for the spaces without models, whose tracks can be listed.
        active: the record of the active space.
        cache: for what is told of the spaces without models.
    """

    def __init__(
        self,
        served: Mapping[str, RankingServicer],
        connection: Connection,
        active: ActiveSpace,
        cache: Cache,
        settings: Settings,
    ) -> None:
        self._served = served
        self._connection = connection
        self._active = active
        self._cache = cache
        self._settings = settings
        self._listed: dict[str, tuple[MilvusStore, TrackLibrary]] = {}
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Waits for the writes that go on; the stores of the servicers are closed by who opened them."""
        for servicer in self._served.values():
            await servicer.close()
        for store, library in self._listed.values():
            await library.close()
            await store.close()

    async def check(self, deadline: Deadline) -> None:
        """Returns when the store has an active space and the index that is answered from here. That may be of
        another space while the index of new models is filled.

        Raises:
            FailedPrecondition: it has not.
            Unavailable: it does not answer.
        """
        await self._active.look(deadline)
        await self._served[await self._home(deadline)].check(deadline)

    async def SearchTracks(
        self, request: ranking_pb2.SearchTracksRequest, context: Context
    ) -> ranking_pb2.SearchTracksResponse:
        space = request.space or await self._active.read(self._deadline(context))
        return await in_space(self._served, space).SearchTracks(request, context)

    async def UpsertTrack(
        self, request: ranking_pb2.UpsertTrackRequest, context: Context
    ) -> ranking_pb2.UpsertTrackResponse:
        space = request.space or await self._home(self._deadline(context))
        return await in_space(self._served, space).UpsertTrack(request, context)

    async def UpdateTrackMetadata(
        self, request: ranking_pb2.UpdateTrackMetadataRequest, context: Context
    ) -> ranking_pb2.UpdateTrackMetadataResponse:
        deadline = self._deadline(context)
        first, *others = await self._to_change(request.space, deadline)
        answer = await first.update(request, deadline)
        for library in others:
            with suppress(NotFound):
                await library.update(request, deadline)
        return answer

    async def GetTrack(
        self, request: ranking_pb2.GetTrackRequest, context: Context
    ) -> ranking_pb2.GetTrackResponse:
        deadline = self._deadline(context)
        return await (await self._library(request.space, deadline)).get(request, deadline)

    async def ListTracks(
        self, request: ranking_pb2.ListTracksRequest, context: Context
    ) -> ranking_pb2.ListTracksResponse:
        deadline = self._deadline(context)
        return await (await self._library(request.space, deadline)).page(request, deadline)

    async def DeleteTracks(
        self, request: ranking_pb2.DeleteTracksRequest, context: Context
    ) -> ranking_pb2.DeleteTracksResponse:
        deadline = self._deadline(context)
        # The active space comes first: `kinoscore reindex`, which copies from it, relies on that.
        first, *others = await self._to_change(request.space, deadline)
        answer = await first.delete(request, deadline)
        for library in others:
            await library.delete(request, deadline)
        return answer

    async def DescribeSpace(
        self, request: ranking_pb2.DescribeSpaceRequest, context: Context
    ) -> ranking_pb2.DescribeSpaceResponse:
        deadline = self._deadline(context)
        return await (await self._library(request.space, deadline)).describe(request, deadline)

    async def ListSpaces(
        self, request: ranking_pb2.ListSpacesRequest, context: Context
    ) -> ranking_pb2.ListSpacesResponse:
        return ranking_pb2.ListSpacesResponse(
            active_space=await self._active.read(self._deadline(context)),
            served_spaces=self._served,
            sole_owner=self._active.sole_owner,
        )

    async def SwitchSpace(
        self, request: ranking_pb2.SwitchSpaceRequest, context: Context
    ) -> ranking_pb2.SwitchSpaceResponse:
        before = await self._active.switch(
            request.space, force=request.force, deadline=self._deadline(context)
        )
        return ranking_pb2.SwitchSpaceResponse(previous_space=before)

    async def ListCatalogues(
        self, request: ranking_pb2.ListCataloguesRequest, context: Context
    ) -> ranking_pb2.ListCataloguesResponse:
        deadline = self._deadline(context)
        return await (await self._library(request.space, deadline)).catalogues(deadline)

    def _deadline(self, context: Context) -> Deadline:
        return Deadline.within(context, self._settings.search_seconds)

    async def _home(self, deadline: Deadline) -> str:
        """The space of a request that names none, and is no search."""
        active = await self._active.read(deadline)
        return active if active in self._served else next(iter(self._served))

    async def _to_change(self, requested: str, deadline: Deadline) -> list[TrackLibrary]:
        """The space that a request names, or else every one that is served, that of `_home` first."""
        if requested:
            return [in_space(self._served, requested).library]
        home = await self._home(deadline)
        others = [servicer for space, servicer in self._served.items() if space != home]
        return [servicer.library for servicer in (self._served[home], *others)]

    async def _library(self, requested: str, deadline: Deadline) -> TrackLibrary:
        """The tracks of any space that the store holds.

        Raises:
            FailedPrecondition: it holds no such space.
        """
        space = requested or await self._home(deadline)
        if space in self._served:
            return self._served[space].library
        async with self._opening:
            if space not in self._listed:
                store = await MilvusStore.within(self._connection, space, None)
                answers = CatalogueAnswers(
                    self._cache, space, fresh_seconds=self._settings.cache_seconds, stale_seconds=0.0
                )
                self._listed[space] = store, TrackLibrary(store, answers, space)
        return self._listed[space][1]
