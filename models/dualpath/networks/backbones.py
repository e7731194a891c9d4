"""Backbones by name: "small" (ours) or "torchvision:NAME" with optional weights.

A backbone maps a picture [n, channels, height, width] to a feature map [n, dimension, height', width']. For
music the picture is a log-mel window, [n, 1, time, bands].
"""

import pickle
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinoscore.errors import InvalidRequest

__all__ = ["Backbone", "open_backbone"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_NOT_CONVOLUTIONAL = {"avgpool", "fc", "classifier", "head", "heads", "dropout", "AuxLogits", "aux1", "aux2"}


class Backbone(Protocol):
    """A module from pictures to feature maps."""

    dimension: int

    def __call__(self, pictures: Tensor) -> Tensor: ...


def open_backbone(
    name: str, channels: int, strides: tuple[tuple[int, int], ...], weights: str = ""
) -> nn.Module:
    """A backbone by name.

    Args:
        name: "small" or "torchvision:NAME", such as "torchvision:shufflenet_v2_x0_5".
        channels: of the input; torchvision networks get one channel as three equal ones.
        strides: (height, width) of each of the small backbone's three layers; others have their own.
        weights: "" (from scratch), a local file with a state dict, or for torchvision the name of published
            weights ("IMAGENET1K_V1"), which are downloaded.

    Raises:
        InvalidRequest: the name or the weights are not known.
    """
    family, _, model = name.partition(":")
    is_file = bool(weights) and Path(weights).is_file()
    backbone: nn.Module
    if name == "small":
        backbone = SmallBackbone(channels, strides)
        if weights and not is_file:
            raise InvalidRequest(
                f"the small backbone has no published weights and there is no file {weights!r}"
            )
    elif family == "torchvision" and model:
        backbone = TorchvisionBackbone(model, "" if is_file else weights)
    else:
        raise InvalidRequest(f"no backbone {name!r}: write 'small' or 'torchvision:NAME'", field="backbone")
    if is_file:
        _load_file(backbone, weights)
    return backbone


class SmallBackbone(nn.Module):
    """Space to depth, then three convolutions with batch normalisation: made for one CPU core (our choice).

    Channels last in memory, which on CPUs runs more than twice as fast here, forwards and backwards.
    """

    dimension = 96
    _WIDTHS = (24, 48, 96)

    def __init__(self, channels: int, strides: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        channels *= 4
        layers: list[nn.Module] = []
        for width, stride in zip(self._WIDTHS, strides, strict=True):
            layers += [
                nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        stacked = functional.pixel_unshuffle(pictures, 2)
        return self.layers(stacked.contiguous(memory_format=torch.channels_last))


class TorchvisionBackbone(nn.Module):
    """The convolutional part of a torchvision classification network."""

    def __init__(self, model: str, weights: str) -> None:
        super().__init__()
        import torchvision  # takes a second, and the small backbone does without it

        try:
            network = torchvision.models.get_model(model, weights=weights or None)
        except (ValueError, KeyError, OSError) as error:
            raise InvalidRequest(f"torchvision has no {model!r} with weights {weights!r}: {error}") from error
        kept = [child for name, child in network.named_children() if name not in _NOT_CONVOLUTIONAL]
        self.layers = nn.Sequential(*kept)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(_IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False
        )
        self.dimension = self._measure(model)

    def forward(self, pictures: Tensor) -> Tensor:
        pictures = pictures.expand(-1, 3, -1, -1)
        return self.layers((pictures - self.mean) / self.deviation)

    def _measure(self, model: str) -> int:
        self.eval()
        try:
            with torch.no_grad():
                shape = self(torch.zeros(1, 3, 64, 64)).shape
        except RuntimeError as error:
            raise InvalidRequest(
                f"torchvision's {model!r} is no plain convolutional network: {error}"
            ) from error
        self.train()
        if len(shape) != 4:
            raise InvalidRequest(f"torchvision's {model!r} gives no feature map, but shape {tuple(shape)}")
        return int(shape[1])


def global_pool(features: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, 2 c]: mean and maximum over the picture."""
    return torch.cat(
        [features.mean(dim=(2, 3)), functional.adaptive_max_pool2d(features, 1).flatten(1)], dim=1
    )


def _load_file(backbone: nn.Module, path: str) -> None:
    try:
        backbone.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise InvalidRequest(
            f"{path} holds no weights of this backbone: save its state dict with torch.save"
        ) from error
