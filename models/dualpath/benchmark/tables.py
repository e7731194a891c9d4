"""The results as rows, and rows as text, CSV, JSON and Markdown."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dualpath.benchmark.results import Unit
from dualpath.data.features.pairs import FeaturePairs
from dualpath.evaluation.matching import area_under_curve
from dualpath.evaluation.retrieval import RECALL_AT, bootstrap_interval, random_figures
from dualpath.methods.method import Kind

__all__ = ["Named", "Row", "as_csv", "as_markdown", "as_text", "match_rows", "retrieval_rows"]

Row = dict[str, Any]


class Named(Protocol):
    """What a table must know of a method."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...


_DRAWS = 1000
_BROUGHT = "idea brings"


def retrieval_rows(
    units: Sequence[Unit],
    methods: Sequence[Named],
    *,
    at: int = 10,
    gallery: int | None = None,
    groups: Mapping[str, int] | None = None,
) -> list[Row]:
    """One row a method and direction, "both" first, and what a random order reaches.

    Recalls in percent. Intervals are 95 % bootstraps over pairs: a pair counts once, with the mean over its
    repetitions and directions. `difference` is R@`at` less that of the best baseline, pair by pair; of an
    ablation, `idea brings` is R@`at` of the whole method less its own.

    Args:
        gallery: of how many pairs, where that is not the rows of a unit.
        groups: identifier -> group; where pairs share one, as passages of a track do, the intervals are
            bootstraps over groups, for such pairs are no independent draws.
    """
    interval_of = _interval_of(units, groups or {})
    found = {method.name: _of(units, method.name) for method in methods}
    hits = {name: _hits_by_pair(of, at) for name, of in found.items()}
    best = _best_baseline({name: float(values.mean()) for name, values in hits.items()}, methods)
    rows = []
    for method in methods:
        values = hits[method.name]
        low, high = interval_of(100.0 * values)
        row: Row = {f"R@{at} low": low, f"R@{at} high": high}
        if best is not None and method.name != best:
            difference = 100.0 * (values - hits[best])
            row |= _difference(float(difference.mean()), interval_of(difference), best)
        if (whole := _whole_method(method, methods)) is not None:
            brought = 100.0 * (hits[whole] - values)
            row |= _brought(float(brought.mean()), interval_of(brought))
        for direction in ("both", "video to music", "music to video"):
            ranks = np.concatenate(
                [
                    np.array(values)
                    for unit in found[method.name]
                    for name, values in unit.measured.items()
                    if direction in ("both", name)
                ]
            )
            rows.append(
                {
                    "method": method.name,
                    "kind": str(method.kind),
                    "direction": direction,
                    **{f"R@{k}": 100.0 * float((ranks <= k).mean()) for k in RECALL_AT},
                    "median rank": float(np.median(ranks)),
                    "MRR": float((1.0 / ranks).mean()),
                    "gallery": _gallery(found[method.name], gallery),
                    "seconds": float(np.mean([unit.seconds for unit in found[method.name]])),
                    **(row if direction == "both" else {}),
                }
            )
    chance = random_figures(gallery or round(np.mean([len(unit.rows) for unit in units])))
    rows.append(
        {
            "method": "(chance)",
            "kind": "",
            "direction": "both",
            **{f"R@{k}": 100.0 * chance.recall[k] for k in RECALL_AT},
            "median rank": chance.median_rank,
            "MRR": chance.mean_reciprocal_rank,
            "gallery": _gallery(units, gallery),
        }
    )
    return rows


def match_rows(units: Sequence[Unit], methods: Sequence[Named], pairs: FeaturePairs) -> list[Row]:
    """One row a method: area under the curve of match against mismatch, mean over repetitions, in percent.

    Scores are percentiles within their fold, pooled over the folds of a repetition. Intervals are 95 %
    bootstraps over groups of rows that share a source. `difference` and `idea brings` are those of
    `retrieval_rows`.
    """
    number = {identifier: row for row, identifier in enumerate(pairs.identifiers)}
    scores = {method.name: _scores_by_row(_of(units, method.name), number) for method in methods}
    tested = np.flatnonzero(np.isfinite(next(iter(scores.values()))).all(axis=0))
    truth = pairs.match[tested]
    draws = _group_draws(pairs.groups[tested])
    areas = {
        name: 100.0
        * np.array(
            [[area_under_curve(one[draw], truth[draw]) for one in values[:, tested]] for draw in draws]
        ).mean(axis=1)
        for name, values in scores.items()
    }
    pooled = {
        name: 100.0 * float(np.mean([area_under_curve(one, truth) for one in values[:, tested]]))
        for name, values in scores.items()
    }
    best = _best_baseline(pooled, methods)
    rows = []
    for method in methods:
        low, high = np.percentile(areas[method.name], [2.5, 97.5])
        row: Row = {
            "method": method.name,
            "kind": str(method.kind),
            "AUC": pooled[method.name],
            "AUC low": float(low),
            "AUC high": float(high),
            "rows": len(tested),
            "seconds": float(np.mean([unit.seconds for unit in _of(units, method.name)])),
        }
        if best is not None and method.name != best:
            interval = np.percentile(areas[method.name] - areas[best], [2.5, 97.5])
            row |= _difference(pooled[method.name] - pooled[best], tuple(interval), best)
        if (whole := _whole_method(method, methods)) is not None:
            interval = np.percentile(areas[whole] - areas[method.name], [2.5, 97.5])
            row |= _brought(pooled[whole] - pooled[method.name], tuple(interval))
        rows.append(row)
    rows.append({"method": "(chance)", "kind": "", "AUC": 50.0, "rows": len(tested)})
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal."""
    head, body = _cells(rows)
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < _TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for a README."""
    head, body = _cells(rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """All columns, unrounded."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


_TEXT_COLUMNS = 2
_HIDDEN = ("kind", "seconds")
_SIGNED = ("difference", _BROUGHT)


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """What a reader sees: intervals beside their figure, and no column that is only for programs."""
    columns = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in _HIDDEN and not name.endswith((" low", " high"))
    ]
    return columns, [[_cell(row, name) for name in columns] for row in rows]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, str | int):
        return f"{value} *" if name == "method" and row["kind"] == Kind.OURS else str(value)
    text = f"{value:.3f}" if name == "MRR" else f"{value:+.1f}" if name in _SIGNED else f"{value:.1f}"
    if f"{name} low" in row:
        text += f" ({row[f'{name} low']:.1f} to {row[f'{name} high']:.1f})"
    return text


def _of(units: Sequence[Unit], method: str) -> list[Unit]:
    return [unit for unit in units if unit.method == method]


def _gallery(units: Sequence[Unit], gallery: int | None) -> str:
    if gallery is not None:
        return str(gallery)
    sizes = sorted({len(unit.rows) for unit in units})
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"


def _hits_by_pair(units: Sequence[Unit], at: int) -> NDArray[np.float64]:
    """Share of R@`at` hits of each pair over repetitions and directions, pairs in a fixed order: [pairs]."""
    hits: dict[str, list[bool]] = {}
    for unit in units:
        for ranks in unit.measured.values():
            for identifier, rank in zip(unit.rows, ranks, strict=True):
                hits.setdefault(identifier, []).append(rank <= at)
    return np.array([np.mean(hits[identifier]) for identifier in sorted(hits)])


def _interval_of(
    units: Sequence[Unit], groups: Mapping[str, int]
) -> Callable[[NDArray[np.float64]], tuple[float, float]]:
    """From values of the pairs, ordered as by `_hits_by_pair`, to the 95 % interval of their mean."""
    tested = sorted({identifier for unit in units for identifier in unit.rows})
    numbers = np.array([groups.get(identifier, -1) for identifier in tested], np.int64)
    if not groups or len(np.unique(numbers)) == len(tested):
        return bootstrap_interval
    draws = _group_draws(numbers)

    def interval(values: NDArray[np.float64]) -> tuple[float, float]:
        low, high = np.percentile([values[draw].mean() for draw in draws], [2.5, 97.5])
        return float(low), float(high)

    return interval


def _scores_by_row(units: Sequence[Unit], number: Mapping[str, int]) -> NDArray[np.float64]:
    """[repetitions, rows]; NaN where a row was not tested."""
    seeds = sorted({unit.seed for unit in units})
    scores = np.full((len(seeds), len(number)), np.nan)
    for unit in units:
        at = [number[identifier] for identifier in unit.rows]
        scores[seeds.index(unit.seed), at] = unit.measured["percentile"]
    return scores


def _group_draws(groups: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Bootstrap samples of whole groups, as row numbers."""
    random = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    return [
        np.concatenate([members[one] for one in random.integers(0, len(members), len(members))])
        for _ in range(_DRAWS)
    ]


def _best_baseline(figures: Mapping[str, float], methods: Sequence[Named]) -> str | None:
    baselines = [method.name for method in methods if method.kind is Kind.BASELINE]
    return max(baselines, key=lambda name: figures[name]) if baselines else None


def _whole_method(method: Named, methods: Sequence[Named]) -> str | None:
    """The method that an ablation takes an idea away from, where it was run too."""
    if method.kind is not Kind.ABLATION:
        return None
    ours = (one.name for one in methods if one.kind is Kind.OURS)
    return next((name for name in ours if method.name.startswith(f"{name}-no-")), None)


def _brought(value: float, interval: tuple[float, ...]) -> Row:
    return {
        _BROUGHT: value,
        f"{_BROUGHT} low": float(interval[0]),
        f"{_BROUGHT} high": float(interval[1]),
    }


def _difference(value: float, interval: tuple[float, ...], best: str) -> Row:
    return {
        "difference": value,
        "difference low": float(interval[0]),
        "difference high": float(interval[1]),
        "against": best,
    }
