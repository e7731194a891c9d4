"""Rendered clips and tracks: what they are, and that what can be measured on them follows the cues."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kinoscore.world import SAMPLE_RATE, ClipPlan, Section, TrackPlan, draw_pair, render_clip, render_track
from kinoscore.world.plans import MUSIC_LOADINGS, PICTURE_LOADINGS
from kinoscore.world.styles import GRAINS, PALETTES, ROOMS, SHAPES, TEXTURES, TIMBRES
from kinoscore.world.themes import THEME_NAMES

STYLE_SEEDS = range(300, 305)


def _clip(seed: int = 1, **cues: float) -> ClipPlan:
    """A clip of 2 s with average cues but for the given ones; no glints, no grain: they are always sharp."""
    plan = draw_pair(seed, "train").clip
    return replace(
        plan,
        cues={**dict.fromkeys(PICTURE_LOADINGS, 0.0), "sparkle": -3.0, **cues},
        style=replace(plan.style, grain="none"),
        duration_seconds=2.0,
    )


def _track(seed: int = 1, **cues: float) -> TrackPlan:
    """A track of one section of 6 s with average cues but for the given ones."""
    plan = draw_pair(seed, "train").track
    section = Section(0.0, 6.0, {**dict.fromkeys(MUSIC_LOADINGS, 0.0), **cues})
    return replace(plan, sections=(section,), style=replace(plan.style, gain=0.0))


def _frames(plan: ClipPlan) -> NDArray[np.uint8]:
    return np.stack(list(render_clip(plan)))


def _decibels(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_a_plan_renders_the_same_frames_and_samples_again() -> None:
    pair = draw_pair(5, "validation")
    clip = replace(pair.clip, duration_seconds=2.0)
    assert np.array_equal(_frames(clip), _frames(clip))
    assert np.array_equal(render_track(pair.track), render_track(pair.track))


def test_a_clip_has_the_frames_and_the_size_that_its_plan_names() -> None:
    plan = draw_pair(5, "train").clip
    frames = _frames(plan)
    expected = round(plan.duration_seconds * plan.frames_per_second)
    assert frames.shape == (expected, plan.style.height, plan.style.width, 3)
    assert frames.dtype == np.uint8


@pytest.mark.parametrize("seed", range(6))
def test_a_track_has_the_length_of_its_plan_and_stays_within_full_scale(seed: int) -> None:
    plan = draw_pair(seed, "train").track
    samples = render_track(plan)
    assert samples.shape == (round(plan.duration_seconds * SAMPLE_RATE),)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert 0.01 < np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_every_theme_renders_a_moving_picture_and_a_sound(theme: str) -> None:
    frames = _frames(replace(_clip(), theme=theme, duration_seconds=1.0)).astype(float)
    assert frames.std(axis=(1, 2, 3)).min() > 4.0
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.05
    assert _decibels(render_track(replace(_track(), theme=theme))) > -40.0


@pytest.mark.parametrize(
    ("field", "families"),
    [("palette", PALETTES), ("shape", SHAPES), ("texture", TEXTURES), ("grain", GRAINS)],
)
def test_every_family_of_pictures_can_be_drawn(field: str, families: dict[str, tuple[str, ...]]) -> None:
    plan = replace(_clip(), duration_seconds=0.5)
    names = [name for split in families.values() for name in split]
    drawn = [_frames(replace(plan, style=replace(plan.style, **{field: name}))) for name in names]
    for number, frames in enumerate(drawn):
        assert all(not np.array_equal(frames, other) for other in drawn[:number]), names[number]


@pytest.mark.parametrize(("field", "families"), [("melody", TIMBRES), ("bass", TIMBRES), ("room", ROOMS)])
def test_every_family_of_music_can_be_heard(field: str, families: dict[str, tuple[str, ...]]) -> None:
    plan = _track()
    plan = replace(plan, style=replace(plan.style, reverberation=0.4))
    names = [name for split in families.values() for name in split]
    heard = [render_track(replace(plan, style=replace(plan.style, **{field: name}))) for name in names]
    for number, samples in enumerate(heard):
        assert all(not np.array_equal(samples, other) for other in heard[:number]), names[number]


def _saturation(frames: NDArray[np.uint8]) -> float:
    return float((frames.max(axis=-1).astype(float) - frames.min(axis=-1)).mean())


def _darkness(frames: NDArray[np.uint8]) -> float:
    return float((frames.mean(axis=-1) < 50).mean())


def _motion(frames: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(frames.mean(axis=-1), axis=0)).mean())


def _sharpness(frames: NDArray[np.uint8]) -> float:
    return float(np.square(np.diff(frames.mean(axis=-1), axis=2)).mean() / frames.mean(axis=-1).var())


def _swelling(frames: NDArray[np.uint8]) -> float:
    luminance = frames.mean(axis=(1, 2, 3))
    return float(luminance[-3:].mean() - luminance[:3].mean())


@pytest.mark.parametrize(
    ("cue", "measure", "sign"),
    [
        ("saturation", _saturation, 1),
        ("dark_share", _darkness, 1),
        ("speed", _motion, 1),
        ("cuts", _motion, 1),
        ("smoothness", _sharpness, -1),
        ("fineness", _sharpness, 1),
        ("trend", _swelling, 1),
    ],
)
def test_what_is_seen_follows_the_picture_cue(
    cue: str, measure: Callable[[NDArray[Any]], float], sign: int
) -> None:
    low = np.array([measure(_frames(_clip(seed, **{cue: -1.5}))) for seed in STYLE_SEEDS])
    high = np.array([measure(_frames(_clip(seed, **{cue: 1.5}))) for seed in STYLE_SEEDS])
    assert (np.sign(high - low) == sign).mean() >= 0.75
    assert np.sign(np.median(high - low)) == sign


def _loudness(samples: NDArray[np.float32]) -> float:
    return _decibels(samples)


def _crescendo(samples: NDArray[np.float32]) -> float:
    quarters = np.array_split(samples, 4)
    return _decibels(quarters[-1]) - _decibels(quarters[0])


def _spectral_flux(samples: NDArray[np.float32]) -> float:
    """Of level-normalised magnitude spectra."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024).astype(
        np.float32
    )
    spectra = np.abs(np.fft.rfft(windows))
    spectra /= spectra.sum(axis=1, keepdims=True) + 1e-9
    return float(np.maximum(np.diff(spectra, axis=0), 0).sum(axis=1).mean())


def _majorness(samples: NDArray[np.float32]) -> float:
    """Best correlation with the major less that with the minor profile (Krumhansl and Kessler, 1982)."""
    major = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
    minor = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
    windows = np.lib.stride_tricks.sliding_window_view(samples, 8192)[::4096] * np.hanning(8192).astype(
        np.float32
    )
    magnitudes = np.sqrt(np.abs(np.fft.rfft(windows))).mean(axis=0)
    hertz = np.fft.rfftfreq(8192, 1 / SAMPLE_RATE)
    heard = (hertz > 100) & (hertz < 2000)
    classes = np.round(12 * np.log2(hertz[heard] / 440)).astype(int) % 12
    chroma = np.bincount(classes, magnitudes[heard], 12) / np.bincount(classes, minlength=12)
    fits = [
        [np.corrcoef(np.roll(profile, key), chroma)[0, 1] for key in range(12)] for profile in (major, minor)
    ]
    return float(max(fits[0]) - max(fits[1]))


@pytest.mark.parametrize(
    ("cue", "measure", "sign"),
    [
        ("loudness", _loudness, 1),
        ("trend", _crescendo, 1),
        ("flux", _spectral_flux, 1),
        ("density", _spectral_flux, 1),
        ("smoothness", _spectral_flux, -1),
        ("mode", _majorness, 1),
    ],
)
def test_what_is_heard_follows_the_music_cue(
    cue: str, measure: Callable[[NDArray[Any]], float], sign: int
) -> None:
    low = np.array([measure(render_track(_track(seed, **{cue: -1.5}))) for seed in STYLE_SEEDS])
    high = np.array([measure(render_track(_track(seed, **{cue: 1.5}))) for seed in STYLE_SEEDS])
    assert (np.sign(high - low) == sign).mean() >= 0.75
    assert np.sign(np.median(high - low)) == sign


def test_gain_changes_the_level_and_nothing_else_in_a_soft_track() -> None:
    plan = _track(loudness=-2.0)
    louder = replace(plan, style=replace(plan.style, gain=6.0))
    assert _decibels(render_track(louder)) - _decibels(render_track(plan)) == pytest.approx(6.0, abs=0.5)
