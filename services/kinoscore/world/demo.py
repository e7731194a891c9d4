"""What `kinoscore demo` plays with: a small library of tracks and two clips of opposite mood."""

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from kinoscore.world.plans import (
    MUSIC_LOADINGS,
    PICTURE_LOADINGS,
    ClipPlan,
    Factors,
    Section,
    TrackPlan,
    draw_cues,
    draw_factors,
)
from kinoscore.world.styles import draw_music_style, draw_picture_style
from kinoscore.world.themes import THEMES, Theme

__all__ = ["DemoClip", "DemoTrack", "demo_clips", "demo_library"]

LICENCE = "CC0-1.0"

_JOYFUL_CLIP, _SAD_CLIP = "carnival", "vigil"
_TRACKS = (
    *("carnival", "dance", "fireworks"),
    *("sunrise", "lagoon", "constellation"),
    *("storm", "chase", "swarm"),
    *("vigil", "rain", "ruins"),
)
_MOODS = {(True, True): "joyful", (True, False): "calm", (False, True): "tense", (False, False): "sad"}
_ARTISTS = {
    "joyful": ("Brass & Confetti", "The Open Windows"),
    "calm": ("Still Water Trio", "Low Sun"),
    "tense": ("Iron Corridor", "The Night Shift"),
    "sad": ("Grey Harbour", "Last Candle"),
}
_THEMES = {theme.name: theme for theme in THEMES}


@dataclass(frozen=True, slots=True)
class DemoTrack:
    """A track of the library: `plan` is what to render, `file_name` how to call it (.ogg)."""

    file_name: str
    title: str
    artist: str
    licence: str
    tags: tuple[str, ...]
    plan: TrackPlan

    @property
    def metadata(self) -> dict[str, str]:
        """The tags to write into the file."""
        genres = ";".join(self.tags)
        return {"title": self.title, "artist": self.artist, "license": self.licence, "genre": genres}


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A clip: `plan` is what to render, `file_name` how to call it (.mp4)."""

    file_name: str
    title: str
    plan: ClipPlan


def demo_library(seed: int = 0) -> tuple[DemoTrack, ...]:
    """Twelve tracks, three of each mood, 36 to 42 s long, each of three sections that differ in emotion.

    The middle section of the tracks on the clips' themes fits the clip of the same seed.
    """
    return tuple(
        _track(np.random.default_rng([seed, 1, number]), seed, number) for number in range(len(_TRACKS))
    )


def demo_clips(seed: int = 0) -> tuple[DemoClip, DemoClip]:
    """A joyful and a sad clip of 12 s, at 12 frames a second."""
    return _clip(_JOYFUL_CLIP, seed), _clip(_SAD_CLIP, seed)


def _clip(name: str, seed: int) -> DemoClip:
    theme = _THEMES[name]
    random = np.random.default_rng([seed, 2, THEMES.index(theme)])
    style = replace(draw_picture_style(random, "test"), width=320, height=200, symmetric=False)
    plan = ClipPlan(
        seed=int(random.integers(2**31)),
        theme=name,
        cues=draw_cues(random, PICTURE_LOADINGS, _clip_factors(theme, seed)),
        style=style,
        frames_per_second=12.0,
    )
    return DemoClip(f"{_slug(f'{_mood(theme)} {name}')}.mp4", f"A {_mood(theme)} {name}", plan)


def _clip_factors(theme: Theme, seed: int) -> Factors:
    """Emotion just as the theme has it, so that the two clips are surely opposite."""
    drawn = draw_factors(np.random.default_rng([seed, 3, THEMES.index(theme)]), theme)
    return replace(drawn, valence=theme.valence, arousal=theme.arousal)


def _track(random: Generator, seed: int, number: int) -> DemoTrack:
    theme = _THEMES[_TRACKS[number]]
    mood = _mood(theme)
    middle = _clip_factors(theme, seed) if theme.name in (_JOYFUL_CLIP, _SAD_CLIP) else None
    sections: list[Section] = []
    start = 0.0
    for place, seconds in enumerate((12.0, 12.0, float(random.choice([12.0, 18.0])))):
        factors = middle if middle and place == 1 else draw_factors(random, theme)
        sections.append(Section(start, seconds, draw_cues(random, MUSIC_LOADINGS, factors)))
        start += seconds
    style = replace(draw_music_style(random, "test"), gain=0.0)
    title = f"{theme.name.capitalize()} ({mood})"
    return DemoTrack(
        file_name=f"{number + 1:02d}-{_slug(f'{mood} {theme.name}')}.ogg",
        title=title,
        artist=_ARTISTS[mood][number % 2],
        licence=LICENCE,
        tags=(mood, theme.name, style.melody),
        plan=TrackPlan(int(random.integers(2**31)), theme.name, tuple(sections), style),
    )


def _mood(theme: Theme) -> str:
    return _MOODS[theme.valence >= 0, theme.arousal >= 0]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
