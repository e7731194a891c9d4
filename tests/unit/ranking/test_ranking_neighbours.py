"""What is kept of searches answers only what it can answer for certain."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinoscore.ranking.neighbours import KnownRows, Neighbours, Place
from kinoscore.ranking.rows import Passage, TrackRecord
from kinoscore.ranking.scoring import Blocks, Weights, to_query
from kinoscore.ranking.store import Found
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

BLOCKS = Blocks(8, 4, 4)
ROWS = 60


class Store:
    """Tracks of one passage, in memory; counts what is read."""

    def __init__(self, seed: int) -> None:
        self.vectors = unit(np.random.default_rng(seed), ROWS)
        self.read: list[str] = []

    def search(self, query: NDArray[np.float32], weights: Weights, limit: int) -> list[Found]:
        similarities = self.vectors @ to_query(query[np.newaxis], BLOCKS, weights)[0]
        order = np.argsort(-similarities, kind="stable")[:limit]
        return [Found(f"t{row}", 0, 1, float(similarities[row]), 0.0, "") for row in order]

    async def passages(
        self, catalogue: str, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> dict[str, dict[int, Passage]]:
        self.read += wanted
        return {
            track: {0: Passage(0.0, 12.0, common_pb2.Emotion(), self.vectors[int(track[1:])])}
            for track in wanted
        }

    async def records(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, TrackRecord]:
        tracks = [track for track in track_ids if track != "nobody"]
        self.read += tracks
        return {
            track: TrackRecord(common_pb2.TrackMetadata(track_id=track), common_pb2.Emotion(), 1)
            for track in tracks
        }


def unit(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    blocks = [
        random.standard_normal((count, size)) for size in (BLOCKS.fused, BLOCKS.content, BLOCKS.emotion)
    ]
    return np.concatenate(
        [block / np.linalg.norm(block, axis=1, keepdims=True) for block in blocks], axis=1
    ).astype(np.float32)


def moved(query: NDArray[np.float32], random: np.random.Generator, step: float) -> NDArray[np.float32]:
    blocks = BLOCKS.split(query + step * random.standard_normal(BLOCKS.total).astype(np.float32))
    return np.concatenate([block / np.linalg.norm(block) for block in blocks])


def place(version: int = 1, weights: Weights | None = None, condition: Any = None) -> Place:
    return Place("c", version, condition, weights or Weights(1.0, 0.0, 0.0))


WEIGHTS = st.sampled_from([Weights(1, 0, 0), Weights(1, 2, 1), Weights(0, 1, 3)])


@settings(deadline=None)
@given(st.integers(0, 10_000), WEIGHTS, st.floats(0, 0.3), st.integers(1, ROWS))
async def test_what_is_told_without_a_search_is_what_a_search_would_find_first(
    seed: int, weights: Weights, step: float, limit: int
) -> None:
    random = np.random.default_rng(seed)
    store: Any = Store(seed)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit(random, 1)[0]
    where = place(weights=weights)
    for _ in range(4):
        told = neighbours.nearest(where, query)
        truth = store.search(query, weights, ROWS)[: len(told)]
        assert [hit.similarity for hit in told] == pytest.approx([hit.similarity for hit in truth], abs=1e-5)
        assert {hit.track_id for hit in told} == {hit.track_id for hit in truth}
        found = store.search(query, weights, limit)
        await neighbours.remember(where, query, found, Deadline.after(9), is_all=limit == ROWS)
        query = moved(query, random, step)


async def test_a_query_that_hardly_moved_needs_no_search_and_one_of_elsewhere_does() -> None:
    random = np.random.default_rng(1)
    store: Any = Store(1)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit(random, 1)[0]
    found = store.search(query, place().weights, 40)
    await neighbours.remember(place(), query, found, Deadline.after(9), is_all=False)
    assert len(neighbours.nearest(place(), moved(query, random, 0.01))) > 10
    assert neighbours.nearest(place(), -query) == []


@pytest.mark.parametrize(
    "other",
    [place(version=2), place(weights=Weights(1, 1, 1)), place(condition="another")],
    ids=["version", "weights", "filter"],
)
async def test_nothing_is_told_where_another_version_filter_or_weights_were_searched(other: Place) -> None:
    store: Any = Store(2)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit(np.random.default_rng(2), 1)[0]
    found = store.search(query, place().weights, 40)
    await neighbours.remember(place(), query, found, Deadline.after(9), is_all=False)
    assert neighbours.nearest(other, query) == []


async def test_rows_are_read_once_a_version() -> None:
    store: Any = Store(3)
    rows = KnownRows(store)
    deadline = Deadline.after(9)
    for version in (1, 1, 2):
        passages = await rows.passages("c", version, {"t1": [0], "t2": [0]}, deadline)
        assert passages.keys() == {"t1", "t2"}
        records = await rows.records("c", version, ["t1", "nobody"], deadline)
        assert records.keys() == {"t1"}
    assert store.read == ["t1", "t2", "t1"] * 2
