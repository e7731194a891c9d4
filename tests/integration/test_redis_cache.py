"""The Redis engine against a real redis-server, also when it hangs, dies and comes back."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinoscore.cache import Cache, open_cache
from kinoscore.cache.redis import REST_SECONDS

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")

BOUND_SECONDS = 0.2
"""What a lost Redis may cost a request."""


class Server:
    """A redis-server of the test's own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), *options], stdout=subprocess.DEVNULL
        )
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
        raise AssertionError("redis-server did not start within 10 s")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.signal(signal.SIGCONT) if running.process.poll() is None else None
    running.kill()


async def cache_that_answers(url: str) -> Cache:
    """A cache whose connection is made, so that what follows measures the failure only."""
    cache = open_cache(url)
    limit = time.monotonic() + 5
    while await cache.increment("warm") is None:
        assert time.monotonic() < limit, "the cache never answered"
        await asyncio.sleep(0.05)
    return cache


async def until_it_answers(cache: Cache) -> None:
    limit = time.monotonic() + REST_SECONDS + 5
    while await cache.increment("probe") is None:
        assert time.monotonic() < limit, "the cache did not come back"
        await asyncio.sleep(0.05)


async def test_what_is_set_is_read_back_until_it_expires(server: Server) -> None:
    cache = await cache_that_answers(f"redis://127.0.0.1:{server.port}/0")
    await cache.set("key", b"\x00\xffvalue", ttl_seconds=60)
    assert await cache.get("key") == b"\x00\xffvalue"
    await cache.set("short", b"value", ttl_seconds=0.02)
    limit = time.monotonic() + 5
    while await cache.get("short") is not None:
        assert time.monotonic() < limit, "the value did not expire"
    await cache.close()


async def test_counters_rise_together_over_two_processes(server: Server) -> None:
    url = f"redis://127.0.0.1:{server.port}"
    one, other = await cache_that_answers(url), await cache_that_answers(url)
    first = await one.increment("version")
    assert first is not None
    assert await other.increment("version") == first + 1
    assert await one.get("version") == str(first + 1).encode()
    await one.close()
    await other.close()


async def test_a_counter_that_redis_forgot_goes_on_above_its_old_values(server: Server) -> None:
    cache = await cache_that_answers(f"redis://127.0.0.1:{server.port}")
    before = await cache.increment("version")
    server.kill()
    server.start()
    await until_it_answers(cache)
    after = await cache.increment("version")
    assert before is not None
    assert after is not None
    assert after > before
    await cache.close()


@pytest.mark.parametrize("operation", ["get", "set", "increment"])
async def test_a_hung_redis_is_a_miss_within_the_bound(server: Server, operation: str) -> None:
    cache = await cache_that_answers(f"redis://127.0.0.1:{server.port}")
    await cache.set("key", b"value", 60)
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    match operation:
        case "get":
            assert await cache.get("key") is None
        case "set":
            await cache.set("key", b"other", 60)
        case "increment":
            assert await cache.increment("version") is None
    assert time.monotonic() - started < BOUND_SECONDS
    server.signal(signal.SIGCONT)
    await until_it_answers(cache)
    await cache.close()


async def test_a_killed_redis_is_a_miss_at_once_and_is_used_again_when_it_is_back(server: Server) -> None:
    cache = await cache_that_answers(f"redis://127.0.0.1:{server.port}")
    server.kill()
    started = time.monotonic()
    assert await cache.get("key") is None
    assert await cache.increment("version") is None
    assert time.monotonic() - started < BOUND_SECONDS
    server.start()
    await until_it_answers(cache)
    await cache.set("key", b"value", 60)
    assert await cache.get("key") == b"value"
    await cache.close()


async def test_a_hundred_requests_share_the_bound_when_redis_hangs(server: Server) -> None:
    cache = await cache_that_answers(f"redis://127.0.0.1:{server.port}")
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    answers = await asyncio.gather(*(cache.get("key") for _ in range(100)))
    assert answers == [None] * 100
    assert time.monotonic() - started < 3 * BOUND_SECONDS
    server.signal(signal.SIGCONT)
    await cache.close()
