"""The table of `dualpath evaluate`: the model, the oracle and the random row, in both directions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.evaluation.retrieval import (
    RECALL_AT,
    Figures,
    bootstrap_interval,
    figures,
    random_figures,
    ranks,
)
from kinoscore.errors import InvalidRequest

__all__ = ["Row", "compare", "emotion_figures", "format_table", "galleries"]


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one direction; the interval is of R@1, over queries."""

    method: str
    direction: str
    figures: Figures
    recall_1_interval: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "method": self.method,
            "direction": self.direction,
            "gallery": self.figures.gallery,
            **{f"recall_at_{k}": value for k, value in self.figures.recall.items()},
            "recall_at_1_interval": list(self.recall_1_interval),
            "median_rank": self.figures.median_rank,
            "mean_reciprocal_rank": self.figures.mean_reciprocal_rank,
        }


def galleries(pairs: int, gallery: int) -> list[NDArray[np.int64]]:
    """The pairs cut into consecutive galleries of one size; a rest is left out.

    Raises:
        InvalidRequest: fewer pairs than one gallery.
    """
    if not 2 <= gallery <= pairs:
        raise InvalidRequest(f"a gallery holds 2 to {pairs} pairs here, not {gallery}", field="gallery")
    return [np.arange(start, start + gallery) for start in range(0, pairs - gallery + 1, gallery)]


def compare(matrices: Mapping[str, NDArray[np.floating[Any]]], gallery: int) -> list[Row]:
    """Rows for every method's similarity matrix [videos, tracks], and the random row.

    With several galleries the queries of all of them are pooled.
    """
    rows: list[Row] = []
    for method, matrix in matrices.items():
        cuts = galleries(len(matrix), gallery)
        for direction, oriented in (("video to music", matrix), ("music to video", matrix.T)):
            parts = [oriented[np.ix_(cut, cut)] for cut in cuts]
            rank = np.concatenate([ranks(part) for part in parts])
            each = [figures(part) for part in parts]
            pooled = Figures(
                gallery=gallery,
                recall={k: float(np.mean([one.recall[k] for one in each])) for k in RECALL_AT},
                median_rank=float(np.median(rank)),
                mean_reciprocal_rank=float((1.0 / rank).mean()),
            )
            rows.append(Row(method, direction, pooled, bootstrap_interval((rank <= 1).astype(np.float64))))
    chance = random_figures(gallery)
    rows.append(Row("random", "either", chance, (chance.recall[1], chance.recall[1])))
    return rows


def emotion_figures(
    prediction: NDArray[np.float32],
    truth: NDArray[np.float32],
    predicted_labels: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, float]:
    """Correlation and error of valence and arousal [n, 2], and accuracy of the emotion class [n]."""
    error = np.sqrt(((prediction - truth) ** 2).mean(axis=0))
    return {
        "valence_correlation": float(np.corrcoef(prediction[:, 0], truth[:, 0])[0, 1]),
        "arousal_correlation": float(np.corrcoef(prediction[:, 1], truth[:, 1])[0, 1]),
        "valence_error": float(error[0]),
        "arousal_error": float(error[1]),
        "class_accuracy": float((predicted_labels == labels).mean()),
    }


def format_table(rows: list[Row]) -> str:
    """Plain text; recalls in percent."""
    head = f"{'method':8s} {'direction':15s} {'gallery':>7s}" + "".join(f"{f'R@{k}':>7s}" for k in RECALL_AT)
    lines = [head + f"{'median':>8s}{'MRR':>7s}   R@1, 95 % interval"]
    for row in rows:
        result = row.figures
        recalls = "".join(f"{100 * result.recall[k]:7.1f}" for k in RECALL_AT)
        low, high = row.recall_1_interval
        lines.append(
            f"{row.method:8s} {row.direction:15s} {result.gallery:7d}{recalls}{result.median_rank:8.1f}"
            f"{result.mean_reciprocal_rank:7.3f}   {100 * low:.1f} to {100 * high:.1f}"
        )
    return "\n".join(lines)
