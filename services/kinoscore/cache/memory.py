"""The cache of one process: least recently used, with a time to live for each value, bounded in bytes."""

import time
from collections import OrderedDict
from dataclasses import dataclass

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires: float
    """On the clock of time.monotonic."""


class MemoryCache:
    """Keeps at most `max_bytes` of keys and values; the least recently used go first.

    Counters are kept apart and never dropped: there is one for each catalogue, and losing one would cost its
    answers. For one event loop; it is not safe to use from several threads.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._counters: dict[str, int] = {}

    async def get(self, key: str) -> bytes | None:
        if key in self._counters:
            return str(self._counters[key]).encode()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= time.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        self._drop(key)
        self._entries[key] = _Entry(value, time.monotonic() + ttl_seconds)
        self._bytes += _size(key, value)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def increment(self, key: str) -> int | None:
        self._counters[key] = self._counters.get(key, time.time_ns() // 1000) + 1
        return self._counters[key]

    async def close(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry.value)


def _size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value)
