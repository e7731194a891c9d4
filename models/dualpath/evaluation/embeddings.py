"""A trained network over the pairs of a split."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dualpath.data.augmentation import to_unit
from dualpath.data.batches import gather, to_device
from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex, same_item
from dualpath.networks.dual_path import DualPathNetwork, Side

__all__ = ["Embeddings", "SideEmbeddings", "embed", "similarity"]


@dataclass(frozen=True, slots=True, eq=False)
class SideEmbeddings:
    """content [n, 128], emotion [n, 64], fused [n, 256], valence_arousal [n, 2], probabilities [n, c];
    of music also cues [n, 24], what its emotion is read from."""

    content: NDArray[np.float32]
    emotion: NDArray[np.float32]
    fused: NDArray[np.float32]
    valence_arousal: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    cues: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Row i of the video belongs to row i of the music.

    Attributes:
        items: see `PairIndex.items`. A row that shares a video or a track with the query's is as right an
            answer as the query's own, so it is taken out of the gallery of that query.
    """

    video: SideEmbeddings
    music: SideEmbeddings
    items: tuple[NDArray[np.int64], ...] = ()


def embed(network: DualPathNetwork, arrays: PairArrays, index: PairIndex, batch_size: int = 64) -> Embeddings:
    """All pairs of a split, without augmentation, where the network is; it must be in evaluation mode."""
    device = next(network.parameters()).device
    video: list[Side] = []
    music: list[Side] = []
    with torch.no_grad():
        for start in range(0, len(index), batch_size):
            rows = np.arange(start, min(start + batch_size, len(index)))
            batch = to_device(gather(arrays, index, rows), device)
            video.append(network.encode_clips(to_unit(batch.pictures), batch.texture, batch.frame_mask))
            music.append(network.encode_passages(batch.spectra, batch.statistics, batch.valid))
    return Embeddings(_joined(video), _joined(music), index.items(np.arange(len(index))))


def similarity(embeddings: Embeddings, weights: dict[str, float]) -> NDArray[np.float32]:
    """Weighted sum of the three cosine similarities: [videos, tracks]. `weights` as in kinoscore.json.

    Minus infinity between rows of one item.
    """
    video, music = embeddings.video, embeddings.music
    matrix: NDArray[np.float32] = (
        weights["fused"] * video.fused @ music.fused.T
        + weights["content"] * video.content @ music.content.T
        + weights["emotion"] * video.emotion @ music.emotion.T
    )
    if embeddings.items:
        matrix[same_item(embeddings.items, len(matrix))] = -np.inf
    return matrix


def _joined(sides: list[Side]) -> SideEmbeddings:
    cues = [side.cues for side in sides if side.cues is not None]
    return SideEmbeddings(
        content=torch.cat([side.content for side in sides]).cpu().numpy(),
        emotion=torch.cat([side.emotion.embedding for side in sides]).cpu().numpy(),
        fused=torch.cat([side.fused for side in sides]).cpu().numpy(),
        valence_arousal=torch.cat([side.emotion.valence_arousal for side in sides]).cpu().numpy(),
        probabilities=torch.cat([side.emotion.probabilities for side in sides]).cpu().numpy(),
        cues=torch.cat(cues).cpu().numpy() if cues else None,
    )
