"""Fixed cues of a picture that carry emotion; no learned parameters.

Which cues, and with what strength, was measured on photographs rated by people: colourfulness, chroma spread
and variety of hue go with valence; coarse contrast and dark share with arousal; the distance between centre
and surround with both; fine detail slightly against arousal.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import VideoNumbers
from dualpath.networks.picture_texture import PictureTexture, luminance_of

__all__ = ["GRID_HEIGHT", "GRID_WIDTH", "PictureCues", "PicturePreparation"]

GRID_HEIGHT = 10
GRID_WIDTH = 16
_LUMINANCE_THRESHOLDS = (0.06, 0.12, 0.2, 0.3, 0.42, 0.55, 0.7, 0.85)


class PicturePreparation(nn.Module):
    """uint8 [n, height, width, 3] -> (float32 [n, 3, height / 2, width / 2] in 0..1, texture [n, 333]).

    Texture takes the full size. For the rest, averaging 2 x 2 pixels costs a network nothing (detail carries
    little emotion, and the small backbone strides over it anyway) and makes everything after it four times
    cheaper. Our choice.
    """

    def __init__(self, numbers: VideoNumbers) -> None:
        super().__init__()
        self.texture = PictureTexture(numbers)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pictures = frames.permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 255.0)
        small = functional.avg_pool2d(pictures, 2)
        return small, self.texture(pictures, small)


class PictureCues(nn.Module):
    """float32 [n, 3, h, w] in 0..1 -> (cues [n, CUES], luminance grid [n, 160], row by row).

    Colourfulness: Hasler and Suesstrunk, "Measuring colorfulness in natural images", 2003. Lab: CIE 1976,
    D65.
    """

    CUES = 28

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "thresholds", torch.tensor(_LUMINANCE_THRESHOLDS).view(1, -1, 1), persistent=False
        )
        # linear sRGB -> XYZ relative to the D65 white point
        matrix = torch.tensor(
            [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        ) / torch.tensor([[0.95047], [1.0], [1.08883]])
        self.register_buffer("to_xyz", matrix.view(3, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        luminance = luminance_of(pictures)
        # Colour is read at half the size again: its statistics do not change, its cost does.
        small = functional.avg_pool2d(pictures, 2)
        small_luminance = functional.avg_pool2d(luminance, 2)
        coarse = functional.adaptive_avg_pool2d(small_luminance, (GRID_HEIGHT, GRID_WIDTH))
        cues = torch.cat(
            [
                _colourfulness(small),
                self._chroma(small),
                self._luminance_distribution(coarse),
                _band_energies(luminance, small_luminance, coarse),
                _orientation(luminance),
                _orientation(small_luminance)[:, :2],
            ],
            dim=1,
        )
        return cues, coarse.flatten(1)

    def _chroma(self, pictures: Tensor) -> Tensor:
        """[n, 7]: chroma mean, spread, saturation, hue variety (2), centre-surround in lightness, in colour.

        Hue variety is the circular variance of the hue, weighted by chroma, and that of the doubled hue
        (which two opposite hues do not raise); a rotation of all hues leaves both unchanged.
        """
        linear = pictures.clamp(min=1e-4) ** 2.2
        xyz = functional.conv2d(linear, self.to_xyz)
        root = (xyz + 1e-3) ** (1.0 / 3.0)
        lightness = 1.16 * root[:, 1:2] - 0.16
        green_red = 5.0 * (root[:, 0:1] - root[:, 1:2])
        blue_yellow = 2.0 * (root[:, 1:2] - root[:, 2:3])
        chroma = torch.sqrt(green_red**2 + blue_yellow**2 + 1e-6)
        highest, lowest = pictures.amax(dim=1, keepdim=True), pictures.amin(dim=1, keepdim=True)
        saturation = ((highest - lowest) / (highest + 0.05)).mean(dim=(1, 2, 3))
        total = chroma.mean(dim=(1, 2, 3))
        lab = torch.cat([lightness, green_red, blue_yellow], dim=1)
        height, width = lab.shape[2], lab.shape[3]
        centre = lab[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4].mean(
            dim=(2, 3)
        )
        # The centre holds a quarter of the area: whole = centre / 4 + surround * 3 / 4.
        surround = (lab.mean(dim=(2, 3)) - 0.25 * centre) / 0.75
        difference = centre - surround
        return torch.stack(
            [
                total,
                _deviation(chroma),
                saturation,
                1.0 - _length(green_red, blue_yellow) / total,
                1.0
                - _length((green_red**2 - blue_yellow**2) / chroma, 2.0 * green_red * blue_yellow / chroma)
                / total,
                difference[:, 0].abs(),
                torch.sqrt(difference[:, 1] ** 2 + difference[:, 2] ** 2 + 1e-6),
            ],
            dim=1,
        )

    def _luminance_distribution(self, luminance: Tensor) -> Tensor:
        """[n, 10]: mean, spread, and the share of pixels below each threshold (soft)."""
        below = torch.sigmoid((self.thresholds - luminance.flatten(2)) * 40.0).mean(dim=2)
        return torch.cat([luminance.mean(dim=(2, 3)), _deviation(luminance).unsqueeze(1), below], dim=1)


def _length(x: Tensor, y: Tensor) -> Tensor:
    """Length of the mean vector over the picture: [n, 1, h, w] twice -> [n]."""
    return torch.sqrt(x.mean(dim=(1, 2, 3)) ** 2 + y.mean(dim=(1, 2, 3)) ** 2 + 1e-8)


def _deviation(values: Tensor) -> Tensor:
    """Standard deviation over everything but the batch: [n, ...] -> [n]."""
    flat = values.flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    return torch.sqrt((centred**2).mean(dim=1) + 1e-8)


def _colourfulness(pictures: Tensor) -> Tensor:
    """[n, 1]: sqrt(var rg + var yb) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2), rg = R - G, yb = (R + G) / 2 - B."""
    red, green, blue = pictures[:, 0], pictures[:, 1], pictures[:, 2]
    red_green = (red - green).flatten(1)
    yellow_blue = (0.5 * (red + green) - blue).flatten(1)
    mean_square = red_green.mean(dim=1) ** 2 + yellow_blue.mean(dim=1) ** 2
    variance = _deviation(red_green) ** 2 + _deviation(yellow_blue) ** 2
    return (torch.sqrt(variance + 1e-8) + 0.3 * torch.sqrt(mean_square + 1e-8)).unsqueeze(1)


def _orientation(luminance: Tensor) -> Tensor:
    """[n, 3]: direction of the edges as the doubled angle of the structure tensor, and how sparse edges are.

    Structure tensor: Bigun and Granlund, "Optimal orientation detection of linear symmetry", 1987.
    """
    across = luminance[:, :, :-1, 1:] - luminance[:, :, :-1, :-1]
    down = luminance[:, :, 1:, :-1] - luminance[:, :, :-1, :-1]
    energy = across**2 + down**2
    total = energy.mean(dim=(1, 2, 3)) + 1e-5
    sparsity = torch.sqrt(energy + 1e-8).mean(dim=(1, 2, 3)) / torch.sqrt(total)
    return torch.stack(
        [
            2.0 * (across * down).mean(dim=(1, 2, 3)) / total,
            (across**2 - down**2).mean(dim=(1, 2, 3)) / total,
            sparsity,
        ],
        dim=1,
    )


def _band_energies(luminance: Tensor, small: Tensor, coarse: Tensor) -> Tensor:
    """[n, 5]: spread of luminance between scales, coarse to fine (a coarse radial spectrum), and edges."""
    coarsest = functional.avg_pool2d(coarse, 2)
    levels = [
        _deviation(coarsest),
        _deviation(coarse - functional.interpolate(coarsest, scale_factor=2.0)),
        _deviation(small - functional.interpolate(coarse, size=small.shape[2:])),
        _deviation(luminance - functional.interpolate(small, scale_factor=2.0)),
        (luminance[:, :, :, 1:] - luminance[:, :, :, :-1]).abs().mean(dim=(1, 2, 3)),
    ]
    return torch.log(torch.stack(levels, dim=1) + 1e-3)
