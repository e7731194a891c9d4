"""What searches found, kept for those that ask nearly the same a moment later, as live streams do.

A query that lies s away from an older one is at most s more similar to any row than that was: s is how far
their blocks lie apart, weighted. So every row that the older search did not reach is at most as similar as
the last one that it reached, plus s. Rows found then that are more similar than that now are surely the
nearest, in their order: nothing is guessed.

All of it holds for one version of a catalogue; rows of older versions are no longer looked at and fall out.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinoscore.ranking.rows import Passage, TrackRecord
from kinoscore.ranking.scoring import Blocks, Weights, to_query
from kinoscore.ranking.store import Found, MilvusStore
from kinoscore.runtime.deadline import Deadline

__all__ = ["KnownRows", "Neighbours", "Place"]

MOST_ROWS = 8192
"""Of passages, about 3 KB each, and of tracks."""
MOST_PLACES = 256
"""Catalogues, filters and weights whose searches are kept."""
SEARCHES_PER_PLACE = 64
"""As many as there may be live streams that ask alike."""
ROUNDING = 1e-6

Value = TypeVar("Value")


class _LeastRecent(Generic[Value]):
    """Values by key; the least recently used go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[tuple[object, ...], Value] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> Value | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: tuple[object, ...], value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)


class KnownRows:
    """Reads tracks and passages once for each version of their catalogue."""

    def __init__(self, store: MilvusStore) -> None:
        self._store = store
        self._passages = _LeastRecent[Passage](MOST_ROWS)
        self._records = _LeastRecent[TrackRecord](MOST_ROWS)

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
    condition: object
    weights: Weights

    def key(self) -> tuple[object, ...]:
        return (self.catalogue, self.version, self.condition, self.weights)


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
    rows: Sequence[Found]
    vectors: NDArray[np.float32]


class Neighbours:
    """The searches of late, each with the rows that it found."""

    def __init__(self, rows: KnownRows, blocks: Blocks) -> None:
        self._rows = rows
        self._blocks = blocks
        self._searches = _LeastRecent[deque[_Search]](MOST_PLACES)

    def nearest(self, place: Place, query: NDArray[np.float32]) -> list[Found]:
        """The rows that are surely the nearest to a query, the best first; maybe none.

        Args:
            query: float32 [dimension], of unit blocks.
        """
        searches = self._searches.get(place.key())
        if not searches:
            return []
        shifts = self._shifts(np.stack([search.query for search in searches]) - query, place.weights)
        ceilings = np.array([search.floor for search in searches]) + shifts
        number = int(np.argmin(ceilings))
        search, ceiling = searches[number], ceilings[number] + ROUNDING
        [scaled] = to_query(query[np.newaxis], self._blocks, place.weights)
        similarities = search.vectors @ scaled
        order = np.argsort(-similarities, kind="stable")
        return [
            replace(search.rows[row], similarity=float(similarities[row]))
            for row in order
            if similarities[row] > ceiling
        ]

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
        rows = [hit for hit in found if hit.passage in stored.get(hit.track_id, {})]
        if not rows:
            return
        vectors = np.stack([stored[hit.track_id][hit.passage].vector for hit in rows])
        floor = -np.inf if is_all else found[-1].similarity
        searches = self._searches.get(place.key())
        if searches is None:
            searches = deque(maxlen=SEARCHES_PER_PLACE)
            self._searches.put(place.key(), searches)
        searches.append(_Search(query, floor, rows, vectors))

    def _shifts(self, differences: NDArray[np.float32], weights: Weights) -> NDArray[np.float64]:
        """How much more similar a row may have become at most, for each of [n, dimension]."""
        lengths = [np.linalg.norm(block, axis=1) for block in self._blocks.split(differences)]
        shifts: NDArray[np.float64] = weights.as_array() / weights.total @ np.stack(lengths)
        return shifts
