"""Fixed statistics of a picture's texture: edges, glints, direction and scale, where detail lies.

No learned parameters. A small network that sees half the size in a few thousand steps does not learn these;
they say how a thing is drawn whatever it is and whatever its colours. Which statistics is our choice.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import VideoNumbers

__all__ = ["PictureTexture", "luminance_of"]

_EDGE_GROWTH = (3, 3, 5)  # each window is slid over what the one before left
_EDGE_STEEPNESS = (0.15, 0.25, 0.35, 0.5, 0.7, 0.9)
_NEGATIVE_STEEPNESS = tuple(-bound for bound in _EDGE_STEEPNESS)
_GLINT_WINDOW = 5  # pixels at full size
_GLINT_HEIGHTS = (0.1, 0.2, 0.3, 0.45)
_SURROUNDINGS = 9  # pixels at half size
_SCALES = 7
_DIRECTIONS = 12
_RINGS = 12
_LOWEST_RING = 0.05  # cycles a pixel; below it all is one ring
_RING_STATISTICS = 4
_DETAIL_GRID = (5, 8)
_POWER_FLOOR = 1e-3  # about that of film grain; below it is rounding, too


class PictureTexture(nn.Module):
    """float32 [n, 3, height, width] in 0..1 at full size, and averaged to half of it -> float32 [n, TEXTURE].

    A row is [glints 5 | edges 30 | edges of shapes 30 | power by 7 scales x 12 directions | 12 rings x 4
    statistics of shapes, of detail and of colour | detail grid 40]. Shapes are the luminance without its
    glints. Glints and edges need the full size; all else is read at half of it, for a quarter of the time.
    """

    TEXTURE = (
        (1 + len(_GLINT_HEIGHTS))
        + 2 * (len(_EDGE_GROWTH) * (3 + len(_EDGE_STEEPNESS)) + 3)
        + _SCALES * _DIRECTIONS
        + 3 * _RING_STATISTICS * _RINGS
        + _DETAIL_GRID[0] * _DETAIL_GRID[1]
    )

    def __init__(self, numbers: VideoNumbers) -> None:
        super().__init__()
        height, width = numbers.frame_height // 2, numbers.frame_width // 2
        rows, columns = np.arange(-(height // 2), height // 2), np.arange(width // 2)
        directions, rings = _polar_bins(rows / height, columns / width)
        for name, values in (
            ("row_cosines", _windowed(np.cos, height, rows)),
            ("row_sines", _windowed(np.sin, height, rows)),
            ("column_cosines", _windowed(np.cos, width, columns)),
            ("column_sines", _windowed(np.sin, width, columns)),
            ("directions", directions),
            ("rings", rings),
            ("blur_rows", _blur(height).T),
            ("blur_columns", _blur(width)),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    def forward(self, pictures: Tensor, small: Tensor) -> Tensor:
        luminance = luminance_of(small)
        shapes = _opened(luminance, _GLINT_WINDOW // 2 + 1)
        detail = (luminance - self.blur_rows @ luminance @ self.blur_columns).abs()
        blue, red = small[:, 2:3] - luminance, small[:, 0:1] - luminance
        colour = self._power(blue) + self._power(red)  # does not change when hues turn
        return torch.cat(
            [
                _glints(pictures),
                _edges(luminance_of(pictures), stride=2),
                _edges(shapes, stride=1),
                torch.log(self._power(luminance) @ self.directions + _POWER_FLOOR),
                *(self._ring_statistics(each) for each in (self._power(shapes), self._power(detail), colour)),
                _detail(luminance),
            ],
            dim=1,
        )

    def _power(self, plane: Tensor) -> Tensor:
        """[n, 1, h, w] -> [n, h * w / 2]: the power spectrum under a Hann window.

        The discrete Fourier transform is two matrix products.
        """
        centred = (plane - plane.mean(dim=(2, 3), keepdim=True)).squeeze(1)
        across_cosine, across_sine = centred @ self.column_cosines, centred @ self.column_sines
        real = self.row_cosines.T @ across_cosine - self.row_sines.T @ across_sine
        imaginary = self.row_sines.T @ across_cosine + self.row_cosines.T @ across_sine
        return (real * real + imaginary * imaginary).flatten(1)

    def _ring_statistics(self, power: Tensor) -> Tensor:
        """[n, h * w / 2] -> [n, 48]: a ring's mean power and how peaked it is, all as logarithms.

        Peaked means that the mean, the root of the mean square and that of the mean fourth power lie far
        apart: they do for a lattice, and do not for noise.
        """
        power = power + _POWER_FLOOR
        square = power * power
        mean = torch.log(power @ self.rings)
        return torch.cat(
            [
                mean,
                mean - torch.log(power) @ self.rings,
                0.5 * torch.log(square @ self.rings) - mean,
                0.25 * torch.log((square * square) @ self.rings) - mean,
            ],
            dim=1,
        )


def luminance_of(pictures: Tensor) -> Tensor:
    """[n, 3, h, w] RGB -> [n, 1, h, w]; the weights of ITU-R BT.601."""
    return 0.299 * pictures[:, 0:1] + 0.587 * pictures[:, 1:2] + 0.114 * pictures[:, 2:3]


def _glints(pictures: Tensor) -> Tensor:
    """[n, 5]: white top-hat of the darkest channel, its mean and the area above each height.

    Only what is small and white stands above its opening; coloured spots do not.
    """
    darkest = pictures.amin(dim=1, keepdim=True)
    glints = (darkest - _opened(darkest, _GLINT_WINDOW)).flatten(1)
    areas = _above(glints, _GLINT_HEIGHTS, 8.0, 0.0).mean(dim=2)
    return torch.cat([glints.mean(dim=1, keepdim=True), areas], dim=1)


def _edges(luminance: Tensor, stride: int) -> Tensor:
    """[n, 30]: how steep edges are, whatever their contrast, seen through three windows; then gradients.

    Steepness at a place is the largest gradient within the window over the range of luminance there: 1 for a
    step, the smaller the wider the edge. Places count by their range squared. After the first window every
    `stride`-th pixel is kept; the others are slid over these.
    """
    across = (luminance[:, :, :, 1:] - luminance[:, :, :, :-1]).abs()
    down = (luminance[:, :, 1:] - luminance[:, :, :-1]).abs()
    gradient = torch.maximum(functional.pad(across, (0, 1)), functional.pad(down, (0, 0, 0, 1)))
    parts = []
    high, low, steepest = luminance, -luminance, gradient
    for step, window in zip((stride, 1, 1), _EDGE_GROWTH, strict=True):
        high, low, steepest = (_highest(values, window, step) for values in (high, low, steepest))
        span = (high + low).flatten(1)
        steepness = steepest.flatten(1) / (span + 0.03)
        weights = span * span
        total = weights.sum(dim=1, keepdim=True)
        weights = weights / (total + 1e-3)
        mean = (steepness * weights).sum(dim=1, keepdim=True)
        deviation = torch.sqrt(((steepness - mean) ** 2 * weights).sum(dim=1, keepdim=True) + 1e-6)
        # Nearly all lies above the lowest bounds: what lies below is summed, which rounds far less.
        below = _above(-steepness, _NEGATIVE_STEEPNESS, 20.0, 0.5) @ weights.unsqueeze(2)
        shares = total / (total + 1e-3) - below.squeeze(2)
        parts += [mean, deviation, torch.log(span.mean(dim=1, keepdim=True) + 0.01), shares]
    flat = gradient.flatten(1)
    square = flat * flat  # a general power costs ONNX Runtime more than all the windows
    moments = [
        torch.log(values.mean(dim=1, keepdim=True) + floor)
        for values, floor in ((flat, 3e-3), (square, 1e-4), (square * square, 1e-6))
    ]
    return torch.cat([*parts, *moments], dim=1)


def _above(values: Tensor, bounds: Sequence[float], slope: float, at_bound: float) -> Tensor:
    """[n, p] -> [n, bounds, p]: 1 well above a bound, 0 well below, `at_bound` at it, linear between."""
    starts = torch.tensor([at_bound - slope * bound for bound in bounds]).view(1, -1, 1)
    return (values.unsqueeze(1) * slope + starts).clamp(0.0, 1.0)


def _detail(luminance: Tensor) -> Tensor:
    """[n, 40]: logarithm of the luminance's deviation in each cell of a 5 x 8 grid."""
    # Centred first: float32 loses the difference of two large squares.
    centred = luminance - luminance.mean(dim=(2, 3), keepdim=True)
    mean = functional.adaptive_avg_pool2d(centred, _DETAIL_GRID)
    square = functional.adaptive_avg_pool2d(centred**2, _DETAIL_GRID)
    return 0.5 * torch.log((square - mean**2).clamp(min=0.0) + 4e-4).flatten(1)


def _opened(values: Tensor, window: int) -> Tensor:
    """Without what is small and bright: the highest of the lowest values."""
    return _highest(-_highest(-values, window), window)


def _highest(values: Tensor, window: int, stride: int = 1) -> Tensor:
    """The highest value of a square window around every `stride`-th pixel."""
    return functional.max_pool2d(values, window, stride, padding=window // 2)


def _windowed(wave: np.ufunc, size: int, frequencies: NDArray[np.int_]) -> NDArray[np.float64]:
    """f64[size, frequencies]: a cosine or sine of each frequency under a Hann window of unit energy."""
    window = np.hanning(size + 2)[1:-1]
    place = np.arange(size) - (size - 1) / 2
    return (
        window[:, None] / np.linalg.norm(window) * wave(2 * np.pi * place[:, None] * frequencies[None] / size)
    )


def _blur(size: int) -> NDArray[np.float64]:
    """f64[size, size]: each column averages the surroundings of one place, fewer at the border."""
    places = np.arange(size)
    near = np.abs(places[:, None] - places[None, :]) <= _SURROUNDINGS // 2
    return near / near.sum(axis=0)


def _polar_bins(
    rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of each frequency in each bin, columns summing to 1: [h * w / 2, 84] and [h * w / 2, 12].

    Directions overlap by half with their neighbours.
    """
    down, across = np.meshgrid(rows, columns, indexing="ij")
    radius, angle = np.hypot(down, across).ravel(), np.arctan2(down, across).ravel()
    width = np.pi / _DIRECTIONS
    centres = -np.pi / 2 + (np.arange(_DIRECTIONS) + 0.5) * width
    distance = np.abs((angle[:, None] - centres[None, :] + np.pi / 2) % np.pi - np.pi / 2)
    sectors = np.clip(1.5 - distance / width, 0.0, 1.0)
    bins = (_rings(radius, _SCALES)[:, :, None] * sectors[:, None, :]).reshape(len(radius), -1)
    rings = _rings(radius, _RINGS)
    return bins / bins.sum(axis=0), rings / rings.sum(axis=0)


def _rings(radius: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """[m] -> [m, count]: 1 where a frequency lies in a ring; rings grow by a constant factor up to 0.5."""
    edges = np.array([1e-6, *np.geomspace(_LOWEST_RING, 0.5, count)])
    return ((radius[:, None] >= edges[:-1]) & (radius[:, None] < edges[1:])).astype(np.float64)
