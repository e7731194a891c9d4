"""The ranking over a store that tells similarities roughly."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.repository import write_tiny_repository

from kinoscore.inference.repository import Manifest, ModelRepository
from kinoscore.ranking.rows import Passage
from kinoscore.ranking.scoring import Weights, rounded
from kinoscore.ranking.search import Query, TrackSearch
from kinoscore.ranking.store import Found
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

K = 4
# Far more than single precision is off, less than half the last decimal of a score.
ROUGHNESS = 4e-5


class RoughStore:
    """Tracks of one passage; the similarities that its searches tell are a little off."""

    def __init__(self, vectors: NDArray[np.float32], errors: list[float]) -> None:
        self._vectors = {f"t{number:02d}": vector for number, vector in enumerate(vectors)}
        self._errors = dict(zip(self._vectors, errors, strict=True))
        self.fetched: set[str] = set()

    async def search(
        self, catalogue: str, queries: NDArray[np.float32], condition: None, *, limit: int, **_: Any
    ) -> list[list[Found]]:
        found = [
            Found(track_id, 0, 1, float(queries[0] @ vector) + self._errors[track_id], 0.0, "")
            for track_id, vector in self._vectors.items()
        ]
        return [sorted(found, key=lambda hit: -hit.similarity)[:limit]]

    async def passages(
        self, catalogue: str, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> dict[str, dict[int, Passage]]:
        self.fetched |= wanted.keys()
        return {
            track_id: {0: Passage(0.0, 12.0, common_pb2.Emotion(), self._vectors[track_id])}
            for track_id in wanted
        }

    async def metadata(
        self, catalogue: str, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, common_pb2.TrackMetadata]:
        return {track_id: common_pb2.TrackMetadata(track_id=track_id) for track_id in track_ids}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("models"))).manifest


def vectors(manifest: Manifest, similarities: list[float]) -> NDArray[np.float32]:
    """Of unit blocks, with these cosines to the clip's vector in each block."""
    sizes = manifest.dimensions
    blocks = []
    for size in (sizes.fused, sizes.content, sizes.emotion):
        block = np.zeros((len(similarities), size))
        block[:, 0] = similarities
        block[:, 1] = np.sqrt(1 - np.square(similarities))
        blocks.append(block)
    return np.concatenate(blocks, axis=1).astype(np.float32)


def query(manifest: Manifest) -> Query:
    clip = Passage(0.0, 12.0, common_pb2.Emotion(), vectors(manifest, [1.0])[0])
    return Query("default", clip, (clip,), K, Weights(1.0, 1.0, 1.0), None, 0, 0.0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(5000, 5006), st.floats(-ROUGHNESS, ROUGHNESS)), min_size=K, max_size=K + 8)
)
async def test_rough_estimates_decide_neither_the_order_nor_who_is_in_it(
    manifest: Manifest, tracks: list[tuple[int, float]]
) -> None:
    similarities = [number / 10_000 for number, _ in tracks]
    store = RoughStore(vectors(manifest, similarities), [error for _, error in tracks])
    ranked = await TrackSearch(store, manifest).rank(query(manifest), Deadline.after(10))  # type: ignore[arg-type]
    expected = sorted(
        (-rounded(similarity), f"t{number:02d}") for number, similarity in enumerate(similarities)
    )
    assert [(-one.score, one.metadata.track_id) for one in ranked] == expected[:K]


async def test_tracks_that_cannot_enter_the_answer_are_not_fetched(manifest: Manifest) -> None:
    store = RoughStore(vectors(manifest, [0.9 - number / 100 for number in range(10)]), [0.0] * 10)
    await TrackSearch(store, manifest).rank(query(manifest), Deadline.after(10))  # type: ignore[arg-type]
    assert len(store.fetched) == K
