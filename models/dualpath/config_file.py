"""`--config FILE`: options of a command from a TOML file, which flags override.

A key is the long name of an option, with - or _ (`batch-size = 32`, `decoders = false`), or a number of
`TrainingConfig` that has no option (`temperature = 0.05`). Paths are relative to the working directory, as in
flags.
"""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from dualpath.config import TrainingConfig, check_number, nearest
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["config_option", "training_numbers"]

_META = "dualpath.training_numbers"


def _read(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    options = _options(context.command)
    numbers = {entry.name for entry in fields(TrainingConfig)}
    defaults: dict[str, Any] = {}
    training: dict[str, float] = {}
    for name, value in _load(path).items():
        key = name.replace("-", "_")
        _check(path, key, value)
        if key in options:
            defaults[options[key]] = value
        elif key in numbers:
            training[key] = value
        else:
            known = [*options, *numbers]
            raise InvalidRequest(f"{path} has an unknown key {name!r}{nearest(key, known)}", field=name)
    context.default_map = {**(context.default_map or {}), **defaults}
    context.meta[_META] = training
    return path


config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="A TOML file with any of these options (epochs = 20, decoders = false), which flags override, and "
    "with the other numbers of training (temperature, margin, weights of losses).",
)
"""Decorates a command."""


def training_numbers() -> dict[str, float]:
    """Fields of TrainingConfig without an option, as the file of the running command has them."""
    found: dict[str, float] = click.get_current_context().meta.get(_META, {})
    return found


def _options(command: click.Command) -> dict[str, str]:
    """Long name of an option, with _ -> name of its parameter."""
    return {
        name.removeprefix("--").replace("-", "_"): str(parameter.name)
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.expose_value
        for name in parameter.opts
    }


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise NotFound(f"no configuration {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is no TOML: {error}") from error


def _check(path: Path, key: str, value: Any) -> None:
    try:
        check_number(key, value)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}", field=key) from error
