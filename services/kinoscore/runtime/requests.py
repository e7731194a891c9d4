"""What more than one service, or a service and its callers, must see alike in a request."""

import re

from kinoscore.errors import InvalidRequest, SpaceMismatch

__all__ = [
    "DEFAULT_CATALOGUE",
    "MOST_TRACKS",
    "SPACE_KEY",
    "catalogue_name",
    "require_space",
    "require_track_count",
    "track_id_of",
]

DEFAULT_CATALOGUE = "default"
MOST_TRACKS = 1000
"""The most tracks that one request may ask for or name."""
SPACE_KEY = "kinoscore-space"
"""Under which the video service tells its embedding space as soon as it takes an upload."""
_TRACK_ID_DIGITS = 32
_CATALOGUE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


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
