"""What is kept of searches answers only what it can answer for certain."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.vectors import unit_blocks

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
        self.vectors = unit_blocks(np.random.default_rng(seed), BLOCKS, ROWS)
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


def moved(query: NDArray[np.float32], random: np.random.Generator, step: float) -> NDArray[np.float32]:
    blocks = BLOCKS.split(query + step * random.standard_normal(BLOCKS.total).astype(np.float32))
    return np.concatenate([block / np.linalg.norm(block) for block in blocks])


def place(version: int = 1, weights: Weights | None = None, condition: Any = None) -> Place:
    return Place("c", version, condition, weights or Weights(1.0, 0.0, 0.0))


def surely_nearest(neighbours: Neighbours, where: Place, query: NDArray[np.float32]) -> dict[str, float]:
    """The tracks that are surely the nearest, with their similarities."""
    known = neighbours.nearest(where, query)
    if known is None:
        return {}
    pairs = zip(known.rows.hits, known.similarities.tolist(), strict=True)
    return {hit.track_id: similarity for hit, similarity in pairs if similarity > known.ceiling}


WEIGHTS = st.sampled_from([Weights(1, 0, 0), Weights(1, 2, 1), Weights(0, 1, 3)])


@settings(deadline=None)
@given(st.integers(0, 10_000), WEIGHTS, st.floats(0, 0.3), st.integers(1, ROWS))
async def test_what_is_told_without_a_search_is_what_a_search_would_find_first(
    seed: int, weights: Weights, step: float, limit: int
) -> None:
    random = np.random.default_rng(seed)
    store: Any = Store(seed)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit_blocks(random, BLOCKS, 1)[0]
    where = place(weights=weights)
    for _ in range(4):
        told = surely_nearest(neighbours, where, query)
        truth = (
            {hit.track_id: hit.similarity for hit in store.search(query, weights, len(told))} if told else {}
        )
        assert told == pytest.approx(truth, abs=1e-5)
        found = store.search(query, weights, limit)
        await neighbours.remember(where, query, found, Deadline.after(9), is_all=limit == ROWS)
        query = moved(query, random, step)


async def test_a_query_that_hardly_moved_needs_no_search_and_one_of_elsewhere_does() -> None:
    random = np.random.default_rng(1)
    store: Any = Store(1)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit_blocks(random, BLOCKS, 1)[0]
    found = store.search(query, place().weights, 40)
    await neighbours.remember(place(), query, found, Deadline.after(9), is_all=False)
    assert len(surely_nearest(neighbours, place(), moved(query, random, 0.01))) > 10
    assert not surely_nearest(neighbours, place(), -query)


@pytest.mark.parametrize(
    "other",
    [place(version=2), place(weights=Weights(1, 1, 1)), place(condition="another")],
    ids=["version", "weights", "filter"],
)
async def test_nothing_is_told_where_another_version_filter_or_weights_were_searched(other: Place) -> None:
    store: Any = Store(2)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit_blocks(np.random.default_rng(2), BLOCKS, 1)[0]
    found = store.search(query, place().weights, 40)
    await neighbours.remember(place(), query, found, Deadline.after(9), is_all=False)
    assert neighbours.nearest(other, query) is None


async def test_each_search_that_was_needed_is_followed_by_a_wider_one_until_all_rows_are_known() -> None:
    store: Any = Store(4)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit_blocks(np.random.default_rng(4), BLOCKS, 1)[0]
    limits = [neighbours.next_limit(place()), 5]
    while limits[-1] < ROWS:
        found = store.search(query, place().weights, limits[-1])
        await neighbours.remember(place(), query, found, Deadline.after(9), is_all=False)
        limits.append(neighbours.next_limit(place()))
    assert limits == [0, 5, 20, 80]
    found = store.search(query, place().weights, ROWS)
    await neighbours.remember(place(), query, found, Deadline.after(9), is_all=True)
    assert len(surely_nearest(neighbours, place(), -query)) == ROWS


async def test_the_searches_of_places_that_are_no_longer_looked_at_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kinoscore.ranking.neighbours.MOST_KEPT_ROWS", 100)
    store: Any = Store(5)
    neighbours = Neighbours(KnownRows(store), BLOCKS)
    query = unit_blocks(np.random.default_rng(5), BLOCKS, 1)[0]
    found = store.search(query, place().weights, 40)
    for version in (1, 2, 3):
        await neighbours.remember(place(version), query, found, Deadline.after(9), is_all=False)
    assert [neighbours.nearest(place(version), query) is None for version in (1, 2, 3)] == [
        True,
        False,
        False,
    ]


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
