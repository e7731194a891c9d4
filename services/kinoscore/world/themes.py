"""The themes of the world: what a clip shows and what a track plays.

A theme fixes the *scene* of a clip (its layout and motion, drawn by `kinoscore.world.scenes`), the *figure*
of a track (its rhythm, melodic shape and gesture) and the *ambience* under it. These stay recognisable under
any palette, texture, instrument or key. A theme also carries most of valence and arousal, as the theme of a
real picture does.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["THEMES", "THEME_NAMES", "Ambience", "Figure", "Gesture", "Motion", "Theme"]


class Gesture(StrEnum):
    """What the notes of the melody do while they sound."""

    PLAIN = "plain"
    GLIDE_UP = "glide up"
    GLIDE_DOWN = "glide down"
    VIBRATO = "vibrato"
    TREMOLO = "tremolo"
    TRILL = "trill"
    ECHO = "echo"
    OCTAVES = "octaves"


class Motion(StrEnum):
    """How an ambience comes and goes."""

    STEADY = "steady"
    SURGES = "surges"
    THROBS = "throbs"
    FLUTTERS = "flutters"
    CRACKLES = "crackles"
    RISES = "rises"
    FALLS = "falls"
    TICKS = "ticks"


@dataclass(frozen=True, slots=True)
class Ambience:
    """The noise that belongs to a theme, under its music: wind, rain, crackling fire, a machine.

    Attributes:
        hertz: the middle of its band.
        motion: how it comes and goes.
    """

    hertz: float
    motion: Motion


@dataclass(frozen=True, slots=True)
class Figure:
    """One bar of music, one character a step: 16 steps, or 12 for a bar of three beats.

    Attributes:
        melody: a digit names a rung of the chord's ladder (0 root, 1 third, 2 fifth, 3 octave, 4 tenth, ...),
            a dot rests.
        bass: the same for the bass.
        chords: `x` where the accompaniment strikes its chord.
        gesture: what the notes of the melody do.
    """

    melody: str
    bass: str
    chords: str
    gesture: Gesture


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme: its name (its scene's too), mean valence and arousal in [-1, 1], figure and ambience."""

    name: str
    valence: float
    arousal: float
    figure: Figure
    ambience: Ambience


_AMBIENCES = {
    "fireworks": Ambience(2200, Motion.CRACKLES),
    "carnival": Ambience(700, Motion.FLUTTERS),
    "dance": Ambience(5500, Motion.THROBS),
    "parade": Ambience(2200, Motion.TICKS),
    "bubbles": Ambience(700, Motion.RISES),
    "racing": Ambience(250, Motion.FLUTTERS),
    "sunrise": Ambience(2200, Motion.RISES),
    "meadow": Ambience(5500, Motion.FLUTTERS),
    "lagoon": Ambience(700, Motion.SURGES),
    "snowfall": Ambience(5500, Motion.STEADY),
    "constellation": Ambience(5500, Motion.TICKS),
    "orbit": Ambience(250, Motion.SURGES),
    "storm": Ambience(250, Motion.CRACKLES),
    "chase": Ambience(700, Motion.THROBS),
    "machine": Ambience(700, Motion.TICKS),
    "labyrinth": Ambience(250, Motion.TICKS),
    "swarm": Ambience(2200, Motion.FLUTTERS),
    "abyss": Ambience(250, Motion.FALLS),
    "rain": Ambience(5500, Motion.CRACKLES),
    "ruins": Ambience(700, Motion.FALLS),
    "vigil": Ambience(700, Motion.CRACKLES),
    "fog": Ambience(250, Motion.STEADY),
    "desert": Ambience(2200, Motion.SURGES),
    "skyline": Ambience(2200, Motion.STEADY),
}

_FIGURES = {
    "fireworks": Figure("012345..012345..", "0.......0.......", "............x.x.", Gesture.GLIDE_UP),
    "carnival": Figure("3.3.24.43.3.21.1", "0...2...0...2...", "..x...x...x...x.", Gesture.PLAIN),
    "dance": Figure("4..4..4.3..3..2.", "0.0...0.0.0...0.", "................", Gesture.OCTAVES),
    "parade": Figure("0...0.002...2.22", "0...2...0...2...", "x...x...x...x...", Gesture.PLAIN),
    "bubbles": Figure("0.3.5.....1.4.6.", "0...............", "................", Gesture.GLIDE_UP),
    "racing": Figure("0.0000.0.0000.0.", "0.0.0.0.0.0.0.0.", "................", Gesture.PLAIN),
    "sunrise": Figure("0.......2.......", "0...............", "x...............", Gesture.VIBRATO),
    "meadow": Figure("2..1..0..1..", "0...........", "....x...x...", Gesture.PLAIN),
    "lagoon": Figure("0.1.2.3.4.3.2.1.", "0...............", "................", Gesture.ECHO),
    "snowfall": Figure("6...5...4...3...", "................", "x.......x.......", Gesture.GLIDE_DOWN),
    "constellation": Figure("5......3.....6..", "................", "x...............", Gesture.ECHO),
    "orbit": Figure("0..2..4..2..", "0.....0.....", "............", Gesture.OCTAVES),
    "storm": Figure("0.....4.....1...", "0000000000000000", "x.........x.....", Gesture.TREMOLO),
    "chase": Figure("0102030201020302", "0...0...0...0...", "................", Gesture.PLAIN),
    "machine": Figure("0.0.3...0.0.3...", "0.0.0.0.0.0.0.0.", "....x.......x...", Gesture.TRILL),
    "labyrinth": Figure("0..1..2..0..1.2.", "2.......1.......", "................", Gesture.TRILL),
    "swarm": Figure("2.1.2.3.2.1.2.0.", "0...............", "................", Gesture.TREMOLO),
    "abyss": Figure("6.......4.......", "0...........0...", "x...............", Gesture.GLIDE_DOWN),
    "rain": Figure("4.2.4.2.3.1.3.1.", "0.......0.......", "................", Gesture.PLAIN),
    "ruins": Figure("0.....00....", "0...........", "......x.....", Gesture.VIBRATO),
    "vigil": Figure("0...1...0.......", "................", "x...x...x...x...", Gesture.VIBRATO),
    "fog": Figure("................", "0...............", "x.......x.......", Gesture.TREMOLO),
    "desert": Figure("0.12101.0.......", "0...............", "................", Gesture.TRILL),
    "skyline": Figure("3.......2.1.0...", "0..2..3.0..2..3.", "....x..x....x..x", Gesture.PLAIN),
}

# Mean valence and arousal.
_EMOTIONS = {
    # joyful
    "fireworks": (0.75, 0.75),
    "carnival": (0.65, 0.55),
    "dance": (0.85, 0.35),
    "parade": (0.50, 0.20),
    "bubbles": (0.55, 0.00),
    "racing": (0.40, 0.85),
    # calm
    "sunrise": (0.65, -0.25),
    "meadow": (0.50, -0.50),
    "lagoon": (0.35, -0.70),
    "snowfall": (0.20, -0.55),
    "constellation": (0.30, -0.85),
    "orbit": (0.10, -0.30),
    # tense
    "storm": (-0.60, 0.75),
    "chase": (-0.35, 0.90),
    "machine": (-0.20, 0.60),
    "labyrinth": (-0.50, 0.30),
    "swarm": (-0.70, 0.55),
    "abyss": (-0.80, 0.15),
    # sad
    "rain": (-0.40, -0.10),
    "ruins": (-0.60, -0.35),
    "vigil": (-0.80, -0.50),
    "fog": (-0.50, -0.75),
    "desert": (-0.10, -0.40),
    # near neutral
    "skyline": (0.10, 0.40),
}

THEMES: tuple[Theme, ...] = tuple(
    Theme(name, valence, arousal, _FIGURES[name], _AMBIENCES[name])
    for name, (valence, arousal) in _EMOTIONS.items()
)
"""All themes. Scene, figure and ambience of a theme are the same in every split; the styles are not."""

THEME_NAMES: tuple[str, ...] = tuple(theme.name for theme in THEMES)
