"""The themes of the world: what a clip shows and what a track plays.

A theme fixes the *scene* of a clip (its layout and motion, drawn by `kinoscore.world.scenes`) and the *figure*
of a track (its rhythm, melodic shape and gesture) and the ambience under it. Both stay recognisable under any palette, texture,
instrument or key. A theme also carries most of valence and arousal, as the theme of a real picture does.
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

    Args:
        hertz: the middle of its band.
        motion: how it comes and goes.
    """

    hertz: float
    motion: Motion


@dataclass(frozen=True, slots=True)
class Figure:
    """One bar of music, one character a step: 16 steps, or 12 for a bar of three beats.

    Args:
        melody: a digit names a rung of the chord's ladder (0 root, 1 third, 2 fifth, 3 octave, 4 tenth, ...); a
            dot rests.
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
    """A theme: its name (also of its scene), its mean valence and arousal in [-1, 1], its figure and ambience."""

    name: str
    valence: float
    arousal: float
    figure: Figure
    ambience: Ambience


def _theme(
    name: str,
    valence: float,
    arousal: float,
    melody: str,
    bass: str,
    chords: str,
    hertz: float,
    motion: Motion,
    gesture: Gesture = Gesture.PLAIN,
) -> Theme:
    return Theme(name, valence, arousal, Figure(melody, bass, chords, gesture), Ambience(hertz, motion))


THEMES: tuple[Theme, ...] = (
    # joyful
    _theme("fireworks", 0.75, 0.75, "012345..012345..", "0.......0.......", "............x.x.", 2200, Motion.CRACKLES, Gesture.GLIDE_UP),
    _theme("carnival", 0.65, 0.55, "3.3.24.43.3.21.1", "0...2...0...2...", "..x...x...x...x.", 700, Motion.FLUTTERS),
    _theme("dance", 0.85, 0.35, "4..4..4.3..3..2.", "0.0...0.0.0...0.", "................", 5500, Motion.THROBS, Gesture.OCTAVES),
    _theme("parade", 0.50, 0.20, "0...0.002...2.22", "0...2...0...2...", "x...x...x...x...", 2200, Motion.TICKS),
    _theme("bubbles", 0.55, 0.00, "0.3.5.....1.4.6.", "0...............", "................", 700, Motion.RISES, Gesture.GLIDE_UP),
    _theme("racing", 0.40, 0.85, "0.0000.0.0000.0.", "0.0.0.0.0.0.0.0.", "................", 250, Motion.FLUTTERS),
    # calm
    _theme("sunrise", 0.65, -0.25, "0.......2.......", "0...............", "x...............", 2200, Motion.RISES, Gesture.VIBRATO),
    _theme("meadow", 0.50, -0.50, "2..1..0..1..", "0...........", "....x...x...", 5500, Motion.FLUTTERS),
    _theme("lagoon", 0.35, -0.70, "0.1.2.3.4.3.2.1.", "0...............", "................", 700, Motion.SURGES, Gesture.ECHO),
    _theme("snowfall", 0.20, -0.55, "6...5...4...3...", "................", "x.......x.......", 5500, Motion.STEADY, Gesture.GLIDE_DOWN),
    _theme("constellation", 0.30, -0.85, "5......3.....6..", "................", "x...............", 5500, Motion.TICKS, Gesture.ECHO),
    _theme("orbit", 0.10, -0.30, "0..2..4..2..", "0.....0.....", "............", 250, Motion.SURGES, Gesture.OCTAVES),
    # tense
    _theme("storm", -0.60, 0.75, "0.....4.....1...", "0000000000000000", "x.........x.....", 250, Motion.CRACKLES, Gesture.TREMOLO),
    _theme("chase", -0.35, 0.90, "0102030201020302", "0...0...0...0...", "................", 700, Motion.THROBS),
    _theme("machine", -0.20, 0.60, "0.0.3...0.0.3...", "0.0.0.0.0.0.0.0.", "....x.......x...", 700, Motion.TICKS, Gesture.TRILL),
    _theme("labyrinth", -0.50, 0.30, "0..1..2..0..1.2.", "2.......1.......", "................", 250, Motion.TICKS, Gesture.TRILL),
    _theme("swarm", -0.70, 0.55, "2.1.2.3.2.1.2.0.", "0...............", "................", 2200, Motion.FLUTTERS, Gesture.TREMOLO),
    _theme("abyss", -0.80, 0.15, "6.......4.......", "0...........0...", "x...............", 250, Motion.FALLS, Gesture.GLIDE_DOWN),
    # sad
    _theme("rain", -0.40, -0.10, "4.2.4.2.3.1.3.1.", "0.......0.......", "................", 5500, Motion.CRACKLES),
    _theme("ruins", -0.60, -0.35, "0.....00....", "0...........", "......x.....", 700, Motion.FALLS, Gesture.VIBRATO),
    _theme("vigil", -0.80, -0.50, "0...1...0.......", "................", "x...x...x...x...", 700, Motion.CRACKLES, Gesture.VIBRATO),
    _theme("fog", -0.50, -0.75, "................", "0...............", "x.......x.......", 250, Motion.STEADY, Gesture.TREMOLO),
    _theme("desert", -0.10, -0.40, "0.12101.0.......", "0...............", "................", 2200, Motion.SURGES, Gesture.TRILL),
    # neutral
    _theme("skyline", 0.10, 0.40, "3.......2.1.0...", "0..2..3.0..2..3.", "....x..x....x..x", 2200, Motion.STEADY),
)
"""All themes. Their scenes and figures are the same in every split; the styles are not."""

THEME_NAMES: tuple[str, ...] = tuple(theme.name for theme in THEMES)
