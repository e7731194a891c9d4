"""Exponential moving average of a network's weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

__all__ = ["averaged_copy", "update_average"]

Network = TypeVar("Network", bound=nn.Module)


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """average <- d average + (1 - d) network, d = min(decay, (1 + step) / (10 + step)): early steps count.

    Counters (integer buffers) are copied.
    """
    effective = min(decay, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1.0 - effective)
            else:
                mean.copy_(value)


def averaged_copy(network: Network) -> Network:
    """A copy that takes no gradients, in evaluation mode."""
    average = copy.deepcopy(network).eval()
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average
