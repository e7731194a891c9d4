import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinoscore.media.mixing import Sound, Turn, mixed

RATE = 8000


def tone(hertz: float, opened: list[float]) -> Sound:
    opened.append(hertz)
    position = 0

    def take(count: int) -> NDArray[np.float32]:
        nonlocal position
        times = np.arange(position, position + count) / RATE
        position += count
        return np.tile(np.sin(2 * np.pi * hertz * times), (2, 1)).astype(np.float32)

    return take


def music(seconds: float, *turns: tuple[float, float]) -> tuple[NDArray[np.float32], list[float]]:
    """Tones that take turns, each (start, hertz), mixed; and those that were opened."""
    opened: list[float] = []
    sounds = [Turn(start, lambda hertz=hertz: tone(hertz, opened)) for start, hertz in turns]  # type: ignore[misc]
    return np.concatenate([np.zeros((2, 0), np.float32), *mixed(sounds, seconds, RATE)], axis=1), opened


def level(samples: NDArray[np.float32], hertz: float, first: float, last: float) -> float:
    """The amplitude of a tone between two moments."""
    piece = samples[0, round(first * RATE) : round(last * RATE)]
    times = np.arange(len(piece)) / RATE
    return float(2 * np.abs(np.mean(piece * np.exp(-2j * np.pi * hertz * times))))


def test_each_piece_is_heard_in_its_turn_and_alone() -> None:
    samples, opened = music(9.0, (0.0, 440.0), (4.0, 800.0))
    assert opened == [440.0, 800.0]
    for first, last, heard, other in ((1.0, 4.0, 440.0, 800.0), (5.0, 8.0, 800.0, 440.0)):
        assert level(samples, heard, first, last) == pytest.approx(1.0, abs=0.01)
        assert level(samples, other, first, last) == pytest.approx(0.0, abs=0.01)


def test_the_change_begins_at_its_moment_takes_a_second_and_keeps_the_power() -> None:
    samples, _ = music(9.0, (0.0, 440.0), (4.0, 800.0))
    quarters = [(4 + step / 10, 4.1 + step / 10) for step in range(10)]
    before = [level(samples, 440.0, *quarter) for quarter in quarters]
    after = [level(samples, 800.0, *quarter) for quarter in quarters]
    assert before == sorted(before, reverse=True)
    assert after == sorted(after)
    for old, new in zip(before, after, strict=True):
        assert old**2 + new**2 == pytest.approx(1.0, abs=0.03)


def test_it_fades_in_at_the_beginning_and_out_at_the_end() -> None:
    samples, _ = music(5.0, (0.0, 440.0))
    assert level(samples, 440.0, 0.0, 0.05) < 0.1
    assert level(samples, 440.0, 4.95, 5.0) < 0.1
    assert level(samples, 440.0, 1.0, 4.0) == pytest.approx(1.0, abs=0.01)


def test_a_turn_shorter_than_a_fade_gives_way_in_time() -> None:
    samples, _ = music(8.0, (0.0, 440.0), (3.0, 800.0), (3.25, 1200.0))
    assert level(samples, 440.0, 3.25, 4.25) == pytest.approx(0.0, abs=0.02)
    assert level(samples, 800.0, 4.25, 6.0) == pytest.approx(0.0, abs=0.01)
    assert level(samples, 1200.0, 4.25, 6.0) == pytest.approx(1.0, abs=0.01)


def test_before_the_first_turn_and_without_any_there_is_silence() -> None:
    samples, _ = music(5.0, (2.0, 440.0))
    assert not samples[:, : 2 * RATE].any()
    assert samples[:, 2 * RATE :].any()
    assert not music(3.0)[0].any()


@given(
    seconds=st.floats(0.0, 6.0),
    starts=st.lists(st.floats(0.0, 8.0), max_size=5).map(sorted),
)
def test_it_is_as_long_as_asked_never_too_loud_and_opens_only_what_is_heard(
    seconds: float, starts: list[float]
) -> None:
    samples, opened = music(seconds, *((start, 100.0 + number) for number, start in enumerate(starts)))
    assert samples.shape == (2, round(seconds * RATE))
    assert samples.dtype == np.float32
    assert np.abs(samples).max(initial=0.0) <= np.sqrt(2) + 1e-5
    late = [100.0 + number for number, start in enumerate(starts) if start >= seconds + 1]
    assert not set(late) & set(opened)
