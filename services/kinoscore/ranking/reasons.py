"""Why a track fits, in short sentences for people. They explain a score; nothing is ranked by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot

import numpy as np

from kinoscore.v1 import common_pb2

CLOSE = 0.5
"""A cosine from which two things are called close."""
SAME_CURVE = 0.6
"""A correlation from which two curves are said to rise and fall together."""
SURE = 0.674
"""Standard deviations from neutral at which three of four signs are right, if errors are Gaussian."""
FLAT = 0.02
"""A standard deviation below which a curve does not rise and fall at all."""
CURVE_POINTS = 3
"""Windows that make a curve."""


@dataclass(frozen=True, slots=True)
class Mood:
    """Valence and arousal as signs around what is neutral: -1, 0 or 1 each."""

    valence: int
    arousal: int

    def words(self) -> str:
        """For example `calm and pleasant`; `neutral` where neither stands out."""
        return " and ".join(self._word_list()) or "neutral"

    def common_words(self, other: "Mood") -> str:
        """What two moods share, in words; empty when it is nothing."""
        return " and ".join(word for word in self._word_list() if word in other._word_list())

    def _word_list(self) -> list[str]:
        arousal = {-1: "calm", 0: "", 1: "excited"}[self.arousal]
        valence = {-1: "dark", 0: "", 1: "pleasant"}[self.valence]
        return [word for word in (arousal, valence) if word]


@dataclass(frozen=True, slots=True)
class Feeling:
    """Valence and arousal around what is neutral, and how far each may be off where the model is to be sure.

    What is nearer to neutral than that is neutral; what is nearer to each other than both are off is not told
    apart.
    """

    valence: float
    arousal: float
    valence_error: float
    arousal_error: float

    @classmethod
    def of(cls, emotion: common_pb2.Emotion, centre: tuple[float, float], neutral_band: float) -> "Feeling":
        """An emotion around `centre` (valence, arousal)."""
        return cls(
            emotion.valence - centre[0],
            emotion.arousal - centre[1],
            max(neutral_band, SURE * emotion.valence_deviation),
            max(neutral_band, SURE * emotion.arousal_deviation),
        )

    @property
    def mood(self) -> Mood:
        """What of it the model can be sure of."""
        return Mood(_sign(self.valence, self.valence_error), _sign(self.arousal, self.arousal_error))

    def differs_from(self, other: "Feeling") -> bool:
        """Whether valence or arousal tells the two apart."""
        return abs(self.valence - other.valence) > hypot(self.valence_error, other.valence_error) or abs(
            self.arousal - other.arousal
        ) > hypot(self.arousal_error, other.arousal_error)


def explain(
    clip: Feeling,
    passage: Feeling,
    content_score: float,
    emotion_score: float,
    clip_arousal: Sequence[float],
    passage_arousal: Sequence[float],
) -> list[str]:
    """The reasons, most telling first; there is always at least one.

    Args:
        clip_arousal: of the clip's windows.
        passage_arousal: as many, of the passages that they lie on.
    """
    return list(
        _reasons(
            clip.mood,
            passage.mood,
            content_score >= CLOSE,
            # The embedding may call close what valence or arousal tells apart; nobody would.
            emotion_score >= CLOSE and not clip.differs_from(passage),
            _rise_and_fall_together(clip_arousal, passage_arousal),
        )
    )


@cache
def _reasons(
    clip: Mood, passage: Mood, is_close_in_content: bool, is_close_in_emotion: bool, rise_together: bool
) -> tuple[str, ...]:
    reasons = []
    in_contrast = clip.valence * passage.valence < 0
    if shared := clip.common_words(passage):
        reasons.append(f"both {shared}")
    if rise_together:
        reasons.append("the tension rises and falls together")
    if is_close_in_emotion:
        reasons.append("close in emotion")
    if is_close_in_content:
        reasons.append("close in content")
    if in_contrast:
        reasons.append(f"in contrast: the clip is {clip.words()}, the music {passage.words()}")
    return tuple(reasons) or ("the nearest there is; nothing stands out",)


def _sign(offset: float, neutral_band: float) -> int:
    if abs(offset) <= neutral_band:
        return 0
    return 1 if offset > 0 else -1


def _rise_and_fall_together(left: Sequence[float], right: Sequence[float]) -> bool:
    if len(left) < CURVE_POINTS or np.std(left) < FLAT or np.std(right) < FLAT:
        return False
    return bool(np.corrcoef(left, right)[0, 1] >= SAME_CURVE)
