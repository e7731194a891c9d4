"""The stream that `kinoscore live` shows, recorded with the music that was first in the list."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kinoscore import Hit, LiveUpdate
from kinoscore.cli.presentation import clock, printable
from kinoscore.cli.running import message
from kinoscore.cli.sources import source_file
from kinoscore.errors import KinoscoreError
from kinoscore.media.recording import MusicTurn, StreamRecorder

__all__ = ["Recording", "recording"]

# Half a minute of music takes a second or so.
_LONG_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Change:
    """From a moment of the stream on another track is first; none where the list is empty."""

    start_seconds: float
    hit: Hit | None


class Recording:
    """Which music followed the stream, beside its pictures.

    Args:
        recorder: takes the pictures.
    """

    def __init__(self, recorder: StreamRecorder) -> None:
        self.recorder = recorder
        self._changes: list[_Change] = []

    def follow(self, update: LiveUpdate) -> None:
        """Notes which track is to be heard now: the one that is pinned, else the first of the list."""
        hit = next(
            (hit for hit in update.hits if update.pin and hit.track.track_id == update.pin.track_id), None
        )
        hit = hit or next(iter(update.hits), None)
        before = self._changes[-1].hit if self._changes else None
        if (hit and hit.track.track_id) != (before and before.track.track_id):
            # Nothing is known of the first moments before the first update: its music is theirs, too.
            self._changes.append(_Change(update.stream_seconds if self._changes else 0.0, hit))

    async def finish(self, destination: Path) -> None:
        """Writes the file; says what it holds, and which tracks could not be heard.

        Raises:
            KinoscoreError: it cannot be written.
        """
        async with AsyncExitStack() as stack:
            tracks: dict[str, Path | None] = {}
            warnings = []
            for hit in (change.hit for change in self._changes if change.hit):
                track = hit.track
                if track.track_id not in tracks:
                    try:
                        tracks[track.track_id] = await stack.enter_async_context(
                            source_file(track.source_uri)
                        )
                    except KinoscoreError as error:
                        tracks[track.track_id] = None
                        warnings.append(f"{track.title or track.track_id}: {error.message}")
            turns = [
                MusicTurn(
                    change.start_seconds,
                    tracks[change.hit.track.track_id] if change.hit else None,
                    change.hit.passage_start_seconds if change.hit else 0.0,
                )
                for change in self._changes
            ]
            if self.recorder.seconds > _LONG_SECONDS:
                message("laying the music under the recording; Ctrl-C gives it up")
            warnings += await asyncio.to_thread(self.recorder.finish, turns)
        if warnings:
            more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
            message(f"warning: silent in the recording: {printable(warnings[0])}{more}")
        message(f"wrote {destination}: {clock(self.recorder.seconds)} with {_count(tracks)} under it")


def _count(tracks: dict[str, Path | None]) -> str:
    count = sum(path is not None for path in tracks.values())
    return f"{count or 'no'} track{'' if count == 1 else 's'}"


@asynccontextmanager
async def recording(destination: Path) -> AsyncIterator[Recording]:
    """A recording that is finished at the end of the block, however that ends, once there was a picture.

    Raises:
        KinoscoreError: the file cannot be written there.
    """
    with StreamRecorder(destination) as recorder:
        recorded = Recording(recorder)
        try:
            yield recorded
        finally:
            if recorder.seconds:
                await recorded.finish(destination)
