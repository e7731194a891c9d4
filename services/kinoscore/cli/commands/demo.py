"""`kinoscore demo`: everything once, from files to ranked music, on media that are made on the spot."""

from pathlib import Path

import click

from kinoscore.cli.options import (
    catalogue_option,
    data_option,
    json_option,
    preview_option,
    timings_option,
)
from kinoscore.cli.running import message, run

__all__ = ["command"]


@click.command(name="demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="a part of the data folder",
    help="Where the tracks and the clips go.",
)
@click.option(
    "-k", "k", type=int, default=5, show_default=True, help="How many tracks to show for each clip."
)
# No environment variable: the demo must not land in somebody's catalogue unasked.
@click.option(
    "--address", metavar="HOST:PORT", help="Index in this server, not in an index of the demo's own."
)
@json_option
@timings_option
@preview_option
@data_option
@catalogue_option
def command(
    out: Path | None,
    k: int,
    address: str | None,
    as_json: bool,
    timings: bool,
    preview: Path | None,
    data: Path,
    catalogue: str,
) -> None:
    """Make a small library of tracks and two clips, index the tracks, and recommend for the clips.

    Tracks and clips are generated and free to use. The index is one of the demo's own, apart from yours,
    unless --address names a server. Run again, the demo takes what is there already. --preview shows the
    first clip.
    """

    async def work() -> int:
        from kinoscore.cli.catalogue_files import Manifest, find_audio_files
        from kinoscore.cli.connection import connected
        from kinoscore.cli.demo_files import write_demo_files
        from kinoscore.cli.documents import recommendation_document, to_json
        from kinoscore.cli.index_run import index_run
        from kinoscore.cli.presentation import print_recommendation
        from kinoscore.cli.previews import write_preview
        from kinoscore.cli.reindex_run import follow_models

        folder = out or data / "demo"
        index = data / "demo" / "index"
        files = await write_demo_files(folder)
        async with connected(data=index, address=address, purpose="demo") as server:
            tracks = find_audio_files([files.tracks])
            status = await index_run(server, tracks, Manifest({}, ()), catalogue=catalogue)
            if address is None:
                # The demo's own index may be one of an older kinoscore, with other models.
                await follow_models(server.client, complete=False)
            answers = [
                (clip, await server.client.recommend(clip, k=k, catalogue=catalogue)) for clip in files.clips
            ]
        if as_json:
            documents = {
                clip.name: recommendation_document(answer, catalogue=catalogue, timings=timings)
                for clip, answer in answers
            }
            click.echo(to_json(documents))
        else:
            for clip, answer in answers:
                print_recommendation(answer, clip=clip.name, timings=timings)
                click.echo()
        if preview is not None:
            await write_preview(*answers[0], preview)
        message(f"tracks: {files.tracks}\nclips:  {files.clips[0].parent}")
        place = f"--address {address}" if address else f"--data {index}"
        message(f"to go on: kinoscore recommend {files.clips[0]} {place} --catalogue {catalogue}")
        return status

    run(work())
