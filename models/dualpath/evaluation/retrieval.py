"""Retrieval figures: pure functions on arrays.

A similarity matrix is [queries, gallery], query i's one true answer is column i, higher is more alike. A tie
counts half of the tied answers as better, so that a constant matrix scores like chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest

__all__ = ["Figures", "bootstrap_interval", "figures", "random_figures", "ranks", "recall_at"]

RECALL_AT = (1, 5, 10, 25)


@dataclass(frozen=True, slots=True)
class Figures:
    """Recall is k -> share of queries answered among the first k; of ranks, 1 is best."""

    gallery: int
    recall: dict[int, float]
    median_rank: float
    mean_reciprocal_rank: float


def ranks(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank of each query's true answer, 1 is best: [n, n] -> [n].

    Raises:
        InvalidRequest: the matrix is not square, empty, or holds NaN.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not similarity.size:
        raise InvalidRequest(f"a similarity matrix is square and not empty, not of shape {similarity.shape}")
    if np.isnan(similarity).any():
        raise InvalidRequest("the similarity matrix holds NaN")
    true = similarity.diagonal()[:, None]
    better = (similarity > true).sum(axis=1)
    tied = (similarity == true).sum(axis=1) - 1
    return 1.0 + better + 0.5 * tied


def recall_at(rank: NDArray[np.float64], k: int) -> float:
    """Share of ranks that are k or better."""
    return float((rank <= k).mean())


def figures(similarity: NDArray[np.floating]) -> Figures:
    """All figures of one direction: queries are the rows."""
    rank = ranks(similarity)
    return Figures(
        gallery=similarity.shape[1],
        recall={k: recall_at(rank, k) for k in RECALL_AT},
        median_rank=float(np.median(rank)),
        mean_reciprocal_rank=float((1.0 / rank).mean()),
    )


def random_figures(gallery: int) -> Figures:
    """What a random order reaches in expectation: recall k / n, median rank (n + 1) / 2, MRR H(n) / n."""
    harmonic = float((1.0 / np.arange(1, gallery + 1)).sum())
    return Figures(
        gallery=gallery,
        recall={k: min(k / gallery, 1.0) for k in RECALL_AT},
        median_rank=(gallery + 1) / 2,
        mean_reciprocal_rank=harmonic / gallery,
    )


def bootstrap_interval(
    values: NDArray[np.floating], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries: [n] -> (low, high)."""
    random = np.random.default_rng(seed)
    means = values[random.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return float(low), float(high)
