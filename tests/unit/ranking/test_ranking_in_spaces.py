"""RankingService in two spaces over one folder: which of them a request is answered in."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.repository import write_tiny_repository

from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import FailedPrecondition, KinoscoreError, NotFound, SpaceMismatch
from kinoscore.inference.repository import Manifest, ModelRepository
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.engines import open_engine
from kinoscore.ranking.in_spaces import RankingInSpaces
from kinoscore.ranking.servicer import RankingServicer
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RankingSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.stack import vector_dimension
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc

SETTINGS = RankingSettings(port=0, grace_seconds=0.0, search_seconds=60.0)


class Ranking:
    """A ranking service with models of some spaces, over a folder that may hold others."""

    def __init__(self, stub: Any, servicer: RankingInSpaces, old: str, new: str) -> None:
        self._stub = stub
        self.servicer = servicer
        self.old = old
        self.new = new

    async def ask(self, method: str, **fields: Any) -> Any:
        request = getattr(ranking_pb2, f"{method}Request")(**fields)
        try:
            return await getattr(self._stub, method)(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def add(self, track_id: str, *, space: str) -> None:
        metadata = common_pb2.TrackMetadata(track_id=track_id, duration_seconds=12.0)
        await self.ask(
            "UpsertTrack", space=space, metadata=metadata, track=embedding(), passages=[embedding()]
        )

    async def ids(self, space: str) -> list[str]:
        listed = await self.ask("ListTracks", space=space)
        assert listed.space == space
        return [track.track_id for track in listed.tracks]


def embedding() -> common_pb2.Embedding:
    random = np.random.default_rng(0)
    return common_pb2.Embedding(
        duration_seconds=12.0,
        fused=random.standard_normal(256),
        content=random.standard_normal(128),
        emotion_vector=random.standard_normal(64),
    )


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Of the old models and the new."""
    folder = tmp_path_factory.mktemp("repositories")
    return [
        ModelRepository.load(write_tiny_repository(folder / str(seed), seed=seed)).manifest for seed in (0, 1)
    ]


class Opening:
    """Opens the service anew over the same folder."""

    def __init__(self, folder: Path, manifests: list[Manifest]) -> None:
        self._folder = folder
        self._manifests = manifests

    async def served(self, *numbers: int) -> AsyncIterator[Ranking]:
        connection = Connection(open_engine(str(self._folder)))
        cache = MemoryCache()
        served, stores = {}, []
        for manifest in (self._manifests[number] for number in numbers):
            store = await MilvusStore.within(connection, manifest.space, vector_dimension(manifest))
            served[manifest.space] = RankingServicer(store, cache, manifest, SETTINGS)
            stores.append(store)
        servicer = RankingInSpaces(served, connection, ActiveSpace(connection), cache, SETTINGS)
        server = Server(SETTINGS)
        server.add(servicer)
        async with grpc.aio.insecure_channel(await server.start()) as channel:
            stub = ranking_pb2_grpc.RankingServiceStub(channel)
            old, new = (manifest.space for manifest in self._manifests)
            yield Ranking(stub, servicer, old, new)
        await server.stop()
        await servicer.close()
        for store in stores:
            await store.close()
        await connection.close()


@pytest.fixture
def opening(tmp_path: Path, manifests: list[Manifest]) -> Opening:
    return Opening(tmp_path / "vectors", manifests)


async def test_a_request_that_names_no_space_is_answered_in_the_active_one(opening: Opening) -> None:
    async for ranking in opening.served(0, 1):
        spaces = await ranking.ask("ListSpaces")
        assert (spaces.active_space, spaces.sole_owner) == (ranking.old, True)
        assert list(spaces.served_spaces) == [ranking.old, ranking.new]
        await ranking.add("a", space="")
        await ranking.add("b", space=ranking.new)
        for active, track_id in ((ranking.old, "a"), (ranking.new, "b")):
            assert (await ranking.ask("SwitchSpace", space=active, force=True)).previous_space
            found = await ranking.ask("SearchTracks", clip=embedding())
            assert (found.space, [hit.track.track_id for hit in found.hits]) == (active, [track_id])
            described = await ranking.ask("DescribeSpace")
            assert (described.space, described.track_count) == (active, 1)
            assert (await ranking.ask("GetTrack", track_id=track_id)).space == active
        # A request that began before the switch goes on in its space.
        found = await ranking.ask("SearchTracks", clip=embedding(), space=ranking.old)
        assert [hit.track.track_id for hit in found.hits] == ["a"]


async def test_changes_and_deletions_reach_every_space_that_is_served(opening: Opening) -> None:
    async for ranking in opening.served(0, 1):
        for track_id in ("a", "b"):
            await ranking.add(track_id, space=ranking.old)
        await ranking.add("b", space=ranking.new)
        for track_id in ("a", "b"):
            metadata = common_pb2.TrackMetadata(track_id=track_id, title="New")
            assert (await ranking.ask("UpdateTrackMetadata", metadata=metadata)).changed
        for space, track_id in ((ranking.old, "a"), (ranking.old, "b"), (ranking.new, "b")):
            told = await ranking.ask("GetTrack", track_id=track_id, space=space)
            assert told.track.metadata.title == "New"
        await ranking.ask("DeleteTracks", track_ids=["a", "b"])
        assert await ranking.ids(ranking.old) == await ranking.ids(ranking.new) == []


async def test_a_space_that_is_named_is_the_only_one_changed(opening: Opening) -> None:
    async for ranking in opening.served(0, 1):
        for space in (ranking.old, ranking.new):
            await ranking.add("a", space=space)
        metadata = common_pb2.TrackMetadata(track_id="a", title="New")
        await ranking.ask("UpdateTrackMetadata", metadata=metadata, space=ranking.new)
        assert not (await ranking.ask("GetTrack", track_id="a")).track.metadata.title
        await ranking.ask("DeleteTracks", track_ids=["a"], space=ranking.new)
        assert await ranking.ids(ranking.old) == ["a"]
        assert await ranking.ids(ranking.new) == []


async def test_an_active_space_without_models_is_listed_but_not_searched(opening: Opening) -> None:
    async for ranking in opening.served(0):
        await ranking.add("a", space="")
    async for ranking in opening.served(1):
        await ranking.servicer.check(Deadline.after(60))
        assert (await ranking.ask("ListSpaces")).active_space == ranking.old
        assert await ranking.ids(ranking.old) == ["a"]
        [size] = (await ranking.ask("ListCatalogues", space=ranking.old)).catalogues
        assert (size.catalogue, size.track_count) == ("default", 1)
        with pytest.raises(SpaceMismatch, match=f"no models of the embedding space {ranking.old}"):
            await ranking.ask("SearchTracks", clip=embedding())
        # What is written goes where models are.
        await ranking.add("b", space="")
        assert await ranking.ids(ranking.new) == ["b"]
        with pytest.raises(SpaceMismatch):
            await ranking.add("c", space=ranking.old)
        with pytest.raises(SpaceMismatch):
            await ranking.ask("DeleteTracks", track_ids=["a"], space=ranking.old)


@pytest.mark.parametrize(("method", "kind"), [("ListTracks", FailedPrecondition), ("SwitchSpace", NotFound)])
async def test_a_space_that_the_store_does_not_hold_is_refused(
    opening: Opening, method: str, kind: type[KinoscoreError]
) -> None:
    async for ranking in opening.served(0):
        with pytest.raises(kind, match="sother0000000"):
            await ranking.ask(method, space="sother0000000")
