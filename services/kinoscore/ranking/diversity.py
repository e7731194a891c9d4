"""Not too many tracks of one artist."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def limit_per_artist(ranked: Iterable[T], artist: Callable[[T], str], most: int, count: int) -> list[T]:
    """The first `count` of `ranked`, in their order, with at most `most` of one artist; 0 for no limit.

    Tracks without an artist are not taken to be of one: they are not limited.
    """
    if most == 0:
        return list(islice(ranked, count))
    seen: Counter[str] = Counter()
    kept: list[T] = []
    for one in ranked:
        name = artist(one)
        seen[name] += bool(name)
        if seen[name] <= most:
            kept.append(one)
        if len(kept) == count:
            break
    return kept
