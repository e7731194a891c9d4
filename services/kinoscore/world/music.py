"""Rendering a track: its sections are performed, then room, equaliser and level are laid over the whole.

Everything is float32 at 22,050 Hz. A note is a slice of one that was synthesised once for its pitch and
timbre, so that hundreds of notes take a few milliseconds.
"""

import numpy as np
from numpy.random import Generator

from kinoscore.world.performance import Band, Manner, perform
from kinoscore.world.plans import TrackPlan
from kinoscore.world.themes import THEMES
from kinoscore.world.timbres import SAMPLE_RATE, Samples, room_response

__all__ = ["LEVEL", "SAMPLE_RATE", "render_track"]

LEVEL = -24.0
"""Of a track of average loudness before its gain, in dB below full scale (root mean square)."""

_THEMES = {theme.name: theme for theme in THEMES}


def render_track(plan: TrackPlan) -> Samples:
    """The samples, f32[m] mono in [-1, 1] at SAMPLE_RATE."""
    random = np.random.default_rng(plan.seed)
    band = Band.of(plan.style)
    count = round(plan.duration_seconds * SAMPLE_RATE)
    mix = np.zeros(count, np.float32)
    for section in plan.sections:
        first = round(section.start_seconds * SAMPLE_RATE)
        played = perform(section, _THEMES[plan.theme], plan.style, band, random)
        mix[first : first + len(played)] += played[: count - first]
    return _mastered(mix, plan, random)


def _mastered(mix: Samples, plan: TrackPlan, random: Generator) -> Samples:
    """Room and equaliser in one convolution, then level, gain and a soft limit."""
    style = plan.style
    response = np.zeros(round(1.9 * SAMPLE_RATE), np.float32)
    room = room_response(style.room, random)
    response[: len(room)] = np.float32(style.reverberation) * room
    response[0] += 1.0
    size = _fast_size(len(mix) + len(response))
    spectrum = np.fft.rfft(mix, size) * np.fft.rfft(response, size)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE), 20.0) / 630.0)
    tilt = np.where(octaves < 0, -style.bass_tilt / 4.0, style.treble_tilt / 4.0) * octaves
    spectrum *= 10.0 ** (np.clip(tilt, -8.0, 8.0) / 20.0)
    sound = np.fft.irfft(spectrum, size)[: len(mix)]
    # How loud the cues want the track to be as a whole; its sections differ from that already.
    intended = np.mean([10.0 ** (Manner.of(section.cues).loudness / 10.0) for section in plan.sections])
    level = 10.0 ** ((LEVEL + style.gain) / 20.0) * np.sqrt(intended) / (np.sqrt((sound**2).mean()) + 1e-9)
    return np.asarray(np.tanh(sound * level), np.float32)


def _fast_size(least: int) -> int:
    """The smallest 2^a * 3^b * 5^c that is not below `least`: transforms of such sizes are fast."""
    sizes = []
    for odd in (threes * fives for threes in (1, 3, 9, 27) for fives in (1, 5, 25)):
        size = odd
        while size < least:
            size *= 2
        sizes.append(size)
    return min(sizes)
