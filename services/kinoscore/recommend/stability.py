"""A list of tracks that follows changing scores, but not their flicker.

Pure: scores and times in, a list out. It is renewed, as a whole, only when it has been worse by a margin than
it could be, at every look, for a hold time; in between, scores may do what they like.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Changes", "Departure", "StableList", "lead_of_best"]

# Margins by which a single track must be ahead.
_FAR_AHEAD = 3.0
# Tracks that lie closer together are all alike.
_LEAST_LEAD = 0.03


def lead_of_best(scores: Iterable[float], size: int, typical: float) -> float:
    """What sets a list of the best tracks apart from one drawn at random: the difference of their scores, for
    each place that could change hands. Our choice.

    Args:
        scores: of all tracks, or of the best: at least twice as many as the list holds.
        size: tracks in the list.
        typical: the mean score of all tracks.
    """
    ordered = sorted(scores, reverse=True)
    best = ordered[:size]
    if not best:
        return _LEAST_LEAD
    # Where all tracks are in the list, only their order is in question.
    lead = best[0] - typical
    if places := min(len(best), len(ordered) - len(best)):
        lead = (sum(best) - len(best) * typical) / places
    return max(_LEAST_LEAD, lead)


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
        better_track: the best one, in the list or not.
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
        margin: how much better, as a part of the lead of the best tracks (`lead_of_best`).
        hold_seconds: for how long.
        settling_seconds: how much of a stream tells what it is like; 0 where the first look does.
    """

    def __init__(self, size: int, margin: float, hold_seconds: float, settling_seconds: float = 0.0) -> None:
        self.size = size
        self._relative_margin = margin
        # In scores, as of the last look.
        self._margin = 0.0
        self._hold_seconds = hold_seconds
        self._settling_seconds = settling_seconds
        self._is_settling = settling_seconds > 0
        self._tracks: list[str] = []
        self._skipped: set[str] = set()
        self._pinned = ""
        self._behind_since: float | None = None
        self._outrun_since: float | None = None
        self._disordered_since: float | None = None
        self._departing_since: float | None = None
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

    def restore(self, tracks: Iterable[str]) -> None:
        """Takes the list of an earlier session as it stood; one that held tracks has settled."""
        self._tracks = list(tracks)
        self._is_settling = self._is_settling and not self._tracks

    def pin(self, track: str) -> None:
        """Keeps this track and no other; an empty one lets the pinned track go. No skipped one is pinned."""
        if track != self._pinned and track not in self._skipped:
            self._pinned = track
            self._departing_since = self._departure = None

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
        self._behind_since = self._outrun_since = self._disordered_since = None

    def look(self, seconds: float, scores: Mapping[str, float], *, lead: float, is_complete: bool) -> None:
        """Takes the scores of this moment.

        Args:
            seconds: not before the last look's.
            scores: of the best tracks now. A track of the list that is not among them is at most as good as
                the worst of them.
            lead: of the best tracks.
            is_complete: whether these are all that may be named: tracks of the list that are not among them
                leave at once, the pinned one excepted.
        """
        self._margin = self._relative_margin * lead
        allowed = {track: score for track, score in scores.items() if track not in self._skipped}
        floor = min(allowed.values(), default=0.0)
        before = self.tracks
        if is_complete:
            self._tracks = [track for track in self._tracks if track in allowed or track == self._pinned]
        known = {**{track: floor for track in (*self._tracks, self._pinned) if track}, **allowed}
        self._seat_pinned(known)
        self._fill(known)
        self._renew(seconds, known)
        self._reorder(seconds, known, has_changed=set(before) != set(self._tracks))
        self._watch_pinned(seconds, known)

    def _seat_pinned(self, known: Mapping[str, float]) -> None:
        if self._pinned and self._pinned not in self._tracks:
            self._tracks.append(self._pinned)
        while len(self._tracks) > self.size:
            self._tracks.remove(self._worst(known))

    def _fill(self, known: Mapping[str, float]) -> None:
        outside = self._outside(known)
        self._tracks += outside[: max(0, self.size - len(self._tracks))]

    def _renew(self, seconds: float, known: Mapping[str, float]) -> None:
        outside = self._outside(known)
        replaceable = [track for track in self._tracks if track != self._pinned]
        if not outside or not replaceable:
            self._behind_since = self._outrun_since = None
            return
        if self._is_settling and seconds >= self._settling_seconds:
            self._is_settling = False
            self._take_best(outside, replaceable, known, margin=0.0)
            return
        is_behind = self._shortfall(outside, replaceable, known) >= self._margin
        self._behind_since = _since(is_behind, self._behind_since, seconds)
        ahead = known[outside[0]] - min(known[track] for track in replaceable)
        self._outrun_since = _since(ahead >= _FAR_AHEAD * self._margin, self._outrun_since, seconds)
        if self._has_lasted(self._behind_since, seconds):
            self._take_best(outside, replaceable, known, margin=self._margin)
        elif self._has_lasted(self._outrun_since, seconds):
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
        self._behind_since = self._outrun_since = None

    def _shortfall(
        self, outside: Sequence[str], replaceable: Sequence[str], known: Mapping[str, float]
    ) -> float:
        """How much better the best are than those that they would replace, on average over the places that
        could change hands."""
        inside = [known[track] for track in replaceable]
        best = sorted([*inside, *(known[track] for track in outside)], reverse=True)[: len(inside)]
        return (sum(best) - sum(inside)) / min(len(inside), len(outside))

    def _reorder(self, seconds: float, known: Mapping[str, float], *, has_changed: bool) -> None:
        ordered = sorted(self._tracks, key=lambda track: -known[track])
        pairs = zip(self._tracks, ordered, strict=True)
        disorder = sum(abs(known[track] - known[due]) for track, due in pairs)
        if disorder == 0 or disorder < self._margin * len(self._tracks):
            since = None
        else:
            since = seconds if self._disordered_since is None else self._disordered_since
        is_due = since is not None and seconds - since >= self._hold_seconds
        if has_changed or is_due:
            self._tracks = ordered
            since = None
        self._disordered_since = since

    def _watch_pinned(self, seconds: float, known: Mapping[str, float]) -> None:
        if not self._pinned:
            return
        others = [track for track in known if track != self._pinned]
        best = min(others, key=lambda track: (-known[track], track), default=None)
        if best is None or known[best] < known[self._pinned] + self._margin:
            self._departing_since = self._departure = None
            return
        if self._departing_since is None:
            self._departing_since = seconds
        is_settled = seconds - self._departing_since >= self._hold_seconds
        self._departure = Departure(self._departing_since, is_settled, best)

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
