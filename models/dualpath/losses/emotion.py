"""Emotion regression: valence and arousal."""

import torch
from torch import Tensor

__all__ = ["emotion_regression_loss"]


def emotion_regression_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean squared error of valence and arousal: [n, 2], [n, 2], weights [n] or None -> scalar.

    sum_i w_i |p_i - t_i|^2 / (2 sum_i w_i); 0 where all weights are 0.
    """
    error = ((prediction - target) ** 2).mean(dim=1)
    if weights is None:
        return error.mean()
    total = weights.sum()
    return (error * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))
