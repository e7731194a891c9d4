"""Answers about catalogues, kept in the cache, each for one version of its catalogue.

Every write raises the version, so that no answer of before is given. Versions live in the cache too, which
all processes share.
"""

import asyncio
import struct
import time
from dataclasses import dataclass

from kinoscore.cache import Cache

__all__ = ["CatalogueAnswers", "Kept"]

RETRY_SECONDS = 0.5
"""How soon a version that could not be raised is tried again."""
MOST_CATALOGUES = 10_000
"""How many catalogues' versions are trusted at once; it bounds what strangers' catalogue names can take."""

# The version, and until when the answer is fresh, in seconds since 1970.
_HEADER = struct.Struct("<qd")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache knows of a question.

    Attributes:
        version: of the catalogue, now; None when the cache must not be used.
        answer: the last one at this version, where there is one.
        fresh: whether the answer may be given though the vector store could be asked.
    """

    version: int | None
    answer: bytes | None = None
    fresh: bool = False


class CatalogueAnswers:
    """Keeps answers of one embedding space.

    A version is trusted only after this process has raised it itself, and no longer than the cache answers:
    what other processes wrote while the cache was lost could not reach it. So an outage costs the answers of
    before, and so does a new process.

    Args:
        fresh_seconds: how long an answer is given.
        stale_seconds: how much longer it is kept for when the vector store is silent.
    """

    def __init__(self, cache: Cache, space: str, *, fresh_seconds: float, stale_seconds: float) -> None:
        self._cache = cache
        self._space = space
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._trusted: set[str] = set()
        self._owed: set[str] = set()
        self._retrying: asyncio.Task[None] | None = None

    async def find(self, catalogue: str, question: str) -> Kept:
        """What is known of a question.

        Args:
            question: a digest, equal for questions that mean the same.
        """
        stored, kept = await self._cache.get_many(
            [self._version_key(catalogue), self._answer_key(catalogue, question)]
        )
        if stored is None or catalogue not in self._trusted:
            return Kept(await self._raise_version(catalogue))
        version = int(stored)
        if kept is None:
            return Kept(version)
        version_then, fresh_until = _HEADER.unpack_from(kept)
        if version_then != version:
            return Kept(version)
        return Kept(version, kept[_HEADER.size :], time.time() < fresh_until)

    async def version(self, catalogue: str) -> int | None:
        """The version of a catalogue now; None when the cache must not be used."""
        stored = await self._cache.get(self._version_key(catalogue))
        if stored is None or catalogue not in self._trusted:
            return await self._raise_version(catalogue)
        return int(stored)

    async def keep(self, catalogue: str, question: str, version: int, answer: bytes) -> None:
        """Keeps an answer that was found after `find` told the version."""
        seconds = self._fresh_seconds + self._stale_seconds
        if seconds > 0:
            header = _HEADER.pack(version, time.time() + self._fresh_seconds)
            await self._cache.set(self._answer_key(catalogue, question), header + answer, seconds)

    async def is_current(self, catalogue: str, version: int) -> bool:
        """Whether nothing was written to the catalogue since it had this version, as far as can be known."""
        stored = await self._cache.get(self._version_key(catalogue))
        return catalogue in self._trusted and stored is not None and int(stored) == version

    async def invalidate(self, catalogue: str) -> None:
        """Makes the answers of before unreachable; call it after every write, failed ones too.

        A lost cache does not hold the writer: this process trusts the catalogue's version no more, and goes
        on trying to raise it for the others.
        """
        self._trusted.discard(catalogue)
        if await self._raise_version(catalogue) is None:
            self._owed.add(catalogue)
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.create_task(self._pay())

    async def close(self) -> None:
        """Gives up what is still owed to a lost cache."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])

    async def _raise_version(self, catalogue: str) -> int | None:
        version = await self._cache.increment(self._version_key(catalogue))
        if version is None or len(self._trusted) >= MOST_CATALOGUES:
            self._trusted.clear()
        if version is not None:
            self._trusted.add(catalogue)
            self._owed.discard(catalogue)
        return version

    async def _pay(self) -> None:
        while self._owed:
            await asyncio.sleep(RETRY_SECONDS)
            for catalogue in list(self._owed):
                await self._raise_version(catalogue)

    def _version_key(self, catalogue: str) -> str:
        return f"kinoscore:version:{self._space}:{catalogue}"

    def _answer_key(self, catalogue: str, question: str) -> str:
        return f"kinoscore:answer:{self._space}:{catalogue}:{question}"
