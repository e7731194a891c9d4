"""The spaces of a folder: what opening makes, and what an operator may do with them."""

from pathlib import Path

import numpy as np
import pytest

from kinoscore.errors import FailedPrecondition, NotFound, SpaceMismatch, Unavailable
from kinoscore.ranking import spaces
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.engines import open_engine
from kinoscore.ranking.rows import Passage, Track
from kinoscore.ranking.spaces import Space, drop_space, list_spaces, migrate, switch_space
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

OLD, NEW = "sold000000000", "snew000000000"
DIMENSION = 3


def soon() -> Deadline:
    return Deadline.after(60)


def track(track_id: str) -> Track:
    vector = np.array([1, 0, 0], dtype=np.float32)
    emotion = common_pb2.Emotion()
    passage = Passage(0.0, 12.0, emotion, vector)
    return Track(common_pb2.TrackMetadata(track_id=track_id), emotion, vector, (passage,))


async def index_one(folder: str, space: str) -> None:
    store = await MilvusStore.open(folder, space, DIMENSION)
    await store.upsert("default", track("t"), soon())
    await store.close()


def failing(*arguments: object, **more: object) -> None:
    raise OSError("the disk is gone")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "vectors")


async def test_the_first_space_of_a_store_is_the_active_one(folder: str) -> None:
    assert await list_spaces(folder) == []
    await index_one(folder, OLD)
    await index_one(folder, NEW)
    assert await list_spaces(folder) == [Space(NEW, 1, False), Space(OLD, 1, True)]


async def test_migrating_again_changes_nothing(folder: str) -> None:
    done = await migrate(folder, OLD, DIMENSION)
    assert f"kinoscore_{OLD}" in done[0]
    assert f"{OLD} the active space" in done[-1]
    assert await migrate(folder, OLD, DIMENSION) == []
    with pytest.raises(SpaceMismatch, match="dimension 3, not 4"):
        await migrate(folder, OLD, DIMENSION + 1)


async def test_switching_there_and_back_keeps_both(folder: str) -> None:
    await index_one(folder, OLD)
    await index_one(folder, NEW)
    assert await switch_space(folder, NEW) == OLD
    assert await list_spaces(folder) == [Space(NEW, 1, True), Space(OLD, 1, False)]
    assert await switch_space(folder, OLD) == NEW
    assert await list_spaces(folder) == [Space(NEW, 1, False), Space(OLD, 1, True)]


async def test_switching_to_nothing_is_refused(folder: str) -> None:
    await index_one(folder, OLD)
    await migrate(folder, NEW, DIMENSION)
    with pytest.raises(FailedPrecondition, match="holds no track"):
        await switch_space(folder, NEW)
    with pytest.raises(NotFound, match=f"no space 'sx'; it has {NEW}, {OLD}"):
        await switch_space(folder, "sx", force=True)
    assert await switch_space(folder, NEW, force=True) == OLD


async def test_the_active_space_cannot_be_dropped(folder: str) -> None:
    await index_one(folder, OLD)
    await index_one(folder, NEW)
    with pytest.raises(FailedPrecondition, match="is the active space"):
        await drop_space(folder, OLD)
    with pytest.raises(NotFound):
        await drop_space(folder, "sx")
    assert await drop_space(folder, NEW) == 1
    assert await list_spaces(folder) == [Space(OLD, 1, True)]


async def test_the_stores_of_two_spaces_share_a_folder_and_the_alias_moves_between_them(folder: str) -> None:
    await index_one(folder, OLD)
    connection = Connection(open_engine(folder))
    old = await MilvusStore.within(connection, OLD, DIMENSION)
    new = await MilvusStore.within(connection, NEW, DIMENSION)
    active = ActiveSpace(connection)
    assert await active.read(soon()) == OLD
    with pytest.raises(FailedPrecondition, match="holds no track"):
        await active.switch(NEW, force=False, deadline=soon())
    await new.upsert("other", track("u"), soon())
    assert await active.switch(NEW, force=False, deadline=soon()) == OLD
    assert await active.read(soon()) == NEW
    assert await old.catalogues(soon()) == {"default": 1}
    assert await new.catalogues(soon()) == {"other": 1}
    await old.close()
    await new.close()
    await connection.close()
    assert await list_spaces(folder) == [Space(NEW, 1, True), Space(OLD, 1, False)]


async def test_a_space_is_read_whatever_its_dimension_but_not_made(folder: str) -> None:
    await index_one(folder, OLD)
    connection = Connection(open_engine(folder))
    store = await MilvusStore.within(connection, OLD, None)
    assert list(await store.records("default", ["t"], soon())) == ["t"]
    with pytest.raises(FailedPrecondition, match=f"no index for the embedding space {NEW}"):
        await MilvusStore.within(connection, NEW, None)
    await store.close()
    await connection.close()
    assert [space.space for space in await list_spaces(folder)] == [OLD]


async def test_a_failed_write_prepares_every_store_anew(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(open_engine(folder))
    stores = [await MilvusStore.within(connection, space, DIMENSION) for space in (OLD, NEW)]
    monkeypatch.setattr(connection.engine.client, "upsert", failing)
    with pytest.raises(Unavailable):
        await stores[0].upsert("default", track("t"), soon())
    for store in stores:
        assert await store.upsert("default", track("t"), soon())
        assert list(await store.valences("default", None, soon())) == ["t"]
        await store.close()
    await connection.close()


class SilentEngine:
    """A server that answers the first look at the alias only; `looks` counts them."""

    embedded = False
    location = "http://nowhere"
    client = None
    looks = 0

    def open(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        pass


async def test_where_the_store_is_silent_the_last_known_space_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SilentEngine()

    def look(client: None, limit: object) -> str:
        engine.looks += 1
        if engine.looks > 1:
            raise Unavailable("silent")
        return OLD

    monkeypatch.setattr(spaces, "active_space", look)
    connection = Connection(engine)
    active = ActiveSpace(connection)
    assert [await active.read(soon()) for _ in range(4)] == [OLD] * 4
    # A store that was silent a moment ago is not asked by the next request.
    assert engine.looks == 2
    with pytest.raises(Unavailable):
        await active.look(soon())
    with pytest.raises(Unavailable):
        await ActiveSpace(connection).read(soon())
    await connection.close()
