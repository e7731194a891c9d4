"""Image models of other libraries as backbones: one vector a picture, as a map of one place.

The libraries are optional, and imported when a name asks for them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinoscore.errors import InvalidRequest

__all__ = ["IMAGENET_DEVIATION", "IMAGENET_MEAN", "ImageTower", "open_image_tower"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_DEFAULT_SIZE = 224


class ImageTower(nn.Module):
    """Pictures [n, 3, h, w] in 0..1, brought to the tower's size and range -> [n, dimension, 1, 1].

    Args:
        network: what is trained or frozen.
        size: (height, width) of its input.
        mean, deviation: of its input, a channel each.
    """

    def __init__(
        self,
        network: nn.Module,
        size: tuple[int, int],
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.network, self.picture_size = network, size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)
        was_training = network.training
        self.eval()
        with torch.no_grad():
            self.dimension = int(self(torch.zeros(1, 3, *size)).shape[1])
        self.train(was_training)

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.shape[2:] != self.picture_size:
            pictures = functional.interpolate(
                pictures, self.picture_size, mode="bilinear", align_corners=False
            )
        vectors = _vectors(self.network((pictures - self.mean) / self.deviation))
        return vectors[:, :, None, None]


def open_image_tower(family: str, model: str, weights: str) -> ImageTower:
    """The image tower of `open_clip:model` or `transformers:model`.

    Args:
        weights: a tag of open_clip; transformers has the weights of the model itself.

    Raises:
        InvalidRequest: the package is missing, or it has no such model or weights.
    """
    open_one = {"open_clip": _open_clip, "transformers": _transformers}[family]
    try:
        return open_one(model, weights)
    except ImportError as error:
        extra = family.replace("_", "-")
        raise InvalidRequest(
            f"{family}:{model} needs a package ({error}): pip install 'kinoscore[{extra}]'", field="backbone"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        with_weights = f" with weights {weights!r}" if weights else ""
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidRequest(
            f"{family} has no image model {model!r}{with_weights}: {cause}",
            field="backbone",
        ) from error


def _open_clip(model: str, weights: str) -> ImageTower:
    import open_clip

    visual = open_clip.create_model(model, pretrained=weights or None).visual
    return ImageTower(
        visual,
        _size(visual.image_size),
        tuple(getattr(visual, "image_mean", None) or IMAGENET_MEAN),
        tuple(getattr(visual, "image_std", None) or IMAGENET_DEVIATION),
    )


def _transformers(model: str, weights: str) -> ImageTower:
    import transformers

    if weights:
        raise ValueError("its weights are the model's own: give the name or the folder of the model alone")
    network = transformers.AutoModel.from_pretrained(model)
    config = network.config
    if hasattr(network, "vision_model"):  # of a model of pictures and text, the picture's half
        network, config = network.vision_model, config.vision_config
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    return ImageTower(
        network,
        _size(getattr(config, "image_size", _DEFAULT_SIZE)),
        tuple(processor.image_mean),
        tuple(processor.image_std),
    )


def _size(told: Any) -> tuple[int, int]:
    return (int(told), int(told)) if isinstance(told, int) else (int(told[0]), int(told[1]))


def _vectors(output: Any) -> Tensor:
    """[n, d] from a tensor, or from the named results of transformers."""
    pooled: Any = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if pooled is None:
        pooled = output.last_hidden_state.mean(dim=1)
    return pooled.flatten(1)  # type: ignore[no-any-return]
