"""Fitting the reading of the emotion of music: ridge regression and, for the classes, logistic regression."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dualpath.data.index import PairIndex, emotion_labels
from dualpath.evaluation.embeddings import SideEmbeddings
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_reading import AROUSAL_CUES, READ_CUES, VALENCE_CUES, MusicReading

__all__ = ["fit_reading", "read_music", "reread"]

_SHRINK = 0.1
"""Ridge, relative to the variance of a standardised cue. Our choice."""
_TINY = 1e-3
_LEAST_PASSAGES = 20
_ABSENT = -10.0
"""The logit of a class that the training passages do not hold."""


def read_music(network: DualPathNetwork, training: SideEmbeddings, index: PairIndex) -> bool:
    """Fits the reading of a network to its training passages; whether enough of them have an emotion."""
    assert training.cues is not None, "cues are of music"
    return fit_reading(
        network.reading, training.cues, index.valence_arousal, emotion_labels(index.valence_arousal)
    )


def reread(network: DualPathNetwork, music: SideEmbeddings) -> SideEmbeddings:
    """What the fitted reading says of music that was embedded before it was fitted."""
    assert music.cues is not None, "cues are of music"
    with torch.no_grad():
        point, logits = network.reading.read(torch.from_numpy(music.cues))
    return replace(music, valence_arousal=point.numpy(), probabilities=torch.softmax(logits, dim=1).numpy())


def fit_reading(
    reading: MusicReading,
    cues: NDArray[np.float32],
    valence_arousal: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> bool:
    """Fits `reading` to training passages; whether there were enough of known emotion.

    Args:
        cues: [n, 24], in the order of READ_CUES.
        valence_arousal: [n, 2]; rows that hold NaN are left out.
        labels: int64 [n], classes, without meaning where the emotion is not known.
    """
    known = np.isfinite(valence_arousal).all(axis=1)
    if known.sum() < _LEAST_PASSAGES:
        return False
    with torch.no_grad():
        given = torch.from_numpy(cues[known])
        reading.get_buffer("mean").copy_(given.mean(dim=0))
        reading.get_buffer("deviation").copy_(given.std(dim=0).clamp(min=_TINY))
        standard = reading.standard(given).double()
        target = torch.from_numpy(valence_arousal[known]).double()
        reading.get_buffer("bias").copy_(target.mean(dim=0))
        weight = torch.zeros(len(READ_CUES), 2)
        for axis, names in enumerate((VALENCE_CUES, AROUSAL_CUES)):
            columns = [READ_CUES.index(name) for name in names]
            weight[columns, axis] = _ridge(standard[:, columns], target[:, axis]).float()
        reading.get_buffer("weight").copy_(weight)
        terms = reading.terms(reading.point(given)).numpy()
    _fit_classes(reading, terms, labels[known])
    reading.get_buffer("fitted").fill_(1.0)
    return True


def _ridge(cues: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Hoerl and Kennard, "Ridge regression", 1970: (C + shrink * I)^-1 c with covariances C and c."""
    centred = cues - cues.mean(dim=0)
    covariance = centred.T @ centred / len(cues)
    shrunk = covariance + _SHRINK * torch.eye(len(covariance), dtype=cues.dtype)
    return torch.linalg.solve(shrunk, centred.T @ (target - target.mean()) / len(cues))


def _fit_classes(reading: MusicReading, terms: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    weight, bias = reading.get_buffer("class_weight"), reading.get_buffer("class_bias")
    weight.zero_()
    bias.fill_(_ABSENT)
    present = np.unique(labels)
    if len(present) == 1:
        bias[int(present[0])] = 0.0
        return
    model = LogisticRegression(max_iter=1000).fit(terms, labels)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn gives the second class alone
        coefficients = np.stack([np.zeros_like(coefficients[0]), coefficients[0]])
        intercepts = np.array([0.0, float(intercepts[0])])
    weight[:, torch.from_numpy(present)] = torch.from_numpy(coefficients.T).float()
    bias[torch.from_numpy(present)] = torch.from_numpy(intercepts).float()
