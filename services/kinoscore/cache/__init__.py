"""One small cache, two engines: in this process, or Redis.

A cache saves time and nothing else. Whatever goes wrong with the engine is a miss; no error leaves this room.
The one thing that a caller must know is whether an invalidation arrived: `increment` returns None when it did
not.
"""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from kinoscore.errors import InvalidRequest

__all__ = ["Cache", "open_cache"]


class Cache(Protocol):
    async def get(self, key: str) -> bytes | None:
        """The value, or None when it is not there, has expired, or the engine does not answer."""
        ...

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of several keys, as of one moment, in one trip to the engine; each as `get` gives it."""
        ...

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> bool:
        """Keeps `value` for at most `ttl_seconds`; may drop it at any time. False where it was not taken."""
        ...

    async def increment(self, key: str) -> int | None:
        """Raises the counter `key` and returns it; None when the engine is lost.

        A counter that the engine has forgotten starts again from the clock (microseconds since 1970), so that
        it never repeats a value: what was stored under an old value stays unreachable.
        """
        ...

    async def close(self) -> None: ...


def open_cache(url: str) -> Cache:
    """Opens `memory:` or `redis://[user:password@]host[:port][/database]`.

    `rediss://` is TLS; a certificate authority of one's own goes into the URL, as does a certificate for the
    client: `rediss://cache:6380?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/me.pem&ssl_keyfile=/etc/me.key`.
    The connection is made at the first use: a Redis that is down does not keep a service from starting.

    Raises:
        InvalidRequest: another scheme, or a URL that does not parse.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from kinoscore.cache.memory import MemoryCache

        return MemoryCache()
    if scheme in ("redis", "rediss"):
        from kinoscore.cache.redis import RedisCache

        return RedisCache(url)
    raise InvalidRequest(f"cannot open the cache {url!r}: use memory: or redis://host:port", field="cache")
