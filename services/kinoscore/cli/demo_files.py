"""The media files of `kinoscore demo`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kinoscore.cli.running import console
from kinoscore.media.writing import write_audio, write_video
from kinoscore.world import (
    SAMPLE_RATE,
    DemoClip,
    DemoTrack,
    demo_clips,
    demo_library,
    render_clip,
    render_track,
)

__all__ = ["DemoFiles", "write_demo_files"]

# Rendering is numpy and FFmpeg, which leave Python to others while they compute.
_FILES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where the demo's files lie: the folder of the tracks, and the clips."""

    tracks: Path
    clips: tuple[Path, ...]


async def write_demo_files(folder: Path) -> DemoFiles:
    """Renders the demo's tracks and clips into a folder, with progress on stderr; files that are there stay.

    Raises:
        StorageFull: the disk is full.
        OSError: the folder cannot be made or written.
    """
    tracks, clips = demo_library(), demo_clips()
    renderings: dict[Path, Callable[[Path], None]] = {}
    for track in tracks:
        renderings[folder / "tracks" / track.file_name] = _writer_of_track(track)
    for clip in clips:
        renderings[folder / "clips" / clip.file_name] = _writer_of_clip(clip)
    for name in ("tracks", "clips"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    await _write({path: write for path, write in renderings.items() if not path.exists()})
    return DemoFiles(folder / "tracks", tuple(folder / "clips" / clip.file_name for clip in clips))


async def _write(renderings: dict[Path, Callable[[Path], None]]) -> None:
    places = asyncio.Semaphore(_FILES_AT_ONCE)
    progress = Progress(
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console(),
        disable=not console().is_terminal,
        transient=True,
    )
    bar = progress.add_task("rendering", total=len(renderings))

    async def write(path: Path) -> None:
        async with places:
            await asyncio.to_thread(renderings[path], path)
        progress.advance(bar)

    with progress:
        await asyncio.gather(*(write(path) for path in renderings))


def _writer_of_track(track: DemoTrack) -> Callable[[Path], None]:
    return lambda path: write_audio(path, render_track(track.plan), SAMPLE_RATE, tags=track.metadata)


def _writer_of_clip(clip: DemoClip) -> Callable[[Path], None]:
    return lambda path: write_video(path, render_clip(clip.plan), clip.plan.frames_per_second)
