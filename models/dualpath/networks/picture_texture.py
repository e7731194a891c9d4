"""Fixed statistics of a picture's texture: edges, glints, direction and scale, where detail lies.

No learned parameters. A small network that sees half the size in a few thousand steps does not learn these;
they say how a thing is drawn whatever it is and whatever its colours. Which statistics is our choice.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import VideoNumbers

__all__ = ["PictureTexture", "luminance_of"]

_EDGE_GROWTH = (3, 3, 5)  # windows of 3, 5 and 9 pixels: each is slid over the one before
_EDGE_STEEPNESS = (0.15, 0.25, 0.35, 0.5, 0.7, 0.9)
_GLINT_WINDOW = 5
_GLINT_HEIGHTS = (0.1, 0.2, 0.3, 0.45)
_SCALES = 8
_DIRECTIONS = 12
_LOWEST_FREQUENCY = 0.02
_DETAIL_GRID = (5, 8)
_POWER_FLOOR = 1e-3  # about that of film grain; below it is rounding, too


class PictureTexture(nn.Module):
    """float32 [n, 3, height, width] in 0..1, full size -> float32 [n, TEXTURE].

    A row is [glints 5 | edges 30 | spectrum: 8 scales x 12 directions | peaks a scale 8 | detail grid 40].
    """

    TEXTURE = (
        (1 + len(_GLINT_HEIGHTS))
        + len(_EDGE_GROWTH) * (3 + len(_EDGE_STEEPNESS))
        + 3
        + _SCALES * (_DIRECTIONS + 1)
        + _DETAIL_GRID[0] * _DETAIL_GRID[1]
    )

    def __init__(self, numbers: VideoNumbers) -> None:
        super().__init__()
        height, width = numbers.frame_height // 2, numbers.frame_width // 2
        rows, columns = np.arange(-(height // 2), height // 2), np.arange(width // 2)
        directions, scales = _polar_bins(rows / height, columns / width)
        for name, values in (
            ("row_cosines", _windowed(np.cos, height, rows)),
            ("row_sines", _windowed(np.sin, height, rows)),
            ("column_cosines", _windowed(np.cos, width, columns)),
            ("column_sines", _windowed(np.sin, width, columns)),
            ("directions", directions),
            ("scales", scales),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        luminance = luminance_of(pictures)
        small = functional.avg_pool2d(luminance, 2)
        return torch.cat(
            [_glints(pictures), _edges(luminance), self._spectrum(small.squeeze(1)), _detail(small)], dim=1
        )

    def _spectrum(self, luminance: Tensor) -> Tensor:
        """[n, h, w] -> [n, 104]: log power by scale and direction, then how peaked each scale is.

        A Hann window and a discrete Fourier transform as matrix products. Peaked means the logarithm of the
        mean power less the mean of its logarithm: large for a lattice, small for noise.
        """
        centred = luminance - luminance.mean(dim=(1, 2), keepdim=True)
        across_cosine, across_sine = centred @ self.column_cosines, centred @ self.column_sines
        real = self.row_cosines.T @ across_cosine - self.row_sines.T @ across_sine
        imaginary = self.row_sines.T @ across_cosine + self.row_cosines.T @ across_sine
        power = (real**2 + imaginary**2).flatten(1)
        peaks = torch.log(power @ self.scales + _POWER_FLOOR) - torch.log(power + _POWER_FLOOR) @ self.scales
        return torch.cat([torch.log(power @ self.directions + _POWER_FLOOR), peaks], dim=1)


def luminance_of(pictures: Tensor) -> Tensor:
    """[n, 3, h, w] RGB -> [n, 1, h, w]; the weights of ITU-R BT.601."""
    return 0.299 * pictures[:, 0:1] + 0.587 * pictures[:, 1:2] + 0.114 * pictures[:, 2:3]


def _glints(pictures: Tensor) -> Tensor:
    """[n, 5]: white top-hat of the darkest channel, its mean and the area above each height.

    Only what is small and white stands above its opening; coloured spots do not.
    """
    darkest = pictures.amin(dim=1, keepdim=True)
    opened = _highest(_lowest(darkest, _GLINT_WINDOW), _GLINT_WINDOW)
    glints = (darkest - opened).flatten(1)
    areas = [((glints - height) * 8.0).clamp(0.0, 1.0).mean(dim=1) for height in _GLINT_HEIGHTS]
    return torch.stack([glints.mean(dim=1), *areas], dim=1)


def _edges(luminance: Tensor) -> Tensor:
    """[n, 30]: how steep edges are, whatever their contrast, seen through three windows; then gradients.

    Steepness at a pixel is the largest gradient within the window over the range of luminance there: 1 for a
    step, the smaller the wider the edge. Pixels count by their range squared.
    """
    across = (luminance[:, :, :, 1:] - luminance[:, :, :, :-1]).abs()
    down = (luminance[:, :, 1:] - luminance[:, :, :-1]).abs()
    gradient = torch.maximum(functional.pad(across, (0, 1)), functional.pad(down, (0, 0, 0, 1)))
    parts = []
    high, low, steepest = luminance, luminance, gradient
    for window in _EDGE_GROWTH:
        high, low, steepest = _highest(high, window), _lowest(low, window), _highest(steepest, window)
        span = (high - low).flatten(1)
        steepness = steepest.flatten(1) / (span + 0.03)
        weights = span**2
        weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-3)
        mean = (steepness * weights).sum(dim=1, keepdim=True)
        deviation = torch.sqrt(((steepness - mean) ** 2 * weights).sum(dim=1, keepdim=True) + 1e-6)
        shares = [
            (((steepness - bound) * 20.0 + 0.5).clamp(0.0, 1.0) * weights).sum(dim=1, keepdim=True)
            for bound in _EDGE_STEEPNESS
        ]
        parts += [mean, deviation, torch.log(span.mean(dim=1, keepdim=True) + 0.01), *shares]
    flat = gradient.flatten(1)
    square = flat * flat  # a general power costs ONNX Runtime more than all the windows
    moments = [
        torch.log(values.mean(dim=1, keepdim=True) + floor)
        for values, floor in ((flat, 3e-3), (square, 1e-4), (square * square, 1e-6))
    ]
    return torch.cat([*parts, *moments], dim=1)


def _detail(luminance: Tensor) -> Tensor:
    """[n, 40]: logarithm of the luminance's deviation in each cell of a 5 x 8 grid."""
    # Centred first: float32 loses the difference of two large squares.
    centred = luminance - luminance.mean(dim=(2, 3), keepdim=True)
    mean = functional.adaptive_avg_pool2d(centred, _DETAIL_GRID)
    square = functional.adaptive_avg_pool2d(centred**2, _DETAIL_GRID)
    return 0.5 * torch.log((square - mean**2).clamp(min=0.0) + 4e-4).flatten(1)


def _highest(values: Tensor, window: int) -> Tensor:
    """The highest value of a square window around each pixel; rows, then columns, which is far cheaper."""
    rows = functional.max_pool2d(values, (window, 1), stride=1, padding=(window // 2, 0))
    return functional.max_pool2d(rows, (1, window), stride=1, padding=(0, window // 2))


def _lowest(values: Tensor, window: int) -> Tensor:
    return -_highest(-values, window)


def _windowed(wave: np.ufunc, size: int, frequencies: NDArray[np.int_]) -> NDArray[np.float64]:
    """f64[size, frequencies]: a cosine or sine of each frequency under a Hann window of unit energy."""
    window = np.hanning(size + 2)[1:-1]
    place = np.arange(size) - (size - 1) / 2
    return (
        window[:, None] / np.linalg.norm(window) * wave(2 * np.pi * place[:, None] * frequencies[None] / size)
    )


def _polar_bins(
    rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of each frequency in each bin, columns summing to 1: [h * w, 96] and [h * w, 8].

    Scales are octave-like rings up to half a cycle a pixel; directions overlap by half with their neighbours.
    """
    down, across = np.meshgrid(rows, columns, indexing="ij")
    radius, angle = np.hypot(down, across).ravel(), np.arctan2(down, across).ravel()
    edges = np.geomspace(_LOWEST_FREQUENCY, 0.5, _SCALES + 1)
    rings = ((radius[:, None] >= edges[None, :-1]) & (radius[:, None] < edges[None, 1:])).astype(np.float64)
    width = np.pi / _DIRECTIONS
    centres = -np.pi / 2 + (np.arange(_DIRECTIONS) + 0.5) * width
    distance = np.abs((angle[:, None] - centres[None, :] + np.pi / 2) % np.pi - np.pi / 2)
    sectors = np.clip(1.5 - distance / width, 0.0, 1.0)
    bins = (rings[:, :, None] * sectors[:, None, :]).reshape(len(radius), -1)
    return bins / np.maximum(bins.sum(axis=0), 1e-6), rings / np.maximum(rings.sum(axis=0), 1.0)
