"""Checks that every service makes of every request."""

import re

from kinoscore.errors import InvalidRequest, SpaceMismatch

__all__ = ["DEFAULT_CATALOGUE", "catalogue_name", "require_space"]

DEFAULT_CATALOGUE = "default"
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
