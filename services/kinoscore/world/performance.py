"""Performing a section of a track: which notes are played, when, how long and how loud."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoscore.world.levels import curve, level_of
from kinoscore.world.plans import Section
from kinoscore.world.styles import MusicStyle
from kinoscore.world.themes import Gesture, Theme
from kinoscore.world.timbres import SAMPLE_RATE, Samples, Timbre, ambience_sound, drum_sounds, timbre_named

__all__ = ["Band", "Manner", "perform"]

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)  # harmonic, so that it is not heard as its relative major
PROGRESSION = (0, 3, 0, 4, 0, 5, 0, 0)  # degrees of the chords' roots: I IV I V I vi I I
PHRASE_SECONDS = 3.0

_LONGEST_NOTE = 3.0  # seconds
_RELEASE = 0.03  # seconds
_FADE = SAMPLE_RATE // 50


@dataclass(frozen=True, slots=True)
class Manner:
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
    def of(cues: Mapping[str, float]) -> "Manner":
        level = {name: level_of(score) for name, score in cues.items()}
        return Manner(
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
class Band:
    """The instruments of a track, with the notes synthesised so far."""

    melody: Timbre
    chords: Timbre
    bass: Timbre
    brightness: float
    notes: dict[tuple[int, float, Gesture], Samples]

    @staticmethod
    def of(style: MusicStyle) -> "Band":
        timbres = (timbre_named(style.melody), timbre_named(style.chords), timbre_named(style.bass))
        return Band(*timbres, style.brightness, {})

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


def perform(section: Section, theme: Theme, style: MusicStyle, band: Band, random: Generator) -> Samples:
    """The dry sound of a section, f32[m]; its root mean square is that which the loudness cue asks for."""
    player = _Player.of(section, theme, style, band, random)
    for number in range(int(section.duration_seconds / player.step)):
        player.play(number)
    manner, mix = player.manner, player.mix
    if manner.roughness:
        time = np.arange(len(mix), dtype=np.float32) / np.float32(SAMPLE_RATE)
        beating = np.float32(0.4 * manner.roughness) * (1.0 + np.sin(time * np.float32(2 * np.pi * 31.0)))
        mix *= 1.0 - beating
    mix += player.drums
    under = 10.0 ** (style.ambience / 20.0) * np.sqrt((mix**2).mean())
    mix += np.float32(under) * ambience_sound(theme.ambience, len(mix), random)
    mix *= np.float32(10.0 ** (manner.loudness / 20.0) / (np.sqrt((mix**2).mean()) + 1e-6))
    # Notes end with their section, without a click.
    mix[-_FADE:] *= np.linspace(1.0, 0.0, _FADE, dtype=np.float32)
    return mix


@dataclass(frozen=True, slots=True)
class _Moment:
    """A step of the bar and what holds there."""

    place: int  # in the bar
    start: float  # seconds into the section
    swell: float  # factor on the level of every note
    presence: float  # how much is going on, 0 to 1
    rise: float  # rungs by which the phrase has risen or has yet to


@dataclass(slots=True)
class _Player:
    """Plays a section step by step into two mixes: what has a pitch, and the drums."""

    section: Section
    theme: Theme
    style: MusicStyle
    manner: Manner
    band: Band
    random: Generator
    mix: Samples
    drums: Samples
    kit: tuple[Samples, Samples, Samples]
    step: float  # seconds
    tonic: float  # MIDI number
    chord: NDArray[np.int_] = field(default_factory=lambda: _chord(MAJOR, 0))

    @staticmethod
    def of(section: Section, theme: Theme, style: MusicStyle, band: Band, random: Generator) -> "_Player":
        manner = Manner.of(section.cues)
        count = round(section.duration_seconds * SAMPLE_RATE)
        return _Player(
            section=section,
            theme=theme,
            style=style,
            manner=manner,
            band=band,
            random=random,
            mix=np.zeros(count, np.float32),
            drums=np.zeros(count, np.float32),
            kit=drum_sounds(style.kit, random),
            step=60.0 / manner.beats_a_minute / 4.0,
            tonic=60.0 + style.key - 12 * (style.key > 6) + style.octave + manner.register,
        )

    def play(self, number: int) -> None:
        """Everything that begins at a step of the section."""
        bar = len(self.theme.figure.melody)
        steps_a_chord = max(4, round(self.manner.bars_a_chord * bar / 4) * 4)
        if number % steps_a_chord == 0:
            scale = MAJOR if self.random.random() < self.manner.majorness else MINOR
            self.chord = _chord(scale, PROGRESSION[number // steps_a_chord % len(PROGRESSION)])
        moment = self._moment(number, number % bar)
        self._play_melody(moment)
        self._play_chord(moment)
        self._play_bass(moment)
        self._play_drums(moment)
        self._play_bell(moment)

    def _moment(self, number: int, place: int) -> _Moment:
        start = (number + self.style.swing * (place % 2)) * self.step
        presence = level_of(curve(self.section.cues, start / self.section.duration_seconds))
        return _Moment(
            place=place,
            start=start,
            swell=10.0 ** ((14.0 * presence - 7.0) / 20.0),
            presence=presence,
            rise=self.manner.rise * (2.0 * (start % PHRASE_SECONDS) / PHRASE_SECONDS - 1.0),
        )

    def _play_melody(self, moment: _Moment) -> None:
        figure, manner, random = self.theme.figure, self.manner, self.random
        symbol = figure.melody[moment.place]
        if symbol == ".":
            # Dense music fills the figure's rests, if it has a figure at all.
            if not figure.melody.strip(".") or random.random() >= 1.2 * max(0.0, manner.density - 0.5):
                return
            rung, share = 2, 0.6
        else:
            if random.random() >= self._chance(moment):
                return
            rung, share = int(symbol), 1.0
        pitch = self.tonic + _pitch(self.chord, rung + round(moment.rise)) + self._slip(manner.wrong_notes)
        gap = _gap(figure.melody, moment.place) * self.step
        onset = moment.start + self._looseness()
        level = self._velocity(moment) * share
        self._strike(pitch, onset, gap * manner.hold, 0.5 * level)
        _add(self.drums, self.kit[2], onset, manner.accent * level * 0.6)
        if random.random() < 2.0 * (manner.density - 0.6):
            self._melody_note(pitch, onset + gap / 2, gap * manner.hold / 2, 0.35 * level)

    def _chance(self, moment: _Moment) -> float:
        """That a note of the figure is played: always on the beat, else by density and regularity."""
        if moment.place % 4 == 0:
            return 1.0
        filled = min(1.0, 0.1 + 1.6 * self.manner.density) * (0.5 + 0.5 * moment.presence)
        return filled * (1.0 - 0.4 * self.manner.looseness)

    def _play_chord(self, moment: _Moment) -> None:
        pattern, manner = self.theme.figure.chords, self.manner
        if not (pattern[moment.place] == "x" or (moment.place == 0 and "x" not in pattern)):
            return
        gesture = Gesture.TREMOLO if self.theme.figure.gesture is Gesture.TREMOLO else Gesture.PLAIN
        seconds = min(_LONGEST_NOTE, _gap(pattern, moment.place) * self.step) * max(0.3, manner.hold)
        level = self._velocity(moment) * manner.body * 0.35
        attack = self.style.attack + manner.attack
        for voice in range(manner.voices):
            height = manner.width * (0.3 * voice - 0.6) + 4.0 * moment.rise
            pitch = self.tonic + _nearest_octave(height, float(self.chord[voice]))
            pitch += self._slip(0.5 * manner.wrong_notes)
            start = moment.start + self._looseness()
            self.band.add(self.mix, self.band.chords, pitch, start, seconds, level, attack, gesture)

    def _play_bass(self, moment: _Moment) -> None:
        """The figure's bass, more or less of it, with extra notes; a kick under each."""
        symbol, rate = self.theme.figure.bass[moment.place], self.manner.bass_rate
        extra = moment.place % 2 == 0 and self.random.random() < rate**2 * 0.9
        if not extra and (symbol == "." or (moment.place and self.random.random() >= 0.3 + rate)):
            return
        rung = 0 if symbol == "." else int(symbol)
        pitch = self.tonic + _nearest_octave(-self.manner.width, _pitch(self.chord, rung))
        onset = moment.start + self._looseness() * 0.5
        seconds = self.step * 2.0 * self.manner.hold
        self.band.add(self.mix, self.band.bass, pitch, onset, seconds, 0.55 * self._velocity(moment), 0.004)
        _add(self.drums, self.kit[0], onset, 0.35 * moment.swell * (0.3 + self.style.drum_level))

    def _play_drums(self, moment: _Moment) -> None:
        """Backbeat and hats: they belong to the style alone."""
        if not self.style.drum_level:
            return
        level = moment.swell * self.style.drum_level
        backbeat = (4, 12) if len(self.theme.figure.melody) == 16 else (4, 8)
        if moment.place in backbeat:
            _add(self.drums, self.kit[1], moment.start + self._looseness(), 0.3 * level)
        if moment.place % 2 == 0:
            _add(self.drums, self.kit[2], moment.start + self._looseness(), 0.2 * level)

    def _play_bell(self, moment: _Moment) -> None:
        if self.random.random() < self.manner.bells * self.step:
            pitch = 96.0 + self.style.key + _pitch(self.chord, int(self.random.integers(5))) % 12.0
            self.band.add(self.mix, _BELL, pitch, moment.start, 0.6, 0.3 * moment.swell, 0.0)

    def _strike(self, pitch: float, start: float, seconds: float, level: float) -> None:
        """A note of the melody with the gesture of its figure."""
        match self.theme.figure.gesture:
            case Gesture.TRILL:
                for turn in range(max(1, min(12, int(seconds / 0.075)))):
                    at = start + 0.075 * turn
                    self.band.add(self.mix, self.band.melody, pitch + 2.0 * (turn % 2), at, 0.07, level, 0.0)
            case Gesture.ECHO:
                for turn in range(3):
                    self._melody_note(pitch, start + 1.5 * turn * self.step, seconds, level * 0.6**turn)
            case Gesture.OCTAVES:
                self._melody_note(pitch, start, seconds, level * 0.8)
                self._melody_note(pitch + 12.0, start, seconds, level * 0.6)
            case gesture:
                self._melody_note(pitch, start, seconds, level, gesture)

    def _melody_note(
        self, pitch: float, start: float, seconds: float, level: float, gesture: Gesture = Gesture.PLAIN
    ) -> None:
        attack = self.style.attack + self.manner.attack
        self.band.add(self.mix, self.band.melody, pitch, start, seconds, level, attack, gesture)

    def _looseness(self) -> float:
        """Seconds by which a note comes early or late."""
        return self.random.uniform(-0.5, 0.5) * self.manner.looseness * 0.9 * self.step

    def _velocity(self, moment: _Moment) -> float:
        return moment.swell * float(10.0 ** (self.manner.dynamics * self.random.standard_normal() / 20.0))

    def _slip(self, chance: float) -> float:
        """Semitones by which a note leaves the scale."""
        return float(self.random.choice([-1.0, 1.0])) if self.random.random() < chance else 0.0


_BELL = timbre_named("music box")


def _chord(scale: tuple[int, ...], degree: int) -> NDArray[np.int_]:
    """Semitones above the tonic: root, third, fifth, octave, seventh and ninth of the chord on a degree."""
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
