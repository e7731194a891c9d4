"""The embedding space of a request: read once, when it begins, and passed on to every service."""

from kinoscore.errors import SpaceMismatch
from kinoscore.recommend.backends import Backends
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import ranking_pb2

__all__ = ["space_to_index_in", "space_to_search_in"]


async def space_to_search_in(backends: Backends, requested: str, deadline: Deadline) -> str:
    """The space that was asked for, or else the active one.

    Raises:
        SpaceMismatch: the active one has no models here.
        KinoscoreError: what the ranking service raised.
    """
    if requested:
        return requested
    spaces = await _spaces(backends, deadline)
    if spaces.active_space not in spaces.served_spaces:
        names = ", ".join(spaces.served_spaces)
        raise SpaceMismatch(
            f"the active embedding space is {spaces.active_space}, but the models here are of {names}; serve "
            "its models too, or fill the index of the new ones with `kinoscore reindex` and switch to it",
            metadata={"active": spaces.active_space, "served": names},
        )
    return spaces.active_space


async def space_to_index_in(backends: Backends, requested: str, deadline: Deadline) -> str:
    """The space that was asked for, or else the active one; the first that is served where that has no models
    here.

    Raises:
        KinoscoreError: what the ranking service raised.
    """
    if requested:
        return requested
    spaces = await _spaces(backends, deadline)
    served = spaces.active_space in spaces.served_spaces
    return spaces.active_space if served else spaces.served_spaces[0]


async def _spaces(backends: Backends, deadline: Deadline) -> ranking_pb2.ListSpacesResponse:
    answer: ranking_pb2.ListSpacesResponse = await backends.ranking.ask(
        "ListSpaces", ranking_pb2.ListSpacesRequest(), deadline
    )
    return answer
