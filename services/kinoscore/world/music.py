"""Rendering a track: notes of the theme's figure, drums, then room, equaliser and level.

Everything is float32 at 22,050 Hz. A note is a slice of a table of its pitch, so that a track of hundreds of notes takes
a few milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoscore.world.pictures import curve, level_of
from kinoscore.world.plans import Section, TrackPlan
from kinoscore.world.styles import MusicStyle
from kinoscore.world.themes import THEMES, Gesture, Theme
from kinoscore.world.timbres import SAMPLE_RATE, Samples, Timbre, ambience_sound, drum_sounds, room_response, timbre_named

__all__ = ["SAMPLE_RATE", "render_track"]

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)  # harmonic, so that it is not heard as its relative major
PROGRESSION = (0, 3, 0, 4, 0, 5, 0, 0)  # degrees of the chords' roots: I IV I V I vi I I
LEVEL = -24.0
"""Of a track of average loudness before its gain, in dB below full scale (root mean square)."""

_LONGEST_NOTE = 3.0  # seconds
_FADE = SAMPLE_RATE // 50
_THEMES = {theme.name: theme for theme in THEMES}


def render_track(plan: TrackPlan) -> Samples:
    """The samples, f32[m] mono in [-1, 1] at SAMPLE_RATE."""
    random = np.random.default_rng(plan.seed)
    band = _Band.of(plan.style)
    count = round(plan.duration_seconds * SAMPLE_RATE)
    mix = np.zeros(count, np.float32)
    for section in plan.sections:
        first = round(section.start_seconds * SAMPLE_RATE)
        played = _play(section, _THEMES[plan.theme], plan.style, band, random)
        mix[first : first + len(played)] += played[: count - first]
    return _mastered(mix, plan, random)


@dataclass(frozen=True, slots=True)
class _Manner:
    """The cues of a section in the units in which they are played."""

    majorness: float  # chance that a chord is of the major scale
    wrong_notes: float  # chance of a note outside the scale
    bars_a_chord: float
    register: int  # semitones
    density: float  # 0 to 1
    voices: int  # of the accompaniment
    body: float  # its level
    accent: float  # level of the noise at each onset
    roughness: float  # depth of a fast beating, 0 to 1
    loudness: float  # dB
    bass_rate: float  # 0 to 1
    dynamics: float  # deviation of the notes' levels, in dB
    hold: float  # length of a note as a share of the time to the next
    attack: float  # seconds
    looseness: float  # 0 strict to 1
    rise: float  # of a phrase, in rungs
    beats_a_minute: float
    width: float  # distance of the bass below the melody, in semitones
    bells: float  # a second

    @staticmethod
    def of(cues: Mapping[str, float]) -> "_Manner":
        level = {name: level_of(score) for name, score in cues.items()}
        return _Manner(
            majorness=level_of(3.0 * cues["mode"]),
            wrong_notes=0.6 * (1 - level["key_clarity"]) ** 1.5,
            bars_a_chord=2.0 ** (2.0 - 4.0 * level["harmonic_change"]),
            register=round(2.0 * cues["register"]),
            density=level["density"],
            voices=3 + round(3.0 * level["fullness"]),
            body=0.25 + 1.0 * level["fullness"],
            accent=0.02 + 2.5 * level["flux"] ** 2,
            roughness=0.9 * level["roughness"] ** 1.5,
            loudness=4.0 * cues["loudness"],
            bass_rate=level["bass_onsets"],
            dynamics=0.5 + 7.0 * level["dynamics"],
            hold=(0.35 + 0.85 * level["smoothness"]) * (1.25 - 0.5 * level["flux"]),
            attack=0.09 * level["smoothness"] ** 3,
            looseness=1.0 - level["regularity"],
            rise=3.4 * (2.0 * level["tilt"] - 1.0),
            beats_a_minute=100.0 * 2.0 ** (1.4 * (level["fineness"] - 0.5)),
            width=5.0 + 26.0 * level["spread"],
            bells=3.0 * max(0.0, level["sparkle"] - 0.08),
        )


@dataclass(slots=True)
class _Band:
    """The instruments of a track, with the notes synthesised so far."""

    melody: Timbre
    chords: Timbre
    bass: Timbre
    brightness: float
    notes: dict[tuple[int, float, Gesture], Samples]

    @staticmethod
    def of(style: MusicStyle) -> "_Band":
        timbres = (timbre_named(style.melody), timbre_named(style.chords), timbre_named(style.bass))
        return _Band(*timbres, style.brightness, {})

    def add(
        self,
        mix: Samples,
        timbre: Timbre,
        pitch: float,
        start: float,
        seconds: float,
        level: float,
        attack: float,
        gesture: Gesture = Gesture.PLAIN,
    ) -> None:
        """Adds a note to the mix; what reaches beyond its end is dropped."""
        key = (id(timbre), round(pitch, 2), gesture)
        release = 0.03
        first = max(0, int(start * SAMPLE_RATE))
        length = int((min(seconds, _LONGEST_NOTE) + release) * SAMPLE_RATE)
        if len(self.notes.get(key, ())) < length:
            self.notes[key] = timbre.note(pitch, 1.4 * length / SAMPLE_RATE, gesture, self.brightness)
        length = min(length, len(mix) - first)
        if length < 64:
            return
        sound = self.notes[key][:length] * np.float32(level)
        rising = min(int((attack + timbre.attack) * SAMPLE_RATE) + 16, length // 2)
        falling = min(int(release * SAMPLE_RATE), length // 2)
        sound[:rising] *= np.linspace(0.0, 1.0, rising, dtype=np.float32)
        sound[length - falling :] *= np.linspace(1.0, 0.0, falling, dtype=np.float32)
        mix[first : first + length] += sound


def _play(section: Section, theme: Theme, style: MusicStyle, band: _Band, random: Generator) -> Samples:
    """The dry sound of a section, f32[m], of a level that its cues decide."""
    figure = theme.figure
    manner = _Manner.of(section.cues)
    seconds = section.duration_seconds
    mix = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    drums = np.zeros_like(mix)
    kick, snare, hat = drum_sounds(style.kit, random)
    tonic = 60 + style.key - 12 * (style.key > 6) + style.octave + manner.register
    step = 60.0 / manner.beats_a_minute / 4.0
    bar_steps = len(figure.melody)
    steps_a_chord = max(4, round(manner.bars_a_chord * bar_steps / 4) * 4)
    phrase = 3.0
    attack = style.attack + manner.attack
    stack = rungs = _chord(MAJOR, 0)
    bell = timbre_named("music box")
    for number in range(int(seconds / step)):
        place = number % bar_steps
        start = number * step
        if place % 2:
            start += style.swing * step
        progress = start / seconds
        presence = level_of(curve(section.cues, progress))
        swell = 10.0 ** ((14.0 * presence - 7.0) / 20.0)
        if number % steps_a_chord == 0:
            scale = MAJOR if random.random() < manner.majorness else MINOR
            stack = _chord(scale, PROGRESSION[number // steps_a_chord % len(PROGRESSION)])
            rungs = stack[:3]
        strong = place % 4 == 0
        rise = manner.rise * (2.0 * ((start % phrase) / phrase) - 1.0)
        keep = 1.0 if strong else min(1.0, 0.1 + 1.6 * manner.density) * (0.5 + 0.5 * presence)
        keep *= 1.0 - 0.4 * manner.looseness * (not strong)

        def loose() -> float:
            return float(random.uniform(-0.5, 0.5)) * manner.looseness * 0.9 * step

        def velocity() -> float:
            return swell * 10.0 ** (manner.dynamics * float(random.standard_normal()) / 20.0)

        # Melody.
        symbol = figure.melody[place]
        filler = symbol == "." and figure.melody.strip(".") and random.random() < 1.2 * max(0.0, manner.density - 0.5)
        if (symbol != "." and random.random() < keep) or filler:
            rung = int(symbol) if symbol != "." else 2
            pitch = tonic + _pitch(rungs, rung + round(rise))
            if random.random() < manner.wrong_notes:
                pitch += float(random.choice([-1.0, 1.0]))
            gap = _gap(figure.melody, place) * step
            onset = start + loose()
            loud = velocity() * (0.6 if filler else 1.0)
            _strike(band, mix, figure.gesture, pitch, onset, gap * manner.hold, 0.5 * loud, attack, step)
            _add(drums, hat, onset, manner.accent * loud * 0.6)
            if random.random() < 2.0 * (manner.density - 0.6):
                band.add(mix, band.melody, pitch, onset + gap / 2, gap * manner.hold / 2, 0.35 * loud, attack)
        # Accompaniment.
        if (figure.chords[place] == "x" or (place == 0 and "x" not in figure.chords)):
            gap = min(_LONGEST_NOTE, _gap(figure.chords, place) * step)
            loud = velocity() * manner.body * 0.35
            for voice in range(manner.voices):
                height = manner.width * (0.3 * voice - 0.6) + 4.0 * rise
                pitch = tonic + _nearest_octave(height, float(stack[voice]))
                if random.random() < 0.5 * manner.wrong_notes:
                    pitch += float(random.choice([-1.0, 1.0]))
                tremolo = Gesture.TREMOLO if figure.gesture is Gesture.TREMOLO else Gesture.PLAIN
                band.add(mix, band.chords, pitch, start + loose(), gap * max(0.3, manner.hold), loud, attack, tremolo)
        # Bass and kick.
        symbol = figure.bass[place]
        extra = place % 2 == 0 and random.random() < manner.bass_rate**2 * 0.9
        if extra or (symbol != "." and (place == 0 or random.random() < 0.3 + manner.bass_rate)):
            rung = int(symbol) if symbol != "." else 0
            pitch = tonic + _nearest_octave(-manner.width, _pitch(rungs, rung))
            onset = start + loose() * 0.5
            band.add(mix, band.bass, pitch, onset, step * 2.0 * manner.hold, 0.55 * velocity(), 0.004)
            _add(drums, kick, onset, 0.35 * swell * (0.3 + style.drum_level))
        # Drums that belong to the style, and bells.
        if style.drum_level:
            if place % bar_steps in (4, 12) and bar_steps == 16 or bar_steps == 12 and place in (4, 8):
                _add(drums, snare, start + loose(), 0.3 * swell * style.drum_level)
            if place % 2 == 0:
                _add(drums, hat, start + loose(), 0.2 * swell * style.drum_level)
        if random.random() < manner.bells * step:
            pitch = 96.0 + style.key + _pitch(rungs, int(random.integers(5))) % 12.0
            band.add(mix, bell, pitch, start, 0.6, 0.3 * swell, 0.0)
    if manner.roughness:
        time = np.arange(len(mix), dtype=np.float32) / np.float32(SAMPLE_RATE)
        beating = np.float32(0.4 * manner.roughness) * (1.0 + np.sin(time * np.float32(2 * np.pi * 31.0)))
        mix *= 1.0 - beating
    mix += drums
    under = 10.0 ** (style.ambience / 20.0) * np.sqrt((mix**2).mean())
    mix += np.float32(under) * ambience_sound(theme.ambience, len(mix), random)
    mix *= np.float32(10.0 ** (manner.loudness / 20.0) / (np.sqrt((mix**2).mean()) + 1e-6))
    mix[-_FADE:] *= np.linspace(1.0, 0.0, _FADE, dtype=np.float32)  # notes end with their section, without a click
    return mix


def _strike(
    band: _Band,
    mix: Samples,
    gesture: Gesture,
    pitch: float,
    start: float,
    seconds: float,
    level: float,
    attack: float,
    step: float,
) -> None:
    """A note of the melody with its gesture."""
    match gesture:
        case Gesture.TRILL:
            for turn in range(max(1, min(12, int(seconds / 0.075)))):
                band.add(mix, band.melody, pitch + 2.0 * (turn % 2), start + 0.075 * turn, 0.07, level, 0.0)
        case Gesture.ECHO:
            for turn in range(3):
                at = start + 1.5 * turn * step
                band.add(mix, band.melody, pitch, at, seconds, level * 0.6**turn, attack)
        case Gesture.OCTAVES:
            band.add(mix, band.melody, pitch, start, seconds, level * 0.8, attack)
            band.add(mix, band.melody, pitch + 12.0, start, seconds, level * 0.6, attack)
        case _:
            band.add(mix, band.melody, pitch, start, seconds, level, attack, gesture)


def _chord(scale: tuple[int, ...], degree: int) -> NDArray[np.int_]:
    """Semitones above the tonic of root, third, fifth, octave, seventh and ninth of the chord on a degree."""
    return np.array([scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4, 7, 6, 8)])


def _pitch(rungs: NDArray[np.int_], rung: int) -> float:
    """Of a rung of the ladder, in semitones above the tonic; the ladder goes on in octaves both ways."""
    return float(rungs[rung % 3] + 12 * (rung // 3))


def _nearest_octave(wanted: float, pitch: float) -> float:
    """The pitch moved by whole octaves to where it is nearest to the wanted one."""
    return pitch + 12.0 * round((wanted - pitch) / 12.0)


def _gap(pattern: str, place: int) -> int:
    """Steps from this place to the next sounding one, at most a bar."""
    following = pattern[place + 1 :] + pattern[: place + 1]
    sounding = [number for number, symbol in enumerate(following, start=1) if symbol != "."]
    return sounding[0] if sounding else len(pattern)


def _add(mix: Samples, sound: Samples, start: float, level: float) -> None:
    first = max(0, int(start * SAMPLE_RATE))
    length = min(len(sound), len(mix) - first)
    if length > 0:
        mix[first : first + length] += sound[:length] * np.float32(level)


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
    # The level of a section is relative to its cues, so the mean over the track is taken out before the gain is set.
    intended = np.mean([10.0 ** (_Manner.of(section.cues).loudness / 10.0) for section in plan.sections])
    level = 10.0 ** ((LEVEL + style.gain) / 20.0) * np.sqrt(intended) / (np.sqrt((sound**2).mean()) + 1e-9)
    return np.tanh(sound * level).astype(np.float32)


def _fast_size(least: int) -> int:
    """The smallest 2^a * 3^b * 5^c that is not below `least`."""
    best = 2 ** int(np.ceil(np.log2(least)))
    for threes in (1, 3, 9, 27):
        for fives in (1, 5, 25):
            odd = threes * fives
            best = min(best, odd * 2 ** int(np.ceil(np.log2(least / odd))))
    return best
