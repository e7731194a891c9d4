"""What every method may assume of its input: narrow, standardised tokens, and emotion as a distribution.

Fitted on training rows alone, without the pairing, and the same for all methods.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs, LabelledMusic

__all__ = ["Preparation", "fit_preparation"]

_WIDTH = 128
_TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Columns of zero mean and unit deviation; of a wide block of the video, their principal components.

    The components keep their proportions: brought to unit deviation each, the last of them, which are noise
    where rows are few, would count like the first.

    Attributes:
        bases: a block's mean [d] and directions [d, k], or None for a block that is narrow already.
        video_moments, music_moments: mean and deviation [width] over the training tokens.
        emotion_moments: mean and deviation [e] of a machine's scores, or None for classes.
    """

    blocks: tuple[int, ...]
    bases: tuple[tuple[NDArray[np.float32], NDArray[np.float32]] | None, ...]
    video_moments: tuple[NDArray[np.float32], NDArray[np.float32]]
    music_moments: tuple[NDArray[np.float32], NDArray[np.float32]]
    emotion_moments: tuple[NDArray[np.float32], NDArray[np.float32]] | None

    def apply(self, pairs: FeaturePairs) -> FeaturePairs:
        """The rows with prepared tokens. Scores become softmax(z-scores): raw ones are skewed, so that one
        class would win nearly everywhere. A side without emotion takes that of its partner."""
        video_emotion, music_emotion = pairs.video_emotion, pairs.music_emotion
        if video_emotion is not None and self.emotion_moments is not None:
            standard = (video_emotion - self.emotion_moments[0]) / self.emotion_moments[1]
            exponential = np.exp(standard - standard.max(axis=1, keepdims=True))
            video_emotion = (exponential / exponential.sum(axis=1, keepdims=True)).astype(np.float32)
        more = pairs.more_music
        return replace(
            pairs,
            video=_standardised(_reduced(pairs.video, self.blocks, self.bases), self.video_moments),
            music=_standardised(pairs.music, self.music_moments),
            video_blocks=(len(self.video_moments[0]),),
            video_emotion=video_emotion,
            music_emotion=video_emotion if music_emotion is None else music_emotion,
            more_music=None
            if more is None
            else LabelledMusic(_standardised(more.tokens, self.music_moments), more.emotion),
        )


def fit_preparation(training: FeaturePairs, width: int = _WIDTH) -> Preparation:
    """Learns the components and moments of these rows.

    Args:
        width: blocks up to this wide stay as they are. Thousands of pairs need no narrowing.
    """
    bases = tuple(
        _principal(block, width) if block.shape[2] > width else None
        for block in _blocks(training.video, training.video_blocks)
    )
    scores = training.video_emotion if training.emotion_is_score else None
    return Preparation(
        blocks=training.video_blocks,
        bases=bases,
        video_moments=_video_moments(_reduced(training.video, training.video_blocks, bases), bases),
        music_moments=_moments(training.music, (0, 1)),
        emotion_moments=None if scores is None else _moments(scores, (0,)),
    )


def _blocks(tokens: NDArray[np.float32], widths: tuple[int, ...]) -> list[NDArray[np.float32]]:
    return np.split(tokens, np.cumsum(widths)[:-1], axis=2)


def _principal(block: NDArray[np.float32], width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean [d] and the first principal directions of standardised columns [d, k], k at most `width`, scaled
    so that the components have unit variance on average."""
    flat = block.reshape(-1, block.shape[2])
    mean, deviation = _moments(flat, (0,))
    standard = (flat - mean) / deviation
    variances, directions = np.linalg.eigh((standard.T @ standard).astype(np.float64) / len(flat))
    keep = min(width, len(flat) - 1)
    kept = directions[:, ::-1][:, :keep] / np.sqrt(variances[::-1][:keep].mean())
    return mean, np.ascontiguousarray(kept / deviation[:, None], dtype=np.float32)


def _reduced(
    tokens: NDArray[np.float32],
    widths: tuple[int, ...],
    bases: tuple[tuple[NDArray[np.float32], NDArray[np.float32]] | None, ...],
) -> NDArray[np.float32]:
    return np.concatenate(
        [
            block if basis is None else (block - basis[0]) @ basis[1]
            for block, basis in zip(_blocks(tokens, widths), bases, strict=True)
        ],
        axis=2,
    )


def _video_moments(
    reduced: NDArray[np.float32],
    bases: tuple[tuple[NDArray[np.float32], NDArray[np.float32]] | None, ...],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the narrow blocks' columns; components stay as they are."""
    mean, deviation = _moments(reduced, (0, 1))
    start = 0
    for basis in bases:
        if basis is None:
            break
        end = start + basis[1].shape[1]
        deviation[start:end] = 1.0
        start = end
    return mean, deviation


def _moments(
    values: NDArray[np.float32], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    deviation = values.std(axis=axes)
    return values.mean(axis=axes), np.where(deviation > _TINY, deviation, 1.0).astype(np.float32)


def _standardised(
    values: NDArray[np.float32], moments: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> NDArray[np.float32]:
    return ((values - moments[0]) / moments[1]).astype(np.float32)
