"""Answers are given for the version of the catalogue that they were found at, and for no other."""

import asyncio
from collections.abc import Sequence

import pytest
from support.waiting import until

from kinoscore.cache.memory import MemoryCache
from kinoscore.ranking import answers
from kinoscore.ranking.answers import CatalogueAnswers, Kept


class FlakyCache(MemoryCache):
    """A cache that can be lost, as Redis can, and comes back with what it held."""

    lost = False

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [None] * len(keys) if self.lost else await super().get_many(keys)

    async def get(self, key: str) -> bytes | None:
        return None if self.lost else await super().get(key)

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> bool:
        return not self.lost and await super().set(key, value, ttl_seconds)

    async def increment(self, key: str) -> int | None:
        return None if self.lost else await super().increment(key)


@pytest.fixture
def cache() -> FlakyCache:
    return FlakyCache()


def process(cache: FlakyCache, space: str = "s1", fresh: float = 60, stale: float = 600) -> CatalogueAnswers:
    return CatalogueAnswers(cache, space, fresh_seconds=fresh, stale_seconds=stale)


async def answered(kept_answers: CatalogueAnswers, answer: bytes, catalogue: str = "c") -> int:
    """Keeps an answer to `q`, as a search does; the version."""
    kept = await kept_answers.find(catalogue, "q")
    assert kept.version is not None
    await kept_answers.keep(catalogue, "q", kept.version, answer)
    return kept.version


async def test_an_answer_is_found_again_for_its_question_catalogue_and_space(cache: FlakyCache) -> None:
    one = process(cache)
    version = await answered(one, b"answer")
    assert await one.find("c", "q") == Kept(version, b"answer", fresh=True)
    assert (await one.find("c", "another")).answer is None
    assert (await one.find("another", "q")).answer is None
    other_space = process(cache, space="s2")
    await other_space.find("c", "q")
    assert (await other_space.find("c", "q")).answer is None


async def test_a_write_makes_the_answers_of_before_unreachable_for_every_process(cache: FlakyCache) -> None:
    one, other = process(cache), process(cache)
    for each in (one, other):
        await each.find("c", "q")
    version = await answered(one, b"answer")
    assert (await other.find("c", "q")).answer == b"answer"
    await other.invalidate("c")
    for each in (one, other):
        assert (await each.find("c", "q")).answer is None
        assert not await each.is_current("c", version)


async def test_an_answer_that_was_found_before_a_write_and_kept_after_it_is_not_given(
    cache: FlakyCache,
) -> None:
    one = process(cache)
    before = (await one.find("c", "q")).version
    assert before is not None
    await one.invalidate("c")
    await one.keep("c", "q", before, b"of before")
    assert (await one.find("c", "q")).answer is None


async def test_an_answer_is_fresh_for_a_time_and_then_kept_as_an_old_one(
    cache: FlakyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("kinoscore.ranking.answers.time.time", lambda: now[0])
    one = process(cache, fresh=60, stale=600)
    version = await answered(one, b"answer")
    now[0] += 59
    assert (await one.find("c", "q")).fresh
    now[0] += 2
    assert await one.find("c", "q") == Kept(version, b"answer", fresh=False)


async def test_nothing_is_kept_for_no_time(cache: FlakyCache) -> None:
    one = process(cache, fresh=0, stale=0)
    await answered(one, b"answer")
    assert (await one.find("c", "q")).answer is None


async def test_without_the_cache_there_is_no_version_and_writers_are_not_held(cache: FlakyCache) -> None:
    one = process(cache)
    version = await answered(one, b"answer")
    cache.lost = True
    assert await one.find("c", "q") == Kept(None)
    assert not await one.is_current("c", version)
    await one.invalidate("c")
    await one.close()


@pytest.mark.parametrize("writer_is_the_reader", [True, False])
async def test_what_was_written_while_the_cache_was_lost_is_not_answered_with_what_was_before(
    cache: FlakyCache, writer_is_the_reader: bool
) -> None:
    reader, other = process(cache), process(cache)
    for each in (reader, other):
        await each.find("c", "q")
    await answered(reader, b"of before")
    cache.lost = True
    assert await reader.find("c", "q") == Kept(None)
    await (reader if writer_is_the_reader else other).invalidate("c")
    cache.lost = False
    assert (await reader.find("c", "q")).answer is None
    await reader.close()
    await other.close()


async def test_an_invalidation_that_did_not_arrive_is_sent_again_for_the_other_processes(
    cache: FlakyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "RETRY_SECONDS", 0.001)
    writer, reader = process(cache), process(cache)
    await reader.find("c", "q")
    version = await answered(reader, b"of before")
    cache.lost = True
    await writer.invalidate("c")
    cache.lost = False
    async with asyncio.timeout(20):
        while await reader.is_current("c", version):  # noqa: ASYNC110 - nothing tells that it was sent
            await asyncio.sleep(0.001)
    assert (await reader.find("c", "q")).answer is None
    await until(lambda: writer._retrying is not None and writer._retrying.done())
    await writer.close()


async def test_a_new_process_trusts_no_version_that_another_left(cache: FlakyCache) -> None:
    await answered(process(cache), b"of a process that may have died before it could tell of its write")
    assert (await process(cache).find("c", "q")).answer is None


async def test_strangers_catalogue_names_take_bounded_memory(
    cache: FlakyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_CATALOGUES", 10)
    one = process(cache)
    for number in range(100):
        await one.find(f"c{number}", "q")
    assert len(one._trusted) <= 10
