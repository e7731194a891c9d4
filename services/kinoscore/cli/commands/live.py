"""`kinoscore live`: ranked music that follows a stream while it plays."""

from pathlib import Path

import click

from kinoscore.cli.options import json_option, server_options
from kinoscore.cli.running import message, run

__all__ = ["command"]


@click.command(name="live")
@click.argument("source")
@click.option("--fast", is_flag=True, help="Read a file as fast as it is answered, not at its own pace.")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many tracks, 1 to 100.")
@click.option("--filter", "filter_text", metavar="EXPRESSION", default="", help="Which tracks may be named.")
@click.option("--interval", type=float, metavar="SECONDS", help="From one update to the next; 1 if not set.")
@click.option("--window", type=float, metavar="SECONDS", help="How much of the past counts; 4 if not set.")
@click.option(
    "--margin",
    type=float,
    help="How much better the best must be than the list, as a part of what sets them apart from a list "
    "drawn at random; 0.7 if not set.",
)
@click.option("--hold", type=float, metavar="SECONDS", help="For how long it must be so; 2 if not set.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.mp4",
    help="Write the video with the music that was first in the list at each moment.",
)
@json_option
@server_options
def command(
    source: str,
    fast: bool,
    k: int,
    filter_text: str,
    interval: float | None,
    window: float | None,
    margin: float | None,
    hold: float | None,
    record: Path | None,
    as_json: bool,
    data: Path,
    address: str | None,
    catalogue: str,
) -> None:
    """Rank tracks for a stream while it plays.

    SOURCE is a file, `-` for standard input, an address (rtsp, rtmp, http), or a camera: `camera:/dev/video0`
    on Linux, `camera:0` on macOS, `camera:NAME` on Windows. With --json each update is one line.

    --record writes the pictures with each track from its passage on, as long as it is first in the list, and
    fades it over into the next. It is finished when the stream ends or is stopped with Ctrl-C. Tracks whose
    sound cannot be reached from here are silent.
    """

    async def work() -> None:
        from contextlib import AsyncExitStack, aclosing

        from kinoscore.cli.connection import connected
        from kinoscore.cli.documents import live_document, to_json_line
        from kinoscore.cli.live_view import LiveView, played
        from kinoscore.cli.presentation import clock
        from kinoscore.cli.recordings import recording
        from kinoscore.errors import Unavailable

        async with AsyncExitStack() as stack:
            recorded = await stack.enter_async_context(recording(record)) if record else None
            server = await stack.enter_async_context(connected(data=data, address=address, purpose="live"))
            updates = server.client.live(
                played(source, is_paced=not fast, recorder=recorded.recorder if recorded else None),
                k=k,
                filter=filter_text,
                interval_seconds=interval,
                window_seconds=window,
                margin=margin,
                hold_seconds=hold,
                latest=not fast,
                catalogue=catalogue,
            )
            view = stack.enter_context(LiveView(source, is_shown=not as_json))
            await stack.enter_async_context(aclosing(updates))
            async for update in updates:
                if recorded:
                    recorded.follow(update)
                if as_json:
                    click.echo(to_json_line(live_document(update)))
                view.show(update)
        last = view.last
        if last is not None and last.ending in ("draining", "session time"):
            cause = "the server shuts down" if last.ending == "draining" else "a session may not last longer"
            raise Unavailable(f"the stream was left at {clock(last.stream_seconds)}: {cause}; start again")
        if not (last and last.hits) and not as_json:
            message(f"no track of the catalogue {catalogue} fits; add some with `kinoscore index FOLDER`")

    run(work())
