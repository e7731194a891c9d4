"""From standard scores to what is rendered; both sides use the same."""

from collections.abc import Mapping

import numpy as np

__all__ = ["curve", "level_of"]


def level_of(score: float) -> float:
    """A standard score as a level between 0 and 1 (the logistic curve nearest to the normal distribution)."""
    return float(1.0 / (1.0 + np.exp(-1.702 * score)))


def curve(cues: Mapping[str, float], progress: float) -> float:
    """How much is going on at a time (0 start, 1 end): `trend` tilts it, `arch` bends it; a standard
    score."""
    time = 2.0 * progress - 1.0
    return 1.1 * cues["trend"] * time + 1.1 * cues["arch"] * (0.6 - 1.6 * time * time)
