"""The emotion distinguish loss: emotion classes in each modality, and across both."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["cross_modal_contrastive_loss", "distinguish_loss"]


def distinguish_loss(
    video_logits: Tensor,
    music_logits: Tensor,
    video_embedding: Tensor,
    music_embedding: Tensor,
    labels: Tensor,
    temperature: float,
) -> Tensor:
    """(CE(video, y) + CE(music, y)) / 2 + cross-modal supervised contrastive; labels [n] -> scalar.

    The publication names the loss without a formula; the sum is our choice.
    """
    classification = functional.cross_entropy(video_logits, labels) + functional.cross_entropy(
        music_logits, labels
    )
    return 0.5 * classification + cross_modal_contrastive_loss(
        video_embedding, music_embedding, labels, temperature
    )


def cross_modal_contrastive_loss(video: Tensor, music: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss between modalities: unit embeddings [n, d] twice, labels [n] -> scalar.

    For an anchor i of one modality, with P(i) the rows of the other that share its class:
    L_i = -1 / |P(i)| sum_{p in P(i)} log( exp(s_ip / t) / sum_j exp(s_ij / t) ),
    averaged over the anchors of both modalities. Khosla et al., "Supervised contrastive learning", NeurIPS
    2020, equation 2 ("out"), with positives and negatives taken from the other modality only.
    """
    same = (labels[:, None] == labels[None, :]).to(video.dtype)
    similarity = video @ music.T / temperature

    def one_direction(logits: Tensor) -> Tensor:
        log_share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        return -((log_share * same).sum(dim=1) / same.sum(dim=1)).mean()

    return 0.5 * (one_direction(similarity) + one_direction(similarity.T))
