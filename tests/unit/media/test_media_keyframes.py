import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.errors import InvalidRequest
from kinoscore.media.keyframes import CANDIDATES_PER_KEY_FRAME, KeyFrameSelector

# Few different saliences, so that equals occur.
FRAMES = st.lists(
    st.tuples(
        st.integers(0, 400).map(lambda number: number / 4), st.integers(0, 9).map(lambda level: level / 8)
    ),
    max_size=400,
    unique_by=lambda frame: frame[0],
)
COUNTS = st.integers(1, 8)
SEPARATIONS = st.sampled_from([0.0, 0.5, 1.0, 2.5])


def select(frames: list[tuple[float, float]], count: int, separation: float) -> list[tuple[float, float]]:
    selector = KeyFrameSelector(count, separation)
    for timestamp, salience in frames:
        selector.offer(timestamp, salience)
    return selector.selected()


def greedy(frames: list[tuple[float, float]], count: int, separation: float) -> list[tuple[float, float]]:
    """The offline choice, by its definition."""
    chosen: list[tuple[float, float]] = []
    left = sorted(frames, key=lambda frame: (-frame[1], frame[0]))
    while left and len(chosen) < count:
        best = left[0]
        chosen.append(best)
        left = [frame for frame in left[1:] if abs(frame[0] - best[0]) >= separation]
    return sorted(chosen)


@given(FRAMES, COUNTS, SEPARATIONS)
def test_the_choice_equals_the_greedy_one_over_all_frames(
    frames: list[tuple[float, float]], count: int, separation: float
) -> None:
    # 4 frames a second, 2.5 s: never more than 19 frames nearer than the separation.
    assert select(frames, count, separation) == greedy(frames, count, separation)


@given(FRAMES, COUNTS, SEPARATIONS, st.randoms())
def test_the_order_of_arrival_makes_no_difference(
    frames: list[tuple[float, float]], count: int, separation: float, random: object
) -> None:
    shuffled = list(frames)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert select(shuffled, count, separation) == select(frames, count, separation)


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1)), max_size=600),
    st.integers(1, 3),
    st.floats(0.1, 10),
)
def test_key_frames_are_in_order_apart_and_no_more_than_asked_for(
    frames: list[tuple[float, float]], count: int, separation: float
) -> None:
    chosen = select(frames, count, separation)
    assert len(chosen) <= count
    assert set(chosen) <= set(frames)
    assert all(later[0] - earlier[0] >= separation for earlier, later in itertools.pairwise(chosen))
    if frames:
        assert max(salience for _, salience in frames) in {salience for _, salience in chosen}


def test_what_is_chosen_from_a_dense_stream_begins_the_greedy_choice() -> None:
    # 100 frames a second, salience rising for 60 s: the candidates cover the end only.
    frames = [(number / 100, number / 6000) for number in range(6000)]
    chosen = select(frames, 6, 1.0)
    assert 1 <= len(chosen) < 6
    assert set(chosen) <= set(greedy(frames, 6, 1.0))


def test_memory_does_not_grow_with_the_stream() -> None:
    selector = KeyFrameSelector(6, 1.0)
    for number in range(20_000):
        selector.offer(number / 2, (number * 7919 % 1009) / 1009)
    assert len(selector._candidates) == 6 * CANDIDATES_PER_KEY_FRAME


def test_nothing_offered_nothing_selected() -> None:
    assert KeyFrameSelector(6, 1.0).selected() == []


@pytest.mark.parametrize(("timestamp", "salience"), [(math.nan, 0.5), (1.0, math.nan), (math.inf, 0.5)])
def test_numbers_without_an_order_are_refused(timestamp: float, salience: float) -> None:
    with pytest.raises(InvalidRequest):
        KeyFrameSelector(6, 1.0).offer(timestamp, salience)
