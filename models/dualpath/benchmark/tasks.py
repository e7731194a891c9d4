"""What is measured: retrieval among pairs, or match against mismatch."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs
from dualpath.evaluation.matching import area_under_curve, percentiles
from dualpath.evaluation.report import galleries
from dualpath.evaluation.retrieval import RECALL_AT, ranks, recall_at
from dualpath.methods.method import Fitted

__all__ = ["Matching", "Measured", "Retrieval", "Task", "task_of"]

Measured = dict[str, list[float]]


class Task(Protocol):
    """One way to score a fitted method."""

    name: str

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """The rows that count."""
        ...

    def enough(self, match: NDArray[np.bool_]) -> bool:
        """Whether rows [n] that match or not can be scored."""
        ...

    def score(self, fitted: Fitted, pairs: FeaturePairs) -> float:
        """What tuning looks at; higher is better."""
        ...

    def measure(self, fitted: Fitted, pairs: FeaturePairs) -> Measured:
        """What the tables are made of: plain numbers, one a row."""
        ...


class Retrieval:
    """Each video searches all music of its fold, or of its gallery, and the reverse.

    Args:
        gallery: pairs are cut into galleries of this many, one after the other, and a rest is left out;
            without it all are one gallery.
    """

    name = "retrieval"

    def __init__(self, gallery: int | None = None) -> None:
        self.gallery = gallery

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """See `Task`."""
        pairs = pairs.matching()
        return pairs.rows(np.concatenate(self._galleries(len(pairs))))

    def enough(self, match: NDArray[np.bool_]) -> bool:
        """A gallery holds 2 pairs at least."""
        return int(match.sum()) >= (self.gallery or 2)

    def score(self, fitted: Fitted, pairs: FeaturePairs) -> float:
        """Mean of R@1, 5, 10 and 25 over both directions: smoother than one of them."""
        measured = self.measure(fitted, pairs)
        return float(np.mean([recall_at(np.array(rank), k) for rank in measured.values() for k in RECALL_AT]))

    def measure(self, fitted: Fitted, pairs: FeaturePairs) -> Measured:
        """Ranks of each direction."""
        return self.ranks(fitted.similarity(pairs.video, pairs.music))

    def ranks(self, matrix: NDArray[np.floating[Any]]) -> Measured:
        """Ranks of each direction, from similarities [videos, tracks] whose diagonal holds the pairs."""
        parts = [matrix[np.ix_(rows, rows)] for rows in self._galleries(len(matrix))]
        return {
            "video to music": np.concatenate([ranks(part) for part in parts]).tolist(),
            "music to video": np.concatenate([ranks(part.T) for part in parts]).tolist(),
        }

    def _galleries(self, pairs: int) -> list[NDArray[np.int64]]:
        return galleries(pairs, pairs if self.gallery is None else self.gallery)


class Matching:
    """Each row is a video and a music that match or do not."""

    name = "match"

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """See `Task`."""
        return pairs

    def enough(self, match: NDArray[np.bool_]) -> bool:
        """Rows that match, and rows that do not."""
        return bool(match.any() and not match.all())

    def score(self, fitted: Fitted, pairs: FeaturePairs) -> float:
        """Area under the curve."""
        return area_under_curve(_scores(fitted, pairs), pairs.match)

    def measure(self, fitted: Fitted, pairs: FeaturePairs) -> Measured:
        """Percentiles of the scores within the fold."""
        return {"percentile": percentiles(_scores(fitted, pairs)).tolist()}


def task_of(pairs: FeaturePairs) -> Task:
    """Matching where some rows do not match, else retrieval."""
    return Retrieval() if pairs.match.all() else Matching()


def _scores(fitted: Fitted, pairs: FeaturePairs) -> NDArray[np.floating[Any]]:
    return fitted.similarity(pairs.video, pairs.music).diagonal()
