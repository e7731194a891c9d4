"""`kinoscore recommend`: ranked music for a video."""

from pathlib import Path

import click

from kinoscore.cli.options import json_option, preview_option, server_options, timings_option
from kinoscore.cli.running import message, run
from kinoscore.errors import NotFound

__all__ = ["command"]


@click.command(name="recommend")
@click.argument("clip", type=click.Path(path_type=Path))
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many tracks, 1 to 1000.")
@click.option(
    "--filter",
    "filter_text",
    metavar="EXPRESSION",
    default="",
    help="""Which tracks may be named, for example 'licence = "CC0-1.0" AND NOT artist = "Somebody"'.""",
)
@click.option("--fused-weight", type=float, help="How much the fused similarity counts.")
@click.option("--content-weight", type=float, help="How much the likeness of content counts.")
@click.option("--emotion-weight", type=float, help="How much the likeness of emotion counts.")
@click.option(
    "--max-per-artist",
    type=click.IntRange(min=0),
    default=0,
    show_default="no limit",
    help="Most tracks of one artist.",
)
@click.option(
    "--space", metavar="SPACE", default="", help="The embedding space to search [default: the active one]."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="How long to wait for the answer.")
@json_option
@timings_option
@preview_option
@server_options
def command(
    clip: Path,
    k: int,
    filter_text: str,
    fused_weight: float | None,
    content_weight: float | None,
    emotion_weight: float | None,
    max_per_artist: int,
    space: str,
    timeout: float | None,
    as_json: bool,
    timings: bool,
    preview: Path | None,
    data: Path,
    address: str | None,
    catalogue: str,
) -> None:
    """Rank the tracks of a catalogue for a video (.mp4 .mov .webm .mkv .ts)."""

    async def work() -> None:
        _require_file(clip)
        from kinoscore.cli.connection import connected
        from kinoscore.cli.documents import recommendation_document, to_json
        from kinoscore.cli.presentation import print_recommendation, printable
        from kinoscore.cli.previews import write_preview

        async with connected(data=data, address=address, purpose="recommend") as server:
            recommendation = await server.client.recommend(
                clip,
                k=k,
                filter=filter_text,
                fused_weight=fused_weight,
                content_weight=content_weight,
                emotion_weight=emotion_weight,
                max_per_artist=max_per_artist,
                catalogue=catalogue,
                space=space,
                timeout=timeout,
            )
        for warning in recommendation.warnings:
            message(f"warning: {printable(warning)}")
        if recommendation.stale:
            message("warning: the vector store does not answer; these are the last hits known for this clip")
        if as_json:
            click.echo(to_json(recommendation_document(recommendation, catalogue=catalogue, timings=timings)))
        elif recommendation.hits:
            print_recommendation(recommendation, clip=clip.name, timings=timings)
        else:
            message(f"no track of the catalogue {catalogue} fits; add some with `kinoscore index FOLDER`")
        if preview is not None:
            await write_preview(clip, recommendation, preview)

    run(work())


def _require_file(path: Path) -> None:
    """Tells a wrong path before the services are started for nothing."""
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
