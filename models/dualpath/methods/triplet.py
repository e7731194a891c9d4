"""Two branches and a ranking loss, in the style of VM-NET.

Hong, Im and Yang, "CBVMR: content-based video-music retrieval using soft intra-modal structure constraint",
ICMR 2018: a perceptron a modality on pooled features, the bidirectional ranking loss and, with structure, the
soft intra-modal structure constraint of both modalities.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dualpath.data.features.pairs import FeaturePairs
from dualpath.losses.structure import structure_loss
from dualpath.losses.triplet import triplet_loss
from dualpath.methods.method import Kind, Settings, TwoBranches, pool
from dualpath.networks.towers import MeanTower
from dualpath.training.features import FeatureTraining, train_on_rows

__all__ = ["Triplet"]

_HIDDEN = 256
_STRUCTURE_ROWS = 40
"""Of a batch; the term grows with their cube."""


class Triplet:
    """With or without the structure term."""

    kind = Kind.BASELINE

    def __init__(self, *, structure: bool) -> None:
        self.name = "triplet-structure" if structure else "triplet"
        self.space: Mapping[str, tuple[Any, ...]] = {
            "steps": (160, 80, 320),
            "learning_rate": (3e-3, 1e-3, 1e-2),
            "dropout": (0.3, 0.1, 0.5),
            "dimension": (64, 32, 128),
            "margin": (0.3, 0.1, 0.5),
            "hardest": (20, 1, 5),
            **({"structure_weight": (0.3, 0.1, 1.0)} if structure else {}),
        }

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> TwoBranches:
        """See `Method`."""
        pairs = training.matching()
        torch.manual_seed(seed)
        video, music = (torch.from_numpy(pool(side)) for side in (pairs.video, pairs.music))
        branches = torch.nn.ModuleList(
            MeanTower(side.shape[1], _HIDDEN, settings["dimension"], settings["dropout"])
            for side in (video, music)
        )
        own = [functional.normalize(side, dim=1) for side in (video, music)]
        weight = settings.get("structure_weight", 0.0)

        def loss(rows: Tensor) -> Tensor:
            left, right = branches[0](video[rows]), branches[1](music[rows])
            total = triplet_loss(left @ right.T, settings["margin"], settings["hardest"])
            if weight:
                few = rows[:_STRUCTURE_ROWS]
                total = total + weight * (
                    structure_loss(left[: len(few)], own[0][few])
                    + structure_loss(right[: len(few)], own[1][few])
                )
            return total

        train_on_rows(branches, loss, len(pairs), feature_training(settings), seed)
        return TwoBranches(branches[0], branches[1], pool)


def feature_training(settings: Settings) -> FeatureTraining:
    """The loop's part of the settings."""
    return FeatureTraining(steps=settings["steps"], learning_rate=settings["learning_rate"])
