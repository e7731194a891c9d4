"""The cache that several processes share, in Redis.

redis-py's defaults wait for seconds: a closed port takes 4.7 s to fail and a hung server over 12 s, because
of retries, and its blocking pool waits 20 s for a free connection. Here every wait is bounded, nothing is
retried, the whole of an operation ends within `OPERATION_SECONDS`, and a breaker keeps requests from a
server that has just failed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kinoscore.cache.breaker import Breaker
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
        self._breaker = Breaker(REST_SECONDS)

    async def get(self, key: str) -> bytes | None:
        return (await self.get_many([key]))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        values = await self._attempt(lambda: self._redis.mget(keys))
        return [value if isinstance(value, bytes) else None for value in values or [None] * len(keys)]

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> bool:
        milliseconds = max(1, round(ttl_seconds * 1000))
        return bool(await self._attempt(lambda: self._redis.set(key, value, px=milliseconds)))

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
        """The operation's result, or None when the server fails or is left alone because it failed."""
        period = self._breaker.admit()
        if period is None:
            return None
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                result = await operation()
        except (RedisError, OSError, TimeoutError) as error:
            if self._breaker.failed(period):
                cause = str(error) or type(error).__name__
                logger.warning("the cache fails and is left alone until a probe is answered: %s", cause)
            return None
        except BaseException:
            self._breaker.abandoned(period)
            raise
        if self._breaker.succeeded(period):
            logger.info("the cache answers again")
        return result
