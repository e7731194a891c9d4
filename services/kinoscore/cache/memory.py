"""The cache of one process: least recently used, with a time to live for each value, bounded in bytes."""

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires: float
    """On the clock of time.monotonic."""


class MemoryCache:
    """Keeps at most `max_bytes` of keys and values, counters included; the least recently used go first.

    For one event loop; it is not safe to use from several threads.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= time.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> bool:
        return self._put(key, value, time.monotonic() + ttl_seconds)

    async def increment(self, key: str) -> int | None:
        held = self._entries.get(key)
        count = (time.time_ns() // 1000 if held is None else int(held.value)) + 1
        self._put(key, str(count).encode(), math.inf)
        return count

    async def close(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _put(self, key: str, value: bytes, expires: float) -> bool:
        self._drop(key)
        if _size(key, value) > self._max_bytes:
            return False
        self._entries[key] = _Entry(value, expires)
        self._bytes += _size(key, value)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry.value)


def _size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value)
