"""Which rows train, validate and test. Rows of one group are never parted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualpath.benchmark.tasks import Task
from dualpath.data.features.pairs import FeaturePairs
from dualpath.training.features import LEAST_PAIRS
from kinoscore.errors import InvalidRequest

__all__ = ["Fold", "folds_of_split", "grouped_folds", "repeated_folds", "require_enough", "validation_part"]

_VALIDATION_PARTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Row numbers. Settings are chosen with training and validation rows; the method is then trained on both
    and measured on the test rows, which nothing else has seen.

    Attributes:
        seed: of the partition and of the method.
        number: which part is tested, from 0.
    """

    seed: int
    number: int
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def grouped_folds(groups: NDArray[np.int64], parts: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows [n] dealt into `parts` of about the same size, whole groups at a time.

    Raises:
        InvalidRequest: fewer groups than parts.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if not 2 <= parts <= len(names):
        raise InvalidRequest(_not_parted(len(names), parts), field="folds")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(parts, np.int64)
    part_of: dict[int, int] = {}
    for position in order:
        part = int(filled.argmin())
        part_of[int(names[position])] = part
        filled[part] += sizes[position]
    parts_of_rows = np.array([part_of[int(group)] for group in groups])
    return [np.flatnonzero(parts_of_rows == part) for part in range(parts)]


def _not_parted(groups: int, parts: int) -> str:
    cause = f"the rows are of {groups} sources (tracks, files), which cannot make {parts} folds"
    return f"{cause}: use --folds 2 to {groups}" if groups > 1 else f"{cause}: add pairs of other sources"


def repeated_folds(pairs: FeaturePairs, parts: int, seeds: Sequence[int]) -> list[Fold]:
    """k-fold over all rows, once a seed, each seed with another partition."""
    everything = np.arange(len(pairs))
    result = []
    for seed in seeds:
        for number, test in enumerate(grouped_folds(pairs.groups, parts, seed)):
            rest = np.setdiff1d(everything, test)
            result.append(_fold(pairs, seed, number, rest, test))
    return result


def folds_of_split(pairs: FeaturePairs, split: str, seeds: Sequence[int]) -> list[Fold]:
    """The published split, once a seed: `split` is tested, what comes before it trains.

    Raises:
        InvalidRequest: no rows on either side.
    """
    before = {"val": ("train",), "test": ("train", "val")}[split]
    splits = np.array(pairs.splits)
    test, rest = np.flatnonzero(splits == split), np.flatnonzero(np.isin(splits, before))
    if not len(test) or not len(rest):
        raise InvalidRequest(
            f"the data has no rows to {'train with' if len(test) else 'test'}", field="split"
        )
    return [_fold(pairs, seed, 0, rest, test) for seed in seeds]


def validation_part(groups: NDArray[np.int64], seed: int, number: int = 0) -> NDArray[np.int64]:
    """A fifth of the rows [n], to choose settings on; more where there are fewer than 5 groups.

    Raises:
        InvalidRequest: all rows are of one group, which cannot be parted.
    """
    parts = min(_VALIDATION_PARTS, len(np.unique(groups)))
    if parts < 2:
        raise InvalidRequest(
            f"all {len(groups)} rows to train with share one source (a track, a file), and none is left to "
            "choose settings on: add pairs of other sources, or, in a k-fold, use more --folds",
            field="folds",
        )
    # Large groups are dealt first, so always taking part 0 would always validate on the largest.
    return grouped_folds(groups, parts, seed)[(seed + number) % parts]


def require_enough(pairs: FeaturePairs, fold: Fold, task: Task) -> None:
    """Before anything is trained: whether the rows of a fold suffice.

    Raises:
        InvalidRequest: fewer than `LEAST_PAIRS` pairs to train with, or rows that cannot be scored.
    """
    count = int(pairs.match[fold.training].sum())
    if count < LEAST_PAIRS:
        raise InvalidRequest(
            f"fold {fold.number} leaves {count} pairs to train with, {LEAST_PAIRS} are the least: add pairs, "
            "or, in a k-fold, use more --folds",
            field="data",
        )
    if not task.enough(pairs.match[fold.validation]):
        raise InvalidRequest(
            f"fold {fold.number} leaves too few rows to choose settings on ({len(fold.validation)}): add "
            "pairs, or, in a k-fold, use more --folds",
            field="data",
        )
    # Scores of match or mismatch are pooled over all folds, so that one of them may hold one kind alone.
    if task.name == "retrieval" and not task.enough(pairs.match[fold.test]):
        raise InvalidRequest(
            f"fold {fold.number} tests {len(fold.test)} pairs, 2 are the least: use fewer --folds, or add "
            "pairs",
            field="data",
        )


def _fold(
    pairs: FeaturePairs, seed: int, number: int, rest: NDArray[np.int64], test: NDArray[np.int64]
) -> Fold:
    validation = rest[validation_part(pairs.groups[rest], seed, number)]
    return Fold(seed, number, np.setdiff1d(rest, validation), validation, test)
