from hypothesis import given
from hypothesis import strategies as st

from kinoscore.recommend.stability import Changes, StableList

IDS = [f"t{number}" for number in range(8)]
SCORES = st.dictionaries(st.sampled_from(IDS), st.floats(-1, 1), min_size=1)


def look(stable: StableList, seconds: float, **scores: float) -> tuple[str, ...]:
    stable.look(seconds, scores, is_complete=False)
    return stable.tracks


def test_the_first_look_takes_the_best_in_order() -> None:
    assert look(StableList(2, 0.1, 2.0), 0.0, a=0.1, b=0.3, c=0.2) == ("b", "c")


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
    stable.look(0.0, base, is_complete=False)
    settled = stable.tracks
    for second, shifts in enumerate(noise, 1):
        scores = {track: 0.9 * shift for track, shift in zip(IDS, shifts, strict=True)}
        stable.look(float(second), scores, is_complete=False)
        assert stable.tracks == settled


@given(st.lists(SCORES, min_size=2, max_size=30), st.integers(1, 5), st.sampled_from([0.0, 1.0, 3.0]))
def test_whoever_enters_a_full_list_was_better_by_the_margin_for_the_hold_time(
    looks: list[dict[str, float]], size: int, hold: float
) -> None:
    stable = StableList(size, 0.1, hold)
    history: list[tuple[float, dict[str, float], float]] = []
    for second, scores in enumerate(looks):
        before = stable.tracks
        worst = min((scores.get(track, min(scores.values())) for track in before), default=0.0)
        history.append((float(second), scores, worst))
        stable.look(float(second), scores, is_complete=False)
        assert len(set(stable.tracks)) == len(stable.tracks) <= size
        if len(before) == size:
            for track in set(stable.tracks) - set(before):
                held = [entry for entry in history if entry[0] >= second - hold]
                assert second >= hold
                assert all(track in past and past[track] >= low + 0.1 for _, past, low in held)


@given(st.lists(SCORES, min_size=1, max_size=20))
def test_pinned_stays_and_skipped_never_comes_again(looks: list[dict[str, float]]) -> None:
    stable = StableList(3, 0.05, 1.0)
    for second, scores in enumerate(looks):
        if second == 2:
            stable.pin("t0")
            stable.skip("t1")
        stable.look(float(second), scores, is_complete=second % 3 == 0)
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


def test_a_track_that_may_no_longer_be_named_leaves_at_once() -> None:
    stable = StableList(2, 0.1, 5.0)
    look(stable, 0.0, a=0.5, b=0.4)
    stable.look(1.0, {"b": 0.4, "c": 0.1}, is_complete=True)
    assert stable.tracks == ("b", "c")


def test_a_shorter_list_keeps_the_best_and_a_longer_one_is_filled() -> None:
    stable = StableList(3, 0.1, 5.0)
    look(stable, 0.0, a=0.3, b=0.2, c=0.1)
    stable.size = 1
    assert look(stable, 1.0, a=0.3, b=0.2, c=0.1) == ("a",)
    stable.size = 2
    assert look(stable, 2.0, a=0.3, b=0.2, c=0.1) == ("a", "b")


def test_changes_name_what_entered_left_and_moved() -> None:
    changes = Changes.between(["a", "b", "c", "d"], ["c", "b", "e", "a"])
    assert changes == Changes(entered=("e",), left=("d",), moved=("c", "a"))
    assert Changes.between(["a", "b"], ["a", "b"]) == Changes((), (), ())
