import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.evaluation.report import compare, galleries
from dualpath.evaluation.retrieval import bootstrap_interval, figures, random_figures, ranks, recall_at
from kinoscore.errors import InvalidRequest

SIMILARITY = np.array([[0.9, 0.2, 0.1], [0.8, 0.5, 0.6], [0.3, 0.7, 0.7]])


def test_ranks_count_what_is_better_and_half_of_what_ties() -> None:
    assert ranks(SIMILARITY).tolist() == [1.0, 3.0, 1.5]


def test_figures_of_a_known_matrix() -> None:
    result = figures(SIMILARITY)
    assert result.recall[1] == pytest.approx(1 / 3)
    assert result.recall[5] == 1.0
    assert result.median_rank == 1.5
    assert result.mean_reciprocal_rank == pytest.approx((1 + 1 / 3 + 1 / 1.5) / 3)


def test_a_constant_matrix_ranks_in_the_middle() -> None:
    assert ranks(np.zeros((5, 5))).tolist() == [3.0] * 5


def test_the_random_row_is_what_random_orders_reach() -> None:
    random = np.random.default_rng(0)
    rank = np.concatenate([ranks(random.normal(size=(40, 40))) for _ in range(200)])
    expected = random_figures(40)
    assert recall_at(rank, 10) == pytest.approx(expected.recall[10], abs=0.02)
    assert float(np.median(rank)) == pytest.approx(expected.median_rank, abs=1.0)
    assert float((1 / rank).mean()) == pytest.approx(expected.mean_reciprocal_rank, abs=0.01)


@given(size=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_ranks_follow_a_permutation_of_the_pairs(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix, order = random.normal(size=(size, size)), random.permutation(size)
    assert ranks(matrix[np.ix_(order, order)]).tolist() == ranks(matrix)[order].tolist()


@given(size=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_recall_rises_with_k(size: int, seed: int) -> None:
    recall = figures(np.random.default_rng(seed).normal(size=(size, size))).recall
    assert list(recall.values()) == sorted(recall.values())


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.zeros((0, 0)), np.full((2, 2), np.nan)])
def test_a_matrix_that_cannot_be_ranked_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InvalidRequest):
        ranks(matrix)


def test_the_bootstrap_interval_holds_the_mean_and_shrinks_with_the_queries() -> None:
    random = np.random.default_rng(1)
    few, many = random.random(50) < 0.3, random.random(5000) < 0.3
    low, high = bootstrap_interval(few.astype(float))
    assert low <= few.mean() <= high
    tight = bootstrap_interval(many.astype(float))
    assert tight[1] - tight[0] < (high - low) / 5
    assert tight[1] - tight[0] == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 5000), rel=0.15)


def test_several_galleries_are_pooled_and_a_rest_is_left_out() -> None:
    assert [list(cut) for cut in galleries(7, 3)] == [[0, 1, 2], [3, 4, 5]]
    rows = compare({"model": np.eye(7)}, 3)
    assert [(row.name, row.figures.gallery, row.figures.recall[1]) for row in rows] == [
        ("model", 3, 1.0),
        ("model", 3, 1.0),
        ("random", 3, pytest.approx(1 / 3)),
    ]


def test_a_gallery_larger_than_the_split_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="2 to 7"):
        galleries(7, 500)
