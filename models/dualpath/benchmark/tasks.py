"""What is measured: retrieval among pairs, or match against mismatch."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dualpath.baselines.method import Fitted
from dualpath.data.features.pairs import FeaturePairs
from dualpath.evaluation.matching import area_under_curve, percentiles
from dualpath.evaluation.retrieval import RECALL_AT, ranks, recall_at

__all__ = ["Matching", "Measured", "Retrieval", "Task", "task_of"]

Measured = dict[str, list[float]]


class Task(Protocol):
    """One way to score a fitted method."""

    name: str

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """The rows that count."""
        ...

    def score(self, fitted: Fitted, pairs: FeaturePairs) -> float:
        """What tuning looks at; higher is better."""
        ...

    def measure(self, fitted: Fitted, pairs: FeaturePairs) -> Measured:
        """What the tables are made of: plain numbers, one a row."""
        ...


class Retrieval:
    """Each video searches all music of its fold, and the reverse."""

    name = "retrieval"

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """See `Task`."""
        return pairs.matching()

    def score(self, fitted: Fitted, pairs: FeaturePairs) -> float:
        """Mean of R@1, 5, 10 and 25 over both directions: smoother than one of them."""
        measured = self.measure(fitted, pairs)
        return float(np.mean([recall_at(np.array(rank), k) for rank in measured.values() for k in RECALL_AT]))

    def measure(self, fitted: Fitted, pairs: FeaturePairs) -> Measured:
        """Ranks of each direction."""
        matrix = fitted.similarity(pairs.video, pairs.music)
        return {"video to music": ranks(matrix).tolist(), "music to video": ranks(matrix.T).tolist()}


class Matching:
    """Each row is a video and a music that match or do not."""

    name = "match"

    def rows(self, pairs: FeaturePairs) -> FeaturePairs:
        """See `Task`."""
        return pairs

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
