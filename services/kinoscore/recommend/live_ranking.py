"""The list of a live session: what ranking says of each moment of the stream, held stable."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from kinoscore.errors import InvalidRequest
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.stability import Changes, Spread, StableList, Waits
from kinoscore.recommend.stream_encoder import WINDOW_SECONDS
from kinoscore.recommend.wishes import LiveWishes
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import require_between
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2

__all__ = ["LiveRanking"]

_MOST_SKIPPED = 500
_LONGEST_TRACK_ID = 256
# Tracks beyond the list whose scores are looked at: a challenger should be known before it is due.
_CHALLENGERS = 10


class LiveRanking:
    """Asks ranking, keeps the list, and takes what the client wishes of it.

    Args:
        settings: what the stream begins with; `wishes` are those of it that may change.
        state: of an earlier session, whose list goes on; of a new one only the space, filter and weights.
        warn: takes a line of what could not be done.

    Raises:
        InvalidRequest: the margin or the hold time is out of bounds.
    """

    def __init__(
        self,
        backends: Backends,
        settings: recommend_pb2.RecommendLiveSettings,
        wishes: LiveWishes,
        state: recommend_pb2.LiveSession,
        warn: Callable[[str], None],
    ) -> None:
        self._backends = backends
        self._warn = warn
        self._catalogue = settings.catalogue
        self._space = state.space
        self._wishes = wishes
        # What the list was found with; a resumed one perhaps with something else.
        self._proven = replace(wishes, filter=state.filter, weights=state.weights)
        # What ranking was asked with last.
        self._asked = wishes
        margin = settings.margin if settings.HasField("margin") else 0.7
        hold_seconds = settings.hold_seconds if settings.HasField("hold_seconds") else 2.0
        self._list = StableList(
            wishes.k,
            require_between(margin, 0, 2, field="settings.margin"),
            require_between(hold_seconds, 0, 60, field="settings.hold_seconds"),
            settling_seconds=settings.window_seconds or WINDOW_SECONDS,
        )
        for track in state.skipped_track_ids:
            self._list.skip(track)
        self._list.pin(state.pinned_track_id)
        if state.HasField("waits"):
            waits = Waits(**{part.name: value for part, value in state.waits.ListFields()})
            self._list.restore((hit.track.track_id for hit in state.hits), waits)
        self._hits = {hit.track.track_id: hit for hit in state.hits}
        # As of the last update.
        self._told = self._list.tracks
        # Until it is known: that of what has nothing in common.
        self._typical_score = 0.0

    def change(self, control: recommend_pb2.LiveControl) -> None:
        """Takes what a client changes; warns of what cannot be."""
        try:
            wishes = self._wishes.changed(control)
            self._check_skipped(control.skip_track_ids)
        except InvalidRequest as error:
            self._warn(f"the change was refused: {error.message}")
            return
        self._wishes = wishes
        self._list.size = wishes.k
        for track in control.skip_track_ids:
            self._list.skip(track)
        if control.HasField("pin_track_id"):
            if control.pin_track_id in self._list.skipped:
                self._warn("a track that was skipped cannot be pinned")
            else:
                self._list.pin(control.pin_track_id)

    def take_back(self) -> bool:
        """Goes back from what ranking refused to the filter and weights that it took last, unless the client
        has changed them since; False where there is no way back.
        """
        if self._asked is self._proven:
            return False
        if self._wishes is self._asked:
            self._wishes = replace(self._proven, k=self._wishes.k)
        return True

    async def search(
        self,
        query: Sequence[common_pb2.Embedding],
        stream_seconds: float,
        deadline: Deadline,
        timer: StageTimer,
    ) -> bool:
        """Brings the list up to date; True where ranking could only give hits that it knew before.

        Args:
            query: the fused embedding of what the stream shows now, and those of its windows.

        Raises:
            InvalidRequest: ranking refuses what the client wishes; see `take_back`.
            KinoscoreError: whatever else ranking raised.
        """
        wishes = self._asked = self._wishes
        count = wishes.k + max(wishes.k, _CHALLENGERS) + len(self._list.skipped)
        listed = self._list.tracks
        pinned = self._list.pinned
        found = await self._found(query, wishes, count, {*listed, pinned} - {""}, deadline, timer)
        if (wishes.filter, wishes.weights) != (self._proven.filter, self._proven.weights):
            self._list.clear()
        self._proven = wishes
        hits = {hit.track.track_id: hit for hit in (*found.hits, *found.compared)}
        known = {**self._hits, **hits}
        # What a silent store does not tell of is not known to be gone.
        if pinned not in ("", *(known if found.stale else hits)) and pinned == self._list.pinned:
            self._list.pin("")
            self._warn(f"the pinned track {pinned} is not in the catalogue")
        self._look(stream_seconds, found, hits, is_all=len(found.hits) < count)
        self._hits = {track: known[track] for track in {*self._list.tracks, *hits}}
        # Those that have just entered are known in brief only.
        if entered := set(self._list.tracks).difference(listed):
            whole = await self._found(query, wishes, 1, entered, deadline, timer)
            self._hits |= {
                hit.track.track_id: hit
                for hit in (*whole.hits, *whole.compared)
                if hit.track.track_id in entered
            }
        return found.stale

    def _look(
        self,
        stream_seconds: float,
        found: ranking_pb2.SearchTracksResponse,
        hits: Mapping[str, ranking_pb2.Hit],
        *,
        is_all: bool,
    ) -> None:
        """Shows the list the scores of the tracks that may be named, and that of the pinned one."""
        if found.HasField("typical_score"):
            self._typical_score = found.typical_score
        barred = {*found.barred_track_ids, *self._list.skipped}
        allowed = {track: hit.score for track, hit in hits.items() if track not in barred}
        pinned = self._list.pinned
        scores = {**allowed, pinned: hits[pinned].score} if pinned in hits else allowed
        self._list.look(
            stream_seconds,
            scores,
            spread=Spread.of(allowed.values(), self._proven.k, None if is_all else self._typical_score),
            is_complete=not found.stale,
        )

    def tell(self, update: recommend_pb2.RecommendLiveResponse) -> None:
        """Writes the list into an update, what changed in it since the last one, and the pin."""
        tracks = self._list.tracks
        del update.hits[:]
        for rank, track in enumerate(tracks, 1):
            hit = update.hits.add()
            hit.CopyFrom(self._hits[track])
            hit.rank = rank
        changes = Changes.between(self._told, tracks)
        self._told = tracks
        update.changes.CopyFrom(
            recommend_pb2.LiveChanges(
                entered_track_ids=changes.entered,
                left_track_ids=changes.left,
                moved_track_ids=changes.moved,
            )
        )
        update.ClearField("pin")
        if self._list.pinned:
            update.pin.track_id = self._list.pinned
            if departure := self._list.departure:
                update.pin.time_to_change = departure.is_settled
                update.pin.moved_away_seconds = departure.since_seconds
                update.pin.better_track_id = departure.better_track

    def state(self) -> recommend_pb2.LiveSession:
        """What another front door must know to go on with the list, besides its hits."""
        return recommend_pb2.LiveSession(
            space=self._space,
            catalogue=self._catalogue,
            filter=self._proven.filter,
            weights=self._proven.weights,
            pinned_track_id=self._list.pinned,
            skipped_track_ids=sorted(self._list.skipped),
            waits=recommend_pb2.LiveWaits(**asdict(self._list.waits)),
        )

    async def _found(
        self,
        query: Sequence[common_pb2.Embedding],
        wishes: LiveWishes,
        count: int,
        listed: Iterable[str],
        deadline: Deadline,
        timer: StageTimer,
    ) -> ranking_pb2.SearchTracksResponse:
        """The best tracks, and those listed: of these alone hits tell all."""
        clip, *windows = query
        request = ranking_pb2.SearchTracksRequest(
            catalogue=self._catalogue,
            space=self._space,
            clip=clip,
            windows=windows,
            k=count,
            weights=wishes.weights,
            filter=wishes.filter,
            compared_track_ids=listed,
            is_passing=True,
            is_brief=True,
        )
        found: ranking_pb2.SearchTracksResponse = await self._backends.ranking.ask(
            "SearchTracks", request, deadline
        )
        timer.include(found.timings)
        return found

    def _check_skipped(self, track_ids: Sequence[str]) -> None:
        if any(not 1 <= len(track) <= _LONGEST_TRACK_ID for track in track_ids):
            raise InvalidRequest(f"a track id has 1 to {_LONGEST_TRACK_ID} characters")
        if len(self._list.skipped.union(track_ids)) > _MOST_SKIPPED:
            raise InvalidRequest(
                f"a session skips at most {_MOST_SKIPPED} tracks; exclude more with a filter"
            )
