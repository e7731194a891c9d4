"""The oracle: how well any model could match clips and tracks of a generated world.

It sees what each side renders - the theme and the cues, without the loss of reading them from pixels and
samples - and knows how the world was drawn. Its similarity is the log-likelihood ratio of "one pair" against
"two strangers", which no other similarity beats in expected recall@1 (Neyman and Pearson). Given the theme,
the cues p of the clip and m of the track are jointly normal with the covariances that the loadings of
`kinoscore.world.plans` imply, so

    llr(p, m) = log N([p, m]; mean, S) - log N(p; mean_p, S_pp) - log N(m; mean_m, S_mm) - log P(theme)

for a common theme. For different themes it is minus infinity; `DIFFERENT_THEMES` stands for that. The
clipping of valence and arousal to [-1, 1] is neglected.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest, NotFound
from kinoscore.world.plans import (
    AROUSAL_DEVIATION,
    CONTENT_FACTORS,
    INDIVIDUAL_DEVIATION,
    MUSIC_LOADINGS,
    PICTURE_LOADINGS,
    VALENCE_DEVIATION,
)
from kinoscore.world.themes import THEMES

__all__ = ["DIFFERENT_THEMES", "RenderedCues", "oracle_similarity", "read_rendered_cues", "theme_similarity"]

DIFFERENT_THEMES = -1000.0

_FACTORS = ("valence", "arousal", *CONTENT_FACTORS)


@dataclass(frozen=True, slots=True)
class RenderedCues:
    """What the two sides of n pairs render, in the order of the index.

    Args:
        themes: i64[n], numbers of `THEMES`.
        picture: f64[n, len(PICTURE_LOADINGS)], standard scores.
        music: f64[n, len(MUSIC_LOADINGS)], standard scores, of the passage that fits.
    """

    themes: NDArray[np.int64]
    picture: NDArray[np.float64]
    music: NDArray[np.float64]


def read_rendered_cues(index: Path | str) -> RenderedCues:
    """Reads the index.csv of a world.

    Raises:
        NotFound: the file does not exist.
        InvalidRequest: a column is missing, a theme unknown, a cell no number, or there are no rows.
    """
    numbers = {theme.name: number for number, theme in enumerate(THEMES)}
    try:
        with Path(index).open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise NotFound(f"{index} does not exist: make a world with `dualpath generate`") from error
    if not rows:
        raise InvalidRequest(f"{index} has no rows: make the world again")
    try:
        themes = np.array([numbers[row["theme"]] for row in rows], np.int64)
        picture = np.array([[float(row[f"picture_{cue}"]) for cue in PICTURE_LOADINGS] for row in rows])
        music = np.array([[float(row[f"music_{cue}"]) for cue in MUSIC_LOADINGS] for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{index} is no index of this world ({error}): make the world again") from error
    return RenderedCues(themes, picture, music)


def oracle_similarity(queries: RenderedCues, gallery: RenderedCues) -> NDArray[np.float64]:
    """f64[queries, gallery]: the log-likelihood ratio of every clip of `queries` with every track of
    `gallery`.

    For the other direction, tracks searching clips, exchange the two and transpose.
    """
    picture, music = _loading_matrix(PICTURE_LOADINGS), _loading_matrix(MUSIC_LOADINGS)
    means, variances = _factors_given_theme()
    clip = queries.picture - (means @ picture.T)[queries.themes]
    track = gallery.music - (means @ music.T)[gallery.themes]
    cross = picture @ np.diag(variances) @ music.T
    clip_covariance = _covariance(picture, variances)
    track_covariance = _covariance(music, variances)
    joint = np.block([[clip_covariance, cross], [cross.T, track_covariance]])
    split = len(clip_covariance)
    precision = np.linalg.inv(joint)
    of_clip = precision[:split, :split] - np.linalg.inv(clip_covariance)
    of_track = precision[split:, split:] - np.linalg.inv(track_covariance)
    determinants = [np.linalg.slogdet(matrix)[1] for matrix in (clip_covariance, track_covariance, joint)]
    ratio = (
        0.5 * (determinants[0] + determinants[1] - determinants[2])
        + np.log(len(THEMES))
        - 0.5 * np.einsum("ij,jk,ik->i", clip, of_clip, clip)[:, None]
        - 0.5 * np.einsum("ij,jk,ik->i", track, of_track, track)[None, :]
        - clip @ precision[:split, split:] @ track.T
    )
    return np.where(queries.themes[:, None] == gallery.themes[None, :], ratio, DIFFERENT_THEMES)


def theme_similarity(queries: RenderedCues, gallery: RenderedCues) -> NDArray[np.float64]:
    """f64[queries, gallery]: 1.0 for a common theme, else 0.0; what a model gains that knows nothing but
    themes."""
    return (queries.themes[:, None] == gallery.themes[None, :]).astype(np.float64)


def _loading_matrix(loadings: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """f64[cues, factors]."""
    return np.array([[loading.get(factor, 0.0) for factor in _FACTORS] for loading in loadings.values()])


def _factors_given_theme() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of the standardised factors, f64[themes, factors], and their variances, f64[factors]."""
    means = np.zeros((len(THEMES), len(_FACTORS)))
    means[:, 0] = [theme.valence / VALENCE_DEVIATION for theme in THEMES]
    means[:, 1] = [theme.arousal / AROUSAL_DEVIATION for theme in THEMES]
    variances = np.ones(len(_FACTORS))
    variances[:2] = np.square(np.array([INDIVIDUAL_DEVIATION] * 2) / [VALENCE_DEVIATION, AROUSAL_DEVIATION])
    return means, variances


def _covariance(loadings: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """f64[cues, cues] given the theme; the noise of each cue fills its unconditional variance up to one."""
    noise = 1.0 - np.square(loadings).sum(axis=1)
    return loadings @ np.diag(variances) @ loadings.T + np.diag(noise)
