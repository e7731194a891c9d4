"""From single frames to windows: which frames each holds, which carry its emotion, and how windows add up.

Pure functions on arrays. How the frames came, in what portions, makes no difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoscore.inference.repository import VideoSpec
from kinoscore.media.keyframes import KeyFrameSelector

__all__ = ["ClipWindows", "EncodedFrames", "WindowAssembler"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrames:
    """The outputs of the frame encoder for n sampled frames of a clip, in order of time.

    Attributes:
        timestamps: float64 [n], seconds.
        features: float32 [n, feature dimension].
        valence_arousal: float32 [n, 2].
        salience: float32 [n], distance from neutral times confidence, 0 to 1.
    """

    timestamps: NDArray[np.float64]
    features: Floats
    valence_arousal: Floats
    salience: Floats

    @classmethod
    def of(cls, timestamps: NDArray[np.float64], outputs: Mapping[str, NDArray[Any]]) -> "EncodedFrames":
        """From the times of the frames and the outputs of the frame encoder."""
        return cls(timestamps, outputs["features"], outputs["valence_arousal"], outputs["salience"])


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindows:
    """The n frames of a clip as inputs of the clip encoder: w windows of m frames each, and what weighs them.

    Attributes:
        timestamps: float64 [n], seconds.
        valence_arousal: float32 [n, 2], of each frame.
        features: float32 [w, m, feature dimension]; 0 where a window has no frame.
        frame_mask: float32 [w, m], 1 for a frame and 0 for padding.
        key_frame_mask: float32 [w, m], 1 for an emotion key frame.
        key_frames: (timestamp in seconds, salience) of all windows, in order of time.
        key_frame_salience: float32 [w], the sum over each window's key frames: what its emotion weighs in the
            whole clip.
    """

    timestamps: NDArray[np.float64]
    valence_arousal: Floats
    features: Floats
    frame_mask: Floats
    key_frame_mask: Floats
    key_frames: tuple[tuple[float, float], ...]
    key_frame_salience: Floats

    @property
    def frame_counts(self) -> Floats:
        """Frames of each window, float32 [w]: what its content weighs in the whole clip."""
        counts: Floats = self.frame_mask.sum(axis=1)
        return counts


class WindowAssembler:
    """Takes the encoded frames of a clip as they arrive and chooses each window's key frames meanwhile.

    Windows are consecutive, of `spec.window_frames` frames; the last may hold fewer. In what portions the
    frames came makes no difference.
    """

    def __init__(self, spec: VideoSpec) -> None:
        self._spec = spec
        self._portions: list[EncodedFrames] = []
        self._selectors: list[KeyFrameSelector] = []
        self._count = 0

    def add(self, frames: EncodedFrames) -> None:
        """Takes the next frames, in order of time."""
        self._portions.append(frames)
        for time, salience in zip(frames.timestamps.tolist(), frames.salience.tolist(), strict=True):
            if self._count % self._spec.window_frames == 0:
                separation = self._spec.key_frame_separation_seconds
                self._selectors.append(KeyFrameSelector(self._spec.key_frames, separation))
            self._selectors[-1].offer(time, salience)
            self._count += 1

    def finish(self) -> ClipWindows:
        """The windows of the whole clip; there must have been a frame. Every window has a key frame."""
        length, count = self._spec.window_frames, len(self._selectors)
        timestamps = np.concatenate([portion.timestamps for portion in self._portions])
        features = np.concatenate([portion.features for portion in self._portions])
        chosen = [selector.selected() for selector in self._selectors]
        key_frames = tuple(frame for window in chosen for frame in window)
        is_key_frame = np.isin(timestamps, [time for time, _ in key_frames]).astype(np.float32)
        return ClipWindows(
            timestamps=timestamps,
            valence_arousal=np.concatenate([portion.valence_arousal for portion in self._portions]),
            features=_padded(features, count, length),
            frame_mask=_padded(np.ones(self._count, np.float32), count, length),
            key_frame_mask=_padded(is_key_frame, count, length),
            key_frames=key_frames,
            key_frame_salience=np.array(
                [sum(salience for _, salience in window) for window in chosen], np.float32
            ),
        )


def _padded(values: Floats, count: int, length: int) -> Floats:
    """[n, ...] as [count, length, ...], with zeros after the last."""
    padded = np.zeros((count * length, *values.shape[1:]), np.float32)
    padded[: len(values)] = values
    return padded.reshape(count, length, *values.shape[1:])
