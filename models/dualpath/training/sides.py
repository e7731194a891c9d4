"""Where a training step takes its two sides from: prepared arrays, or outputs of frozen encoders."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.data.augmentation import augment_pictures, augment_spectra, to_unit
from dualpath.data.batches import gather
from dualpath.data.cache import PairArrays
from dualpath.networks.dual_path import DualPathNetwork, Side

__all__ = ["EncodedPairs", "Sides", "encode_pairs", "sides_of_arrays", "sides_of_encoded"]

Sides = Callable[[DualPathNetwork, NDArray[np.int64], torch.Generator], tuple[Side, Side]]
"""(network, rows, source of all draws) -> what the network says of the clips and the music of the rows."""

_BATCH = 64
_BATCHES_A_LINE = 25


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPairs:
    """What the frame and the window encoder say of n pairs: 42 kB a pair.

    Attributes:
        frames: float16 [n, 24, F]. salience, frame_mask: float32 [n, 24].
        windows: float16 [n, 4, G]. window_mask: float32 [n, 4].
    """

    frames: Tensor
    salience: Tensor
    frame_mask: Tensor
    windows: Tensor
    window_mask: Tensor


def sides_of_arrays(arrays: PairArrays, augmentation: float) -> Sides:
    """The whole network runs, on augmented pictures and spectra."""

    def sides(
        network: DualPathNetwork, rows: NDArray[np.int64], generator: torch.Generator
    ) -> tuple[Side, Side]:
        batch = gather(arrays, rows)
        pictures = augment_pictures(batch.pictures, augmentation, generator)
        spectra = augment_spectra(batch.spectra, augmentation, generator)
        return (
            network.encode_clips(pictures, batch.texture, batch.frame_mask),
            network.encode_passages(spectra, batch.statistics, batch.valid),
        )

    return sides


def sides_of_encoded(pairs: EncodedPairs) -> Sides:
    """What follows the encoders runs, and nothing else is trained."""

    def sides(network: DualPathNetwork, rows: NDArray[np.int64], _: torch.Generator) -> tuple[Side, Side]:
        chosen = torch.from_numpy(rows)
        return (
            network.join_frames(
                pairs.frames[chosen].float(), pairs.salience[chosen], pairs.frame_mask[chosen]
            ),
            network.join_windows(pairs.windows[chosen].float(), pairs.window_mask[chosen]),
        )

    return sides


def encode_pairs(
    network: DualPathNetwork, arrays: PairArrays, progress: Callable[[str], None]
) -> EncodedPairs:
    """Runs both encoders over all pairs, without augmentation. The network must be in evaluation mode."""
    parts: list[EncodedPairs] = []
    for start in range(0, len(arrays), _BATCH):
        if len(parts) % _BATCHES_A_LINE == 0:
            progress(f"encoding pair {start} of {len(arrays)}")
        rows = np.arange(start, min(start + _BATCH, len(arrays)))
        parts.append(_encoded(network, arrays, rows))
    return EncodedPairs(
        *(torch.cat([getattr(part, name) for part in parts]) for name in EncodedPairs.__slots__)
    )


@torch.no_grad()
def _encoded(network: DualPathNetwork, arrays: PairArrays, rows: NDArray[np.int64]) -> EncodedPairs:
    batch = gather(arrays, rows)
    frames = network.encode_frames(to_unit(batch.pictures), batch.texture)
    windows = network.encode_windows(batch.spectra, batch.statistics, batch.valid)
    return EncodedPairs(
        frames=frames.features.half(),
        salience=frames.salience,
        frame_mask=batch.frame_mask,
        windows=windows.features.half(),
        window_mask=(batch.valid > 0).to(torch.float32),
    )
