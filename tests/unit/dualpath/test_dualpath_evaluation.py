from dataclasses import replace

import numpy as np
import pytest

from dualpath.evaluation.report import (
    compare,
    format_table,
    markdown_table,
    ranks_in_galleries,
    rows_by_emotion,
)
from dualpath.evaluation.retrieval import figures_of_ranks, intervals_of_ranks, ranks
from dualpath.evaluation.twins import find_twins
from dualpath.plots import plot_emotions, plot_ranks, plot_recall, plot_valence_arousal
from dualpath.training.loop import Split


def test_a_twin_of_the_answer_is_no_error() -> None:
    similarity = np.array([[0.5, 0.9, 0.9], [0.1, 0.7, 0.2], [0.3, 0.2, 0.4]])
    twins = np.zeros((3, 3), bool)
    twins[0, 1] = twins[1, 0] = True
    assert ranks(similarity).tolist() == [3.0, 1.0, 1.0]
    assert ranks(similarity, twins).tolist() == [2.0, 1.0, 1.0]


def _scenes_and_tunes(split: Split) -> Split:
    """The same pairs with pictures and spectra that differ at large, as those of strangers do."""
    random, count = np.random.default_rng(5), len(split.index)
    pictures = random.integers(40, 200, (count, 24, 3, 5, 8)).repeat(8, axis=3).repeat(8, axis=4)
    mel = random.normal(-2, 1, (count, 4, 18, 64)).repeat(7, axis=2)
    arrays = replace(split.arrays, pictures=pictures.astype(np.uint8), mel=mel.astype(np.float16))
    return Split(split.index, arrays)


def test_pairs_that_share_a_file_are_twins(made_up_split) -> None:
    split = _scenes_and_tunes(made_up_split(6))
    tracks = (split.index.tracks[5], *split.index.tracks[1:])
    twins = find_twins(replace(split.index, tracks=tracks), split.arrays)
    assert np.argwhere(twins.mask).tolist() == [[0, 5], [5, 0]]
    assert (twins.same_track, twins.same_clip, twins.near_track, twins.near_clip) == (2, 0, 0, 0)
    assert "2 of 6 pairs" in str(twins)


def test_nearly_equal_content_makes_twins_and_strangers_are_none(made_up_split) -> None:
    split = _scenes_and_tunes(made_up_split(8))
    assert not find_twins(split.index, split.arrays).mask.any()
    assert "occurs twice" in str(find_twins(split.index, split.arrays))
    random = np.random.default_rng(0)
    pictures, mel = split.arrays.pictures.copy(), split.arrays.mel.copy()
    pictures[1] = np.clip(0.9 * pictures[0] + random.normal(0, 4, pictures[0].shape), 0, 255)
    mel[3] = mel[2] - 0.7 + random.normal(0, 0.05, mel[2].shape)
    twins = find_twins(split.index, replace(split.arrays, pictures=pictures, mel=mel))
    assert np.argwhere(twins.mask).tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    assert (twins.near_clip, twins.near_track) == (2, 2)


def test_every_figure_has_an_interval_that_holds_it() -> None:
    rank = np.random.default_rng(0).integers(1, 101, 200).astype(float)
    result, intervals = figures_of_ranks(rank, 100), intervals_of_ranks(rank)
    values = {
        **{f"recall_at_{k}": value for k, value in result.recall.items()},
        "median_rank": result.median_rank,
        "mean_reciprocal_rank": result.mean_reciprocal_rank,
    }
    assert set(values) == set(intervals)
    for name, (low, high) in intervals.items():
        assert low <= values[name] <= high
        assert low < high


def test_queries_are_told_apart_by_their_emotion() -> None:
    similarity = np.eye(7)
    similarity[3, 3] = -1.0
    found = ranks_in_galleries(similarity, 3)
    rows = rows_by_emotion(found, np.array([0, 0, 2, 2, 0, 2, 1]), ("joyful", "tense", "sad"), 3)
    both = {(row.name, row.direction): (row.queries, row.figures.recall[1]) for row in rows}
    # The seventh pair is in no gallery, so nothing is said of "tense".
    assert both == {
        ("joyful", "video to music"): (3, 1.0),
        ("joyful", "music to video"): (3, 1.0),
        ("sad", "video to music"): (3, pytest.approx(2 / 3)),
        ("sad", "music to video"): (3, pytest.approx(2 / 3)),
    }


def test_tables_name_gallery_random_row_and_intervals() -> None:
    rows = compare({"model": np.eye(6)}, 3)
    for text in (format_table(rows), markdown_table([row.as_dict() for row in rows])):
        assert "100.0 (100.0-100.0)" in text
        last = text.splitlines()[-1]
        assert "random" in last
        assert " 3 " in last
        assert "33.3" in last


def test_plots_are_png_files() -> None:
    import io

    rank = {"video to music": np.array([1.0, 2.0, 7.5]), "music to video": np.array([3.0, 1.0, 8.0])}
    bars = {name: {"joyful": (0.5, 0.2, 0.7), "sad": (0.0, 0.0, 0.0)} for name in rank}
    truth = np.array([[0.1, 0.2], [-0.4, 0.9]], np.float32)
    for draw in (
        lambda file: plot_recall(rank, 8, file),
        lambda file: plot_ranks(rank, 8, file),
        lambda file: plot_emotions(bars, 10, 0.1, file),
        lambda file: plot_valence_arousal({"video": truth * 0.5, "music": -truth}, truth, file),
    ):
        file = io.BytesIO()
        draw(file)
        assert file.getvalue().startswith(b"\x89PNG")
