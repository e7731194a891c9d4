"""The spaces of a folder: what opening makes, and what an operator may do with them."""

from pathlib import Path

import numpy as np
import pytest

from kinoscore.errors import FailedPrecondition, NotFound, SpaceMismatch
from kinoscore.ranking.rows import Passage, Track
from kinoscore.ranking.spaces import Space, drop_space, list_spaces, migrate, switch_space
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

OLD, NEW = "sold000000000", "snew000000000"
DIMENSION = 3


def soon() -> Deadline:
    return Deadline.after(60)


async def index_one(folder: str, space: str) -> None:
    store = await MilvusStore.open(folder, space, DIMENSION)
    vector = np.array([1, 0, 0], dtype=np.float32)
    emotion = common_pb2.Emotion()
    passage = Passage(0.0, 12.0, emotion, vector)
    track = Track(common_pb2.TrackMetadata(track_id="t"), emotion, vector, (passage,))
    await store.upsert("default", track, soon())
    await store.close()


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


async def test_a_store_of_another_space_can_be_filled_but_not_searched(folder: str) -> None:
    await index_one(folder, OLD)
    await index_one(folder, NEW)
    store = await MilvusStore.open(folder, NEW, DIMENSION)
    with pytest.raises(SpaceMismatch, match=f"active space of the vector store is {OLD}") as refusal:
        await store.require_active(soon())
    assert refusal.value.metadata == {"active": OLD, "served": NEW}
    with pytest.raises(SpaceMismatch):
        await store.require_last_active(soon())
    await store.close()
    await switch_space(folder, NEW)
    store = await MilvusStore.open(folder, NEW, DIMENSION)
    await store.require_active(soon())
    await store.close()
