import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.recommend.stability import Changes, Spread, StableList, Waits

EVEN = Spread(1.0, 1.0, 1.0)
"""Margins are differences of scores."""
IDS = [f"t{number}" for number in range(8)]
SCORES = st.dictionaries(st.sampled_from(IDS), st.floats(-1, 1), min_size=1)


def look(stable: StableList, seconds: float, **scores: float) -> tuple[str, ...]:
    stable.look(seconds, scores, spread=EVEN, is_complete=False)
    return stable.tracks


def test_the_first_look_takes_the_best_in_order() -> None:
    assert look(StableList(2, 0.1, 2.0), 0.0, a=0.1, b=0.3, c=0.2) == ("b", "c")


def test_the_list_of_a_glance_is_renewed_once_when_the_stream_has_been_seen_for_the_settling_time() -> None:
    stable = StableList(2, 0.5, 2.0, settling_seconds=4.0)
    assert look(stable, 1.0, a=0.3, b=0.2, c=0.1) == ("a", "b")
    assert look(stable, 3.0, a=0.1, b=0.2, c=0.3) == ("a", "b")
    assert look(stable, 4.0, a=0.1, b=0.2, c=0.3) == ("c", "b")
    assert look(stable, 5.0, a=0.3, b=0.2, c=0.1) == ("c", "b")


def test_the_order_of_a_list_of_all_tracks_settles_too() -> None:
    stable = StableList(3, 0.5, 2.0, settling_seconds=4.0)
    assert look(stable, 1.0, a=0.3, b=0.2, c=0.1) == ("a", "b", "c")
    assert look(stable, 3.0, a=0.1, b=0.2, c=0.3) == ("a", "b", "c")
    assert look(stable, 4.0, a=0.1, b=0.2, c=0.3) == ("c", "b", "a")


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 19))
def test_a_list_that_is_taken_up_again_goes_on_as_if_nothing_had_been(seed: int, size: int, cut: int) -> None:
    random = np.random.default_rng(seed)
    stable, scores = StableList(size, 0.5, 2.0, settling_seconds=4.0), random.uniform(-1, 1, len(IDS))
    stable.pin("t3")
    again = None
    for second in range(20):
        if random.random() < 0.2:
            scores = random.uniform(-1, 1, len(IDS))
        if second == cut:
            again = StableList(size, 0.5, 2.0, settling_seconds=4.0)
            again.pin(stable.pinned)
            again.restore(stable.tracks, stable.waits)
        now = dict(zip(IDS, scores.tolist(), strict=True))
        for one in filter(None, (stable, again)):
            one.look(float(second), now, spread=Spread.of(now.values(), size, None), is_complete=True)
        if again is not None:
            assert (again.tracks, again.departure) == (stable.tracks, stable.departure)


def test_a_list_that_is_gone_on_with_has_settled() -> None:
    stable = StableList(1, 0.5, 2.0, settling_seconds=4.0)
    stable.restore(["a"], Waits())
    assert look(stable, 60.0, a=0.1, b=0.2) == ("a",)


def test_a_better_track_enters_only_after_the_hold_time() -> None:
    stable = StableList(1, 0.1, 2.0)
    look(stable, 0.0, a=0.5, b=0.1)
    assert look(stable, 1.0, a=0.5, b=0.7) == ("a",)
    assert look(stable, 2.9, a=0.5, b=0.7) == ("a",)
    assert look(stable, 3.0, a=0.5, b=0.7) == ("b",)


def test_one_look_below_the_margin_begins_the_wait_anew() -> None:
    stable = StableList(1, 0.1, 2.0)
    look(stable, 0.0, a=0.5, b=0.1)
    look(stable, 1.0, a=0.5, b=0.7)
    look(stable, 2.0, a=0.5, b=0.55)
    assert look(stable, 3.5, a=0.5, b=0.7) == ("a",)
    assert look(stable, 5.5, a=0.5, b=0.7) == ("b",)


@given(st.lists(st.lists(st.floats(-0.049, 0.049), min_size=8, max_size=8), min_size=1, max_size=20))
def test_noise_within_the_margin_never_changes_the_list(noise: list[list[float]]) -> None:
    stable = StableList(3, 0.1, 0.0)
    base = {track: -0.001 * number for number, track in enumerate(IDS)}
    stable.look(0.0, base, spread=EVEN, is_complete=False)
    settled = stable.tracks
    for second, shifts in enumerate(noise, 1):
        scores = {track: 0.9 * shift for track, shift in zip(IDS, shifts, strict=True)}
        stable.look(float(second), scores, spread=EVEN, is_complete=False)
        assert stable.tracks == settled


@given(st.lists(SCORES, min_size=2, max_size=30), st.integers(1, 5), st.sampled_from([0.0, 1.0, 3.0]))
def test_a_full_list_changes_when_the_best_or_one_far_ahead_were_better_for_the_hold_time(
    looks: list[dict[str, float]], size: int, hold: float
) -> None:
    stable = StableList(size, 0.1, hold)
    history: list[tuple[float, float, float]] = []
    for second, scores in enumerate(looks):
        before = stable.tracks
        known = {**dict.fromkeys(before, min(scores.values())), **scores}
        outside = known.keys() - set(before)
        inside = [known[track] for track in before]
        best = sorted(known.values(), reverse=True)[: len(before)]
        places = min(len(before), len(outside))
        shortfall = (sum(best) - sum(inside)) / places if places else 0.0
        ahead = max((known[track] for track in outside), default=-2.0) - min(inside, default=2.0)
        history.append((float(second), shortfall, ahead))
        stable.look(float(second), scores, spread=EVEN, is_complete=False)
        assert len(set(stable.tracks)) == len(stable.tracks) <= size
        entered = set(stable.tracks) - set(before)
        if len(before) == size and entered:
            assert second >= hold
            lasted = [(better, far) for when, better, far in history if when >= second - hold]
            if all(better >= 0.1 - 1e-9 for better, _ in lasted):
                margin = 0.1
            else:
                assert all(far >= 0.3 - 1e-9 for _, far in lasted)
                margin = 0.3
            assert all(known[track] >= min(inside) + margin - 1e-9 for track in entered)


FIRST = {track: 0.8 - 0.05 * number for number, track in enumerate(IDS)}
SECOND = dict(zip(IDS, reversed(FIRST.values()), strict=True))


@given(
    st.integers(1, 4),
    st.integers(4, 20),
    st.integers(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_a_scene_that_follows_another_renews_the_list_once_whatever_the_noise(
    size: int, cut: int, mixed: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, (40, len(IDS))).tolist()
    stable = StableList(size, 0.12, 2.0)
    changed = []
    for second, shifts in enumerate(noise):
        share = min(1.0, max(0.0, (second - cut) / (mixed + 1)))
        before = stable.tracks
        scores = {
            track: (1 - share) * FIRST[track] + share * SECOND[track] + shift
            for track, shift in zip(IDS, shifts, strict=True)
        }
        stable.look(float(second), scores, spread=EVEN, is_complete=True)
        if second and stable.tracks != before:
            changed.append(second)
    assert len(changed) == 1
    assert cut + 2 <= changed[0] <= cut + mixed + 3


def test_the_whole_list_is_renewed_in_one_look() -> None:
    stable = StableList(2, 0.2, 2.0)
    look(stable, 0.0, a=0.5, b=0.4, c=0.1, d=0.0)
    for second in (1.0, 2.0):
        assert look(stable, second, a=0.1, b=0.0, c=0.5, d=0.4) == ("a", "b")
    assert look(stable, 3.0, a=0.1, b=0.0, c=0.5, d=0.4) == ("c", "d")


def test_one_better_track_does_not_move_a_list_that_is_good_as_a_whole() -> None:
    stable = StableList(4, 0.1, 1.0)
    look(stable, 0.0, a=0.5, b=0.4, c=0.4, d=0.3, e=0.1, f=0.1, g=0.1, h=0.1)
    for second in (1.0, 2.0, 3.0):
        assert look(stable, second, a=0.5, b=0.4, c=0.4, d=0.3, e=0.55, f=0.1, g=0.1, h=0.1) == tuple("abcd")


def test_one_track_that_is_better_by_three_margins_comes_in_by_itself_after_the_hold_time() -> None:
    stable = StableList(4, 0.1, 2.0)
    others = dict.fromkeys("abcdef", 0.5)
    assert set(look(stable, 0.0, **others)) == set("abcd")
    for second in range(1, 20):
        assert "z" not in look(stable, float(second), **others, z=0.79)
    for second in (20.0, 21.0):
        assert "z" not in look(stable, second, **others, z=0.81)
    after = look(stable, 22.0, **others, z=0.81)
    assert after[0] == "z"
    assert set(after[1:]) < set("abcd")


def test_the_last_places_of_a_small_library_change_hands_by_themselves() -> None:
    stable = StableList(3, 0.2, 1.0)
    look(stable, 0.0, a=0.5, b=0.4, c=0.3, d=0.0)
    look(stable, 1.0, a=0.5, b=0.4, c=0.0, d=0.3)
    assert look(stable, 2.0, a=0.5, b=0.4, c=0.0, d=0.3) == ("a", "b", "d")


def test_a_cleared_list_takes_the_best_at_the_next_look_and_keeps_the_pinned_track() -> None:
    stable = StableList(2, 0.5, 10.0)
    look(stable, 0.0, a=0.5, b=0.4, c=0.3)
    stable.pin("b")
    stable.clear()
    assert look(stable, 1.0, a=0.1, b=0.2, c=0.3) == ("c", "b")


@given(st.lists(SCORES, min_size=1, max_size=20))
def test_pinned_stays_and_skipped_never_comes_again(looks: list[dict[str, float]]) -> None:
    stable = StableList(3, 0.05, 1.0)
    for second, scores in enumerate(looks):
        if second == 2:
            stable.pin("t0")
            stable.skip("t1")
        stable.look(float(second), scores, spread=EVEN, is_complete=second % 3 == 0)
        if second >= 2:
            assert "t0" in stable.tracks
            assert "t1" not in stable.tracks


def test_the_order_follows_the_scores_after_the_hold_time() -> None:
    stable = StableList(3, 0.1, 2.0)
    look(stable, 0.0, a=0.3, b=0.2, c=0.1)
    assert look(stable, 1.0, a=0.0, b=0.2, c=0.4) == ("a", "b", "c")
    assert look(stable, 3.0, a=0.0, b=0.2, c=0.4) == ("c", "b", "a")


def test_a_scene_that_leaves_the_pinned_track_says_since_when() -> None:
    stable = StableList(2, 0.1, 2.0)
    look(stable, 0.0, a=0.5, b=0.4)
    stable.pin("a")
    look(stable, 1.0, a=0.5, b=0.55)
    assert stable.departure is None
    look(stable, 2.0, a=0.2, b=0.6)
    look(stable, 4.0, a=0.2, b=0.6)
    assert stable.departure is not None
    assert (stable.departure.since_seconds, stable.departure.is_settled) == (2.0, True)
    look(stable, 5.0, a=0.6, b=0.6)
    assert stable.departure is None


@pytest.mark.parametrize("size", [1, 2, 3])
def test_when_a_pinned_track_is_left_does_not_hang_on_the_size_of_the_list(size: int) -> None:
    stable = StableList(size, 0.5, 2.0)
    stable.pin("a")
    for second in range(4):
        scores = {"a": 0.3, "b": 0.6, "c": 0.5, "d": 0.0, "e": -0.4}
        spread = Spread.of(scores.values(), size, None)
        stable.look(float(second), scores, spread=spread, is_complete=True)
    # The best track is 0.4 above the mean; the pinned one lies 0.3 behind it.
    assert stable.departure is not None
    assert stable.departure.is_settled


def test_the_track_to_change_to_stays_while_it_is_better_by_the_margin() -> None:
    stable = StableList(1, 0.1, 2.0)
    look(stable, 0.0, a=0.5, b=0.4, c=0.4)
    stable.pin("a")
    told = []
    for second, b, c in [(1, 0.7, 0.8), (3, 0.8, 0.75), (4, 0.75, 0.8), (5, 0.7, 0.8), (6, 0.55, 0.75)]:
        look(stable, float(second), a=0.5, b=b, c=c)
        assert stable.departure is not None
        told.append(stable.departure.better_track)
    # The best of the moment until it is time; then `b`, until another is better by the margin.
    assert told == ["c", "b", "b", "c", "c"]


def test_a_track_that_may_no_longer_be_named_leaves_at_once() -> None:
    stable = StableList(2, 0.1, 5.0)
    look(stable, 0.0, a=0.5, b=0.4)
    stable.look(1.0, {"b": 0.4, "c": 0.1}, spread=EVEN, is_complete=True)
    assert stable.tracks == ("b", "c")


def test_a_shorter_list_keeps_the_best_and_a_longer_one_is_filled() -> None:
    stable = StableList(3, 0.1, 5.0)
    look(stable, 0.0, a=0.3, b=0.2, c=0.1)
    stable.size = 1
    assert look(stable, 1.0, a=0.3, b=0.2, c=0.1) == ("a",)
    stable.size = 2
    assert look(stable, 2.0, a=0.3, b=0.2, c=0.1) == ("a", "b")


@pytest.mark.parametrize(
    ("scores", "size", "typical", "renewal", "order"),
    [
        ([0.9, 0.7, 0.5, 0.3, 0.1, 0.0], 2, 0.4, 0.8 - 0.4, (0.5 + 0.3) / 2),
        # Only one place can change hands: the gain of all three falls to it.
        ([0.9, 0.7, 0.5, 0.1], 3, 0.4, 2.1 - 3 * 0.4, (0.5 + 0.3 + 0.1) / 3),
        # All tracks there are: the typical score is their own mean, and a random order is meant.
        ([0.9, 0.5, 0.1], 1, None, 0.9 - 0.5, (0.4 + 0.8) / 3),
        ([0.9, 0.5, 0.1], 3, None, 0.03, (1.2 + 0.8 + 1.2) / 9),
        ([0.41, 0.4, 0.39, 0.38], 2, 0.4, 0.03, 0.03),
        ([], 2, 0.4, 0.03, 0.03),
    ],
)
def test_the_spread_is_how_far_a_list_drawn_at_random_is_from_the_best(
    scores: list[float], size: int, typical: float | None, renewal: float, order: float
) -> None:
    spread = Spread.of(scores, size, typical)
    assert (spread.renewal, spread.order) == (pytest.approx(renewal), pytest.approx(order))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.integers(1, 12))
def test_the_spread_of_the_order_is_the_mean_distance_of_all_tracks_from_those_listed(
    scores: list[float], size: int
) -> None:
    best = np.sort(scores)[::-1][:size]
    distance = np.abs(best[:, None] - np.array(scores)[None, :]).mean()
    assert Spread.of(scores, size, None).order == pytest.approx(max(0.03, distance), abs=1e-9)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.floats(0.2, 5.0),
    st.floats(-1.0, 1.0),
)
def test_a_list_changes_alike_however_close_together_a_catalogue_scores(
    seed: int, size: int, scale: float, shift: float
) -> None:
    random = np.random.default_rng(seed)
    wide, close = StableList(size, 0.5, 1.0), StableList(size, 0.5, 1.0)
    scores = random.uniform(-1, 1, len(IDS))
    for second in range(12):
        if random.random() < 0.3:
            scores = random.uniform(-1, 1, len(IDS))
        for stable, values in ((wide, scores), (close, scale * scores + shift)):
            spread = Spread.of(values.tolist(), size, None)
            stable.look(
                float(second), dict(zip(IDS, values.tolist(), strict=True)), spread=spread, is_complete=True
            )
        assert wide.tracks == close.tracks


def test_changes_name_what_entered_left_and_moved() -> None:
    changes = Changes.between(["a", "b", "c", "d"], ["c", "b", "e", "a"])
    assert changes == Changes(entered=("e",), left=("d",), moved=("c", "a"))
    assert Changes.between(["a", "b"], ["a", "b"]) == Changes((), (), ())
