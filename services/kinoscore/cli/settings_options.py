"""Options made from the fields of a settings model, so that each setting is written once."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from kinoscore.runtime.settings import Settings

__all__ = ["given", "settings_options"]


def settings_options(
    model: "type[Settings]", *, leave_out: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds an option for each field of the model; an option that is not given is None, so that the
    environment, the settings file and the default have their say.
    """
    fields = [(name, field) for name, field in model.model_fields.items() if name not in set(leave_out)]
    prefix = model.model_config.get("env_prefix", "")

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(fields):
            command = _option(name, field, f"{prefix}{name}".upper())(command)
        return command

    return decorate


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the command line names."""
    return {name: value for name, value in options.items() if value is not None}


def _option(
    name: str, field: "FieldInfo", variable: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    default = field.get_default(call_default_factory=True)
    notes = [f"{variable}"] if default in (None, ()) else [f"{variable}", f"default: {default}"]
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=_parameter_type(field.annotation),
        default=None,
        help=f"{field.description} [{'; '.join(notes)}]",
    )


def _parameter_type(annotation: Any) -> Any:
    """The type that click checks; bounds are the settings model's to check."""
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if get_origin(annotation) is tuple:
        return str
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    if kinds == [Path]:
        return click.Path(path_type=Path)
    return kinds[0]
