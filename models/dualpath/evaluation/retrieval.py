"""Retrieval figures: pure functions on arrays.

A similarity matrix is [queries, gallery], query i's one true answer is column i, higher is more alike. A tie
counts half of the tied answers as better, so that a constant matrix scores like chance. Where a gallery holds
the answer twice, the copy is no error: `twins` leaves it out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest

__all__ = [
    "RECALL_AT",
    "Figures",
    "bootstrap_interval",
    "figures",
    "figures_of_ranks",
    "intervals_of_ranks",
    "random_figures",
    "ranks",
    "recall_at",
]

RECALL_AT = (1, 5, 10, 25)


@dataclass(frozen=True, slots=True)
class Figures:
    """Recall is k -> share of queries answered among the first k; of ranks, 1 is best."""

    gallery: int
    recall: dict[int, float]
    median_rank: float
    mean_reciprocal_rank: float


def ranks(similarity: NDArray[np.floating], twins: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Rank of each query's true answer, 1 is best: [n, n] -> [n].

    Args:
        twins: bool [n, n], True where column j is no wrong answer to query i: it is left out of i's gallery.

    Raises:
        InvalidRequest: the matrix is not square, empty, or holds NaN.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not similarity.size:
        raise InvalidRequest(f"a similarity matrix is square and not empty, not of shape {similarity.shape}")
    if np.isnan(similarity).any():
        raise InvalidRequest("the similarity matrix holds NaN")
    true = similarity.diagonal()[:, None]
    wrong = ~np.eye(len(similarity), dtype=bool)
    if twins is not None:
        wrong &= ~twins
    better = ((similarity > true) & wrong).sum(axis=1)
    tied = ((similarity == true) & wrong).sum(axis=1)
    return 1.0 + better + 0.5 * tied


def recall_at(rank: NDArray[np.float64], k: int) -> float:
    """Share of ranks that are k or better."""
    return float((rank <= k).mean())


def figures(similarity: NDArray[np.floating]) -> Figures:
    """All figures of one direction: queries are the rows."""
    return figures_of_ranks(ranks(similarity), similarity.shape[1])


def figures_of_ranks(rank: NDArray[np.float64], gallery: int) -> Figures:
    """All figures of queries with these ranks [n], each in a gallery of this size."""
    return Figures(
        gallery=gallery,
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
    values: NDArray[np.floating],
    *,
    statistic: Callable[..., NDArray[np.floating]] = np.mean,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over queries: [n] -> (low, high).

    Args:
        statistic: np.mean or another that takes `axis`.
    """
    random = np.random.default_rng(seed)
    drawn = statistic(values[random.integers(0, len(values), (draws, len(values)))], axis=1)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return float(low), float(high)


def intervals_of_ranks(rank: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """The 95 % interval of every figure over these queries [n]; names as in `Row.as_dict`."""
    return {
        **{f"recall_at_{k}": bootstrap_interval((rank <= k).astype(np.float64)) for k in RECALL_AT},
        "median_rank": bootstrap_interval(rank, statistic=np.median),
        "mean_reciprocal_rank": bootstrap_interval(1.0 / rank),
    }
