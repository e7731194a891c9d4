"""Agreement of two emotion classifiers that were trained apart: no common space at all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.method import Kind, Settings, pool
from kinoscore.errors import InvalidRequest

__all__ = ["Agreement", "require_emotion", "tells_emotion"]


class Agreement:
    """Logistic regression a side; the similarity is the probability that both name the same emotion."""

    name = "emotion-agreement"
    kind = Kind.BASELINE
    space: Mapping[str, tuple[Any, ...]] = {
        "strength": (0.01, 0.003, 0.03, 0.1),
        "spread": (False, True),
    }

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> "_Classifiers":
        """See `Method`.

        Raises:
            InvalidRequest: no emotion, or a single class of it.
        """
        video_emotion, music_emotion = require_emotion(training)
        music, heard = pool(training.music, settings["spread"]), music_emotion
        if training.more_music is not None:
            music = np.concatenate([music, pool(training.more_music.tokens, settings["spread"])])
            heard = np.concatenate([heard, training.more_music.emotion])
        sides = ((pool(training.video, settings["spread"]), video_emotion), (music, heard))
        models = [
            LogisticRegression(C=settings["strength"], max_iter=100, random_state=seed).fit(
                features, emotion.argmax(axis=1)
            )
            for features, emotion in sides
        ]
        return _Classifiers(settings["spread"], models, video_emotion.shape[1])


class _Classifiers:
    def __init__(self, spread: bool, models: list[LogisticRegression], classes: int) -> None:
        self._spread, self._models, self._classes = spread, models, classes

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities = []
        for model, side in zip(self._models, (video, music), strict=True):
            full = np.zeros((len(side), self._classes), np.float32)
            full[:, model.classes_] = model.predict_proba(pool(side, self._spread))
            probabilities.append(full)
        return probabilities[0] @ probabilities[1].T


def tells_emotion(pairs: FeaturePairs, rows: NDArray[np.int64]) -> bool:
    """Whether these rows, as they were read, have an emotion, and more than one class of it on each side."""
    if pairs.video_emotion is None:
        return False
    sides = (pairs.video_emotion, pairs.music_emotion)
    # Scores become classes only by their preparation.
    return pairs.emotion_is_score or all(
        len(np.unique(side[rows].argmax(axis=1))) > 1 for side in sides if side is not None
    )


def require_emotion(pairs: FeaturePairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Emotion of both sides as distributions [n, e].

    Raises:
        InvalidRequest: there is none, or only one class.
    """
    if pairs.video_emotion is None or pairs.music_emotion is None:
        raise InvalidRequest("these features come without emotion: leave the emotion methods out")
    for name, emotion in (("videos", pairs.video_emotion), ("music", pairs.music_emotion)):
        if len(np.unique(emotion.argmax(axis=1))) < 2:
            raise InvalidRequest(f"the training {name} have a single emotion class: nothing to distinguish")
    return pairs.video_emotion, pairs.music_emotion
