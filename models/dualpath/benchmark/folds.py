"""Which rows train, validate and test. Rows of one group are never parted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.pairs import FeaturePairs
from kinoscore.errors import InvalidRequest

__all__ = ["Fold", "folds_of_split", "grouped_folds", "repeated_folds"]

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
        raise InvalidRequest(f"{len(names)} groups cannot make {parts} folds: use 2 to {len(names)}")
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


def _fold(
    pairs: FeaturePairs, seed: int, number: int, rest: NDArray[np.int64], test: NDArray[np.int64]
) -> Fold:
    # Large groups are dealt first, so always taking part 0 would always validate on the largest.
    parts = grouped_folds(pairs.groups[rest], _VALIDATION_PARTS, seed)
    validation = rest[parts[(seed + number) % _VALIDATION_PARTS]]
    return Fold(seed, number, np.setdiff1d(rest, validation), validation, test)
