"""Pairs that are no wrong answers to each other: the same file, or nearly the same content.

A gallery that holds a track twice would punish a model for finding the other copy. Such pairs are left out of
each other's galleries, in both directions, and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex

__all__ = ["NEAR_CLIP", "NEAR_TRACK", "Twins", "find_twins"]

NEAR_CLIP = 0.95
NEAR_TRACK = 0.85
"""Correlations from which two items count as one. Our choice: on a generated world strangers reach .77 and
.56; a clip at half the resolution, darker and noisy has .997, a track resampled to 11 kHz, at half the level
and noisy .87 to .93."""
_CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """mask: bool [n, n], symmetric, its diagonal False. The counts are of pairs that have such a twin."""

    mask: NDArray[np.bool_]
    same_clip: int
    same_track: int
    near_clip: int
    near_track: int

    def __str__(self) -> str:
        count = int(self.mask.any(axis=1).sum())
        if not count:
            return "No clip and no track occurs twice, nor nearly so."
        return (
            f"{count} of {len(self.mask)} pairs are left out of each other's galleries: {self.same_track} "
            f"share their track with another and {self.same_clip} their clip; {self.near_track} tracks and "
            f"{self.near_clip} clips are nearly another."
        )


def find_twins(index: PairIndex, arrays: PairArrays) -> Twins:
    """Compares paths, and the prepared pictures and spectra.

    Two items are near where their pictures (or mel spectra), pooled and less the mean of all items, correlate
    by `NEAR_CLIP` (or `NEAR_TRACK`): the same passage in another encoding, level or resolution. A copy that
    is shifted in time, or cut or played otherwise, is not found.
    """
    same = [_equal(index.videos), _equal(index.tracks)]
    near = [
        _close(_picture_signature(arrays), NEAR_CLIP) & ~same[0],
        _close(_music_signature(arrays), NEAR_TRACK) & ~same[1],
    ]
    counts = [int(mask.any(axis=1).sum()) for mask in (*same, *near)]
    return Twins(np.logical_or.reduce([*same, *near]), *counts)


def _equal(files: tuple[Path, ...]) -> NDArray[np.bool_]:
    _, group = np.unique([str(file) for file in files], return_inverse=True)
    same: NDArray[np.bool_] = group[:, None] == group[None, :]
    np.fill_diagonal(same, False)
    return same


def _close(signature: NDArray[np.float32], near: float) -> NDArray[np.bool_]:
    """[n, d] -> which rows correlate, once what all of them share is taken away."""
    varied = signature - signature.mean(axis=0)
    varied = varied - varied.mean(axis=1, keepdims=True)
    length = np.linalg.norm(varied, axis=1, keepdims=True)
    unit = varied / np.maximum(length, 1e-6)
    close: NDArray[np.bool_] = unit @ unit.T >= near
    np.fill_diagonal(close, False)
    return close


def _picture_signature(arrays: PairArrays) -> NDArray[np.float32]:
    """[n, 24, 3, 40, 64] -> [n, 24 * 3 * 5 * 8]: means of 8 x 8 pixels."""
    return _pooled(arrays.pictures, (1, 1, 8, 8))


def _music_signature(arrays: PairArrays) -> NDArray[np.float32]:
    """[n, 4, 126, 64] -> [n, 4 * 18 * 64]: means of 7 frames (a sixth of a second)."""
    return _pooled(arrays.mel, (1, 7, 1))


def _pooled(values: NDArray[np.generic], block: tuple[int, ...]) -> NDArray[np.float32]:
    """Means of blocks of the axes after the first, flat; a chunk of rows at a time."""
    split = [part for size, by in zip(values.shape[1:], block, strict=True) for part in (size // by, by)]
    inner = tuple(range(2, 2 * len(block) + 1, 2))
    chunks = [
        np.asarray(values[start : start + _CHUNK], np.float32).reshape(-1, *split).mean(axis=inner)
        for start in range(0, len(values), _CHUNK)
    ]
    joined: NDArray[np.float32] = np.concatenate(chunks)
    return joined.reshape(len(values), -1)
