"""Match against mismatch: the area under the ROC curve, a pure function on arrays."""

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest

__all__ = ["area_under_curve", "percentiles"]


def area_under_curve(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The chance that a match scores above a mismatch, a tie counting half: [n], [n] -> 0..1.

    Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the
    other", Annals of Mathematical Statistics 1947.

    Raises:
        InvalidRequest: no match, or no mismatch.
    """
    matches = int(truth.sum())
    if not 0 < matches < len(truth):
        raise InvalidRequest("the area under the curve needs rows that match and rows that do not")
    ranks = _middle_ranks(scores)
    return float((ranks[truth].sum() - matches * (matches + 1) / 2) / (matches * (len(truth) - matches)))


def percentiles(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks scaled to 0..1, so that the scores of models of different folds can be pooled: [n] -> [n]."""
    return (_middle_ranks(scores) - 0.5) / len(scores)


def _middle_ranks(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank of each score, 1 is lowest; equal scores share the mean of their ranks."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return middle
