"""Fixed spectra of a music window: log-mel and long-window pitch energies; no learned parameters.

Both are matrix products with cosine and sine kernels (float32), which any runtime executes well. A real frame
is folded around its middle first (even part with the cosines, odd part with the sines), which halves the
work.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import MusicNumbers

__all__ = [
    "BINS",
    "LOWEST_PITCH",
    "MEL_BANDS",
    "PITCHES",
    "MusicSpectra",
    "Spectra",
    "frame_mask",
    "mel_centres",
]

BINS = 6
"""Time bins a window: half a second each at the default window of 3 s, the rate of the video frames."""
MEL_BANDS = 64
MEL_FRAMES_PER_BIN = 21
PITCH_FRAMES_PER_BIN = 5
LOWEST_PITCH = 36
PITCHES = 84
"""MIDI 36 (C2) to 119 (B8): from the bass to bells."""
_HIGHEST_MEL_HERTZ = 8000.0
_LOWEST_MEL_HERTZ = 30.0
_POWER_FLOOR = 1e-5
_LEVEL_FLOOR = 1e-4


class Spectra(NamedTuple):
    """What is kept of windows, independent of their gain.

    Attributes:
        mel: [n, 126, 64] float32, log10 power of each band after the window was scaled to a root mean square
            of 1.
        pitch: [n, 30, 84] float32, amplitude at each semitone from C2, long windows.
        loudness: [n] float32, the window's level in decibels re full scale (of its sounding part).
    """

    mel: Tensor
    pitch: Tensor
    loudness: Tensor


class MusicSpectra(nn.Module):
    """(samples [n, window_samples] in -1..1, valid [n] in 0..1) -> Spectra.

    `valid` is the share of the window, from its start, that is sound; what lies beyond is set to zero, so
    padding never reaches a result. Log-mel: frames of two hops (50 ms at the default numbers), Hann. Pitch:
    one windowed complex exponential a semitone, its length constant-Q between two and four hops of 0.1 s,
    Hann.
    """

    def __init__(self, numbers: MusicNumbers) -> None:
        super().__init__()
        self.window_samples = numbers.window_samples
        self.mel_hop = numbers.window_samples // (BINS * MEL_FRAMES_PER_BIN)
        self.pitch_hop = numbers.window_samples // (BINS * PITCH_FRAMES_PER_BIN)
        cosines, sines, filters = _mel_kernels(numbers.sample_rate, 2 * self.mel_hop)
        pitch_cosines, pitch_sines = _pitch_kernels(
            numbers.sample_rate, 4 * self.pitch_hop, 2 * self.pitch_hop
        )
        for name, kernel in (
            ("mel_cosines", cosines),
            ("mel_sines", sines),
            ("mel_filters", filters),
            ("pitch_cosines", pitch_cosines),
            ("pitch_sines", pitch_sines),
        ):
            self.register_buffer(name, torch.from_numpy(kernel.astype(np.float32)), persistent=False)
        self.register_buffer(
            "position", torch.arange(numbers.window_samples, dtype=torch.float32), persistent=False
        )

    def forward(self, samples: Tensor, valid: Tensor) -> Spectra:
        sounding = valid.unsqueeze(1) * float(self.window_samples)
        samples = torch.where(self.position < sounding, samples, torch.zeros_like(samples))
        level = torch.sqrt((samples**2).sum(dim=1, keepdim=True) / sounding.clamp(min=1.0) + 1e-12)
        samples = samples / level.clamp(min=_LEVEL_FLOOR)
        loudness = 20.0 * torch.log10(level.squeeze(1).clamp(min=_LEVEL_FLOOR))
        mel_power = _power(samples, self.mel_hop, self.mel_cosines, self.mel_sines) @ self.mel_filters
        pitch_power = _power(samples, self.pitch_hop, self.pitch_cosines, self.pitch_sines)
        return Spectra(torch.log10(mel_power + _POWER_FLOOR), torch.sqrt(pitch_power + 1e-12), loudness)


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """[n] shares -> [n, frames]: 1 where the middle of a frame lies inside the sounding part."""
    middles = (torch.arange(frames, device=valid.device, dtype=torch.float32) + 0.5) / frames
    return (middles.unsqueeze(0) < valid.unsqueeze(1)).to(torch.float32)


def mel_centres() -> NDArray[np.float64]:
    """Centre frequencies of the bands in hertz, [64]; HTK mel scale."""
    return _mel_edges()[1:-1]


def _power(samples: Tensor, hop: int, cosines: Tensor, sines: Tensor) -> Tensor:
    """Power of complex kernels over overlapping frames: [n, count * hop] -> [n, count, kernels].

    Kernels are given as cosine and sine parts of the first half of a frame, [length / 2, kernels]; a frame is
    a whole number of hops, centred on the middle of its hop, with zeros outside the window. Block by block,
    so that the overlapping frames never exist in memory.
    """
    hops = 2 * cosines.shape[0] // hop
    padding = (hops - 1) * hop
    padded = functional.pad(samples, (padding // 2, padding - padding // 2))
    blocks = padded.reshape(padded.shape[0], -1, hop)
    mirrored = torch.flip(blocks, dims=[2])
    count = samples.shape[1] // hop
    real, imaginary = torch.zeros(1), torch.zeros(1)
    for index in range(hops // 2):
        left = blocks[:, index : index + count]
        right = mirrored[:, hops - 1 - index : hops - 1 - index + count]
        rows = slice(index * hop, (index + 1) * hop)
        real = real + (left + right) @ cosines[rows]
        imaginary = imaginary + (left - right) @ sines[rows]
    return real**2 + imaginary**2


def _half_kernels(
    frequencies: NDArray[np.float64], lengths: NDArray[np.float64], frame: int, sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hann-windowed kernels centred in the frame, first half only; amplitude 1 in gives amplitude 1 out."""
    time = (np.arange(frame // 2) + 0.5) - frame / 2
    inside = np.abs(time)[:, None] <= lengths[None, :] / 2
    window = np.where(inside, 0.5 + 0.5 * np.cos(2 * np.pi * time[:, None] / lengths[None, :]), 0.0)
    window /= window.sum(axis=0, keepdims=True)
    phase = 2 * np.pi * time[:, None] * frequencies[None, :] / sample_rate
    return window * np.cos(phase), window * np.sin(phase)


def _mel_edges() -> NDArray[np.float64]:
    def to_mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    mels = np.linspace(to_mel(_LOWEST_MEL_HERTZ), to_mel(_HIGHEST_MEL_HERTZ), MEL_BANDS + 2)
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def _mel_kernels(
    sample_rate: int, frame: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    spacing = sample_rate / frame
    frequencies = np.arange(1, int(_HIGHEST_MEL_HERTZ / spacing) + 1) * spacing
    cosines, sines = _half_kernels(frequencies, np.full(len(frequencies), float(frame)), frame, sample_rate)
    edges = _mel_edges()
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    # A band narrower than the spacing of the bins is widened to it, or it would hold no bin at all.
    width_below = np.maximum(centre - lower, spacing)
    width_above = np.maximum(upper - centre, spacing)
    offset = frequencies[:, None] - centre[None, :]
    triangles = np.maximum(0.0, 1.0 - np.where(offset < 0, -offset / width_below, offset / width_above))
    return cosines, sines, triangles


def _pitch_kernels(
    sample_rate: int, longest: int, shortest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    frequencies = 440.0 * 2.0 ** ((np.arange(LOWEST_PITCH, LOWEST_PITCH + PITCHES) - 69) / 12.0)
    semitone = 2.0 ** (1.0 / 12.0) - 1.0
    # A Hann window of length L is 2 / L wide at half its height: one semitone where the frame allows it.
    lengths = np.clip(2.0 * sample_rate / (semitone * frequencies), shortest, longest)
    return _half_kernels(frequencies, lengths, longest, sample_rate)
