"""A list of tracks that follows changing scores, but not their flicker.

Pure: scores and times in, a list out. It is renewed, as a whole, only when it has been worse by a margin than
it could be, at every look, for a hold time; in between, scores may do what they like.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Changes", "Departure", "Spread", "StableList", "Waits"]

# Margins by which a single track must be ahead.
_FAR_AHEAD = 3.0
_LEAST_SPREAD = 0.03


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a list drawn at random is from the best one, in scores: what a difference is measured in.

    Our choice. All are at least 0.03, so that tracks that are all alike do not change places.

    Attributes:
        renewal: by how much its tracks are worse, for each place that could change hands.
        order: how far the track at each place is from the one that is due there, on average.
        track: how far a single track drawn at random is from the best; whatever the size of the list.
    """

    renewal: float
    order: float
    track: float

    @classmethod
    def of(cls, scores: Iterable[float], size: int, typical: float | None) -> Self:
        """From the scores of a moment.

        Args:
            scores: of all tracks, or of the best: at least twice as many as the list holds.
            size: tracks in the list.
            typical: the mean score of all tracks; None where `scores` are those of all.
        """
        ordered = sorted(scores, reverse=True)
        best = ordered[:size]
        if not best:
            return cls(_LEAST_SPREAD, _LEAST_SPREAD, _LEAST_SPREAD)
        drawn = ordered if typical is None else [typical]
        mean = sum(drawn) / len(drawn)
        lead = sum(best) - len(best) * mean
        places = min(len(best), len(ordered) - len(best))
        distance = sum(abs(score - other) for score in best for other in drawn)
        return cls(
            renewal=max(_LEAST_SPREAD, lead / places if places else 0.0),
            order=max(_LEAST_SPREAD, distance / (len(best) * len(drawn))),
            track=max(_LEAST_SPREAD, best[0] - mean),
        )


@dataclass(slots=True)
class Waits:
    """What a list waits for, each since when in seconds of the stream; None where it does not.

    Attributes:
        is_settling: the free renewal of a list of a glance.
        behind_since_seconds: the best have been better by the margin.
        outrun_since_seconds: a single track has been far better.
        disordered_since_seconds: the order has been another.
        departing_since_seconds: the scene has moved away from the pinned track.
        better_track_id: to what, once it has; empty where it has not.
    """

    is_settling: bool = False
    behind_since_seconds: float | None = None
    outrun_since_seconds: float | None = None
    disordered_since_seconds: float | None = None
    departing_since_seconds: float | None = None
    better_track_id: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two lists of track ids, each in the order in which it is found.

    Attributes:
        entered: in the order of the new list.
        left: in the order of the old list.
        moved: those whose place among the tracks of both lists is another, in the order of the new list.
    """

    entered: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[str, ...]

    @classmethod
    def between(cls, old: Iterable[str], new: Iterable[str]) -> "Changes":
        """From two lists without repeats."""
        old, new = tuple(old), tuple(new)
        was_there, is_there = set(old), set(new)
        stayed_before = [track for track in old if track in is_there]
        stayed = [track for track in new if track in was_there]
        return cls(
            entered=tuple(track for track in new if track not in was_there),
            left=tuple(track for track in old if track not in is_there),
            moved=tuple(
                track for before, track in zip(stayed_before, stayed, strict=True) if before != track
            ),
        )


@dataclass(frozen=True, slots=True)
class Departure:
    """The scene moves away from the pinned track.

    Attributes:
        since_seconds: since when another track has been better by the margin, at every look.
        is_settled: that has lasted for the hold time.
        better_track: the best one, in the list or not; once settled it stays while it is better than the
            pinned one by the margin, and no other is better than it by as much.
    """

    since_seconds: float
    is_settled: bool
    better_track: str


class StableList:
    """At most `size` tracks, the best first, for as long as a scene lasts.

    - The list changes as a whole: when the best tracks have been better than those of the list by the margin,
      on average over the places that could change hands, at every look, for the hold time. Then the best come
      in at once, each of them better than the worst of the list by the margin. So one scene that follows
      another is one change, and tracks that are nearly tied do not flicker.
    - A track that has been better than the worst of the list by three margins, at every look, for the hold
      time, comes in with no others that are less far ahead: an average would never let it in by itself.
    - The first list is of a glance: it is renewed once, freely, as soon as the stream has been seen for the
      settling time.
    - A free place is filled at once by the best track there is.
    - The order is that of the scores whenever a track enters or leaves, and when the scores at the places of
      the list have been off from those in order by the margin, on average, for the hold time.
    - The pinned track stays, whatever its score. A skipped one leaves at once and never comes again.

    Args:
        size: tracks in the list.
        margin: how much better, as a part of the `Spread` of the moment.
        hold_seconds: for how long.
        settling_seconds: how much of a stream tells what it is like; 0 where the first look does.
    """

    def __init__(self, size: int, margin: float, hold_seconds: float, settling_seconds: float = 0.0) -> None:
        self.size = size
        self._relative_margin = margin
        # In scores, as of the last look.
        self._margin = 0.0
        self._order_margin = 0.0
        self._pin_margin = 0.0
        self._hold_seconds = hold_seconds
        self._settling_seconds = settling_seconds
        self._waits = Waits(is_settling=settling_seconds > 0)
        self._tracks: list[str] = []
        self._skipped: set[str] = set()
        self._pinned = ""
        self._departure: Departure | None = None

    @property
    def tracks(self) -> tuple[str, ...]:
        """The list as it stands."""
        return tuple(self._tracks)

    @property
    def skipped(self) -> frozenset[str]:
        return frozenset(self._skipped)

    @property
    def pinned(self) -> str:
        """The pinned track; empty when there is none."""
        return self._pinned

    @property
    def departure(self) -> Departure | None:
        """Whether the scene moved away from the pinned track, as of the last look."""
        return self._departure

    @property
    def waits(self) -> Waits:
        """What the list waits for, as of the last look."""
        return replace(self._waits)

    def restore(self, tracks: Iterable[str], waits: Waits) -> None:
        """Goes on with the list of an earlier session as it stood, once the pinned track is pinned again."""
        self._tracks = list(tracks)
        self._waits = replace(waits)

    def pin(self, track: str) -> None:
        """Keeps this track and no other; an empty one lets the pinned track go. No skipped one is pinned."""
        if track != self._pinned and track not in self._skipped:
            self._pinned = track
            self._stay_with_pinned()

    def skip(self, track: str) -> None:
        """Never names this track again."""
        self._skipped.add(track)
        if track == self._pinned:
            self.pin("")
        if track in self._tracks:
            self._tracks.remove(track)

    def clear(self) -> None:
        """Lets all tracks go but the pinned one: what counts is another thing from now on."""
        self._tracks = [track for track in self._tracks if track == self._pinned]
        waits = self._waits
        waits.behind_since_seconds = waits.outrun_since_seconds = waits.disordered_since_seconds = None

    def look(self, seconds: float, scores: Mapping[str, float], *, spread: Spread, is_complete: bool) -> None:
        """Takes the scores of this moment.

        Args:
            seconds: not before the last look's.
            scores: of the best tracks now. A track of the list that is not among them is at most as good as
                the worst of them.
            spread: of them.
            is_complete: whether these are all that may be named: tracks of the list that are not among them
                leave at once, the pinned one excepted.
        """
        self._margin = self._relative_margin * spread.renewal
        self._order_margin = self._relative_margin * spread.order
        self._pin_margin = self._relative_margin * spread.track
        allowed = {track: score for track, score in scores.items() if track not in self._skipped}
        floor = min(allowed.values(), default=0.0)
        before = self.tracks
        if is_complete:
            self._tracks = [track for track in self._tracks if track in allowed or track == self._pinned]
        known = {**{track: floor for track in (*self._tracks, self._pinned) if track}, **allowed}
        settles = self._waits.is_settling and seconds >= self._settling_seconds
        self._waits.is_settling = self._waits.is_settling and not settles
        self._seat_pinned(known)
        self._fill(known)
        self._renew(seconds, known, is_free=settles)
        self._reorder(seconds, known, is_free=settles or set(before) != set(self._tracks))
        self._watch_pinned(seconds, known)

    def _seat_pinned(self, known: Mapping[str, float]) -> None:
        if self._pinned and self._pinned not in self._tracks:
            self._tracks.append(self._pinned)
        while len(self._tracks) > self.size:
            self._tracks.remove(self._worst(known))

    def _fill(self, known: Mapping[str, float]) -> None:
        outside = self._outside(known)
        self._tracks += outside[: max(0, self.size - len(self._tracks))]

    def _renew(self, seconds: float, known: Mapping[str, float], *, is_free: bool) -> None:
        outside = self._outside(known)
        replaceable = [track for track in self._tracks if track != self._pinned]
        if not outside or not replaceable:
            self._waits.behind_since_seconds = self._waits.outrun_since_seconds = None
            return
        if is_free:
            self._take_best(outside, replaceable, known, margin=0.0)
            return
        is_behind = self._shortfall(outside, replaceable, known) >= self._margin
        self._waits.behind_since_seconds = _since(is_behind, self._waits.behind_since_seconds, seconds)
        ahead = known[outside[0]] - min(known[track] for track in replaceable)
        self._waits.outrun_since_seconds = _since(
            ahead >= _FAR_AHEAD * self._margin, self._waits.outrun_since_seconds, seconds
        )
        if self._has_lasted(self._waits.behind_since_seconds, seconds):
            self._take_best(outside, replaceable, known, margin=self._margin)
        elif self._has_lasted(self._waits.outrun_since_seconds, seconds):
            self._take_best(outside, replaceable, known, margin=_FAR_AHEAD * self._margin)

    def _has_lasted(self, since: float | None, seconds: float) -> bool:
        return since is not None and seconds - since >= self._hold_seconds

    def _take_best(
        self, outside: Sequence[str], replaceable: Sequence[str], known: Mapping[str, float], *, margin: float
    ) -> None:
        """Lets in those from outside that are better than the worst inside by the margin, for the worst."""
        least = min(known[track] for track in replaceable) + margin
        better = [track for track in outside if known[track] >= least]
        best = sorted([*replaceable, *better], key=lambda track: -known[track])[: len(replaceable)]
        self._tracks = [track for track in self._tracks if track == self._pinned] + best
        self._waits.behind_since_seconds = self._waits.outrun_since_seconds = None

    def _shortfall(
        self, outside: Sequence[str], replaceable: Sequence[str], known: Mapping[str, float]
    ) -> float:
        """How much better the best are than those that they would replace, on average over the places that
        could change hands."""
        inside = [known[track] for track in replaceable]
        best = sorted([*inside, *(known[track] for track in outside)], reverse=True)[: len(inside)]
        return (sum(best) - sum(inside)) / min(len(inside), len(outside))

    def _reorder(self, seconds: float, known: Mapping[str, float], *, is_free: bool) -> None:
        ordered = sorted(self._tracks, key=lambda track: -known[track])
        pairs = zip(self._tracks, ordered, strict=True)
        disorder = sum(abs(known[track] - known[due]) for track, due in pairs)
        is_disordered = disorder > 0 and disorder >= self._order_margin * len(self._tracks)
        self._waits.disordered_since_seconds = _since(
            is_disordered, self._waits.disordered_since_seconds, seconds
        )
        if is_free or self._has_lasted(self._waits.disordered_since_seconds, seconds):
            self._tracks = ordered
            self._waits.disordered_since_seconds = None

    def _watch_pinned(self, seconds: float, known: Mapping[str, float]) -> None:
        if not self._pinned:
            return
        least = known[self._pinned] + self._pin_margin
        better = {track: score for track, score in known.items() if score >= least and track != self._pinned}
        if not better:
            self._stay_with_pinned()
            return
        waits = self._waits
        since = seconds if waits.departing_since_seconds is None else waits.departing_since_seconds
        waits.departing_since_seconds = since
        is_settled = self._has_lasted(since, seconds)
        best = min(better, key=lambda track: (-better[track], track))
        told = waits.better_track_id
        if not is_settled:
            waits.better_track_id = ""
        elif told not in better or better[best] >= better[told] + self._pin_margin:
            waits.better_track_id = best
        self._departure = Departure(since, is_settled, waits.better_track_id or best)

    def _stay_with_pinned(self) -> None:
        self._departure = self._waits.departing_since_seconds = None
        self._waits.better_track_id = ""

    def _worst(self, known: Mapping[str, float]) -> str:
        """Of those that may leave; of equals, the last."""
        return min(
            (track for track in reversed(self._tracks) if track != self._pinned),
            key=lambda track: known[track],
        )

    def _outside(self, known: Mapping[str, float]) -> list[str]:
        """The best first; of equals, in the order of their ids."""
        inside = set(self._tracks)
        return sorted((track for track in known if track not in inside), key=lambda t: (-known[t], t))


def _since(holds: bool, before: float | None, seconds: float) -> float | None:
    """Since when a condition holds; None where it does not."""
    if not holds:
        return None
    return seconds if before is None else before
