"""From a clip to ranked tracks: recall in Milvus, then align, score, order and diversify.

A clip of one window is recalled passage by passage until no track that was not seen could enter the
answer: its ranking is exact, unless thousands of passages are as near as the polarity penalty is large. A
longer clip is recalled by a few of its windows and by its whole, and the candidates are aligned as
sequences.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.inference.repository import Manifest
from kinoscore.ranking.alignment import Alignment, align
from kinoscore.ranking.diversity import limit_per_artist
from kinoscore.ranking.engines import MOST_FOUND
from kinoscore.ranking.filters import Filter
from kinoscore.ranking.matching import passes
from kinoscore.ranking.neighbours import KnownRows, Neighbours, Place
from kinoscore.ranking.recalled import RecalledRows
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage
from kinoscore.ranking.scoring import (
    SCORE_DECIMALS,
    Blocks,
    Weights,
    cosines,
    polarity,
    polarity_penalty,
    rounded,
    similarity,
    to_query,
)
from kinoscore.ranking.store import Found, MilvusStore
from kinoscore.ranking.typical import TypicalScores
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

RECALL_WINDOWS = 4
"""Windows of a long clip that recall tracks."""
ROWS_PER_TRACK = 4
"""Rows recalled for each track that is wanted: passages of one track crowd together."""
SPARE_ROWS = 24
SPARE_TRACKS = 8
"""Candidates beyond those wanted, for the exact scores to choose from."""
ESTIMATE_ERROR = 2.5 * 10**-SCORE_DECIMALS
"""Estimates that lie nearer together than this may change places: they are of single precision, and they and
the scores are rounded."""
LEAST_ALIGNED = 24
"""Candidates that are aligned for a long clip, though fewer are wanted."""
MOST_ROWS_FOR_EXACTNESS = 4096
"""Where enough tracks are found, no more rows than this are recalled to be sure of their order."""
WIDENING = 4
"""How much more is recalled when it was too little."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is wanted of a search.

    Attributes:
        clip: the whole clip; its vector is float32 [448], like those of the windows.
        windows: the clip's windows in order, at least one.
        centre: the valence that counts as neutral in the catalogue.
        place: where what is found may be kept for queries that hardly differ; None where it is not.
    """

    catalogue: str
    clip: Passage
    windows: tuple[Passage, ...]
    k: int
    weights: Weights
    condition: Filter | None
    max_per_artist: int
    centre: float
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A track in the answer: where the clip lies along it, and the cosines there.

    Attributes:
        passages: those that the clip lies on, in order; `windows` are the numbers of the windows that lie
        there. shares: float64 [n], what each passage counts for; they sum to 1. cosines: fused, content,
        emotion, each the mean over the passages.
    """

    metadata: common_pb2.TrackMetadata
    score: float
    cosines: tuple[float, float, float]
    passages: tuple[Passage, ...]
    windows: NDArray[np.int64]
    shares: NDArray[np.float64]


# The one window of a short clip, and what its passage counts for.
_FIRST, _WHOLE = np.zeros(1, np.int64), np.ones(1)


@dataclass(frozen=True, slots=True)
class _Candidate:
    track_id: str
    artist: str
    estimate: float
    passages: tuple[int, ...]


class TrackSearch:
    """Ranks the tracks of a store; between searches it keeps only what its neighbours are for."""

    def __init__(self, store: MilvusStore, manifest: Manifest) -> None:
        dimensions = manifest.dimensions
        self._store = store
        self._blocks = Blocks(dimensions.fused, dimensions.content, dimensions.emotion)
        self._clip_centre = manifest.calibration.video.valence_mean
        self._neutral_band = manifest.calibration.neutral_band
        self._hop_seconds = manifest.music.passage_hop_seconds
        self._rows = KnownRows(store)
        self._neighbours = Neighbours(self._rows, self._blocks)
        self._typical_scores = TypicalScores(store, self._rows, self._blocks)

    async def rank(self, query: Query, deadline: Deadline) -> list[Ranked]:
        """At most `k` tracks, the best first; equal scores in order of track id."""
        recall = self._recall_short if len(query.windows) == 1 else self._recall_long
        candidates = await recall(query, deadline)
        wanted = {candidate.track_id: candidate.passages for candidate in candidates}
        stored, metadata = await self._read(query, wanted, deadline)
        # A track that was deleted since it was found is left out.
        present = {track_id: passages for track_id, passages in stored.items() if track_id in metadata}
        ranked = self._scored(query, present, metadata)
        ranked.sort(key=lambda one: (-one.score, one.metadata.track_id))
        return limit_per_artist(ranked, lambda one: one.metadata.artist, query.max_per_artist, query.k)

    async def score(
        self, query: Query, track_ids: Iterable[str], deadline: Deadline
    ) -> tuple[list[Ranked], list[str]]:
        """The stored tracks among `track_ids`, the best first, whether the filter lets them pass or not, and
        the ids of those that it does not.
        """
        place = query.place
        if place is None:
            records = await self._store.records(query.catalogue, track_ids, deadline)
        else:
            records = await self._rows.records(query.catalogue, place.version, track_ids, deadline)
        wanted = {track_id: range(record.passage_count) for track_id, record in records.items()}
        stored, metadata = await self._read(query, wanted, deadline)
        ranked = self._scored(query, stored, metadata)
        ranked.sort(key=lambda one: (-one.score, one.metadata.track_id))
        barred = [track_id for track_id, record in records.items() if not passes(query.condition, record)]
        return ranked, barred

    async def typical_score(self, query: Query, deadline: Deadline) -> float | None:
        """What the tracks that the filter lets pass score on average; None where there are none, or where
        nothing is kept of the query.
        """
        if query.place is None:
            return None
        return await self._typical_scores.score(query.place, query.clip.vector, deadline)

    async def _read(
        self, query: Query, wanted: Mapping[str, Iterable[int]], deadline: Deadline
    ) -> tuple[dict[str, dict[int, Passage]], dict[str, common_pb2.TrackMetadata]]:
        """Passages by track and number, and the metadata of the tracks."""
        catalogue, place = query.catalogue, query.place
        if place is None:
            return await asyncio.gather(
                self._store.passages(catalogue, wanted, deadline),
                self._store.metadata(catalogue, wanted, deadline),
            )
        stored = await self._rows.passages(catalogue, place.version, wanted, deadline)
        records = await self._rows.records(catalogue, place.version, wanted, deadline)
        return stored, {track_id: record.metadata for track_id, record in records.items()}

    async def _recall_short(self, query: Query, deadline: Deadline) -> list[_Candidate]:
        """The best candidates, each with its best passage only."""
        [window] = query.windows
        if query.place is None:
            return await self._recall_passages(query, window, _first_limit(query.k), deadline)
        near = self._known(query, window, query.place)
        if near is None:
            async with self._neighbours.asking(query.place):
                near = self._known(query, window, query.place)
                if near is None:
                    limit = max(_first_limit(query.k), self._neighbours.next_limit(query.place))
                    near = await self._recall_passages(query, window, limit, deadline)
        return near

    def _known(self, query: Query, window: Passage, place: Place) -> list[_Candidate] | None:
        """The best candidates as searches of before tell them; None where that is not certain."""
        known = self._neighbours.nearest(place, window.vector)
        if known is None:
            return None
        similarities = np.where(known.similarities > known.ceiling, known.similarities, -np.inf)
        return self._surely_best(query, window, known.rows, similarities, known.ceiling)

    async def _recall_passages(
        self, query: Query, window: Passage, limit: int, deadline: Deadline
    ) -> list[_Candidate]:
        while True:
            [found] = await self._search(query, [window], PASSAGES, limit, deadline)
            is_all = len(found) < limit
            if query.place is not None:
                await self._neighbours.remember(query.place, window.vector, found, deadline, is_all=is_all)
            rows = RecalledRows.of(found)
            unseen = -np.inf if _exhausted(found, limit) else found[-1].similarity
            near = self._surely_best(query, window, rows, rows.similarities, unseen)
            if near is not None:
                return near
            if limit >= MOST_ROWS_FOR_EXACTNESS:
                kept = self._candidates(query, window, rows, rows.similarities)
                if len(kept) >= query.k:
                    return _near(kept, query.k)
            limit = min(limit * WIDENING, MOST_FOUND)

    def _surely_best(
        self,
        query: Query,
        window: Passage,
        rows: RecalledRows,
        similarities: NDArray[np.float64],
        unseen: float,
    ) -> list[_Candidate] | None:
        """The best candidates, where no row that is not here could be among them; else None.

        Args:
            unseen: no such row is more similar; minus infinity where there is none.
        """
        kept = self._candidates(query, window, rows, similarities)
        is_sure = unseen == -np.inf or (len(kept) >= query.k and kept[query.k - 1].estimate > rounded(unseen))
        return _near(kept, query.k) if is_sure else None

    def _candidates(
        self, query: Query, window: Passage, rows: RecalledRows, similarities: NDArray[np.float64]
    ) -> list[_Candidate]:
        """The best passage of each track, the best tracks first."""
        penalty = self._penalty(query, np.array(window.emotion.valence), rows.valences)
        estimates = np.round(similarities - penalty, SCORE_DECIMALS)
        candidates = (
            _Candidate(hit.track_id, hit.artist, float(estimates[row]), (hit.passage,))
            for row in rows.best_of_tracks(estimates)
            for hit in (rows.hits[row],)
        )
        return limit_per_artist(
            candidates, lambda one: one.artist, query.max_per_artist, query.k + SPARE_TRACKS
        )

    async def _recall_long(self, query: Query, deadline: Deadline) -> list[_Candidate]:
        """The candidates nearest to some of the windows and to the whole, each with all of its passages."""
        count = len(query.windows)
        chosen = np.unique(np.linspace(0, count - 1, min(count, RECALL_WINDOWS)).round().astype(int))
        windows = [query.windows[number] for number in chosen]
        wanted = max(2 * query.k, LEAST_ALIGNED)
        limit = _first_limit(query.k)
        while True:
            by_window = await self._search(query, windows, PASSAGES, limit, deadline)
            by_whole = await self._search(query, [query.clip], TRACKS, limit, deadline)
            lists = [*by_window, *by_whole]
            candidates = limit_per_artist(
                _ordered(_nearest_on_average(lists)), lambda one: one.artist, query.max_per_artist, wanted
            )
            if len(candidates) >= query.k or all(_exhausted(found, limit) for found in lists):
                return candidates
            limit = min(limit * WIDENING, MOST_FOUND)

    async def _search(
        self, query: Query, windows: Iterable[Passage], partition: str, limit: int, deadline: Deadline
    ) -> list[list[Found]]:
        vectors = np.stack([window.vector for window in windows])
        return await self._store.search(
            query.catalogue,
            to_query(vectors, self._blocks, query.weights),
            query.condition,
            partition=partition,
            limit=limit,
            deadline=deadline,
        )

    def _scored(
        self,
        query: Query,
        stored: Mapping[str, Mapping[int, Passage]],
        metadata: Mapping[str, common_pb2.TrackMetadata],
    ) -> list[Ranked]:
        """Each track at its best place, the passages of all compared at once.

        Args:
            stored: the candidates' passages by track id and number, at least one of each.
        """
        if not stored:
            return []
        tracks = {track_id: [own[number] for number in sorted(own)] for track_id, own in stored.items()}
        passages = [passage for own in tracks.values() for passage in own]
        windows = np.stack([window.vector for window in query.windows])
        cosine = cosines(windows, np.stack([passage.vector for passage in passages]), self._blocks)
        agreement = similarity(cosine, query.weights) - self._penalty(
            query,
            np.array([[window.emotion.valence] for window in query.windows]),
            np.array([[passage.emotion.valence for passage in passages]]),
        )
        if len(query.windows) == 1:
            return _at_best_passages(tracks, metadata, cosine[:, 0], agreement[0])
        steps, durations = self._steps(query.windows), _durations(query.windows)
        ranked = []
        start = 0
        for track_id, own in tracks.items():
            mine = slice(start, start + len(own))
            start = mine.stop
            place = align(agreement[:, mine], steps, durations)
            ranked.append(
                Ranked(
                    metadata=metadata[track_id],
                    score=rounded(place.score),
                    cosines=_mean_cosines(cosine[:, :, mine], place),
                    passages=tuple(own[number] for number in place.passages),
                    windows=place.windows,
                    shares=place.weights,
                )
            )
        return ranked

    def _penalty(
        self, query: Query, clip_valence: NDArray[np.float64], passage_valence: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        clip = polarity(clip_valence, self._clip_centre, self._neutral_band)
        passage = polarity(passage_valence, query.centre, self._neutral_band)
        return polarity_penalty(clip, passage, query.weights)

    def _steps(self, windows: tuple[Passage, ...]) -> NDArray[np.int64]:
        """The windows' starts in passage hops."""
        starts = np.array([window.start_seconds for window in windows])
        steps: NDArray[np.int64] = np.rint((starts - starts[0]) / self._hop_seconds).astype(np.int64)
        return steps


def _first_limit(k: int) -> int:
    return min(ROWS_PER_TRACK * k + SPARE_ROWS, MOST_FOUND)


def _exhausted(found: list[Found], limit: int) -> bool:
    """Whether more could not be found by asking for more."""
    return len(found) < limit or limit >= MOST_FOUND


def _ordered(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    return sorted(candidates, key=lambda one: (-one.estimate, one.track_id))


def _near(candidates: list[_Candidate], k: int) -> list[_Candidate]:
    """Those that may be among the first k once their exact scores are known; they come in order."""
    if len(candidates) <= k:
        return candidates
    least = candidates[k - 1].estimate - ESTIMATE_ERROR
    return [one for one in candidates if one.estimate >= least]


def _nearest_on_average(lists: list[list[Found]]) -> Iterable[_Candidate]:
    """Tracks by their best similarity in each list, on average; where a list lacks a track, the list's
    worst.
    """
    seen: dict[str, Found] = {}
    best: list[dict[str, float]] = []
    for found in lists:
        nearest: dict[str, float] = {}
        for hit in found:
            seen[hit.track_id] = hit
            nearest.setdefault(hit.track_id, hit.similarity)
        best.append(nearest)
    floors = [found[-1].similarity if found else -1.0 for found in lists]
    for track_id, hit in seen.items():
        scores = [nearest.get(track_id, floor) for nearest, floor in zip(best, floors, strict=True)]
        estimate = rounded(sum(scores) / len(scores))
        yield _Candidate(track_id, hit.artist, estimate, tuple(range(hit.passage_count)))


def _durations(windows: tuple[Passage, ...]) -> NDArray[np.float64]:
    # A single window may last no time: a clip of one frame.
    return np.array([max(window.duration_seconds, 1e-3) for window in windows])


def _at_best_passages(
    tracks: Mapping[str, Sequence[Passage]],
    metadata: Mapping[str, common_pb2.TrackMetadata],
    cosine: NDArray[np.float64],
    agreement: NDArray[np.float64],
) -> list[Ranked]:
    """Each track at its best passage: one window need not be laid out.

    Args:
        tracks: by track id, their passages.
        cosine: [3, all passages], of fused, content and emotion.
        agreement: [all passages].
    """
    scored = agreement.tolist()
    best = []
    start = 0
    for own in tracks.values():
        best.append(max(range(start, start + len(own)), key=scored.__getitem__))
        start += len(own)
    passages = [passage for own in tracks.values() for passage in own]
    values = np.vstack([agreement, cosine])[:, best]
    scores = np.round(values.clip(-1.0, 1.0), SCORE_DECIMALS).T + 0.0
    return [
        Ranked(metadata[track_id], score, (fused, content, emotion), (passages[row],), _FIRST, _WHOLE)
        for track_id, row, (score, fused, content, emotion) in zip(tracks, best, scores.tolist(), strict=True)
    ]


def _mean_cosines(cosine: NDArray[np.float64], place: Alignment) -> tuple[float, float, float]:
    fused, content, emotion = cosine[:, place.windows, place.passages] @ place.weights
    return rounded(fused), rounded(content), rounded(emotion)
