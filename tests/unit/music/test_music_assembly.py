"""Windows and passages cover a track in the same way however its samples came."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.inference.repository import MusicSpec
from kinoscore.music.assembly import LEAST_REST, WindowCutter, arrange_passages

SPEC = MusicSpec(
    sample_rate=10,
    window_samples=30,
    passage_windows=4,
    passage_hop_windows=2,
    feature_dimension=2,
    onset_rate=42.0,
)


def cut_all(samples: np.ndarray, portions: list[int]) -> tuple[np.ndarray, list[float]]:
    cutter = WindowCutter(SPEC.window_samples)
    pieces = [cutter.cut(piece) for piece in np.split(samples, portions)]
    shares = [1.0] * sum(map(len, pieces))
    if rest := cutter.finish():
        pieces.append(rest[0])
        shares.append(rest[1])
    return np.concatenate(pieces), shares


@given(st.integers(0, 200), st.data())
def test_the_cut_does_not_depend_on_the_portions(count: int, data: st.DataObject) -> None:
    samples = np.arange(1, count + 1, dtype=np.float32)
    portions = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))
    windows, shares = cut_all(samples, portions)
    whole, whole_shares = cut_all(samples, [])
    np.testing.assert_array_equal(windows, whole)
    assert shares == whole_shares


@given(st.integers(1, 200))
def test_windows_hold_the_sound_in_order_but_a_tiny_rest(count: int) -> None:
    samples = np.arange(1, count + 1, dtype=np.float32)
    windows, shares = cut_all(samples, [])
    kept = windows.ravel()[windows.ravel() > 0]
    np.testing.assert_array_equal(kept, samples[: len(kept)])
    dropped = count - len(kept)
    assert dropped == 0 or (len(windows) >= 1 and dropped < LEAST_REST * SPEC.window_samples)
    assert round(sum(shares) * SPEC.window_samples) == len(kept)


def test_a_track_shorter_than_a_window_is_one_padded_window() -> None:
    windows, shares = cut_all(np.ones(2, np.float32), [])
    assert windows.shape == (1, 30)
    assert windows.sum() == 2
    assert shares == [2 / 30]


def test_no_samples_are_no_window() -> None:
    assert cut_all(np.empty(0, np.float32), [])[0].shape == (0, 30)


@given(st.integers(1, 60))
def test_passages_reach_from_the_first_window_to_the_last(count: int) -> None:
    features = np.arange(1, 2 * count + 1, dtype=np.float32).reshape(count, 2)
    passages = arrange_passages(features, np.ones(count, np.float32), SPEC)
    np.testing.assert_array_equal(passages.first_windows, np.arange(len(passages.durations)) * 2)
    seen = set()
    for first, row, mask, seconds in zip(
        passages.first_windows, passages.features, passages.window_mask, passages.durations, strict=True
    ):
        held = int(mask.sum())
        np.testing.assert_array_equal(row[:held], features[first : first + held])
        assert not row[held:].any()
        assert seconds == held * 3.0
        seen.update(range(first, first + held))
    assert seen == set(range(count))
    # No passage lies wholly inside the one before it.
    assert len(passages.durations) == 1 or passages.first_windows[-1] + 4 > passages.first_windows[-2] + 4
    assert len(passages.durations) == 1 or passages.first_windows[-2] + 4 < count


def test_a_partly_filled_window_shortens_its_passage() -> None:
    passages = arrange_passages(np.ones((2, 2), np.float32), np.array([1.0, 0.5], np.float32), SPEC)
    assert passages.durations.tolist() == [4.5]
