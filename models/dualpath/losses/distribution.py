"""Emotion as a distribution: the part of the distinguish loss within one modality."""

import torch
from torch import Tensor

__all__ = ["distribution_loss"]


def distribution_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with soft classes: [n, e], rows of `target` sum to 1 [n, e] -> scalar.

    -mean_i sum_k t_ik log softmax(l_i)_k. One-hot targets give the cross-entropy of `distinguish_loss`. Geng,
    "Label distribution learning", IEEE TKDE 2016, up to the entropy of the target.
    """
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
