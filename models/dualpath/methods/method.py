"""The interface of every method of the benchmark, ours included."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dualpath.data.features.pairs import FeaturePairs

__all__ = ["Fitted", "Kind", "Method", "Settings", "TwoBranches", "pool", "stranger_deviations", "unit"]

_STRANGERS_OF = 2000

Settings = Mapping[str, Any]


class Kind(StrEnum):
    """What a row of the table is: something that exists, ours, a control, or ours without one idea."""

    BASELINE = "baseline"
    OURS = "ours"
    CONTROL = "control"
    ABLATION = "ablation"


class Fitted(Protocol):
    """A method after training."""

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens [n, t, dv] and [m, t', dm] -> [n, m]; higher is more alike."""
        ...


class Method(Protocol):
    """A method before training.

    Attributes:
        name: as in `--methods`.
        kind: how the table treats it.
        space: the values that a tuning trial may draw for each setting; the first of each is the default.
    """

    name: str
    kind: Kind
    space: Mapping[str, tuple[Any, ...]]

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> Fitted:
        """Trains on prepared rows (`data.features.prepare`) with one value of each setting."""
        ...


class TwoBranches:
    """A fitted method that embeds each side alone; the similarity is the inner product.

    Args:
        read: what a branch sees of tokens.
    """

    def __init__(
        self,
        video: nn.Module,
        music: nn.Module,
        read: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> None:
        self._video, self._music, self._read = video, music, read

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Fitted`."""
        with torch.no_grad():
            left: Tensor = self._video(torch.from_numpy(self._read(video)))
            right: Tensor = self._music(torch.from_numpy(self._read(music)))
            result: NDArray[np.float32] = (left @ right.T).numpy()
        return result


def pool(tokens: NDArray[np.float32], spread: bool = True) -> NDArray[np.float32]:
    """[n, t, d] -> the mean over time [n, d], or mean and deviation [n, 2 d]."""
    mean = tokens.mean(axis=1)
    return np.concatenate([mean, tokens.std(axis=1)], axis=1) if spread else mean


def stranger_deviations(
    parts: Callable[[NDArray[np.float32], NDArray[np.float32]], Mapping[str, NDArray[np.float32]]],
    pairs: FeaturePairs,
) -> dict[str, float]:
    """Deviation of each of several similarities over pairs that do not belong together.

    Of the first 2,000 pairs, whose 4 million strangers are enough.
    """
    few = slice(_STRANGERS_OF)
    strangers = ~np.eye(len(pairs.video[few]), dtype=bool)
    return {
        name: max(float(values[strangers].std()), 1e-6)
        for name, values in parts(pairs.video[few], pairs.music[few]).items()
    }


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row scaled to length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    result: NDArray[np.float32] = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return result
