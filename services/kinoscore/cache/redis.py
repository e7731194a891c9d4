"""The cache that several processes share, in Redis.

redis-py's defaults wait for seconds: a closed port takes 4.7 s to fail and a hung server over 12 s, because
of retries, and its blocking pool waits 20 s for a free connection. Here every wait is bounded, nothing is
retried, and the whole of an operation ends within `OPERATION_SECONDS`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kinoscore.errors import InvalidRequest

OPERATION_SECONDS = 0.15
"""The most that one operation may take, the pool's wait and the connection included."""

REST_SECONDS = 1.0
"""How long a server that failed is left alone, so that a lost one does not cost every request its 0.15 s."""

CONNECTIONS = 32

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RedisCache:
    """Raises nothing once it is built: a failure is a miss."""

    def __init__(self, url: str) -> None:
        """Raises InvalidRequest when `url` does not parse. Connects at the first use."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=OPERATION_SECONDS,
                socket_timeout=OPERATION_SECONDS,
                socket_connect_timeout=OPERATION_SECONDS,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
            )
        except ValueError as error:
            raise InvalidRequest(f"the cache URL does not parse: {error}", field="cache") from error
        self._redis = Redis.from_pool(pool)
        self._resting_until = 0.0

    async def get(self, key: str) -> bytes | None:
        value = await self._attempt(lambda: self._redis.get(key))
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        milliseconds = max(1, round(ttl_seconds * 1000))
        await self._attempt(lambda: self._redis.set(key, value, px=milliseconds))

    async def increment(self, key: str) -> int | None:
        async def raise_counter() -> int:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(key, time.time_ns() // 1000, nx=True)
                pipeline.incr(key)
                _, count = await pipeline.execute()
            return int(count)

        return await self._attempt(raise_counter)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                await self._redis.aclose()
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("closing the cache failed: %s", error)

    async def _attempt(self, operation: Callable[[], Awaitable[T]]) -> T | None:
        """The operation's result, or None when the server failed now or less than `REST_SECONDS` ago."""
        if time.monotonic() < self._resting_until:
            return None
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                return await operation()
        except (RedisError, OSError, TimeoutError) as error:
            self._resting_until = time.monotonic() + REST_SECONDS
            logger.warning("the cache does not answer and is left alone for %.0f s: %s", REST_SECONDS, error)
            return None
