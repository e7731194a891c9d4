"""Live sessions with the whole stack in this process: what is sent to them, and what comes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from support.in_process import running_stack

from kinoscore import AsyncClient, Frame, LiveUpdate, Track
from kinoscore.media.writing import write_audio
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import Stack

__all__ = [
    "SECONDS",
    "Conversation",
    "held",
    "ids",
    "index_tones",
    "indexed_tones",
    "picture",
    "scene",
    "served",
    "tasks_of_live_sessions",
    "updates",
]

RATE = 22050
SECONDS = 60.0


@asynccontextmanager
async def served(repository: Path, folder: Path, **settings: Any) -> AsyncIterator[tuple[AsyncClient, Stack]]:
    """The whole stack in this process, over a folder for its data."""
    chosen = StackSettings(repository=repository, port=0, decoder_workers=1, grace_seconds=5.0, **settings)
    async with running_stack(folder, chosen) as running:
        yield running


async def index_tones(client: AsyncClient, folder: Path, count: int = 6) -> None:
    """Indexes the tracks `t0`, `t1`, ..., of two licences; `folder` is for their files."""
    time = np.arange(13 * RATE) / RATE
    for number in range(count):
        tone = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * time) * np.cos(number * time)
        write_audio(folder / "tone.flac", tone.astype(np.float32), RATE)
        licence = "CC0-1.0" if number % 2 else "CC-BY-4.0"
        track = Track(track_id=f"t{number}", title=f"T {number}", licence=licence)
        await client.index(folder / "tone.flac", track)


def indexed_tones(repository: Path, folder: Path, count: int = 6) -> Path:
    """A data folder in `folder` with the tracks of `index_tones`."""

    async def index() -> None:
        async with served(repository, folder / "data") as (client, _):
            await index_tones(client, folder, count)

    asyncio.run(index())
    return folder / "data"


def picture(seconds: float, scene: int = 0) -> Frame:
    """A plain frame in the colour of a scene."""
    pixels = np.random.default_rng(scene).integers(0, 256, 3, np.uint8)
    return Frame(np.broadcast_to(pixels, (20, 32, 3)).tobytes(), seconds, "rgb24", 32, 20)


def scene(first: float, last: float, number: int = 0) -> list[Frame]:
    """Two frames a second of one scene."""
    return [picture(first + step / 2, number) for step in range(round(2 * (last - first)))]


async def updates(client: AsyncClient, stream: Iterable[Any], **wishes: Any) -> list[LiveUpdate]:
    """All updates of one session."""
    async with asyncio.timeout(SECONDS), aclosing(client.live(stream, **wishes)) as live:
        return [update async for update in live]


def ids(update: LiveUpdate) -> list[str]:
    """The tracks of the list."""
    return [hit.track.track_id for hit in update.hits]


class Conversation:
    """A session in which what is sent depends on what came."""

    def __init__(self, client: AsyncClient, **wishes: Any) -> None:
        self._parts: asyncio.Queue[Any] = asyncio.Queue()
        self.updates = client.live(self._stream(), **wishes)

    async def _stream(self) -> AsyncIterator[Any]:
        while (part := await self._parts.get()) is not None:
            yield part

    async def after(self, *parts: Any) -> LiveUpdate:
        """The update that follows when these are sent, a second of the stream or a change."""
        for part in parts:
            self._parts.put_nowait(part)
        async with asyncio.timeout(SECONDS):
            return await anext(self.updates)


async def held(event: asyncio.Event, before: Iterable[Any], after: Iterable[Any] = ()) -> AsyncIterator[Any]:
    """Some parts, and the others once the event has come."""
    for part in before:
        yield part
    await event.wait()
    for part in after:
        yield part


def tasks_of_live_sessions() -> list[str]:
    """What runs for live sessions in this process, by name."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(("_Session.", "StreamEncoder.", "LiveEncoding."))]
