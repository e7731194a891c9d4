"""Arrays to batches of tensors."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex, emotion_labels
from dualpath.networks.music_spectra import Spectra

__all__ = ["Batch", "Targets", "gather", "gather_targets"]


class Targets(NamedTuple):
    """What n pairs are: valence_arousal [n, 2]; labels and themes int64 [n]; attributes [n, a]."""

    valence_arousal: Tensor
    labels: Tensor
    themes: Tensor
    video_attributes: Tensor
    music_attributes: Tensor


class Batch(NamedTuple):
    """n pairs, row i of the video with row i of the music.

    Attributes:
        pictures: uint8 [n, 24, 3, 40, 64]; texture [n, 24, 333]; frame_mask [n, 24].
        spectra, statistics: of [n, 4] windows; valid [n, 4].
    """

    pictures: Tensor
    texture: Tensor
    frame_mask: Tensor
    spectra: Spectra
    statistics: Tensor
    valid: Tensor


def gather(arrays: PairArrays, rows: NDArray[np.int64]) -> Batch:
    """The batch of these rows."""
    steps = np.arange(arrays.pictures.shape[1])
    return Batch(
        pictures=torch.from_numpy(np.asarray(arrays.pictures[rows])),
        texture=_floats(arrays.texture, rows),
        frame_mask=torch.from_numpy((steps[None, :] < arrays.frame_count[rows][:, None]).astype(np.float32)),
        spectra=Spectra(*(_floats(values, rows) for values in (arrays.mel, arrays.pitch, arrays.loudness))),
        statistics=_floats(arrays.statistics, rows),
        valid=_floats(arrays.valid, rows),
    )


def gather_targets(index: PairIndex, rows: NDArray[np.int64]) -> Targets:
    """The targets of these rows."""
    return Targets(
        valence_arousal=_floats(index.valence_arousal, rows),
        labels=torch.from_numpy(emotion_labels(index.valence_arousal[rows])),
        themes=torch.from_numpy(index.themes[rows]),
        video_attributes=_floats(index.video_attributes, rows),
        music_attributes=_floats(index.music_attributes, rows),
    )


def _floats(values: NDArray[np.generic], rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.asarray(values[rows], dtype=np.float32))
