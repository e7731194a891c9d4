"""Vectors as the index holds them, of nothing in particular."""

import numpy as np
from numpy.typing import NDArray

from kinoscore.ranking.scoring import Blocks

__all__ = ["unit_blocks"]


def unit_blocks(random: np.random.Generator, blocks: Blocks, count: int) -> NDArray[np.float32]:
    """Float32 [count, blocks.total], every block of unit length."""
    drawn = [random.standard_normal((count, size)) for size in (blocks.fused, blocks.content, blocks.emotion)]
    units = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in drawn]
    return np.concatenate(units, axis=1).astype(np.float32)
