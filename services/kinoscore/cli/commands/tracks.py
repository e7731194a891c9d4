"""`kinoscore tracks`: the tracks of a catalogue."""

from pathlib import Path

import click

from kinoscore.cli.options import json_option, server_options
from kinoscore.cli.running import message, run

__all__ = ["command"]


@click.group(name="tracks")
def command() -> None:
    """List, show and remove the tracks of a catalogue."""


@command.command(name="list")
@click.option(
    "--filter", "filter_text", metavar="EXPRESSION", default="", help="Which tracks, as in `recommend`."
)
@json_option
@server_options
def list_tracks(filter_text: str, as_json: bool, data: Path, address: str | None, catalogue: str) -> None:
    """List the tracks in order of their ids."""

    async def work() -> None:
        from kinoscore.cli.connection import connected
        from kinoscore.cli.documents import to_json, track_document
        from kinoscore.cli.presentation import print_tracks

        async with connected(data=data, address=address, purpose="tracks list") as server:
            listing = server.client.list_tracks(filter=filter_text, catalogue=catalogue)
            tracks = [track async for track in listing]
        if as_json:
            click.echo(to_json([track_document(track) for track in tracks]))
        elif tracks:
            print_tracks(tracks)
        else:
            message(f"no tracks in the catalogue {catalogue}")

    run(work())


@command.command(name="show")
@click.argument("track_id")
@json_option
@server_options
def show_track(track_id: str, as_json: bool, data: Path, address: str | None, catalogue: str) -> None:
    """Show one track and the emotion of its passages."""

    async def work() -> None:
        from kinoscore.cli.connection import connected
        from kinoscore.cli.documents import stored_track_document, to_json
        from kinoscore.cli.presentation import print_stored_track

        async with connected(data=data, address=address, purpose="tracks show") as server:
            stored = await server.client.get_track(track_id, catalogue=catalogue)
        if as_json:
            click.echo(to_json(stored_track_document(stored)))
        else:
            print_stored_track(stored)

    run(work())


@command.command(name="remove")
@click.argument("track_ids", nargs=-1, required=True, metavar="TRACK_ID...")
@server_options
def remove_tracks(track_ids: tuple[str, ...], data: Path, address: str | None, catalogue: str) -> None:
    """Remove tracks from the index; their files stay."""

    async def work() -> int:
        from kinoscore.cli.connection import connected

        async with connected(data=data, address=address, purpose="tracks remove") as server:
            removed = await server.client.remove_tracks(track_ids, catalogue=catalogue)
        message(f"{len(removed)} removed")
        unknown = [track_id for track_id in track_ids if track_id not in removed]
        for track_id in unknown:
            message(f"error: the catalogue {catalogue} has no track {track_id}")
        return 1 if unknown else 0

    run(work())
