"""Towers of the baselines: pooled tokens, or tokens through a small transformer, to one unit embedding."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MeanTower", "TransformerTower"]


class MeanTower(nn.Module):
    """Pooled tokens [n, c] -> unit [n, d]: a perceptron of one hidden layer."""

    def __init__(self, width: int, hidden: int, dimension: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimension),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        return functional.normalize(self.layers(pooled), dim=1)


class TransformerTower(nn.Module):
    """Tokens [n, t, c] -> unit [n, d]: learned positions, one encoder layer, the mean of its output."""

    def __init__(self, width: int, steps: int, hidden: int, dimension: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.position = nn.Parameter(0.02 * torch.randn(steps, hidden))
        self.layer = nn.TransformerEncoderLayer(
            hidden, nhead=4, dim_feedforward=2 * hidden, dropout=dropout, batch_first=True, norm_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(hidden, dimension)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.layer(self.enter(self.dropout(tokens)) + self.position)
        return functional.normalize(self.leave(hidden.mean(dim=1)), dim=1)
