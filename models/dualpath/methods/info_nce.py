"""Two towers and InfoNCE, with mean pooling or with a small temporal transformer.

The second is in the style of MVPt: Suris, Vondrick, Russell and Salamon, "It's time for artistic
correspondence in music and video", CVPR 2022; one layer instead of their twelve, for hundreds of pairs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.data.features.pairs import FeaturePairs
from dualpath.losses.metric import info_nce_loss
from dualpath.methods.method import Kind, Settings, TwoBranches, pool
from dualpath.methods.triplet import feature_training
from dualpath.networks.towers import MeanTower, TransformerTower
from dualpath.training.features import train_on_rows

__all__ = ["InfoNce"]

_HIDDEN = {False: 256, True: 64}


class InfoNce:
    """Mean pooling, or a temporal transformer."""

    kind = Kind.BASELINE

    def __init__(self, *, temporal: bool) -> None:
        self.name = "info-nce-transformer" if temporal else "info-nce"
        self._temporal = temporal
        self.space: Mapping[str, tuple[Any, ...]] = {
            "steps": (80, 40, 160) if temporal else (160, 80, 320),
            "learning_rate": (1e-3, 3e-4, 3e-3) if temporal else (3e-3, 1e-3, 1e-2),
            "dropout": (0.3, 0.1, 0.5),
            "dimension": (64, 32, 128),
            "temperature": (0.2, 0.1, 0.5),
        }

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> TwoBranches:
        """See `Method`."""
        pairs = training.matching()
        torch.manual_seed(seed)
        read = _halved if self._temporal else pool
        video, music = (torch.from_numpy(read(side)) for side in (pairs.video, pairs.music))
        towers = torch.nn.ModuleList(self._tower(side, settings) for side in (video, music))

        def loss(rows: Tensor) -> Tensor:
            similarity = towers[0](video[rows]) @ towers[1](music[rows]).T
            return info_nce_loss(similarity, torch.ones_like(similarity), settings["temperature"])

        train_on_rows(towers, loss, len(pairs), feature_training(settings), seed)
        return TwoBranches(towers[0], towers[1], read)

    def _tower(self, side: Tensor, settings: Settings) -> torch.nn.Module:
        width, hidden = side.shape[-1], _HIDDEN[self._temporal]
        if self._temporal:
            return TransformerTower(width, side.shape[1], hidden, settings["dimension"], settings["dropout"])
        return MeanTower(width, hidden, settings["dimension"], settings["dropout"])


def _halved(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of neighbouring tokens, [n, t, d] -> [n, ceil(t / 2), d]: half the time of training."""
    if tokens.shape[1] % 2:
        tokens = np.concatenate([tokens, tokens[:, -1:]], axis=1)
    result: NDArray[np.float32] = tokens.reshape(len(tokens), -1, 2, tokens.shape[2]).mean(axis=2)
    return result
