"""What tracks score that nobody chose: the mean over a sample of those that may be named.

How far the best tracks are above it tells what a difference of scores is worth. That hangs on model and
catalogue: recorded music of one kind lies closer together than generated music of all kinds.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.ranking.least_recent import LeastRecent
from kinoscore.ranking.neighbours import KnownRows, Place
from kinoscore.ranking.scoring import Blocks, rounded, to_query
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.single_flight import SingleFlight

__all__ = ["TypicalScores"]

SAMPLED_TRACKS = 64
SAMPLED_PASSAGES = 16
"""Of each track."""
MOST_ROWS = 32 * SAMPLED_TRACKS * SAMPLED_PASSAGES
"""Of all samples that are kept, about 2 KB each."""
LASTING_SECONDS = 60.0
"""The sample of a larger catalogue stands for so long, whatever is written: a few tracks change little."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Tracks of a catalogue.

    Attributes:
        version: of the catalogue.
        taken: on the monotonic clock.
        vectors: float32 [passages, dimension], those of a track side by side.
        starts: int64 [tracks], where the passages of each begin.
    """

    version: int
    taken: float
    vectors: NDArray[np.float32]
    starts: NDArray[np.int64]

    def stands_for(self, version: int) -> bool:
        is_young = time.monotonic() - self.taken < LASTING_SECONDS
        return version == self.version or (is_young and len(self.starts) == SAMPLED_TRACKS)

    def weight(self) -> int:
        return 1 + len(self.vectors)


class TypicalScores:
    """Keeps samples of catalogues.

    Args:
        rows: reads the passages.
    """

    def __init__(self, store: MilvusStore, rows: KnownRows, blocks: Blocks) -> None:
        self._store = store
        self._rows = rows
        self._blocks = blocks
        self._samples = LeastRecent[_Sample](MOST_ROWS, _Sample.weight)
        self._sampling = SingleFlight[_Sample]("sample")

    async def score(self, place: Place, query: NDArray[np.float32], deadline: Deadline) -> float | None:
        """The mean score of the sampled tracks, each at its best passage, polarity left aside; None where no
        track may be named.

        Args:
            query: float32 [dimension], of unit blocks.
        """
        sample = await self._sample(place, deadline)
        if not len(sample.starts):
            return None
        [scaled] = to_query(query[np.newaxis], self._blocks, place.weights)
        return rounded(np.maximum.reduceat(sample.vectors @ scaled, sample.starts).mean())

    async def _sample(self, place: Place, deadline: Deadline) -> _Sample:
        key = (place.catalogue, place.condition)
        sample = self._samples.get(key)
        if sample is None or not sample.stands_for(place.version):
            sample = await self._sampling.run(key, lambda: self._taken(place, deadline), deadline)
            self._samples.put(key, sample)
        return sample

    async def _taken(self, place: Place, deadline: Deadline) -> _Sample:
        """Tracks at even distances in the order of their ids, and of each passages at even distances."""
        ids = list(await self._store.valences(place.catalogue, place.condition, deadline))
        chosen = [ids[number] for number in _evenly(len(ids), SAMPLED_TRACKS)]
        records = await self._rows.records(place.catalogue, place.version, chosen, deadline)
        wanted = {track: _evenly(record.passage_count, SAMPLED_PASSAGES) for track, record in records.items()}
        stored = await self._rows.passages(place.catalogue, place.version, wanted, deadline)
        vectors = [[passage.vector for passage in passages.values()] for passages in stored.values()]
        counts = [len(own) for own in vectors]
        return _Sample(
            version=place.version,
            taken=time.monotonic(),
            vectors=np.array([vector for own in vectors for vector in own], np.float32),
            starts=np.cumsum([0, *counts[:-1]])[: len(counts)],
        )


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to count - 1."""
    step = max(1.0, count / most)
    return [int(number * step) for number in range(min(count, most))]
