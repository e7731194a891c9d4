"""The tables of `dualpath evaluate`: methods beside the oracle and the random row, and the emotions apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.evaluation.retrieval import (
    RECALL_AT,
    Figures,
    figures_of_ranks,
    intervals_of_ranks,
    random_figures,
    ranks,
)
from kinoscore.errors import InvalidRequest

__all__ = [
    "DIRECTIONS",
    "Row",
    "compare",
    "emotion_figures",
    "format_table",
    "galleries",
    "markdown_table",
    "ranks_in_galleries",
    "rows_by_emotion",
]

DIRECTIONS = ("video to music", "music to video")


@dataclass(frozen=True, slots=True)
class Row:
    """One method, or one emotion of the query, in one direction.

    Attributes:
        intervals: figure -> (low, high), 95 % over queries; names as in `as_dict`, empty for a random order.
    """

    name: str
    direction: str
    queries: int
    figures: Figures
    intervals: Mapping[str, tuple[float, float]]

    def as_dict(self, kind: str = "method") -> dict[str, Any]:
        """Plain values for JSON; `kind` says what the name is of."""
        return {
            kind: self.name,
            "direction": self.direction,
            "queries": self.queries,
            "gallery": self.figures.gallery,
            **{f"recall_at_{k}": value for k, value in self.figures.recall.items()},
            "median_rank": self.figures.median_rank,
            "mean_reciprocal_rank": self.figures.mean_reciprocal_rank,
            **{f"{name}_interval": list(interval) for name, interval in self.intervals.items()},
        }


def galleries(pairs: int, gallery: int) -> list[NDArray[np.int64]]:
    """The pairs cut into consecutive galleries of one size; a rest is left out.

    Raises:
        InvalidRequest: fewer pairs than one gallery.
    """
    if not 2 <= gallery <= pairs:
        raise InvalidRequest(
            f"a gallery holds 2 to {pairs} pairs here, not {gallery}: use --gallery", field="gallery"
        )
    return [np.arange(start, start + gallery) for start in range(0, pairs - gallery + 1, gallery)]


def ranks_in_galleries(
    matrix: NDArray[np.floating[Any]], gallery: int, twins: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Direction -> rank of every query within its gallery, gallery after gallery.

    Args:
        matrix: [videos, tracks]. twins: see `ranks`.
    """
    result = {}
    for direction, oriented in zip(DIRECTIONS, (matrix, matrix.T), strict=True):
        cuts = [np.ix_(cut, cut) for cut in galleries(len(matrix), gallery)]
        result[direction] = np.concatenate(
            [ranks(oriented[cut], None if twins is None else twins[cut]) for cut in cuts]
        )
    return result


def compare(
    matrices: Mapping[str, NDArray[np.floating[Any]]],
    gallery: int,
    twins: NDArray[np.bool_] | None = None,
) -> list[Row]:
    """Rows for every method's similarity matrix [videos, tracks], and the random row.

    With several galleries the queries of all of them are pooled.
    """
    rows = [
        _row(method, direction, rank, gallery)
        for method, matrix in matrices.items()
        for direction, rank in ranks_in_galleries(matrix, gallery, twins).items()
    ]
    return [*rows, Row("random", "either", 0, random_figures(gallery), {})]


def rows_by_emotion(
    ranks_by_direction: Mapping[str, NDArray[np.float64]],
    labels: NDArray[np.int64],
    names: Sequence[str],
    gallery: int,
) -> list[Row]:
    """Rows for the queries of each emotion among the whole gallery; an emotion without queries has none.

    Args:
        ranks_by_direction: see `ranks_in_galleries`.
        labels: of all pairs, positions in `names`, or -1 where none is known; a rest that is in no gallery is
            left out.
    """
    return [
        _row(names[label], direction, rank[labels[: len(rank)] == label], gallery)
        for label in np.unique(labels[labels >= 0])
        for direction, rank in ranks_by_direction.items()
        if (labels[: len(rank)] == label).any()
    ]


def _row(name: str, direction: str, rank: NDArray[np.float64], gallery: int) -> Row:
    return Row(name, direction, len(rank), figures_of_ranks(rank, gallery), intervals_of_ranks(rank))


def emotion_figures(
    prediction: NDArray[np.float32],
    truth: NDArray[np.float32],
    predicted_labels: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, float]:
    """Correlation and error of valence and arousal [n, 2], and accuracy of the emotion class [n].

    The correlation with a truth that does not vary is 0.
    """
    error = np.sqrt(((prediction - truth) ** 2).mean(axis=0))
    return {
        "valence_correlation": _correlation(prediction[:, 0], truth[:, 0]),
        "arousal_correlation": _correlation(prediction[:, 1], truth[:, 1]),
        "valence_error": float(error[0]),
        "arousal_error": float(error[1]),
        "class_accuracy": float((predicted_labels == labels).mean()),
    }


def _correlation(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    constant = not prediction.std() or not truth.std()
    return 0.0 if constant else float(np.corrcoef(prediction, truth)[0, 1])


def format_table(rows: Sequence[Row], title: str = "method") -> str:
    """Plain text; recalls in percent, each with its 95 % interval over queries."""
    head = "".join(f"{f'R@{k}':>20s}" for k in RECALL_AT)
    lines = [f"{title:8s} {'direction':15s}{'queries':>8s}{'gallery':>8s}{head}{'median':>8s}{'MRR':>7s}"]
    for row in rows:
        result = row.figures
        recalls = "".join(
            f"{100 * result.recall[k]:.1f}{_interval(row.intervals.get(f'recall_at_{k}'))}".rjust(20)
            for k in RECALL_AT
        )
        lines.append(
            f"{row.name:8s} {row.direction:15s}{row.queries or '':>8}{result.gallery:8d}{recalls}"
            f"{result.median_rank:8.1f}{result.mean_reciprocal_rank:7.3f}"
        )
    return "\n".join(lines)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same of `Row.as_dict`s."""
    lines = [
        "| method | direction | gallery |" + "".join(f" R@{k} |" for k in RECALL_AT) + " median rank | MRR |",
        "| --- " * (5 + len(RECALL_AT)) + "|",
    ]
    for row in rows:
        recalls = "".join(
            f" {100 * row[f'recall_at_{k}']:.1f}{_interval(row.get(f'recall_at_{k}_interval'))} |"
            for k in RECALL_AT
        )
        lines.append(
            f"| {row['method']} | {row['direction']} | {row['gallery']} |{recalls} "
            f"{row['median_rank']:.1f} | {row['mean_reciprocal_rank']:.3f} |"
        )
    return "\n".join(lines)


def _interval(interval: Sequence[float] | None) -> str:
    return f" ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})" if interval else ""
