"""The options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "address_option",
    "catalogue_option",
    "data_option",
    "default_data_folder",
    "json_option",
    "preview_option",
    "server_options",
    "timings_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def default_data_folder() -> Path:
    """The user's own data folder for kinoscore."""
    from platformdirs import user_data_path

    return user_data_path("kinoscore")


data_option: Decorator = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="KINOSCORE_DATA",
    show_envvar=True,
    default=default_data_folder,
    show_default="the user's data folder",
    help="The folder with the index.",
)

address_option: Decorator = click.option(
    "--address",
    metavar="HOST:PORT",
    envvar="KINOSCORE_ADDRESS",
    show_envvar=True,
    help="Talk to this server instead of running the services in this process.",
)

catalogue_option: Decorator = click.option(
    "--catalogue",
    metavar="NAME",
    default="default",
    show_default=True,
    envvar="KINOSCORE_CATALOGUE",
    show_envvar=True,
    help="The catalogue to work on.",
)

json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of tables; equal requests print equal bytes."
)

timings_option: Decorator = click.option("--timings", is_flag=True, help="Say where the time went.")

preview_option: Decorator = click.option(
    "--preview",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.mp4",
    help="Write the clip with the best passage laid under it.",
)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the server is, and which of its catalogues is meant."""
    return data_option(address_option(catalogue_option(command)))
