"""One plain loop for networks on features: small enough that all pairs stay in memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinoscore.errors import InvalidRequest

__all__ = ["LEAST_PAIRS", "FeatureTraining", "train_on_rows"]

LEAST_PAIRS = 8
"""With fewer in a batch, a pair has hardly a stranger to be told from."""


@dataclass(frozen=True, slots=True)
class FeatureTraining:
    """How long and how fast; the learning rate falls along a cosine.

    Steps, not epochs: a few hundred pairs are one or two batches, and the method should not train less where
    there are fewer. Fewer rows than `batch_size` are one batch.
    """

    steps: int = 160
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05


def train_on_rows(
    network: nn.Module, loss: Callable[[Tensor], Tensor], rows: int, training: FeatureTraining, seed: int
) -> None:
    """Minimises `loss` of batches of row numbers (int64 [batch]); the network ends in evaluation mode.

    Every draw comes from `seed`: the same seed gives the same weights on a CPU.

    Raises:
        InvalidRequest: fewer rows than `LEAST_PAIRS`.
    """
    if rows < LEAST_PAIRS:
        raise InvalidRequest(f"{rows} training pairs are too few: {LEAST_PAIRS} are the least", field="data")
    batch_size = min(training.batch_size, rows)
    order = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    steps_per_epoch = rows // batch_size
    network.train()
    for step in range(training.steps):
        if step % steps_per_epoch == 0:
            shuffled = torch.from_numpy(order.permutation(rows))
        start = step % steps_per_epoch * batch_size
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / training.steps))
        optimiser.zero_grad(set_to_none=True)
        loss(shuffled[start : start + batch_size]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    network.eval()
