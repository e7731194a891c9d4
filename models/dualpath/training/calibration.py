"""What services must know of a trained model: spread and error of its emotion, and the ranking weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.evaluation.embeddings import Embeddings, SideEmbeddings, similarity
from dualpath.evaluation.retrieval import figures

__all__ = ["calibrate", "tune_weights", "validation_score"]

_WEIGHT_GRID = (0.0, 0.25, 0.5, 1.0)
_UNKNOWN_ERROR = 1.0
"""RMS error of an emotion that no validation pair tells: half the range of the scale."""


def calibrate(
    training: SideEmbeddings, validation: SideEmbeddings, truth: NDArray[np.float32]
) -> dict[str, float]:
    """Mean and deviation of predictions over the training pairs; RMS error over the validation pairs.

    Rows of `truth` [n, 2] that hold NaN are left out; without any other the error is 1.
    """
    mean, deviation = training.valence_arousal.mean(axis=0), training.valence_arousal.std(axis=0)
    known = np.isfinite(truth).all(axis=1)
    error = np.full(2, _UNKNOWN_ERROR)
    if known.any():
        error = np.sqrt(((validation.valence_arousal - truth)[known] ** 2).mean(axis=0))
    return {
        "valence_mean": float(mean[0]),
        "arousal_mean": float(mean[1]),
        "valence_deviation": float(deviation[0]),
        "arousal_deviation": float(deviation[1]),
        "valence_error": float(error[0]),
        "arousal_error": float(error[1]),
    }


def tune_weights(embeddings: Embeddings) -> dict[str, float]:
    """Weights of content and emotion beside fused = 1 that score best on these (validation) pairs.

    The smaller weights win a tie.
    """
    candidates: list[dict[str, float]] = [
        {"fused": 1.0, "content": content, "emotion": emotion}
        for content in _WEIGHT_GRID
        for emotion in _WEIGHT_GRID
    ]
    return max(candidates, key=lambda weights: validation_score(similarity(embeddings, weights)))


def validation_score(matrix: NDArray[np.floating[Any]]) -> float:
    """Mean of R@1 and R@10 over both directions: what early stopping and the weights look at."""
    directions = (figures(matrix), figures(matrix.T))
    return float(np.mean([direction.recall[k] for direction in directions for k in (1, 10)]))
