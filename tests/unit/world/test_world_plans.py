"""The plans: what is shared, what is not, and how the splits differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.errors import InvalidRequest
from kinoscore.world import CLIP_SECONDS, WORLD_VERSION, PairPlan, Split, draw_pair
from kinoscore.world.plans import CONTENT_FACTORS, MUSIC_LOADINGS, PICTURE_LOADINGS
from kinoscore.world.scenes import SCENES
from kinoscore.world.styles import DRUM_KITS, GRAINS, PALETTES, ROOMS, SHAPES, TEXTURES, TIMBRES
from kinoscore.world.themes import THEMES

FAMILIES = (PALETTES, SHAPES, TEXTURES, GRAINS, TIMBRES, DRUM_KITS, ROOMS)


@pytest.fixture(scope="module")
def pairs() -> list[PairPlan]:
    return [draw_pair(seed, "train") for seed in range(1500)]


def _correlation(first: list[float], second: list[float]) -> float:
    """Spearman's rho."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


@given(seed=st.integers(0, 2**40), split=st.sampled_from(["train", "validation", "test"]))
def test_a_seed_gives_the_same_pair_again(seed: int, split: Split) -> None:
    assert draw_pair(seed, split) == draw_pair(seed, split)


def test_the_same_seed_gives_other_pairs_in_other_splits() -> None:
    drawn = [draw_pair(7, split).factors for split in ("train", "validation", "test")]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


@pytest.mark.parametrize("families", FAMILIES)
def test_splits_share_no_family_of_styles(families: dict[str, tuple[str, ...]]) -> None:
    everything = [name for split in families.values() for name in split]
    assert set(families) == {"train", "validation", "test"}
    assert len(everything) == len(set(everything))


def test_a_pair_takes_its_styles_from_its_split() -> None:
    for seed in range(50):
        pair = draw_pair(seed, "test")
        assert pair.clip.style.palette in PALETTES["test"]
        assert pair.clip.style.texture in TEXTURES["test"]
        assert {pair.track.style.melody, pair.track.style.bass} <= set(TIMBRES["test"])


@given(seed=st.integers(0, 10_000))
def test_the_passage_is_a_section_that_lasts_as_long_as_the_clip(seed: int) -> None:
    pair = draw_pair(seed, "train")
    assert pair.passage in pair.track.sections
    assert pair.passage.duration_seconds == pair.clip.duration_seconds == CLIP_SECONDS
    assert pair.track.duration_seconds in (12.0, 18.0, 24.0)


@given(seed=st.integers(0, 10_000))
def test_the_sections_of_a_track_leave_no_gap(seed: int) -> None:
    end = 0.0
    for section in draw_pair(seed, "validation").track.sections:
        assert section.start_seconds == end
        end = section.start_seconds + section.duration_seconds


def test_valence_and_arousal_fill_the_square_and_say_nothing_of_each_other(pairs: list[PairPlan]) -> None:
    valence = [pair.factors.valence for pair in pairs]
    arousal = [pair.factors.arousal for pair in pairs]
    quadrants = np.histogram2d(valence, arousal, bins=2, range=[[-1, 1], [-1, 1]])[0] / len(pairs)
    assert quadrants.min() > 0.15
    assert abs(_correlation(valence, arousal)) < 0.1


@pytest.mark.parametrize(
    ("side", "loadings"), [("clip", PICTURE_LOADINGS), ("passage", MUSIC_LOADINGS)], ids=["pictures", "music"]
)
def test_every_cue_correlates_with_a_factor_as_its_loading_says(
    pairs: list[PairPlan], side: str, loadings: dict[str, dict[str, float]]
) -> None:
    factors = [pair.factors.standardised() for pair in pairs]
    for cue, loading in loadings.items():
        drawn = [getattr(pair, side).cues[cue] for pair in pairs]
        for factor in ("valence", "arousal", *CONTENT_FACTORS):
            rho = _correlation(drawn, [scores[factor] for scores in factors])
            assert rho == pytest.approx(loading.get(factor, 0.0), abs=0.1), (cue, factor)


def test_brightness_warmth_and_key_say_nothing_of_emotion(pairs: list[PairPlan]) -> None:
    nuisance = {
        "brightness": [pair.clip.style.brightness for pair in pairs],
        "warmth": [pair.clip.style.warmth for pair in pairs],
        "key": [float(pair.track.style.key) for pair in pairs],
        "timbre brightness": [pair.track.style.brightness for pair in pairs],
    }
    for values in nuisance.values():
        assert abs(_correlation(values, [pair.factors.valence for pair in pairs])) < 0.1
        assert abs(_correlation(values, [pair.factors.arousal for pair in pairs])) < 0.1


def test_the_two_sides_share_nothing_but_the_factors(pairs: list[PairPlan]) -> None:
    """Given a content factor, what is left on one side says nothing of what is left on the other."""
    for name in CONTENT_FACTORS:
        factor = np.array([pair.factors.content[name] for pair in pairs])
        left = [
            np.array([cues[name] for cues in side]) - loading * factor
            for side, loading in (
                ([pair.clip.cues for pair in pairs], PICTURE_LOADINGS[name][name]),
                ([pair.passage.cues for pair in pairs], MUSIC_LOADINGS[name][name]),
            )
        ]
        assert abs(np.corrcoef(*left)[0, 1]) < 0.1


def test_every_theme_has_a_scene_a_figure_and_an_ambience_of_its_own() -> None:
    assert set(SCENES) == {theme.name for theme in THEMES}
    assert len({(theme.figure.melody, theme.figure.bass, theme.figure.chords) for theme in THEMES}) == len(
        THEMES
    )
    assert len({theme.ambience for theme in THEMES}) == len(THEMES)
    for theme in THEMES:
        lengths = {len(theme.figure.melody), len(theme.figure.bass), len(theme.figure.chords)}
        assert lengths in ({16}, {12})


@pytest.mark.parametrize(("seed", "split"), [(-1, "train"), (0, "holdout")])
def test_a_seed_or_split_that_does_not_exist_is_refused(seed: int, split: str) -> None:
    with pytest.raises(InvalidRequest):
        draw_pair(seed, split)  # type: ignore[arg-type]


def test_version_one_is_frozen() -> None:
    """Models were trained on these very plans: whoever changes the world must raise WORLD_VERSION."""
    pair = draw_pair(2026, "train")
    assert WORLD_VERSION == "1"
    assert pair.factors.theme == "desert"
    assert pair.factors.valence == pytest.approx(0.347054454, abs=1e-6)
    assert pair.clip.cues["tilt"] == pytest.approx(-0.692570975, abs=1e-6)
    assert pair.passage.cues["flux"] == pytest.approx(0.194907339, abs=1e-6)
    assert pair.track.style.key == 1
