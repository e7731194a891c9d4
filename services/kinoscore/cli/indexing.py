"""Bringing a catalogue up to date with audio files.

A track's id is made from the digest of its sound, so a file that was indexed before is known again whatever
it is called now and whatever its tags say: unchanged files are passed over, changed metadata is updated
without encoding, and a run that was interrupted goes on where it stopped.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from kinoscore import AsyncClient, Track
from kinoscore.cli.catalogue_files import Description, Manifest, local_path, within
from kinoscore.cli.workers import FATAL, work_through
from kinoscore.errors import (
    InvalidMedia,
    KinoscoreError,
    NotFound,
)
from kinoscore.runtime.requests import track_id_of

if TYPE_CHECKING:
    from kinoscore.media.pool import DecodePool

__all__ = ["Indexer", "Outcome", "Result", "index_files", "prune"]

_REMOVED_AT_ONCE = 500


class Outcome(Enum):
    """What became of a file."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file; `notes` are lines for the user."""

    file: Path
    outcome: Outcome
    notes: tuple[str, ...] = ()


class Indexer:
    """Brings a catalogue up to date with one file at a time; several may run at once.

    Args:
        client: the server.
        pool: where files are probed.
        manifest: what is said of the files besides their own tags; it wins over them.
        catalogue: where the tracks go.
        space: the embedding space; the active one when empty.
    """

    def __init__(
        self,
        client: AsyncClient,
        pool: "DecodePool",
        manifest: Manifest,
        catalogue: str,
        space: str = "",
    ) -> None:
        self._client = client
        self._pool = pool
        self._manifest = manifest
        self._catalogue = catalogue
        self._space = space
        # Files with the same sound wait for each other, so that the second finds the first in the index.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def index(self, file: Path) -> Result:
        """Adds a file, updates what is known of it, or finds that nothing has changed.

        Raises:
            KinoscoreError: what would end the next file too: a full disk, a lost server, a wrong model
            repository.
                Everything else is the file's own fault and is told in its result.
        """
        try:
            return await self._index(file)
        except FATAL:
            raise
        except KinoscoreError as error:
            return Result(file, Outcome.FAILED, (str(error),))

    async def _index(self, file: Path) -> Result:
        wanted = await self._wanted(file)
        async with self._turns[wanted.track_id]:
            return await self._bring_up_to_date(file, wanted)

    async def _bring_up_to_date(self, file: Path, wanted: Track) -> Result:
        try:
            stored = await self._client.get_track(
                wanted.track_id, catalogue=self._catalogue, space=self._space
            )
        except NotFound:
            added = await self._client.index(file, wanted, catalogue=self._catalogue, space=self._space)
            return Result(file, Outcome.ADDED, added.warnings)
        if other := _other_existing_source(stored.track, wanted):
            return Result(file, Outcome.DUPLICATE, (f"the same sound as {other}",))
        if _said(stored.track) == _said(wanted):
            return Result(file, Outcome.UNCHANGED)
        update = await self._client.update_track(
            _updated(stored.track, wanted), catalogue=self._catalogue, space=self._space
        )
        return Result(file, Outcome.UPDATED if update.changed else Outcome.UNCHANGED)

    async def _wanted(self, file: Path) -> Track:
        """The track as it should be in the catalogue."""
        probe = await self._pool.probe(file, timeout=None)
        if probe.digest is None:
            raise InvalidMedia("the file has no audio stream")
        tags = probe.tags
        own = Description(tags.title, tags.artist, tags.licence, tags.attribution, tags.tags, tags.tempo)
        said = self._manifest.describe(file).or_else(own)
        return Track(
            track_id=track_id_of(probe.digest),
            title=said.title or file.stem,
            artist=said.artist,
            licence=said.licence,
            attribution=said.attribution,
            tags=said.tags,
            source_uri=file.as_uri(),
            digest=probe.digest,
            tempo=said.tempo,
        )


async def index_files(
    files: Iterable[Path],
    index: Callable[[Path], Awaitable[Result]],
    report: Callable[[Result], None],
    stopping: asyncio.Event,
) -> None:
    """Indexes files as `work_through`."""

    async def each() -> AsyncIterator[Path]:
        for file in files:
            yield file

    await work_through(each(), index, report, stopping)


async def prune(client: AsyncClient, places: Iterable[Path], catalogue: str) -> int:
    """Removes the tracks whose files lay under the places (absolute paths) and are gone; returns how many."""
    places = list(places)
    gone = [
        track.track_id
        async for track in client.list_tracks(catalogue=catalogue)
        if (file := local_path(track.source_uri)) and within(file, places) and not file.exists()
    ]
    for start in range(0, len(gone), _REMOVED_AT_ONCE):
        await client.remove_tracks(gone[start : start + _REMOVED_AT_ONCE], catalogue=catalogue)
    return len(gone)


def _other_existing_source(stored: Track, wanted: Track) -> Path | None:
    """The other file that the stored track came from, where it still exists."""
    if stored.source_uri == wanted.source_uri:
        return None
    file = local_path(stored.source_uri)
    return file if file is not None and file.is_file() else None


def _said(track: Track) -> tuple[object, ...]:
    """What an update can change; the order and the case of tags mean nothing."""
    tags = frozenset(tag.casefold() for tag in track.tags)
    return track.title, track.artist, track.licence, track.attribution, tags, track.source_uri


def _updated(stored: Track, wanted: Track) -> Track:
    return replace(
        stored,
        title=wanted.title,
        artist=wanted.artist,
        licence=wanted.licence,
        attribution=wanted.attribution,
        tags=wanted.tags,
        source_uri=wanted.source_uri,
    )
