"""The soft intra-modal structure constraint: neighbours in a modality stay neighbours in the embedding."""

import torch
from torch import Tensor

__all__ = ["structure_loss"]


def structure_loss(embedding: Tensor, features: Tensor) -> Tensor:
    """Unit rows [n, d] and unit rows of the modality's own features [n, c] -> scalar.

    Mean over i, j, k of (sign(e_ij - e_ik) - sign(f_ij - f_ik)) (e_ij - e_ik), with e_ij = e_i . e_j and
    f_ij = f_i . f_j: where the embedding orders two neighbours as the features do, nothing; else twice the
    difference. Hong, Im and Yang, "CBVMR: content-based video-music retrieval using soft intra-modal
    structure constraint", ICMR 2018, section 3.2.
    """
    inner = embedding @ embedding.T
    outer = (features @ features.T).detach()
    difference = inner[:, :, None] - inner[:, None, :]
    order = torch.sign(outer[:, :, None] - outer[:, None, :])
    return ((torch.sign(difference.detach()) - order) * difference).mean()
