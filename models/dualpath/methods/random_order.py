"""Random order: the floor under every table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.method import Kind, Settings

__all__ = ["RandomOrder"]


class RandomOrder:
    """Similarities without meaning."""

    name = "random"
    kind = Kind.BASELINE
    space: Mapping[str, tuple[Any, ...]] = {}

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> "_Random":
        """Learns nothing."""
        return _Random(seed)


class _Random:
    def __init__(self, seed: int) -> None:
        self._seed = seed

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.random.default_rng(self._seed).random((len(video), len(music)), np.float32)
