import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.ranking.diversity import limit_per_artist
from kinoscore.ranking.reasons import Feeling, explain
from kinoscore.ranking.scoring import (
    POLARITY_PENALTY,
    PRIOR_TRACKS,
    Blocks,
    Weights,
    cosines,
    polarity,
    polarity_penalty,
    rounded,
    similarity,
    to_query,
    valence_centre,
)
from kinoscore.v1 import common_pb2

BLOCKS = Blocks(fused=4, content=3, emotion=2)


def units(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, BLOCKS.total)).astype(np.float32)
    return np.concatenate(
        [block / np.linalg.norm(block, axis=1, keepdims=True) for block in BLOCKS.split(drawn)], axis=1
    )


weights = st.builds(
    Weights, *[st.floats(0, 10, allow_nan=False).map(lambda value: round(value, 3)) for _ in range(3)]
).filter(lambda one: one.total > 0)


@given(weights, st.integers(0, 1000))
def test_the_inner_product_with_a_scaled_query_is_the_weighted_mean_of_the_cosines(
    weight: Weights, seed: int
) -> None:
    windows, passages = units(2, seed), units(5, seed + 1)
    recalled = to_query(windows, BLOCKS, weight) @ passages.T
    ranked = similarity(cosines(windows, passages, BLOCKS), weight)
    np.testing.assert_allclose(recalled, ranked, atol=1e-5)
    assert np.abs(ranked).max() <= 1 + 1e-6


def test_cosines_are_told_apart_by_block() -> None:
    passage = units(1, 3)
    window = passage.copy()
    window[:, 4:7] *= -1
    np.testing.assert_allclose(cosines(window, passage, BLOCKS)[:, 0, 0], [1, -1, 1], atol=1e-6)


def test_polarity_is_neutral_within_the_band_around_the_centre() -> None:
    valences = np.array([0.05, 0.29, 0.31, 0.11, 0.09])
    np.testing.assert_array_equal(polarity(valences, centre=0.2, neutral_band=0.1), [-1, 0, 1, 0, -1])


def test_only_opposite_polarities_are_penalised_by_the_share_of_the_emotion_weight() -> None:
    signs = np.array([-1.0, 0.0, 1.0])
    penalty = polarity_penalty(signs[:, None], signs[None, :], Weights(1, 0.5, 0.5))
    expected = POLARITY_PENALTY * 0.25
    np.testing.assert_allclose(penalty, [[0, 0, expected], [0, 0, 0], [expected, 0, 0]])
    assert polarity_penalty(signs[:1], signs[2:], Weights(1, 1, 0))[0] == 0


def test_a_small_catalogue_leans_on_the_training_world_and_a_large_one_on_itself() -> None:
    assert valence_centre([], 0.3) == pytest.approx(0.3)
    assert valence_centre([0.9] * PRIOR_TRACKS, 0.1) == pytest.approx(0.5)
    assert valence_centre([0.9] * 10_000, 0.1) == pytest.approx(0.9, abs=1e-3)


def test_scores_that_batching_could_tell_apart_are_shown_alike() -> None:
    assert rounded(0.123449) == rounded(0.1234)
    assert rounded(1.00000012) == 1.0
    assert str(rounded(-0.00001)) == "0.0"


def test_at_most_so_many_tracks_of_one_artist_in_their_order() -> None:
    ranked = [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("", 5), ("", 6), ("b", 7)]

    def artist(one: tuple[str, int]) -> str:
        return one[0]

    assert [number for _, number in limit_per_artist(ranked, artist, 1, 10)] == [1, 3, 5, 6]
    assert [number for _, number in limit_per_artist(ranked, artist, 2, 3)] == [1, 2, 3]
    assert [number for _, number in limit_per_artist(ranked, artist, 0, 4)] == [1, 2, 3, 4]


CALM_AND_PLEASANT = Feeling(0.3, -0.3, 0.2, 0.2)
CALM = Feeling(0.1, -0.3, 0.2, 0.2)
EXCITED_AND_DARK = Feeling(-0.3, 0.3, 0.2, 0.2)
NEUTRAL = Feeling(0.0, 0.0, 0.2, 0.2)


def reasons(
    clip: Feeling, passage: Feeling, content: float = 0, emotion: float = 0, curve: tuple[float, ...] = ()
) -> list[str]:
    return explain(clip, passage, content, emotion, curve, curve)


def test_what_the_moods_share_is_said_first() -> None:
    assert reasons(CALM_AND_PLEASANT, CALM_AND_PLEASANT) == ["both calm and pleasant"]
    assert reasons(CALM_AND_PLEASANT, CALM, emotion=0.8) == ["both calm", "close in emotion"]


def test_a_contrast_is_said_openly_and_never_called_close_in_emotion() -> None:
    assert reasons(EXCITED_AND_DARK, CALM_AND_PLEASANT, content=0.6, emotion=0.9) == [
        "close in content",
        "in contrast: the clip is excited and dark, the music calm and pleasant",
    ]


def test_curves_are_compared_from_three_windows_on() -> None:
    assert "the tension rises and falls together" in reasons(NEUTRAL, NEUTRAL, curve=(0.1, 0.5, 0.2))
    assert reasons(NEUTRAL, NEUTRAL, curve=(0.1, 0.5)) == ["the nearest there is; nothing stands out"]
    assert reasons(NEUTRAL, NEUTRAL, curve=(0.1, 0.1, 0.1)) == ["the nearest there is; nothing stands out"]


def test_a_mood_is_read_around_the_centre() -> None:
    felt = common_pb2.Emotion(valence=0.5, arousal=-0.2)
    assert Feeling.of(felt, centre=(0.2, 0.0), neutral_band=0.1).mood.words() == "calm and pleasant"
    felt = common_pb2.Emotion(valence=0.25, arousal=0.05)
    assert Feeling.of(felt, centre=(0.2, 0.0), neutral_band=0.1).mood.words() == "neutral"


def test_a_mood_that_the_model_is_not_sure_of_is_not_named() -> None:
    felt = common_pb2.Emotion(valence=-0.2, arousal=0.6, valence_deviation=0.5, arousal_deviation=0.4)
    assert Feeling.of(felt, centre=(0.0, 0.0), neutral_band=0.1).mood.words() == "excited"


@pytest.mark.parametrize(("arousal", "is_close"), [(-0.25, True), (-0.35, False)])
def test_what_arousal_tells_apart_is_not_called_close_in_emotion(arousal: float, is_close: bool) -> None:
    # Each may be off by 0.2, both together by 0.28.
    said = reasons(NEUTRAL, Feeling(0.0, arousal, 0.2, 0.2), emotion=0.9)
    assert ("close in emotion" in said) == is_close
