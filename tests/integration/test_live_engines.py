"""A live session while a service or an engine behind it is killed and started again; all are programs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing

import pytest
from support.deployment import Deployment, deployed
from support.live_sessions import index_tones, picture
from support.redis_server import needs_redis
from support.repository import write_tiny_repository

from kinoscore import AsyncClient, Frame, LiveUpdate

pytestmark = needs_redis

LIMIT_SECONDS = 180.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Everything, with three tracks indexed."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("repository"))
    folder = tmp_path_factory.mktemp("deployment")

    async def index() -> None:
        async with AsyncClient(running.address) as client:
            await index_tones(client, folder, 3)

    with deployed(repository, folder) as running:
        asyncio.run(index())
        yield running


class Session:
    """A session to which a frame goes each quarter of a second, for as long as it is asked for updates."""

    def __init__(self, client: AsyncClient) -> None:
        self._ended = asyncio.Event()
        self.updates = client.live(self._frames(), k=2, interval_seconds=0.5, latest=True)

    async def _frames(self) -> AsyncIterator[Frame]:
        number = 0
        while not self._ended.is_set():
            yield picture(number / 2, number // 40)
            number += 1
            await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[LiveUpdate], bool]) -> LiveUpdate:
        """The first update that is as wanted."""
        async with asyncio.timeout(LIMIT_SECONDS):
            async for update in self.updates:
                if condition(update):
                    return update
        raise AssertionError("the session has ended")

    async def end(self) -> LiveUpdate:
        self._ended.set()
        return await self.until(lambda update: update.ending == "complete")


def fresh(update: LiveUpdate) -> bool:
    return len(update.hits) == 2 and not update.stale and not update.warnings


@pytest.mark.parametrize("name", ["video", "triton"])
async def test_a_session_goes_on_after_its_encoder_was_lost_and_tells_the_gap(
    deployment: Deployment, name: str
) -> None:
    part = deployment.parts[name]
    async with AsyncClient(deployment.address) as client:
        session = Session(client)
        async with aclosing(session.updates):
            before = await session.until(fresh)
            assert before.losses.gap_seconds == 0
            await asyncio.to_thread(part.kill)
            await asyncio.to_thread(part.restart)
            told = await session.until(lambda update: update.losses.gap_seconds > 0)
            after = await session.until(
                lambda update: fresh(update) and update.stream_seconds > told.stream_seconds
            )
            assert after.losses.gap_seconds > 0
            assert (await session.end()).ending == "complete"


@pytest.mark.parametrize("name", ["ranking", "fusion"])
async def test_updates_are_stale_while_the_search_is_lost_and_fresh_again_after_it(
    deployment: Deployment, name: str
) -> None:
    part = deployment.parts[name]
    async with AsyncClient(deployment.address) as client:
        session = Session(client)
        async with aclosing(session.updates):
            before = await session.until(fresh)
            await asyncio.to_thread(part.kill)
            lost = await session.until(lambda update: update.stale)
            assert [hit.track.track_id for hit in lost.hits]
            assert lost.warnings
            still = await session.until(lambda update: update.stream_seconds > lost.stream_seconds)
            assert still.emotion.shares
            await asyncio.to_thread(part.restart)
            after = await session.until(fresh)
            assert after.stream_seconds > before.stream_seconds
            assert (await session.end()).losses.gap_seconds == 0


# In this order: a store is known by the versions that Redis keeps, and those of before are gone with it.
async def test_a_session_does_not_notice_a_lost_store_of_which_it_knows_all(deployment: Deployment) -> None:
    part = deployment.parts["milvus"]
    async with AsyncClient(deployment.address) as client:
        session = Session(client)
        async with aclosing(session.updates):
            await session.until(fresh)
            await asyncio.to_thread(part.kill)
            during = await session.until(fresh)
            later = await session.until(lambda update: update.stream_seconds > during.stream_seconds + 2)
            assert fresh(later)
            await asyncio.to_thread(part.restart)
            last = await session.end()
        assert last.losses.gap_seconds == 0


async def test_a_lost_cache_costs_the_tokens_of_that_time_and_nothing_else(deployment: Deployment) -> None:
    part = deployment.parts["redis"]
    async with AsyncClient(deployment.address) as client:
        session = Session(client)
        async with aclosing(session.updates):
            assert (await session.until(fresh)).resume_token
            await asyncio.to_thread(part.kill)
            during = await session.until(lambda update: not update.resume_token and not update.stale)
            assert len(during.hits) == 2
            assert any("cannot be resumed" in line for line in during.warnings)
            await asyncio.to_thread(part.restart)
            assert (await session.until(fresh)).resume_token
            last = await session.end()
        assert last.losses.gap_seconds == 0
