"""Drawing a pair: latent factors first, then the cues of each side, then a style for each side.

Every cue is a standard score: the sum of its loadings on the standardised factors plus independent Gaussian
noise that fills the variance up to one. So a cue's correlation with a factor is its loading. The loadings on
valence and arousal are such that the same cue *measured on the rendered media* correlates about as on real
photographs and real music (there Spearman's rho is, for instance, .26 for colourfulness and valence, .2 for
contrast and arousal, .15 to .37 for mode and valence, .5 to .8 for spectral flux and arousal). What people
believe but did not hold is left out: brightness, warmth, loud timbre and fast tempo say nothing about emotion
here.

- *Valence and arousal* are the theme's mean plus individual variation.
- *Shared content* is what both sides render beside theme and emotion, with noise on each side:

  | factor     | low ... high, in the picture             | low ... high, in the music               |
  |------------|------------------------------------------|------------------------------------------|
  | smoothness | hard edges ... soft edges                | short, detached notes ... long, bound    |
  | regularity | scattered, wobbling ... a strict lattice | loose timing, gaps ... strict timing     |
  | tilt       | falls to the right ... rises             | phrases fall ... phrases rise            |
  | fineness   | few large shapes ... many small ones     | slow tempo ... fast tempo                |
  | spread     | gathered in the middle ... everywhere    | narrow range ... wide range              |
  | sparkle    | no glints ... many glints                | no bells ... many bells                  |
  | trend      | dies away ... swells                     | diminuendo ... crescendo                 |
  | arch       | hollow in the middle ... a peak there    | the same in loudness and density         |

All of this is our choice, except the loadings on valence and arousal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import Generator

from kinoscore.errors import InvalidRequest
from kinoscore.world.styles import MusicStyle, PictureStyle, draw_music_style, draw_picture_style
from kinoscore.world.themes import THEMES, Theme

__all__ = [
    "CLIP_SECONDS",
    "CONTENT_FACTORS",
    "MUSIC_LOADINGS",
    "PICTURE_LOADINGS",
    "WORLD_VERSION",
    "ClipPlan",
    "Factors",
    "PairPlan",
    "Section",
    "Split",
    "TrackPlan",
    "draw_cues",
    "draw_factors",
    "draw_pair",
]

WORLD_VERSION = "1"

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

CLIP_SECONDS = 12.0
CLIP_FRAMES_PER_SECOND = 4.0

CONTENT_FACTORS = ("smoothness", "regularity", "tilt", "fineness", "spread", "sparkle", "trend", "arch")

INDIVIDUAL_DEVIATION = 0.3
"""Of valence and arousal about the theme's mean."""
VALENCE_DEVIATION = 0.6
AROUSAL_DEVIATION = 0.6
"""The deviations of valence and arousal over the whole world, rounded; they standardise the two."""

SHARED = 0.73
"""The loading of a content cue on its factor; the correlation of the two sides is its square."""

PICTURE_LOADINGS: Mapping[str, Mapping[str, float]] = {
    "saturation": {"valence": 0.32},
    "hue_variety": {"valence": 0.28},
    "centre_surround": {"valence": 0.20, "arousal": 0.20},
    "contrast": {"arousal": 0.25},
    "dark_share": {"arousal": 0.20},
    "coarseness": {"arousal": 0.30},
    "speed": {"arousal": 0.50},
    "cuts": {"arousal": 0.45},
    **{name: {name: SHARED} for name in CONTENT_FACTORS},
}
"""Of each picture cue on the factors."""

MUSIC_LOADINGS: Mapping[str, Mapping[str, float]] = {
    "mode": {"valence": 0.50},
    "key_clarity": {"valence": 0.50},
    "harmonic_change": {"valence": 0.35},
    "register": {"valence": 0.12},
    "density": {"arousal": 0.75},
    "fullness": {"arousal": 0.75},
    "flux": {"arousal": 0.80},
    "roughness": {"arousal": 0.60},
    "loudness": {"arousal": 0.60},
    "bass_onsets": {"arousal": 0.55},
    "dynamics": {"arousal": -0.40},
    **{name: {name: SHARED} for name in CONTENT_FACTORS if name != "fineness"},
    "fineness": {"fineness": SHARED, "arousal": 0.08},
}
"""Of each music cue on the factors."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a clip and its track have in common.

    Attributes:
        theme: one of THEME_NAMES.
        valence: -1 (unpleasant) to 1 (pleasant).
        arousal: -1 (quiet) to 1 (excited).
        content: a standard score for each of CONTENT_FACTORS.
    """

    theme: str
    valence: float
    arousal: float
    content: Mapping[str, float]

    def standardised(self) -> dict[str, float]:
        """Each factor as a standard score over the world."""
        return {
            "valence": self.valence / VALENCE_DEVIATION,
            "arousal": self.arousal / AROUSAL_DEVIATION,
            **self.content,
        }


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip before it is rendered; equal plans give equal frames.

    Attributes:
        seed: of everything random within the rendering.
        theme: names the scene.
        cues: a standard score for each key of PICTURE_LOADINGS.
        style: what is drawn independently of the factors.
        duration_seconds: of the clip.
        frames_per_second: of the clip.
    """

    seed: int
    theme: str
    cues: Mapping[str, float]
    style: PictureStyle
    duration_seconds: float = CLIP_SECONDS
    frames_per_second: float = CLIP_FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a track with cues (a standard score for each key of MUSIC_LOADINGS) of its own."""

    start_seconds: float
    duration_seconds: float
    cues: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """A track before it is rendered; equal plans give equal samples.

    Attributes:
        seed: of everything random within the rendering.
        theme: names the figure.
        sections: one after the other, without gaps.
        style: what is drawn independently of the factors.
    """

    seed: int
    theme: str
    sections: tuple[Section, ...]
    style: MusicStyle

    @property
    def duration_seconds(self) -> float:
        return self.sections[-1].start_seconds + self.sections[-1].duration_seconds


@dataclass(frozen=True, slots=True)
class PairPlan:
    """A clip and its track; `passage` is the section of the track that fits the clip."""

    seed: int
    split: Split
    factors: Factors
    clip: ClipPlan
    track: TrackPlan
    passage: Section


def draw_pair(seed: int, split: Split) -> PairPlan:
    """The pair of this seed; the same seed gives another pair, in other styles, in another split.

    Six tracks of ten are one section of 12 s that fits the clip. The others have 6 s or 12 s more, before or
    after it, of the same theme, instruments and key but with emotion and content of its own.

    Raises:
        InvalidRequest: an unknown split or a negative seed.
    """
    random = random_of(seed, split)
    theme = THEMES[int(random.integers(len(THEMES)))]
    factors = draw_factors(random, theme)
    clip = ClipPlan(
        seed=int(random.integers(2**31)),
        theme=theme.name,
        cues=draw_cues(random, PICTURE_LOADINGS, factors),
        style=draw_picture_style(random, split),
    )
    extra = float(random.choice([0.0, 6.0, 12.0], p=[0.6, 0.2, 0.2]))
    starts_after = extra if random.random() < 0.5 else 0.0
    passage = Section(starts_after, CLIP_SECONDS, draw_cues(random, MUSIC_LOADINGS, factors))
    other_cues = draw_cues(random, MUSIC_LOADINGS, draw_factors(random, theme))
    other = Section(0.0 if starts_after else CLIP_SECONDS, extra, other_cues)
    sections = (passage,) if not extra else ((other, passage) if starts_after else (passage, other))
    track = TrackPlan(int(random.integers(2**31)), theme.name, sections, draw_music_style(random, split))
    return PairPlan(seed, split, factors, clip, track, passage)


def random_of(seed: int, split: Split) -> Generator:
    """The stream of random numbers of one seed; the streams of different splits have nothing in common."""
    if split not in SPLITS:
        raise InvalidRequest(f"there is no split {split!r}: use one of {', '.join(SPLITS)}", field="split")
    if seed < 0:
        raise InvalidRequest(f"the seed is {seed}: give 0 or more", field="seed")
    return np.random.default_rng([int(WORLD_VERSION), SPLITS.index(split), seed])


def draw_factors(random: Generator, theme: Theme) -> Factors:
    """Valence and arousal about the theme's means, and content that is independent of both."""
    valence, arousal = np.clip(
        np.array([theme.valence, theme.arousal]) + INDIVIDUAL_DEVIATION * random.standard_normal(2), -1.0, 1.0
    )
    content = {name: float(random.standard_normal()) for name in CONTENT_FACTORS}
    return Factors(theme.name, float(valence), float(arousal), content)


def draw_cues(
    random: Generator, loadings: Mapping[str, Mapping[str, float]], factors: Factors
) -> dict[str, float]:
    """A standard score for each cue: its loadings on the factors, and noise up to a variance of one."""
    scores = factors.standardised()
    cues = {}
    for cue, loading in loadings.items():
        explained = sum(weight * scores[factor] for factor, weight in loading.items())
        noise = float(np.sqrt(1.0 - sum(weight**2 for weight in loading.values())))
        cues[cue] = explained + noise * float(random.standard_normal())
    return cues
