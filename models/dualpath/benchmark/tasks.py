"""What is measured: retrieval among pairs, or match against mismatch."""

import hashlib
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
        """Ranks of each direction. Pairs of the very same music are no wrong answers to each other."""
        return self.ranks(fitted.similarity(pairs.video, pairs.music), _same_music(pairs))

    def ranks(self, matrix: NDArray[np.floating[Any]], twins: NDArray[np.bool_] | None = None) -> Measured:
        """Ranks of each direction, from similarities [videos, tracks] whose diagonal holds the pairs.

        Args:
            twins: bool [videos, tracks], symmetric; see `evaluation.retrieval.ranks`.
        """
        measured: Measured = {"video to music": [], "music to video": []}
        for rows in self._galleries(len(matrix)):
            part = np.ix_(rows, rows)
            alike = None if twins is None else twins[part]
            measured["video to music"] += ranks(matrix[part], alike).tolist()
            measured["music to video"] += ranks(matrix[part].T, alike).tolist()
        return measured

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


def _same_music(pairs: FeaturePairs) -> NDArray[np.bool_] | None:
    """bool [n, n], True where two pairs have equal music tokens; None where no music occurs twice."""
    contents = np.array([hashlib.sha256(tokens.tobytes()).hexdigest() for tokens in pairs.music])
    if len(np.unique(contents)) == len(pairs):
        return None
    same: NDArray[np.bool_] = contents[:, None] == contents[None, :]
    return same


def _scores(fitted: Fitted, pairs: FeaturePairs) -> NDArray[np.floating[Any]]:
    return fitted.similarity(pairs.video, pairs.music).diagonal()
