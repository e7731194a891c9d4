"""From single frames to windows: which frames each holds, which carry its emotion, and how windows add up.

Pure functions on arrays. How the frames came, in what portions, makes no difference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.inference.repository import VideoSpec
from kinoscore.media.keyframes import KeyFrameSelector

__all__ = ["ClipWindows", "EncodedFrames", "arrange_windows"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrames:
    """The outputs of the frame encoder for the n sampled frames of a clip, in order of time; n > 0.

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


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindows:
    """The inputs of the clip encoder for w windows of m frames each, and what weighs them.

    Attributes:
        features: float32 [w, m, feature dimension]; 0 where a window has no frame.
        frame_mask: float32 [w, m], 1 for a frame and 0 for padding.
        key_frame_mask: float32 [w, m], 1 for an emotion key frame.
        key_frames: (timestamp in seconds, salience) of all windows, in order of time.
        key_frame_salience: float32 [w], the sum over each window's key frames: what its emotion weighs in the
            whole clip.
    """

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


def arrange_windows(frames: EncodedFrames, spec: VideoSpec) -> ClipWindows:
    """Cuts a clip into consecutive windows of `spec.window_frames` and chooses the key frames of each.

    The last window may hold fewer frames. Every window has a key frame.
    """
    length = spec.window_frames
    count = -(-len(frames.timestamps) // length)
    features = np.zeros((count, length, frames.features.shape[1]), np.float32)
    frame_mask = np.zeros((count, length), np.float32)
    key_frame_mask = np.zeros((count, length), np.float32)
    key_frames: list[tuple[float, float]] = []
    key_frame_salience = np.zeros(count, np.float32)
    for window in range(count):
        span = slice(window * length, (window + 1) * length)
        timestamps = frames.timestamps[span]
        features[window, : len(timestamps)] = frames.features[span]
        frame_mask[window, : len(timestamps)] = 1.0
        chosen = _key_frames(timestamps, frames.salience[span], spec)
        key_frames.extend(chosen)
        key_frame_mask[window, : len(timestamps)] = np.isin(timestamps, [time for time, _ in chosen])
        key_frame_salience[window] = sum(salience for _, salience in chosen)
    return ClipWindows(features, frame_mask, key_frame_mask, tuple(key_frames), key_frame_salience)


def _key_frames(
    timestamps: NDArray[np.float64], salience: Floats, spec: VideoSpec
) -> list[tuple[float, float]]:
    selector = KeyFrameSelector(spec.key_frames, spec.key_frame_separation_seconds)
    for time, value in zip(timestamps.tolist(), salience.tolist(), strict=True):
        selector.offer(time, value)
    return selector.selected()
