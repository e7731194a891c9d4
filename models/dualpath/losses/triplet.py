"""The ranking loss of two-branch embeddings."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["triplet_loss"]


def triplet_loss(similarity: Tensor, margin: float, hardest: int) -> Tensor:
    """Bidirectional hinge over the most violated negatives of each anchor: [n, n] -> scalar.

    L_i = mean over the `hardest` largest of max(0, margin - s_ii + s_ij), j != i; averaged over the anchors
    of both directions. Wang, Li and Lazebnik, "Learning deep structure-preserving image-text embeddings",
    CVPR 2016, equation 1, with the top violations only, as in Hong, Im and Yang, "CBVMR", ICMR 2018.
    """
    size = similarity.shape[0]
    pairs = torch.eye(size, dtype=torch.bool, device=similarity.device)
    true = similarity.diagonal()
    count = min(hardest, size - 1)

    def one_direction(scores: Tensor) -> Tensor:
        cost = functional.relu(margin - true[:, None] + scores).masked_fill(pairs, 0.0)
        return cost.topk(count, dim=1).values.mean()

    return 0.5 * (one_direction(similarity) + one_direction(similarity.T))
