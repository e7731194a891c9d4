import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.ranking.alignment import COVERAGE_PENALTY, align


def clip(windows: int, last_seconds: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Steps and durations of a clip of 12 s windows over passages that start every 6 s."""
    return 2 * np.arange(windows), np.array([12.0] * (windows - 1) + [last_seconds])


def test_a_clip_of_one_window_lies_on_its_best_passage() -> None:
    place = align(np.array([[0.1, 0.7, 0.3]]), *clip(1))
    assert place.passages.tolist() == [1]
    assert place.score == pytest.approx(0.7)


def test_a_longer_clip_lies_where_its_windows_in_order_agree_most() -> None:
    agreement = np.zeros((3, 9))
    # The windows meet passages 3, 5 and 7; each alone would be drawn elsewhere.
    agreement[[0, 1, 2], [3, 5, 7]] = 0.8
    agreement[0, 8] = agreement[1, 0] = agreement[2, 1] = 1.0
    place = align(agreement, *clip(3))
    assert place.passages.tolist() == [3, 5, 7]
    assert place.windows.tolist() == [0, 1, 2]
    assert place.score == pytest.approx(0.8)


def test_windows_count_by_their_duration() -> None:
    place = align(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), *clip(2, last_seconds=4.0))
    assert place.score == pytest.approx(0.75)
    assert place.weights.tolist() == pytest.approx([0.75, 0.25])


def test_a_track_that_is_too_short_covers_what_it_can_and_loses_for_the_rest() -> None:
    place = align(np.full((4, 3), 0.5), *clip(4))
    assert place.windows.tolist() == [0, 1]
    assert place.passages.tolist() == [0, 2]
    assert place.score == pytest.approx(0.5 - COVERAGE_PENALTY * 0.5)


def test_a_place_that_covers_less_of_the_clip_is_not_taken() -> None:
    agreement = np.zeros((2, 5))
    agreement[0, 4] = 1.0
    assert align(agreement, *clip(2)).passages.tolist() == [0, 2]


def test_of_equal_places_the_earliest_is_taken() -> None:
    assert align(np.full((1, 6), 0.3), *clip(1)).passages.tolist() == [0]


@given(st.integers(1, 6), st.integers(1, 14), st.integers(0, 10_000))
def test_no_other_place_that_covers_as_much_is_better(windows: int, passages: int, seed: int) -> None:
    agreement = np.random.default_rng(seed).uniform(-1, 1, (windows, passages))
    steps, durations = clip(windows)
    place = align(agreement, steps, durations)
    scores = {}
    for offset in range(passages):
        pairs = [(i, offset + 2 * i) for i in range(windows) if offset + 2 * i < passages]
        scores[offset] = (len(pairs), np.mean([agreement[pair] for pair in pairs]))
    most = max(count for count, _ in scores.values())
    best = max(mean for count, mean in scores.values() if count == most)
    assert place.score == pytest.approx(best - COVERAGE_PENALTY * (1 - most / windows))
    assert place.weights.sum() == pytest.approx(1)
