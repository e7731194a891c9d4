"""Partial least squares of pooled features: directions of highest covariance (scikit-learn's PLSSVD)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.cross_decomposition import PLSSVD

from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.cca import Projections
from dualpath.methods.method import Kind, Settings, pool

__all__ = ["Pls"]


class Pls:
    """Cosine between the covarying directions, each scaled to unit variance or left as it is."""

    name = "pls"
    kind = Kind.BASELINE
    space: Mapping[str, tuple[Any, ...]] = {
        "spread": (True, False),
        "directions": (20, 5, 10, 30),
        "whiten": (True, False),
    }

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> Projections:
        """See `Method`."""
        pairs = training.matching()
        video, music = pool(pairs.video, settings["spread"]), pool(pairs.music, settings["spread"])
        moments = [(side.mean(axis=0), np.maximum(side.std(axis=0), 1e-6)) for side in (video, music)]
        count = min(settings["directions"], video.shape[1], music.shape[1], len(video))
        model = PLSSVD(n_components=count).fit(video, music)
        maps = [np.asarray(side, np.float32) for side in (model.x_weights_, model.y_weights_)]
        if settings["whiten"]:
            for number, side in enumerate((video, music)):
                scores = ((side - moments[number][0]) / moments[number][1]) @ maps[number]
                maps[number] = maps[number] / np.maximum(scores.std(axis=0), 1e-6)
        return Projections(settings["spread"], moments, (maps[0], maps[1]))
