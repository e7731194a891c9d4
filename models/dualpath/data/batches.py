"""Arrays to batches of tensors."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex, emotion_labels, same_item
from dualpath.networks.music_spectra import Spectra

__all__ = ["Batch", "gather", "shared_items", "to_device"]


class Batch(NamedTuple):
    """n pairs, row i of the video with row i of the music.

    Attributes:
        pictures: uint8 [n, 24, 3, 40, 64]; texture [n, 24, 333]; frame_mask [n, 24].
        spectra, statistics: of [n, 4] windows; valid [n, 4].
        valence_arousal: [n, 2], NaN where it is not known; labels, themes: int64 [n], without meaning there.
        video_attributes, music_attributes: [n, a].
        same_item: bool [n, n], rows that share a video or a track with another.
    """

    pictures: Tensor
    texture: Tensor
    frame_mask: Tensor
    spectra: Spectra
    statistics: Tensor
    valid: Tensor
    valence_arousal: Tensor
    labels: Tensor
    themes: Tensor
    video_attributes: Tensor
    music_attributes: Tensor
    same_item: Tensor


def gather(arrays: PairArrays, index: PairIndex, rows: NDArray[np.int64]) -> Batch:
    """The batch of these rows."""

    def floats(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(values[rows], dtype=np.float32))

    steps = np.arange(arrays.pictures.shape[1])
    return Batch(
        pictures=torch.from_numpy(np.asarray(arrays.pictures[rows])),
        texture=floats(arrays.texture),
        frame_mask=torch.from_numpy((steps[None, :] < arrays.frame_count[rows][:, None]).astype(np.float32)),
        spectra=Spectra(floats(arrays.mel), floats(arrays.pitch), floats(arrays.loudness)),
        statistics=floats(arrays.statistics),
        valid=floats(arrays.valid),
        valence_arousal=floats(index.valence_arousal),
        labels=torch.from_numpy(emotion_labels(index.valence_arousal[rows])),
        themes=torch.from_numpy(index.themes[rows]),
        video_attributes=floats(index.video_attributes),
        music_attributes=floats(index.music_attributes),
        same_item=shared_items(index, rows),
    )


def shared_items(index: PairIndex, rows: NDArray[np.int64]) -> Tensor:
    """bool [r, r], which of these rows share a video or a track with another."""
    return torch.from_numpy(same_item(index.items(rows), len(rows)))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch there; itself where it is there already."""
    return Batch(
        *(
            Spectra(*(part.to(device) for part in field)) if isinstance(field, Spectra) else field.to(device)
            for field in batch
        )
    )
