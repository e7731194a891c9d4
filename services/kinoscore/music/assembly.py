"""From samples to windows, and from windows to passages.

How the samples came, in what portions, makes no difference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.inference.repository import MusicSpec

__all__ = ["LEAST_REST", "TrackPassages", "WindowCutter", "arrange_passages"]

Floats = NDArray[np.float32]

# A rest at the end of a track below this share of a window is dropped (our choice): codecs pad the end of the
# sound with a few milliseconds, which would count as much as a whole window.
LEAST_REST = 0.1


class WindowCutter:
    """Cuts a stream of samples into consecutive windows.

    Args:
        window_samples: samples a window.
    """

    def __init__(self, window_samples: int) -> None:
        self._window_samples = window_samples
        self._rest: list[Floats] = []
        self._rest_samples = 0
        self._cut_any = False

    def cut(self, samples: Floats) -> Floats:
        """Takes the next samples, float32 [m]; returns the windows now full, float32 [k, window_samples]."""
        self._rest.append(samples)
        self._rest_samples += len(samples)
        full = self._rest_samples // self._window_samples
        if full == 0:
            return np.empty((0, self._window_samples), np.float32)
        joined = np.concatenate(self._rest)
        end = full * self._window_samples
        self._rest, self._rest_samples = [joined[end:]], len(joined) - end
        self._cut_any = True
        return joined[:end].reshape(full, self._window_samples)

    def finish(self) -> tuple[Floats, float] | None:
        """The rest as a window padded with silence, float32 [1, window_samples], and its share of sound.

        None when there is no rest, or one below LEAST_REST after other windows.
        """
        share = self._rest_samples / self._window_samples
        if self._rest_samples == 0 or (self._cut_any and share < LEAST_REST):
            return None
        window = np.zeros((1, self._window_samples), np.float32)
        window[0, : self._rest_samples] = np.concatenate(self._rest)
        return window, share


@dataclass(frozen=True, slots=True, eq=False)
class TrackPassages:
    """The inputs of the track encoder for p overlapping passages of m windows each.

    Attributes:
        features: float32 [p, m, feature dimension]; 0 where a passage has no window.
        window_mask: float32 [p, m], 1 for a window and 0 for padding.
        first_windows: int [p], the number of each passage's first window.
        durations: float64 [p], seconds of sound in each passage.
    """

    features: Floats
    window_mask: Floats
    first_windows: NDArray[np.int64]
    durations: NDArray[np.float64]


def arrange_passages(features: Floats, valid: Floats, spec: MusicSpec) -> TrackPassages:
    """Lays passages of `spec.passage_windows` over n windows, one every `spec.passage_hop_windows`.

    The last one reaches the last window, and may be shorter.

    Args:
        features: float32 [n, feature dimension], n > 0.
        valid: float32 [n], the share of each window that is sound.
    """
    length, hop = spec.passage_windows, spec.passage_hop_windows
    count = 1 + max(0, -(-(len(features) - length) // hop))
    arranged = np.zeros((count, length, features.shape[1]), np.float32)
    mask = np.zeros((count, length), np.float32)
    durations = np.zeros(count)
    firsts = np.arange(count) * hop
    for passage, first in enumerate(firsts):
        windows = features[first : first + length]
        arranged[passage, : len(windows)] = windows
        mask[passage, : len(windows)] = 1.0
        durations[passage] = valid[first : first + length].sum() * spec.window_seconds
    return TrackPassages(arranged, mask, firsts, durations)
