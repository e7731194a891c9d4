"""Whether the emotion that is known of the training pairs serves the losses that need one."""

import numpy as np

from dualpath.config import EMOTION_LABELS
from dualpath.data.index import PairIndex, emotion_labels
from kinoscore.errors import InvalidRequest

__all__ = ["check_emotion"]


def check_emotion(training: PairIndex, *, distinguish: bool) -> str:
    """What a user should know of the training pairs' emotion: one line, or "" where every pair has one.

    Raises:
        InvalidRequest: all are of one class, and the distinguish loss is on.
    """
    known = training.known_emotion
    count = int(known.sum())
    if not count:
        return (
            "no training pair has an emotion: the losses that need one are left out, and what the model says "
            "of valence, arousal and classes means nothing"
        )
    classes = np.unique(emotion_labels(training.valence_arousal[known]))
    if distinguish and len(classes) == 1:
        raise InvalidRequest(
            f"all {count} training pairs with an emotion are {EMOTION_LABELS[classes[0]]!r}, and the "
            "distinguish loss needs two classes: add pairs of another, or use --no-distinguish",
            field="emotion",
        )
    if count < len(training):
        return (
            f"{count} of {len(training)} training pairs have an emotion; the losses that need one see those"
        )
    return ""
