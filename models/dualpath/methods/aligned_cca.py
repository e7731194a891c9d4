"""A control: canonical correlation of whole items and of time-aligned passages, without any network.

What the dual path adds to this, its training adds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.cca import Cca, Projections
from dualpath.methods.method import Kind, Settings, stranger_deviations, unit
from dualpath.networks.canonical import canonical_directions
from dualpath.networks.course import CourseStandard

__all__ = ["AlignedCca"]


class AlignedCca:
    """`Cca`, plus the inner product of canonical variates over time."""

    name = "cca-aligned"
    kind = Kind.CONTROL
    space: Mapping[str, tuple[Any, ...]] = {**Cca.space, "course_weight": (2.0, 1.0, 3.0)}

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> "_Aligned":
        """See `Method`."""
        pairs = training.matching()
        whole = Cca().fit(pairs, settings, seed)
        standards = []
        for side in (pairs.video, pairs.music):
            standard = CourseStandard(side.shape[1], side.shape[2])
            standard.learn(torch.from_numpy(side))
            standards.append(standard)
        moving = [
            standard(torch.from_numpy(side)).flatten(0, 1).numpy()
            for standard, side in zip(standards, (pairs.video, pairs.music), strict=True)
        ]
        found = canonical_directions(moving[0], moving[1], 8, 0.3, 0.3)
        maps = (found.x * found.correlation, found.y * found.correlation)
        return _Aligned(whole, standards, maps, settings["course_weight"], pairs)


class _Aligned:
    def __init__(
        self,
        whole: Projections,
        standards: list[CourseStandard],
        maps: tuple[NDArray[np.float32], NDArray[np.float32]],
        weight: float,
        pairs: FeaturePairs,
    ) -> None:
        self._whole, self._standards, self._maps, self._weight = whole, standards, maps, weight
        self._scale = stranger_deviations(self._parts, pairs)

    def _parts(
        self, video: NDArray[np.float32], music: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        left, right = (
            unit((standard(torch.from_numpy(side)).numpy() @ directions).reshape(len(side), -1))
            for side, standard, directions in zip((video, music), self._standards, self._maps, strict=True)
        )
        return {"whole": self._whole.similarity(video, music), "course": left @ right.T}

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = self._parts(video, music)
        result: NDArray[np.float32] = (
            parts["whole"] / self._scale["whole"] + self._weight * parts["course"] / self._scale["course"]
        )
        return result
