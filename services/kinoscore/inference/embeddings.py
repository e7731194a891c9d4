"""What the clip and track encoders say of stretches of time and of their whole, as arrays and messages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kinoscore.inference.engine import Array
from kinoscore.inference.repository import ModalityCalibration
from kinoscore.v1 import common_pb2

__all__ = ["EncodedStretches", "emotion_points"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedStretches:
    """The outputs of a head model for n consecutive stretches of one clip or track.

    Attributes:
        content: float32 [n, content dimension], rows of unit length.
        emotion: float32 [n, emotion dimension], rows of unit length.
        valence_arousal: float32 [n, 2], each -1 to 1.
        emotion_probabilities: float32 [n, labels], rows sum to 1.
    """

    content: Floats
    emotion: Floats
    valence_arousal: Floats
    emotion_probabilities: Floats

    @classmethod
    def of(cls, outputs: Mapping[str, Array]) -> Self:
        """From the named outputs of the model."""
        return cls(
            content=outputs["content"],
            emotion=outputs["emotion"],
            valence_arousal=outputs["valence_arousal"],
            emotion_probabilities=outputs["emotion_probabilities"],
        )

    def whole(self, content_weights: Array, emotion_weights: Array) -> Self:
        """One row for all stretches together: weighted means, the vectors brought back to unit length.

        A single stretch is its own whole, to the last bit.

        Args:
            content_weights: [n], not negative; how much the content of each stretch counts.
            emotion_weights: [n], not negative; the same for the vector, the place and the classes of emotion.
                Where all are 0 the content's weights count.
        """
        if len(self.content) == 1:
            return self
        if not emotion_weights.any():
            emotion_weights = content_weights
        return type(self)(
            content=_mean_direction(self.content, content_weights),
            emotion=_mean_direction(self.emotion, emotion_weights),
            valence_arousal=_mean(self.valence_arousal, emotion_weights),
            emotion_probabilities=_mean(self.emotion_probabilities, emotion_weights),
        )

    def messages(
        self,
        starts: Iterable[float],
        durations: Iterable[float],
        labels: Sequence[str],
        calibration: ModalityCalibration,
    ) -> list[common_pb2.Embedding]:
        """One message a stretch, `fused` left empty.

        Args:
            starts: seconds, n of them.
            durations: seconds, n of them.
            labels: the emotion classes, in the order of the probabilities.
            calibration: of this modality; its errors become the emotion's deviations.
        """
        return [
            common_pb2.Embedding(
                start_seconds=start,
                duration_seconds=duration,
                content=content.tolist(),
                emotion_vector=emotion.tolist(),
                emotion=common_pb2.Emotion(
                    valence=valence,
                    arousal=arousal,
                    valence_deviation=calibration.valence_error,
                    arousal_deviation=calibration.arousal_error,
                    shares=[
                        common_pb2.EmotionShare(label=label, probability=share)
                        for label, share in zip(labels, shares.tolist(), strict=True)
                    ],
                ),
            )
            for start, duration, content, emotion, (valence, arousal), shares in zip(
                starts,
                durations,
                self.content,
                self.emotion,
                self.valence_arousal.tolist(),
                self.emotion_probabilities,
                strict=True,
            )
        ]


def emotion_points(
    starts: Iterable[float], durations: Iterable[float], valence_arousal: Array
) -> list[common_pb2.EmotionPoint]:
    """A curve of emotion: n starts and durations in seconds, [n, 2] valence and arousal."""
    return [
        common_pb2.EmotionPoint(
            start_seconds=start, duration_seconds=duration, valence=valence, arousal=arousal
        )
        for start, duration, (valence, arousal) in zip(
            starts, durations, valence_arousal.tolist(), strict=True
        )
    ]


def _mean(rows: Floats, weights: Array) -> Floats:
    mean = np.average(rows.astype(np.float64), axis=0, weights=weights)
    return mean.astype(np.float32)[np.newaxis]


def _mean_direction(vectors: Floats, weights: Array) -> Floats:
    """The direction of the weighted mean; of vectors that cancel out, the weightiest one (our choice)."""
    mean = np.average(vectors.astype(np.float64), axis=0, weights=weights)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        return vectors[[int(np.argmax(weights))]]
    unit: Floats = (mean / length).astype(np.float32)[np.newaxis]
    return unit
