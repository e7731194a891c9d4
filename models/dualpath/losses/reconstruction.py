"""Reconstruction: the content embedding must keep what its modality's summary says."""

from torch import Tensor
from torch.nn import functional

__all__ = ["reconstruction_loss"]


def reconstruction_loss(reconstruction: Tensor, summary: Tensor) -> Tensor:
    """Mean squared error after standardising each row of the target: [n, d], [n, d] -> scalar.

    mean_i,k ( r_ik - (s_ik - mean(s_i)) / sqrt(var(s_i) + 1e-5) )^2

    The target is detached and standardised, so that the loss cannot be lowered by shrinking the summary. The
    publication names an encoder-decoder without a formula; this one is our choice.
    """
    target = functional.layer_norm(summary.detach(), summary.shape[1:])
    return functional.mse_loss(reconstruction, target)
