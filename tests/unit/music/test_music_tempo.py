"""Tempo is found where there is a beat, and told to be unknown where there is none."""

import numpy as np
import pytest

from kinoscore.music.tempo import estimate_tempo

RATE = 43.07


def beats(tempo: float, seconds: float = 60.0, noise: float = 0.0) -> np.ndarray:
    """Onset strength with a soft pulse on each beat."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = (time * tempo / 60) % 1
    distance = np.minimum(phase, 1 - phase) * 60 / tempo
    random = np.random.default_rng(0)
    strength = np.exp(-0.5 * (distance / 0.025) ** 2) + noise * random.random(len(time))
    return strength.astype(np.float32)


@pytest.mark.parametrize("tempo", [72, 84.5, 96, 108, 120, 127, 140, 155])
def test_the_tempo_of_a_steady_beat_is_found(tempo: float) -> None:
    assert estimate_tempo(beats(tempo, noise=0.2), RATE) == pytest.approx(tempo, rel=0.02)


def test_a_very_slow_or_fast_beat_is_heard_at_an_octave() -> None:
    for tempo in (45, 220):
        ratio = estimate_tempo(beats(tempo), RATE) / tempo
        assert min(abs(ratio - octave) / octave for octave in (0.5, 1, 2)) < 0.03


def test_noise_has_no_tempo() -> None:
    noise = np.random.default_rng(1).random(int(120 * RATE)).astype(np.float32)
    assert estimate_tempo(noise, RATE) == 0.0


@pytest.mark.parametrize("onsets", [np.zeros(5000), np.ones(5000), np.empty(0), np.ones(3)])
def test_no_onsets_and_short_sound_have_no_tempo(onsets: np.ndarray) -> None:
    assert estimate_tempo(onsets.astype(np.float32), RATE) == 0.0
