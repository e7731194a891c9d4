"""What a live stream takes of memory, and whether it takes more the longer it lasts.

Memory is the resident set of `kinoscore up`, whose models and index are there whatever it does: the figure
of one stream is the difference between many open streams and a few, each with its window full. The long
stream is two hours of frames, sent as fast as they are answered; its slope is that of the second half.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import numpy as np
from harness import Server, arguments, conditions, progress, running_server, show
from live_material import RATE, scene, stream, wide_scene
from material import Library, store

from kinoscore import AsyncClient, Frame
from kinoscore.inference import ModelRepository, default_repository

MEBIBYTE = 1 << 20
SCENES = 4
SCENE_SECONDS = 15.0
OPEN_SECONDS = 12.0
ALLOWED_MEBIBYTES = 5.0
LOOKS = 200


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, default=4, help="open streams to compare with (default: 4)")
    parser.add_argument("--many", type=int, default=32, help="open streams (default: 32)")
    parser.add_argument("--hours", type=float, default=2.0, help="of the long stream (default: 2)")
    options = parser.parse_args()
    found = conditions()
    manifest = ModelRepository.load(options.repository or default_repository()).manifest
    progress("rendering frames")
    scenes = [wide_scene(seed, "test", SCENE_SECONDS) for seed in range(SCENES)]
    library = Library.draw(manifest, tracks=50, passages=4)
    # Answers that fill the cache up to its bound would look like a slope.
    with running_server(
        options.repository, live_sessions=options.many, cache_seconds=0, cache_stale_seconds=0
    ) as server:
        store(library, server.address, manifest)
        progress(f"{options.many} open streams")
        # As many as there will be, once before: what a first time takes is not a stream's.
        for streams in (options.many, options.few, options.many):
            resident = asyncio.run(opened(server, scenes, streams))
            if streams == options.few:
                few = resident
        progress(f"{options.hours:g} hours")
        series = asyncio.run(long_stream(server, scene(SCENES, "test", SCENE_SECONDS), options.hours * 3600))

    a_stream = (resident - few) / (options.many - options.few)
    half = np.array(series[len(series) // 2 :])
    slope = float(np.polyfit(half[:, 0] / 3600, half[:, 1], 1)[0])
    rows = [
        (f"{options.few} open streams", f"{few / MEBIBYTE:.1f} MiB"),
        (f"{options.many} open streams", f"{resident / MEBIBYTE:.1f} MiB"),
        (
            "a stream",
            f"{a_stream / MEBIBYTE:.2f} MiB (allowed are {ALLOWED_MEBIBYTES:g} beyond the decoder's own)",
        ),
        (
            f"one stream of {options.hours:g} hours",
            f"{series[0][1] / MEBIBYTE:.1f} MiB at first, {half[0, 1] / MEBIBYTE:.1f} half-way, "
            f"{half[-1, 1] / MEBIBYTE:.1f} at the end",
        ),
        ("  slope of the second half", f"{slope / MEBIBYTE:+.2f} MiB an hour of the stream"),
    ]
    facts = {
        "conditions": found,
        "few": options.few,
        "many": options.many,
        "few_bytes": few,
        "many_bytes": resident,
        "bytes_a_stream": a_stream,
        "hours": options.hours,
        "series": series,
        "bytes_an_hour": slope,
    }
    show(options, "live: memory of streams", rows, facts)


async def opened(server: Server, scenes: Sequence[Sequence[bytes]], streams: int) -> int:
    """The resident bytes with so many streams open, each with its window full."""
    everywhere = asyncio.Barrier(streams + 1)
    looked = asyncio.Event()

    async def frames(number: int) -> AsyncIterator[Frame]:
        pictures = scenes[number % len(scenes)]
        for frame in stream(pictures[: round(OPEN_SECONDS * RATE)]):
            yield frame
        await looked.wait()

    async def one(client: AsyncClient, number: int) -> None:
        async with aclosing(client.live(frames(number))) as updates:
            async for update in updates:
                if update.stream_seconds >= OPEN_SECONDS and not update.ending:
                    await everywhere.wait()

    async with AsyncClient(server.address) as client, asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(one(client, number))
        await everywhere.wait()
        resident = _resident(server)
        looked.set()
    return resident


async def long_stream(server: Server, pictures: Sequence[bytes], seconds: float) -> list[tuple[float, int]]:
    """(seconds of the stream, resident bytes), looked at evenly."""

    async def frames() -> AsyncIterator[Frame]:
        for number in range(round(seconds * RATE)):
            yield Frame(pictures[number % len(pictures)], number / RATE)

    series = []
    async with AsyncClient(server.address) as client, aclosing(client.live(frames(), k=5)) as updates:
        async for update in updates:
            if update.stream_seconds >= len(series) * seconds / LOOKS:
                series.append((update.stream_seconds, _resident(server)))
    return series


def _resident(server: Server) -> int:
    return server.process.memory_info().rss


if __name__ == "__main__":
    main()
