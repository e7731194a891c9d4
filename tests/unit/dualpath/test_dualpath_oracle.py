"""The oracle: the most that any model could reach on a generated world."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dualpath.evaluation import oracle
from dualpath.evaluation.oracle import (
    DIFFERENT_THEMES,
    RenderedCues,
    oracle_similarity,
    read_rendered_cues,
    theme_similarity,
)
from kinoscore.errors import InvalidRequest, NotFound
from kinoscore.world import draw_pair
from kinoscore.world.generation import index_columns, pair_row
from kinoscore.world.plans import SHARED


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of 500 test pairs, without their media."""
    path = tmp_path_factory.mktemp("world") / "index.csv"
    rows = [pair_row(number, draw_pair(number, "test")) for number in range(500)]
    lines = [",".join(index_columns()), *(",".join(row[name] for name in index_columns()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def cues(index: Path) -> RenderedCues:
    return read_rendered_cues(index)


def _recall_at_one(similarity: NDArray[np.float64]) -> float:
    return float((similarity.argmax(axis=1) == np.arange(len(similarity))).mean())


def _subset(cues: RenderedCues, chosen: NDArray[np.int64]) -> RenderedCues:
    return RenderedCues(cues.themes[chosen], cues.picture[chosen], cues.music[chosen])


def test_among_500_the_oracle_finds_a_third_to_a_half_and_the_theme_alone_a_few_in_a_hundred(
    cues: RenderedCues,
) -> None:
    similarity = oracle_similarity(cues, cues)
    guessed = theme_similarity(cues, cues) + np.random.default_rng(0).uniform(0, 0.5, (500, 500))
    assert 0.30 < _recall_at_one(similarity) < 0.50
    assert 0.30 < _recall_at_one(similarity.T) < 0.50
    assert _recall_at_one(guessed) < 0.10


def test_true_pairs_look_like_pairs_and_strangers_do_not(cues: RenderedCues) -> None:
    similarity = oracle_similarity(cues, cues)
    same_theme = theme_similarity(cues, cues) == 1.0
    strangers = similarity[same_theme & ~np.eye(500, dtype=bool)]
    assert np.median(np.diag(similarity)) > np.median(strangers) + 2.0
    assert np.median(np.diag(similarity)) > np.quantile(strangers, 0.9)
    assert (similarity[~same_theme] == DIFFERENT_THEMES).all()


def test_the_score_of_two_does_not_depend_on_who_else_is_there(cues: RenderedCues) -> None:
    few = _subset(cues, np.arange(0, 500, 50))
    whole = oracle_similarity(cues, cues)
    assert np.allclose(oracle_similarity(few, few), whole[::50, ::50], atol=1e-9)


def test_a_ratio_averages_to_one_over_strangers(cues: RenderedCues) -> None:
    """The mean of p(both) / (p(clip) p(track)) over independent clips and tracks is one."""
    ratio = np.exp(np.clip(oracle_similarity(cues, cues), -50, None))
    strangers = ratio[~np.eye(500, dtype=bool)]
    assert strangers.mean() == pytest.approx(1.0, abs=0.35)


def test_one_shared_cue_scores_as_the_bivariate_normal_density_does(cues: RenderedCues) -> None:
    """Only `tilt` differs from the average: two normal scores that correlate by SHARED squared."""
    names = list(oracle.PICTURE_LOADINGS), list(oracle.MUSIC_LOADINGS)
    theme = next(number for number, theme in enumerate(oracle.THEMES) if theme.name == "skyline")
    first = cues.picture[:1] * 0, cues.music[:1] * 0
    second = first[0].copy(), first[1].copy()
    x, y = 1.2, 0.7
    second[0][0, names[0].index("tilt")], second[1][0, names[1].index("tilt")] = x, y
    themes = np.array([theme])
    base = oracle_similarity(RenderedCues(themes, *first), RenderedCues(themes, *first))[0, 0]
    tilted = oracle_similarity(RenderedCues(themes, *second), RenderedCues(themes, *second))[0, 0]
    r = SHARED**2
    expected = (2 * r * x * y - r**2 * (x**2 + y**2)) / (2 * (1 - r**2))
    assert tilted - base == pytest.approx(expected, abs=1e-9)


def test_an_index_that_is_absent_or_foreign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="dualpath generate"):
        read_rendered_cues(tmp_path / "index.csv")
    (tmp_path / "index.csv").write_text("id,theme\n000000,desert\n")
    with pytest.raises(InvalidRequest, match="make the world again"):
        read_rendered_cues(tmp_path / "index.csv")
    (tmp_path / "index.csv").write_text("id,theme\n")
    with pytest.raises(InvalidRequest, match="no rows"):
        read_rendered_cues(tmp_path / "index.csv")
