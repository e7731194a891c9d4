"""Styles: everything about a clip or a track that its factors do not decide.

The families of a style (palettes, shapes, textures; timbres, drum kits, rooms) are divided among the splits:
validation and test use none that train uses, nor any that the other uses. Whatever is continuous (brightness,
key, gain, ...) is drawn alike in every split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Generator

__all__ = ["MusicStyle", "PictureStyle", "draw_music_style", "draw_picture_style"]

PALETTES: Mapping[str, tuple[str, ...]] = {
    "train": ("analogous", "complementary", "earth", "neon", "pastel", "duotone"),
    "validation": ("triadic", "faded film"),
    "test": ("split complementary", "painted"),
}
SHAPES: Mapping[str, tuple[str, ...]] = {
    "train": ("disc", "square", "ring", "diamond", "cross"),
    "validation": ("ellipse", "frame"),
    "test": ("star", "octagon"),
}
TEXTURES: Mapping[str, tuple[str, ...]] = {
    "train": ("clouds", "fibres", "cells", "none"),
    "validation": ("weave",),
    "test": ("scratches",),
}
GRAINS: Mapping[str, tuple[str, ...]] = {
    "train": ("none", "fine", "coarse"),
    "validation": ("lines",),
    "test": ("dither",),
}
TIMBRES: Mapping[str, tuple[str, ...]] = {
    "train": ("flute", "organ", "pluck", "electric piano", "strings", "square lead", "marimba", "brass"),
    "validation": ("clarinet", "harp", "saw lead"),
    "test": ("piano", "accordion", "music box"),
}
DRUM_KITS: Mapping[str, tuple[str, ...]] = {
    "train": ("acoustic", "electronic", "hand drums"),
    "validation": ("brushes",),
    "test": ("low-fi",),
}
ROOMS: Mapping[str, tuple[str, ...]] = {
    "train": ("dry", "room", "hall", "echo"),
    "validation": ("plate",),
    "test": ("cathedral",),
}
FRAME_SIZES = ((160, 100), (176, 100), (192, 108), (160, 120), (192, 120))

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PictureStyle:
    """The nuisance of a clip.

    Attributes:
        palette, shape, texture, grain: families, one each of the split's.
        width, height: of the frames in pixels, both even.
        hue: of the darkest colour, a share of the colour circle.
        hue_direction: 1.0 or -1.0, the way round the circle.
        brightness: -1 (dim) to 1 (bright).
        warmth: -1 (bluish) to 1 (reddish).
        mirrored: whether left and right are exchanged.
        symmetric: whether the right half mirrors the left half.
        zoom: of the camera, about 1.
        pan_x, pan_y: of the camera, in half heights of the picture.
        texture_strength, grain_strength: 0 to 1.
    """

    palette: str
    shape: str
    texture: str
    grain: str
    width: int
    height: int
    hue: float
    hue_direction: float
    brightness: float
    warmth: float
    mirrored: bool
    symmetric: bool
    zoom: float
    pan_x: float
    pan_y: float
    texture_strength: float
    grain_strength: float


@dataclass(frozen=True, slots=True)
class MusicStyle:
    """The nuisance of a track.

    Attributes:
        melody, chords, bass: timbre families of the split.
        kit: the drum kit's family of the split.
        room: the reverberation's family of the split.
        drum_level: 0 (no drums) to 1.
        ambience: level of the theme's ambience below the music, in dB, -16 to -8.
        key: of the tonic, in semitones above C, 0 to 11.
        octave: shift of all pitches in semitones, -6 to 6.
        gain: in dB, -10 to 10.
        bass_tilt, treble_tilt: of the equaliser in dB, -6 to 6.
        attack: of every note in seconds, added to the timbre's own.
        reverberation: share of the room in the sound, 0 to 0.5.
        brightness: 0 to 1, how much of the upper partials sounds.
        swing: 0 to 0.25, how far every second step is late, in steps.
    """

    melody: str
    chords: str
    bass: str
    kit: str
    room: str
    drum_level: float
    ambience: float
    key: int
    octave: int
    gain: float
    bass_tilt: float
    treble_tilt: float
    attack: float
    reverberation: float
    brightness: float
    swing: float


def draw_picture_style(random: Generator, split: str) -> PictureStyle:
    """A style of the split's families."""
    width, height = _one_of(random, FRAME_SIZES)
    return PictureStyle(
        palette=_one_of(random, PALETTES[split]),
        shape=_one_of(random, SHAPES[split]),
        texture=_one_of(random, TEXTURES[split]),
        grain=_one_of(random, GRAINS[split]),
        width=width,
        height=height,
        hue=float(random.random()),
        hue_direction=float(random.choice([-1.0, 1.0])),
        brightness=float(random.uniform(-1.0, 1.0)),
        warmth=float(random.uniform(-1.0, 1.0)),
        mirrored=bool(random.random() < 0.5),
        symmetric=bool(random.random() < 0.15),
        zoom=float(random.uniform(0.9, 1.15)),
        pan_x=float(random.uniform(-0.15, 0.15)),
        pan_y=float(random.uniform(-0.08, 0.08, 2)[0]),  # version 1 draws two and uses one
        texture_strength=float(random.uniform(0.1, 0.6)),
        grain_strength=float(random.random()),
    )


def draw_music_style(random: Generator, split: str) -> MusicStyle:
    """A style of the split's families."""
    return MusicStyle(
        melody=_one_of(random, TIMBRES[split]),
        chords=_one_of(random, TIMBRES[split]),
        bass=_one_of(random, TIMBRES[split]),
        kit=_one_of(random, DRUM_KITS[split]),
        room=_one_of(random, ROOMS[split]),
        drum_level=float(max(0.0, random.uniform(-0.6, 1.0))),
        ambience=float(random.uniform(-16.0, -8.0)),
        key=int(random.integers(12)),
        octave=int(random.integers(-6, 7)),
        gain=float(random.uniform(-10.0, 10.0)),
        bass_tilt=float(random.uniform(-6.0, 6.0)),
        treble_tilt=float(random.uniform(-6.0, 6.0)),
        attack=float(random.uniform(0.0, 0.02)),
        reverberation=float(random.uniform(0.0, 0.5)),
        brightness=float(random.random()),
        swing=float(max(0.0, random.uniform(-0.25, 0.25))),
    )


def _one_of(random: Generator, choices: tuple[_T, ...]) -> _T:
    return choices[int(random.integers(len(choices)))]
