"""How alike a clip and a passage are, and how much that is worth.

A vector is the unit blocks [fused | content | emotion] side by side. With the weights w of a request,

    similarity = (w_f cos_fused + w_c cos_content + w_e cos_emotion) / (w_f + w_c + w_e)

and a query whose blocks are scaled by the weights gives, by inner product, the same sum: so Milvus
recalls by what the ranking counts. From that the polarity penalty is taken off. All of it is our choice
but the polarity penalty, whose idea is the publication's (Gu, Shen, Lv, Sensors 2023, 23(2), 805), where
it acts in training.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLARITY_PENALTY = 0.2
"""Taken off where clip and passage are of opposite polarity, times the emotion weight's share of all
weights.
"""

SCORE_DECIMALS = 4
"""Scores are rounded before they are compared, so that the noise of batching cannot reorder tracks."""

PRIOR_TRACKS = 8
"""How many tracks the training world's mean valence counts for beside a catalogue's own."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The dimensions of the three blocks of a vector."""

    fused: int
    content: int
    emotion: int

    @property
    def total(self) -> int:
        return self.fused + self.content + self.emotion

    def split(self, vectors: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """[..., total] as the blocks fused, content and emotion."""
        emotion = self.fused + self.content
        return vectors[..., : self.fused], vectors[..., self.fused : emotion], vectors[..., emotion:]


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each similarity counts; none is negative, and not all are 0."""

    fused: float
    content: float
    emotion: float

    @property
    def total(self) -> float:
        return self.fused + self.content + self.emotion

    def as_array(self) -> NDArray[np.float64]:
        return np.array([self.fused, self.content, self.emotion])


def to_query(vectors: NDArray[np.float32], blocks: Blocks, weights: Weights) -> NDArray[np.float32]:
    """Queries whose inner product with a stored vector is its similarity; float32 [n, total]."""
    scale = np.repeat(weights.as_array() / weights.total, [blocks.fused, blocks.content, blocks.emotion])
    return (vectors * scale).astype(np.float32)


def cosines(
    windows: NDArray[np.float32], passages: NDArray[np.float32], blocks: Blocks
) -> NDArray[np.float64]:
    """The cosine of each window with each passage: float64 [3, windows, passages], fused, content,
    emotion.
    """
    pairs = zip(
        blocks.split(windows.astype(np.float64)), blocks.split(passages.astype(np.float64)), strict=True
    )
    return np.stack([left @ right.T for left, right in pairs])


def similarity(cosine: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """The weighted mean of cosines [3, ...] over their first axis, within -1 to 1."""
    fused, content, emotion = cosine
    mean: NDArray[np.float64] = (
        weights.fused * fused + weights.content * content + weights.emotion * emotion
    ) / weights.total
    return mean


def polarity(valence: NDArray[np.float64], centre: float, neutral_band: float) -> NDArray[np.float64]:
    """-1 unpleasant, 1 pleasant, 0 where the valence is within `neutral_band` of `centre`."""
    offset = valence - centre
    return np.where(np.abs(offset) <= neutral_band, 0.0, np.sign(offset))


def polarity_penalty(
    clip: NDArray[np.float64], passage: NDArray[np.float64], weights: Weights
) -> NDArray[np.float64]:
    """What is taken off the similarity of opposite polarities; the arrays broadcast."""
    opposite = clip * passage < 0
    return np.where(opposite, POLARITY_PENALTY * weights.emotion / weights.total, 0.0)


def valence_centre(valences: Iterable[float], prior_mean: float) -> float:
    """The valence that counts as neutral in a catalogue.

    Rankings of valence transfer between kinds of music, thresholds do not: hence the catalogue's own
    mean. A few tracks say little about it, so the training world's mean counts for `PRIOR_TRACKS` more.
    """
    values = list(valences)
    return (sum(values) + PRIOR_TRACKS * prior_mean) / (len(values) + PRIOR_TRACKS)


def rounded(score: float) -> float:
    """A score as it is compared and shown, within -1 to 1."""
    return round(min(1.0, max(-1.0, float(score))), SCORE_DECIMALS) + 0.0
