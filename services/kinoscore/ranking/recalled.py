"""The passages that a search found, side by side, so that all are judged at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.ranking.store import Found

__all__ = ["RecalledRows"]


@dataclass(frozen=True, slots=True, eq=False)
class RecalledRows:
    """n passages in order of track id, those of a track in order of time.

    Attributes:
        hits: n of them.
        starts: int64 [tracks], where the passages of each track begin.
        counts: int64 [tracks], how many they are.
        similarities: float64 [n], as the search told them.
        valences: float64 [n].
    """

    hits: Sequence[Found]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    similarities: NDArray[np.float64]
    valences: NDArray[np.float64]

    @classmethod
    def of(cls, found: Iterable[Found]) -> "RecalledRows":
        hits = sorted(found, key=lambda hit: (hit.track_id, hit.passage))
        starts = np.array(
            [row for row, hit in enumerate(hits) if not row or hit.track_id != hits[row - 1].track_id],
            np.int64,
        )
        return cls(
            hits,
            starts,
            np.diff(starts, append=len(hits)),
            np.array([hit.similarity for hit in hits], np.float64),
            np.array([hit.valence for hit in hits], np.float64),
        )

    def best_of_tracks(self, estimates: NDArray[np.float64]) -> Iterator[int]:
        """For each track the row of its best passage, the earliest of equals; the best track first, equals in
        order of their ids.

        Args:
            estimates: float64 [n]; minus infinity for rows to be left out.
        """
        if not self.hits:
            return
        best = np.maximum.reduceat(estimates, self.starts)
        places = np.flatnonzero(estimates == np.repeat(best, self.counts))
        rows = places[np.searchsorted(places, self.starts)]
        order = np.argsort(-best, kind="stable")
        yield from rows[order[best[order] > -np.inf]].tolist()
