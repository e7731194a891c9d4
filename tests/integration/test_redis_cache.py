"""The Redis engine against a real redis-server, also when it hangs, dies and comes back."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.redis_server import RedisServer, needs_redis, redis_server

from kinoscore.cache import Cache, open_cache
from kinoscore.cache.redis import OPERATION_SECONDS, REST_SECONDS

pytestmark = needs_redis

BOUND_SECONDS = 1.0
"""What a lost Redis may cost on a busy machine; redis-py's own defaults take 4.7 to 12 s."""

LIMIT_SECONDS = 30
"""For what must come, on however busy a machine."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


async def cache_that_answers(url: str) -> Cache:
    """A cache whose connection is made, so that what follows measures the failure only."""
    cache = open_cache(url)
    limit = time.monotonic() + LIMIT_SECONDS
    while await cache.increment("warm") is None:
        assert time.monotonic() < limit, "the cache never answered"
        await asyncio.sleep(0.05)
    return cache


async def until_it_answers(cache: Cache) -> None:
    limit = time.monotonic() + LIMIT_SECONDS
    while await cache.increment("probe") is None:
        assert time.monotonic() < limit, "the cache did not come back"
        await asyncio.sleep(0.05)


async def test_what_is_set_is_read_back_until_it_expires(server: RedisServer) -> None:
    cache = await cache_that_answers(server.url + "/0")
    await cache.set("key", b"\x00\xffvalue", ttl_seconds=60)
    assert await cache.get("key") == b"\x00\xffvalue"
    await cache.set("short", b"value", ttl_seconds=0.02)
    limit = time.monotonic() + LIMIT_SECONDS
    while await cache.get("short") is not None:
        assert time.monotonic() < limit, "the value did not expire"
    await cache.close()


async def test_counters_rise_together_over_two_processes(server: RedisServer) -> None:
    url = server.url
    one, other = await cache_that_answers(url), await cache_that_answers(url)
    first = await one.increment("version")
    assert first is not None
    assert await other.increment("version") == first + 1
    assert await one.get("version") == str(first + 1).encode()
    await one.close()
    await other.close()


async def test_a_counter_that_redis_forgot_goes_on_above_its_old_values(server: RedisServer) -> None:
    cache = await cache_that_answers(server.url)
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
async def test_a_hung_redis_is_a_miss_within_the_bound(server: RedisServer, operation: str) -> None:
    cache = await cache_that_answers(server.url)
    await cache.set("key", b"value", 60)
    server.hang()
    started = time.monotonic()
    match operation:
        case "get":
            assert await cache.get("key") is None
        case "set":
            await cache.set("key", b"other", 60)
        case "increment":
            assert await cache.increment("version") is None
    assert time.monotonic() - started < BOUND_SECONDS
    server.resume()
    await until_it_answers(cache)
    await cache.close()


async def test_a_killed_redis_is_a_miss_at_once_and_is_used_again_when_it_is_back(
    server: RedisServer,
) -> None:
    cache = await cache_that_answers(server.url)
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


async def test_a_hundred_requests_share_the_bound_when_redis_hangs(server: RedisServer) -> None:
    cache = await cache_that_answers(server.url)
    server.hang()
    started = time.monotonic()
    answers = await asyncio.gather(*(cache.get("key") for _ in range(100)))
    assert answers == [None] * 100
    assert time.monotonic() - started < 3 * BOUND_SECONDS
    server.resume()
    await cache.close()


async def test_nobody_waits_for_a_server_that_rests_and_one_probe_goes_at_a_time(server: RedisServer) -> None:
    cache = await cache_that_answers(server.url)
    server.hang()
    assert await cache.get("key") is None
    opened = time.monotonic()
    assert await asyncio.gather(*(cache.get("key") for _ in range(1000))) == [None] * 1000
    assert time.monotonic() - opened < REST_SECONDS, "the rest was over: nothing was shown"
    await asyncio.sleep(max(0.0, opened + REST_SECONDS - time.monotonic()))
    probe = asyncio.create_task(cache.get("key"))
    await asyncio.sleep(0)
    asked = time.monotonic()
    assert await cache.get("key") is None
    assert time.monotonic() - asked < OPERATION_SECONDS
    assert not probe.done(), "the other call was the probe"
    assert await probe is None
    server.resume()
    await until_it_answers(cache)
    await cache.close()


async def test_a_loss_is_told_once_and_so_is_the_return(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kinoscore.cache")
    cache = await cache_that_answers(server.url)
    caplog.clear()
    server.kill()
    lost_until = time.monotonic() + 2.5 * REST_SECONDS
    while time.monotonic() < lost_until:
        assert await cache.get("key") is None
        await asyncio.sleep(0.01)
    server.start()
    await until_it_answers(cache)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "left alone until a probe is answered" in told[0]
    assert told[1] == "the cache answers again"
    await cache.close()


async def test_calls_beyond_the_connections_wait_for_a_free_one_and_all_are_answered(
    server: RedisServer,
) -> None:
    cache = await cache_that_answers(server.url)
    await cache.set("key", b"value", 60)
    limit = time.monotonic() + LIMIT_SECONDS
    # On a busy machine so many new connections at once may take longer than an operation may.
    while await asyncio.gather(*(cache.get("key") for _ in range(64))) != [b"value"] * 64:
        assert time.monotonic() < limit, "they were never all answered"
        await asyncio.sleep(0.05)
    await cache.close()


async def test_several_values_come_in_one_trip(server: RedisServer) -> None:
    cache = await cache_that_answers(server.url)
    await cache.set("one", b"1", 60)
    await cache.set("two", b"2", 60)
    assert await cache.get_many(["two", "none", "one"]) == [b"2", None, b"1"]
    await cache.close()


RIGHTS = ["~kinoscore:*", "+@read", "+@write", "+@connection", "+@transaction"]
USER_RULES = ["--user", "default", "off", "--user", "kinoscore", "on", ">s3cr%t", *RIGHTS]


async def test_a_user_who_may_touch_our_keys_only_is_enough(tmp_path: Path) -> None:
    with redis_server(tmp_path, USER_RULES) as server:
        cache = open_cache(f"redis://kinoscore:s3cr%25t@127.0.0.1:{server.port}")
        limit = time.monotonic() + LIMIT_SECONDS
        while await cache.increment("kinoscore:version") is None:
            assert time.monotonic() < limit, "the cache never answered"
            await asyncio.sleep(0.05)
        await cache.set("kinoscore:key", b"value", 60)
        assert await cache.get("kinoscore:key") == b"value"
        await cache.close()


@pytest.mark.parametrize("credentials", ["", "kinoscore:wrong@", "stranger:s3cr%25t@"])
async def test_a_user_who_is_refused_is_a_miss_that_the_log_explains(
    tmp_path: Path, credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, USER_RULES) as server:
        cache = open_cache(f"redis://{credentials}127.0.0.1:{server.port}")
        limit = time.monotonic() + LIMIT_SECONDS
        while not any(word in caplog.text for word in ("authenticated", "invalid username-password")):
            assert await cache.get("kinoscore:key") is None
            assert time.monotonic() < limit, caplog.text
            await asyncio.sleep(0.05)
        assert "wrong@" not in caplog.text
        assert "s3cr" not in caplog.text
        await cache.close()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    client = authority.issue_cert("kinoscore@example.org")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    return authority


@pytest.mark.usefixtures("authority")
async def test_tls_by_url_with_certificates_on_both_sides(tmp_path: Path) -> None:
    certificates = ("ca-cert-file", "ca.pem", "cert-file", "server.pem", "key-file", "server.key")
    options = [
        f"--tls-{name}" if number % 2 == 0 else str(tmp_path / name)
        for number, name in enumerate(certificates)
    ]
    with redis_server(tmp_path, [*options, "--tls-auth-clients", "yes"], tls=True) as server:
        address = f"rediss://127.0.0.1:{server.port}"
        ours = f"&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.key"
        cache = await cache_that_answers(f"{address}?ssl_ca_certs={tmp_path}/ca.pem{ours}")
        await cache.set("key", b"value", 60)
        assert await cache.get("key") == b"value"
        await cache.close()
        refused = {
            "a server of another authority": f"{address}?ssl_ca_certs={tmp_path}/other-ca.pem{ours}",
            "a client without certificate": f"{address}?ssl_ca_certs={tmp_path}/ca.pem",
            "a client without TLS": server.url,
        }
        for what, url in refused.items():
            cache = open_cache(url)
            assert await cache.increment("version") is None, what
            await cache.close()
