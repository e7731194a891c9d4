"""The course of an item: what happens when, apart from what the item is like as a whole.

A video and its music rise and fall together. A mean over time cannot show that, nor does a network find it in
a few hundred pairs. So the course is computed and then mapped by one small matrix a modality.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CourseEncoder", "CourseStandard"]

_FLOOR = 0.2
_LIMIT = 4.0
_STILL = 1e-4


class CourseStandard(nn.Module):
    """Tokens [n, t, d] -> course [n, t, d]: less the item's own mean over time; then, at each position, less
    what is common there to all training items and in units of its deviation, cut off at 4.

    Nearly every track fades in and out; what tells tracks apart is how each departs from that.
    """

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(steps, width))
        self.register_buffer("deviation", torch.ones(steps, width))

    def learn(self, tokens: Tensor) -> None:
        """Keeps the moments of training items. The deviation has a floor of a fifth of the channel's own."""
        moving = tokens - tokens.mean(dim=1, keepdim=True)
        channel = moving.std(dim=(0, 1), correction=0)
        self.get_buffer("mean").copy_(moving.mean(dim=0))
        deviation = moving.std(dim=0, correction=0) + _FLOOR * channel
        # A channel that never moves has rounding errors for a course, which no two runtimes share.
        self.get_buffer("deviation").copy_(torch.where(deviation > _STILL, deviation, 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        moving = tokens - tokens.mean(dim=1, keepdim=True)
        standard = (moving - self.get_buffer("mean")) / self.get_buffer("deviation")
        return standard.clamp(-_LIMIT, _LIMIT)


class CourseEncoder(nn.Module):
    """Course [n, t, d] -> unit [n, t k]: one linear map a position, the same for all."""

    def __init__(self, width: int, directions: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.map = nn.Linear(width, directions, bias=False)

    def forward(self, course: Tensor) -> Tensor:
        # Whole channels of an item are dropped: cheaper than single numbers, and channels are what overfit.
        kept = self.dropout(torch.ones_like(course[:, :1]))
        return functional.normalize(self.map(course * kept).flatten(1), dim=1)
