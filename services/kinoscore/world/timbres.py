"""Timbres, drums and rooms: the sounds that a track is played with.

A note reads two periods of its timbre, one with all partials and one with the lowest only, at its frequency
and cross-fades from the first to the second as the upper partials die away.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoscore.world.themes import Ambience, Gesture, Motion

__all__ = ["SAMPLE_RATE", "Timbre", "ambience_sound", "drum_sounds", "room_response", "timbre_named"]

SAMPLE_RATE = 22_050

Samples = NDArray[np.float32]

_PERIOD = 2048
_PARTIALS = 16


@dataclass(frozen=True, slots=True)
class Timbre:
    """How an instrument sounds.

    Attributes:
        partials: amplitudes of the first partials.
        decay: seconds in which a held note falls by 8.7 dB; infinite for instruments that are blown or bowed.
        damping: seconds in which the upper partials fall by 8.7 dB.
        attack: seconds.
        breath: share of noise.
        detune: of a second voice, in cents; 0 for none.
    """

    partials: tuple[float, ...]
    decay: float
    damping: float
    attack: float
    breath: float = 0.0
    detune: float = 0.0

    def note(self, pitch: float, seconds: float, gesture: Gesture, brightness: float) -> Samples:
        """f32[m]: a held note of a pitch (MIDI number, 69 = 440 Hz), without its onset and release."""
        count = round(seconds * SAMPLE_RATE)
        time = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
        hertz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
        bend = _bend(time, gesture)
        full, dull = self._periods(hertz, brightness)
        place = _places(count, hertz, bend)
        sound = dull[place]
        sound += (full[place] - sound) * np.exp(time * np.float32(-1.0 / self.damping))
        if self.detune:
            sound += dull[_places(count, hertz * 2.0 ** (self.detune / 1200.0), bend)]
            sound *= np.float32(0.7)
        if self.breath:
            noise = np.random.default_rng(round(hertz)).standard_normal(count, dtype=np.float32)
            sound += np.float32(self.breath) * noise
        if np.isfinite(self.decay):
            sound *= np.exp(time * np.float32(-1.0 / self.decay))
        if gesture is Gesture.TREMOLO:
            sound *= np.float32(0.55) + np.float32(0.45) * np.sin(time * np.float32(2 * np.pi * 9.0))
        return sound

    def _periods(self, hertz: float, brightness: float) -> tuple[Samples, Samples]:
        """One period with all partials below the Nyquist frequency, and one with the first two or three."""
        amplitudes = np.zeros(_PARTIALS)
        amplitudes[: len(self.partials)] = self.partials
        numbers = np.arange(1, _PARTIALS + 1)
        amplitudes *= numbers ** (0.5 * (brightness - 0.5)) * (numbers * hertz < 0.45 * SAMPLE_RATE)
        amplitudes /= max(1e-6, float(np.sqrt((amplitudes**2).sum())))
        dull = amplitudes * np.exp(-0.8 * (numbers - 1))
        return _period(amplitudes), _period(dull)


def _period(amplitudes: NDArray[np.float64]) -> Samples:
    spectrum = np.zeros(_PERIOD // 2 + 1, np.complex64)
    spectrum[1 : _PARTIALS + 1] = -0.5j * amplitudes * _PERIOD
    return np.fft.irfft(spectrum).astype(np.float32)


def _places(count: int, hertz: float, bend: Samples | None) -> NDArray[np.int64]:
    """Where in a period each of `count` samples lies; `bend` delays (negative) or hastens it, in seconds."""
    places = np.arange(count) * round(hertz / SAMPLE_RATE * _PERIOD * 65_536) >> 16
    if bend is not None:
        places += (bend * np.float32(hertz * _PERIOD)).astype(np.int64)
    return places & (_PERIOD - 1)


def _bend(time: Samples, gesture: Gesture) -> Samples | None:
    """The integral of the deviation from the pitch, in seconds at that pitch."""
    match gesture:
        case Gesture.VIBRATO:  # 5.5 a second, 2 % wide
            turn = np.float32(2 * np.pi * 5.5)
            return np.asarray(np.float32(0.022) / turn * (1 - np.cos(turn * time)), np.float32)
        case Gesture.GLIDE_UP:  # from five semitones below within about 0.12 s
            return np.asarray(
                np.float32(0.25 * 0.12) * (np.exp(time * np.float32(-1 / 0.12)) - 1), np.float32
            )
        case Gesture.GLIDE_DOWN:  # to five semitones below within about 0.6 s
            return np.asarray(
                np.float32(-0.25) * (time + np.float32(0.6) * (np.exp(time * np.float32(-1 / 0.6)) - 1)),
                np.float32,
            )
        case _:
            return None


def _harmonic(slope: float, *, odd: bool = False, count: int = _PARTIALS) -> tuple[float, ...]:
    return tuple(0.0 if odd and number % 2 == 0 else number**-slope for number in range(1, count + 1))


_TIMBRES: Mapping[str, Timbre] = {
    "flute": Timbre((1.0, 0.35, 0.12, 0.03), np.inf, 9.0, 0.04, breath=0.05),
    "organ": Timbre((1.0, 0.8, 0.1, 0.5, 0.0, 0.3, 0.0, 0.35), np.inf, 9.0, 0.01),
    "pluck": Timbre(_harmonic(0.9), 0.5, 0.15, 0.002),
    "electric piano": Timbre((1.0, 0.15, 0.5, 0.05, 0.05, 0.25), 1.2, 0.25, 0.003),
    "strings": Timbre(_harmonic(1.1), np.inf, 9.0, 0.07, detune=9.0),
    "square lead": Timbre(_harmonic(1.0, odd=True), np.inf, 1.2, 0.005),
    "marimba": Timbre((1.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.2), 0.3, 0.06, 0.002),
    "brass": Timbre(_harmonic(0.6, count=12), np.inf, 2.0, 0.035),
    "clarinet": Timbre(_harmonic(1.2, odd=True, count=11), np.inf, 9.0, 0.03, breath=0.02),
    "harp": Timbre(_harmonic(1.5), 0.8, 0.3, 0.002),
    "saw lead": Timbre(_harmonic(1.0), np.inf, 0.8, 0.005, detune=14.0),
    "piano": Timbre(_harmonic(1.3, count=12), 1.0, 0.35, 0.003),
    "accordion": Timbre((1.0, 0.9, 0.7, 0.6, 0.4, 0.4, 0.3, 0.2), np.inf, 9.0, 0.02, detune=12.0),
    "music box": Timbre((1.0, 0.0, 0.5, 0.0, 0.0, 0.4), 0.7, 0.12, 0.002),
}


def timbre_named(name: str) -> Timbre:
    """One of the timbres that `kinoscore.world.styles` lists."""
    return _TIMBRES[name]


def drum_sounds(kit: str, random: Generator) -> tuple[Samples, Samples, Samples]:
    """Kick, snare and hat, each f32[m], of a peak near 1."""
    deep, length, snap, metal = {
        "acoustic": (55.0, 0.12, 0.5, 0.04),
        "electronic": (45.0, 0.25, 0.8, 0.03),
        "hand drums": (90.0, 0.10, 0.2, 0.02),
        "brushes": (60.0, 0.08, 0.9, 0.09),
        "low-fi": (70.0, 0.15, 0.6, 0.05),
    }[kit]
    time = np.arange(round(0.3 * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    sweep = deep * time + 3.0 * (1 - np.exp(-time * 40.0))
    kick = np.sin(2 * np.pi * sweep) * np.exp(-time / length)
    noise = random.standard_normal((2, len(time)), dtype=np.float32)
    snare = (snap * noise[0] * 0.6 + (1 - snap) * np.sin(2 * np.pi * 190.0 * time)) * np.exp(-time / 0.09)
    hat = np.diff(noise[1], prepend=0.0) * 0.5 * np.exp(-time / metal)
    return kick.astype(np.float32), snare.astype(np.float32), hat.astype(np.float32)


def room_response(room: str, random: Generator) -> Samples:
    """f32[m] of unit energy: what a click sounds like in the room, without the click itself."""
    seconds = {"dry": 0.08, "room": 0.4, "hall": 1.2, "echo": 0.9, "plate": 0.8, "cathedral": 1.8}[room]
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    response = random.standard_normal(len(time), dtype=np.float32) * np.exp(time * np.float32(-6.9 / seconds))
    if room == "echo":
        response *= (time % 0.28) < 0.012
    if room == "plate":
        response[1:] -= np.float32(0.6) * response[:-1]
    if room == "cathedral":
        response[: round(0.04 * SAMPLE_RATE)] = 0.0
    return np.asarray(response / np.float32(np.sqrt((response**2).sum()) + 1e-9), np.float32)


def ambience_sound(ambience: Ambience, count: int, random: Generator) -> Samples:
    """f32[count] of unit mean square: noise in a band of about an octave that moves as the ambience does."""
    time = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    period = float(random.uniform(0.9, 1.1))  # of the motion, relative to its usual one
    match ambience.motion:
        case Motion.STEADY:
            envelope, bend = np.ones_like(time), 0.0
        case Motion.SURGES:
            envelope, bend = np.sin(time * np.float32(np.pi / (2.0 * period))) ** 4, 0.0
        case Motion.THROBS:
            envelope, bend = np.clip(np.sin(time * np.float32(2 * np.pi * 2.0 / period)), 0, 1) ** 2, 0.0
        case Motion.FLUTTERS:
            envelope, bend = np.clip(np.sin(time * np.float32(2 * np.pi * 11.0 / period)), 0, 1), 0.0
        case Motion.CRACKLES:
            envelope, bend = _bursts(random.uniform(0, count, count * 14 // SAMPLE_RATE), count, 0.008), 0.0
        case Motion.RISES:
            envelope, bend = _saw(time, 1.5 * period), 1.6
        case Motion.FALLS:
            envelope, bend = _saw(time, 1.5 * period), -1.6
        case Motion.TICKS:
            ticks = np.arange(0, count, 0.5 * period * SAMPLE_RATE)
            envelope, bend = _bursts(ticks, count, 0.02), 0.0
    hertz = np.float32(ambience.hertz) * np.exp2(
        np.float32(bend) * (_saw(time, 1.5 * period) - np.float32(0.5))
    )
    # Noise about zero frequency, moved up to the band by a carrier.
    width = max(1, round(SAMPLE_RATE / (0.6 * ambience.hertz)))
    noise = random.standard_normal(count + width, dtype=np.float32).cumsum(dtype=np.float64)
    slow = (noise[width:] - noise[:-width]).astype(np.float32)
    carrier = np.sin(np.cumsum(hertz.astype(np.float64) * (2 * np.pi / SAMPLE_RATE))).astype(np.float32)
    sound = slow * carrier * envelope
    return np.asarray(sound / np.float32(np.sqrt((sound**2).mean()) + 1e-9), np.float32)


def _saw(time: Samples, period: float) -> Samples:
    return time / np.float32(period) % 1.0


def _bursts(starts: NDArray[np.float64], count: int, seconds: float) -> Samples:
    """f32[count]: exponential bursts from the given samples on."""
    envelope = np.zeros(count, np.float32)
    decay = np.float32(-seconds * SAMPLE_RATE)
    burst = np.exp(np.arange(round(5 * seconds * SAMPLE_RATE), dtype=np.float32) / decay)
    for start in starts.astype(int):
        length = min(len(burst), count - start)
        envelope[start : start + length] += burst[:length]
    return envelope
