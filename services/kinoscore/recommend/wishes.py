"""What a caller wishes, looked at before anything is done for it."""

import math
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from kinoscore.errors import InvalidRequest
from kinoscore.recommend.backends import LOST, Backends
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import catalogue_name, require_track_count
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2

__all__ = ["check_filter", "check_weights", "check_wishes", "first_settings"]


async def first_settings(requests: AsyncIterator[Any]) -> Any:
    """The settings that open a stream.

    Raises:
        InvalidRequest: the stream is empty, or begins with something else; the catalogue's name is not one.
    """
    async for request in requests:
        if request.WhichOneof("part") != "settings":
            raise InvalidRequest("the first message of the stream must be the settings", field="settings")
        catalogue_name(request.settings.catalogue, field="settings.catalogue")
        return request.settings
    raise InvalidRequest("the stream is empty; its first message must be the settings", field="settings")


def check_wishes(settings: recommend_pb2.RecommendSettings) -> None:
    """Refuses what ranking would refuse, before the clip is sent.

    Raises:
        InvalidRequest: k is outside 1 to 1000; a weight is negative or not finite, or all three are 0.
    """
    if settings.HasField("k"):
        require_track_count(settings.k, field="settings.k")
    check_weights(settings.weights, field="settings.weights")


def check_weights(weights: common_pb2.Weights, *, field: str) -> None:
    """Raises InvalidRequest: a weight is negative or not finite, or all three are 0."""
    values = {name: getattr(weights, name) for name in ("fused", "content", "emotion")}
    for name, weight in values.items():
        if not math.isfinite(weight) or weight < 0:
            raise InvalidRequest(
                f"the {name} weight must be 0 or more, not {weight:g}", field=f"{field}.{name}"
            )
    if all(weights.HasField(name) and weight == 0 for name, weight in values.items()):
        raise InvalidRequest("at least one weight must be above 0", field=field)


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
