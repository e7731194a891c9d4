"""What searches found, kept for those that ask nearly the same a moment later, as live streams do.

A query that lies s away from an older one is at most s more similar to any row than that was: s is how far
their blocks lie apart, weighted. So every row that the older search did not reach is at most as similar as
the last one that it reached, plus s. Rows found then that are more similar than that now are surely the
nearest, in their order: nothing is guessed. Where that is not enough, the next search asks for more rows than
the last one, so that of a small catalogue all are known soon.

All of it holds for one version of a catalogue; rows of older versions are no longer looked at and fall out.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinoscore.ranking.filters import Filter
from kinoscore.ranking.least_recent import LeastRecent
from kinoscore.ranking.recalled import RecalledRows
from kinoscore.ranking.rows import Passage, TrackRecord
from kinoscore.ranking.scoring import Blocks, Weights, to_query
from kinoscore.ranking.store import Found, MilvusStore
from kinoscore.runtime.deadline import Deadline

__all__ = ["KnownRows", "Nearest", "Neighbours", "Place"]

MOST_ROWS = 8192
"""Of passages, about 3 KB each, and of tracks."""
MOST_KEPT_ROWS = 65_536
"""Of all searches that are kept, about 2 KB each."""
SEARCHES_PER_PLACE = 64
"""As many as there may be live streams that ask alike, in one catalogue with one filter and weights."""
WIDENING = 4
"""How much more is asked for where what is known was too little."""
MOST_ASKED = 2048
"""Rows that are asked for so that others need not ask."""
ROUNDING = 1e-6


class KnownRows:
    """Reads tracks and passages once for each version of their catalogue."""

    def __init__(self, store: MilvusStore) -> None:
        self._store = store
        self._passages = LeastRecent[Passage](MOST_ROWS)
        self._records = LeastRecent[TrackRecord](MOST_ROWS)

    async def records(
        self, catalogue: str, version: int, track_ids: Iterable[str], deadline: Deadline
    ) -> dict[str, TrackRecord]:
        """As `MilvusStore.records`."""
        wanted = list(track_ids)
        known = {track: self._records.get((catalogue, version, track)) for track in wanted}
        missing = [track for track, record in known.items() if record is None]
        read = await self._store.records(catalogue, missing, deadline) if missing else {}
        for track, record in read.items():
            self._records.put((catalogue, version, track), record)
        found = {**known, **read}
        return {track: record for track, record in found.items() if record is not None}

    async def passages(
        self, catalogue: str, version: int, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> dict[str, dict[int, Passage]]:
        """As `MilvusStore.passages`."""
        found: dict[str, dict[int, Passage]] = {}
        missing: dict[str, list[int]] = {}
        for track, numbers in wanted.items():
            for number in numbers:
                passage = self._passages.get((catalogue, version, track, number))
                if passage is None:
                    missing.setdefault(track, []).append(number)
                else:
                    found.setdefault(track, {})[number] = passage
        if missing:
            read = await self._store.passages(catalogue, missing, deadline)
            for track, passages in read.items():
                found.setdefault(track, {}).update(passages)
                for number, passage in passages.items():
                    self._passages.put((catalogue, version, track, number), passage)
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """What searches must have in common to be compared; `condition` is the filter."""

    catalogue: str
    version: int
    condition: Filter | None
    weights: Weights

    def key(self) -> tuple[object, ...]:
        return (self.catalogue, self.version, self.condition, self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The rows that are surely the nearest to a query, among others.

    Attributes:
        similarities: float64 [rows], to the query.
        ceiling: no row that is not here is more similar; minus infinity where there are no others.
    """

    rows: RecalledRows
    similarities: NDArray[np.float64]
    ceiling: float


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """One search and what it found.

    Attributes:
        query: float32 [dimension].
        floor: no other row was more similar than that; minus infinity where there is no other.
        vectors: float32 [rows, dimension].
    """

    query: NDArray[np.float32]
    floor: float
    rows: RecalledRows
    vectors: NDArray[np.float32]


@dataclass(slots=True, eq=False)
class _Searches:
    """The searches of one place, and who may make the next one."""

    kept: deque[_Search] = field(default_factory=lambda: deque(maxlen=SEARCHES_PER_PLACE))
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def weight(self) -> int:
        return 1 + sum(len(search.vectors) for search in self.kept)


class Neighbours:
    """The searches of late, each with the rows that it found."""

    def __init__(self, rows: KnownRows, blocks: Blocks) -> None:
        self._rows = rows
        self._blocks = blocks
        self._searches = LeastRecent[_Searches](MOST_KEPT_ROWS, _Searches.weight)

    def asking(self, place: Place) -> asyncio.Lock:
        """To be held by who searches: what one finds may be what others would have asked for."""
        return self._at(place).asking

    def next_limit(self, place: Place) -> int:
        """How many rows the next search shall ask for, at least."""
        kept = self._at(place).kept
        return min(WIDENING * len(kept[-1].vectors), MOST_ASKED) if kept else 0

    def nearest(self, place: Place, query: NDArray[np.float32]) -> Nearest | None:
        """What is known of the rows near a query; None where nothing is.

        Args:
            query: float32 [dimension], of unit blocks.
        """
        kept = self._at(place).kept
        if not kept:
            return None
        number, ceiling = 0, -np.inf
        if kept[0].floor > -np.inf:
            shifts = self._shifts(np.stack([search.query for search in kept]) - query, place.weights)
            ceilings = np.array([search.floor for search in kept]) + shifts
            number = int(np.argmin(ceilings))
            ceiling = float(ceilings[number]) + ROUNDING
        [scaled] = to_query(query[np.newaxis], self._blocks, place.weights)
        return Nearest(kept[number].rows, (kept[number].vectors @ scaled).astype(np.float64), ceiling)

    async def remember(
        self,
        place: Place,
        query: NDArray[np.float32],
        found: Sequence[Found],
        deadline: Deadline,
        *,
        is_all: bool,
    ) -> None:
        """Keeps what a search found, the best first.

        Args:
            is_all: whether there are no other rows.
        """
        wanted: dict[str, list[int]] = {}
        for hit in found:
            wanted.setdefault(hit.track_id, []).append(hit.passage)
        stored = await self._rows.passages(place.catalogue, place.version, wanted, deadline)
        rows = RecalledRows.of(hit for hit in found if hit.passage in stored.get(hit.track_id, {}))
        if not rows.hits:
            return
        vectors = np.stack([stored[hit.track_id][hit.passage].vector for hit in rows.hits])
        searches = self._at(place)
        if is_all:
            # The others can tell no more than this one.
            searches.kept.clear()
        floor = -np.inf if is_all else found[-1].similarity
        searches.kept.append(_Search(query, floor, rows, vectors))
        self._searches.put(place.key(), searches)

    def _at(self, place: Place) -> _Searches:
        searches = self._searches.get(place.key())
        if searches is None:
            searches = _Searches()
            self._searches.put(place.key(), searches)
        return searches

    def _shifts(self, differences: NDArray[np.float32], weights: Weights) -> NDArray[np.float64]:
        """How much more similar a row may have become at most, for each of [n, dimension]."""
        lengths = [np.linalg.norm(block, axis=1) for block in self._blocks.split(differences)]
        shifts: NDArray[np.float64] = weights.as_array() / weights.total @ np.stack(lengths)
        return shifts
