"""Tempo from onset strength."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["estimate_tempo"]

CENTRE_TEMPO = 120.0
SLOWEST_TEMPO, FASTEST_TEMPO = 40.0, 240.0
# Ours: the width of the preference, and how periodic the onsets must be for a beat to be told.
WIDTH_OCTAVES = 1.0
LEAST_PERIODICITY = 0.1


def estimate_tempo(onset_strength: NDArray[np.float32], rate: float) -> float:
    """Beats a minute; 0 when no beat is found.

    The lag at which the autocorrelation of the onset strength, weighted by a log-normal preference for 120
    beats a minute, is greatest:

        exp(-1/2 * (log2(lag / lag of 120) / width)^2) * autocorrelation(lag)

    after D. P. W. Ellis, "Beat Tracking by Dynamic Programming", Journal of New Music Research 36(1), 2007.
    Our choices: 40 to 240 beats a minute, a width of one octave, a peak refined by a parabola, and 0 where
    the autocorrelation is below a tenth of the signal's energy.

    Args:
        onset_strength: float32 [n], not negative.
        rate: values a second.
    """
    shortest, longest = int(60 * rate / FASTEST_TEMPO), int(np.ceil(60 * rate / SLOWEST_TEMPO))
    if len(onset_strength) < 2 * longest:
        return 0.0
    periodicity = _autocorrelation(onset_strength.astype(np.float64))[: longest + 2]
    lags = np.arange(shortest, longest + 1)
    preference = np.exp(-0.5 * (np.log2(lags * CENTRE_TEMPO / (60 * rate)) / WIDTH_OCTAVES) ** 2)
    lag = int(lags[np.argmax(preference * periodicity[lags])])
    if periodicity[lag] < LEAST_PERIODICITY:
        return 0.0
    return float(60 * rate / (lag + _peak_offset(periodicity[lag - 1 : lag + 2])))


def _autocorrelation(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unbiased by the shrinking overlap, 1 at lag 0; all 0 for a constant signal."""
    centred = signal - signal.mean()
    energy = float(centred @ centred)
    if energy <= 1e-12:
        return np.zeros(len(signal))
    size = 1 << (2 * len(signal) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    products = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(signal)]
    overlap = np.arange(len(signal), 0, -1) / len(signal)
    correlation: NDArray[np.float64] = products / overlap / energy
    return correlation


def _peak_offset(around: NDArray[np.float64]) -> float:
    """Where a parabola through three values has its peak, -0.5 to 0.5 from the middle one."""
    before, middle, after = around
    curvature = before - 2 * middle + after
    if middle < max(before, after) or curvature >= 0:
        return 0.0
    return float(0.5 * (before - after) / curvature)
