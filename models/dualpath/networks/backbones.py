"""Backbones by name, all by one small interface.

    none               no picture at all: the fixed cues alone
    small              ours, made for one CPU core
    torchvision:NAME   the convolutional part of a classification network
    open_clip:NAME     an image tower; needs the extra `open-clip`
    transformers:NAME  an image model of a hub or a folder with its weights; needs the extra `transformers`

A backbone maps a picture [n, channels, height, width] in 0..1 to a feature map [n, dimension, h', w'].
For music the picture is a log-mel window, [n, 1, time, bands]; only the first three serve it. Models of
torchaudio read waveforms, which training does not keep: they serve `dualpath features` (sound_towers.py).
"""

import pickle
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualpath.networks.image_towers import IMAGENET_DEVIATION, IMAGENET_MEAN, open_image_tower
from kinoscore.errors import InvalidRequest

__all__ = ["Backbone", "open_backbone", "require_file"]

_NAMES = "'none', 'small', 'torchvision:NAME', 'open_clip:NAME' or 'transformers:NAME'"
_NOT_CONVOLUTIONAL = {"avgpool", "fc", "classifier", "head", "heads", "dropout", "AuxLogits", "aux1", "aux2"}
_PUBLISHED_SIZE = (224, 224)


class Backbone(Protocol):
    """A module from pictures to feature maps.

    Attributes:
        dimension: channels of the map.
        picture_size: (height, width) that it was made for; it takes other sizes too.
        has_weights: whether it starts from weights that were learnt before, so that it can be frozen.
    """

    dimension: int
    picture_size: tuple[int, int]
    has_weights: bool

    def __call__(self, pictures: Tensor) -> Tensor: ...


def open_backbone(
    name: str, channels: int, strides: tuple[tuple[int, int], ...], weights: str = ""
) -> nn.Module:
    """A backbone by name.

    Args:
        name: see the head of this module, such as "torchvision:shufflenet_v2_x0_5".
        channels: of the input; torchvision networks get one channel as three equal ones.
        strides: (height, width) of each of the small backbone's three layers; others have their own.
        weights: "" (from scratch; of transformers, the model's own), a local file with a state dict
            ("file:PATH" or a path), or the name of published weights ("IMAGENET1K_V1" of torchvision, a tag
            of open_clip), which are downloaded.

    Raises:
        InvalidRequest: the name or the weights are not known, or a package is missing.
    """
    family, _, model = name.partition(":")
    state = _read_state(weights)
    published = "" if state is not None else weights
    backbone: nn.Module
    if name == "none":
        backbone = NoBackbone()
    elif name == "small":
        backbone = SmallBackbone(channels, strides)
    elif family == "torchvision" and model:
        backbone = TorchvisionBackbone(model, published)
    elif family in ("open_clip", "transformers") and model:
        if channels != 3:
            raise InvalidRequest(
                f"{name} reads colour pictures: music takes 'small' or 'torchvision:NAME'", field="backbone"
            )
        backbone = open_image_tower(family, model, published)
    elif family == "torchaudio":
        raise InvalidRequest(
            f"{name} reads waveforms: extract features with it (dualpath features --window-backbone {name}), "
            "and train on them (dualpath benchmark extracted)",
            field="backbone",
        )
    else:
        raise InvalidRequest(f"no backbone {name!r}: write {_NAMES}", field="backbone")
    if published and name in ("none", "small"):
        raise InvalidRequest(
            f"the backbone {name!r} has no published weights and there is no file {weights!r}"
        )
    if state is not None:
        _load(backbone, state, weights)
    backbone.has_weights = bool(weights) or family == "transformers"
    return backbone


class NoBackbone(nn.Module):
    """[n, c, h, w] -> zeros [n, 1, h / 4, w / 4]: what follows sees the fixed cues alone."""

    dimension = 1
    picture_size = (40, 64)

    def forward(self, pictures: Tensor) -> Tensor:
        return 0.0 * functional.avg_pool2d(pictures[:, :1], 4)


class SmallBackbone(nn.Module):
    """Space to depth, then three convolutions with batch normalisation: made for one CPU core (our choice).

    Channels last in memory, which on CPUs runs more than twice as fast here, forwards and backwards.
    """

    dimension = 96
    picture_size = (40, 64)
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

    picture_size = _PUBLISHED_SIZE

    def __init__(self, model: str, weights: str) -> None:
        super().__init__()
        import torchvision  # takes a second, and the small backbone does without it

        try:
            network = torchvision.models.get_model(model, weights=weights or None)
        except (ValueError, KeyError, OSError) as error:
            raise InvalidRequest(
                f"torchvision has no {model!r} with weights {weights!r}, or they cannot be downloaded "
                f"(then give file:PATH): {error}"
            ) from error
        self._published_keys = frozenset(network.state_dict())
        kept = {name: child for name, child in network.named_children() if name not in _NOT_CONVOLUTIONAL}
        self._positions = {name: str(number) for number, name in enumerate(kept)}
        self.layers = nn.Sequential(*kept.values())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.dimension = self._measure(model)

    def forward(self, pictures: Tensor) -> Tensor:
        pictures = pictures.expand(-1, 3, -1, -1)
        return self.layers((pictures - self.mean) / self.deviation)

    def own_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a published file, which names the whole network, what this backbone has; others unchanged."""
        if not self._published_keys & set(state):
            return state
        own = {}
        for key, values in state.items():
            child, _, rest = key.partition(".")
            if child in self._positions:
                own[f"layers.{self._positions[child]}.{rest}"] = values
        return own

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


def require_file(weights: str) -> Path | None:
    """The file that `weights` means, or None where it names published weights or nothing.

    Raises:
        InvalidRequest: "file:PATH", and there is no such file.
    """
    path = Path(weights.removeprefix("file:"))
    if weights and path.is_file():
        return path
    if weights.startswith("file:"):
        raise InvalidRequest(f"no file {path} with weights", field="weights")
    return None


def _read_state(weights: str) -> dict[str, Any] | None:
    path = require_file(weights)
    if path is None:
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("no dictionary")
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise _no_weights(path) from error
    return state


def _load(backbone: nn.Module, state: dict[str, Any], path: str) -> None:
    if isinstance(backbone, TorchvisionBackbone):
        state = backbone.own_state(state)
    try:
        backbone.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise _no_weights(Path(path.removeprefix("file:"))) from error


def _no_weights(path: Path) -> InvalidRequest:
    return InvalidRequest(f"{path} holds no weights of this backbone: save its state dict with torch.save")
