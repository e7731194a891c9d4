"""What may change without changing the match: appearance and recording, never motion, figure or emotion.

Pictures: hue, warmth, brightness, contrast, a little shift; the same for all frames of a clip. Never a mirror
image or another scale: which way things move and how fine they are counts. Music: equaliser, level, key,
masked bands, never a shift in time. All draws come from the given generator, so a run can be repeated.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dualpath.networks.music_spectra import MEL_BANDS, Spectra

__all__ = ["augment_pictures", "augment_spectra", "to_unit"]

_EQUALISER_POINTS = 6


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 -> float32 in 0..1."""
    return pictures.to(torch.float32) * (1.0 / 255.0)


def augment_pictures(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """uint8 [n, t, 3, h, w] -> float32 of the same shape in 0..1."""
    count, steps, channels, height, width = pictures.shape
    shifts = [(_shift(height, strength, generator), _shift(width, strength, generator)) for _ in pictures]
    matrix, offset = _colour_change(count, strength, generator)
    changed = torch.empty(pictures.shape, dtype=torch.float32)
    # Clip by clip, so that what one step writes is still in the processor's cache for the next.
    for clip, shift, mix, add, out in zip(pictures, shifts, matrix / 255.0, offset, changed, strict=True):
        flat = _moved(clip.to(torch.float32), *shift).reshape(steps, channels, -1)
        torch.baddbmm(
            add.expand(steps, -1, -1), mix.expand(steps, -1, -1), flat, out=out.view(steps, channels, -1)
        ).clamp_(0.0, 1.0)
    return changed


def augment_spectra(spectra: Spectra, strength: float, generator: torch.Generator) -> Spectra:
    """Spectra of [n, 4] windows -> Spectra of the same shapes."""
    count = len(spectra.mel)
    points = torch.randn(count, 1, _EQUALISER_POINTS, generator=generator) * (0.4 * strength)
    curve = functional.interpolate(points, size=MEL_BANDS, mode="linear", align_corners=True)
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


def _shift(size: int, strength: float, generator: torch.Generator) -> int:
    """Pixels to move by: up to 6 % of the size, either way."""
    reach = round(0.06 * strength * size)
    return _integer(-reach, reach, generator)


def _moved(pictures: Tensor, up: int, left: int) -> Tensor:
    """Float [t, 3, h, w] moved by so many pixels, edges repeated."""
    height, width = pictures.shape[2:]
    padded = functional.pad(pictures, (abs(left), abs(left), abs(up), abs(up)), mode="replicate")
    top, start = abs(up) + up, abs(left) + left
    return padded[:, :, top : top + height, start : start + width]


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
