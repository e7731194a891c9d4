"""What may change without changing the match: appearance and recording, never motion, figure or emotion.

Pictures: hue, warmth, brightness, contrast, a little shift; the same for all frames of a clip. Never a mirror
image or another scale: which way things move and how fine they are counts. Music: equaliser, level, key,
masked bands, never a shift in time. All draws come from the given generator, so a run can be repeated.
"""

import math

import torch
from torch import Tensor

from dualpath.networks.music_spectra import MEL_BANDS, Spectra

__all__ = ["augment_pictures", "augment_spectra", "to_unit"]

_EQUALISER_POINTS = 6


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 -> float32 in 0..1."""
    return pictures.to(torch.float32) * (1.0 / 255.0)


def augment_pictures(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """uint8 [n, t, 3, h, w] -> float32 of the same shape in 0..1."""
    count, steps, channels, height, width = pictures.shape
    moved = torch.stack(
        [
            clip[:, :, _positions(height, strength, generator)][
                :, :, :, _positions(width, strength, generator)
            ]
            for clip in pictures
        ]
    )
    matrix, offset = _colour_change(count, strength, generator)
    flat = moved.to(torch.float32).permute(0, 2, 1, 3, 4).reshape(count, channels, -1)
    changed = torch.baddbmm(offset, matrix / 255.0, flat).clamp_(0.0, 1.0)
    return changed.reshape(count, channels, steps, height, width).permute(0, 2, 1, 3, 4)


def augment_spectra(spectra: Spectra, strength: float, generator: torch.Generator) -> Spectra:
    """Spectra of [n, 4] windows -> Spectra of the same shapes."""
    count = len(spectra.mel)
    points = torch.randn(count, 1, _EQUALISER_POINTS, generator=generator) * (0.4 * strength)
    curve = torch.nn.functional.interpolate(points, size=MEL_BANDS, mode="linear", align_corners=True)
    mel = spectra.mel + curve.unsqueeze(1)
    loudness = spectra.loudness + 5.0 * strength * torch.randn(count, 1, generator=generator)
    pitch = spectra.pitch.clone()
    reach = round(5 * strength)
    for row in range(count):
        semitones = _integer(-reach, reach, generator)
        pitch[row] = _shifted(pitch[row], semitones, dim=2)
        band = _integer(0, MEL_BANDS - 1, generator)
        width = _integer(0, round(8 * strength), generator)
        hidden = mel[row, :, :, band : band + width]
        mel[row, :, :, band : band + width] = hidden.mean(dim=(0, 1), keepdim=True)
    return Spectra(mel, pitch, loudness)


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def _positions(size: int, strength: float, generator: torch.Generator) -> Tensor:
    """Which row or column each row or column shows: shift up to 6 %, edges repeated."""
    reach = round(0.06 * strength * size)
    return (torch.arange(size) + _integer(-reach, reach, generator)).clamp(0, size - 1)


def _colour_change(count: int, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """[n, 3, 3] and [n, 3, 1]: hue rotated about grey, gains of channels, contrast, brightness."""
    angle = (torch.rand(count, generator=generator) * 2 - 1) * (math.pi * min(strength, 1.0))
    axis = torch.full((3, 3), 1.0 / 3.0)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    cosine, sine = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    rotation = cosine * torch.eye(3) + sine * cross + (1 - cosine) * axis
    gains = 1.0 + 0.1 * strength * torch.randn(count, 3, 1, generator=generator)
    contrast = torch.exp(0.15 * strength * torch.randn(count, 1, 1, generator=generator))
    brightness = 0.12 * strength * torch.randn(count, 1, 1, generator=generator)
    matrix = rotation * gains * contrast
    return matrix, (0.5 - 0.5 * contrast + brightness).expand(-1, 3, -1)


def _shifted(values: Tensor, steps: int, dim: int) -> Tensor:
    """Shifted along an axis with zeros coming in."""
    rolled = torch.roll(values, steps, dims=dim)
    if steps > 0:
        rolled.narrow(dim, 0, steps).zero_()
    elif steps < 0:
        rolled.narrow(dim, rolled.shape[dim] + steps, -steps).zero_()
    return rolled
