"""Metric losses with the polarity penalty factor.

Both are symmetric between the directions, and both take the same factor for a pair (i, j) of polarities p in
{-1, 0, 1}: w_ij = 1 + lambda * |p_i - p_j| / 2. The publication names a metric loss in which pairs of
opposite polarity are penalised more; this form of the factor is our choice.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["info_nce_loss", "max_margin_loss", "polarity", "polarity_factor"]


def polarity(valence: Tensor, centre: float, neutral_band: float) -> Tensor:
    """Sign of the centred valence, 0 inside the neutral band: [n] -> [n] in {-1, 0, 1}."""
    centred = valence - centre
    return torch.where(centred.abs() <= neutral_band, torch.zeros_like(centred), torch.sign(centred))


def polarity_factor(polarities: Tensor, factor: float) -> Tensor:
    """w_ij = 1 + lambda * |p_i - p_j| / 2: [n] -> [n, n]."""
    return 1.0 + factor * 0.5 * (polarities[:, None] - polarities[None, :]).abs()


def max_margin_loss(similarity: Tensor, weights: Tensor, margin: float) -> Tensor:
    """Bidirectional max-margin with hard negatives: [n, n], [n, n] -> scalar.

    L_i = max_{j != i} w_ij * max(0, margin - s_ii + s_ij), averaged over rows and over columns. Faghri et
    al., "VSE++", BMVC 2018, equation 5, with the polarity factor w; similarity[i, i] is the true pair.
    """
    pairs = torch.eye(similarity.shape[0], dtype=torch.bool, device=similarity.device)
    true = similarity.diagonal()

    def one_direction(scores: Tensor) -> Tensor:
        cost = weights * functional.relu(margin - true[:, None] + scores)
        return cost.masked_fill(pairs, 0.0).amax(dim=1).mean()

    return 0.5 * (one_direction(similarity) + one_direction(similarity.T))


def info_nce_loss(similarity: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Bidirectional InfoNCE with weighted negatives: [n, n], [n, n] -> scalar.

    L_i = -log( e^{s_ii / t} / (e^{s_ii / t} + sum_{j != i} w_ij e^{s_ij / t}) ), averaged over rows and over
    columns. van den Oord et al., "Representation learning with contrastive predictive coding", 2018, with the
    polarity factor w (w_ii = 1).
    """
    logits = similarity / temperature + torch.log(weights)
    target = torch.arange(similarity.shape[0], device=similarity.device)
    transposed = similarity.T / temperature + torch.log(weights)
    return 0.5 * (functional.cross_entropy(logits, target) + functional.cross_entropy(transposed, target))
