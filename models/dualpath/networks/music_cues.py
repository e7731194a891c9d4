"""Fixed cues of music that carry emotion, computed from its spectra; no learned parameters.

Which cues, and with what strength, was measured on five sets of real music: mode, key clarity and the rate of
harmonic change go with valence; fullness of chroma, level-normalised flux, roughness, loudness and bass
onsets with arousal.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dualpath.networks.music_spectra import (
    BINS,
    LOWEST_PITCH,
    MEL_BANDS,
    MEL_FRAMES_PER_BIN,
    PITCHES,
    frame_mask,
    mel_centres,
)

__all__ = ["KeyCues", "MusicCues", "WindowCues", "masked_deviation", "masked_mean"]

_TEMPOGRAM_BINS = 32
_TEMPOGRAM_LOWEST = 0.7
_TEMPOGRAM_HIGHEST = 12.0
_BASS_HERTZ = 200.0
# Krumhansl and Kessler, "Tracing the dynamic changes in perceived tonal organization", 1982
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


class WindowCues(NamedTuple):
    """Cues of windows.

    Attributes:
        bins: [n, 6, BIN_CUES], one row a time bin, zero where there is no sound.
        window: [n, WINDOW_CUES].
        chroma: [n, 12], mean over time of each frame's share of the pitch classes from C.
        onset_strength: [n, 126], rise of the log-mel spectrum a frame.
    """

    bins: Tensor
    window: Tensor
    chroma: Tensor
    onset_strength: Tensor


class MusicCues(nn.Module):
    """(mel [n, 126, 64], pitch [n, 30, 84], valid [n]) -> WindowCues."""

    BIN_CUES = 8
    WINDOW_CUES = 11 + _TEMPOGRAM_BINS

    def __init__(self, window_seconds: float) -> None:
        super().__init__()
        frames = BINS * MEL_FRAMES_PER_BIN
        classes = (np.arange(PITCHES) + LOWEST_PITCH) % 12
        fold = np.eye(12, dtype=np.float32)[classes]
        register = np.linspace(-1.0, 1.0, PITCHES, dtype=np.float32)
        bass = (mel_centres() < _BASS_HERTZ).astype(np.float32)
        height = np.linspace(-1.0, 1.0, MEL_BANDS, dtype=np.float32)
        rates = np.geomspace(_TEMPOGRAM_LOWEST, _TEMPOGRAM_HIGHEST, _TEMPOGRAM_BINS)
        time = (np.arange(frames) + 0.5) / frames * window_seconds
        window = np.hanning(frames)[:, None]
        phase = 2 * np.pi * time[:, None] * rates[None, :]
        for name, values in (
            ("fold", fold),
            ("register", register),
            ("bass", bass / bass.sum()),
            ("height", height),
            ("tempo_cosines", window * np.cos(phase) / window.sum()),
            ("tempo_sines", window * np.sin(phase) / window.sum()),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)), persistent=False)

    def forward(self, mel: Tensor, pitch: Tensor, valid: Tensor) -> WindowCues:
        mask = frame_mask(valid, mel.shape[1])
        pitch_mask = frame_mask(valid, pitch.shape[1])
        rise = (mel[:, 1:] - mel[:, :-1]).clamp(min=0.0) * mask[:, 1:].unsqueeze(2)
        rise = torch.cat([torch.zeros_like(rise[:, :1]), rise], dim=1)
        onset_strength = rise.mean(dim=2)
        bass_rise = rise @ self.bass
        share = 10.0**mel
        total = share.sum(dim=2)
        centroid = (share @ self.height) / total
        level = torch.log10(total)
        flatness = mel.mean(dim=2) - level

        class_energy = (pitch**2) @ self.fold
        chroma = class_energy / (class_energy.sum(dim=2, keepdim=True) + 1e-6)
        chroma_change = (chroma[:, 1:] - chroma[:, :-1]).abs().sum(dim=2) * pitch_mask[:, 1:]
        chroma_change = torch.cat([torch.zeros_like(chroma_change[:, :1]), chroma_change], dim=1)

        pitch_energy = pitch**2
        register = (pitch_energy @ self.register) / (pitch_energy.sum(dim=2) + 1e-6)
        # Compressed, the soft high notes of a melody weigh as much as the bass.
        compressed = torch.log(1.0 + 20.0 * pitch)
        melody_register = (compressed @ self.register) / (compressed.sum(dim=2) + 1e-6)
        pitch_cues = torch.stack([chroma_change, register, melody_register], dim=2)
        frame_cues = torch.stack([level, onset_strength, bass_rise, centroid, flatness], dim=2)
        bins = torch.cat([_bin_means(frame_cues, mask), _bin_means(pitch_cues, pitch_mask)], dim=2)
        window = torch.cat(
            [
                self._window_cues(mel, pitch, chroma, rise, level, mask, pitch_mask),
                self._tempogram(onset_strength, mask),
            ],
            dim=1,
        )
        return WindowCues(bins, window, masked_mean(chroma, pitch_mask), onset_strength)

    def _window_cues(
        self,
        mel: Tensor,
        pitch: Tensor,
        chroma: Tensor,
        rise: Tensor,
        level: Tensor,
        mask: Tensor,
        pitch_mask: Tensor,
    ) -> Tensor:
        """[n, 10], in the order of the list at the end."""
        entropy = -(chroma * torch.log(chroma + 1e-6)).sum(dim=2, keepdim=True) / math.log(12.0)
        energy = pitch**2
        total = energy.sum(dim=2, keepdim=True) + 1e-6
        # Neighbouring semitones beat: a proxy for sensory roughness (Plomp and Levelt, 1965). Our choice.
        roughness = (pitch[:, :, 1:] * pitch[:, :, :-1]).sum(dim=2, keepdim=True) / total
        roughness_wide = (pitch[:, :, 2:] * pitch[:, :, :-2]).sum(dim=2, keepdim=True) / total
        register = (energy @ self.register).unsqueeze(2) / total
        extent = torch.sqrt(
            ((energy @ self.register**2).unsqueeze(2) / total - register**2).clamp(min=0.0) + 1e-6
        )
        across_time = rise.mean(dim=2, keepdim=True)
        across_bands = (mel[:, :, 1:] - mel[:, :, :-1]).abs().mean(dim=2, keepdim=True)
        bass_share = torch.log10(((10.0**mel) @ self.bass).unsqueeze(2) + 1e-5) - level.unsqueeze(2)
        flux = masked_mean(across_time, mask)
        flux_spread = torch.sqrt(masked_mean((across_time - flux.unsqueeze(1)) ** 2, mask) + 1e-8)
        level_mean = masked_mean(level.unsqueeze(2), mask)
        level_spread = torch.sqrt(
            masked_mean((level.unsqueeze(2) - level_mean.unsqueeze(1)) ** 2, mask) + 1e-8
        )
        percussive = flux / (flux + masked_mean(across_bands, mask) + 1e-6)
        return torch.cat(
            [
                masked_mean(entropy, pitch_mask),
                masked_mean(roughness, pitch_mask),
                masked_mean(roughness_wide, pitch_mask),
                masked_mean(register, pitch_mask),
                masked_mean(extent, pitch_mask),
                masked_mean(bass_share, mask),
                flux,
                flux_spread,
                level_spread,
                percussive,
            ],
            dim=1,
        )

    def _tempogram(self, onset_strength: Tensor, mask: Tensor) -> Tensor:
        """[n, 33]: magnitude of the onset envelope at 0.7 to 12 a second, and the largest (pulse clarity).

        Fourier tempogram: Grosche, Mueller and Kurth, "Cyclic tempogram", 2010.
        """
        mean = masked_mean(onset_strength.unsqueeze(2), mask)
        centred = (onset_strength - mean) * mask / (mean + 1e-3)
        real, imaginary = centred @ self.tempo_cosines, centred @ self.tempo_sines
        magnitude = torch.sqrt(real**2 + imaginary**2 + 1e-6)
        return torch.cat([magnitude, magnitude.amax(dim=1, keepdim=True)], dim=1)


class KeyCues(nn.Module):
    """Chroma of a passage [n, 12] -> mode, key clarity and fullness [n, CUES].

    Correlation with the 24 key profiles of Krumhansl and Kessler; mode = best major - best minor; clarity =
    the best of all 24.
    """

    CUES = 5

    def __init__(self) -> None:
        super().__init__()
        profiles = np.array([np.roll(profile, key) for profile in (_MAJOR, _MINOR) for key in range(12)])
        profiles = profiles - profiles.mean(axis=1, keepdims=True)
        profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
        self.register_buffer("profiles", torch.from_numpy(profiles.T.astype(np.float32)), persistent=False)

    def forward(self, chroma: Tensor) -> Tensor:
        centred = chroma - chroma.mean(dim=1, keepdim=True)
        correlation = (centred @ self.profiles) / torch.sqrt((centred**2).sum(dim=1, keepdim=True) + 1e-6)
        major, minor = correlation[:, :12].amax(dim=1), correlation[:, 12:].amax(dim=1)
        clarity = correlation.amax(dim=1)
        share = chroma / (chroma.sum(dim=1, keepdim=True) + 1e-6)
        entropy = -(share * torch.log(share + 1e-6)).sum(dim=1) / math.log(12.0)
        return torch.stack([major, minor, major - minor, clarity, entropy], dim=1)


def mel_relative_to_level(mel: Tensor, valid: Tensor) -> Tensor:
    """Log-mel windows less their mean level: [n, t, bands], [n] -> [n, t, bands]; 0 where there is no sound.

    The mean is that of the equaliser and the room; what is left is what is played.
    """
    mask = frame_mask(valid, mel.shape[1])
    level = masked_mean(mel, mask).mean(dim=1)
    return (mel - level.view(-1, 1, 1)) * mask.unsqueeze(2)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over time: values [n, t, c], mask [n, t] -> [n, c]; zero where nothing is real."""
    weights = mask.unsqueeze(2)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-3)


def masked_deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over time: values [n, t, c], mask [n, t] -> [n, c]."""
    centred = values - masked_mean(values, mask).unsqueeze(1)
    return torch.sqrt(masked_mean(centred**2, mask) + 1e-6)


def _bin_means(values: Tensor, mask: Tensor) -> Tensor:
    """[n, t, c] -> [n, 6, c]: masked mean of each time bin."""
    steps = values.shape[1] // BINS
    weights = mask.unsqueeze(2)
    summed = (values * weights).reshape(values.shape[0], BINS, steps, values.shape[2]).sum(dim=2)
    count = weights.reshape(values.shape[0], BINS, steps, 1).sum(dim=2)
    return summed / count.clamp(min=1.0)
