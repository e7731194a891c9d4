"""What a caller wishes, looked at before anything is done for it."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace

from kinoscore.errors import InvalidRequest
from kinoscore.recommend.backends import LOST, Backends
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import require_between, require_track_count
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2

__all__ = ["LiveWishes", "check_filter", "check_wishes"]

_MOST_LIVE_TRACKS = 100


@dataclass(frozen=True, slots=True, eq=False)
class LiveWishes:
    """What a client may change during its stream; `k` is 1 to 100."""

    k: int
    filter: str
    weights: common_pb2.Weights

    @classmethod
    def of(cls, settings: recommend_pb2.RecommendLiveSettings) -> "LiveWishes":
        """What the stream begins with.

        Raises:
            InvalidRequest: k or a weight cannot be.
        """
        k = settings.k if settings.HasField("k") else 10
        require_between(k, 1, _MOST_LIVE_TRACKS, field="settings.k")
        _check_weights(settings.weights, field="settings.weights")
        return cls(k, settings.filter, settings.weights)

    def changed(self, control: recommend_pb2.LiveControl) -> "LiveWishes":
        """With what a control message sets.

        Raises:
            InvalidRequest: k or a weight cannot be.
        """
        wishes = self
        if control.HasField("k"):
            require_between(control.k, 1, _MOST_LIVE_TRACKS, field="control.k")
            wishes = replace(wishes, k=control.k)
        if control.HasField("filter"):
            wishes = replace(wishes, filter=control.filter)
        if control.HasField("weights"):
            weights = common_pb2.Weights()
            weights.CopyFrom(self.weights)
            weights.MergeFrom(control.weights)
            _check_weights(weights, field="control.weights")
            wishes = replace(wishes, weights=weights)
        return wishes


def check_wishes(settings: recommend_pb2.RecommendSettings) -> None:
    """Refuses what ranking would refuse, before the clip is sent.

    Raises:
        InvalidRequest: k is outside 1 to 1000; a weight is negative or not finite, or all three are 0.
    """
    if settings.HasField("k"):
        require_track_count(settings.k, field="settings.k")
    _check_weights(settings.weights, field="settings.weights")


async def check_filter(
    backends: Backends, catalogue: str, space: str, filter_text: str, deadline: Deadline
) -> None:
    """Refuses a filter that does not parse while the clip is still on its way.

    Ranking owns the language; listing one track is the cheapest question that makes it parse a filter.
    Whether tracks can be listed is no matter here: the search may still be answered.

    Raises:
        InvalidFilter: it does not parse.
    """
    if filter_text:
        request = ranking_pb2.ListTracksRequest(
            catalogue=catalogue, space=space, filter=filter_text, page_size=1
        )
        with suppress(*LOST):
            await backends.ranking.ask("ListTracks", request, deadline)


def _check_weights(weights: common_pb2.Weights, *, field: str) -> None:
    """Raises InvalidRequest: a weight is negative or not finite, or all three are 0."""
    values = {name: getattr(weights, name) for name in ("fused", "content", "emotion")}
    for name, weight in values.items():
        if not math.isfinite(weight) or weight < 0:
            raise InvalidRequest(
                f"the {name} weight must be 0 or more, not {weight:g}", field=f"{field}.{name}"
            )
    if all(weights.HasField(name) and weight == 0 for name, weight in values.items()):
        raise InvalidRequest("at least one weight must be above 0", field=field)
