"""Canonical correlation analysis of pooled features.

With shrinkage, which scikit-learn's CCA lacks: without it, features as wide as the pairs are many correlate
perfectly on the training pairs and not at all on others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.method import Kind, Settings, pool, unit
from dualpath.networks.canonical import canonical_directions

__all__ = ["Cca"]


class Cca:
    """Cosine between canonical variates, each weighted by a power of its correlation."""

    name = "cca"
    kind = Kind.BASELINE
    space: Mapping[str, tuple[Any, ...]] = {
        "spread": (True, False),
        "directions": (30, 10, 20, 39),
        "shrink_video": (1.0, 0.3, 3.0, 10.0),
        "shrink_music": (1.0, 0.1, 0.3, 3.0),
        "power": (1.0, 0.5, 0.0),
    }

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> "Projections":
        """See `Method`."""
        pairs = training.matching()
        video, music = pool(pairs.video, settings["spread"]), pool(pairs.music, settings["spread"])
        moments = [(side.mean(axis=0), np.maximum(side.std(axis=0), 1e-6)) for side in (video, music)]
        found = canonical_directions(
            (video - moments[0][0]) / moments[0][1],
            (music - moments[1][0]) / moments[1][1],
            settings["directions"],
            settings["shrink_video"],
            settings["shrink_music"],
        )
        weight = found.correlation ** settings["power"]
        return Projections(settings["spread"], moments, (found.x * weight, found.y * weight))


class Projections:
    """A linear map of each side's pooled features, compared by cosine."""

    def __init__(
        self,
        spread: bool,
        moments: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        maps: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> None:
        self._spread, self._moments, self._maps = spread, moments, maps

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Fitted`."""
        left, right = (
            unit(((pool(side, self._spread) - mean) / deviation) @ directions)
            for side, (mean, deviation), directions in zip(
                (video, music), self._moments, self._maps, strict=True
            )
        )
        return left @ right.T
