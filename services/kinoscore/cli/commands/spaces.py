"""`kinoscore spaces`: the embedding spaces of a vector store, and which of them is searched."""

from pathlib import Path
from typing import Any

import click

from kinoscore.cli.options import json_option
from kinoscore.cli.running import message, run
from kinoscore.cli.settings_options import given
from kinoscore.cli.vector_stores import owned_store, store_options
from kinoscore.errors import DataFolderInUse
from kinoscore.runtime.settings import RankingSettings

__all__ = ["command"]


@click.group(name="spaces")
def command() -> None:
    """Show the embedding spaces of a vector store, and choose the one that is searched.

    Models make vectors of their own space, and each space has an index of its own. One space is the active
    one: requests are answered in it, by services that have its models.
    """


@command.command(name="list")
@json_option
@store_options()
def list_spaces(as_json: bool, data: Path, **options: Any) -> None:
    """List the spaces with their tracks; the active one is marked."""

    async def work() -> None:
        from dataclasses import asdict

        from kinoscore.cli.documents import to_json
        from kinoscore.ranking import spaces

        with owned_store(RankingSettings.load(**given(options)), data, purpose="spaces list") as location:
            found = await spaces.list_spaces(location)
        if as_json:
            click.echo(to_json([asdict(space) for space in found]))
            return
        for space in found:
            click.echo(f"{space.space}  {space.tracks:>8} tracks{'  active' if space.active else ''}")
        if not found:
            message("the vector store has no spaces")  # its URL may hold a password

    run(work())


@command.command(name="switch")
@click.argument("space")
@click.option("--force", is_flag=True, help="Switch to a space without tracks too.")
@store_options()
def switch_space(space: str, force: bool, data: Path, **options: Any) -> None:
    """Make SPACE the one that is searched; the other stays, so that switching back is as quick."""

    async def work() -> None:
        from kinoscore import AsyncClient
        from kinoscore.ranking import spaces

        settings = RankingSettings.load(**given(options))
        try:
            with owned_store(settings, data, purpose="spaces switch") as location:
                before = await spaces.switch_space(location, space, force=force)
        except DataFolderInUse as error:
            if not (address := error.metadata.get("address")):
                raise
            # The folder is that of a running server, which does it itself.
            async with AsyncClient(address) as client:
                before = await client.switch_space(space, force=force)
        message(f"{space} is the active space" + (f"; it was {before}" if before else ""))

    run(work())


@command.command(name="drop")
@click.argument("space")
@store_options()
def drop_space(space: str, data: Path, **options: Any) -> None:
    """Remove SPACE and its index for good; the active one is refused."""

    async def work() -> None:
        from kinoscore.ranking import spaces

        with owned_store(RankingSettings.load(**given(options)), data, purpose="spaces drop") as location:
            tracks = await spaces.drop_space(location, space)
        message(f"{space} is gone, with {tracks} tracks")

    run(work())
