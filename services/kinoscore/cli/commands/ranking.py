"""`kinoscore ranking`: what the ranking service needs before it can start."""

from pathlib import Path
from typing import Any

import click

from kinoscore.cli.running import message, run
from kinoscore.cli.settings_options import given
from kinoscore.cli.vector_stores import owned_store, store_options
from kinoscore.runtime.settings import RankingSettings

__all__ = ["command"]


@click.group(name="ranking")
def command() -> None:
    """Prepare the vector store of the ranking service."""


@command.command(name="migrate")
@store_options("repository")
def migrate(data: Path, **options: Any) -> None:
    """Make the collection for the embedding space of each model repository where it is missing.

    A Milvus server needs this once for each space, before `kinoscore serve ranking` or `kinoscore up`; a
    folder never does. Running it again changes nothing. The first space becomes the active one.
    """

    async def work() -> None:
        from kinoscore.ranking import spaces
        from kinoscore.stack import model_repositories, vector_dimension

        settings = RankingSettings.load(**given(options))
        manifests = [repository.manifest for repository in model_repositories(settings)]
        with owned_store(settings, data, purpose="ranking migrate") as location:
            for manifest in manifests:
                done = await spaces.migrate(location, manifest.space, vector_dimension(manifest))
                for line in done or [f"nothing to do: the vector store has the space {manifest.space}"]:
                    message(line)

    run(work())
