"""Fixed statistics of how music is played: articulation, bells, contour, register and rhythm.

No learned parameters. Those of a window are kept beside its cues; those of a passage follow from its windows.
A small network does not learn these in a few thousand steps. Which statistics is our choice.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import MusicNumbers
from dualpath.networks.music_cues import masked_deviation, masked_mean
from dualpath.networks.music_spectra import (
    BINS,
    MEL_BANDS,
    MEL_FRAMES_PER_BIN,
    PITCH_FRAMES_PER_BIN,
    PITCHES,
    Spectra,
    frame_mask,
    mel_centres,
)

__all__ = ["PassageStatistics", "WindowStatistics"]

_FRAMES = BINS * MEL_FRAMES_PER_BIN
_PITCH_FRAMES = BINS * PITCH_FRAMES_PER_BIN
_GROUPS = 8
_LAGS = (1, 2, 4, 8, 16)
_PEAK_RISES = (0.3, 0.6, 0.9, 1.2)
_RANGES = ((0, 84), (12, 72), (24, 84), (36, 84), (0, 36), (12, 48))
_MOTION_REACH = 16
_MOTION_STEPS = (1, 3, 5)
_PROFILE_LAGS = 41
_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_SLOWEST, _FASTEST = 0.6, 12.0
_ONSET_SURROUNDINGS = 9  # frames, about 0.2 s
_ONSET_CAP = 6.0
_PULSE_RATES = 3.8, 10.9  # hertz: sixteenth notes at 57 to 164 beats a minute
_PULSE_STEEPNESS = 60.0
_PULSE_MULTIPLES = (0.25, 0.5, 1.0, 1.5, 2.0)
_LOW_HERTZ, _HIGH_HERTZ = 200.0, 2000.0


class WindowStatistics(nn.Module):
    """(spectra, valid [n] in 0..1) -> [n, WIDTH]: [four onset curves x 126 frames | statistics].

    The curves are the mean rise of the log-mel spectrum a frame: of all bands, below 200 Hz, between, above
    2 kHz. Frames that are not sound count for nothing.
    """

    BANDS = 4
    CURVES = BANDS * _FRAMES
    PROFILE = slice(0, PITCHES)
    """Of the statistics: mean of the compressed pitch energies over time."""
    STATISTICS = (
        2 * PITCHES
        + 3 * MEL_BANDS
        + _GROUPS * (3 + len(_LAGS))
        + 4
        + len(_PEAK_RISES)
        + len(_MOTION_STEPS) * (2 * _MOTION_REACH + 1)
        + 2 * len(_RANGES)
        + 4
    )
    WIDTH = CURVES + STATISTICS

    def __init__(self) -> None:
        super().__init__()
        centres = mel_centres()
        regions = np.stack(
            [
                np.ones(MEL_BANDS),
                centres < _LOW_HERTZ,
                (centres >= _LOW_HERTZ) & (centres <= _HIGH_HERTZ),
                centres > _HIGH_HERTZ,
            ],
            axis=1,
        ).astype(np.float64)
        groups = np.repeat(np.eye(_GROUPS), MEL_BANDS // _GROUPS, axis=0)
        for name, values in (
            ("regions", regions / regions.sum(axis=0)),
            ("groups", groups / groups.sum(axis=0)),
            ("height", np.linspace(-1.0, 1.0, PITCHES)),
            ("time", np.linspace(-1.0, 1.0, _PITCH_FRAMES)),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)), persistent=False)
        self.register_buffer("shifts", _shift_index(_MOTION_REACH), persistent=False)
        self.first_high_band = int(np.argmax(centres > _HIGH_HERTZ))

    def forward(self, spectra: Spectra, valid: Tensor) -> Tensor:
        mel = spectra.mel
        mask = frame_mask(valid, _FRAMES)
        change = functional.pad(mel[:, 1:] - mel[:, :-1], (0, 0, 1, 0)) * mask.unsqueeze(2)
        rise, fall = change.clamp(min=0.0), (-change).clamp(min=0.0)
        curves = (rise @ self.regions).transpose(1, 2).flatten(1)
        pitch_mask = frame_mask(valid, _PITCH_FRAMES)
        compressed = torch.log(1.0 + 20.0 * spectra.pitch) * pitch_mask.unsqueeze(2)
        return torch.cat(
            [
                curves,
                masked_mean(compressed, pitch_mask),
                masked_deviation(compressed, pitch_mask),
                self._articulation(mel, rise, fall, mask),
                self._peaks(mel, rise, mask),
                self._motion(compressed),
                self._contour(compressed, pitch_mask),
            ],
            dim=1,
        )

    def _articulation(self, mel: Tensor, rise: Tensor, fall: Tensor, mask: Tensor) -> Tensor:
        """How sharply bands come and go, and how long they stay (autocorrelation of their levels)."""
        rises, falls, levels = rise @ self.groups, fall @ self.groups, mel @ self.groups
        level = masked_mean(mel, mask)
        centred = (levels - masked_mean(levels, mask).unsqueeze(1)) * mask.unsqueeze(2)
        power = (centred**2).mean(dim=1) + 1e-3
        stays = [(centred[:, lag:] * centred[:, :-lag]).mean(dim=1) / power for lag in _LAGS]
        return torch.cat(
            [
                masked_mean(rise, mask),
                level - level.mean(dim=1, keepdim=True),
                masked_deviation(mel, mask),
                masked_mean(falls, mask),
                masked_deviation(rises, mask),
                masked_deviation(falls, mask),
                *stays,
            ],
            dim=1,
        )

    def _peaks(self, mel: Tensor, rise: Tensor, mask: Tensor) -> Tensor:
        """Above 2 kHz, a band that stands out is a bell; a rise in all bands is a drum."""
        high, high_rise = mel[:, :, self.first_high_band :], rise[:, :, self.first_high_band :]
        level = high.amax(dim=2) - high.mean(dim=2)
        sudden = high_rise.amax(dim=2) - high_rise.mean(dim=2)
        both = torch.stack([level, sudden], dim=2)
        counts = torch.stack([((sudden - bound) * 4.0).clamp(0.0, 1.0) for bound in _PEAK_RISES], dim=2)
        return torch.cat(
            [masked_mean(both, mask), masked_deviation(both, mask), masked_mean(counts, mask)], dim=1
        )

    def _motion(self, compressed: Tensor) -> Tensor:
        """By how many semitones the pitches move within 0.5, 1.5 and 2.5 s: correlation at each shift."""
        bins = compressed.reshape(compressed.shape[0], BINS, PITCH_FRAMES_PER_BIN, PITCHES).mean(dim=2)
        bins = bins - bins.mean(dim=2, keepdim=True)
        bins = bins / (torch.sqrt((bins**2).sum(dim=2, keepdim=True)) + 1e-3)
        shifted = functional.pad(bins, (_MOTION_REACH, _MOTION_REACH))[:, :, self.shifts]
        correlations = [
            (bins[:, :-step].unsqueeze(2) * shifted[:, step:]).sum(dim=3).mean(dim=1)
            for step in _MOTION_STEPS
        ]
        return torch.cat(correlations, dim=1)

    def _contour(self, compressed: Tensor, mask: Tensor) -> Tensor:
        """Slope over time of the mean pitch in several ranges; mean and deviation of height and extent."""
        slopes = []
        for low, high in _RANGES:
            for values in (compressed[:, :, low:high], compressed[:, :, low:high] ** 2):
                centroid = (values @ self.height[low:high]) / (values.sum(dim=2) + 1e-3)
                centred = centroid - masked_mean(centroid.unsqueeze(2), mask)
                slopes.append((centred * self.time * mask).mean(dim=1, keepdim=True))
        total = compressed.sum(dim=2) + 1e-3
        height = (compressed @ self.height) / total
        extent = (compressed @ self.height**2) / total - height**2
        both = torch.stack([height, torch.sqrt(extent.clamp(min=0.0) + 1e-5)], dim=2)
        return torch.cat([*slopes, masked_mean(both, mask), masked_deviation(both, mask)], dim=1)


class PassageStatistics(nn.Module):
    """(window statistics [n, w, WindowStatistics.WIDTH], window_mask [n, w]) -> [n, WIDTH].

    Mean and deviation over windows; the tempogram of the whole passage (Fourier tempogram: Grosche, Mueller
    and Kurth, "Cyclic tempogram", 2010), which resolves tempo four times as finely as that of a window; how
    strictly onsets keep their pulse; the pitch profile's quantiles and its autocorrelation, which say how
    widely music is spread in any key.
    """

    RATES = 64
    TEMPOGRAM = slice(
        2 * WindowStatistics.STATISTICS, 2 * WindowStatistics.STATISTICS + WindowStatistics.BANDS * RATES
    )
    """Of a row: the strongest rate in each bin, curve by curve."""
    WIDTH = (
        TEMPOGRAM.stop
        + WindowStatistics.BANDS * 5
        + (WindowStatistics.BANDS + 1) * (1 + WindowStatistics.BANDS * len(_PULSE_MULTIPLES))
        + 2 * len(_QUANTILES)
        + _PROFILE_LAGS
    )

    def __init__(self, numbers: MusicNumbers) -> None:
        super().__init__()
        frames = numbers.passage_windows * _FRAMES
        seconds = numbers.passage_windows * numbers.window_samples / numbers.sample_rate
        # Rates are whole multiples of the first, so that a multiple of a rate is found by its number.
        rates = np.arange(1, round(2 * _PULSE_RATES[1] * 2 * seconds) + 1) * (0.5 / seconds)
        self.slowest = int(np.searchsorted(rates, _SLOWEST))
        self.pulses = slice(*(int(np.searchsorted(rates, bound)) for bound in _PULSE_RATES))
        multiples = np.outer(_PULSE_MULTIPLES, np.arange(1, len(rates) + 1)[self.pulses])
        phase = 2 * np.pi * ((np.arange(frames) + 0.5) / frames * seconds)[:, None] * rates[None, :]
        for name, values in (
            ("cosines", np.cos(phase)),
            ("sines", np.sin(phase)),
            ("log_rates", np.log(rates[self.pulses])),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)
        self.register_buffer("rate_bins", _rate_bins(rates), persistent=False)
        places = np.clip(np.round(multiples).astype(np.int64), 1, len(rates)) - 1
        self.register_buffer("multiples", torch.from_numpy(places), persistent=False)
        self.register_buffer("quantiles", torch.tensor(_QUANTILES).view(1, -1, 1), persistent=False)
        self.register_buffer("shifts", _shift_index(_PROFILE_LAGS - 1)[_PROFILE_LAGS - 1 :], persistent=False)

    def forward(self, windows: Tensor, window_mask: Tensor) -> Tensor:
        windows = windows * window_mask.unsqueeze(2)
        statistics = windows[:, :, WindowStatistics.CURVES :]
        mean = masked_mean(statistics, window_mask)
        return torch.cat(
            [
                mean,
                masked_deviation(statistics, window_mask),
                self._rhythm(windows[:, :, : WindowStatistics.CURVES]),
                self._spread(mean[:, WindowStatistics.PROFILE]),
            ],
            dim=1,
        )

    def _rhythm(self, curves: Tensor) -> Tensor:
        """[n, w, 4 * 126] -> [n, 4 * 64 + 4 * 5 + 5 * 21].

        The strongest rate in each of 64 bins, then the tempogram's moments and the number of onsets, then
        the pulse.
        """
        count, windows = curves.shape[0], curves.shape[1]
        bands = curves.reshape(count, windows, WindowStatistics.BANDS, _FRAMES).transpose(1, 2).flatten(2)
        onsets = _sharpened(bands)
        often = (onsets * 2.0).clamp(max=1.0).mean(dim=2)
        shares = onsets / (onsets.sum(dim=2, keepdim=True) + 1e-3)
        magnitude = torch.sqrt((shares @ self.cosines) ** 2 + (shares @ self.sines) ** 2 + 1e-8)
        rhythmic = magnitude[:, :, self.slowest :]
        square = rhythmic * rhythmic
        moments = [torch.log(values.mean(dim=2)) for values in (rhythmic, square, square * square)]
        strongest = magnitude[:, :, self.rate_bins].amax(dim=3)
        return torch.cat(
            [strongest.flatten(1), rhythmic.amax(dim=2), *moments, often, self._pulse(magnitude)], dim=1
        )

    def _pulse(self, magnitude: Tensor) -> Tensor:
        """[n, 4, rates] -> [n, 5 * 21]: how strictly onsets keep to the pulse.

        The pulse is the strongest rate of each curve, and of all four together, among those that sixteenth
        notes have (a softmax in place of a choice, so that no rounding error turns it over). Told are its
        rate, and how strong it and its multiples are in each curve: near 1 for a strict pulse, near 0 where
        onsets are late or early by up to half its period.
        """
        both = torch.cat([magnitude, magnitude.mean(dim=1, keepdim=True)], dim=1)
        pulse = torch.softmax(_PULSE_STEEPNESS * both[:, :, self.pulses], dim=2)
        multiples = magnitude[:, :, self.multiples].flatten(1, 2)
        return torch.cat([pulse @ self.log_rates, (multiples @ pulse.transpose(1, 2)).flatten(1)], dim=1)

    def _spread(self, profile: Tensor) -> Tensor:
        """[n, 84] -> [n, 55]."""
        share = torch.cumsum(profile, dim=1) / (profile.sum(dim=1, keepdim=True) + 1e-3)
        places = (share.unsqueeze(1) < self.quantiles).to(profile.dtype).mean(dim=2)
        widths = torch.cat([places[:, 1:] - places[:, :-1], places[:, -1:] - places[:, :1]], dim=1)
        centred = profile - profile.mean(dim=1, keepdim=True)
        centred = centred / (torch.sqrt((centred**2).sum(dim=1, keepdim=True)) + 1e-3)
        shifted = functional.pad(centred, (_PROFILE_LAGS - 1, _PROFILE_LAGS - 1))[:, self.shifts]
        return torch.cat([places, widths, (shifted * centred.unsqueeze(1)).sum(dim=2)], dim=1)


def _sharpened(curves: Tensor) -> Tensor:
    """[n, bands, frames]: what stands above its surroundings, relative to its mean, limited.

    A loud onset then counts little more than a soft one, and what lies between onsets nothing.
    """
    surroundings = functional.avg_pool1d(
        curves, _ONSET_SURROUNDINGS, stride=1, padding=_ONSET_SURROUNDINGS // 2
    )
    above = (curves - surroundings).clamp(min=0.0)
    return (above / (above.mean(dim=2, keepdim=True) + 1e-3)).clamp(max=_ONSET_CAP)


def _shift_index(reach: int) -> Tensor:
    """int64 [2 reach + 1, PITCHES]: where each pitch lies in a profile padded by `reach`, shift by shift."""
    return torch.arange(2 * reach + 1).unsqueeze(1) + torch.arange(PITCHES).unsqueeze(0)


def _rate_bins(rates: NDArray[np.float64]) -> Tensor:
    """int64 [64, k]: which rates each logarithmic bin holds, the nearest repeated to fill the row."""
    edges = np.geomspace(_SLOWEST, _FASTEST, PassageStatistics.RATES + 1)
    middles = np.sqrt(edges[1:] * edges[:-1])
    members = [np.flatnonzero((rates >= low) & (rates <= high)) for low, high in itertools.pairwise(edges)]
    longest = max(len(row) for row in members)
    nearest = [int(np.abs(rates - middle).argmin()) for middle in middles]
    return torch.tensor(
        [[*row, *[fill] * (longest - len(row))] for row, fill in zip(members, nearest, strict=True)]
    )
