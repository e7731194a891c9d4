"""The whole of a clip or track is the weighted mean of its stretches, of unit length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.inference.embeddings import EncodedStretches
from kinoscore.inference.repository import ModalityCalibration


def stretches(count: int, seed: int = 0) -> EncodedStretches:
    random = np.random.default_rng(seed)

    def unit(dimension: int) -> np.ndarray:
        vectors = random.normal(size=(count, dimension))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    shares = random.dirichlet(np.ones(5), count).astype(np.float32)
    return EncodedStretches(unit(8), unit(4), random.uniform(-1, 1, (count, 2)).astype(np.float32), shares)


def test_a_single_stretch_is_its_own_whole_to_the_last_bit() -> None:
    one = stretches(1)
    assert one.whole(np.array([3.0]), np.array([0.0])) is one


@given(st.integers(2, 8), st.integers(0, 20))
def test_the_whole_is_the_direction_of_the_weighted_mean(count: int, seed: int) -> None:
    parts = stretches(count, seed)
    random = np.random.default_rng(seed)
    content_weights, emotion_weights = random.uniform(0.1, 1, (2, count))
    whole = parts.whole(content_weights, emotion_weights)
    for vectors, weights, direction in (
        (parts.content, content_weights, whole.content),
        (parts.emotion, emotion_weights, whole.emotion),
    ):
        mean = (weights[:, np.newaxis] * vectors).sum(axis=0)
        np.testing.assert_allclose(direction[0], mean / np.linalg.norm(mean), atol=1e-6)
    expected = (emotion_weights[:, np.newaxis] * parts.valence_arousal).sum(axis=0) / emotion_weights.sum()
    np.testing.assert_allclose(whole.valence_arousal[0], expected, atol=1e-6)
    np.testing.assert_allclose(whole.emotion_probabilities.sum(), 1, atol=1e-5)


def test_without_any_salience_the_content_weights_count() -> None:
    parts = stretches(3)
    weights = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        parts.whole(weights, np.zeros(3)).emotion, parts.whole(weights, weights).emotion
    )


def test_vectors_that_cancel_out_give_the_weightiest() -> None:
    one = stretches(1)
    both = EncodedStretches(
        content=np.concatenate([one.content, -one.content]),
        emotion=np.concatenate([one.emotion, one.emotion]),
        valence_arousal=np.zeros((2, 2), np.float32),
        emotion_probabilities=np.full((2, 5), 0.2, np.float32),
    )
    whole = both.whole(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_array_equal(whole.content, one.content)


def test_messages_carry_everything_with_the_error_of_the_modality() -> None:
    parts = stretches(2)
    calibration = ModalityCalibration(0, 0, 0.5, 0.5, 0.25, 0.125)
    messages = parts.messages([0, 12], [12, 3], ["a", "b", "c", "d", "e"], calibration)
    second = messages[1]
    assert (second.start_seconds, second.duration_seconds) == (12, 3)
    np.testing.assert_array_equal(np.array(second.content, np.float32), parts.content[1])
    np.testing.assert_array_equal(np.array(second.emotion_vector, np.float32), parts.emotion[1])
    assert list(second.fused) == []
    assert (second.emotion.valence_deviation, second.emotion.arousal_deviation) == (0.25, 0.125)
    assert [share.label for share in second.emotion.shares] == ["a", "b", "c", "d", "e"]
    assert sum(share.probability for share in second.emotion.shares) > 0.999
