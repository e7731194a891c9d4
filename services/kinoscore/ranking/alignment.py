"""Where along a track a clip fits best.

The clip is a sequence of windows, the track a sequence of overlapping passages; a window is as long as a
passage. Laid at passage o, window i meets passage o + s_i, where s_i is the window's start in passage
hops (windows of 12 s over hops of 6 s: s = 0, 2, 4 ...). All choices here are ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERAGE_PENALTY = 0.1
"""Taken off a track that covers nothing of the clip; one that covers a share c of it loses 1 - c of this.
"""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Window i of `windows` lies on passage i of `passages`; what the track is too short for is left out.

    Attributes:
        score: the mean agreement weighted by duration, less the coverage penalty.
        weights: float64 [n], the share of each window's duration; they sum to 1.
    """

    score: float
    windows: NDArray[np.int64]
    passages: NDArray[np.int64]
    weights: NDArray[np.float64]


def align(
    agreement: NDArray[np.float64], steps: NDArray[np.int64], durations: NDArray[np.float64]
) -> Alignment:
    """The best place for the clip among those where the track covers the most of it; the earliest of
    equals.

    Args:
        agreement: float64 [windows, passages], at least one of each.
        steps: int64 [windows], the windows' starts in passage hops, rising from 0.
        durations: float64 [windows], seconds, more than 0.
    """
    passage_count = agreement.shape[1]
    places = steps[:, None] + np.arange(passage_count)
    lies_on = places < passage_count
    covered = durations @ lies_on
    met = np.take_along_axis(agreement, np.minimum(places, passage_count - 1), axis=1)
    mean = durations @ (met * lies_on) / covered
    scores = mean - COVERAGE_PENALTY * (1.0 - covered / durations.sum())
    place = int(np.argmax(np.where(covered >= covered[0] - 1e-9, scores, -np.inf)))
    windows = np.flatnonzero(lies_on[:, place])
    shares = durations[windows] / covered[place]
    return Alignment(float(scores[place]), windows, places[windows, place], shares)
