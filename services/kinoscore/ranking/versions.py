"""The version of each catalogue: part of every cache key, raised by every write, so that no old answer is
given.
"""

from kinoscore.cache import Cache


class CatalogueVersions:
    """Versions live in the cache, which all processes share.

    A catalogue whose version could not be raised is out of date in the cache; until the version has been
    raised after all, there is none, and answers for that catalogue are neither read from the cache nor
    kept there.
    """

    def __init__(self, cache: Cache, space: str) -> None:
        self._cache = cache
        self._space = space
        self._to_be_raised: set[str] = set()

    async def version(self, catalogue: str) -> int | None:
        """The version to look up answers with; None when the cache must not be used."""
        if catalogue in self._to_be_raised:
            return await self.raise_version(catalogue)
        stored = await self._cache.get(self._key(catalogue))
        # A version that the cache has lost, or never had, starts above every one before.
        return int(stored) if stored is not None else await self._cache.increment(self._key(catalogue))

    async def raise_version(self, catalogue: str) -> int | None:
        """Makes what the cache holds for the catalogue unreachable; call it after every write, failed ones
        too.
        """
        self._to_be_raised.add(catalogue)
        version = await self._cache.increment(self._key(catalogue))
        if version is not None:
            self._to_be_raised.discard(catalogue)
        return version

    def _key(self, catalogue: str) -> str:
        return f"kinoscore:version:{self._space}:{catalogue}"
