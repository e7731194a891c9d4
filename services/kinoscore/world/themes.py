"""The themes of the world: what a clip shows and what a track plays.

A theme fixes the *scene* of a clip (its layout and motion, drawn by `kinoscore.world.scenes`) and the *figure*
of a track (its rhythm, melodic shape and gesture). Both stay recognisable under any palette, texture,
instrument or key. A theme also carries most of valence and arousal, as the theme of a real picture does.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["THEMES", "THEME_NAMES", "Figure", "Gesture", "Theme"]


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
    """A theme: its name (also of its scene), its mean valence and arousal in [-1, 1], its figure."""

    name: str
    valence: float
    arousal: float
    figure: Figure


def _theme(
    name: str, valence: float, arousal: float, melody: str, bass: str, chords: str, gesture: Gesture = Gesture.PLAIN
) -> Theme:
    return Theme(name, valence, arousal, Figure(melody, bass, chords, gesture))


THEMES: tuple[Theme, ...] = (
    # joyful
    _theme("fireworks", 0.75, 0.75, "012345..012345..", "0.......0.......", "............x.x.", Gesture.GLIDE_UP),
    _theme("carnival", 0.65, 0.55, "3.3.24.43.3.21.1", "0...2...0...2...", "..x...x...x...x."),
    _theme("dance", 0.85, 0.35, "4..4..4.3..3..2.", "0.0...0.0.0...0.", "................", Gesture.OCTAVES),
    _theme("parade", 0.50, 0.20, "0...0.002...2.22", "0...2...0...2...", "x...x...x...x..."),
    _theme("bubbles", 0.55, 0.00, "0.3.5.....1.4.6.", "0...............", "................", Gesture.GLIDE_UP),
    _theme("racing", 0.40, 0.85, "0.0000.0.0000.0.", "0.0.0.0.0.0.0.0.", "................"),
    # calm
    _theme("sunrise", 0.65, -0.25, "0.......2.......", "0...............", "x...............", Gesture.VIBRATO),
    _theme("meadow", 0.50, -0.50, "2..1..0..1..", "0...........", "....x...x..."),
    _theme("lagoon", 0.35, -0.70, "0.1.2.3.4.3.2.1.", "0...............", "................", Gesture.ECHO),
    _theme("snowfall", 0.20, -0.55, "6...5...4...3...", "................", "x.......x.......", Gesture.GLIDE_DOWN),
    _theme("constellation", 0.30, -0.85, "5......3.....6..", "................", "x...............", Gesture.ECHO),
    _theme("orbit", 0.10, -0.30, "0..2..4..2..", "0.....0.....", "............", Gesture.OCTAVES),
    # tense
    _theme("storm", -0.60, 0.75, "0.....4.....1...", "0000000000000000", "x.........x.....", Gesture.TREMOLO),
    _theme("chase", -0.35, 0.90, "0102030201020302", "0...0...0...0...", "................"),
    _theme("machine", -0.20, 0.60, "0.0.3...0.0.3...", "0.0.0.0.0.0.0.0.", "....x.......x...", Gesture.TRILL),
    _theme("labyrinth", -0.50, 0.30, "0..1..2..0..1.2.", "2.......1.......", "................", Gesture.TRILL),
    _theme("swarm", -0.70, 0.55, "2.1.2.3.2.1.2.0.", "0...............", "................", Gesture.TREMOLO),
    _theme("abyss", -0.80, 0.15, "6.......4.......", "0...........0...", "x...............", Gesture.GLIDE_DOWN),
    # sad
    _theme("rain", -0.40, -0.10, "4.2.4.2.3.1.3.1.", "0.......0.......", "................"),
    _theme("ruins", -0.60, -0.35, "0.....00....", "0...........", "......x.....", Gesture.VIBRATO),
    _theme("vigil", -0.80, -0.50, "0...1...0.......", "................", "x...x...x...x...", Gesture.VIBRATO),
    _theme("fog", -0.50, -0.75, "................", "0...............", "x.......x.......", Gesture.TREMOLO),
    _theme("desert", -0.10, -0.40, "0.12101.0.......", "0...............", "................", Gesture.TRILL),
    # neutral
    _theme("skyline", 0.10, 0.40, "3.......2.1.0...", "0..2..3.0..2..3.", "....x..x....x..x"),
)
"""All themes. Their scenes and figures are the same in every split; the styles are not."""

THEME_NAMES: tuple[str, ...] = tuple(theme.name for theme in THEMES)
