"""A trained network over the pairs of a split."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dualpath.data.augmentation import to_unit
from dualpath.data.batches import gather
from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex
from dualpath.networks.dual_path import DualPathNetwork, Side

__all__ = ["Embeddings", "SideEmbeddings", "embed", "similarity"]


@dataclass(frozen=True, slots=True, eq=False)
class SideEmbeddings:
    """content [n, 128], emotion [n, 64], fused [n, 256], valence_arousal [n, 2], probabilities [n, c]."""

    content: NDArray[np.float32]
    emotion: NDArray[np.float32]
    fused: NDArray[np.float32]
    valence_arousal: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Row i of the video belongs to row i of the music."""

    video: SideEmbeddings
    music: SideEmbeddings


def embed(network: DualPathNetwork, arrays: PairArrays, index: PairIndex, batch_size: int = 64) -> Embeddings:
    """All pairs of a split, without augmentation. The network must be in evaluation mode."""
    video: list[Side] = []
    music: list[Side] = []
    with torch.no_grad():
        for start in range(0, len(index), batch_size):
            batch = gather(arrays, index, np.arange(start, min(start + batch_size, len(index))))
            video.append(network.encode_clips(to_unit(batch.pictures), batch.texture, batch.frame_mask))
            music.append(network.encode_passages(batch.spectra, batch.statistics, batch.valid))
    return Embeddings(_joined(video), _joined(music))


def similarity(embeddings: Embeddings, weights: dict[str, float]) -> NDArray[np.float32]:
    """Weighted sum of the three cosine similarities: [videos, tracks]. `weights` as in kinoscore.json."""
    video, music = embeddings.video, embeddings.music
    return (
        weights["fused"] * video.fused @ music.fused.T
        + weights["content"] * video.content @ music.content.T
        + weights["emotion"] * video.emotion @ music.emotion.T
    )


def _joined(sides: list[Side]) -> SideEmbeddings:
    return SideEmbeddings(
        content=torch.cat([side.content for side in sides]).numpy(),
        emotion=torch.cat([side.emotion.embedding for side in sides]).numpy(),
        fused=torch.cat([side.fused for side in sides]).numpy(),
        valence_arousal=torch.cat([side.emotion.valence_arousal for side in sides]).numpy(),
        probabilities=torch.cat([side.emotion.probabilities for side in sides]).numpy(),
    )
