"""What a track scores that nobody chose."""

import asyncio
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.vectors import unit_blocks

from kinoscore.ranking import typical
from kinoscore.ranking.filters import Filter, parse_filter
from kinoscore.ranking.neighbours import KnownRows, Place
from kinoscore.ranking.rows import Passage, TrackRecord
from kinoscore.ranking.scoring import Blocks, Weights, cosines, similarity
from kinoscore.ranking.typical import TypicalScores
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

BLOCKS = Blocks(8, 4, 4)
WEIGHTS = Weights(0.5, 0.3, 0.2)
SPANISH = parse_filter('artist = "Ana"')


class Store:
    """Tracks in memory; every third one passes a filter. Counts what is asked."""

    def __init__(self, counts: Iterable[int]) -> None:
        random = np.random.default_rng(0)
        self.tracks = {
            f"t{number:04d}": unit_blocks(random, BLOCKS, count) for number, count in enumerate(counts)
        }
        self.scans = 0
        self.read = 0

    async def valences(
        self, catalogue: str, condition: Filter | None, deadline: Deadline
    ) -> dict[str, float]:
        self.scans += 1
        await asyncio.sleep(0)
        return dict.fromkeys(list(self.tracks)[:: 1 if condition is None else 3], 0.0)

    async def passages(
        self, catalogue: str, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> dict[str, dict[int, Passage]]:
        found = {
            track: {
                number: Passage(0.0, 12.0, common_pb2.Emotion(), self.tracks[track][number])
                for number in numbers
            }
            for track, numbers in wanted.items()
        }
        self.read += sum(len(own) for own in found.values())
        return found

    async def records(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, TrackRecord]:
        return {
            track: TrackRecord(common_pb2.TrackMetadata(), common_pb2.Emotion(), len(self.tracks[track]))
            for track in track_ids
        }

    def mean_score(self, query: NDArray[np.float32], step: int = 1) -> float:
        chosen = list(self.tracks.values())[::step]
        return float(
            np.mean([similarity(cosines(query[np.newaxis], own, BLOCKS), WEIGHTS)[0].max() for own in chosen])
        )


QUERY = unit_blocks(np.random.default_rng(1), BLOCKS, 1)[0]


def scores_of(store: Store) -> TypicalScores:
    return TypicalScores(store, KnownRows(store), BLOCKS)  # type: ignore[arg-type]


async def score(scores: TypicalScores, version: int = 1, condition: Filter | None = None) -> float | None:
    return await scores.score(Place("c", version, condition, WEIGHTS), QUERY, Deadline.after(5))


@given(st.lists(st.integers(1, typical.SAMPLED_PASSAGES), min_size=1, max_size=typical.SAMPLED_TRACKS))
async def test_of_a_small_catalogue_it_is_the_mean_of_all_tracks_at_their_best_passages(
    counts: list[int],
) -> None:
    store = Store(counts)
    assert await score(scores_of(store)) == pytest.approx(store.mean_score(QUERY), abs=1e-4)


async def test_of_a_large_catalogue_no_more_than_a_sample_is_read() -> None:
    store = Store([40] * 1000)
    found = await score(scores_of(store))
    assert found == pytest.approx(store.mean_score(QUERY), abs=0.1)
    assert store.read == typical.SAMPLED_TRACKS * typical.SAMPLED_PASSAGES


async def test_only_tracks_that_the_filter_lets_pass_count() -> None:
    store = Store([2] * 60)
    assert await score(scores_of(store), condition=SPANISH) == pytest.approx(
        store.mean_score(QUERY, step=3), abs=1e-4
    )


async def test_where_no_track_may_be_named_there_is_none() -> None:
    assert await score(scores_of(Store([]))) is None


async def test_streams_that_begin_together_take_one_sample() -> None:
    store = Store([2] * 60)
    scores = scores_of(store)
    found = await asyncio.gather(*(score(scores) for _ in range(8)))
    assert (store.scans, len(set(found))) == (1, 1)


async def test_the_sample_is_taken_once_and_stands_for_a_while_when_the_catalogue_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store([2] * 100)
    scores = scores_of(store)
    for version in (1, 1, 2, 3):
        await score(scores, version)
    assert store.scans == 1
    monkeypatch.setattr(typical, "LASTING_SECONDS", 0.0)
    await score(scores, 1)
    assert store.scans == 1
    await score(scores, 4)
    assert store.scans == 2


async def test_the_sample_of_a_small_catalogue_is_as_new_as_the_catalogue() -> None:
    store = Store([2])
    scores = scores_of(store)
    await score(scores, 1)
    store.tracks |= Store([2] * 20).tracks
    assert await score(scores, 2) == pytest.approx(store.mean_score(QUERY), abs=1e-4)
