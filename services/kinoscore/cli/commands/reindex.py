"""`kinoscore reindex`: the tracks of one embedding space into the index of another."""

from pathlib import Path

import click

from kinoscore.cli.options import address_option, data_option
from kinoscore.cli.running import run

__all__ = ["command"]


@click.command(name="reindex")
@click.option("--from", "old", metavar="SPACE", default="", help="The space whose tracks are taken.")
@click.option("--space", "new", metavar="SPACE", default="", help="The space to fill.")
@click.option("--switch", is_flag=True, help="Then make the filled space the active one.")
@data_option
@address_option
def command(old: str, new: str, switch: bool, data: Path, address: str | None) -> None:
    """Encode the tracks of the active embedding space for another one, whose models are served beside it.

    Every track of every catalogue is read again from where its source URI says: a path or file:// on this
    machine, http(s):// or s3://. What is known of it is taken over unchanged. Searches go on in the active
    space meanwhile. Running it again takes over what is missing only, so an interrupted run can be run again.
    Tracks that could not be taken over are listed; the exit status is 1 then, and --switch does not switch.

    A data folder whose active space has no models any more, after an upgrade, is switched in any case:
    nothing can be searched there before.
    """

    async def work() -> int:
        from kinoscore.cli.connection import connected
        from kinoscore.cli.reindex_run import reindex_run

        async with connected(data=data, address=address, purpose="reindex") as server:
            return await reindex_run(server.client, old=old, new=new, switch=switch)

    run(work())
