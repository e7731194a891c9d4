import pytest

from kinoscore.cache import open_cache
from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import InvalidRequest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("kinoscore.cache.memory.time.monotonic", lambda: now[0])
    return now


async def test_a_value_is_kept_until_its_time_to_live_is_over(clock: list[float]) -> None:
    cache = MemoryCache()
    await cache.set("key", b"value", ttl_seconds=10)
    clock[0] += 9.9
    assert await cache.get("key") == b"value"
    clock[0] += 0.2
    assert await cache.get("key") is None


async def test_the_least_recently_used_value_goes_first_when_the_bytes_are_used_up() -> None:
    cache = MemoryCache(max_bytes=30)
    await cache.set("a", b"x" * 9, 60)
    await cache.set("b", b"x" * 9, 60)
    await cache.set("c", b"x" * 9, 60)
    assert await cache.get("a") is not None
    await cache.set("d", b"x" * 9, 60)
    assert await cache.get("b") is None
    assert [await cache.get(key) is not None for key in "acd"] == [True, True, True]


async def test_a_value_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = MemoryCache(max_bytes=10)
    await cache.set("small", b"x", 60)
    await cache.set("big", b"x" * 11, 60)
    assert await cache.get_many(["big", "small", "none"]) == [None, b"x", None]


async def test_counters_stay_within_the_bytes_too_and_go_on_above_their_old_values() -> None:
    cache = MemoryCache(max_bytes=1000)
    first = await cache.increment("0")
    for number in range(1, 200):
        await cache.increment(str(number))
    assert await cache.get("0") is None
    again = await cache.increment("0")
    assert first is not None
    assert again is not None
    assert again > first


async def test_setting_a_key_again_replaces_the_value_and_its_bytes() -> None:
    cache = MemoryCache(max_bytes=20)
    for number in range(50):
        await cache.set("key", b"%010d" % number, 60)
    assert await cache.get("key") == b"%010d" % 49


async def test_a_counter_rises_and_is_read_as_its_number() -> None:
    cache = MemoryCache()
    first = await cache.increment("version")
    second = await cache.increment("version")
    assert first is not None
    assert second == first + 1
    assert await cache.get("version") == str(second).encode()


async def test_a_new_counter_never_repeats_what_an_older_process_counted() -> None:
    before = await MemoryCache().increment("version")
    after = await MemoryCache().increment("version")
    assert before is not None
    assert after is not None
    assert after > before


def test_an_unknown_scheme_is_refused_with_the_ones_that_work() -> None:
    with pytest.raises(InvalidRequest, match="memory: or redis://"):
        open_cache("memcached://localhost")


def test_a_redis_url_that_does_not_parse_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cache"):
        open_cache("redis://localhost:port")


async def test_a_redis_that_is_down_does_not_keep_the_cache_from_opening() -> None:
    cache = open_cache("redis://127.0.0.1:1")
    assert await cache.get("key") is None
    await cache.close()
