"""Filling the index of one embedding space with the tracks of another, from where their sound is.

What is known of a track is taken over unchanged; its sound is read again and encoded with the models of the
new space. A track that is there already, with the same sound, is passed over, so a run that was interrupted
goes on where it stopped.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from kinoscore import AsyncClient, IndexedTrack, Track
from kinoscore.cli.sources import source_file
from kinoscore.cli.workers import FATAL
from kinoscore.errors import (
    KinoscoreError,
    NotFound,
    QueueFull,
)

__all__ = ["Outcome", "Reindexer", "Result", "Work", "missing_tracks"]

# A server that is full of other requests has room again soon.
_PATIENCE_SECONDS = (1.0, 2.0, 4.0, 8.0)


class Outcome(Enum):
    """What became of a track."""

    ENCODED = "encoded"
    UPDATED = "updated"
    PRESENT = "already there"
    REMOVED = "removed meanwhile"
    FAILED = "not taken over"


@dataclass(frozen=True, slots=True)
class Work:
    """A track of the old space, and the one with its id in the new space where there is one."""

    catalogue: str
    track: Track
    there: Track | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one track; `reason` says why it was not taken over."""

    catalogue: str
    track: Track
    outcome: Outcome
    reason: str = ""


class Reindexer:
    """Takes tracks over from one space into another; several may be taken over at once.

    Args:
        client: the server; it has the models of the new space.
        old: the space that the tracks are taken from.
        new: the space that they are encoded in.
        old_leads: what the old space says holds. Once the new space is the active one it does not: changes
            are made there, and only tracks that it lacks are taken over.
    """

    def __init__(self, client: AsyncClient, old: str, new: str, *, old_leads: bool) -> None:
        self._client = client
        self._old = old
        self._new = new
        self._old_leads = old_leads

    async def work(self) -> AsyncIterator[Work]:
        """Every track of the old space, catalogue by catalogue in order of their ids."""
        for catalogue in await self._client.catalogues(space=self._old):
            old = self._client.list_tracks(catalogue=catalogue, space=self._old)
            new = self._client.list_tracks(catalogue=catalogue, space=self._new)
            candidate = await anext(new, None)
            async for track in old:
                while candidate is not None and candidate.track_id < track.track_id:
                    candidate = await anext(new, None)
                same = candidate is not None and candidate.track_id == track.track_id
                yield Work(catalogue, track, candidate if same else None)

    async def take_over(self, work: Work) -> Result:
        """Brings one track of the new space up to date with the old one.

        Raises:
            KinoscoreError: what would end the next track too: a full disk, a lost server, a wrong space.
                Everything else is told in the result.
        """
        try:
            outcome = await self._take_over(work)
        except FATAL:
            raise
        except KinoscoreError as error:
            return Result(work.catalogue, work.track, Outcome.FAILED, str(error))
        return Result(work.catalogue, work.track, outcome)

    async def _take_over(self, work: Work) -> Outcome:
        track, there = work.track, work.there
        if there is not None and not self._old_leads:
            return Outcome.PRESENT
        if there is not None and there.digest == track.digest:
            # The new space may have been told another place of the sound, one that can be reached.
            wanted = replace(track, source_uri=there.source_uri)
            if _said(there) == _said(wanted):
                return Outcome.PRESENT
            await self._client.update_track(wanted, catalogue=work.catalogue, space=self._new)
            return Outcome.UPDATED
        async with source_file(track.source_uri) as file:
            await self._encode(file, work)
        if await self._is_gone(work):
            await self._client.remove_tracks([track.track_id], catalogue=work.catalogue, space=self._new)
            return Outcome.REMOVED
        return Outcome.ENCODED

    async def _encode(self, file: Path, work: Work) -> IndexedTrack:
        def encode() -> Awaitable[IndexedTrack]:
            return self._client.index(
                file,
                work.track,
                catalogue=work.catalogue,
                space=self._new,
                expected_digest=work.track.digest,
            )

        for seconds in _PATIENCE_SECONDS:
            try:
                return await encode()
            except QueueFull:
                await asyncio.sleep(seconds)
        return await encode()

    async def _is_gone(self, work: Work) -> bool:
        """Whether the track was removed from the old space while it was encoded.

        A server removes it from the active space first, then from the others: what is still there now will be
        removed from the new space too.
        """
        try:
            await self._client.get_track(work.track.track_id, catalogue=work.catalogue, space=self._old)
        except NotFound:
            return True
        return False


async def missing_tracks(client: AsyncClient, old: str, new: str) -> int:
    """How many tracks of the old space the new one lacks."""
    work = Reindexer(client, old, new, old_leads=True).work()
    return sum([one.there is None async for one in work])


def _said(track: Track) -> tuple[object, ...]:
    """What an update can change."""
    return track.title, track.artist, track.licence, track.attribution, track.tags, track.source_uri
