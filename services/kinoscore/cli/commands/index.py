"""`kinoscore index`: audio files into a catalogue."""

from pathlib import Path

import click

from kinoscore.cli.options import server_options
from kinoscore.cli.running import run

__all__ = ["command"]


@click.command(name="index")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TRACKS.csv",
    help="A CSV file (file, title, artist, licence, attribution, tags, tempo); it wins over the files' tags.",
)
@click.option(
    "--space", metavar="SPACE", default="", help="The embedding space; the active one if not given."
)
@click.option("--prune", is_flag=True, help="Remove the tracks whose files under PATH are gone.")
@server_options
def command(
    paths: tuple[Path, ...],
    manifest: Path | None,
    space: str,
    prune: bool,
    data: Path,
    address: str | None,
    catalogue: str,
) -> None:
    """Add audio files to a catalogue, or bring it up to date (.wav .flac .ogg .mp3 .m4a).

    PATH is a file or a folder. A file that cannot be used is told and passed over; the exit status is 1
    then. Running it again changes only what has changed, so an interrupted run can be run again.
    """

    async def work() -> int:
        from kinoscore.cli.catalogue_files import Manifest, find_audio_files, read_manifest
        from kinoscore.cli.connection import connected
        from kinoscore.cli.index_run import index_run
        from kinoscore.cli.reindex_run import follow_models

        files = find_audio_files(paths)
        described = read_manifest(manifest, paths) if manifest else Manifest({}, ())
        places = [path.resolve() for path in paths] if prune else []
        async with connected(data=data, address=address, purpose="index") as server:
            status = await index_run(
                server, files, described, places_to_prune=places, catalogue=catalogue, space=space
            )
            await follow_models(server.client)
            return status

    run(work())
