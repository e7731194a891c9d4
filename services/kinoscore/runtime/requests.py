"""What more than one service, or a service and its callers, must see alike in a request."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeVar

from kinoscore.errors import InvalidRequest, SpaceMismatch
from kinoscore.v1 import common_pb2

__all__ = [
    "DEFAULT_CATALOGUE",
    "MOST_TRACKS",
    "ChunkForm",
    "catalogue_name",
    "first_settings",
    "in_space",
    "require_between",
    "require_space",
    "require_track_count",
    "track_id_of",
]

DEFAULT_CATALOGUE = "default"
MOST_TRACKS = 1000
"""The most tracks that one request may ask for or name."""
_TRACK_ID_DIGITS = 32

T = TypeVar("T")
_CATALOGUE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class ChunkForm:
    """The form of the chunks of a live stream: the first one decides."""

    def __init__(self) -> None:
        self.name: Literal["data", "frame"] | None = None

    def check(self, chunk: common_pb2.MediaChunk) -> Literal["data", "frame"]:
        """The form of the next chunk.

        Raises:
            InvalidRequest: it is empty, or of another form than those before it.
        """
        form: Literal["data", "frame"] | None = chunk.WhichOneof("form")
        if form is None:
            raise InvalidRequest("a chunk is empty; it holds either bytes or a frame", field="chunk")
        if self.name not in (None, form):
            raise InvalidRequest(
                "a live stream holds either bytes or frames, not both: its first chunk decides", field="chunk"
            )
        self.name = form
        return form


async def first_settings(requests: AsyncIterator[Any]) -> Any:
    """The settings that open a stream of requests.

    Raises:
        InvalidRequest: the stream is empty, or begins with something else; the catalogue's name is not one.
    """
    request = await anext(requests, None)
    if request is None:
        raise InvalidRequest("the stream is empty; send settings first, then chunks", field="settings")
    if request.WhichOneof("part") != "settings":
        raise InvalidRequest("the first message must be the settings; chunks follow", field="settings")
    catalogue_name(request.settings.catalogue, field="settings.catalogue")
    return request.settings


def catalogue_name(requested: str, *, field: str = "catalogue") -> str:
    """The catalogue that a request means: `default` when it names none.

    Raises:
        InvalidRequest: the name is not 1 to 64 letters, digits, dots, dashes and underscores.
    """
    name = requested or DEFAULT_CATALOGUE
    if not _CATALOGUE.fullmatch(name):
        raise InvalidRequest(
            "a catalogue name has 1 to 64 letters, digits, dots, dashes and underscores", field=field
        )
    return name


def in_space(served: Mapping[str, T], requested: str, *, field: str = "space") -> T:
    """What is there for the embedding space that a request names; for the first one when it names none.

    Raises:
        SpaceMismatch: the space is not served.
    """
    if not requested:
        return next(iter(served.values()))
    if requested not in served:
        names = ", ".join(served)
        raise SpaceMismatch(
            f"this service has no models of the embedding space {requested}, only of {names}; name the model "
            "repository of each space that is wanted in the setting `repository` of every service",
            field=field,
            metadata={"served": names, "requested": requested},
        )
    return served[requested]


def require_space(requested: str, served: str, *, field: str = "space") -> None:
    """Refuses a request for another embedding space than the one served; an empty one takes what is served.

    Raises:
        SpaceMismatch: the two differ.
    """
    if requested and requested != served:
        raise SpaceMismatch(
            f"this service answers in the embedding space {served}, not {requested}; "
            "point every service at the same model repository",
            field=field,
            metadata={"served": served, "requested": requested},
        )


def require_between(value: float, least: float, most: float, *, field: str) -> float:
    """The value itself.

    Raises:
        InvalidRequest: it is no number from `least` to `most`.
    """
    if not least <= value <= most:
        name = field.rpartition(".")[2]
        raise InvalidRequest(f"{name} must be {least:g} to {most:g}, not {value:g}", field=field)
    return value


def require_track_count(k: int, *, field: str = "k") -> None:
    """Refuses a number of tracks that no answer can have.

    Raises:
        InvalidRequest: it is not 1 to 1000.
    """
    if not 1 <= k <= MOST_TRACKS:
        raise InvalidRequest(f"k must be 1 to {MOST_TRACKS}, not {k}", field=field)


def track_id_of(digest: str) -> str:
    """The id of a track that was given none: the same sound gets the same id, whoever indexes it."""
    return digest[:_TRACK_ID_DIGITS]
